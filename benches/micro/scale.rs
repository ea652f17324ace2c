//! A large mesh: the time and memory to compile it, and the time one change takes.
//!
//! 100,000 services with 5 endpoints each and 20,000 VirtualServices of two rules. Every tenth
//! service has a TCP port beside its HTTP port, every tenth an undeclared one, so that listeners
//! of all kinds are many. A change is timed (processor time) from the changed [`World`] to the `Arc<Snapshot>`;
//! every change is another one, and the next begins with its result, as in a running gateway.
//!
//! `SCALE=10000 cargo bench -p pointsman-benches --bench scale` measures another size.
#![allow(clippy::print_stdout, reason = "its output")]

use pointsman_model::HostPattern;
use pointsman_model::{
    Destination, Given, HttpAction, HttpRoute, Kind, Object, Place, Protocol, ServicePort,
    VirtualService, WeightedDestination, World, matches::StringMatch,
};
use pointsman_route::{Contexts, Snapshot, Table, Tables};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

mod counting;
mod world;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

/// Endpoints of each service.
const ENDPOINTS: u32 = 5;
/// One VirtualService for so many services.
const PER_RULES: u32 = 5;
/// Changes of each kind.
const CHANGES: u32 = 40;

fn main() {
    // `cargo test --benches` runs it too, to see that it works.
    let is_test = std::env::args().any(|argument| argument == "--test");
    let services = match std::env::var("SCALE") {
        Ok(text) => text.parse().expect("SCALE is a number of services"),
        Err(_) if is_test || cfg!(debug_assertions) => 1_000,
        Err(_) => 100_000,
    };
    let begun = Clock::start();
    let before = counting::allocated();
    let mut mesh = Mesh::new(services);
    println!(
        "{services} services, {} VirtualServices, {} documents: {:.2?}, {} a service\n",
        services / PER_RULES,
        mesh.world.len(),
        begun.elapsed(),
        bytes(counting::allocated() - before, services),
    );
    mesh.compile();
    mesh.nothing();
    mesh.change("one endpoint moves", |world, round| {
        world.upsert(world::endpoints(
            round * 97 % services,
            (0..ENDPOINTS).map(|at| Ipv4Addr::new(11, 0, round as u8, at as u8)),
        ));
    });
    mesh.change("one VirtualService changes", |world, round| {
        world.upsert(rules(round * 31 % (services / PER_RULES), round + 2));
    });
    mesh.change(
        "one VirtualService goes away or comes back",
        |world, round| {
            let number = round / 2 * 31 % (services / PER_RULES);
            let object = rules(number, 1);
            if round % 2 == 0 {
                world.remove(object.key());
            } else {
                world.upsert(object);
            }
        },
    );
    mesh.change("one service goes away or comes back", |world, round| {
        // Not one that a rule sends to: the findings of that are another matter.
        let object = service(round / 2 * 95 % services + 3);
        if round % 2 == 0 {
            world.remove(object.key());
        } else {
            world.upsert(object);
        }
    });
}

struct Mesh {
    services: u32,
    world: World,
    contexts: Contexts,
    snapshot: Option<Arc<Snapshot>>,
}

impl Mesh {
    fn new(services: u32) -> Self {
        let documents = (0..services).flat_map(|number| {
            let rules = (number % PER_RULES == 0).then(|| rules(number / PER_RULES, 1));
            let base = u32::from(Ipv4Addr::new(12, 0, 0, 0)) + number * ENDPOINTS;
            let endpoints = world::endpoints(number, (base..base + ENDPOINTS).map(Ipv4Addr::from));
            [service(number), endpoints].into_iter().chain(rules)
        });
        Self {
            services,
            world: documents.collect(),
            contexts: Contexts::mesh(Given::default()),
            snapshot: None,
        }
    }

    fn next(&self) -> (Arc<Snapshot>, bool) {
        let previous = self.snapshot.as_deref();
        let compiled = Tables::compile(
            &self.world,
            &self.contexts,
            previous.map(|snapshot| &snapshot.tables),
            Table::compile,
        );
        assert!(compiled.findings.is_empty(), "{:?}", compiled.findings);
        let snapshot = Arc::new(Snapshot {
            generation: previous.map_or(1, |snapshot| snapshot.generation + 1),
            tables: compiled.tables,
        });
        (snapshot, compiled.changed)
    }

    /// Everything anew, three times; the last one stays.
    fn compile(&mut self) {
        let mut samples = Vec::new();
        let mut size = 0;
        let mut peak = 0;
        for _ in 0..3 {
            self.snapshot = None;
            let before = counting::allocated();
            counting::begin_peak();
            let begun = Clock::start();
            let (snapshot, _) = self.next();
            samples.push(begun.elapsed());
            size = counting::allocated() - before;
            peak = counting::peak() - before;
            self.snapshot = Some(snapshot);
        }
        let table = &self.snapshot.as_ref().expect("just made").tables.mesh();
        let endpoints: usize = table
            .clusters()
            .map(|cluster| size_of_val(&*cluster.endpoints))
            .sum();
        report("full compile", &mut samples);
        println!(
            "  table: {} a service, {} beside its endpoints; {} while it is made",
            bytes(size, self.services),
            bytes(size.saturating_sub(endpoints), self.services),
            bytes(peak, self.services),
        );
    }

    /// The same world again.
    fn nothing(&mut self) {
        let mut samples = Vec::new();
        for _ in 0..3 {
            let begun = Clock::start();
            let (_, changed) = black_box(self.next());
            samples.push(begun.elapsed());
            assert!(!changed, "nothing has changed");
        }
        report("nothing changes", &mut samples);
    }

    fn change(&mut self, what: &str, mut change: impl FnMut(&mut World, u32)) {
        let mut samples = Vec::new();
        let mut worlds = Vec::new();
        for round in 0..CHANGES {
            // As the catalogue's: shared with whoever compiles it.
            let begun = Clock::start();
            let shared = self.world.clone();
            change(&mut self.world, round);
            worlds.push(begun.elapsed());
            drop(shared);
            let begun = Clock::start();
            let (snapshot, changed) = self.next();
            samples.push(begun.elapsed());
            assert!(changed, "{what}: the change had no effect");
            self.snapshot = Some(snapshot);
        }
        report(what, &mut samples);
        report("  the world itself", &mut worlds);
    }
}

/// Processor time of this thread: the machine may have other things to do.
struct Clock(Duration);

impl Clock {
    fn start() -> Self {
        Self(Self::now())
    }

    fn elapsed(&self) -> Duration {
        Self::now() - self.0
    }

    fn now() -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(now).expect("a clock that runs forwards")
    }
}

fn report(what: &str, samples: &mut [Duration]) {
    samples.sort_unstable();
    let median = samples[samples.len() / 2];
    let worst = samples[samples.len() - 1];
    println!(
        "{what}: {median:.2?} (worst of {}: {worst:.2?})",
        samples.len()
    );
}

fn bytes(total: usize, services: u32) -> String {
    format!("{} B", total / services as usize)
}

/// An HTTP service, some with a second port.
fn service(number: u32) -> Object {
    let Object::Service(mut object) = world::service(number) else {
        unreachable!("a service");
    };
    let second = |name: &str, number, protocol| ServicePort {
        name: name.into(),
        number,
        protocol,
        target: Some(number),
        target_name: None,
        node_port: None,
        place: Place::nowhere(),
    };
    let service = Arc::make_mut(&mut object);
    match number % 10 {
        1 => service.ports.push(second("tcp", 6379, Protocol::Tcp)),
        2 => service.ports.push(second("any", 9000, Protocol::Auto)),
        _ => {}
    }
    Object::Service(object)
}

/// A VirtualService for service `5 * number`: a canary for one user, the rest split.
fn rules(number: u32, weight: u32) -> Object {
    let own = number * PER_RULES;
    let to = |number: u32, weight| WeightedDestination {
        destination: Destination {
            host: world::host(number),
            subset: None,
            port: Some(world::PORT),
            place: Place::nowhere(),
        },
        weight,
        headers: Default::default(),
    };
    let mut canary = world::under("/api/");
    canary.headers = vec![("end-user".into(), StringMatch::Exact("jason".into()))];
    let rule = |index, matches, route| HttpRoute {
        name: None,
        index,
        delegated: None,
        matches,
        action: HttpAction::Route(route),
        rewrite: None,
        headers: Default::default(),
        timeout: None,
        retries: None,
        fault: None,
        mirrors: Vec::new(),
        cors: None,
        place: Place::nowhere(),
    };
    Object::VirtualService(Arc::new(VirtualService {
        meta: world::meta(Kind::VirtualService, &format!("v{number}")),
        hosts: vec![HostPattern::new(&world::host(own))],
        gateways: Vec::new(),
        http: vec![
            rule(0, vec![canary], vec![to(own + 1, 1)]),
            rule(1, Vec::new(), vec![to(own, 100), to(own + 1, weight)]),
        ],
        tls: Vec::new(),
        tcp: Vec::new(),
    }))
}
