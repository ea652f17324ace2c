//! actix, contained: shards, links, three send verbs, overseer, drain.
#![forbid(unsafe_code)]
