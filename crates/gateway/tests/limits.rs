//! Every limit that is hit is told to the client, and counted under the name of its setting
//! (docs/refusals.md).
mod common;

use common::*;
use pointsman_gateway::Settings;
use pointsman_testkit::{
    HttpUpstream, Reply, TcpUpstream,
    frames::{Block, Fate, FrameClient, code},
    free_port, fresh_ip,
    tcp::Behaviour,
};
use std::{net::SocketAddr, time::Duration};

fn tight() -> Settings {
    let mut settings = settings();
    settings.limits.head_bytes = 2048;
    settings.limits.target_bytes = 256;
    settings.limits.fields = 8;
    settings.limits.discarded_body_bytes = 16;
    settings.limits.requests_per_connection = 2;
    for limit in [
        &mut settings.timeouts.request_head,
        &mut settings.timeouts.client_hello,
        &mut settings.timeouts.request_body,
        &mut settings.timeouts.response,
        &mut settings.timeouts.tunnel_idle,
    ] {
        *limit = written("300ms");
    }
    settings
}

async fn counted(gateway: &Gateway, limit: &str) {
    let hit = [("limit", limit)];
    gateway
        .metrics_until(|it| it.sum("pointsman_limits_hit_total", &hit) == 1.0)
        .await;
}

#[tokio::test]
async fn limits_of_requests_are_told_and_counted() {
    let upstream = HttpUpstream::named("web")
        .on("/hang", Reply::hang())
        .start()
        .await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), upstream.addr())
        + &rules(
            "web",
            "- match: [{uri: {exact: /own}}]\n  directResponse: {status: 418}\n\
             - route: [{destination: {host: web}}]",
        );
    let gateway = Gateway::serve_with(tight(), &documents).await;
    let long = "a".repeat(4096);
    let fields = "X-A: b\r\n".repeat(9);
    for (limit, request, status) in [
        (
            "limits.head_bytes",
            format!("GET / HTTP/1.1\r\nHost: web\r\nX-Long: {long}\r\n\r\n"),
            431,
        ),
        (
            "limits.target_bytes",
            format!("GET /{long} HTTP/1.1\r\nHost: web\r\n\r\n"),
            414,
        ),
        (
            "limits.fields",
            format!("GET / HTTP/1.1\r\nHost: web\r\n{fields}\r\n"),
            431,
        ),
        ("timeouts.request_head", "GET / HT".to_owned(), 408),
        (
            "timeouts.request_body",
            "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 9\r\n\r\nx".to_owned(),
            408,
        ),
        (
            "timeouts.response",
            "GET /hang HTTP/1.1\r\nHost: web\r\n\r\n".to_owned(),
            504,
        ),
        (
            "limits.discarded_body_bytes",
            format!("POST /own HTTP/1.1\r\nHost: web\r\nContent-Length: 4096\r\n\r\n{long}"),
            418,
        ),
    ] {
        let mut client = connect(web).await;
        client.send(request).await.expect("sent");
        let reply = client.read_response().await.expect("an answer");
        assert_eq!(reply.status, status, "{limit}");
        counted(&gateway, limit).await;
    }
    let mut client = connect(web).await;
    client.get("web", "/").await.expect("an answer");
    let last = client.get("web", "/").await.expect("an answer");
    assert!(!last.keeps_alive());
    counted(&gateway, "limits.requests_per_connection").await;
}

/// A connection hits its number of requests with the last one, not by waiting for it.
#[tokio::test]
async fn the_number_of_requests_is_hit_once() {
    let upstream = HttpUpstream::named("web").start().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let mut settings = settings();
    settings.process.shards = 1;
    settings.limits.requests_per_connection = 2;
    let documents = http("web", web.ip(), web.port(), upstream.addr());
    let gateway = Gateway::serve_with(settings, &documents).await;
    for requests in [1, 1, 2] {
        let mut client = connect(web).await;
        for _ in 0..requests {
            client.get("web", "/").await.expect("an answer");
            // Longer than what a request needs is kept for the next one.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    let scrape = gateway
        .metrics_until(|it| it.sum("istio_requests_total", &[]) == 4.0)
        .await;
    let hit = [("limit", "limits.requests_per_connection")];
    assert_eq!(scrape.sum("pointsman_limits_hit_total", &hit), 1.0);
}

#[tokio::test]
async fn a_response_over_the_limit_is_502_and_counted() {
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "a".repeat(4096));
    let fields = |many| {
        let fields = "X-A: b\r\n".repeat(many);
        Reply::raw(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n").as_bytes())
    };
    let upstream = HttpUpstream::named("web")
        .on("/7", fields(7))
        .on("/8", fields(8))
        .on("/119", fields(119))
        .otherwise(Reply::raw(head.as_bytes()))
        .start()
        .await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), upstream.addr());
    let gateway = Gateway::serve_with(tight(), &documents).await;
    assert_eq!(get(web, "web", "/").await.0, 502);
    counted(&gateway, "limits.head_bytes").await;
    assert_eq!(get(web, "web", "/7").await.0, 200);
    assert_eq!(get(web, "web", "/8").await.0, 502);
    counted(&gateway, "limits.fields").await;

    let mut settings = settings();
    settings.limits.fields = 120;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), upstream.addr());
    let _gateway = Gateway::serve_with(settings, &documents).await;
    assert_eq!(get(web, "web", "/119").await.0, 200);
}

/// Answers of our own have as many fields as rules give them, up to what a head can have, and copies of
/// requests get answers with as many as others.
#[tokio::test]
async fn the_number_of_fields_is_one_everywhere() {
    let many = format!(
        "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
        "X-A: b\r\n".repeat(110)
    );
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::raw(many.as_bytes()))
        .start()
        .await;
    let own = |path: &str, fields: usize| {
        let fields: Vec<_> = (0..fields).map(|at| format!("x-{at}: v")).collect();
        let set = fields.join(", ");
        format!(
            "- match: [{{uri: {{exact: {path}}}}}]\n  directResponse: {{status: 200, body: {{string: hi}}}}\n  \
             headers: {{response: {{set: {{{set}}}}}}}\n"
        )
    };
    let copied = "- route: [{destination: {host: web}}]\n  mirrors: [{destination: {host: web}}]";
    let list = own("/105", 105) + &own("/140", 140) + copied;
    let mut settings = settings();
    settings.limits.fields = 128;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http("web", web.ip(), web.port(), upstream.addr()) + &rules("web", &list);
    let notes = Notes::default();
    let gateway = notes.serve(settings, &documents).await;
    assert_eq!(get(web, "web", "/").await.0, 200);
    let mirrors = "pointsman_mirrors_total";
    gateway
        .metrics_until(|it| it.sum(mirrors, &[("outcome", "answered")]) == 1.0)
        .await;

    assert_eq!(get(web, "web", "/105").await.0, 200);
    let (stream, own) = dial(web).await;
    let mut client = FrameClient::over(stream);
    client.preface(&[]).await.expect("HTTP/2");
    let asked = |path| Block::request("GET", "web", path);
    assert_eq!(client.ask(1, asked("/105")).await, Fate::Status(200));
    assert_eq!(client.answer(1).body, b"hi");
    let fate = client.ask(3, asked("/140")).await;
    assert_eq!(fate, Fate::Reset(code::INTERNAL_ERROR));
    let records = notes.records(own, 2).await;
    let flags: Vec<_> = records.iter().map(|it| it.flags.to_string()).collect();
    assert_eq!(flags, ["-", "LR"]);
    counted(&gateway, "limits.fields").await;
}

#[tokio::test]
async fn limits_of_connections_are_counted() {
    let upstream = TcpUpstream::start(Behaviour::ServerFirst(b"hello".to_vec())).await;
    let db = SocketAddr::new(fresh_ip(), free_port());
    let tls = SocketAddr::new([127, 0, 0, 1].into(), free_port());
    let documents = service("db", db.ip(), db.port(), "tcp", &plain(&[upstream.addr()]))
        + &entry(
            "any",
            &["any.example.com"],
            tls.port(),
            "TLS",
            upstream.addr(),
        );
    let settings = tight();
    let gateway = Gateway::serve_with(settings, &documents).await;
    let mut client = connect(db).await;
    assert_eq!(client.read_exact(5).await.expect("greeted"), b"hello");
    let end = client.read_to_end().await;
    assert!(is_reset(&end) || end.is_ok_and(|rest| rest.is_empty()));
    counted(&gateway, "timeouts.tunnel_idle").await;
    // The beginning of a ClientHello, and no more of it.
    let mut client = connect(tls).await;
    client
        .send(b"\x16\x03\x01\x00\x80\x01\x00")
        .await
        .expect("sent");
    let end = client.read_to_end().await;
    assert!(is_reset(&end) || end.is_ok_and(|rest| rest.is_empty()));
    counted(&gateway, "timeouts.client_hello").await;
    // One that says to be longer than any may be.
    let mut client = connect(tls).await;
    client
        .send(b"\x16\x03\x01\x00\x80\x01\x01\x00\x00")
        .await
        .expect("sent");
    let end = client.read_to_end().await;
    assert!(is_reset(&end) || end.is_ok_and(|rest| rest.is_empty()));
    counted(&gateway, "client_hello_bytes").await;
}
