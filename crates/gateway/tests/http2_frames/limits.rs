//! The settings of `http2.*`: each is said to the peer where it has to know, and holds.
use crate::{
    case::{get, post},
    common::{Gateway, SOON, http, rules, service, settings, written},
    web,
};
use pointsman_testkit::{
    Http2Reply, Http2Upstream, HttpUpstream, RawHttp, Reply, eventually,
    frames::{Block, Event, Fate, Frame, FrameClient, FrameUpstream, code, flag, setting},
    free_port, fresh_ip,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

async fn refused(gateway: &Gateway, reason: &str) {
    let why = [("reason", reason)];
    gateway
        .metrics_until(|it| it.sum("pointsman_refused_bytes_total", &why) >= 1.0)
        .await;
}

/// RFC 9113 section 6.5.2.
#[tokio::test]
async fn clients_are_told_what_holds() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.http2.client_streams = 7;
    settings.http2.stream_window_bytes = 70_000;
    settings.http2.connection_window_bytes = 200_000;
    settings.http2.frame_bytes = 20_000;
    settings.http2.header_table_bytes = 1234;
    settings.limits.head_bytes = 5000;
    let (_gateway, web) = web(settings, &upstream).await;
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    let told = |client: &FrameClient, setting| client.heard.settings.get(&setting).copied();
    for (name, value) in [
        (setting::MAX_CONCURRENT_STREAMS, 7),
        (setting::INITIAL_WINDOW_SIZE, 70_000),
        (setting::MAX_FRAME_SIZE, 20_000),
        (setting::HEADER_TABLE_SIZE, 1234),
        (setting::MAX_HEADER_LIST_SIZE, 10_000),
    ] {
        assert_eq!(told(&client, name), Some(value), "{name}");
    }
    // The window of a connection begins at 65,535 bytes, and is only ever added to. That of all its streams is
    // more here than what is set.
    let whole = |heard: &pointsman_testkit::frames::Heard| {
        heard.windows.get(&0).copied().unwrap_or_default() + 65_535 == 7 * 70_000
    };
    assert!(client.until(whole).await, "{:?}", client.heard.windows);
    // A frame of more than the 16 KB that everybody may send.
    client
        .send(&[post(1), Frame::data(1, vec![b'x'; 20_000]).end_stream()])
        .await;
    assert_eq!(client.fate(1).await, Fate::Status(200));
    let seen = upstream.last_seen().expect("a request");
    assert_eq!(seen.body.len(), 20_000);
    client
        .send(&[post(3), Frame::data(3, vec![b'x'; 20_001])])
        .await;
    assert_eq!(client.fate(3).await, Fate::GoAway(code::FRAME_SIZE_ERROR));
    // A table larger than that cannot be asked for (RFC 7541 section 4.2).
    for (size, fate) in [
        (1234, Fate::Status(200)),
        (1235, Fate::GoAway(code::COMPRESSION_ERROR)),
    ] {
        let mut client = FrameClient::begin(web).await.expect("HTTP/2");
        let block = [
            Block::new().table_size(size).bytes(),
            Block::request("GET", "web", "/").bytes(),
        ];
        let head = Frame::headers(1, block.concat()).end_stream();
        client.send(&[head]).await;
        let told = client.fate(1).await;
        let as_told = match told {
            // The library says so of any field block that it cannot decode.
            Fate::GoAway(code::PROTOCOL_ERROR) => Fate::GoAway(code::COMPRESSION_ERROR),
            told => told,
        };
        assert_eq!(as_told, fate, "{size}: {:?}", client.heard);
    }
}

/// Small frames cost more memory than they carry: that is bounded too.
#[tokio::test]
async fn small_frames_that_nobody_takes_end_the_connection() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.http2.small_frames_bytes = 64 * 1024;
    settings.http2.flood_budget_percent = 0;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http("web", vip, port, upstream.addr())
        + &rules(
            "web",
            "- fault: {delay: {fixedDelay: 30s, percentage: {value: 100}}}
  route: [{destination: {host: web}}]",
        );
    let gateway = Gateway::serve_with(settings, &text).await;
    for (frames, goes_on) in [(200, true), (300, false)] {
        let mut client = FrameClient::begin((vip, port).into())
            .await
            .expect("HTTP/2");
        client.send(&[post(1)]).await;
        client.send(&vec![Frame::data(1, *b"x"); frames]).await;
        match goes_on {
            true => assert!(client.ping().await, "{:?}", client.heard),
            false => {
                let fate = client.fate(1).await;
                assert_eq!(
                    fate,
                    Fate::GoAway(code::ENHANCE_YOUR_CALM),
                    "{:?}",
                    client.heard
                );
            }
        }
    }
    refused(&gateway, "http2_flood").await;
}

/// CVE-2023-44487: of streams that a client takes back before they are looked at.
#[tokio::test]
async fn resets_of_streams_that_nobody_has_served_are_few() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.http2.unserved_resets = 3;
    settings.http2.flood_budget_percent = 0;
    let (gateway, web) = web(settings, &upstream).await;
    for (resets, goes_on) in [(3_u32, true), (20, false)] {
        let mut client = FrameClient::begin(web).await.expect("HTTP/2");
        let taken_back = |at: u32| [get(1 + 2 * at), Frame::reset(1 + 2 * at, code::CANCEL)];
        // One write, so that they are all there at once.
        let frames: Vec<_> = (0..resets).flat_map(taken_back).collect();
        client.send(&frames).await;
        let told = client.ask(1001, Block::request("GET", "web", "/")).await;
        match goes_on {
            true => assert_eq!(told, Fate::Status(200)),
            false => assert_eq!(told, Fate::GoAway(code::ENHANCE_YOUR_CALM)),
        }
    }
    refused(&gateway, "http2_flood").await;
}

/// CVE-2025-8671: of streams that a client makes the gateway reset.
#[tokio::test]
async fn faulty_streams_are_few() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.http2.faulty_streams = 3;
    settings.http2.flood_budget_percent = 0;
    let (gateway, web) = web(settings, &upstream).await;
    for (faults, goes_on) in [(3, true), (4, false)] {
        let mut client = FrameClient::begin(web).await.expect("HTTP/2");
        for at in 0..faults {
            // RFC 9113 section 8.1.1: more than was announced.
            let block = Block::request("POST", "web", "/").literal("content-length", "1");
            let stream = 1 + 2 * at;
            client
                .send(&[Frame::headers(stream, block), Frame::data(stream, *b"xy")])
                .await;
            if goes_on {
                let fate = client.fate(stream).await;
                assert_eq!(
                    fate,
                    Fate::Reset(code::PROTOCOL_ERROR),
                    "{:?}",
                    client.heard
                );
            }
        }
        let told = client.ask(1001, Block::request("GET", "web", "/")).await;
        match goes_on {
            true => assert_eq!(told, Fate::Status(200)),
            false => assert_eq!(told, Fate::GoAway(code::ENHANCE_YOUR_CALM)),
        }
    }
    refused(&gateway, "http2_flood").await;
}

/// Faults add up over the life of a connection, also those of somebody who means well: before they are
/// too many it is told to go, and loses nothing.
#[tokio::test]
async fn faults_that_add_up_cost_no_stream() {
    let upstream = HttpUpstream::named("web")
        .on(
            "/slow",
            Reply::text(200, "slow").after(Duration::from_secs(1)),
        )
        .start()
        .await;
    let mut settings = settings();
    settings.http2.faulty_streams = 8;
    let (_gateway, web) = web(settings, &upstream).await;
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    for at in 1..=6 {
        let block = Block::request("POST", "web", "/").literal("content-length", "1");
        let stream = 1 + 2 * at;
        client
            .send(&[Frame::headers(stream, block), Frame::data(stream, *b"xy")])
            .await;
        let fate = client.fate(stream).await;
        assert_eq!(fate, Fate::Reset(code::PROTOCOL_ERROR));
        assert_eq!(client.heard.goaways, []);
    }
    let slow = client.ask(101, Block::request("GET", "web", "/slow")).await;
    assert_eq!(slow, Fate::Status(200));
    assert!(client.to_end().await, "{:?}", client.heard);
    let codes: Vec<_> = client.heard.goaways.iter().map(|it| it.1).collect();
    assert!(!codes.is_empty() && codes.iter().all(|it| *it == code::NO_ERROR));
}

/// What an endpoint does behind the head of its answer is no fault of the client, whose other streams go on.
#[tokio::test]
async fn faults_of_endpoints_are_not_counted_for_their_clients() {
    let begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let broken = [begun, &b"no chunk\r\n"[..]].concat();
    let broken = Reply::raw(&broken).dribbled(begun.len(), Duration::from_millis(20));
    let upstream = HttpUpstream::named("web").on("/bad", broken).start().await;
    let mut settings = settings();
    settings.http2.faulty_streams = 1;
    let (gateway, web) = web(settings, &upstream).await;
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    let mut cut = 0;
    for at in 0..10 {
        let asked = Block::request("GET", "web", "/bad");
        match client.ask(1 + 2 * at, asked).await {
            Fate::Reset(code::INTERNAL_ERROR) => cut += 1,
            // All of it came at once.
            Fate::Status(502) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(cut > 0);
    let after = client.ask(101, Block::request("GET", "web", "/")).await;
    assert_eq!(after, Fate::Status(200));
    assert_eq!(client.heard.goaways, []);
    let counts = gateway
        .metrics_until(|it| it.sum("istio_requests_total", &[]) >= 11.0)
        .await;
    let refused = "pointsman_refused_bytes_total";
    assert_eq!(counts.sum(refused, &[("reason", "http2_stream")]), 0.0);
}

/// Where a gateway takes requests for this endpoint, and its documents: what is for `/no` is answered
/// without a look at its body.
fn denying(upstream: SocketAddr) -> (SocketAddr, String) {
    let (vip, port) = (fresh_ip(), free_port());
    let rules = rules(
        "web",
        "- match: [{uri: {prefix: /no}}]
  directResponse: {status: 403, body: {string: denied}}
- route: [{destination: {host: web}}]",
    );
    let text = http("web", vip, port, upstream) + &rules;
    ((vip, port).into(), text)
}

/// RFC 9113 section 5.1: bodies that are under way when their streams are answered and reset are no
/// fault of the client, however many there are.
#[tokio::test]
async fn late_frames_of_many_streams_are_no_fault() {
    let upstream = HttpUpstream::named("web").start().await;
    let (at, text) = denying(upstream.addr());
    let _gateway = Gateway::serve(&text).await;
    let mut client = FrameClient::begin(at).await.expect("HTTP/2");
    // Some more than are remembered.
    for round in 0..30 {
        let streams: Vec<u32> = (0..40).map(|it| 1 + 2 * (40 * round + it)).collect();
        let ask = |stream: &u32| Frame::headers(*stream, Block::request("POST", "web", "/no"));
        client
            .send(&streams.iter().map(ask).collect::<Vec<_>>())
            .await;
        let over = |heard: &pointsman_testkit::frames::Heard| {
            let reset = |it: &u32| heard.streams.get(it).is_some_and(|it| it.reset.is_some());
            streams.iter().all(reset)
        };
        assert!(client.until(over).await, "{:?}", client.heard.goaways);
        let late = |stream: &u32| [Frame::data(*stream, *b"x"), Frame::data(*stream, *b"y")];
        client
            .send(&streams.iter().flat_map(late).collect::<Vec<_>>())
            .await;
    }
    let told = client.ask(9001, Block::request("GET", "web", "/")).await;
    assert_eq!(told, Fate::Status(200));
    assert_eq!(client.heard.goaways, []);
}

/// Small frames of bodies that nobody reads any more are not kept, so that they end no connection, however
/// many come in its life.
#[tokio::test]
async fn late_small_frames_are_not_counted_as_kept() {
    let upstream = HttpUpstream::named("web").start().await;
    let (at, text) = denying(upstream.addr());
    // Nor where frames have no budgets.
    for percent in [100, 0] {
        let mut settings = settings();
        settings.http2.small_frames_bytes = 64 * 1024;
        settings.http2.flood_budget_percent = percent;
        let _gateway = Gateway::serve_with(settings, &text).await;
        let mut client = FrameClient::begin(at).await.expect("HTTP/2");
        for round in 0..20 {
            let stream = 1 + 2 * round;
            let ask = Frame::headers(stream, Block::request("POST", "web", "/no"));
            client.send(&[ask]).await;
            let over = |heard: &pointsman_testkit::frames::Heard| {
                let stream = heard.streams.get(&stream);
                stream.is_some_and(|it| it.reset.is_some())
            };
            assert!(client.until(over).await, "{round}: {:?}", client.heard);
            client.send(&vec![Frame::data(stream, *b"x"); 100]).await;
        }
        let told = client.ask(9001, Block::request("GET", "web", "/")).await;
        assert_eq!(told, Fate::Status(200), "{:?}", client.heard.goaways);
    }
}

/// RFC 9113 section 5.4.2: what is under way of a stream that was reset here is no fault of its
/// sender. It is not even answered, as long as the stream is remembered.
#[tokio::test]
async fn late_frames_are_ignored_as_long_as_their_stream_is_remembered() {
    let upstream = HttpUpstream::named("web").start().await;
    for (remembered, code_of_stream) in [(1, code::PROTOCOL_ERROR), (0, code::STREAM_CLOSED)] {
        let mut settings = settings();
        settings.http2.remembered_resets = remembered;
        let (_gateway, web) = web(settings, &upstream).await;
        let mut client = FrameClient::begin(web).await.expect("HTTP/2");
        let block = Block::request("POST", "web", "/").literal("content-length", "1");
        client
            .send(&[Frame::headers(1, block), Frame::data(1, *b"xy")])
            .await;
        let fate = client.fate(1).await;
        assert_eq!(
            fate,
            Fate::Reset(code::PROTOCOL_ERROR),
            "{:?}",
            client.heard
        );
        client.send(&[Frame::data(1, *b"late")]).await;
        let told = client.ask(3, Block::request("GET", "web", "/")).await;
        assert_eq!(told, Fate::Status(200));
        assert_eq!(client.answer(1).reset, Some(code_of_stream));
    }
}

/// In percent of what is built in; none at all with 0.
#[tokio::test]
async fn budgets_of_frames_that_cost_nothing_are_scaled() {
    let upstream = HttpUpstream::named("web").start().await;
    for (percent, pings, goes_on) in [(20, 40, false), (100, 40, true), (0, 1000, true)] {
        let mut settings = settings();
        settings.http2.flood_budget_percent = percent;
        let (gateway, web) = web(settings, &upstream).await;
        let mut client = FrameClient::begin(web)
            .await
            .expect("HTTP/2")
            .with_deadline(SOON);
        for at in 0..pings / 20 {
            let some = (0..20).map(|it| Frame::ping([at as u8, it, 0, 0, 0, 0, 0, 1]));
            client.send(&some.collect::<Vec<_>>()).await;
            let heard = (at + 1) * 20;
            if goes_on {
                assert!(client.until(|it| it.pongs.len() >= heard).await);
            }
        }
        let told = client.ask(1, Block::request("GET", "web", "/")).await;
        match goes_on {
            true => assert_eq!(told, Fate::Status(200), "{percent} %"),
            false => {
                assert_eq!(told, Fate::GoAway(code::ENHANCE_YOUR_CALM), "{percent} %");
                refused(&gateway, "ping_flood").await;
            }
        }
    }
}

/// A gateway in front of an endpoint of HTTP/2.
async fn http2(settings: pointsman_gateway::Settings, to: SocketAddr) -> (Gateway, SocketAddr) {
    let (vip, port) = (fresh_ip(), free_port());
    let text = service("web", vip, port, "http2", &[(to, "v0")]);
    let gateway = Gateway::serve_with(settings, &text).await;
    (gateway, (vip, port).into())
}

/// Beyond the streams of one connection another is opened, up to the limit of those; who finds no
/// room is told after the time of connecting.
#[tokio::test]
async fn endpoints_get_so_many_streams_and_connections() {
    let upstream = Http2Upstream::named("web")
        .on("/hang", Http2Reply::hang())
        .start()
        .await;
    let mut settings = settings();
    settings.process.shards = 1;
    settings.http2.endpoint_streams = 2;
    settings.http2.endpoint_connections = 2;
    settings.timeouts.connect = written("500ms");
    let (gateway, web) = http2(settings, upstream.addr()).await;
    let mut hanging = Vec::new();
    for at in 1..=4 {
        let mut client = RawHttp::connect(web).await.expect("connects");
        client
            .send("GET /hang HTTP/1.1\r\nHost: web\r\n\r\n")
            .await
            .expect("sent");
        hanging.push(client);
        eventually(SOON, || async { upstream.requests() == at }).await;
    }
    assert_eq!((upstream.connections(), upstream.most_streams()), (2, 2));
    let mut client = RawHttp::connect(web).await.expect("connects");
    let told = client.get("web", "/").await.expect("an answer");
    assert_eq!(told.status, 503);
    assert_eq!(told.field("x-envoy-overloaded"), Some("true"));
    let hit = [("limit", "http2.endpoint_connections")];
    gateway
        .metrics_until(|it| it.sum("pointsman_limits_hit_total", &hit) == 1.0)
        .await;
    // Room is used as soon as there is some.
    hanging.pop().expect("one of four").reset();
    eventually(SOON, || async { upstream.resets().len() == 1 }).await;
    let told = client.get("web", "/").await.expect("an answer");
    assert_eq!((told.status, upstream.connections()), (200, 2));
}

/// Streams of several clients share a connection to an endpoint: those that nobody reads take nothing from
/// the others.
#[tokio::test]
async fn streams_that_nobody_reads_stop_no_other() {
    // Sends as much of each answer as the windows allow.
    let upstream = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        let mut windows = BTreeMap::from([(0, 65_535_i64)]);
        let (mut first, mut left) = (65_535_i64, BTreeMap::new());
        loop {
            match peer.event().await? {
                Event::Settings(values) => {
                    let own = values
                        .iter()
                        .find(|it| it.0 == setting::INITIAL_WINDOW_SIZE);
                    first = own.map_or(first, |it| i64::from(it.1));
                }
                Event::Headers { stream, fields, .. } => {
                    let big = fields.iter().any(|it| it.1 == "/big");
                    left.insert(stream, if big { 10_000_000 } else { 5000 });
                    peer.send(&[Frame::headers(stream, Block::status(200))])
                        .await?;
                }
                Event::Window { stream, increment } => {
                    *windows.entry(stream).or_insert(first) += i64::from(increment);
                }
                _ => {}
            }
            for (stream, left) in &mut left {
                loop {
                    let own = *windows.entry(*stream).or_insert(first);
                    let piece = own.min(windows[&0]).min(*left).min(16_000);
                    if piece <= 0 {
                        break;
                    }
                    let mut frame = Frame::data(*stream, vec![b'x'; piece as usize]);
                    *left -= piece;
                    if *left == 0 {
                        frame = frame.end_stream();
                    }
                    for of in [0, *stream] {
                        *windows.entry(of).or_default() -= piece;
                    }
                    peer.send(&[frame]).await?;
                }
            }
        }
    })
    .await;
    let mut settings = settings();
    settings.process.shards = 1;
    let (_gateway, web) = http2(settings, upstream.addr()).await;
    let nothing = [(setting::INITIAL_WINDOW_SIZE, 0)];
    let mut silent = FrameClient::begin_with(web, &nothing)
        .await
        .expect("HTTP/2");
    let big =
        |it: u32| Frame::headers(1 + 2 * it, Block::request("GET", "web", "/big")).end_stream();
    silent.send(&(0..20).map(big).collect::<Vec<_>>()).await;
    let heads = silent.until(|it| it.streams.len() == 20);
    assert!(heads.await, "{:?}", silent.heard);
    // Also when the streams have all that they may keep.
    for _ in 0..3 {
        let mut client = FrameClient::begin(web).await.expect("HTTP/2");
        let told = client.ask(1, Block::request("GET", "web", "/small")).await;
        assert_eq!(told, Fate::Status(200));
        assert_eq!(client.answer(1).body.len(), 5000);
    }
    assert_eq!(upstream.connections(), 1);
}

/// What a stream keeps in memory for a client that takes nothing: the window that its endpoint was
/// given, and the buffer towards the client.
#[tokio::test]
async fn a_stream_keeps_as_much_as_its_windows_and_buffers_say() {
    for (window, buffer) in [
        (20_000_u32, 20_000_u32),
        (70_000, 20_000),
        (20_000, 300_000),
    ] {
        let sent = Arc::new(AtomicU64::new(0));
        let count = sent.clone();
        // Sends all that it may.
        let upstream = FrameUpstream::start(move |mut peer, _| {
            let count = count.clone();
            async move {
                peer.accept(&[]).await?;
                let (mut room, mut stream) = (0_u64, None);
                let (mut of_stream, mut first) = (0_u64, 65_535_u64);
                loop {
                    match peer.event().await? {
                        Event::Settings(values) => {
                            let own = values
                                .iter()
                                .find(|it| it.0 == setting::INITIAL_WINDOW_SIZE);
                            first = own.map_or(first, |it| u64::from(it.1));
                        }
                        Event::Headers { stream: it, .. } => {
                            peer.send(&[Frame::headers(it, Block::status(200))]).await?;
                            (stream, of_stream) = (Some(it), first);
                        }
                        Event::Window {
                            stream: 0,
                            increment,
                        } => room += u64::from(increment),
                        Event::Window { increment, .. } => of_stream += u64::from(increment),
                        _ => {}
                    }
                    let Some(stream) = stream else { continue };
                    while of_stream > 0 {
                        let piece = of_stream.min(10_000).min(room + 65_535);
                        if piece == 0 {
                            break;
                        }
                        peer.send(&[Frame::data(stream, vec![b'x'; piece as usize])])
                            .await?;
                        of_stream -= piece;
                        room = room.saturating_sub(piece);
                        count.fetch_add(piece, Ordering::SeqCst);
                    }
                }
            }
        })
        .await;
        let mut settings = settings();
        settings.http2.stream_window_bytes = window;
        settings.http2.send_buffer_bytes = buffer;
        let (_gateway, web) = http2(settings, upstream.addr()).await;
        let nothing = [(setting::INITIAL_WINDOW_SIZE, 0)];
        let mut client = FrameClient::begin_with(web, &nothing)
            .await
            .expect("HTTP/2");
        client.send(&[get(1)]).await;
        let head = client.until(|it| it.streams.get(&1).is_some_and(|it| it.status.is_some()));
        assert!(head.await, "{:?}", client.heard);
        eventually(SOON, || async {
            sent.load(Ordering::SeqCst) >= u64::from(window)
        })
        .await;
        // It goes on for a moment if it goes on at all.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let (sent, most) = (sent.load(Ordering::SeqCst), u64::from(window + buffer));
        // A piece more is on its way between the two.
        assert!(sent <= most + 20_000, "{sent} of {most}");
    }
}

/// What is wrong with one stream shows in the counters, also where the library that reads frames refuses it.
#[tokio::test]
async fn streams_that_are_refused_are_counted() {
    let upstream = HttpUpstream::named("web").start().await;
    let (gateway, web) = web(settings(), &upstream).await;
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    let request = || Block::request("GET", "web", "/");
    // Resets that go out in one write are counted one by one.
    let wrong = |stream| {
        let block = request().literal("te", "gzip");
        Frame::headers(stream, block).end_stream()
    };
    client.send(&[wrong(1), wrong(3), wrong(5)]).await;
    for stream in [1, 3, 5] {
        let fate = client.fate(stream).await;
        assert_eq!(fate, Fate::Reset(code::PROTOCOL_ERROR));
    }
    let refused = "pointsman_refused_bytes_total";
    gateway
        .metrics_until(|it| it.sum(refused, &[("reason", "http2_stream")]) == 3.0)
        .await;
    // Large, and not so large that the library would answer it.
    let large = request().literal("x-a", "a".repeat(70_000));
    let pieces = large.bytes();
    let (head, rest) = pieces.split_at(16_000);
    let mut frames = vec![
        Frame::headers(7, head)
            .end_stream()
            .without(flag::END_HEADERS),
    ];
    frames.extend(
        rest.chunks(16_000)
            .map(|it| Frame::continuation(7, it).without(flag::END_HEADERS)),
    );
    let last = frames.pop().expect("several");
    frames.push(last.with(flag::END_HEADERS));
    client.send(&frames).await;
    assert_eq!(client.fate(7).await, Fate::Status(431));
    gateway
        .metrics_until(|it| {
            it.sum(refused, &[("reason", "head_too_large")]) == 1.0
                && it.sum(
                    "pointsman_limits_hit_total",
                    &[("limit", "limits.head_bytes")],
                ) == 1.0
        })
        .await;
}
