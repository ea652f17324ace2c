//! The frame-level client and upstream, each against the `h2` crate.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{Reason, client, server};
use http::{HeaderMap, Request, Response};
use pointsman_testkit::frames::{Block, Fate, Frame, FrameClient, FrameUpstream, code, setting};
use tokio::net::{TcpListener, TcpStream};

/// A server of the `h2` crate: `/echo` gives back fields and body, with trailers; `/reset` resets.
async fn library_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    addr
}

async fn serve(stream: TcpStream) -> Result<(), h2::Error> {
    let mut connection = server::Builder::new()
        .max_concurrent_streams(7)
        .handshake(stream)
        .await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        tokio::spawn(async move {
            if request.uri().path() == "/reset" {
                respond.send_reset(Reason::ENHANCE_YOUR_CALM);
                return Ok(());
            }
            let mut response = Response::builder().status(207);
            for (name, value) in request.headers() {
                response = response.header(name, value);
            }
            let mut send = respond.send_response(response.body(()).expect("right"), false)?;
            let mut body = request.into_body();
            while let Some(bytes) = body.data().await {
                send.send_data(bytes?, false)?;
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("x-trailer", "last".parse().expect("right"));
            send.send_trailers(trailers)
        });
    }
    Ok(())
}

#[tokio::test]
async fn the_client_is_understood_and_understands() {
    let addr = library_server().await;
    let mut client = FrameClient::begin(addr).await.expect("HTTP/2");
    assert_eq!(
        client.heard.settings.get(&setting::MAX_CONCURRENT_STREAMS),
        Some(&7)
    );
    // Values with all bytes that a field may have make the Huffman code work, and repeated ones the
    // table.
    let all: Vec<u8> = (b' '..=b'~').collect();
    let all = String::from_utf8(all).expect("ASCII");
    for (turn, stream) in [1, 3, 5].into_iter().enumerate() {
        let block = Block::request("POST", "web", "/echo")
            .literal("x-all", format!("a{all}a"))
            .huffman("x-huffman", "coded")
            .remembered("x-remembered", "kept")
            .indexed(62)
            .literal("x-turn", turn.to_string());
        client
            .send(&[
                Frame::headers(stream, block),
                Frame::data(stream, *b"one ").padded(9),
                Frame::data(stream, *b"two").end_stream(),
            ])
            .await;
        assert_eq!(client.fate(stream).await, Fate::Status(207));
        let answer = client.answer(stream);
        assert_eq!(answer.text(), "one two");
        assert_eq!(answer.field("x-all"), Some(&*format!("a{all}a")));
        assert_eq!(answer.field("x-huffman"), Some("coded"));
        let kept = answer.fields.iter().filter(|it| it.0 == "x-remembered");
        assert_eq!(kept.count(), 2);
        assert_eq!(answer.trailers, [("x-trailer".into(), "last".into())]);
    }
    let reset = client.ask(7, Block::request("GET", "web", "/reset")).await;
    assert_eq!(reset, Fate::Reset(code::ENHANCE_YOUR_CALM));
    assert!(client.ping().await);
}

/// A field block over CONTINUATION frames, cut anywhere.
#[tokio::test]
async fn blocks_are_cut_and_put_together_again() {
    let addr = library_server().await;
    let mut client = FrameClient::begin(addr).await.expect("HTTP/2");
    let block = Block::request("GET", "web", "/echo")
        .literal("x-long", "x".repeat(20_000))
        .bytes();
    let (first, rest) = block.split_at(11);
    let (second, third) = rest.split_at(16_000);
    client
        .send(&[
            Frame::headers(1, first).without(4).end_stream(),
            Frame::continuation(1, second).without(4),
            Frame::continuation(1, third),
        ])
        .await;
    assert_eq!(client.fate(1).await, Fate::Status(207));
    let long = client.answer(1).field("x-long").map(str::len);
    assert_eq!(long, Some(20_000));
}

#[tokio::test]
async fn connection_errors_are_heard() {
    let addr = library_server().await;
    let mut client = FrameClient::begin(addr).await.expect("HTTP/2");
    client.send(&[Frame::data(0, *b"x")]).await;
    assert_eq!(client.fate(1).await, Fate::GoAway(code::PROTOCOL_ERROR));
    assert!(client.to_end().await, "{:?}", client.heard);
    let mut client = FrameClient::connect(addr).await.expect("connects");
    client.send_raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r?").await;
    assert!(client.to_end().await);
}

#[tokio::test]
async fn the_upstream_is_understood_and_understands() {
    let upstream = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[(setting::MAX_CONCURRENT_STREAMS, 3)]).await?;
        let first = peer.request().await?;
        peer.send(&[
            Frame::headers(first.stream, Block::status(103).literal("link", "</a>")),
            Frame::headers(first.stream, Block::status(200).literal("x-a", "1")),
            Frame::data(first.stream, *b"text"),
            Frame::headers(first.stream, Block::new().literal("x-t", "2")).end_stream(),
        ])
        .await?;
        let second = peer.request().await?;
        peer.send(&[Frame::reset(second.stream, code::REFUSED_STREAM)])
            .await?;
        let third = peer.request().await?;
        peer.send(&[Frame::goaway(second.stream, code::INTERNAL_ERROR, b"why")])
            .await?;
        assert_eq!(third.field(":path"), Some("/3"));
        peer.drain().await
    })
    .await;
    let stream = TcpStream::connect(upstream.addr()).await.expect("connects");
    let (mut send, connection) = client::handshake(stream).await.expect("HTTP/2");
    let driving = tokio::spawn(connection);
    let mut ask = |path: &str| {
        let request = Request::get(format!("http://web{path}")).header("x-field", "value");
        let request = request.body(()).expect("right");
        send.send_request(request, true).expect("sent").0
    };
    let mut response = ask("/1").await.expect("answered");
    assert_eq!(response.headers()["x-a"], "1");
    let body = response.body_mut();
    let text = body.data().await.expect("a body").expect("whole");
    assert_eq!(text, Bytes::from_static(b"text"));
    let trailers = body.trailers().await.expect("whole").expect("trailers");
    assert_eq!(trailers["x-t"], "2");
    let reset = ask("/2").await.expect_err("reset");
    assert_eq!(reset.reason(), Some(Reason::REFUSED_STREAM));
    let gone = ask("/3").await.expect_err("gone");
    assert_eq!(gone.reason(), Some(Reason::INTERNAL_ERROR));
    drop(send);
    let _ = driving.await;
    let asked = upstream.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].field("x-field"), Some("value"));
    assert!(asked[0].ended);
}
