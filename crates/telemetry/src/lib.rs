//! Metric names, handles and sinks.
#![forbid(unsafe_code)]
