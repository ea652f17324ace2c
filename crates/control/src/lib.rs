//! The catalogue and its sources: decisions, off the traffic threads.
#![forbid(unsafe_code)]
