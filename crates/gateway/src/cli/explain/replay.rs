//! Random questions through the code of `--json` and through the table's own calls, unwatched:
//! both say the same.
use super::{super::documents::Documents, stream::Answerer};
use crate::settings::Client;
use pointsman_model::{Given, OutboundPolicy, World};
use pointsman_route::{
    Action, Class, Connection, ConnectionDecision, NoTrace, Request, RequestDecision, Split, Table,
};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeMap, net::SocketAddr};

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  clusterIP: 10.96.0.1
  ports: [{name: http, port: 80}, {name: tcp-db, port: 3306}, {name: mixed, port: 9000}]
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {clusterIP: 10.96.0.2, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: other}
spec: {clusterIP: 10.96.0.3, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: tcp-db, port: 3306}, {name: mixed, port: 9000}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: web-1}}
- {addresses: [10.0.0.2], conditions: {ready: false}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {version: v1}}
status: {podIP: 10.0.0.1}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web, web.example.com]
  http:
  - match: [{uri: {exact: /old}}, {uri: {prefix: /older}}]
    redirect: {uri: /new, authority: new.example.com}
  - match: [{uri: {prefix: /teapot}, method: {exact: POST}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - match: [{headers: {user: {exact: jason}}}]
    route: [{destination: {host: web, subset: v1}}]
  - match: [{sourceLabels: {app: shop}}]
    route: [{destination: {host: web, subset: v2}}]
  - match: [{queryParams: {q: {regex: 'a+'}}}]
    route:
    - {destination: {host: web, subset: v1}, weight: 30}
    - {destination: {host: web, subset: missing}, weight: 70}
  - match: [{uri: {prefix: /api}}]
    rewrite: {uri: /v1}
    route: [{destination: {host: web, port: {number: 80}}}]
  - match: [{uri: {regex: '/[a-z]+/x'}}]
    route: [{destination: {host: nobody}}]
";

/// What the table says when asked as the data path asks it: kind, rule, destinations.
fn expected(table: &Table, question: &Value) -> (String, Value, Vec<Value>) {
    let text = |key: &str| question[key].as_str().unwrap_or_default();
    let port = question["port"].as_u64().unwrap() as u16;
    let original = SocketAddr::new(text("ip").parse().unwrap(), port);
    let class = match text("protocol") {
        "tcp" => Class::Tcp,
        "tls" => Class::Tls,
        _ => Class::Http,
    };
    let connection = Connection {
        original,
        source: None,
        class,
        sni: question["sni"].as_str(),
        mesh_alpn: false,
    };
    let bare = |kind: &str| (kind.to_owned(), Value::Null, Vec::new());
    let origin = |it: &pointsman_route::Origin| json!([it.object.name, it.rule, it.place.line]);
    let http = match table.connection(table.listener(original), &connection, &mut NoTrace) {
        ConnectionDecision::Http(http) => http,
        ConnectionDecision::Forward(rule) => {
            let (kind, destinations) = destinations(table, &rule.split);
            return (kind, origin(&rule.origin), destinations);
        }
        ConnectionDecision::Passthrough => return bare("passthrough"),
        ConnectionDecision::Blackhole => return bare("blackhole"),
        ConnectionDecision::Terminate(_) | ConnectionDecision::Closed(_) => return bare("reject"),
    };
    let (path, query) = match text("path").split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text("path"), None),
    };
    let headers: Vec<(String, String)> = question["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect();
    let request = Request {
        method: text("method"),
        authority: text("host"),
        path,
        query,
        scheme: "http",
        fields: &headers,
    };
    match table.request(http, &request, &mut NoTrace) {
        RequestDecision::NotFound(_) | RequestDecision::UnknownHost => bare("notfound"),
        RequestDecision::ToHttps(_) => bare("redirect"),
        RequestDecision::Passthrough => bare("passthrough"),
        RequestDecision::Blackhole => bare("blackhole"),
        RequestDecision::Rule(matched) => {
            let (kind, destinations) = match &matched.rule.action {
                Action::Redirect(_) => ("redirect".to_owned(), Vec::new()),
                Action::Respond(_) => ("respond".to_owned(), Vec::new()),
                Action::Forward(split) => destinations(table, split),
            };
            (kind, origin(&matched.rule.origin), destinations)
        }
    }
}

fn destinations(table: &Table, split: &Split) -> (String, Vec<Value>) {
    let mut usable = false;
    let all = split.targets().iter().map(|target| match target.cluster {
        Ok(id) => {
            let cluster = table.cluster(id);
            usable |= cluster.ready().next().is_some();
            json!([cluster.name.host, cluster.name.subset, cluster.name.port])
        }
        Err(_) => {
            let it = &target.destination;
            json!([it.host, it.subset, it.port])
        }
    });
    let all = all.collect();
    let kind = if usable { "forward" } else { "unavailable" };
    (kind.to_owned(), all)
}

/// The same of an answer.
fn told(answer: &Value) -> (String, Value, Vec<Value>) {
    let one = |it: &Value| json!([it["host"], it["subset"], it["port"]]);
    let rule = &answer["rule"];
    let rule = match rule {
        Value::Null => Value::Null,
        rule => json!([rule["name"], rule["index"], rule["line"]]),
    };
    let destinations = match (&answer["destination"], &answer["weights"]) {
        (Value::Null, Value::Array(weights)) => weights.iter().map(one).collect(),
        (Value::Null, _) => Vec::new(),
        (single, _) => vec![one(single)],
    };
    let kind = answer["kind"].as_str().unwrap_or_default();
    (kind.to_owned(), rule, destinations)
}

fn documents() -> World {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mesh.yaml"), MESH).unwrap();
    let documents = Documents::read(&[dir.path().to_owned()], &Client::default()).unwrap();
    assert!(documents.findings.is_empty(), "{:?}", documents.findings);
    documents.world
}

fn question() -> impl Strategy<Value = Value> {
    let hosts = vec![
        "web",
        "WEB:80",
        "web.default.svc.cluster.local",
        "web.other",
        "web.example.com",
        "empty",
        "unknown.example.com",
        "10.96.0.1",
        "",
    ];
    let paths = vec![
        "/",
        "/old",
        "/older/x",
        "/teapot",
        "/api/x?q=aa",
        "/api",
        "/abc/x",
        "/x?q=b",
        "/y?q=a&r",
    ];
    let ips = vec![
        "10.96.0.1",
        "10.96.0.2",
        "10.96.0.3",
        "10.0.0.1",
        "192.0.2.1",
    ];
    (
        select(vec!["tcp", "tls", "http", "http", "http"]),
        (select(ips), select(vec![80_u16, 443, 3306, 9000, 81])),
        select(hosts),
        select(paths),
        select(vec!["GET", "POST"]),
        select(vec![None, Some("jason"), Some("mallory")]),
        select(vec![None, Some("api.example.com"), Some("web.example.com")]),
        select(vec![None, Some("default"), Some("other")]),
        any::<bool>(),
    )
        .prop_map(
            |(protocol, (ip, port), host, path, method, user, sni, namespace, shop)| {
                let mut question = json!({
                    "id": 7, "protocol": protocol, "via": "mesh", "ip": ip, "port": port,
                    "host": host, "path": path, "method": method, "headers": {}, "alpn": ["h2"],
                });
                if let Some(user) = user {
                    question["headers"]["user"] = user.into();
                }
                if let Some(sni) = sni.filter(|_| protocol == "tls") {
                    question["sni"] = sni.into();
                }
                if let Some(namespace) = namespace {
                    question["source"]["namespace"] = namespace.into();
                }
                if shop {
                    question["source"]["labels"] = json!({"app": "shop"});
                }
                question
            },
        )
}

/// Every kind that a mesh question can be answered with comes up.
const KINDS: [&str; 7] = [
    "forward",
    "passthrough",
    "redirect",
    "respond",
    "notfound",
    "blackhole",
    "unavailable",
];

#[test]
fn answers_are_the_tables_own() {
    let world = documents();
    let seen = RefCell::new(BTreeMap::<String, usize>::new());
    for policy in [OutboundPolicy::AllowAny, OutboundPolicy::RegistryOnly] {
        let given = Given {
            outbound_policy: Some(policy),
            ..Given::default()
        };
        let plain = RefCell::new(Answerer::new(&world, &given, false));
        let traced = RefCell::new(Answerer::new(&world, &given, true));
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 3000,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let result = runner.run(&question(), |question| {
            // A table of its own, not one that shares parts with another client's.
            let source = &question["source"];
            let own = Given {
                namespace: source["namespace"].as_str().unwrap_or("default").into(),
                labels: match source["labels"] {
                    Value::Null => [].into(),
                    _ => [("app".into(), "shop".into())].into(),
                },
                ..given.clone()
            };
            let table = Table::compile(&world, &own.context(&world), None).table;
            let line = question.to_string();
            let answer: Value =
                serde_json::from_str(&plain.borrow_mut().line(line.as_bytes())).unwrap();
            prop_assert_eq!(&answer["id"], 7);
            prop_assert_eq!(told(&answer), expected(&table, &question), "{}", answer);
            let mut watched: Value =
                serde_json::from_str(&traced.borrow_mut().line(line.as_bytes())).unwrap();
            let steps = watched.as_object_mut().unwrap().remove("trace");
            prop_assert!(steps.is_some_and(|it| it.is_array()));
            prop_assert_eq!(&watched, &answer);
            *seen.borrow_mut().entry(told(&answer).0).or_default() += 1;
            Ok(())
        });
        result.unwrap();
    }
    let seen = seen.into_inner();
    for kind in KINDS {
        assert!(
            seen.get(kind).is_some_and(|&count| count > 3),
            "{kind}: {seen:?}"
        );
    }
}
