//! Endpoint choice. Pure: no I/O, no clock.
#![forbid(unsafe_code)]
