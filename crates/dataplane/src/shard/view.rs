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
        // By id, not by count: a cluster keeps its id when others before it go away.
        let slots = snapshot.table.cluster_slots();
        let clusters = std::iter::repeat_with(OnceCell::new).take(slots).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_model::{ClientContext, World};

    fn table(services: &[&str], previous: Option<&Table>) -> Table {
        let documents: String = services
            .iter()
            .enumerate()
            .map(|(at, name)| {
                format!(
                    "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, \
                     spec: {{clusterIP: 10.0.0.{at}, ports: [{{name: http, port: 80}}]}}}}\n"
                )
            })
            .collect();
        let parsed = pointsman_manifest::parse(&pointsman_manifest::Input {
            file: "test.yaml".into(),
            text: &documents,
            default_namespace: "default",
            cluster_domain: "cluster.local",
        });
        let world: World = parsed
            .documents
            .into_iter()
            .map(|document| document.result.expect("valid"))
            .collect();
        Table::compile(&world, &ClientContext::default(), previous).table
    }

    #[test]
    fn a_cluster_has_its_place_after_others_are_gone() {
        let before = table(&["a", "b", "c"], None);
        let view = View::new(Arc::new(Snapshot {
            generation: 2,
            table: table(&["c"], Some(&before)),
        }));
        let cluster = &view.table().clusters()[0];
        let (id, _) = view.table().cluster_by_name(&cluster.name).expect("c");
        assert!(id.index() > 0, "the case this test is about");
        assert!(view.slot(id).is_some());
    }
}
