//! What a cluster knows of its endpoints and policy beside addresses.
mod common;

use common::{fixture, notation};
use pointsman_model::{
    Given, Object, World,
    policy::{ConnectionPool, LoadBalancer, OutlierDetection, PolicyBlocks, TrafficPolicy, Tunnel},
};
use pointsman_route::{Cluster, Table};
use std::{sync::Arc, time::Duration};

/// A world of documents in notation, each changed by hand where the notation has no word for it.
fn world(lines: &[&str], change: impl Fn(&mut Object)) -> World {
    let mut world = fixture();
    for mut object in notation::objects(lines.iter().copied()) {
        change(&mut object);
        world.upsert(object);
    }
    world
}

fn cluster(world: &World, name: &str) -> Arc<Cluster> {
    let context = Given::default().context(world);
    let table = Table::compile(world, &context, None).table;
    let found = table.clusters().find(|it| *it.label == *name);
    Arc::clone(found.unwrap_or_else(|| panic!("no cluster {name}")))
}

const ENTRY: &str = "se e hosts=e.example.com ports=http:80/http ep=10.9.0.1,10.9.0.2";
const NAME: &str = "outbound|80||e.example.com";

fn entry(object: &mut Object, change: impl FnOnce(&mut pointsman_model::ServiceEntry)) {
    if let Object::ServiceEntry(entry) = object {
        change(Arc::make_mut(entry));
    }
}

#[test]
fn weights_localities_and_labels_are_the_endpoints_own() {
    // BE-109, BE-110, BE-111
    let world = world(&[ENTRY], |object| {
        entry(object, |entry| {
            let [first, second] = entry.endpoints.as_mut_slice() else {
                panic!("two endpoints")
            };
            first.weight = 0;
            second.weight = 3;
            second.locality = Some("us/east".into());
            second.labels = notation::labels("version=v2");
        });
    });
    let cluster = cluster(&world, NAME);
    let [first, second] = &*cluster.endpoints else {
        panic!("two endpoints")
    };
    assert_eq!((first.weight, second.weight), (1, 3));
    assert_eq!(second.locality.as_deref(), Some("us/east"));
    assert_eq!(*second.labels, notation::labels("version=v2"));
}

#[test]
fn where_an_entry_is_changes_nothing_about_its_endpoints() {
    // BE-104
    let inside = world(&[ENTRY], |object| {
        entry(object, |entry| entry.mesh_internal = true)
    });
    let outside = world(&[ENTRY], |_| {});
    assert_eq!(
        cluster(&inside, NAME).endpoints,
        cluster(&outside, NAME).endpoints
    );
}

#[test]
fn an_entry_of_a_services_host_gives_it_the_names_of_its_certificates() {
    // BE-105
    let lines = [
        "se a hosts=web.default.svc.cluster.local ports=http:80/http ep=10.9.0.7",
        "se b hosts=web.default.svc.cluster.local ports=other:81/http ep=10.9.0.8",
        "se c ns=prod hosts=web.default.svc.cluster.local ports=http:80/http",
    ];
    let world = world(&lines, |object| {
        entry(object, |entry| {
            entry.subject_alt_names = vec![Arc::clone(&entry.meta.key.name), "shared".into()];
        });
    });
    let cluster = cluster(&world, "outbound|80||web.default.svc.cluster.local");
    assert_eq!(
        *cluster.subject_alt_names,
        ["a", "shared", "b"].map(Arc::from)
    );
}

fn pool(connect: Option<u64>, max_connections: Option<u32>) -> ConnectionPool {
    ConnectionPool {
        connect_timeout: connect.map(Duration::from_secs),
        max_connections,
        ..ConnectionPool::default()
    }
}

/// The fixture's `web` under a rule with this policy and a subset with that one.
fn under(
    lines: &[&str],
    top: TrafficPolicy,
    own: Option<TrafficPolicy>,
    name: &str,
) -> Arc<Cluster> {
    let lines = [&["dr d host=web subsets=v1:version=v1"], lines].concat();
    let world = world(&lines, |object| {
        if let Object::DestinationRule(rule) = object {
            let rule = Arc::make_mut(rule);
            rule.policy = Some(top.clone());
            rule.subsets[0].policy.clone_from(&own);
        }
    });
    cluster(&world, name)
}

const WEB: &str = "outbound|80||web.default.svc.cluster.local";
const WEB_V1: &str = "outbound|80|v1|web.default.svc.cluster.local";

#[test]
fn a_block_replaces_a_block_and_nothing_is_merged_inside() {
    // BE-21, BE-23, BE-24, BE-25, T-BE-14, T-BE-15
    let top = TrafficPolicy {
        blocks: PolicyBlocks {
            connection_pool: Some(pool(Some(1), Some(1))),
            outlier_detection: Some(OutlierDetection::default()),
            ..PolicyBlocks::default()
        },
        tunnel: Some(Tunnel {
            protocol: "CONNECT".into(),
            target_host: "t".into(),
            target_port: 1,
        }),
        ..TrafficPolicy::default()
    };
    let own = TrafficPolicy {
        blocks: PolicyBlocks {
            connection_pool: Some(pool(Some(2), None)),
            load_balancer: Some(LoadBalancer::default()),
            ..PolicyBlocks::default()
        },
        ..TrafficPolicy::default()
    };
    let subset = under(&[], top.clone(), Some(own.clone()), WEB_V1);
    assert_eq!(subset.policy.pool, pool(Some(2), None));
    assert!(subset.policy.outlier.is_some() && subset.policy.tunnel.is_some());
    let inherits = under(&[], top.clone(), None, WEB_V1);
    assert_eq!(inherits.policy.pool, pool(Some(1), Some(1)));
    // BE-20, T-BE-16: traffic that names no subset does not meet its policy.
    let plain = under(&[], top, Some(own), WEB);
    assert_eq!(plain.policy.pool, pool(Some(1), Some(1)));
}

#[test]
fn a_port_entry_replaces_the_whole_policy() {
    // BE-22, BE-27, T-BE-13
    let top = TrafficPolicy {
        blocks: PolicyBlocks {
            connection_pool: Some(pool(Some(1), Some(1))),
            ..PolicyBlocks::default()
        },
        proxy_protocol: Some(2),
        ports: vec![(
            80,
            PolicyBlocks {
                load_balancer: Some(LoadBalancer::default()),
                ..PolicyBlocks::default()
            },
        )],
        ..TrafficPolicy::default()
    };
    let cluster = under(&[], top, None, WEB);
    assert_eq!(cluster.policy.pool, ConnectionPool::default());
    assert_eq!(cluster.policy.proxy_protocol, None);
}

#[test]
fn the_mesh_says_how_long_connecting_may_take_where_no_rule_does() {
    // BE-26, BE-61
    let mesh = ["mesh istio ns=istio-system connect=3"];
    let top = |connect| TrafficPolicy {
        blocks: PolicyBlocks {
            connection_pool: Some(pool(connect, Some(9))),
            ..PolicyBlocks::default()
        },
        ..TrafficPolicy::default()
    };
    let pool_of = |connect| under(&mesh, top(connect), None, WEB).policy.pool.clone();
    assert_eq!(pool_of(None), pool(Some(3), Some(9)));
    assert_eq!(pool_of(Some(1)), pool(Some(1), Some(9)));
    let nobodys = cluster(&world(&mesh, |_| {}), WEB);
    assert_eq!(nobodys.policy.pool, pool(Some(3), None));
}
