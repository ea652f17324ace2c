//! Routes change under load and no connection notices.
mod common;

use actix::{Context, Handler, Message};
use common::*;
use pointsman_control::{Catalogue, GetStatus};
use pointsman_runtime::{ask, tell};
use pointsman_testkit::{
    HttpUpstream, RawHttp, Reply, TcpUpstream, TlsUpstream, eventually, free_port, fresh_ip,
    http2::{Http2Client, Http2Request, Http2Upstream, grpc},
    tls::tls_connect,
    within,
};
use std::{
    cell::{Cell, RefCell},
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::mpsc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::LocalSet,
};

/// Swaps in the long test.
const SWAPS: usize = 1000;

/// What loads have done, and what went wrong. Loads run until told to stop.
#[derive(Default)]
struct Tally {
    stop: Cell<bool>,
    failed: RefCell<Vec<String>>,
    done: RefCell<std::collections::BTreeMap<&'static str, u64>>,
}

impl Tally {
    fn running(&self) -> bool {
        !self.stop.get()
    }

    fn count(&self, what: &'static str) {
        *self.done.borrow_mut().entry(what).or_default() += 1;
    }

    fn of(&self, what: &'static str) -> u64 {
        self.done.borrow().get(what).copied().unwrap_or_default()
    }

    /// Notes a failure, with the time since the load began.
    fn fail(&self, what: &str, why: impl std::fmt::Debug) {
        self.failed.borrow_mut().push(format!("{what}: {why:?}"));
    }

    fn assert_clean(&self) {
        let failed = self.failed.borrow();
        let first: Vec<_> = failed.iter().take(10).collect();
        assert!(
            failed.is_empty(),
            "{} failures, first {first:#?}",
            failed.len()
        );
    }
}

/// Where the loads go. None of it is ever taken away; everything else is.
struct Stage {
    web: SocketAddr,
    db: SocketAddr,
    tls: SocketAddr,
    calls: SocketAddr,
    v1: HttpUpstream,
    v1b: HttpUpstream,
    v2: HttpUpstream,
    stream: HttpUpstream,
    echo: TcpUpstream,
    vault: TlsUpstream,
    grpc: Http2Upstream,
}

impl Stage {
    async fn new() -> Stage {
        let upstream = |name: &'static str| HttpUpstream::named(name).at((fresh_ip(), 0));
        let port = free_port();
        Stage {
            web: (fresh_ip(), port).into(),
            db: (fresh_ip(), free_port()).into(),
            tls: (IpAddr::from(Ipv4Addr::LOCALHOST), free_port()).into(),
            calls: (fresh_ip(), free_port()).into(),
            v1: upstream("v1").start().await,
            v1b: upstream("v1b").start().await,
            v2: upstream("v2").start().await,
            stream: upstream("stream")
                .on(
                    "/endless",
                    Reply::endless(b"tick", Duration::from_millis(5)),
                )
                .on("/ws", Reply::upgrade())
                .start()
                .await,
            echo: TcpUpstream::echo().await,
            vault: TlsUpstream::start("vault", &["vault.example.com"]).await,
            grpc: grpc::echo_service("calls").start().await,
        }
    }

    /// What is always there.
    fn base(&self) -> String {
        [
            http("stream", fresh_ip(), self.web.port(), self.stream.addr()),
            service(
                "db",
                self.db.ip(),
                self.db.port(),
                "tcp",
                &plain(&[self.echo.addr()]),
            ),
            service(
                "calls",
                self.calls.ip(),
                self.calls.port(),
                "grpc",
                &plain(&[self.grpc.addr()]),
            ),
            entry(
                "vault",
                &["vault.example.com"],
                self.tls.port(),
                "TLS",
                self.vault.addr(),
            ),
        ]
        .concat()
    }

    /// The service `web` as generation `n` has it: endpoints of v1 come and go.
    fn web(&self, n: usize) -> String {
        let mut endpoints = vec![(self.v1.addr(), "v1"), (self.v2.addr(), "v2")];
        if n % 3 == 1 {
            endpoints.push((self.v1b.addr(), "v1"));
        }
        service("web", self.web.ip(), self.web.port(), "http", &endpoints)
            + &subsets("web", &["v1", "v2"], "null")
    }

    /// The rules of `web`: an even table sends everything to v1, an odd one to v2, and each says on
    /// the request and on the response that it is it. In every fifth there is one rule more.
    fn table(&self, n: usize) -> String {
        let (name, version) = if n.is_multiple_of(2) {
            ("even", "v1")
        } else {
            ("odd", "v2")
        };
        let more = match n % 5 {
            0 => "- match: [{uri: {exact: /never}}]\n  directResponse: {status: 410}\n",
            _ => "",
        };
        rules(
            "web",
            &format!(
                "{more}- headers:
    request: {{set: {{x-table: {name}}}}}
    response: {{set: {{x-table: {name}}}}}
  route: [{{destination: {{host: web, subset: {version}}}}}]"
            ),
        )
    }

    /// One generation of everything that changes: routes, endpoints, services, listeners.
    fn generation(&self, n: usize, doors: &[(IpAddr, u16)]) -> Vec<(String, String)> {
        let mut groups = vec![
            ("web".to_owned(), self.web(n)),
            ("table".to_owned(), self.table(n)),
        ];
        for (index, (vip, port)) in doors.iter().enumerate() {
            // Each door is there in two generations of three, as HTTP, TCP or undeclared.
            let text = match (n + index) % 3 {
                0 => String::new(),
                present => {
                    let name = ["http", "tcp", ""][index % 3];
                    let endpoints = [self.v1.addr(), self.v2.addr()];
                    service(
                        &format!("door-{index}"),
                        *vip,
                        *port,
                        name,
                        &plain(&endpoints[..present]),
                    )
                }
            };
            groups.push((format!("door-{index}"), text));
        }
        groups
    }
}

async fn swap(feed: &mut Feed, gateway: &Gateway, groups: &[(String, String)]) {
    let groups: Vec<(&str, &str)> = groups
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    feed.swap(gateway, &groups).await;
}

/// Is the answer wholly of one table? `table` is what its head says, `body` what the endpoint saw.
fn is_of_one_table(table: Option<&str>, body: &serde_json::Value) -> bool {
    let by = body["name"].as_str().unwrap_or_default();
    let said = body["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|it| {
            it[0]
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case("x-table"))
        })
        .and_then(|it| it[1].as_str());
    match table {
        Some("even") => said == Some("even") && matches!(by, "v1" | "v1b"),
        Some("odd") => said == Some("odd") && by == "v2",
        _ => false,
    }
}

async fn keep_alive_load(tally: Rc<Tally>, web: SocketAddr, requests_per_connection: usize) {
    while tally.running() {
        let mut client = match RawHttp::connect(web).await {
            Ok(client) => client,
            Err(error) => return tally.fail("connect", error),
        };
        for number in 0..requests_per_connection {
            if !tally.running() {
                return;
            }
            let body = (number % 4 == 3).then_some(&b"some body"[..]);
            let method = if body.is_some() { "POST" } else { "GET" };
            match client.request(method, "web", "/", &[], body).await {
                Ok(reply)
                    if reply.status == 200
                        && is_of_one_table(reply.field("x-table"), &reply.json()) =>
                {
                    tally.count("requests")
                }
                Ok(reply) => tally.fail(
                    "reply",
                    (
                        reply.status,
                        reply.field("x-table").map(str::to_owned),
                        reply.text(),
                    ),
                ),
                Err(error) => return tally.fail("request", error),
            }
        }
        tally.count("http connections");
    }
}

/// Several streams at a time on one connection, each of one table. With `rounds`, the connection is
/// made anew after so many.
async fn http2_load(tally: Rc<Tally>, web: SocketAddr, rounds: usize) {
    while tally.running() {
        let mut client = match Http2Client::connect(web).await {
            Ok(client) => client,
            Err(error) => return tally.fail("http2 connect", error),
        };
        for _ in 0..rounds {
            if !tally.running() {
                return;
            }
            let mut streams = Vec::new();
            for number in 0..4 {
                let request = match number {
                    3 => Http2Request::post("web", "/"),
                    _ => Http2Request::get("web", "/"),
                };
                match client.begin(&request, number != 3).await {
                    Ok(stream) => streams.push(stream),
                    Err(error) => return tally.fail("http2 stream", error),
                }
            }
            for (number, mut stream) in streams.into_iter().enumerate() {
                if number == 3
                    && let Err(error) = stream.send(b"some body", true).await
                {
                    return tally.fail("http2 body", error);
                }
                match within(SOON, stream.rest()).await {
                    Ok(reply)
                        if reply.status == 200
                            && is_of_one_table(reply.field("x-table"), &reply.json()) =>
                    {
                        tally.count("streams")
                    }
                    other => return tally.fail("http2 reply", other),
                }
            }
        }
        tally.count("http2 connections");
    }
}

/// One call that goes on for good, and a short one beside it now and then.
async fn grpc_load(tally: Rc<Tally>, calls: SocketAddr) {
    let mut client = match Http2Client::connect(calls).await {
        Ok(client) => client,
        Err(error) => return tally.fail("grpc connect", error),
    };
    let call = Http2Request::grpc("calls", "/test.Echo/Bidi", &[]);
    let mut call = match client.begin(&call, false).await {
        Ok(call) => call,
        Err(error) => return tally.fail("grpc call", error),
    };
    for number in 0_u64.. {
        if !tally.running() {
            break;
        }
        let sent = grpc::message(&number.to_be_bytes());
        if let Err(error) = call.send(&sent, false).await {
            return tally.fail("grpc message", error);
        }
        let mut echoed = Vec::new();
        while echoed.len() < sent.len() {
            match within(SOON, call.piece()).await {
                Ok(Some(piece)) => echoed.extend_from_slice(&piece),
                other => return tally.fail("grpc echo", other),
            }
        }
        if echoed != sent {
            return tally.fail("grpc echo", echoed);
        }
        tally.count("messages");
        let unary = Http2Request::grpc("calls", "/test.Echo/Unary", &[b"short"]);
        match within(SOON, client.exchange(unary)).await {
            Ok(reply) if reply.grpc_status() == Some(0) => tally.count("calls"),
            other => return tally.fail("grpc unary", other),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    if let Err(error) = call.send(b"", true).await {
        return tally.fail("grpc end", error);
    }
    match within(SOON, call.rest()).await {
        Ok(reply) if reply.grpc_status() == Some(0) => {}
        other => tally.fail("grpc end", other),
    }
}

async fn endless_load(tally: Rc<Tally>, web: SocketAddr) {
    let mut client = match RawHttp::connect(web).await {
        Ok(client) => client,
        Err(error) => return tally.fail("connect", error),
    };
    let begun = async {
        client
            .send("GET /endless HTTP/1.1\r\nHost: stream\r\n\r\n")
            .await?;
        client.read_head().await
    };
    if let Err(error) = begun.await {
        return tally.fail("endless", error);
    }
    while tally.running() {
        match client.read_chunk().await {
            Ok(Some(chunk)) if chunk == b"tick" => tally.count("chunks"),
            other => return tally.fail("chunk", other),
        }
    }
}

async fn websocket_load(tally: Rc<Tally>, web: SocketAddr) {
    let mut client = match RawHttp::connect(web).await {
        Ok(client) => client,
        Err(error) => return tally.fail("connect", error),
    };
    let ask =
        "GET /ws HTTP/1.1\r\nHost: stream\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let begun = async {
        client.send(ask).await?;
        client.read_response().await
    };
    match begun.await {
        Ok(reply) if reply.status == 101 => {}
        other => return tally.fail("upgrade", other),
    }
    for number in 0_u64.. {
        if !tally.running() {
            return;
        }
        let frame = number.to_be_bytes();
        let echoed = async {
            client.send(frame).await?;
            client.read_exact(frame.len()).await
        };
        match echoed.await {
            Ok(echo) if echo == frame => tally.count("frames"),
            other => return tally.fail("frame", other),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Streams a sequence both ways; every byte that comes back is checked. With `rounds`, the
/// connection is ended in order after so many and made anew.
async fn tcp_load(tally: Rc<Tally>, db: SocketAddr, rounds: usize) {
    while tally.running() {
        let mut client = match RawHttp::connect(db).await {
            Ok(client) => client,
            Err(error) => return tally.fail("tcp connect", error),
        };
        let mut next = 0_u8;
        for round in 0..rounds {
            if !tally.running() {
                return;
            }
            let piece: Vec<u8> = (0..1 + (round * 997) % 20_000)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            let echoed = async {
                client.send(&piece).await?;
                client.read_exact(piece.len()).await
            };
            match echoed.await {
                Ok(echo) if echo == piece => tally.count("pieces"),
                Ok(_) => return tally.fail("piece", "other bytes"),
                Err(error) => return tally.fail("piece", error),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ended = async {
            client.half_close().await?;
            client.read_to_end().await
        };
        match ended.await {
            Ok(rest) if rest.is_empty() => tally.count("tcp connections"),
            other => return tally.fail("end", other),
        }
    }
}

async fn tls_load(tally: Rc<Tally>, stage: Rc<Stage>, rounds: usize) {
    while tally.running() {
        let connecting = tls_connect(stage.tls, "vault.example.com", stage.vault.client_config());
        let mut tls = match within(SOON, connecting).await {
            Ok(tls) => tls,
            Err(error) => return tally.fail("handshake", error),
        };
        let mut heard = [0; 6];
        if let Err(error) = within(SOON, tls.read_exact(&mut heard)).await {
            return tally.fail("greeting", error);
        }
        tally.count("handshakes");
        for _ in 0..rounds {
            if !tally.running() {
                return;
            }
            let echoed = async {
                tls.write_all(b"sealed").await?;
                tls.read_exact(&mut heard).await
            };
            match within(SOON, echoed).await {
                Ok(_) if &heard == b"sealed" => tally.count("sealed"),
                other => return tally.fail("sealed", other),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Starts every kind of load, runs `change`, ends the loads.
async fn under_load<T>(stage: &Rc<Stage>, change: impl Future<Output = T>) -> (Rc<Tally>, T) {
    let tally = Rc::new(Tally::default());
    let local = LocalSet::new();
    let mut loads = Vec::new();
    let (web, db) = (stage.web, stage.db);
    for connection in 0..4 {
        // Two that stay for good and two that come and go.
        let most = if connection % 2 == 0 { usize::MAX } else { 10 };
        loads.push(local.spawn_local(keep_alive_load(Rc::clone(&tally), web, most)));
        loads.push(local.spawn_local(http2_load(Rc::clone(&tally), web, most)));
        loads.push(local.spawn_local(tcp_load(Rc::clone(&tally), db, most)));
        loads.push(local.spawn_local(tls_load(Rc::clone(&tally), Rc::clone(stage), most)));
    }
    for _ in 0..2 {
        loads.push(local.spawn_local(endless_load(Rc::clone(&tally), web)));
        loads.push(local.spawn_local(websocket_load(Rc::clone(&tally), web)));
        loads.push(local.spawn_local(grpc_load(Rc::clone(&tally), stage.calls)));
    }
    let output = local
        .run_until(async {
            eventually(SOON, || async {
                [
                    "requests", "chunks", "frames", "pieces", "sealed", "streams", "messages",
                    "calls",
                ]
                .iter()
                .all(|it| tally.of(it) > 0)
                    || !tally.failed.borrow().is_empty()
            })
            .await;
            let output = Box::pin(change).await;
            tally.stop.set(true);
            for load in loads {
                within(SOON, load).await.expect("no load panicked");
            }
            output
        })
        .await;
    (tally, output)
}

/// T-CH-1.
#[tokio::test]
async fn a_thousand_swaps_under_mixed_load_fail_nothing_and_cut_nothing() {
    let stage = Rc::new(Stage::new().await);
    let doors: Vec<_> = (0..6).map(|_| (fresh_ip(), free_port())).collect();
    let (gateway, mut feed) = Feed::serve(&stage.base()).await;
    swap(&mut feed, &gateway, &stage.generation(0, &doors)).await;
    let first = gateway.progress.borrow().active;
    let (tally, ()) = under_load(&stage, async {
        for n in 1..=SWAPS {
            swap(&mut feed, &gateway, &stage.generation(n, &doors)).await;
        }
    })
    .await;
    tally.assert_clean();
    let done = gateway.progress.borrow().active - first;
    assert!(done >= SWAPS as u64, "{done} generations");
    let at_least = [
        ("requests", 2000),
        ("http connections", 20),
        ("streams", 2000),
        ("http2 connections", 10),
        ("messages", 500),
        ("calls", 500),
        ("chunks", 500),
        ("frames", 500),
        ("pieces", 500),
        ("tcp connections", 20),
        ("handshakes", 20),
        ("sealed", 500),
    ];
    for (what, count) in at_least {
        assert!(tally.of(what) >= count, "only {} {what}", tally.of(what));
    }
    for upstream in [&stage.v1, &stage.v1b, &stage.v2, &stage.stream] {
        assert!(
            upstream.malformed().is_empty(),
            "{:?}",
            upstream.malformed()
        );
        assert!(
            upstream.requests() > 0,
            "{} was never asked",
            upstream.name()
        );
    }
    // The four that stay for good were never reconnected.
    let metrics = gateway.metrics().await;
    assert_eq!(
        metrics.sum("istio_requests_total", &[("response_flags", "UC")]),
        0.0
    );
    assert_eq!(
        metrics.sum("pointsman_actor_restarts_total", &[("actor", "replica")]),
        0.0
    );
}

#[tokio::test]
async fn a_listener_that_vanishes_stops_accepting_and_keeps_its_connections() {
    let (web, echo) = (
        HttpUpstream::named("web").start().await,
        TcpUpstream::echo().await,
    );
    let (http_at, tcp_at): (SocketAddr, SocketAddr) = (
        (fresh_ip(), free_port()).into(),
        (fresh_ip(), free_port()).into(),
    );
    let (gateway, mut feed) = Feed::serve("").await;
    let both = http("web", http_at.ip(), http_at.port(), web.addr())
        + &service(
            "db",
            tcp_at.ip(),
            tcp_at.port(),
            "tcp",
            &plain(&[echo.addr()]),
        );
    feed.swap(&gateway, &[("both", &both)]).await;
    let mut request = connect(http_at).await;
    assert_eq!(
        request.get("web", "/").await.expect("an answer").status,
        200
    );
    let mut tunnel = connect(tcp_at).await;
    tunnel.send("one").await.expect("sent");
    assert_eq!(tunnel.read_exact(3).await.expect("echoed"), b"one");

    feed.swap(&gateway, &[("both", "")]).await;
    for address in [http_at, tcp_at] {
        eventually(SOON, || async {
            TcpStream::connect(address)
                .await
                .is_err_and(|it| it.kind() == std::io::ErrorKind::ConnectionRefused)
        })
        .await;
    }
    tunnel.send("two").await.expect("sent");
    assert_eq!(tunnel.read_exact(3).await.expect("echoed"), b"two");
    // The service is gone, and the client is told so on the connection it has.
    let gone = request.get("web", "/").await.expect("an answer");
    assert_eq!(gone.status, 404);
    assert!(gone.keeps_alive());

    feed.swap(&gateway, &[("both", &both)]).await;
    assert_eq!(
        request.get("web", "/").await.expect("an answer").status,
        200
    );
    for address in [http_at, tcp_at] {
        eventually(SOON, || async { TcpStream::connect(address).await.is_ok() }).await;
    }
    assert_eq!(get(http_at, "web", "/").await.0, 200);
    tunnel.half_close().await.expect("half-closed");
    assert_eq!(tunnel.read_to_end().await.expect("ends in order"), b"");
}

/// To the catalogue, from these tests: stand still until the other end is dropped. `tell`, once.
#[derive(Message)]
#[rtype(result = "()")]
struct Freeze(mpsc::Receiver<()>);

impl Handler<Freeze> for Catalogue {
    type Result = ();

    fn handle(&mut self, Freeze(thawed): Freeze, _: &mut Context<Self>) {
        // The whole control thread stands, which is worse than the actor alone.
        let _ = thawed.recv();
    }
}

/// To the catalogue, from these tests: panic. `tell`, once.
#[derive(Message)]
#[rtype(result = "()")]
struct Fall;

impl Handler<Fall> for Catalogue {
    type Result = ();

    fn handle(&mut self, _: Fall, _: &mut Context<Self>) {
        panic!("on purpose, by a test");
    }
}

#[tokio::test]
async fn traffic_does_not_need_the_catalogue() {
    let stage = Rc::new(Stage::new().await);
    let (gateway, mut feed) = Feed::serve(&stage.base()).await;
    swap(&mut feed, &gateway, &stage.generation(0, &[])).await;
    let (tally, ()) = under_load(&stage, async {
        let (thaw, thawed) = mpsc::channel();
        tell(&gateway.catalogue, Freeze(thawed));
        // Behind the freeze in the mailbox: its answer marks the end.
        let status = ask(&gateway.catalogue, GetStatus, 2 * SOON);
        // Whatever waited for the catalogue would wait for ever: it goes on after all of these.
        let served = async {
            let mut client = connect(stage.web).await;
            for _ in 0..100 {
                let reply = within(SOON, client.get("web", "/")).await;
                assert_eq!(reply.expect("an answer").status, 200);
            }
            assert_eq!(
                get(stage.web, "web", "/").await.0,
                200,
                "nor does connecting"
            );
        };
        let mut status = pin!(status);
        tokio::select! {
            biased;
            status = &mut status => panic!("it was not frozen: {status:?}"),
            () = served => {}
        }
        drop(thaw);
        status.await.expect("the catalogue comes back");

        for n in 1..=3 {
            tell(&gateway.catalogue, Fall);
            eventually(SOON, || async {
                let status = ask(&gateway.catalogue, GetStatus, SOON).await;
                status.is_ok_and(|it| it.restarts >= n)
            })
            .await;
            assert_eq!(get(stage.web, "web", "/").await.0, 200);
            // What changed meanwhile arrives, and nothing that served is taken away.
            swap(&mut feed, &gateway, &stage.generation(n as usize, &[])).await;
        }
    })
    .await;
    tally.assert_clean();
}

#[tokio::test]
async fn whose_turn_it_is_survives_a_swap() {
    let mut upstreams = Vec::new();
    for name in ["a", "b", "c"] {
        upstreams.push(HttpUpstream::named(name).at((fresh_ip(), 0)).start().await);
    }
    let endpoints: Vec<_> = upstreams.iter().map(|it| (it.addr(), "v1")).collect();
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let mut settings = settings();
    settings.process.shards = 1;
    let robin = |connect: u32| {
        service("web", web.ip(), web.port(), "http", &endpoints)
            + &subsets(
                "web",
                &[],
                &format!(
                    "{{loadBalancer: {{simple: ROUND_ROBIN}}, connectionPool: {{tcp: {{connectTimeout: {connect}s}}}}}}"
                ),
            )
    };
    let (gateway, mut feed) = Feed::serve_with(settings, "").await;
    feed.swap(&gateway, &[("web", &robin(1))]).await;
    let mut client = connect(web).await;
    let mut order = Vec::new();
    for n in 0..30_u32 {
        let reply = client.get("web", "/").await.expect("an answer");
        order.push(reply.answered_by().expect("a name"));
        // By turns a change elsewhere, and one of the very backend.
        if n.is_multiple_of(2) {
            let other = http("other", fresh_ip(), web.port(), endpoints[0].0);
            feed.swap(&gateway, &[("other", &other)]).await;
        } else {
            feed.swap(&gateway, &[("web", &robin(2 + n))]).await;
        }
    }
    let period: Vec<_> = order.iter().take(3).collect();
    for (n, name) in order.iter().enumerate() {
        assert_eq!(Some(&name), period.get(n % 3), "request {n} of {order:?}");
    }
    assert!(
        ["a", "b", "c"]
            .iter()
            .all(|it| period.iter().any(|name| name == it)),
        "{order:?}"
    );
}

#[tokio::test]
async fn requests_in_flight_count_across_a_swap() {
    let mut upstreams = Vec::new();
    for name in ["a", "b"] {
        let upstream = HttpUpstream::named(name)
            .at((fresh_ip(), 0))
            .on("/hang", Reply::hang());
        upstreams.push(upstream.start().await);
    }
    let endpoints: Vec<_> = upstreams.iter().map(|it| (it.addr(), "v1")).collect();
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let mut settings = settings();
    settings.process.shards = 1;
    let text = |timeout: u32| {
        service("web", web.ip(), web.port(), "http", &endpoints)
            + &subsets(
                "web",
                &[],
                &format!("{{connectionPool: {{tcp: {{connectTimeout: {timeout}s}}}}}}"),
            )
    };
    let (gateway, mut feed) = Feed::serve_with(settings, "").await;
    feed.swap(&gateway, &[("web", &text(1))]).await;
    let mut stuck = connect(web).await;
    stuck
        .send("GET /hang HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async {
        upstreams.iter().any(|it| it.requests() == 1)
    })
    .await;
    let busy = usize::from(upstreams[0].requests() == 0);
    let free = upstreams[1 - busy].name().to_owned();
    let mut client = connect(web).await;
    for n in 2..22 {
        feed.swap(&gateway, &[("web", &text(n))]).await;
        let reply = client.get("web", "/").await.expect("an answer");
        assert_eq!(reply.answered_by(), Some(free.clone()), "swap {n}");
    }
}

#[tokio::test]
async fn a_request_ends_under_the_rules_it_began_with_and_the_next_one_sees_the_new() {
    let slow = Reply::identity().after(Duration::from_millis(300));
    let upstream = HttpUpstream::named("web").on("/slow", slow).start().await;
    let web = SocketAddr::from((fresh_ip(), free_port()));
    let base = http("web", web.ip(), web.port(), upstream.addr());
    let table = |name: &str| {
        rules(
            "web",
            &format!(
                "- headers: {{response: {{set: {{x-table: {name}}}}}}}\n  route: [{{destination: {{host: web}}}}]"
            ),
        )
    };
    let (gateway, mut feed) = Feed::serve("").await;
    feed.swap(&gateway, &[("base", &base), ("table", &table("old"))])
        .await;
    let mut client = connect(web).await;
    client
        .send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sent");
    eventually(SOON, || async { upstream.requests() == 1 }).await;
    feed.swap(&gateway, &[("table", &table("new"))]).await;
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(reply.field("x-table"), Some("old"));
    let reply = client.get("web", "/").await.expect("an answer");
    assert_eq!(reply.field("x-table"), Some("new"));
}

#[tokio::test]
async fn a_gauge_says_how_many_connections_hold_which_generation() {
    let (web, echo) = (
        HttpUpstream::named("web").start().await,
        TcpUpstream::echo().await,
    );
    let (http_at, tcp_at): (SocketAddr, SocketAddr) = (
        (fresh_ip(), free_port()).into(),
        (fresh_ip(), free_port()).into(),
    );
    let (gateway, mut feed) = Feed::serve("").await;
    let both = http("web", http_at.ip(), http_at.port(), web.addr())
        + &service(
            "db",
            tcp_at.ip(),
            tcp_at.port(),
            "tcp",
            &plain(&[echo.addr()]),
        );
    feed.swap(&gateway, &[("both", &both)]).await;
    let generation = || gateway.progress.borrow().active.to_string();
    let holding = |scrape: &Scrape, generation: &str| {
        scrape.sum(
            "pointsman_snapshot_connections",
            &[("generation", generation)],
        )
    };

    let old = generation();
    let tunnel = connect(tcp_at).await;
    let mut idle = connect(http_at).await;
    assert_eq!(idle.get("web", "/").await.expect("an answer").status, 200);
    gateway.metrics_until(|it| holding(it, &old) == 2.0).await;

    let other = http("other", fresh_ip(), http_at.port(), web.addr());
    feed.swap(&gateway, &[("other", &other)]).await;
    let new = generation();
    assert_ne!(old, new);
    let second = connect(tcp_at).await;
    gateway
        .metrics_until(|it| holding(it, &old) == 2.0 && holding(it, &new) == 1.0)
        .await;
    // A request moves its connection on; a tunnel stays with what it began with.
    assert_eq!(idle.get("web", "/").await.expect("an answer").status, 200);
    gateway
        .metrics_until(|it| holding(it, &old) == 1.0 && holding(it, &new) == 2.0)
        .await;
    drop((tunnel, second));
    let of_old: &[(&str, &str)] = &[("generation", &old)];
    let has_ended = |it: &Scrape| {
        it.select("pointsman_snapshot_connections", of_old)
            .next()
            .is_none()
    };
    gateway
        .metrics_until(|it| holding(it, &new) == 1.0 && has_ended(it))
        .await;
}
