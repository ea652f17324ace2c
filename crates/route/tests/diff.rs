//! Two tables are compared by the traffic they take: nothing that differs is missed, and nothing
//! is told that does not.
mod common;

use common::{
    differences::{all_examples_differ, effect, told},
    fixture, notation,
};
use pointsman_model::{ClientContext, Given, OutboundPolicy, World};
use pointsman_route::{
    Table,
    diff::{Diff, Example, ExampleRequest, Limits, compare},
};
use proptest::{collection::vec, prelude::*, sample::select};
use std::net::SocketAddr;

fn table(world: &World, context: &ClientContext, previous: Option<&Table>) -> Table {
    Table::compile(world, context, previous).table
}

/// The fixture with some documents, then with others.
fn of(old: &[&str], new: &[&str]) -> Diff {
    let made = |lines: &[&str], before: Option<&Table>| {
        let mut world = fixture();
        common::add(&mut world, lines);
        table(&world, &Given::default().context(&world), before)
    };
    let old = made(old, None);
    let new = made(new, Some(&old));
    let diff = compare(&old, &new, &Limits::default());
    all_examples_differ(&old, &new, &diff);
    diff
}

const REVIEWS: &str = "svc reviews ip=10.0.1.1 ports=http:9080/http";
const SUBSETS: &str = "dr reviews host=reviews subsets=v1:version=v1,v2:version=v2,v3:version=v3";

#[test]
fn the_classes_of_a_changed_weight() {
    let vs = "vs reviews hosts=reviews";
    let jason = "http header end-user exact jason -> reviews/v2";
    let old = [
        REVIEWS,
        SUBSETS,
        vs,
        jason,
        "http none -> reviews/v1*50 reviews/v3*50",
    ];
    let new = [REVIEWS, SUBSETS, vs, jason, "http none -> reviews/v3"];
    assert_eq!(
        told(&of(&old, &new)),
        ["GET reviews:9080 (any path, no end-user header): \
          reviews.default:9080 v1 50% / v3 50% -> reviews.default:9080 v3"]
    );
    assert_eq!(told(&of(&old, &old)), [""; 0]);
    // Another way of writing the same traffic is no difference.
    let same = [
        REVIEWS,
        SUBSETS,
        "vs other hosts=reviews.default.svc.cluster.local",
        "http without end-user exact jason -> reviews/v1*1 reviews/v3*1",
        "http none -> reviews/v2",
    ];
    assert_eq!(told(&of(&old, &same)), [""; 0]);
}

#[test]
fn what_appears_and_what_goes() {
    assert_eq!(
        told(&of(&["svc cache ip=10.0.1.2 ports=tcp:6379/tcp"], &[])),
        ["TCP 10.0.1.2:6379: cache.default:6379 -> passthrough"]
    );
    assert_eq!(
        told(&of(
            &[],
            &["se pay hosts=pay.example.com ports=tls:443/tls ep=10.9.0.7"]
        )),
        [
            "TLS sni=pay.example.com to port 443 of any other address: passthrough -> pay.example.com:443"
        ]
    );
    assert_eq!(
        told(&of(&[], &[REVIEWS])),
        ["GET reviews:9080 (any path): passthrough -> reviews.default:9080"]
    );
    assert_eq!(
        told(&of(
            &["se c hosts=c.example.com addr=198.18.0.0/15 ports=tcp:7001/tcp ep=10.9.1.1"],
            &["se c hosts=c.example.com addr=198.18.0.0/16 ports=tcp:7001/tcp ep=10.9.1.1"],
        )),
        ["TCP 198.18.0.0/15 port 7001: c.example.com:7001 -> passthrough"]
    );
}

#[test]
fn a_port_that_turns_from_bytes_to_requests_is_one_class() {
    let diff = of(
        &["svc shop ip=10.0.1.3 ports=tcp:80/tcp"],
        &["svc shop ip=10.0.1.3 ports=tcp:80/http"],
    );
    let told = told(&diff);
    let at_address = "HTTP 10.0.1.3:80 with a Host of another service";
    assert!(told.iter().any(|it| it.starts_with(at_address)), "{told:?}");
    assert!(told.len() <= 4, "{told:?}");
}

#[test]
fn patterns_are_taken_apart_as_exactly_as_texts() {
    let vs = |rules: &[&'static str]| [&["vs w hosts=web"][..], rules].concat();
    // Only what begins with /a/ and ends in .png, but does not begin with /a/b.
    let old = vs(&[
        "http prefix /a/b -> 201",
        "http regex /.*\\.png -> 202",
        "http none -> 203",
    ]);
    let new = vs(&[
        "http prefix /a/b -> 201",
        "http prefix /a/ -> 204",
        "http regex /.*\\.png -> 202",
        "http none -> 203",
    ]);
    assert_eq!(
        told(&of(&old, &new)),
        [
            "GET web:80 (path /a/…): answered 202 -> answered 204",
            "GET web:80 (path /a/…): answered 203 -> answered 204",
        ]
    );
    // A rule that can never be reached is no traffic.
    let shadowed = vs(&["http none -> 203", "http prefix /a -> 204"]);
    assert_eq!(told(&of(&vs(&["http none -> 203"]), &shadowed)), [""; 0]);
}

#[test]
fn hosts_of_one_rule_are_one_class() {
    let rules = |status: &'static str| {
        [
            "vs w hosts=web,api.prod.svc.cluster.local,lit.example.org",
            if status == "201" {
                "http none -> 201"
            } else {
                "http none -> 202"
            },
        ]
    };
    let diff = of(&rules("201"), &rules("202"));
    assert_eq!(
        told(&diff),
        ["GET web:80 (any path) and 2 more: answered 201 -> answered 202"]
    );
    assert_eq!(diff.classes[0].also, ["api.prod:80", "lit.example.org:80"]);
}

#[test]
fn backends_are_compared_where_traffic_goes_to_them() {
    let old = [
        REVIEWS,
        "eps reviews ports=http:9080 pods=r1@10.2.0.1,r2@10.2.0.2",
    ];
    let new = [
        REVIEWS,
        "eps reviews ports=http:9080 pods=r1@10.2.0.1,r3@10.2.0.3",
        "dr reviews host=reviews lb=round-robin",
    ];
    let told = told(&of(&old, &new[..2]));
    assert_eq!(
        told,
        ["outbound|9080||reviews.default.svc.cluster.local: \
          endpoints 2 -> 2: + 10.2.0.3:9080; - 10.2.0.2:9080"]
    );
    // Subsets that no rule names are nobody's.
    assert!(of(&[REVIEWS], &[REVIEWS, SUBSETS]).is_empty());
}

#[test]
fn the_policy_for_the_unknown_is_compared_too() {
    let world = fixture();
    let open = ClientContext::default();
    let closed = ClientContext {
        outbound_policy: OutboundPolicy::RegistryOnly,
        ..ClientContext::default()
    };
    let (old, new) = (table(&world, &open, None), table(&world, &closed, None));
    let diff = compare(&old, &new, &Limits::default());
    all_examples_differ(&old, &new, &diff);
    let told = told(&diff);
    assert!(
        told.contains(&"TCP to port 20000: passthrough -> refused".to_owned()),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|it| it.starts_with("GET unknown.invalid:80")),
        "{told:?}"
    );
}

#[test]
fn what_was_left_out_is_told() {
    let mut lines = vec!["vs w hosts=web".to_owned()];
    for number in 0..20 {
        lines.push(format!("http header h{number} exact a -> {}", 200 + number));
    }
    let mut new = lines.clone();
    new[10] = "http header h9 exact b -> 599".to_owned();
    let old: Vec<&str> = lines.iter().map(String::as_str).collect();
    let new: Vec<&str> = new.iter().map(String::as_str).collect();
    let diff = of(&old, &new);
    assert!(
        diff.cut[0].contains("combinations were tried"),
        "{:?}",
        diff.cut
    );
    let told = told(&diff);
    assert!(
        told.contains(&"GET web:80 (any path, h9: a, without 19 others that rules look at): answered 209 -> 404".to_owned()),
        "{told:?}"
    );
    assert!(
        told.contains(&"GET web:80 (any path, h9: b, without 19 others that rules look at): 404 -> answered 599".to_owned()),
        "{told:?}"
    );
}

#[test]
fn every_value_that_a_client_can_send_is_tried() {
    let told_of = |rule: &str| {
        let line = format!("http {rule} -> 201");
        let diff = of(
            &["vs w hosts=web", "http none -> 203"],
            &["vs w hosts=web", &line, "http none -> 203"],
        );
        assert_eq!(diff.cut, [""; 0]);
        told(&diff)
    };
    for (rule, what) in [
        ("exact /my%20files", "path /my%20files"),
        ("regex .*%[0-9A-F]{2}.*", "path ~ .*%[0-9A-F]{2}.*"),
        ("regex /.*%[37][BC].*", "path ~ /.*%[37][BC].*"),
        ("header :path exact /s?q=1", "path /s, query q=1"),
        ("header :path prefix /s?q", "path /s, query q"),
        ("header :path regex .*[?&]v=2", "any path, query v=2"),
        ("header :path exact /s", "path /s, no query"),
        ("query q exact a%20b", "any path, parameter q=a%20b"),
        ("query q regex .*[=?].*", "any path, parameter q ~ .*[=?].*"),
        ("header x exact é", "any path, x: é"),
    ] {
        assert_eq!(
            told_of(rule),
            [format!("GET web:80 ({what}): answered 203 -> answered 201")],
            "{rule}"
        );
    }
    assert_eq!(
        told_of("exact *"),
        ["OPTIONS web:80 (path *): answered 203 -> answered 201"]
    );
    // What nobody can send makes no difference.
    for rule in [
        "exact /a%2",
        "exact /%61dmin",
        "regex /.*[\"<>|^`{}].*",
        "prefix /a/..;",
        "exact /é",
        "query a#b exact 1",
        "header :other exact 1",
        "method exact A@B",
    ] {
        assert_eq!(told_of(rule), [""; 0], "{rule}");
    }
}

/// PS-84: what the gateway makes is there when rules are asked.
#[test]
fn requests_have_the_fields_that_are_made_here() {
    let of_rule = |rule: &str| {
        let line = format!("http {rule} -> 201");
        told(&of(
            &["vs w hosts=web", "http none -> 203"],
            &["vs w hosts=web", &line, "http none -> 203"],
        ))
    };
    for rule in [
        "without x-request-id present",
        "without x-forwarded-proto present",
        "header x-forwarded-client-cert present",
    ] {
        assert_eq!(of_rule(rule), [""; 0], "{rule}");
    }
    let plain = "header x-forwarded-proto exact http";
    assert_eq!(of_rule(plain).len(), 1, "{:?}", of_rule(plain));
    assert_eq!(of_rule("header x-request-id present").len(), 1);
}

#[test]
fn queries_that_were_not_tried_are_told() {
    let rules = [
        "vs w hosts=web",
        "http query a exact 1 -> 201",
        "http header :path exact /s?b=2 -> 202",
    ];
    let diff = of(&["vs w hosts=web"], &rules);
    assert!(diff.cut[0].contains("not every query"), "{:?}", diff.cut);
}

// ---- random pairs ----------------------------------------------------------------------------

fn any_document() -> impl Strategy<Value = Vec<String>> {
    let service = (
        select(vec!["a", "b", "c"]),
        select(vec!["default", "prod"]),
        select(vec![
            "p:80/http",
            "p:81/http",
            "p:80/tcp",
            "p:443/https",
            "p:80/auto",
            "p:81/tcp",
        ]),
        1..4,
    )
        .prop_map(|(name, namespace, port, ip)| {
            vec![format!(
                "svc {name} ns={namespace} ip=10.0.9.{ip} ports={port}"
            )]
        });
    let entry = (
        select(vec!["x.com", "*.x.com", "y.x.com", "a.x.com,b.x.com"]),
        select(vec![
            "p:80/http",
            "p:443/tls",
            "p:443/tcp",
            "p:81/tcp",
            "p:443/https",
        ]),
        select(vec![
            "",
            " addr=192.0.2.0/24",
            " addr=192.0.2.128/25",
            " addr=192.0.2.9",
        ]),
        0..1000,
        0..4,
    )
        .prop_map(|(hosts, port, address, number, created)| {
            vec![format!(
                "se e{number} hosts={hosts} ports={port}{address} ep=10.9.9.9 created={created}"
            )]
        });
    let condition = select(vec![
        "prefix /a",
        "prefix /a/",
        "prefix /A & icase",
        "exact /ab",
        "exact /",
        "regex /a.*b",
        "regex /[a-c]{2}",
        "regex /.*z",
        "method exact POST",
        "method regex P.*",
        "authority exact a",
        "authority prefix a:",
        "header :path exact /a?q=1",
        "header :path prefix /a",
        "header k exact v",
        "header k prefix v",
        "header k present",
        "without k present",
        "without k exact v",
        "query q exact 1",
        "query q present",
        "port 81",
    ]);
    let alternative = vec(condition, 1..3).prop_map(|parts| {
        let mut kept: Vec<&str> = Vec::new();
        for part in parts {
            let path = |text: &str| text.contains('/');
            let same = |own: &&str| {
                own.split_whitespace().next() == part.split_whitespace().next()
                    || (path(own) && path(part))
            };
            if !kept.iter().any(same) {
                kept.push(part);
            }
        }
        kept.join(" & ")
    });
    let matches = prop_oneof![
        1 => Just("none".to_owned()),
        6 => vec(alternative, 1..3).prop_map(|all| all.join(" | ")),
    ];
    let action = select(vec!["201", "202", "a", "b", "a*1 b*3", "a/v1", "nobody"]);
    let hosts = select(vec![
        "a",
        "b",
        "*.x.com",
        "x.com",
        "lit.org",
        "a,lit.org",
        "*.prod.svc.cluster.local",
    ]);
    let http = (hosts, 0..9, 0..1000, vec((matches, action), 1..5)).prop_map(
        |(hosts, created, number, rules)| {
            let mut lines = vec![format!("vs v{number} hosts={hosts} created={created}")];
            let rules = rules.iter();
            lines.extend(rules.map(|(matches, action)| format!("http {matches} -> {action}")));
            lines
        },
    );
    let raw = (
        select(vec![
            "tls sni x.com -> a",
            "tls sni *.x.com -> b",
            "tls sni x.com & subnets 192.0.2.0/25 -> b",
        ]),
        select(vec![
            "tcp none -> a",
            "tcp subnets 192.0.2.0/26 -> b",
            "tcp port 81 -> c",
        ]),
        0..1000,
    )
        .prop_map(|(tls, tcp, number)| {
            vec![
                format!("vs v{number} hosts=x.com,*.x.com"),
                tls.to_owned(),
                tcp.to_owned(),
            ]
        });
    let rest = select(vec![
        "dr d host=a subsets=v1:version=v1",
        "dr d host=a subsets=v1:version=v2",
        "eps a ports=p:8080 pods=p1@10.1.9.1",
        "eps a ports=p:8080 pods=p1@10.1.9.2",
    ])
    .prop_map(|line| vec![line.to_owned()]);
    prop_oneof![4 => service, 3 => entry, 4 => http, 1 => raw, 1 => rest]
}

fn any_probe() -> impl Strategy<Value = Example> {
    let address = select(vec![
        "10.0.9.1",
        "10.0.9.2",
        "10.0.9.3",
        "192.0.2.9",
        "192.0.2.1",
        "192.0.2.200",
        "203.0.113.9",
    ]);
    let original = (address, select(vec![80_u16, 81, 443, 9]))
        .prop_map(|(ip, port)| SocketAddr::new(ip.parse().expect("an address"), port));
    let names = select(vec![
        None,
        Some("x.com"),
        Some("y.x.com"),
        Some("q.x.com"),
        Some("z.net"),
    ]);
    let connection = (original.clone(), any::<bool>(), names).prop_map(|(original, tls, sni)| {
        Example::Connection {
            original,
            tls,
            sni: sni.filter(|_| tls).map(str::to_owned),
            mesh_alpn: false,
        }
    });
    let hosts = select(vec![
        "a",
        "a:80",
        "b",
        "a.prod",
        "b.default.svc",
        "x.com",
        "y.x.com",
        "q.x.com",
        "lit.org",
        "z.net",
        "10.0.9.1",
        "c.prod.svc.cluster.local",
        "z.prod.svc.cluster.local",
        "a.x.com:81",
    ]);
    let paths = select(vec![
        "/", "/a", "/a/", "/ab", "/AB", "/axb", "/bc", "/z", "/a/z", "/abz", "/q",
    ]);
    let request = (
        original,
        (select(vec!["GET", "POST", "PUT"]), hosts, paths),
        select(vec![None, Some("q=1"), Some("q=2"), Some("z")]),
        select(vec![None, Some("v"), Some("vv"), Some("w")]),
    )
        .prop_map(
            |(original, (method, host, path), query, field)| Example::Request {
                original,
                sni: None,
                own: true,
                request: ExampleRequest {
                    method: method.to_owned(),
                    scheme: "http".to_owned(),
                    authority: host.to_owned(),
                    path: path.to_owned(),
                    query: query.map(str::to_owned),
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
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_differs_is_missed_and_nothing_is_told_that_does_not(
        common in vec(any_document(), 0..8),
        old in vec(any_document(), 0..2),
        new in vec(any_document(), 0..3),
        probes in vec(any_probe(), 60),
        sharing in any::<bool>(),
    ) {
        let world = |more: &Vec<Vec<String>>| -> World {
            let lines: Vec<&str> =
                common.iter().chain(more).flatten().map(String::as_str).collect();
            notation::objects(lines.into_iter()).into_iter().collect()
        };
        let context = ClientContext::default();
        let before = table(&world(&old), &context, None);
        let after = table(&world(&new), &context, sharing.then_some(&before));
        let limits = Limits::default();
        let diff = compare(&before, &after, &limits);
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
            // Of a port that turns from requests to bytes one Host is told for all of them.
            let found = diff.classes.iter().any(|class| {
                let bytes = class.what.ends_with("of another service");
                bytes || class.old.effect == then && class.new.effect == now
            });
            prop_assert!(
                found || !diff.cut.is_empty(),
                "{probe:?}: {then:?} -> {now:?} is not among {:#?}",
                told(&diff)
            );
        }
    }
}

#[test]
fn what_the_mesh_and_sidecars_say_is_a_difference_in_traffic() {
    // VS-H-71, LIS-65, VIS-10
    let mesh = |words: &str| format!("mesh istio ns=istio-system {words}");
    let retries = of(&[&mesh("retries=3")], &[&mesh("retries=4")]);
    assert!(!retries.classes.is_empty());
    let policy = of(&[], &[&mesh("mode=registry")]);
    let told = told(&policy).join("\n");
    assert!(told.contains("passthrough -> "), "{told}");
    let hidden = of(&[], &["sidecar default egress=./*"]);
    assert!(!hidden.classes.is_empty());
    let same = of(&[], &["sidecar default egress=*/*"]);
    assert_eq!(same.classes.len() + same.backends.len(), 0);
}
