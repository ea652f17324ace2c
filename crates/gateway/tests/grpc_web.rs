//! gRPC-Web on ports that say so, from both versions of HTTP, to a server of gRPC (PS-4).
mod common;

use common::{Gateway, SOON, plain, service};
use pointsman_testkit::{
    RawHttp, free_port, fresh_ip,
    http2::{Http2Client, Http2Request, Http2Upstream, grpc},
    within,
};
use std::net::SocketAddr;

async fn calls(port_name: &str) -> (Gateway, Http2Upstream, SocketAddr) {
    let upstream = grpc::echo_service("calls").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("calls", vip, port, port_name, &plain(&[upstream.addr()]));
    (Gateway::serve(&text).await, upstream, (vip, port).into())
}

/// The frame that holds these trailers.
fn trailers(lines: &str) -> Vec<u8> {
    let mut frame = vec![0x80];
    frame.extend_from_slice(&u32::try_from(lines.len()).expect("short").to_be_bytes());
    frame.extend_from_slice(lines.as_bytes());
    frame
}

#[tokio::test]
async fn from_http1_in_bytes() {
    let (_gateway, upstream, addr) = calls("grpc-web").await;
    let mut client = RawHttp::connect(addr).await.expect("connected");
    let fields = [
        ("content-type", "application/grpc-web+proto"),
        ("x-grpc-web", "1"),
    ];
    for _ in 0..2 {
        let body = grpc::message(b"hello");
        let asked = client.request("POST", "calls", "/test.Echo/Unary", &fields, Some(&body));
        let reply = within(SOON, asked).await.expect("an answer");
        assert_eq!(reply.status, 200);
        // The server said `application/grpc`.
        assert_eq!(reply.field("content-type"), Some("application/grpc-web"));
        let expected = [grpc::message(b"hello"), trailers("grpc-status: 0\r\n")].concat();
        assert_eq!(reply.body, expected);
    }
    let seen = upstream.last_seen().expect("a call");
    assert_eq!(seen.field("content-type"), Some("application/grpc+proto"));
    assert_eq!(seen.field("te"), Some("trailers"));
}

/// Each piece is base64 by itself: `AAAAAAVoZWxsbw==` is the message `hello` with its five bytes before.
#[tokio::test]
async fn from_http2_in_text() {
    let (_gateway, upstream, addr) = calls("grpc-web").await;
    let mut client = Http2Client::connect(addr).await.expect("connected");
    let request = Http2Request::post("calls", "/test.Echo/Unary")
        .field("content-type", "application/grpc-web-text")
        .field("content-length", "16")
        .piece(b"AAAAAAVo")
        .piece(b"ZWxsbw==");
    let reply = within(SOON, client.exchange(request))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.field("content-type"),
        Some("application/grpc-web-text")
    );
    // `\x80`, the length 16, `grpc-status: 0` and CR LF.
    assert_eq!(reply.text(), "AAAAAAVoZWxsbw==gAAAABBncnBjLXN0YXR1czogMA0K");
    assert!(reply.trailers.is_none());
    let seen = upstream.last_seen().expect("a call");
    assert_eq!(seen.body, grpc::message(b"hello"));
    assert_eq!(
        seen.field("content-length"),
        None,
        "it was that of the text"
    );
}

#[tokio::test]
async fn a_body_that_is_no_base64_is_refused() {
    let (_gateway, _upstream, addr) = calls("grpc-web").await;
    let mut client = RawHttp::connect(addr).await.expect("connected");
    let fields = [("content-type", "application/grpc-web-text")];
    let asked = client.request("POST", "calls", "/test.Echo/Unary", &fields, Some(b"!!!!"));
    let reply = within(SOON, asked).await.expect("an answer");
    assert_eq!(reply.status, 400);
}

/// Ports that say `grpc` translate nothing: the request passes as it is.
#[tokio::test]
async fn other_ports_translate_nothing() {
    let (_gateway, upstream, addr) = calls("grpc").await;
    let mut client = Http2Client::connect(addr).await.expect("connected");
    let request = Http2Request::post("calls", "/test.Echo/Unary")
        .field("content-type", "application/grpc-web+proto")
        .piece(&grpc::message(b"hello"));
    within(SOON, client.exchange(request))
        .await
        .expect("an answer");
    let seen = upstream.last_seen().expect("a call");
    assert_eq!(
        seen.field("content-type"),
        Some("application/grpc-web+proto")
    );
}

/// A reply of trailers alone stays one: they are in the head, and no frame follows.
#[tokio::test]
async fn a_reply_of_trailers_alone_has_no_body() {
    let (_gateway, _upstream, addr) = calls("grpc-web").await;
    let body = grpc::message(b"hello");
    let fields = [("content-type", "application/grpc-web+proto")];
    let mut client = RawHttp::connect(addr).await.expect("connected");
    for _ in 0..2 {
        let asked = client.request("POST", "calls", "/test.Echo/Refuse", &fields, Some(&body));
        let reply = within(SOON, asked).await.expect("an answer");
        assert_eq!((reply.status, reply.field("grpc-status")), (200, Some("7")));
        assert_eq!(reply.field("grpc-message"), Some("no"));
        assert_eq!(reply.field("content-type"), Some("application/grpc-web"));
        assert_eq!(reply.body, b"");
    }
    let mut client = Http2Client::connect(addr).await.expect("connected");
    let request = Http2Request::post("calls", "/test.Echo/Refuse")
        .field("content-type", "application/grpc-web+proto")
        .piece(&body);
    let reply = within(SOON, client.exchange(request))
        .await
        .expect("an answer");
    assert_eq!((reply.status, reply.field("grpc-status")), (200, Some("7")));
    assert_eq!((reply.body.len(), reply.trailers), (0, None));
}
