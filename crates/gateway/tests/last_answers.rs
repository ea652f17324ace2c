//! How an HTTP/1 connection ends that the gateway closes: the last answer arrives whole, and says that it
//! is the last (RFC 9112 section 9.6).
mod common;

use common::*;
use pointsman_gateway::Settings;
use pointsman_testkit::{
    Http2Reply, Http2Upstream, HttpUpstream, RawHttp, Reply, TcpUpstream, eventually,
    frames::{Block, Fate, Frame, FrameClient, code},
    free_port, fresh_ip,
    message::MessageReader,
    within,
};
use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
};

/// More than a client takes that does not read, and less than the kernel keeps for it.
const LARGE: usize = 3_000_000;

/// A client whose kernel takes little that it does not read.
async fn small_client(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(32 * 1024).expect("a size");
    within(SOON, socket.connect(to)).await.expect("connects")
}

/// Reads to the end, not as fast as it could. The bytes behind the head, if the end was in order.
async fn body(client: &mut (impl AsyncReadExt + Unpin)) -> Result<usize, String> {
    let mut all = Vec::new();
    loop {
        match within(SOON, client.read_buf(&mut all)).await {
            Ok(0) => break,
            Ok(_) => tokio::time::sleep(Duration::from_micros(100)).await,
            Err(error) => return Err(format!("{error} behind {} bytes", all.len())),
        }
    }
    let head = all.windows(4).position(|it| it == b"\r\n\r\n");
    Ok(all.len() - head.expect("a head") - 4)
}

/// A client that sends a request behind the last one: what it was answered must not be lost for that.
#[tokio::test]
async fn a_last_answer_is_whole_though_something_was_sent_behind_its_request() {
    let large = Reply::sized(LARGE).after(Duration::from_millis(200));
    let upstream = HttpUpstream::named("web").otherwise(large).start().await;
    let mut one = settings();
    one.limits.requests_per_connection = 1;
    let plain = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
    for (settings, first) in [(settings(), last), (one, plain)] {
        let (vip, port) = (fresh_ip(), free_port());
        let documents = http("web", vip, port, upstream.addr());
        let _gateway = Gateway::serve_with(settings, &documents).await;
        let mut client = small_client((vip, port).into()).await;
        let before = upstream.requests();
        client.write_all(first.as_bytes()).await.expect("sent");
        eventually(SOON, || async { upstream.requests() > before }).await;
        client.write_all(plain.as_bytes()).await.expect("sent");
        assert_eq!(body(&mut client).await, Ok(LARGE), "{first}");
    }
}

/// The same where the process drains.
#[tokio::test]
async fn the_last_answer_of_a_drain_is_whole_though_requests_stand_behind_it() {
    let large = Reply::sized(LARGE).after(Duration::from_secs(1));
    let upstream = HttpUpstream::named("web").otherwise(large).start().await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let text = http("web", web.ip(), web.port(), upstream.addr());
    let mut process = Process::start(&text, &["--drain-time", "15s"]).await;
    let mut client = small_client(web).await;
    let get = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    client.write_all(get.as_bytes()).await.expect("sent");
    eventually(SOON, || async { upstream.requests() == 1 }).await;
    process.signal("TERM");
    client.write_all(get.as_bytes()).await.expect("sent");
    assert_eq!(body(&mut client).await, Ok(LARGE));
    drop(client);
    let status = process.ended(SOON).await;
    assert_eq!(status.code(), Some(0), "{}", process.log());
}

/// A client that goes on uploading, much more than is read for nothing, takes its early answer meanwhile.
#[tokio::test]
async fn an_early_answer_is_whole_though_the_upload_goes_on() {
    let endpoint = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let at = endpoint.local_addr().expect("an address");
    // It answers at once, reads nothing more, and closes nothing.
    let answering = tokio::spawn(async move {
        let (mut stream, _) = endpoint.accept().await.expect("a connection");
        let read = stream.read(&mut [0; 512]).await.expect("a head");
        let head = format!("HTTP/1.1 413 Too Large\r\nContent-Length: {LARGE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        stream.write_all(&vec![b'x'; LARGE]).await.expect("sent");
        (stream, read)
    });
    let (vip, port) = (fresh_ip(), free_port());
    let _gateway = Gateway::serve(&http("web", vip, port, at)).await;
    let (mut reader, mut writer) = small_client((vip, port).into()).await.into_split();
    let upload = tokio::spawn(async move {
        let head = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000000\r\n\r\n";
        writer.write_all(head.as_bytes()).await.expect("sent");
        while writer.write_all(&[b'x'; 8 * 1024]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut all = Vec::new();
    while all.len() < LARGE {
        let read = within(SOON, reader.read_buf(&mut all)).await;
        let behind = all.len();
        assert!(matches!(read, Ok(1..)), "{read:?} behind {behind} bytes");
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    upload.abort();
    answering.await.expect("answered");
}

/// What a client takes nothing of is given up by `timeouts.write`, with what the kernel still has of it.
#[tokio::test]
async fn a_last_answer_that_nobody_reads_does_not_keep_its_connection() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::sized(300_000))
        .start()
        .await;
    let mut settings = settings();
    settings.timeouts.write = written("600ms");
    let (vip, port) = (fresh_ip(), free_port());
    let documents = http("web", vip, port, upstream.addr());
    let gateway = Gateway::serve_with(settings, &documents).await;
    let mut client = small_client((vip, port).into()).await;
    let last = "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
    let twice = [last, last].concat();
    client.write_all(twice.as_bytes()).await.expect("sent");
    gateway
        .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 1.0)
        .await;
    gateway
        .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 0.0)
        .await;
    drop(client);
}

fn impatient() -> Settings {
    let mut settings = settings();
    settings.timeouts.write = written("600ms");
    settings.timeouts.request_body = written("600ms");
    settings
}

/// Neither who never reads nor who never sends its body keeps a connection for ever: each of the two has
/// its own limit, whichever of them ends first.
#[tokio::test]
async fn an_answer_and_the_body_it_leaves_unread_each_have_their_time() {
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = "x".repeat(60_000);
    let rule = format!("- directResponse: {{status: 200, body: {{string: {text}}}}}");
    let documents = http("web", vip, port, upstream.addr()) + &rules("web", &rule);
    let gateway = Gateway::serve_with(impatient(), &documents).await;
    let gone = || gateway.metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 0.0);
    // Each body is there, no answer is read.
    let mut client = small_client((vip, port).into()).await;
    let post = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\n\r\nx";
    let flood = async { while client.write_all(post.repeat(100).as_bytes()).await.is_ok() {} };
    let _ = tokio::time::timeout(SOON, flood).await;
    gone().await;
    drop(client);
    // The last answer has to wait for those before it; its body never comes.
    let client = small_client((vip, port).into()).await;
    let mut client = RawHttp::over(client);
    let before = 100;
    let get = "GET / HTTP/1.1\r\nHost: web\r\n\r\n".repeat(before);
    let post = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 9\r\n\r\n";
    client.send(get + post).await.expect("sent");
    for _ in 0..=before {
        let answer = client.read_response().await.expect("an answer");
        assert_eq!(answer.body.len(), text.len());
    }
    let end = within(SOON, client.read_to_end()).await;
    assert!(is_reset(&end) || end.is_ok_and(|rest| rest.is_empty()));
    gone().await;
    let hit = [("limit", "timeouts.request_body")];
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("pointsman_limits_hit_total", &hit), 1.0);
}

/// `timeouts.request_body` is for each byte: a body that comes slowly is read behind an answer of our own, as it
/// is by an endpoint.
#[tokio::test]
async fn a_slow_body_behind_an_answer_of_our_own_keeps_its_connection() {
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let documents =
        http("web", vip, port, upstream.addr()) + &rules("web", "- directResponse: {status: 418}");
    let mut settings = settings();
    settings.timeouts.request_body = written("2s");
    let _gateway = Gateway::serve_with(settings, &documents).await;
    let mut client = connect((vip, port).into()).await;
    let head = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 10\r\n\r\n";
    client.send(head).await.expect("sent");
    assert_eq!(client.read_response().await.expect("an answer").status, 418);
    for _ in 0..10 {
        client.send("x").await.expect("sent");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(client.get("web", "/").await.expect("an answer").status, 418);
}

/// A listener of an endpoint whose kernel takes little that it does not read, and from which ours keeps
/// little.
fn small_endpoint() -> (TcpListener, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2304).expect("a size");
    socket2::SockRef::from(&socket)
        .set_tcp_mss(536)
        .expect("a size");
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(any).expect("a free port");
    let endpoint = socket.listen(8).expect("listens");
    let at = endpoint.local_addr().expect("an address");
    (endpoint, at)
}

/// Answers each connection as soon as it has read something, keeps it, and reads no more.
async fn hasty(endpoint: TcpListener, answer: &str) {
    let mut kept = Vec::new();
    while let Ok((mut stream, _)) = endpoint.accept().await {
        let _ = stream.read(&mut [0; 512]).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        kept.push(stream);
    }
}

const EARLY: &str = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig";

/// RFC 9112 section 9.6: behind an answer that comes before the request is whole, the connection is
/// closed, and the answer says so; what the client sends next would get no answer.
#[tokio::test]
async fn an_early_answer_says_that_it_is_the_last() {
    let (endpoint, by_http1) = small_endpoint();
    tokio::spawn(hasty(endpoint, EARLY));
    let by_http2 = Http2Upstream::named("web")
        .otherwise(Http2Reply::text(413, "big").early())
        .start()
        .await;
    for (protocol, endpoint) in [("http", by_http1), ("http2", by_http2.addr())] {
        let (vip, port) = (fresh_ip(), free_port());
        let documents = service("web", vip, port, protocol, &plain(&[endpoint]));
        let _gateway = Gateway::serve(&documents).await;
        for (version, framing, keeps) in [
            ("1.1", "Content-Length: 10\r\n\r\nabc", false),
            (
                "1.1",
                "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
                false,
            ),
            (
                "1.1",
                "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
                false,
            ),
            (
                "1.0",
                "Connection: keep-alive\r\nContent-Length: 10\r\n\r\nabc",
                false,
            ),
            ("1.1", "Content-Length: 3\r\n\r\nabc", true),
        ] {
            let mut client = connect((vip, port).into()).await;
            let request = format!("POST / HTTP/{version}\r\nHost: web\r\n{framing}");
            client.send(&request).await.expect("sent");
            let answer = client.read_response().await.expect("an answer");
            let told = (answer.status, answer.keeps_alive());
            assert_eq!(told, (413, keeps), "{protocol}: {request}");
            if !keeps {
                let rest = within(SOON, client.read_to_end()).await;
                assert_eq!(rest.expect("closed in order"), b"", "{protocol}: {request}");
            }
        }
    }
}

/// A body that was received with its head is no reason not to listen to the endpoint.
#[tokio::test]
async fn an_early_answer_is_heard_while_what_came_with_the_head_is_sent() {
    let (endpoint, at) = small_endpoint();
    let (say, sent) = oneshot::channel();
    tokio::spawn(async move {
        // The first body is waited for until all of the second request is there behind it.
        let (mut stream, _) = endpoint.accept().await.expect("a connection");
        let _ = tokio::time::timeout(Duration::from_secs(2), sent).await;
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            stream.read_buf(&mut body).await.expect("the body");
        }
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.expect("sent");
        drop(stream);
        hasty(endpoint, EARLY).await;
    });
    let (vip, port) = (fresh_ip(), free_port());
    let _gateway = Gateway::serve(&http("web", vip, port, at)).await;
    let client = within(SOON, TcpStream::connect((vip, port))).await;
    let (reader, mut writer) = client.expect("connects").into_split();
    let sending = tokio::spawn(async move {
        let post = "POST / HTTP/1.1\r\nHost: web\r\n";
        let first = format!("{post}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", 300_000);
        let second = format!("\r\n0\r\n\r\n{post}Content-Length: 200000\r\n\r\n");
        let all = [
            first.as_bytes(),
            &[b'x'; 300_000],
            second.as_bytes(),
            &[b'y'; 200_000],
        ];
        writer.write_all(&all.concat()).await.expect("sent");
        let _ = say.send(());
        writer
    });
    let mut client = MessageReader::new(reader);
    for status in ["200", "413"] {
        let head = within(SOON, client.head()).await;
        let head = head.expect("an answer").expect("one");
        assert!(head.first_line.contains(status), "{}", head.first_line);
        let framing = head.declared_framing().expect("a framing").expect("one");
        client.body(framing).await.expect("a body");
    }
    sending.await.expect("sent");
}

/// A drain that begins while a fault holds an answer back: it says that it is the last all the same.
#[tokio::test]
async fn an_answer_that_a_drain_meets_on_its_way_says_that_it_is_the_last() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let fault = "- match: [{uri: {prefix: /fault}}]
  fault:
    delay: {fixedDelay: 1s, percentage: {value: 100}}
    abort: {httpStatus: 418, percentage: {value: 100}}
  route: [{destination: {host: web}}]
- route: [{destination: {host: web}}]";
    let text = http("web", web.ip(), web.port(), upstream.addr()) + &rules("web", fault);
    let mut process = Process::start(&text, &["--drain-time", "15s"]).await;
    let mut clients = Vec::new();
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let get = |target| {
            format!("GET {target} {version}\r\nHost: web\r\nConnection: keep-alive\r\n\r\n")
        };
        let mut client = connect(web).await;
        client.send(get("/")).await.expect("sent");
        assert!(client.read_response().await.expect("one").keeps_alive());
        client.send(get("/fault")).await.expect("sent");
        clients.push(client);
    }
    process.signal("TERM");
    for mut client in clients {
        let answer = client.read_response().await.expect("an answer");
        let connection: Vec<_> = answer.values("connection").collect();
        assert_eq!((answer.status, &*connection), (418, &["close"][..]));
        let rest = within(SOON, client.read_to_end()).await;
        assert_eq!(rest.expect("closed in order"), b"");
    }
    let status = process.ended(SOON).await;
    assert_eq!(status.code(), Some(0), "{}", process.log());
}

/// What is left at the end of a drain is cut, looks so, and is recorded: a response that ends with its
/// connection, a request without an answer, a WebSocket, a tunnel.
#[tokio::test]
async fn what_a_drain_cuts_looks_cut_and_is_recorded() {
    let upstream = HttpUpstream::named("web")
        .on(
            "/endless",
            Reply::endless(b"tick", Duration::from_millis(20)),
        )
        .on("/hang", Reply::hang())
        .on("/chat", Reply::upgrade())
        .start()
        .await;
    let echo = TcpUpstream::echo().await;
    let (vip, port, tcp) = (fresh_ip(), free_port(), free_port());
    let documents = http("web", vip, port, upstream.addr())
        + &rules(
            "web",
            "- match: [{uri: {prefix: /late}}]
  fault: {delay: {fixedDelay: 60s, percentage: {value: 100}}}
  route: [{destination: {host: web}}]
- match: [{uri: {prefix: /own}}]
  directResponse: {status: 418}
- route: [{destination: {host: web}}]",
        )
        + &service("db", vip, tcp, "tcp", &plain(&[echo.addr()]));
    let mut settings = settings();
    settings.process.drain_time = written("300ms");
    let notes = Notes::default();
    let gateway = notes.serve(settings, &documents).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut streams = FrameClient::begin((vip, port).into())
        .await
        .expect("connects");
    let block = |path| Block::request("GET", "web", path).bytes();
    let late = Frame::headers(1, block("/late")).end_stream();
    streams.send(&[late]).await;
    let own = Frame::headers(3, block("/own")).end_stream();
    streams.send(&[own]).await;
    assert_eq!(streams.fate(3).await, Fate::Status(418));
    let mut clients = Vec::new();
    for (to, said, heard, status, details) in [
        (
            port,
            "GET /endless HTTP/1.0\r\nHost: web\r\n\r\n",
            "tick",
            200,
            "downstream_local_disconnect",
        ),
        (
            port,
            "GET /hang HTTP/1.1\r\nHost: web\r\n\r\n",
            "",
            0,
            "downstream_local_disconnect",
        ),
        (
            port,
            &format!("GET /chat HTTP/1.1\r\nHost: web\r\n{upgrade}\r\n"),
            "101",
            101,
            "downstream_local_disconnect",
        ),
        // What is behind an answer has been read with its request. That has a record of its own.
        (
            port,
            "GET /own HTTP/1.1\r\nHost: web\r\n\r\nGET /late HTTP/1.1\r\nHost: web\r\n\r\n",
            "418",
            0,
            "downstream_local_disconnect",
        ),
        (
            port,
            "GET /own HTTP/1.1\r\nHost: web\r\n\r\nGET /half HT",
            "418",
            0,
            "downstream_local_disconnect",
        ),
        (tcp, "hello", "hello", 0, "-"),
    ] {
        let (mut client, own) = dial((vip, to).into()).await;
        client.write_all(said.as_bytes()).await.expect("sent");
        let mut got = Vec::new();
        while !String::from_utf8_lossy(&got).contains(heard) {
            let read = within(SOON, client.read_buf(&mut got)).await;
            assert!(matches!(read, Ok(1..)), "{said}: {read:?}");
        }
        clients.push((client, own, said.to_owned(), status, details));
    }
    eventually(SOON, || async { upstream.requests() == 3 }).await;
    let ended = tokio::task::spawn_blocking(move || drop(gateway));
    for (mut client, own, said, status, details) in clients {
        let end = loop {
            match within(SOON, client.read(&mut [0; 512])).await {
                Ok(1..) => {}
                end => break end,
            }
        };
        let kind = end.map_err(|error| error.kind());
        assert_eq!(kind, Err(ErrorKind::ConnectionReset), "{said}");
        let before = usize::from(said.contains("/own"));
        let told = notes.of(own, before + 1).await;
        let told: Vec<_> = told
            .iter()
            .skip(before)
            .map(|it| (it.status, &*it.details, &*it.flags))
            .collect();
        let flags = if said.contains("/late") {
            "DI,DC"
        } else {
            "DC"
        };
        assert_eq!(told, [(status, details, flags)], "{said}");
    }
    assert_eq!(streams.fate(1).await, Fate::Reset(code::INTERNAL_ERROR));
    let told = notes.of(Ipv4Addr::LOCALHOST.into(), 2).await;
    let told: Vec<_> = told
        .iter()
        .map(|it| (it.status, &*it.details, &*it.flags))
        .collect();
    assert_eq!(
        told,
        [
            (418, "direct_response", "-"),
            (0, "downstream_local_disconnect", "DI,DC")
        ]
    );
    ended.await.expect("no panic");
}

/// An answer of the gateway's own that its client has not taken when the drain ends looks whole neither to
/// it nor in the log.
#[tokio::test]
async fn an_answer_of_our_own_that_is_cut_with_the_drain_is_reset_and_recorded_as_cut() {
    const BODY: usize = 900_000;
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = "y".repeat(BODY);
    let rule = format!("- directResponse: {{status: 200, body: {{string: {text}}}}}");
    let documents = http("web", vip, port, upstream.addr()) + &rules("web", &rule);
    for (method, body) in [("GET", "\r\n"), ("POST", "Content-Length: 1\r\n\r\nx")] {
        let notes = Notes::default();
        let gateway = notes.serve(settings(), &documents).await;
        let (mut client, own) = dial((vip, port).into()).await;
        socket2::SockRef::from(&client)
            .set_recv_buffer_size(32 * 1024)
            .expect("a size");
        // Together more than the kernel keeps for a client that does not read.
        let all = format!("{method} / HTTP/1.1\r\nHost: web\r\n{body}").repeat(16);
        client.write_all(all.as_bytes()).await.expect("sent");
        // Until no more goes out.
        let mut told = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(600)).await;
            let now = notes.now_of(own).len();
            if now > 0 && now == told {
                break;
            }
            told = now;
        }
        drop(gateway);
        let records = notes.records(own, told + 1).await;
        let (last, whole) = records.split_last().expect("records");
        for record in whole {
            let (flags, sent) = (record.flags.to_string(), record.bytes_sent);
            assert_eq!((&*flags, sent), ("-", BODY as u64), "{method}");
        }
        assert_eq!(last.flags.to_string(), "DC", "{method}");
        assert_eq!(last.details, "downstream_local_disconnect");
        assert!(last.bytes_sent < BODY as u64, "{}", last.bytes_sent);
        let end = body_or_error(&mut client).await;
        assert_eq!(end, Err(ErrorKind::ConnectionReset));
    }
}

/// Reads to the end, and says how it was.
async fn body_or_error(client: &mut TcpStream) -> Result<usize, ErrorKind> {
    let mut all = Vec::new();
    let read = within(SOON, client.read_to_end(&mut all)).await;
    read.map_err(|error| error.kind())
}
