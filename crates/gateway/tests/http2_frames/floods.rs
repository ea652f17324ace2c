//! Frames that are right one by one, and too many (RFC 9113 section 10.5).
use crate::{
    case::{get, post},
    common::{Gateway, SOON, Scrape, http, is_alone, resident, settings},
    web,
};
use pointsman_testkit::{
    HttpUpstream, RawHttp, Reply,
    frames::{
        Block, Event, Fate, Frame, FrameClient, PREFACE, code, encode_all, flag, kind, setting,
    },
    free_port, fresh_ip, within,
};
use std::{
    future::Future,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What is said in one turn, numbered from 0.
type Turn = fn(u32) -> Vec<Frame>;

/// What is said again and again.
struct Flood {
    name: &'static str,
    /// Where it was found.
    known: &'static str,
    /// Said once, before.
    before: Vec<Frame>,
    unit: Turn,
    /// Turns after which the gateway must have had enough.
    most: u32,
}

fn stream(turn: u32) -> u32 {
    3 + 2 * turn
}

#[rustfmt::skip]
fn floods() -> Vec<Flood> {
    let begun = || Frame::headers(1, Block::request("GET", "web", "/").bytes()).without(flag::END_HEADERS);
    vec![
        Flood { name: "requests taken back", known: "CVE-2023-44487", before: vec![], most: 2_000,
            unit: |turn| vec![get(stream(turn)), Frame::reset(stream(turn), code::CANCEL)] },
        Flood { name: "bodies taken back", known: "CVE-2023-44487", before: vec![], most: 2_000,
            unit: |turn| vec![post(stream(turn)), Frame::data(stream(turn), *b"x"), Frame::reset(stream(turn), code::CANCEL)] },
        Flood { name: "streams that the gateway is made to reset by windows", known: "CVE-2025-8671", before: vec![], most: 2_000,
            unit: |turn| vec![get(stream(turn)), Frame::window_update(stream(turn), (1 << 31) - 1)] },
        Flood { name: "streams that the gateway is made to reset by lengths", known: "CVE-2025-8671", before: vec![], most: 2_000,
            unit: |turn| vec![Frame::headers(stream(turn), Block::request("POST", "web", "/").literal("content-length", "1")), Frame::data(stream(turn), *b"xy")] },
        Flood { name: "malformed requests", known: "CVE-2025-8671", before: vec![], most: 2_000,
            unit: |turn| vec![Frame::headers(stream(turn), Block::request("GET", "web", "/").literal("te", "gzip")).end_stream()] },
        Flood { name: "CONTINUATION of nothing", known: "CVE-2024-27316", before: vec![begun()], most: 2_000,
            unit: |_| vec![Frame::continuation(1, []).without(flag::END_HEADERS)] },
        Flood { name: "CONTINUATION with fields", known: "CVE-2023-45288", before: vec![begun()], most: 2_000,
            unit: |turn| vec![Frame::continuation(1, Block::new().literal(format!("x-{turn}"), "y".repeat(1000)).bytes()).without(flag::END_HEADERS)] },
        Flood { name: "CONTINUATION of one value", known: "CVE-2024-28182", before: vec![Frame::headers(1, Block::request("GET", "web", "/").raw(b"\0\x01a\x7f\x80\xff\xff\x0f").bytes()).without(flag::END_HEADERS)], most: 2_000,
            unit: |_| vec![Frame::continuation(1, vec![b'x'; 16_000]).without(flag::END_HEADERS)] },
        Flood { name: "SETTINGS", known: "CVE-2019-9515", before: vec![], most: 20_000,
            unit: |turn| vec![Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 65_535 - turn % 2)])] },
        Flood { name: "SETTINGS of nothing", known: "CVE-2019-9515", before: vec![], most: 20_000,
            unit: |_| vec![Frame::settings(&[])] },
        Flood { name: "PING", known: "CVE-2019-9512", before: vec![], most: 20_000,
            unit: |turn| vec![Frame::ping(u64::from(turn).to_be_bytes())] },
        Flood { name: "PRIORITY", known: "CVE-2019-9513", before: vec![post(1)], most: 50_000,
            unit: |turn| vec![Frame::priority(1, stream(turn))] },
        Flood { name: "PRIORITY of idle streams", known: "CVE-2019-9513", before: vec![], most: 50_000,
            unit: |turn| vec![Frame::priority(stream(turn), 1)] },
        Flood { name: "DATA of nothing", known: "CVE-2019-9518", before: vec![post(1)], most: 20_000,
            unit: |_| vec![Frame::data(1, [])] },
        Flood { name: "DATA of padding", known: "CVE-2019-9518", before: vec![post(1)], most: 20_000,
            unit: |_| vec![Frame::data(1, []).padded(0)] },
        Flood { name: "WINDOW_UPDATE of one byte", known: "CVE-2019-9511", before: vec![post(1)], most: 50_000,
            unit: |_| vec![Frame::window_update(1, 1)] },
        Flood { name: "WINDOW_UPDATE of streams that are gone", known: "CVE-2019-9511", before: vec![post(1), Frame::reset(1, code::CANCEL)], most: 50_000,
            unit: |_| vec![Frame::window_update(1, 1)] },
        Flood { name: "RST_STREAM of a stream that is gone", known: "CVE-2019-9514", before: vec![post(1), Frame::reset(1, code::CANCEL)], most: 50_000,
            unit: |_| vec![Frame::reset(1, code::CANCEL)] },
        Flood { name: "DATA of a stream that is gone", known: "CVE-2019-9514", before: vec![post(1), Frame::reset(1, code::CANCEL)], most: 20_000,
            unit: |_| vec![Frame::data(1, [])] },
        Flood { name: "types that nobody knows", known: "RFC 9113 10.5", before: vec![], most: 50_000,
            unit: |_| vec![Frame::new(0xfa, 0, 0, [])] },
    ]
}

/// Whoever floods is told to be calm and let go, at a bounded price: to the upstream, to memory, to
/// others.
#[tokio::test]
async fn floods_end_in_enhance_your_calm() {
    if !is_alone("floods::floods_end_in_enhance_your_calm") {
        return;
    }
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::text(200, "fine").after(Duration::from_millis(20)))
        .start()
        .await;
    let (gateway, web) = web(settings(), &upstream).await;
    let mut wrong = Vec::new();
    for flood in floods() {
        let before = (upstream.requests(), resident());
        let done = within(SOON * 3, flood.run(web));
        if let Err(why) = done.await {
            wrong.push(format!("{} ({}): {why}", flood.name, flood.known));
        }
        let asked = upstream.requests() - before.0;
        // No more than may be open at once, and what the budget of resets lets through.
        if asked > 1_200 {
            wrong.push(format!("{}: {asked} requests", flood.name));
        }
        let grown = resident().saturating_sub(before.1);
        if grown > 48 << 20 {
            wrong.push(format!("{}: {grown} bytes of memory", flood.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Operators see who was sent away for what.
    let counted = |scrape: &Scrape, reason| {
        scrape.sum("pointsman_refused_bytes_total", &[("reason", reason)]) >= 1.0
    };
    for reason in [
        "ping_flood",
        "settings_flood",
        "priority_flood",
        "window_update_flood",
        "reset_flood",
        "other_frame_flood",
        // Counted by the library, which has enough of these before the watch has.
        "http2_flood",
    ] {
        gateway.metrics_until(|it| counted(it, reason)).await;
    }
}

impl Flood {
    async fn run(&self, web: SocketAddr) -> Result<(), String> {
        let mut bystander = FrameClient::begin(web).await.map_err(|it| it.to_string())?;
        let mut client = FrameClient::begin(web)
            .await
            .map_err(|it| it.to_string())?
            .with_deadline(SOON / 4);
        client.send(&self.before).await;
        let mut turn = 0;
        while turn < self.most && client.heard.error().is_none() && client.heard.end.is_none() {
            let next = (turn + 100).min(self.most);
            let frames: Vec<_> = (turn..next).flat_map(self.unit).collect();
            client.send(&frames).await;
            turn = next;
            // Without waiting: a client that floods does not wait either.
            let listen = client.until(|heard| heard.error().is_some());
            let _ = tokio::time::timeout(Duration::from_millis(1), listen).await;
        }
        client.until(|heard| heard.error().is_some()).await;
        if client.heard.error() != Some(code::ENHANCE_YOUR_CALM) {
            let (end, goaways) = (&client.heard.end, &client.heard.goaways);
            return Err(format!("after {turn} turns {goaways:?}, {end:?}"));
        }
        if !client.to_end().await {
            return Err("the connection goes on".into());
        }
        match bystander.ask(1, Block::request("GET", "web", "/")).await {
            Fate::Status(200) => Ok(()),
            fate => Err(format!("a bystander got {fate:?}; {:?}", bystander.heard)),
        }
    }
}

/// Calls that time out at their client are taken back after a while, all of them if their endpoint is
/// dead: that is no flood.
#[tokio::test]
async fn deadlines_that_pass_are_no_flood() {
    let upstream = HttpUpstream::named("web")
        .on("/hang", Reply::hang())
        .start()
        .await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    for round in 0..6 {
        let streams: Vec<u32> = (0..90).map(|it| 1 + 2 * (90 * round + it)).collect();
        let ask = |stream: &u32| {
            let block = Block::request("GET", "web", "/hang");
            Frame::headers(*stream, block).end_stream()
        };
        client
            .send(&streams.iter().map(ask).collect::<Vec<_>>())
            .await;
        // Their deadline.
        tokio::time::sleep(Duration::from_millis(800)).await;
        let reset = |stream: &u32| Frame::reset(*stream, code::CANCEL);
        client
            .send(&streams.iter().map(reset).collect::<Vec<_>>())
            .await;
        assert!(client.ping().await, "{:?}", client.heard.goaways);
    }
    let told = client.ask(9001, Block::request("GET", "web", "/")).await;
    assert_eq!(told, Fate::Status(200));
    assert_eq!(client.heard.goaways, []);
}

/// Clients give windows back as they read, which for some is a piece of 4 KiB or less at a time, and long
/// after the data came: that is no flood, however much it is.
#[tokio::test]
async fn windows_in_small_pieces_are_no_flood() {
    const WINDOW: usize = 4 << 20;
    const BODY: usize = 32 << 20;
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::sized(BODY))
        .start()
        .await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let initial = [(setting::INITIAL_WINDOW_SIZE, WINDOW as u32)];
    let client = FrameClient::begin_with(web, &initial).await;
    let frames = &mut client.expect("HTTP/2").frames;
    let ask = [Frame::window_update(0, 1 << 30), get(1)];
    frames.send(&ask).await.expect("sent");
    let (mut got, mut unread) = (0, 0);
    while got < BODY {
        match within(SOON, frames.event()).await {
            Ok(Event::Data { bytes, .. }) => {
                unread += bytes.len();
                got += bytes.len();
            }
            Ok(Event::GoAway { code, .. }) => panic!("{code} after {got} bytes"),
            Ok(_) => {}
            Err(error) => panic!("{error} after {got} bytes"),
        }
        if unread == WINDOW {
            let read = [1024; WINDOW / 1024].into_iter();
            let windows: Vec<_> = read
                .flat_map(|it| [Frame::window_update(0, it), Frame::window_update(1, it)])
                .collect();
            frames.send(&windows).await.expect("taken");
            unread = 0;
        }
    }
}

/// The gateway does not store what it cannot send (CVE-2019-9517): answers to a client that asks and
/// never reads are not made without bound.
#[tokio::test]
async fn floods_from_who_does_not_read_cost_no_memory() {
    if !is_alone("floods::floods_from_who_does_not_read_cost_no_memory") {
        return;
    }
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.timeouts.write = crate::common::written("2s");
    let (gateway, web) = web(settings, &upstream).await;
    let deaf: [(&str, Turn); 4] = [
        ("PING", |turn| {
            vec![Frame::ping(u64::from(turn).to_be_bytes())]
        }),
        ("SETTINGS", |_| vec![Frame::settings(&[])]),
        ("malformed", |turn| {
            vec![Frame::new(kind::HEADERS, 5, stream(turn), [])]
        }),
        ("closed", |turn| {
            vec![
                get(stream(turn)),
                Frame::reset(stream(turn), code::CANCEL),
                Frame::data(stream(turn), []),
            ]
        }),
    ];
    for (name, unit) in deaf {
        let before = resident();
        let mut client = FrameClient::begin(web).await.expect("HTTP/2");
        client.frames.set_deadline(Duration::from_secs(3));
        let mut turn = 0;
        loop {
            let frames: Vec<_> = (turn..turn + 1000).flat_map(unit).collect();
            // Cut off or not read from any more: either is an end of it.
            if client.frames.send_raw(&encode_all(&frames)).await.is_err() {
                break;
            }
            turn += 1000;
            assert!(turn < 2_000_000, "{name}: nobody stops it");
        }
        let grown = resident().saturating_sub(before);
        assert!(grown < 48 << 20, "{name}: {grown} bytes after {turn} turns");
        gateway
            .metrics_until(|it| it.sum("pointsman_connections_open", &[]) <= 1.0)
            .await;
    }
}

/// RFC 9113 section 5.1.2: no upstream gets more of one client at once than the client may ask.
#[tokio::test]
async fn streams_over_the_limit_are_refused() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::text(200, "fine").after(Duration::from_millis(500)))
        .start()
        .await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    let most = client.heard.settings.get(&setting::MAX_CONCURRENT_STREAMS);
    let most = *most.expect("a limit");
    assert!((1..=1000).contains(&most), "{most}");
    let asked: Vec<_> = (0..most + 20).map(|turn| get(1 + 2 * turn)).collect();
    let done = async {
        client.send(&asked).await;
        let (mut served, mut refused) = (0, 0);
        for turn in 0..most + 20 {
            match client.fate(1 + 2 * turn).await {
                Fate::Status(200) => served += 1,
                Fate::Reset(code::REFUSED_STREAM) => refused += 1,
                other => panic!("{turn}: {other:?}"),
            }
        }
        (served, refused)
    };
    let ((served, refused), peak) = peak_during(&upstream, done).await;
    assert_eq!((served, refused), (most, 20));
    assert!(peak <= most as usize, "{peak} at once");
    let again = client.ask(2 * most + 101, Block::request("GET", "web", "/"));
    assert_eq!(again.await, Fate::Status(200));
}

/// The most connections to the upstream that were open at once meanwhile.
async fn peak_during<T>(upstream: &HttpUpstream, work: impl Future<Output = T>) -> (T, usize) {
    let (mut work, mut peak) = (pin!(work), 0);
    loop {
        tokio::select! {
            output = &mut work => return (output, peak),
            () = tokio::time::sleep(Duration::from_millis(1)) => {
                peak = peak.max(upstream.open_connections());
            }
        }
    }
}

/// Small frames are allowed: bodies may come byte by byte, if somebody takes them.
#[tokio::test]
async fn a_body_byte_by_byte_arrives() {
    let upstream = HttpUpstream::named("web")
        .otherwise(Reply::echo_body())
        .start()
        .await;
    let (_gateway, web) = web(settings(), &upstream).await;
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    let body: Vec<u8> = (0..=255).cycle().take(2000).collect();
    client.send(&[post(1)]).await;
    for piece in body.chunks(20) {
        let frames: Vec<_> = piece.iter().map(|byte| Frame::data(1, [*byte])).collect();
        client.send(&frames).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.send(&[Frame::data(1, []).end_stream()]).await;
    assert_eq!(client.fate(1).await, Fate::Status(200));
    assert_eq!(client.answer(1).body, body);
}

/// An endpoint that reads without end, and how much it has read.
fn reader() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let read = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&read);
    thread::spawn(move || {
        while let Ok((mut peer, _)) = listener.accept() {
            let count = Arc::clone(&count);
            thread::spawn(move || {
                let mut some = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = peer.read(&mut some) {
                    count.fetch_add(length, Ordering::Relaxed);
                }
            });
        }
    });
    (address, read)
}

/// But a frame of a single byte costs as much as many bytes: clients that send nothing else are no longer
/// at it than others when it is their turn.
#[tokio::test]
async fn bodies_byte_by_byte_do_not_hold_up_others() {
    let upstream = HttpUpstream::named("web").start().await;
    let mut settings = settings();
    settings.process.shards = 1;
    // So that nobody has to wait for more room.
    settings.http2.stream_window_bytes = 1 << 30;
    settings.http2.connection_window_bytes = 1 << 30;
    let (sink, read) = reader();
    let (vip, port, slow) = (fresh_ip(), free_port(), fresh_ip());
    let text = http("web", vip, port, upstream.addr()) + "---\n" + &http("sink", slow, port, sink);
    let _gateway = Gateway::serve_with(settings, &text).await;
    for _ in 0..3 {
        let mut client = TcpStream::connect((slow, port)).expect("connects");
        let post = Frame::headers(1, Block::request("POST", "sink", "/"));
        let begin = [PREFACE, &encode_all(&[Frame::settings(&[]), post])].concat();
        let bytes = Frame::data(1, *b"x").encode().repeat(10_000);
        client.write_all(&begin).expect("is read");
        thread::spawn(move || while client.write_all(&bytes).is_ok() {});
    }
    let mut other = RawHttp::connect((vip, port).into())
        .await
        .expect("connects");
    let mut meanwhile = Vec::new();
    for _ in 0..41 {
        // All three are at it again.
        let before = read.load(Ordering::Relaxed);
        within(SOON, async {
            while read.load(Ordering::Relaxed) < before + 10_000 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        let before = read.load(Ordering::Relaxed);
        let answer = other.get("web", "/").await.expect("an answer");
        assert_eq!(answer.status, 200);
        meanwhile.push(read.load(Ordering::Relaxed) - before);
    }
    meanwhile.sort_unstable();
    assert!(meanwhile[20] < 10_000, "{meanwhile:?}");
}
