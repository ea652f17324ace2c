//! Upstreams that speak HTTP/2 badly: their clients are told 502 or 503, or see a visible cut, and
//! nobody waits for ever (RFC 9113 sections 8.1.1 and 10.5).
use crate::common::{Gateway, SOON, http2, is_alone, resident, settings, written};
use pointsman_testkit::{
    RawHttp, eventually,
    frames::{
        Block, Event, Fate, Frame, FrameClient, FrameError, FramePeer, FrameUpstream, code,
        encode_all, flag, kind, setting,
    },
    free_port, fresh_ip,
    message::MessageError,
    within,
};
use std::{
    collections::BTreeSet,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{io::AsyncWriteExt, net::TcpSocket, sync::Semaphore};

/// What the gateway's client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// This answer.
    Status(u16),
    /// 502 or 503.
    Failure,
    /// The beginning of an answer, which is visibly not whole: a reset in HTTP/2.
    Cut,
}
use Gets::{Cut, Failure, Status};

/// What the upstream says to a request for `/bad` on this stream, each time.
struct Case {
    name: &'static str,
    rfc: &'static str,
    gets: Gets,
    says: fn(u32) -> Vec<u8>,
}

fn head(stream: u32, fields: &[(&str, &str)]) -> Frame {
    Frame::headers(stream, Block::of(fields))
}

/// A head that is right, with a body to follow.
fn good(stream: u32) -> Frame {
    head(stream, &[(":status", "200")])
}

/// A request without a body.
fn get(stream: u32, path: &str) -> Frame {
    Frame::headers(stream, Block::request("GET", "web", path)).end_stream()
}

/// A client whose call of `/long` has begun, and is nobody's fault.
async fn innocent(web: SocketAddr) -> FrameClient {
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    client.send(&[get(1, "/long")]).await;
    assert!(client.until(|it| it.streams.contains_key(&1)).await);
    client
}

/// A head with another field, and nothing behind it.
fn with(stream: u32, name: &str, value: &str) -> Vec<u8> {
    head(stream, &[(":status", "200"), (name, value)])
        .end_stream()
        .encode()
}

fn some(frames: &[Frame]) -> Vec<u8> {
    encode_all(frames)
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    // Messages (RFC 9113 section 8).
    Case { name: "no :status", rfc: "8.3.2", gets: Failure, says: |id| head(id, &[("x-a", "b")]).end_stream().encode() },
    Case { name: ":status twice", rfc: "8.3", gets: Failure, says: |id| with(id, ":status", "200") },
    Case { name: ":status behind a field", rfc: "8.3", gets: Failure, says: |id| head(id, &[("x-a", "b"), (":status", "200")]).end_stream().encode() },
    Case { name: ":status of two digits", rfc: "8.3.2", gets: Failure, says: |id| head(id, &[(":status", "20")]).end_stream().encode() },
    Case { name: ":status of letters", rfc: "8.3.2", gets: Failure, says: |id| head(id, &[(":status", "abc")]).end_stream().encode() },
    Case { name: ":status with a line feed", rfc: "8.3.2", gets: Failure, says: |id| head(id, &[(":status", "200\r\nsmuggled: 1")]).end_stream().encode() },
    Case { name: "an unknown pseudo-field", rfc: "8.3", gets: Failure, says: |id| head(id, &[(":reason", "OK"), (":status", "200")]).end_stream().encode() },
    // The library leaves it out.
    Case { name: "a pseudo-field of requests", rfc: "8.3", gets: Status(200), says: |id| head(id, &[(":status", "200"), (":path", "/")]).end_stream().encode() },
    Case { name: "101", rfc: "8.6", gets: Failure, says: |id| head(id, &[(":status", "101")]).encode() },
    Case { name: "an interim answer that ends the stream", rfc: "8.1", gets: Failure, says: |id| head(id, &[(":status", "103")]).end_stream().encode() },
    // Some more, and the connection of what is asked next ends too: see `upstream_floods`.
    Case { name: "too many interim answers", rfc: "8.1", gets: Failure, says: |id| some(&vec![head(id, &[(":status", "103"), ("link", "</a>")]); 900]) },
    Case { name: "a name in upper case", rfc: "8.2.1", gets: Failure, says: |id| with(id, "X-A", "b") },
    Case { name: "a value with line feeds", rfc: "8.2.1", gets: Failure, says: |id| with(id, "x-a", "b\r\nsmuggled: 1") },
    Case { name: "a value with NUL", rfc: "8.2.1", gets: Failure, says: |id| with(id, "x-a", "b\0c") },
    Case { name: "a value that begins with a blank", rfc: "8.2.1", gets: Failure, says: |id| with(id, "x-a", " b") },
    Case { name: "Connection", rfc: "8.2.2", gets: Failure, says: |id| with(id, "connection", "close") },
    Case { name: "Transfer-Encoding", rfc: "8.2.2", gets: Failure, says: |id| with(id, "transfer-encoding", "chunked") },
    Case { name: "TE", rfc: "8.2.2", gets: Failure, says: |id| with(id, "te", "trailers") },
    Case { name: "no body where one was told", rfc: "8.1.1", gets: Failure, says: |id| with(id, "content-length", "5") },
    Case { name: "a length that is none", rfc: "8.1.1", gets: Failure, says: |id| with(id, "content-length", "+0") },
    Case { name: "two lengths", rfc: "8.1.1", gets: Failure, says: |id| head(id, &[(":status", "200"), ("content-length", "0"), ("content-length", "1")]).encode() },
    Case { name: "a body shorter than told", rfc: "8.1.1", gets: Cut, says: |id| some(&[head(id, &[(":status", "200"), ("content-length", "10")]), Frame::data(id, *b"short").end_stream()]) },
    Case { name: "a body longer than told", rfc: "8.1.1", gets: Cut, says: |id| some(&[head(id, &[(":status", "200"), ("content-length", "2")]), Frame::data(id, *b"longHTTP/1.1 200 OK").end_stream()]) },
    // What stands behind a head that is all is no part of the answer.
    Case { name: "a body behind 204", rfc: "RFC 9110 6.4.1", gets: Status(204), says: |id| some(&[head(id, &[(":status", "204")]), Frame::data(id, *b"HTTP/1.1 200 OK").end_stream()]) },
    Case { name: "a body behind 304", rfc: "RFC 9110 6.4.1", gets: Status(304), says: |id| some(&[head(id, &[(":status", "304")]), Frame::data(id, *b"HTTP/1.1 200 OK").end_stream()]) },
    Case { name: "trailers with line feeds", rfc: "8.2.1", gets: Cut, says: |id| some(&[good(id), Frame::data(id, *b"x"), head(id, &[("x-a", "b\r\nsmuggled: 1")]).end_stream()]) },
    Case { name: "trailers without an end", rfc: "8.1", gets: Cut, says: |id| some(&[good(id), Frame::data(id, *b"x"), head(id, &[("x-a", "b")])]) },
    Case { name: "two answers", rfc: "8.1", gets: Cut, says: |id| some(&[good(id), Frame::data(id, *b"x"), good(id)]) },
    Case { name: "101 fields", rfc: "10.5.1", gets: Failure, says: |id| Frame::headers(id, (0..101).fold(Block::status(200), |block, _| block.literal("x-a", "b"))).end_stream().encode() },
    Case { name: "fields of 100 KB", rfc: "10.5.1", gets: Failure, says: |id| long(id, 100_000) },
    Case { name: "fields of 10 MB", rfc: "10.5.1", gets: Failure, says: |id| long(id, 10_000_000) },
    Case { name: "a field that blows up", rfc: "10.5.1", gets: Failure, says: |id| {
        let block = Block::status(200).remembered("x-a", "a".repeat(4000));
        Frame::headers(id, (0..4000).fold(block, |block, _| block.indexed(62))).end_stream().encode()
    } },
    // Streams (section 5).
    Case { name: "RST_STREAM at once", rfc: "5.4.2", gets: Failure, says: |id| Frame::reset(id, code::INTERNAL_ERROR).encode() },
    Case { name: "RST_STREAM that blames nobody", rfc: "5.4.2", gets: Failure, says: |id| Frame::reset(id, code::NO_ERROR).encode() },
    Case { name: "a stream refused each time", rfc: "8.7", gets: Failure, says: |id| Frame::reset(id, code::REFUSED_STREAM).encode() },
    Case { name: "RST_STREAM behind the head", rfc: "8.1", gets: Cut, says: |id| some(&[good(id), Frame::reset(id, code::INTERNAL_ERROR)]) },
    Case { name: "RST_STREAM within the body", rfc: "8.1", gets: Cut, says: |id| some(&[good(id), Frame::data(id, *b"half"), Frame::reset(id, code::CANCEL)]) },
    Case { name: "RST_STREAM with PROTOCOL_ERROR within the body", rfc: "8.1", gets: Cut, says: |id| some(&[good(id), Frame::data(id, *b"half"), Frame::reset(id, code::PROTOCOL_ERROR)]) },
    Case { name: "RST_STREAM with FLOW_CONTROL_ERROR within the body", rfc: "8.1", gets: Cut, says: |id| some(&[good(id), Frame::data(id, *b"half"), Frame::reset(id, code::FLOW_CONTROL_ERROR)]) },
    Case { name: "RST_STREAM with STREAM_CLOSED within the body", rfc: "8.1", gets: Cut, says: |id| some(&[good(id), Frame::data(id, *b"half"), Frame::reset(id, code::STREAM_CLOSED)]) },
    Case { name: "RST_STREAM with FRAME_SIZE_ERROR within the body", rfc: "8.1", gets: Cut, says: |id| some(&[good(id), Frame::data(id, *b"half"), Frame::reset(id, code::FRAME_SIZE_ERROR)]) },
    Case { name: "RST_STREAM that blames nobody within the body", rfc: "8.1", gets: Cut, says: |id| some(&[good(id), Frame::data(id, *b"half"), Frame::reset(id, code::NO_ERROR)]) },
    Case { name: "RST_STREAM behind a whole answer", rfc: "8.1", gets: Status(200), says: |id| some(&[good(id), Frame::data(id, *b"whole").end_stream(), Frame::reset(id, code::NO_ERROR)]) },
    Case { name: "DATA first", rfc: "8.1", gets: Failure, says: |id| Frame::data(id, *b"x").end_stream().encode() },
    Case { name: "an answer to nothing", rfc: "5.1", gets: Failure, says: |id| some(&[good(id + 100).end_stream()]) },
    Case { name: "an answer to an even stream", rfc: "5.1.1", gets: Failure, says: |_| some(&[good(2).end_stream()]) },
    Case { name: "PUSH_PROMISE", rfc: "8.4", gets: Failure, says: |id| some(&[Frame::push_promise(id, 2, &Block::request("GET", "web", "/").bytes()), good(2).end_stream()]) },
    // The connection (sections 6 and 7).
    Case { name: "GOAWAY each time", rfc: "6.8", gets: Failure, says: |_| Frame::goaway(0, code::NO_ERROR, b"").encode() },
    // The stream may still be answered, and is not.
    Case { name: "GOAWAY with an error", rfc: "6.8", gets: Status(504), says: |id| Frame::goaway(id, code::PROTOCOL_ERROR, b"why").encode() },
    Case { name: "GOAWAY with an error within the body", rfc: "6.8", gets: Cut, says: |id| some(&[good(id), Frame::data(id, *b"half"), Frame::goaway(id, code::INTERNAL_ERROR, b"")]) },
    Case { name: "a frame of 16 MiB", rfc: "4.2", gets: Failure, says: |id| [&good(id).encode()[..0], &Frame::data(id, []).encode_as((1 << 24) - 1)].concat() },
    Case { name: "SETTINGS of 5 bytes", rfc: "6.5", gets: Failure, says: |_| Frame::new(kind::SETTINGS, 0, 0, [0; 5]).encode() },
    Case { name: "PING of a stream", rfc: "6.7", gets: Failure, says: |_| Frame::new(kind::PING, 0, 1, [0; 8]).encode() },
    Case { name: "a window of the connection that is too large", rfc: "6.9.1", gets: Failure, says: |_| Frame::window_update(0, (1 << 31) - 1).encode() },
    // The library resets the stream, and tells nobody.
    Case { name: "a window of a stream that is too large", rfc: "6.9.1", gets: Status(504), says: |id| Frame::window_update(id, (1 << 31) - 1).encode() },
    Case { name: "index 0", rfc: "RFC 7541 6.1", gets: Failure, says: |id| Frame::headers(id, Block::status(200).indexed(0)).end_stream().encode() },
    Case { name: "CONTINUATION without end", rfc: "10.5", gets: Failure, says: |id| {
        let begun = good(id).without(flag::END_HEADERS);
        let more = Frame::continuation(id, []).without(flag::END_HEADERS);
        some(&[vec![begun], vec![more; 10_000]].concat())
    } },
    Case { name: "HTTP/1", rfc: "3.4", gets: Failure, says: |_| b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec() },
];

/// A head with fields of this many bytes, in frames of 16 KB.
fn long(stream: u32, bytes: usize) -> Vec<u8> {
    let fields = (0..bytes / 1000).fold(Block::status(200), |block, _| {
        block.literal("x-a", "y".repeat(996))
    });
    let pieces = fields.bytes();
    let pieces: Vec<_> = pieces.chunks(16_000).collect();
    let frames = pieces.iter().enumerate().map(|(at, piece)| {
        let frame = match at {
            0 => Frame::headers(stream, *piece),
            _ => Frame::continuation(stream, *piece),
        };
        match at + 1 == pieces.len() {
            true => frame,
            false => frame.without(flag::END_HEADERS),
        }
    });
    some(&frames.collect::<Vec<_>>())
}

/// Answers `/bad` as the case says, and everything else rightly. What cuts an answer off comes once
/// its client has the `begun` of it: in one burst with the head it would be answered 502 to HTTP/1.
async fn answer(mut peer: FramePeer, case: &Case, begun: &Semaphore) -> Result<(), FrameError> {
    peer.accept(&[]).await?;
    loop {
        let asked = peer.request().await?;
        if asked.field(":path") != Some("/bad") {
            peer.answer(asked.stream, 200, b"fine").await?;
            continue;
        }
        let mut says = (case.says)(asked.stream);
        if case.gets == Cut {
            let length = u32::from_be_bytes([0, says[0], says[1], says[2]]) as usize;
            let rest = says.split_off(9 + length);
            peer.send_raw(&says).await?;
            begun.acquire().await.expect("open").forget();
            says = rest;
        }
        peer.send_raw(&says).await?;
    }
}

/// A gateway in front of an upstream that is declared to speak HTTP/2.
async fn web(upstream: SocketAddr) -> (Gateway, SocketAddr) {
    let mut settings = settings();
    settings.timeouts.response = written("3s");
    settings.timeouts.connect = written("2s");
    let (vip, port) = (fresh_ip(), free_port());
    let text = http2("web", vip, port, upstream);
    let gateway = Gateway::serve_with(settings, &text).await;
    (gateway, (vip, port).into())
}

/// What an HTTP/1 client gets, and what an HTTP/2 client gets, of `/bad`. `begun` is told of the
/// first of each answer.
async fn both(web: SocketAddr, begun: &Semaphore) -> [Result<Gets, String>; 2] {
    let mut one = RawHttp::connect(web).await.expect("connects");
    one.send("GET /bad HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .expect("sends");
    // An end is the first of it too.
    let _ = one.stream().peek(&mut [0]).await;
    begun.add_permits(1);
    let first = match one.read_response().await {
        Ok(reply) if matches!(reply.status, 502 | 503) => Ok(Failure),
        Ok(reply) => Ok(Status(reply.status)),
        Err(MessageError::TimedOut) => Err("nothing in time".to_owned()),
        Err(MessageError::Truncated { .. } | MessageError::Io(_)) => Ok(Cut),
        Err(error) => Err(error.to_string()),
    };
    begun.forget_permits(1); // where nobody has waited for it
    let mut two = FrameClient::begin(web).await.expect("HTTP/2");
    let asked = Frame::headers(1, Block::request("GET", "web", "/bad"));
    two.send(&[asked.end_stream()]).await;
    two.until(|heard| heard.fate(1).is_some() || heard.streams.contains_key(&1))
        .await;
    begun.add_permits(1);
    let second = match two.fate(1).await {
        Fate::Status(502 | 503) => Ok(Failure),
        Fate::Status(status) => Ok(Status(status)),
        // What these codes mean is not so.
        Fate::Reset(code::NO_ERROR | code::CANCEL | code::REFUSED_STREAM) => {
            Err(format!("{:?} looks harmless", two.heard))
        }
        Fate::Reset(
            code::PROTOCOL_ERROR
            | code::FLOW_CONTROL_ERROR
            | code::STREAM_CLOSED
            | code::FRAME_SIZE_ERROR,
        ) => Err(format!("{:?} blames the client", two.heard)),
        Fate::Reset(_) if two.answer(1).status == Some(200) => Ok(Cut),
        other => Err(format!("{other:?}; {:?}", two.heard)),
    };
    // Whatever an upstream does, its client's own connection goes on.
    let after = two.ask(3, Block::request("GET", "web", "/after")).await;
    match after {
        Fate::Status(200) => [first, second],
        other => [first, Err(format!("then {other:?}; {:?}", two.heard))],
    }
}

/// VS-H-134 for HTTP/2.
#[tokio::test]
async fn bad_answers_are_502_or_503_or_a_visible_cut() {
    if !is_alone("upstreams::bad_answers_are_502_or_503_or_a_visible_cut") {
        return;
    }
    let mut wrong = Vec::new();
    let before = resident();
    for case in CASES {
        let begun = Arc::new(Semaphore::new(0));
        let told = begun.clone();
        let upstream = FrameUpstream::start(move |peer, _| {
            let told = told.clone();
            async move { answer(peer, case, &told).await }
        })
        .await;
        let (_gateway, web) = web(upstream.addr()).await;
        let got = within(SOON * 2, both(web, &begun)).await;
        for (client, got) in ["HTTP/1", "HTTP/2"].into_iter().zip(got) {
            if got != Ok(case.gets) {
                wrong.push(format!(
                    "{} ({}), {client}: {got:?}, not {:?}",
                    case.name, case.rfc, case.gets
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let grown = resident().saturating_sub(before);
    assert!(grown < 96 << 20, "{grown} bytes of memory");
}

type Script = fn(FramePeer) -> Pin<Box<dyn Future<Output = Result<(), FrameError>> + Send>>;

/// Upstreams with which nothing comes about: 502, 503 or 504, soon.
const SILENT: &[(&str, Script)] = &[
    ("closes at once", |peer| {
        Box::pin(async {
            drop(peer);
            Ok(())
        })
    }),
    ("resets at once", |peer| {
        Box::pin(async {
            peer.reset();
            Ok(())
        })
    }),
    ("says nothing", |mut peer| {
        Box::pin(async move { peer.drain().await })
    }),
    ("never answers", |mut peer| {
        Box::pin(async move {
            peer.accept(&[]).await?;
            peer.drain().await
        })
    }),
    ("allows no streams", |mut peer| {
        Box::pin(async move {
            peer.accept(&[(setting::MAX_CONCURRENT_STREAMS, 0)]).await?;
            peer.drain().await
        })
    }),
    ("closes behind its SETTINGS", |mut peer| {
        Box::pin(async move { peer.accept(&[]).await })
    }),
    ("closes behind the request", |mut peer| {
        Box::pin(async move {
            peer.accept(&[]).await?;
            peer.request().await.map(drop)
        })
    }),
    ("speaks first, and HTTP/1", |mut peer| {
        Box::pin(async move {
            peer.send_raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                .await?;
            peer.drain().await
        })
    }),
    ("says goodbye at once", |mut peer| {
        Box::pin(async move {
            peer.accept(&[]).await?;
            peer.send(&[Frame::goaway(0, code::NO_ERROR, b"")]).await?;
            peer.drain().await
        })
    }),
    ("pings and takes nothing", |mut peer| {
        Box::pin(async move {
            peer.accept(&[]).await?;
            let pings = some(&vec![Frame::ping([7; 8]); 1000]);
            while peer.send_raw(&pings).await.is_ok() {}
            Ok(())
        })
    }),
    ("sends SETTINGS without end", |mut peer| {
        Box::pin(async move {
            peer.accept(&[]).await?;
            let settings = some(&vec![Frame::settings(&[]); 1000]);
            while peer.send_raw(&settings).await.is_ok() {}
            Ok(())
        })
    }),
    ("gives no window", |mut peer| {
        Box::pin(async move {
            peer.accept(&[(setting::INITIAL_WINDOW_SIZE, 0)]).await?;
            peer.drain().await
        })
    }),
];

#[tokio::test]
async fn upstreams_that_never_answer_keep_nobody_waiting() {
    let mut wrong = Vec::new();
    for (name, script) in SILENT {
        let script = *script;
        let upstream = FrameUpstream::start(move |peer, _| script(peer)).await;
        let (_gateway, web) = web(upstream.addr()).await;
        let mut one = RawHttp::connect(web).await.expect("connects");
        let reply = one.request("POST", "web", "/", &[], Some(b"body")).await;
        match reply {
            Ok(reply) if matches!(reply.status, 502..=504) => {}
            other => wrong.push(format!("{name}, HTTP/1: {other:?}")),
        }
        let mut two = FrameClient::begin(web).await.expect("HTTP/2");
        let ask = Frame::headers(1, Block::request("POST", "web", "/"));
        two.send(&[ask, Frame::data(1, *b"body").end_stream()])
            .await;
        match two.fate(1).await {
            Fate::Status(502..=504) => {}
            other => wrong.push(format!("{name}, HTTP/2: {other:?}; {:?}", two.heard)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// RFC 9113 section 6.8: what an upstream that leaves has not looked at is asked again elsewhere, and
/// what it has looked at it may finish.
#[tokio::test]
async fn goodbyes_of_an_upstream_lose_nothing() {
    let upstream = FrameUpstream::start(|mut peer, number| async move {
        peer.accept(&[]).await?;
        if number > 0 {
            return peer.answer_all(200, b"second").await;
        }
        let first = peer.request().await?;
        let second = peer.request().await?;
        peer.send(&[Frame::goaway(first.stream, code::NO_ERROR, b"")])
            .await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(second.stream > first.stream);
        peer.answer(first.stream, 200, b"first").await?;
        peer.drain().await
    })
    .await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http2("web", vip, port, upstream.addr());
    let mut settings = settings();
    settings.process.shards = 1;
    let _gateway = Gateway::serve_with(settings, &text).await;
    let mut client = FrameClient::begin((vip, port).into())
        .await
        .expect("HTTP/2");
    let get = |stream| Frame::headers(stream, Block::request("GET", "web", "/")).end_stream();
    client.send(&[get(1), get(3)]).await;
    for stream in [1, 3] {
        assert_eq!(
            client.fate(stream).await,
            Fate::Status(200),
            "{:?}",
            client.heard
        );
    }
    let mut texts = [client.answer(1).text(), client.answer(3).text()];
    texts.sort();
    assert_eq!(texts, ["first", "second"]);
    assert_eq!(upstream.asked().len(), 3);
}

/// A connection to an upstream is shared: calls that are given up, each of which leaves some small messages under
/// way, end no others, however many they are in its life.
#[tokio::test]
async fn late_messages_of_calls_that_were_given_up_end_no_others() {
    let upstream = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        let mut innocent = 0;
        loop {
            match peer.event().await? {
                Event::Headers { stream, fields, .. } => {
                    let path = fields.iter().find(|(name, _)| name == ":path");
                    match path.map(|(_, path)| path.as_str()) {
                        Some("/long") => innocent = stream,
                        Some("/end") => {
                            let end = Frame::data(innocent, *b"whole").end_stream();
                            peer.send(&[end]).await?;
                            peer.answer(stream, 200, b"ended").await?;
                            continue;
                        }
                        _ => {}
                    }
                    peer.send(&[good(stream)]).await?;
                }
                Event::Reset { stream, .. } => {
                    peer.send(&vec![Frame::data(stream, *b"x"); 100]).await?;
                }
                _ => {}
            }
        }
    })
    .await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http2("web", vip, port, upstream.addr());
    let mut settings = settings();
    settings.process.shards = 1;
    settings.http2.small_frames_bytes = 64 * 1024;
    let _gateway = Gateway::serve_with(settings, &text).await;
    let web = (vip, port).into();
    let mut innocent = innocent(web).await;
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    for stream in (1..40).step_by(2) {
        client.send(&[get(stream, "/call")]).await;
        let begun = client.until(|it| it.streams.contains_key(&stream)).await;
        assert!(begun, "{:?}", client.heard);
        client.send(&[Frame::reset(stream, code::CANCEL)]).await;
    }
    let told = client.ask(101, Block::request("GET", "web", "/end")).await;
    assert_eq!(told, Fate::Status(200), "{:?}", client.heard);
    let told = innocent.fate(1).await;
    assert_eq!(told, Fate::Status(200), "{:?}", innocent.heard);
    assert_eq!(upstream.connections(), 1);
}

/// A client of HTTP/1 that does not read keeps the head of its answer waiting: the small messages behind that do not
/// pile up, and end nobody else's calls.
#[tokio::test]
async fn a_head_that_waits_for_its_client_ends_no_others() {
    let sent = Arc::new(AtomicU32::new(0));
    let messages = sent.clone();
    let upstream = FrameUpstream::start(move |mut peer, _| {
        let messages = messages.clone();
        async move {
            peer.accept(&[]).await?;
            let (mut innocent, mut events, mut bursts) = (0, 0, 0);
            loop {
                match peer.event().await? {
                    Event::Headers { stream, fields, .. } => {
                        let path = fields.iter().find(|(name, _)| name == ":path");
                        match path.map(|(_, path)| path.as_str()) {
                            Some("/long") => {
                                innocent = stream;
                                peer.send(&[good(stream)]).await?;
                            }
                            Some("/end") => {
                                let end = Frame::data(innocent, *b"whole").end_stream();
                                peer.send(&[end]).await?;
                                peer.answer(stream, 200, b"ended").await?;
                            }
                            _ => {
                                (events, bursts) = (stream, 0);
                                let long = (0..14).fold(Block::status(200), |block, _| {
                                    block.literal("x-pad", "y".repeat(1000))
                                });
                                let head = Frame::headers(stream, long);
                                peer.send(&[head, Frame::ping([7; 8])]).await?;
                            }
                        }
                    }
                    // What came before has been taken.
                    Event::Pong(_) if bursts < 6 => {
                        bursts += 1;
                        let burst = vec![Frame::data(events, *b"x"); 300];
                        peer.send(&burst).await?;
                        peer.send(&[Frame::ping([7; 8])]).await?;
                    }
                    Event::Pong(_) => {
                        let end = Frame::data(events, *b"x").end_stream();
                        peer.send(&[end]).await?;
                        messages.fetch_add(1, SeqCst);
                    }
                    _ => {}
                }
            }
        }
    })
    .await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http2("web", vip, port, upstream.addr());
    let mut settings = settings();
    settings.process.shards = 1;
    settings.http2.small_frames_bytes = 256 * 1024;
    let _gateway = Gateway::serve_with(settings, &text).await;
    let web: SocketAddr = (vip, port).into();
    let mut innocent = innocent(web).await;
    let deaf = TcpSocket::new_v4().expect("a socket");
    deaf.set_recv_buffer_size(4096).expect("a small buffer");
    let mut deaf = deaf.connect(web).await.expect("connects");
    for asked in 1.. {
        deaf.write_all(b"GET /events HTTP/1.1\r\nHost: web\r\n\r\n")
            .await
            .expect("sends");
        let answered = async {
            while sent.load(SeqCst) < asked {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // Then the answer before it is not taken.
        let answered = tokio::time::timeout(Duration::from_secs(1), answered);
        if answered.await.is_err() {
            break;
        }
    }
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    let told = client.ask(1, Block::request("GET", "web", "/end")).await;
    assert_eq!(told, Fate::Status(200), "{:?}", client.heard);
    let told = innocent.fate(1).await;
    assert_eq!(told, Fate::Status(200), "{:?}", innocent.heard);
    assert_eq!(innocent.answer(1).text(), "whole");
    assert_eq!(upstream.connections(), 1);
}

/// SETTINGS_MAX_CONCURRENT_STREAMS of the upstream holds (section 5.1.2): more connections are made.
#[tokio::test]
async fn an_upstream_never_gets_more_streams_than_it_allows() {
    let upstream = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[(setting::MAX_CONCURRENT_STREAMS, 2)]).await?;
        let mut open = Vec::new();
        loop {
            open.push(peer.request().await?.stream);
            if let [first, second] = open[..] {
                // A third would have come with them.
                tokio::time::sleep(Duration::from_millis(100)).await;
                peer.answer(first, 200, b"").await?;
                peer.answer(second, 200, b"").await?;
                open.clear();
            }
        }
    })
    .await;
    let (_gateway, web) = web(upstream.addr()).await;
    let mut client = FrameClient::begin(web).await.expect("HTTP/2");
    let get = |stream| Frame::headers(stream, Block::request("GET", "web", "/")).end_stream();
    let streams = || (0..20).map(|turn| 1 + 2 * turn);
    client.send(&streams().map(get).collect::<Vec<_>>()).await;
    for stream in streams() {
        assert_eq!(
            client.fate(stream).await,
            Fate::Status(200),
            "{stream}: {:?}",
            upstream.errors()
        );
    }
    assert_eq!(upstream.asked().len(), 20);
}

/// RFC 9113 section 8.1: an endpoint may answer before it has got all of a request, and close. What it has
/// said stands before the end.
#[tokio::test]
async fn an_early_answer_outlives_its_connection() {
    let upstream = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        let asked = peer.request().await?;
        let stream = asked.stream;
        let head = Frame::headers(stream, Block::status(413));
        let body = |bytes: &[u8]| Frame::data(stream, bytes);
        match asked.field(":path") {
            Some("/head") => peer.send(&[head.end_stream()]).await?,
            Some("/goaway") => {
                let goaway = Frame::goaway(stream, code::NO_ERROR, b"");
                peer.send(&[head, body(b"no").end_stream(), goaway]).await?;
            }
            _ => {
                let (some, rest) = (body(&[b'x'; 9000]), body(&[b'x'; 9000]).end_stream());
                peer.send(&[head, some, rest]).await?;
            }
        }
        peer.half_close().await?;
        peer.drain().await
    })
    .await;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http2("web", vip, port, upstream.addr());
    let _gateway = Gateway::serve(&text).await;
    let at = SocketAddr::from((vip, port));
    for (path, length) in [("/head", 0), ("/goaway", 2), ("/body", 18_000)].repeat(3) {
        let mut client = FrameClient::begin(at).await.expect("HTTP/2");
        let head = Frame::headers(1, Block::request("POST", "web", path));
        client.send(&[head, Frame::data(1, *b"some")]).await;
        assert_eq!(client.fate(1).await, Fate::Status(413), "{path}");
        assert_eq!(client.answer(1).body.len(), length, "{path}");
        let mut client = RawHttp::connect(at).await.expect("connects");
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: web\r\nContent-Length: 100000\r\n\r\nsome");
        client.send(&head).await.expect("sent");
        let told = within(SOON, client.read_response()).await.expect(path);
        assert_eq!((told.status, told.body.len()), (413, length), "{path}");
    }
}

/// RFC 9113 section 5.1: answers that cross our resets are no fault of the endpoint, however many there
/// are and even if their streams are forgotten: others are served on the same connection.
#[tokio::test]
async fn answers_that_cross_resets_cut_nobody() {
    const BURSTS: u32 = 12;
    const STREAMS: u32 = 99;
    // Streams that were asked for, and that were reset once more for the answer that crossed the reset.
    let seen = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
    let counts = seen.clone();
    let upstream = FrameUpstream::start(move |mut peer, _| {
        let counts = counts.clone();
        async move {
            peer.accept(&[]).await?;
            let mut crossed = BTreeSet::new();
            loop {
                match peer.event().await? {
                    Event::Headers { stream, .. } => {
                        let asked = counts.0.fetch_add(1, SeqCst);
                        if asked == 0 {
                            peer.send(&[good(stream)]).await?;
                        }
                    }
                    Event::Reset { stream, .. } if crossed.insert(stream) => {
                        peer.send(&[good(stream).end_stream()]).await?;
                    }
                    Event::Reset { .. } => {
                        let again = 1 + counts.1.fetch_add(1, SeqCst);
                        if again == BURSTS * STREAMS {
                            let end = Frame::data(1, *b"still here").end_stream();
                            peer.send(&[end]).await?;
                        }
                    }
                    _ => {}
                }
            }
        }
    })
    .await;
    let mut settings = settings();
    settings.process.shards = 1;
    settings.http2.remembered_resets = 0;
    let (vip, port) = (fresh_ip(), free_port());
    let text = http2("web", vip, port, upstream.addr());
    let _gateway = Gateway::serve_with(settings, &text).await;
    let at = SocketAddr::from((vip, port));
    let get = |stream| {
        let block = Block::request("GET", "web", "/");
        Frame::headers(stream, block).end_stream()
    };
    let mut client = FrameClient::begin(at).await.expect("HTTP/2");
    client.send(&[get(1)]).await;
    let head = client.until(|it| it.streams.get(&1).is_some_and(|it| it.status.is_some()));
    assert!(head.await, "{:?}", client.heard);
    for burst in 1..=BURSTS {
        let mut others = FrameClient::begin(at).await.expect("HTTP/2");
        let all: Vec<_> = (0..STREAMS).map(|it| get(1 + 2 * it)).collect();
        others.send(&all).await;
        let asked = async || seen.0.load(SeqCst) == 1 + burst * STREAMS;
        eventually(SOON, asked).await;
        drop(others);
        let reset = async || seen.1.load(SeqCst) == burst * STREAMS;
        eventually(SOON, reset).await;
    }
    assert_eq!(
        client.fate(1).await,
        Fate::Status(200),
        "{:?}",
        client.heard
    );
    assert_eq!(client.answer(1).text(), "still here");
    assert_eq!(upstream.connections(), 1);
}

/// What an endpoint has said before it cuts its answer reaches its client, as the log has it: messages of
/// gRPC are whole each by itself.
#[tokio::test]
async fn messages_before_a_reset_arrive() {
    const MESSAGES: usize = 20;
    let upstream = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        loop {
            let stream = peer.request().await?.stream;
            let messages = vec![Frame::data(stream, *b"\0\0\0\0\x03abc"); MESSAGES];
            let reset = Frame::reset(stream, code::ENHANCE_YOUR_CALM);
            let all = [&[good(stream)], &messages[..], &[reset]].concat();
            peer.send(&all).await?;
        }
    })
    .await;
    let (_gateway, web) = web(upstream.addr()).await;
    for _ in 0..10 {
        let mut client = FrameClient::begin(web).await.expect("HTTP/2");
        let fate = client.ask(1, Block::request("GET", "web", "/")).await;
        assert_eq!(fate, Fate::Reset(code::ENHANCE_YOUR_CALM));
        let answer = client.answer(1);
        let got = (answer.status, answer.body.len());
        assert_eq!(got, (Some(200), 8 * MESSAGES));
    }
}

/// The same for an early answer whose client takes its time: all of it is here when its endpoint closes.
#[tokio::test]
async fn an_early_answer_waits_for_its_reader() {
    const LENGTH: usize = 40_000;
    let upstream = FrameUpstream::start(|mut peer, _| async move {
        peer.accept(&[]).await?;
        let asked = peer.request().await?;
        let stream = asked.stream;
        let mut block = Block::status(413);
        if asked.field(":path") == Some("/told") {
            block = block.literal("content-length", LENGTH.to_string());
        }
        let mut frames = vec![Frame::headers(stream, block)];
        frames.extend(vec![Frame::data(stream, [b'x'; LENGTH / 4]); 3]);
        frames.push(Frame::data(stream, [b'x'; LENGTH / 4]).end_stream());
        frames.push(Frame::goaway(stream, code::NO_ERROR, b""));
        peer.send(&frames).await?;
        peer.half_close().await?;
        peer.drain().await
    })
    .await;
    let (_gateway, web) = web(upstream.addr()).await;
    for path in ["/told", "/untold"].repeat(3) {
        let window = [(setting::INITIAL_WINDOW_SIZE, 2000)];
        let mut client = FrameClient::begin_with(web, &window).await.expect("HTTP/2");
        let head = Frame::headers(1, Block::request("POST", "web", path));
        client.send(&[head, Frame::data(1, *b"some")]).await;
        let mut got = 0;
        while client.heard.fate(1).is_none() {
            let more = got + 1;
            let read = client.until(|heard| {
                let answer = heard.streams.get(&1);
                heard.fate(1).is_some() || answer.is_some_and(|it| it.body.len() >= more)
            });
            assert!(read.await, "{path}: nothing behind {got} bytes");
            let taken = client.answer(1).body.len() - got;
            got += taken;
            // A reader that takes its time.
            tokio::time::sleep(Duration::from_millis(20)).await;
            client.send(&[Frame::window_update(1, taken as u32)]).await;
        }
        assert_eq!(client.fate(1).await, Fate::Status(413), "{path}: {got}");
        assert_eq!(client.answer(1).body.len(), LENGTH, "{path}");
    }
}
