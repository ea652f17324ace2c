//! Documents change while a request or a connection is under way, but not yet where it goes: what is
//! still to be decided for it is decided by the present documents.
mod common;

use common::{pools::*, *};
use pointsman_testkit::{Http2Client, Http2Upstream, HttpUpstream, eventually};
use std::net::SocketAddr;

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
