//! gRPC through the gateway: every kind of call, and how calls end.
mod common;

use common::*;
use pointsman_gateway::Settings;
use pointsman_testkit::{
    Http2Client, Http2Request, Http2Response, Http2Upstream, eventually,
    frames::{Block, Fate, Frame, FrameClient, FrameUpstream, setting},
    free_port, fresh_ip, grpc, within,
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::Notify;

/// A gateway with the service `echo`, its port called `grpc`, in front of an upstream that has
/// every kind of method.
async fn world(more: &str) -> (Gateway, Http2Upstream, Http2Client) {
    world_with(settings(), more).await
}

async fn world_with(settings: Settings, more: &str) -> (Gateway, Http2Upstream, Http2Client) {
    let upstream = grpc::echo_service("echo").start().await;
    let at = SocketAddr::new(fresh_ip(), free_port());
    let text = service(
        "echo",
        at.ip(),
        at.port(),
        "grpc",
        &[(upstream.addr(), "v0")],
    );
    let gateway = Gateway::serve_with(settings, &(text + more)).await;
    let client = Http2Client::connect(at).await.expect("connects");
    (gateway, upstream, client)
}

async fn call(client: &mut Http2Client, method: &str, messages: &[&[u8]]) -> Http2Response {
    let call = Http2Request::grpc("echo", &format!("/test.Echo/{method}"), messages);
    within(SOON, client.exchange(call)).await.expect("a reply")
}

#[tokio::test]
async fn every_kind_of_call_passes() {
    let (_gateway, upstream, mut client) = world("").await;
    let long = pattern(1_000_000);
    let unary = call(&mut client, "Unary", &[&long]).await;
    assert_eq!((unary.status, unary.grpc_status()), (200, Some(0)));
    assert!(unary.messages() == [long], "the message came back");
    assert_eq!(unary.field("content-type"), Some("application/grpc"));
    let seen = upstream.last_seen().expect("a call");
    assert_eq!(seen.field("te"), Some("trailers"));
    assert_eq!(seen.field("content-type"), Some("application/grpc"));
    let many = call(&mut client, "ServerStream", &[b"50"]).await;
    assert_eq!((many.messages().len(), many.grpc_status()), (50, Some(0)));
    let parts = [&b"ab"[..]; 500];
    let summed = call(&mut client, "ClientStream", &parts).await;
    assert_eq!(summed.messages(), [b"500 messages, 1000 bytes"]);
}

#[tokio::test]
async fn a_call_is_open_in_both_directions_at_the_same_time() {
    let (_gateway, _upstream, mut client) = world("").await;
    let call = Http2Request::grpc("echo", "/test.Echo/Bidi", &[]);
    let mut stream = client.begin(&call, false).await.expect("begun");
    // The head of the answer is here before the first message.
    assert_eq!(within(SOON, stream.status()).await, Ok(200));
    for at in 0..50 {
        let message = grpc::message(&[at; 100]);
        stream.send(&message, false).await.expect("sent");
        let mut echoed = Vec::new();
        while echoed.len() < message.len() {
            let piece = within(SOON, stream.piece()).await.expect("open");
            echoed.extend_from_slice(&piece.expect("not ended"));
        }
        assert_eq!(echoed, message, "{at}");
    }
    stream.send(b"", true).await.expect("ended");
    let end = within(SOON, stream.rest()).await.expect("ended");
    assert_eq!(end.grpc_status(), Some(0));
}

#[tokio::test]
async fn outcomes_of_the_endpoint_arrive_as_they_are() {
    let (_gateway, _upstream, mut client) = world("").await;
    let failed = call(&mut client, "Fail", &[b"x"]).await;
    assert_eq!((failed.status, failed.grpc_status()), (200, Some(5)));
    assert_eq!(failed.trailer("grpc-message"), Some("not here"));
    assert_eq!(failed.messages(), [b"a part"]);
    let refused = call(&mut client, "Refuse", &[b"x"]).await;
    assert_eq!((refused.status, refused.grpc_status()), (200, Some(7)));
    assert_eq!(refused.field("grpc-message"), Some("no"));
    assert_eq!(refused.trailers, None, "still trailers only");
}

/// A call that is given up is given up towards the endpoint.
#[tokio::test]
async fn a_cancelled_call_is_cancelled_there() {
    let (_gateway, upstream, mut client) = world("").await;
    for method in ["Hang", "Bidi"] {
        let path = format!("/test.Echo/{method}");
        let call = Http2Request::grpc("echo", &path, &[]);
        let before = upstream.requests();
        let mut stream = client.begin(&call, false).await.expect("begun");
        let message = grpc::message(b"hello");
        stream.send(&message, false).await.expect("sent");
        eventually(SOON, async || upstream.requests() > before).await;
        stream.reset(8);
        eventually(SOON, async || {
            upstream.resets().contains(&(path.clone(), Some(8)))
        })
        .await;
    }
    assert_eq!(
        call(&mut client, "Unary", &[b"x"]).await.grpc_status(),
        Some(0)
    );
}

/// Calls of one connection are balanced one by one.
#[tokio::test]
async fn calls_of_one_connection_go_to_several_endpoints() {
    let upstream = |name: &str| grpc::echo_service(name).at((fresh_ip(), 0)).start();
    let (a, b) = tokio::join!(upstream("a"), upstream("b"));
    let at = SocketAddr::new(fresh_ip(), free_port());
    let text = [
        service(
            "echo",
            at.ip(),
            at.port(),
            "grpc",
            &plain(&[a.addr(), b.addr()]),
        ),
        subsets("echo", &["v0"], "{loadBalancer: {simple: ROUND_ROBIN}}"),
    ]
    .concat();
    let _gateway = Gateway::serve(&text).await;
    let mut client = Http2Client::connect(at).await.expect("connects");
    for _ in 0..10 {
        assert_eq!(
            call(&mut client, "Unary", &[b"x"]).await.grpc_status(),
            Some(0)
        );
    }
    assert_eq!((a.requests(), b.requests()), (5, 5));
}

/// Messages pass while a stream lives, however long, and one stalled call does not stop another.
#[tokio::test]
async fn a_stalled_call_does_not_stop_its_neighbours() {
    let (_gateway, _upstream, client) = world("").await;
    // Room on the connection for others, and for the bookkeeping of many small frames.
    let mut client = Http2Client::connect_tuned(client.remote_addr(), |builder| {
        builder.initial_connection_window_size(1 << 20);
        builder.data_frame_budget(1 << 24);
    })
    .await
    .expect("connects");
    let path = "/test.Echo/ServerStream";
    let stalled = Http2Request::grpc("echo", path, &[b"60000"]);
    let mut stalled = client.begin(&stalled, false).await.expect("begun");
    let many = grpc::message(b"60000");
    stalled.send(&many, true).await.expect("sent");
    assert_eq!(within(SOON, stalled.status()).await, Ok(200));
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..5 {
        let other = call(&mut client, "Unary", &[b"x"]).await;
        assert_eq!(other.grpc_status(), Some(0));
    }
    let got = within(SOON, stalled.rest()).await.expect("whole");
    assert_eq!((got.messages().len(), got.grpc_status()), (60_000, Some(0)));
}

/// Short messages, each a frame of its own, are what such calls are made of: no flood.
#[tokio::test]
async fn many_short_messages_are_no_flood() {
    let (_gateway, _upstream, mut client) = world("").await;
    let summed = call(&mut client, "ClientStream", &vec![&b"x"[..]; 20_000]).await;
    assert_eq!(summed.messages(), [b"20000 messages, 20000 bytes"]);
}

/// The same while a call waits for room at the endpoint.
#[tokio::test]
async fn many_short_messages_of_a_call_that_waits_are_no_flood() {
    let mut settings = settings();
    settings.http2.endpoint_streams = 1;
    settings.http2.endpoint_connections = 1;
    let (_gateway, _upstream, mut client) = world_with(settings, "").await;
    let bidi = Http2Request::grpc("echo", "/test.Echo/Bidi", &[]);
    let mut first = client.begin(&bidi, false).await.expect("begun");
    assert_eq!(within(SOON, first.status()).await, Ok(200));
    let messages = vec![&b"x"[..]; 20_000];
    let sum = Http2Request::grpc("echo", "/test.Echo/ClientStream", &messages);
    let waits = within(SOON, client.exchange(sum));
    let makes_room = async {
        // For the messages to come, of which nothing is to be seen.
        tokio::time::sleep(Duration::from_millis(500)).await;
        first.send(b"", true).await.expect("ended");
    };
    let (summed, ()) = tokio::join!(waits, makes_room);
    let summed = summed.expect("a reply");
    assert_eq!(summed.messages(), [b"20000 messages, 20000 bytes"]);
}

/// The same under a fault's delay.
#[tokio::test]
async fn many_short_messages_of_a_call_that_is_delayed_are_no_flood() {
    let rule = rules(
        "echo",
        "\
- fault: {delay: {fixedDelay: 1s, percentage: {value: 100}}}
  route: [{destination: {host: echo}}]",
    );
    let (_gateway, _upstream, mut client) = world(&rule).await;
    let summed = call(&mut client, "ClientStream", &vec![&b"x"[..]; 20_000]).await;
    assert_eq!(summed.messages(), [b"20000 messages, 20000 bytes"]);
}

/// The same while an endpoint has no room yet for what another try has sent before, whatever the pieces
/// of a body become on their way.
#[tokio::test]
async fn many_short_messages_of_a_call_that_is_tried_again_are_no_flood() {
    for (port_name, kind, piece) in [
        ("grpc", "application/grpc", "x"),
        ("grpc-web", "application/grpc-web-text", "AAAA"),
    ] {
        let (answer, open) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (answers, opens) = (answer.clone(), open.clone());
        let upstream = FrameUpstream::start(move |mut peer, _| {
            let (answer, open) = (answers.clone(), opens.clone());
            async move {
                peer.accept(&[(setting::INITIAL_WINDOW_SIZE, 0)]).await?;
                let first = peer.request().await?;
                answer.notified().await;
                peer.answer(first.stream, 503, b"").await?;
                let second = peer.request().await?;
                open.notified().await;
                let room = [0, second.stream].map(|it| Frame::window_update(it, 1 << 20));
                peer.send(&room).await?;
                peer.answer(second.stream, 200, b"").await?;
                peer.drain().await
            }
        })
        .await;
        let at = SocketAddr::new(fresh_ip(), free_port());
        let endpoints = plain(&[upstream.addr()]);
        let text = service("echo", at.ip(), at.port(), port_name, &endpoints)
            + &rules(
                "echo",
                "\
- route: [{destination: {host: echo}}]
  retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}",
            );
        let _gateway = Gateway::serve(&text).await;
        let mut client = FrameClient::begin(at).await.expect("HTTP/2");
        let head = Block::request("POST", "echo", "/").literal("content-type", kind);
        client
            .send(&[Frame::headers(1, head), Frame::data(1, piece)])
            .await;
        eventually(SOON, async || upstream.asked().len() == 1).await;
        answer.notify_one();
        eventually(SOON, async || upstream.asked().len() == 2).await;
        client.send(&vec![Frame::data(1, piece); 20_000]).await;
        assert!(client.ping().await, "{kind}: {:?}", client.heard);
        open.notify_one();
        assert_eq!(client.fate(1).await, Fate::Status(200), "{kind}");
    }
}
