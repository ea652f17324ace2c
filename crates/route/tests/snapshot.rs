//! Several kinds of clients, each with its own table.
mod common;

use common::{fixture_and, object};
use pointsman_model::{Given, Object, OutboundPolicy, World};
use pointsman_route::{CompiledTables, Contexts, NoTrace, Request, Table, Tables, Via};
use std::{net::IpAddr, sync::Arc};

fn pod(namespace: &str, name: &str, labels: &str, address: &str) -> Object {
    object(&format!(
        "pod {name} ns={namespace} ip={address} labels={labels}"
    ))
}

fn world(lines: &[&str], pods: Vec<Object>) -> World {
    let mut world = fixture_and(lines);
    world.pods.clear();
    pods.into_iter().for_each(|pod| world.upsert(pod));
    world
}

fn contexts(limit: usize) -> Contexts {
    Contexts {
        known_clients: limit,
        ..Contexts::mesh(Given::default())
    }
}

fn compile(world: &World, contexts: &Contexts, previous: Option<&Tables>) -> CompiledTables {
    Tables::compile(world, contexts, previous, Table::compile)
}

/// The label of the rule that takes a request to port 80 from this address.
fn taken(tables: &Tables, client: &str, host: &str) -> Option<Arc<str>> {
    let client: IpAddr = client.parse().expect("ip");
    let table = tables.get(tables.number(Via::Mesh, client));
    let original = "10.0.0.10:80".parse().expect("address");
    let http = pointsman_route::Connection {
        original,
        source: None,
        class: pointsman_route::Class::Http,
        sni: None,
        mesh_alpn: false,
    };
    let pointsman_route::ConnectionDecision::Http(id) =
        table.connection(table.listener(original), &http, &mut NoTrace)
    else {
        panic!("port 80 is HTTP")
    };
    let request = Request {
        method: "GET",
        authority: host,
        path: "/",
        query: None,
        scheme: "http",
        fields: &[][..],
    };
    match table.request(id, &request, &mut NoTrace) {
        pointsman_route::RequestDecision::Rule(matched) => {
            Some(Arc::clone(&matched.rule.origin.label))
        }
        _ => None,
    }
}

/// HST-5, HST-22: a short name is completed with the namespace of whoever asks.
#[test]
fn a_pod_has_the_short_names_of_its_namespace() {
    let pods = vec![
        pod("default", "a", "app=a", "10.1.0.1"),
        pod("prod", "b", "app=b", "10.1.0.2"),
    ];
    let made = compile(&world(&[], pods), &contexts(8), None);
    let route_of = |client, host| taken(&made.tables, client, host);
    let own = "default route of api.prod.svc.cluster.local";
    assert_eq!(route_of("10.1.0.2", "api").as_deref(), Some(own));
    assert_eq!(route_of("10.1.0.2", "web"), None);
    assert_eq!(route_of("10.1.0.1", "api"), None, "no api in default");
    assert_eq!(route_of("10.9.9.9", "api"), None, "nobody known");
    // The namespace of the settings needs no second table.
    assert_eq!(made.tables.len(), 2);
    assert_eq!(made.tables.known_clients(), 2);
}

/// VS-H-11, VSB-30: labels count, but only those that a rule asks for.
#[test]
fn pods_that_differ_in_no_label_that_is_asked_for_share_a_table() {
    let rules = [
        "vs v hosts=web",
        "  http labels app=canary -> 201",
        "  http none -> 202",
    ];
    let pods = vec![
        pod("default", "a", "app=canary,pod-template-hash=1", "10.1.0.1"),
        pod("default", "b", "app=canary,pod-template-hash=2", "10.1.0.2"),
        pod("default", "c", "app=other", "10.1.0.3"),
    ];
    let made = compile(&world(&rules, pods), &contexts(8), None);
    for (client, rule) in [("10.1.0.1", "#0"), ("10.1.0.2", "#0"), ("10.1.0.3", "#1")] {
        let label = taken(&made.tables, client, "web").expect("a rule");
        assert_eq!(&*label, format!("default/v{rule}"), "{client}");
    }
    assert_eq!(made.tables.len(), 3);
}

#[test]
fn an_address_of_several_pods_tells_nothing() {
    let pods = vec![
        pod("prod", "a", "app=a", "10.1.0.1"),
        pod("prod", "b", "app=b", "10.1.0.1"),
    ];
    let made = compile(&world(&[], pods), &contexts(8), None);
    assert_eq!(made.tables.len(), 1);
    assert_eq!(taken(&made.tables, "10.1.0.1", "api"), None);
}

#[test]
fn the_host_network_tells_nothing() {
    let Object::Pod(agent) = pod("prod", "a", "app=a", "10.1.0.1") else {
        unreachable!("a pod")
    };
    let agent = pointsman_model::Pod {
        host_network: true,
        ..(*agent).clone()
    };
    let world = world(&[], vec![Object::Pod(agent.into())]);
    assert_eq!(compile(&world, &contexts(8), None).tables.len(), 1);
}

#[test]
fn beyond_the_limit_the_kinds_with_the_fewest_pods_are_not_told_apart() {
    let pods = vec![
        pod("prod", "a", "app=a", "10.1.0.1"),
        pod("prod", "b", "app=b", "10.1.0.2"),
        pod("rare", "c", "app=c", "10.1.0.3"),
    ];
    let world = world(&[], pods);
    let made = compile(&world, &contexts(1), None);
    assert_eq!(made.tables.len(), 2);
    assert!(taken(&made.tables, "10.1.0.2", "api").is_some());
    let told: Vec<_> = made.findings.iter().map(|it| it.code.0).collect();
    assert!(told.contains(&312), "{told:?}");
    let none = compile(&world, &contexts(0), None);
    assert_eq!(none.tables.len(), 1);
    assert!(none.findings.iter().all(|it| it.code.0 != 312));
}

#[test]
fn equal_documents_give_the_very_same_tables() {
    let pods = vec![pod("prod", "b", "app=b", "10.1.0.2")];
    let world = world(&[], pods);
    let first = compile(&world, &contexts(8), None);
    assert!(first.changed);
    let second = compile(&world, &contexts(8), Some(&first.tables));
    assert!(!second.changed);
    for (a, b) in first.tables.all().iter().zip(second.tables.all()) {
        assert!(Arc::ptr_eq(a, b));
    }
    // Clusters that are equal in both eyes exist once.
    let [mesh, prod] = second.tables.all() else {
        panic!("two tables")
    };
    let shared = mesh.clusters().filter(|own| {
        let other = prod.cluster_by_name(&own.name);
        other.is_some_and(|(_, other)| Arc::ptr_eq(own, other))
    });
    assert_eq!(shared.count(), mesh.clusters().len());
}

#[test]
fn a_pod_that_moves_is_a_change() {
    let before = compile(
        &world(&[], vec![pod("prod", "b", "app=b", "10.1.0.2")]),
        &contexts(8),
        None,
    );
    let after = world(&[], vec![pod("prod", "b", "app=b", "10.1.0.4")]);
    let after = compile(&after, &contexts(8), Some(&before.tables));
    assert!(after.changed);
    assert!(taken(&after.tables, "10.1.0.4", "api").is_some());
    assert!(taken(&after.tables, "10.1.0.2", "api").is_none());
}

#[test]
fn a_sidecar_speaks_of_the_pods_it_selects() {
    // VIS-10, LIS-65
    let lines = ["sidecar narrow workload=app=a egress=~/* mode=registry"];
    let pods = vec![
        pod("default", "a", "app=a", "10.9.0.1"),
        pod("default", "b", "app=b", "10.9.0.2"),
    ];
    let tables = compile(&world(&lines, pods), &contexts(4), None).tables;
    let policy = |client: &str| {
        let client = client.parse().expect("ip");
        let table = tables.get(tables.number(Via::Mesh, client));
        (
            table.context().outbound_policy,
            table.listeners().is_empty(),
        )
    };
    assert_eq!(policy("10.9.0.1"), (OutboundPolicy::RegistryOnly, true));
    assert_eq!(policy("10.9.0.2"), (OutboundPolicy::AllowAny, false));
    assert_eq!(policy("10.9.0.3"), (OutboundPolicy::AllowAny, false));
}

#[test]
fn the_meshs_own_document_is_followed_and_gateways_heed_it_but_no_sidecar() {
    // LIS-65, VIS-9
    let contexts = Contexts {
        gateway: Some(Given {
            namespace: "prod".into(),
            ..Given::default()
        }),
        ..contexts(0)
    };
    let before = compile(&world(&[], Vec::new()), &contexts, None);
    let lines = [
        "mesh istio ns=istio-system mode=registry retries=4",
        "sidecar default ns=prod mode=any egress=~/*",
    ];
    let after = compile(&world(&lines, Vec::new()), &contexts, Some(&before.tables));
    assert!(after.changed);
    let mesh = after.tables.mesh().context().clone();
    assert_eq!(mesh.outbound_policy, OutboundPolicy::RegistryOnly);
    assert_eq!(mesh.retries.map(|it| it.attempts), Some(4));
    let gateway = after.tables.gateway().expect("asked for").context();
    assert_eq!(gateway.outbound_policy, OutboundPolicy::RegistryOnly);
    assert_eq!(gateway.sidecar, None);
    let again = compile(&world(&lines, Vec::new()), &contexts, Some(&after.tables));
    assert!(!again.changed);
}

/// Who is who is not asked again when endpoints change, and asked again when Pods do.
#[test]
fn clients_stay_who_they_are_when_endpoints_change() {
    let lines = [
        "vs v hosts=web",
        "http labels app=shop -> 201",
        "http none -> 202",
    ];
    let pods = vec![pod("default", "s", "app=shop", "10.2.0.1")];
    let mut world = world(&lines, pods);
    let first = compile(&world, &contexts(4), None);
    world.upsert(object("eps web ports=http:8080 pods=w1@10.1.0.9"));
    let second = compile(&world, &contexts(4), Some(&first.tables));
    assert!(second.changed);
    assert_eq!(second.findings, first.findings);
    world.upsert(pod("default", "s", "app=shop", "10.2.0.2"));
    let third = compile(&world, &contexts(4), Some(&second.tables));
    assert!(third.changed);
    let who = |tables: &Tables| {
        ["10.2.0.1", "10.2.0.2"].map(|client| taken(tables, client, "web").expect("a rule"))
    };
    let (shop, other) = ("default/v#0".into(), "default/v#1".into());
    for tables in [&first.tables, &second.tables] {
        assert_eq!(who(tables), [Arc::clone(&shop), Arc::clone(&other)]);
    }
    assert_eq!(who(&third.tables), [other, shop]);
}
