//! WebSocket where a version changes (RFC 8441; PS-73), and what is recorded of it in every pairing.
mod common;

use common::{
    Gateway, Notes, SOON, Scrape, dial, pattern, plain, rules, service, settings, subsets, written,
};
use pointsman_testkit::{
    HttpUpstream, RawHttp, Reply, eventually,
    frames::{Block, Fate, Frame, FrameClient, FrameUpstream, code, setting},
    free_port, fresh_ip,
    http2::{Http2Client, Http2Reply, Http2Request, Http2Upstream},
    within,
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

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

/// One of each version, of which every request may become a tunnel.
async fn upstreams() -> (HttpUpstream, Http2Upstream) {
    let one = HttpUpstream::named("web").otherwise(Reply::upgrade());
    (one.start().await, http2_upstream(true).await)
}

fn opening() -> Http2Request {
    Http2Request::new("CONNECT", "web", "/chat")
        .scheme("http")
        .protocol("websocket")
        .field("sec-websocket-version", "13")
}

/// The same by HTTP/1.
const OPENING: &str = "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

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

/// RFC 6455 section 4.1: who does not answer the key of the request has not read it, and nobody knows
/// what it speaks.
#[tokio::test]
async fn a_switch_that_does_not_answer_our_key_is_502() {
    let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    let accept = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    for said in [String::new(), accept.to_owned(), accept.repeat(2)] {
        let upstream = HttpUpstream::named("web")
            .on("/", Reply::text(200, "hello"))
            .otherwise(Reply::raw(format!("{head}{said}\r\n").as_bytes()))
            .start()
            .await;
        let (vip, port) = (fresh_ip(), free_port());
        let text = service("web", vip, port, "http", &plain(&[upstream.addr()]));
        let notes = Notes::default();
        let gateway = notes.serve(settings(), &text).await;
        let (stream, own) = dial((vip, port).into()).await;
        let mut client = Http2Client::over(stream, |_| {}).await.expect("HTTP/2");
        let mut stream = client.begin(&opening(), false).await.expect("begun");
        let reply = within(SOON, stream.rest()).await.expect("an answer");
        assert_eq!(reply.status, 502, "{said:?}");
        let told = &notes.of(own, 1).await[0];
        assert_eq!((told.status, &*told.flags), (502, "UPE"), "{said:?}");
        assert_eq!(told.failure, "bad_websocket_accept");
        let why = [("reason", "bad_websocket_accept")];
        gateway
            .metrics_until(|it| it.sum("pointsman_refused_bytes_total", &why) == 1.0)
            .await;
        eventually(SOON, || async { upstream.open_connections() == 0 }).await;
        let next = within(SOON, client.get("web", "/"))
            .await
            .expect("an answer");
        assert_eq!((next.status, upstream.connections()), (200, 2));
    }
}

/// A key of a client that needs none is not sent beside ours.
#[tokio::test]
async fn an_endpoint_gets_one_key() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::upgrade())
        .start()
        .await;
    let (_gateway, web) = web("http", upstream.addr()).await;
    let mut client = Http2Client::connect(web).await.expect("connected");
    let opening = opening().field("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut stream = client.begin(&opening, false).await.expect("begun");
    assert_eq!(within(SOON, stream.status()).await, Ok(200));
    let seen = upstream.last_seen().expect("a request");
    let is_key = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("sec-websocket-key");
    let keys: Vec<_> = seen.fields.iter().filter(is_key).collect();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert_ne!(keys[0].1, "dGhlIHNhbXBsZSBub25jZQ==");
}

/// RFC 8441 section 5: a success would say that the WebSocket is open, which it is not. What else the endpoint answers
/// passes.
#[tokio::test]
async fn an_answer_that_switches_nothing_opens_no_websocket() {
    let upstream = HttpUpstream::named("web").start().await;
    let at = SocketAddr::new(fresh_ip(), free_port());
    let text = service(
        "web",
        at.ip(),
        at.port(),
        "http",
        &plain(&[upstream.addr()]),
    );
    let notes = Notes::default();
    let _gateway = notes.serve(settings(), &text).await;
    for (answer, status, why) in [
        (200, 502, "websocket_not_switched"),
        (204, 502, "websocket_not_switched"),
        (403, 403, ""),
        (426, 426, ""),
    ] {
        upstream.set("/chat", Reply::text(answer, ""));
        let (stream, own) = dial(at).await;
        let mut client = Http2Client::over(stream, |_| {}).await.expect("HTTP/2");
        let mut stream = client.begin(&opening(), false).await.expect("begun");
        assert_eq!(within(SOON, stream.status()).await, Ok(status), "{answer}");
        let told = notes.of(own, 1).await;
        let told = told.first().map(|it| (it.status, &*it.failure));
        assert_eq!(told, Some((status, why)), "{answer}");
    }
}

/// The bytes of a WebSocket are counted while it runs, once, as those of a connection of TCP to its
/// backend; and the time of its rule is for the switch alone (VS-H-63).
#[tokio::test]
async fn a_tunnel_is_counted_while_it_runs() {
    let (one, two) = upstreams().await;
    for (port_name, endpoint) in [("http", one.addr()), ("http2", two.addr())] {
        let (vip, port) = (fresh_ip(), free_port());
        let text = service("web", vip, port, port_name, &plain(&[endpoint]))
            + &rules(
                "web",
                "- route: [{destination: {host: web}}]\n  timeout: 500ms",
            );
        let gateway = Gateway::serve(&text).await;
        let at = SocketAddr::new(vip, port);
        let web = [("destination_service_name", "web")];
        let carried = |it: &Scrape| {
            ["received", "sent"].map(|way| it.sum(&format!("istio_tcp_{way}_bytes_total"), &web))
        };
        let connections = |it: &Scrape| {
            ["opened", "closed"]
                .map(|what| it.sum(&format!("istio_tcp_connections_{what}_total"), &web))
        };
        let mut http1 = RawHttp::connect(at).await.expect("connected");
        http1.send(OPENING).await.expect("sent");
        assert_eq!(http1.read_response().await.expect("an answer").status, 101);
        let mut client = Http2Client::connect(at).await.expect("connected");
        let mut http2 = client.begin(&opening(), false).await.expect("begun");
        assert_eq!(within(SOON, http2.status()).await, Ok(200));
        http1.send([7; 1000]).await.expect("sent");
        http1.read_exact(1000).await.expect("echoed");
        http2.send(&[7; 3000], false).await.expect("sent");
        let mut echoed = 0;
        while echoed < 3000 {
            let piece = within(SOON, http2.piece()).await.expect("echoed");
            echoed += piece.expect("goes on").len();
        }
        gateway
            .metrics_until(|it| carried(it) == [4000.0; 2] && connections(it) == [2.0, 0.0])
            .await;
        // Beyond the time of the rule.
        tokio::time::sleep(Duration::from_millis(600)).await;
        http1.send([7; 1000]).await.expect("sent");
        http1.read_exact(1000).await.expect("echoed");
        http2.send(&[7; 1000], true).await.expect("sent");
        let rest = within(SOON, http2.rest()).await.expect("in order");
        assert_eq!(rest.body.len(), 1000, "{port_name}");
        http1.half_close().await.expect("half-closed");
        http1.read_to_end().await.expect("in order");
        gateway
            .metrics_until(|it| {
                connections(it) == [2.0; 2]
                    && it.sum("istio_requests_total", &web) == 2.0
                    && carried(it) == [6000.0; 2]
            })
            .await;
        let metrics = gateway.metrics().await;
        for family in ["istio_request_bytes_sum", "istio_response_bytes_sum"] {
            assert_eq!(metrics.sum(family, &web), 0.0, "no body: {family}");
        }
    }
}

/// BE-67: a WebSocket is a request under way until it has ended, whichever version it runs over.
#[tokio::test]
async fn a_tunnel_is_one_of_the_requests_that_there_may_be() {
    let one = HttpUpstream::named("web")
        .on("/chat", Reply::upgrade())
        .start()
        .await;
    let two = http2_upstream(true).await;
    for (port_name, endpoint) in [("http", one.addr()), ("http2", two.addr())] {
        let at = SocketAddr::new(fresh_ip(), free_port());
        let policy = "{connectionPool: {http: {http2MaxRequests: 1}}}";
        let text = service("web", at.ip(), at.port(), port_name, &plain(&[endpoint]))
            + &subsets("web", &[], policy);
        let _gateway = Gateway::serve(&text).await;
        let mut client = RawHttp::connect(at).await.expect("connected");
        client.send(OPENING).await.expect("sent");
        assert_eq!(client.read_response().await.expect("an answer").status, 101);
        // It is a tunnel by now.
        client.send([7; 100]).await.expect("sent");
        client.read_exact(100).await.expect("echoed");
        let mut other = RawHttp::connect(at).await.expect("connected");
        let refused = other.get("web", "/").await.expect("an answer");
        assert_eq!(refused.status, 503, "{port_name}");
        client.half_close().await.expect("half-closed");
        client.read_to_end().await.expect("in order");
        eventually(SOON, async || {
            let mut other = RawHttp::connect(at).await.expect("connected");
            other.get("web", "/").await.expect("an answer").status == 200
        })
        .await;
    }
}

/// One record, when the tunnel has ended: its bytes, how long it was open, and how it ended.
#[tokio::test]
async fn a_record_ends_with_its_tunnel() {
    let (one, two) = upstreams().await;
    for (port_name, endpoint) in [("http", one.addr()), ("http2", two.addr())] {
        for cut in [false, true] {
            let (vip, port) = (fresh_ip(), free_port());
            let text = service("web", vip, port, port_name, &plain(&[endpoint]));
            let notes = Notes::default();
            let gateway = notes.serve(settings(), &text).await;
            let (stream, own) = dial((vip, port).into()).await;
            let mut client = RawHttp::over(stream);
            client.send(OPENING).await.expect("sent");
            let reply = client.read_response().await.expect("an answer");
            assert_eq!(reply.status, 101);
            client.send([7; 1000]).await.expect("sent");
            client.read_exact(1000).await.expect("echoed");
            tokio::time::sleep(Duration::from_millis(600)).await; // several ticks of the log
            assert_eq!(notes.now_of(own), [], "it goes on");
            match cut {
                true => client.reset(),
                false => {
                    client.half_close().await.expect("half-closed");
                    client.read_to_end().await.expect("in order");
                }
            }
            let record = notes.records(own, 1).await.remove(0);
            let (flags, details) = match cut {
                true => ("DC", "downstream_remote_disconnect"),
                false => ("-", "via_upstream"),
            };
            assert_eq!(record.response_code, 101, "{port_name}");
            assert_eq!(
                (&*record.flags.to_string(), &*record.details),
                (flags, details)
            );
            assert_eq!((record.bytes_received, record.bytes_sent), (1000, 1000));
            assert!(record.duration_ms >= 600, "{} ms", record.duration_ms);
            gateway
                .metrics_until(|it| {
                    it.sum("istio_requests_total", &[("response_code", "101")]) == 1.0
                })
                .await;
        }
    }
}

/// BE-64: what the kernel has still to send to a slow reader is not idle, and silence has its end.
#[tokio::test]
async fn what_a_slow_reader_has_still_to_get_keeps_its_tunnel() {
    const BYTES: usize = 3_000_000;
    let sent = || Http2Reply::head(200).early().data(&pattern(BYTES));
    for (reply, ends) in [(sent(), true), (sent().then_hang(), false)] {
        let upstream = Http2Upstream::named("web")
            .otherwise(reply)
            .tuned(|builder| {
                builder.enable_connect_protocol();
            })
            .start()
            .await;
        let mut settings = settings();
        settings.timeouts.tunnel_idle = written("300ms");
        let (vip, port) = (fresh_ip(), free_port());
        let text = service("web", vip, port, "http2", &plain(&[upstream.addr()]));
        let notes = Notes::default();
        let gateway = notes.serve(settings, &text).await;
        let (stream, own) = dial((vip, port).into()).await;
        let socket = socket2::SockRef::from(&stream);
        socket.set_recv_buffer_size(64 * 1024).expect("a size");
        let mut client = RawHttp::over(stream);
        client.send(OPENING).await.expect("sent");
        let head = client.read_head().await.expect("an answer");
        assert!(head.first_line.contains("101"), "{head:?}");
        let mut got = Vec::new();
        while got.len() < BYTES {
            let piece = client.read_exact(16_000.min(BYTES - got.len())).await;
            let behind = got.len();
            got.extend(piece.unwrap_or_else(|error| panic!("{error} behind {behind} bytes")));
            // The pause is the test: never as long as the limit.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(got == pattern(BYTES));
        let end = client.read_to_end().await;
        assert_eq!(end.is_ok(), ends, "{end:?}");
        let record = notes.records(own, 1).await.remove(0);
        assert_eq!(&*record.flags.to_string(), "SI");
        assert_eq!(record.bytes_sent, BYTES as u64);
        let limit = [("limit", "timeouts.tunnel_idle")];
        gateway
            .metrics_until(|it| it.sum("pointsman_limits_hit_total", &limit) == 1.0)
            .await;
    }
}

/// Opens a WebSocket on stream 1, by frames.
fn opened(path: &str) -> Frame {
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", "web"),
        (":path", path),
        ("sec-websocket-version", "13"),
    ];
    Frame::headers(1, Block::of(&fields))
}

/// An endpoint that says so many messages of 1000 bytes at once and resets its stream, at `/ended` behind
/// the end of it: servers do so whose handler returns before the client has ended its side.
async fn short_spoken(messages: usize) -> FrameUpstream {
    FrameUpstream::start(move |mut peer, _| async move {
        peer.accept(&[(setting::ENABLE_CONNECT_PROTOCOL, 1)])
            .await?;
        loop {
            let asked = peer.request().await?;
            let stream = asked.stream;
            let message = || Frame::data(stream, [b'm'; 1000]);
            let mut all = vec![Frame::headers(stream, Block::status(200))];
            all.resize_with(messages, message); // with the head, and one more behind them
            all.extend(match asked.field(":path") {
                Some("/ended") => [message().end_stream(), Frame::reset(stream, code::NO_ERROR)],
                _ => [message(), Frame::reset(stream, code::ENHANCE_YOUR_CALM)],
            });
            peer.send(&all).await?;
        }
    })
    .await
}

/// RFC 9113 section 8.1: what an endpoint has said before it resets its stream is its client's, and if that was
/// all, it ends in order.
#[tokio::test]
async fn the_last_messages_of_an_endpoint_that_resets_its_stream_arrive() {
    const MESSAGES: usize = 100;
    const BYTES: usize = 1000 * MESSAGES;
    let upstream = short_spoken(MESSAGES).await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("web", vip, port, "http2", &plain(&[upstream.addr()]));
    let notes = Notes::default();
    let _gateway = notes.serve(settings(), &text).await;
    let web = SocketAddr::new(vip, port);
    let remote_reset = "upstream_reset_after_response_started{remote_reset}";
    for (path, flags, details) in [
        ("/ended", "-", "via_upstream"),
        ("/cut", "UR", remote_reset),
    ] {
        let (stream, own) = dial(web).await;
        let mut client = FrameClient::over(stream);
        client.preface(&[]).await.expect("HTTP/2");
        client.send(&[opened(path)]).await;
        // As much as the windows of a client hold that takes its time.
        let full = client.until(|heard| {
            heard
                .streams
                .get(&1)
                .is_some_and(|it| it.body.len() == 65_535)
        });
        assert!(full.await, "{path}: {:?}", client.heard.fate(1));
        assert!(client.ping().await);
        let windows = [0, 1].map(|stream| Frame::window_update(stream, 1 << 20));
        client.send(&windows).await;
        let fate = match path {
            "/ended" => Fate::Status(200),
            _ => Fate::Reset(code::ENHANCE_YOUR_CALM),
        };
        assert_eq!(client.fate(1).await, fate, "{path}");
        assert_eq!(client.answer(1).body.len(), BYTES, "{path}");
        let record = notes.records(own, 1).await.remove(0);
        let told = (record.flags.to_string(), &*record.details);
        assert_eq!(told, (flags.to_owned(), details), "{path}");
        assert_eq!(record.bytes_sent, BYTES as u64);

        let (stream, own) = dial(web).await;
        let mut client = RawHttp::over(stream);
        let opening = OPENING.replace("/chat", path);
        client.send(opening).await.expect("sent");
        client.read_head().await.expect("an answer");
        let got = client.read_exact(BYTES).await.expect("all of it");
        assert!(got == [b'm'; BYTES]);
        let end = client.read_to_end().await;
        assert_eq!(end.is_ok(), path == "/ended", "{path}: {end:?}");
        let record = notes.records(own, 1).await.remove(0);
        let told = (record.flags.to_string(), &*record.details);
        assert_eq!(told, (flags.to_owned(), details), "{path}");
        assert_eq!(record.bytes_sent, BYTES as u64);
    }
}

/// Nor does a client that takes nothing, and goes on sending to an endpoint that takes no more, keep its tunnel
/// for ever.
#[tokio::test]
async fn a_client_that_goes_on_sending_keeps_no_tunnel_that_is_over() {
    let upstream = short_spoken(100).await;
    let mut settings = settings();
    settings.timeouts.write = written("300ms");
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("web", vip, port, "http2", &plain(&[upstream.addr()]));
    let _gateway = Gateway::serve_with(settings, &text).await;
    let client = FrameClient::begin((vip, port).into()).await;
    let mut client = client.expect("HTTP/2").with_deadline(SOON / 100);
    client.send(&[opened("/ended")]).await;
    let sending = async {
        while client.fate(1).await == Fate::Silent {
            client.send(&[Frame::data(1, *b"ping")]).await;
        }
    };
    within(SOON, sending).await;
    assert_eq!(client.fate(1).await, Fate::Reset(code::INTERNAL_ERROR));
}

/// Where both sides speak HTTP/1: an endpoint that has said everything, and closes with a message in its socket,
/// resets its connection.
#[tokio::test]
async fn a_slow_reader_gets_what_its_endpoint_said_before_it_closed() {
    const BYTES: usize = 300_000;
    let endpoint = TcpListener::bind((fresh_ip(), 0)).await.expect("listens");
    let at = endpoint.local_addr().expect("an address");
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("web", vip, port, "http", &plain(&[at]));
    let notes = Notes::default();
    let gateway = notes.serve(settings(), &text).await;
    let (stream, own) = dial((vip, port).into()).await;
    let socket = socket2::SockRef::from(&stream);
    socket.set_recv_buffer_size(16 * 1024).expect("a size");
    let mut client = RawHttp::over(stream);
    client.send(OPENING).await.expect("sent");
    let (mut answering, _) = within(SOON, endpoint.accept()).await.expect("accepts");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let read = within(SOON, answering.read_buf(&mut head)).await;
        assert!(matches!(read, Ok(1..)), "{read:?}");
    }
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    answering.write_all(switch.as_bytes()).await.expect("sent");
    client.read_head().await.expect("an answer");
    answering.write_all(&pattern(BYTES)).await.expect("sent");
    answering.shutdown().await.expect("ended");
    let sum = |it: &Scrape, way| it.sum(&format!("istio_tcp_{way}_bytes_total"), &[]);
    gateway
        .metrics_until(|it| sum(it, "sent") == BYTES as f64)
        .await;
    client.send("ping").await.expect("sent");
    gateway.metrics_until(|it| sum(it, "received") == 4.0).await;
    drop(answering); // the message is unread
    let mut got = Vec::new();
    while got.len() < BYTES {
        // Nobody is there any more.
        client.send("ping").await.expect("sent");
        let piece = client.read_exact(20_000.min(BYTES - got.len())).await;
        let behind = got.len();
        got.extend(piece.unwrap_or_else(|error| panic!("{error} behind {behind} bytes")));
        // The pause is the test.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(got == pattern(BYTES));
    assert_eq!(client.read_to_end().await.expect("ends in order"), b"");
    let record = notes.records(own, 1).await.remove(0);
    let told = (record.flags.to_string(), &*record.details);
    assert_eq!(told, ("-".to_owned(), "via_upstream"));
    assert_eq!(record.bytes_sent, BYTES as u64);
}
