//! The validated vocabulary every other crate speaks.
#![forbid(unsafe_code)]
