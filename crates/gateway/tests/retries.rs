//! What is tried again, how often, where, and that nothing else is (VS-H-63, VS-H-70..79c).
mod common;

use common::*;
use pointsman_testkit::{
    Http2Client, Http2Reply, Http2Request, Http2Upstream, HttpUpstream, RawHttp, eventually,
    frames::{Block, Event, Fate, Frame, FrameClient, FrameUpstream},
    free_port, fresh_ip,
    http::Reply,
};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

const REQUESTS: &str = "istio_requests_total";
const RETRIES: &str = "pointsman_retries_total";

/// A service `web` with these endpoints whose rules send each path to it with these retries.
fn retried(at: SocketAddr, endpoints: &[SocketAddr], rules: &[(&str, &str)]) -> String {
    let list: String = rules
        .iter()
        .map(|(path, fields)| {
            format!(
                "- match: [{{uri: {{exact: {path}}}}}]\n  route: [{{destination: {{host: web}}}}]\n  {fields}\n"
            )
        })
        .collect();
    [
        service("web", at.ip(), at.port(), "http", &plain(endpoints)),
        common::rules(
            "web",
            &format!("{list}- route: [{{destination: {{host: web}}}}]"),
        ),
    ]
    .concat()
}

fn fresh() -> SocketAddr {
    SocketAddr::new(fresh_ip(), free_port())
}

/// How often a path was asked for.
fn tries(upstream: &HttpUpstream, path: &str) -> usize {
    upstream
        .seen()
        .iter()
        .filter(|it| it.path() == path)
        .count()
}

async fn flagged(gateway: &Gateway, code: &str, flags: &str, count: f64) {
    let labels = [("response_code", code), ("response_flags", flags)];
    gateway
        .metrics_until(|it| it.sum(REQUESTS, &labels) == count)
        .await;
}

#[tokio::test]
async fn responses_are_tried_again_as_the_rule_says() {
    let grpc = |status: &str| {
        Reply::text(200, "")
            .field("content-type", "application/grpc")
            .field("grpc-status", status)
    };
    let late = Reply::chunked(&["data"]).trailer("grpc-status", "14");
    let down = || Reply::text(503, "down");
    // Path, retries, replies one after the other, what the client gets, tries.
    let cases = [
        (
            "/listed",
            "{attempts: 2, retryOn: '503'}",
            vec![down(), Reply::text(200, "up")],
            200,
            2,
        ),
        // VS-H-74, VS-H-138, VS-H-79b: the last response is passed on.
        (
            "/used-up",
            "{attempts: 2, retryOn: '503'}",
            vec![down()],
            503,
            3,
        ),
        (
            "/other",
            "{attempts: 2, retryOn: gateway-error}",
            vec![Reply::text(500, "")],
            500,
            1,
        ),
        (
            "/any",
            "{attempts: 3, retryOn: 5xx}",
            vec![Reply::text(500, ""), down(), Reply::text(201, "")],
            201,
            3,
        ),
        (
            "/conflict",
            "{attempts: 1, retryOn: retriable-4xx}",
            vec![Reply::text(409, ""), Reply::text(200, "")],
            200,
            2,
        ),
        (
            "/absent",
            "{attempts: 1, retryOn: retriable-4xx}",
            vec![Reply::text(404, "")],
            404,
            1,
        ),
        // A status in the head of a response; in trailers it comes too late.
        (
            "/grpc",
            "{attempts: 2, retryOn: unavailable}",
            vec![grpc("14"), grpc("0")],
            200,
            2,
        ),
        (
            "/trailers",
            "{attempts: 2, retryOn: unavailable}",
            vec![late],
            200,
            1,
        ),
        // VS-H-79: only our own overflow is final.
        (
            "/full",
            "{attempts: 2, retryOn: 5xx}",
            vec![
                down().field("x-envoy-overloaded", "true"),
                Reply::text(200, ""),
            ],
            200,
            2,
        ),
        (
            "/limited",
            "{attempts: 2, retryOn: envoy-ratelimited}",
            vec![
                Reply::text(429, "").field("x-envoy-ratelimited", "true"),
                Reply::text(200, ""),
            ],
            200,
            2,
        ),
        // VS-H-72, VS-H-79c: no response at all.
        ("/none", "{attempts: 0}", vec![Reply::close()], 503, 1),
        (
            "/closed",
            "{attempts: 1, retryOn: reset}",
            vec![Reply::close(), Reply::text(200, "")],
            200,
            2,
        ),
        (
            "/reset",
            "{attempts: 1, retryOn: gateway-error}",
            vec![Reply::reset(), Reply::text(200, "")],
            200,
            2,
        ),
        (
            "/garbage",
            "{attempts: 1, retryOn: reset}",
            vec![Reply::raw(b"HTTP/1.1 2x0 ?\r\n\r\n"), Reply::text(200, "")],
            200,
            2,
        ),
        // VS-H-79: the head is out.
        (
            "/interim",
            "{attempts: 2, retryOn: 5xx}",
            vec![down().preceded_by(b"HTTP/1.1 103 Early Hints\r\n\r\n")],
            503,
            1,
        ),
        // VS-H-70, VS-H-71: nobody wrote what to repeat.
        ("/unsaid", "{attempts: 2}", vec![down()], 503, 1),
        (
            "/unsaid-reset",
            "{attempts: 2}",
            vec![Reply::reset()],
            503,
            1,
        ),
        ("/default", "", vec![down()], 503, 1),
    ];
    let mut web = HttpUpstream::named("web");
    let mut rules = Vec::new();
    for (path, retries, replies, ..) in &cases {
        for reply in replies {
            web = web.on(path, reply.clone());
        }
        if !retries.is_empty() {
            rules.push((*path, format!("retries: {retries}")));
        }
    }
    let web = web.start().await;
    let rules: Vec<_> = rules
        .iter()
        .map(|(path, fields)| (*path, &**fields))
        .collect();
    let at = fresh();
    let gateway = Gateway::serve(&retried(at, &[web.addr()], &rules)).await;
    let mut client = connect(at).await;
    for (path, _, _, status, expected) in &cases {
        // A GET that finds its pooled connection closed is sent again without counting as a try.
        let method = match *path {
            "/none" | "/closed" | "/reset" | "/unsaid-reset" => "POST",
            _ => "GET",
        };
        let reply = client.request(method, "web", path, &[], None).await;
        let reply = reply.expect(path);
        assert_eq!(reply.status, *status, "{path}");
        assert_eq!(tries(&web, path), *expected, "{path}");
        if *path == "/used-up" {
            assert_eq!(reply.text(), "down", "the backend's own answer");
        }
        assert!(reply.keeps_alive(), "{path}");
    }
    flagged(&gateway, "503", "URX", 1.0).await;
    let outcome = |name| [("outcome", name)];
    gateway
        .metrics_until(|it| {
            // /listed 1, /used-up 2, /any 2, and one each of seven more.
            it.sum(RETRIES, &outcome("made")) == 12.0
                && it.sum(RETRIES, &outcome("used_up")) == 1.0
                && it.sum(RETRIES, &outcome("body_not_kept")) == 1.0
        })
        .await;
}

#[tokio::test]
async fn who_refuses_is_passed_over_for_another_endpoint() {
    // VS-H-70, VS-H-77: whatever the request, since nothing was sent.
    let good = HttpUpstream::named("good").start().await;
    let (at, dead) = (fresh(), fresh());
    let gateway = Gateway::serve(&service(
        "web",
        at.ip(),
        at.port(),
        "http",
        &plain(&[dead, good.addr()]),
    ))
    .await;
    let mut client = connect(at).await;
    for number in 0..40 {
        let method = ["GET", "POST"][number % 2];
        let reply = client.request(method, "web", "/", &[], Some(b"body")).await;
        assert_eq!(reply.expect("an answer").status, 200);
    }
    assert_eq!(good.requests(), 40, "each of them once");
    gateway
        .metrics_until(|it| it.sum(RETRIES, &[("outcome", "made")]) > 0.0)
        .await;
}

#[tokio::test]
async fn when_all_refuse_the_client_is_told_after_the_last_try() {
    // VS-H-70, VS-H-73, VS-H-128, VS-H-72.
    let at = fresh();
    let text = retried(
        at,
        &[fresh(), fresh()],
        &[("/once", "retries: {attempts: 0}")],
    );
    let gateway = Gateway::serve(&text).await;
    let mut client = connect(at).await;
    for path in ["/", "/once"] {
        let reply = client.get("web", path).await.expect("an answer");
        assert_eq!(reply.status, 503);
        assert!(
            reply.text().contains("connection failure"),
            "{}",
            reply.text()
        );
    }
    flagged(&gateway, "503", "URX,UF", 1.0).await;
    flagged(&gateway, "503", "UF", 1.0).await;
    gateway
        .metrics_until(|it| it.sum(RETRIES, &[("outcome", "made")]) == 2.0)
        .await;
}

#[tokio::test]
async fn another_endpoint_comes_first_unless_the_rule_says_otherwise() {
    // VS-H-77
    let bad = HttpUpstream::named("bad")
        .at(fresh())
        .otherwise(Reply::text(500, ""))
        .start()
        .await;
    let good = HttpUpstream::named("good").at(fresh()).start().await;
    let at = fresh();
    let text = retried(
        at,
        &[bad.addr(), good.addr()],
        &[
            (
                "/other",
                "retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}",
            ),
            (
                "/any",
                "retries: {attempts: 1, retryOn: 5xx, backoff: 1ms, retryIgnorePreviousHosts: false}",
            ),
        ],
    );
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect(at).await;
    let mut failed = 0;
    for _ in 0..60 {
        assert_eq!(
            client.get("web", "/other").await.expect("an answer").status,
            200
        );
        failed += usize::from(client.get("web", "/any").await.expect("an answer").status == 500);
    }
    assert!(
        failed > 0,
        "the same endpoint was never drawn twice in 60 times"
    );
}

#[tokio::test]
async fn a_body_is_sent_again_if_all_of_it_was_kept() {
    // VS-H-79
    let web = HttpUpstream::named("web")
        .otherwise(Reply::text(503, ""))
        .start()
        .await;
    let reset = HttpUpstream::named("reset")
        .otherwise(Reply::reset())
        .start()
        .await;
    let (at, other) = (fresh(), fresh());
    let mut settings = settings();
    settings.limits.retry_body_bytes = 20_000;
    let said = "retries: {attempts: 1, retryOn: '5xx', backoff: 1ms}";
    let text = [
        retried(
            at,
            &[web.addr()],
            &[("/said", said), ("/unsaid", "retries: {attempts: 3}")],
        ),
        http("api", other.ip(), other.port(), reset.addr()),
        rules(
            "api",
            &format!("- route: [{{destination: {{host: api}}}}]\n  {said}"),
        ),
    ]
    .concat();
    let gateway = Gateway::serve_with(settings, &text).await;
    // Small bodies come with the head; larger ones are kept; beyond the limit there is one try.
    for (length, expected) in [(0, 2), (1_000, 2), (15_000, 2), (100_000, 1)] {
        let body = pattern(length);
        for chunked in [false, true] {
            let mut client = connect(at).await;
            let before = web.requests();
            let reply = if chunked {
                let mut bytes =
                    b"POST /said HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n"
                        .to_vec();
                for chunk in body.chunks(700) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(b"0\r\n\r\n");
                client.send(bytes).await.expect("sent");
                client.read_response().await
            } else {
                client
                    .request("POST", "web", "/said", &[], Some(&body))
                    .await
            };
            let what = format!("{length} bytes, chunked: {chunked}");
            assert_eq!(reply.expect("an answer").status, 503, "{what}");
            let seen = web.seen().split_off(before);
            assert_eq!(seen.len(), expected, "{what}");
            for one in seen {
                assert_eq!(digest(&one.body), digest(&body), "{what}");
            }
        }
    }
    // Nothing but the rule's word has a POST done twice.
    let before = web.requests();
    let mut client = connect(at).await;
    let reply = client
        .request("POST", "web", "/unsaid", &[], Some(b"order"))
        .await;
    assert_eq!(reply.expect("an answer").status, 503);
    assert_eq!(web.requests(), before + 1);
    // The endpoint goes away in the middle.
    let mut client = connect(other).await;
    let reply = client
        .request("POST", "api", "/", &[], Some(&pattern(15_000)))
        .await;
    assert_eq!(reply.expect("an answer").status, 503);
    assert_eq!(reset.connections(), 2);
    gateway
        .metrics_until(|it| it.sum(RETRIES, &[("outcome", "body_not_kept")]) == 2.0)
        .await;
}

#[tokio::test]
async fn a_try_has_its_own_time_and_all_share_that_of_the_rule() {
    // VS-H-63, VS-H-75
    let web = HttpUpstream::named("web")
        .on("/recovers", Reply::hang())
        .on("/recovers", Reply::text(200, "up"))
        .on(
            "/slow-body",
            Reply::ticking(&["a", "b", "c"], Duration::from_millis(150)),
        )
        .otherwise(Reply::hang())
        .start()
        .await;
    let at = fresh();
    let text = retried(
        at,
        &[web.addr()],
        &[
            (
                "/recovers",
                "retries: {attempts: 1, retryOn: reset, perTryTimeout: 200ms}",
            ),
            (
                "/never",
                "timeout: 2s\n  retries: {attempts: 3, retryOn: 5xx, perTryTimeout: 800ms, backoff: 1ms}",
            ),
            (
                "/unsaid",
                "retries: {attempts: 3, retryOn: connect-failure, perTryTimeout: 200ms}",
            ),
            (
                "/slow-body",
                "retries: {attempts: 1, retryOn: reset, perTryTimeout: 200ms}",
            ),
        ],
    );
    let gateway = Gateway::serve(&text).await;
    let mut client = connect(at).await;
    assert_eq!(
        client
            .get("web", "/recovers")
            .await
            .expect("an answer")
            .status,
        200
    );
    assert_eq!(tries(&web, "/recovers"), 2);

    let (reply, took) = timed(client.get("web", "/never")).await;
    let reply = reply.expect("an answer");
    assert_eq!(
        (reply.status, &*reply.text()),
        (504, "upstream request timeout")
    );
    assert!((2.0..3.2).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(tries(&web, "/never"), 3);

    let (reply, took) = timed(client.get("web", "/unsaid")).await;
    assert_eq!(reply.expect("an answer").status, 504);
    assert!((0.2..5.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(tries(&web, "/unsaid"), 1);
    flagged(&gateway, "504", "UT", 2.0).await;

    // The time of a try ends where its response begins.
    let reply = client.get("web", "/slow-body").await.expect("an answer");
    assert_eq!((reply.status, &*reply.text()), (200, "abc"));
}

#[tokio::test]
async fn tries_are_apart_by_the_backoff() {
    // VS-H-76: below 1, 3 and 7 times the base; on average half of it.
    let web = HttpUpstream::named("web")
        .otherwise(Reply::text(503, ""))
        .start()
        .await;
    let at = fresh();
    let rule = ("/", "retries: {attempts: 3, retryOn: 5xx, backoff: 100ms}");
    let _gateway = Gateway::serve(&retried(at, &[web.addr()], &[rule])).await;
    let mut client = connect(at).await;
    let mut all = Duration::ZERO;
    for _ in 0..6 {
        let (reply, took) = timed(client.get("web", "/")).await;
        assert_eq!(reply.expect("an answer").status, 503);
        all += took;
    }
    // Together, so that one of them may be late: 3.3 s on average, half a second more or less.
    assert!((0.6..5.5).contains(&all.as_secs_f64()), "{all:?}");
}

#[tokio::test]
async fn who_is_gone_is_not_tried_again_for() {
    let web = HttpUpstream::named("web")
        .otherwise(Reply::text(503, ""))
        .start()
        .await;
    let at = fresh();
    // Random below 100 hours.
    let rule = "retries: {attempts: 1, retryOn: 5xx, backoff: 100h}";
    let gateway = Gateway::serve(&retried(at, &[web.addr()], &[("/", rule)])).await;
    let mut client = connect(at).await;
    let request = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    client.send(request).await.expect("sent");
    eventually(SOON, || async { web.requests() == 1 }).await;
    client.reset();
    flagged(&gateway, "0", "DC", 1.0).await;
    assert_eq!(web.requests(), 1);
}

#[tokio::test]
async fn quick_tries_end_with_their_client() {
    // VS-H-136: no try and no pause takes so long that anybody would look.
    let web = HttpUpstream::named("web")
        .otherwise(Reply::text(503, ""))
        .start()
        .await;
    let at = fresh();
    let rule = "retries: {attempts: 100000000, retryOn: 5xx, backoff: 1ms}";
    let mut settings = settings();
    settings.timeouts.half_closed = written("600ms");
    let manifest = retried(at, &[web.addr()], &[("/", rule)]);
    let gateway = Gateway::serve_with(settings, &manifest).await;
    let request = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
    let mut client = connect(at).await;
    client.send(request).await.expect("sent");
    eventually(SOON, || async { web.requests() > 20 }).await;
    client.reset();
    flagged(&gateway, "0", "DC", 1.0).await;
    // One that has only ended its side may still read, for a while.
    let before = web.requests();
    let mut client = connect(at).await;
    client.send(request).await.expect("sent");
    eventually(SOON, || async { web.requests() > before + 20 }).await;
    client.half_close().await.expect("ended");
    flagged(&gateway, "0", "DC", 2.0).await;
}

#[tokio::test]
async fn a_retried_request_is_copied_once() {
    // VS-H-39: mirroring happens before the first try.
    let web = HttpUpstream::named("web")
        .otherwise(Reply::text(503, ""))
        .start()
        .await;
    let mirror = HttpUpstream::named("mirror").start().await;
    let (at, copy) = (fresh(), fresh());
    let rule = "retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}\n  mirror: {host: mirror}";
    let text = [
        retried(at, &[web.addr()], &[("/copied", rule)]),
        http("mirror", copy.ip(), copy.port(), mirror.addr()),
    ]
    .concat()
    .replace(
        "{host: mirror}",
        &format!("{{host: mirror, port: {{number: {}}}}}", copy.port()),
    );
    let gateway = Gateway::serve(&text).await;
    for length in [0, 15_000] {
        let body = pattern(length);
        let mut client = connect(at).await;
        let before = mirror.requests();
        let reply = client
            .request("POST", "web", "/copied", &[], Some(&body))
            .await;
        assert_eq!(reply.expect("an answer").status, 503);
        gateway
            .metrics_until(|it| {
                it.sum("pointsman_mirrors_total", &[("outcome", "answered")]) == (before + 1) as f64
            })
            .await;
        assert_eq!(mirror.requests(), before + 1);
        let copied = mirror.last_seen().expect("one").body;
        assert_eq!(digest(&copied), digest(&body));
    }
    assert_eq!(tries(&web, "/copied"), 6);
}

#[tokio::test]
async fn repetitions_are_a_share_of_what_is_under_way() {
    // BE-69, BE-75, VS-H-79: what is not tried again is flagged UO.
    let (at, other) = (fresh(), fresh());
    let slow = || Reply::text(503, "").after(Duration::from_millis(400));
    let web = HttpUpstream::named("web").otherwise(slow()).start().await;
    let api = HttpUpstream::named("api").otherwise(slow()).start().await;
    let retries = "retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}";
    let text = [
        retried(at, &[web.addr()], &[("/", retries)]),
        subsets("web", &[], "{connectionPool: {http: {maxRetries: 2}}}"),
        http("api", other.ip(), other.port(), api.addr()),
        rules(
            "api",
            &format!("- route: [{{destination: {{host: api}}}}]\n  {retries}"),
        ),
    ]
    .concat();
    let gateway = Gateway::serve(&text).await;
    let many = async |at, host: &'static str| {
        let tasks: Vec<_> = (0..12)
            .map(|_| tokio::spawn(async move { get(at, host, "/").await.0 }))
            .collect();
        for task in tasks {
            assert_eq!(task.await.expect("ends"), 503);
        }
    };
    many(at, "web").await;
    assert_eq!(web.requests(), 12 + 2);
    flagged(&gateway, "503", "UO", 10.0).await;
    flagged(&gateway, "503", "URX", 2.0).await;
    // Nothing written: 20 percent of what is under way on each of the two shards, and three at
    // least.
    many(other, "api").await;
    let repeated = api.requests() - 12;
    assert!((3..=6).contains(&repeated), "{repeated}");
    let limit = |name| [("limit", name)];
    gateway
        .metrics_until(|it| {
            it.sum("pointsman_limits_hit_total", &limit("maxRetries")) == 10.0
                && it.sum("pointsman_limits_hit_total", &limit("retryBudget"))
                    == (12 - repeated) as f64
        })
        .await;
}

#[tokio::test]
async fn an_upgrade_is_tried_again_like_anything_else() {
    let web = HttpUpstream::named("web")
        .on("/ws", Reply::text(503, ""))
        .on("/ws", Reply::upgrade())
        .start()
        .await;
    let at = fresh();
    let rule = ("/ws", "retries: {attempts: 1, retryOn: 5xx, backoff: 1ms}");
    let _gateway = Gateway::serve(&retried(at, &[web.addr()], &[rule])).await;
    let mut client: RawHttp = connect(at).await;
    client
        .send("GET /ws HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await
        .expect("sent");
    let head = client.read_head().await.expect("a head");
    assert!(head.first_line.contains(" 101 "), "{}", head.first_line);
    client.send("through").await.expect("sent");
    assert_eq!(client.read_exact(7).await.expect("echoed"), b"through");
}

#[tokio::test]
async fn a_believed_client_says_how_long_and_how_often() {
    // VS-H-64, T-H-99: a captured client is believed.
    let web = HttpUpstream::named("web")
        .on("/hang", Reply::hang())
        .on(
            "/late",
            Reply::text(200, "").after(Duration::from_millis(300)),
        )
        .on("/call", Reply::text(200, "").field("grpc-status", "13"))
        .otherwise(Reply::text(503, ""))
        .start()
        .await;
    let at = fresh();
    let rules = [
        ("/late", "timeout: 50ms"),
        ("/said", "retries: {attempts: 3, retryOn: reset}"),
        ("/never", "retries: {attempts: 0}"),
        ("/often", "retries: {attempts: 1, backoff: 1ms}"),
        (
            "/oftener",
            "retries: {attempts: 40, retryOn: 5xx, backoff: 1ms}",
        ),
    ];
    let _gateway = Gateway::serve(&retried(at, &[web.addr()], &rules)).await;
    let timeout = "x-envoy-upstream-rq-timeout-ms";
    let each = "X-Envoy-Upstream-Rq-Per-Try-Timeout-Ms";
    let (times, what) = ("x-envoy-max-retries", "x-envoy-retry-on");
    let (calls, codes) = ("X-Envoy-Retry-Grpc-On", "X-Envoy-Retriable-Status-Codes");
    for (path, fields, status, expected) in [
        ("/hang", &[(timeout, "200")][..], 504, 1),
        ("/late", &[], 504, 1),
        ("/late", &[(timeout, "5000")], 200, 1),
        ("/late", &[(timeout, "0")], 200, 1),
        ("/other", &[], 503, 1),
        ("/other", &[(what, "5xx")], 503, 3),
        ("/other", &[(what, "503"), (times, "1")], 503, 2),
        ("/other", &[(times, "5")], 503, 1),
        ("/often", &[(what, "5xx"), (times, "4000000000")], 503, 26),
        ("/oftener", &[(times, "4000000000")], 503, 41),
        ("/oftener", &[(times, "2")], 503, 3),
        ("/never", &[(what, "gateway-error")], 503, 2),
        ("/other", &[(codes, "404, 503")], 503, 3),
        ("/said", &[(codes, "503")], 503, 1),
        (
            "/said",
            &[(codes, "503"), (what, "retriable-status-codes")],
            503,
            4,
        ),
        ("/call", &[(calls, "unavailable")], 200, 1),
        ("/call", &[(calls, "5xx,internal"), (times, "1")], 200, 2),
        ("/other", &[(calls, "5xx")], 503, 1),
        (
            "/hang",
            &[(what, "reset"), (times, "1"), (each, "100")],
            504,
            2,
        ),
        (
            "/other",
            &[(timeout, "soon"), (times, "-1"), (what, "whatever")],
            503,
            1,
        ),
    ] {
        let before = web.requests();
        let mut client = connect(at).await;
        let reply = client.request("GET", "web", path, fields, None).await;
        assert_eq!(
            reply.expect("an answer").status,
            status,
            "{path} {fields:?}"
        );
        assert_eq!(web.requests() - before, expected, "{path} {fields:?}");
        // What was acted upon is not for the next proxy to act upon again.
        let seen = web.last_seen().expect("one");
        let rest = seen.fields.iter().find(|(name, _)| {
            let mut wishes = fields.iter();
            wishes.any(|(wish, _)| name.eq_ignore_ascii_case(wish))
        });
        assert_eq!(rest, None, "{path} {fields:?}");
    }
}

#[tokio::test]
async fn a_call_has_the_time_its_caller_gives_it() {
    // VS-H-65
    let web = HttpUpstream::named("web")
        .otherwise(Reply::hang())
        .start()
        .await;
    let at = fresh();
    let set = "timeout: 200ms\n  headers: {request: {set: {Grpc-Timeout: 8S}}}";
    let rules = [("/s/short", "timeout: 200ms"), ("/s/set", set)];
    let _gateway = Gateway::serve(&retried(at, &[web.addr()], &rules)).await;
    for (path, said, code, told) in [
        ("/s/free", "150m", "4", "150m"),
        ("/s/short", "150m", "4", "150m"),
        // The rule gives less, which the endpoint is told, and it is not the caller's measure.
        ("/s/short", "9S", "14", "200000u"),
        // Nothing else is told beside that, whoever says it.
        ("/s/short", "8S 9S", "14", "200000u"),
        ("/s/set", "9S", "14", "200000u"),
    ] {
        let mut client = connect(at).await;
        let mut fields = vec![("content-type", "application/grpc")];
        fields.extend(said.split(' ').map(|said| ("grpc-timeout", said)));
        let (reply, took) = timed(client.request("POST", "web", path, &fields, Some(b""))).await;
        let reply = reply.expect("an answer");
        assert_eq!(
            (reply.status, reply.field("grpc-status")),
            (200, Some(code)),
            "{path} {said}"
        );
        assert!((0.15..1.5).contains(&took.as_secs_f64()), "{took:?}");
        let seen = web.last_seen().expect("one");
        let timeouts: Vec<_> = seen
            .fields
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("grpc-timeout"))
            .collect();
        assert_eq!(timeouts.len(), 1, "{path} {said}");
        let number = |text: &str| {
            text.trim_end_matches(char::is_alphabetic)
                .parse::<u64>()
                .ok()
        };
        match told {
            "200000u" => {
                let text = &*timeouts[0].1;
                assert!(!["8S", "9S"].contains(&text) && number(text).is_some());
            }
            told => assert_eq!(timeouts[0].1, told),
        }
    }
    // Not a call: nothing is read into the field.
    let mut client = connect(at).await;
    client
        .send("GET /s/free HTTP/1.1\r\nHost: web\r\ngrpc-timeout: 1m\r\n\r\n")
        .await
        .expect("sent");
    let wait = tokio::time::timeout(Duration::from_millis(400), client.read_response());
    assert!(wait.await.is_err(), "it has no deadline");
}

#[tokio::test]
async fn calls_of_http2_are_tried_again_with_their_bodies() {
    // VS-H-79c: whatever either side speaks; a body in pieces is kept like any other.
    let reply = |status: &str| {
        Reply::text(200, "")
            .field("content-type", "application/grpc")
            .field("grpc-status", status)
    };
    let web = HttpUpstream::named("web")
        .on("/s/m", reply("14"))
        .on("/s/m", reply("0"))
        .start()
        .await;
    let at = fresh();
    let rule = (
        "/s/m",
        "retries: {attempts: 2, retryOn: unavailable, backoff: 1ms}",
    );
    let calls = Http2Upstream::named("calls")
        .on("/s/m", Http2Reply::grpc_trailers_only(14, "busy"))
        .on("/s/m", Http2Reply::grpc_trailers_only(0, ""))
        .on("/s/m", Http2Reply::grpc_trailers_only(14, "busy"))
        .on("/s/m", Http2Reply::grpc_trailers_only(0, ""))
        .start()
        .await;
    let to_calls = fresh();
    let text = [
        retried(at, &[web.addr()], &[rule]),
        service(
            "calls",
            to_calls.ip(),
            to_calls.port(),
            "grpc",
            &plain(&[calls.addr()]),
        ),
        rules(
            "calls",
            &format!("- route: [{{destination: {{host: calls}}}}]\n  {}", rule.1),
        ),
    ]
    .concat();
    let _gateway = Gateway::serve(&text).await;
    let body = pattern(20_000);
    for (at, host) in [(at, "web"), (to_calls, "calls")] {
        let mut client = Http2Client::connect(at).await.expect("connects");
        let request = Http2Request::post(host, "/s/m").field("content-type", "application/grpc");
        let request = body.chunks(6_000).fold(request, Http2Request::piece);
        let reply = client.exchange(request).await.expect("an answer");
        assert_eq!(
            (reply.status, reply.grpc_status()),
            (200, Some(0)),
            "{host}"
        );
    }
    // From HTTP/1 to HTTP/2.
    let mut client = connect(to_calls).await;
    let kind = [("content-type", "application/grpc")];
    let reply = client
        .request("POST", "calls", "/s/m", &kind, Some(&body))
        .await;
    assert_eq!(reply.expect("an answer").status, 200);
    assert_eq!((web.requests(), calls.requests()), (2, 4));
    let bodies = web.seen().into_iter().map(|it| it.body);
    for one in bodies.chain(calls.seen().into_iter().map(|it| it.body)) {
        assert_eq!(digest(&one), digest(&body));
    }
}

/// `web` at an endpoint of HTTP/2 that answers everything but what it drops its connection for: `/drop` always,
/// `/stale` if that was answered on before, `/once` if it is the first, and `/slow` not at all on that.
async fn dropping() -> FrameUpstream {
    FrameUpstream::start(|mut peer, connection| async move {
        peer.accept(&[]).await?;
        for number in 0.. {
            let asked = peer.request().await?;
            match asked.field(":path") {
                Some("/drop") => break,
                Some("/stale") if number > 0 => break,
                Some("/once") if connection == 0 => break,
                Some("/slow") if connection == 0 => {}
                _ => peer.answer(asked.stream, 200, b"ok").await?,
            }
        }
        Ok(())
    })
    .await
}

fn asked(upstream: &FrameUpstream, path: &str) -> usize {
    let asked = upstream.asked();
    let of = asked.iter().filter(|it| it.field(":path") == Some(path));
    of.count()
}

/// `web` speaks HTTP/2, and its requests have these retries.
fn http2(at: SocketAddr, endpoint: SocketAddr, retries: &str) -> String {
    let rule = format!("- route: [{{destination: {{host: web}}}}]\n  retries: {retries}");
    let web = service("web", at.ip(), at.port(), "http2", &plain(&[endpoint]));
    [web, rules("web", &rule)].concat()
}

#[tokio::test]
async fn an_idle_connection_of_http2_that_was_closed_counts_as_no_try() {
    // VS-H-75: a time for each try changes nothing about it.
    for retries in ["{attempts: 0}", "{attempts: 1, perTryTimeout: 5s}"] {
        let web = dropping().await;
        let at = fresh();
        let mut settings = settings();
        settings.process.shards = 1;
        let _gateway = Gateway::serve_with(settings, &http2(at, web.addr(), retries)).await;
        let mut client = Http2Client::connect(at).await.expect("connects");
        for path in ["/first", "/stale"] {
            let reply = client.get("web", path).await.expect("an answer");
            assert_eq!(reply.status, 200, "{path} with {retries}");
        }
        assert_eq!((asked(&web, "/stale"), web.connections()), (2, 2));
        // Nor is it sent on and on: the connection was idle once more, and the next one is new.
        let reply = client.get("web", "/drop").await.expect("an answer");
        assert_eq!((reply.status, asked(&web, "/drop")), (503, 2), "{retries}");
    }
}

/// An endpoint of HTTP/2 that reads a request to its end, and the first time for each path refuses it: by a reset, or a
/// GOAWAY that leaves it out (`/away`). Then it answers with the body.
async fn refusing() -> FrameUpstream {
    let had = Arc::new(Mutex::new(Vec::new()));
    FrameUpstream::start(move |mut peer, _| {
        let had = had.clone();
        async move {
            peer.accept(&[]).await?;
            loop {
                let asked = peer.request().await?;
                let mut body = Vec::new();
                let mut ended = asked.ended;
                while !ended {
                    if let Event::Data { bytes, end, .. } = peer.event().await? {
                        body.extend(bytes);
                        ended = end;
                    }
                }
                if let Ok(taken @ 1..) = body.len().try_into() {
                    peer.send(&[Frame::window_update(0, taken)]).await?;
                }
                let path = asked.field(":path").unwrap_or_default().to_owned();
                let first = {
                    let mut had = had.lock().expect("not poisoned");
                    let first = !had.contains(&path);
                    had.push(path.clone());
                    first
                };
                match &*path {
                    "/away" if first => {
                        peer.send(&[Frame::goaway(0, 0, b"")]).await?;
                        return peer.drain().await;
                    }
                    _ if first => peer.send(&[Frame::reset(asked.stream, 7)]).await?,
                    _ => peer.answer(asked.stream, 200, &body).await?,
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_refused_stream_is_tried_again_with_its_body_without_a_word_of_the_rule() {
    // VS-H-70, VS-H-79: as far as the body was kept.
    let web = refusing().await;
    let at = fresh();
    let mut settings = settings();
    settings.process.shards = 1;
    settings.limits.retry_body_bytes = 10_000;
    let text = service("web", at.ip(), at.port(), "grpc", &plain(&[web.addr()]));
    let gateway = Gateway::serve_with(settings, &text).await;
    let mut client = Http2Client::connect(at).await.expect("connects");
    for (path, pieces) in [
        ("/away", vec![5]),
        ("/one", vec![10_000]),
        ("/small", vec![1, 2, 3, 4, 5]),
        ("/mixed", vec![100, 5_000, 200, 300, 4_400]),
    ] {
        let body = pattern(pieces.iter().sum());
        let mut stream = client
            .begin(&Http2Request::post("web", path), false)
            .await
            .expect("begins");
        let mut rest = &*body;
        for (number, length) in pieces.iter().enumerate() {
            let piece = rest.split_off(..*length).expect("there is as much");
            let last = number + 1 == pieces.len();
            stream.send(piece, last).await.expect("sent");
            tokio::task::yield_now().await;
        }
        assert_eq!(stream.status().await.expect("an answer"), 200, "{path}");
        let reply = stream.rest().await.expect("an answer");
        assert_eq!(digest(&reply.body), digest(&body), "{path}");
        assert_eq!(asked(&web, path), 2, "{path}");
    }
    // From HTTP/1 to HTTP/2.
    let mut client = connect(at).await;
    let body = pattern(6_000);
    let reply = client.request("POST", "web", "/1", &[], Some(&body)).await;
    let reply = reply.expect("an answer");
    assert_eq!((reply.status, digest(&reply.body)), (200, digest(&body)));
    // Beyond what is kept, of a length that is told or not.
    let chunks = b"POST /4 HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n2711\r\n";
    let chunked = [chunks, &*pattern(10_001), b"\r\n0\r\n\r\n"].concat();
    let sized = b"POST /3 HTTP/1.1\r\nHost: web\r\nContent-Length: 10001\r\n\r\n";
    let sized = [sized, &*pattern(10_001)].concat();
    for (number, (path, request)) in [("/3", sized), ("/4", chunked)].into_iter().enumerate() {
        client.send(request).await.expect("sent");
        let reply = client.read_response().await.expect("an answer");
        assert_eq!((reply.status, asked(&web, path)), (503, 1), "{path}");
        let outcome = [("outcome", "body_not_kept")];
        let lost = (number + 1) as f64;
        gateway
            .metrics_until(|it| it.sum(RETRIES, &outcome) == lost)
            .await;
        client = connect(at).await;
    }
}

#[tokio::test]
async fn a_burst_on_an_idle_connection_of_http2_that_was_closed_counts_as_no_try() {
    let web = dropping().await;
    let at = fresh();
    let mut settings = settings();
    settings.process.shards = 1;
    let _gateway = Gateway::serve_with(settings, &http2(at, web.addr(), "{attempts: 0}")).await;
    let mut client = FrameClient::begin(at).await.expect("connects");
    let ask = |stream, path| {
        let block = Block::request("GET", "web", path);
        Frame::headers(stream, block.bytes()).end_stream()
    };
    client.send(&[ask(1, "/first")]).await;
    assert_eq!(client.fate(1).await, Fate::Status(200));
    let burst: Vec<_> = (1..=5).map(|it| 2 * it + 1).collect();
    let frames: Vec<_> = burst.iter().map(|it| ask(*it, "/once")).collect();
    client.send(&frames).await;
    for stream in burst {
        assert_eq!(client.fate(stream).await, Fate::Status(200));
    }
    assert_eq!(web.connections(), 2);
}

#[tokio::test]
async fn who_was_not_alone_on_a_connection_of_http2_is_not_sent_again() {
    let web = dropping().await;
    let at = fresh();
    let mut settings = settings();
    settings.process.shards = 1;
    let _gateway = Gateway::serve_with(settings, &http2(at, web.addr(), "{attempts: 0}")).await;
    let mut client = Http2Client::connect(at).await.expect("connects");
    assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
    let slow = tokio::spawn(async move { client.get("web", "/slow").await });
    eventually(SOON, || async { asked(&web, "/slow") == 1 }).await;
    assert_eq!(get(at, "web", "/drop").await.0, 503);
    assert_eq!(asked(&web, "/drop"), 1);
    // The one that came first may have met a connection that was closed already.
    let slow = slow.await.expect("ends").expect("an answer");
    assert_eq!((slow.status, asked(&web, "/slow")), (200, 2));
}

#[tokio::test]
async fn what_an_endpoint_of_http2_reads_and_drops_is_sent_once() {
    const REQUESTS: usize = 40;
    let web = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        // All that comes in one burst.
        loop {
            let next = tokio::time::timeout(Duration::from_millis(50), peer.request());
            match next.await {
                Ok(asked) => drop(asked?),
                Err(_) => return Ok(()),
            }
        }
    })
    .await;
    let at = fresh();
    let mut settings = settings();
    settings.process.shards = 1;
    let _gateway = Gateway::serve_with(settings, &http2(at, web.addr(), "{attempts: 0}")).await;
    let mut client = Http2Client::connect(at).await.expect("connects");
    let mut streams = Vec::new();
    for _ in 0..REQUESTS {
        let stream = client.begin(&Http2Request::get("web", "/"), true).await;
        streams.push(stream.expect("begins"));
    }
    for mut stream in streams {
        assert_eq!(stream.status().await.expect("an answer"), 503);
    }
    assert!(web.asked().len() <= REQUESTS, "{}", web.asked().len());
}

/// `timeouts.connection_age`: the response behind it is the last one.
#[tokio::test]
async fn a_client_connection_ends_by_its_age() {
    let web = HttpUpstream::named("web").start().await;
    let at = fresh();
    let mut settings = settings();
    settings.timeouts.connection_age = written("800ms");
    let text = http("web", at.ip(), at.port(), web.addr());
    let _gateway = Gateway::serve_with(settings, &text).await;
    let mut client = connect(at).await;
    assert!(
        client
            .get("web", "/")
            .await
            .expect("an answer")
            .keeps_alive()
    );
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(
        !client
            .get("web", "/")
            .await
            .expect("an answer")
            .keeps_alive()
    );
    assert!(client.read_to_end().await.expect("its end").is_empty());
}
