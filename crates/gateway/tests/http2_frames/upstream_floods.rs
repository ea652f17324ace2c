//! Frames of an upstream that are right one by one, and too many (RFC 9113 section 10.5).
use crate::common::{Gateway, Notes, SOON, dial, http2, pattern, rules, settings};
use pointsman_testkit::{
    RawHttp, eventually,
    frames::{
        Block, Event, Frame, FrameError, FramePeer, FrameUpstream, code, encode_all, flag, setting,
    },
    free_port, fresh_ip, within,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

/// What is said again and again.
#[derive(Clone, Copy)]
struct Flood {
    name: &'static str,
    /// Said once, before, on the stream of the request.
    before: fn(u32) -> Vec<Frame>,
    /// Said once, before, on a stream that was answered.
    idle: fn(u32) -> Vec<Frame>,
    unit: fn(u32) -> Frame,
    /// Frames after which the gateway must have had enough: the budget, and what the kernel keeps.
    most: u32,
    /// What it counts as; the library may have enough first.
    counts: &'static [&'static str],
}

fn nothing(_: u32) -> Vec<Frame> {
    Vec::new()
}

fn head(stream: u32) -> Frame {
    Frame::headers(stream, Block::status(200))
}

fn begun(stream: u32) -> Vec<Frame> {
    vec![head(stream).without(flag::END_HEADERS)]
}

const LIBRARY: &str = "http2_flood";

#[rustfmt::skip]
const FLOODS: &[Flood] = &[
    Flood { name: "PING", before: nothing, idle: nothing, most: 40_000, counts: &["ping_flood"],
        unit: |_| Frame::ping([7; 8]) },
    Flood { name: "PING within a body", before: |id| vec![head(id)], idle: nothing, most: 40_000, counts: &["ping_flood"],
        unit: |_| Frame::ping([7; 8]) },
    Flood { name: "SETTINGS", before: nothing, idle: nothing, most: 40_000, counts: &["settings_flood"],
        unit: |_| Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 65_535)]) },
    Flood { name: "PRIORITY", before: nothing, idle: nothing, most: 40_000, counts: &["priority_flood"],
        unit: |id| Frame::priority(id, 0) },
    Flood { name: "WINDOW_UPDATE of one byte", before: nothing, idle: nothing, most: 200_000, counts: &["window_update_flood"],
        unit: |id| Frame::window_update(id, 1) },
    Flood { name: "WINDOW_UPDATE of the connection", before: nothing, idle: nothing, most: 200_000, counts: &["window_update_flood"],
        unit: |_| Frame::window_update(0, 1) },
    Flood { name: "RST_STREAM of a stream that is gone", before: nothing, idle: nothing, most: 40_000, counts: &["reset_flood"],
        unit: |_| Frame::reset(1, code::CANCEL) },
    Flood { name: "DATA of nothing", before: |id| vec![head(id)], idle: nothing, most: 40_000, counts: &["empty_data_flood", LIBRARY],
        unit: |id| Frame::data(id, []) },
    Flood { name: "DATA of padding", before: |id| vec![head(id)], idle: nothing, most: 40_000, counts: &["empty_data_flood", LIBRARY],
        unit: |id| Frame::data(id, []).padded(9) },
    Flood { name: "CONTINUATION", before: begun, idle: begun, most: 40_000, counts: &["continuation_flood", LIBRARY],
        unit: |id| Frame::continuation(id, []).without(flag::END_HEADERS) },
    Flood { name: "interim heads", before: nothing, idle: nothing, most: 40_000, counts: &["other_frame_flood"],
        unit: |id| Frame::headers(id, Block::status(103)) },
    Flood { name: "types that nobody knows", before: nothing, idle: nothing, most: 40_000, counts: &["other_frame_flood"],
        unit: |_| Frame::new(0xfa, 0, 0, []) },
];

/// What an upstream has found out: connections on which it was told to be calm.
type Told = Arc<AtomicU32>;

impl Flood {
    /// Answers rightly what is not asked for by `/flood` or `/idle`: to one it says nothing but the flood,
    /// to the other an answer before it.
    async fn serve(self, mut peer: FramePeer, told: Told) -> Result<(), FrameError> {
        peer.accept(&[]).await?;
        loop {
            let asked = peer.request().await?;
            match asked.field(":path") {
                Some("/flood") => peer.send(&(self.before)(asked.stream)).await?,
                Some("/idle") => {
                    peer.answer(asked.stream, 200, b"fine").await?;
                    peer.send(&(self.idle)(asked.stream)).await?;
                }
                _ => {
                    peer.answer(asked.stream, 200, b"fine").await?;
                    continue;
                }
            }
            return self.run(peer, asked.stream, &told).await;
        }
    }

    async fn run(self, mut peer: FramePeer, stream: u32, told: &Told) -> Result<(), FrameError> {
        // Its end may be seen by either.
        peer.ignore_settings_and_pings();
        let frames = encode_all(&vec![(self.unit)(stream); 100]);
        let mut sent = 0;
        loop {
            // Without waiting: who floods does not wait either.
            let listen = tokio::time::timeout(Duration::from_millis(1), peer.event());
            let over = match listen.await {
                Ok(Ok(Event::GoAway { code, .. })) => {
                    assert_eq!(code, code::ENHANCE_YOUR_CALM, "{}", self.name);
                    told.fetch_add(1, SeqCst);
                    return peer.drain().await;
                }
                Ok(Ok(_)) => continue,
                Ok(Err(error)) => Some(error),
                Err(_) if sent < self.most => None,
                // It may be told later; that it goes on reading is what must not be.
                Err(_) => return peer.drain().await,
            };
            if let Some(error) = over {
                return Err(error);
            }
            // If it fails, what was told before is still to be read.
            let _ = peer.send_raw(&frames).await;
            sent += 100;
        }
    }
}

/// A gateway of one shard in front of an upstream that speaks HTTP/2.
async fn web(upstream: SocketAddr) -> (Gateway, SocketAddr, Notes) {
    let mut settings = settings();
    settings.process.shards = 1;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http2("web", vip, port, upstream)
        + &rules(
            "web",
            "- route: [{destination: {host: web}}]\n  retries: {attempts: 0}",
        );
    let notes = Notes::default();
    let gateway = notes.serve(settings, &text).await;
    (gateway, (vip, port).into(), notes)
}

/// An upstream that floods is told to be calm and let go, with a stream or without; its stream fails as
/// with every other that breaks the protocol, and whoever comes next is served by another connection.
#[tokio::test]
async fn floods_of_upstreams_end_their_connections() {
    for flood in FLOODS {
        let told = Told::default();
        let shared = told.clone();
        let upstream = FrameUpstream::start(move |peer, _| flood.serve(peer, shared.clone())).await;
        let (gateway, web, notes) = web(upstream.addr()).await;
        let name = flood.name;
        let fine = async |path: &str| {
            let (stream, _) = dial(web).await;
            let reply = within(SOON, RawHttp::over(stream).get("web", path)).await;
            let status = reply.map(|it| it.status);
            assert_eq!(status.ok(), Some(200), "{name}: {path}");
        };
        fine("/").await;
        let (stream, own) = dial(web).await;
        let failed = within(SOON, RawHttp::over(stream).get("web", "/flood")).await;
        let record = notes.of(own, 1).await;
        let [record] = &record[..] else {
            panic!("{name}: {record:?}");
        };
        if (flood.before)(1).is_empty() {
            assert_eq!(failed.map(|it| it.status).ok(), Some(502), "{name}");
            let details = "upstream_reset_before_response_started{protocol_error}";
            let as_told = (record.status, &*record.details, &*record.flags);
            assert_eq!(as_told, (502, details, "UPE"), "{name}");
        } else {
            assert!(failed.map_or(true, |it| it.status == 502), "{name}");
        }
        eventually(SOON, async || told.load(SeqCst) == 1).await;
        fine("/idle").await;
        eventually(SOON, async || told.load(SeqCst) == 2).await;
        fine("/").await;
        assert_eq!(upstream.connections(), 3, "{name}");
        gateway
            .metrics_until(|it| {
                let counted =
                    |reason: &&str| it.sum("pointsman_refused_bytes_total", &[("reason", reason)]);
                flood.counts.iter().map(counted).sum::<f64>() >= 2.0
            })
            .await;
    }
}

/// Nor does one take a core that allows no stream and floods, while it is waited for to allow one.
#[tokio::test]
async fn an_upstream_that_floods_before_it_allows_a_stream_is_let_go() {
    let ping = FLOODS.first().copied().expect("one");
    let told = Told::default();
    let shared = told.clone();
    let upstream = FrameUpstream::start(move |mut peer, _| {
        let told = shared.clone();
        async move {
            peer.accept(&[(setting::MAX_CONCURRENT_STREAMS, 0)]).await?;
            ping.run(peer, 0, &told).await
        }
    })
    .await;
    let (gateway, web, _) = web(upstream.addr()).await;
    let mut client = RawHttp::connect(web).await.expect("connects");
    let reply = within(SOON, client.get("web", "/")).await;
    assert_eq!(reply.map(|it| it.status).ok(), Some(503));
    eventually(SOON, async || told.load(SeqCst) == 1).await;
    let flood = [("reason", "ping_flood")];
    gateway
        .metrics_until(|it| it.sum("pointsman_refused_bytes_total", &flood) == 1.0)
        .await;
}

const PIECES: usize = 20_000;
const PIECE: usize = 500;

/// Sends a body in small pieces, each with a ping and windows; takes one, and for each piece that it gets
/// sends a ping, and windows for what it reads at a time.
async fn without_thrift(mut peer: FramePeer) -> Result<(), FrameError> {
    let ping = || Frame::ping([7; 8]);
    let windows = |stream, length| {
        [
            Frame::window_update(0, length),
            Frame::window_update(stream, length),
        ]
    };
    peer.accept(&[]).await?;
    let (mut initial, mut window, mut got) = (65_535, 0, 0);
    loop {
        match peer.event().await? {
            Event::Settings(values) => {
                let value = |it: &&(u16, u32)| it.0 == setting::INITIAL_WINDOW_SIZE;
                initial = values.iter().find(value).map_or(initial, |it| it.1);
            }
            Event::Headers { stream, end, .. } if end => {
                peer.send(&[head(stream)]).await?;
                window += initial as usize;
                let data = pattern(PIECES * PIECE);
                for pieces in data.chunks(10 * PIECE) {
                    while window < pieces.len() {
                        if let Event::Window {
                            stream: 1..,
                            increment,
                        } = peer.event().await?
                        {
                            window += increment as usize;
                        }
                    }
                    window -= pieces.len();
                    let frames = pieces.chunks(PIECE).flat_map(|piece| {
                        let [one, two] = windows(stream, 1);
                        [Frame::data(stream, piece), ping(), one, two]
                    });
                    let frames: Vec<_> = frames.collect();
                    peer.send(&frames).await?;
                }
                peer.send(&[Frame::data(stream, []).end_stream()]).await?;
            }
            Event::Data { stream, bytes, end } => {
                got += bytes.len();
                if end {
                    let told = got.to_string();
                    peer.answer(stream, 200, told.as_bytes()).await?;
                } else {
                    let read = bytes.chunks(1000).map(|it| it.len() as u32);
                    let mut frames: Vec<_> = read.flat_map(|it| windows(stream, it)).collect();
                    frames.push(ping());
                    peer.send(&frames).await?;
                }
            }
            _ => {}
        }
    }
}

/// Servers that measure the bandwidth with every frame, and give windows back for every frame, are no
/// flood.
#[tokio::test]
async fn upstreams_without_thrift_are_no_flood() {
    let upstream = FrameUpstream::start(|peer, _| without_thrift(peer)).await;
    let (gateway, web, _) = web(upstream.addr()).await;
    let mut client = RawHttp::connect(web).await.expect("connects");
    let reply = within(SOON * 2, client.get("web", "/")).await;
    let reply = reply.expect("all of it");
    assert_eq!((reply.status, reply.body.len()), (200, PIECES * PIECE));
    assert!(reply.body == pattern(PIECES * PIECE));
    let body = pattern(40 << 20);
    let sent = client.request("POST", "web", "/", &[], Some(&body));
    let reply = within(SOON * 2, sent).await.expect("an answer");
    assert_eq!((reply.status, reply.text()), (200, body.len().to_string()));
    assert_eq!(upstream.connections(), 1, "{:?}", upstream.errors());
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("pointsman_refused_bytes_total", &[]), 0.0);
}
