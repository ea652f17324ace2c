//! gRPC-Web on ports that say so, from both versions of HTTP, to a server of gRPC (PS-4).
mod common;

use common::{
    pairs::{Ask, Speaks, ask},
    *,
};
use pointsman_testkit::{
    RawHttp, eventually, free_port, fresh_ip,
    http2::{Http2Client, Http2Reply, Http2Request, Http2Upstream, grpc},
    within,
};
use std::net::SocketAddr;

async fn calls(port_name: &str) -> (Gateway, Http2Upstream, SocketAddr) {
    let upstream = grpc::echo_service("calls").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("calls", vip, port, port_name, &plain(&[upstream.addr()]));
    (Gateway::serve(&text).await, upstream, (vip, port).into())
}

/// The frame that holds these trailers.
fn trailers(lines: &str) -> Vec<u8> {
    let mut frame = vec![0x80];
    frame.extend_from_slice(&u32::try_from(lines.len()).expect("short").to_be_bytes());
    frame.extend_from_slice(lines.as_bytes());
    frame
}

#[tokio::test]
async fn from_http1_in_bytes() {
    let (_gateway, upstream, addr) = calls("grpc-web").await;
    let mut client = RawHttp::connect(addr).await.expect("connected");
    let fields = [
        ("content-type", "application/grpc-web+proto"),
        ("x-grpc-web", "1"),
    ];
    for _ in 0..2 {
        let body = grpc::message(b"hello");
        let asked = client.request("POST", "calls", "/test.Echo/Unary", &fields, Some(&body));
        let reply = within(SOON, asked).await.expect("an answer");
        assert_eq!(reply.status, 200);
        // The server said `application/grpc`.
        assert_eq!(
            reply.field("content-type"),
            Some("application/grpc-web+proto")
        );
        let expected = [grpc::message(b"hello"), trailers("grpc-status: 0\r\n")].concat();
        assert_eq!(reply.body, expected);
    }
    let seen = upstream.last_seen().expect("a call");
    assert_eq!(seen.field("content-type"), Some("application/grpc+proto"));
    assert_eq!(seen.field("te"), Some("trailers"));
}

/// Each piece is base64 by itself: `AAAAAAVoZWxsbw==` is the message `hello` with its five bytes before.
#[tokio::test]
async fn from_http2_in_text() {
    let (_gateway, upstream, addr) = calls("grpc-web").await;
    let mut client = Http2Client::connect(addr).await.expect("connected");
    let request = Http2Request::post("calls", "/test.Echo/Unary")
        .field("content-type", "application/grpc-web-text")
        .field("accept", "application/grpc-web-text")
        .field("content-length", "16")
        .piece(b"AAAAAAVo")
        .piece(b"ZWxsbw==");
    let reply = within(SOON, client.exchange(request))
        .await
        .expect("an answer");
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.field("content-type"),
        Some("application/grpc-web-text+proto")
    );
    // `\x80`, the length 16, `grpc-status: 0` and CR LF.
    assert_eq!(reply.text(), "AAAAAAVoZWxsbw==gAAAABBncnBjLXN0YXR1czogMA0K");
    assert!(reply.trailers.is_none());
    let seen = upstream.last_seen().expect("a call");
    assert_eq!(seen.body, grpc::message(b"hello"));
    assert_eq!(
        seen.field("content-length"),
        None,
        "it was that of the text"
    );
}

/// The log has the bytes of the client's bodies, whatever they mean.
#[tokio::test]
async fn text_is_recorded_as_it_was_sent() {
    let upstream = grpc::echo_service("calls").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("calls", vip, port, "grpc-web", &plain(&[upstream.addr()]));
    let notes = Notes::default();
    let _gateway = notes.serve(settings(), &text).await;
    let (stream, own) = dial((vip, port).into()).await;
    let mut client = RawHttp::over(stream);
    let fields = [("content-type", "application/grpc-web-text")];
    let asked = client.request(
        "POST",
        "calls",
        "/test.Echo/Unary",
        &fields,
        Some(b"AAAAAAVoZWxsbw=="),
    );
    let reply = within(SOON, asked).await.expect("an answer");
    let records = notes.records(own, 1).await;
    let bytes: Vec<_> = records
        .iter()
        .map(|it| (it.bytes_received, it.bytes_sent))
        .collect();
    assert_eq!(bytes, [(16, reply.body.len() as u64)]);
}

/// What a client reads it says in `accept`, whatever it writes, as to Envoy; our own answers too.
#[tokio::test]
async fn the_answer_is_in_what_the_client_accepts() {
    let (_gateway, _upstream, at) = calls("grpc-web").await;
    let (text, bytes) = ("application/grpc-web-text", "application/grpc-web+proto");
    let told = grpc::message(b"hello");
    let told = [told, trailers("grpc-status: 0\r\n")].concat();
    for (accept, reads_text) in [
        (None, false),
        (Some("*/*"), false),
        (Some(bytes), false),
        (Some(text), true),
        (Some("application/grpc-web-text+proto"), true),
    ] {
        for (kind, body) in [
            (text, &b"AAAAAAVoZWxsbw=="[..]),
            (bytes, &grpc::message(b"hello")),
        ] {
            for speaks in [Speaks::Http1, Speaks::Http2] {
                let call = Ask::new("POST", "/test.Echo/Unary")
                    .field("content-type", kind)
                    .body(body);
                let call = match accept {
                    Some(accept) => call.field("accept", accept),
                    None => call,
                };
                let got = ask(speaks, at, "calls", &call).await.expect("an answer");
                let what = format!("{kind} {accept:?} {speaks:?}: {got:?}");
                assert_eq!(got.status, 200, "{what}");
                let (kind, body) = match reads_text {
                    true => (
                        "application/grpc-web-text+proto",
                        &b"AAAAAAVoZWxsbw==gAAAABBncnBjLXN0YXR1czogMA0K"[..],
                    ),
                    false => (bytes, &*told),
                };
                assert_eq!(got.field("content-type"), Some(kind), "{what}");
                assert_eq!(got.body, body, "{what}");
            }
        }
    }
    // Text that is none is refused in what the client reads.
    let call = Ask::new("POST", "/test.Echo/Unary")
        .field("content-type", text)
        .body(b"!!!!");
    let got = ask(Speaks::Http1, at, "calls", &call).await;
    let got = got.expect("an answer");
    assert_eq!(got.field("content-type"), Some(bytes));
    assert_eq!(got.field("grpc-status"), Some("13"));
}

/// What is told in HTTP's words on other ports.
const OWN_ANSWERS: &str = "
- match: [{uri: {exact: /empty}}]
  route: [{destination: {host: empty}}]
- match: [{uri: {exact: /down}}]
  route: [{destination: {host: down}}]
- match: [{uri: {exact: /late}}]
  route: [{destination: {host: calls}}]
  timeout: 100ms
- match: [{uri: {exact: /late-try}}]
  route: [{destination: {host: calls}}]
  retries: {attempts: 1, perTryTimeout: 100ms, retryOn: reset}
- match: [{uri: {exact: /fault}}]
  fault: {abort: {httpStatus: 401, percentage: {value: 100}}}
  route: [{destination: {host: calls}}]
- match: [{uri: {exact: /fault-grpc}}]
  fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}
  route: [{destination: {host: calls}}]
- match: [{uri: {exact: /delayed}}]
  fault: {delay: {fixedDelay: 10ms, percentage: {value: 100}}}
  route: [{destination: {host: empty}}]
- match: [{uri: {exact: /forbidden}}]
  directResponse: {status: 403, body: {string: never}}
- match: [{uri: {exact: /as-client}}]
  route: [{destination: {host: as-client}}]
- match: [{uri: {exact: /gone}}]
  route: [{destination: {host: nobody}}]
- route: [{destination: {host: calls}}]
  headers: {response: {set: {x-code: '%RESPONSE_CODE%'}}}
";

/// Answers of the gateway itself, on a port of this name.
async fn own_answers(port_name: &str, notes: &Notes) -> (Gateway, Http2Upstream, SocketAddr) {
    let upstream = Http2Upstream::named("calls")
        .on("/late", Http2Reply::hang())
        .on("/late-try", Http2Reply::hang())
        .on("/deadline", Http2Reply::hang())
        .on("/cut", Http2Reply::reset(2))
        .start()
        .await;
    let (vip, port) = (fresh_ip(), free_port());
    let down = SocketAddr::new(fresh_ip(), free_port());
    let documents = service("calls", vip, port, port_name, &plain(&[upstream.addr()]))
        + &service("empty", fresh_ip(), port, port_name, &[])
        + &service("down", fresh_ip(), port, port_name, &plain(&[down]))
        + &service("as-client", fresh_ip(), port, port_name, &[])
        + &subsets(
            "as-client",
            &[],
            "{connectionPool: {http: {useClientProtocol: true}}}",
        )
        + &rules("calls", OWN_ANSWERS);
    let gateway = notes.serve(settings(), &documents).await;
    (gateway, upstream, (vip, port).into())
}

const DIALECTS: [(&str, &str, &[u8]); 2] = [
    (
        "application/grpc-web+proto",
        "application/grpc-web+proto",
        b"\0\0\0\0\0",
    ),
    (
        "application/grpc-web-text",
        "application/grpc-web-text+proto",
        b"AAAAAAA=",
    ),
];

/// Answers of the gateway itself are told in the words of gRPC, once it is known that the call goes
/// where it is translated (VS-H-144).
#[tokio::test]
async fn answers_of_the_gateway_have_a_grpc_status() {
    let notes = Notes::default();
    let (gateway, _upstream, at) = own_answers("grpc-web", &notes).await;
    let cases = [
        ("/empty", 14, Some("no healthy upstream")),
        ("/down", 14, None),
        ("/late", 14, Some("upstream request timeout")),
        ("/late-try", 14, Some("upstream request timeout")),
        ("/cut", 14, None),
        ("/fault", 16, Some("fault filter abort")),
        ("/fault-grpc", 8, Some("fault filter abort")),
        ("/delayed", 14, Some("no healthy upstream")),
        // VS-H-65: late by its own measure.
        ("/deadline", 4, Some("upstream request timeout")),
    ];
    for (path, status, message) in cases {
        for (kind, answered, body) in DIALECTS {
            for speaks in [Speaks::Http1, Speaks::Http2] {
                let call = Ask::new("POST", path)
                    .field("content-type", kind)
                    .field("accept", kind)
                    .body(body);
                let call = match path {
                    "/deadline" => call.field("grpc-timeout", "100m"),
                    _ => call,
                };
                let told = ask(speaks, at, "calls", &call).await.expect("an answer");
                let which = format!("{path} {kind} {speaks:?}: {told:?}");
                assert_eq!(told.status, 200, "{which}");
                assert_eq!(told.field("content-type"), Some(answered), "{which}");
                let number = status.to_string();
                assert_eq!(told.field("grpc-status"), Some(&*number), "{which}");
                let text = told.field("grpc-message");
                assert!(text.is_some_and(|it| !it.is_empty()), "{which}");
                assert!(
                    message.is_none_or(|message| text == Some(message)),
                    "{which}"
                );
                assert!(told.body.is_empty() && told.trailers.is_empty(), "{which}");
                if path == "/cut" {
                    assert_eq!(
                        told.field("x-code"),
                        Some("200"),
                        "rules speak of what is told"
                    );
                }
            }
        }
    }
    // They are counted as what the client was told.
    for (number, calls) in [("4", 4.0), ("8", 4.0), ("14", 24.0), ("16", 4.0)] {
        let labels = [
            ("request_protocol", "grpc"),
            ("response_code", "200"),
            ("grpc_response_status", number),
        ];
        let counted = |it: &Scrape| it.sum("istio_requests_total", &labels) == calls;
        gateway.metrics_until(counted).await;
    }
    // And so they stand in the log.
    let (stream, own) = dial(at).await;
    let mut client = RawHttp::over(stream);
    let (kind, _, body) = DIALECTS[0];
    let fields = [("content-type", kind)];
    let asked = client.request("POST", "calls", "/empty", &fields, Some(body));
    within(SOON, asked).await.expect("an answer");
    let told = notes.of(own, 1).await;
    assert_eq!(
        (told[0].status, &*told[0].details, &*told[0].flags),
        (200, "no_healthy_upstream", "UH")
    );
}

/// `explain` knows what a call is told, as the data path tells it, wherever it may go.
#[tokio::test]
async fn explain_says_what_a_call_may_be_told() {
    let (vip, port) = (fresh_ip(), free_port());
    let documents = service("calls", vip, port, "grpc-web", &[])
        + &service("other", fresh_ip(), port, "grpc", &[])
        + &rules(
            "calls",
            "
- match: [{uri: {prefix: /one/web}}]
  fault: {abort: {httpStatus: 401, percentage: {value: 100}}}
  route: [{destination: {host: calls}}]
- match: [{uri: {prefix: /one/grpc}}]
  fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}
  route: [{destination: {host: calls}}]
- match: [{uri: {prefix: /some/web}}]
  fault: {abort: {httpStatus: 401, percentage: {value: 100}}}
  route: &both [{destination: {host: calls}, weight: 50}, {destination: {host: other}, weight: 50}]
- match: [{uri: {prefix: /some/grpc}}]
  fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}
  route: *both
- route: *both
",
        );
    let gateway = Gateway::serve(&documents).await;
    let folder = gateway.folder().display().to_string();
    let explain = |path: &str, kind: &str, more: &[&str]| {
        let target = format!("http://calls:{port}{path}");
        let (kind, accept) = (format!("content-type: {kind}"), format!("accept: {kind}"));
        let mut command = vec!["explain", "-X", "POST", &target, "-f", &folder];
        command.extend(["-H", &kind, "-H", &accept]);
        command.extend(more);
        String::from_utf8_lossy(&pointsman(&command).stdout).into_owned()
    };
    for path in [
        "/one/web",
        "/one/grpc",
        "/some/web",
        "/some/grpc",
        "/some/empty",
    ] {
        for (kind, _, body) in DIALECTS {
            let text = explain(path, kind, &["-o", "json"]);
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let answer = &json["answer"];
            let all = match path.starts_with("/some") {
                true => {
                    assert_eq!(answer.get("grpc_status"), None, "{answer}");
                    answer["told"].as_array().expect("a list").clone()
                }
                false => vec![answer.clone()],
            };
            // HTTP's status, gRPC's and the content type of each.
            let told = |it: &serde_json::Value| {
                let number = it["grpc_status"].as_u64();
                let kind = match path.ends_with("/grpc") {
                    true => it["response_headers"]["content-type"].as_str(),
                    // Made of HTTP's words, or of none.
                    false => None,
                };
                let status = number.map_or(answer["status"].as_u64(), |_| Some(200));
                (status, number, kind.map(str::to_owned))
            };
            let mut expected: Vec<_> = all.iter().map(told).collect();
            let mut got = Vec::new();
            // Until chance has shown all there is.
            for _ in 0..200 {
                let call = Ask::new("POST", path)
                    .field("content-type", kind)
                    .field("accept", kind)
                    .body(body);
                let answer = ask(Speaks::Http1, (vip, port).into(), "calls", &call).await;
                let answer = answer.expect("an answer");
                let kind = answer.field("content-type").map(str::to_owned);
                let told = (
                    Some(u64::from(answer.status)),
                    answer.field("grpc-status").and_then(|it| it.parse().ok()),
                    kind.filter(|_| path.ends_with("/grpc")),
                );
                if !got.contains(&told) {
                    got.push(told);
                }
                if got.len() == expected.len() {
                    break;
                }
            }
            got.sort();
            expected.sort();
            assert_eq!(got, expected, "{path} {kind}: {answer}");
        }
    }
    let text = explain("/some/empty", DIALECTS[0].0, &[]);
    let expected =
        "; a gRPC-Web client is told 200 with grpc-status 14 where its call would be translated\n";
    assert!(text.ends_with(expected), "{text}");
}

/// Who is answered before a backend is chosen, or goes where nothing is translated, or does not call,
/// reads HTTP's statuses: nobody knows what else is understood there.
#[tokio::test]
async fn others_are_told_in_the_words_of_http() {
    let notes = Notes::default();
    let (_gateway, _upstream, at) = own_answers("grpc-web", &notes).await;
    let (_other, _its, elsewhere) = own_answers("grpc", &notes).await;
    let (kind, _, body) = DIALECTS[0];
    for (at, method, path, kind, status) in [
        (at, "POST", "/forbidden", kind, 403),
        (at, "POST", "/gone", kind, 503),
        (at, "POST", "/a%00b", kind, 400),
        (at, "POST", "/empty", "application/json", 503),
        (at, "GET", "/empty", kind, 503),
        (elsewhere, "POST", "/empty", kind, 503),
        (elsewhere, "POST", "/fault", kind, 401),
    ] {
        for speaks in [Speaks::Http1, Speaks::Http2] {
            let call = Ask::new(method, path).field("content-type", kind);
            let call = match method {
                "GET" => call,
                _ => call.body(body).sized(),
            };
            let told = ask(speaks, at, "calls", &call).await.expect("an answer");
            assert_eq!(told.status, status, "{path} {kind} {speaks:?}");
            assert_eq!(told.field("grpc-status"), None, "{path} {kind} {speaks:?}");
        }
    }
    // HTTP/1 all the way has no words for gRPC (BE-73).
    for (speaks, status) in [(Speaks::Http1, 503), (Speaks::Http2, 200)] {
        let call = Ask::new("POST", "/as-client").field("content-type", kind);
        let told = ask(speaks, at, "calls", &call.body(body)).await;
        assert_eq!(told.expect("an answer").status, status, "{speaks:?}");
    }
}

/// `explain` knows what such a call is told.
#[tokio::test]
async fn explain_says_what_a_call_is_told() {
    let (gateway, _upstream, at) = own_answers("grpc-web", &Notes::default()).await;
    let documents = gateway.folder().display().to_string();
    for (path, kind, status) in [
        ("/empty", DIALECTS[0].0, Some(14)),
        ("/empty", DIALECTS[1].0, Some(14)),
        ("/empty", "application/grpc", Some(14)),
        ("/empty", "application/json", None),
        ("/fault", DIALECTS[0].0, Some(16)),
        ("/fault-grpc", DIALECTS[0].0, Some(8)),
        ("/forbidden", DIALECTS[0].0, None),
        ("/gone", DIALECTS[0].0, None),
    ] {
        let target = format!("http://calls:{}{path}", at.port());
        let kind = format!("content-type: {kind}");
        let output = pointsman(&[
            "explain", "-X", "POST", &target, "-f", &documents, "-H", &kind, "-o", "json",
        ]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let told = json["answer"]["grpc_status"].as_u64();
        assert_eq!(told, status, "{path} {kind}: {json}");
    }
}

/// VS-H-132: there is no room for another call.
#[tokio::test]
async fn an_overflow_has_a_grpc_status() {
    let upstream = Http2Upstream::named("calls")
        .otherwise(Http2Reply::hang())
        .start()
        .await;
    let at = SocketAddr::new(fresh_ip(), free_port());
    let endpoints = plain(&[upstream.addr()]);
    let policy = "{connectionPool: {http: {http2MaxRequests: 1}}}";
    let documents = service("calls", at.ip(), at.port(), "grpc-web", &endpoints)
        + &subsets("calls", &[], policy);
    let _gateway = Gateway::serve(&documents).await;
    let (kind, answered, body) = DIALECTS[1];
    let mut first = RawHttp::connect(at).await.expect("connected");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: calls\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    first
        .send([head.as_bytes(), body].concat())
        .await
        .expect("sent");
    eventually(SOON, async || upstream.requests() == 1).await;
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let call = Ask::new("POST", "/")
            .field("content-type", kind)
            .field("accept", kind)
            .body(body);
        let told = ask(speaks, at, "calls", &call).await.expect("an answer");
        assert_eq!((told.status, told.field("grpc-status")), (200, Some("14")));
        assert_eq!(told.field("content-type"), Some(answered));
        assert_eq!(told.field("x-envoy-overloaded"), Some("true"));
    }
}

#[tokio::test]
async fn a_body_that_is_no_base64_is_refused() {
    let (_gateway, _upstream, addr) = calls("grpc-web").await;
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let call = Ask::new("POST", "/test.Echo/Unary")
            .field("content-type", "application/grpc-web-text")
            .field("accept", "application/grpc-web-text")
            .body(b"!!!!");
        let told = ask(speaks, addr, "calls", &call).await.expect("an answer");
        assert_eq!(told.status, 200, "{speaks:?}");
        assert_eq!(told.field("grpc-status"), Some("13"), "400 in HTTP");
        let kind = told.field("content-type");
        assert_eq!(kind, Some("application/grpc-web-text+proto"), "{speaks:?}");
        assert_eq!(told.body, b"", "{speaks:?}");
    }
}

/// Ports that say `grpc` translate nothing: the request passes as it is.
#[tokio::test]
async fn other_ports_translate_nothing() {
    let (_gateway, upstream, addr) = calls("grpc").await;
    let mut client = Http2Client::connect(addr).await.expect("connected");
    let request = Http2Request::post("calls", "/test.Echo/Unary")
        .field("content-type", "application/grpc-web+proto")
        .piece(&grpc::message(b"hello"));
    within(SOON, client.exchange(request))
        .await
        .expect("an answer");
    let seen = upstream.last_seen().expect("a call");
    assert_eq!(
        seen.field("content-type"),
        Some("application/grpc-web+proto")
    );
}

/// What is no answer of gRPC is none of gRPC-Web: it passes as it is.
#[tokio::test]
async fn an_answer_that_is_not_grpc_is_not_translated() {
    let page = Http2Reply::head(502)
        .field("content-type", "text/html")
        .field("content-length", "4")
        .data(b"oops");
    let upstream = Http2Upstream::named("calls").otherwise(page).start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("calls", vip, port, "grpc-web", &plain(&[upstream.addr()]));
    let gateway = Gateway::serve(&text).await;
    for (kind, _, body) in DIALECTS {
        for speaks in [Speaks::Http1, Speaks::Http2] {
            let call = Ask::new("POST", "/").field("content-type", kind).body(body);
            let told = ask(speaks, (vip, port).into(), "calls", &call).await;
            let told = told.expect("an answer");
            let what = format!("{kind} {speaks:?}: {told:?}");
            assert_eq!((told.status, &*told.text()), (502, "oops"), "{what}");
            assert_eq!(told.field("content-type"), Some("text/html"), "{what}");
            assert_eq!(told.field("content-length"), Some("4"), "{what}");
        }
    }
    // A call it was all the same.
    let labels = [("request_protocol", "grpc"), ("response_code", "502")];
    let counted = |it: &Scrape| it.sum("istio_requests_total", &labels) == 4.0;
    gateway.metrics_until(counted).await;
}

/// A reply of trailers alone stays one: they are in the head, and no frame follows.
#[tokio::test]
async fn a_reply_of_trailers_alone_has_no_body() {
    let (gateway, _upstream, addr) = calls("grpc-web").await;
    let body = grpc::message(b"hello");
    let fields = [("content-type", "application/grpc-web+proto")];
    let mut client = RawHttp::connect(addr).await.expect("connected");
    for _ in 0..2 {
        let asked = client.request("POST", "calls", "/test.Echo/Refuse", &fields, Some(&body));
        let reply = within(SOON, asked).await.expect("an answer");
        assert_eq!((reply.status, reply.field("grpc-status")), (200, Some("7")));
        assert_eq!(reply.field("grpc-message"), Some("no"));
        let kind = reply.field("content-type");
        assert_eq!(kind, Some("application/grpc-web+proto"));
        assert_eq!(reply.body, b"");
    }
    let mut client = Http2Client::connect(addr).await.expect("connected");
    let request = Http2Request::post("calls", "/test.Echo/Refuse")
        .field("content-type", "application/grpc-web+proto")
        .piece(&body);
    let reply = within(SOON, client.exchange(request))
        .await
        .expect("an answer");
    assert_eq!((reply.status, reply.field("grpc-status")), (200, Some("7")));
    assert_eq!((reply.body.len(), reply.trailers), (0, None));
    // It is counted as the call of gRPC that it became.
    let labels = [("request_protocol", "grpc"), ("grpc_response_status", "7")];
    let counted = |it: &Scrape| it.sum("istio_requests_total", &labels) == 3.0;
    gateway.metrics_until(counted).await;
}
