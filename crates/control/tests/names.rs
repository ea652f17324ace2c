//! Names in documents: looked up, served, looked up again.
use pointsman_control::{
    Catalogue, CatalogueSpec, GetFindings, GetSnapshot, Names, NamesSettings, catalogue,
    names::{Answer, Lookup, names},
};
use pointsman_model::Given;
use pointsman_route::{Contexts, EndpointAddress};
use pointsman_runtime::{Link, Overseer, ask, offer, run};
use pointsman_sdk::SourceChange;
use pointsman_testkit::eventually;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(10);

/// DNS as a test wants it.
#[derive(Clone, Default)]
struct Dns {
    answers: Arc<Mutex<HashMap<String, Vec<&'static str>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Dns {
    fn set(&self, name: &str, addresses: &[&'static str]) {
        let mut answers = self.answers.lock().expect("unharmed");
        answers.insert(name.to_owned(), addresses.to_vec());
    }

    fn forget(&self, name: &str) {
        self.answers.lock().expect("unharmed").remove(name);
    }

    fn asked(&self, name: &str) -> usize {
        let asked = self.asked.lock().expect("unharmed");
        asked.iter().filter(|it| *it == name).count()
    }

    fn lookup(&self) -> Lookup {
        let dns = self.clone();
        Arc::new(move |name: Arc<str>| {
            dns.asked.lock().expect("unharmed").push(name.to_string());
            let answer = dns.answers.lock().expect("unharmed").get(&*name).cloned();
            Box::pin(async move {
                let addresses = answer.ok_or("no such name")?;
                Ok(Answer {
                    addresses: addresses.iter().map(|it| it.parse().expect("ip")).collect(),
                    valid_for: Duration::ZERO,
                })
            })
        })
    }
}

fn documents(text: &str) -> SourceChange {
    let parsed = pointsman_manifest::parse(&pointsman_manifest::Input {
        file: "test.yaml".into(),
        text,
        default_namespace: "default",
        cluster_domain: "cluster.local",
    });
    SourceChange {
        source: "test".into(),
        upserts: parsed
            .documents
            .into_iter()
            .map(|it| it.result.expect("valid"))
            .collect(),
        synced: true,
        ..SourceChange::default()
    }
}

const ENTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.example.com]
  resolution: DNS
  ports: [{name: http, number: 80, protocol: HTTP}]
";

async fn endpoints(catalogue: &Link<Catalogue>) -> Vec<String> {
    let snapshot = ask(catalogue, GetSnapshot, DEADLINE).await.expect("asked");
    let Some(snapshot) = snapshot else {
        return Vec::new();
    };
    let clusters = snapshot.tables.mesh().clusters();
    let endpoints = clusters.flat_map(|cluster| &*cluster.endpoints);
    endpoints
        .map(|it| match &it.address {
            EndpointAddress::Socket(address) => address.to_string(),
            other => format!("not looked up: {other}"),
        })
        .collect()
}

async fn findings(catalogue: &Link<Catalogue>) -> Vec<u16> {
    let findings = ask(catalogue, GetFindings, DEADLINE).await.expect("asked");
    findings.iter().map(|it| it.code.0).collect()
}

/// BE-94, BE-106: all addresses of the latest answer; a failing look-up keeps them.
#[test]
fn endpoints_follow_dns() {
    run(async {
        let dns = Dns::default();
        dns.set("a.example.com", &["198.51.100.1", "198.51.100.2"]);
        let overseer = Overseer::default();
        let (link, seat) = Link::<Catalogue>::reserve("catalogue", 64);
        let spec = CatalogueSpec::new(Contexts::mesh(Given::default()), Vec::new());
        let (actor, _progress) = catalogue(seat, spec);
        overseer.start(actor);
        overseer.start(names(Names {
            lookup: dns.lookup(),
            settings: NamesSettings {
                refresh_min: Duration::from_millis(20),
                retry_max: Duration::from_millis(20),
                ..NamesSettings::default()
            },
            started: link.outlet(),
            changed: link.outlet(),
        }));
        offer(&link.outlet(), documents(ENTRY)).expect("room");
        let serves = |expected: &'static [&'static str]| {
            let link = link.clone();
            eventually(DEADLINE, move || {
                let link = link.clone();
                async move { endpoints(&link).await == expected }
            })
        };
        serves(&["198.51.100.1:80", "198.51.100.2:80"]).await;
        dns.set("a.example.com", &["198.51.100.3"]);
        serves(&["198.51.100.3:80"]).await;
        assert!(!findings(&link).await.contains(&313));
        dns.forget("a.example.com");
        eventually(DEADLINE, || async { findings(&link).await.contains(&313) }).await;
        assert_eq!(endpoints(&link).await, ["198.51.100.3:80"]);
        dns.set("a.example.com", &["198.51.100.4"]);
        serves(&["198.51.100.4:80"]).await;
        eventually(DEADLINE, || async { !findings(&link).await.contains(&313) }).await;
        // A name that no document needs any more is not asked for.
        let mut gone = documents(ENTRY);
        gone.deletes = gone.upserts.iter().map(|it| it.key().clone()).collect();
        gone.upserts.clear();
        offer(&link.outlet(), gone).expect("room");
        serves(&[]).await;
        let asked = dns.asked("a.example.com");
        dns.set("b.example.com", &["198.51.100.9"]);
        let other = ENTRY.replace("a.example.com", "b.example.com");
        offer(&link.outlet(), documents(&other)).expect("room");
        serves(&["198.51.100.9:80"]).await;
        eventually(DEADLINE, || async { dns.asked("b.example.com") > 3 }).await;
        assert!(
            dns.asked("a.example.com") <= asked + 1,
            "at most the one under way"
        );
    })
    .unwrap();
}

/// What an earlier incarnation could not look up says nothing about the next one, which tells what
/// it finds itself.
#[test]
fn a_restart_forgets_what_failed_before_it() {
    run(async {
        let overseer = Overseer::default();
        let (link, seat) = Link::<Catalogue>::reserve("catalogue", 64);
        let spec = CatalogueSpec::new(Contexts::mesh(Given::default()), Vec::new());
        let (actor, _progress) = catalogue(seat, spec);
        overseer.start(actor);
        let start = |dns: &Dns| {
            overseer.start(names(Names {
                lookup: dns.lookup(),
                settings: NamesSettings::default(),
                started: link.outlet(),
                changed: link.outlet(),
            }))
        };
        start(&Dns::default());
        offer(&link.outlet(), documents(ENTRY)).expect("room");
        eventually(DEADLINE, || async { findings(&link).await.contains(&313) }).await;
        let works = Dns::default();
        works.set("a.example.com", &["198.51.100.1"]);
        start(&works);
        eventually(DEADLINE, || async {
            endpoints(&link).await == ["198.51.100.1:80"]
        })
        .await;
        assert!(!findings(&link).await.contains(&313));
    })
    .unwrap();
}
