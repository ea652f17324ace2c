//! The routing table: model in, decisions and explanations out. Pure.
#![forbid(unsafe_code)]
