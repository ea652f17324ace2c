//! What DestinationRules allow the connections and requests of a backend, and what happens beyond
//! it (BE-60..76, VS-H-132, VS-H-148).
mod common;

use common::{pools::*, *};
use pointsman_testkit::{
    Http2Reply, Http2Upstream, HttpUpstream, RawHttp, TcpUpstream, eventually,
    frames::{Block, Frame, FrameClient},
    free_port, fresh_ip,
    http::Reply,
    message::MessageReader,
    tcp::Behaviour,
    within,
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

const REQUESTS: &str = "istio_requests_total";
const CLOSED: &str = "istio_tcp_connections_closed_total";

#[tokio::test]
async fn requests_beyond_their_number_are_refused_at_once() {
    // BE-67, VS-H-132: HTTP/1.1 requests too, and over all shards together.
    let web = HttpUpstream::named("web")
        .otherwise(Reply::text(200, "").after(Duration::from_millis(1_500)))
        .start()
        .await;
    let at = fresh();
    let text = pooled(at, "http", &[web.addr()], "{http: {http2MaxRequests: 2}}");
    let gateway = Gateway::serve(&text).await;
    let waiting: Vec<_> = (0..2)
        .map(|_| tokio::spawn(async move { get(at, "web", "/").await.0 }))
        .collect();
    eventually(SOON, || async { web.requests() == 2 }).await;
    let mut client = connect(at).await;
    let reply = client.get("web", "/").await.expect("an answer");
    assert_eq!(reply.status, 503);
    assert_eq!(reply.field("x-envoy-overloaded"), Some("true"));
    assert!(
        reply.text().ends_with("reset reason: overflow"),
        "{}",
        reply.text()
    );
    assert!(reply.keeps_alive());
    for task in waiting {
        assert_eq!(task.await.expect("ends"), 200);
    }
    let labels = [("response_code", "503"), ("response_flags", "UO")];
    gateway
        .metrics_until(|it| it.sum(REQUESTS, &labels) == 1.0)
        .await;
    hit(&gateway, "http2MaxRequests", 1.0).await;
    assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
}

#[tokio::test]
async fn who_waits_for_a_connection_is_no_request_of_the_backend_yet() {
    // BE-66, BE-67: twice as many come as there may be, and may wait.
    let web = HttpUpstream::named("web")
        .otherwise(Reply::identity().after(Duration::from_millis(100)))
        .start()
        .await;
    let pool =
        "{tcp: {maxConnections: 4}, http: {http1MaxPendingRequests: 8, http2MaxRequests: 4}}";
    let at = fresh();
    let _gateway = Gateway::serve(&pooled(at, "http", &[web.addr()], pool)).await;
    for _ in 0..5 {
        assert_eq!(at_once(at, 8).await, [200; 8]);
    }
    // A stream of HTTP/2 is no other thing to wait for.
    let second = Http2Upstream::named("web")
        .otherwise(Http2Reply::identity().after(Duration::from_millis(100)))
        .start()
        .await;
    let pool = "{tcp: {maxConnections: 1}, http: {maxConcurrentStreams: 4, http1MaxPendingRequests: 8, http2MaxRequests: 4}}";
    let at = fresh();
    let mut settings = settings();
    settings.process.shards = 1;
    let text = pooled(at, "http2", &[second.addr()], pool);
    let _gateway = Gateway::serve_with(settings, &text).await;
    for _ in 0..5 {
        assert_eq!(at_once(at, 8).await, [200; 8]);
    }
    assert_eq!(second.connections(), 1);
}

#[tokio::test]
async fn a_connection_is_not_lost_with_a_request_that_is_refused() {
    // BE-67
    let web = HttpUpstream::named("web")
        .otherwise(Reply::text(200, "").after(Duration::from_millis(300)))
        .start()
        .await;
    let at = fresh();
    let mut settings = settings();
    settings.process.shards = 1;
    let documents = |most| {
        let pool = format!("{{http: {{http2MaxRequests: {most}}}}}");
        pooled(at, "http", &[web.addr()], &pool)
    };
    let gateway = Gateway::serve_with(settings, &documents(2)).await;
    assert_eq!(at_once(at, 2).await, [200, 200]);
    gateway.apply(&documents(1)).await;
    eventually(SOON, || async { at_once(at, 2).await == [200, 503] }).await;
    gateway.apply(&documents(2)).await;
    eventually(SOON, || async { at_once(at, 2).await == [200, 200] }).await;
    assert_eq!(web.connections(), 2);
}

#[tokio::test]
async fn requests_wait_for_a_connection_in_turn() {
    // BE-60, BE-66: two connections for everybody, on both shards and to both endpoints.
    let slow = || Reply::identity().after(Duration::from_millis(20));
    let one = HttpUpstream::named("one")
        .at(fresh())
        .otherwise(slow())
        .start()
        .await;
    let two = HttpUpstream::named("two")
        .at(fresh())
        .otherwise(slow())
        .start()
        .await;
    let at = fresh();
    let text = pooled(
        at,
        "http",
        &[one.addr(), two.addr()],
        "{tcp: {maxConnections: 2}}",
    );
    let _gateway = Gateway::serve(&text).await;
    let watch = async {
        let mut most = 0;
        loop {
            most = most.max(one.open_connections() + two.open_connections());
            // One more may be seen as open while its end is on the way.
            assert!(most <= 3, "{most} connections");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let requests = at_once(at, 40);
    tokio::select! {
        statuses = requests => assert_eq!(statuses, [200; 40]),
        () = watch => {}
    }
    assert_eq!(one.requests() + two.requests(), 40);
    assert!(
        one.requests() > 0 && two.requests() > 0,
        "each had its turn"
    );
}

#[tokio::test]
async fn a_connection_that_comes_free_is_used_by_who_waits() {
    let web = HttpUpstream::named("web")
        .otherwise(Reply::identity().after(Duration::from_millis(5)))
        .start()
        .await;
    let at = fresh();
    let mut settings = settings();
    settings.process.shards = 1;
    let text = pooled(at, "http", &[web.addr()], "{tcp: {maxConnections: 1}}");
    let _gateway = Gateway::serve_with(settings, &text).await;
    assert_eq!(at_once(at, 30).await, [200; 30]);
    assert_eq!((web.requests(), web.connections()), (30, 1));
}

/// PS-32, BE-60: on an undeclared port too.
#[tokio::test]
async fn clients_that_are_silent_so_far_keep_no_request_waiting() {
    let web = HttpUpstream::named("web")
        .otherwise(Reply::text(200, ""))
        .start()
        .await;
    let at = fresh();
    let text = pooled(at, "", &[web.addr()], "{tcp: {maxConnections: 2}}");
    let mut settings = settings();
    settings.timeouts.pending = written("5s");
    let _gateway = Gateway::serve_with(settings, &text).await;
    let mut silent = [connect(at).await, connect(at).await];
    eventually(SOON, || async { web.open_connections() == 2 }).await;
    assert_eq!(get(at, "web", "/").await.0, 200);
    // They are not told, and routed by what they say.
    for client in &mut silent {
        assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn what_nobody_asked_for_answers_nobody_who_waits() {
    // BE-60: a body that is spliced, and another response behind its last bytes.
    const LENGTH: usize = 1 << 20;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n");
    let most = [head.as_bytes(), &vec![b'x'; LENGTH - 9]].concat();
    let rest = b"xxxxxxxxxHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let web = HttpUpstream::named("web")
        .on(
            "/large",
            Reply::raw(&most).then(Reply::raw(rest).after(Duration::from_millis(500))),
        )
        .otherwise(Reply::text(200, "good"))
        .start()
        .await;
    let at = fresh();
    let mut settings = settings();
    settings.process.shards = 1;
    let text = pooled(at, "http", &[web.addr()], "{tcp: {maxConnections: 1}}");
    let _gateway = Gateway::serve_with(settings, &text).await;
    let mut large = connect(at).await;
    large
        .send("GET /large HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async { web.requests() == 1 }).await;
    let (large, first, second) = tokio::join!(
        large.read_response(),
        get(at, "web", "/"),
        get(at, "web", "/")
    );
    assert_eq!(large.expect("an answer").body.len(), LENGTH);
    let good = (200, "good".to_owned());
    assert_eq!((&first, &second), (&good, &good));
    assert_eq!((web.requests(), web.connections()), (3, 2));
}

#[tokio::test]
async fn a_connection_that_was_closed_when_it_was_handed_on_counts_as_no_try() {
    // BE-60: each is closed behind its first response, which says nothing of it.
    let closing = || {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        Reply::raw(ok).after(Duration::from_millis(100))
    };
    let web = HttpUpstream::named("web")
        .otherwise(closing().then(Reply::close()))
        .start()
        .await;
    let at = fresh();
    let mut settings = settings();
    settings.process.shards = 1;
    let text = pooled(at, "http", &[web.addr()], "{tcp: {maxConnections: 1}}");
    let _gateway = Gateway::serve_with(settings, &text).await;
    assert_eq!(at_once(at, 10).await, [200; 10]);
    assert_eq!(web.open_connections(), 0);
}

/// Clients that ask for a connection and go, of both versions, and one whose body stands in its socket.
#[tokio::test]
async fn who_is_gone_does_not_wait_for_a_connection() {
    // BE-66
    let hang = Reply::hang();
    let one = HttpUpstream::named("one").on("/hold", hang).start().await;
    let hang = Http2Reply::hang();
    let two = Http2Upstream::named("two")
        .streams(1)
        .on("/hold", hang)
        .start()
        .await;
    let mut settings = settings();
    settings.process.shards = 1;
    let pool = "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 3}}";
    for (protocol, to) in [("http", one.addr()), ("http2", two.addr())] {
        let seen = || (one.requests() + two.requests(), protocol);
        let before = seen().0;
        let at = fresh();
        let gateway =
            Gateway::serve_with(settings.clone(), &pooled(at, protocol, &[to], pool)).await;
        let mut holder = connect(at).await;
        let hold = "GET /hold HTTP/1.1\r\nHost: web\r\n\r\n";
        holder.send(hold).await.expect("sent");
        eventually(SOON, || async { seen().0 == before + 1 }).await;
        let mut gone = Vec::new();
        for length in [1, 100_000] {
            let mut client = connect(at).await;
            let head =
                format!("POST /gone HTTP/1.1\r\nHost: web\r\nContent-Length: {length}\r\n\r\n");
            let body = pattern(length);
            client
                .send([head.as_bytes(), &body].concat())
                .await
                .expect("sent");
            gone.push(client);
        }
        let mut client = FrameClient::begin(at).await.expect("connects");
        let request = Block::request("GET", "web", "/gone");
        let request = Frame::headers(1, request.bytes()).end_stream();
        client.send(&[request]).await;
        // Each tells that the shard has had a turn.
        for _ in 0..20 {
            assert!(client.ping().await);
        }
        assert_eq!(get(at, "web", "/more").await.0, 503, "three wait");
        client.send(&[Frame::reset(1, 8)]).await;
        gone.into_iter().for_each(RawHttp::reset);
        let gone = |flags, count| {
            let gateway = &gateway;
            async move {
                let labels = [("response_flags", flags)];
                let counted = gateway.metrics_until(|it| it.sum(REQUESTS, &labels) == count);
                counted.await;
            }
        };
        gone("DC", 2.0).await;
        gone("DR", 1.0).await;
        let live = tokio::spawn(async move { get(at, "web", "/").await.0 });
        holder.reset();
        assert_eq!(live.await.expect("ends"), 200, "{protocol}");
        assert_eq!(seen(), (before + 2, protocol));
    }
}

#[tokio::test]
async fn an_idle_connection_elsewhere_makes_room() {
    // On another shard or to another endpoint: nobody waits for it to time out.
    let one = HttpUpstream::named("one").at(fresh()).start().await;
    let two = HttpUpstream::named("two").at(fresh()).start().await;
    let at = fresh();
    let text = pooled(
        at,
        "http",
        &[one.addr(), two.addr()],
        "{tcp: {maxConnections: 1}}",
    );
    let _gateway = Gateway::serve(&text).await;
    // Connections land on either shard, and round robin takes either endpoint.
    for _ in 0..20 {
        let ((status, _), took) = timed(get(at, "web", "/")).await;
        assert_eq!(status, 200);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    assert!(one.requests() > 0 && two.requests() > 0);
}

#[tokio::test]
async fn beyond_those_who_may_wait_a_request_is_refused() {
    // BE-66, VS-H-79: and not tried again.
    let web = HttpUpstream::named("web")
        .otherwise(Reply::text(200, "").after(Duration::from_millis(1_500)))
        .start()
        .await;
    let at = fresh();
    let pool = "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}";
    let retries = "- route: [{destination: {host: web}}]\n  retries: {attempts: 3, retryOn: 5xx}";
    let text = [
        pooled(at, "http", &[web.addr()], pool),
        rules("web", retries),
    ]
    .concat();
    let gateway = Gateway::serve(&text).await;
    let first = tokio::spawn(async move { get(at, "web", "/").await.0 });
    eventually(SOON, || async { web.requests() == 1 }).await;
    let statuses = at_once(at, 5).await;
    assert_eq!(statuses, [200, 503, 503, 503, 503]);
    assert_eq!(first.await.expect("ends"), 200);
    assert_eq!(web.requests(), 2);
    hit(&gateway, "http1MaxPendingRequests", 4.0).await;
}

#[tokio::test]
async fn waiting_for_a_connection_ends() {
    let web = HttpUpstream::named("web")
        .otherwise(Reply::hang())
        .start()
        .await;
    let at = fresh();
    let mut settings = settings();
    settings.timeouts.pending = written("300ms");
    let pool = "{tcp: {maxConnections: 1}}";
    let rule = "- match: [{uri: {prefix: /short}}]
  route: [{destination: {host: web}}]
  timeout: 100ms
- route: [{destination: {host: web}}]";
    let text = [pooled(at, "http", &[web.addr()], pool), rules("web", rule)].concat();
    let gateway = Gateway::serve_with(settings, &text).await;
    let mut holder = connect(at).await;
    holder
        .send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async { web.requests() == 1 }).await;
    let ((status, _), took) = timed(get(at, "web", "/")).await;
    assert_eq!(status, 503);
    assert!((0.3..5.0).contains(&took.as_secs_f64()), "{took:?}");
    // VS-H-63: the rule's own time counts while it waits.
    assert_eq!(get(at, "web", "/short").await.0, 504);
    hit(&gateway, "timeouts.pending", 1.0).await;
    // Who has given up is not in the line any more.
    holder.reset();
    web.set("/", Reply::text(200, ""));
    eventually(SOON, || async { get(at, "web", "/").await.0 == 200 }).await;
}

#[tokio::test]
async fn connections_end_as_their_policy_says() {
    let web = HttpUpstream::named("web").start().await;
    let at = fresh();
    let mut settings = settings();
    settings.process.shards = 1;
    // BE-68, BE-70, BE-63: requests, pause between them, connections in the end.
    let pause = Duration::from_millis(500);
    let cases = [
        ("{http: {maxRequestsPerConnection: 1}}", Duration::ZERO, 3),
        ("{http: {maxRequestsPerConnection: 2}}", Duration::ZERO, 2),
        ("{http: {idleTimeout: 200ms}}", pause, 3),
        ("{http: {idleTimeout: 100s}}", pause, 1),
        ("{tcp: {maxConnectionDuration: 800ms}}", pause, 2),
    ];
    let gateway = Gateway::serve_with(
        settings,
        &pooled(at, "http", &[web.addr()], "{http: {maxRetries: 9}}"),
    )
    .await;
    for (pool, pause, expected) in cases {
        gateway
            .apply(&pooled(at, "http", &[web.addr()], pool))
            .await;
        // What earlier cases have left in the pool is not this one's.
        web.set("/", Reply::identity().closing());
        let mut client = connect(at).await;
        client.get("web", "/").await.expect("an answer");
        web.set("/", Reply::identity());
        let before = web.connections();
        for _ in 0..3 {
            assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
            tokio::time::sleep(pause).await;
        }
        assert_eq!(web.connections() - before, expected, "{pool}");
    }
}

#[tokio::test]
async fn connections_of_bytes_are_counted_and_end() {
    // BE-60, VS-H-148, BE-63, BE-64
    let raw = TcpUpstream::start(Behaviour::Echo).await;
    let at = fresh();
    let limited = |pool: &str| {
        [
            service("raw", at.ip(), at.port(), "tcp", &plain(&[raw.addr()])),
            subsets("raw", &[], &format!("{{connectionPool: {{tcp: {pool}}}}}")),
        ]
        .concat()
    };
    let gateway = Gateway::serve(&limited("{maxConnections: 1}")).await;
    let mut first = connect(at).await;
    first.send("hello").await.expect("sent");
    assert_eq!(first.read_exact(5).await.expect("echoed"), b"hello");
    let mut second = connect(at).await;
    let end = second.read_to_end().await;
    assert!(
        end.as_ref().is_ok_and(Vec::is_empty) || is_reset(&end),
        "{end:?}"
    );
    let closed = |flag| [("response_flags", flag)];
    gateway
        .metrics_until(|it| it.sum(CLOSED, &closed("UO")) == 1.0)
        .await;
    hit(&gateway, "maxConnections", 1.0).await;
    first.half_close().await.expect("ended");
    first.read_to_end().await.expect("ended");
    eventually(SOON, || async {
        let mut third = connect(at).await;
        third.send("again").await.is_ok() && third.read_exact(5).await.is_ok()
    })
    .await;

    gateway.apply(&limited("{idleTimeout: 300ms}")).await;
    let (_, took) = timed(async { connect(at).await.read_to_end().await }).await;
    assert!((0.3..5.0).contains(&took.as_secs_f64()), "{took:?}");

    gateway
        .apply(&limited("{maxConnectionDuration: 400ms}"))
        .await;
    let (_, took) = timed(async {
        let mut busy = connect(at).await;
        while busy.send("x").await.is_ok() && busy.read_exact(1).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!((0.4..5.0).contains(&took.as_secs_f64()), "{took:?}");
    gateway
        .metrics_until(|it| it.sum(CLOSED, &closed("DT")) == 1.0)
        .await;
}

/// Seconds until the kernel probes each connection to this address that it was asked to (BE-62); zero
/// for the others.
fn probed(to: SocketAddr) -> Vec<u64> {
    let SocketAddr::V4(v4) = to else {
        panic!("not of IPv4: {to}");
    };
    let number = u32::from_ne_bytes(v4.ip().octets());
    let to = format!("{number:08X}:{:04X}", to.port());
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");
    let lines = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|line| line.get(2) == Some(&&*to) && line.get(3) == Some(&"01"))
        .map(|line| match line[5].split_once(':') {
            // Hundredths of a second.
            Some(("02", when)) => u64::from_str_radix(when, 16).expect("a number") / 100,
            _ => 0,
        })
        .collect()
}

#[tokio::test]
async fn connections_to_endpoints_are_probed() {
    // BE-62: by the policy, on the ground of what the mesh says.
    let one = HttpUpstream::named("one").at(fresh()).start().await;
    let two = Http2Upstream::named("two").at(fresh()).start().await;
    let raw = TcpUpstream::start(Behaviour::Echo).await;
    let mesh = |text: &str| {
        format!(
            "---\napiVersion: v1\nkind: ConfigMap\n\
             metadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    {text}\n"
        )
    };
    let at = fresh();
    let gateway = Gateway::serve("").await;
    for (mesh, pool, expected) in [
        (String::new(), "{connectTimeout: 9s}", 0..=0),
        (
            String::new(),
            "{tcpKeepalive: {time: 1000s, interval: 7s, probes: 3}}",
            900..=1000,
        ),
        (
            mesh("tcpKeepalive: {time: 500s}"),
            "{connectTimeout: 9s}",
            400..=500,
        ),
        (
            mesh("tcpKeepalive: {time: 500s}"),
            "{tcpKeepalive: {interval: 7s}}",
            400..=500,
        ),
        (
            mesh("tcpKeepalive: {time: 500s}"),
            "{tcpKeepalive: {time: 2000s}}",
            1900..=2000,
        ),
    ] {
        let policy = |host| subsets(host, &[], &format!("{{connectionPool: {{tcp: {pool}}}}}"));
        let of = |host, port, number, to| {
            service(host, at.ip(), number, port, &plain(&[to])) + &policy(host)
        };
        let ports = [at.port(), free_port(), free_port()];
        let text = [
            mesh.clone(),
            of("one", "http", ports[0], one.addr()),
            of("two", "http2", ports[1], two.addr()),
            of("raw", "tcp", ports[2], raw.addr()),
        ]
        .concat();
        gateway.apply(&text).await;
        let to = |index: usize| SocketAddr::new(at.ip(), ports[index]);
        assert_eq!(get(to(0), "one", "/").await.0, 200);
        assert_eq!(get(to(1), "two", "/").await.0, 200);
        let mut bytes = connect(to(2)).await;
        bytes.send("x").await.expect("sent");
        bytes.read_exact(1).await.expect("echoed");
        for upstream in [one.addr(), two.addr(), raw.addr()] {
            // Another shard may have one of an earlier case; while bytes are unacknowledged the
            // kernel's timer is another one.
            eventually(SOON, || async {
                probed(upstream).iter().any(|it| expected.contains(it))
            })
            .await;
        }
    }
}

/// BE-60, BE-76: where the number has changed, who finds a connection closed waits for one of the new number, and
/// that may be closed as well.
#[tokio::test]
async fn a_request_that_gets_one_stale_connection_after_the_other_is_answered() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let listener = TcpListener::bind((fresh_ip(), 0)).await.expect("binds");
    let endpoint = listener.local_addr().expect("bound");
    let at = fresh();
    let mut settings = settings();
    settings.process.shards = 1;
    let most = |most| {
        let pool = format!("{{tcp: {{maxConnections: {most}}}}}");
        pooled(at, "http", &[endpoint], &pool)
    };
    let gateway = Gateway::serve_with(settings, &most(2)).await;
    let accepted = async || {
        let (stream, _) = within(SOON, listener.accept()).await.expect("accepts");
        MessageReader::new(stream)
    };
    let asked = async |endpoint: &mut MessageReader<TcpStream>| {
        let head = within(SOON, endpoint.head()).await.expect("a head");
        head.map(|it| it.first_line)
    };
    let ask = |path: &'static str| tokio::spawn(async move { get(at, "web", path).await.0 });
    let first = ask("/first");
    let mut old = accepted().await;
    assert!(asked(&mut old).await.is_some());
    old.stream().write_all(ANSWER).await.expect("sent");
    assert_eq!(first.await.expect("ends"), 200);
    // On the connection that was left.
    let waits = ask("/waits");
    assert_eq!(
        asked(&mut old).await.as_deref(),
        Some("GET /waits HTTP/1.1")
    );
    gateway.apply(&most(1)).await;
    let other = ask("/other");
    let mut new = accepted().await;
    assert_eq!(
        asked(&mut new).await.as_deref(),
        Some("GET /other HTTP/1.1")
    );
    // It waits by the time that the other one is answered: one thread hears of both, in this order.
    drop(old);
    new.stream().write_all(ANSWER).await.expect("sent");
    assert_eq!(other.await.expect("ends"), 200);
    let handed_on = asked(&mut new).await;
    assert_eq!(handed_on.as_deref(), Some("GET /waits HTTP/1.1"));
    drop(new);
    let mut third = accepted().await;
    assert_eq!(
        asked(&mut third).await.as_deref(),
        Some("GET /waits HTTP/1.1")
    );
    third.stream().write_all(ANSWER).await.expect("sent");
    assert_eq!(waits.await.expect("ends"), 200);
}

#[tokio::test]
async fn limits_survive_a_change_of_something_else() {
    // BE-76, BE-126
    let web = HttpUpstream::named("web")
        .otherwise(Reply::text(200, "").after(Duration::from_millis(1_500)))
        .start()
        .await;
    let spare = HttpUpstream::named("spare").start().await;
    let at = fresh();
    let pool = "{http: {http2MaxRequests: 1}}";
    let gateway = Gateway::serve(&pooled(at, "http", &[web.addr()], pool)).await;
    let first = tokio::spawn(async move { get(at, "web", "/").await.0 });
    eventually(SOON, || async { web.requests() == 1 }).await;
    gateway
        .apply(&pooled(at, "http", &[spare.addr()], pool))
        .await;
    assert_eq!(get(at, "web", "/").await.0, 503, "there is one already");
    assert_eq!(first.await.expect("ends"), 200);
    // Its client has the answer a moment before it counts no more.
    eventually(SOON, || async { get(at, "web", "/").await.0 == 200 }).await;
}
