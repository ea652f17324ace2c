//! `pointsman explain` as scripts and people use it, on the real binary.
mod common;

use common::*;
use pointsman_testkit::{HttpUpstream, Reply, free_port, fresh_ip};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
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
kind: DestinationRule
metadata: {name: shop}
spec: {host: shop, subsets: [{name: v1, labels: {version: v1}}]}
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
  - match: [{uri: {prefix: /subset}}]
    route: [{destination: {host: shop, subset: v1}}]
  - match: [{uri: {prefix: /gone}}]
    route: [{destination: {host: nobody}}]
  - match: [{uri: {prefix: /split}}]
    route:
    - {destination: {host: shop}, weight: 25, headers: {request: {set: {x-to: a}}}}
    - {destination: {host: shop, subset: v2}, weight: 75}
  - match: [{uri: {prefix: /api/}, headers: {user: {exact: jason}}}]
    rewrite: {uri: /v2/, authority: api.example.com}
    headers: {request: {add: {X-Added: one}}, response: {set: {x-seen: 'yes'}}}
    timeout: 1500ms
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: 5xx}
    mirror: {host: shop}
    mirrorPercentage: {value: 12.5}
    route: [{destination: {host: shop}}]
  - match: [{sourceLabels: {app: cart}}]
    route: [{destination: {host: shop, port: {number: 80}}}]
  - match: [{uri: {prefix: /abort}}]
    fault:
      delay: {fixedDelay: 2s, percentage: {value: 100}}
      abort: {httpStatus: 503, percentage: {value: 100}}
    route: [{destination: {host: shop}, headers: {response: {set: {x-abort: told}}}}]
  - match: [{uri: {prefix: /chance}}]
    fault:
      delay: {fixedDelay: 100ms, percentage: {value: 0.5}}
      abort: {grpcStatus: UNAVAILABLE, percentage: {value: 10}}
    mirrors: [{destination: {host: shop}, percentage: {value: 0}}, {destination: {host: shop}}]
    headers: {request: {set: {x-made: '%REQ(:method)% %DOWNSTREAM_LOCAL_ADDRESS% %HOSTNAME%'}}, response: {set: {x-code: '%RESPONSE_CODE%%%'}}}
    route: [{destination: {host: shop}}]
  - match: [{uri: {prefix: /cors}}]
    corsPolicy: {allowOrigins: [{exact: 'https://a.com'}], allowMethods: [GET], maxAge: 1h}
    rewrite: {uriRegexRewrite: {match: '/cors/(.*)', rewrite: '/\\1'}}
    route: [{destination: {host: shop}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api}
spec:
  hosts: [api.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: DNS
";

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("mesh.yaml"), MESH).expect("a file");
    dir
}

fn explain(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("POINTSMAN_") {
            command.env_remove(name);
        }
    }
    command.arg("explain").arg("-f").arg(folder);
    command
}

/// Answers to lines, by the binary.
fn answers(folder: &Path, arguments: &[&str], lines: &[Value]) -> Vec<Value> {
    let mut child = explain(folder)
        .arg("--json")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it wrote").expect("all was read");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn get(path: &str, more: Value) -> Value {
    let mut line = json!({
        "id": path, "protocol": "http", "via": "mesh", "ip": "10.96.0.1", "port": 80,
        "method": "GET", "host": "shop", "path": path, "version": "1.1",
    });
    for (key, value) in more.as_object().expect("an object") {
        line[key] = value.clone();
    }
    line
}

/// Every field of `expected` has this value; null: it is not there.
#[track_caller]
fn has(answer: &Value, expected: Value) {
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&answer[key], value, "{key} of {answer}");
    }
}

#[test]
fn every_kind_of_answer_has_its_fields() {
    let dir = folder();
    let jason = json!({"headers": {"user": "jason"}});
    let lines = [
        get("/old/x?q=1", json!({})),
        get("/teapot", json!({})),
        get("/subset", json!({})),
        get("/gone", json!({})),
        get("/split", json!({})),
        get("/api/./a?b=c", jason),
        get("/none", json!({})),
        get("/none", json!({"source": {"labels": {"app": "cart"}}})),
        get("/", json!({"host": "unknown.example.com"})),
        get("/a b", json!({})),
        json!({"id": 10, "protocol": "tcp", "ip": "10.96.0.1", "port": 3306}),
        json!({"id": 11, "protocol": "tcp", "ip": "192.0.2.1", "port": 1}),
        json!({"id": 12, "protocol": "tls", "ip": "192.0.2.1", "port": 443, "sni": "API.example.com", "alpn": ["h2"]}),
        get("/", json!({"tls": {"sni": "api.example.com"}, "port": 443})),
        get("/", json!({"via": "gateway"})),
    ];
    let answers = answers(dir.path(), &[], &lines);
    assert_eq!(answers.len(), lines.len());
    for (line, answer) in lines.iter().zip(&answers) {
        assert_eq!(line["id"], answer["id"]);
    }
    let shop = json!({"host": "shop.default.svc.cluster.local", "subset": null, "port": 80});
    let endpoints = json!(["10.0.0.1:8080", "10.0.0.2:8080"]);
    let [
        redirect,
        respond,
        subset,
        gone,
        split,
        api,
        none,
        cart,
        unknown,
        malformed,
        tcp,
        nowhere,
        tls,
        https,
        gateway,
    ] = answers.as_slice()
    else {
        panic!("{answers:?}")
    };
    has(
        redirect,
        json!({
            "kind": "redirect", "status": 308, "location": "https://shop/new?q=1",
            "response_headers": {"x-by": "rule"}, "reason": null,
        }),
    );
    let rule = &redirect["rule"];
    has(
        rule,
        json!({"kind": "VirtualService", "namespace": "default", "name": "shop", "index": 0}),
    );
    let place = (rule["file"].as_str().unwrap_or_default(), &rule["line"]);
    assert!(place.0.ends_with("mesh.yaml"), "{rule}");
    let written = MESH.lines().position(|it| it.contains("prefix: /old"));
    assert_eq!(place.1, written.expect("there") + 1);
    has(
        respond,
        json!({"kind": "respond", "status": 418, "body": "short", "destination": null}),
    );
    has(
        subset,
        json!({
            "kind": "unavailable", "reason": "no_endpoint", "status": 503, "endpoints": null,
            "destination": {"host": "shop.default.svc.cluster.local", "subset": "v1", "port": 80},
        }),
    );
    has(
        gone,
        json!({
            "kind": "unavailable", "reason": "destination_host_unknown", "status": 503,
            "destination": {"host": "nobody.default.svc.cluster.local", "subset": null, "port": null},
        }),
    );
    has(
        split,
        json!({"kind": "forward", "destination": null, "endpoints": endpoints, "path": null}),
    );
    has(
        &split["weights"][0],
        json!({"host": shop["host"], "weight": 25, "path": "/split", "request_headers": {"x-to": "a"}}),
    );
    has(
        &split["weights"][1],
        json!({"subset": "v2", "weight": 75, "reason": "destination_subset_unknown", "request_headers": null}),
    );
    has(
        api,
        json!({
            "kind": "forward", "destination": shop, "endpoints": endpoints, "weights": null,
            "path": "/v2/a?b=c", "authority": "api.example.com",
            "request_headers": {"x-added": "one", "x-envoy-original-path": "/api/a?b=c"},
            "response_headers": {"x-seen": "yes"}, "timeout": "1.5s",
            "retries": {"attempts": 3, "perTryTimeout": "2s", "retryOn": "5xx"},
            "mirrors": [{"host": shop["host"], "subset": null, "port": 80, "percentage": 12.5}],
        }),
    );
    has(
        none,
        json!({"kind": "notfound", "reason": "no_rule", "status": 404}),
    );
    has(
        cart,
        json!({"kind": "forward", "destination": shop, "path": "/none", "authority": "shop"}),
    );
    assert_eq!(cart["rule"]["index"], 6);
    has(
        unknown,
        json!({
            "kind": "passthrough", "reason": "host_unknown", "endpoints": ["10.96.0.1:80"],
            "authority": "unknown.example.com", "rule": null,
        }),
    );
    has(
        malformed,
        json!({"kind": "reject", "reason": "bad_request_line", "status": 400}),
    );
    has(
        tcp,
        json!({
            "kind": "forward", "endpoints": ["10.0.0.1:3306", "10.0.0.2:3306"],
            "destination": {"host": shop["host"], "subset": null, "port": 3306}, "path": null,
        }),
    );
    has(&tcp["rule"], json!({"kind": "Service", "index": null}));
    has(
        nowhere,
        json!({"kind": "passthrough", "reason": "destination_unknown", "endpoints": ["192.0.2.1:1"]}),
    );
    for answer in [tls, https] {
        has(
            answer,
            json!({
                "kind": "forward", "endpoints": ["api.example.com:443"],
                "destination": {"host": "api.example.com", "subset": null, "port": 443},
            }),
        );
    }
    has(gateway, json!({"kind": "reject", "reason": "no_listener"}));
}

#[test]
fn the_client_of_the_command_line_counts() {
    let dir = folder();
    let lines = [
        get("/none", json!({})),
        get(
            "/none",
            json!({"source": {"namespace": "other"}, "host": "shop.default"}),
        ),
        get("/", json!({"host": "unknown"})),
        json!({"id": 1, "protocol": "tcp", "ip": "192.0.2.1", "port": 1}),
    ];
    let arguments = [
        "--namespace",
        "default",
        "--label",
        "app=cart",
        "--root-namespace",
        "mesh",
        "--gateway-namespace",
        "edge",
        "--gateway-label",
        "istio=ingress",
        "--outbound-policy",
        "REGISTRY_ONLY",
    ];
    let answers = answers(dir.path(), &arguments, &lines);
    assert_eq!(answers[0]["rule"]["index"], 6);
    assert_eq!(answers[1]["rule"]["index"], 6);
    has(
        &answers[2],
        json!({"kind": "blackhole", "reason": "host_unknown", "status": 502}),
    );
    has(
        &answers[3],
        json!({"kind": "blackhole", "reason": "destination_unknown", "status": null}),
    );
}

#[test]
fn a_bad_line_has_an_error_and_the_next_one_an_answer_at_once() {
    let dir = folder();
    let mut child = explain(dir.path())
        .args(["--json", "--trace"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut ask = |text: &str| -> Value {
        writeln!(input, "{text}").expect("it reads");
        let mut line = String::new();
        output.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).expect("JSON")
    };
    let bad = ask("{\"id\": 1, \"protocol\": \"smoke\"}");
    assert_eq!(bad["id"], 1);
    assert!(
        bad["error"].as_str().is_some_and(|it| it.contains("smoke")),
        "{bad}"
    );
    assert_eq!(bad["kind"], Value::Null);
    let good = ask(&get("/none", json!({})).to_string());
    assert_eq!(good["kind"], "notfound");
    let steps = good["trace"].as_array().expect("a list");
    let missed = steps.iter().find(|step| step["verdict"] == "path_differs");
    assert_eq!(missed.expect("a rule that misses")["step"], "rule");
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

fn text(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn pasted_commands_and_log_lines_are_explained() {
    let dir = folder();
    let (code, out, _) = text(explain(dir.path()).args([
        "--curl",
        "curl -s -H 'user: jason' \\\n 'http://shop/api/x'",
    ]));
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("one of 2 endpoints"), "{out}");

    let line = r#"[2026-11-22T10:00:00.123Z] "GET /none HTTP/1.1" 404 NR route_not_found - "-" 0 0 1 - "-" "curl/8" "id" "shop" "-" - - 10.96.0.1:80 10.0.0.9:4000 - -"#;
    let (code, out, notes) = text(explain(dir.path()).args(["--log-line", line]));
    assert_eq!(code, Some(4), "{out}");
    assert!(out.contains("404 NR"), "{out}");
    assert!(notes.contains("the log says: 404 NR"), "{notes}");

    let line = json!({
        "method": "GET", "path": "/gone", "authority": "shop", "protocol": "HTTP/1.1",
        "response_code": 503, "downstream_local_address": "10.96.0.1:80",
    });
    let (code, out, _) = text(
        explain(dir.path())
            .args(["--output", "json", "--log-line"])
            .arg(line.to_string()),
    );
    assert_eq!(code, Some(5), "{out}");
    let value: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(value["answer"]["reason"], "destination_host_unknown");
    assert_eq!(value["outcome"], "no_cluster");

    let (code, out, _) = text(explain(dir.path()).args(["https://api.example.com/path"]));
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("server name api.example.com"), "{out}");
}

/// No address is named that only stands for one.
/// A refusal is an answer: it has its reason, in both forms.
#[test]
fn what_is_refused_before_a_rule_is_asked_is_explained() {
    let dir = folder();
    let said = |arguments: &[&str], status: Value, reason: Value| {
        let (code, out, _) = text(explain(dir.path()).args(arguments));
        assert_eq!(code, Some(4), "{out}");
        assert!(out.starts_with("=> refused"), "{out}");
        let (code, out, _) = text(explain(dir.path()).args(arguments).args(["-o", "json"]));
        let told: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!((code, &told["outcome"]), (Some(4), &"refused".into()));
        assert_eq!(told["answer"]["kind"], "reject");
        assert_eq!(
            (&told["status"], &told["answer"]["reason"]),
            (&status, &reason)
        );
    };
    said(&["http://shop/%zz"], 400.into(), "bad_target".into());
    let line = |what: &str| {
        format!(
            r#"[2026-11-22T10:00:00.123Z] {what} - "-" 0 61 0 - "-" "-" "-" "shop" "-" - - 10.96.0.1:80 10.0.0.9:4000 - -"#
        )
    };
    for (what, status, reason) in [
        (
            r#""OPTIONS /%zz HTTP/1.1" 400 DPE bad_target"#,
            400.into(),
            "bad_target".into(),
        ),
        (
            r#""- - -" 431 DPE head_too_large"#,
            431.into(),
            "head_too_large".into(),
        ),
        (r#""- - -" 0 DPE http2_flood"#, Value::Null, Value::Null),
    ] {
        said(&["--log-line", &line(what)], status, reason);
    }
    let (code, out, _) = text(explain(dir.path()).args(["--log-line", &line(r#""- - -" 0 - -"#)]));
    assert!(code != Some(4) && !out.contains("refused"), "{out}");
}

#[test]
fn a_name_without_an_address_is_explained_without_one() {
    let mesh = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/explain_json/mesh.yaml");
    let free = "http://free.example.com:7701/";
    for (arguments, code, sentence) in [
        (&["http://members:7700/"][..], 0, "one of 2 endpoints of"),
        (&["http://left:7700/"], 5, "has no usable endpoint"),
        (&[free], 0, "--to IP:PORT gives it"),
        (
            &[free, "--to", "203.0.113.9:7701"],
            0,
            "would be sent to 203.0.113.9:7701",
        ),
        (
            &["http://unknown.example.com:7702/"],
            0,
            "where the client dialled",
        ),
    ] {
        let (got, out, _) = text(explain(&mesh).args(arguments));
        assert_eq!(got, Some(code), "{out}");
        let last = out.lines().rfind(|line| line.contains("=>")).expect(&out);
        assert!(last.contains(sentence), "{last}");
        assert!(!out.contains("0.0.0.0"), "{out}");
    }
}

#[test]
fn wrong_use_is_said() {
    let dir = folder();
    for arguments in [
        vec![],
        vec!["--json", "http://shop/"],
        vec!["--curl", "curl http://shop/", "--json"],
        vec!["--curl", "curl --frobnicate http://shop/"],
        vec!["--log-line", "nonsense"],
        vec!["ftp://shop/"],
        vec!["--trace", "http://shop/"],
        vec!["--json", "-f", "-"],
        vec!["http://shop/", "-H", "nonsense"],
    ] {
        let (code, out, error) = text(explain(dir.path()).args(&arguments).stdin(Stdio::null()));
        assert_eq!(code, Some(2), "{arguments:?}: {out}{error}");
        assert!(out.is_empty() && !error.is_empty(), "{arguments:?}: {out}");
    }
}

#[test]
fn analyze_has_a_line_for_each_finding_and_exits_1_at_errors() {
    let dir = folder();
    let analyze = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        text(command.args(["analyze", "--json", "-f"]).arg(dir.path()))
    };
    let findings = |out: &str| -> Vec<Value> {
        out.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    let (_, out, _) = analyze();
    let unknown = findings(&out)
        .into_iter()
        .find(|it| it["code"] == "PM0102")
        .expect("a finding on the unknown host");
    for key in [
        "code",
        "level",
        "kind",
        "namespace",
        "name",
        "file",
        "line",
        "column",
        "message",
        "help",
    ] {
        assert!(unknown.get(key).is_some(), "{key}: {unknown}");
    }
    std::fs::write(dir.path().join("bad.yaml"), "kind: Service\n  x: [").expect("a file");
    let (code, out, _) = analyze();
    assert_eq!(code, Some(1), "{out}");
    assert!(
        findings(&out).iter().any(|it| it["level"] == "error"),
        "{out}"
    );
}

/// What is told of a request is what its endpoint sees.
#[tokio::test]
async fn what_is_told_is_what_is_sent() {
    let upstream = HttpUpstream::named("shop")
        .otherwise(Reply::text(200, "here"))
        .start()
        .await;
    let vip = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("shop", vip.ip(), vip.port(), upstream.addr())
        + &rules(
            "shop",
            "
  - match: [{uri: {prefix: /a/}}]
    rewrite: {uri: /b/, authority: b.example.com}
    headers: {request: {set: {x-set: one}, add: {x-add: two}, remove: [x-gone]}}
    route: [{destination: {host: shop}, headers: {request: {set: {x-set: three}}}}]
  - match: [{uri: {prefix: /host}}]
    headers: {request: {set: {host: c.example.com}}}
    route: [{destination: {host: shop}}]
  - match: [{uri: {prefix: /moved}}]
    redirect: {uri: /new, derivePort: FROM_REQUEST_PORT}
    headers: {response: {set: {x-by: rule}}}
  - route: [{destination: {host: shop}}]",
        );
    let gateway = Gateway::serve(&documents).await;
    let paths = [
        "/a/x?y=z",
        "/a/./x",
        "/host/%2e%2e/host",
        "/moved?q=1",
        "/plain",
    ];
    let lines: Vec<Value> = paths
        .iter()
        .map(|path| {
            get(
                path,
                json!({
                    "ip": vip.ip(), "port": vip.port(),
                    "headers": {"x-set": "zero", "x-add": "one", "x-gone": "1"},
                }),
            )
        })
        .collect();
    let folder = gateway.folder();
    let told = tokio::task::spawn_blocking(move || answers(&folder, &[], &lines))
        .await
        .expect("answers");
    for (path, told) in paths.iter().zip(told) {
        let mut client = connect(vip).await;
        let fields = [("x-set", "zero"), ("x-add", "one"), ("x-gone", "1")];
        let reply = client
            .request("GET", "shop", path, &fields, None)
            .await
            .expect("a reply");
        let empty = serde_json::Map::new();
        let map = |key: &str| told[key].as_object().unwrap_or(&empty).clone();
        if told["kind"] == "redirect" {
            assert_eq!(reply.status, told["status"].as_u64().unwrap_or(0) as u16);
            assert_eq!(reply.field("location"), told["location"].as_str());
            for (name, value) in map("response_headers") {
                assert_eq!(reply.field(&name), value.as_str(), "{path}: {name}");
            }
            continue;
        }
        let seen = upstream.last_seen().expect("the endpoint saw it");
        assert_eq!(seen.target, told["path"], "{path}");
        assert_eq!(seen.host(), told["authority"], "{path}");
        assert_eq!(told["endpoints"], json!([upstream.addr()]), "{path}");
        assert_eq!(seen.field("x-gone").is_none(), path.starts_with("/a/"));
        for (name, value) in map("request_headers") {
            let mut values = seen
                .fields
                .iter()
                .filter(|(it, _)| it.eq_ignore_ascii_case(&name));
            assert_eq!(
                values.next_back().map(|(_, it)| &**it),
                value.as_str(),
                "{path}: {name}"
            );
        }
    }
}

#[test]
fn the_mesh_and_its_sidecars_say_what_the_command_line_leaves_open() {
    // LIS-65, LIS-67, VIS-10, VS-H-71, BE-112
    let folder = tempfile::tempdir().expect("a folder");
    let text = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy: {mode: REGISTRY_ONLY}
    defaultHttpRetryPolicy: {attempts: 4, retryOn: 5xx}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.1.1, selector: {app: web}, ports: [{port: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm}
spec: {address: 10.9.9.9, labels: {app: web}, ports: {http: 8080}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: prod}
spec:
  egress: [{hosts: ["./*"]}]
  outboundTrafficPolicy: {mode: ALLOW_ANY}
"#;
    std::fs::write(folder.path().join("mesh.yaml"), text).expect("written");
    let prod = json!({"namespace": "prod"});
    let lines = [
        json!({"id": 1, "protocol": "http", "host": "web", "ip": "10.96.1.1", "port": 80}),
        json!({"id": 2, "protocol": "tcp", "ip": "192.0.2.1", "port": 99}),
        json!({"id": 3, "protocol": "tcp", "ip": "192.0.2.1", "port": 99, "source": &prod}),
        json!({"id": 4, "protocol": "http", "host": "web.default", "ip": "10.96.1.1", "port": 80, "source": &prod}),
    ];
    let told = answers(folder.path(), &[], &lines);
    has(
        &told[0],
        json!({
            "kind": "forward",
            "endpoints": ["10.9.9.9:8080"],
            "retries": {"attempts": 4, "retryOn": "5xx"},
        }),
    );
    has(&told[1], json!({"kind": "blackhole"}));
    has(&told[2], json!({"kind": "passthrough"}));
    has(&told[3], json!({"kind": "passthrough"}));
    let given = answers(
        folder.path(),
        &["--outbound-policy", "ALLOW_ANY"],
        &lines[1..2],
    );
    has(&given[0], json!({"kind": "passthrough"}));
}

/// VS-H-80..84, VS-H-92..95, VS-H-57, VS-H-105: what is certain happens, what is chance is told.
#[test]
fn faults_cors_and_made_values_are_told() {
    let dir = folder();
    let ask = |method: &str, path: &str, headers: Value| json!({"id": path, "protocol": "http", "method": method, "host": "shop", "path": path, "ip": "10.96.0.1", "headers": headers});
    let preflight = json!({"origin": "https://a.com", "access-control-request-method": "GET"});
    let answers = answers(
        dir.path(),
        &[],
        &[
            ask("GET", "/abort", json!({})),
            ask("PUT", "/chance", json!({})),
            ask("OPTIONS", "/cors/x", preflight),
            ask("GET", "/cors/x?q", json!({"origin": "https://a.com"})),
            ask("GET", "/cors/x", json!({"origin": "https://b.com"})),
        ],
    );
    let [abort, chance, preflight, allowed, foreign] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(
        (&abort["kind"], &abort["status"]),
        (&json!("respond"), &json!(503))
    );
    assert_eq!(
        (&abort["reason"], &abort["delay"]),
        (&json!("fault"), &json!("2s"))
    );
    assert_eq!(abort["body"], "fault filter abort");
    assert_eq!(abort["destination"], Value::Null);
    assert_eq!(abort["response_headers"]["x-abort"], "told"); // VS-H-106
    assert_eq!(
        (&chance["kind"], &chance["delay"]),
        (&json!("forward"), &json!("0.1s"))
    );
    assert_eq!(
        chance["fault"],
        json!({
            "delay": {"time": "0.1s", "percentage": 0.5},
            "abort": {"status": 200, "grpc_status": 14, "percentage": 10.0},
        })
    );
    assert_eq!(chance["mirrors"].as_array().expect("a list").len(), 1);
    assert_eq!(chance["mirrors"][0]["percentage"], 100.0);
    assert_eq!(
        chance["request_headers"]["x-made"],
        "PUT 10.96.0.1:80 %HOSTNAME%"
    );
    assert_eq!(chance["response_headers"]["x-code"], "%RESPONSE_CODE%%");
    assert_eq!(
        (&preflight["kind"], &preflight["status"], &preflight["body"]),
        (&json!("respond"), &json!(200), &json!(""))
    );
    assert_eq!(preflight["reason"], "preflight");
    let fields = &preflight["response_headers"];
    assert_eq!(fields["access-control-allow-origin"], "https://a.com");
    assert_eq!(fields["access-control-max-age"], "3600");
    assert_eq!(
        (&allowed["kind"], &allowed["path"]),
        (&json!("forward"), &json!("/x?q"))
    );
    let fields = &allowed["response_headers"];
    assert_eq!(
        *fields,
        json!({"access-control-allow-origin": "https://a.com"})
    );
    assert_eq!(foreign["response_headers"], Value::Null);
    assert_eq!(
        foreign["retries"],
        json!({
            "attempts": 2,
            "retryOn": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        })
    );
}

/// VS-H-80, VS-H-86, VS-H-90: people are told too.
#[test]
fn the_text_names_faults_cors_and_mirrors() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = rules(
        "web",
        "- fault:
    delay: {fixedDelay: 2s, percentage: {value: 12.5}}
    abort: {httpStatus: 418, percentage: {value: 100}}
  corsPolicy: {allowOrigins: [{exact: 'https://x.org'}]}
  mirror: {host: web}
  mirrorPercentage: {value: 50}
  route: [{destination: {host: web}}]",
    );
    let documents = http("web", fresh_ip(), 80, ([10, 0, 0, 1], 80).into()) + &rules;
    std::fs::write(folder.path().join("mesh.yaml"), documents).expect("a file");
    let (code, out, _) = text(explain(folder.path()).arg("http://web/"));
    assert_eq!(code, Some(0));
    let policy = out.lines().find(|line| line.starts_with("5 Policy"));
    let policy = policy.expect("a policy");
    for part in [
        "delay 2s for 12.5%",
        "abort 418 for 100%",
        "cors",
        "mirror 50% to web.default.svc.cluster.local",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
}

/// BE-96: what nothing looks up yet is not promised.
#[test]
fn a_name_that_nobody_looks_up_is_unavailable() {
    let folder = tempfile::tempdir().expect("a folder");
    let entry = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild}
spec:
  hosts: ['*.example.org']
  resolution: DYNAMIC_DNS
  ports: [{name: http, number: 80, protocol: HTTP}]
";
    std::fs::write(folder.path().join("mesh.yaml"), entry).expect("a file");
    let question = json!({"id": 1, "protocol": "http", "port": 80, "host": "a.example.org"});
    let answers = answers(folder.path(), &[], &[question]);
    has(
        &answers[0],
        json!({"kind": "unavailable", "reason": "no_endpoint"}),
    );
    let (code, out, _) = text(explain(folder.path()).arg("http://a.example.org/"));
    assert_eq!(code, Some(5), "{out}");
}

/// PS-80: in every mode that a mesh can have, here and on the data path.
#[tokio::test]
async fn paths_are_normalised_as_the_mesh_says() {
    let upstream = HttpUpstream::named("web").start().await;
    for (mode, sent) in [
        (
            "NONE",
            ["/a//b/../c?x=//", "/a%2Fb", "/./a", "/x/..;/%61?%61"],
        ),
        ("BASE", ["/a//c?x=//", "/a%2Fb", "/a", "/a?%61"]),
        ("DEFAULT", ["/a//c?x=//", "/a%2Fb", "/a", "/a?%61"]),
        ("MERGE_SLASHES", ["/a/c?x=//", "/a%2Fb", "/a", "/a?%61"]),
        (
            "DECODE_AND_MERGE_SLASHES",
            ["/a/c?x=//", "/a/b", "/a", "/a?%61"],
        ),
    ] {
        let web = SocketAddr::new(fresh_ip(), free_port());
        let text = http("web", web.ip(), web.port(), upstream.addr())
            + &rules(
                "web",
                "- match: [{uri: {exact: /a/b}}]\n  directResponse: {status: 418}\n\
                 - route: [{destination: {host: web}}]",
            )
            + &format!(
                "---\napiVersion: v1\nkind: ConfigMap\n\
                 metadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    \
                 pathNormalization: {{normalization: {mode}}}\n"
            );
        let gateway = Gateway::serve(&text).await;
        let mut client = connect(web).await;
        let targets = ["/a//b/../c?x=//", "/a%2Fb", "/./a", "/x/..;/%61?%61"];
        for (target, sent) in targets.into_iter().zip(sent) {
            let reply = client.get("web", target).await.expect("an answer");
            let question = json!({
                "id": 1, "protocol": "http", "host": "web", "path": target,
                "ip": web.ip(), "port": web.port(),
            });
            let told = answers(&gateway.folder(), &[], &[question]);
            if sent == "/a/b" {
                // What is matched is what is sent.
                assert_eq!(reply.status, 418, "{mode} {target}");
                assert_eq!(told[0]["status"], 418, "{mode} {target}");
            } else {
                assert_eq!(reply.json()["target"], sent, "{mode} {target}");
                assert_eq!(told[0]["path"], sent, "{mode} {target}");
            }
        }
    }
}
