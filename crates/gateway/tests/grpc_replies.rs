//! What gRPC clients are told by the gateway itself, and what is counted of their calls (VS-H-144).
mod common;

use common::*;
use pointsman_testkit::{
    Http2Client, Http2Reply, Http2Request, Http2Upstream, HttpUpstream, RawHttp, Reply, Response,
    free_port, fresh_ip,
};
use std::net::SocketAddr;

const RULES: &str = "
- match: [{uri: {exact: /s/ok}}]
  route: [{destination: {host: web}}]
- match: [{uri: {prefix: /s/}}]
  route: [{destination: {host: web}}]
- match: [{uri: {exact: /gone}}]
  route: [{destination: {host: nobody}}]
  headers: {response: {set: {x-code: '%RESPONSE_CODE%'}}}
- match: [{uri: {exact: /empty}}]
  route: [{destination: {host: empty}}]
- match: [{uri: {exact: /late}}]
  route: [{destination: {host: web}}]
  timeout: 100ms
- match: [{uri: {exact: /forbidden}}]
  directResponse: {status: 403, body: {string: '50% off'}}
- match: [{uri: {exact: /fine}}]
  directResponse: {status: 200, body: {string: fine}}
- match: [{uri: {exact: /away}}]
  redirect: {uri: /there}
- match: [{uri: {exact: /fault}}]
  fault: {abort: {httpStatus: 401, percentage: {value: 100}}}
  route: [{destination: {host: web}}]
- match: [{uri: {exact: /fault-grpc}}]
  fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}
  route: [{destination: {host: web}}]
";

struct World {
    gateway: Gateway,
    upstream: HttpUpstream,
    web: SocketAddr,
}

async fn world() -> World {
    let upstream = HttpUpstream::named("web")
        .on("/late", Reply::hang())
        .on("/s/cut", Reply::close())
        .on(
            "/s/bad",
            Reply::raw(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        )
        .on(
            "/s/ok",
            Reply::chunked(&["message"])
                .field("content-type", "application/grpc")
                .trailer("grpc-status", "0"),
        )
        .on(
            "/s/failed",
            Reply::chunked(&["message"])
                .field("content-type", "application/grpc")
                .trailer("grpc-status", "5")
                .trailer("grpc-message", "no such thing"),
        )
        .on(
            "/s/at-once",
            Reply::text(200, "")
                .field("content-type", "application/grpc")
                .field("grpc-status", "9"),
        )
        .start()
        .await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), upstream.addr())
        + &service("empty", fresh_ip(), web.port(), "http", &[])
        + &rules("web", RULES);
    World {
        gateway: Gateway::serve(&documents).await,
        upstream,
        web,
    }
}

impl World {
    async fn call(&self, path: &str, kind: &str) -> Response {
        let mut client = connect(self.web).await;
        let fields = [("content-type", kind), ("te", "trailers")];
        client
            .request("POST", "web", path, &fields, Some(b"\0\0\0\0\0"))
            .await
            .expect("an answer")
    }
}

#[tokio::test]
async fn failures_are_200_with_a_grpc_status() {
    let world = world().await;
    for (path, status, message) in [
        // T-H-169
        ("/nothing", "12", None),
        ("/gone", "14", None),
        // T-H-168
        ("/empty", "14", Some("no healthy upstream")),
        ("/late", "14", Some("upstream request timeout")),
        ("/s/bad", "14", Some("the upstream's response is malformed")),
        ("/forbidden", "7", Some("50%25 off")),
        ("/away", "2", None),
        ("/fault", "16", Some("fault filter abort")),
        ("/fault-grpc", "8", Some("fault filter abort")),
    ] {
        let reply = world.call(path, "application/grpc").await;
        assert_eq!(reply.status, 200, "{path}");
        assert_eq!(reply.field("content-type"), Some("application/grpc"));
        assert_eq!(reply.field("grpc-status"), Some(status), "{path}");
        assert_eq!(reply.field("grpc-message"), message, "{path}");
        assert_eq!(reply.text(), "", "{path}");
    }
    let reply = world.call("/s/cut", "application/grpc+proto").await;
    assert_eq!(reply.field("grpc-status"), Some("14"));
    // Rules still have the last word, on what the client gets.
    let reply = world.call("/gone", "application/grpc").await;
    assert_eq!(reply.field("x-code"), Some("200"));
    let reply = world.call("/away", "application/grpc").await;
    assert!(reply.field("location").is_some());
}

#[tokio::test]
async fn others_are_told_in_the_words_of_http() {
    let world = world().await;
    for kind in ["application/grpc-web+proto", "application/json"] {
        let reply = world.call("/forbidden", kind).await;
        assert_eq!((reply.status, reply.text()), (403, "50% off".to_owned()));
        assert_eq!(reply.field("grpc-status"), None);
    }
    let fine = world.call("/fine", "application/grpc").await;
    assert_eq!((fine.status, fine.text()), (200, "fine".to_owned()));
}

#[tokio::test]
async fn calls_are_counted_by_their_own_status() {
    let world = world().await;
    for path in ["/s/ok", "/s/failed", "/s/at-once", "/nothing"] {
        let reply = world.call(path, "application/grpc").await;
        assert_eq!(reply.status, 200, "{path}");
    }
    assert_eq!(world.upstream.requests(), 3);
    let counted = |scrape: &Scrape, status: &str| {
        let labels = [
            ("request_protocol", "grpc"),
            ("response_code", "200"),
            ("grpc_response_status", status),
        ];
        scrape.sum("istio_requests_total", &labels)
    };
    world
        .gateway
        .metrics_until(|it| {
            ["0", "5", "9", "12"]
                .iter()
                .all(|status| counted(it, status) == 1.0)
        })
        .await;
}

/// An answer that says nothing in the words of gRPC counts as what its status in HTTP means there.
#[tokio::test]
async fn calls_answered_without_a_grpc_status_are_counted_by_what_http_says() {
    let answers = [
        ("/s/400", 400, "13"),
        ("/s/401", 401, "16"),
        ("/s/403", 403, "7"),
        ("/s/404", 404, "12"),
        ("/s/429", 429, "14"),
        ("/s/503", 503, "14"),
        ("/s/500", 500, "2"),
        ("/s/200", 200, "2"),
    ];
    let (mut upstream, mut streams) = (HttpUpstream::named("web"), Http2Upstream::named("web"));
    for (path, status, _) in answers {
        upstream = upstream.on(path, Reply::text(status, "no"));
        streams = streams.on(path, Http2Reply::text(status, "no"));
    }
    let (upstream, streams) = (upstream.start().await, streams.start().await);
    for (port_name, endpoint) in [("http", upstream.addr()), ("grpc", streams.addr())] {
        let web = SocketAddr::new(fresh_ip(), free_port());
        let documents = service("web", web.ip(), web.port(), port_name, &plain(&[endpoint]))
            + &rules("web", RULES);
        let gateway = Gateway::serve(&documents).await;
        for (path, status, counted) in answers {
            let mut client = Http2Client::connect(web).await.expect("connects");
            let call = Http2Request::grpc("web", path, &[b"hello"]);
            let reply = client.exchange(call).await.expect("an answer");
            assert_eq!(
                (reply.status, reply.grpc_status()),
                (status, None),
                "{path}"
            );
            let status = status.to_string();
            let labels = [
                ("request_protocol", "grpc"),
                ("response_code", &*status),
                ("grpc_response_status", counted),
            ];
            gateway
                .metrics_until(|it| it.sum("istio_requests_total", &labels) == 1.0)
                .await;
        }
    }
}

/// The same calls over HTTP/2, where a failure is one head that ends its stream.
#[tokio::test]
async fn over_http2_a_failure_is_nothing_but_trailers() {
    let upstream = Http2Upstream::named("web")
        .on("/s/ok", Http2Reply::grpc(&[b"message"], 0))
        .on("/s/failed", Http2Reply::grpc(&[b"message"], 5))
        .on("/s/at-once", Http2Reply::grpc_trailers_only(9, "no"))
        .start()
        .await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let endpoints = plain(&[upstream.addr()]);
    let documents = service("web", web.ip(), web.port(), "grpc", &endpoints)
        + &service("empty", fresh_ip(), web.port(), "grpc", &[])
        + &rules("web", RULES);
    let gateway = Gateway::serve(&documents).await;
    let mut client = Http2Client::connect(web).await.expect("connects");
    for (path, status) in [
        ("/s/ok", 0),
        ("/s/failed", 5),
        ("/s/at-once", 9),
        ("/nothing", 12),
        ("/empty", 14),
        ("/forbidden", 7),
    ] {
        let call = Http2Request::grpc("web", path, &[b"hello"]);
        let reply = client.exchange(call).await.expect("an answer");
        assert_eq!(
            (reply.status, reply.grpc_status()),
            (200, Some(status)),
            "{path}"
        );
        let made_here = status > 9 || path == "/forbidden";
        assert!(!made_here || reply.body.is_empty(), "{path}");
        let counted = |it: &Scrape| {
            let status = status.to_string();
            let labels = [
                ("request_protocol", "grpc"),
                ("grpc_response_status", &*status),
            ];
            it.sum("istio_requests_total", &labels) == 1.0
        };
        gateway.metrics_until(counted).await;
    }
    let seen = upstream.last_seen().expect("a call");
    assert_eq!(seen.field("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.field("x-request-id").map(str::len), Some(36));
}

/// A refusal is an answer as others are, as soon as the head of the request can be read.
#[tokio::test]
async fn refusals_are_told_in_the_words_of_grpc() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), upstream.addr());
    let mut settings = settings();
    settings.limits.fields = 12;
    settings.limits.target_bytes = 100;
    let notes = Notes::default();
    let gateway = notes.serve(settings, &documents).await;
    let long = format!("/{}", "a".repeat(100));
    let call = |path: &str, host: &str| Http2Request::grpc(host, path, &[b"hello"]);
    let crowded = (0..20).fold(call("/", "web"), |call, at| {
        call.field(&format!("x-{at}"), "y")
    });
    let cases = [
        (call(&long, "web"), 414, "target_too_long", 2),
        (crowded, 431, "too_many_fields", 2),
        (call("/a%00b", "web"), 400, "bad_target", 13),
        (call("/", "me@web"), 400, "bad_host", 13),
    ];
    for (call, status, reason, grpc_status) in cases {
        let (stream, own) = dial(web).await;
        let mut client = Http2Client::over(stream, |_| {}).await.expect("HTTP/2");
        let reply = client.exchange(call).await.expect("an answer");
        assert_eq!(reply.status, 200, "{reason}");
        assert_eq!(reply.grpc_status(), Some(grpc_status), "{reason}");
        assert_eq!(reply.field("content-type"), Some("application/grpc"));
        assert!(reply.field("grpc-message").is_some_and(|it| !it.is_empty()));
        assert_eq!(
            (&*reply.body, &reply.trailers),
            (&b""[..], &None),
            "{reason}"
        );
        let told = notes.of(own, 1).await;
        assert_eq!(
            (told[0].status, &*told[0].details, &*told[0].flags),
            (200, reason, "DPE")
        );
        let why = [("reason", reason)];
        gateway
            .metrics_until(|it| it.sum("pointsman_refused_bytes_total", &why) == 1.0)
            .await;
        // Others are told in the words of HTTP.
        let (stream, own) = dial(web).await;
        let mut client = RawHttp::over(stream);
        let path = match reason {
            "target_too_long" => &*long,
            "bad_target" => "/a%00b",
            _ => "/",
        };
        let host = match reason {
            "bad_host" => "me@web",
            _ => "web",
        };
        let fields: Vec<_> = match reason {
            "too_many_fields" => vec![("X-A", "b"); 20],
            _ => Vec::new(),
        };
        let body = Some(&b"hello"[..]);
        let reply = client.request("POST", host, path, &fields, body).await;
        assert_eq!(reply.expect("an answer").status, status, "{reason}");
        assert_eq!(notes.of(own, 1).await[0].status, status);
    }
    assert_eq!(upstream.requests(), 0);
}

/// A body that breaks is told so too; a head of HTTP/1 that cannot be read is told so in the words of
/// HTTP, since nobody can say what its client reads.
#[tokio::test]
async fn broken_bodies_are_told_in_the_words_of_grpc() {
    let world = world().await;
    let head = "POST /s/any HTTP/1.1\r\nHost: web\r\nContent-Type: application/grpc\r\n";
    for (rest, status, grpc_status) in [
        ("Transfer-Encoding: chunked\r\n\r\nx\r\n", 200, Some("13")),
        ("X-A : b\r\n\r\n", 400, None),
    ] {
        let mut client = connect(world.web).await;
        client.send(format!("{head}{rest}")).await.expect("sent");
        let reply = client.read_response().await.expect("an answer");
        assert_eq!(reply.status, status, "{rest}");
        assert_eq!(reply.field("grpc-status"), grpc_status, "{rest}");
        assert!(!reply.keeps_alive());
    }
}

/// `explain` knows what a call is told, as the data path tells it.
#[tokio::test]
async fn explain_says_what_a_call_is_told() {
    let world = world().await;
    let documents = world.gateway.folder().display().to_string();
    for path in [
        "/nothing",
        "/gone",
        "/empty",
        "/forbidden",
        "/away",
        "/fault",
        "/fault-grpc",
    ] {
        let told = world.call(path, "application/grpc").await;
        let told: u64 = told
            .field("grpc-status")
            .and_then(|it| it.parse().ok())
            .expect("a status");
        let target = format!("http://web:{}{path}", world.web.port());
        let explain = |more: &[&str]| {
            let mut command = vec!["explain", "-X", "POST", &*target, "-f", &*documents];
            command.extend(more);
            pointsman(&command)
        };
        let grpc = ["-H", "content-type: application/grpc+proto"];
        let output = explain(&grpc);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = format!("; a gRPC client is told 200 with grpc-status {told}\n");
        assert!(text.ends_with(&expected), "{path}: {text}");
        let output = explain(&[&grpc[..], &["-o", "json"]].concat());
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(json["answer"]["grpc_status"], told, "{path}: {json}");
        let output = explain(&["-o", "json", "-H", "content-type: application/grpc-web"]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let others = json["answer"].get("grpc_status");
        assert_eq!(others, None, "{path}: others read HTTP's statuses");
    }
}
