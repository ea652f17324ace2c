//! `pointsman test` on the real binary: what passes, what fails and how that is told.
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  clusterIP: 10.96.0.1
  ports: [{name: http, port: 80}, {name: tcp-db, port: 3306}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: tcp-db, port: 3306}]
endpoints: [{addresses: [10.0.0.2]}, {addresses: [10.0.0.1]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, scheme: https, redirectCode: 308}
    headers: {response: {set: {x-by: rule}}}
  - match: [{uri: {prefix: /teapot}}]
    directResponse: {status: 418, body: {string: short}}
  - name: api
    match: [{uri: {prefix: /api/}, headers: {user: {exact: jason}}}]
    rewrite: {uri: /v2/, authority: api.example.com}
    headers: {request: {add: {X-Added: one}}, response: {set: {x-seen: 'yes'}}}
    timeout: 1500ms
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: 5xx}
    mirror: {host: shop}
    mirrorPercentage: {value: 12.5}
    route: [{destination: {host: shop}}]
  - match: [{sourceLabels: {app: cart}}]
    route:
    - {destination: {host: shop, port: {number: 80}}, weight: 1}
    - {destination: {host: nobody}, weight: 3}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
";

fn folder(cases: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("mesh.yaml"), MESH).expect("a file");
    fs::write(dir.path().join("routes.test.yaml"), cases).expect("a file");
    dir
}

fn test(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POINTSMAN_") {
            command.env_remove(name);
        }
    }
    let command = command.current_dir(folder).args(["test", "-f", "."]);
    let command = command.arg("routes.test.yaml").args(arguments);
    command.output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The complaints of one case.
fn complaints(case: &str) -> Vec<String> {
    let dir = folder(&format!("- name: it\n{case}\n"));
    let output = test(dir.path(), &["-o", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", text(&output.stderr));
    });
    assert_eq!(told["version"], 1);
    let only = &told["cases"][0];
    let differences = only["differences"].as_array().expect("a list");
    assert_eq!(only["passed"], differences.is_empty());
    assert_eq!(output.status.success(), differences.is_empty());
    differences
        .iter()
        .map(|it| {
            let part = |name: &str| it[name].as_str().expect("text");
            format!("{}: {} / {}", part("field"), part("expected"), part("got"))
        })
        .collect()
}

const API: &str = "  request: {url: 'http://shop/api/x?q=1', headers: {user: jason}}";
const OLD: &str = "  request: {url: 'http://shop.default.svc.cluster.local/old', method: POST}";
const CART: &str = "  request: {url: 'http://shop/cart'}\n  from: {labels: {app: cart}}";
const DB: &str = "  connect: {to: '10.96.0.1:3306'}";
const TLS: &str = "  connect: {to: '192.0.2.1:443', sni: api.example.com}";

/// Each field of an expectation holds for what is so, and fails for what is not.
#[test]
fn every_expectation_bites() {
    for (question, good, bad, word) in [
        (API, "outcome: forward", "outcome: redirect", "forward to"),
        (API, "kind: http", "kind: tcp", "http"),
        (DB, "kind: tcp", "kind: http", "tcp"),
        (TLS, "kind: tls", "kind: tcp", "tls"),
        (API, "rule: api", "rule: old", "default/shop#2 (api)"),
        (API, "rule: default/shop#2", "rule: default/shop#1", "#2"),
        (API, "rule: default/shop", "rule: other/shop", "#2"),
        (DB, "service: shop.default", "service: web", "|shop.default"),
        (DB, "port: 3306", "port: 80", "|3306|"),
        (DB, "subset: ''", "subset: v1", "||shop"),
        (
            DB,
            "cluster: outbound|3306||shop.default.svc.cluster.local",
            "cluster: outbound|3306|v1|shop.default.svc.cluster.local",
            "||shop",
        ),
        (
            DB,
            "endpoints: ['10.0.0.2:3306', '10.0.0.1:3306']",
            "endpoints: ['10.0.0.2:3306']",
            "10.0.0.1:3306, 10.0.0.2:3306",
        ),
        (
            CART,
            "weights: {shop: 25, nobody: 75}",
            "weights: {shop: 50, nobody: 50}",
            "3 outbound",
        ),
        (
            CART,
            "weights: {nobody: 3, shop: 1}",
            "weights: {shop: 1}",
            "1",
        ),
        (OLD, "status: 308", "status: 301", "308"),
        (
            OLD,
            "location: https://shop.default.svc.cluster.local/new",
            "location: /new",
            "https://shop",
        ),
        (
            OLD,
            "response_headers: {x-by: rule}",
            "response_headers: {x-by: a}",
            "rule",
        ),
        (API, "path: '/v2/x?q=1'", "path: /api/x", "/v2/x?q=1"),
        (
            API,
            "authority: api.example.com",
            "authority: shop",
            "api.example.com",
        ),
        (
            API,
            "request_headers: {X-Added: one}",
            "request_headers: {b: c}",
            "no such",
        ),
        (
            API,
            "response_headers: {x-seen: 'yes'}",
            "response_headers: {x-seen: 'no'}",
            "yes",
        ),
        (API, "timeout: 1.5s", "timeout: 2s", "1.5s"),
        (API, "retries: {attempts: 3}", "retries: {attempts: 2}", "3"),
        (
            API,
            "retries: {retryOn: 5xx, perTryTimeout: 2s}",
            "retries: {retryOn: reset}",
            "5xx",
        ),
        (API, "mirrors: {shop: 12.5}", "mirrors: {shop: 12}", "12.5"),
        (API, "mirrors: {shop: 12.5}", "mirrors: {}", "12.5"),
        (CART, "outcome: forward", "reason: no_rule", "none"),
    ] {
        assert_eq!(
            complaints(&format!("{question}\n  expect: {{{good}}}")),
            [""; 0],
            "{good}"
        );
        let told = complaints(&format!("{question}\n  expect: {{{bad}}}"));
        assert_eq!(told.len(), 1, "{bad}: {told:?}");
        assert!(told[0].contains(word), "{bad}: {told:?}");
    }
    for (question, good) in [
        (
            "  request: {url: 'http://shop/teapot'}",
            "status: 418, body: short, outcome: respond",
        ),
        (
            "  request: {url: 'http://shop/none'}",
            "outcome: notfound, status: 404, reason: no_rule",
        ),
        (
            "  request: {url: 'http://10.96.0.1:3306/'}",
            "kind: tcp, service: shop",
        ),
        (
            "  connect: {to: '192.0.2.1:5'}",
            "outcome: passthrough, endpoints: ['192.0.2.1:5']",
        ),
        (
            "  connect: {to: '192.0.2.1:443', tls: true}",
            "outcome: passthrough, kind: tls",
        ),
        (
            "  request: {url: 'https://api.example.com/x'}",
            "service: api.example.com, kind: tls",
        ),
        (
            "  request: {url: 'http://other', headers: {host: shop}}",
            "outcome: notfound",
        ),
    ] {
        assert_eq!(
            complaints(&format!("{question}\n  expect: {{{good}}}")),
            [""; 0],
            "{question}"
        );
    }
}

const MIXED: &str = "
- name: database
  connect: {to: 10.96.0.1:3306}
  expect: {service: shop}
- name: redirect <of> old
  request: {url: http://shop/old}
  expect: {outcome: passthrough}
";

#[test]
fn a_failure_says_what_was_expected_what_came_and_by_which_rule() {
    let dir = folder(MIXED);
    let output = test(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "ok   database\n\
         FAIL redirect <of> old  routes.test.yaml:5\n     \
         outcome: expected passthrough, got redirect 308 to https://shop/new\n     \
         by default/shop#0  ./mesh.yaml:22\n     \
         => would be redirected with 308 to https://shop/new\n\
         1 passed, 1 failed\n"
    );
    let output = test(dir.path(), &["--filter", "data", "--quiet"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "1 passed, 0 failed\n");
    let output = test(
        dir.path(),
        &["--outbound-policy", "REGISTRY_ONLY", "-o", "junit"],
    );
    let report = text(&output.stdout);
    assert!(report.starts_with("<?xml"), "{report}");
    assert!(report.contains("tests=\"2\" failures=\"1\""), "{report}");
    assert!(
        report.contains("name=\"redirect &lt;of&gt; old\""),
        "{report}"
    );
    assert!(report.ends_with("</testsuites>\n"), "{report}");
}

#[test]
fn what_cannot_be_meant_is_wrong_use() {
    for (cases, arguments, word) in [
        ("- nam: a\n", &[][..], "routes.test.yaml:1:3"),
        (MIXED, &["--filter", "nothing"], "nothing"),
        ("[]\n", &[], "no cases"),
        (MIXED, &["--namespace"], "--namespace"),
        (MIXED, &["gone.test.yaml"], "gone.test.yaml"),
    ] {
        let output = test(folder(cases).path(), arguments);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(word), "{arguments:?}: {error}");
    }
}

/// Destinations that get different headers: each of them is as expected, or the one that is not is
/// named.
#[test]
fn every_weighted_destination_is_checked() {
    let mesh = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web.example.com]
  http:
  - rewrite: {uri: /new/}
    route:
    - {destination: {host: shop, port: {number: 80}}, weight: 50, headers: {request: {set: {x: '1', y: '1'}}}}
    - {destination: {host: shop, port: {number: 3306}}, weight: 50, headers: {request: {set: {x: '1', y: '2'}}}}
";
    let folder = folder("");
    let documents = folder.path().join("mesh.yaml");
    fs::write(&documents, format!("{MESH}---{mesh}")).expect("written");
    let cases = folder.path().join("cases.yaml");
    let verdict = |expect: &str| {
        let case = format!(
            "- name: split\n  request: {{url: 'http://web.example.com:80/x'}}\n  expect: {expect}\n"
        );
        fs::write(&cases, case).expect("written");
        let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
            .args(["test", "-f"])
            .args([&documents, &cases])
            .output()
            .expect("it runs");
        (output.status.code(), text(&output.stdout))
    };
    let (code, said) = verdict("{path: /new/x, request_headers: {x: '1'}}");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = verdict("{request_headers: {x: '1', y: '1'}}");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("\"2\" to outbound|3306||shop"), "{said}");
}

/// The shop of the demo passes the cases that come with it.
#[test]
fn the_demo_passes_its_own_cases() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo");
    let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["test", "-f"])
        .arg(demo.join("manifests"))
        .arg(demo.join("shop.test.yaml"))
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", text(&output.stdout));
}

#[test]
fn cases_without_end_are_wrong_use() {
    let dir = folder("");
    let output = Command::new("timeout")
        .args(["20", env!("CARGO_BIN_EXE_pointsman"), "test", "-f"])
        .arg(dir.path())
        .arg("/dev/zero")
        .output()
        .expect("it runs");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("/dev/zero: it is larger than"), "{said}");
}
