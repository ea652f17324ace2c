//! Documents change while a request or a connection is under way, but not yet where it goes: what is
//! still to be decided for it is decided by the present documents.
mod common;

use common::{pools::*, *};
use pointsman_testkit::{
    Http2Client, Http2Reply, Http2Upstream, HttpUpstream, TcpUpstream, client_hello, eventually,
    free_port, http::Reply, tcp::Behaviour,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::Notify;

const OPEN: &str = "pointsman_connections_open";
const RETRIES: &str = "pointsman_retries_total";

/// A service `web` with this endpoint: what begins with `/delay` is delayed, the rest is tried again if
/// it cannot be connected.
fn web(at: SocketAddr, protocol: &str, endpoint: SocketAddr) -> String {
    let rules = rules(
        "web",
        "- match: [{uri: {prefix: /delay}}]
  fault: {delay: {fixedDelay: 4s, percentage: {value: 100}}}
  route: [{destination: {host: web}}]
  retries: {attempts: 0}
- route: [{destination: {host: web}}]
  retries: {attempts: 25, retryOn: connect-failure, backoff: 100ms}",
    );
    service("web", at.ip(), at.port(), protocol, &plain(&[endpoint])) + &rules
}

fn alone() -> pointsman_gateway::Settings {
    let mut settings = settings();
    settings.process.shards = 1;
    settings
}

/// BE-126: nobody listens where it was begun.
async fn goes_to_the_endpoint_of_now(protocol: &str, endpoint: SocketAddr) {
    let (at, nobody) = (fresh(), fresh());
    let gateway = Gateway::serve_with(alone(), &web(at, protocol, nobody)).await;
    let mut delayed = connect(at).await;
    delayed
        .send("GET /delayed HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    let mut stream = Http2Client::connect(at).await.expect("connects");
    let stream = tokio::spawn(async move { stream.get("web", "/delayed").await });
    eventually(SOON, || async {
        gateway.metrics().await.sum(OPEN, &[]) == 2.0
    })
    .await;
    let tried = tokio::spawn(async move { get(at, "web", "/").await });
    gateway
        .metrics_until(|it| it.sum(RETRIES, &[("outcome", "made")]) >= 1.0)
        .await;
    gateway.apply(&web(at, protocol, endpoint)).await;
    assert_eq!(tried.await.expect("ends").0, 200);
    assert_eq!(
        delayed.read_response().await.expect("an answer").status,
        200
    );
    let stream = stream.await.expect("ends").expect("an answer");
    assert_eq!(stream.status, 200);
}

#[tokio::test]
async fn another_try_and_a_delayed_one_go_to_the_endpoints_of_now() {
    let web = HttpUpstream::named("web").start().await;
    goes_to_the_endpoint_of_now("http", web.addr()).await;
}

#[tokio::test]
async fn another_try_over_http2_goes_to_the_endpoints_of_now() {
    let web = Http2Upstream::named("web").start().await;
    goes_to_the_endpoint_of_now("http2", web.addr()).await;
}

#[tokio::test]
async fn a_request_ends_where_it_was_to_go_if_that_is_gone() {
    // Its service is taken away in its delay: there is nothing newer to go by.
    let at = fresh();
    let upstream = HttpUpstream::named("web").start().await;
    let gateway = Gateway::serve_with(alone(), &web(at, "http", upstream.addr())).await;
    let mut delayed = connect(at).await;
    delayed
        .send("GET /delayed HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    // Behind it on the same shard.
    assert_eq!(get(at, "web", "/").await.0, 200);
    let other = fresh();
    let text = http("other", other.ip(), other.port(), upstream.addr());
    gateway.apply(&text).await;
    let reply = delayed.read_response().await.expect("an answer");
    assert_eq!(reply.status, 200);
}

/// Under steady load of `clients`, each with one request at a time.
struct Load {
    stop: Arc<Notify>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn begin(at: SocketAddr, clients: usize) -> Self {
        let stop = Arc::new(Notify::new());
        let client = |_| {
            let stop = stop.clone();
            tokio::spawn(async move {
                let mut client = connect(at).await;
                let stopped = stop.notified();
                let mut stopped = std::pin::pin!(stopped);
                loop {
                    let reply = client.get("web", "/").await.expect("an answer");
                    assert_eq!(reply.status, 200);
                    let turn = tokio::time::timeout(Duration::ZERO, &mut stopped);
                    if turn.await.is_ok() {
                        return;
                    }
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, clients }
    }

    async fn end(self) {
        self.stop.notify_waiters();
        for client in self.clients {
            client.await.expect("all were answered");
        }
    }
}

/// BE-60, BE-76.
async fn fewer(protocol: &str, endpoint: SocketAddr, open: impl Fn() -> usize) {
    let at = fresh();
    let pool = |most: u32| {
        let pool =
            format!("{{tcp: {{maxConnections: {most}}}, http: {{maxConcurrentStreams: 1}}}}");
        pooled(at, protocol, &[endpoint], &pool)
    };
    let gateway = Gateway::serve_with(alone(), &pool(8)).await;
    let load = Load::begin(at, 8);
    eventually(SOON, || async { open() == 8 }).await;
    gateway.apply(&pool(2)).await;
    eventually(SOON, || async { open() <= 2 }).await;
    // And as many again as there may be.
    gateway.apply(&pool(6)).await;
    eventually(SOON, || async { open() == 6 }).await;
    load.end().await;
    // Those that are idle are closed as well.
    gateway.apply(&pool(1)).await;
    eventually(SOON, || async { open() == 0 }).await;
}

#[tokio::test]
async fn fewer_connections_than_before_are_kept_under_load() {
    let reply = Reply::text(200, "").after(Duration::from_millis(20));
    let web = HttpUpstream::named("web").otherwise(reply).start().await;
    fewer("http", web.addr(), || web.open_connections()).await;
}

#[tokio::test]
async fn fewer_connections_of_http2_than_before_are_kept_under_load() {
    let reply = Http2Reply::text(200, "").after(Duration::from_millis(20));
    let web = Http2Upstream::named("web").otherwise(reply).start().await;
    fewer("http2", web.addr(), || web.open_connections()).await;
}

/// LIS-40: a client that has not said a word yet is routed by what holds when it does. Before and after:
/// what its port is called.
async fn speaks_later(before: &str, after: &str, says: &[u8]) -> (usize, usize) {
    let sink = || TcpUpstream::start(Behaviour::Sink);
    let (old, new) = (sink().await, sink().await);
    let at = SocketAddr::new(fresh().ip(), free_port());
    let text = |port: &str, endpoint| {
        service("web", at.ip(), at.port(), port, &plain(&[endpoint]))
            + &format!(
                "---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web-tls}}
spec:
  hosts: [web]
  tls:
  - match: [{{sniHosts: [web.default.svc.cluster.local], port: {0}}}]
    route: [{{destination: {{host: web, port: {{number: {0}}}}}}}]
",
                at.port()
            )
    };
    let mut settings = alone();
    settings.detection.server_first_after = written("0s");
    let gateway = Gateway::serve_with(settings, &text(before, old.addr())).await;
    let mut client = connect(at).await;
    gateway.metrics_until(|it| it.sum(OPEN, &[]) == 1.0).await;
    gateway.apply(&text(after, new.addr())).await;
    client.send(says).await.expect("sent");
    eventually(SOON, || async { old.received() + new.received() > 0 }).await;
    (old.connections(), new.connections())
}

#[tokio::test]
async fn who_speaks_after_a_change_is_routed_by_it() {
    let hello = client_hello(Some("web.default.svc.cluster.local"), &[]);
    let request: &[u8] = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    for (before, after, says) in [
        ("tls", "tls", &*hello),
        ("tls", "", &*hello),
        ("", "tls", &*hello),
        ("", "", request),
        // It is bytes now, whatever it looks like.
        ("", "tcp", request),
        ("tls", "tcp", &*hello),
        // And HTTP, which the listener it came to did not know.
        ("tls", "http", request),
    ] {
        let routed = speaks_later(before, after, says).await;
        assert_eq!(routed, (0, 1), "{before:?} to {after:?}");
    }
}

/// A connection that was made while both sides are silent is a tunnel, and keeps its endpoint.
#[tokio::test]
async fn who_has_an_endpoint_before_a_change_keeps_it() {
    let (old, new) = (TcpUpstream::echo().await, TcpUpstream::echo().await);
    let at = fresh();
    let text = |port: &str, endpoint| service("web", at.ip(), at.port(), port, &plain(&[endpoint]));
    let gateway = Gateway::serve_with(alone(), &text("", old.addr())).await;
    let mut client = connect(at).await;
    eventually(SOON, || async { old.connections() == 1 }).await;
    gateway.apply(&text("http", new.addr())).await;
    client.send(b"\x00bytes").await.expect("sent");
    assert_eq!(client.read_exact(6).await.expect("echoed"), b"\x00bytes");
    assert_eq!((old.connections(), new.connections()), (1, 0));
}
