//! Explanations: typed, and as people read them.
mod common;

use common::{case, fixture_and};
use pointsman_model::{ClientContext, Given, Object, action::Retries};
use pointsman_route::{
    Class, Connection, Reason, Table,
    explain::{Explanation, Outcome, Verdict, explain_connection, explain_request},
};
use std::sync::Arc;

fn table(lines: &[&str]) -> Table {
    Table::compile(&fixture_and(lines), &ClientContext::default(), None).table
}

fn explain(table: &Table, request: &str, original: &str) -> Explanation {
    let parsed = case::request(request);
    explain_request(
        table,
        original.parse().expect("address"),
        &parsed.as_request(),
    )
}

const RULES: &[&str] = &[
    "dr d host=web subsets=v1:version=v1,v2:version=v2",
    "vs v hosts=web",
    "http header end-user exact mallory -> web/v1",
    "http header end-user exact jason -> web/v2",
    "http none -> web/v1",
    "http prefix /x -> web/v1",
];

#[test]
fn a_request_is_explained_step_by_step() {
    let table = table(RULES);
    let made = explain(
        &table,
        "GET web/reviews/1 {end-user: jason}",
        "10.0.0.10:80",
    );
    assert_eq!(made.outcome, Outcome::Forwarded);
    let rules = made.rules.as_ref().expect("rules");
    let verdicts: Vec<Verdict> = rules.candidates.iter().map(|line| line.verdict).collect();
    assert_eq!(
        verdicts,
        [
            Verdict::No(Reason::HeaderDiffers),
            Verdict::Match,
            Verdict::No(Reason::NotReached),
            Verdict::No(Reason::ShadowedBy),
        ]
    );
    assert_eq!(
        made.to_string(),
        r#"1 Protocol   HTTP               the first bytes tell
2 Frontend   4 considered
   + port 80 on all addresses                        MATCH      no service has the address to itself on this port             case.yaml:5
   + HTTP                                            MATCH      requests are routed one by one
     10.0.0.10:80 -> web.default.svc.cluster.local   not used   HTTP is matched by Host; the destination address is ignored   case.yaml:1
   + host web -> web.default.svc.cluster.local       MATCH      short name, namespace default (caller's)                      case.yaml:1
3 Rules      VirtualService default/v   case.yaml:2
     #0  header end-user = "mallory"   header_differs   value is "jason"                    case.yaml:3
   + #1  header end-user = "jason"     MATCH                                                case.yaml:4
     #2  (everything)                  not_reached                                          case.yaml:5
     #3  path starts with "/x"         shadowed_by      rule #2 takes everything it would   case.yaml:6
4 Backend    outbound|80|v2|web.default.svc.cluster.local   subset v2: version=v2   case.yaml:1
5 Policy     no timeout  retries 2 (default)  tls none  DestinationRule default/d case.yaml:1
6 Endpoint   least request, 1 of 1 usable
   + 10.1.0.2:8080   MATCH   ready, w2
=> would be sent to 10.1.0.2:8080
"#
    );
}

#[test]
fn the_closest_miss_is_named() {
    let table = table(&[
        "vs shop hosts=web",
        "http prefix /a & method exact POST & header x exact 1 -> 201",
        "http prefix /cart & method exact POST -> 202",
        "http prefix /other -> 203",
        "http port 81 -> 204",
    ]);
    let made = explain(&table, "GET web/cart", "10.0.0.10:80");
    assert_eq!(made.outcome, Outcome::NoRule);
    let rules = made.rules.as_ref().expect("rules");
    let closest = rules.closest.as_deref().expect("closest");
    assert_eq!(
        closest,
        "none of 3 matched; closest: default/shop#1, differs only in method \
         (wants method = \"POST\", value is \"GET\")   case.yaml:3"
    );
    let last = rules.candidates.last().expect("four");
    assert_eq!(last.verdict, Verdict::No(Reason::PortDiffers));
    assert!(made.sentence.starts_with("404 NR"));
}

#[test]
fn an_unknown_host_is_explained_with_where_it_would_be_known() {
    let table = table(&[]);
    let made = explain(&table, "GET api/", "1.2.3.4:80");
    assert_eq!(made.outcome, Outcome::Passthrough);
    assert_eq!(
        made.sentence,
        "would pass unchanged to 1.2.3.4:80: nothing recognises it"
    );
    let near = made.frontends.last().expect("a near miss");
    assert_eq!(near.what, "host api.prod.svc.cluster.local");
    let made = explain(&table, "GET grpc/", "1.2.3.4:80");
    let other_port = made
        .frontends
        .iter()
        .find(|line| line.verdict == Verdict::No(Reason::PortDiffers));
    assert!(other_port.expect("50051").what.contains("on port 50051"));
}

#[test]
fn connections_are_explained() {
    let table = table(&["vs v hosts=raw", "tcp none -> nosuch"]);
    let connection = |original: &str, class, sni| Connection {
        original: original.parse().expect("address"),
        source: None,
        class,
        sni,
        mesh_alpn: false,
    };
    let unknown = explain_connection(&table, &connection("10.0.0.40:6000", Class::Tcp, None));
    assert!(matches!(unknown.outcome, Outcome::NoCluster(_)));
    assert_eq!(
        unknown.sentence,
        "closed NC: nosuch.default.svc.cluster.local (the host is unknown)"
    );
    let tls = explain_connection(
        &table,
        &connection("1.2.3.4:443", Class::Tls, Some("t1.example.com")),
    );
    assert_eq!(tls.sentence, "would be sent to 10.9.0.2:443");
    let none = explain_connection(&table, &connection("1.2.3.4:443", Class::Tls, None));
    assert_eq!(none.outcome, Outcome::Passthrough);
    assert!(
        none.frontends
            .iter()
            .any(|line| line.verdict == Verdict::No(Reason::SniAbsent))
    );
    // HTTP on a TCP port is bytes, and the explanation says so.
    let bytes = explain(&table, "GET web/", "203.0.113.10:5432");
    assert_eq!(
        bytes.protocol_why,
        "this port is not looked into: everything on it is bytes"
    );
    assert_eq!(bytes.sentence, "would be sent to 10.9.0.1:5432");
}

#[test]
fn retries_are_the_rules_then_the_meshs_then_the_default_ones() {
    // VS-H-70, VS-H-71, VS-H-74
    let policy = |mesh: &[&str], own: Option<u32>, host: &str| {
        let lines = [&["vs v hosts=web", "http none -> web"], mesh].concat();
        let mut world = fixture_and(&lines);
        for object in common::objects_of(&world) {
            if let Object::VirtualService(mut service) = object {
                Arc::make_mut(&mut service).http[0].retries = own.map(|attempts| Retries {
                    attempts,
                    ..Retries::default()
                });
                world.upsert(Object::VirtualService(service));
            }
        }
        let context = Given::default().context(&world);
        let table = Table::compile(&world, &context, None).table;
        let made = explain(&table, &format!("GET {host}/"), "10.0.0.10:80");
        made.backends[0].policy.clone()
    };
    let mesh = ["mesh istio ns=istio-system retries=5"];
    for (mesh, own, host, expected) in [
        (&[][..], None, "web", "retries 2 (default)"),
        (&[], Some(0), "web", "retries 0 (rule)"),
        (&mesh, None, "web", "retries 5 (mesh)"),
        (&mesh, Some(3), "web", "retries 3 (rule)"),
        (&mesh, Some(3), "api.prod", "retries 5 (mesh)"),
    ] {
        let policy = policy(mesh, own, host);
        assert!(policy.contains(expected), "{policy}: {expected}");
    }
}

#[test]
fn a_sidecar_that_narrows_is_named_where_nothing_recognises_the_traffic() {
    // VIS-10
    let sentence = |lines: &[&str]| {
        let world = fixture_and(lines);
        let context = Given::default().context(&world);
        let table = Table::compile(&world, &context, None).table;
        explain(&table, "GET api.prod/", "10.0.0.10:80").sentence
    };
    assert!(
        sentence(&["sidecar s egress=./*"])
            .ends_with("; Sidecar default/s (case.yaml:1) says what this client can see")
    );
    assert!(!sentence(&["sidecar s egress=*/*"]).contains("Sidecar"));
}
