//! Routing one request: its original destination to a listener, the listener to its table of
//! hosts, Host and path to a rule. This is what `route` adds to a request on the hot path.
//!
//! Not measured: reading the head, choosing an endpoint, and anything a matched rule has done to
//! the request. Nothing watches the decision ([`NoTrace`]), as on the data path.
//!
//! `same_host` asks for one host again and again, which keeps its entry in the processor's cache;
//! `all_hosts` goes round all of them, so that at 100,000 each lookup finds its entry cold.

use divan::Bencher;
use pointsman_model::{ClientContext, Object, World, matches::StringMatch};
use pointsman_route::{
    Class, Connection, ConnectionDecision, NoTrace, Request, RequestDecision, Table,
};
use std::net::SocketAddr;
use std::sync::Arc;

mod world;

/// The product's allocator, which has a share in these figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// Services, each with a host.
const HOSTS: [u32; 3] = [10, 1_000, 100_000];
/// Rules on one host; the request matches the last.
const RULES: [u32; 4] = [1, 10, 100, 1_000];

fn compile(world: &World) -> Table {
    Table::compile(world, &ClientContext::default(), None).table
}

/// What a connection task does with a request, down to the rule. Gives the number of alternatives
/// of the rule, and fails if none was found: a benchmark of misses would look splendid.
fn route(table: &Table, original: SocketAddr, authority: &str, path: &str) -> usize {
    let fields: Vec<(String, String)> = Vec::new();
    route_with(table, original, authority, path, &fields)
}

fn route_with(
    table: &Table,
    original: SocketAddr,
    authority: &str,
    path: &str,
    fields: &Vec<(String, String)>,
) -> usize {
    let connection = Connection {
        original,
        source: None,
        class: Class::Http,
        sni: None,
        mesh_alpn: false,
    };
    let listener = table.listener(original);
    let decision = table.connection(listener, &connection, &mut NoTrace);
    let ConnectionDecision::Http(hosts) = decision else {
        panic!("not HTTP: {decision:?}");
    };
    let request = Request {
        method: "GET",
        authority,
        path,
        query: None,
        scheme: "http",
        fields,
    };
    match table.request(hosts, &request, &mut NoTrace) {
        RequestDecision::Rule(matched) => matched.rule.alternatives.len(),
        other => panic!("no rule: {other:?}"),
    }
}

/// An original destination and the Host that goes with it.
fn visit(number: u32) -> (SocketAddr, Arc<str>) {
    let original = SocketAddr::new(world::address(number), world::PORT);
    (original, world::host(number))
}

#[divan::bench(args = HOSTS, sample_size = 1_000)]
fn same_host(bencher: Bencher<'_, '_>, hosts: u32) {
    let table = compile(&world::world(hosts));
    let (original, host) = visit(hosts / 2);
    bencher.bench(|| route(&table, divan::black_box(original), &host, "/"));
}

#[divan::bench(args = HOSTS, sample_size = 1_000)]
fn all_hosts(bencher: Bencher<'_, '_>, hosts: u32) {
    let table = compile(&world::world(hosts));
    // A stride without a common divisor with the number of hosts meets them all, out of order.
    let visits: Vec<_> = (0..hosts)
        .map(|n| visit(u32::try_from(u64::from(n) * 7_919 % u64::from(hosts)).expect("a host")))
        .collect();
    let mut next = visits.iter().cycle();
    bencher.bench_local(|| {
        let (original, host) = next.next().expect("a cycle");
        route(&table, *original, host, "/")
    });
}

#[divan::bench(args = RULES, sample_size = 1_000)]
fn last_rule(bencher: Bencher<'_, '_>, rules: u32) {
    let mut world = world::world(10);
    world.upsert(world::rules(rules));
    let table = compile(&world);
    let (original, host) = visit(0);
    let path = format!("/area-{}/item", rules - 1);
    let one_alternative = route(&table, original, &host, &path);
    assert_eq!(one_alternative, 1, "the default route took the request");
    bencher.bench(|| route(&table, original, &host, divan::black_box(&path)));
}

/// Rules for the same paths that differ in the value of a header only.
#[divan::bench(args = RULES, sample_size = 1_000)]
fn last_header(bencher: Bencher<'_, '_>, rules: u32) {
    let mut world = world::world(10);
    let mut object = world::rules(rules);
    if let Object::VirtualService(service) = &mut object {
        let service = Arc::get_mut(service).expect("unshared");
        for rule in &mut service.http {
            let value = format!("user-{}", rule.index);
            for one in &mut rule.matches {
                one.uri = Some(StringMatch::Prefix("/".into()));
                one.headers = vec![("end-user".into(), StringMatch::Exact(value.as_str().into()))];
            }
        }
    }
    world.upsert(object);
    let table = compile(&world);
    let (original, host) = visit(0);
    let user = ("end-user".to_owned(), format!("user-{}", rules - 1));
    let fields = vec![("accept".to_owned(), "*/*".to_owned()), user];
    bencher.bench(|| route_with(&table, original, &host, "/item", divan::black_box(&fields)));
}
