//! What rules do to requests over real sockets: faults, CORS, mirrors, path substitution, made
//! header values, and answers of the gateway's own.
mod common;

use common::{
    pairs::{Ask, Speaks, ask},
    *,
};
use pointsman_gateway::Gateway as Facade;
use pointsman_sdk::{AccessRecord, Sink};
use pointsman_testkit::{Http2Upstream, HttpUpstream, Reply, eventually, free_port, fresh_ip};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The service `web` with these rules, and where to dial it.
async fn web(upstream: &HttpUpstream, http_rules: &str) -> (Gateway, SocketAddr) {
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, upstream.addr()) + &rules("web", http_rules);
    let gateway = Gateway::serve(&text).await;
    let findings = gateway.findings().await;
    assert!(
        findings.iter().all(|it| it["level"] != "error"),
        "{findings:?}"
    );
    (gateway, SocketAddr::new(vip, port))
}

/// An upstream that says what it got.
async fn identity() -> HttpUpstream {
    HttpUpstream::named("web").start().await
}

const TO_WEB: &str = "route: [{destination: {host: web}}]";

/// VS-H-83, VS-H-84, T-H-120: the backend is not asked, and the connection goes on.
#[tokio::test]
async fn an_abort_is_answered_without_asking_the_backend() {
    let upstream = identity().await;
    let (_gateway, web) = web(
        &upstream,
        &format!(
            "- fault: {{abort: {{httpStatus: 503, percentage: {{value: 100}}}}}}\n  \
               retries: {{attempts: 3, retryOn: 5xx}}\n  \
               headers: {{response: {{set: {{x-rule: r}}}}}}\n  {TO_WEB}\n"
        ),
    )
    .await;
    let mut client = connect(web).await;
    for method in ["GET", "POST", "HEAD"] {
        let body = (method == "POST").then_some(&b"abc"[..]);
        let reply = client
            .request(method, "web", "/", &[], body)
            .await
            .expect("an answer");
        assert_eq!(reply.status, 503);
        assert_eq!(reply.field("content-type"), Some("text/plain"));
        assert_eq!(reply.field("content-length"), Some("18"));
        assert_eq!(reply.field("x-rule"), Some("r")); // VS-H-106
        let expected = if method == "HEAD" {
            ""
        } else {
            "fault filter abort"
        };
        assert_eq!(reply.text(), expected);
        assert!(reply.keeps_alive());
    }
    assert_eq!(upstream.requests(), 0);
}

/// VS-H-83, T-H-124.
#[tokio::test]
async fn a_grpc_abort_is_200_with_the_status_in_a_field() {
    let upstream = identity().await;
    let (_gateway, web) = web(
        &upstream,
        &format!("- fault: {{abort: {{grpcStatus: UNAVAILABLE, percentage: {{value: 100}}}}}}\n  {TO_WEB}\n"),
    )
    .await;
    let mut client = connect(web).await;
    let call = [("content-type", "application/grpc")];
    let reply = client.request("POST", "web", "/", &call, Some(b"")).await;
    let reply = reply.expect("an answer");
    assert_eq!(
        (reply.status, reply.field("grpc-status")),
        (200, Some("14"))
    );
    assert_eq!(reply.field("grpc-message"), Some("fault filter abort"));
    assert_eq!(reply.field("content-type"), Some("application/grpc"));
    // Others are not told in words that are not theirs.
    let reply = client.get("web", "/").await.expect("an answer");
    assert_eq!((reply.status, &*reply.text()), (200, "fault filter abort"));
    assert_eq!(reply.field("content-type"), Some("text/plain"));
    assert_eq!(reply.field("grpc-status"), None);
    assert_eq!(upstream.requests(), 0);
}

/// VS-H-106: the operations of the rule, and of the destination that was drawn, over either version of HTTP.
#[tokio::test]
async fn an_abort_has_the_fields_of_its_rule() {
    let upstream = identity().await;
    let (_gateway, web) = web(
        &upstream,
        "- fault: {abort: {httpStatus: 503, percentage: {value: 100}}}\n  \
           headers: {response: {set: {x-code: '%RESPONSE_CODE% %RESPONSE_FLAGS%', content-type: text/html}}}\n  \
           route: [{destination: {host: web}, headers: {response: {add: {x-to: web}}}}]\n",
    )
    .await;
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let got = ask(speaks, web, "web", &Ask::new("GET", "/")).await;
        let got = got.expect("an answer");
        assert_eq!((got.status, &*got.text()), (503, "fault filter abort"));
        assert_eq!(got.field("x-code"), Some("503 FI"));
        assert_eq!(got.field("x-to"), Some("web"));
        assert_eq!(got.field("content-type"), Some("text/html"));
    }
}

/// VS-H-80, VS-H-81, T-H-121: without a percentage nothing is injected.
#[tokio::test]
async fn a_fault_without_a_percentage_injects_nothing() {
    let upstream = identity().await;
    let (_gateway, web) = web(
        &upstream,
        &format!(
            "- fault: {{abort: {{httpStatus: 503}}, delay: {{fixedDelay: 60s}}}}\n  {TO_WEB}\n"
        ),
    )
    .await;
    assert_eq!(get(web, "web", "/").await.0, 200);
}

/// VS-H-80, VS-H-84, T-H-122, T-H-123: the timeout begins behind the delay, and the answer is
/// neither early nor late.
#[tokio::test]
async fn a_delay_is_not_part_of_the_timeout() {
    let upstream = HttpUpstream::named("web")
        .on("/slow", Reply::text(200, "late").after(SOON))
        .start()
        .await;
    let (_gateway, web) = web(
        &upstream,
        &format!("- fault: {{delay: {{fixedDelay: 700ms, percentage: {{value: 100}}}}}}\n  timeout: 400ms\n  {TO_WEB}\n"),
    )
    .await;
    let mut client = connect(web).await;
    let (reply, took) = timed(client.get("web", "/")).await;
    assert_eq!(reply.expect("an answer").status, 200);
    assert!(took >= Duration::from_millis(700), "{took:?}");
    assert!(took < Duration::from_millis(700) + SOON / 4, "{took:?}");
    let (reply, took) = timed(client.get("web", "/slow")).await;
    assert_eq!(reply.expect("an answer").status, 504);
    assert!(took >= Duration::from_millis(1100), "{took:?}");
}

/// VS-H-82: a request drawn for both is delayed, then aborted.
#[tokio::test]
async fn a_request_can_be_delayed_and_aborted() {
    let upstream = identity().await;
    let (_gateway, web) = web(
        &upstream,
        &format!(
            "- fault:\n    delay: {{fixedDelay: 300ms, percentage: {{value: 100}}}}\n    \
             abort: {{httpStatus: 418, percentage: {{value: 100}}}}\n  {TO_WEB}\n"
        ),
    )
    .await;
    let ((status, text), took) = timed(get(web, "web", "/")).await;
    assert_eq!((status, text.as_str()), (418, "fault filter abort"));
    assert!(took >= Duration::from_millis(300), "{took:?}");
    assert_eq!(upstream.requests(), 0);
}

/// A client that goes while it is held back costs the backend nothing.
#[tokio::test]
async fn a_client_that_goes_during_a_delay_is_forgotten() {
    let upstream = identity().await;
    let (gateway, web) = web(
        &upstream,
        &format!(
            "- fault: {{delay: {{fixedDelay: 5s, percentage: {{value: 100}}}}}}\n  {TO_WEB}\n"
        ),
    )
    .await;
    let mut client = connect(web).await;
    client
        .send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    gateway
        .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 1.0)
        .await;
    client.reset();
    gateway
        .metrics_until(|it| it.sum("istio_requests_total", &[("response_flags", "DI,DC")]) == 1.0)
        .await;
    assert_eq!(upstream.requests(), 0);
}

/// VS-H-80, T-H-126: every request is drawn for itself, on one connection too.
#[tokio::test]
async fn shares_are_kept_over_many_requests() {
    let upstream = HttpUpstream::named("web")
        .on("/", Reply::text(200, ""))
        .start()
        .await;
    let (_gateway, web) = web(
        &upstream,
        &format!(
            "- fault: {{abort: {{httpStatus: 503, percentage: {{value: 10}}}}}}\n  {TO_WEB}\n"
        ),
    )
    .await;
    let mut client = connect(web).await;
    let mut aborted = 0;
    for _ in 0..2000 {
        let status = client.get("web", "/").await.expect("an answer").status;
        aborted += u32::from(status == 503);
    }
    // Six standard deviations around 200: one failure in half a billion runs.
    assert!((120..=280).contains(&aborted), "{aborted}");
    assert_eq!(upstream.requests() as u32, 2000 - aborted);
}

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<AccessRecord>>>);

impl Sink for Notes {
    fn name(&self) -> &str {
        "notes"
    }

    fn records(&mut self, batch: &[AccessRecord]) {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(batch);
    }
}

/// VS-H-139: the log tells what was injected, and which backend was spared.
#[tokio::test]
async fn injected_faults_are_in_the_access_log() {
    let upstream = identity().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, upstream.addr())
        + &rules(
            "web",
            &format!(
                "- match: [{{uri: {{prefix: /abort}}}}]\n  \
                   fault: {{abort: {{httpStatus: 503, percentage: {{value: 100}}}}}}\n  {TO_WEB}\n\
                 - fault: {{delay: {{fixedDelay: 10ms, percentage: {{value: 100}}}}}}\n  {TO_WEB}\n"
            ),
        );
    let notes = Notes::default();
    let sink = notes.clone();
    let builder = Facade::builder()
        .settings(settings())
        .extend(move |host| host.sink("notes", move || sink.clone()));
    let _gateway = Gateway::start(Some(&text), builder).await;
    let mut client = connect(SocketAddr::new(vip, port)).await;
    client.get("web", "/abort").await.expect("an answer");
    client.get("web", "/delay").await.expect("an answer");
    let count = || notes.0.lock().expect("not poisoned").len();
    eventually(SOON, || async { count() == 2 }).await;
    let records = notes.0.lock().expect("not poisoned");
    let told: Vec<_> = records
        .iter()
        .map(|it| {
            (
                it.response_code,
                it.flags.to_string(),
                it.details.to_string(),
            )
        })
        .collect();
    let expected = [
        (503, "FI", "fault_filter_abort"),
        (200, "DI", "via_upstream"),
    ];
    for (told, (status, flags, details)) in told.iter().zip(expected) {
        assert_eq!(told, &(status, flags.to_owned(), details.to_owned()));
    }
    for record in records.iter() {
        let cluster = record.upstream_cluster.as_deref().expect("a cluster");
        assert!(
            cluster.ends_with("||web.default.svc.cluster.local"),
            "{cluster}"
        );
    }
}

const CORS: &str = "corsPolicy:
    allowOrigins: [{exact: 'https://a.com'}]
    allowMethods: [GET, POST]
    exposeHeaders: [x-one, x-two]
    allowCredentials: true
    maxAge: 24h
";

const PREFLIGHT: [(&str, &str); 2] = [
    ("Origin", "https://a.com"),
    ("Access-Control-Request-Method", "POST"),
];

fn cors_fields(reply: &pointsman_testkit::raw_http::Response) -> Vec<(String, String)> {
    let fields = reply.fields.iter();
    fields
        .filter(|(name, _)| name.to_ascii_lowercase().starts_with("access-control-"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .collect()
}

/// VS-H-92, VS-H-96, T-H-140.
#[tokio::test]
async fn a_preflight_never_reaches_the_backend() {
    let upstream = identity().await;
    let (_gateway, web) = web(&upstream, &format!("- {CORS}  {TO_WEB}\n")).await;
    let mut client = connect(web).await;
    for _ in 0..2 {
        let reply = client
            .request("OPTIONS", "web", "/", &PREFLIGHT, None)
            .await
            .expect("an answer");
        assert_eq!((reply.status, reply.text().as_str()), (200, ""));
        assert_eq!(
            reply.field("access-control-allow-origin"),
            Some("https://a.com")
        );
        assert_eq!(
            reply.field("access-control-allow-methods"),
            Some("GET,POST")
        );
        assert_eq!(reply.field("access-control-max-age"), Some("86400"));
        assert_eq!(
            reply.field("access-control-allow-credentials"),
            Some("true")
        );
    }
    assert_eq!(upstream.requests(), 0);
}

/// VS-H-93..95, T-H-141..145.
#[tokio::test]
async fn other_cross_origin_requests_are_forwarded() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::text(200, "").field("Access-Control-Allow-Origin", "nobody"))
        .start()
        .await;
    let (_gateway, web) = web(&upstream, &format!("- {CORS}  {TO_WEB}\n")).await;
    let mut client = connect(web).await;
    let allowed = [
        ("access-control-allow-origin", "https://a.com"),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-one,x-two"),
    ];
    let untouched = [("access-control-allow-origin", "nobody")];
    let b = [("Origin", "https://b.com"), PREFLIGHT[1]];
    for (method, fields, expected) in [
        ("GET", &PREFLIGHT[..1], &allowed[..]),
        ("OPTIONS", &PREFLIGHT[..1], &allowed[..]),
        ("OPTIONS", &b[..], &untouched[..]),
        ("GET", &b[..], &untouched[..]),
        ("GET", &[], &untouched[..]),
    ] {
        let before = upstream.requests();
        let reply = client
            .request(method, "web", "/", fields, None)
            .await
            .expect("an answer");
        let expected: Vec<_> = expected
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(cors_fields(&reply), expected, "{method} {fields:?}");
        assert_eq!(upstream.requests(), before + 1);
    }
}

/// VS-H-93, T-H-142; VS-H-99, T-H-147.
#[tokio::test]
async fn preflights_can_be_ignored_and_are_matched_as_options() {
    let upstream = identity().await;
    let (_gateway, web) = web(
        &upstream,
        &format!(
            "- match: [{{method: {{exact: POST}}, uri: {{prefix: /post}}}}]\n  {CORS}  {TO_WEB}\n\
             - match: [{{uri: {{prefix: /any}}}}]\n  {CORS}    unmatchedPreflights: IGNORE\n  {TO_WEB}\n"
        ),
    )
    .await;
    let mut client = connect(web).await;
    let b = [("Origin", "https://b.com"), PREFLIGHT[1]];
    let reply = client
        .request("OPTIONS", "web", "/any", &b, None)
        .await
        .expect("an answer");
    assert_eq!((reply.status, cors_fields(&reply)), (200, Vec::new()));
    let reply = client
        .request("OPTIONS", "web", "/post", &PREFLIGHT, None)
        .await
        .expect("an answer");
    assert_eq!((reply.status, reply.text().as_str()), (404, ""));
    assert_eq!(upstream.requests(), 0);
}

/// VS-H-106: errors of the gateway about a routed request are changed as its responses are, and a
/// browser may see them; a 404 without a rule is not.
#[tokio::test]
async fn errors_of_routed_requests_are_changed_as_responses_are() {
    let upstream = HttpUpstream::named("web")
        .on("/close", Reply::close())
        .on("/late", Reply::text(200, "").after(SOON))
        .start()
        .await;
    let (vip, port) = (fresh_ip(), free_port());
    let headers = "headers: {response: {set: {x-rule: r}, remove: [content-type]}}";
    let text = http("web", vip, port, upstream.addr())
        + &rules(
            "web",
            &format!(
                "- match: [{{uri: {{prefix: /nowhere}}}}]\n  {headers}\n  route: [{{destination: {{host: nobody}}}}]\n\
                 - match: [{{uri: {{prefix: /late}}}}, {{uri: {{prefix: /close}}}}]\n  {headers}\n  timeout: 100ms\n  {CORS}  {TO_WEB}\n"
            ),
        );
    let _gateway = Gateway::serve(&text).await;
    let web = SocketAddr::new(vip, port);
    let mut client = connect(web).await;
    for (target, status, origin) in [
        ("/nowhere", 503, None),
        ("/late", 504, Some("https://a.com")),
        ("/close", 503, Some("https://a.com")),
    ] {
        let reply = client
            .request("GET", "web", target, &PREFLIGHT[..1], None)
            .await
            .expect("an answer");
        assert_eq!(reply.status, status, "{target}");
        assert_eq!(reply.field("x-rule"), Some("r"), "{target}");
        // A body stays typed, whatever is removed (VS-H-51).
        let kind = (target != "/nowhere").then_some("text/plain");
        assert_eq!(reply.field("content-type"), kind, "{target}");
        assert_eq!(
            reply.field("access-control-allow-origin"),
            origin,
            "{target}"
        );
    }
    let reply = client.get("web", "/else").await.expect("an answer");
    assert_eq!((reply.status, reply.field("x-rule")), (404, None));
}

/// VS-H-57, VS-H-60b, T-H-67, T-H-68.
#[tokio::test]
async fn every_match_of_a_pattern_in_the_path_is_replaced() {
    let upstream = identity().await;
    let (_gateway, web) = web(
        &upstream,
        &format!(
            "- match: [{{uri: {{prefix: /x}}}}]\n  \
               rewrite: {{uriRegexRewrite: {{match: x, rewrite: z}}}}\n  {TO_WEB}\n\
             - rewrite: {{uriRegexRewrite: {{match: '/([a-z]+)/([0-9]+)', rewrite: '/\\2/\\1'}}}}\n  {TO_WEB}\n"
        ),
    )
    .await;
    let mut client = connect(web).await;
    for (target, expected) in [
        ("/ab/12?q=/cd/34", "/12/ab?q=/cd/34"),
        ("/xax?x", "/zaz?x"),
        ("/none", "/none"),
    ] {
        client.get("web", target).await.expect("an answer");
        let seen = upstream.last_seen().expect("a request");
        assert_eq!(seen.target, expected);
        assert_eq!(seen.field("x-envoy-original-path"), Some(target));
    }
}

/// VS-H-60: whatever a rewrite leaves, what is sent begins with `/`, whichever version it is sent in.
#[tokio::test]
async fn what_a_rewrite_leaves_begins_with_a_slash() {
    let upstream = identity().await;
    let calls = Http2Upstream::named("calls").start().await;
    let text = |host: &str| {
        let to = format!("route: [{{destination: {{host: {host}}}}}]");
        rules(
            host,
            &format!(
                "- match: [{{uri: {{prefix: /foo}}}}]\n  \
                   rewrite: {{uriRegexRewrite: {{match: '^/foo(.*)$', rewrite: '\\1'}}}}\n  {to}\n\
                 - match: [{{uri: {{prefix: /api/}}}}]\n  rewrite: {{uri: v1/}}\n  {to}\n\
                 - match: [{{uri: {{prefix: '*'}}}}]\n  \
                   rewrite: {{uriRegexRewrite: {{match: '^.*$', rewrite: '\\0'}}}}\n  {to}\n"
            ),
        )
    };
    let [one, two] = [(); 2].map(|()| SocketAddr::new(fresh_ip(), free_port()));
    let documents = [
        http("web", one.ip(), one.port(), upstream.addr()),
        text("web"),
        http2("calls", two.ip(), two.port(), calls.addr()),
        text("calls"),
    ]
    .concat();
    let _gateway = Gateway::serve(&documents).await;
    for (method, target, expected) in [
        ("GET", "/foo", "/"),
        ("GET", "/foo?x=1", "/?x=1"),
        ("GET", "/foo/a", "/a"),
        ("GET", "/api/q", "/v1/q"),
        ("OPTIONS", "*", "*"),
    ] {
        for (host, at) in [("web", one), ("calls", two)] {
            let mut client = connect(at).await;
            let reply = client.request(method, host, target, &[], None).await;
            let status = reply.expect("an answer").status;
            let got = match host {
                "web" => upstream.last_seen().map(|it| it.target),
                _ => calls.last_seen().map(|it| it.path),
            };
            assert_eq!(
                (status, got.as_deref()),
                (200, Some(expected)),
                "{target} to {host}"
            );
        }
    }
}

/// VS-H-50, RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5: what may have no content gets none, whatever the
/// rule says.
#[tokio::test]
async fn answers_of_rules_without_content_have_no_body() {
    let upstream = HttpUpstream::named("web").start().await;
    let (_gateway, web) = web(
        &upstream,
        "- match: [{uri: {exact: /204}}]\n  directResponse: {status: 204, body: {string: tea}}\n\
         - match: [{uri: {exact: /205}}]\n  directResponse: {status: 205, body: {string: tea}}\n\
         - match: [{uri: {exact: /304}}]\n  directResponse: {status: 304, body: {string: tea}}\n\
         - fault: {abort: {httpStatus: 205, percentage: {value: 100}}}\n  \
         route: [{destination: {host: web}}]\n",
    )
    .await;
    for (path, status) in [("/204", 204), ("/205", 205), ("/304", 304), ("/fault", 205)] {
        for speaks in [Speaks::Http1, Speaks::Http2] {
            let got = ask(speaks, web, "web", &Ask::new("GET", path)).await;
            let got = got.expect("an answer");
            let what = format!("{path} {speaks:?}: {got:?}");
            assert_eq!((got.status, &*got.text()), (status, ""), "{what}");
            let length = got.field("content-length");
            assert!(matches!(length, None | Some("0")), "{what}");
        }
    }
}

/// VS-H-51: a rule that says what its text is, by `set` or by `add`, says it alone.
#[tokio::test]
async fn a_direct_response_has_one_content_type() {
    let upstream = identity().await;
    let respond = "directResponse: {status: 200, body: {string: <p>tea</p>}}";
    let (_gateway, web) = web(
        &upstream,
        &format!(
            "- match: [{{uri: {{exact: /add}}}}]\n  {respond}\n  \
               headers: {{response: {{add: {{content-type: text/html}}}}}}\n\
             - match: [{{uri: {{exact: /set}}}}]\n  {respond}\n  \
               headers: {{response: {{set: {{content-type: text/html}}}}}}\n\
             - {respond}\n  headers: {{response: {{remove: [content-type]}}}}\n"
        ),
    )
    .await;
    for (path, kind) in [
        ("/add", "text/html"),
        ("/set", "text/html"),
        ("/removed", "text/plain"),
    ] {
        for speaks in [Speaks::Http1, Speaks::Http2] {
            let got = ask(speaks, web, "web", &Ask::new("GET", path)).await;
            let got = got.expect("an answer");
            let fields = got.fields.iter();
            let kinds = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            let kinds: Vec<_> = kinds.map(|(_, value)| &**value).collect();
            assert_eq!(kinds, [kind], "{path} {speaks:?}");
        }
    }
}

/// VS-H-49, VS-H-51: a body nobody asked for is read away, and the next request is answered.
#[tokio::test]
async fn an_answer_of_a_rule_drains_the_request() {
    let upstream = identity().await;
    let (_gateway, web) = web(
        &upstream,
        "- match: [{uri: {prefix: /tea}}]\n  directResponse: {status: 418, body: {string: tea}}\n\
         - match: [{uri: {prefix: /old}}]\n  redirect: {uri: /new}\n",
    )
    .await;
    let mut client = connect(web).await;
    let body = pattern(100_000);
    for (target, status) in [("/tea", 418), ("/old", 301), ("/none", 404)] {
        let reply = client
            .request("POST", "web", target, &[], Some(&body))
            .await
            .expect("an answer");
        assert_eq!(reply.status, status);
        assert!(reply.keeps_alive());
        // In pieces, the answer first, the next request right behind the body.
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(head).await.expect("sent");
        assert_eq!(
            client.read_response().await.expect("an answer").status,
            status
        );
        client.send("3\r\nabc\r\n").await.expect("sent");
        client
            .send("0\r\nx: y\r\n\r\nGET /old HTTP/1.1\r\nHost: web\r\n\r\n")
            .await
            .expect("sent");
        assert_eq!(client.read_response().await.expect("an answer").status, 301);
    }
    assert_eq!(upstream.requests(), 0);
}

/// A body over the limit, one that is held back, and one that is malformed end the connection: what
/// follows could be taken for a request.
#[tokio::test]
async fn a_body_that_cannot_be_drained_ends_the_connection() {
    let upstream = identity().await;
    let (_gateway, web) = web(&upstream, "- directResponse: {status: 200}\n").await;
    let head = |fields: &str| format!("POST / HTTP/1.1\r\nHost: web\r\n{fields}\r\n\r\n");
    for fields in [
        "Content-Length: 262145",
        "Content-Length: 3\r\nExpect: 100-continue",
    ] {
        let mut client = connect(web).await;
        client.send(head(fields)).await.expect("sent");
        let reply = client.read_response().await.expect("an answer");
        assert!(!reply.keeps_alive(), "{fields}");
    }
    for body in ["xyz\r\n", "ffffff\r\n"] {
        let mut client = connect(web).await;
        client
            .send(head("Transfer-Encoding: chunked") + body)
            .await
            .expect("sent");
        if body.starts_with('f') {
            let _ = client.send(vec![b'a'; 300_000]).await;
        }
        assert_eq!(client.read_response().await.expect("an answer").status, 200);
        let _ = client
            .send("\r\nGET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n")
            .await;
        assert!(client.read_response().await.is_err(), "{body}");
    }
}

/// `web` copied to `shadow` (percentages as given), each with an upstream, and where `web` is.
async fn mirrored(
    settings: pointsman_gateway::Settings,
    web: &HttpUpstream,
    shadow: SocketAddr,
    rule: &str,
) -> (Gateway, SocketAddr) {
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, web.addr())
        + &http("shadow", fresh_ip(), free_port(), shadow)
        + &rules("web", &format!("- {TO_WEB}\n  {rule}\n"));
    let gateway = Gateway::serve_with(settings, &text).await;
    (gateway, SocketAddr::new(vip, port))
}

async fn seen(upstream: &HttpUpstream, count: usize) -> Vec<pointsman_testkit::Seen> {
    eventually(SOON, || async { upstream.seen().len() >= count }).await;
    upstream.seen()
}

async fn outcome(gateway: &Gateway, outcome: &str, count: f64) {
    gateway
        .metrics_until(|it| it.sum("pointsman_mirrors_total", &[("outcome", outcome)]) == count)
        .await;
}

/// VS-H-86, VS-H-87, T-H-127, T-H-131: the copy is what the endpoint got, rewritten, in its own
/// framing, and mirrors keep connections.
#[tokio::test]
async fn a_mirror_gets_what_the_endpoint_gets() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::echo_body())
        .start()
        .await;
    let shadow = HttpUpstream::named("shadow")
        .otherwise(Reply::text(500, "no"))
        .start()
        .await;
    let (gateway, web) = mirrored(
        settings(),
        &upstream,
        shadow.addr(),
        "mirror: {host: shadow}\n  rewrite: {uri: /v1/, authority: other.com}\n  \
         headers: {request: {set: {x-rule: r}}}",
    )
    .await;
    let mut client = connect(web).await;
    let body = pattern(100_000);
    for (index, body) in [&b""[..], b"small", &body].into_iter().enumerate() {
        let reply = client
            .request("POST", "web", "/x?q", &[("x-own", "o")], Some(body))
            .await
            .expect("an answer");
        assert_eq!((reply.status, digest(&reply.body)), (200, digest(body)));
        seen(&shadow, index + 1).await;
        outcome(&gateway, "answered", index as f64 + 1.0).await;
    }
    client
        .send("POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await
        .expect("sent");
    client
        .send("2\r\nde\r\n0\r\nx-sum: 5\r\n\r\n")
        .await
        .expect("sent");
    assert_eq!(
        client.read_response().await.expect("an answer").text(),
        "abcde"
    );
    let copies = seen(&shadow, 4).await;
    for (original, copy) in upstream.seen().iter().zip(&copies) {
        assert_eq!(
            String::from_utf8_lossy(&original.raw_head),
            String::from_utf8_lossy(&copy.raw_head)
        );
        assert_eq!(digest(&original.body), digest(&copy.body));
        assert_eq!(original.trailers, copy.trailers);
    }
    assert_eq!(copies[0].target, "/v1/x?q");
    assert_eq!(copies[0].host(), "other.com");
    outcome(&gateway, "answered", 4.0).await;
    assert_eq!(shadow.connections(), 1);
    assert!(shadow.malformed().is_empty(), "{:?}", shadow.malformed());
}

/// VS-H-86, T-H-128, T-H-132: every mirror is drawn for itself.
#[tokio::test]
async fn mirrors_are_drawn_each_for_itself() {
    let upstream = identity().await;
    let (always, never, half) = (identity().await, identity().await, identity().await);
    let (vip, port) = (fresh_ip(), free_port());
    let service =
        |name, upstream: &HttpUpstream| http(name, fresh_ip(), free_port(), upstream.addr());
    let text = http("web", vip, port, upstream.addr())
        + &service("always", &always)
        + &service("never", &never)
        + &service("half", &half)
        + &rules(
            "web",
            &format!(
                "- {TO_WEB}\n  mirrors:\n  - {{destination: {{host: always}}}}\n  \
                 - {{destination: {{host: never}}, percentage: {{value: 0}}}}\n  \
                 - {{destination: {{host: nobody}}}}\n  \
                 - {{destination: {{host: half}}, percentage: {{value: 50}}}}\n"
            ),
        );
    let gateway = Gateway::serve(&text).await;
    let mut client = connect(SocketAddr::new(vip, port)).await;
    for _ in 0..400 {
        assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
    }
    assert_eq!(seen(&always, 400).await.len(), 400);
    gateway
        .metrics_until(|it| {
            it.sum("pointsman_mirrors_total", &[]) as usize == 400 + half.requests()
        })
        .await;
    // Six standard deviations.
    assert!(
        (140..=260).contains(&half.requests()),
        "{}",
        half.requests()
    );
    assert_eq!(never.requests(), 0);
}

/// VS-H-88, T-H-130.
#[tokio::test]
async fn the_host_of_a_copy_can_be_a_shadow() {
    let (upstream, shadow) = (identity().await, identity().await);
    let mut settings = settings();
    settings.mirrors.shadow_host = true;
    let (_gateway, web) =
        mirrored(settings, &upstream, shadow.addr(), "mirror: {host: shadow}").await;
    assert_eq!(get(web, "web:80", "/").await.0, 200);
    let copy = seen(&shadow, 1).await.remove(0);
    assert_eq!(copy.host(), "web-shadow:80");
    assert_eq!(upstream.last_seen().expect("a request").host(), "web:80");
}

/// VS-H-87, VS-H-89: whatever a mirror does, the client's answer is neither late nor changed.
#[tokio::test]
async fn a_mirror_that_misbehaves_is_not_noticed() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::echo_body())
        .start()
        .await;
    let mut settings = settings();
    settings.mirrors.timeout = written("300ms");
    let raw = |bytes: &[u8]| Reply::raw(bytes).closing();
    for (reply, expected) in [
        (Reply::hang(), "late"),
        (Reply::reset(), "failed"),
        (Reply::close(), "failed"),
        (raw(b"nonsense\r\n\r\n"), "failed"),
        (Reply::cut(100, 5), "answered"),
        (Reply::sized(1_000_000), "answered"),
        (Reply::until_close(b"abc"), "answered"),
        (
            Reply::endless(&[b'a'; 1000], Duration::from_millis(1)),
            "late",
        ),
    ] {
        let shadow = HttpUpstream::named("shadow").otherwise(reply).start().await;
        let (gateway, web) = mirrored(
            settings.clone(),
            &upstream,
            shadow.addr(),
            "mirror: {host: shadow}",
        )
        .await;
        let mut client = connect(web).await;
        for _ in 0..2 {
            let (reply, took) = timed(client.request("POST", "web", "/", &[], Some(b"abc"))).await;
            assert_eq!(reply.expect("an answer").text(), "abc");
            assert!(took < SOON / 4, "{took:?}");
        }
        outcome(&gateway, expected, 2.0).await;
    }
    // Nobody listens; nothing is there.
    for (text, expected) in [("refused", "failed"), ("empty", "unavailable")] {
        let (vip, port) = (fresh_ip(), free_port());
        let nobody = SocketAddr::new(fresh_ip(), free_port());
        let endpoints = plain(&[nobody]);
        let endpoints = if text == "refused" {
            &endpoints[..]
        } else {
            &[]
        };
        let documents = http("web", vip, port, upstream.addr())
            + &service("shadow", fresh_ip(), free_port(), "http", endpoints)
            + &rules("web", &format!("- {TO_WEB}\n  mirror: {{host: shadow}}\n"));
        let gateway = Gateway::serve(&documents).await;
        assert_eq!(get(SocketAddr::new(vip, port), "web", "/").await.0, 200);
        outcome(&gateway, expected, 1.0).await;
    }
}

/// Memory and tasks of mirrors are bounded: what is too much is dropped and counted, and the request
/// itself goes on.
#[tokio::test]
async fn copies_are_bounded() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::echo_body())
        .start()
        .await;
    let shadow = HttpUpstream::named("shadow")
        .otherwise(Reply::hang())
        .start()
        .await;
    let mut settings = settings();
    settings.process.shards = 1;
    settings.mirrors.body_bytes = 1000;
    settings.mirrors.in_flight = 2;
    let (gateway, web) =
        mirrored(settings, &upstream, shadow.addr(), "mirror: {host: shadow}").await;
    let mut client = connect(web).await;
    for _ in 0..2 {
        let body = pattern(300_000);
        let reply = client
            .request("POST", "web", "/", &[], Some(&body))
            .await
            .expect("an answer");
        assert_eq!(digest(&reply.body), digest(&body));
    }
    outcome(&gateway, "dropped", 2.0).await;
    // A request that never becomes complete has no copy, and its place is free again.
    let mut other = connect(web).await;
    other
        .send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\nab")
        .await
        .expect("sent");
    eventually(SOON, || async { upstream.requests() == 3 }).await;
    other.reset();
    outcome(&gateway, "dropped", 3.0).await;
    assert_eq!(shadow.requests(), 0);
    for _ in 0..5 {
        let reply = client
            .request("POST", "web", "/", &[], Some(b"abc"))
            .await
            .expect("an answer");
        assert_eq!(reply.text(), "abc");
    }
    eventually(SOON, || async { shadow.requests() == 2 }).await;
    gateway
        .metrics_until(|it| {
            it.sum(
                "pointsman_limits_hit_total",
                &[("limit", "mirrors.in_flight")],
            ) == 3.0
                && it.sum(
                    "pointsman_limits_hit_total",
                    &[("limit", "mirrors.body_bytes")],
                ) == 2.0
        })
        .await;
}

/// VS-H-105, T-H-80: values are made per request, of what is known of it.
#[tokio::test]
async fn header_values_are_made_for_each_request() {
    let upstream = HttpUpstream::named("web")
        .on("/", Reply::text(203, "").field("x-own", "o"))
        .start()
        .await;
    let (_gateway, web) = web(
        &upstream,
        "- name: main
  headers:
    request:
      set:
        x-percent: 50%%
        x-client: '%DOWNSTREAM_REMOTE_ADDRESS%'
        x-ip: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% (%PROTOCOL%)'
        x-dialled: '%DOWNSTREAM_LOCAL_ADDRESS%'
        x-agent: '%REQ(X-Long?user-agent):5%'
        x-route: '%ROUTE_NAME%'
        x-backend: '%UPSTREAM_CLUSTER%'
        x-start: '%START_TIME%'
        x-kept: '%REQ(x-nothing)%'
      add: {x-path: '%REQ(:path)%'}
    response:
      set: {x-code: '%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%', x-asked: '%REQ(x-long)%-%RESP(x-own)%'}
      add: {x-endpoint: '%UPSTREAM_REMOTE_ADDRESS%', x-empty: '%RESP(x-nothing)%'}
  route: [{destination: {host: web}}]
",
    )
    .await;
    let mut client = connect(web).await;
    for round in 0..2 {
        let long = format!("{round}23456");
        let fields = [("x-long", &*long), ("x-kept", "as it was")];
        let reply = client
            .request("GET", "web", "/?q", &fields, None)
            .await
            .expect("an answer");
        let seen = upstream.last_seen().expect("a request");
        let local = client.local_addr();
        for (name, expected) in [
            ("x-percent", "50%".to_owned()),
            ("x-client", local.to_string()),
            ("x-ip", format!("{} (HTTP/1.1)", local.ip())),
            ("x-dialled", web.to_string()),
            ("x-agent", format!("{round}2345")),
            ("x-route", "main".to_owned()),
            (
                "x-backend",
                format!("outbound|{}||web.default.svc.cluster.local", web.port()),
            ),
            ("x-kept", "as it was".to_owned()),
            ("x-path", "/?q".to_owned()),
        ] {
            assert_eq!(seen.field(name), Some(&*expected), "{name}");
        }
        let start = seen.field("x-start").expect("a time");
        assert!(start.len() == 24 && start.ends_with('Z'), "{start}");
        assert_eq!(reply.field("x-code"), Some("203 - via_upstream"));
        assert_eq!(reply.field("x-asked"), Some(&*format!("{long}-o")));
        assert_eq!(
            reply.field("x-endpoint"),
            Some(&*upstream.addr().to_string())
        );
        assert_eq!(reply.field("x-empty"), None);
    }
}

/// VS-H-105, VS-H-106: on answers of our own, too.
#[tokio::test]
async fn answers_of_the_gateway_have_made_values() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::close())
        .start()
        .await;
    let headers =
        "headers: {response: {set: {x-told: '%RESPONSE_CODE% %REQ(:path)% %UPSTREAM_HOST%|'}}}";
    let (_gateway, web) = web(
        &upstream,
        &format!(
            "- match: [{{uri: {{prefix: /tea}}}}]\n  {headers}\n  directResponse: {{status: 418}}\n\
             - match: [{{uri: {{prefix: /old}}}}]\n  {headers}\n  redirect: {{uri: /new}}\n\
             - {headers}\n  {TO_WEB}\n"
        ),
    )
    .await;
    let mut client = connect(web).await;
    for (target, status) in [("/tea", 418), ("/old", 301), ("/else", 503)] {
        let reply = client.get("web", target).await.expect("an answer");
        assert_eq!(reply.status, status);
        assert_eq!(
            reply.field("x-told"),
            Some(&*format!("{status} {target} |"))
        );
    }
}

/// VS-H-58, VS-H-103, T-H-69, T-H-70, T-H-77, T-H-78.
#[tokio::test]
async fn the_authority_comes_from_one_place() {
    let upstream = identity().await;
    let (_gateway, web) = web(
        &upstream,
        "- match: [{uri: {prefix: /rewrite}}]
  rewrite: {authority: a.com}
  route: [{destination: {host: web}, headers: {request: {set: {host: b.com}}}}]
- match: [{uri: {prefix: /set}}]
  headers: {request: {set: {Host: h.com}}}
  route: [{destination: {host: web}, headers: {request: {add: {':authority': b.com}}}}]
- match: [{uri: {prefix: /destination}}]
  route: [{destination: {host: web}, headers: {request: {add: {':authority': b.com}}}}]
- route: [{destination: {host: web}}]
",
    )
    .await;
    let mut client = connect(web).await;
    for (target, expected) in [
        ("/rewrite", "a.com"),
        ("/set", "h.com"),
        ("/destination", "b.com"),
        ("/", "WEB:80"),
    ] {
        assert_eq!(
            client
                .get("WEB:80", target)
                .await
                .expect("an answer")
                .status,
            200
        );
        let seen = upstream.last_seen().expect("a request");
        assert_eq!(seen.host(), expected, "{target}");
        assert_eq!(
            seen.fields
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
                .count(),
            1
        );
    }
}
