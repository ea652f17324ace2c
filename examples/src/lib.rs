//! Pointsman examples.
