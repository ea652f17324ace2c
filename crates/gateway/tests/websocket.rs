//! WebSocket in every pairing of versions but HTTP/1 to HTTP/1 (RFC 8441; PS-73).
mod common;

use common::{Gateway, SOON, plain, service};
use pointsman_testkit::{
    HttpUpstream, RawHttp, Reply, free_port, fresh_ip,
    http2::{Http2Client, Http2Reply, Http2Request, Http2Upstream},
    within,
};
use std::net::SocketAddr;

/// A service `web` whose port has this name.
async fn web(port_name: &str, endpoint: SocketAddr) -> (Gateway, SocketAddr) {
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("web", vip, port, port_name, &plain(&[endpoint]));
    (Gateway::serve(&text).await, SocketAddr::new(vip, port))
}

async fn http2_upstream(extended: bool) -> Http2Upstream {
    Http2Upstream::named("web")
        .otherwise(Http2Reply::echo_pieces())
        .tuned(move |builder| {
            if extended {
                builder.enable_connect_protocol();
            }
        })
        .start()
        .await
}

fn opening() -> Http2Request {
    Http2Request::new("CONNECT", "web", "/chat")
        .scheme("http")
        .protocol("websocket")
        .field("sec-websocket-version", "13")
}

/// Opens a WebSocket over HTTP/2, and sends frames there and back.
async fn over_http2(gateway: SocketAddr) {
    let mut client = Http2Client::connect(gateway).await.expect("connected");
    assert_eq!(client.get("web", "/").await.map(|_| ()).err(), None);
    assert!(client.takes_extended_connect(), "RFC 8441 section 3");
    let mut stream = client.begin(&opening(), false).await.expect("begun");
    let status = within(SOON, stream.status()).await.expect("an answer");
    assert_eq!(status, 200);
    for round in 0..3 {
        let sent = vec![round; 70_000];
        stream.send(&sent, false).await.expect("sent");
        let mut echoed = Vec::new();
        while echoed.len() < sent.len() {
            let piece = within(SOON, stream.piece()).await.expect("echoed");
            echoed.extend_from_slice(&piece.expect("goes on"));
        }
        assert!(echoed == sent, "round {round}");
    }
    stream.send(b"", true).await.expect("ended");
    let rest = within(SOON, stream.rest())
        .await
        .expect("ends in order, both ways");
    assert!(rest.body.is_empty());
}

#[tokio::test]
async fn from_http2_to_http1() {
    let upstream = HttpUpstream::named("web")
        .on("/", Reply::text(200, "hello"))
        .otherwise(Reply::upgrade())
        .start()
        .await;
    let (_gateway, web) = web("http", upstream.addr()).await;
    over_http2(web).await;
    let seen = upstream.last_seen().expect("a request");
    assert_eq!((&*seen.method, &*seen.target), ("GET", "/chat"));
    assert_eq!(seen.field("upgrade"), Some("websocket"));
    assert_eq!(seen.field("sec-websocket-version"), Some("13"));
    let key = seen
        .field("sec-websocket-key")
        .expect("RFC 6455 section 4.1");
    assert_eq!(key.len(), 24, "sixteen bytes: {key}");
}

#[tokio::test]
async fn from_http2_to_http2() {
    let upstream = http2_upstream(true).await;
    let (_gateway, web) = web("http2", upstream.addr()).await;
    over_http2(web).await;
    let seen = upstream.last_seen().expect("a request");
    assert_eq!((&*seen.method, seen.target()), ("CONNECT", "/chat"));
}

/// The example of RFC 6455 section 1.3.
#[tokio::test]
async fn from_http1_to_http2() {
    let upstream = http2_upstream(true).await;
    let (_gateway, web) = web("http2", upstream.addr()).await;
    let mut client = RawHttp::connect(web).await.expect("connected");
    let opening = "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.send(opening).await.expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(reply.status, 101);
    assert_eq!(reply.field("upgrade"), Some("websocket"));
    assert_eq!(
        reply.field("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    for round in 0..3 {
        let frame = vec![round; 70_000];
        client.send(&frame).await.expect("sent");
        assert!(client.read_exact(frame.len()).await.expect("echoed") == frame);
    }
    client.half_close().await.expect("half-closed");
    assert_eq!(client.read_to_end().await.expect("ends in order"), b"");
}

/// RFC 8441 section 3: what a peer has not said it takes is not sent to it.
#[tokio::test]
async fn an_endpoint_without_extended_connect_gets_none() {
    let upstream = http2_upstream(false).await;
    let (_gateway, web) = web("http2", upstream.addr()).await;
    let mut client = Http2Client::connect(web).await.expect("connected");
    let mut stream = client.begin(&opening(), false).await.expect("begun");
    let status = within(SOON, stream.status()).await.expect("an answer");
    assert_eq!((status, upstream.requests()), (502, 0));
}

/// An upgrade that the endpoint refuses is an ordinary answer.
#[tokio::test]
async fn a_refused_upgrade_is_an_answer() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::text(403, "not you"))
        .start()
        .await;
    let (_gateway, web) = web("http", upstream.addr()).await;
    let mut client = Http2Client::connect(web).await.expect("connected");
    let mut stream = client.begin(&opening(), false).await.expect("begun");
    let reply = within(SOON, stream.rest()).await.expect("an answer");
    assert_eq!((reply.status, reply.text()), (403, "not you"));
}
