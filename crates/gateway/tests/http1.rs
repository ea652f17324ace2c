//! HTTP/1.1 through the gateway: framing, connections, routing and what rules do to a message.
mod common;

use common::*;
use pointsman_testkit::{
    HttpUpstream, RawHttp, Reply, TcpUpstream, eventually,
    frames::{Block, Fate, Frame, FrameClient},
    free_port, fresh_ip,
    message::{Framing, has_token},
    tcp::Behaviour,
    within,
};
use std::{collections::HashMap, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
};

/// A gateway with the service `web` in front of one upstream, and where to dial it.
async fn web(upstream: &HttpUpstream) -> (Gateway, SocketAddr) {
    let (vip, port) = (fresh_ip(), free_port());
    let gateway = Gateway::serve(&http("web", vip, port, upstream.addr())).await;
    (gateway, SocketAddr::new(vip, port))
}

#[tokio::test]
async fn one_connection_carries_many_requests_and_pipelined_ones_are_answered_in_order() {
    let upstream = HttpUpstream::named("web")
        .on(
            "/slow",
            Reply::text(200, "slow").after(Duration::from_millis(100)),
        )
        .on("/fast", Reply::text(200, "fast"))
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    for _ in 0..3 {
        let reply = client.get("web", "/").await.expect("an answer");
        assert_eq!(reply.status, 200);
        assert!(reply.keeps_alive());
    }
    let one = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: web\r\n\r\n");
    let all = [one("/slow"), one("/fast"), one("/slow"), one("/fast")].concat();
    client.send(all).await.expect("sent");
    for expected in ["slow", "fast", "slow", "fast"] {
        assert_eq!(
            client.read_response().await.expect("answer").text(),
            expected
        );
    }
    assert_eq!(upstream.requests(), 7);
    assert_eq!(upstream.connections(), 1);
    assert!(upstream.malformed().is_empty());
}

#[tokio::test]
async fn a_pipelined_request_with_a_body_does_not_disturb_its_neighbours() {
    let upstream = HttpUpstream::named("web")
        .on("/echo", Reply::echo_body())
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    client
        .send(
            "POST /echo HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nfirst\
             POST /echo HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecond\r\n0\r\n\r\n\
             GET /after HTTP/1.1\r\nHost: web\r\n\r\n",
        )
        .await
        .expect("sent");
    assert_eq!(client.read_response().await.expect("one").text(), "first");
    assert_eq!(client.read_response().await.expect("two").text(), "second");
    let third = client.read_response().await.expect("three");
    assert_eq!(third.json()["target"], "/after");
    assert!(
        upstream.malformed().is_empty(),
        "{:?}",
        upstream.malformed()
    );
}

#[tokio::test]
async fn answers_without_a_body_keep_the_connection_in_step() {
    let upstream = HttpUpstream::named("web")
        .on("/sized", Reply::sized(1234))
        .on("/none", Reply::text(204, ""))
        .on("/unchanged", Reply::text(304, "ignored"))
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    for _ in 0..2 {
        let head = client
            .request("HEAD", "web", "/sized", &[], None)
            .await
            .expect("an answer");
        assert_eq!(head.field("content-length"), Some("1234"));
        assert_eq!(head.framing, Framing::None);
        let none = client.get("web", "/none").await.expect("an answer");
        assert_eq!((none.status, none.field("content-length")), (204, None));
        assert_eq!(none.field("transfer-encoding"), None);
        let unchanged = client.get("web", "/unchanged").await.expect("an answer");
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
        let full = client.get("web", "/sized").await.expect("an answer");
        assert_eq!(full.body.len(), 1234);
    }
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn chunks_and_trailers_travel_both_ways() {
    let upstream = HttpUpstream::named("web")
        .on(
            "/",
            Reply::chunked(&["one", "two", "three"]).trailer("X-Sum", "6"),
        )
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: web\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
             5;ext=1\r\nhello\r\n7\r\n, world\r\n0\r\nX-Check: 42\r\n\r\n",
        )
        .await
        .expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(reply.framing, Framing::Chunked);
    assert_eq!(reply.text(), "onetwothree");
    assert_eq!(reply.trailers, [("X-Sum".to_owned(), "6".to_owned())]);
    let seen = upstream.last_seen().expect("a request");
    assert_eq!(seen.body, b"hello, world");
    assert!(!seen.chunks.is_empty(), "still chunked");
    assert_eq!(seen.trailers, [("X-Check".to_owned(), "42".to_owned())]);
    // And the connection is in step.
    assert_eq!(
        client.get("web", "/").await.expect("again").text(),
        "onetwothree"
    );
}

#[tokio::test]
async fn a_slow_chunked_answer_arrives_piece_by_piece() {
    let upstream = HttpUpstream::named("web")
        .on("/", Reply::endless(b"tick", Duration::from_millis(20)))
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    client
        .send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    client.read_head().await.expect("a head");
    for _ in 0..10 {
        assert_eq!(
            client.read_chunk().await.expect("a chunk"),
            Some(b"tick".to_vec())
        );
    }
    drop(client);
    // The client is gone, so the upstream is let go too: nobody pays for an answer without reader.
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
}

/// PS-51, PS-1: HTTP/1.0 is HTTP, and backends are spoken to in HTTP/1.1.
#[tokio::test]
async fn http_1_0_closes_unless_asked_to_stay() {
    let upstream = HttpUpstream::named("web")
        .on("/chunked", Reply::chunked(&["a", "b"]))
        .on("/text", Reply::text(200, "text"))
        .on(
            "/hints",
            Reply::text(200, "done").preceded_by(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        )
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;

    let mut client = connect(web).await;
    client
        .send("GET /text HTTP/1.0\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    let whole = client.read_to_end().await.expect("closed in order");
    assert!(
        whole.ends_with(b"\r\n\r\ntext"),
        "{}",
        String::from_utf8_lossy(&whole)
    );

    // HTTP/1.0 knows no chunks: the end of the connection ends the body.
    let mut client = connect(web).await;
    client
        .send("GET /chunked HTTP/1.0\r\nHost: web\r\nConnection: keep-alive\r\n\r\n")
        .await
        .expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(
        (reply.framing, reply.text()),
        (Framing::UntilClose, "ab".to_owned())
    );

    // Nor interim responses (RFC 9110 section 15.2).
    let mut client = connect(web).await;
    for path in ["/text", "/hints", "/text"] {
        client
            .send(format!(
                "GET {path} HTTP/1.0\r\nHost: web\r\nConnection: keep-alive\r\n\r\n"
            ))
            .await
            .expect("sent");
        let reply = client.read_response().await.expect("an answer");
        assert!(reply.interim.is_empty());
        assert!(
            has_token(&reply.fields, "connection", "keep-alive"),
            "{:?}",
            reply.fields
        );
    }
    // Backends are always spoken to in HTTP/1.1.
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| seen.version == "HTTP/1.1")
    );
}

#[tokio::test]
async fn expect_100_continue_is_answered_by_the_backend() {
    let upstream = HttpUpstream::named("web")
        .on("/echo", Reply::echo_body())
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    for _ in 0..2 {
        client
            .send("POST /echo HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
            .await
            .expect("sent");
        let interim = client.read_head().await.expect("an interim response");
        assert!(
            interim.first_line.starts_with("HTTP/1.1 100"),
            "{}",
            interim.first_line
        );
        client.send("body").await.expect("sent");
        assert_eq!(
            client.read_response().await.expect("an answer").text(),
            "body"
        );
    }
    let interim = upstream
        .seen()
        .iter()
        .all(|seen| seen.field("expect") == Some("100-continue"));
    assert!(interim, "PS-83, T-PS-59: passed on");
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_still_sends() {
    let upstream = HttpUpstream::named("web")
        .on("/upload", Reply::text(413, "too much").early())
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    client
        .send("POST /upload HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000\r\n\r\nonly this")
        .await
        .expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!((reply.status, reply.text()), (413, "too much".to_owned()));
    // Half a body is left: neither connection can carry another request.
    within(SOON, client.read_to_end())
        .await
        .expect("closed in order");
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
}

#[tokio::test]
async fn large_bodies_arrive_unchanged_both_ways() {
    let upstream = HttpUpstream::named("web")
        .on("/echo", Reply::echo_body())
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let body = pattern(10 << 20);
    for chunked in [false, true] {
        let (reader, mut writer) = within(SOON, tokio::net::TcpStream::connect(web))
            .await
            .expect("connects")
            .into_split();
        let sent = body.clone();
        let sending = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            let framing = match chunked {
                true => "Transfer-Encoding: chunked".to_owned(),
                false => format!("Content-Length: {}", sent.len()),
            };
            let head = format!("POST /echo HTTP/1.1\r\nHost: web\r\n{framing}\r\n\r\n");
            writer.write_all(head.as_bytes()).await?;
            if !chunked {
                writer.write_all(&sent).await?;
                return std::io::Result::Ok(writer);
            }
            // A size that is prime to every buffer.
            for piece in sent.chunks(77_773) {
                let size = format!("{:x}\r\n", piece.len());
                writer.write_all(size.as_bytes()).await?;
                writer.write_all(piece).await?;
                writer.write_all(b"\r\n").await?;
            }
            writer.write_all(b"0\r\n\r\n").await?;
            Ok(writer)
        });
        let mut client =
            RawHttp::over(tokio::io::join(reader, tokio::io::sink())).with_deadline(SOON);
        let reply = client.read_response().await.expect("an answer");
        assert_eq!(reply.body.len(), body.len());
        assert_eq!(digest(&reply.body), digest(&body));
        let seen = upstream.last_seen().expect("a request");
        assert_eq!(seen.chunks.is_empty(), !chunked);
        assert_eq!(digest(&seen.body), digest(&body));
        sending.await.expect("no panic").expect("sent");
    }
}

/// Large enough to be spliced: what stays behind in a pipe must not come out elsewhere.
#[tokio::test]
async fn a_cut_large_body_is_a_cut_and_the_next_one_is_whole() {
    let upstream = HttpUpstream::named("web")
        .on("/cut", Reply::cut(8 << 20, 3 << 20))
        .on("/whole", Reply::text(200, &"w".repeat(4 << 20)))
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut kept = RawHttp::connect(web).await.expect("connects");
    for _ in 0..3 {
        let mut client = RawHttp::connect(web).await.expect("connects");
        client
            .send("GET /cut HTTP/1.1\r\nHost: web\r\n\r\n")
            .await
            .expect("sent");
        let head = client.read_head().await.expect("a head");
        assert!(head.first_line.contains(" 200"), "{}", head.first_line);
        let rest = client.read_to_end().await;
        assert!(rest.is_err() || rest.is_ok_and(|rest| rest.len() < 8 << 20));
        // A client that goes in the middle leaves bytes in the pipe.
        let mut gone = RawHttp::connect(web).await.expect("connects");
        gone.send("GET /whole HTTP/1.1\r\nHost: web\r\n\r\n")
            .await
            .expect("sent");
        gone.read_exact(1000).await.expect("a piece");
        gone.reset();
        for _ in 0..2 {
            let reply = kept.get("web", "/whole").await.expect("an answer");
            assert_eq!(reply.body.len(), 4 << 20);
            assert!(reply.body.iter().all(|byte| *byte == b'w'));
        }
    }
    eventually(SOON, || async { upstream.open_connections() == 1 }).await;
}

/// A gateway with the service `web`, where that is, and the listener of its one endpoint.
async fn endpoint_by_hand() -> (Gateway, SocketAddr, tokio::net::TcpListener) {
    let listener = within(SOON, tokio::net::TcpListener::bind((fresh_ip(), 0)));
    let listener = listener.await.expect("binds");
    let web = SocketAddr::new(fresh_ip(), free_port());
    let address = listener.local_addr().expect("bound");
    let gateway = Gateway::serve(&http("web", web.ip(), web.port(), address)).await;
    (gateway, web, listener)
}

async fn client_by_hand(web: SocketAddr) -> (OwnedReadHalf, OwnedWriteHalf) {
    let stream = within(SOON, tokio::net::TcpStream::connect(web)).await;
    stream.expect("connects").into_split()
}

/// A source that is not listened to while its sink is full is listened to again after it.
#[tokio::test]
async fn a_download_that_stalls_leaves_both_its_connections_as_they_were() {
    const BODY: usize = 32 << 20;
    let upstream = HttpUpstream::named("web")
        .on("/large", Reply::sized(BODY))
        .on("/small", Reply::text(200, "small"))
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = RawHttp::connect(web).await.expect("connects");
    for pipelined in [false, true, false] {
        client
            .send("GET /large HTTP/1.1\r\nHost: web\r\n\r\n")
            .await
            .expect("sent");
        client.read_head().await.expect("a head");
        let mut got = 0;
        for piece in [1 << 20, 3 << 20, BODY - (4 << 20)] {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if pipelined && got == 0 {
                client
                    .send("GET /small HTTP/1.1\r\nHost: web\r\n\r\n")
                    .await
                    .expect("sent");
            }
            got += client.read_exact(piece).await.expect("it flows").len();
        }
        assert_eq!(got, BODY);
        if pipelined {
            assert_eq!(client.read_response().await.expect("next").text(), "small");
        }
        // On an idle connection, whose end is heard too.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let next = client.get("web", "/small").await.expect("the next answer");
        assert_eq!(next.text(), "small");
    }
    assert_eq!(upstream.connections(), 1);
    drop(client);
}

/// Nor if that was there before anybody listened for it, and the next request too.
#[tokio::test]
async fn what_stands_behind_a_large_body_that_stalled_answers_nobody() {
    const BODY: usize = 32 << 20;
    let (_gateway, web, listener) = endpoint_by_hand().await;
    let endpoint = tokio::spawn(async move {
        let mut first = true;
        loop {
            let (mut stream, _) = listener.accept().await?;
            let large = std::mem::take(&mut first);
            tokio::spawn(async move {
                let mut seen = Vec::new();
                while !seen.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut seen).await?;
                }
                let mut reply = Vec::new();
                if large {
                    reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").into();
                    reply.extend(pattern(BODY));
                }
                let text = if large { "stray" } else { "fresh" };
                let more = format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{text}");
                reply.extend(more.bytes());
                // At once: a stray answer that comes later than the next request looks like its own.
                stream.write_all(&reply).await?;
                stream.read_to_end(&mut seen).await
            });
        }
        #[expect(unreachable_code, reason = "says what the errors are")]
        Ok::<_, std::io::Error>(())
    });
    let mut client = RawHttp::connect(web).await.expect("connects");
    let get = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    client.send(&get.repeat(2)).await.expect("sent");
    client.read_head().await.expect("a head");
    let mut got = 0;
    for piece in [1 << 20, 3 << 20, BODY - (4 << 20)] {
        tokio::time::sleep(Duration::from_millis(200)).await;
        got += client.read_exact(piece).await.expect("it flows").len();
    }
    assert_eq!(got, BODY);
    assert_eq!(client.read_response().await.expect("next").text(), "fresh");
    endpoint.abort();
}

/// By then the client is not listened to, and nobody goes on with its body.
#[tokio::test]
async fn an_early_answer_ends_an_upload_that_stalls() {
    let (_gateway, web, listener) = endpoint_by_hand().await;
    let (mut reader, mut writer) = client_by_hand(web).await;
    let sending = tokio::spawn(async move {
        let head = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 67108864\r\n\r\n";
        writer.write_all(head.as_bytes()).await?;
        writer.write_all(&pattern(64 << 20)).await
    });
    let (mut endpoint, _) = within(SOON, listener.accept()).await.expect("accepts");
    let mut some = [0; 1000];
    within(SOON, endpoint.read_exact(&mut some))
        .await
        .expect("a head");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    endpoint.write_all(answer).await.expect("answered");
    let mut got = Vec::new();
    while !got.ends_with(b"\r\n\r\nno") {
        let read = within(SOON, reader.read_buf(&mut got)).await;
        assert!(read.expect("an answer") > 0, "cut");
    }
    assert!(got.starts_with(b"HTTP/1.1 403 "));
    // Either all of the body was taken, or its sender was told to stop.
    let _ = within(SOON, sending).await.expect("no panic");
}

#[tokio::test]
async fn what_comes_behind_an_upload_that_stalled_is_heard() {
    const BODY: usize = 32 << 20;
    let (_gateway, web, listener) = endpoint_by_hand().await;
    let (mut reader, mut writer) = client_by_hand(web).await;
    let sending = tokio::spawn(async move {
        let head = format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {BODY}\r\n\r\n");
        writer.write_all(head.as_bytes()).await?;
        writer.write_all(&pattern(BODY)).await?;
        // There before anybody listens for it.
        let next = b"GET /next HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
        writer.write_all(next).await
    });
    let (mut endpoint, _) = within(SOON, listener.accept()).await.expect("accepts");
    let mut seen = Vec::new();
    let end_of_head = |bytes: &[u8]| bytes.windows(4).position(|it| it == b"\r\n\r\n");
    let body = loop {
        within(SOON, endpoint.read_buf(&mut seen))
            .await
            .expect("read");
        if let Some(at) = end_of_head(&seen) {
            break seen.split_off(at + 4);
        }
    };
    let mut got = body;
    while got.len() < BODY {
        if got.len() % 5 == 0 {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        within(SOON, endpoint.read_buf(&mut got))
            .await
            .expect("read");
    }
    assert_eq!(digest(&got), digest(&pattern(BODY)));
    sending.await.expect("no panic").expect("sent");
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    endpoint.write_all(answer).await.expect("answered");
    let mut next = Vec::new();
    while end_of_head(&next).is_none() {
        let read = within(SOON, endpoint.read_buf(&mut next)).await;
        assert!(read.expect("read") > 0, "the same connection carries it");
    }
    assert!(next.starts_with(b"GET /next "));
    endpoint.write_all(answer).await.expect("answered");
    let mut answers = Vec::new();
    within(SOON, reader.read_to_end(&mut answers))
        .await
        .expect("in order");
    let answers = String::from_utf8(answers).expect("text");
    assert_eq!(answers.matches(" 200 OK").count(), 2, "{answers}");
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_still_gets_its_answer() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::text(200, "late").after(Duration::from_millis(150)))
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    client
        .send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi")
        .await
        .expect("sent");
    client.half_close().await.expect("half-closed");
    assert_eq!(
        client.read_response().await.expect("an answer").text(),
        "late"
    );
    assert_eq!(client.read_to_end().await.expect("then closed"), b"");
}

/// HST-1, HST-3, HST-4, HST-5, HST-7, HST-10; an absolute target PS-82.
#[tokio::test]
async fn every_name_of_a_service_finds_it_in_any_letter_case_and_with_any_port() {
    let upstream = HttpUpstream::named("web").start().await;
    let (_gateway, web) = web(&upstream).await;
    // The address the client dials plays no role (LIS-30).
    let anywhere = SocketAddr::from(([127, 0, 0, 1], web.port()));
    let mut client = connect(anywhere).await;
    let names = [
        "web".to_owned(),
        "web.default".to_owned(),
        "web.default.svc".to_owned(),
        "web.default.svc.cluster.local".to_owned(),
        web.ip().to_string(),
    ];
    for name in &names {
        for host in [
            name.clone(),
            name.to_uppercase(),
            format!("{name}:{}", web.port()),
            format!("{name}:1"),
        ] {
            let reply = client.get(&host, "/").await.expect("an answer");
            assert_eq!(reply.status, 200, "{host}");
            assert_eq!(
                reply.json()["host"],
                host.as_str(),
                "Host is passed on as sent (VS-H-60b)"
            );
        }
    }
    for host in [
        "webb",
        "web.other",
        "web.default.svc.cluster.local.evil",
        "",
    ] {
        let reply = client.get(host, "/").await.expect("an answer");
        assert_eq!(reply.status, 404, "{host}");
    }
    // The authority of an absolute target wins over Host (RFC 9112 section 3.2.2).
    client
        .send("GET http://web/p?q HTTP/1.1\r\nHost: nobody\r\n\r\n")
        .await
        .expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(
        (reply.status, reply.json()["host"].as_str()),
        (200, Some("web"))
    );
    assert_eq!(reply.json()["target"], "/p?q");
}

/// PS-80.
#[tokio::test]
async fn a_path_is_routed_and_sent_in_the_one_form_everybody_reads_alike() {
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, upstream.addr())
        + &rules(
            "web",
            "- match: [{uri: {prefix: /admin}}]
  directResponse: {status: 403}
- route: [{destination: {host: web}}]",
        );
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;
    for target in [
        "/admin",
        "/x/../admin",
        "/./admin",
        "/../../admin",
        "/x/%2e%2e/admin",
        "/%61dm%69n",
        "/x/..;/admin",
        "/x/%2e%2e;y=z/admin",
    ] {
        let reply = client.get("web", target).await.expect("an answer");
        assert_eq!(reply.status, 403, "{target}");
    }
    for (target, sent) in [
        ("/a/../b?c=/../d", "/b?c=/../d"),
        ("/../../etc", "/etc"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a/./b/", "/a/b/"),
    ] {
        let reply = client.get("web", target).await.expect("an answer");
        assert_eq!(reply.json()["target"], sent);
    }
}

#[tokio::test]
async fn fields_keep_their_case_and_order_and_those_of_one_hop_end_here() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::raw(
            b"HTTP/1.1 200 Fine By Me\r\nX-B: 1\r\nx-a: 2\r\nConnection: x-private\r\n\
              X-Private: no\r\nKeep-Alive: timeout=5\r\nX-B: 3\r\nSet-Cookie: a=b\r\n\
              Set-Cookie: c=d\r\nContent-Length: 2\r\n\r\nok",
        ))
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    client
        .send(
            "GET /Path%20A?Q=%2f HTTP/1.1\r\nX-Zeta: 1\r\nHost: WeB\r\nx-ALPHA: two words\r\n\
             Connection: keep-alive, X-Secret\r\nX-Secret: hide\r\nKeep-Alive: 300\r\n\
             Proxy-Connection: keep-alive\r\nTE: trailers\r\nX-Zeta: again\r\nX-Empty:\r\n\r\n",
        )
        .await
        .expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(
        (reply.reason.as_str(), reply.text().as_str()),
        ("Fine By Me", "ok")
    );
    let ours = |fields: &[(String, String)], foreign: &[&str]| -> Vec<String> {
        fields
            .iter()
            .filter(|(name, _)| !foreign.iter().any(|it| name.eq_ignore_ascii_case(it)))
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    };
    assert_eq!(
        ours(&reply.fields, &["content-length", "date"]),
        [
            "X-B=1",
            "x-a=2",
            "X-B=3",
            "Set-Cookie=a=b",
            "Set-Cookie=c=d"
        ]
    );
    let seen = upstream.last_seen().expect("a request");
    assert_eq!(
        (seen.host(), seen.target.as_str()),
        ("WeB", "/Path%20A?Q=%2f")
    );
    assert_eq!(
        ours(&seen.fields, &["host", "te", "connection", "x-request-id"]),
        [
            "X-Zeta=1",
            "x-ALPHA=two words",
            "X-Zeta=again",
            "X-Empty=",
            "x-forwarded-proto=http"
        ]
    );
    assert!(!has_token(&seen.fields, "connection", "x-secret"));
}

/// VS-H-61, and BE-110: subsets choose by labels.
#[tokio::test]
async fn weights_divide_requests_and_zero_means_none() {
    let (v1, v2, v3) = (
        HttpUpstream::named("v1").at((fresh_ip(), 0)).start().await,
        HttpUpstream::named("v2").at((fresh_ip(), 0)).start().await,
        HttpUpstream::named("v3").at((fresh_ip(), 0)).start().await,
    );
    let (vip, port) = (fresh_ip(), free_port());
    let endpoints = [(v1.addr(), "v1"), (v2.addr(), "v2"), (v3.addr(), "v3")];
    let text = [
        service("web", vip, port, "http", &endpoints),
        subsets("web", &["v1", "v2", "v3"], "null"),
        rules(
            "web",
            "- route:
  - {destination: {host: web, subset: v1}, weight: 80}
  - {destination: {host: web, subset: v2}, weight: 20}
  - {destination: {host: web, subset: v3}, weight: 0}",
        ),
    ]
    .concat();
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;
    let mut count: HashMap<String, u32> = HashMap::new();
    for _ in 0..1000 {
        let reply = client.get("web", "/").await.expect("an answer");
        *count
            .entry(reply.answered_by().expect("a name"))
            .or_default() += 1;
    }
    // Seven standard deviations of a binomial with 1000 draws at 0.8 are 89.
    let v1 = count.get("v1").copied().unwrap_or_default();
    assert!(v1.abs_diff(800) < 89, "{count:?}");
    assert_eq!(count.get("v3"), None, "{count:?}");
    assert_eq!(v3.requests(), 0);
}

/// VS-H-1, VS-H-9 and the answers of our own: VS-H-125, VS-H-126, VS-H-127.
#[tokio::test]
async fn the_first_rule_that_matches_decides_and_no_rule_is_404() {
    let (v1, v2) = (
        HttpUpstream::named("v1").at((fresh_ip(), 0)).start().await,
        HttpUpstream::named("v2").at((fresh_ip(), 0)).start().await,
    );
    let (vip, port) = (fresh_ip(), free_port());
    let text = [
        service(
            "web",
            vip,
            port,
            "http",
            &[(v1.addr(), "v1"), (v2.addr(), "v2")],
        ),
        subsets("web", &["v1", "v2", "none"], "null"),
        rules(
            "web",
            "- match: [{headers: {end-user: {exact: jason}}}]
  route: [{destination: {host: web, subset: v2}}]
- match: [{uri: {prefix: /empty}}]
  route: [{destination: {host: web, subset: none}}]
- match: [{uri: {prefix: /dangling}}]
  route: [{destination: {host: nobody}}]
- match: [{uri: {exact: /}}, {uri: {prefix: /v1}, method: {exact: POST}}]
  route: [{destination: {host: web, subset: v1}}]",
        ),
    ]
    .concat();
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;
    let jason: &[(&str, &str)] = &[("End-User", "jason")];
    let other: &[(&str, &str)] = &[("end-user", "Jason")];
    for (method, target, fields, expected) in [
        ("GET", "/", jason, Ok("v2")),
        ("GET", "/anything", jason, Ok("v2")),
        ("GET", "/", other, Ok("v1")),
        ("GET", "/v1/x", other, Err(404)),
        ("POST", "/v1/x", other, Ok("v1")),
        ("GET", "/nothing", &[], Err(404)),
        ("GET", "/empty", &[], Err(503)),
        ("GET", "/dangling", &[], Err(503)),
        ("GET", "/", &[], Ok("v1")),
    ] {
        let body = (method == "POST").then_some(&b"x"[..]);
        let reply = client
            .request(method, "web", target, fields, body)
            .await
            .expect("an answer");
        match expected {
            Ok(name) => assert_eq!(
                reply.answered_by().as_deref(),
                Some(name),
                "{method} {target}"
            ),
            Err(status) => assert_eq!(reply.status, status, "{method} {target}"),
        }
    }
}

#[tokio::test]
async fn rules_redirect_answer_rewrite_and_edit_fields() {
    let upstream = HttpUpstream::named("web")
        .otherwise(
            Reply::identity()
                .field("Server", "secret")
                .field("X-Old", "1"),
        )
        .start()
        .await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, upstream.addr())
        + &rules(
            "web",
            "- match: [{uri: {prefix: /old}}]
  redirect: {uri: /new, authority: new.example.com, redirectCode: 308}
- match: [{uri: {prefix: /direct}}]
  directResponse: {status: 418, body: {string: short and stout}}
- match: [{uri: {prefix: /api/}}]
  rewrite: {uri: /, authority: internal}
  headers:
    request:
      set: {x-set: 'yes', X-Both: replaced}
      add: {x-add: more}
      remove: [x-remove]
    response:
      remove: [server]
      set: {x-old: '2'}
      add: {x-new: here}
  route: [{destination: {host: web}}]
- match: [{uri: {prefix: /host}}]
  headers: {request: {set: {host: by-rule}}}
  route: [{destination: {host: web}, headers: {request: {set: {host: by-destination}}}}]
- route: [{destination: {host: web}}]",
        );
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;

    // VS-H-40, VS-H-42, VS-H-49, VS-H-141.
    let reply = client.get("web", "/old/x?q=1").await.expect("an answer");
    assert_eq!(reply.status, 308);
    assert_eq!(reply.text(), "");
    assert_eq!(
        reply.field("location"),
        Some("http://new.example.com/new?q=1")
    );
    assert!(reply.keeps_alive());

    // VS-H-51, VS-H-141.
    let reply = client.get("web", "/direct").await.expect("an answer");
    assert!(reply.keeps_alive());
    assert_eq!(reply.field("content-type"), Some("text/plain"));
    assert_eq!(
        (reply.status, reply.text()),
        (418, "short and stout".to_owned())
    );
    // A body that nobody reads makes the connection useless, but the answer arrives.
    let mut other = connect((vip, port).into()).await;
    let reply = other
        .request("POST", "web", "/direct", &[], Some(b"ignored"))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 418);
    assert_eq!(upstream.requests(), 0, "no backend was asked");

    // VS-H-53, VS-H-58, VS-H-60b, VS-H-100.
    let fields = [
        ("X-Both", "original"),
        ("X-Remove", "1"),
        ("X-Keep", "k"),
        ("x-add", "first"),
    ];
    let reply = client
        .request("GET", "web", "/api/users?id=7", &fields, None)
        .await
        .expect("an answer");
    assert_eq!(reply.field("server"), None);
    assert_eq!(reply.values("x-old").collect::<Vec<_>>(), ["2"]);
    assert_eq!(reply.field("x-new"), Some("here"));
    let seen = upstream.last_seen().expect("a request");
    assert_eq!(
        (seen.target.as_str(), seen.host()),
        ("/users?id=7", "internal")
    );
    let before = seen.field("x-envoy-original-path").expect("told");
    assert!(before.starts_with("/api/users"), "{before}");
    assert_eq!(seen.field("x-set"), Some("yes"));
    assert_eq!(seen.field("x-both"), Some("replaced"));
    assert_eq!(seen.field("x-remove"), None);
    assert_eq!(seen.field("x-keep"), Some("k"));
    let added: Vec<_> = seen
        .fields
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-add"))
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(added, ["first", "more"]);

    // VS-H-103: for the host the rule goes before its destination.
    client.get("web", "/host").await.expect("an answer");
    assert_eq!(upstream.last_seen().expect("a request").host(), "by-rule");

    let plain = client.get("web", "/other").await.expect("an answer");
    assert_eq!(plain.field("server"), Some("secret"));
}

/// VS-H-63, VS-H-133, T-H-96.
#[tokio::test]
async fn a_rule_timeout_is_504_and_the_client_connection_stays() {
    let upstream = HttpUpstream::named("web")
        .on("/hang", Reply::hang())
        .on(
            "/stall",
            Reply::ticking(&["first"], Duration::from_secs(60)),
        )
        .start()
        .await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, upstream.addr())
        + &rules(
            "web",
            "- timeout: 300ms\n  route: [{destination: {host: web}}]",
        );
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;
    let (reply, took) = timed(client.get("web", "/hang")).await;
    let reply = reply.expect("an answer");
    assert_eq!(
        (reply.status, reply.text()),
        (504, "upstream request timeout".to_owned())
    );
    assert!(
        took >= Duration::from_millis(300) && took < Duration::from_secs(5),
        "{took:?}"
    );
    // The connection that never answered is let go, never reused.
    let next = client.get("web", "/").await.expect("an answer");
    assert_eq!(next.json()["connection"], 1);
    // Part of the answer has left: only a visible cut can say that the rest will not come.
    let cut = client.get("web", "/stall").await;
    assert!(cut.is_err(), "{cut:?}");
}

#[tokio::test]
async fn services_with_the_same_endpoint_share_its_connections() {
    let upstream = HttpUpstream::named("both").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text =
        http("one", vip, port, upstream.addr()) + &http("two", fresh_ip(), port, upstream.addr());
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;
    for host in ["one", "two", "one", "two"] {
        assert_eq!(client.get(host, "/").await.expect("an answer").status, 200);
    }
    assert_eq!(upstream.connections(), 1);
}

/// VS-H-130: the answer to what may have been acted on.
#[tokio::test]
async fn a_get_on_a_connection_that_died_in_the_pool_is_sent_again_and_a_post_is_not() {
    let upstream = HttpUpstream::named("web")
        .on("/get", Reply::text(200, "one"))
        .on("/get", Reply::close())
        .on("/get", Reply::text(200, "two"))
        .on("/reset", Reply::text(200, "one"))
        .on("/reset", Reply::reset())
        .on("/reset", Reply::text(200, "two"))
        .on("/post", Reply::text(200, "one"))
        .on("/post", Reply::close())
        .on("/post", Reply::text(200, "never"))
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    for path in ["/get", "/reset"] {
        for expected in ["one", "two"] {
            let reply = client.get("web", path).await.expect("an answer");
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (200, expected),
                "{path}"
            );
        }
    }
    let before = upstream.requests();
    let mut post = async || {
        client
            .request("POST", "web", "/post", &[], Some(b"x"))
            .await
    };
    assert_eq!(post().await.expect("an answer").text(), "one");
    let failed = post().await.expect("an answer");
    assert_eq!(failed.status, 503, "it may have been acted on");
    assert_eq!(upstream.requests(), before + 2, "sent once each");
}

#[tokio::test]
async fn a_connection_the_backend_has_closed_is_never_used_even_for_a_post() {
    let upstream = HttpUpstream::named("web")
        // Answers as if it would stay, then closes: what servers with an idle timeout do.
        .otherwise(Reply::text(200, "ok").then(Reply::close()))
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    for round in 1..=20 {
        let reply = client
            .request("POST", "web", "/", &[], Some(b"x"))
            .await
            .expect("an answer");
        assert_eq!(reply.status, 200, "round {round}");
        eventually(SOON, || async { upstream.open_connections() == 0 }).await;
    }
    assert_eq!(upstream.connections(), 20);
}

/// VS-H-127, VS-H-128, BE-125, T-H-101, T-H-110, T-H-164.
#[tokio::test]
async fn a_backend_that_cannot_be_reached_is_left_out_or_503() {
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let dead = SocketAddr::new(fresh_ip(), free_port());
    let half = service(
        "web",
        vip,
        port,
        "http",
        &[(dead, "v0"), (upstream.addr(), "v0")],
    );
    let none = service("gone", fresh_ip(), port, "http", &[(dead, "v0")]);
    let empty = service("empty", fresh_ip(), port, "http", &[]);
    let _gateway = Gateway::serve(&[half, none, empty].concat()).await;
    let mut client = connect((vip, port).into()).await;
    for _ in 0..20 {
        // Nothing was sent to the dead one, so any request may be tried on the other.
        let reply = client
            .request("POST", "web", "/", &[], Some(b"x"))
            .await
            .expect("an answer");
        assert_eq!(reply.status, 200);
    }
    for (host, text) in [
        ("gone", "connection failure"),
        ("empty", "no healthy upstream"),
    ] {
        let reply = client.get(host, "/").await.expect("an answer");
        assert_eq!(reply.status, 503);
        assert!(reply.text().contains(text), "{}", reply.text());
        assert!(reply.keeps_alive());
    }
}

/// PS-73, T-PS-66.
#[tokio::test]
async fn a_websocket_becomes_a_tunnel() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::upgrade())
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    client
        .send(
            "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await
        .expect("sent");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(
        (reply.status, reply.field("upgrade")),
        (101, Some("websocket"))
    );
    for round in 0..3 {
        let frame = vec![round; 70_000];
        client.send(&frame).await.expect("sent");
        assert!(client.read_exact(frame.len()).await.expect("echoed") == frame);
    }
    client.half_close().await.expect("half-closed");
    assert_eq!(client.read_to_end().await.expect("ends in order"), b"");
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_chunked_and_the_client_stays() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::until_close(b"as long as it takes"))
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    for round in 1..=3 {
        let reply = client.get("web", "/").await.expect("an answer");
        assert_eq!(reply.framing, Framing::Chunked);
        assert_eq!(reply.text(), "as long as it takes");
        assert_eq!(upstream.connections(), round);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_backend_and_costs_no_memory() {
    if !is_alone("a_client_that_does_not_read_stops_the_backend_and_costs_no_memory") {
        return;
    }
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::endless(&[b'x'; 64 * 1024], Duration::ZERO))
        .start()
        .await;
    let (_gateway, web) = web(&upstream).await;
    let mut stuck = Vec::new();
    for _ in 0..8 {
        let mut client = connect(web).await;
        client
            .send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            .await
            .expect("sent");
        stuck.push(client);
    }
    eventually(SOON, || async { upstream.requests() == 8 }).await;
    let before = resident();
    // If nothing held the backend back, a second would bring hundreds of megabytes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = resident().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes more");
    // And it goes on where it stood.
    let client = stuck.first_mut().expect("a client");
    client.read_head().await.expect("a head");
    for _ in 0..500 {
        let chunk = client.read_chunk().await.expect("a chunk").expect("one");
        assert!(chunk.iter().all(|byte| *byte == b'x'));
    }
}

#[tokio::test]
async fn a_backend_is_let_go_when_the_client_that_waits_for_it_resets() {
    let upstream = HttpUpstream::named("web")
        .on(
            "/later",
            Reply::text(200, "later").after(Duration::from_secs(60)),
        )
        .start()
        .await;
    let (gateway, web) = web(&upstream).await;
    let mut client = connect(web).await;
    client
        .send("GET /later HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async { upstream.requests() == 1 }).await;
    gateway
        .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 1.0)
        .await;
    client.reset();
    gateway
        .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 0.0)
        .await;
}

#[tokio::test]
async fn a_last_answer_says_so() {
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, upstream.addr())
        + &rules(
            "web",
            "- match: [{uri: {prefix: /moved}}]
  redirect: {uri: /new}
- route: [{destination: {host: web}}]",
        );
    let mut settings = settings();
    settings.limits.requests_per_connection = 2;
    settings.limits.discarded_body_bytes = 4;
    let _gateway = Gateway::serve_with(settings, &text).await;
    // A body that nobody reads to its end ends the connection, a short one does not (VS-H-51).
    for (body, keeps) in [(&b"12345"[..], false), (b"1234", true), (b"", true)] {
        let mut client = connect((vip, port).into()).await;
        let answer = client
            .request("POST", "web", "/moved", &[], Some(body))
            .await
            .expect("an answer");
        assert_eq!(
            (answer.status, answer.keeps_alive()),
            (301, keeps),
            "{body:?}"
        );
    }
    // Answers of our own count as requests of a connection, too.
    let mut client = connect((vip, port).into()).await;
    assert!(
        client
            .get("web", "/moved")
            .await
            .expect("an answer")
            .keeps_alive()
    );
    assert!(
        !client
            .get("web", "/moved")
            .await
            .expect("an answer")
            .keeps_alive()
    );
}

#[tokio::test]
async fn a_request_that_fills_the_buffer_exactly_leaves_the_connection_idle_not_late() {
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let mut settings = settings();
    settings.timeouts.request_head = written("300ms");
    let gateway = Gateway::serve_with(settings, &http("web", vip, port, upstream.addr())).await;
    let mut client = connect((vip, port).into()).await;
    let head = "GET / HTTP/1.1\r\nHost: web\r\nX-Fill: \r\n\r\n";
    let fill = "x".repeat(16 * 1024 - head.len());
    let request = head.replace("X-Fill: ", &format!("X-Fill: {fill}"));
    assert_eq!(request.len(), 16 * 1024);
    client.send(&request).await.expect("sent");
    assert_eq!(client.read_response().await.expect("an answer").status, 200);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
    drop(gateway);
}

#[tokio::test]
async fn a_slow_endpoint_is_not_blamed_on_the_client_that_uploads_to_it() {
    let upstream = TcpUpstream::start(Behaviour::Stall).await;
    let (vip, port) = (fresh_ip(), free_port());
    let mut settings = settings();
    settings.timeouts.request_body = written("300ms");
    settings.timeouts.response = written("1500ms");
    settings.timeouts.write = written("10s");
    let _gateway = Gateway::serve_with(settings, &http("web", vip, port, upstream.addr())).await;
    let client = tokio::net::TcpStream::connect((vip, port))
        .await
        .expect("connected");
    let (mut reader, mut writer) = client.into_split();
    let flood = tokio::spawn(async move {
        let head = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1000000000\r\n\r\n";
        writer.write_all(head.as_bytes()).await.expect("sent");
        // Until the sockets in between are full, and then nobody reads on.
        while writer.write_all(&[b'x'; 64 * 1024]).await.is_ok() {}
    });
    let mut answer = [0; 12];
    within(SOON, reader.read_exact(&mut answer))
        .await
        .expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 504");
    flood.abort();
}

/// RFC 9110 section 9.3.2: no body is an answer to HEAD, also where it is refused. The log counts the
/// bytes that others get.
#[tokio::test]
async fn a_head_that_is_refused_is_answered_without_a_body() {
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let notes = Notes::default();
    let documents = http("web", vip, port, upstream.addr());
    let _gateway = notes.serve(settings(), &documents).await;
    // Its path is wrong, or its head cannot be read.
    for bad in [
        "/%zz HTTP/1.1\r\nHost: web",
        "/ HTTP/1.1\r\nHost: a\r\nHost: b",
    ] {
        let (stream, own) = dial((vip, port).into()).await;
        let mut client = RawHttp::over(stream);
        client
            .send(format!("HEAD {bad}\r\n\r\n"))
            .await
            .expect("sent");
        let head = client.read_head().await.expect("an answer");
        assert!(head.first_line.contains(" 400 "), "{}", head.first_line);
        assert_eq!(client.read_to_end().await.expect("closed in order"), b"");
        let records = notes.records(own, 1).await;
        assert_eq!(records[0].bytes_sent, 0, "{bad}");
        let (stream, own) = dial((vip, port).into()).await;
        let mut client = RawHttp::over(stream);
        client
            .send(format!("GET {bad}\r\n\r\n"))
            .await
            .expect("sent");
        let answer = client.read_response().await.expect("an answer");
        let records = notes.records(own, 1).await;
        assert_eq!(records[0].bytes_sent, answer.body.len() as u64, "{bad}");
        assert!(!answer.body.is_empty());
    }
    let mut client = FrameClient::begin((vip, port).into())
        .await
        .expect("HTTP/2");
    let head = Frame::headers(1, Block::request("HEAD", "web", "/%zz")).end_stream();
    client.send(&[head]).await;
    assert_eq!(client.fate(1).await, Fate::Status(400));
    assert_eq!(client.answer(1).text(), "");
}

/// A client that always has another request, which the gateway answers itself, keeps nobody waiting for many of
/// them.
#[tokio::test]
async fn pipelined_requests_that_are_answered_here_have_short_turns() {
    const REQUESTS: usize = 1000;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let upstream = HttpUpstream::named("web").start().await;
    let documents = http("web", web.ip(), web.port(), upstream.addr())
        + &rules("web", "- directResponse: {status: 418}");
    let mut settings = settings();
    settings.process.shards = 1;
    let notes = Notes::default();
    let _gateway = notes.serve(settings, &documents).await;
    let ((mut one, its), (mut two, others)) = tokio::join!(dial(web), dial(web));
    let requests = "GET / HTTP/1.1\r\nHost: web\r\n\r\n".repeat(REQUESTS);
    let requests = requests.as_bytes();
    let sent = tokio::join!(one.write_all(requests), two.write_all(requests));
    assert!(sent.0.is_ok() && sent.1.is_ok());
    for client in [its, others] {
        assert_eq!(notes.of(client, REQUESTS).await.len(), REQUESTS);
    }
    let clients = notes.clients();
    let mut turns: Vec<_> = clients.chunk_by(|a, b| a == b).map(<[_]>::len).collect();
    // One of them has the shard to itself at the beginning, and one at the end. Between, each may have two turns.
    turns.sort_unstable();
    let median = turns[turns.len() / 2];
    assert!(median <= 32, "{turns:?}");
}

/// RFC 9112 section 2.2: an empty line behind a body begins no request, and its client is idle: it gets no
/// answer to what it did not ask, and holds up no drain.
#[tokio::test]
async fn an_empty_line_behind_a_body_begins_no_request() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let mut settings = settings();
    settings.timeouts.request_head = written("300ms");
    let documents = http("web", web.ip(), web.port(), upstream.addr());
    let gateway = Gateway::serve_with(settings.clone(), &documents).await;
    let post = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\nabc";
    for (line, later) in [("\r\n", ""), ("", "\r\n")] {
        let mut client = connect(web).await;
        client.send(post.to_owned() + line).await.expect("sent");
        assert_eq!(client.read_response().await.expect("an answer").status, 200);
        client.send(later).await.expect("sent");
        let silence = Duration::from_millis(800);
        let heard = tokio::time::timeout(silence, client.read_exact(1)).await;
        assert!(heard.is_err(), "{heard:?}");
        assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
    }
    // Half of one is not waited for, and nothing to speak of.
    let mut client = connect(web).await;
    client.send(post.to_owned() + "\r").await.expect("sent");
    assert_eq!(client.read_response().await.expect("an answer").status, 200);
    assert_eq!(client.read_to_end().await.expect("closed in order"), b"");
    let hit = [("limit", "timeouts.request_head")];
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("pointsman_limits_hit_total", &hit), 0.0);
    drop(gateway);
    settings.timeouts.request_head = written("60s");
    settings.process.drain_time = written("60s");
    let gateway = Gateway::serve_with(settings, &documents).await;
    let mut client = connect(web).await;
    client.send(post.to_owned() + "\r\n").await.expect("sent");
    assert_eq!(client.read_response().await.expect("an answer").status, 200);
    let drained = tokio::task::spawn_blocking(move || drop(gateway));
    within(SOON, drained).await.expect("no panic");
}
