//! What `pointsman explain` says of the ports of Gateways, on the real binary.
use serde_json::{Value, json};
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

const EDGE: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}, {name: tcp-db, port: 3306}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: tcp-db, port: 3306}]
endpoints: [{addresses: [10.0.0.1]}]
---
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: infra}
spec:
  clusterIP: 10.96.0.2
  selector: {app: edge}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: infra}
spec:
  selector: {app: edge}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ['*.example.com']
  - port: {number: 81, name: http-old, protocol: HTTP}
    hosts: ['*.example.com']
    tls: {httpsRedirect: true}
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [shop.example.com]
    tls: {mode: SIMPLE, credentialName: shop}
  - port: {number: 8443, name: tls, protocol: TLS}
    hosts: ['*.example.com']
    tls: {mode: PASSTHROUGH}
  - port: {number: 15443, name: auto, protocol: TLS}
    hosts: ['*.local']
    tls: {mode: AUTO_PASSTHROUGH}
  - port: {number: 3306, name: db, protocol: TCP}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example.com, db.example.com]
  gateways: [infra/edge]
  http:
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, derivePort: FROM_REQUEST_PORT}
  - match: [{uri: {prefix: /shop}}]
    route: [{destination: {host: shop, port: {number: 80}}}]
  tls:
  - match: [{sniHosts: [db.example.com]}]
    route: [{destination: {host: shop, port: {number: 3306}}}]
  tcp:
  - route: [{destination: {host: shop, port: {number: 3306}}}]
";

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("edge.yaml"), EDGE).expect("a file");
    dir
}

fn line(protocol: &str, port: u16, more: Value) -> Value {
    let mut line = json!({"id": 1, "protocol": protocol, "via": "gateway", "port": port});
    if protocol == "tcp" {
        line["ip"] = json!("192.0.2.1");
    }
    for (key, value) in more.as_object().expect("an object") {
        line[key] = value.clone();
    }
    line
}

fn http(port: u16, host: &str, path: &str) -> Value {
    line("http", port, json!({"host": host, "path": path}))
}

/// Answers to lines, by the binary.
fn json_answers(folder: &Path, arguments: &[&str], lines: &[Value]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["explain", "--json", "-f"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("a few lines");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// Every part of `expected` is in `answer`; null: it is not there.
fn has(answer: &Value, expected: Value) {
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(answer[key], *value, "{key} of {answer}");
    }
}

#[test]
fn every_kind_of_server_answers_machines() {
    let dir = folder();
    let tls = json!({"sni": "shop.example.com", "alpn": ["h2"]});
    let inside = json!({"host": "shop.example.com", "path": "/shop", "tls": tls});
    let name = "outbound_.3306_._.shop.default.svc.cluster.local";
    let lines = [
        http(80, "shop.example.com", "/shop"),
        http(80, "shop.example.com", "/none"),
        http(80, "other.example.com", "/"),
        http(80, "shop.example.com", "/old"),
        http(81, "any.example.com:81", "/a?b"),
        http(82, "shop.example.com", "/"),
        line("http", 443, inside),
        line("tls", 443, json!({"sni": "shop.example.com"})),
        line("tls", 443, json!({"sni": "other.example.com"})),
        line("tls", 443, json!({})),
        line("tcp", 443, json!({})),
        line("tls", 8443, json!({"sni": "db.example.com"})),
        line("tls", 15443, json!({"sni": name, "alpn": ["istio"]})),
        line("tls", 15443, json!({"sni": name, "alpn": ["h2"]})),
        line("tcp", 3306, json!({})),
    ];
    let answers = json_answers(dir.path(), &["--trace"], &lines);
    let shop = json!({"host": "shop.default.svc.cluster.local", "subset": null, "port": 80});
    let db = json!({"host": "shop.default.svc.cluster.local", "subset": null, "port": 3306});
    let expected = [
        json!({"kind": "forward", "destination": shop, "endpoints": ["10.0.0.1:8080"], "path": "/shop"}),
        json!({"kind": "notfound", "status": 404, "reason": "no_rule"}),
        json!({"kind": "notfound", "status": 404, "reason": "host_unknown", "rule": null}),
        json!({"kind": "redirect", "location": "http://shop.example.com/new"}),
        json!({"kind": "redirect", "status": 301, "reason": "https_redirect", "location": "https://any.example.com:81/a?b"}),
        json!({"kind": "reject", "reason": "no_listener"}),
        json!({"kind": "forward", "destination": shop}),
        json!({"kind": "forward", "reason": "ends_tls", "destination": null}),
        json!({"kind": "reject", "reason": "sni_differs"}),
        json!({"kind": "reject", "reason": "sni_absent"}),
        json!({"kind": "reject", "reason": "not_tls"}),
        json!({"kind": "forward", "destination": db, "endpoints": ["10.0.0.1:3306"]}),
        json!({"kind": "forward", "destination": db}),
        json!({"kind": "reject", "reason": "alpn_differs"}),
        json!({"kind": "forward", "destination": db}),
    ];
    assert_eq!(answers.len(), expected.len());
    for (answer, expected) in answers.iter().zip(expected) {
        has(answer, expected);
        assert!(
            answer["trace"].as_array().is_some_and(|it| !it.is_empty()),
            "{answer}"
        );
    }
    let server = json!({"kind": "Gateway", "namespace": "infra", "name": "edge"});
    for (at, index) in [(4, 1), (7, 2)] {
        has(&answers[at]["rule"], server.clone());
        has(&answers[at]["rule"], json!({"index": index}));
    }
}

/// GW-1, GW-3: with labels, the Gateways that select them, at the ports a Service leads to.
#[test]
fn the_gateway_of_the_command_line_counts() {
    let dir = folder();
    let ask = |arguments: &[&str], port| {
        let line = http(port, "shop.example.com", "/shop");
        json_answers(dir.path(), arguments, &[line]).remove(0)["kind"].clone()
    };
    assert_eq!(ask(&[], 80), "forward");
    assert_eq!(ask(&[], 8080), "reject");
    let own = [
        "--gateway-namespace",
        "infra",
        "--gateway-label",
        "app=edge",
    ];
    assert_eq!(ask(&own, 8080), "forward");
    // The number that the Service calls it.
    assert_eq!(ask(&own, 80), "forward");
    assert_eq!(ask(&["--gateway-label", "app=other"], 80), "reject");
}

#[test]
fn people_see_the_servers_that_were_considered() {
    let dir = folder();
    let run = |target: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(["explain", "--gateway", target, "-f"])
            .arg(dir.path())
            .output()
            .expect("it runs");
        (
            String::from_utf8(output.stdout).expect("text"),
            output.status.code(),
        )
    };
    let (text, code) = run("https://shop.example.com/shop");
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "+ infra/edge.servers#2  HTTPS SIMPLE shop.example.com   MATCH",
        "+ host shop.example.com",
        "VirtualService default/shop",
        "+ #1",
        "=> ",
        "10.0.0.1:8080",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let (text, code) = run("https://other.example.com/");
    assert!(
        text.contains("sni_differs") && text.contains("no server has this server name"),
        "{text}"
    );
    assert_eq!(code, Some(4), "{text}");
    let (text, _) = run("http://other.example.com/");
    assert!(text.contains("404 NR: no server has the host"), "{text}");
    let (text, _) = run("http://shop.example.com:81/x");
    assert!(
        text.contains(
            "301 to https://shop.example.com:81/x by httpsRedirect of infra/edge.servers#1"
        ),
        "{text}"
    );
}
