//! Traffic: shard actors and connection tasks.
#![forbid(unsafe_code)]
