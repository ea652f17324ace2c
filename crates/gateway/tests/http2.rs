//! HTTP/2 through the gateway: every pairing of what clients and endpoints speak.
mod common;

use common::{pairs::*, *};
use pointsman_testkit::{
    Http2Client, Http2Error, Http2Reply, Http2Request, Http2Upstream, HttpUpstream, Reply,
    eventually,
    frames::{Block, Event, Frame, FrameError, FramePeer, FrameUpstream},
    free_port, fresh_ip, within,
};
use std::{collections::HashMap, net::SocketAddr, time::Duration};

/// A body that each pairing must carry whole, in both directions, whatever its size and framing.
#[tokio::test]
async fn bodies_of_all_sizes_pass() {
    let pairs = Pairs::serve(vec![("/echo", Reply::echo_body(), Http2Reply::echo_body())]).await;
    for pair in PAIRS {
        for length in [
            0, 1, 100, 16_383, 16_384, 16_385, 65_535, 65_536, 262_145, 3_000_000,
        ] {
            let body = pattern(length);
            for sized in [false, true] {
                let mut ask = Ask::new("POST", "/echo").body(&body);
                ask.sized = sized;
                let got = pairs.ask(pair, &ask).await;
                let got = got.unwrap_or_else(|error| panic!("{pair:?} {length} {sized}: {error}"));
                assert_eq!(got.status, 200, "{pair:?} {length} {sized}");
                assert_eq!(got.body.len(), length, "{pair:?} {length} {sized}");
                assert_eq!(digest(&got.body), digest(&body), "{pair:?} {length}");
            }
        }
    }
    pairs.assert_clean();
}

/// What is asked arrives as it is: method, path with its query, host, fields.
#[tokio::test]
async fn requests_arrive_as_they_were_asked() {
    let pairs = Pairs::serve(Vec::new()).await;
    for pair in PAIRS {
        let ask = Ask::new("OPTIONS", "/a%20b?c=d&e=%2F")
            .field("x-one", "1")
            .field("X-Two", "a, b")
            .field("cookie", "a=b; c=d");
        let got = pairs.ask(pair, &ask).await.expect("answered");
        assert_eq!(got.status, 200, "{pair:?}");
        let name = pairs.at(pair.1).1;
        let said: serde_json::Value = serde_json::from_slice(&got.body).expect("JSON");
        assert_eq!(said["name"], name, "{pair:?}");
        let saw = pairs.last_seen(pair.1).expect("a request");
        assert_eq!((&*saw.method, &*saw.path), ("OPTIONS", "/a%20b?c=d&e=%2F"));
        assert_eq!(saw.host, name, "{pair:?}");
        let field = |name: &str| pointsman_testkit::message::field(&saw.fields, name);
        assert_eq!(field("x-one"), Some("1"), "{pair:?}");
        assert_eq!(field("x-two"), Some("a, b"), "{pair:?}");
        assert_eq!(field("cookie"), Some("a=b; c=d"), "{pair:?}");
        for hop in ["connection", "transfer-encoding", "keep-alive", "upgrade"] {
            assert_eq!(field(hop), None, "{pair:?} {hop}");
        }
    }
    pairs.assert_clean();
}

#[tokio::test]
async fn trailers_pass_in_both_directions() {
    let pairs = Pairs::serve(vec![(
        "/",
        Reply::chunked(&["one", "two"]).trailer("X-Sum", "6"),
        Http2Reply::head(200)
            .data(b"one")
            .data(b"two")
            .trailers(&[("x-sum", "6")]),
    )])
    .await;
    for pair in PAIRS {
        let ask = Ask::new("POST", "/")
            .field("te", "trailers")
            .body(b"hello")
            .trailer("x-check", "42");
        let got = pairs.ask(pair, &ask).await.expect("answered");
        assert_eq!(got.text(), "onetwo", "{pair:?}");
        let sum = [("x-sum".to_owned(), "6".to_owned())];
        assert_eq!(got.trailers, sum, "{pair:?}");
        let saw = pairs.last_seen(pair.1).expect("a request");
        assert_eq!(saw.body, b"hello", "{pair:?}");
        let check = [("x-check".to_owned(), "42".to_owned())];
        assert_eq!(saw.trailers, check, "{pair:?}");
    }
    pairs.assert_clean();
}

/// Trailers without a byte before them: behind a length of zero, and behind none.
#[tokio::test]
async fn trailers_pass_without_a_body() {
    let trailers = [("x-sum", "0")];
    let told = Http2Reply::head(200).field("content-length", "0");
    let untold = Reply::chunked(&[""; 0]).trailer("X-Sum", "0");
    let pairs = Pairs::serve(vec![
        ("/told", Reply::text(200, ""), told.trailers(&trailers)),
        ("/untold", untold, Http2Reply::head(200).trailers(&trailers)),
    ])
    .await;
    let sum = [("x-sum".to_owned(), "0".to_owned())];
    let field = |fields: &[_], name| pointsman_testkit::message::field(fields, name).is_some();
    for endpoint in [Speaks::Http1, Speaks::Http2] {
        for path in ["/told", "/untold"] {
            let told = path == "/told";
            let (at, host) = pairs.at(endpoint);
            let mut request = Http2Request::post(host, path).trailers(&trailers);
            if told {
                request = request.field("content-length", "0");
            }
            let mut client = Http2Client::connect(at).await.expect("connects");
            let got = within(SOON, client.exchange(request)).await;
            let got = got.unwrap_or_else(|error| panic!("{endpoint:?} {path}: {error}"));
            assert_eq!(
                (got.status, got.body.len()),
                (200, 0),
                "{endpoint:?} {path}"
            );
            assert_eq!(field(&got.fields, "content-length"), told, "{endpoint:?}");
            let saw = pairs.last_seen(endpoint).expect("a request");
            assert_eq!(field(&saw.fields, "content-length"), told, "{endpoint:?}");
            // HTTP/1 has no room for them behind a length (RFC 9110 section 6.5.1).
            let room = !told || endpoint == Speaks::Http2;
            assert_eq!(saw.trailers == sum, room, "{endpoint:?} {path}");
            let got = got.trailers.unwrap_or_default();
            assert_eq!(got == sum, room, "{endpoint:?} {path}");
        }
    }
    for path in ["/told", "/untold"] {
        let ask = Ask::new("GET", path).field("te", "trailers");
        let got = pairs.ask((Speaks::Http1, Speaks::Http2), &ask).await;
        let got = got.expect("answered");
        assert_eq!(field(&got.fields, "content-length"), path == "/told");
        assert_eq!(got.trailers == sum, path == "/untold");
    }
    pairs.assert_clean();
}

/// A stream that has told a length of zero may be ended later, or never.
#[tokio::test]
async fn a_stream_without_a_body_may_end_late() {
    let pairs = Pairs::serve(vec![(
        "/",
        Reply::text(200, ""),
        Http2Reply::head(200).early(),
    )])
    .await;
    for pair in [
        (Speaks::Http2, Speaks::Http1),
        (Speaks::Http2, Speaks::Http2),
    ] {
        let (at, host) = pairs.at(pair.1);
        let mut client = Http2Client::connect(at).await.expect("connects");
        let request = Http2Request::post(host, "/").field("content-length", "0");
        let mut stream = client.begin(&request, false).await.expect("begun");
        let got = within(SOON, stream.rest()).await.expect("answered");
        assert_eq!(got.status, 200, "{pair:?}");
    }
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let pairs = Pairs::serve(vec![
        (
            "/sized",
            Reply::sized(1234),
            Http2Reply::head(200).field("content-length", "1234"),
        ),
        ("/none", Reply::text(204, ""), Http2Reply::head(204)),
        (
            "/unchanged",
            Reply::text(304, "").field("etag", "\"a\""),
            Http2Reply::head(304).field("etag", "\"a\""),
        ),
        ("/empty", Reply::text(200, ""), Http2Reply::head(200)),
    ])
    .await;
    for pair in PAIRS {
        let head = Ask::new("HEAD", "/sized");
        let head = pairs.ask(pair, &head).await.expect("answered");
        assert_eq!((head.status, head.body.len()), (200, 0), "{pair:?}");
        assert_eq!(head.field("content-length"), Some("1234"), "{pair:?}");
        for (path, status) in [("/none", 204), ("/unchanged", 304), ("/empty", 200)] {
            let got = pairs.ask(pair, &Ask::new("GET", path)).await;
            let got = got.unwrap_or_else(|error| panic!("{pair:?} {path}: {error}"));
            assert_eq!((got.status, got.body.len()), (status, 0), "{pair:?} {path}");
            if status == 304 {
                assert_eq!(got.field("etag"), Some("\"a\""), "{pair:?}");
            }
        }
    }
    pairs.assert_clean();
}

#[tokio::test]
async fn interim_responses_are_passed_on() {
    let early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let pairs = Pairs::serve(vec![(
        "/",
        Reply::text(200, "late").preceded_by(early),
        Http2Reply::text(200, "late").interim(103, &[("link", "</a.css>")]),
    )])
    .await;
    for pair in PAIRS {
        let got = pairs.ask(pair, &Ask::new("GET", "/")).await;
        let got = got.unwrap_or_else(|error| panic!("{pair:?}: {error}"));
        assert_eq!((got.status, &*got.text()), (200, "late"), "{pair:?}");
        assert_eq!(got.interim, [103], "{pair:?}");
    }
    pairs.assert_clean();
}

/// An answer that comes before the request has ended is passed on at once, and whole.
#[tokio::test]
async fn an_early_answer_reaches_the_client() {
    let pairs = Pairs::serve(vec![(
        "/",
        Reply::text(413, "too much").early(),
        Http2Reply::text(413, "too much").early(),
    )])
    .await;
    for endpoint in [Speaks::Http1, Speaks::Http2] {
        let (at, host) = pairs.at(endpoint);
        let mut client = Http2Client::connect(at).await.expect("connects");
        let mut stream = client
            .begin(&Http2Request::post(host, "/"), false)
            .await
            .expect("begun");
        stream.send(b"some of it", false).await.expect("sent");
        let got = within(SOON, stream.rest()).await.expect("answered");
        assert_eq!((got.status, got.text()), (413, "too much"), "{endpoint:?}");
        // The connection goes on.
        let again = within(SOON, client.get(host, "/")).await.expect("answered");
        assert_eq!(again.status, 413, "{endpoint:?}");

        let mut client = connect(at).await;
        let begun = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99\r\n\r\nsome");
        client.send(begun).await.expect("sent");
        let got = client.read_response().await.expect("answered");
        assert_eq!(
            (got.status, &*got.text()),
            (413, "too much"),
            "{endpoint:?}"
        );
    }
}

/// A stream that the client gives up is given up towards the endpoint too.
#[tokio::test]
async fn a_reset_of_the_client_reaches_the_endpoint() {
    let pairs = Pairs::serve(vec![
        ("/hang", Reply::hang(), Http2Reply::hang()),
        (
            "/endless",
            Reply::endless(b"tick", Duration::from_millis(5)),
            Http2Reply::endless(b"tick", Duration::from_millis(5)),
        ),
    ])
    .await;
    for endpoint in [Speaks::Http1, Speaks::Http2] {
        let (at, host) = pairs.at(endpoint);
        let mut client = Http2Client::connect(at).await.expect("connects");
        for path in ["/hang", "/endless"] {
            let begun = || pairs.one.requests() + pairs.two.requests();
            let before = begun();
            let request = Http2Request::get(host, path);
            let mut stream = client.begin(&request, true).await.expect("begun");
            if path == "/endless" {
                assert!(within(SOON, stream.piece()).await.expect("open").is_some());
            } else {
                eventually(SOON, async || begun() > before).await;
            }
            stream.reset(8);
            drop(stream);
            match endpoint {
                // One that hangs does not look whether its client is there.
                Speaks::Http1 if path == "/hang" => {}
                Speaks::Http1 => {
                    let hanging = 1;
                    eventually(SOON, async || pairs.one.open_connections() == hanging).await;
                }
                Speaks::Http2 => {
                    let reset = (path.to_owned(), Some(8));
                    let saw = async || pairs.two.resets().contains(&reset);
                    let seen = tokio::time::timeout(SOON / 4, eventually(SOON, saw)).await;
                    assert!(seen.is_ok(), "{path}: {:?}", pairs.two.resets());
                }
            }
            // Others on the same connection notice nothing.
            let other = within(SOON, client.get(host, "/")).await.expect("answered");
            assert_eq!(other.status, 200, "{endpoint:?}");
        }
    }
    // HTTP/1 has no reset but the end of the connection.
    let (at, host) = pairs.at(Speaks::Http2);
    let mut client = connect(at).await;
    let request = format!("GET /endless HTTP/1.1\r\nHost: {host}\r\n\r\n");
    client.send(request).await.expect("sent");
    client.read_head().await.expect("begun");
    let before = pairs.two.resets().len();
    drop(client);
    eventually(SOON, async || pairs.two.resets().len() > before).await;
}

/// A response that the endpoint cuts is cut for the client: never a whole one.
#[tokio::test]
async fn a_cut_response_is_cut_for_the_client() {
    let pairs = Pairs::serve(vec![
        (
            "/cut",
            Reply::cut_chunked(),
            Http2Reply::head(200)
                .data(b"half")
                .pause(Duration::from_millis(100))
                .then_reset(2),
        ),
        (
            "/short",
            Reply::cut(100, 10),
            Http2Reply::head(200)
                .field("content-length", "100")
                .data(b"only this"),
        ),
        (
            "/gone",
            Reply::cut(100, 10),
            Http2Reply::head(200)
                .data(b"half")
                .pause(Duration::from_millis(100))
                .then_drop(),
        ),
    ])
    .await;
    for pair in PAIRS {
        for path in ["/cut", "/short", "/gone"] {
            let got = pairs.ask(pair, &Ask::new("GET", path)).await;
            match got {
                Err(_) => {}
                // A wrong length may be found before the head was passed on.
                Ok(got) => assert_eq!(got.status, 502, "{pair:?} {path}: {got:?}"),
            }
        }
    }
}

/// VS-H-131: a reset before the response has begun is a reply of the gateway.
#[tokio::test]
async fn a_reset_before_the_answer_is_a_503() {
    let pairs = Pairs::serve(vec![
        ("/reset", Reply::reset(), Http2Reply::reset(2)),
        ("/refused", Reply::reset(), Http2Reply::reset(7)),
    ])
    .await;
    for client in [Speaks::Http1, Speaks::Http2] {
        let pair = (client, Speaks::Http2);
        let got = pairs
            .ask(pair, &Ask::new("POST", "/reset").body(b"a"))
            .await;
        let got = got.expect("answered");
        assert_eq!(got.status, 503, "{client:?}");
        assert!(got.text().contains("reset"), "{}", got.text());
        let got = pairs
            .ask(pair, &Ask::new("POST", "/refused").body(b"a"))
            .await;
        assert_eq!(got.expect("answered").status, 503, "{client:?}");
    }
    pairs
        .gateway
        .metrics_until(|it| {
            let labels = [("response_code", "503"), ("response_flags", "UR")];
            it.sum("istio_requests_total", &labels) >= 2.0
        })
        .await;
}

/// A client that does not read stops the endpoint, and costs a bounded amount of memory.
#[tokio::test]
async fn a_client_that_does_not_read_stops_the_endpoint() {
    if !is_alone("a_client_that_does_not_read_stops_the_endpoint") {
        return;
    }
    const LENGTH: usize = 50_000_000;
    let pairs = Pairs::serve(vec![(
        "/much",
        Reply::sized(LENGTH),
        Http2Reply::sized(LENGTH),
    )])
    .await;
    for endpoint in [Speaks::Http1, Speaks::Http2] {
        let (at, host) = pairs.at(endpoint);
        let before = resident();
        // Room on the connection for others: only the streams are stalled.
        let client = Http2Client::connect_tuned(at, |builder| {
            builder.initial_connection_window_size(1 << 20);
        });
        let mut client = client.await.expect("connects");
        let mut streams = Vec::new();
        for _ in 0..3 {
            let request = Http2Request::get(host, "/much");
            let mut stream = client.begin(&request, true).await.expect("begun");
            assert_eq!(within(SOON, stream.status()).await, Ok(200));
            streams.push(stream);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let grown = resident().saturating_sub(before);
        // The upstreams of this process hold their bodies themselves.
        let own = 3 * LENGTH as u64 * 5 / 2;
        assert!(grown < own, "{endpoint:?}: {grown} bytes");
        // Streams beside it are served.
        let other = within(SOON, client.get(host, "/")).await.expect("answered");
        assert_eq!(other.status, 200, "{endpoint:?}");
        for stream in &mut streams {
            let got = within(SOON, stream.rest()).await.expect("whole");
            assert_eq!(got.body.len(), LENGTH, "{endpoint:?}");
        }
    }
}

/// An endpoint that does not read stops the client.
#[tokio::test]
async fn an_endpoint_that_does_not_read_stops_the_client() {
    let pairs = Pairs::serve(vec![(
        "/shut",
        Reply::hang(),
        Http2Reply::hang().never_reads(),
    )])
    .await;
    let (at, host) = pairs.at(Speaks::Http2);
    let mut client = Http2Client::connect(at).await.expect("connects");
    let request = Http2Request::post(host, "/shut");
    let mut stream = client.begin(&request, false).await.expect("begun");
    let piece = vec![0; 64 * 1024];
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(500), stream.send(&piece, false))
        .await
        .is_ok_and(|sent| sent.is_ok())
    {
        sent += piece.len();
        assert!(sent < 4 << 20, "nothing holds the client back");
    }
    let other = within(SOON, client.get(host, "/")).await.expect("answered");
    assert_eq!(other.status, 200);
}

/// Streams of one connection are balanced one by one (VS-H-5).
#[tokio::test]
async fn streams_of_one_connection_go_to_several_endpoints() {
    let upstream = |name: &str| Http2Upstream::named(name).at((fresh_ip(), 0)).start();
    let (a, b) = tokio::join!(upstream("a"), upstream("b"));
    let at = SocketAddr::new(fresh_ip(), free_port());
    let text = [
        service(
            "web",
            at.ip(),
            at.port(),
            "http2",
            &plain(&[a.addr(), b.addr()]),
        ),
        subsets("web", &["v0"], "{loadBalancer: {simple: ROUND_ROBIN}}"),
    ]
    .concat();
    let _gateway = Gateway::serve(&text).await;
    let mut client = Http2Client::connect(at).await.expect("connects");
    let mut answered = HashMap::<String, u32>::new();
    for _ in 0..10 {
        let got = within(SOON, client.get("web", "/"))
            .await
            .expect("answered");
        let name = got.json()["name"].as_str().expect("a name").to_owned();
        *answered.entry(name).or_default() += 1;
    }
    assert_eq!(answered, HashMap::from([("a".into(), 5), ("b".into(), 5)]));
    assert_eq!((a.connections(), b.connections()), (1, 1));
}

/// Documents decide what an endpoint is spoken to in (PS-60, PS-61, BE-72, BE-73).
#[tokio::test]
async fn documents_say_what_the_endpoint_speaks() {
    use Speaks::{Http1, Http2};
    let one = HttpUpstream::named("one").start().await;
    let two = Http2Upstream::named("two").start().await;
    let port = free_port();
    let upgrade = "{connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}";
    let same = "{connectionPool: {http: {useClientProtocol: true}}}";
    let mut text = String::new();
    let mut cases = Vec::new();
    for (at, (name, port_name, app, policy, to_http1, to_http2)) in [
        ("http", "http", "", "", Http1, Http1),
        ("http2", "http2", "", "", Http2, Http2),
        ("grpc", "grpc", "", "", Http2, Http2),
        ("h2c", "x", "kubernetes.io/h2c", "", Http2, Http2),
        ("upgrade", "http", "", upgrade, Http2, Http2),
        ("same", "http", "", same, Http1, Http2),
        ("auto", "", "", "", Http1, Http2),
    ]
    .into_iter()
    .enumerate()
    {
        for (client, endpoint) in [(Http1, to_http1), (Http2, to_http2)] {
            let vip = fresh_ip();
            let name = format!("{name}-{at}-{}", if client == Http1 { 1 } else { 2 });
            let upstream = if endpoint == Http1 {
                one.addr()
            } else {
                two.addr()
            };
            let mut service = service(&name, vip, port, port_name, &[(upstream, "v0")]);
            if !app.is_empty() {
                let with = format!("appProtocol: {app}, port: ");
                service = service.replace("port: ", &with);
            }
            text += &service;
            if !policy.is_empty() {
                text += &subsets(&name, &["v0"], policy);
            }
            cases.push((name, client, endpoint, SocketAddr::new(vip, port)));
        }
    }
    let _gateway = Gateway::serve(&text).await;
    for (name, client, endpoint, at) in cases {
        let got = ask(client, at, &name, &Ask::new("GET", "/")).await;
        let got = got.unwrap_or_else(|error| panic!("{name} {client:?}: {error}"));
        assert_eq!(got.status, 200, "{name} {client:?}: {}", got.text());
        let said: serde_json::Value = serde_json::from_slice(&got.body).expect("JSON");
        let expected = if endpoint == Http1 { "one" } else { "two" };
        assert_eq!(said["name"], expected, "{name} {client:?}");
    }
}

/// BE-72: the mesh's own word holds for ports that are declared HTTP, where their policy says neither.
#[tokio::test]
async fn a_mesh_may_have_http2_spoken() {
    let one = HttpUpstream::named("one").start().await;
    let two = Http2Upstream::named("two").start().await;
    let pool = |word| format!("{{connectionPool: {{http: {{{word}}}}}}}");
    let mut text = "---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: 'h2UpgradePolicy: UPGRADE'}
"
    .to_owned();
    let mut cases = Vec::new();
    for (name, port_name, policy, http2) in [
        ("plain", "http", String::new(), true),
        ("other", "http", pool("maxRetries: 9"), true),
        (
            "never",
            "http",
            pool("h2UpgradePolicy: DO_NOT_UPGRADE"),
            false,
        ),
        ("same", "http", pool("useClientProtocol: true"), false),
        ("auto", "", String::new(), false),
    ] {
        let at = SocketAddr::new(fresh_ip(), free_port());
        let to = if http2 { two.addr() } else { one.addr() };
        text += &service(name, at.ip(), at.port(), port_name, &[(to, "v0")]);
        if !policy.is_empty() {
            text += &subsets(name, &["v0"], &policy);
        }
        cases.push((name, at, if http2 { "two" } else { "one" }));
    }
    let gateway = Gateway::serve(&text).await;
    for (name, at, expected) in cases {
        let got = ask(Speaks::Http1, at, name, &Ask::new("GET", "/")).await;
        let got = got.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(got.status, 200, "{name}: {}", got.text());
        let said: serde_json::Value = serde_json::from_slice(&got.body).expect("JSON");
        assert_eq!(said["name"], expected, "{name}");
    }
    let findings = serde_json::to_string(&gateway.findings().await).expect("JSON");
    assert!(!findings.contains("h2UpgradePolicy"), "{findings}");
}

/// Passing through what nothing recognises would come back here: a reply says so.
#[tokio::test]
async fn a_stream_for_nobody_is_answered() {
    let known = HttpUpstream::named("known").start().await;
    let at = SocketAddr::new(fresh_ip(), free_port());
    let text = http("known", at.ip(), at.port(), known.addr());
    let _gateway = Gateway::serve(&text).await;
    let got = ask(Speaks::Http2, at, "stranger", &Ask::new("GET", "/")).await;
    assert_eq!(got.expect("answered").status, 404);
}

/// GOAWAY of an endpoint between and during streams is nobody's failure.
#[tokio::test]
async fn an_endpoint_may_go_away() {
    let pairs = Pairs::serve(vec![
        (
            "/last",
            Reply::text(200, "last"),
            Http2Reply::text(200, "last").then_go_away(),
        ),
        (
            "/slow",
            Reply::text(200, "slow"),
            Http2Reply::text(200, "slow").after(Duration::from_millis(300)),
        ),
    ])
    .await;
    let (at, host) = pairs.at(Speaks::Http2);
    let mut client = Http2Client::connect(at).await.expect("connects");
    let slow = Http2Request::get(host, "/slow");
    let mut slow = client.begin(&slow, true).await.expect("begun");
    for _ in 0..5 {
        let got = within(SOON, client.get(host, "/last")).await;
        assert_eq!(got.expect("answered").text(), "last");
    }
    let got = within(SOON, slow.rest()).await.expect("answered");
    assert_eq!(got.text(), "slow");
    assert_eq!(pairs.two.errors(), [""; 0]);
}

/// As many connections to an endpoint as its limit of streams asks for.
#[tokio::test]
async fn an_endpoint_with_few_streams_gets_more_connections() {
    let two = Http2Upstream::named("two")
        .streams(2)
        .otherwise(Http2Reply::text(200, "ok").after(Duration::from_millis(200)))
        .start()
        .await;
    let at = SocketAddr::new(fresh_ip(), free_port());
    let text = http2("web", at.ip(), at.port(), two.addr());
    let _gateway = Gateway::serve(&text).await;
    let mut client = Http2Client::connect(at).await.expect("connects");
    let mut streams = Vec::new();
    for _ in 0..20 {
        let request = Http2Request::get("web", "/");
        streams.push(client.begin(&request, true).await.expect("begun"));
    }
    for stream in &mut streams {
        let got = within(SOON, stream.rest()).await.expect("answered");
        assert_eq!((got.status, got.text()), (200, "ok"));
    }
    assert!(two.most_streams() <= 2, "{}", two.most_streams());
    assert!(two.connections() >= 10, "{}", two.connections());
}

/// `maxRequestsPerConnection` holds for HTTP/2 endpoints too (BE-68).
#[tokio::test]
async fn a_connection_to_an_endpoint_carries_as_many_requests_as_it_may() {
    let pool = "{connectionPool: {http: {maxRequestsPerConnection: 2}}}";
    let pairs = Pairs::serve_with(settings(), Vec::new(), &subsets("two", &["v0"], pool)).await;
    let (at, host) = pairs.at(Speaks::Http2);
    let mut client = Http2Client::connect(at).await.expect("connects");
    for _ in 0..6 {
        let got = within(SOON, client.get(host, "/")).await.expect("answered");
        assert_eq!(got.status, 200);
    }
    assert_eq!(pairs.two.connections(), 3);
}

/// Local replies to streams: statuses, and the connection goes on.
#[tokio::test]
async fn replies_of_the_gateway_end_a_stream_only() {
    let dead = SocketAddr::new(fresh_ip(), free_port());
    let pairs = Pairs::serve_with(
        settings(),
        vec![("/hang", Reply::hang(), Http2Reply::hang())],
        &[
            &*http2("dead", fresh_ip(), free_port(), dead),
            &rules(
                "two",
                "- match: [{uri: {exact: /dead}}]
  route: [{destination: {host: dead}}]
- match: [{uri: {exact: /nobody}}]
  route: [{destination: {host: nobody}}]
- match: [{uri: {exact: /direct}}]
  directResponse: {status: 418, body: {string: tea}}
- match: [{uri: {exact: /elsewhere}}]
  redirect: {uri: /there}
- match: [{uri: {exact: /hang}}]
  timeout: 0.2s
  route: [{destination: {host: two}}]
- match: [{uri: {exact: /fault}}]
  fault: {abort: {httpStatus: 429, percentage: {value: 100}}}
  route: [{destination: {host: two}}]
- match: [{uri: {prefix: /fine}}]
  route: [{destination: {host: two}}]",
            ),
        ]
        .concat(),
    )
    .await;
    let (at, host) = pairs.at(Speaks::Http2);
    let mut client = Http2Client::connect(at).await.expect("connects");
    for (path, status) in [
        ("/dead", 503),
        ("/nobody", 503),
        ("/direct", 418),
        ("/elsewhere", 301),
        ("/hang", 504),
        ("/fault", 429),
        ("/none", 404),
        ("/fine", 200),
    ] {
        let got = within(SOON, client.get(host, path))
            .await
            .expect("answered");
        assert_eq!(got.status, status, "{path}");
        if path == "/elsewhere" {
            assert_eq!(got.field("location"), Some("http://two/there"));
        }
    }
}

/// A drain says GOAWAY and waits for the streams of now.
#[tokio::test]
async fn a_drain_finishes_streams_and_takes_no_more() {
    let upstream = Http2Upstream::named("two")
        .on(
            "/slow",
            Http2Reply::text(200, "slow").after(Duration::from_millis(1000)),
        )
        .start()
        .await;
    let at = SocketAddr::new(fresh_ip(), free_port());
    let text = http2("web", at.ip(), at.port(), upstream.addr());
    let mut settings = settings();
    settings.process.drain_time = written("20s");
    let gateway = Gateway::serve_with(settings, &text).await;
    let mut client = Http2Client::connect(at).await.expect("connects");
    let mut idle = Http2Client::connect(at).await.expect("connects");
    within(SOON, idle.get("web", "/")).await.expect("answered");
    let request = Http2Request::get("web", "/slow");
    let mut slow = client.begin(&request, true).await.expect("begun");
    eventually(SOON, async || upstream.requests() == 2).await;
    let stopped = tokio::task::spawn_blocking(move || drop(gateway));
    within(SOON, idle.ended())
        .await
        .expect("a GOAWAY without error");
    let got = within(SOON, slow.rest()).await.expect("answered");
    assert_eq!(got.text(), "slow");
    drop(slow);
    within(SOON, client.ended())
        .await
        .expect("a GOAWAY without error");
    within(SOON, stopped).await.expect("stopped");
}

/// `timeouts.connection_age`: GOAWAY when it is over, without any request having to come; the streams
/// of then finish (RFC 9113 section 6.8).
#[tokio::test]
async fn a_client_connection_ends_by_its_age() {
    let mut settings = settings();
    settings.timeouts.connection_age = written("1s");
    let slow = Http2Reply::text(200, "slow").after(Duration::from_millis(2500));
    let pairs = Pairs::serve_with(
        settings,
        vec![("/slow", Reply::text(200, "slow"), slow)],
        "",
    )
    .await;
    let (at, host) = pairs.at(Speaks::Http2);
    let mut busy = Http2Client::connect(at).await.expect("connects");
    let request = Http2Request::get(host, "/slow");
    let mut slow = busy.begin(&request, true).await.expect("begun");
    let (ended, took) = timed(async {
        let mut idle = Http2Client::connect(at).await.expect("connects");
        within(SOON, idle.get(host, "/")).await.expect("answered");
        within(SOON, idle.ended()).await
    })
    .await;
    ended.expect("a GOAWAY without error");
    assert!((0.9..5.0).contains(&took.as_secs_f64()), "{took:?}");
    let got = within(SOON, slow.rest()).await.expect("answered");
    assert_eq!(got.text(), "slow");
    drop(slow);
    within(SOON, busy.ended())
        .await
        .expect("a GOAWAY without error");
}

/// The same of a connection on which requests never pause: it ends, and none of them is lost.
#[tokio::test]
async fn a_busy_client_connection_ends_by_its_age_and_loses_nothing() {
    let mut settings = settings();
    settings.timeouts.connection_age = written("300ms");
    let reply = Http2Reply::text(200, "ok").after(Duration::from_millis(20));
    let pairs = Pairs::serve_with(settings, vec![("/", Reply::text(200, "ok"), reply)], "").await;
    let (at, host) = pairs.at(Speaks::Http2);
    let begun = tokio::time::Instant::now();
    let mut client = Http2Client::connect(at).await.expect("connects");
    let mut streams = Vec::new();
    // A request that the client has not begun is not lost: it knows.
    while let Ok(stream) = client.begin(&Http2Request::get(host, "/"), true).await {
        assert!(begun.elapsed() < SOON, "it never ends");
        streams.push(stream);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(200));
    let mut answered = 0;
    for stream in &mut streams {
        match within(SOON, stream.rest()).await {
            Ok(got) => {
                assert_eq!((got.status, got.text()), (200, "ok"));
                answered += 1;
            }
            // It was not sent, or is above the last one that was taken: the client knows.
            Err(Http2Error::GoAway(0)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(answered > 10, "{answered}");
    assert_eq!(pairs.two.requests(), answered);
}

/// A connection that asks for more streams than it may have is told so, stream by stream.
#[tokio::test]
async fn the_client_may_have_as_many_streams_as_was_said() {
    let mut settings = settings();
    settings.http2.client_streams = 3;
    let pairs = Pairs::serve_with(
        settings,
        vec![("/hang", Reply::hang(), Http2Reply::hang())],
        "",
    )
    .await;
    let (at, host) = pairs.at(Speaks::Http2);
    let mut client = Http2Client::connect(at).await.expect("connects");
    within(SOON, client.get(host, "/")).await.expect("answered");
    assert_eq!(client.allowed_streams(), 3);
    let mut streams = Vec::new();
    let request = Http2Request::get(host, "/hang");
    for _ in 0..3 {
        let begun = within(SOON, client.begin(&request, true)).await;
        streams.push(begun.expect("begun"));
    }
    eventually(SOON, || async { pairs.two.requests() - 1 == 3 }).await;
    for _ in 0..2 {
        let begun = tokio::time::timeout(Duration::from_millis(300), client.begin(&request, true));
        if let Ok(begun) = begun.await {
            streams.push(begun.expect("begun"));
        }
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(pairs.two.requests() - 1, 3);
    drop(streams);
    let got = within(SOON, client.get(host, "/")).await.expect("answered");
    assert_eq!(got.status, 200);
}

/// The tasks that serve streams stay for a while, fewer than there may be streams: bursts of any
/// size, and pauses in which they end, are served alike.
#[tokio::test]
async fn bursts_and_pauses_are_served() {
    let pairs = Pairs::serve(Vec::new()).await;
    let (at, host) = pairs.at(Speaks::Http2);
    let mut client = Http2Client::connect(at).await.expect("connects");
    for (burst, pause) in [(90, 0), (1, 0), (40, 1500), (90, 0)] {
        let mut streams = Vec::new();
        for _ in 0..burst {
            let request = Http2Request::get(host, "/");
            let begun = within(SOON, client.begin(&request, true)).await;
            streams.push(begun.expect("begun"));
        }
        for mut stream in streams {
            let got = within(SOON, stream.rest()).await.expect("answered");
            assert_eq!(got.status, 200);
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    assert_eq!(pairs.two.requests(), 221);
}

#[tokio::test]
async fn errors_of_a_stream_are_told_apart() {
    let pairs = Pairs::serve(vec![(
        "/cut",
        Reply::cut(100, 10),
        Http2Reply::head(200)
            .data(b"half")
            .pause(Duration::from_millis(100))
            .then_reset(2),
    )])
    .await;
    let (at, host) = pairs.at(Speaks::Http2);
    let mut client = Http2Client::connect(at).await.expect("connects");
    let cut = within(SOON, client.get(host, "/cut")).await;
    assert!(matches!(cut, Err(Http2Error::Reset(_))), "{cut:?}");
    // The connection goes on.
    let got = within(SOON, client.get(host, "/")).await.expect("answered");
    assert_eq!(got.status, 200);
}

/// To a client of HTTP/1, which has nothing to get behind the length that was announced: its next request
/// does not wait for the end of the stream. That is waited for all the same, and not reset.
#[tokio::test]
async fn an_answer_that_is_complete_by_its_length_does_not_wait_for_the_end_of_its_stream() {
    async fn asked(peer: &mut FramePeer) -> Result<u32, FrameError> {
        loop {
            match peer.event().await? {
                Event::Headers { stream, .. } => return Ok(stream),
                Event::Reset { .. } => return Err(FrameError::Malformed("given up".into())),
                _ => {}
            }
        }
    }
    let upstream = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        for (length, body) in [("5", "hello"), ("5", "hello"), ("0", ""), ("5", "")] {
            let late = asked(&mut peer).await?;
            let head = Block::status(200).literal("content-length", length);
            peer.send(&[Frame::headers(late, head)]).await?;
            if !body.is_empty() {
                peer.send(&[Frame::data(late, body)]).await?;
            }
            let next = asked(&mut peer).await?;
            peer.answer(next, 200, b"next").await?;
            let end = Frame::data(late, "").end_stream();
            peer.send(&[end]).await?;
        }
        let last = asked(&mut peer).await?;
        peer.answer(last, 200, b"last").await?;
        peer.drain().await
    })
    .await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = service(
        "web",
        web.ip(),
        web.port(),
        "grpc",
        &plain(&[upstream.addr()]),
    );
    let _gateway = Gateway::serve(&documents).await;
    let mut client = connect(web).await;
    for (method, sent, got) in [
        ("GET", None, "hello"),
        ("POST", Some(&b"body"[..]), "hello"),
        ("GET", None, ""),
        ("HEAD", None, ""),
    ] {
        let late = client.request(method, "web", "/late", &[], sent).await;
        assert_eq!(late.expect("the answer").text(), got, "{method}");
        let next = client.get("web", "/next").await.expect("the next");
        assert_eq!(next.text(), "next", "{method}");
    }
    let last = client.get("web", "/last").await.expect("the last");
    assert_eq!(last.text(), "last");
    assert_eq!((upstream.connections(), upstream.errors()), (1, Vec::new()));
}
