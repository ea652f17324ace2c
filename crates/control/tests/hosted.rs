//! A source that an extension registered, and that does not behave.
use pointsman_control::{CatalogueSpec, GetStatus, Progress, catalogue, hosted};
use pointsman_model::{
    Given, Kind, KubeService, Meta, Object, ObjectKey, Place, ServiceKind, object::Labels,
};
use pointsman_route::Contexts;
use pointsman_runtime::{Link, Outlet, Overseer, ask, offer, run};
use pointsman_sdk::{Host, SourceChange};
use pointsman_testkit::eventually;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(10);

fn service(name: &str) -> Object {
    Object::Service(Arc::new(KubeService {
        meta: Meta {
            key: ObjectKey {
                kind: Kind::Service,
                namespace: "default".into(),
                name: name.into(),
            },
            created: None,
            labels: Labels::new(),
            export_to: Vec::new(),
            place: Place::nowhere(),
        },
        kind: ServiceKind::Headless,
        ports: Vec::new(),
        selector: Labels::new(),
        internal_traffic_local: false,
        external_addresses: Vec::new(),
    }))
}

#[test]
fn a_source_that_panics_is_run_again_and_what_it_no_longer_says_is_gone() {
    run(async {
        let runs = Arc::new(AtomicUsize::new(0));
        let mut host = Host::default();
        let counted = Arc::clone(&runs);
        host.source("moody", move |to: Outlet<SourceChange>| {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                let names: &[&str] = if number == 0 {
                    &["a", "b"]
                } else {
                    &["b", "c"]
                };
                let change = SourceChange {
                    source: "moody".into(),
                    upserts: names.iter().map(|name| service(name)).collect(),
                    synced: true,
                    ..SourceChange::default()
                };
                offer(&to, change).expect("room");
                tokio::task::yield_now().await;
                assert!(number > 0, "the first run panics");
                std::future::pending::<()>().await;
            }
        });
        let overseer = Overseer::default();
        let (link, seat) = Link::reserve("catalogue", 64);
        let mut spec = CatalogueSpec::new(Contexts::mesh(Given::default()), Vec::new());
        spec.sources = vec!["moody".into()];
        let (actor, mut progress) = catalogue(seat, spec);
        overseer.start(actor);
        for (name, source) in host.sources {
            overseer.start(hosted(name, source, link.outlet(), link.outlet()));
        }
        progress
            .wait_for(Progress::is_ready)
            .await
            .expect("a catalogue");
        eventually(DEADLINE, || async { runs.load(Ordering::SeqCst) == 2 }).await;
        eventually(DEADLINE, || async {
            let status = ask(&link, GetStatus, DEADLINE).await.expect("a status");
            status.progress.synced && status.documents == 2 && status.compilations >= 2
        })
        .await;
    })
    .unwrap();
}
