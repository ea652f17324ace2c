//! Requests: their pseudo-fields, their fields, their bodies, and how HTTP/1 is told of them.
use crate::case::{Case, Told, case};
use Told::{GoAway, Reset, Status};
use pointsman_testkit::frames::{Block, Frame, code, flag};

const MALFORMED: Told = Reset(code::PROTOCOL_ERROR);
/// The same, where the library cannot go on: what it does not take for a field it takes for a fault
/// of the field block, and an error of a stream may be one of the connection (section 5.4.1).
const UNREADABLE: Told = GoAway(code::PROTOCOL_ERROR);
/// Well formed in frames, and refused by the same rules as HTTP/1.
const REFUSED: Told = Status(400);

/// The fields of a request, in order.
struct Fields(Vec<(Vec<u8>, Vec<u8>)>);

fn request(method: &str) -> Fields {
    Fields(vec![])
        .and(":method", method)
        .and(":scheme", "http")
        .and(":authority", "web")
        .and(":path", "/")
}

impl Fields {
    fn and(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Fields {
        self.0
            .push((name.as_ref().to_vec(), value.as_ref().to_vec()));
        self
    }

    fn but(mut self, name: &str, value: impl AsRef<[u8]>) -> Fields {
        for field in self.0.iter_mut().filter(|it| it.0 == name.as_bytes()) {
            field.1 = value.as_ref().to_vec();
        }
        self
    }

    fn without(mut self, name: &str) -> Fields {
        self.0.retain(|it| it.0 != name.as_bytes());
        self
    }

    /// HEADERS of stream 1, with a body to follow.
    fn open(self) -> Frame {
        Frame::headers(1, Block::of(&self.0))
    }

    /// HEADERS of stream 1, and nothing else.
    fn whole(self) -> Frame {
        self.open().end_stream()
    }
}

/// GET with one more field.
fn with(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Frame {
    request("GET").and(name, value).whole()
}

/// GET with another value of a pseudo-field.
fn but(name: &str, value: impl AsRef<[u8]>) -> Frame {
    request("GET").but(name, value).whole()
}

/// RFC 9113 section 8.3.
#[rustfmt::skip]
pub(crate) fn pseudo_fields() -> Vec<Case> {
    let get = || request("GET");
    let twice = |name: &str, value: &str| Fields(vec![]).and(name, value).whole_with(get());
    vec![
        case("no :method", "8.3.1", MALFORMED, &[get().without(":method").whole()]),
        case("no :scheme", "8.3.1", MALFORMED, &[get().without(":scheme").whole()]),
        case("no :path", "8.3.1", MALFORMED, &[get().without(":path").whole()]),
        case("an empty :path", "8.3.1", MALFORMED, &[but(":path", "")]),
        case("an empty :method", "8.3.1", UNREADABLE, &[but(":method", "")]),
        case("an empty :authority", "8.3.1", MALFORMED, &[but(":authority", "")]),
        case(":method twice", "8.3.1", MALFORMED, &[twice(":method", "GET")]),
        case(":scheme twice", "8.3.1", MALFORMED, &[twice(":scheme", "http")]),
        case(":authority twice", "8.3.1", MALFORMED, &[twice(":authority", "web")]),
        case(":path twice", "8.3.1", MALFORMED, &[twice(":path", "/")]),
        case("a pseudo-field behind a field", "8.3", MALFORMED, &[get().without(":path").and("x-a", "b").and(":path", "/").whole()]),
        case("an unknown pseudo-field", "8.3", UNREADABLE, &[with(":version", "HTTP/2")]),
        case("an unknown pseudo-field in front", "8.3", UNREADABLE, &[Fields(vec![]).and(":foo", "bar").whole_with(get())]),
        case(":status in a request", "8.3", MALFORMED, &[with(":status", "200")]),
        case(":protocol without CONNECT", "RFC 8441 4", MALFORMED, &[Fields(vec![]).and(":protocol", "websocket").whole_with(get())]),
        // The library leaves it out instead of refusing it; it reaches nobody.
        case("a pseudo-field in trailers", "8.1", Status(200), &[request("POST").open(), Fields(vec![]).and(":path", "/smuggled").whole()]).seen(&["POST /"]),
        case("an empty name", "8.2.1", UNREADABLE, &[with("", "x")]),
        case("a colon for a name", "8.2.1", UNREADABLE, &[with(":", "x")]),
    ]
}

/// What a request line and a Host field of HTTP/1 would be made of (RFC 9113 section 10.3).
#[rustfmt::skip]
pub(crate) fn targets() -> Vec<Case> {
    let connect = || Fields(vec![]).and(":method", "CONNECT");
    vec![
        case("method with a blank", "10.3", UNREADABLE, &[but(":method", "GET /smuggled HTTP/1.1")]),
        case("method with a line feed", "10.3", UNREADABLE, &[but(":method", "GET\r\nsmuggled: 1")]),
        case("method with NUL", "10.3", UNREADABLE, &[but(":method", "GET\0")]),
        case("method with a comma", "10.3", UNREADABLE, &[but(":method", "GET,POST")]),
        case("method of 33 letters", "RFC 9112 3", Status(501), &[but(":method", "M".repeat(33))]),
        case("method of its own", "RFC 9110 9", Status(200), &[but(":method", "BREW")]).seen(&["BREW /"]),
        case("method in lower case", "RFC 9110 9.1", Status(200), &[but(":method", "get")]).seen(&["get /"]),
        case("path with a blank", "10.3", MALFORMED, &[but(":path", "/a HTTP/1.1")]),
        case("path with line feeds", "10.3", MALFORMED, &[but(":path", "/ HTTP/1.1\r\nsmuggled: 1\r\nx: ")]),
        case("path with a line feed", "10.3", MALFORMED, &[but(":path", "/a\nsmuggled")]),
        case("path with NUL", "10.3", MALFORMED, &[but(":path", "/a\0b")]),
        case("path with TAB", "10.3", MALFORMED, &[but(":path", "/a\tb")]),
        case("path with DEL", "10.3", MALFORMED, &[but(":path", "/a\x7fb")]),
        case("path with 8 bits", "RFC 3986 2", REFUSED, &[but(":path", b"/\xc3\xa9")]),
        case("path of bytes that are no text", "RFC 3986 2", UNREADABLE, &[but(":path", b"/\xff")]),
        case("path without a slash", "8.3.1", MALFORMED, &[but(":path", "smuggled")]),
        case("path that is a URL", "8.3.1", MALFORMED, &[but(":path", "http://web/smuggled")]),
        case("path that is an authority", "8.3.1", MALFORMED, &[but(":path", "web:80")]),
        case("path of a query alone", "8.3.1", REFUSED, &[but(":path", "?smuggled")]),
        case("path `*`", "8.3.1", REFUSED, &[but(":path", "*")]),
        case("path `*` of OPTIONS", "8.3.1", Status(200), &[request("OPTIONS").but(":path", "*").whole()]).seen(&["OPTIONS *"]),
        // The library cuts it off; what is left is one path for all.
        case("path with a fragment", "RFC 3986 3.5", Status(200), &[but(":path", "/a#smuggled")]).seen(&["GET /a"]),
        case("path with an encoded NUL", "RFC 3986 2.1", REFUSED, &[but(":path", "/a%00b")]),
        case("path with half an escape", "RFC 3986 2.1", REFUSED, &[but(":path", "/a%2")]),
        case("path with an escape of letters", "RFC 3986 2.1", REFUSED, &[but(":path", "/a%zz")]),
        case("path with dots", "RFC 3986 5.2.4", Status(200), &[but(":path", "/a/../b/./c?d=/../e")]).seen(&["GET /b/c?d=/../e"]),
        case("path with a bar and quotes", "RFC 3986 2", Status(200), &[but(":path", "/a|b\"c")]).seen(&["GET /a%7Cb%22c"]),
        case("path of 32 KiB and more", "RFC 9110 15.5.15", Status(414), &pieces(but(":path", format!("/{}", "a".repeat(33_000))))),
        case("scheme with line feeds", "10.3", MALFORMED, &[but(":scheme", "http\r\nsmuggled: 1")]),
        case("scheme with a blank", "10.3", MALFORMED, &[but(":scheme", "http ")]),
        case("an empty scheme", "8.3.1", REFUSED, &[but(":scheme", "")]),
        case("scheme that is a URL", "8.3.1", MALFORMED, &[but(":scheme", "http://smuggled/?")]),
        case("another scheme", "8.3.1", REFUSED, &[but(":scheme", "ftp")]),
        case("scheme https", "8.3.1", Status(200), &[but(":scheme", "https")]).seen(&["GET /"]),
        case("authority with a blank", "10.3", MALFORMED, &[but(":authority", "web smuggled")]),
        case("authority with line feeds", "10.3", MALFORMED, &[but(":authority", "web\r\nsmuggled: 1")]),
        case("authority with NUL", "10.3", MALFORMED, &[but(":authority", "web\0")]),
        case("authority with user", "8.3.1", REFUSED, &[but(":authority", "me@web")]),
        case("authority with a path", "8.3.1", MALFORMED, &[but(":authority", "web/smuggled")]),
        case("authority with a bad port", "RFC 3986 3.2.3", REFUSED, &[but(":authority", "web:99999")]),
        case("authority with two ports", "RFC 3986 3.2.3", MALFORMED, &[but(":authority", "web:80:81")]),
        case("authority with a list", "RFC 9110 7.2", REFUSED, &[but(":authority", "web,evil")]),
        case("Host of another", "8.3.1", REFUSED, &[with("host", "evil")]),
        case("Host of the same", "8.3.1", Status(200), &[with("host", "WEB")]).seen(&["GET /"]),
        case("two Hosts", "RFC 9112 3.2", REFUSED, &[request("GET").and("host", "web").and("host", "web").whole()]),
        case("Host with a line feed", "10.3", UNREADABLE, &[request("GET").without(":authority").and("host", "web\r\nsmuggled: 1").whole()]),
        case("Host and no :authority", "8.3.1", Status(200), &[request("GET").without(":authority").and("host", "web").whole()]).seen(&["GET /"]),
        case("neither Host nor :authority", "8.3.1", REFUSED, &[request("GET").without(":authority").whole()]),
        case("an unknown host", "RFC 9110 15.5.5", Status(404), &[but(":authority", "nobody.example")]),
        case("CONNECT", "8.5", Status(405), &[connect().and(":authority", "web:80").open()]),
        case("CONNECT without a port", "8.5", REFUSED, &[connect().and(":authority", "web").open()]),
        case("CONNECT without :authority", "8.5", REFUSED, &[connect().open()]),
        case("CONNECT with :path", "8.5", MALFORMED, &[connect().and(":authority", "web:80").and(":path", "/").open()]),
        case("CONNECT with :scheme", "8.5", MALFORMED, &[connect().and(":authority", "web:80").and(":scheme", "http").open()]),
        case("extended CONNECT without :path", "RFC 8441 4", MALFORMED, &[connect().and(":protocol", "websocket").and(":scheme", "http").and(":authority", "web").open()]),
        case("extended CONNECT to nothing known", "RFC 8441 4", Status(501), &[request("CONNECT").pseudo(":protocol", "carrier-pigeon").open()]),
        case("extended CONNECT with line feeds", "10.3", Status(501), &[request("CONNECT").pseudo(":protocol", "websocket\r\nsmuggled: 1").open()]),
    ]
}

impl Fields {
    /// These fields in front of the others, as HEADERS of stream 1 and nothing else.
    fn whole_with(self, others: Fields) -> Frame {
        Fields([self.0, others.0].concat()).whole()
    }

    /// This field in front.
    fn pseudo(mut self, name: &str, value: &str) -> Fields {
        self.0.insert(0, (name.into(), value.into()));
        self
    }
}

/// RFC 9113 section 8.2.
#[rustfmt::skip]
pub(crate) fn fields() -> Vec<Case> {
    let many = |count| (0..count).fold(request("GET"), |fields, _| fields.and("x-a", "b")).whole();
    vec![
        case("a name in upper case", "8.2.1", UNREADABLE, &[with("X-A", "b")]),
        case("a name with a blank", "8.2.1", UNREADABLE, &[with("x a", "b")]),
        case("a name with a colon", "8.2.1", UNREADABLE, &[with("x:a", "b")]),
        case("a name with line feeds", "8.2.1", UNREADABLE, &[with("x\r\nsmuggled", "1")]),
        case("a name with NUL", "8.2.1", UNREADABLE, &[with("x\0a", "b")]),
        case("a name with a quote", "RFC 9110 5.1", REFUSED, &[with("x\"a", "b")]),
        case("a name with parentheses", "RFC 9110 5.1", UNREADABLE, &[with("x(a)", "b")]),
        case("a name of 8 bits", "8.2.1", UNREADABLE, &[with(b"x\xe9", "b")]),
        case("a value with line feeds", "8.2.1", UNREADABLE, &[with("x-a", "b\r\nsmuggled: 1")]),
        case("a value with a line feed", "8.2.1", UNREADABLE, &[with("x-a", "b\nsmuggled: 1")]),
        case("a value with a carriage return", "8.2.1", UNREADABLE, &[with("x-a", "b\rsmuggled: 1")]),
        case("a value with NUL", "8.2.1", UNREADABLE, &[with("x-a", "b\0c")]),
        case("a value with a whole request", "8.2.1", UNREADABLE, &[with("x-a", "b\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: web")]),
        case("a value that begins with a blank", "8.2.1", REFUSED, &[with("x-a", " b")]),
        case("a value that ends with TAB", "8.2.1", REFUSED, &[with("x-a", "b\t")]),
        case("a value with DEL", "RFC 9110 5.5", UNREADABLE, &[with("x-a", "b\x7f")]),
        case("a value of 8 bits", "RFC 9110 5.5", Status(200), &[with("x-a", b"\xe9\xff")]).seen(&["GET /"]),
        case("an empty value", "RFC 9110 5.5", Status(200), &[with("x-a", "")]).seen(&["GET /"]),
        case("Connection", "8.2.2", MALFORMED, &[with("connection", "close")]),
        case("Keep-Alive", "8.2.2", MALFORMED, &[with("keep-alive", "timeout=5")]),
        case("Proxy-Connection", "8.2.2", MALFORMED, &[with("proxy-connection", "close")]),
        case("Transfer-Encoding", "8.2.2", MALFORMED, &[request("POST").and("transfer-encoding", "chunked").open()]),
        case("Upgrade", "8.2.2", MALFORMED, &[with("upgrade", "h2c")]),
        case("TE other than trailers", "8.2.2", MALFORMED, &[with("te", "gzip")]),
        case("TE trailers and more", "8.2.2", MALFORMED, &[with("te", "trailers, gzip")]),
        case("TE trailers", "8.2.2", Status(200), &[with("te", "trailers")]).seen(&["GET /"]),
        case("100 fields", "RFC 6585 5", Status(200), &[many(100)]).seen(&["GET /"]),
        case("101 fields", "RFC 6585 5", Status(431), &[many(101)]),
        case("fields of 66 KB", "RFC 6585 5", Status(431), &pieces(with("x-a", "a".repeat(66_000)))),
        case("a field that blows up", "10.5.1", GoAway(code::ENHANCE_YOUR_CALM), &[bomb()]),
    ]
}

/// The same field block in frames that are small enough.
fn pieces(frame: Frame) -> Vec<Frame> {
    let mut pieces = frame
        .payload
        .chunks(16_000)
        .map(|it| Frame::continuation(frame.stream, it).without(flag::END_HEADERS))
        .collect::<Vec<_>>();
    if let Some(last) = pieces.last_mut() {
        last.flags |= flag::END_HEADERS;
    }
    if let Some(first) = pieces.first_mut() {
        *first = Frame {
            payload: first.payload.clone(),
            ..frame.without(flag::END_HEADERS)
        };
    }
    pieces
}

/// 4 KB of table, named four thousand times: 16 MB of fields in 8 KB.
fn bomb() -> Frame {
    let block = Block::request("GET", "web", "/").remembered("x-a", "a".repeat(4000));
    Frame::headers(1, (0..4000).fold(block, |block, _| block.indexed(62))).end_stream()
}

/// Bodies, their lengths and what follows them (RFC 9113 sections 8.1 and 8.1.1).
#[rustfmt::skip]
pub(crate) fn bodies() -> Vec<Case> {
    let post = |length: &str| request("POST").and("content-length", length);
    let data = |text: &str| Frame::data(1, text);
    vec![
        case("a body as long as told", "8.1.1", Status(200), &[post("4").open(), data("four").end_stream()]).seen(&["POST /"]),
        case("a body without a length", "8.1", Status(200), &[request("POST").open(), data("fo"), data("ur").end_stream()]).seen(&["POST /"]),
        case("a body longer than told", "8.1.1", MALFORMED, &[post("4").open(), data("fourGET /smuggled HTTP/1.1\r\n\r\n").end_stream()]),
        case("a body shorter than told", "8.1.1", MALFORMED, &[post("40").open(), data("four").end_stream()]),
        case("a body where none was told", "8.1.1", MALFORMED, &[post("0").open(), data("GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n").end_stream()]),
        case("no body where one was told", "8.1.1", MALFORMED, &[post("4").whole()]),
        case("trailers before the length is reached", "8.1.1", MALFORMED, &[post("40").open(), data("four"), Fields(vec![]).and("x-a", "b").whole()]),
        case("two lengths", "RFC 9110 8.6", MALFORMED, &[post("4").and("content-length", "5").open(), data("four").end_stream()]),
        case("a list of lengths", "RFC 9110 8.6", MALFORMED, &[post("4, 4").open(), data("four").end_stream()]),
        case("a length with a sign", "RFC 9110 8.6", MALFORMED, &[post("+4").open(), data("four").end_stream()]),
        case("a length with blanks", "RFC 9110 8.6", MALFORMED, &[post(" 4").open(), data("four").end_stream()]),
        case("a length in hexadecimal", "RFC 9110 8.6", MALFORMED, &[post("0x4").open(), data("four").end_stream()]),
        case("an empty length", "RFC 9110 8.6", REFUSED, &[post("").open(), data("").end_stream()]),
        case("a length beyond 64 bits", "RFC 9110 8.6", MALFORMED, &[post("18446744073709551616").open(), data("four").end_stream()]),
        case("trailers", "8.1", Status(200), &[request("POST").open(), data("four"), Fields(vec![]).and("x-a", "b").whole()]).seen(&["POST /"]),
        case("trailers without an end", "8.1", MALFORMED, &[request("POST").open(), Fields(vec![]).and("x-a", "b").open()]),
        case("trailers in upper case", "8.2.1", UNREADABLE, &[request("POST").open(), Fields(vec![]).and("X-A", "b").whole()]),
        case("trailers with line feeds", "8.2.1", UNREADABLE, &[request("POST").open(), Fields(vec![]).and("x-a", "b\r\nsmuggled: 1").whole()]),
        case("trailers that speak of a connection", "8.2.2", MALFORMED, &[request("POST").open(), Fields(vec![]).and("transfer-encoding", "chunked").whole()]),
        case("a body of a GET", "RFC 9110 9.3.1", Status(200), &[request("GET").open(), data("four").end_stream()]).seen(&["GET /"]),
    ]
}
