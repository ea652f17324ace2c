//! Odd and hostile response heads, each with its verdict (RFC 9112 sections 4 and 6.3).

use pointsman_wire::http1::Reason::*;
use pointsman_wire::http1::RequestKind::{Connect, Head, Other};
use pointsman_wire::http1::{
    BodyLength, HeadLimits, Reason, RequestKind, ResponseBody, ResponseHead, Version, field_slots,
    parse_response,
};

fn reason(head: &[u8]) -> Result<bool, Reason> {
    match parse_response(head, &mut field_slots(), &HeadLimits::default(), Other) {
        Ok(head) => Ok(head.is_some()),
        Err(refusal) => {
            assert_eq!(refusal.status, 502, "{head:?}");
            Err(refusal.reason)
        }
    }
}

#[test]
fn refused_heads() {
    for (head, want) in [
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", BadStatusLine),
        ("\nHTTP/1.1 200 OK\r\n\r\n", BadStatusLine),
        (" HTTP/1.1 200 OK\r\n\r\n", BadStatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", BadStatusLine),
        ("HTTP/1.1\t200 OK\r\n\r\n", BadStatusLine),
        ("HTTP/1.1 20 OK\r\n\r\n", BadStatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", BadStatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", BadStatusLine),
        ("HTTP/1.1 000 OK\r\n\r\n", BadStatusLine),
        ("HTTP/1.1 -20 OK\r\n\r\n", BadStatusLine),
        ("HTTP/1.1 2x0 OK\r\n\r\n", BadStatusLine),
        ("HTTP/1.1 OK\r\n\r\n", BadStatusLine),
        ("HTTP/1.1 200\tOK\r\n\r\n", BadStatusLine),
        ("HTTP/1.1 200 O\0K\r\n\r\n", NulByte),
        ("HTTP/1.1 200 O\u{1}K\r\n\r\n", BadStatusLine),
        ("HTTP/1.1 200 O\u{7f}K\r\n\r\n", BadStatusLine),
        ("HTTP/1.1 200 OK\rX: y\r\n\r\n", BadStatusLine),
        ("HTTP/2.0 200 OK\r\n\r\n", UnsupportedVersion),
        ("HTTP/1.2 200 OK\r\n\r\n", UnsupportedVersion),
        ("HTTP/0.9 200 OK\r\n\r\n", UnsupportedVersion),
        ("ICY 200 OK, a long enough line\r\n\r\n", BadStatusLine),
        ("http/1.1 200 OK\r\n\r\n", BadStatusLine),
        ("<html>hello, no head at all</html>", BadStatusLine),
        ("SSH-2.0-OpenSSH_9.6\r\n", BadStatusLine),
        ("HTTP/1.1 200 OK\n\n", BareLf),
        ("HTTP/1.1 200\n\n", BareLf),
        ("HTTP/1.1 200 OK\nX: y\r\n\r\n", BareLf),
        ("HTTP/1.1 200 OK\r\nX: y\n\r\n", BareLf),
        ("HTTP/1.1 200 OK\r\nX: y\r\n\n", BareLf),
        ("HTTP/1.1 200 OK\r\nX: y\rz\r\n\r\n", BareCr),
        ("HTTP/1.1 200 OK\r\nX: y\0\r\n\r\n", NulByte),
        ("HTTP/1.1 200 OK\r\nX: y\u{1}\r\n\r\n", BadFieldValue),
        ("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", SpaceBeforeColon),
        ("HTTP/1.1 200 OK\r\n X: y\r\n\r\n", ObsFold),
        ("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n", ObsFold),
        ("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n", MissingColon),
        ("HTTP/1.1 200 OK\r\n: y\r\n\r\n", EmptyFieldName),
        ("HTTP/1.1 200 OK\r\nX Y: z\r\n\r\n", BadFieldName),
        ("HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n", BadConnection),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            BadContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            BadContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            BadContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
            BadContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            DuplicateContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            DuplicateContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            ClAndTe,
        ),
        (
            "HTTP/1.1 304 X\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            ClAndTe,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            UnknownTransferCoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            UnknownTransferCoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
            UnknownTransferCoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            DuplicateTransferEncoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: ,chunked\r\n\r\n",
            BadTransferEncoding,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
            BadTransferEncoding,
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            TeInHttp10,
        ),
    ] {
        let bytes: Vec<u8> = head
            .chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect();
        assert_eq!(reason(&bytes), Err(want), "{head:?}");
    }
}

#[test]
fn incomplete_and_oversized_heads() {
    for head in [
        "",
        "H",
        "HTTP/1.",
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\nX: y",
        "HTTP/1.1 200 OK\r\nX: y\r\n\r",
    ] {
        assert_eq!(reason(head.as_bytes()), Ok(false), "{head:?}");
    }
    let limits = HeadLimits {
        max_bytes: 100,
        max_fields: 2,
        ..HeadLimits::default()
    };
    let parse = |head: &str| {
        parse_response(head.as_bytes(), &mut field_slots(), &limits, Other)
            .map(|_| ())
            .map_err(|refusal| refusal.reason)
    };
    assert_eq!(parse(&format!("HTTP/1.1 200 {}", "x".repeat(86))), Ok(()));
    assert_eq!(
        parse(&format!("HTTP/1.1 200 {}", "x".repeat(87))),
        Err(HeadTooLarge)
    );
    assert_eq!(
        parse(&format!("HTTP/1.1 200 {}\r\n\r\n", "x".repeat(84))),
        Err(HeadTooLarge)
    );
    assert_eq!(
        parse("HTTP/1.1 200 \r\na: b\r\na: b\r\na: b\r\n\r\n"),
        Err(TooManyFields)
    );
}

fn accepted(head: &str, request: RequestKind, look: impl FnOnce(&ResponseHead<'_>)) {
    let mut slots = field_slots();
    let parsed = parse_response(head.as_bytes(), &mut slots, &HeadLimits::default(), request);
    look(&parsed.expect(head).expect(head));
}

#[test]
fn framing_and_persistence() {
    use ResponseBody::{Chunked, Length, None, UntilClose};
    for (line, fields, request, body, keep_alive) in [
        ("1.1 200", "Content-Length: 5", Other, Length(5), true),
        (
            "1.1 200",
            "Content-Length: 5\r\ncontent-length: 5",
            Other,
            Length(5),
            true,
        ),
        (
            "1.1 200",
            "Content-Length: 5\r\nConnection: close",
            Other,
            Length(5),
            false,
        ),
        (
            "1.1 200",
            "Transfer-Encoding: CHUNKED",
            Other,
            Chunked,
            true,
        ),
        ("1.1 200", "X: y", Other, UntilClose, false),
        (
            "1.1 200",
            "Connection: keep-alive",
            Other,
            UntilClose,
            false,
        ),
        ("1.0 200", "Content-Length: 5", Other, Length(5), false),
        (
            "1.0 200",
            "Content-Length: 5\r\nConnection: keep-alive",
            Other,
            Length(5),
            true,
        ),
        ("1.0 200", "X: y", Other, UntilClose, false),
        ("1.1 200", "Content-Length: 5", Head, None, true),
        ("1.1 200", "Transfer-Encoding: chunked", Head, None, true),
        ("1.1 200", "X: y", Head, None, true),
        ("1.1 204", "X: y", Other, None, true),
        ("1.1 204", "Content-Length: 5", Other, None, true),
        ("1.1 204", "Transfer-Encoding: chunked", Other, None, true),
        ("1.1 304", "Content-Length: 5", Other, None, true),
        ("1.1 304", "Transfer-Encoding: chunked", Other, None, true),
        ("1.1 100", "X: y", Other, None, true),
        ("1.1 103", "Link: </x>", Other, None, true),
        ("1.1 200", "Content-Length: 5", Connect, None, true),
        ("1.1 299", "Transfer-Encoding: chunked", Connect, None, true),
        ("1.1 407", "Content-Length: 5", Connect, Length(5), true),
        ("1.1 205", "X: y", Other, UntilClose, false),
        ("1.1 599", "Content-Length: 0", Other, Length(0), true),
        ("1.1 999", "Content-Length: 0", Other, Length(0), true),
    ] {
        let head = format!("HTTP/{line} Reason\r\n{fields}\r\n\r\n");
        accepted(&head, request, |parsed| {
            assert_eq!(
                (parsed.body, parsed.keep_alive),
                (body, keep_alive),
                "{head:?} to {request:?}"
            );
            assert_eq!(parsed.len, head.len());
        });
    }
}

#[test]
fn declared_length_is_kept_where_it_may_be_told() {
    for (status, request, declared) in [
        (200, Head, BodyLength::Length(5)),
        (304, Other, BodyLength::Length(5)),
        (204, Other, BodyLength::None),
        (100, Other, BodyLength::None),
        (200, Connect, BodyLength::None),
        (200, Other, BodyLength::Length(5)),
    ] {
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n");
        accepted(&head, request, |parsed| {
            assert_eq!(parsed.declared, declared, "{status} {request:?}")
        });
    }
}

#[test]
fn status_line_parts() {
    for (line, version, status, reason) in [
        ("HTTP/1.1 200 OK", Version::Http11, 200, "OK"),
        (
            "HTTP/1.0 404 Not  Found\there",
            Version::Http10,
            404,
            "Not  Found\there",
        ),
        ("HTTP/1.1 200 ", Version::Http11, 200, ""),
        ("HTTP/1.1 200", Version::Http11, 200, ""),
        ("HTTP/1.1 200 Fl\u{e9}au", Version::Http11, 200, ""),
    ] {
        accepted(&format!("{line}\r\n\r\n"), Other, |head| {
            assert_eq!(
                (head.version, head.status, head.reason),
                (version, status, reason)
            );
        });
    }
}

#[test]
fn hop_by_hop_fields_do_not_pass() {
    let head = "HTTP/1.1 200 OK\r\nConnection: x-one\r\nX-One: 1\r\nX-Two: 2\r\nKeep-Alive: timeout=5\r\n\
                Proxy-Connection: close\r\nUpgrade: h2c\r\nContent-Length: 3\r\nTrailer: X\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    accepted(head, Other, |head| {
        let names: Vec<&str> = head.forwarded().map(|field| field.name).collect();
        assert_eq!(names, ["X-Two", "Trailer", "Set-Cookie", "Set-Cookie"]);
        assert_eq!(head.values("set-cookie").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(head.upgrade, None);
    });
}

#[test]
fn switching_protocols() {
    let upgrade = |head: &str| {
        let mut protocols = None;
        accepted(head, Other, |head| {
            protocols = head.upgrade.map(|upgrade| upgrade.protocols.to_owned())
        });
        protocols
    };
    let switch = "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(upgrade(switch).as_deref(), Some("websocket"));
    assert_eq!(
        upgrade(&switch.replace("101", "200")),
        None,
        "a 200 accepts nothing"
    );
    assert_eq!(
        upgrade(&switch.replace("Connection: Upgrade\r\n", "")),
        None
    );
    assert_eq!(upgrade(&switch.replace("HTTP/1.1", "HTTP/1.0")), None);
    accepted(switch, Other, |head| assert!(!head.is_interim()));
    accepted("HTTP/1.1 103 Early Hints\r\n\r\n", Other, |head| {
        assert!(head.is_interim())
    });
}
