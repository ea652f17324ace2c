//! What gRPC clients are told by the gateway itself, and what is counted of their calls (VS-H-144).
mod common;

use common::*;
use pointsman_testkit::{
    Http2Client, Http2Reply, Http2Request, Http2Upstream, HttpUpstream, Reply, Response, free_port,
    fresh_ip,
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
