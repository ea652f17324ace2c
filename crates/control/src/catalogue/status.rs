//! How things stand, for people and for readiness.
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Answer to [`GetStatus`](crate::GetStatus).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Readiness.
    pub progress: Progress,
    /// Sources in order of precedence.
    pub sources: Vec<SourceStatus>,
    /// Documents that serve.
    pub documents: usize,
    /// Shards by index.
    pub shards: Vec<ShardStatus>,
    /// The latest generations, newest first.
    pub revisions: VecDeque<Revision>,
    /// Generations still in memory: the latest, and those some connection still uses. Newest
    /// first.
    pub held: Vec<u64>,
    /// How long the last compilation took, also when it changed nothing.
    pub compile_time: Duration,
    /// Compilations since the process began, those that changed nothing included.
    pub compilations: u64,
    /// Compilations that failed inside Pointsman since the process began.
    pub compile_failures: u64,
    /// Restarts of the catalogue.
    pub restarts: u64,
}

/// How far the newest change has come. Published on a `watch` channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Number of the newest snapshot; 0 before the first.
    pub compiled: u64,
    /// The generation that every shard serves, or a newer one.
    pub active: u64,
    /// All sources have said everything they knew, and it has been compiled.
    pub synced: bool,
}

impl Progress {
    /// May traffic be announced? True from the first generation that holds what all sources knew
    /// and is served by every shard.
    pub fn is_ready(&self) -> bool {
        self.synced && self.active > 0
    }
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Name.
    pub name: Arc<str>,
    /// Documents it brings, also those another source's take precedence over.
    pub documents: usize,
    /// Has it said everything it knows?
    pub synced: bool,
}

/// One shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardStatus {
    /// The generation it serves; 0 before the first.
    pub active: u64,
    /// How long it has not answered to the snapshot on its way; zero when none is.
    pub unanswered: Duration,
}

/// The times of one generation: what "how long until it works" is answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Number.
    pub generation: u64,
    /// When the first change in it reached the catalogue.
    pub seen: SystemTime,
    /// When it was compiled.
    pub compiled: SystemTime,
    /// How long compiling took.
    pub compile_time: Duration,
    /// When every shard served it or a newer one.
    pub active: Option<SystemTime>,
    /// Documents in it.
    pub documents: usize,
}
