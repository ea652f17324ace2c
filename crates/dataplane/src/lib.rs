//! Traffic: shard actors and connection tasks.
//!
//! How to read it, in the order bytes travel: [`mod@start`] puts a shard together; [`actor`] has its
//! actors (`Acceptor` accepts, `Sniffer` starts connection tasks, `Replica` swaps the view,
//! `Balancer` tidies endpoint state, `Meter` drains counters); [`connection`] decides what a
//! connection is; `http` serves requests, [`tunnel`] carries bytes, over [`socket`]s, until `linger` closes them; [`shard`] is what they all
//! share on one thread, `turn` how long one peer may keep that, and `floods` what HTTP/2 may cost it; [`access`] is what is recorded of each request and who is told;
//! [`capture`] is how traffic gets here; [`message`] crosses threads.
#![forbid(unsafe_code)]

pub mod access;
pub mod actor;
pub mod capture;
pub mod connection;
mod context;
pub mod extension;
mod floods;
mod http;
mod linger;
pub mod message;
mod outbox;
pub mod settings;
pub mod shard;
pub mod socket;
pub mod start;
mod stream;
pub mod tunnel;
mod turn;

pub use capture::Capture;
pub use settings::Settings;
pub use shard::{Shard, SharedCounts};
pub use start::{Plan, ShardHandle, start};
