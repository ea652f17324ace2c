//! `pointsman describe` on the real binary: what a page holds of each kind.
use serde_json::Value;
use std::{
    fs,
    process::{Command, Output},
};

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop, annotations: {networking.istio.io/exportTo: '.'}}
spec:
  clusterIP: 10.96.0.1
  ports: [{name: http, port: 80}, {name: tcp-db, port: 3306}, {name: x, port: 81, appProtocol: http2}, {name: misc, port: 9}]
---
apiVersion: v1
kind: Service
metadata: {name: store}
spec: {type: ExternalName, externalName: shop.default.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: market}
spec: {type: ExternalName, externalName: store.default.svc.cluster.local}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: tcp-db, port: 3306}]
endpoints:
- {addresses: [10.0.0.1]}
- {addresses: [10.0.0.2], conditions: {ready: false, terminating: false}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec: {host: shop, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: first, creationTimestamp: '2020-01-01T00:00:00Z'}
spec:
  hosts: [shop]
  http:
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new}
  - route: [{destination: {host: shop, subset: v1}, weight: 1}, {destination: {host: nobody}, weight: 3}]
    mirror: {host: shop}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: second, creationTimestamp: '2021-01-01T00:00:00Z'}
spec:
  hosts: [shop]
  http: [{route: [{destination: {host: shop}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: ['*.example.com']
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {app: edge}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.org]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: outside}
spec:
  hosts: [shop.example.org, other.example.org]
  gateways: [edge]
  http: [{route: [{destination: {host: shop}}]}]
";

fn describe(arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("mesh.yaml"), MESH).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POINTSMAN_") {
            command.env_remove(name);
        }
    }
    let command = command.current_dir(dir.path());
    let command = command
        .args(["describe", "-f", "mesh.yaml"])
        .args(arguments);
    command.output().expect("it runs")
}

fn page(kind: &str, name: &str) -> Value {
    let output = describe(&[kind, name, "-o", "json"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{kind} {name}: {error}");
    let page: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(page["version"], 1);
    page
}

/// The cells of a section, row by row.
fn rows(page: &Value, section: &str, columns: &[&str]) -> Vec<String> {
    let rows = page["sections"][section].as_array();
    rows.unwrap_or_else(|| panic!("no section {section} in {page:#}"))
        .iter()
        .map(|row| {
            let cells = columns.iter().map(|it| row[it].as_str().unwrap_or("?"));
            cells.collect::<Vec<_>>().join(" | ")
        })
        .collect()
}

#[test]
fn a_service_has_its_names_ports_rules_and_who_sends_to_it() {
    let page = page("svc", "shop");
    assert_eq!(page["name"], "shop.default.svc.cluster.local");
    assert_eq!(
        rows(&page, "declared_by", &["document", "visible_to"]),
        ["Service default/shop | its own namespace"]
    );
    let names = rows(&page, "names_and_addresses", &["name", "why"]);
    for name in [
        "shop | short name, in its own namespace",
        "10.96.0.1 | cluster address",
        "store.default.svc.cluster.local | alias of shop.default.svc.cluster.local",
        "market.default.svc.cluster.local | alias of store.default.svc.cluster.local",
    ] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    assert_eq!(
        rows(&page, "ports", &["port", "protocol", "why"]),
        [
            "80 | HTTP | its name, or a well-known number",
            "3306 | TCP | its name, or a well-known number",
            "81 | HTTP2 | its appProtocol, or `protocol`",
            "9 | auto | nothing declares it: the first bytes tell",
        ]
    );
    let speakers = rows(&page, "virtual_services", &["name", "in_force"]);
    assert!(
        speakers[0].starts_with("default/first | requests on port 9, 80, 81"),
        "{speakers:?}"
    );
    assert!(
        speakers[1].starts_with("default/second | no: another one"),
        "{speakers:?}"
    );
    let mut rules = rows(&page, "rules", &["port", "rule", "match", "to"]);
    rules.retain(|it| it.starts_with("80 |"));
    assert_eq!(
        rules,
        [
            "80 | default/first#0 | path starts with \"/old\" | redirect 301",
            "80 | default/first#1 | everything | shop.default v1 1 / nobody.default 3 (the host is unknown)",
        ]
    );
    let backends = rows(&page, "backends", &["backend", "ready", "destination_rule"]);
    assert!(
        backends.contains(
            &"outbound|80||shop.default.svc.cluster.local | 1/2 | default/shop".to_owned()
        ),
        "{backends:?}"
    );
    let endpoints = rows(&page, "endpoints", &["port", "endpoint", "state"]);
    assert!(
        endpoints.contains(&"80 | 10.0.0.2:8080 | not ready".to_owned()),
        "{endpoints:?}"
    );
    assert_eq!(
        rows(&page, "sent_here_by", &["rule", "how", "subset", "weight"]),
        [
            "default/first#1 | route | v1 | 1",
            "default/first#1 | mirror | - | -",
            "default/outside#0 | route | - | -",
            "default/second#0 | route | - | -",
        ]
    );
    let findings = rows(&page, "findings", &["finding"]);
    assert!(
        findings.iter().any(|it| it.contains("PM0102")),
        "{findings:?}"
    );
}

#[test]
fn rules_know_their_users_and_their_destinations() {
    let it = page("vs", "default/first");
    let destinations = rows(&it, "destinations", &["rule", "destination", "state"]);
    assert_eq!(
        destinations,
        [
            "default/first#1 | shop.default.svc.cluster.local subset v1 | endpoints ready by port: 80: 0 of 0, 3306: 0 of 0, 81: 0 of 0, 9: 0 of 0",
            "default/first#1 | nobody.default.svc.cluster.local | does not exist",
            "default/first#1 | shop.default.svc.cluster.local | endpoints ready by port: 80: 1 of 2, 3306: 1 of 2, 81: 0 of 0, 9: 0 of 0",
        ]
    );
    let hosts = rows(&it, "hosts", &["port", "requests_are_routed_by"]);
    assert!(hosts.contains(&"80 | this".to_owned()), "{hosts:?}");
    let loser = rows(
        &page("virtualservice", "second"),
        "hosts",
        &["requests_are_routed_by"],
    );
    assert_eq!(loser[0], "VirtualService default/first");
    assert_eq!(
        rows(
            &page("dr", "shop.default"),
            "subsets",
            &["subset", "labels", "ready", "used_by"]
        ),
        [
            "v1 | version=v1 | 0 | default/first#1",
            "v2 | version=v2 | 0 | no rule"
        ]
    );
    let it = page("gw", "edge");
    assert_eq!(
        rows(&it, "servers", &["port", "protocol", "hosts"]),
        ["80 | HTTP | shop.example.org"]
    );
    assert_eq!(
        rows(&it, "virtual_services", &["name", "admitted"]),
        ["default/outside | no server has other.example.org"]
    );
}

#[test]
fn hosts_are_found_as_clients_write_them() {
    for (name, found) in [
        ("shop", "shop.default.svc.cluster.local"),
        ("SHOP.default.svc", "shop.default.svc.cluster.local"),
        ("a.b.example.com", "*.example.com"),
        ("shop.example.org", "shop.example.org"),
    ] {
        assert_eq!(page("host", name)["name"], found);
    }
    // An alias is described as what it stands for.
    assert_eq!(
        page("service", "market")["name"],
        "shop.default.svc.cluster.local"
    );
    let text = describe(&["se", "api"]);
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(
        text.starts_with("host *.example.com   mesh.yaml:"),
        "{text}"
    );
}

#[test]
fn what_is_not_there_is_told_with_what_may_be_meant() {
    for (arguments, code, word) in [
        (&["svc", "shpo"][..], 1, "did you mean shop?"),
        (&["host", "unknown.example.org"], 1, "unknown.example.org"),
        (&["pod", "shop"], 2, "pod"),
    ] {
        let output = describe(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
}

#[test]
fn rules_at_gateways_are_those_in_force() {
    let columns = ["host", "port", "rule", "match", "to"];
    // The Service is exported to its own namespace, and the gateway is in another one.
    let row = "shop.example.org | 80 | default/outside#0 | everything | shop.default (the host is unknown)";
    let gateway = page("gw", "edge");
    assert_eq!(rows(&gateway, "rules", &columns), [row]);
    let service = page("vs", "outside");
    assert_eq!(rows(&service, "rules_at_gateways", &columns), [row]);
    // Nothing is said of the mesh, which it does not speak to.
    assert_eq!(rows(&service, "hosts", &["host"]), [""; 0]);
    let service = page("vs", "first");
    assert_eq!(rows(&service, "rules_at_gateways", &columns), [""; 0]);
}
