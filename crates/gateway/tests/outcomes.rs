//! How things end for the client, and the flag that metrics have for it: one case for each row of
//! the table of outcomes (VS-H-125..151) that no other file is about.
mod common;

use common::{pairs::*, *};
use pointsman_model::OutboundPolicy;
use pointsman_testkit::{
    Http2Reply, HttpUpstream, RawHttp, TcpUpstream, eventually,
    frames::{Block, Fate, Frame, FrameClient, FrameUpstream, code},
    free_port, fresh_ip,
    http::Reply,
    tcp::{Behaviour, Deaf},
    within,
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::TcpSocket, task::JoinSet};

const REQUESTS: &str = "istio_requests_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";

/// Is the connection closed without a byte?
async fn is_closed(at: SocketAddr) -> bool {
    let mut client = connect(at).await;
    let end = client.read_to_end().await;
    end.as_ref().is_ok_and(Vec::is_empty) || is_reset(&end)
}

#[tokio::test]
async fn requests_that_go_nowhere_have_a_status_and_a_flag() {
    let web = HttpUpstream::named("web").start().await;
    let deaf = Deaf::start();
    let (vip, port) = (fresh_ip(), free_port());
    let dead = SocketAddr::new(fresh_ip(), free_port());
    let text = [
        http("web", vip, port, web.addr()),
        service("empty", fresh_ip(), port, "http", &[]),
        http("gone", fresh_ip(), port, dead),
        http("deaf", fresh_ip(), port, deaf.addr()),
        subsets("web", &["v0"], "null"),
        rules(
            "web",
            "- match: [{uri: {prefix: /host}}]
  route: [{destination: {host: nobody}}]
- match: [{uri: {prefix: /subset}}]
  route: [{destination: {host: web, subset: v9}}]
- match: [{uri: {prefix: /port}}]
  route: [{destination: {host: web, port: {number: 1}}}]
- match: [{uri: {prefix: /ok}}]
  route: [{destination: {host: web, subset: v0}}]",
        ),
    ]
    .concat();
    let mut settings = settings();
    settings.timeouts.connect = written("300ms");
    let gateway = Gateway::serve_with(settings, &text).await;
    let mut client = connect((vip, port).into()).await;
    let upstream_error = "upstream connect error or disconnect/reset before headers";
    for (rule, host, path, status, body, flag) in [
        ("VS-H-125", "web", "/nothing", 404, "", "NR"),
        ("VS-H-126, BE-3", "web", "/host", 503, "", "NC"),
        ("VS-H-126, BE-8", "web", "/subset", 503, "", "NC"),
        ("VS-H-126, BE-7", "web", "/port", 503, "", "NC"),
        ("VS-H-127", "empty", "/", 503, "no healthy upstream", "UH"),
        ("VS-H-128", "gone", "/", 503, upstream_error, "URX,UF"),
        ("VS-H-129", "deaf", "/", 503, upstream_error, "URX,UF"),
    ] {
        let labels = [("response_flags", flag)];
        let before = gateway.metrics().await.sum(REQUESTS, &labels);
        let reply = client.get(host, path).await.expect("an answer");
        assert_eq!(reply.status, status, "{rule}");
        assert!(reply.text().starts_with(body), "{rule}: {}", reply.text());
        assert_eq!(reply.text().is_empty(), body.is_empty(), "{rule}");
        assert!(reply.keeps_alive(), "{rule}");
        gateway
            .metrics_until(|it| it.sum(REQUESTS, &labels) == before + 1.0)
            .await;
    }
    // VS-H-62: host, subset and port that exist.
    assert_eq!(
        client.get("web", "/ok").await.expect("an answer").status,
        200
    );
}

/// VS-H-136: nobody is there to be answered.
#[tokio::test]
async fn a_client_that_goes_is_counted_so() {
    let web = HttpUpstream::named("web")
        .on("/later", Reply::hang())
        .start()
        .await;
    let (vip, port) = (fresh_ip(), free_port());
    let gateway = Gateway::serve(&http("web", vip, port, web.addr())).await;
    let mut client = connect((vip, port).into()).await;
    client
        .send("GET /later HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async { web.requests() == 1 }).await;
    client.reset();
    gateway
        .metrics_until(|it| it.sum(REQUESTS, &[("response_flags", "DC")]) == 1.0)
        .await;
}

/// VS-H-136: nor is an answer of our own sent to one that has gone meanwhile.
#[tokio::test]
async fn what_nobody_is_there_to_read_is_not_recorded_as_sent() {
    let web = HttpUpstream::named("web")
        .on("/later", Reply::hang())
        .start()
        .await;
    let (vip, port) = (fresh_ip(), free_port());
    let notes = Notes::default();
    let rule = rules(
        "web",
        "- timeout: 300ms\n  route: [{destination: {host: web}}]\n",
    );
    let documents = format!("{}{rule}", http("web", vip, port, web.addr()));
    let _gateway = notes.serve(settings(), &documents).await;
    let (stream, own) = dial((vip, port).into()).await;
    let mut client = RawHttp::over(stream);
    client
        .send("GET /later HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async { web.requests() == 1 }).await;
    client.reset();
    let records = notes.records(own, 1).await;
    let told: Vec<_> = records
        .iter()
        .map(|it| (it.flags.to_string(), it.bytes_sent))
        .collect();
    assert!(
        matches!(&told[..], [(flags, 0)] if flags.contains("DC")),
        "{told:?}"
    );
}

/// VS-H-136: a stream that its client has reset is told from one whose client is gone, and both from one that was sent
/// away with its connection, for what another stream did.
#[tokio::test]
async fn a_stream_whose_client_is_gone_says_how() {
    let web = HttpUpstream::named("web")
        .on("/later", Reply::hang())
        .start()
        .await;
    let (vip, port) = (fresh_ip(), free_port());
    let notes = Notes::default();
    let documents = http("web", vip, port, web.addr());
    let _gateway = notes.serve(settings(), &documents).await;
    let no_text: [(&str, &[u8]); 4] = [
        (":method", b"GET"),
        (":scheme", b"http"),
        (":authority", b"web"),
        (":path", b"/caf\xe9"),
    ];
    let broken = Frame::headers(3, Block::of(&no_text)).end_stream();
    let nothing = vec![[Frame::data(3, "abc"), Frame::data(3, "")]; 101].concat();
    let post = Frame::headers(3, Block::request("POST", "web", "/later"));
    let nothings = [vec![post], nothing].concat();
    for (number, (frames, flags, details)) in [
        (vec![], "DC", "downstream_remote_disconnect"),
        (vec![Frame::reset(1, 8)], "DR", "http2.remote_reset"),
        (vec![broken], "DPE", "http2_protocol"),
        (vec![Frame::ping([7; 8]); 1000], "DPE", "ping_flood"),
        // The library's own count, which nothing gives back.
        (nothings, "DPE", "http2_flood"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = FrameClient::begin((vip, port).into())
            .await
            .expect("HTTP/2");
        let asked = Frame::headers(1, Block::request("GET", "web", "/later"));
        client.send(&[asked.end_stream()]).await;
        eventually(SOON, || async { web.requests() == number + 1 }).await;
        match frames.is_empty() {
            true => drop(client),
            false => client.send(&frames).await,
        }
        let told = notes.of(Ipv4Addr::LOCALHOST.into(), number + 1).await;
        let told = told.last().map(|it| (it.status, &*it.flags, &*it.details));
        assert_eq!(told, Some((0, flags, details)));
    }
}

/// A client whose request was read to its end keeps its connection, whatever becomes of that; where the body is
/// not here yet, nobody knows where the next request begins.
#[tokio::test]
async fn answers_of_our_own_behind_a_body_keep_the_connection() {
    let rule = |host| {
        let to = format!("route: [{{destination: {{host: {host}}}}}]");
        let late = format!("- match: [{{uri: {{prefix: /late}}}}]\n  timeout: 400ms\n  {to}");
        let dead = "- match: [{uri: {prefix: /dead}}]\n  route: [{destination: {host: dead}}]";
        rules(host, &[&late, dead, &format!("- {to}")].join("\n"))
    };
    let dead = http("dead", fresh_ip(), free_port(), (fresh_ip(), 9).into());
    let pairs = Pairs::serve_with(
        settings(),
        vec![
            ("/late", Reply::hang(), Http2Reply::hang()),
            ("/closes", Reply::close(), Http2Reply::reset(2)),
        ],
        &[rule("one"), rule("two"), dead].concat(),
    )
    .await;
    let large = vec![b'x'; 300_000]; // is spliced
    for endpoint in [Speaks::Http1, Speaks::Http2] {
        let (at, host) = pairs.at(endpoint);
        for (path, status) in [("/closes", 503), ("/late", 504)] {
            for body in [b"short", &large[..20_000], &large] {
                if endpoint == Speaks::Http2 && body.len() > 5 {
                    continue; // it takes no more before it fails
                }
                for sized in [true, false] {
                    let case = format!("{endpoint:?} {path} {} {sized}", body.len());
                    let ask = Ask::new("POST", path).body(body);
                    let ask = if sized { ask.sized() } else { ask };
                    let mut client = connect(at).await;
                    let next = format!("GET /next HTTP/1.1\r\nHost: {host}\r\n\r\n");
                    let both = [ask.http1(host), next.into_bytes()].concat();
                    client.send(both).await.expect("sent");
                    let got = client.read_response().await.expect("an answer");
                    assert_eq!((got.status, got.keeps_alive()), (status, true), "{case}");
                    let got = client.read_response().await.expect("the next one");
                    assert_eq!(got.status, 200, "{case}");
                }
            }
        }
    }
    let (at, host) = pairs.at(Speaks::Http1);
    let mut client = connect(at).await;
    for (path, status) in [("/dead", 503), ("/", 200)] {
        let body = Some(&b"short"[..]);
        let got = client.request("POST", host, path, &[], body).await;
        let got = got.expect("an answer");
        assert_eq!((got.status, got.keeps_alive()), (status, true));
    }
    let head = format!("POST /late HTTP/1.1\r\nHost: {host}\r\nContent-Length: 6\r\n\r\nshort");
    client.send(head).await.expect("sent");
    let got = client.read_response().await.expect("an answer");
    assert_eq!((got.status, got.keeps_alive()), (504, false));
}

/// The same where the end of the body was read and the endpoint has not taken it: it is not taken for the next
/// request.
#[tokio::test]
async fn what_an_endpoint_has_not_taken_of_a_body_is_not_the_next_request() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    socket.bind((fresh_ip(), 0).into()).expect("bound");
    // Nobody accepts, and the kernel takes a little.
    let deaf = socket.listen(64).expect("listens");
    let web = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let to = "- route: [{destination: {host: deaf}}]\n  timeout: 1s";
    let text = [
        http("deaf", vip, port, deaf.local_addr().expect("bound")),
        http("web", vip, port, web.addr()),
        rules("deaf", to),
    ];
    let mut settings = settings();
    settings.limits.splice_after = 0;
    let _gateway = Gateway::serve_with(settings, &text.concat()).await;
    let at = SocketAddr::new(vip, port);
    let mut clients = JoinSet::new();
    for i in 0..24 {
        clients.spawn(async move {
            let body = "GET / HTTP/1.1\r\nHost: web\r\n\r\n".repeat(1_000 + i * 8_000);
            let ask = Ask::new("POST", "/").body(body.as_bytes()).sized();
            let next = b"GET /next HTTP/1.1\r\nHost: web\r\n\r\n";
            let mut client = connect(at).await;
            // Those whose body is not read to its end are closed.
            let _ = client.send([&ask.http1("deaf")[..], next].concat()).await;
            let got = client.read_response().await.expect("an answer");
            assert_eq!(got.status, 504);
            if got.keeps_alive() {
                let next = client.read_response().await.expect("an answer");
                assert_eq!(next.status, 200);
            }
        });
    }
    clients.join_all().await;
    let seen = web.seen();
    assert!(!seen.is_empty() && seen.iter().all(|it| it.path() == "/next"));
}

/// A response that was cut in its middle counts by the status that its client has got (VS-H-133).
#[tokio::test]
async fn a_cut_response_is_counted_by_its_own_status() {
    let more = ["one", "two"].map(|host| {
        let rule = format!("- route: [{{destination: {{host: {host}}}}}]\n  timeout: 400ms\n");
        rules(host, &rule)
    });
    let pairs = Pairs::serve_with(
        settings(),
        vec![(
            "/slow",
            Reply::ticking(&["a"; 100], Duration::from_millis(50)).status(404),
            Http2Reply::head(404).data(b"a").then_hang(),
        )],
        &more.concat(),
    )
    .await;
    for pair in PAIRS {
        let cut = pairs.ask(pair, &Ask::new("GET", "/slow")).await;
        assert!(cut.is_err(), "{pair:?}: {cut:?}");
    }
    let labels = [("response_code", "404"), ("response_flags", "UT")];
    pairs
        .gateway
        .metrics_until(|it| it.sum(REQUESTS, &labels) == 4.0)
        .await;
}

/// A client whose body goes wrong when it gets its response already has not gone away: it is refused.
#[tokio::test]
async fn a_body_that_goes_wrong_behind_an_early_answer_is_refused() {
    let pairs = Pairs::serve(vec![(
        "/",
        Reply::ticking(&["a"; 200], Duration::from_millis(50)).early(),
        Http2Reply::endless(b"a", Duration::from_millis(50)).early(),
    )])
    .await;
    for endpoint in [Speaks::Http1, Speaks::Http2] {
        let (at, host) = pairs.at(endpoint);
        let mut client = connect(at).await;
        let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(head + "1\r\na\r\n").await.expect("sent");
        let begun = within(SOON, client.read_exact(12))
            .await
            .expect("an answer");
        assert_eq!(begun, b"HTTP/1.1 200", "{endpoint:?}");
        client.send("zz\r\n").await.expect("sent");
        let end = within(SOON, client.read_to_end()).await;
        // In order, as without its last chunk the answer does not look whole.
        let cut = matches!(&end, Ok(rest) if !rest.ends_with(b"0\r\n\r\n"));
        assert!(cut, "{endpoint:?}: {end:?}");
    }
    let labels = [("response_code", "200"), ("response_flags", "DPE")];
    let why = [("reason", "bad_chunk_size")];
    pairs
        .gateway
        .metrics_until(|it| {
            it.sum(REQUESTS, &labels) == 2.0 && it.sum("pointsman_refused_bytes_total", &why) == 2.0
        })
        .await;
}

/// Whoever has a clock says in a response when it was made, if nobody has (RFC 9110 section 6.6.1).
#[tokio::test]
async fn responses_say_when_they_were_made() {
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let more = ["one", "two"].map(|host| {
        let rule = format!(
            "- match: [{{uri: {{exact: /ours}}}}]\n  directResponse: {{status: 200}}\n\
             - match: [{{uri: {{exact: /said}}}}]\n  directResponse: {{status: 200}}\n  \
               headers: {{response: {{set: {{Date: {THEN:?}}}}}}}\n\
             - match: [{{uri: {{exact: /removed}}}}]\n  route: [{{destination: {{host: {host}}}}}]\n  \
               headers: {{response: {{remove: [date]}}}}\n\
             - route: [{{destination: {{host: {host}}}}}]\n"
        );
        rules(host, &rule)
    });
    let old = |path| {
        let two = Http2Reply::head(200).field("date", THEN).data(b"x");
        (path, Reply::text(200, "x").field("Date", THEN), two)
    };
    let plain = ("/plain", Reply::text(404, "x"), Http2Reply::text(404, "x"));
    let replies = vec![plain, old("/dated"), old("/removed")];
    let pairs = Pairs::serve_with(settings(), replies, &more.concat()).await;
    for pair in PAIRS {
        for (path, then) in [
            ("/plain", false),
            ("/dated", true),
            ("/removed", false),
            ("/ours", false),
            ("/said", true),
        ] {
            let got = pairs.ask(pair, &Ask::new("GET", path)).await;
            let got = got.expect("an answer");
            let dates: Vec<_> = got
                .fields
                .iter()
                .filter(|(name, _)| name == "date")
                .collect();
            let [(_, date)] = dates[..] else {
                panic!("{pair:?} {path}: {:?}", got.fields);
            };
            assert_eq!(date == THEN, then, "{pair:?} {path}: {date}");
            assert!(date.len() == THEN.len() && date.ends_with(" GMT"), "{date}");
        }
    }
}

#[tokio::test]
async fn connections_that_go_nowhere_are_accepted_and_closed_with_a_flag() {
    let port = free_port();
    let at = |ip: IpAddr| SocketAddr::new(ip, port);
    let (unknown, empty) = (fresh_ip(), fresh_ip());
    let text = [
        service("unknown", unknown, port, "tcp", &[]),
        tcp_rules("unknown", "- route: [{destination: {host: nobody}}]"),
        service("empty", empty, port, "tcp", &[]),
    ]
    .concat();
    let mut settings = settings();
    settings.client.outbound_policy = Some(OutboundPolicy::RegistryOnly);
    let gateway = Gateway::serve_with(settings, &text).await;
    // VS-H-151: accepted, whatever becomes of it.
    for (rule, ip, flag) in [
        ("VS-H-145, VS-T-12", unknown, "NC"),
        ("VS-H-146, BE-125", empty, "UH"),
    ] {
        assert!(is_closed(at(ip)).await, "{rule}");
        let labels = [("response_flags", flag)];
        gateway
            .metrics_until(|it| it.sum(CLOSED, &labels) == 1.0)
            .await;
    }
}

/// VS-H-150, LIS-61: what a wildcard listener has no chain for, in `REGISTRY_ONLY`.
#[tokio::test]
async fn what_is_not_in_the_registry_is_closed() {
    let upstream = TcpUpstream::echo().await;
    let port = free_port();
    let text = entry("one", &["one.example.com"], port, "HTTP", upstream.addr());
    let mut settings = settings();
    settings.client.outbound_policy = Some(OutboundPolicy::RegistryOnly);
    let gateway = Gateway::serve_with(settings, &text).await;
    let mut client = connect(SocketAddr::from(([127, 0, 0, 1], port))).await;
    client.send(b"\x00\x01\x02").await.expect("sent");
    let end = client.read_to_end().await;
    assert!(
        end.as_ref().is_ok_and(Vec::is_empty) || is_reset(&end),
        "{end:?}"
    );
    gateway
        .metrics_until(|it| it.sum(CLOSED, &[("response_flags", "UH")]) == 1.0)
        .await;
    assert_eq!(upstream.connections(), 0);
}

/// ALS-8, and PS-84: what an `x-envoy-` field of captured traffic says is left to the backend.
#[tokio::test]
async fn an_alias_is_forwarded_as_the_client_wrote_it() {
    let web = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let alias = "---
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {type: ExternalName, externalName: web.default.svc.cluster.local}
";
    let text = http("web", vip, port, web.addr()) + alias;
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;
    for host in ["shop", "Shop.default:81", "shop.default.svc.cluster.local"] {
        let fields = [("x-envoy-decorator-operation", "mine")];
        let reply = client.request("GET", host, "/", &fields, None).await;
        assert_eq!(reply.expect("an answer").status, 200);
        let seen = web.last_seen().expect("a request");
        assert_eq!(seen.host(), host);
        assert_eq!(seen.field("x-envoy-decorator-operation"), Some("mine"));
    }
}

/// BE-35: requests choose one by one, connections once.
#[tokio::test]
async fn requests_are_balanced_one_by_one_and_bytes_by_connection() {
    let (a, b) = (
        HttpUpstream::named("a").at((fresh_ip(), 0)).start().await,
        HttpUpstream::named("b").at((fresh_ip(), 0)).start().await,
    );
    // At addresses of their own: endpoints of one address count once (BE-116).
    let echo = async || {
        let at = SocketAddr::from((fresh_ip(), 0));
        let upstream = TcpUpstream::start_at(at, Behaviour::Echo).await;
        upstream.expect("a free port")
    };
    let (one, two) = (echo().await, echo().await);
    let (web, db, port) = (fresh_ip(), fresh_ip(), free_port());
    let round_robin = "{loadBalancer: {simple: ROUND_ROBIN}}";
    let text = [
        service("web", web, port, "http", &plain(&[a.addr(), b.addr()])),
        service("db", db, port, "tcp", &plain(&[one.addr(), two.addr()])),
        subsets("web", &[], round_robin),
        subsets("db", &[], round_robin),
    ]
    .concat();
    let mut settings = settings();
    settings.process.shards = 1;
    let _gateway = Gateway::serve_with(settings, &text).await;
    let mut client = connect((web, port).into()).await;
    for _ in 0..4 {
        assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
    }
    assert_eq!((a.requests(), b.requests()), (2, 2));
    for _ in 0..2 {
        let mut client = connect((db, port).into()).await;
        for _ in 0..3 {
            client.send("x").await.expect("sent");
            assert_eq!(client.read_exact(1).await.expect("echoed"), b"x");
        }
    }
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

/// BE-126: an endpoint that goes away keeps what it has, and gets nothing more.
#[tokio::test]
async fn an_endpoint_that_goes_away_finishes_what_it_began() {
    let web = HttpUpstream::named("web")
        .on(
            "/slow",
            Reply::text(200, "done").after(Duration::from_secs(2)),
        )
        .start()
        .await;
    let (vip, port) = (fresh_ip(), free_port());
    let mut settings = settings();
    settings.timeouts.upstream_idle = written("500ms");
    let gateway = Gateway::serve_with(settings, &http("web", vip, port, web.addr())).await;
    let mut client = connect((vip, port).into()).await;
    assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
    let mut waiting = connect((vip, port).into()).await;
    waiting
        .send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async { web.requests() == 2 }).await;
    gateway.apply(&service("web", vip, port, "http", &[])).await;
    let reply = client.get("web", "/").await.expect("an answer");
    assert_eq!((reply.status, web.requests()), (503, 2));
    let reply = waiting.read_response().await.expect("an answer");
    assert_eq!((reply.status, reply.text()), (200, "done".to_owned()));
    eventually(SOON, || async { web.open_connections() == 0 }).await;
}

/// VS-H-101, VS-H-102: with one destination its `set` wins, with several the rule's does, and one of
/// weight 0 makes several.
#[tokio::test]
async fn whose_operations_come_last_depends_on_the_number_of_destinations() {
    let web = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let headers = |by: &str| format!("headers: {{request: {{set: {{x-by: {by}}}}}}}");
    let (rule, destination) = (headers("rule"), headers("destination"));
    let text = http("web", vip, port, web.addr())
        + &rules(
            "web",
            &format!(
                "- match: [{{uri: {{prefix: /one}}}}]
  {rule}
  route: [{{destination: {{host: web}}, {destination}}}]
- {rule}
  route:
  - {{destination: {{host: web}}, weight: 1, {destination}}}
  - {{destination: {{host: nobody}}, weight: 0}}"
            ),
        );
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;
    for (path, by) in [("/one", "destination"), ("/several", "rule")] {
        assert_eq!(
            client.get("web", path).await.expect("an answer").status,
            200
        );
        let seen = web.last_seen().expect("a request");
        assert_eq!(seen.field("x-by"), Some(by), "{path}");
    }
}

/// VS-H-39: a fault comes before CORS; VS-H-52: an answer of the rule itself has no CORS fields.
#[tokio::test]
async fn faults_come_before_preflights_and_direct_responses_have_no_cors() {
    let web = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let cors = "corsPolicy: {allowOrigins: [{exact: 'https://a'}], allowMethods: [GET]}";
    let text = http("web", vip, port, web.addr())
        + &rules(
            "web",
            &format!(
                "- match: [{{uri: {{prefix: /direct}}}}]
  {cors}
  directResponse: {{status: 200}}
- {cors}
  fault: {{abort: {{httpStatus: 418, percentage: {{value: 100}}}}}}
  route: [{{destination: {{host: web}}}}]"
            ),
        );
    let _gateway = Gateway::serve(&text).await;
    let mut client = connect((vip, port).into()).await;
    let preflight = [
        ("Origin", "https://a"),
        ("Access-Control-Request-Method", "GET"),
    ];
    for (path, status) in [("/direct", 200), ("/", 418)] {
        let reply = client
            .request("OPTIONS", "web", path, &preflight, None)
            .await;
        let reply = reply.expect("an answer");
        assert_eq!(reply.status, status);
        assert_eq!(reply.field("access-control-allow-origin"), None);
    }
    assert_eq!(web.requests(), 0);
}

/// An endpoint that begins an answer on a stream and then does what its path says.
async fn breaking() -> FrameUpstream {
    FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        loop {
            let asked = peer.request().await?;
            let stream = asked.stream;
            let head = |block: Block| Frame::headers(stream, block);
            let ok = || Block::status(200);
            let data = || Frame::data(stream, "abc");
            let frames = match asked.field(":path").unwrap_or_default() {
                "/short" => vec![
                    head(ok().literal("content-length", "10")),
                    data().end_stream(),
                ],
                "/long" => vec![head(ok().literal("content-length", "2")), data()],
                "/reset" => vec![head(ok()), Frame::reset(stream, code::INTERNAL_ERROR)],
                "/body-short" => {
                    let head = head(ok().literal("content-length", "10"));
                    vec![head, data(), Frame::data(stream, "").end_stream()]
                }
                "/body-cancel" => vec![head(ok()), data(), Frame::reset(stream, code::CANCEL)],
                "/body-refuse" => vec![head(ok()), data(), Frame::reset(stream, 7)],
                "/body-reset" => vec![
                    head(ok()),
                    data(),
                    Frame::reset(stream, code::INTERNAL_ERROR),
                ],
                "/body-trailers" => {
                    let trailers = Block::new().literal("x-end", "no");
                    vec![head(ok()), data(), Frame::headers(stream, trailers)]
                }
                "/body-nothings" => {
                    let nothings = vec![[data(), Frame::data(stream, "")]; 101].concat();
                    [vec![head(ok())], nothings].concat()
                }
                _ => {
                    peer.send(&[head(ok()), data()]).await?;
                    return Ok(());
                }
            };
            peer.send(&frames).await?;
        }
    })
    .await
}

/// What ended an answer behind its head is told apart, as Envoy does.
#[tokio::test]
async fn the_log_says_how_an_answer_was_cut() {
    let endpoint = breaking().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http2("web", web.ip(), web.port(), endpoint.addr());
    let notes = Notes::default();
    let gateway = notes.serve(settings(), &documents).await;
    let after = "upstream_reset_after_response_started";
    for (path, flags, why) in [
        ("/body-short", "UPE", "protocol_error"),
        ("/body-trailers", "UPE", "protocol_error"),
        ("/body-cancel", "UR", "remote_reset"),
        ("/body-refuse", "UR", "remote_reset"),
        ("/body-reset", "UR", "remote_reset"),
        ("/body-close", "UC", "connection_termination"),
        ("/body-nothings", "UPE", "protocol_error"),
    ] {
        let (stream, own) = dial(web).await;
        let mut client = FrameClient::over(stream).with_deadline(SOON);
        client.preface(&[]).await.expect("HTTP/2");
        let fate = client.ask(1, Block::request("GET", "web", path)).await;
        assert!(matches!(fate, Fate::Reset(_)), "{path}: {fate:?}");
        let told = Told {
            status: 200,
            details: format!("{after}{{{why}}}"),
            flags: flags.into(),
            failure: String::new(),
        };
        assert_eq!(notes.of(own, 1).await, [told], "{path}");
    }
    let flood = [("reason", "http2_flood")];
    gateway
        .metrics_until(|it| it.sum("pointsman_refused_bytes_total", &flood) == 1.0)
        .await;
}

/// What breaks in one burst with its head is an answer to a client of HTTP/1 that has no byte of it.
#[tokio::test]
async fn a_response_that_breaks_before_the_client_has_a_byte_is_an_answer_of_our_own() {
    let endpoint = breaking().await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http2("web", web.ip(), web.port(), endpoint.addr());
    let notes = Notes::default();
    let _gateway = notes.serve(settings(), &documents).await;
    let before = "upstream_reset_before_response_started";
    for (path, status, flags, why) in [
        ("/short", 502, "UPE", "protocol_error"),
        ("/long", 502, "UPE", "protocol_error"),
        ("/reset", 503, "UR", "remote_reset"),
    ] {
        let (stream, own) = dial(web).await;
        let mut client = pointsman_testkit::RawHttp::over(stream);
        let reply = client.get("web", path).await.expect("an answer");
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.keeps_alive(), "{path}");
        let told = Told {
            status,
            details: format!("{before}{{{why}}}"),
            flags: flags.into(),
            failure: String::new(),
        };
        assert_eq!(notes.of(own, 1).await, [told], "{path}");
    }
}

/// VS-H-131: a stream that the endpoint has not looked at is told from one that it has reset.
#[tokio::test]
async fn a_stream_that_is_refused_is_told_from_one_that_is_reset() {
    let endpoint = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        loop {
            let asked = peer.request().await?;
            let frame = match asked.field(":path") {
                Some("/away") => Frame::goaway(0, code::NO_ERROR, b""),
                Some("/refused") => Frame::reset(asked.stream, code::REFUSED_STREAM),
                _ => Frame::reset(asked.stream, code::INTERNAL_ERROR),
            };
            peer.send(&[frame]).await?;
        }
    })
    .await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http2("web", web.ip(), web.port(), endpoint.addr())
        + &rules(
            "web",
            "- retries: {attempts: 0}
  route: [{destination: {host: web}}]",
        );
    let notes = Notes::default();
    let _gateway = notes.serve(settings(), &documents).await;
    for (path, why) in [
        ("/reset", "remote_reset"),
        ("/refused", "remote_refused_stream_reset"),
        ("/away", "remote_refused_stream_reset"),
    ] {
        let (stream, own) = dial(web).await;
        let mut client = pointsman_testkit::RawHttp::over(stream);
        let reply = client.get("web", path).await.expect("an answer");
        assert_eq!(reply.status, 503, "{path}");
        let told = Told {
            status: 503,
            details: format!("upstream_reset_before_response_started{{{why}}}"),
            flags: "UR".into(),
            failure: String::new(),
        };
        assert_eq!(notes.of(own, 1).await, [told], "{path}");
    }
}

/// A port that says HTTP/2, and a server that does not speak it: that can be connected to, and the
/// operator is told what is wrong.
#[tokio::test]
async fn an_endpoint_that_does_not_speak_http2_is_told_from_one_that_is_not_there() {
    let bad = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec();
    let (malformed, closed) = ("protocol_error", "connection_termination");
    for (behaviour, status, flags, why) in [
        (
            Behaviour::ServerFirst(bad.clone()),
            502,
            "URX,UPE",
            malformed,
        ),
        (Behaviour::EndFirst(bad), 502, "URX,UPE", malformed),
        (Behaviour::EndFirst(Vec::new()), 503, "URX,UC", closed),
        (Behaviour::ResetAfterRead, 503, "URX,UC", closed),
    ] {
        let what = format!("{behaviour:?}");
        let endpoint = TcpUpstream::start(behaviour).await;
        let web = SocketAddr::new(fresh_ip(), free_port());
        let documents = service(
            "web",
            web.ip(),
            web.port(),
            "grpc",
            &plain(&[endpoint.addr()]),
        );
        let notes = Notes::default();
        let _gateway = notes.serve(settings(), &documents).await;
        let (stream, own) = dial(web).await;
        let mut client = pointsman_testkit::RawHttp::over(stream);
        let reply = client.get("web", "/").await.expect("an answer");
        assert_eq!(reply.status, status, "{what}");
        let told = notes.of(own, 1).await;
        let [told] = &told[..] else {
            panic!("{what}: {told:?}");
        };
        let details = format!("upstream_reset_before_response_started{{{why}}}");
        assert_eq!((&*told.flags, &told.details), (flags, &details), "{what}");
        assert!(told.failure.starts_with("no HTTP/2: "), "{what}: {told:?}");
    }
}

/// The same is said in the log, with the address of the endpoint.
#[tokio::test]
async fn the_operator_is_told_of_an_endpoint_that_does_not_speak_http2() {
    let bad = b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec();
    let endpoint = TcpUpstream::start(Behaviour::ServerFirst(bad)).await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = http2("web", web.ip(), web.port(), endpoint.addr());
    let process = Process::start(&documents, &["--capture", "bind"]).await;
    let reply = connect(web).await.get("web", "/").await;
    assert_eq!(reply.expect("an answer").status, 502);
    eventually(SOON, || async {
        let log = process.log();
        let address = endpoint.addr().to_string();
        log.lines()
            .any(|line| line.contains("no HTTP/2") && line.contains(&address))
    })
    .await;
}
