//! The scripted HTTP/2 upstream and the client, each against the other.
use std::time::Duration;

use pointsman_testkit::{
    Http2Client, Http2Error, Http2Reply, Http2Request, Http2Upstream, eventually, grpc, within,
};

const MOMENT: Duration = Duration::from_secs(10);

async fn pair(upstream: &Http2Upstream) -> Http2Client {
    Http2Client::connect(upstream.addr())
        .await
        .expect("the upstream listens")
}

#[tokio::test]
async fn what_was_asked_is_remembered_and_what_was_scripted_answered() {
    let upstream = Http2Upstream::named("v1")
        .on("/echo", Http2Reply::echo_body())
        .on(
            "/once",
            Http2Reply::text(503, "not yet").interim(103, &[("link", "</a>")]),
        )
        .on("/once", Http2Reply::text(200, "now"))
        .start()
        .await;
    let mut client = pair(&upstream).await;
    let first = client.get("reviews", "/once?a=b").await.expect("answered");
    assert_eq!((first.status, first.text()), (503, "not yet"));
    assert_eq!(
        first.interim,
        [(103, vec![("link".to_owned(), "</a>".to_owned())])]
    );
    let second = client.get("reviews", "/once").await.expect("answered");
    assert_eq!(second.text(), "now");

    let body = vec![b'x'; 300_000];
    let post = Http2Request::post("reviews:80", "/echo")
        .field("X-A", "b")
        .piece(&body)
        .piece(b"end")
        .trailers(&[("x-sum", "1")]);
    let echoed = within(MOMENT, client.exchange(post)).await.expect("echoed");
    assert_eq!(echoed.body.len(), 300_003);
    assert_eq!(echoed.trailer("x-sum"), Some("1"));
    let seen = upstream.last_seen().expect("a whole request");
    assert_eq!((&*seen.method, &*seen.path), ("POST", "/echo"));
    assert_eq!(seen.authority.as_deref(), Some("reviews:80"));
    assert_eq!((seen.field("x-a"), seen.body.len()), (Some("b"), 300_003));
    assert_eq!((upstream.requests(), upstream.connections()), (3, 1));
    assert!(upstream.errors().is_empty());
}

#[tokio::test]
async fn streams_and_connections_end_as_scripted() {
    let upstream = Http2Upstream::named("v1")
        .on("/reset", Http2Reply::reset(7))
        .on("/late", Http2Reply::head(200).data(b"a").then_reset(2))
        .on("/away", Http2Reply::text(200, "last").then_go_away())
        .on("/abort", Http2Reply::hang())
        .start()
        .await;
    let mut client = pair(&upstream).await;
    let refused = client.get("a", "/reset").await;
    assert_eq!(refused, Err(Http2Error::Reset(7)));
    let cut = client.get("a", "/late").await;
    assert_eq!(cut, Err(Http2Error::Reset(2)));
    let last = client.get("a", "/away").await.expect("answered");
    assert_eq!(last.text(), "last");
    within(MOMENT, client.ended()).await.expect("in order");

    upstream.set("/abort", Http2Reply::head(200).then_abort(11));
    let mut client = pair(&upstream).await;
    assert!(client.get("a", "/abort").await.is_err());
    // A close with bytes unread resets the connection, which may overtake the GOAWAY.
    let ended = within(MOMENT, client.ended()).await;
    assert!(
        matches!(ended, Err(Http2Error::GoAway(11) | Http2Error::Closed(_))),
        "{ended:?}"
    );
    upstream.set("/abort", Http2Reply::head(200).then_drop());
    let mut client = pair(&upstream).await;
    assert!(matches!(
        client.get("a", "/abort").await,
        Err(Http2Error::Closed(_))
    ));
    let mut client = pair(&upstream).await;
    client.get("a", "/").await.expect("answered");
    upstream.go_away();
    within(MOMENT, client.ended()).await.expect("in order");
}

#[tokio::test]
async fn a_reset_and_a_stalled_reader_are_seen_on_the_other_side() {
    let upstream = Http2Upstream::named("v1")
        .on("/hang", Http2Reply::hang())
        .on("/shut", Http2Reply::hang().never_reads())
        .start()
        .await;
    let mut client = pair(&upstream).await;
    let hanging = Http2Request::post("a", "/hang");
    let mut stream = client.begin(&hanging, false).await.expect("begun");
    eventually(MOMENT, async || upstream.requests() == 1).await;
    stream.reset(8);
    eventually(MOMENT, async || {
        upstream.resets() == [("/hang".to_owned(), Some(8))]
    })
    .await;
    let shut = Http2Request::post("a", "/shut");
    let mut stream = client.begin(&shut, false).await.expect("begun");
    stream.send(&[0; 65_535], false).await.expect("the window");
    let more = tokio::time::timeout(Duration::from_millis(100), stream.send(b"x", false)).await;
    assert!(more.is_err(), "the window is used up");
}

#[tokio::test]
async fn a_grpc_service_has_every_kind_of_method() {
    let upstream = grpc::echo_service("v1").start().await;
    let mut client = pair(&upstream).await;
    let mut call = async |method: &str, messages: &[&[u8]]| {
        let call = Http2Request::grpc("a", &format!("/test.Echo/{method}"), messages);
        within(MOMENT, client.exchange(call))
            .await
            .expect("a reply")
    };
    let unary = call("Unary", &[b"hello"]).await;
    assert_eq!(unary.messages(), [b"hello"]);
    assert_eq!(unary.grpc_status(), Some(0));
    let many = call("ServerStream", &[b"3"]).await;
    assert_eq!(many.messages(), [b"0", b"1", b"2"]);
    let summed = call("ClientStream", &[b"ab", b"c"]).await;
    assert_eq!(summed.messages(), [b"2 messages, 3 bytes"]);
    let failed = call("Fail", &[]).await;
    assert_eq!(
        (failed.grpc_status(), failed.messages().len()),
        (Some(5), 1)
    );
    let refused = call("Refuse", &[]).await;
    assert_eq!((refused.grpc_status(), refused.trailers), (Some(7), None));
}

#[tokio::test]
async fn both_directions_of_a_call_are_open_at_the_same_time() {
    let upstream = grpc::echo_service("v1").start().await;
    let mut client = pair(&upstream).await;
    let call = Http2Request::grpc("a", "/test.Echo/Bidi", &[]);
    let mut stream = client.begin(&call, false).await.expect("begun");
    for text in [&b"one"[..], b"two"] {
        let message = grpc::message(text);
        stream.send(&message, false).await.expect("sent");
        let echoed = within(MOMENT, stream.piece()).await.expect("open");
        assert_eq!(echoed.as_deref(), Some(&*message));
    }
    stream.send(b"", true).await.expect("ended");
    let end = within(MOMENT, stream.rest()).await.expect("ended");
    assert_eq!((end.grpc_status(), end.body.len()), (Some(0), 0));
}
