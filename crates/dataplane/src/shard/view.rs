//! What a shard serves from: one view for each table of the present snapshot.
use super::cluster_state::ClusterState;
use pointsman_route::{ClusterId, Snapshot, Table, Via};
use std::{cell::OnceCell, net::IpAddr, rc::Rc, sync::Arc};

/// The views of one generation, one for each kind of client.
pub(crate) struct Views {
    snapshot: Arc<Snapshot>,
    /// By table number.
    views: Box<[Rc<View>]>,
}

impl Views {
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Self {
        let tables = snapshot.tables.all().iter();
        let views = tables.map(|table| Rc::new(View::new(snapshot.clone(), table.clone())));
        Self {
            views: views.collect(),
            snapshot,
        }
    }

    /// What is served.
    pub(crate) fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The view of a client that came by this door.
    pub(crate) fn of(&self, via: Via, client: IpAddr) -> &Rc<View> {
        let number = self.snapshot.tables.number(via, client);
        // There is a view for every number, and the first is always there.
        self.views.get(number.index()).unwrap_or(&self.views[0])
    }
}

/// One table of one generation as one shard sees it. A request takes it once and keeps it to its end; the swap
/// is one assignment elsewhere and touches no view in use.
pub struct View {
    /// The generation.
    snapshot: Arc<Snapshot>,
    table: Arc<Table>,
    /// Made on first use: most backends of a large table are never used on most shards.
    pub(crate) clusters: Box<[OnceCell<Rc<ClusterState>>]>,
}

impl View {
    fn new(snapshot: Arc<Snapshot>, table: Arc<Table>) -> Self {
        // By id, not by count: a cluster keeps its id when others before it go away.
        let slots = table.cluster_slots();
        let clusters = std::iter::repeat_with(OnceCell::new).take(slots).collect();
        Self {
            snapshot,
            table,
            clusters,
        }
    }

    /// The routing table.
    pub fn table(&self) -> &Table {
        &self.table
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
pub(crate) mod tests {
    use super::*;
    use pointsman_model::{ClientContext, World};

    pub(crate) fn table(services: &[&str], previous: Option<&Table>) -> Table {
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
        let views = Views::new(Arc::new(Snapshot {
            generation: 2,
            tables: table(&["c"], Some(&before)).into(),
        }));
        let view = views.of(Via::Mesh, [127, 0, 0, 1].into());
        let cluster = view.table().clusters().next().expect("one");
        let (id, _) = view.table().cluster_by_name(&cluster.name).expect("c");
        assert!(id.index() > 0, "the case this test is about");
        assert!(view.slot(id).is_some());
    }
}
