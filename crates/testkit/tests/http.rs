//! The scripted upstream and the raw client, against each other.

use std::time::{Duration, Instant};

use pointsman_testkit::message::{Framing, MessageError};
use pointsman_testkit::{HttpUpstream, RawHttp, Reply, eventually};

const SOON: Duration = Duration::from_secs(10);

/// An upstream whose one path `/x` has this script, and a connection to it.
async fn scripted(reply: Reply) -> (HttpUpstream, RawHttp) {
    let upstream = HttpUpstream::named("v1").on("/x", reply).start().await;
    let client = RawHttp::connect(upstream.addr()).await.expect("connects");
    (upstream, client)
}

#[tokio::test]
async fn identity_tells_the_request() {
    let upstream = HttpUpstream::named("v1").start().await;
    let mut client = RawHttp::connect(upstream.addr()).await.expect("connects");
    let fields = [("X-One", "1")];
    let response = client
        .request("POST", "a.test:80", "/p?q=1", &fields, Some(b"hello"))
        .await
        .expect("answers");
    let json = response.json();
    assert_eq!(response.answered_by().as_deref(), Some("v1"));
    assert_eq!(
        (&json["method"], &json["path"]),
        (&"POST".into(), &"/p".into())
    );
    assert_eq!(
        (&json["host"], &json["body_bytes"]),
        (&"a.test:80".into(), &5.into())
    );
    assert_eq!(json["headers"][1], serde_json::json!(["X-One", "1"]));
    let seen = upstream.last_seen().expect("one request");
    assert_eq!(
        (seen.target.as_str(), seen.body.as_slice()),
        ("/p?q=1", &b"hello"[..])
    );
    assert!(
        seen.raw_head
            .starts_with(b"POST /p?q=1 HTTP/1.1\r\nHost: a.test:80\r\n")
    );

    assert!(
        client
            .get("b", "/")
            .await
            .expect("same connection")
            .keeps_alive()
    );
    assert_eq!((upstream.requests(), upstream.connections()), (2, 1));
    drop(client);
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
}

#[tokio::test]
async fn replies_are_used_in_order_and_can_be_replaced() {
    let upstream = HttpUpstream::named("v1")
        .on("/x", Reply::text(503, "a"))
        .on("/x", Reply::text(200, "b"))
        .otherwise(Reply::text(404, ""))
        .start()
        .await;
    let mut client = RawHttp::connect(upstream.addr()).await.expect("connects");
    let mut statuses = Vec::new();
    for target in ["/x", "/x?y", "/x", "/other"] {
        statuses.push(client.get("h", target).await.expect("answers").status);
    }
    assert_eq!(statuses, [503, 200, 200, 404]);
    upstream.set("/x", Reply::sized(3).status(201));
    let response = client.get("h", "/x").await.expect("answers");
    assert_eq!((response.status, response.text().as_str()), (201, "xxx"));
}

#[tokio::test]
async fn chunks_trailers_interim_and_echo() {
    let reply = Reply::chunked(&["ab", "c"])
        .trailer("Sum", "3")
        .field("X", "y")
        .preceded_by(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n");
    let (_upstream, mut client) = scripted(reply).await;
    let response = client.get("h", "/x").await.expect("answers");
    assert_eq!(
        (response.framing, response.text().as_str()),
        (Framing::Chunked, "abc")
    );
    assert_eq!(
        (response.chunks.as_slice(), response.field("x")),
        (&[2, 1][..], Some("y"))
    );
    assert_eq!(response.trailers, [("Sum".to_owned(), "3".to_owned())]);
    assert_eq!(response.interim.len(), 1);
    let head = client
        .request("HEAD", "h", "/x", &[], None)
        .await
        .expect("answers");
    assert!(head.body.is_empty());

    let (upstream, mut client) = scripted(Reply::echo_body()).await;
    let request = "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\
        Expect: 100-continue\r\n\r\n2\r\nhi\r\n0\r\nT: u\r\n\r\n";
    client.send(request).await.expect("open");
    let response = client.read_response().await.expect("answers");
    assert_eq!(
        (response.text().as_str(), response.interim.len()),
        ("hi", 1)
    );
    assert_eq!(upstream.last_seen().expect("seen").trailers.len(), 1);
}

#[tokio::test]
async fn failures_are_seen_as_what_they_are() {
    let (_upstream, mut client) = scripted(Reply::cut(10, 3)).await;
    assert!(matches!(
        client.get("h", "/x").await,
        Err(MessageError::Truncated { what: "body", got }) if got == b"xxx"
    ));
    let (_upstream, mut client) = scripted(Reply::cut_chunked()).await;
    assert!(matches!(
        client.get("h", "/x").await,
        Err(MessageError::Truncated { .. })
    ));
    let (_upstream, mut client) = scripted(Reply::close()).await;
    assert!(matches!(
        client.get("h", "/x").await,
        Err(MessageError::Truncated { what: "response", got }) if got.is_empty()
    ));
    let (_upstream, mut client) = scripted(Reply::reset()).await;
    assert!(matches!(
        client.get("h", "/x").await,
        Err(MessageError::Io(_))
    ));
    let both = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (_upstream, mut client) = scripted(Reply::raw(both)).await;
    assert!(matches!(
        client.get("h", "/x").await,
        Err(MessageError::Malformed(_))
    ));
    let (_upstream, client) = scripted(Reply::hang()).await;
    let mut client = client.with_deadline(Duration::from_millis(50));
    assert!(matches!(
        client.get("h", "/x").await,
        Err(MessageError::TimedOut)
    ));
}

#[tokio::test]
async fn pace_and_closing() {
    let (_upstream, mut client) = scripted(Reply::endless(b"tick", Duration::from_millis(1))).await;
    client
        .send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .expect("open");
    client.read_head().await.expect("answers");
    for _ in 0..5 {
        assert_eq!(
            client.read_chunk().await.expect("ticks").as_deref(),
            Some(&b"tick"[..])
        );
    }

    let slow = Reply::text(200, "abc").dribbled(10, Duration::from_millis(2));
    let (upstream, mut client) = scripted(slow.after(Duration::from_millis(30)).closing()).await;
    let start = Instant::now();
    let response = client.get("h", "/x").await.expect("answers");
    assert!(start.elapsed() >= Duration::from_millis(40));
    assert_eq!(
        (response.text().as_str(), response.keeps_alive()),
        ("abc", false)
    );
    assert_eq!(client.read_to_end().await.expect("closed"), b"");
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;

    let (_upstream, mut client) = scripted(Reply::until_close(b"rest")).await;
    assert_eq!(
        client.get("h", "/x").await.expect("answers").framing,
        Framing::UntilClose
    );
}

#[tokio::test]
async fn upgrade_echoes_raw_bytes() {
    let (_upstream, mut client) = scripted(Reply::upgrade()).await;
    let request = "GET /x HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\n\
        Upgrade: websocket\r\n\r\n\x01early";
    client.send(request).await.expect("open");
    let response = client.read_response().await.expect("answers");
    assert_eq!(
        (response.status, response.field("upgrade")),
        (101, Some("websocket"))
    );
    client.send(b"\x02more").await.expect("open");
    assert_eq!(
        client.read_exact(11).await.expect("echo"),
        b"\x01early\x02more"
    );
    let (_upstream, mut client) = scripted(Reply::upgrade()).await;
    assert_eq!(client.get("h", "/x").await.expect("answers").status, 426);
}

#[tokio::test]
async fn early_answers_and_malformed_requests() {
    let (upstream, mut client) = scripted(Reply::text(413, "no").early()).await;
    client
        .send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n")
        .await
        .expect("open");
    assert_eq!(
        client
            .read_response()
            .await
            .expect("before the body")
            .status,
        413
    );
    assert!(upstream.seen().is_empty());
    client.send("abc").await.expect("open");
    eventually(SOON, || async { upstream.seen().len() == 1 }).await;

    client
        .send("GET  /x HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .expect("open");
    assert_eq!(client.read_response().await.expect("answers").status, 400);
    assert_eq!(upstream.malformed().len(), 1);
}
