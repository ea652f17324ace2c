//! Frames: their sizes, their streams, their order, what they do to windows and tables.
use crate::case::{Case, Told, bare, case, get, post, raw};
use Told::{Closed, GoAway, GoAwayAs, Ignored, Reset, ResetOf, Status};
use pointsman_testkit::frames::{Block, Frame, PREFACE, code, flag, kind, setting};

/// A request with this field block.
fn with(block: Block) -> Frame {
    Frame::headers(1, block).end_stream()
}

fn request() -> Block {
    Block::request("GET", "web", "/")
}

/// A frame whose payload is this long, of any bytes.
fn sized(kind: u8, flags: u8, stream: u32, length: usize) -> Frame {
    Frame::new(kind, flags, stream, vec![1; length])
}

/// The first thing a client says.
#[rustfmt::skip]
pub(crate) fn prefaces() -> Vec<Case> {
    let settings = || Frame::settings(&[]).encode();
    vec![
        bare("preface that ends wrongly", "3.4", Closed, [&PREFACE[..23], b"?", &settings()].concat()),
        bare("preface in lower case", "3.4", Closed, [b"pri * http/2.0\r\n\r\nsm\r\n\r\n", &settings()[..]].concat()),
        bare("preface in pieces of HTTP/1", "3.4", Closed, b"PRI * HTTP/2.0\r\nHost: web\r\n\r\n".to_vec()),
        // The library does not insist on SETTINGS: nothing else depends on them.
        bare("no SETTINGS first", "3.4", Status(200), [PREFACE, &get(1).encode()].concat()).seen(&["GET /"]),
        bare("PING instead of SETTINGS", "3.4", Ignored, [PREFACE, &Frame::ping([0; 8]).encode()].concat()),
        bare("an acknowledgement instead of SETTINGS", "3.4", GoAway(code::PROTOCOL_ERROR), [PREFACE, &Frame::settings_ack().encode()].concat()),
        bare("HTTP/1 behind the preface", "3.4", GoAway(code::FRAME_SIZE_ERROR), [PREFACE, b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"].concat()),
        bare("all at once", "3.4", Status(200), [PREFACE, &settings(), &get(1).encode()].concat()).seen(&["GET /"]),
    ]
}

/// SETTINGS, PING, GOAWAY, and types that nobody knows.
#[rustfmt::skip]
pub(crate) fn connection() -> Vec<Case> {
    let settings = |id, value| [Frame::settings(&[(id, value)])];
    vec![
        case("SETTINGS of 5 bytes", "6.5", GoAwayAs(code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR), &[sized(kind::SETTINGS, 0, 0, 5)]),
        case("SETTINGS acknowledged with payload", "6.5", GoAwayAs(code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR), &[sized(kind::SETTINGS, flag::ACK, 0, 6)]),
        case("SETTINGS of a stream", "6.5", GoAway(code::PROTOCOL_ERROR), &[get(1), sized(kind::SETTINGS, 0, 1, 0)]).maybe(&["GET /"]),
        case("ENABLE_PUSH 2", "6.5.2", GoAway(code::PROTOCOL_ERROR), &settings(setting::ENABLE_PUSH, 2)),
        case("INITIAL_WINDOW_SIZE 2^31", "6.5.2", GoAwayAs(code::FLOW_CONTROL_ERROR, code::PROTOCOL_ERROR), &settings(setting::INITIAL_WINDOW_SIZE, 1 << 31)),
        case("MAX_FRAME_SIZE 16383", "6.5.2", GoAway(code::PROTOCOL_ERROR), &settings(setting::MAX_FRAME_SIZE, 16_383)),
        case("MAX_FRAME_SIZE 2^24", "6.5.2", GoAway(code::PROTOCOL_ERROR), &settings(setting::MAX_FRAME_SIZE, 1 << 24)),
        case("ENABLE_CONNECT_PROTOCOL 2", "RFC 8441 3", GoAway(code::PROTOCOL_ERROR), &settings(setting::ENABLE_CONNECT_PROTOCOL, 2)),
        case("an unknown setting", "6.5.2", Ignored, &settings(0xfafa, 7)),
        case("a table of 4 GiB", "6.5.2", Status(200), &[Frame::settings(&[(setting::HEADER_TABLE_SIZE, u32::MAX)]), get(1)]).seen(&["GET /"]),
        case("no streams of the server's own", "6.5.2", Status(200), &[Frame::settings(&[(setting::MAX_CONCURRENT_STREAMS, 0)]), get(1)]).seen(&["GET /"]),
        case("an acknowledgement of nothing", "6.5.3", GoAway(code::PROTOCOL_ERROR), &[Frame::settings_ack(), Frame::settings_ack()]),
        case("PING of 7 bytes", "6.7", GoAwayAs(code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR), &[sized(kind::PING, 0, 0, 7)]),
        case("PING of 9 bytes", "6.7", GoAwayAs(code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR), &[sized(kind::PING, 0, 0, 9)]),
        case("PING of a stream", "6.7", GoAway(code::PROTOCOL_ERROR), &[sized(kind::PING, 0, 1, 8)]),
        case("an answer to no PING", "6.7", Ignored, &[Frame::ping([7; 8]).with(flag::ACK)]),
        case("GOAWAY of a stream", "6.8", GoAway(code::PROTOCOL_ERROR), &[sized(kind::GOAWAY, 0, 1, 8)]),
        case("GOAWAY of 7 bytes", "6.8", GoAwayAs(code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR), &[sized(kind::GOAWAY, 0, 0, 7)]),
        case("PUSH_PROMISE from a client", "8.4", GoAway(code::PROTOCOL_ERROR), &[post(1), Frame::push_promise(1, 2, &request().bytes())]),
        case("an unknown type", "4.1", Ignored, &[sized(0xfa, 0xff, 0, 100)]),
        case("an unknown type on a stream", "5.5", Ignored, &[sized(0xfa, 0, 1, 0)]),
        case("flags that mean nothing", "4.1", Status(200), &[get(1).with(0xc2)]).seen(&["GET /"]),
        case("the reserved bit", "4.1", Status(200), &[Frame { stream: 0x8000_0001, ..get(1) }]).seen(&["GET /"]),
        case("DATA as long as may be", "4.2", Status(200), &[post(1), sized(kind::DATA, flag::END_STREAM, 1, 16_384)]).seen(&["POST /"]),
        raw("HEADERS of 16 MiB", "4.2", GoAway(code::FRAME_SIZE_ERROR), get(1).encode_as((1 << 24) - 1)),
        raw("a frame of 16 MiB", "4.2", GoAway(code::FRAME_SIZE_ERROR), [&post(1).encode()[..], &Frame::data(1, []).encode_as((1 << 24) - 1)].concat()),
        raw("SETTINGS of 16 MiB", "4.2", GoAway(code::FRAME_SIZE_ERROR), Frame::settings(&[]).encode_as((1 << 24) - 1)),
    ]
}

/// Which frames a stream may get, and when.
#[rustfmt::skip]
pub(crate) fn streams() -> Vec<Case> {
    let end = |stream| Frame::data(stream, []).end_stream();
    vec![
        case("HEADERS of stream 0", "6.2", GoAway(code::PROTOCOL_ERROR), &[get(0)]),
        case("DATA of stream 0", "6.1", GoAway(code::PROTOCOL_ERROR), &[Frame::data(0, *b"x")]),
        case("DATA of an idle stream", "5.1", GoAway(code::PROTOCOL_ERROR), &[Frame::data(1, *b"x")]),
        case("RST_STREAM of stream 0", "6.4", GoAway(code::PROTOCOL_ERROR), &[Frame::reset(0, code::CANCEL)]),
        case("RST_STREAM of an idle stream", "5.1", GoAway(code::PROTOCOL_ERROR), &[Frame::reset(1, code::CANCEL)]),
        case("RST_STREAM of 3 bytes", "6.4", GoAwayAs(code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR), &[post(1), sized(kind::RST_STREAM, 0, 1, 3)]),
        case("WINDOW_UPDATE of an idle stream", "5.1", GoAway(code::PROTOCOL_ERROR), &[Frame::window_update(1, 1)]),
        case("PRIORITY of an idle stream", "5.1", Ignored, &[Frame::priority(1, 3)]),
        case("PRIORITY of stream 0", "6.3", GoAway(code::PROTOCOL_ERROR), &[Frame::priority(0, 3)]),
        case("PRIORITY of 4 bytes", "6.3", GoAwayAs(code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR), &[post(1), sized(kind::PRIORITY, 0, 1, 4)]),
        case("PRIORITY on itself", "RFC 7540 5.3.1", Reset(code::PROTOCOL_ERROR), &[post(1), Frame::priority(1, 1)]),
        case("HEADERS that depend on themselves", "RFC 7540 5.3.1", Reset(code::PROTOCOL_ERROR), &[get(1).depending(1)]),
        case("HEADERS that depend on an idle stream", "5.3", Status(200), &[get(1).depending(99)]).seen(&["GET /"]),
        case("an even stream", "5.1.1", GoAway(code::PROTOCOL_ERROR), &[get(2)]),
        case("a stream with a smaller number", "5.1.1", GoAway(code::PROTOCOL_ERROR), &[post(5), get(3)]),
        case("streams that were left out", "5.1.1", ResetOf(9, code::PROTOCOL_ERROR), &[Frame::headers(9, Block::new()).end_stream()]),
        case("DATA behind the end", "5.1", GoAwayAs(code::STREAM_CLOSED, code::PROTOCOL_ERROR), &[post(1), end(1), Frame::data(1, *b"x")]).maybe(&["POST /"]),
        case("HEADERS behind the end", "5.1", GoAwayAs(code::STREAM_CLOSED, code::PROTOCOL_ERROR), &[post(1), end(1), get(1)]).maybe(&["POST /"]),
        case("trailers behind trailers", "8.1", GoAwayAs(code::STREAM_CLOSED, code::PROTOCOL_ERROR), &[post(1), with(Block::new().literal("x-a", "b")), with(Block::new().literal("x-a", "b"))]).maybe(&["POST /"]),
        case("DATA behind RST_STREAM", "5.1", Reset(code::STREAM_CLOSED), &[post(1), Frame::reset(1, code::CANCEL), Frame::data(1, *b"x")]),
        case("HEADERS behind RST_STREAM", "5.1", GoAwayAs(code::STREAM_CLOSED, code::PROTOCOL_ERROR), &[post(1), Frame::reset(1, code::CANCEL), get(1)]),
        case("CONTINUATION behind RST_STREAM", "5.1", GoAway(code::PROTOCOL_ERROR), &[post(1), Frame::reset(1, code::CANCEL), Frame::continuation(1, [])]),
        case("CONTINUATION behind the end", "5.1", GoAway(code::PROTOCOL_ERROR), &[get(1), Frame::continuation(1, [])]).maybe(&["GET /"]),
        case("DATA behind the answer", "5.1", Reset(code::STREAM_CLOSED), &[get(1)]).then(&[Frame::data(1, *b"x")]).seen(&["GET /"]),
        case("HEADERS behind the answer", "5.1", GoAwayAs(code::STREAM_CLOSED, code::PROTOCOL_ERROR), &[get(1)]).then(&[get(1)]).seen(&["GET /"]),
        case("CONTINUATION behind the answer", "5.1", GoAway(code::PROTOCOL_ERROR), &[get(1)]).then(&[Frame::continuation(1, [])]).seen(&["GET /"]),
        case("WINDOW_UPDATE and RST_STREAM behind the answer", "5.1", Ignored, &[get(1)]).then(&[Frame::window_update(1, 1), Frame::reset(1, code::CANCEL)]).seen(&["GET /"]),
        case("WINDOW_UPDATE behind RST_STREAM", "5.1", Ignored, &[post(1), Frame::reset(1, code::CANCEL), Frame::window_update(1, 1)]),
        case("RST_STREAM twice", "5.1", Ignored, &[post(1), Frame::reset(1, code::CANCEL), Frame::reset(1, code::CANCEL)]),
        case("RST_STREAM with an unknown code", "7", Ignored, &[post(1), Frame::reset(1, 0xfafa_fafa)]),
        case("PRIORITY behind the end", "5.1", Status(200), &[get(1), Frame::priority(1, 0)]).seen(&["GET /"]),
        case("a body of nothing", "8.1", Status(200), &[post(1), end(1)]).seen(&["POST /"]),
    ]
}

/// Field blocks over several frames, and padding.
#[rustfmt::skip]
pub(crate) fn blocks() -> Vec<Case> {
    let block = request().literal("x-a", "b").bytes();
    let (first, rest) = block.split_at(7);
    let (second, third) = rest.split_at(12);
    let begun = || Frame::headers(1, first).end_stream().without(flag::END_HEADERS);
    let more = |stream, bytes: &[u8]| Frame::continuation(stream, bytes).without(flag::END_HEADERS);
    let size = |frame: Frame, padding| Frame { payload: [&[padding], &frame.payload[1..]].concat(), ..frame };
    vec![
        case("CONTINUATION first", "6.10", GoAway(code::PROTOCOL_ERROR), &[Frame::continuation(1, &*block)]),
        case("CONTINUATION of stream 0", "6.10", GoAway(code::PROTOCOL_ERROR), &[begun(), Frame::continuation(0, rest)]),
        case("CONTINUATION of another stream", "6.10", GoAway(code::PROTOCOL_ERROR), &[begun(), Frame::continuation(3, rest)]),
        case("CONTINUATION behind the end of a block", "6.10", GoAway(code::PROTOCOL_ERROR), &[post(1), Frame::continuation(1, rest)]),
        case("CONTINUATION behind DATA", "6.10", GoAway(code::PROTOCOL_ERROR), &[post(1), Frame::data(1, *b"x"), Frame::continuation(1, rest)]),
        case("PING within a block", "4.3", GoAway(code::PROTOCOL_ERROR), &[begun(), Frame::ping([0; 8]), Frame::continuation(1, rest)]),
        case("DATA within a block", "4.3", GoAway(code::PROTOCOL_ERROR), &[begun(), Frame::data(1, *b"x")]),
        case("other HEADERS within a block", "4.3", GoAway(code::PROTOCOL_ERROR), &[begun(), get(3)]),
        case("an unknown type within a block", "5.5", GoAway(code::PROTOCOL_ERROR), &[begun(), sized(0xfa, 0, 1, 0), Frame::continuation(1, rest)]),
        case("a block in three", "6.10", Status(200), &[begun(), more(1, second), Frame::continuation(1, third)]).seen(&["GET /"]),
        case("an empty piece of a block", "6.10", Status(200), &[begun(), more(1, &[]), Frame::continuation(1, rest)]).seen(&["GET /"]),
        case("DATA with padding", "6.1", Status(200), &[post(1), Frame::data(1, *b"four").padded(255).end_stream()]).seen(&["POST /"]),
        case("DATA that is padding", "6.1", Status(200), &[post(1), Frame::data(1, []).padded(100).end_stream()]).seen(&["POST /"]),
        case("DATA with padding as long as it is", "6.1", GoAway(code::PROTOCOL_ERROR), &[post(1), size(Frame::data(1, *b"abc").padded(0), 4)]),
        case("DATA with padding and no length of it", "6.1", GoAwayAs(code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR), &[post(1), Frame::data(1, []).with(flag::PADDED)]),
        case("HEADERS with padding and priority", "6.2", Status(200), &[get(1).depending(0).padded(200)]).seen(&["GET /"]),
        case("HEADERS with padding longer than they are", "6.2", GoAway(code::PROTOCOL_ERROR), &[size(get(1).padded(0), 255)]),
        case("HEADERS too short for their priority", "6.2", GoAwayAs(code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR), &[Frame::new(kind::HEADERS, flag::PRIORITY | flag::END_HEADERS, 1, [0; 4])]),
    ]
}

/// The tables and codes of field blocks.
#[rustfmt::skip]
pub(crate) fn hpack() -> Vec<Case> {
    let wrong = GoAwayAs(code::COMPRESSION_ERROR, code::PROTOCOL_ERROR);
    vec![
        case("index 0", "RFC 7541 6.1", wrong, &[with(request().indexed(0))]),
        case("an index nothing has", "RFC 7541 2.3.3", wrong, &[with(request().indexed(62))]),
        case("an index far beyond", "RFC 7541 2.3.3", wrong, &[with(request().indexed(u64::from(u32::MAX)))]),
        case("an integer without end", "RFC 7541 5.1", wrong, &[with(request().raw([0xff; 20]))]),
        case("a name of an index nothing has", "RFC 7541 6.2.2", wrong, &[with(request().named(70, "x"))]),
        case("a string longer than its block", "RFC 7541 5.2", wrong, &[with(request().raw(b"\0\x03abc\x0ax"))]),
        case("a string of 4 GiB", "RFC 7541 5.2", wrong, &[with(request().raw(b"\0\x03abc\x7f\x80\xff\xff\xff\x0f"))]),
        case("Huffman code with the end in it", "RFC 7541 5.2", wrong, &[with(request().raw(b"\0\x84\xff\xff\xff\xff\x01x"))]),
        case("Huffman code padded with zeros", "RFC 7541 5.2", wrong, &[with(request().raw(b"\0\x81\x18\x01x"))]),
        case("Huffman code padded for too long", "RFC 7541 5.2", wrong, &[with(request().raw(b"\0\x82\x1f\xff\x01x"))]),
        case("a table larger than allowed", "RFC 7541 6.3", wrong, &[with(Block::new().table_size(1 << 20).raw(request().bytes()))]),
        case("a table changed behind fields", "RFC 7541 4.2", wrong, &[with(request().table_size(0))]),
        case("a table changed and used", "RFC 7541 4.2", Status(200), &[with(Block::new().table_size(0).table_size(100).raw(request().remembered("x-a", "b").indexed(62).bytes()))]).seen(&["GET /"]),
        case("a field remembered and forgotten", "RFC 7541 4.4", wrong, &[with(request().remembered("x-a", "b").remembered("x-long", "x".repeat(5000)).indexed(62))]),
        case("Huffman code", "RFC 7541 5.2", Status(200), &[with(request().huffman("x-a", "text"))]).seen(&["GET /"]),
        case("indexed fields", "RFC 7541 6.1", Status(200), &[with(Block::new().indexed(2).indexed(6).named(1, "web").indexed(4))]).seen(&["GET /"]),
        case("no fields", "8.3.1", Reset(code::PROTOCOL_ERROR), &[with(Block::new())]),
    ]
}

/// Windows.
#[rustfmt::skip]
pub(crate) fn windows() -> Vec<Case> {
    let most = (1 << 31) - 1;
    vec![
        case("WINDOW_UPDATE of nothing", "6.9", GoAway(code::PROTOCOL_ERROR), &[Frame::window_update(0, 0)]),
        // A stream's error may be taken for the connection's (section 5.4.1).
        case("WINDOW_UPDATE of nothing to a stream", "6.9", GoAway(code::PROTOCOL_ERROR), &[post(1), Frame::window_update(1, 0)]),
        case("WINDOW_UPDATE of 3 bytes", "6.9", GoAwayAs(code::FRAME_SIZE_ERROR, code::PROTOCOL_ERROR), &[sized(kind::WINDOW_UPDATE, 0, 0, 3)]),
        case("a window of the connection that is too large", "6.9.1", GoAway(code::FLOW_CONTROL_ERROR), &[Frame::window_update(0, most)]),
        case("a window of a stream that is too large", "6.9.1", Reset(code::FLOW_CONTROL_ERROR), &[post(1), Frame::window_update(1, most)]),
        case("a window that a setting makes too large", "6.9.2", GoAway(code::FLOW_CONTROL_ERROR), &[post(1), Frame::window_update(1, most - 65_535), Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 65_536)])]),
        case("windows as large as they may be", "6.9.1", Status(200), &[Frame::window_update(0, most - 65_535), get(1), Frame::window_update(1, most - 65_535)]).seen(&["GET /"]),
        case("the reserved bit of an increment", "6.9", Status(200), &[Frame::window_update(0, 0x8000_0001), get(1)]).seen(&["GET /"]),
        case("a window that becomes negative", "6.9.2", Status(200), &[get(1), Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 0)]), Frame::settings(&[(setting::INITIAL_WINDOW_SIZE, 65_535)])]).seen(&["GET /"]),
    ]
}
