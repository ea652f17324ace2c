//! What DestinationRules allow the connections to endpoints that speak HTTP/2 (BE-60..74); those of
//! HTTP/1 are in `connection_pool.rs`.
mod common;

use common::{pools::*, *};
use pointsman_testkit::{
    Http2Reply, Http2Upstream, eventually,
    frames::{Event, FrameUpstream},
};
use std::time::Duration;

fn one_shard() -> pointsman_gateway::Settings {
    let mut settings = settings();
    settings.process.shards = 1;
    settings
}

async fn upstream(streams: u32, delay: u64) -> Http2Upstream {
    Http2Upstream::named("web")
        .at(fresh())
        .streams(streams)
        .otherwise(Http2Reply::text(200, "ok").after(Duration::from_millis(delay)))
        .start()
        .await
}

#[tokio::test]
async fn connections_are_counted_and_requests_wait_for_streams() {
    // BE-60
    let web = upstream(1, 20).await;
    let at = fresh();
    let text = pooled(at, "http2", &[web.addr()], "{tcp: {maxConnections: 2}}");
    let _gateway = Gateway::serve_with(one_shard(), &text).await;
    assert_eq!(at_once(at, 20).await, [200; 20]);
    assert_eq!((web.requests(), web.connections()), (20, 2));
}

#[tokio::test]
async fn every_pool_may_have_one_connection() {
    // BE-60: one for each endpoint, whatever the number; who waits has somebody to wait for.
    let (one, two) = (upstream(1, 20).await, upstream(1, 20).await);
    let at = fresh();
    let text = pooled(
        at,
        "http2",
        &[one.addr(), two.addr()],
        "{tcp: {maxConnections: 1}}",
    );
    let _gateway = Gateway::serve_with(one_shard(), &text).await;
    assert_eq!(at_once(at, 20).await, [200; 20]);
    assert_eq!(one.requests() + two.requests(), 20);
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

#[tokio::test]
async fn beyond_those_who_may_wait_a_request_is_refused() {
    // BE-66, VS-H-79: and not tried again.
    let web = upstream(1, 400).await;
    let at = fresh();
    let pool = "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}";
    let retries = "- route: [{destination: {host: web}}]\n  retries: {attempts: 3, retryOn: 5xx}";
    let text = [
        pooled(at, "http2", &[web.addr()], pool),
        rules("web", retries),
    ]
    .concat();
    let gateway = Gateway::serve_with(one_shard(), &text).await;
    let first = tokio::spawn(async move { get(at, "web", "/").await.0 });
    eventually(SOON, || async { web.requests() == 1 }).await;
    assert_eq!(at_once(at, 5).await, [200, 503, 503, 503, 503]);
    assert_eq!(first.await.expect("ends"), 200);
    assert_eq!(web.requests(), 2);
    hit(&gateway, "http1MaxPendingRequests", 4.0).await;
    let labels = [("response_code", "503"), ("response_flags", "UO")];
    gateway
        .metrics_until(|it| it.sum("istio_requests_total", &labels) == 4.0)
        .await;
}

#[tokio::test]
async fn waiting_for_a_connection_ends() {
    let web = upstream(1, 0).await;
    web.set("/hang", Http2Reply::hang());
    let at = fresh();
    let mut settings = one_shard();
    settings.timeouts.pending = written("300ms");
    let text = pooled(at, "http2", &[web.addr()], "{tcp: {maxConnections: 1}}");
    let gateway = Gateway::serve_with(settings, &text).await;
    let mut holder = connect(at).await;
    holder
        .send("GET /hang HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async { web.requests() == 1 }).await;
    let ((status, _), took) = timed(get(at, "web", "/")).await;
    assert_eq!(status, 503);
    assert!((0.3..5.0).contains(&took.as_secs_f64()), "{took:?}");
    hit(&gateway, "timeouts.pending", 1.0).await;
    holder.reset();
    eventually(SOON, || async { get(at, "web", "/").await.0 == 200 }).await;
    assert_eq!(web.connections(), 1);
}

#[tokio::test]
async fn streams_of_a_connection_are_as_many_as_the_policy_says() {
    // BE-71: fewer or more than `http2.endpoint_streams`.
    let mut settings = one_shard();
    settings.http2.endpoint_streams = 4;
    for (pool, streams, connections) in [
        ("{http: {maxConcurrentStreams: 2}}", 2, 6),
        ("{http: {maxConcurrentStreams: 12}}", 12, 1),
        ("{http: {maxRetries: 9}}", 4, 3),
    ] {
        let web = upstream(100, 300).await;
        let at = fresh();
        let text = pooled(at, "http2", &[web.addr()], pool);
        let _gateway = Gateway::serve_with(settings.clone(), &text).await;
        // The pool knows how many streams a connection has once there was one.
        assert_eq!(get(at, "web", "/").await.0, 200);
        assert_eq!(at_once(at, 12).await, [200; 12]);
        assert!(
            web.most_streams() <= streams,
            "{pool}: {}",
            web.most_streams()
        );
        // One more may be opened while others are being opened.
        let opened = web.connections();
        assert!(
            (connections..=connections + 2).contains(&opened),
            "{pool}: {opened}"
        );
    }
}

#[tokio::test]
async fn connections_end_by_their_age_and_streams_do_not() {
    // BE-63
    let web = upstream(100, 0).await;
    let slow = Http2Reply::text(200, "slow").after(Duration::from_secs(3));
    web.set("/slow", slow);
    let at = fresh();
    let text = pooled(
        at,
        "http2",
        &[web.addr()],
        "{tcp: {maxConnectionDuration: 1s}}",
    );
    let _gateway = Gateway::serve_with(one_shard(), &text).await;
    let slow = tokio::spawn(async move { get(at, "web", "/slow").await });
    eventually(SOON, || async { web.requests() == 1 }).await;
    assert_eq!(get(at, "web", "/").await.0, 200);
    assert_eq!(web.connections(), 1);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(get(at, "web", "/").await.0, 200);
    assert_eq!(web.connections(), 2);
    let (status, text) = slow.await.expect("ends");
    assert_eq!((status, &*text), (200, "slow"));
    // The old one had nothing more to wait for.
    eventually(SOON, || async { web.open_connections() == 1 }).await;
    assert!(web.errors().is_empty(), "{:?}", web.errors());
}

#[tokio::test]
async fn an_endpoint_that_answers_no_ping_is_left() {
    // BE-74
    let pool = "{http: {http2KeepAlive: {interval: 50ms, timeout: 200ms}}}";
    let dead = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        peer.request().await?;
        peer.ignore_settings_and_pings();
        peer.drain().await
    })
    .await;
    let at = fresh();
    let gateway =
        Gateway::serve_with(one_shard(), &pooled(at, "http2", &[dead.addr()], pool)).await;
    let ((status, _), took) = timed(get(at, "web", "/")).await;
    assert_eq!(status, 503);
    assert!((0.2..5.0).contains(&took.as_secs_f64()), "{took:?}");
    hit(&gateway, "http2KeepAlive", 1.0).await;
    eventually(SOON, || async { dead.open_connections() == 0 }).await;

    // One that answers is kept, also while nothing is asked of it.
    let pings = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = pings.clone();
    let alive = FrameUpstream::start(move |mut peer, _| {
        let pings = counted.clone();
        async move {
            peer.accept(&[]).await?;
            loop {
                match peer.event().await? {
                    Event::Ping(_) => {
                        pings.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    }
                    Event::Headers { stream, .. } => peer.answer(stream, 200, b"ok").await?,
                    _ => {}
                }
            }
        }
    })
    .await;
    let at = fresh();
    gateway
        .apply(&pooled(at, "http2", &[alive.addr()], pool))
        .await;
    assert_eq!(get(at, "web", "/").await.0, 200);
    let seen = || pings.load(std::sync::atomic::Ordering::SeqCst);
    eventually(SOON, || async { seen() >= 5 }).await;
    assert_eq!(get(at, "web", "/").await.0, 200);
    assert_eq!(alive.connections(), 1);
}
