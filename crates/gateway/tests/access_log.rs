//! What sinks are told of requests and connections, and the access log on standard output.
mod common;

use common::*;
use pointsman_gateway::Gateway as Facade;
use pointsman_sdk::{AccessRecord, Sink};
use pointsman_testkit::{HttpUpstream, TcpUpstream, eventually, free_port, fresh_ip, within};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<AccessRecord>>>);

impl Sink for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn records(&mut self, batch: &[AccessRecord]) {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(batch);
    }
}

impl Notes {
    async fn gateway(&self, documents: &str) -> Gateway {
        let notes = self.clone();
        let builder = Facade::builder()
            .settings(settings())
            .extend(move |host| host.sink("notes", move || notes.clone()));
        Gateway::start(Some(documents), builder).await
    }

    /// The next record; there is no other.
    async fn next(&self) -> AccessRecord {
        eventually(SOON, || async {
            !self.0.lock().expect("not poisoned").is_empty()
        })
        .await;
        let mut records = self.0.lock().expect("not poisoned");
        assert_eq!(records.len(), 1, "{records:?}");
        records.remove(0)
    }
}

fn text(value: &Option<Box<[u8]>>) -> &str {
    let bytes = value.as_deref().unwrap_or(b"-");
    std::str::from_utf8(bytes).expect("text")
}

#[tokio::test]
async fn a_forwarded_request_is_recorded_with_all_that_is_known() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), upstream.addr())
        + &rules("web", "- route: [{destination: {host: web}}]");
    let notes = Notes::default();
    let gateway = notes.gateway(&documents).await;
    let mut client = connect(web).await;
    let fields = [
        ("User-Agent", "test/1"),
        ("X-Request-Id", "abc-1"),
        ("x-forwarded-for", "192.0.2.1"),
    ];
    let reply = client
        .request("POST", "web", "/a?b=c", &fields, Some(b"12345"))
        .await
        .expect("an answer");
    let record = notes.next().await;
    assert_eq!(text(&record.method), "POST");
    assert_eq!(text(&record.path), "/a?b=c");
    assert_eq!(record.protocol, Some("HTTP/1.1"));
    assert_eq!(record.response_code, 200);
    assert!(record.flags.is_empty());
    assert_eq!(record.details, "via_upstream");
    assert_eq!(record.bytes_received, 5);
    assert_eq!(record.bytes_sent, reply.body.len() as u64);
    assert!(record.upstream_service_time_ms.is_some());
    assert_eq!(text(&record.authority), "web");
    assert_eq!(text(&record.user_agent), "test/1");
    assert_eq!(text(&record.request_id), "abc-1");
    assert_eq!(text(&record.x_forwarded_for), "192.0.2.1");
    assert_eq!(record.upstream_host, Some(upstream.addr()));
    let seen = upstream.last_seen().expect("a request");
    assert_eq!(record.upstream_local, Some(seen.peer));
    let cluster = record.upstream_cluster.expect("a backend");
    let expected = format!("outbound|{}||web.default.svc.cluster.local", web.port());
    assert_eq!(*cluster, *expected);
    assert_eq!(record.downstream_local, Some(web));
    assert_eq!(record.downstream_remote, Some(client.local_addr()));
    assert_eq!(record.route_name.as_deref(), Some("default/web-http#0"));
    let rule = record.rule.expect("a place");
    assert!(rule.contains("mesh.yaml:"), "{rule}");
    assert_eq!(record.revision, gateway.progress.borrow().active);
    assert_eq!(record.why, "rule");
    assert!(record.start_unix_ms > 1_600_000_000_000);
}

#[tokio::test]
async fn replies_of_our_own_say_why() {
    let web = SocketAddr::new(fresh_ip(), free_port());
    // Nothing listens there.
    let nowhere = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), nowhere)
        + &rules(
            "web",
            "- name: down
  match: [{uri: {prefix: /down}}]
  route: [{destination: {host: web}}]
- match: [{uri: {prefix: /gone}}]
  directResponse: {status: 410, body: {string: gone}}
- match: [{uri: {prefix: /v9}}]
  route: [{destination: {host: web, subset: v9}}]",
        );
    let notes = Notes::default();
    let _gateway = notes.gateway(&documents).await;
    let mut client = connect(web).await;
    for (path, status, flags, details, route) in [
        ("/other", 404, "NR", "route_not_found", None),
        (
            "/down",
            503,
            "UF",
            "upstream_reset_before_response_started{connection_failure}",
            Some("down"),
        ),
        (
            "/gone",
            410,
            "-",
            "direct_response",
            Some("default/web-http#1"),
        ),
        (
            "/v9",
            503,
            "NC",
            "cluster_not_found",
            Some("default/web-http#2"),
        ),
    ] {
        let reply = client.get("web", path).await.expect("an answer");
        assert_eq!(reply.status, status, "{path}");
        let record = notes.next().await;
        assert_eq!(record.response_code, status, "{path}");
        assert_eq!(record.flags.to_string(), flags, "{path}");
        assert_eq!(record.details, details, "{path}");
        assert_eq!(record.route_name.as_deref(), route, "{path}");
        assert_eq!(record.bytes_sent, reply.body.len() as u64, "{path}");
        let tried = (path == "/down").then_some(nowhere);
        assert_eq!(record.upstream_host, tried, "{path}");
    }
    client
        .send("GET / HTTP/1.1\r\nbad field\r\n\r\n")
        .await
        .expect("sent");
    assert_eq!(client.read_response().await.expect("an answer").status, 400);
    let record = notes.next().await;
    assert_eq!((record.response_code, text(&record.method)), (400, "-"));
    assert_eq!(record.flags.to_string(), "DPE");
    assert_eq!(record.downstream_local, Some(web));
}

#[tokio::test]
async fn a_connection_is_recorded_at_its_end() {
    let upstream = TcpUpstream::echo().await;
    let raw = SocketAddr::new(fresh_ip(), free_port());
    let documents = service(
        "raw",
        raw.ip(),
        raw.port(),
        "tcp",
        &plain(&[upstream.addr()]),
    );
    let notes = Notes::default();
    let _gateway = notes.gateway(&documents).await;
    let mut client = TcpStream::connect(raw).await.expect("connects");
    client.write_all(b"hello").await.expect("sent");
    let mut heard = [0; 5];
    within(SOON, client.read_exact(&mut heard))
        .await
        .expect("an echo");
    assert!(notes.0.lock().expect("not poisoned").is_empty());
    let local = client.local_addr().expect("connected");
    drop(client);
    let record = notes.next().await;
    assert_eq!((record.response_code, text(&record.method)), (0, "-"));
    assert_eq!((record.bytes_received, record.bytes_sent), (5, 5));
    assert_eq!(record.upstream_host, Some(upstream.addr()));
    assert_eq!(record.downstream_remote, Some(local));
    assert_eq!(record.why, "default_route");
    let cluster = record.upstream_cluster.expect("a backend");
    assert!(
        cluster.ends_with("||raw.default.svc.cluster.local"),
        "{cluster}"
    );
}
