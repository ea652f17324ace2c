//! Pointsman benches.
