//! Peers that keep others waiting: what the client is told when a time is over, what the log says, and
//! what is counted (docs/refusals.md). What a client leaves unsaid is in `hostile/`.
mod common;

use common::*;
use pointsman_gateway::Settings;
use pointsman_testkit::{
    HttpUpstream, RawHttp, Reply, TcpUpstream, eventually,
    frames::{
        Block, Event, Fate, Frame, FrameClient, FrameUpstream, PREFACE, code, encode_all, flag,
        setting,
    },
    free_port, fresh_ip,
    tcp::{Behaviour, Deaf},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    time::timeout,
};

struct World {
    gateway: Gateway,
    notes: Notes,
    web: SocketAddr,
}

/// A gateway in front of one endpoint, whose port has this name.
async fn world(settings: Settings, port_name: &str, endpoint: SocketAddr) -> World {
    let web = SocketAddr::new(fresh_ip(), free_port());
    let documents = service("web", web.ip(), web.port(), port_name, &plain(&[endpoint]))
        + &rules(
            "web",
            "- route: [{destination: {host: web}}]\n  retries: {attempts: 0}",
        );
    let notes = Notes::default();
    World {
        gateway: notes.serve(settings, &documents).await,
        notes,
        web,
    }
}

impl World {
    async fn dial(&self) -> (RawHttp, IpAddr) {
        let (stream, own) = dial(self.web).await;
        (RawHttp::over(stream), own)
    }

    /// The limit was hit once, and this is all that the log says of the client.
    async fn hit(&self, limit: &str, client: IpAddr, status: u16, details: &str, flags: &str) {
        let hit = [("limit", limit)];
        self.gateway
            .metrics_until(|it| it.sum("pointsman_limits_hit_total", &hit) == 1.0)
            .await;
        let told = Told {
            status,
            details: details.into(),
            flags: flags.into(),
            failure: String::new(),
        };
        assert_eq!(self.notes.of(client, 1).await, [told], "{limit}");
    }
}

const GET: &str = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";

/// A client that has ended its side may have said all it had to say: its answer is waited for, but
/// not for as long as that of others.
#[tokio::test]
async fn a_client_that_has_ended_its_side_is_given_up_first() {
    let upstream = HttpUpstream::named("web")
        .on("/hang", Reply::hang())
        .otherwise(Reply::text(200, "late").after(Duration::from_millis(200)))
        .start()
        .await;
    let mut settings = settings();
    settings.timeouts.half_closed = written("600ms");
    let world = world(settings, "http", upstream.addr()).await;
    let (mut client, _) = world.dial().await;
    client.send(GET).await.expect("sent");
    client.half_close().await.expect("half-closed");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(reply.text(), "late");
    let (mut client, own) = world.dial().await;
    client
        .send(GET.replace("/ ", "/hang "))
        .await
        .expect("sent");
    client.half_close().await.expect("half-closed");
    let (end, took) = timed(client.read_to_end()).await;
    assert!(is_reset(&end) || end.is_ok_and(|rest| rest.is_empty()));
    assert!(
        took >= Duration::from_millis(600) && took < SOON / 2,
        "{took:?}"
    );
    let details = "downstream_remote_disconnect";
    world
        .hit("timeouts.half_closed", own, 0, details, "DC")
        .await;
    // Its connection to the endpoint, which still hangs, is nobody else's.
    for _ in 0..4 {
        let (mut client, _) = world.dial().await;
        client.send(GET).await.expect("sent");
        let reply = client.read_response().await.expect("an answer");
        assert_eq!(reply.text(), "late");
    }
}

/// `0`: as for any other client.
#[tokio::test]
async fn a_client_that_has_ended_its_side_may_be_waited_for_as_others() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::text(200, "late").after(Duration::from_millis(2500)))
        .start()
        .await;
    let mut settings = settings();
    settings.timeouts.half_closed = written("0");
    let world = world(settings, "http", upstream.addr()).await;
    let (mut client, _) = world.dial().await;
    client.send(GET).await.expect("sent");
    client.half_close().await.expect("half-closed");
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(reply.text(), "late");
}

/// BE-61, VS-H-129: in both versions.
#[tokio::test]
async fn an_endpoint_that_does_not_answer_a_connect_is_503() {
    for port_name in ["http", "http2"] {
        let deaf = Deaf::start();
        let mut settings = settings();
        settings.timeouts.connect = written("400ms");
        let world = world(settings, port_name, deaf.addr()).await;
        let (mut client, own) = world.dial().await;
        let (reply, took) = timed(client.get("web", "/")).await;
        let reply = reply.expect("an answer");
        assert_eq!(reply.status, 503, "{port_name}");
        assert!(
            reply.text().ends_with("connection timeout"),
            "{}",
            reply.text()
        );
        assert!(reply.keeps_alive());
        assert!(
            took >= Duration::from_millis(400) && took < SOON / 2,
            "{took:?}"
        );
        let details = "upstream_reset_before_response_started{connection_timeout}";
        world.hit("timeouts.connect", own, 503, details, "UF").await;
    }
}

/// The same of a connection that is carried as bytes.
#[tokio::test]
async fn an_endpoint_of_bytes_that_does_not_answer_a_connect_is_counted() {
    let deaf = Deaf::start();
    let mut settings = settings();
    settings.timeouts.connect = written("400ms");
    let db = SocketAddr::new(fresh_ip(), free_port());
    let documents = service("db", db.ip(), db.port(), "tcp", &plain(&[deaf.addr()]));
    let notes = Notes::default();
    let world = World {
        gateway: notes.serve(settings, &documents).await,
        notes,
        web: db,
    };
    let (mut client, own) = world.dial().await;
    let end = client.read_to_end().await;
    assert!(is_reset(&end) || end.is_ok_and(|rest| rest.is_empty()));
    world.hit("timeouts.connect", own, 0, "-", "UF").await;
}

/// A client that takes nothing of its response: cut, in both versions.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::endless(&[b'x'; 64 * 1024], Duration::ZERO))
        .start()
        .await;
    let mut settings = settings();
    settings.timeouts.write = written("600ms");
    let first = world(settings.clone(), "http", upstream.addr()).await;
    let (mut client, own) = first.dial().await;
    client.send(GET).await.expect("sent");
    let details = "stream_idle_timeout";
    first.hit("timeouts.write", own, 200, details, "SI").await;
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
    // By stream: the client's window is closed, its socket is not.
    let second = world(settings, "http", upstream.addr()).await;
    let (stream, own) = dial(second.web).await;
    let mut client = FrameClient::over(stream).with_deadline(SOON);
    let nothing = [(setting::INITIAL_WINDOW_SIZE, 100)];
    client.preface(&nothing).await.expect("HTTP/2");
    let get = Frame::headers(1, Block::request("GET", "web", "/")).end_stream();
    client.send(&[get]).await;
    let fate = client.fate(1).await;
    assert_eq!(
        fate,
        Fate::Reset(code::INTERNAL_ERROR),
        "{:?}",
        client.heard
    );
    second.hit("timeouts.write", own, 200, details, "SI").await;
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
}

/// The same of a body that is spliced: its source is not listened to by then.
#[tokio::test]
async fn a_client_that_does_not_read_a_large_body_is_cut() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::sized(64 << 20))
        .start()
        .await;
    let mut settings = settings();
    settings.timeouts.write = written("600ms");
    let world = world(settings, "http", upstream.addr()).await;
    let (mut client, own) = world.dial().await;
    client.send(GET).await.expect("sent");
    let details = "stream_idle_timeout";
    world.hit("timeouts.write", own, 200, details, "SI").await;
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
}

/// An endpoint that takes nothing of a request's body: 504, in both versions.
#[tokio::test]
async fn an_endpoint_that_does_not_read_is_504() {
    let deaf = TcpUpstream::start(Behaviour::Stall).await;
    let silent = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[(setting::INITIAL_WINDOW_SIZE, 100)]).await?;
        peer.drain().await
    })
    .await;
    for (port_name, endpoint) in [("http", deaf.addr()), ("http2", silent.addr())] {
        let mut settings = settings();
        settings.timeouts.write = written("600ms");
        settings.timeouts.response = written("600ms");
        let world = world(settings, port_name, endpoint).await;
        let (mut client, own) = world.dial().await;
        let length = 64 << 20;
        let head = format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {length}\r\n\r\n");
        client.send(head).await.expect("sent");
        let body = async {
            let piece = vec![b'x'; 64 * 1024];
            // Until it is cut off, or the sockets take no more.
            while client.stream().write_all(&piece).await.is_ok() {}
        };
        let _ = tokio::time::timeout(Duration::from_millis(500), body).await;
        let reply = client.read_response().await.expect("an answer");
        assert_eq!(reply.status, 504, "{port_name}");
        let details = "stream_idle_timeout";
        world
            .hit("timeouts.response", own, 504, details, "SI")
            .await;
    }
}

/// VS-H-66: a stream that goes on as a stream, and has told no length, may be silent on both sides for as
/// long as an endpoint may. Who has said that there is more to come is late with it.
#[tokio::test]
async fn a_stream_without_a_length_may_be_silent() {
    let hung = HttpUpstream::named("web")
        .otherwise(Reply::hang())
        .start()
        .await;
    let silent = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        peer.drain().await
    })
    .await;
    let post = || Block::request("POST", "web", "/");
    let call = || post().literal("content-type", "application/grpc");
    let sized = || post().literal("content-length", "9");
    let (answer, body) = ("timeouts.response", "timeouts.request_body");
    for (port_name, endpoint, head, piece, limit, status) in [
        ("grpc", silent.addr(), call(), "x", answer, 200),
        ("grpc", silent.addr(), call(), "", answer, 200),
        ("http2", silent.addr(), post(), "x", answer, 504),
        ("http2", silent.addr(), sized(), "x", body, 408),
        ("http2", silent.addr(), sized(), "", body, 408),
        ("http", hung.addr(), post(), "x", body, 408),
        ("http", hung.addr(), sized(), "x", body, 408),
        // All that was told, though not the end of the stream.
        ("http", hung.addr(), sized(), "123456789", answer, 504),
    ] {
        let mut settings = settings();
        settings.timeouts.request_body = written("300ms");
        settings.timeouts.response = written("900ms");
        let world = world(settings, port_name, endpoint).await;
        let (stream, own) = dial(world.web).await;
        let mut client = FrameClient::over(stream);
        client.preface(&[]).await.expect("HTTP/2");
        client.send(&[Frame::headers(1, head)]).await;
        if !piece.is_empty() {
            client.send(&[Frame::data(1, piece)]).await;
        }
        let what = format!("{port_name} {piece} {limit}");
        assert_eq!(client.fate(1).await, Fate::Status(status), "{what}");
        let details = match limit {
            "timeouts.response" => "stream_idle_timeout",
            _ => "request_body_timeout",
        };
        world.hit(limit, own, status, details, "SI").await;
    }
}

/// RFC 9112 section 9.3: a connection on which nothing is asked is closed without a word.
#[tokio::test]
async fn an_idle_client_is_let_go() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.timeouts.keep_alive = written("400ms");
    let world = world(settings, "http", upstream.addr()).await;
    let (end, took) = timed(async {
        let (mut client, _) = world.dial().await;
        assert_eq!(client.get("web", "/").await.expect("an answer").status, 200);
        client.read_to_end().await
    })
    .await;
    assert_eq!(end.expect("in order"), b"");
    assert!(
        took >= Duration::from_millis(350) && took < SOON / 2,
        "{took:?}"
    );
    // Whoever has said nothing at all is no other.
    let (mut client, _) = world.dial().await;
    assert_eq!(client.read_to_end().await.expect("in order"), b"");
}

/// Connections to endpoints are kept for a while, and not more of them than there is room for.
#[tokio::test]
async fn connections_to_an_endpoint_are_kept_few_and_not_for_ever() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::text(200, "ok").after(Duration::from_secs(1)))
        .start()
        .await;
    let mut settings = settings();
    settings.process.shards = 1;
    settings.limits.pooled_per_endpoint = 2;
    settings.timeouts.upstream_idle = written("1s");
    let world = world(settings, "http", upstream.addr()).await;
    let ask = || async {
        let (mut client, _) = world.dial().await;
        client.get("web", "/").await.expect("an answer").status
    };
    let told = tokio::join!(ask(), ask(), ask(), ask());
    assert_eq!(told, (200, 200, 200, 200));
    assert_eq!(upstream.connections(), 4);
    eventually(SOON, || async { upstream.open_connections() == 2 }).await;
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
}

/// Records that nobody has fetched yet take room up to a limit; what is more is lost, and counted.
#[tokio::test]
async fn records_beyond_the_ring_are_lost_and_counted() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.process.shards = 1;
    settings.limits.access_log_ring = 4;
    let world = world(settings, "http", upstream.addr()).await;
    let (mut client, own) = world.dial().await;
    // All of them at once: there is no tick between two of them, or few.
    let many = 400;
    client.send(GET.repeat(many)).await.expect("sent");
    for _ in 0..many {
        assert_eq!(client.read_response().await.expect("an answer").status, 200);
    }
    let lost = "pointsman_access_log_lost_total";
    let scrape = world
        .gateway
        .metrics_until(|it| it.sum(lost, &[]) > 0.0)
        .await;
    let kept = world.notes.of(own, 4).await;
    assert!(kept.len() >= 4 && kept.len() < many, "{}", kept.len());
    world
        .gateway
        .metrics_until(|it| it.sum(lost, &[]) + world.notes.now_of(own).len() as f64 == many as f64)
        .await;
    drop(scrape);
}

/// An endpoint of HTTP/2 that answers requests once they have ended, but for `/hang`.
async fn patient() -> FrameUpstream {
    FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        let mut hangs = 0;
        loop {
            match peer.event().await? {
                Event::Headers { stream, fields, .. }
                    if fields.contains(&(":path".into(), "/hang".into())) =>
                {
                    hangs = stream;
                }
                Event::Data { stream, end, .. } if end && stream != hangs => {
                    peer.answer(stream, 200, b"all of it").await?;
                }
                _ => {}
            }
        }
    })
    .await
}

/// VS-H-75: the time of a try is the endpoint's. It begins once the request is here: a client that is slow
/// with its body uses none of it up, and nothing is sent twice.
#[tokio::test]
async fn the_time_of_a_try_is_the_endpoints() {
    let hung = HttpUpstream::named("web")
        .on("/hang", Reply::hang())
        .otherwise(Reply::text(200, "all of it"))
        .start()
        .await;
    let silent = patient().await;
    let tries = "retries: {attempts: 2, perTryTimeout: 1500ms, retryOn: 5xx, backoff: 1ms}";
    let rule = format!("- route: [{{destination: {{host: web}}}}]\n  {tries}");
    for (port_name, endpoint) in [("http", hung.addr()), ("http2", silent.addr())] {
        let web = SocketAddr::new(fresh_ip(), free_port());
        let documents = service("web", web.ip(), web.port(), port_name, &plain(&[endpoint]))
            + &rules("web", &rule);
        let gateway = Gateway::serve(&documents).await;
        let first = async {
            let mut client = connect(web).await;
            let head = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\n";
            client.send(head).await.expect("sent");
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(450)).await;
                client.send("x").await.expect("sent");
            }
            let reply = client.read_response().await.expect("an answer");
            assert_eq!((reply.status, reply.text()), (200, "all of it".into()));
        };
        let second = async {
            let mut client = FrameClient::begin(web).await.expect("connects");
            let head = Block::request("POST", "web", "/");
            client.send(&[Frame::headers(1, head)]).await;
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(450)).await;
                client.send(&[Frame::data(1, "x")]).await;
            }
            client.send(&[Frame::data(1, "").end_stream()]).await;
            assert_eq!(client.fate(1).await, Fate::Status(200), "{port_name}");
        };
        tokio::join!(first, second);
        let retries = "pointsman_retries_total";
        assert_eq!(
            gateway.metrics().await.sum(retries, &[]),
            0.0,
            "{port_name}"
        );
        // All of it is here, the endpoint says nothing, and each of its three tries is late.
        let mut client = connect(web).await;
        let head = "POST /hang HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\n\r\n";
        client.send(head).await.expect("sent");
        client.send("xxxxx").await.expect("sent");
        let reply = client.read_response().await.expect("an answer");
        assert_eq!(reply.status, 504, "{port_name}");
        gateway
            .metrics_until(|it| it.sum(retries, &[("outcome", "made")]) == 2.0)
            .await;
    }
}

/// VS-H-75: an endpoint that takes nothing of a request is late, though the client has more of it.
#[tokio::test]
async fn a_try_is_late_whose_endpoint_takes_nothing() {
    let deaf = TcpUpstream::start(Behaviour::Stall).await;
    let web = SocketAddr::new(fresh_ip(), free_port());
    let tries = "retries: {attempts: 1, perTryTimeout: 700ms, retryOn: connect-failure}";
    let documents = service("web", web.ip(), web.port(), "http", &plain(&[deaf.addr()]))
        + &rules(
            "web",
            &format!("- route: [{{destination: {{host: web}}}}]\n  {tries}"),
        );
    let notes = Notes::default();
    let _gateway = notes.serve(settings(), &documents).await;
    let (stream, own) = dial(web).await;
    let mut client = RawHttp::over(stream);
    let head = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 99000000\r\n\r\n";
    client.send(head).await.expect("sent");
    let body = async {
        let piece = vec![b'x'; 64 * 1024];
        // Until it is cut off, or the sockets take no more.
        while client.stream().write_all(&piece).await.is_ok() {}
    };
    let _ = tokio::time::timeout(Duration::from_millis(500), body).await;
    let reply = client.read_response().await.expect("an answer");
    assert_eq!(reply.status, 504);
    let told = Told {
        status: 504,
        details: "upstream_per_try_timeout".into(),
        flags: "UT".into(),
        failure: String::new(),
    };
    assert_eq!(notes.of(own, 1).await, [told]);
}

const EXPECTS: &str =
    "POST / HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

/// RFC 9110 section 10.1.1: a client that holds its body back until it is asked for owes nothing of it.
#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_not_late() {
    let continues = Reply::raw(b"HTTP/1.1 100 Continue\r\n\r\n");
    let web = HttpUpstream::named("web")
        .on("/hang", Reply::hang().early())
        .on("/asks", continues.then(Reply::hang()).early())
        .otherwise(
            Reply::text(417, "no")
                .after(Duration::from_millis(1200))
                .early(),
        )
        .start()
        .await;
    let slow = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        loop {
            let asked = peer.request().await?;
            match asked.field(":path") {
                Some("/hang") => {}
                Some("/asks") => {
                    let asks = Frame::headers(asked.stream, Block::status(100));
                    peer.send(&[asks]).await?;
                }
                _ => {
                    tokio::time::sleep(Duration::from_millis(1200)).await;
                    peer.answer(asked.stream, 417, b"no").await?;
                }
            }
        }
    })
    .await;
    for (port_name, endpoint) in [("http", web.addr()), ("http2", slow.addr())] {
        let mut settings = settings();
        settings.timeouts.request_body = written("300ms");
        settings.timeouts.response = written("3s");
        let world = world(settings, port_name, endpoint).await;
        let (mut client, _) = world.dial().await;
        client.send(EXPECTS).await.expect("sent");
        let reply = client.read_response().await.expect("an answer");
        assert_eq!(
            (reply.status, reply.text()),
            (417, "no".into()),
            "{port_name}"
        );
        // The endpoint is late.
        let (mut client, own) = world.dial().await;
        client
            .send(EXPECTS.replace("/ ", "/hang "))
            .await
            .expect("sent");
        let reply = client.read_response().await.expect("an answer");
        assert_eq!(reply.status, 504, "{port_name}");
        let details = "stream_idle_timeout";
        world
            .hit("timeouts.response", own, 504, details, "SI")
            .await;
        // It has asked for the body.
        let (mut client, own) = world.dial().await;
        client
            .send(EXPECTS.replace("/ ", "/asks "))
            .await
            .expect("sent");
        let head = client.read_head().await.expect("an interim head");
        assert!(head.first_line.contains("100"), "{port_name}: {head:?}");
        let reply = client.read_response().await.expect("an answer");
        assert_eq!(reply.status, 408, "{port_name}");
        let details = "request_body_timeout";
        world
            .hit("timeouts.request_body", own, 408, details, "SI")
            .await;
    }
}

/// An endpoint that sends interim responses is alive, and so is a client that gets them.
#[tokio::test]
async fn interim_responses_are_signs_of_life() {
    let every = Duration::from_millis(500);
    let still = || Reply::raw(b"HTTP/1.1 102 Processing\r\n\r\n").after(every);
    let mut reply = Reply::text(200, "done").after(every);
    for _ in 0..6 {
        reply = still().then(reply);
    }
    let web = HttpUpstream::named("web").otherwise(reply).start().await;
    let second = FrameUpstream::start(move |mut peer, _| async move {
        peer.accept(&[]).await?;
        loop {
            let asked = peer.request().await?;
            for _ in 0..6 {
                tokio::time::sleep(every).await;
                let still = Frame::headers(asked.stream, Block::status(102));
                peer.send(&[still]).await?;
            }
            tokio::time::sleep(every).await;
            peer.answer(asked.stream, 200, b"done").await?;
        }
    })
    .await;
    let answer = |mut settings: Settings| {
        settings.timeouts.response = written("2s");
        (settings, false)
    };
    let half_closed = |mut settings: Settings| {
        settings.timeouts.half_closed = written("2s");
        (settings, true)
    };
    let one = |(settings, ends): (Settings, bool), port_name, endpoint| async move {
        let world = world(settings, port_name, endpoint).await;
        let (mut client, _) = world.dial().await;
        client.send(GET).await.expect("sent");
        if ends {
            client.half_close().await.expect("half-closed");
        }
        for _ in 0..6 {
            let head = client.read_head().await.expect("an interim head");
            assert!(head.first_line.contains("102"), "{port_name}: {head:?}");
        }
        let reply = client.read_response().await.expect("an answer");
        assert_eq!((reply.status, reply.text()), (200, "done".into()));
    };
    tokio::join!(
        one(answer(settings()), "http", web.addr()),
        one(answer(settings()), "http2", second.addr()),
        one(half_closed(settings()), "http", web.addr()),
        one(half_closed(settings()), "http2", second.addr()),
    );
}

/// A client that reads, however slowly, is not one that does not: what the kernel has for it counts.
#[tokio::test]
async fn a_client_that_reads_slowly_is_not_cut() {
    const LENGTH: usize = 12 << 20;
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::sized(LENGTH))
        .start()
        .await;
    let direct = "d".repeat(1 << 20);
    let direct = format!(
        "- match: [{{uri: {{exact: /direct}}}}]\n  directResponse: {{status: 200, body: {{string: {direct}}}}}\n\
         - route: [{{destination: {{host: web}}}}]"
    );
    let one =
        |path| format!("GET {path} HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").into();
    let two = |path| {
        let all = (1 << 31) - 1;
        let get = Frame::headers(1, Block::request("GET", "web", path));
        let window = Frame::window_update(0, all - 65_535);
        let settings = Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, all)]);
        [PREFACE, &encode_all(&[settings, window, get.end_stream()])].concat()
    };
    let slowly = |splice_after, asked: Vec<u8>, length: usize| {
        let (upstream, direct) = (upstream.addr(), &direct);
        async move {
            let mut settings = settings();
            settings.timeouts.write = written("1s");
            settings.limits.splice_after = splice_after;
            let web = SocketAddr::new(fresh_ip(), free_port());
            let documents = http("web", web.ip(), web.port(), upstream) + &rules("web", direct);
            let _gateway = Gateway::serve_with(settings, &documents).await;
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.set_recv_buffer_size(4096).expect("a small buffer");
            let mut client = socket.connect(web).await.expect("connects");
            client.write_all(&asked).await.expect("sent");
            let asked = String::from_utf8_lossy(&asked);
            let mut got = 0;
            let mut bytes = vec![0; 8000];
            let slow = std::time::Instant::now();
            while got < length / 4 && slow.elapsed() < Duration::from_secs(4) {
                got += client.read(&mut bytes).await.expect("its response");
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            let mut bytes = vec![0; 1 << 20];
            while got <= length {
                match timeout(SOON, client.read(&mut bytes)).await {
                    Ok(Ok(read @ 1..)) => got += read,
                    end => panic!("{asked:?} {splice_after}: {got}, {end:?}"),
                }
            }
        }
    };
    tokio::join!(
        slowly(0, one("/"), LENGTH),
        slowly(256 * 1024, one("/"), LENGTH),
        slowly(0, one("/direct"), 1 << 20),
        slowly(0, two("/"), LENGTH),
        slowly(0, two("/direct"), 1 << 20),
    );
}

/// A client that reads nothing until its body is sent gets there, however much it is told meanwhile.
#[tokio::test]
async fn interim_responses_that_are_not_read_stop_no_body() {
    const LENGTH: usize = 16 << 20;
    const INTERIMS: usize = 32;
    let hint = || "h".repeat(60_000);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let first = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (mut from, mut to) = stream.into_split();
            let mut head = Vec::new();
            let end = loop {
                from.read_buf(&mut head).await.expect("a request");
                if let Some(end) = head.windows(4).position(|it| it == b"\r\n\r\n") {
                    break end + 4;
                }
            };
            let heads = format!("HTTP/1.1 103 Early Hints\r\nx-hint: {}\r\n\r\n", hint());
            let heads = heads.repeat(INTERIMS);
            let told = to.write_all(heads.as_bytes());
            let body = async {
                let mut bytes = vec![0; LENGTH + end - head.len()];
                from.read_exact(&mut bytes).await
            };
            let (told, body) = tokio::join!(told, body);
            told.expect("taken");
            body.expect("sent");
            let answer = to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
            answer.await.expect("taken");
        }
    });
    let second = FrameUpstream::start(move |mut peer, _| async move {
        let most = (1 << 31) - 1;
        peer.accept(&[(setting::INITIAL_WINDOW_SIZE, most)]).await?;
        peer.send(&[Frame::window_update(0, most - 65_535)]).await?;
        let (mut asked, mut got) = (0, 0);
        loop {
            match peer.event().await? {
                Event::Headers { stream, .. } => {
                    asked = stream;
                    let told: Vec<u8> = Block::status(103).literal("x-hint", hint()).into();
                    let mut pieces = told.chunks(16_000).peekable();
                    let mut frames = Vec::new();
                    while let Some(piece) = pieces.next() {
                        let frame = match frames.is_empty() {
                            true => Frame::headers(stream, piece),
                            false => Frame::continuation(stream, piece),
                        };
                        frames.push(match pieces.peek() {
                            Some(_) => frame.without(flag::END_HEADERS),
                            None => frame,
                        });
                    }
                    for _ in 0..INTERIMS {
                        peer.send(&frames).await?;
                    }
                }
                Event::Data { bytes, .. } => {
                    got += bytes.len();
                    if got == LENGTH {
                        peer.answer(asked, 200, b"done").await?;
                    }
                }
                _ => {}
            }
        }
    })
    .await;
    for (port_name, endpoint) in [("http", first), ("http2", second.addr())] {
        let world = world(settings(), port_name, endpoint).await;
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        // Else the gateway's kernel takes all of it.
        socket2::SockRef::from(&socket)
            .set_tcp_mss(536)
            .expect("small segments");
        let mut client = socket.connect(world.web).await.expect("connects");
        let head = format!("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: {LENGTH}\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("sent");
        let sent = timeout(SOON, client.write_all(&vec![0; LENGTH])).await;
        assert!(matches!(sent, Ok(Ok(()))), "{port_name}: {sent:?}");
        let mut client = RawHttp::over(client);
        for _ in 0..INTERIMS {
            let head = client.read_head().await.expect("an interim head");
            assert!(head.first_line.contains("103"), "{port_name}: {head:?}");
        }
        let reply = client.read_response().await.expect("an answer");
        assert_eq!((reply.status, reply.text()), (200, "done".into()));
    }
}
