//! All clusters of a table, and their numbers.
use crate::{
    cluster::{Cluster, ClusterId},
    shared::Chunks,
};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use pointsman_model::ClusterName;
use std::{hash::BuildHasher, sync::Arc};

/// Clusters by number, by name and in order.
#[derive(Clone, Debug)]
pub(crate) struct Clusters {
    /// By [`ClusterId`]; freed places hold `vacant`.
    slots: Chunks<Arc<Cluster>>,
    vacant: Arc<Cluster>,
    order: Arc<[ClusterId]>,
    /// Numbers by name; the names are those of the clusters.
    by_name: Arc<HashTable<ClusterId>>,
    hasher: RandomState,
}

impl Clusters {
    /// `order` lists the numbers of all slots that are in use, each once; the others hold `vacant`.
    pub(crate) fn new(
        slots: Vec<Arc<Cluster>>,
        order: Vec<ClusterId>,
        vacant: Arc<Cluster>,
    ) -> Self {
        let hasher = RandomState::default();
        let mut by_name = HashTable::with_capacity(order.len());
        let hash = |id: &ClusterId| {
            let cluster = slots.get(id.index());
            cluster.map_or(0, |cluster| hasher.hash_one(&cluster.name))
        };
        for id in &order {
            by_name.insert_unique(hash(id), *id, hash);
        }
        Self {
            slots: slots.into(),
            vacant,
            order: order.into(),
            by_name: Arc::new(by_name),
            hasher,
        }
    }

    pub(crate) fn get(&self, id: ClusterId) -> &Arc<Cluster> {
        self.slots.get(id.index()).unwrap_or(&self.vacant)
    }

    pub(crate) fn find(&self, name: &ClusterName) -> Option<(ClusterId, &Arc<Cluster>)> {
        let hash = self.hasher.hash_one(name);
        let id = self.by_name.find(hash, |id| self.get(*id).name == *name)?;
        Some((*id, self.get(*id)))
    }

    /// In order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<Cluster>> + Clone {
        self.order.iter().map(|id| self.get(*id))
    }

    /// Numbers are less than this.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn vacant(&self) -> &Arc<Cluster> {
        &self.vacant
    }

    #[allow(
        dead_code,
        reason = "for tables made from their predecessors, which are next"
    )]
    /// Others in the places of clusters of the same names.
    pub(crate) fn replace(
        &mut self,
        clusters: impl IntoIterator<Item = (ClusterId, Arc<Cluster>)>,
    ) {
        let clusters = clusters.into_iter();
        self.slots
            .replace(clusters.map(|(id, cluster)| (id.index(), cluster)));
    }
}

/// The same clusters under the same numbers, in the same order.
impl PartialEq for Clusters {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order && self.slots == other.slots
    }
}
