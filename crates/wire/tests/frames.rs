//! Floods of HTTP/2 frames are seen, ordinary clients are not.

use pointsman_wire::http2::{Flood, FloodLimits, FrameWatch};
use proptest::prelude::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const END_STREAM: u8 = 1;
const PADDED: u8 = 8;
const ACK: u8 = 1;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, length: usize) -> Vec<u8> {
    let size = u32::try_from(length).unwrap().to_be_bytes();
    let mut bytes = vec![size[1], size[2], size[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.resize(9 + length, 0xaa); // no payload looks like a header
    bytes
}

fn watch() -> FrameWatch {
    let mut watch = FrameWatch::new(&FloodLimits::default());
    assert_eq!(watch.see(PREFACE), None);
    watch
}

/// How many of `frame` pass.
fn passing(watch: &mut FrameWatch, frame: &[u8]) -> (usize, Flood) {
    for count in 0..100_000 {
        if let Some(flood) = watch.see(frame) {
            return (count, flood);
        }
    }
    panic!("endless");
}

#[test]
fn each_kind_has_a_budget_of_its_own() {
    let mut watch = watch();
    for (bytes, count, flood) in [
        (frame(PING, 0, 0, 8), 100, Flood::Ping),
        (frame(SETTINGS, 0, 0, 6), 32, Flood::Settings),
        (frame(PRIORITY, 0, 1, 5), 128, Flood::Priority),
        (frame(WINDOW_UPDATE, 0, 0, 4), 32_768, Flood::WindowUpdate),
        (frame(RST_STREAM, 0, 1, 4), 200, Flood::Reset),
        (frame(DATA, 0, 1, 0), 100, Flood::EmptyData),
        (frame(CONTINUATION, 0, 1, 0), 64, Flood::Continuation),
        (frame(0xfa, 0, 1, 3), 100, Flood::Other),
    ] {
        assert_eq!(passing(&mut watch, &bytes), (count, flood));
        assert_eq!(watch.see(&bytes), Some(flood), "and again");
    }
}

/// What `h2` reads of these bytes, cut anywhere: nothing is changed but DATA of streams that were left.
#[test]
fn data_of_streams_that_were_left_ends_them() {
    let mut padded = frame(DATA, PADDED, 3, 20);
    padded[9] = 4;
    let frames = [
        PREFACE.to_vec(),
        frame(DATA, 0, 1, 5),
        frame(DATA, 0, 3, 300),
        padded,
        frame(DATA, 0, 3, 0),
        frame(HEADERS, 4, 3, 7),
        frame(DATA, 0, 2051, 5),
    ];
    let mut flags: Vec<usize> = Vec::new();
    let mut at = 0;
    for bytes in &frames {
        if bytes[3] == DATA && bytes[5..9] == [0, 0, 0, 3] {
            flags.push(at + 4);
        }
        at += bytes.len();
    }
    let sent = frames.concat();
    for cut in 0..sent.len() {
        let mut watch = FrameWatch::new(&FloodLimits::default());
        watch.leave(3);
        let mut read = sent.clone();
        let (first, rest) = read.split_at_mut(cut);
        assert_eq!(watch.see_for_h2(first), None);
        assert_eq!(watch.see_for_h2(rest), None);
        let mut expected = sent.clone();
        for &at in &flags {
            // The header was cut behind its flags, or the length of padding was behind the cut.
            let header = at + 5 + usize::from(sent[at] & PADDED != 0);
            let gone = at < cut && cut < header;
            expected[at] |= if gone { 0 } else { END_STREAM };
        }
        assert_eq!(read, expected, "cut at {cut}");
    }
    // One that has its slot since.
    let mut watch = FrameWatch::of_endpoint(&FloodLimits::of_endpoint());
    watch.leave(3);
    watch.leave(2051);
    let mut read = sent[PREFACE.len()..].to_vec();
    watch.see_for_h2(&mut read);
    let changed: Vec<_> = (0..read.len())
        .filter(|at| read[*at] != sent[PREFACE.len() + at])
        .collect();
    assert_eq!(changed, [read.len() - 10]);
}

#[test]
fn padding_alone_is_no_data() {
    let padded = |length: usize, padding: u8| {
        let mut bytes = frame(DATA, PADDED, 1, length);
        bytes[9] = padding;
        bytes
    };
    for length in [1, 2, 100, 256] {
        let nothing = padded(length, u8::try_from(length - 1).unwrap());
        assert_eq!(passing(&mut watch(), &nothing), (100, Flood::EmptyData));
    }
    // More padding than there is room for is no data either; one byte of data is.
    assert_eq!(passing(&mut watch(), &padded(3, 200)).1, Flood::EmptyData);
    let mut some = watch();
    for _ in 0..10_000 {
        assert_eq!(some.see(&padded(100, 98)), None);
        assert_eq!(some.see(&padded(100, 99)), None);
    }
    // The end of a stream may be empty; there is one for each.
    let end = frame(DATA, END_STREAM, 1, 0);
    let mut watch = watch();
    assert!((0..10_000).all(|_| watch.see(&end).is_none()));
}

/// Over a connection with an endpoint, on which this many streams were opened.
fn endpoint(streams: u32) -> FrameWatch {
    let mut watch = FrameWatch::of_endpoint(&FloodLimits::of_endpoint());
    assert_eq!(watch.sent(PREFACE), None);
    for stream in 0..streams {
        watch.open_at_once(stream + 1);
        watch.sent(&frame(HEADERS, END_STREAM, 1 + 2 * stream, 20));
    }
    watch
}

#[test]
fn endpoints_have_budgets_of_their_own() {
    let mut watch = endpoint(0);
    for (bytes, count, flood) in [
        (frame(PING, 0, 0, 8), 1000, Flood::Ping),
        (frame(SETTINGS, 0, 0, 6), 100, Flood::Settings),
        (frame(PRIORITY, 0, 1, 5), 1000, Flood::Priority),
        (frame(WINDOW_UPDATE, 0, 0, 4), 32_768, Flood::WindowUpdate),
        (frame(RST_STREAM, 0, 1, 4), 1000, Flood::Reset),
        (frame(DATA, 0, 1, 0), 100, Flood::EmptyData),
        (frame(CONTINUATION, 0, 1, 0), 1000, Flood::Continuation),
        (frame(HEADERS, 0, 1, 20), 1000, Flood::Other),
        (frame(HEADERS, END_STREAM, 3, 20), 0, Flood::Other),
    ] {
        assert_eq!(passing(&mut watch, &bytes), (count, flood));
    }
    // A stream may have interim heads, a final one and trailers.
    let mut watch = endpoint(1);
    let head = frame(HEADERS, 0, 1, 20);
    assert_eq!(passing(&mut watch, &head), (1040, Flood::Other));
}

/// What is open at once may be answered at once, without anything else that gives back.
#[test]
fn as_many_streams_as_are_open_may_end() {
    const STREAMS: u32 = 20_000;
    let mut watch = endpoint(STREAMS);
    for stream in (1..2 * STREAMS).step_by(2) {
        let bytes = [
            frame(HEADERS, 0, stream, 20),
            frame(CONTINUATION, 4, stream, 20),
            frame(HEADERS, END_STREAM, stream, 20),
            frame(RST_STREAM, 0, stream, 4),
        ];
        assert_eq!(watch.see(&bytes.concat()), None, "{stream}");
    }
}

#[test]
fn ordinary_endpoints_are_left_alone() {
    let mut watch = endpoint(100);
    let bytes = |frames: &[Vec<u8>]| frames.concat();
    // Servers that measure the bandwidth for each frame, and give windows back for each: of what they
    // get, and of what they send.
    let updates = bytes(&[
        frame(WINDOW_UPDATE, 0, 0, 4),
        frame(WINDOW_UPDATE, 0, 1, 4),
        frame(PING, 0, 0, 8),
    ]);
    let data = frame(DATA, 0, 1, 10);
    for _ in 0..100_000 {
        watch.sent(&data);
        assert_eq!(watch.see(&updates), None);
    }
    for _ in 0..100_000 {
        assert_eq!(watch.see(&data), None);
        assert_eq!(watch.see(&updates), None);
    }
    // Calls without a message, one after the other, a few with interim heads.
    for stream in (201..200_000).step_by(2) {
        watch.sent(&frame(HEADERS, END_STREAM, stream, 20));
        let bytes = bytes(&[
            frame(HEADERS, 0, stream, 5),
            frame(HEADERS, 0, stream, 20),
            frame(HEADERS, END_STREAM, stream, 20),
        ]);
        assert_eq!(watch.see(&bytes), None, "{stream}");
    }
    // What this side asks for is answered, however often.
    for _ in 0..100_000 {
        watch.sent(&frame(PING, 0, 0, 8));
        assert_eq!(watch.see(&frame(PING, ACK, 0, 8)), None);
    }
    // Its own acknowledgements pay for nothing.
    let ping = frame(PING, 0, 0, 8);
    let flood = (0..).find_map(|_| {
        watch.sent(&frame(PING, ACK, 0, 8));
        watch.see(&ping)
    });
    assert_eq!(flood, Some(Flood::Ping));
    let frames = [frame(PING, ACK, 0, 8), data].concat();
    for cut in 0..frames.len() {
        assert_eq!(watch.is_between_frames(), cut == 0 || cut == 17, "{cut}");
        watch.sent(&frames[cut..=cut]);
    }
    assert!(watch.is_between_frames());
}

/// CVE-2023-44487: opening streams pays for no resets.
#[test]
fn rapid_reset_is_a_flood() {
    let mut watch = watch();
    let mut streams = (1..).step_by(2);
    let count = (0..).find(|_| {
        let stream = streams.next().unwrap();
        let open = frame(HEADERS, END_STREAM, stream, 20);
        let reset = frame(RST_STREAM, 0, stream, 4);
        assert_eq!(watch.see(&open), None);
        watch.see(&reset) == Some(Flood::Reset)
    });
    assert_eq!(count, Some(200));
    watch.tick(1);
    let reset = frame(RST_STREAM, 0, 1, 4);
    assert_eq!(passing(&mut watch, &reset), (20, Flood::Reset));
}

#[test]
fn resets_that_are_forgiven_do_not_count() {
    let mut watch = watch();
    let reset = frame(RST_STREAM, 0, 1, 4);
    for _ in 0..1000 {
        assert_eq!(watch.see(&reset), None);
        watch.forgive_reset();
    }
    // Nor are they saved up.
    assert_eq!(passing(&mut watch, &reset), (200, Flood::Reset));
}

#[test]
fn a_head_again_and_again_on_one_stream_opens_nothing() {
    let mut watch = watch();
    let head = frame(HEADERS, 0, 5, 20);
    assert_eq!(passing(&mut watch, &head), (101, Flood::Other));
}

#[test]
fn streams_that_were_reset_for_a_fault_are_counted() {
    let reset = |code: u32| {
        let mut bytes = frame(RST_STREAM, 0, 1, 0);
        bytes[2] = 4;
        bytes.extend(code.to_be_bytes());
        bytes
    };
    // NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, STREAM_CLOSED, REFUSED_STREAM, CANCEL, none of them.
    let said: Vec<u8> = [0, 1, 2, 5, 7, 8, 0x0100_0005]
        .into_iter()
        .flat_map(|code| [reset(code), frame(DATA, 0, 1, 3)].concat())
        .collect();
    for piece in 1..said.len() {
        let mut watch = watch();
        let floods = said.chunks(piece).filter_map(|piece| watch.sent(piece));
        assert_eq!(floods.count(), 0);
        assert_eq!(watch.faults(), 3, "in pieces of {piece}");
    }
    // A client that does nothing else is cut off.
    let mut watch = watch();
    let fault = reset(1);
    for count in 0..501 {
        let flood = watch.sent(&fault);
        assert_eq!(flood, (count == 500).then_some(Flood::Fault), "{count}");
    }
}

/// Go's client and server do so with each 4 KiB that are read at a time.
#[test]
fn windows_may_be_given_back_in_small_pieces() {
    let data = frame(DATA, 0, 1, 16_384);
    let pieces = frame(WINDOW_UPDATE, 0, 1, 4).repeat(2 * 32);
    for mut watch in [watch(), endpoint(1)] {
        for _ in 0..10_000 {
            watch.sent(&data);
            assert_eq!(watch.see(&pieces), None);
        }
        // And a window of 4 MiB all at once, when it is read at last.
        for _ in 0..256 {
            watch.sent(&data);
        }
        for _ in 0..256 {
            assert_eq!(watch.see(&pieces), None);
        }
    }
}

#[test]
fn ordinary_clients_are_left_alone() {
    // gRPC: a ping every ten seconds for a day, nothing else.
    let mut watch = watch();
    for _ in 0..8_640 {
        assert_eq!(watch.see(&frame(PING, 0, 0, 8)), None);
        watch.tick(10);
    }
    // A download without an end: two WINDOW_UPDATE and a ping for each DATA frame.
    let data = frame(DATA, 0, 1, 10);
    for _ in 0..100_000 {
        watch.sent(&data[..5]);
        watch.sent(&data[5..]);
        let bytes = [
            frame(WINDOW_UPDATE, 0, 0, 4),
            frame(WINDOW_UPDATE, 0, 1, 4),
            frame(PING, 0, 0, 8),
        ];
        assert_eq!(watch.see(&bytes.concat()), None);
    }
    // Requests with priorities, large heads and uploads, as fast as they come.
    for stream in (1..200_000).step_by(2) {
        let bytes = [
            frame(HEADERS, 0, stream, 40),
            frame(CONTINUATION, 4, stream, 10),
            frame(PRIORITY, 0, stream, 5),
            frame(DATA, 0, stream, 30),
            frame(DATA, 0, stream, 0),
            frame(HEADERS, END_STREAM, stream, 3),
        ];
        assert_eq!(watch.see(&bytes.concat()), None, "{stream}");
    }
}

#[test]
fn credit_is_not_saved_beyond_the_burst() {
    let mut watch = watch();
    watch.tick(u32::MAX);
    watch.sent(&frame(DATA, 0, 1, 1));
    let ping = frame(PING, 0, 0, 8);
    assert_eq!(passing(&mut watch, &ping), (100, Flood::Ping));
    watch.sent(&frame(DATA, 1, 1, 0)); // nothing to measure
    assert_eq!(watch.see(&ping), Some(Flood::Ping));
    let limits = FloodLimits::default().scaled(250);
    let mut generous = FrameWatch::new(&limits);
    generous.see(PREFACE);
    assert_eq!(passing(&mut generous, &ping), (250, Flood::Ping));
}

proptest! {
    /// However the bytes are cut, the same frame is the one too many.
    #[test]
    fn cuts_make_no_difference(
        frames in prop::collection::vec((0u8..11, 0u8..16, 0u32..9, 0usize..40), 0..400),
        sizes in prop::collection::vec(1usize..60, 1..20),
    ) {
        let limits = FloodLimits::default();
        let mut bytes = PREFACE.to_vec();
        let mut whole = FrameWatch::new(&limits);
        let count = frames.len() as u64;
        let mut expected = whole.see(PREFACE);
        for (kind, flags, stream, length) in frames {
            let frame = frame(kind, flags, stream, length);
            expected = expected.or(whole.see(&frame));
            bytes.extend(frame);
        }
        prop_assert_eq!(FrameWatch::new(&limits).see(&bytes), expected);
        let mut pieces = FrameWatch::new(&limits);
        let mut got = None;
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*size));
            got = got.or(pieces.see(piece));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(got, expected);
        prop_assert_eq!((whole.frames(), pieces.frames()), (count, count));
    }
}
