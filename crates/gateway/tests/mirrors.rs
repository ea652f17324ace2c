//! Mirrors of both versions of HTTP, of requests of both versions (VS-H-86..89). What a rule may say
//! about mirrors is tested in `actions.rs`.
mod common;

use common::{pairs::*, *};
use pointsman_testkit::{
    Http2Client, Http2Reply, Http2Request, Http2Upstream, HttpUpstream, Reply, eventually,
    free_port, fresh_ip, within,
};
use std::{
    io::Write,
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

const MIRRORS: &str = "pointsman_mirrors_total";

/// A service for copies, of a port with this name, that nobody asks by itself.
fn shadow(name: &str, port: &str, at: SocketAddr) -> String {
    service(name, fresh_ip(), free_port(), port, &[(at, "v0")])
}

/// `one` and `two`, each mirrored to these.
fn mirrored(mirrors: &[&str]) -> String {
    let mirrors: String = mirrors
        .iter()
        .map(|it| format!("\n  - destination: {{host: {it}}}"))
        .collect();
    let rule = |host| {
        let http = format!(
            "- route: [{{destination: {{host: {host}}}}}]\n  rewrite: {{uri: /v1/}}\n  \
             headers: {{request: {{set: {{x-rule: r}}}}}}\n  mirrors:{mirrors}\n"
        );
        rules(host, &http)
    };
    rule("one") + &rule("two")
}

async fn outcomes(gateway: &Gateway, outcome: &str, count: usize) {
    let labels = [("outcome", outcome)];
    gateway
        .metrics_until(|it| it.sum(MIRRORS, &labels) == count as f64)
        .await;
}

/// A mirror that speaks HTTP/1, one that speaks HTTP/2, and the documents that make them mirrors.
async fn shadows() -> (HttpUpstream, Http2Upstream, String) {
    let one = HttpUpstream::named("shadow1").start().await;
    let two = Http2Upstream::named("shadow2").start().await;
    let documents = [
        shadow("shadow1", "http", one.addr()),
        shadow("shadow2", "http2", two.addr()),
        mirrored(&["shadow1", "shadow2"]),
    ]
    .concat();
    (one, two, documents)
}

/// VS-H-86, VS-H-87: a mirror gets what the endpoint gets, whatever the client, the endpoint and the
/// mirror speak.
#[tokio::test]
async fn a_copy_is_what_the_endpoint_got_in_the_version_of_its_mirror() {
    let (one, two, more) = shadows().await;
    let mut settings = settings();
    settings.process.shards = 1;
    let pairs = Pairs::serve_with(settings, Vec::new(), &more).await;
    let large = pattern(200_000);
    let asks = [
        Ask::new("GET", "/x?q=1").field("cookie", "a=b; c=d"),
        Ask::new("DELETE", "/x"),
        Ask::new("POST", "/x").body(b""),
        Ask::new("POST", "/x").body(b"").sized(),
        Ask::new("POST", "/x").body(b"small").sized(),
        Ask::new("POST", "/x")
            .field("te", "trailers")
            .body(b"small")
            .trailer("x-sum", "5"),
        Ask::new("PUT", "/x").body(&large),
        Ask::new("PUT", "/x").body(&large).sized(),
    ];
    let mut sent = 0;
    for pair in PAIRS {
        for ask in &asks {
            sent += 1;
            let what = format!("{pair:?} {} {}", ask.method, ask.sized);
            let got = pairs.ask(pair, ask).await;
            let got = got.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(got.status, 200, "{what}");
            outcomes(&pairs.gateway, "answered", 2 * sent).await;
            let saw = pairs.last_seen(pair.1).expect("a request");
            let copy1 = one.last_seen().expect("a copy");
            let copy2 = two.last_seen().expect("a copy");
            assert_eq!(copy1.method, ask.method, "{what}");
            assert_eq!(copy2.method, ask.method, "{what}");
            assert!(saw.path.starts_with("/v1/x"), "{}", saw.path);
            assert_eq!((&copy1.target, &copy2.path), (&saw.path, &saw.path));
            assert_eq!(copy1.host(), saw.host);
            assert_eq!(copy2.authority.as_ref(), Some(&saw.host));
            assert_eq!(copy2.scheme.as_deref(), Some("http"));
            for name in ["x-rule", "cookie", "x-envoy-original-path"] {
                let value = pointsman_testkit::message::field(&saw.fields, name);
                assert_eq!(copy1.field(name), value, "{what} {name}");
                assert_eq!(copy2.field(name), value, "{what} {name}");
            }
            assert_eq!(digest(&copy1.body), digest(&saw.body), "{what}");
            assert_eq!(digest(&copy2.body), digest(&saw.body), "{what}");
            assert_eq!(small(&copy1.trailers), saw.trailers, "{what}");
            assert_eq!(copy2.trailers.unwrap_or_default(), saw.trailers, "{what}");
        }
    }
    assert_eq!((one.requests(), two.requests()), (sent, sent));
    assert_eq!((one.connections(), two.connections()), (1, 1));
    assert!(one.malformed().is_empty() && two.errors().is_empty());
    pairs.assert_clean();
}

/// A body of HTTP/2 may have both a length and trailers: a mirror gets both if it speaks HTTP/2, and
/// chunks with the trailers if it does not.
#[tokio::test]
async fn trailers_behind_a_body_with_a_length_are_copied() {
    let (one, two, more) = shadows().await;
    let pairs = Pairs::serve_with(settings(), Vec::new(), &more).await;
    let body = pattern(20_000);
    let length = body.len().to_string();
    let plain = Ask::new("POST", "/x").body(&body).sized();
    let trailed = plain.clone().trailer("x-sum", "5");
    let mut sent = 0;
    for endpoint in [Speaks::Http1, Speaks::Http2] {
        for ask in [&trailed, &plain] {
            sent += 1;
            let what = format!("{endpoint:?} {:?}", ask.trailers);
            let got = pairs.ask((Speaks::Http2, endpoint), ask).await;
            assert_eq!(got.expect("an answer").status, 200, "{what}");
            outcomes(&pairs.gateway, "answered", 2 * sent).await;
            let (copy1, copy2) = (one.last_seen(), two.last_seen());
            let (copy1, copy2) = (copy1.expect("a copy"), copy2.expect("a copy"));
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let expected: Vec<_> = ask.trailers.iter().map(owned).collect();
            assert_eq!(small(&copy1.trailers), expected, "{what}");
            let trailers2 = copy2.trailers.as_deref().unwrap_or_default();
            assert_eq!(trailers2, expected, "{what}");
            let framing = (
                copy1.field("content-length"),
                copy1.field("transfer-encoding"),
            );
            match expected.is_empty() {
                true => assert_eq!(framing, (Some(&*length), None), "{what}"),
                false => assert_eq!(framing, (None, Some("chunked")), "{what}"),
            }
            assert_eq!(copy2.field("content-length"), Some(&*length), "{what}");
            assert_eq!(digest(&copy1.body), digest(&body), "{what}");
            assert_eq!(digest(&copy2.body), digest(&body), "{what}");
        }
    }
    assert!(one.malformed().is_empty() && two.errors().is_empty());
    pairs.assert_clean();
}

/// A body may be there whole, by its length, before its stream ends: an endpoint of HTTP/1 answers then,
/// and nothing was left unsaid to it.
#[tokio::test]
async fn an_answer_before_the_stream_of_a_whole_body_ends_is_not_early() {
    let (one, two, more) = shadows().await;
    let mut settings = settings();
    settings.process.shards = 1;
    let pairs = Pairs::serve_with(settings, Vec::new(), &more).await;
    let (at, host) = pairs.at(Speaks::Http1);
    let mut client = Http2Client::connect(at).await.expect("connects");
    for sent in 1..=5 {
        let request = Http2Request::post(host, "/x").field("content-length", "5");
        let mut stream = client.begin(&request, false).await.expect("begun");
        stream.send(b"sm", false).await.expect("sent");
        stream.send(b"all", false).await.expect("sent");
        let got = within(SOON, stream.rest()).await.expect("answered");
        assert_eq!(got.status, 200);
        outcomes(&pairs.gateway, "answered", 2 * sent).await;
        let seen = pairs.one.last_seen().expect("a request");
        let (copy1, copy2) = (one.last_seen(), two.last_seen());
        let (copy1, copy2) = (copy1.expect("a copy"), copy2.expect("a copy"));
        for body in [&seen.body, &copy1.body, &copy2.body] {
            assert_eq!(body, b"small");
        }
    }
    assert_eq!(pairs.one.connections(), 1);
    assert!(one.malformed().is_empty() && two.errors().is_empty());
    pairs.assert_clean();
}

/// The same of an endpoint of HTTP/2, which may answer whenever it has read enough.
#[tokio::test]
async fn what_is_whole_by_its_length_is_copied_though_its_stream_goes_on() {
    let (one, two, more) = shadows().await;
    let replies = vec![(
        "/v1/early",
        Reply::text(200, ""),
        Http2Reply::head(200).early(),
    )];
    let pairs = Pairs::serve_with(settings(), replies, &more).await;
    let (at, host) = pairs.at(Speaks::Http2);
    let mut client = Http2Client::connect(at).await.expect("connects");
    let request = Http2Request::post(host, "/early").field("content-length", "0");
    let mut stream = client.begin(&request, false).await.expect("begun");
    let got = within(SOON, stream.rest()).await.expect("answered");
    assert_eq!(got.status, 200);
    outcomes(&pairs.gateway, "answered", 2).await;
    assert_eq!((one.requests(), two.requests()), (1, 1));
    assert!(one.malformed().is_empty() && two.errors().is_empty());
}

/// VS-H-88: the name in `:authority` of a copy can be a shadow's too.
#[tokio::test]
async fn the_authority_of_a_copy_can_be_a_shadow() {
    let two = Http2Upstream::named("shadow2").start().await;
    let mut settings = settings();
    settings.mirrors.shadow_host = true;
    let more = shadow("shadow2", "http2", two.addr()) + &mirrored(&["shadow2"]);
    let pairs = Pairs::serve_with(settings, Vec::new(), &more).await;
    for (sent, pair) in PAIRS.into_iter().enumerate() {
        pairs.ask(pair, &Ask::new("GET", "/")).await.expect("one");
        eventually(SOON, async || two.seen().len() == sent + 1).await;
        let saw = pairs.last_seen(pair.1).expect("a request").host;
        let copy = two.last_seen().expect("a copy").authority;
        assert_eq!(copy, Some(format!("{saw}-shadow")));
    }
}

/// VS-H-87, VS-H-89: whatever a mirror does, the client's answer is neither late nor changed, and a
/// copy is bounded in time.
#[tokio::test]
async fn a_mirror_that_misbehaves_is_not_noticed() {
    let mut settings = settings();
    settings.mirrors.timeout = written("300ms");
    let wait = Duration::from_millis(50);
    let text = |text| Http2Reply::text(200, text);
    for (what, reply, expected) in [
        ("hangs", Http2Reply::hang(), "late"),
        ("resets", Http2Reply::reset(2), "failed"),
        ("refuses", Http2Reply::reset(7), "failed"),
        (
            "aborts",
            text("x").early().pause(wait).then_abort(1),
            "answered",
        ),
        (
            "hangs in its body",
            Http2Reply::head(200).then_hang(),
            "late",
        ),
        (
            "cuts its body",
            Http2Reply::head(200).data(b"a").pause(wait).then_drop(),
            "answered",
        ),
        ("says much", Http2Reply::sized(1_000_000), "answered"),
        (
            "never ends",
            Http2Reply::endless(&[b'a'; 1000], Duration::from_millis(1)),
            "late",
        ),
        ("does not read", text("early").early(), "answered"),
        ("never reads", Http2Reply::hang().never_reads(), "late"),
    ] {
        let two = Http2Upstream::named("shadow2")
            .otherwise(reply)
            .start()
            .await;
        let more = shadow("shadow2", "http2", two.addr()) + &mirrored(&["shadow2"]);
        let replies = vec![("/v1/", Reply::echo_body(), Http2Reply::echo_body())];
        let pairs = Pairs::serve_with(settings.clone(), replies, &more).await;
        // More than a stream's first window of the mirror.
        let body = pattern(100_000);
        for (pair, count) in PAIRS.into_iter().zip(1..) {
            let ask = Ask::new("POST", "/").body(&body);
            let (got, took) = timed(pairs.ask(pair, &ask)).await;
            let got = got.expect("answered");
            assert_eq!(digest(&got.body), digest(&body), "{what} {pair:?}");
            assert!(took < SOON / 4, "{what} {took:?}");
            if what == "cuts its body" {
                // By closing a connection, which another copy might be on.
                outcomes(&pairs.gateway, expected, count).await;
            }
        }
        eprintln!("a mirror that {what}");
        outcomes(&pairs.gateway, expected, PAIRS.len()).await;
    }
}

/// Interim responses of a mirror are read away as far as those of an endpoint are passed on.
#[tokio::test]
async fn interim_responses_of_a_mirror_are_counted() {
    for (count, expected) in [(32, "answered"), (33, "failed")] {
        let interims = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(count);
        let one = HttpUpstream::named("shadow1")
            .otherwise(Reply::text(200, "one").preceded_by(&interims))
            .start()
            .await;
        let interim = |reply: Http2Reply, _| reply.interim(103, &[("link", "x")]);
        let two = Http2Upstream::named("shadow2")
            .otherwise((0..count).fold(Http2Reply::text(200, "two"), interim))
            .start()
            .await;
        let more = [
            shadow("shadow1", "http", one.addr()),
            shadow("shadow2", "http2", two.addr()),
            mirrored(&["shadow1", "shadow2"]),
        ];
        let pairs = Pairs::serve_with(settings(), Vec::new(), &more.concat()).await;
        let got = pairs.ask(PAIRS[0], &Ask::new("GET", "/")).await;
        assert_eq!(got.expect("answered").status, 200);
        outcomes(&pairs.gateway, expected, 2).await;
    }
}

/// A mirror that sends without end is left, and holds nobody up.
#[tokio::test]
async fn endless_interim_responses_of_a_mirror_hold_nobody_up() {
    let listener = TcpListener::bind((fresh_ip(), 0)).expect("binds");
    let more = shadow("shadow1", "http", listener.local_addr().expect("bound"));
    let mirror = thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("a copy");
        let interims = b"HTTP/1.1 100 C\r\n\r\n".repeat(50_000);
        while peer.write_all(&interims).is_ok() {}
    });
    let mut settings = settings();
    settings.process.shards = 1;
    let more = more + &mirrored(&["shadow1"]);
    let pairs = Pairs::serve_with(settings, Vec::new(), &more).await;
    let got = pairs.ask(PAIRS[0], &Ask::new("GET", "/")).await;
    assert_eq!(got.expect("answered").status, 200);
    outcomes(&pairs.gateway, "failed", 1).await;
    mirror.join().expect("is left");
}

/// What a 101 leaves that nobody asked for is no connection for another request.
#[tokio::test]
async fn a_mirror_that_switches_protocols_is_left() {
    let switched =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let one = HttpUpstream::named("shadow1")
        .otherwise(Reply::raw(switched.as_bytes()))
        .start()
        .await;
    let more = shadow("shadow1", "http", one.addr()) + &mirrored(&["shadow1"]);
    let mut settings = settings();
    settings.process.shards = 1;
    let pairs = Pairs::serve_with(settings, Vec::new(), &more).await;
    for count in 1..=2 {
        let got = pairs.ask(PAIRS[0], &Ask::new("GET", "/")).await;
        assert_eq!(got.expect("answered").status, 200);
        outcomes(&pairs.gateway, "answered", count).await;
        assert_eq!(one.connections(), count);
    }
}

/// A mirror that cannot be reached by HTTP/2: nobody listens, or what listens speaks HTTP/1.
#[tokio::test]
async fn a_mirror_that_does_not_speak_http2_fails() {
    let other = HttpUpstream::named("other").start().await;
    for at in [SocketAddr::new(fresh_ip(), free_port()), other.addr()] {
        let more = shadow("shadow2", "http2", at) + &mirrored(&["shadow2"]);
        let pairs = Pairs::serve_with(settings(), Vec::new(), &more).await;
        for pair in PAIRS {
            let got = pairs.ask(pair, &Ask::new("GET", "/")).await;
            assert_eq!(got.expect("answered").status, 200);
        }
        outcomes(&pairs.gateway, "failed", PAIRS.len()).await;
    }
}

/// Copies over HTTP/2 are bounded as those over HTTP/1 are: in number and in size.
#[tokio::test]
async fn copies_are_bounded() {
    let two = Http2Upstream::named("shadow2")
        .otherwise(Http2Reply::hang())
        .start()
        .await;
    let more = shadow("shadow2", "grpc", two.addr()) + &mirrored(&["shadow2"]);
    let mut settings = settings();
    settings.process.shards = 1;
    settings.mirrors.body_bytes = 1000;
    settings.mirrors.in_flight = 2;
    let pairs = Pairs::serve_with(settings, Vec::new(), &more).await;
    let (at, host) = pairs.at(Speaks::Http2);
    let mut client = Http2Client::connect(at).await.expect("connects");
    let large = Http2Request::post(host, "/").piece(&pattern(300_000));
    let got = within(SOON, client.exchange(large)).await;
    assert_eq!(got.expect("answered").status, 200);
    outcomes(&pairs.gateway, "dropped", 1).await;
    for _ in 0..5 {
        let small = Http2Request::post(host, "/").piece(b"abc");
        let got = within(SOON, client.exchange(small)).await;
        assert_eq!(got.expect("answered").status, 200);
    }
    eventually(SOON, async || two.requests() == 2).await;
    let hit = "pointsman_limits_hit_total";
    pairs
        .gateway
        .metrics_until(|it| {
            it.sum(hit, &[("limit", "mirrors.in_flight")]) == 3.0
                && it.sum(hit, &[("limit", "mirrors.body_bytes")]) == 1.0
        })
        .await;
    assert_eq!(two.requests(), 2);
}

/// Requests that do not end take no places from copies of those that do, and what they have sent is bounded
/// for all of them together.
#[tokio::test]
async fn copies_that_wait_for_the_ends_of_their_requests_keep_no_others_back() {
    let one = HttpUpstream::named("shadow1").start().await;
    let more = shadow("shadow1", "http", one.addr()) + &mirrored(&["shadow1"]);
    let mut settings = settings();
    settings.process.shards = 1;
    settings.mirrors.body_bytes = 1000;
    settings.mirrors.in_flight = 2;
    let pairs = Pairs::serve_with(settings, Vec::new(), &more).await;
    let (at, host) = pairs.at(Speaks::Http1);
    let body = [b'x'; 450];
    let mut unfinished = Vec::new();
    for count in 1..=4 {
        let mut client = connect(at).await;
        let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 500\r\n\r\n");
        let bytes = [head.as_bytes(), &body].concat();
        client.send(bytes).await.expect("sent");
        unfinished.push(client);
        eventually(SOON, async || pairs.one.connections() == count).await;
    }
    let ask = Ask::new("GET", "/");
    let got = pairs.ask(PAIRS[0], &ask).await;
    assert_eq!(got.expect("answered").status, 200);
    outcomes(&pairs.gateway, "answered", 1).await;
    let ask = Ask::new("POST", "/").body(&body).sized();
    let got = pairs.ask(PAIRS[0], &ask).await;
    assert_eq!(got.expect("answered").status, 200);
    outcomes(&pairs.gateway, "dropped", 1).await;
    let hit = "pointsman_limits_hit_total";
    let limit = [("limit", "mirrors.in_flight")];
    pairs
        .gateway
        .metrics_until(|it| it.sum(hit, &limit) == 1.0)
        .await;
    drop(unfinished);
    outcomes(&pairs.gateway, "dropped", 5).await;
    let got = pairs.ask(PAIRS[0], &ask).await;
    assert_eq!(got.expect("answered").status, 200);
    outcomes(&pairs.gateway, "answered", 2).await;
}

/// PS-4: a mirror whose port translates gRPC-Web gets gRPC, whether or not the endpoint does.
#[tokio::test]
async fn a_call_of_grpc_web_is_copied_as_grpc() {
    let shadow2 = Http2Upstream::named("shadow2").start().await;
    let more = shadow("shadow2", "grpc-web", shadow2.addr()) + &mirrored(&["shadow2"]);
    let pairs = Pairs::serve_with(settings(), Vec::new(), &more).await;
    // An empty message, and the same in base64.
    for (kind, body) in [
        ("application/grpc-web+proto", &b"\0\0\0\0\0"[..]),
        ("application/grpc-web-text+proto", b"AAAAAAA="),
    ] {
        for pair in PAIRS {
            let before = shadow2.seen().len();
            let ask = Ask::new("POST", "/s/m").field("content-type", kind);
            let got = pairs.ask(pair, &ask.body(body)).await;
            assert_eq!(got.expect("answered").status, 200, "{pair:?}");
            eventually(SOON, async || shadow2.seen().len() == before + 1).await;
            let copy = shadow2.last_seen().expect("a copy");
            assert_eq!(copy.field("content-type"), Some("application/grpc+proto"));
            assert_eq!(copy.field("te"), Some("trailers"));
            assert_eq!(copy.body, b"\0\0\0\0\0", "{pair:?}");
        }
    }
}
