//! The catalogue with shards and sources that do as the test says.
use crate::{
    Catalogue, CatalogueSpec, GetFindings, GetSnapshot, GetStatus, Progress, Resync, SourceStarted,
    Status, catalogue,
};
use actix::{Actor, Context, Handler, Message};
use pointsman_dataplane::message::{InstallSnapshot, ShardFindings, SnapshotActive};
use pointsman_model::{
    Code, Finding, Given, Kind, KubeService, Level, Meta, Object, ObjectKey, Place, ServiceKind,
    object::Labels,
};
use pointsman_route::{Contexts, Table};
use pointsman_runtime::{ActorSpec, Link, Overseer, ask, offer, run, tell};
use pointsman_sdk::SourceChange;
use pointsman_telemetry::Recorder;
use pointsman_testkit::eventually;
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(10);

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: Kind::Service,
        namespace: "default".into(),
        name: name.into(),
    }
}

fn service(name: &str, address: &str) -> Object {
    let address: IpAddr = address.parse().expect("an address");
    Object::Service(Arc::new(KubeService {
        meta: Meta {
            key: key(name),
            created: None,
            labels: Labels::new(),
            export_to: Vec::new(),
            place: Place::new("test.yaml", 1, 1),
        },
        kind: ServiceKind::ClusterIp {
            addresses: vec![address],
        },
        ports: vec![pointsman_model::ServicePort {
            name: "tcp".into(),
            number: 80,
            protocol: pointsman_model::Protocol::Tcp,
            target: None,
            target_name: None,
            node_port: None,
            place: Place::new("test.yaml", 5, 1),
        }],
        selector: Labels::new(),
        internal_traffic_local: false,
        external_addresses: Vec::new(),
    }))
}

fn says(source: &str, upserts: Vec<Object>) -> SourceChange {
    SourceChange {
        source: source.into(),
        upserts,
        synced: true,
        ..SourceChange::default()
    }
}

/// A shard that notes what it is sent and answers unless it is frozen.
struct Shard {
    number: u16,
    frozen: Arc<AtomicBool>,
    got: Arc<Mutex<Vec<u64>>>,
    to: Link<Catalogue>,
    waiting: Vec<u64>,
}

impl Actor for Shard {
    type Context = Context<Self>;
}

impl Shard {
    fn answer(&self, generation: u64) {
        let active = SnapshotActive {
            shard: self.number,
            generation,
            at: Instant::now(),
        };
        tell(&self.to, active);
    }
}

impl Handler<InstallSnapshot> for Shard {
    type Result = ();

    fn handle(&mut self, install: InstallSnapshot, _: &mut Self::Context) {
        let generation = install.snapshot.generation;
        self.got.lock().unwrap().push(generation);
        if self.frozen.load(Ordering::SeqCst) {
            self.waiting.push(generation);
        } else {
            self.answer(generation);
        }
    }
}

/// Test to shard: answer what you owe.
#[derive(Message)]
#[rtype(result = "()")]
struct Thaw;

impl Handler<Thaw> for Shard {
    type Result = ();

    fn handle(&mut self, _: Thaw, _: &mut Self::Context) {
        self.frozen.store(false, Ordering::SeqCst);
        for generation in std::mem::take(&mut self.waiting) {
            self.answer(generation);
        }
    }
}

/// Test to catalogue: panic.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Fail;

impl Handler<Fail> for Catalogue {
    type Result = ();

    fn handle(&mut self, _: Fail, _: &mut Self::Context) {
        panic!("on purpose");
    }
}

/// A source that says what it knows when it is started, and when it is asked to.
struct Source {
    name: &'static str,
    knows: Arc<Mutex<Vec<Object>>>,
    asked: Arc<AtomicUsize>,
    to: Link<Catalogue>,
    me: Link<Source>,
}

impl Actor for Source {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.speak();
    }
}

impl Source {
    fn speak(&self) {
        let started = SourceStarted {
            source: self.name.into(),
            resync: self.me.outlet(),
        };
        tell(&self.to, started);
        let all = self.knows.lock().unwrap().clone();
        offer(&self.to, says(self.name, all)).expect("room");
    }
}

impl Handler<Resync> for Source {
    type Result = ();

    fn handle(&mut self, _: Resync, _: &mut Self::Context) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.speak();
    }
}

struct Scene {
    overseer: Overseer,
    catalogue: Link<Catalogue>,
    shards: Vec<Link<Shard>>,
    frozen: Vec<Arc<AtomicBool>>,
    got: Vec<Arc<Mutex<Vec<u64>>>>,
    progress: watch::Receiver<Progress>,
}

impl Scene {
    fn new(shards: u16, adjust: impl FnOnce(&mut CatalogueSpec)) -> Self {
        let overseer = Overseer::default();
        let (link, seat) = Link::reserve("catalogue", 64);
        let mut scene = Scene {
            overseer,
            catalogue: link.clone(),
            shards: Vec::new(),
            frozen: Vec::new(),
            got: Vec::new(),
            progress: watch::channel(Progress::default()).1,
        };
        for number in 0..shards {
            let frozen = Arc::new(AtomicBool::new(false));
            let got = Arc::default();
            let (f, g, to) = (Arc::clone(&frozen), Arc::clone(&got), link.clone());
            let spec = ActorSpec::new("shard", 8, move |_, _| Shard {
                number,
                frozen: Arc::clone(&f),
                got: Arc::clone(&g),
                to: to.clone(),
                waiting: Vec::new(),
            });
            scene.shards.push(scene.overseer.start(spec));
            scene.frozen.push(frozen);
            scene.got.push(got);
        }
        let outlets = scene.shards.iter().map(Link::outlet).collect();
        let mut spec = CatalogueSpec::new(Contexts::mesh(Given::default()), outlets);
        adjust(&mut spec);
        let (actor, progress) = catalogue(seat, spec);
        scene.overseer.start(actor);
        scene.progress = progress;
        scene
    }

    fn say(&self, changed: SourceChange) {
        offer(&self.catalogue, changed).expect("room");
    }

    fn got(&self, shard: usize) -> Vec<u64> {
        self.got[shard].lock().unwrap().clone()
    }

    async fn status(&self) -> Status {
        ask(&self.catalogue, GetStatus, DEADLINE)
            .await
            .expect("a status")
    }

    async fn findings(&self) -> Arc<Vec<Finding>> {
        ask(&self.catalogue, GetFindings, DEADLINE)
            .await
            .expect("findings")
    }

    async fn progress(&mut self, wanted: impl FnMut(&Progress) -> bool) -> Progress {
        let wait = self.progress.wait_for(wanted);
        *tokio::time::timeout(DEADLINE, wait)
            .await
            .expect("in time")
            .expect("a catalogue")
    }
}

#[test]
fn equal_content_is_not_a_new_generation() {
    run(async {
        let mut scene = Scene::new(2, |_| {});
        scene.say(says("a", vec![service("web", "10.0.0.1")]));
        let progress = scene.progress(Progress::is_ready).await;
        assert_eq!((progress.compiled, progress.active), (1, 1));

        // Said again by a source that does not remember, and then a real change: the generation
        // after 1 is the change's, and nothing was sent for the repetition.
        scene.say(says("a", vec![service("web", "10.0.0.1")]));
        eventually(DEADLINE, || async {
            scene.status().await.compilations == 2
        })
        .await;
        assert_eq!(scene.got(0), [1]);
        scene.say(says("a", vec![service("web", "10.0.0.2")]));
        scene.progress(|progress| progress.active > 1).await;
        assert_eq!(scene.got(0), [1, 2]);
        assert_eq!(scene.got(1), [1, 2]);
        let status = scene.status().await;
        assert_eq!(status.revisions.len(), 2);
        for revision in &status.revisions {
            let active = revision.active.expect("served everywhere");
            assert!(revision.seen <= revision.compiled && revision.compiled <= active);
        }
    })
    .unwrap();
}

#[test]
fn a_frozen_shard_holds_up_nobody_and_gets_the_newest_when_it_wakes() {
    run(async {
        let mut scene = Scene::new(2, |_| {});
        scene.say(says("a", vec![service("web", "10.0.0.1")]));
        scene.progress(|progress| progress.active == 1).await;
        scene.frozen[1].store(true, Ordering::SeqCst);

        for n in 2..6u64 {
            scene.say(says("a", vec![service("web", &format!("10.0.0.{n}"))]));
            eventually(DEADLINE, || async { scene.got(0).len() as u64 == n }).await;
        }
        // One is outstanding, no more; the other shard serves the newest.
        let status = scene.status().await;
        let newest = status.progress.compiled;
        assert_eq!(newest, 5);
        assert_eq!(scene.got(1), [1, 2]);
        assert_eq!(status.shards[0].active, newest);
        assert_eq!(status.shards[1].active, 1);
        assert_eq!(status.progress.active, 1);
        assert!(status.shards[1].unanswered > Duration::ZERO);

        tell(&scene.shards[1], Thaw);
        scene.progress(|progress| progress.active == newest).await;
        assert_eq!(scene.got(1), [1, 2, 5]);
    })
    .unwrap();
}

#[test]
fn changes_that_come_together_are_one_generation() {
    run(async {
        let mut scene = Scene::new(1, |spec| {
            spec.settings.gather = Duration::from_millis(300);
        });
        for n in 1..=20 {
            scene.say(says(
                "a",
                vec![service(&format!("svc{n}"), &format!("10.0.0.{n}"))],
            ));
        }
        scene.progress(Progress::is_ready).await;
        assert_eq!(scene.got(0), [1]);
        assert_eq!(scene.status().await.revisions[0].documents, 20);
    })
    .unwrap();
}

#[test]
fn the_first_snapshot_waits_for_the_named_sources() {
    run(async {
        let mut scene = Scene::new(1, |spec| {
            spec.sources = vec!["a".into(), "b".into()];
        });
        scene.say(says("b", vec![service("web", "10.0.0.2")]));
        let waiting = scene.findings().await;
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].code, Code(902));
        assert!(waiting[0].message.contains("source a"), "{}", waiting[0]);
        // Precedence is that of the list, not of the order in which they spoke.
        scene.say(says("a", vec![service("web", "10.0.0.1")]));
        scene.progress(Progress::is_ready).await;
        assert_eq!(scene.got(0), [1]);
        let findings = scene.findings().await;
        assert!(findings.iter().all(|finding| finding.code != Code(902)));
        let twice: Vec<_> = findings
            .iter()
            .filter(|it| it.code == crate::codes::BROUGHT_TWICE)
            .collect();
        assert_eq!(twice.len(), 1);
        assert!(twice[0].effect.contains("the one of a serves"));
    })
    .unwrap();
}

#[test]
fn patience_ends_and_what_is_known_is_served() {
    run(async {
        let mut scene = Scene::new(1, |spec| {
            spec.sources = vec!["slow".into()];
            spec.settings.patience = Duration::from_millis(50);
        });
        scene.say(says("fast", vec![service("web", "10.0.0.1")]));
        let progress = scene.progress(|progress| progress.active == 1).await;
        assert!(!progress.is_ready());
        scene.say(says("slow", Vec::new()));
        scene.progress(Progress::is_ready).await;
    })
    .unwrap();
}

/// A compiler that panics over a service of this name.
fn poisonous(name: &'static str) -> super::Compiler {
    Arc::new(move |world, context, previous| {
        assert!(!world.services.contains_key(&key(name)), "poison");
        Table::compile(world, context, previous)
    })
}

#[test]
fn a_panic_while_compiling_keeps_what_serves() {
    run(async {
        let mut scene = Scene::new(1, |spec| spec.compiler = poisonous("poison"));
        scene.say(says("a", vec![service("web", "10.0.0.1")]));
        scene.progress(Progress::is_ready).await;

        scene.say(says("a", vec![service("poison", "10.0.0.9")]));
        eventually(DEADLINE, || async {
            scene.status().await.compile_failures == 1
        })
        .await;
        let findings = scene.findings().await;
        let failure = findings.iter().find(|it| it.code == Code(901));
        let failure = failure.expect("a finding");
        assert!(failure.message.ends_with("poison"), "{failure}");
        assert_eq!(failure.effect, "generation 1 keeps serving");
        assert_eq!(scene.got(0), [1]);
        assert_eq!(scene.status().await.restarts, 0);

        scene.say(SourceChange {
            source: "a".into(),
            deletes: vec![key("poison")],
            upserts: vec![service("web", "10.0.0.2")],
            ..SourceChange::default()
        });
        scene.progress(|progress| progress.active > 1).await;
        let findings = scene.findings().await;
        assert!(findings.iter().all(|it| it.code != Code(901)));
    })
    .unwrap();
}

#[test]
fn findings_of_shards_are_told_once_and_replaced() {
    run(async {
        let scene = Scene::new(2, |_| {});
        let taken = Finding::new(Code(320), Level::Error, "address in use");
        for shard in 0..2 {
            tell(
                &scene.catalogue,
                ShardFindings {
                    shard,
                    findings: vec![taken.clone()],
                },
            );
        }
        assert_eq!(*scene.findings().await, [taken]);
        for shard in 0..2 {
            tell(
                &scene.catalogue,
                ShardFindings {
                    shard,
                    findings: Vec::new(),
                },
            );
        }
        assert!(scene.findings().await.is_empty());
    })
    .unwrap();
}

#[test]
fn old_snapshots_are_freed_here_once_nobody_uses_them() {
    run(async {
        let mut scene = Scene::new(1, |_| {});
        scene.say(says("a", vec![service("web", "10.0.0.1")]));
        scene.progress(|progress| progress.active == 1).await;
        // A connection that stays on the first generation.
        let used = ask(&scene.catalogue, GetSnapshot, DEADLINE).await.unwrap();
        let used = used.expect("a snapshot");
        for n in 2..7 {
            let before = scene.progress.borrow().active;
            scene.say(says("a", vec![service("web", &format!("10.0.0.{n}"))]));
            scene.progress(|progress| progress.active > before).await;
        }
        let newest = scene.progress.borrow().active;
        assert_eq!(scene.status().await.held, [newest, newest - 1, 1]);
        drop(used);
        eventually(DEADLINE, || async {
            scene.status().await.held == [newest, newest - 1]
        })
        .await;
    })
    .unwrap();
}

#[test]
fn metrics_follow() {
    run(async {
        let recorder = Recorder::default();
        let shared = recorder.clone();
        let mut scene = Scene::new(1, move |spec| spec.recorder = Some(shared));
        scene.say(SourceChange {
            source: "a".into(),
            upserts: vec![service("web", "10.0.0.1")],
            findings: Some(vec![Finding::new(Code(4), Level::Warning, "unknown field")]),
            synced: true,
            ..SourceChange::default()
        });
        scene.progress(Progress::is_ready).await;
        scene.findings().await;
        let text = recorder.render();
        for line in [
            "pointsman_config_generation 1",
            "pointsman_config_compile_seconds_count 1",
            "pointsman_config_findings{code=\"PM0004\",level=\"warning\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
        }
    })
    .unwrap();
}

#[test]
fn a_restarted_catalogue_serves_on_and_asks_all_sources_again() {
    run(async {
        let mut scene = Scene::new(1, |spec| {
            spec.sources = vec!["a".into(), "b".into()];
        });
        let mut sources = Vec::new();
        for (name, document) in [("a", "web"), ("b", "api")] {
            let knows = Arc::new(Mutex::new(vec![service(document, "10.0.0.1")]));
            let asked = Arc::new(AtomicUsize::new(0));
            let (k, a, to) = (
                Arc::clone(&knows),
                Arc::clone(&asked),
                scene.catalogue.clone(),
            );
            let spec = ActorSpec::new("source", 8, move |_, me: &Link<Source>| Source {
                name,
                knows: Arc::clone(&k),
                asked: Arc::clone(&a),
                to: to.clone(),
                me: me.clone(),
            });
            scene.overseer.start(spec);
            sources.push((knows, asked));
        }
        scene.progress(Progress::is_ready).await;
        assert_eq!(scene.got(0), [1]);
        // While it is down, one source loses a document.
        sources[1].0.lock().unwrap().clear();
        tell(&scene.catalogue, Fail);
        eventually(DEADLINE, || async { scene.status().await.restarts == 1 }).await;
        let progress = scene.progress(Progress::is_ready).await;
        // No generation with half of the sources was ever made or sent.
        eventually(DEADLINE, || async { scene.got(0).len() == 2 }).await;
        let status = scene.status().await;
        let documents: Vec<_> = status.revisions.iter().map(|it| it.documents).collect();
        assert_eq!(documents, [1, 2]);
        assert_eq!(scene.got(0), [1, 2]);
        assert!(progress.active >= 1);
        for (_, asked) in &sources {
            assert_eq!(asked.load(Ordering::SeqCst), 1);
        }
    })
    .unwrap();
}
