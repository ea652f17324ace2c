//! What backends are told of a request beside what its client said, and what clients cannot say
//! (GW-80..83, PS-84), over real sockets.
mod common;

use common::*;
use pointsman_gateway::{Gateway as Facade, Settings};
use pointsman_sdk::{AccessRecord, Sink};
use pointsman_testkit::{HttpUpstream, Seen, eventually, free_port, fresh_ip};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

/// The port of a Gateway whose rule goes to `to`; `rule` is more of it, in flow YAML.
fn edge(at: SocketAddr, to: SocketAddr, rule: &str) -> String {
    let (vip, port) = (fresh_ip(), free_port());
    http("web", vip, port, to)
        + &format!(
            "---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system}}
spec:
  servers:
  - port: {{number: {}, name: http, protocol: HTTP}}
    bind: {}
    hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: ['*']
  gateways: [istio-system/edge]
  http:
  - match: [{{headers: {{x-forwarded-proto: {{exact: https}}}}}}]
    directResponse: {{status: 299}}
  - route: [{{destination: {{host: web, port: {{number: {port}}}}}}}]
    {rule}
",
            at.port(),
            at.ip()
        )
}

fn mesh_document(text: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    {text}
"
    )
}

fn here() -> SocketAddr {
    SocketAddr::new(fresh_ip(), free_port())
}

fn trusting(ranges: &[&str], hops: Option<u32>) -> Settings {
    let mut settings = settings();
    let ranges = ranges.iter().map(|it| it.parse().expect("a range"));
    settings.trust.proxies = ranges.collect();
    settings.trust.hops = hops;
    settings
}

/// One request with these lines; what the backend got of it.
async fn sent(upstream: &HttpUpstream, to: SocketAddr, lines: &str) -> Seen {
    let mut client = connect(to).await;
    let request = format!("GET /r HTTP/1.1\r\nHost: web\r\n{lines}\r\n");
    client.send(request.as_bytes()).await.expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(reply.status, 200, "{lines}");
    upstream.last_seen().expect("a request")
}

/// All values of a field, as one list.
fn all(seen: &Seen, name: &str) -> String {
    let fields = seen.fields.iter();
    let values: Vec<_> = fields
        .filter(|(own, _)| own.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect();
    values.join(" | ")
}

fn is_id(text: &str) -> bool {
    text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12])
}

#[tokio::test]
async fn a_captured_request_gets_an_id_and_a_scheme() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = here();
    let documents = http("web", web.ip(), web.port(), upstream.addr());
    let _gateway = Gateway::serve(&documents).await;
    let first = sent(&upstream, web, "").await;
    let second = sent(&upstream, web, "").await;
    assert!(is_id(&all(&first, "x-request-id")), "{first:?}");
    assert_ne!(all(&first, "x-request-id"), all(&second, "x-request-id"));
    assert_eq!(all(&first, "x-forwarded-proto"), "http");
    for name in ["x-forwarded-for", "x-envoy-external-address"] {
        assert_eq!(all(&first, name), "", "{name}");
    }
    // PS-84: the client's own word counts.
    let lines = "X-Request-Id: mine\r\nX-Forwarded-For: 10.0.0.9\r\nx-envoy-internal: true\r\n\
                 X-Forwarded-Proto: https\r\nX-Forwarded-Client-Cert: By=me\r\n";
    let seen = sent(&upstream, web, lines).await;
    assert_eq!(all(&seen, "x-request-id"), "mine");
    assert_eq!(all(&seen, "x-forwarded-for"), "10.0.0.9");
    assert_eq!(all(&seen, "x-envoy-internal"), "true");
    assert_eq!(all(&seen, "x-forwarded-proto"), "https");
    assert_eq!(all(&seen, "x-forwarded-client-cert"), "");
}

#[tokio::test]
async fn ids_can_be_switched_off() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = here();
    let documents = http("web", web.ip(), web.port(), upstream.addr());
    let _gateway = Gateway::serve_with(no_ids(), &documents).await;
    let seen = sent(&upstream, web, "").await;
    assert_eq!(all(&seen, "x-request-id"), "");
    assert_eq!(all(&seen, "x-forwarded-proto"), "http");
    let seen = sent(&upstream, web, "x-request-id: mine\r\n").await;
    assert_eq!(all(&seen, "x-request-id"), "mine");
}

fn no_ids() -> Settings {
    let mut settings = settings();
    settings.http.request_id = false;
    settings
}

/// GW-80, GW-82, GW-83.
#[tokio::test]
async fn strangers_at_a_gateway_say_nothing_of_others() {
    let upstream = HttpUpstream::named("web").start().await;
    let at = here();
    let _gateway = Gateway::serve(&edge(at, upstream.addr(), "")).await;
    let lines = "X-Request-Id: forged\r\nX-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: https\r\n\
                 X-Forwarded-Host: forged\r\nX-Envoy-Original-Path: /admin\r\n\
                 x-envoy-upstream-rq-timeout-ms: 1\r\nX-Envoy-Internal: true\r\n\
                 X-Forwarded-Client-Cert: By=me\r\ntraceparent: 00-a-b-01\r\ntracestate: a=b\r\n\
                 b3: 0\r\nX-B3-TraceId: 1\r\n";
    let seen = sent(&upstream, at, lines).await;
    assert!(is_id(&all(&seen, "x-request-id")), "{seen:?}");
    assert_eq!(all(&seen, "x-forwarded-for"), "127.0.0.1");
    assert_eq!(all(&seen, "x-envoy-external-address"), "127.0.0.1");
    assert_eq!(all(&seen, "x-forwarded-proto"), "http");
    for name in [
        "x-forwarded-host",
        "x-forwarded-client-cert",
        "x-envoy-original-path",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-internal",
    ] {
        assert_eq!(all(&seen, name), "", "{name}");
    }
    // Trace contexts are the client's own.
    for (name, value) in [
        ("traceparent", "00-a-b-01"),
        ("tracestate", "a=b"),
        ("b3", "0"),
        ("x-b3-traceid", "1"),
    ] {
        assert_eq!(all(&seen, name), value, "{name}");
    }
}

/// GW-80, VS-H-105: what trusted proxies say of the client goes into the log and into values too.
#[tokio::test]
async fn trusted_proxies_say_who_the_client_is() {
    let upstream = HttpUpstream::named("web").start().await;
    let values =
        "headers: {request: {set: {x-client: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%'}}}";
    let said = "X-Request-Id: theirs\r\nX-Forwarded-For: 203.0.113.5, 203.0.113.9\r\n\
                x-envoy-internal: true\r\n";
    for (ranges, hops, client, trusted) in [
        (&["127.0.0.0/8"][..], None, "203.0.113.9", true),
        (&["127.0.0.0/8"], Some(2), "203.0.113.5", true),
        (&["10.0.0.0/8"], Some(2), "127.0.0.1", false),
        (&[], Some(2), "203.0.113.5", false),
        (&[], Some(3), "127.0.0.1", false),
        (&[], None, "127.0.0.1", false),
    ] {
        let notes = Notes::default();
        let at = here();
        let builder = {
            let notes = notes.clone();
            Facade::builder()
                .settings(trusting(ranges, hops))
                .extend(move |host| host.sink("notes", move || notes.clone()))
        };
        let documents = edge(at, upstream.addr(), values);
        let _gateway = Gateway::start(Some(&documents), builder).await;
        let seen = sent(&upstream, at, said).await;
        assert_eq!(all(&seen, "x-client"), client, "{ranges:?} {hops:?}");
        assert_eq!(all(&seen, "x-envoy-external-address"), client);
        assert_eq!(all(&seen, "x-request-id") == "theirs", trusted);
        assert_eq!(all(&seen, "x-envoy-internal") == "true", trusted);
        let believed = trusted || (ranges.is_empty() && hops.is_some());
        let whole = match believed {
            true => "203.0.113.5, 203.0.113.9, 127.0.0.1",
            false => "127.0.0.1",
        };
        assert_eq!(all(&seen, "x-forwarded-for"), whole);
        let record = notes.next().await;
        let remote = record.downstream_remote.expect("a client");
        assert_eq!(remote.ip().to_string(), client, "{ranges:?} {hops:?}");
        let logged = |value: &Option<Box<[u8]>>| {
            String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned()
        };
        assert_eq!(logged(&record.x_forwarded_for), whole);
        assert_eq!(logged(&record.request_id), all(&seen, "x-request-id"));
    }
}

/// GW-80: the mesh's own document says how many proxies there are, unless a setting does.
#[tokio::test]
async fn the_mesh_says_how_many_proxies_stand_in_front() {
    let upstream = HttpUpstream::named("web").start().await;
    let mesh = mesh_document("defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}");
    let said = "X-Forwarded-For: 203.0.113.5, 203.0.113.9\r\n";
    for (hops, client) in [(None, "203.0.113.9"), (Some(0), "127.0.0.1")] {
        let at = here();
        let documents = edge(at, upstream.addr(), "") + &mesh;
        let _gateway = Gateway::serve_with(trusting(&[], hops), &documents).await;
        let seen = sent(&upstream, at, said).await;
        assert_eq!(all(&seen, "x-envoy-external-address"), client, "{hops:?}");
    }
}

/// What the gateway says is there for rules to match, set and remove as if the client had said it.
#[tokio::test]
async fn rules_have_the_last_word() {
    let upstream = HttpUpstream::named("web").start().await;
    let at = here();
    let rule = "headers: {request: {set: {x-request-id: fixed}, add: {x-forwarded-proto: more}, \
                remove: [x-forwarded-for]}}";
    let documents = edge(at, upstream.addr(), rule);
    let _gateway = Gateway::serve_with(trusting(&["127.0.0.0/8"], None), &documents).await;
    let seen = sent(&upstream, at, "X-Request-Id: theirs\r\n").await;
    assert_eq!(all(&seen, "x-request-id"), "fixed");
    assert_eq!(all(&seen, "x-forwarded-proto"), "http | more");
    assert_eq!(all(&seen, "x-forwarded-for"), "");
    let mut client = connect(at).await;
    let request = "GET / HTTP/1.1\r\nHost: web\r\nX-Forwarded-Proto: https\r\n\r\n";
    client.send(request).await.expect("sent");
    assert_eq!(client.read_response().await.expect("an answer").status, 299);
}

/// VS-H-60b: the path before a rewrite is the gateway's to tell.
#[tokio::test]
async fn the_original_path_cannot_be_forged() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = here();
    let documents = http("web", web.ip(), web.port(), upstream.addr())
        + &rules(
            "web",
            "- {rewrite: {uri: /v}, route: [{destination: {host: web}}],\n\
             \x20  headers: {request: {add: {x-envoy-original-path: /rule}}}}",
        );
    let _gateway = Gateway::serve(&documents).await;
    let seen = sent(&upstream, web, "X-Envoy-Original-Path: /admin\r\n").await;
    assert_eq!(all(&seen, "x-envoy-original-path"), "/r");
}

/// VS-H-60b: a rewrite of something else says nothing of the path.
#[tokio::test]
async fn another_authority_makes_no_original_path() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = here();
    let rule = "- {rewrite: {authority: other.com}, route: [{destination: {host: web}}]}";
    let documents = http("web", web.ip(), web.port(), upstream.addr()) + &rules("web", rule);
    let _gateway = Gateway::serve(&documents).await;
    let seen = sent(&upstream, web, "").await;
    assert_eq!(all(&seen, "x-envoy-original-path"), "");
}

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<AccessRecord>>>);

impl Sink for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn records(&mut self, batch: &[AccessRecord]) {
        let mut records = self.0.lock().expect("not poisoned");
        records.extend_from_slice(batch);
    }
}

impl Notes {
    async fn next(&self) -> AccessRecord {
        eventually(SOON, || async {
            !self.0.lock().expect("not poisoned").is_empty()
        })
        .await;
        self.0.lock().expect("not poisoned").remove(0)
    }
}
