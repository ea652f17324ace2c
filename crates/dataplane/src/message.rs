//! Messages that cross threads: between the catalogue on the control thread and each shard.
use actix::Message;
use pointsman_model::Finding;
use pointsman_route::Snapshot;
use std::{sync::Arc, time::Instant};

/// Serve from this snapshot from now on.
///
/// Sender: `Catalogue`. Receiver: each shard's `Replica`. Rate: once per changed generation; at
/// most one is outstanding per shard, the next waits for [`SnapshotActive`]. Verb: `tell`.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct InstallSnapshot {
    /// The generation to serve.
    pub snapshot: Arc<Snapshot>,
}

/// A shard serves a generation.
///
/// Sender: `Replica`. Receiver: `Catalogue`. Rate: once per [`InstallSnapshot`]. Verb: `tell`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct SnapshotActive {
    /// Which shard.
    pub shard: u16,
    /// Which generation.
    pub generation: u64,
    /// When the view was swapped.
    pub at: Instant,
}

/// What a shard found out about its documents at run time, such as an address that cannot be
/// bound. Replaces what the shard said before.
///
/// Sender: `Acceptor`. Receiver: `Catalogue`. Rate: at most once per installed snapshot, and on
/// change of a retry's outcome. Verb: `offer`; a refused report is repeated on the next change.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ShardFindings {
    /// Which shard.
    pub shard: u16,
    /// All findings it has now.
    pub findings: Vec<Finding>,
}
