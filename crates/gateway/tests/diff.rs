//! `pointsman diff` on the real binary: what it says, and how it ends.
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: shop-1, labels: {kubernetes.io/service-name: shop}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.2]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - match: [{uri: {prefix: /api}, headers: {user: {exact: it's}}}]
    timeout: 1s
    route: [{destination: {host: shop}}]
  - route: [{destination: {host: shop}}]
";

fn run(old: &str, new: &str, arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("old.yaml"), old).expect("a file");
    fs::write(dir.path().join("new.yaml"), new).expect("a file");
    diff(dir.path(), arguments)
}

fn diff(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POINTSMAN_") {
            command.env_remove(name);
        }
    }
    let command = command.current_dir(folder).arg("diff").args(arguments);
    command.output().expect("it runs")
}

const BOTH: [&str; 4] = ["-f", "old.yaml", "-f", "new.yaml"];

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn a_class_has_its_words_both_ends_and_a_command() {
    let output = run(SHOP, &SHOP.replace("timeout: 1s", "timeout: 2s"), &BOTH);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stdout),
        "~ 1 traffic class changes\n\n  \
         GET shop:80 (path /api…, user: it's)\n        \
         shop.default:80   default/shop#0  old.yaml:20\n     \
         -> shop.default:80   default/shop#0  new.yaml:20\n        \
         timeout: 1s -> 2s\n        \
         pointsman explain -f new.yaml http://shop/api -H 'user: it'\\''s'\n"
    );
}

#[test]
fn no_traffic_changes_by_other_words_or_other_order() {
    let new = SHOP.replace("name: shop-1", "name: shop-2") + "\n# more\n";
    let output = run(SHOP, &new, &BOTH);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "no traffic changes\n");
}

#[test]
fn programs_get_classes_backends_and_findings() {
    let new = SHOP
        .replace("10.0.0.2", "10.0.0.3")
        .replace("timeout: 1s", "rewrite: {uri: /v2}")
        .replace(
            "  - route: [{destination: {host: shop}}]",
            "  - route: [{destination: {host: shop, subset: v9}}]",
        );
    let output = run(SHOP, &new, &[&BOTH[..], &["-o", "json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["version"], 1);
    assert_eq!(told["not_complete"], Value::Array(Vec::new()));
    let classes = told["classes"].as_array().expect("a list");
    assert_eq!(classes.len(), 2, "{told:#}");
    let rest = classes.iter().find(|it| it["example"]["path"] == "/");
    let rest = rest.expect("the request that no condition takes");
    assert_eq!(rest["old"]["outcome"], "forward");
    assert!(
        rest["new"]["text"]
            .as_str()
            .expect("text")
            .contains("subset is not defined")
    );
    let backend = &told["backends"][0];
    assert_eq!(
        backend["cluster"],
        "outbound|80||shop.default.svc.cluster.local"
    );
    assert_eq!(
        backend["changes"][0],
        "endpoints 1 -> 1: + 10.0.0.3:8080; - 10.0.0.2:8080"
    );
    assert_eq!(told["findings"][0]["code"], "PM0101");
}

#[test]
fn two_sides_are_wanted() {
    for arguments in [
        &["-f", "old.yaml"][..],
        &["-f", "old.yaml", "-f", "gone.yaml"],
        &[],
    ] {
        let output = run(SHOP, SHOP, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

const EDGE: &str = "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {app: edge}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.example.com']}
  - {port: {number: 8443, name: https, protocol: HTTPS}, hosts: [shop.example.com], tls: {mode: SIMPLE, credentialName: shop}}
  - {port: {number: 9443, name: tls, protocol: TLS}, hosts: ['*.example.com'], tls: {mode: PASSTHROUGH}}
  - {port: {number: 15443, name: auto, protocol: TLS}, hosts: ['*.local'], tls: {mode: AUTO_PASSTHROUGH}}
  - {port: {number: 3306, name: db, protocol: TCP}, hosts: ['*'], bind: 10.1.1.1}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: [shop.example.com, db.example.com]
  gateways: [edge]
  http:
  - match: [{method: {exact: POST}, headers: {user: {exact: it's}}}]
    route: [{destination: {host: shop, port: {number: 80}}}]
  - redirect: {uri: /old}
  tls:
  - match: [{sniHosts: [db.example.com]}]
    route: [{destination: {host: shop, port: {number: 80}}}]
  tcp:
  - route: [{destination: {host: shop, port: {number: 80}}}]
";

/// Every class via gateway has a command that shows the new state of it.
#[test]
fn what_comes_to_gateways_is_compared_and_can_be_asked_for() {
    let with_edge = format!("{SHOP}{EDGE}");
    for (old, new, least) in [
        (SHOP.to_owned(), with_edge.clone(), 8),
        (with_edge.clone(), SHOP.to_owned(), 8),
        (with_edge.clone(), with_edge.replace("/old", "/new"), 1),
        (with_edge.clone(), with_edge.replace("SIMPLE", "MUTUAL"), 1),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("old.yaml"), &old).expect("a file");
        fs::write(dir.path().join("new.yaml"), &new).expect("a file");
        let label = [
            "--gateway-label",
            "app=edge",
            "--gateway-namespace",
            "default",
        ];
        let output = diff(dir.path(), &[&BOTH[..], &label, &["-o", "json"]].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(told["not_complete"], Value::Array(Vec::new()));
        let classes = told["classes"].as_array().expect("a list");
        assert!(classes.len() >= least, "{told:#}");
        for class in classes {
            assert_eq!(class["via"], "gateway");
            let command = class["command"].as_str().expect("text");
            let binary = env!("CARGO_BIN_EXE_pointsman");
            let output = Command::new("sh")
                .current_dir(dir.path())
                .args([
                    "-c",
                    &command.replace("pointsman explain", &format!("{binary} explain")),
                ])
                .output()
                .expect("it runs");
            let answer = text(&output.stdout);
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 4 | 5)), "{command}: {output:?}");
            let refused =
                class["new"]["outcome"] == "blackhole" || class["new"]["outcome"] == "notfound";
            let json = answer.starts_with('{');
            assert!(json || (code == Some(4)) == refused, "{class:#}\n{answer}");
            let kind = |text: &str| answer.contains(&format!("\"kind\":\"{text}\""));
            assert!(!json || kind("reject") == refused, "{class:#}\n{answer}");
        }
    }
}

#[test]
fn a_class_of_a_gateway_says_so() {
    let plain = "{number: 80, name: http, protocol: HTTP}";
    let old = format!("{SHOP}{EDGE}").replace(plain, "{number: 81, name: tcp, protocol: TCP}");
    let output = run(&old, &old.replace("/old", "/new"), &BOTH);
    let told = text(&output.stdout);
    assert!(
        told.contains("GET https://shop.example.com:8443 ("),
        "{told}"
    );
    assert!(told.contains(")   via gateway\n"), "{told}");
    assert!(
        told.contains("pointsman explain -f new.yaml --gateway https://shop.example.com:8443/\n"),
        "{told}"
    );
}

/// BE-60..76, VS-H-70, VS-H-80: what is asked for in other words, or is not acted on, moves no traffic.
#[test]
fn policies_are_told_in_the_words_of_the_documents_where_they_act() {
    let rule = |policy: &str| {
        format!(
            "{SHOP}---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: shop}}\n\
             spec: {{host: shop, trafficPolicy: {{{policy}}}}}\n"
        )
    };
    let route = |more: &str| {
        let route = "  - route: [{destination: {host: shop}}]\n";
        SHOP.replace(route, &format!("{route}    {more}\n"))
    };
    let json = [&BOTH[..], &["-o", "json"]].concat();
    let changes = |new: &str| {
        let output = run(SHOP, new, &json);
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            output.status.code(),
            Some(i32::from(told["differs"] == true))
        );
        let backend = &told["backends"][0]["changes"][0];
        let details = &told["classes"][0]["new"]["details"];
        match (backend.as_str(), details.as_object()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(details)) => Value::from(details.clone()).to_string(),
            (None, None) => String::new(),
        }
    };
    for (policy, told) in [
        ("outlierDetection: {consecutive5xxErrors: 3}", ""),
        ("tls: {mode: SIMPLE}", ""),
        ("proxyProtocol: {version: V2}", ""),
        (
            "loadBalancer: {simple: LEAST_REQUEST, warmup: {duration: 10s}}",
            "",
        ),
        ("loadBalancer: {consistentHash: {useSourceIp: true}}", ""),
        (
            "loadBalancer: {simple: RANDOM}",
            "algorithm: LEAST_REQUEST -> RANDOM",
        ),
        (
            "retryBudget: {percent: 50}",
            "retryBudget: none -> percent 50, minRetryConcurrency 3",
        ),
        (
            "connectionPool: {tcp: {tcpKeepalive: {time: 10s}}}",
            "connectionPool tcpKeepalive: none -> time 10s",
        ),
        (
            "connectionPool: {tcp: {idleTimeout: 0s}}",
            "connectionPool tcp.idleTimeout: none -> 0s",
        ),
        (
            "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}",
            "connectionPool h2UpgradePolicy: none -> UPGRADE",
        ),
        (
            "connectionPool: {http: {useClientProtocol: true}}",
            "connectionPool useClientProtocol: false -> true",
        ),
    ] {
        assert_eq!(changes(&rule(policy)), told, "{policy}");
    }
    for (more, told) in [
        ("retries: {attempts: 2}", ""),
        ("retries: {attempts: 2, retryIgnorePreviousHosts: true}", ""),
        ("retries: {attempts: 2, retryRemoteLocalities: true}", ""),
        ("retries: {attempts: 3}", r#"{"retries":"3 attempts"}"#),
        ("mirror: {host: shop}\n    mirrorPercentage: {value: 0}", ""),
        (
            "fault: {abort: {httpStatus: 503, percentage: {value: 0}}}",
            "",
        ),
        (
            "fault: {abort: {httpStatus: 503, percentage: {value: 1}}}",
            r#"{"fault":"abort 503 of 1%"}"#,
        ),
        ("headers: {request: {remove: [connection]}}", ""),
        (
            "headers: {request: {remove: [connection, x-a]}}",
            r#"{"headers":"request -x-a"}"#,
        ),
    ] {
        assert_eq!(changes(&route(more)), told, "{more}");
    }
}

/// GW-80: whose word is taken at a gateway is no rule's business.
#[test]
fn another_number_of_trusted_proxies_is_told() {
    let mesh = |proxies: u32, gateway: &str| {
        format!(
            "{SHOP}{gateway}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\n\
             data:\n  mesh: |\n    defaultConfig: {{gatewayTopology: {{numTrustedProxies: {proxies}}}}}\n"
        )
    };
    let gateway = "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n  \
                   selector: {app: edge}\n  servers:\n  - {port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}\n";
    let output = run(&mesh(0, gateway), &mesh(2, gateway), &BOTH);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    assert!(
        told.starts_with("~ numTrustedProxies of gateways: 0 -> 2\n"),
        "{told}"
    );
    let json = [&BOTH[..], &["-o", "json"]].concat();
    let output = run(&mesh(0, gateway), &mesh(2, gateway), &json);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["num_trusted_proxies"]["new"], 2);
    // Where there is no gateway nobody heeds it.
    assert!(run(&mesh(0, ""), &mesh(2, ""), &json).status.success());
}

/// PS-80: it changes what every rule sees, and no single one of them.
#[test]
fn another_normalisation_of_paths_is_told() {
    let mesh = |mode: &str| {
        format!(
            "{SHOP}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\n\
             data:\n  mesh: |\n    pathNormalization: {{normalization: {mode}}}\n"
        )
    };
    let output = run(&mesh("BASE"), &mesh("MERGE_SLASHES"), &BOTH);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    let first = "~ paths are normalised by another mode: BASE -> MERGE_SLASHES\n";
    assert!(told.starts_with(first), "{told}");
    let json = [&BOTH[..], &["-o", "json"]].concat();
    let output = run(&mesh("BASE"), &mesh("NONE"), &json);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(told["differs"], true);
    assert_eq!(told["path_normalization"]["old"], "BASE");
    assert_eq!(told["path_normalization"]["new"], "NONE");
    // The default by its name is no other one.
    let output = run(SHOP, &mesh("DEFAULT"), &json);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&told["differs"], told.get("path_normalization")),
        (&false.into(), None)
    );
    assert!(output.status.success());
}
