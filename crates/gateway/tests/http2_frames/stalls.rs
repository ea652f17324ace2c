//! What is begun and not gone on with: nobody waits for ever, and nothing piles up meanwhile.
use crate::{
    case::{get, post},
    common::{
        Gateway, Notes, SOON, Scrape, dial, http, http2, is_alone, resident, rules, settings,
        timed, written,
    },
    web,
};
use pointsman_gateway::Settings;
use pointsman_telemetry::Flags;
use pointsman_testkit::{
    HttpUpstream, Reply, eventually,
    frames::{Block, Fate, Frame, FrameClient, FrameUpstream, PREFACE, code, flag, setting},
    free_port, fresh_ip,
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{net::TcpSocket, time::timeout};

/// RFC 9113 section 3.4: every beginning of a connection has to be gone on with in time.
#[tokio::test]
async fn a_preface_that_does_not_end_is_let_go() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.timeouts.request_head = written("400ms");
    settings.timeouts.client_hello = written("400ms");
    let (_gateway, web) = web(settings, &upstream).await;
    for length in [1, 3, 14, 23] {
        let mut client = FrameClient::connect(web).await.expect("connects");
        client.send_raw(&PREFACE[..length]).await;
        let (ended, took) = timed(client.to_end()).await;
        assert!(ended, "{length} bytes");
        assert!(took < Duration::from_secs(5), "{length} bytes: {took:?}");
    }
}

/// As a head of HTTP/1 that never ends (VS-H-142): a field block that was begun, byte by byte or not
/// at all.
#[tokio::test]
async fn a_field_block_that_does_not_end_is_let_go() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.timeouts.request_head = written("400ms");
    let (_gateway, web) = web(settings, &upstream).await;
    let block = Block::request("GET", "web", "/").bytes();
    let begun = Frame::headers(1, block)
        .end_stream()
        .without(flag::END_HEADERS);
    for drip in [false, true] {
        let mut client = FrameClient::begin(web)
            .await
            .expect("HTTP/2")
            .with_deadline(SOON);
        client.send(std::slice::from_ref(&begun)).await;
        let (ended, took) = timed(async {
            if drip {
                let field = Block::new().literal("x-long", "x".repeat(100)).bytes();
                let frame = Frame::continuation(1, field).encode();
                for byte in frame {
                    client.send_raw(&[byte]).await;
                    let listen = client.until(|heard| heard.end.is_some());
                    if let Ok(true) = tokio::time::timeout(Duration::from_millis(50), listen).await
                    {
                        break;
                    }
                }
            }
            client.to_end().await
        })
        .await;
        assert!(ended, "dripping: {drip}");
        assert!(took < Duration::from_secs(5), "dripping: {drip}: {took:?}");
    }
    assert_eq!(upstream.requests(), 0);
}

/// A connection on which nothing happens is told goodbye, with a code that blames nobody.
#[tokio::test]
async fn an_idle_connection_is_let_go_in_order() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.timeouts.keep_alive = written("300ms");
    let (_gateway, web) = web(settings, &upstream).await;
    for asks in [false, true] {
        let mut client = FrameClient::begin(web).await.expect("HTTP/2");
        if asks {
            assert_eq!(
                client.ask(1, Block::request("GET", "web", "/")).await,
                Fate::Status(200)
            );
        }
        let (ended, took) = timed(client.to_end()).await;
        assert!(ended);
        assert!(took < Duration::from_secs(5), "{took:?}");
        let codes: Vec<_> = client.heard.goaways.iter().map(|it| it.1).collect();
        assert!(codes.last() == Some(&code::NO_ERROR), "{:?}", client.heard);
    }
}

/// A client whose socket takes little at a time, with these windows.
async fn small_client(at: SocketAddr, window: u32) -> FrameClient {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 * 1024).expect("set");
    let stream = socket.connect(at).await.expect("connects");
    let mut client = FrameClient::over(stream).with_deadline(SOON);
    client
        .preface(&[(setting::INITIAL_WINDOW_SIZE, window)])
        .await
        .expect("HTTP/2");
    client.send(&[Frame::window_update(0, (1 << 30) - 1)]).await;
    client
}

/// The last response of a connection is with the kernel before its client has read it: what the client
/// says meanwhile must not have the rest thrown away.
#[tokio::test]
async fn the_last_response_of_a_connection_arrives_whole() {
    let length = 3_000_000;
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::sized(length))
        .start()
        .await;
    let mut settings = settings();
    settings.limits.requests_per_connection = 1;
    let (gateway, web) = web(settings, &upstream).await;
    let mut client = small_client(web, (1 << 31) - 1).await;
    client.send(&[get(1)]).await;
    let mut got = 0;
    while client.heard.fate(1).is_none() {
        let more = got + 1;
        let read = |heard: &pointsman_testkit::frames::Heard| {
            let answer = heard.streams.get(&1);
            heard.fate(1).is_some() || answer.is_some_and(|it| it.body.len() >= more)
        };
        assert!(client.until(read).await, "after {got} bytes");
        got = client.heard.streams.get(&1).map_or(0, |it| it.body.len());
        client.send(&[Frame::window_update(0, 1000)]).await;
        // A reader that takes its time.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(client.heard.fate(1), Some(Fate::Status(200)), "{got} bytes");
    assert_eq!(client.answer(1).body.len(), length);
    // One that has everything and does not close is not waited for.
    assert!(client.to_end().await);
    gateway
        .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 0.0)
        .await;
}

/// What the client has not taken yet is waited for as any other write, also when the connection is to
/// end and no stream is served any more.
#[tokio::test]
async fn the_end_of_a_connection_waits_for_its_reader() {
    let (streams, length) = (100, 60_000);
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::sized(length))
        .start()
        .await;
    let served = async |write, reads| {
        let mut settings = settings();
        settings.limits.requests_per_connection = streams;
        settings.timeouts.write = written(write);
        let (gateway, web) = web(settings, &upstream).await;
        let mut client = small_client(web, (1 << 31) - 1).await;
        let all: Vec<_> = (0..streams).map(|turn| get(1 + 2 * turn)).collect();
        client.send(&all).await;
        gateway
            .metrics_until(|it| it.sum("istio_requests_total", &[]) == f64::from(streams))
            .await;
        let gone = gateway.metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 0.0);
        if reads {
            // Longer than one that has everything may take to go.
            let gone = timeout(Duration::from_secs(7), gone).await;
            assert!(gone.is_err(), "it was let go");
            for turn in 0..streams {
                assert_eq!(client.fate(1 + 2 * turn).await, Fate::Status(200));
                assert_eq!(client.answer(1 + 2 * turn).body.len(), length);
            }
            assert!(client.to_end().await);
        } else {
            gone.await;
        }
    };
    tokio::join!(served("60s", true), served("3s", false));
}

/// RFC 9113 section 8.1: a body that stops.
#[tokio::test]
async fn a_body_that_stops_is_408_and_its_connection_goes_on() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.timeouts.request_body = written("300ms");
    let (_gateway, web) = web(settings, &upstream).await;
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    client.send(&[post(1), Frame::data(1, *b"some")]).await;
    assert_eq!(client.fate(1).await, Fate::Status(408));
    let next = client.ask(3, Block::request("GET", "web", "/")).await;
    assert_eq!(next, Fate::Status(200));
}

/// Windows that are never opened: the upstream is held back, memory stays as it is, others are
/// served, and in the end the streams are given up.
#[tokio::test]
async fn a_client_that_takes_nothing_costs_nothing() {
    if !is_alone("stalls::a_client_that_takes_nothing_costs_nothing") {
        return;
    }
    let upstream = HttpUpstream::named("web")
        .on(
            "/endless",
            Reply::endless(&[b'x'; 64 * 1024], Duration::ZERO),
        )
        .start()
        .await;
    let mut settings = settings();
    settings.timeouts.write = written("2s");
    let (_gateway, web) = web(settings, &upstream).await;
    for window in [0, 1000, 65_535] {
        let mut client = FrameClient::begin_with(web, &[(setting::INITIAL_WINDOW_SIZE, window)])
            .await
            .expect("HTTP/2")
            .with_deadline(SOON);
        let before = (resident(), upstream.requests());
        let streams = 50;
        let ask = |turn| {
            Frame::headers(1 + 2 * turn, Block::request("GET", "web", "/endless")).end_stream()
        };
        client
            .send(&(0..streams).map(ask).collect::<Vec<_>>())
            .await;
        eventually(SOON, || async {
            upstream.requests() == before.1 + streams as usize
        })
        .await;
        let heads = client.until(|heard| {
            heard
                .streams
                .values()
                .filter(|it| it.status == Some(200))
                .count()
                == streams as usize
        });
        assert!(heads.await, "heads are under no flow control");
        // Another client is served meanwhile.
        let mut other = FrameClient::begin(web).await.expect("HTTP/2");
        assert_eq!(
            other.ask(1, Block::request("GET", "web", "/")).await,
            Fate::Status(200)
        );
        let grown = resident().saturating_sub(before.0);
        assert!(grown < 48 << 20, "window {window}: {grown} bytes");
        // No stream got more than its window, nor all together more than the connection's.
        let got: Vec<_> = client
            .heard
            .streams
            .values()
            .map(|it| it.body.len())
            .collect();
        assert!(got.iter().all(|it| *it <= window as usize), "{got:?}");
        assert!(got.iter().sum::<usize>() <= 65_535, "{got:?}");
        // And nobody waits for ever.
        let (given_up, took) = timed(client.until(|heard| {
            (0..streams).all(|turn| {
                matches!(
                    heard.fate(1 + 2 * turn),
                    Some(Fate::Reset(_) | Fate::GoAway(_) | Fate::Closed)
                )
            })
        }))
        .await;
        assert!(given_up, "window {window}: {:?}", client.heard.fate(1));
        assert!(took < SOON / 2, "{took:?}");
        eventually(SOON, || async { upstream.open_connections() <= 2 }).await;
    }
}

/// A stream that nobody reads does not hold up another one of the same connection.
#[tokio::test]
async fn a_stream_without_a_window_stops_no_other() {
    let upstream = HttpUpstream::named("web")
        .on(
            "/endless",
            Reply::endless(&[b'x'; 64 * 1024], Duration::ZERO),
        )
        .start()
        .await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let mut client = FrameClient::begin_with(web, &[(setting::INITIAL_WINDOW_SIZE, 1000)])
        .await
        .expect("HTTP/2");
    for turn in 0..20 {
        let block = Block::request("GET", "web", "/endless");
        client
            .send(&[Frame::headers(1 + 2 * turn, block).end_stream()])
            .await;
    }
    let block = Block::request("GET", "web", "/");
    assert_eq!(client.ask(101, block).await, Fate::Status(200));
    // What is given is used, to the byte.
    assert!(
        client
            .until(|heard| heard
                .streams
                .get(&1)
                .is_some_and(|it| it.body.len() == 1000))
            .await
    );
    client.send(&[Frame::window_update(1, 7)]).await;
    assert!(
        client
            .until(|heard| heard
                .streams
                .get(&1)
                .is_some_and(|it| it.body.len() == 1007))
            .await
    );
    // A client that has had enough says so, and the upstream hears of it.
    let resets: Vec<_> = (0..20)
        .map(|turn| Frame::reset(1 + 2 * turn, code::CANCEL))
        .collect();
    client.send(&resets).await;
    eventually(SOON, || async { upstream.open_connections() <= 1 }).await;
}

/// RFC 9113 section 6.9.1: more than the window. Nobody takes the body, so no window is given back.
#[tokio::test]
async fn a_body_beyond_its_window_is_a_flow_control_error() {
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, upstream.addr())
        + &rules(
            "web",
            "- fault: {delay: {fixedDelay: 30s, percentage: {value: 100}}}
  match: [{uri: {prefix: /delayed}}]
  route: [{destination: {host: web}}]
- route: [{destination: {host: web}}]",
        );
    let _gateway = Gateway::serve(&text).await;
    let mut client = FrameClient::begin((vip, port).into())
        .await
        .expect("HTTP/2");
    let window = client.heard.settings.get(&setting::INITIAL_WINDOW_SIZE);
    let window = window.copied().unwrap_or(65_535) as usize;
    client.ping().await;
    let delayed = Block::request("POST", "web", "/delayed");
    client.send(&[Frame::headers(1, delayed)]).await;
    for piece in vec![b'x'; window].chunks(16_384) {
        client.send(&[Frame::data(1, piece)]).await;
    }
    assert!(client.ping().await, "{:?}", client.heard);
    assert_eq!(
        client.heard.fate(1),
        None,
        "as much as the window: {:?}",
        client.heard
    );
    client.send(&[Frame::data(1, *b"x")]).await;
    let fate = client.fate(1).await;
    assert!(
        matches!(
            fate,
            Fate::Reset(code::FLOW_CONTROL_ERROR) | Fate::GoAway(code::FLOW_CONTROL_ERROR)
        ),
        "{fate:?}"
    );
    assert_eq!(upstream.requests(), 0);
}

/// RFC 9113 section 6.8: a client that says goodbye gets what it has asked for.
#[tokio::test]
async fn a_client_that_leaves_gets_its_answers_first() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::text(200, "late").after(Duration::from_millis(300)))
        .start()
        .await;
    let (_gateway, web) = web(settings(), &upstream).await;
    for streams in [1, 20] {
        let mut client = FrameClient::begin(web).await.expect("HTTP/2");
        let asked: Vec<_> = (0..streams).map(|turn| get(1 + 2 * turn)).collect();
        client.send(&asked).await;
        client.send(&[Frame::goaway(0, code::NO_ERROR, b"")]).await;
        for turn in 0..streams {
            let fate = client.fate(1 + 2 * turn).await;
            assert_eq!(fate, Fate::Status(200), "{:?}", client.heard);
        }
        assert!(client.to_end().await, "{streams} streams");
    }
}

/// A connection that is reset in the middle takes its requests along.
#[tokio::test]
async fn a_client_that_breaks_off_takes_its_requests_along() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::endless(b"x", Duration::from_millis(10)))
        .start()
        .await;
    let (gateway, web) = web(settings(), &upstream).await;
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    client
        .send(&[get(1), get(3), post(5), Frame::data(5, *b"x")])
        .await;
    eventually(SOON, || async { upstream.requests() == 3 }).await;
    client.frames.reset();
    gateway
        .metrics_until(|it| it.sum("pointsman_connections_open", &[]) == 0.0)
        .await;
    eventually(SOON, || async { upstream.open_connections() == 0 }).await;
}

/// A gateway whose own answer to `/own` has this many bytes.
async fn answering(settings: Settings, length: usize, notes: &Notes) -> (Gateway, SocketAddr) {
    let (vip, port) = (fresh_ip(), free_port());
    let body = "A".repeat(length);
    let nobody = SocketAddr::new(fresh_ip(), free_port());
    let text = http("web", vip, port, nobody)
        + &rules(
            "web",
            &format!(
                "- match: [{{uri: {{exact: /own}}}}]
  directResponse: {{status: 200, body: {{string: {body}}}}}
- directResponse: {{status: 204}}"
            ),
        );
    let gateway = notes.serve(settings, &text).await;
    (gateway, (vip, port).into())
}

/// An answer of the gateway's own is held for its client as any other is: `timeouts.write`, and what the
/// client did not take is not said to be sent.
#[tokio::test]
async fn an_answer_of_our_own_does_not_wait_for_ever() {
    let mut settings = settings();
    settings.timeouts.write = written("1s");
    let notes = Notes::default();
    let (gateway, web) = answering(settings, 300_000, &notes).await;
    let (stream, address) = dial(web).await;
    let mut client = FrameClient::over(stream).with_deadline(SOON);
    let window = [(setting::INITIAL_WINDOW_SIZE, 1000)];
    client.preface(&window).await.expect("HTTP/2");
    let own = |stream| Frame::headers(stream, Block::request("GET", "web", "/own")).end_stream();
    let streams: Vec<u32> = (0..50).map(|it| 1 + 2 * it).collect();
    let all: Vec<_> = streams.iter().map(|it| own(*it)).collect();
    client.send(&all).await;
    for stream in &streams {
        let fate = client.fate(*stream).await;
        assert_eq!(fate, Fate::Reset(code::INTERNAL_ERROR), "{stream}");
        assert_eq!(client.answer(*stream).body.len(), 1000);
    }
    let limits = [("limit", "timeouts.write")];
    gateway
        .metrics_until(|it| it.sum("pointsman_limits_hit_total", &limits) >= 50.0)
        .await;
    for record in notes.records(address, streams.len()).await {
        assert_eq!((record.bytes_sent, record.flags), (1000, Flags::SI));
    }
    // The connection goes on.
    let next = client.ask(201, Block::request("GET", "web", "/")).await;
    assert_eq!(next, Fate::Status(204));
}

/// A stream on which an answer of our own is under way is in service: the end of its connection waits.
#[tokio::test]
async fn the_end_of_a_connection_waits_for_answers_of_our_own() {
    let length = 200_000;
    let mut settings = settings();
    settings.limits.requests_per_connection = 1;
    let notes = Notes::default();
    let (gateway, web) = answering(settings, length, &notes).await;
    let mut client = small_client(web, 65_535).await;
    let own = Block::request("GET", "web", "/own");
    client.send(&[Frame::headers(1, own).end_stream()]).await;
    assert!(client.until(|heard| heard.goaways.len() > 1).await);
    let open = |it: &Scrape| it.sum("pointsman_connections_open", &[]);
    gateway.metrics_until(|it| open(it) == 1.0).await;
    // Longer than one that has everything may take to go.
    let gone = gateway.metrics_until(|it| open(it) == 0.0);
    let gone = timeout(Duration::from_secs(7), gone).await;
    assert!(gone.is_err(), "it was let go");
    client.send(&[Frame::window_update(1, 1 << 20)]).await;
    assert_eq!(client.fate(1).await, Fate::Status(200));
    assert_eq!(client.answer(1).body.len(), length);
    assert!(client.to_end().await);
}

/// RFC 9113 section 6.8: the last GOAWAY stands behind the answer to a PING. A client that leaves it
/// unanswered opens no streams for ever all the same.
#[tokio::test]
async fn a_client_that_answers_no_ping_is_let_go_in_order() {
    let upstream = HttpUpstream::named("web")
        .on(
            "/slow",
            Reply::text(200, "late").after(Duration::from_secs(9)),
        )
        .start()
        .await;
    let mut settings = settings();
    settings.limits.requests_per_connection = 2;
    let (_gateway, web) = web(settings, &upstream).await;
    for slow in [true, false] {
        let mut client = FrameClient::begin(web)
            .await
            .expect("HTTP/2")
            .with_deadline(SOON);
        client.frames.ignore_settings_and_pings();
        client.send(&[Frame::window_update(0, 1 << 30)]).await;
        let mut stream = 1;
        if slow {
            let block = Block::request("GET", "web", "/slow");
            client.send(&[Frame::headers(1, block).end_stream()]).await;
            stream = 3;
        }
        let (begun, mut refused) = (Instant::now(), 0);
        while client.heard.end.is_none() {
            assert!(begun.elapsed() < SOON, "it is served for ever");
            client.send(&[get(stream)]).await;
            match client.fate(stream).await {
                Fate::Status(200) => assert_eq!(refused, 0, "served again"),
                Fate::Reset(code::REFUSED_STREAM) => refused += 1,
                Fate::Closed => break,
                fate => panic!("{fate:?}"),
            }
            stream += 2;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(begun.elapsed() > Duration::from_secs(3), "in its time");
        assert!(client.to_end().await);
        let codes: Vec<_> = client.heard.goaways.iter().map(|it| it.1).collect();
        assert!(codes.len() >= 2, "{:?}", client.heard.goaways);
        assert!(codes.iter().all(|it| *it == code::NO_ERROR), "{codes:?}");
        assert!(refused > 0, "nothing says that it was not looked at");
        if slow {
            assert_eq!(client.answer(1).text(), "late");
        }
    }
}

/// Uploads that nobody reads hold up no other of the same connection, however many there are.
#[tokio::test]
async fn uploads_without_a_reader_stop_no_other() {
    let stuck = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        // What comes is read, and no window is given back.
        peer.drain().await
    })
    .await;
    let upstream = HttpUpstream::named("web").start().await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, upstream.addr())
        + &http2("stuck", fresh_ip(), free_port(), stuck.addr())
        + &rules(
            "web",
            "- match: [{uri: {prefix: /stuck}}]
  route: [{destination: {host: stuck}}]
- route: [{destination: {host: web}}]",
        );
    let _gateway = Gateway::serve(&text).await;
    let mut client = FrameClient::begin((vip, port).into())
        .await
        .expect("HTTP/2");
    let window = client.heard.settings.get(&setting::INITIAL_WINDOW_SIZE);
    let window = u64::from(window.copied().unwrap_or(65_535));
    client.ping().await;
    let piece = vec![b'x'; 16_384];
    // As a client does: as far as both windows go.
    let mut left = 65_535 + client.heard.windows.get(&0).copied().unwrap_or(0);
    let most = Settings::default().http2.client_streams;
    for turn in 0..most - 1 {
        let stream = 1 + 2 * turn;
        let block = Block::request("POST", "web", "/stuck");
        client.send(&[Frame::headers(stream, block)]).await;
        let take = left.min(window);
        left -= take;
        let (whole, rest) = (take / 16_384, take % 16_384);
        let frame = Frame::data(stream, &piece[..]);
        client.send(&vec![frame; whole as usize]).await;
        if rest > 0 {
            let frame = Frame::data(stream, &piece[..rest as usize]);
            client.send(&[frame]).await;
        }
    }
    assert!(client.ping().await, "{:?}", client.heard.goaways);
    let given = client.heard.windows.get(&0).copied().unwrap_or(0) + 65_535;
    let used = window * u64::from(most - 1);
    assert!(
        given >= used + window,
        "{given} bytes of window, {used} held"
    );
    let body = Frame::data(999, &piece[..]).end_stream();
    let block = Block::request("POST", "web", "/");
    client.send(&[Frame::headers(999, block), body]).await;
    assert_eq!(client.fate(999).await, Fate::Status(200));
}
