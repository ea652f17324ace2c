//! Metrics endpoint and health.
#![forbid(unsafe_code)]
