//! Tables of gateways are compared as those of the mesh are: by the traffic they take.
mod common;

use common::{
    differences::{all_examples_differ, effect, told},
    fixture, notation,
};
use pointsman_model::{Given, World};
use pointsman_route::{
    Table,
    diff::{Diff, Example, ExampleRequest, Limits, compare},
    snapshot::Via,
};
use proptest::{collection::vec, prelude::*, sample::select};
use std::net::SocketAddr;

fn table(world: &World, previous: Option<&Table>) -> Table {
    Table::compile(world, &Given::default().gateway(world), previous).table
}

/// The fixture with some documents, then with others.
fn of(old: &[&str], new: &[&str]) -> Diff {
    let made = |lines: &[&str], before: Option<&Table>| {
        let mut world = fixture();
        common::add(&mut world, lines);
        table(&world, before)
    };
    let old = made(old, None);
    let new = made(new, Some(&old));
    let diff = compare(&old, &new, &Limits::default());
    all_examples_differ(&old, &new, &diff);
    assert!(diff.classes.iter().all(|it| it.via == Via::Gateway));
    assert!(diff.cut.is_empty(), "{:?}", diff.cut);
    assert!(compare(&new, &new, &Limits::default()).is_empty());
    diff
}

const GW: &str = "gw edge";
const HTTP: &str = "server 80/HTTP hosts=*.example.com";
const HTTPS: &str = "server 443/HTTPS hosts=a.example.com,b.example.com tls=SIMPLE";
const PASS: &str = "server 8443/TLS hosts=*.example.com tls=PASSTHROUGH";
const TCP: &str = "server 3306/TCP hosts=*";
const VS: &str = "vs shop hosts=*.example.com gateways=default/edge";

#[test]
fn a_listener_that_appears_is_told_and_its_hosts() {
    let rule = "http none -> web";
    assert_eq!(
        told(&of(&[VS, rule], &[GW, HTTP, VS, rule])),
        [
            "TCP to port 80: refused -> routed by Host",
            "GET any.example.com:80 (any path): refused -> web.default:80",
            "GET unknown.invalid:80 (any path): refused -> 404",
        ]
    );
    // Both names of one server are one class.
    let diff = of(&[GW, HTTPS, VS, rule], &[VS, rule]);
    assert_eq!(
        told(&diff),
        [
            "TLS sni=a.example.com to port 443 and 1 more: routed by Host -> refused",
            "GET https://a.example.com:443 (any path) and 1 more: web.default:80 -> refused",
            "GET https://unknown.invalid:443 (any path): 404 -> refused",
        ]
    );
    assert_eq!(diff.classes[0].also, ["sni=b.example.com"]);
    assert_eq!(diff.classes[0].old.effect.details["TLS"], "SIMPLE");
}

#[test]
fn bytes_by_server_name_and_by_port() {
    let (a, b) = (
        "tls sni a.example.com -> web",
        "tls sni b.example.com -> web",
    );
    let (tcp, other) = ("tcp none -> web", "tcp none -> reviews");
    assert_eq!(
        told(&of(
            &[GW, PASS, TCP, VS, a, tcp],
            &[GW, PASS, TCP, VS, b, tcp]
        )),
        [
            "TLS sni=a.example.com to port 8443: web.default:80 -> refused",
            "TLS sni=b.example.com to port 8443: refused -> web.default:80",
        ]
    );
    assert_eq!(
        told(&of(&[GW, TCP, VS, tcp], &[GW, TCP, VS, other])),
        ["TCP to port 3306: web.default:80 -> reviews.default (the host is unknown)"]
    );
    assert_eq!(
        told(&of(
            &[GW, "server 80/TCP hosts=*", VS, tcp],
            &[GW, HTTP, VS, tcp]
        )),
        [
            "TCP to port 80: web.default:80 -> routed by Host",
            "GET unknown.invalid:80 (any path): web.default:80 -> 404",
        ]
    );
}

#[test]
fn requests_in_tls_have_their_server_name() {
    let diff = of(
        &[GW, HTTPS, VS, "http prefix /a -> 201", "http none -> web"],
        &[GW, HTTPS, VS, "http prefix /a -> 202", "http none -> web"],
    );
    assert_eq!(
        told(&diff),
        ["GET https://a.example.com:443 (path /a…) and 1 more: answered 201 -> answered 202"]
    );
    let Example::Request { sni, request, .. } = &diff.classes[0].example else {
        panic!("{diff:?}");
    };
    assert_eq!(sni.as_deref(), Some("a.example.com"));
    assert_eq!(
        (&*request.scheme, &*request.authority),
        ("https", "a.example.com")
    );
}

#[test]
fn requests_redirected_to_https() {
    let rule = "http none -> web";
    let redirect = "server 80/HTTP hosts=*.example.com redirect";
    assert_eq!(
        told(&of(&[GW, HTTP, VS, rule], &[GW, redirect, VS, rule])),
        ["GET any.example.com:80 (any path): web.default:80 -> redirect 301: to HTTPS"]
    );
}

#[test]
fn rules_of_several_virtual_services_of_a_host_are_one_list() {
    let old = [
        GW,
        HTTP,
        "vs a hosts=a.example.com gateways=default/edge created=1",
        "http prefix /a -> 201",
        "vs b hosts=a.example.com gateways=default/edge created=2",
        "http prefix /b -> 202",
    ];
    let mut new = old;
    new[5] = "http prefix /b -> 203";
    assert_eq!(
        told(&of(&old, &new)),
        ["GET a.example.com:80 (path /b…): answered 202 -> answered 203"]
    );
    // What an earlier list takes is not taken by a later one.
    let mut same = old.to_vec();
    same.push("http prefix /a/b -> 204");
    assert_eq!(told(&of(&old, &same)), [""; 0]);
}

#[test]
fn clients_of_the_mesh_have_a_door_of_their_own() {
    let auto = "server 15443/TLS hosts=*.local tls=AUTO_PASSTHROUGH";
    let told = told(&of(&[GW, HTTP], &[GW, HTTP, auto]));
    assert!(
        told.iter()
            .any(|it| it.starts_with("TLS of the mesh sni=outbound_")),
        "{told:?}"
    );
}

// ---- random pairs ----------------------------------------------------------------------------

fn any_document() -> impl Strategy<Value = Vec<String>> {
    let gateway = (
        0..3,
        vec(
            select(vec![
                "80/HTTP hosts=*",
                "80/HTTP hosts=a.x.com",
                "80/HTTP hosts=*.x.com,lit.org",
                "80/HTTP hosts=*.x.com redirect",
                "80/HTTP hosts=a.x.com bind=10.0.9.1",
                "80/TCP hosts=*",
                "81/TCP hosts=*",
                "443/HTTPS hosts=* tls=SIMPLE",
                "443/HTTPS hosts=a.x.com tls=SIMPLE",
                "443/HTTPS hosts=*.x.com,lit.org tls=SIMPLE",
                "443/HTTPS hosts=q.x.com tls=SIMPLE bind=10.0.9.1",
                "443/TLS hosts=lit.org tls=SIMPLE",
                "443/TLS hosts=*.x.com tls=PASSTHROUGH",
                "443/TLS hosts=* tls=PASSTHROUGH",
                "443/TLS hosts=*.local tls=AUTO_PASSTHROUGH",
                "81/HTTPS hosts=*.x.com tls=SIMPLE",
            ]),
            1..4,
        ),
    )
        .prop_map(|(number, servers)| {
            let mut lines = vec![format!("gw g{number} ns=default")];
            lines.extend(servers.iter().map(|it| format!("server {it}")));
            lines
        });
    let condition = select(vec![
        "none",
        "prefix /a",
        "exact /ab",
        "regex /a.*b",
        "method exact POST",
        "authority exact a.x.com",
        "header k exact v",
        "without k present",
        "port 80",
        "port 443",
        "prefix /a & header k exact v",
        "scheme exact https",
    ]);
    let action = select(vec!["201", "202", "a", "b", "a*1 b*3", "nobody"]);
    let bytes = select(vec![
        "tls sni a.x.com -> a",
        "tls sni *.x.com -> b",
        "tls sni lit.org & port 443 -> a",
        "tcp none -> a",
        "tcp port 81 -> b",
    ]);
    let service = (
        0..4,
        select(vec![
            "*",
            "*.x.com",
            "a.x.com",
            "a.x.com,q.x.com",
            "lit.org",
        ]),
        select(vec![
            "default/g0",
            "default/g1",
            "default/g2",
            "default/g0,default/g1",
            "mesh,default/g0",
        ]),
        (vec((condition, action), 0..4), vec(bytes, 0..3), 0..9),
    )
        .prop_map(|(number, hosts, gateways, (rules, bytes, created))| {
            let mut lines = vec![format!(
                "vs v{number} hosts={hosts} gateways={gateways} created={created}"
            )];
            let rules = rules.iter();
            lines.extend(rules.map(|(condition, action)| format!("http {condition} -> {action}")));
            lines.extend(bytes.into_iter().map(str::to_owned));
            lines
        });
    let rest = select(vec![
        "svc a ip=10.0.9.8 ports=p:80/http",
        "svc b ip=10.0.9.9 ports=p:80/http",
        "svc b ip=10.0.9.9 ports=p:81/tcp",
    ])
    .prop_map(|line| vec![line.to_owned()]);
    prop_oneof![3 => gateway, 4 => service, 2 => rest]
}

fn any_probe() -> impl Strategy<Value = Example> {
    let address = select(vec!["10.0.9.1", "203.0.113.9"]);
    let original = (address, select(vec![80_u16, 81, 443, 9]))
        .prop_map(|(ip, port)| SocketAddr::new(ip.parse().expect("an address"), port));
    let names = || {
        select(vec![
            None,
            Some("a.x.com"),
            Some("q.x.com"),
            Some("z.x.com"),
            Some("lit.org"),
            Some("z.net"),
            Some("outbound_.80_._.a.default.svc.cluster.local"),
        ])
    };
    let connection = (original.clone(), any::<bool>(), any::<bool>(), names()).prop_map(
        |(original, tls, mesh_alpn, sni)| Example::Connection {
            original,
            tls,
            sni: sni.filter(|_| tls).map(str::to_owned),
            mesh_alpn: mesh_alpn && tls,
        },
    );
    let hosts = select(vec![
        "a.x.com",
        "a.x.com:80",
        "q.x.com",
        "z.x.com",
        "lit.org",
        "z.net",
        "a",
        "10.0.9.1",
    ]);
    let paths = select(vec!["/", "/a", "/ab", "/axb", "/b"]);
    let request = (
        original,
        names(),
        any::<bool>(),
        (select(vec!["GET", "POST"]), hosts, paths),
        select(vec![None, Some("v"), Some("w")]),
    )
        .prop_map(
            |(original, sni, tls, (method, host, path), field)| Example::Request {
                original,
                sni: sni.filter(|_| tls).map(str::to_owned),
                own: true,
                request: ExampleRequest {
                    method: method.to_owned(),
                    scheme: if tls { "https" } else { "http" }.to_owned(),
                    authority: host.to_owned(),
                    path: path.to_owned(),
                    query: None,
                    headers: field
                        .map(|it| ("k".to_owned(), it.to_owned()))
                        .into_iter()
                        .collect(),
                },
            },
        );
    prop_oneof![1 => connection, 3 => request]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_differs_is_missed_and_nothing_is_told_that_does_not(
        common in vec(any_document(), 0..8),
        old in vec(any_document(), 0..3),
        new in vec(any_document(), 0..3),
        probes in vec(any_probe(), 60),
        sharing in any::<bool>(),
    ) {
        let world = |more: &Vec<Vec<String>>| -> World {
            let lines: Vec<&str> =
                common.iter().chain(more).flatten().map(String::as_str).collect();
            notation::objects(lines.into_iter()).into_iter().collect()
        };
        let before = table(&world(&old), None);
        let after = table(&world(&new), sharing.then_some(&before));
        let limits = Limits::default();
        let diff = compare(&before, &after, &limits);
        prop_assert!(diff.cut.is_empty());
        all_examples_differ(&before, &after, &diff);
        if world(&old) == world(&new) {
            prop_assert!(diff.is_empty(), "{:?}", told(&diff));
        }
        prop_assert!(compare(&before, &before, &limits).is_empty());
        prop_assert!(compare(&after, &after, &limits).is_empty());
        for probe in &probes {
            let (then, now) = (effect(&before, probe), effect(&after, probe));
            if then == now {
                continue;
            }
            let found = diff
                .classes
                .iter()
                .any(|class| class.old.effect == then && class.new.effect == now);
            prop_assert!(
                found,
                "{probe:?}: {then:?} -> {now:?} is not among {:#?}",
                told(&diff)
            );
        }
    }
}
