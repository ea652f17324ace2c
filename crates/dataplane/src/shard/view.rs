//! A shard's pointer to the snapshot it serves from.
use super::cluster_state::ClusterState;
use pointsman_route::{ClusterId, Snapshot, Table};
use std::{cell::OnceCell, rc::Rc, sync::Arc};

/// One generation as one shard sees it. A request takes it once and keeps it to its end; the swap
/// is one assignment elsewhere and touches no view in use.
pub struct View {
    /// The generation.
    pub snapshot: Arc<Snapshot>,
    /// Made on first use: most backends of a large table are never used on most shards.
    pub(crate) clusters: Box<[OnceCell<Rc<ClusterState>>]>,
}

impl View {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        let clusters = snapshot
            .table
            .clusters()
            .iter()
            .map(|_| OnceCell::new())
            .collect();
        Self { snapshot, clusters }
    }

    /// The routing table.
    pub fn table(&self) -> &Table {
        &self.snapshot.table
    }

    /// The number of the generation.
    pub fn generation(&self) -> u64 {
        self.snapshot.generation
    }

    pub(crate) fn slot(&self, id: ClusterId) -> Option<&OnceCell<Rc<ClusterState>>> {
        self.clusters.get(id.index())
    }
}
