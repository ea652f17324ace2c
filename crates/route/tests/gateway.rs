//! The table of a gateway beside its decisions: what must be bound, what people are told, what is
//! shared with the table before.
mod common;

use common::{add, fixture_and};
use pointsman_model::{ClientContext, Given, World};
use pointsman_route::{Purpose, Table};

const EDGE: [&str; 12] = [
    "gw edge ns=gw created=1",
    "server 80/HTTP hosts=*",
    "server 443/TLS hosts=p.example.com tls=PASSTHROUGH",
    "server 8443/HTTPS hosts=s.example.com tls=SIMPLE",
    "server 9000/TCP hosts=* bind=10.0.0.1",
    "gw late ns=gw created=2",
    "server 80/TCP hosts=*",
    "server 8443/HTTPS hosts=s.example.com tls=SIMPLE",
    "vs v hosts=a.example.com gateways=gw/edge",
    "http none -> web",
    "tcp none -> raw:6000",
    "vs w hosts=* gateways=gw/edge",
];

fn context(world: &World) -> ClientContext {
    Given::default().gateway(world)
}

/// GW-3, GW-5, GW-48: a port without a chain is not opened.
#[test]
fn binds_are_the_ports_of_servers_that_serve() {
    let world = fixture_and(&EDGE);
    let table = Table::compile(&world, &context(&world), None).table;
    let binds: Vec<String> = table
        .binds()
        .iter()
        .map(|bind| bind.address.to_string())
        .collect();
    assert_eq!(binds, ["0.0.0.0:80", "0.0.0.0:8443", "10.0.0.1:9000"]);
    let mut purposes = table.binds().iter().map(|bind| bind.purpose);
    assert!(purposes.all(|purpose| purpose == Purpose::Gateway));
}

/// GW-31, GW-36, GW-43.
#[test]
fn servers_that_serve_nobody_are_told() {
    let world = fixture_and(&EDGE);
    let findings = Table::compile(&world, &context(&world), None).findings;
    let told = |code: u16| -> Vec<&str> {
        let found = findings.iter().filter(|it| it.code.0 == code);
        found.map(|it| &*it.message).collect()
    };
    let [tcp, https] = told(330)[..] else {
        panic!("{findings:?}");
    };
    assert!(
        tcp.contains("plain HTTP already, by gw/edge.servers#0"),
        "{tcp}"
    );
    assert!(
        https.contains("host s.example.com belongs to gw/edge.servers#2"),
        "{https}"
    );
    assert_eq!(told(331).len(), 2, "{findings:?}");
    assert_eq!(told(333).len(), 1, "{findings:?}");
}

/// Without a served Gateway there is no table to speak of.
#[test]
fn a_gateway_without_gateways_has_nothing() {
    let mut world = fixture_and(&[]);
    let empty = Table::compile(&world, &context(&world), None).table;
    assert!(empty.binds().is_empty() && empty.clusters().next().is_none());
    assert!(!Table::compile(&world, &context(&world), Some(&empty)).changed);
    add(&mut world, &EDGE);
    assert!(Table::compile(&world, &context(&world), Some(&empty)).changed);
}

/// Equal documents change nothing, and a changed rule changes its own host alone.
#[test]
fn what_did_not_change_is_shared() {
    let lines = [&EDGE[..], &["http none -> 201"]].concat();
    let world = fixture_and(&lines);
    let first = Table::compile(&world, &context(&world), None).table;
    let again = Table::compile(&fixture_and(&lines), &context(&world), Some(&first));
    assert!(!again.changed);
    let mut other = world.clone();
    add(
        &mut other,
        &["vs w hosts=* gateways=gw/edge", "http none -> 202"],
    );
    let second = Table::compile(&other, &context(&other), Some(&first));
    assert!(second.changed);
    let host = |table: &Table, name: &str| {
        let all = table.http_tables();
        let mut found = all.filter_map(|it| it.find(name)).map(|it| it.1.clone());
        found.next().expect("the host")
    };
    let a = "a.example.com";
    assert!(std::sync::Arc::ptr_eq(
        &host(&first, a),
        &host(&second.table, a)
    ));
    assert_ne!(host(&first, "b.org"), host(&second.table, "b.org"));
}
