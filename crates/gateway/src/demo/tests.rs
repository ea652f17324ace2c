//! The manifests as the gateway understands them.
use super::{files, shop};
use pointsman_manifest::{Input, parse};
use pointsman_model::{ClientContext, Finding, Level, Object, World};
use pointsman_route::{
    Action, Class, Connection, ConnectionDecision, NoTrace, Request, RequestDecision, Split, Table,
    Target,
};
use std::net::SocketAddr;

fn only_infos(findings: &[Finding]) {
    let bad: Vec<_> = findings
        .iter()
        .filter(|finding| finding.level != Level::Info)
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

fn table() -> Table {
    let mut world = World::default();
    for &(name, text) in files() {
        let parsed = parse(&Input {
            file: name.into(),
            text,
            default_namespace: "default",
            cluster_domain: "cluster.local",
        });
        only_infos(&parsed.findings);
        assert!(parsed.complete, "{name}");
        assert_eq!(
            parsed.documents.len(),
            text.matches("\n---\n").count() + 1,
            "{name}"
        );
        for document in parsed.documents {
            let object: Object = document.result.expect("a good document");
            world.upsert(object);
        }
    }
    let compiled = Table::compile(&world, &ClientContext::default(), None);
    only_infos(&compiled.findings);
    compiled.table
}

/// One client, and where it ends: cluster, then the addresses it can reach there.
type Row = (&'static str, Client, &'static str);

#[derive(Clone, Copy)]
enum Client {
    Bytes,
    Tls(&'static str),
    Http {
        host: &'static str,
        user: &'static str,
    },
}

const fn http(host: &'static str) -> Client {
    Client::Http { host, user: "" }
}

const JASON: Client = Client::Http {
    host: "reviews",
    user: "jason",
};

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("127.77.0.10:9080", http("127.77.0.10:9080"), "productpage:9080 127.77.2.10:18080"),
    ("127.0.0.1:9080", http("productpage"), "productpage:9080 127.77.2.10:18080"),
    ("127.77.0.12:9080", http("127.77.0.12:9080"),
        "reviews:9080/v1 127.77.2.12:18080, reviews:9080/v3 127.77.2.14:18080"),
    ("127.77.0.12:9080", JASON, "reviews:9080/v2 127.77.2.13:18080"),
    ("127.77.0.13:9080", http("ratings:9080"), "ratings:9080 127.77.2.15:18080"),
    ("127.0.0.1:9080", http("legacy"), "details:9080 127.77.2.11:18080"),
    ("127.0.0.1:9081", http("payments.example.com"), "payments.example.com:9081 127.77.2.22:18080"),
    ("127.0.0.1:8443", Client::Tls("vault.example.com"), "vault.example.com:8443 127.77.2.21:18443"),
    ("127.77.0.20:13306", Client::Bytes, "mysql:13306 127.77.2.20:13307"),
    ("127.77.1.1:9000", Client::Bytes, "orders:9000 127.77.1.1:9001"),
    ("127.77.1.2:9000", Client::Bytes, "orders:9000 127.77.1.2:9001"),
    ("127.77.1.3:9000", Client::Bytes, "orders:9000 127.77.1.3:9001"),
    ("127.0.0.1:8443", Client::Tls("other.example.com"), "passthrough"),
    ("127.0.0.1:9080", http("nobody.example.com"), "passthrough"),
];

fn outcome(table: &Table, original: SocketAddr, client: Client) -> String {
    let (class, sni) = match client {
        Client::Bytes => (Class::Tcp, None),
        Client::Tls(name) => (Class::Tls, Some(name)),
        Client::Http { .. } => (Class::Http, None),
    };
    let connection = Connection {
        original,
        source: None,
        class,
        sni,
        mesh_alpn: false,
    };
    let listener = table.listener(original);
    match (
        table.connection(listener, &connection, &mut NoTrace),
        client,
    ) {
        (ConnectionDecision::Forward(rule), _) => ends(table, &rule.split, original),
        (ConnectionDecision::Http(id), Client::Http { host, user }) => {
            let fields = vec![("end-user".to_owned(), user.to_owned())];
            let request = Request {
                method: "GET",
                authority: host,
                path: "/reviews/1",
                query: None,
                scheme: "http",
                fields: &fields,
            };
            match table.request(id, &request, &mut NoTrace) {
                RequestDecision::Rule(matched) => match &matched.rule.action {
                    Action::Forward(split) => ends(table, split, original),
                    other => format!("{other:?}"),
                },
                RequestDecision::Passthrough => "passthrough".to_owned(),
                other => format!("{other:?}"),
            }
        }
        (ConnectionDecision::Passthrough, _) => "passthrough".to_owned(),
        (other, _) => format!("{other:?}"),
    }
}

fn ends(table: &Table, split: &Split, original: SocketAddr) -> String {
    let end = |target: &Target| {
        let cluster = table.cluster(target.cluster.expect("a cluster"));
        let host = cluster
            .name
            .host
            .trim_end_matches(".default.svc.cluster.local");
        let subset = cluster.name.subset.iter().map(|name| format!("/{name}"));
        let addresses = match cluster.original_destination(original) {
            Some(address) => vec![address.to_string()],
            None => cluster.ready().map(|it| it.address.to_string()).collect(),
        };
        let subset: String = subset.collect();
        format!(
            "{host}:{}{subset} {}",
            cluster.name.port,
            addresses.join(" ")
        )
    };
    let all: Vec<String> = split.targets().iter().map(end).collect();
    all.join(", ")
}

#[test]
fn every_client_ends_at_the_right_pod() {
    let table = table();
    for &(original, client, expected) in ROWS {
        let original = original.parse().expect("an address");
        assert_eq!(outcome(&table, original, client), expected, "{original}");
    }
}

/// Two sockets of one process at one address would be told apart by chance, if at all.
#[test]
fn gateway_and_shop_never_want_the_same_address() {
    let table = table();
    let binds: Vec<SocketAddr> = table.binds().iter().map(|bind| bind.address).collect();
    let wanted = [
        "0.0.0.0:8443",
        "0.0.0.0:9080",
        "0.0.0.0:9081",
        "127.77.0.20:13306",
        "127.77.1.1:9000",
        "127.77.1.2:9000",
        "127.77.1.3:9000",
    ];
    let mut found: Vec<String> = binds.iter().map(SocketAddr::to_string).collect();
    found.sort();
    assert_eq!(found, wanted);
    for bind in binds {
        for pod in shop::addresses() {
            let apart =
                pod.port() != bind.port() || !(bind.ip().is_unspecified() || bind.ip() == pod.ip());
            assert!(apart, "{bind} {pod}");
        }
        assert!(bind.port() >= 1024, "{bind} needs a privilege");
    }
}

#[test]
fn only_the_mysql_port_has_to_be_guessed() {
    let table = table();
    let guesses = |address: &str| {
        let listener = table.listener(address.parse().expect("an address"));
        table.inspection(listener).server_may_speak_first
    };
    assert!(guesses("127.77.0.20:13306"));
    assert!(!guesses("127.77.1.1:9000") && !guesses("127.0.0.1:9080"));
}
