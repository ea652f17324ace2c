//! The pointsman binary and its facade.
#![forbid(unsafe_code)]
