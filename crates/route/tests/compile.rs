//! What a compilation shares with the one before, listens on, and tells.
mod common;

use common::{add, fixture, fixture_and, object};
use pointsman_model::{ClientContext, Finding, KnownNames, Level, World, context::EntryCapture};
use pointsman_route::{
    Action, Class, ClusterId, Connection, ConnectionDecision, HostTable, ListenerId, Purpose, Table,
};
use std::{net::SocketAddr, sync::Arc, time::Instant};

fn compile(world: &World) -> Table {
    Table::compile(world, &ClientContext::default(), None).table
}

fn findings(lines: &[&str]) -> Vec<Finding> {
    Table::compile(&fixture_and(lines), &ClientContext::default(), None).findings
}

fn only(lines: &[&str]) -> Finding {
    let mut all = findings(lines);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

fn shared_table(table: &Table, port: u16) -> &Arc<HostTable> {
    let tables = table.http_tables();
    let mut shared = tables.filter(|table| table.port() == port && table.virtual_hosts().len() > 1);
    shared.next().expect("a shared table")
}

fn id_of(table: &Table, label: &str) -> ClusterId {
    let cluster = table.clusters().find(|it| &*it.label == label);
    let name = &cluster.unwrap_or_else(|| panic!("{label}")).name;
    table.cluster_by_name(name).expect("known").0
}

const WEB: &str = "outbound|80||web.default.svc.cluster.local";

#[test]
fn equal_documents_change_nothing() {
    let world = fixture_and(&["vs v hosts=web", "http regex /a.* -> web"]);
    let first = Table::compile(&world, &ClientContext::default(), None);
    assert!(first.changed);
    // The same text read again: equal, but other allocations.
    let again = fixture_and(&["vs v hosts=web", "http regex /a.* -> web"]);
    let second = Table::compile(&again, &ClientContext::default(), Some(&first.table));
    assert!(!second.changed);
    for (a, b) in first.table.clusters().zip(second.table.clusters()) {
        assert!(Arc::ptr_eq(a, b), "{}", a.label);
    }
    for (a, b) in first.table.http_tables().zip(second.table.http_tables()) {
        assert!(Arc::ptr_eq(a, b), "port {}", a.port());
    }
}

#[test]
fn an_endpoint_changes_its_clusters_and_no_host_table() {
    let mut world = fixture();
    let first = compile(&world);
    add(&mut world, &["eps web ports=http:8080 pods=w1@10.1.0.1"]);
    let second = Table::compile(&world, &ClientContext::default(), Some(&first));
    assert!(second.changed);
    let changed: Vec<&str> = second
        .table
        .clusters()
        .filter(|cluster| !first.clusters().any(|own| Arc::ptr_eq(own, cluster)))
        .map(|cluster| &*cluster.label)
        .collect();
    assert_eq!(changed, [WEB]);
    assert!(Arc::ptr_eq(
        shared_table(&first, 80),
        shared_table(&second.table, 80)
    ));
}

#[test]
fn a_rule_changes_its_virtual_host_only() {
    let mut world = fixture();
    let first = compile(&world);
    add(&mut world, &["vs v hosts=web", "http none -> 201"]);
    let second = Table::compile(&world, &ClientContext::default(), Some(&first));
    assert!(second.changed);
    let (before, after) = (shared_table(&first, 80), shared_table(&second.table, 80));
    let same = |host: &str| {
        let (a, b) = (
            before.find(host).expect("before").1,
            after.find(host).expect("after").1,
        );
        Arc::ptr_eq(a, b)
    };
    assert!(!same("web"));
    assert!(same("api.prod"));
    let grpc = |table: &Table| Arc::as_ptr(shared_table_or_single(table, 50051));
    assert_eq!(grpc(&first), grpc(&second.table));
}

fn shared_table_or_single(table: &Table, port: u16) -> &Arc<HostTable> {
    let mut tables = table.http_tables();
    tables.find(|table| table.port() == port).expect("a table")
}

#[test]
fn clusters_keep_their_numbers() {
    let mut world = fixture();
    let first = compile(&world);
    // `aaa` sorts before everything: positions shift, numbers must not.
    add(&mut world, &["svc aaa ip=10.0.0.99 ports=http:80/http"]);
    let second = Table::compile(&world, &ClientContext::default(), Some(&first)).table;
    assert_eq!(id_of(&first, WEB), id_of(&second, WEB));
    let aaa = id_of(&second, "outbound|80||aaa.default.svc.cluster.local");
    assert_eq!(second.cluster_slots(), first.cluster_slots() + 1);
    // A freed number serves the next newcomer, and ids out of date never panic.
    world.remove(object("svc aaa ip=10.0.0.99 ports=http:80/http").key());
    let third = Table::compile(&world, &ClientContext::default(), Some(&second)).table;
    assert!(third.cluster(aaa).endpoints.is_empty());
    assert_eq!(&*third.cluster(aaa).label, "vacant");
    add(&mut world, &["svc bbb ip=10.0.0.98 ports=http:80/http"]);
    let fourth = Table::compile(&world, &ClientContext::default(), Some(&third)).table;
    assert_eq!(
        id_of(&fourth, "outbound|80||bbb.default.svc.cluster.local"),
        aaa
    );
    assert_eq!(id_of(&fourth, WEB), id_of(&first, WEB));
}

/// One table serves all threads.
#[test]
fn a_table_is_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<pointsman_route::Snapshot>();
}

#[test]
fn an_empty_table_passes_everything() {
    let table = Table::empty(ClientContext::default());
    let original: SocketAddr = "10.0.0.10:80".parse().expect("address");
    assert_eq!(table.listener(original), ListenerId::VIRTUAL_OUTBOUND);
    assert!(table.inspection(ListenerId::VIRTUAL_OUTBOUND).is_none());
    let connection = Connection {
        original,
        source: None,
        class: Class::Tcp,
        sni: None,
        mesh_alpn: false,
    };
    let decision = table.connection(
        ListenerId::VIRTUAL_OUTBOUND,
        &connection,
        &mut pointsman_route::NoTrace,
    );
    assert_eq!(decision, ConnectionDecision::Passthrough);
}

#[test]
fn binds_are_addresses_for_bytes_and_wildcards_for_names() {
    let table = compile(&fixture());
    let mut binds: Vec<String> = table
        .binds()
        .iter()
        .map(|bind| format!("{} {:?}", bind.address, bind.purpose))
        .collect();
    binds.sort();
    assert_eq!(
        binds,
        [
            "0.0.0.0:443 Wildcard",
            "0.0.0.0:50051 Wildcard",
            "0.0.0.0:7080 Wildcard",
            "0.0.0.0:80 Wildcard",
            "10.0.0.30:80 Address",
            "10.0.0.30:9000 Address",
            "10.0.0.40:6000 Address",
            "10.0.0.40:80 Address",
            "10.0.0.50:443 Address",
            "10.1.0.11:7000 Endpoint",
            "10.1.0.11:7070 Endpoint",
            "10.1.0.11:7443 Endpoint",
            "10.1.0.12:7000 Endpoint",
            "10.1.0.12:7070 Endpoint",
            "10.1.0.12:7443 Endpoint",
            "203.0.113.10:443 Address",
            "203.0.113.10:5432 Address",
        ]
    );
    assert!(
        table
            .binds()
            .iter()
            .any(|bind| bind.purpose == Purpose::Wildcard)
    );
    assert!(!table.wants_ipv6_wildcard());
    let six = compile(&fixture_and(&["svc six ip=fd00::5 ports=tcp:80/tcp"]));
    assert!(six.wants_ipv6_wildcard());
}

#[test]
fn only_what_needs_it_is_looked_into() {
    let table = compile(&fixture());
    let look = |address: &str| {
        let id = table.listener(address.parse().expect("address"));
        let found = table.inspection(id);
        (found.http, found.tls, found.server_may_speak_first)
    };
    assert_eq!(look("10.0.0.40:6000"), (false, false, false)); // TCP: PS-40
    assert_eq!(look("10.0.0.50:443"), (false, false, false)); // TLS on its own address
    assert_eq!(look("1.2.3.4:443"), (false, true, false)); // server names: PS-41
    assert_eq!(look("10.0.0.10:80"), (true, false, false)); // HTTP: PS-42
    assert_eq!(look("10.0.0.30:9000"), (true, false, true)); // auto: PS-43
    assert_eq!(look("1.2.3.4:1"), (false, false, false));
}

#[test]
fn an_unknown_subset_is_told_with_the_nearest_name() {
    let finding = only(&[
        "dr d host=web subsets=v1:version=v1,stable:version=v2",
        "vs v hosts=web",
        "http none -> web/stabel",
    ]);
    assert_eq!(finding.code.to_string(), "PM0101");
    assert_eq!(
        finding.message,
        r#"subset "stabel" is not defined for web.default.svc.cluster.local"#
    );
    assert_eq!(finding.help, r#"did you mean "stable"?"#);
    assert!(finding.effect.contains("503 NC"), "{}", finding.effect);
    assert_eq!(finding.place.expect("place").to_string(), "case.yaml:3");
    assert!(
        finding
            .related
            .expect("related")
            .label
            .contains("DestinationRule default/d")
    );
}

#[test]
fn an_unknown_host_is_told_with_where_it_is() {
    let elsewhere = only(&["vs v hosts=web", "http none -> api"]);
    assert_eq!(elsewhere.code.to_string(), "PM0102");
    assert_eq!(
        elsewhere.help,
        "a Service api exists in namespace prod: write api.prod.svc.cluster.local"
    );
    let dotted = only(&["vs v hosts=web", "http none -> api.prod"]);
    assert!(
        dotted
            .help
            .contains("write the full name, api.prod.svc.cluster.local")
    );
    let alias = only(&["vs v hosts=web", "http none -> alx"]);
    assert!(
        alias
            .help
            .contains("a ServiceEntry for unknown.example.net repairs it")
    );
    // A rule that no traffic can reach is checked too.
    let unreachable = only(&["vs v hosts=nobody.example", "tcp port 9 -> nosuch"]);
    assert_eq!(unreachable.code.to_string(), "PM0102");
}

#[test]
fn an_unknown_port_is_told_with_the_known_ones() {
    let finding = only(&["vs v hosts=web", "http none -> raw:81"]);
    assert_eq!(finding.code.to_string(), "PM0103");
    assert_eq!(finding.help, "its ports are: 80, 6000");
}

#[test]
fn shadowed_rules_are_told() {
    let shadowed = |lines: &[&str]| -> Vec<String> {
        let all = findings(lines);
        let codes = all.iter().filter(|one| one.code.to_string() == "PM0207");
        codes.map(|one| one.message.clone()).collect()
    };
    assert_eq!(
        shadowed(&[
            "vs v hosts=web",
            "http prefix /a -> 201",
            "http none -> 202",
            "http prefix /b -> 203"
        ]),
        ["rule #2 can never match, rule #1 takes everything it would"]
    );
    assert_eq!(
        shadowed(&[
            "vs v hosts=web",
            "http prefix /a -> 201",
            "http exact /abc & header x present -> 202"
        ]),
        ["rule #1 can never match, rule #0 takes everything it would"]
    );
    // Another client, another port, a narrower first rule: all reachable.
    let reachable: &[&[&str]] = &[
        &["vs v hosts=web", "http port 81 -> 201", "http none -> 202"],
        &[
            "vs v hosts=web",
            "http method exact GET -> 201",
            "http prefix /a -> 202",
        ],
        &[
            "vs v hosts=web",
            "http exact /A & icase -> 201",
            "http exact /ab -> 202",
        ],
        &[
            "vs v hosts=web",
            "http prefix /a | prefix /b -> 201",
            "http prefix /b | prefix /c -> 202",
        ],
        &[
            "vs v hosts=web",
            "http without x present -> 201",
            "http none -> 202",
        ],
    ];
    for lines in reachable {
        assert!(shadowed(lines).is_empty(), "{lines:?}");
    }
}

#[test]
fn a_second_virtual_service_is_told() {
    let finding = only(&[
        "vs young hosts=web created=2",
        "http none -> 201",
        "vs old hosts=web created=1",
        "http none -> 202",
    ]);
    assert_eq!(finding.code.to_string(), "PM0208");
    assert_eq!(finding.object.expect("object").name.as_ref(), "young");
    assert!(finding.message.contains("VirtualService default/old"));
    assert_eq!(finding.level, Level::Warning);

    // Where the older one leaves ports or clients to others, that is no mistake.
    let finding = only(&[
        "vs young hosts=web created=2",
        "http none -> 201",
        "vs old hosts=web created=1",
        "http port 81 -> 202",
    ]);
    assert_eq!(finding.level, Level::Info);
    assert!(finding.effect.contains("no rule of the first can apply"));

    // Behind one that leaves nothing there is nothing to be asked for.
    let findings = findings(&[
        "vs first hosts=web created=1",
        "http port 81 -> 201",
        "vs second hosts=web created=2",
        "http none -> 202",
        "vs third hosts=web created=3",
        "http none -> 203",
    ]);
    let [third, second] = findings.as_slice() else {
        panic!("{findings:?}");
    };
    assert_eq!((third.level, second.level), (Level::Warning, Level::Info));
    assert!(third.message.contains("default/second"), "{third}");
    assert!(third.effect.contains("default/third are never asked"));

    // Of a wildcard the first one is the only one, whatever its sections and restrictions (VSB-7).
    for old in ["http port 81 -> 201", "tcp none -> raw:6000"] {
        let finding = only(&[
            "vs old hosts=*.default.svc.cluster.local created=1",
            old,
            "vs young hosts=*.default.svc.cluster.local created=2",
            "http none -> 202",
        ]);
        assert_eq!(finding.level, Level::Warning, "{old}");
        assert!(finding.effect.contains("never asked for the services"));
    }
}

#[test]
fn an_entry_without_addresses_is_guarded_and_told() {
    let lines = ["se legacy hosts=db.example.com ports=tcp:5432/tcp res=dns ep=db1.example.com"];
    let world = fixture_and(&lines);
    let mut context = ClientContext::default();
    let blind = Table::compile(&world, &context, None);
    let finding = blind.findings.first().expect("told");
    assert_eq!(finding.code.to_string(), "PM0310");
    assert!(
        finding.effect.contains("no connection"),
        "{}",
        finding.effect
    );
    assert_eq!(
        common::case::outcome(&blind.table, "conn @198.51.100.7:5432"),
        "pass"
    );
    // DNS found an address: it is admitted from then on, and no other.
    let mut names = KnownNames::default();
    names.insert("db1.example.com", ["198.51.100.7".parse().expect("ip")]);
    let mut world = world.clone();
    world.names = Arc::new(names);
    let seeing = Table::compile(&world, &context, Some(&blind.table));
    assert!(seeing.changed);
    let outcome = |input: &str| common::case::outcome(&seeing.table, input);
    assert_eq!(
        outcome("conn @198.51.100.7:5432"),
        "bytes db.example.com:5432 [198.51.100.7:5432]"
    );
    assert_eq!(outcome("conn @198.51.100.8:5432"), "pass");
    context.entry_capture = EntryCapture::Port;
    let greedy = Table::compile(&world, &context, None);
    assert!(
        greedy.findings[0]
            .effect
            .starts_with("every connection to port 5432")
    );
}

#[test]
fn a_taken_address_is_told() {
    let finding = only(&[
        "svc older ip=10.0.0.90 ports=tcp:6500/tcp created=1",
        "svc younger ip=10.0.0.90 ports=tcp:6500/tcp created=2",
    ]);
    assert_eq!(finding.code.to_string(), "PM0311");
    assert_eq!(
        finding.message,
        "10.0.0.90:6500 is already taken by Service default/older"
    );
    let mongo = findings(&[
        "svc m ip=10.0.0.90 ports=m:6500/mongo created=1",
        "svc n ip=10.0.0.90 ports=x:6500/auto created=2",
    ]);
    assert_eq!(mongo.len(), 1, "LIS-57");
    // The rules of one service do not compete with themselves (VS-S-6).
    assert!(
        findings(&[
            "vs v hosts=t1.example.com",
            "tls sni t1.example.com -> sec:443",
            "tls sni t1.example.com -> exta.example.com:443",
        ])
        .is_empty()
    );
}

#[test]
fn policies_are_resolved_by_block() {
    // BE-22..25 in small: what a DestinationRule says reaches the cluster, subsets inherit.
    use pointsman_model::{
        Object,
        policy::{Algorithm, ConnectionPool, OutlierDetection, PolicyBlocks, TrafficPolicy},
    };
    let Object::DestinationRule(rule) =
        object("dr d host=web subsets=v1:version=v1,v2:version=v2,v3:version=v3")
    else {
        panic!("a rule");
    };
    let mut rule = Arc::unwrap_or_clone(rule);
    let pool = |limit| ConnectionPool {
        max_connections: Some(limit),
        ..ConnectionPool::default()
    };
    rule.policy = Some(TrafficPolicy {
        blocks: PolicyBlocks {
            connection_pool: Some(pool(1)),
            outlier_detection: Some(OutlierDetection::default()),
            ..PolicyBlocks::default()
        },
        ports: vec![(81, PolicyBlocks::default())],
        proxy_protocol: Some(2),
        ..TrafficPolicy::default()
    });
    rule.subsets[0].policy = Some(TrafficPolicy {
        blocks: PolicyBlocks {
            connection_pool: Some(ConnectionPool {
                max_retries: Some(2),
                ..ConnectionPool::default()
            }),
            ..PolicyBlocks::default()
        },
        ..TrafficPolicy::default()
    });
    rule.subsets[1].policy = Some(TrafficPolicy {
        blocks: PolicyBlocks {
            load_balancer: Some(pointsman_model::policy::LoadBalancer {
                algorithm: Algorithm::Random,
                warmup: None,
            }),
            ..PolicyBlocks::default()
        },
        ..TrafficPolicy::default()
    });
    let mut world = fixture_and(&["svc web ip=10.0.0.10 ports=http:80/http,alt:81/http"]);
    world.upsert(Object::DestinationRule(Arc::new(rule)));
    let table = compile(&world);
    let policy = |label: &str| table.cluster(id_of(&table, label)).policy.clone();
    let top = policy(WEB);
    assert_eq!(
        (top.pool.max_connections, top.proxy_protocol),
        (Some(1), Some(2))
    );
    let other_port = policy("outbound|81||web.default.svc.cluster.local");
    assert_eq!(
        (other_port.pool.max_connections, other_port.proxy_protocol),
        (None, None)
    ); // BE-22
    // BE-24: the subset's block replaces the whole block, and only that.
    let v1 = policy("outbound|80|v1|web.default.svc.cluster.local");
    assert_eq!(
        (v1.pool.max_connections, v1.pool.max_retries),
        (None, Some(2))
    );
    assert_eq!(v1.outlier, top.outlier);
    assert_eq!(policy("outbound|80|v3|web.default.svc.cluster.local"), top); // BE-25
    let v2 = policy("outbound|80|v2|web.default.svc.cluster.local");
    assert_eq!(v2.algorithm, Algorithm::Random); // BE-23
    assert_ne!(top.algorithm, Algorithm::Random); // BE-20
    assert!(v2.outlier.is_some());
}

#[test]
fn a_wildcard_virtual_service_compiles_its_rules_once_per_port() {
    let world = fixture_and(&["vs v hosts=*.svc.cluster.local", "http none -> web"]);
    let table = compile(&world);
    let hosts = shared_table(&table, 80);
    let (web, api) = (
        hosts.find("web").expect("web").1,
        hosts.find("api.prod").expect("api").1,
    );
    assert!(Arc::ptr_eq(&web.rules, &api.rules));
    let Action::Forward(split) = &web.rules.rules()[0].action else {
        panic!("a route");
    };
    assert_eq!(split.targets().len(), 1);
}

/// Not a benchmark: a guard against anything quadratic. Debug builds on two shared cores need a
/// few seconds.
#[test]
fn a_hundred_thousand_services_compile() {
    use pointsman_model::Object;
    let Object::Service(template) = object("svc t ip=10.0.0.1 ports=http:80/http,tcp:6000/tcp")
    else {
        panic!("a service");
    };
    let mut world = World::default();
    for number in 0..100_000_u32 {
        let mut service = (*template).clone();
        service.meta.key.name = format!("svc-{number}").into();
        service.meta.key.namespace = format!("ns-{}", number % 100).into();
        service.kind = pointsman_model::ServiceKind::ClusterIp {
            addresses: vec![std::net::Ipv4Addr::from(0x0b00_0000 + number).into()],
        };
        world.upsert(Object::Service(Arc::new(service)));
    }
    let start = Instant::now();
    let first = compile(&world);
    let full = start.elapsed();
    let start = Instant::now();
    let again = Table::compile(&world, &ClientContext::default(), Some(&first));
    let unchanged = start.elapsed();
    println!("compiled in {full:?}, again in {unchanged:?}");
    assert!(!again.changed);
    assert_eq!(first.clusters().len(), 200_000);
    assert_eq!(
        common::case::outcome(&first, "GET svc-4242.ns-42/ @1.1.1.1:80"),
        "http svc-4242.ns-42:80 []"
    );
    assert_eq!(
        common::case::outcome(&first, "conn @11.0.0.7:6000"),
        "bytes svc-7.ns-7:6000 []"
    );
}

/// BE-26: the mesh's blocks stand in for unset ones only, also where no rule speaks at all.
#[test]
fn the_mesh_fills_blocks_that_nobody_sets() {
    use pointsman_model::{
        Object,
        policy::{ConnectionPool, OutlierDetection, PolicyBlocks, TrafficPolicy},
    };
    let pool = |limit| {
        Some(ConnectionPool {
            max_connections: Some(limit),
            ..ConnectionPool::default()
        })
    };
    let Object::DestinationRule(rule) = object("dr d host=web") else {
        panic!("a rule");
    };
    let mut rule = Arc::unwrap_or_clone(rule);
    rule.policy = Some(TrafficPolicy {
        blocks: PolicyBlocks {
            connection_pool: pool(1),
            ..PolicyBlocks::default()
        },
        // Replaces the whole policy (BE-22), and is then as unset as any other.
        ports: vec![(81, PolicyBlocks::default())],
        ..TrafficPolicy::default()
    });
    let mut world = fixture_and(&["svc web ip=10.0.0.10 ports=http:80/http,alt:81/http"]);
    world.upsert(Object::DestinationRule(Arc::new(rule)));
    let context = ClientContext {
        default_policy: PolicyBlocks {
            connection_pool: pool(9),
            outlier_detection: Some(OutlierDetection::default()),
            ..PolicyBlocks::default()
        },
        ..ClientContext::default()
    };
    let table = Table::compile(&world, &context, None).table;
    let limit = |label: &str| {
        let policy = &table.cluster(id_of(&table, label)).policy;
        assert!(policy.outlier.is_some(), "{label}");
        policy.pool.max_connections
    };
    assert_eq!(limit(WEB), Some(1));
    assert_eq!(limit("outbound|81||web.default.svc.cluster.local"), Some(9));
    assert_eq!(limit("outbound|80||api.prod.svc.cluster.local"), Some(9));
}
