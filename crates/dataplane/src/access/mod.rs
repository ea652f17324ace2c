//! What is recorded of each request and connection, and who is told.
//!
//! `pending` fills one record while its request runs; the shard's `Ring` keeps finished ones
//! until the `Meter`'s next tick; each sink has a [`SinkHost`] that takes batches of them. Without a
//! sink nothing is recorded, and that costs one branch a request.
pub(crate) mod pending;
mod ring;
mod sink_host;

pub(crate) use ring::Ring;
pub use sink_host::{
    AccessBatch, Place, SINK_PLACES, Settled, SinkHost, SinkOutlet, sink_host, sink_mailbox,
};
