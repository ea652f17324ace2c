//! Heads written anew: exact bytes, and that nothing is lost or smuggled on the way.

use pointsman_wire::http1::{
    BodyLength, ConnectionOption, FieldSet, HeadLimits, LocalResponse, RequestHead, RequestKind,
    RequestRewrite, ResponseBody, Version, chunk_request, field_slots, first_line_ends,
    head_may_be_complete, parse_request, parse_response, write_local_response, write_request,
    write_response,
};
use proptest::prelude::*;

fn rewritten(head: &str, rewrite: &RequestRewrite<'_>, extra: &[(&str, &[u8])]) -> String {
    let mut slots = field_slots();
    let parsed = parse_request(head.as_bytes(), &mut slots, &HeadLimits::default())
        .unwrap()
        .unwrap();
    let mut out = Vec::new();
    write_request(&mut out, &parsed, rewrite, parsed.body, extra);
    String::from_utf8(out).unwrap()
}

#[test]
fn requests() {
    let plain = RequestRewrite::default();
    assert_eq!(
        rewritten(
            "POST /a?b HTTP/1.1\r\nAccept:  x \r\nhost: h\r\ncOOkie: c\r\nContent-Length: 03\r\n\r\n",
            &plain,
            &[]
        ),
        "POST /a?b HTTP/1.1\r\nHost: h\r\nAccept: x\r\ncOOkie: c\r\nContent-Length: 3\r\n\r\n"
    );
    assert_eq!(
        rewritten("GET http://o:1/p HTTP/1.1\r\nHost: h\r\n\r\n", &plain, &[]),
        "GET /p HTTP/1.1\r\nHost: o:1\r\n\r\n",
        "the authority of the target is the Host that is sent"
    );
    assert_eq!(
        rewritten("GET /p HTTP/1.0\r\n\r\n", &plain, &[]),
        "GET /p HTTP/1.1\r\nHost: \r\n\r\n"
    );
    assert_eq!(
        rewritten("CONNECT o:1 HTTP/1.1\r\nHost: h\r\n\r\n", &plain, &[]),
        "CONNECT o:1 HTTP/1.1\r\nHost: o:1\r\n\r\n"
    );
    assert_eq!(
        rewritten("OPTIONS http://o HTTP/1.1\r\nHost: h\r\n\r\n", &plain, &[]),
        "OPTIONS * HTTP/1.1\r\nHost: o\r\n\r\n"
    );
    assert_eq!(
        rewritten(
            "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTransfer-Encoding: CHUNKED\r\n\r\n",
            &plain,
            &[]
        ),
        "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
    );
    let mut drop = FieldSet::EMPTY;
    drop.insert(1);
    let rewrite = RequestRewrite {
        target: Some("/new path?x#\r\n\u{e9}"),
        host: Some("other"),
        drop,
        connection: ConnectionOption::Upgrade("websocket"),
    };
    assert_eq!(
        rewritten(
            "GET /old HTTP/1.1\r\nHost: h\r\nX-A: a\r\nX-B: b\r\n\r\n",
            &rewrite,
            &[("X-C", b"c"), ("X D", b"d"), ("X-E", b"e\r\nY: z")]
        ),
        "GET /new%20path?x%23%0D%0A%C3%A9 HTTP/1.1\r\nHost: other\r\nX-B: b\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-C: c\r\n\r\n",
        "nothing that was computed can end a line"
    );
}

/// RFC 9110 section 8.6.
#[test]
fn a_request_of_which_a_body_is_expected_says_that_there_is_none() {
    let plain = RequestRewrite::default();
    let upgrade = RequestRewrite {
        connection: ConnectionOption::Upgrade("x"),
        ..plain
    };
    for method in [
        "POST", "PUT", "PATCH", "GET", "HEAD", "DELETE", "OPTIONS", "BREW",
    ] {
        let head = format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n");
        let told = rewritten(&head, &plain, &[]).contains("\r\nContent-Length: 0\r\n");
        assert_eq!(told, matches!(method, "POST" | "PUT" | "PATCH"), "{method}");
        assert!(
            !rewritten(&head, &upgrade, &[]).contains("Length"),
            "{method}"
        );
    }
}

/// As if it had been written so from the beginning.
#[test]
fn a_head_with_a_length_becomes_one_with_chunks() {
    let limits = HeadLimits::default();
    for head in [
        "POST /Content-Length:%201 HTTP/1.1\r\nHost: h\r\nX: Content-Length: 2\r\ncontent-length: 31\r\nY: z\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX-Content-Length: 2\r\n\r\n",
    ] {
        let mut slots = field_slots();
        let parsed = parse_request(head.as_bytes(), &mut slots, &limits)
            .unwrap()
            .unwrap();
        let write = |body| {
            let mut out = Vec::new();
            let extra: [(&str, &[u8]); 1] = [("x-extra", b"e")];
            write_request(&mut out, &parsed, &RequestRewrite::default(), body, &extra);
            out
        };
        let mut made = write(parsed.body);
        chunk_request(&mut made);
        let expected = match parsed.body {
            BodyLength::Length(_) => BodyLength::Chunked,
            other => other,
        };
        assert_eq!(made, write(expected), "{head}");
    }
}

fn reanswered(
    head: &str,
    request: RequestKind,
    connection: ConnectionOption<'_>,
    to: Version,
) -> String {
    let mut slots = field_slots();
    let parsed = parse_response(head.as_bytes(), &mut slots, &HeadLimits::default(), request)
        .unwrap()
        .unwrap();
    let mut out = Vec::new();
    write_response(
        &mut out,
        &parsed,
        connection,
        to,
        parsed.body.towards(to),
        &[("Via", b"1.1 p")],
    );
    String::from_utf8(out).unwrap()
}

#[test]
fn responses() {
    use ConnectionOption::{Close, Keep10, KeepAlive, Upgrade};
    use RequestKind::{Head, Other};
    use Version::{Http10, Http11};
    for (head, request, connection, to, want) in [
        (
            "HTTP/1.0 200 Fine\r\nX: y\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
            Other,
            KeepAlive,
            Http11,
            "HTTP/1.1 200 Fine\r\nX: y\r\nContent-Length: 5\r\nVia: 1.1 p\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Other,
            Keep10,
            Http10,
            "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nVia: 1.1 p\r\n\r\n",
        ),
        // RFC 9110 section 15.5.22.
        (
            "HTTP/1.1 426 No\r\nConnection: upgrade\r\nUpgrade: TLS/1.0, h2c\r\nContent-Length: 0\r\n\r\n",
            Other,
            KeepAlive,
            Http11,
            "HTTP/1.1 426 No\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: TLS/1.0, h2c\r\nVia: 1.1 p\r\n\r\n",
        ),
        (
            "HTTP/1.1 426 No\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
            Other,
            Close,
            Http10,
            "HTTP/1.0 426 No\r\nContent-Length: 0\r\nConnection: close\r\nVia: 1.1 p\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Other,
            Close,
            Http11,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nVia: 1.1 p\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Other,
            Keep10,
            Http10,
            "HTTP/1.0 200 OK\r\nConnection: close\r\nVia: 1.1 p\r\n\r\n",
        ),
        (
            "HTTP/1.0 200 OK\r\n\r\n",
            Other,
            KeepAlive,
            Http11,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nVia: 1.1 p\r\n\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Head,
            KeepAlive,
            Http11,
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 p\r\n\r\n",
        ),
        (
            "HTTP/1.1 204\r\nContent-Length: 5\r\n\r\n",
            Other,
            KeepAlive,
            Http11,
            "HTTP/1.1 204 \r\nVia: 1.1 p\r\n\r\n",
        ),
        (
            "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n",
            Other,
            Upgrade("websocket"),
            Http11,
            "HTTP/1.1 101 S\r\nSec-WebSocket-Accept: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nVia: 1.1 p\r\n\r\n",
        ),
    ] {
        assert_eq!(reanswered(head, request, connection, to), want);
    }
}

#[test]
fn local_responses() {
    let written = |response: &LocalResponse<'_>| {
        let mut out = Vec::new();
        write_local_response(&mut out, response);
        String::from_utf8(out).unwrap()
    };
    let response = LocalResponse {
        status: 404,
        fields: &[("Content-Type", "text/plain"), ("X-Bad", "a\nb")],
        date: "Sun, 06 Nov 1994 08:49:37 GMT",
        body: b"no",
        keep_alive: true,
        to: Version::Http11,
        head_only: false,
    };
    assert_eq!(
        written(&response),
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nno"
    );
    let head_only = LocalResponse {
        head_only: true,
        to: Version::Http10,
        ..response
    };
    assert_eq!(
        written(&head_only),
        "HTTP/1.0 404 Not Found\r\nContent-Type: text/plain\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n"
    );
    let closing = LocalResponse {
        status: 204,
        fields: &[],
        keep_alive: false,
        ..response
    };
    assert_eq!(
        written(&closing),
        "HTTP/1.1 204 No Content\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n\r\n"
    );
    // RFC 9110 section 15.3.6.
    let reset = LocalResponse {
        status: 205,
        fields: &[],
        ..response
    };
    assert_eq!(
        written(&reset),
        "HTTP/1.1 205 Reset Content\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n"
    );
    // A rule may say it.
    let dated = LocalResponse {
        fields: &[("Date", "x")],
        ..closing
    };
    assert_eq!(
        written(&dated),
        "HTTP/1.1 204 No Content\r\nDate: x\r\nConnection: close\r\n\r\n"
    );
}

/// Heads made of words that matter, most of them acceptable.
fn any_head() -> impl Strategy<Value = String> {
    let line =
        "(GET|POST|OPTIONS|x-y) (/[!-~]{0,20}|http://[a-z]{1,3}(:80)?(/x|\\?y)?) HTTP/1\\.[01]";
    let field = prop_oneof![
        4 => "[A-Za-z-]{1,12}: ?[ -~]{0,20}",
        1 => Just("Content-Length: 12".to_owned()),
        1 => Just("Transfer-Encoding: chunked".to_owned()),
        1 => "Connection: (close|keep-alive|upgrade|x-a|, host)",
        1 => "Upgrade: (websocket|h2c|a, b)",
        1 => "(TE: trailers|Expect: 100-continue|X-A: 1|Host: h)",
    ];
    (line, prop::collection::vec(field, 0..8)).prop_map(|(line, fields)| {
        format!(
            "{line}\r\nHost: h:1\r\n{}\r\n",
            fields
                .iter()
                .map(|field| format!("{field}\r\n"))
                .collect::<String>()
        )
    })
}

/// What must survive writing and parsing again.
#[derive(Debug, PartialEq)]
struct Essence<'h> {
    line: (&'h str, &'h str, Option<&'h str>),
    host: Option<&'h str>,
    body: BodyLength,
    fields: Vec<(&'h str, &'h [u8])>,
}

fn essence<'h>(head: &RequestHead<'h>) -> Essence<'h> {
    Essence {
        line: (head.method, head.path, head.query),
        host: head.host,
        // Where a body is expected, it is said that there is none.
        body: match head.body {
            BodyLength::None => BodyLength::Length(0),
            body => body,
        },
        fields: head
            .forwarded()
            .map(|field| (field.name, field.value))
            .collect(),
    }
}

proptest! {
    #[test]
    fn written_requests_parse_to_the_same(head in any_head()) {
        let limits = HeadLimits::default();
        let mut slots = field_slots();
        if let Ok(Some(first)) = parse_request(head.as_bytes(), &mut slots, &limits) {
            let mut out = Vec::new();
            write_request(&mut out, &first, &RequestRewrite::default(), first.body, &[]);
            let mut slots = field_slots();
            let second = parse_request(&out, &mut slots, &limits).unwrap().unwrap();
            prop_assert_eq!(essence(&first), essence(&second));
            prop_assert_eq!(second.len, out.len());
            prop_assert!(second.keep_alive);
            prop_assert_eq!(second.upgrade, None);
            let mut again = Vec::new();
            write_request(&mut again, &second, &RequestRewrite::default(), second.body, &[]);
            prop_assert_eq!(out.as_slice(), again.as_slice(), "writing is stable");
        }
    }

    /// Neighbours copied as one piece, or each field by itself: nobody can tell.
    #[test]
    fn copying_in_one_piece_changes_nothing(
        fields in prop::collection::vec("[A-Za-z]{1,6}:[ \t]{0,2}[a-z:]{0,5}[ \t]{0,2}", 0..12),
        dropped in prop::collection::vec(0usize..12, 0..6),
        blank in any::<bool>(),
    ) {
        let lines: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let blank = if blank { "\r\n" } else { "" };
        let head = format!("{blank}GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\nbody: x\r\n");
        let mut slots = field_slots();
        let limits = HeadLimits::default();
        if let Ok(Some(head)) = parse_request(head.as_bytes(), &mut slots, &limits) {
            let mut drop = FieldSet::EMPTY;
            dropped.iter().for_each(|at| drop.insert(*at));
            let rewrite = RequestRewrite { drop, ..RequestRewrite::default() };
            let (mut pieces, mut each) = (Vec::new(), Vec::new());
            write_request(&mut pieces, &head, &rewrite, head.body, &[]);
            let alone = RequestHead { bytes: b"", ..head };
            write_request(&mut each, &alone, &rewrite, head.body, &[]);
            prop_assert_eq!(String::from_utf8(pieces), String::from_utf8(each));
        }
    }

    #[test]
    fn written_responses_parse_to_the_same(
        status in 100u16..=999,
        reason in "[ -~]{0,20}",
        fields in "((X-A|Server|Set-Cookie|Connection): ?[a-z]{0,9}\r\n){0,6}(Content-Length: [0-9]{1,9}\r\n|Transfer-Encoding: chunked\r\n)?",
        old in any::<bool>(),
    ) {
        let limits = HeadLimits::default();
        let head = format!("HTTP/1.1 {status} {reason}\r\n{fields}\r\n");
        let mut slots = field_slots();
        let first = parse_response(head.as_bytes(), &mut slots, &limits, RequestKind::Other).unwrap().unwrap();
        let to = if old { Version::Http10 } else { Version::Http11 };
        let mut out = Vec::new();
        write_response(&mut out, &first, ConnectionOption::KeepAlive, to, first.body.towards(to), &[]);
        let mut slots = field_slots();
        let second = parse_response(&out, &mut slots, &limits, RequestKind::Other).unwrap().unwrap();
        prop_assert_eq!((second.version, second.status, second.reason), (to, first.status, first.reason));
        prop_assert_eq!(second.body, first.body.towards(to));
        prop_assert_eq!(second.len, out.len());
        let forwarded = |head: &pointsman_wire::http1::ResponseHead<'_>| -> Vec<(String, Vec<u8>)> {
            head.forwarded().map(|field| (field.name.to_owned(), field.value.to_vec())).collect()
        };
        prop_assert_eq!(forwarded(&first), forwarded(&second));
    }

    /// The cheap scan never misses a complete head, wherever the pieces end.
    #[test]
    fn scan_agrees_with_parser(head in any_head(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let bytes = head.as_bytes();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        let mut scanned = 0;
        for end in ends {
            let seen = &bytes[..end];
            if head_may_be_complete(seen, scanned) {
                prop_assert_eq!(end, bytes.len());
                return Ok(());
            }
            prop_assert!(!matches!(parse_request(seen, &mut field_slots(), &HeadLimits::default()), Ok(Some(_))));
            scanned = end;
        }
        prop_assert!(false, "the end of the head was not seen");
    }
}

#[test]
fn scan_sees_every_kind_of_end() {
    for end in ["\r\n\r\n", "\n\n", "\n\r\n", "\r\n\n"] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a{end}");
        for scanned in 0..bytes.len() {
            assert!(
                head_may_be_complete(bytes.as_bytes(), scanned),
                "{end:?} after {scanned}"
            );
            assert!(!head_may_be_complete(
                &bytes.as_bytes()[..bytes.len() - 1],
                0
            ));
        }
    }
    assert!(!head_may_be_complete(b"", 7));
}

#[test]
fn the_end_of_the_first_line_is_seen_once() {
    let bytes = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n";
    let end = 2 + "GET / HTTP/1.1\r\n".len();
    for scanned in 0..end {
        assert!(!first_line_ends(&bytes[..end - 1], scanned));
        assert!(first_line_ends(&bytes[..end], scanned), "{scanned}");
    }
    assert!(!first_line_ends(&bytes[..end], end));
    assert!(!first_line_ends(b"", 7));
}

#[test]
fn bodies_towards_a_version() {
    use ResponseBody::{Chunked, Length, UntilClose};
    assert_eq!(Chunked.towards(Version::Http10), UntilClose);
    assert_eq!(UntilClose.towards(Version::Http11), Chunked);
    assert_eq!(Length(3).towards(Version::Http10), Length(3));
    assert_eq!(
        ResponseBody::None.towards(Version::Http11),
        ResponseBody::None
    );
}
