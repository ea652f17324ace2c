//! HTTP/2 messages read as HTTP/1 reads them, and built from what HTTP/1 read.

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use pointsman_wire::http1::{
    BodyLength, ConnectionOption, HeadLimits, Reason, RequestHead, RequestKind, RequestRewrite,
    ResponseBody, Version, is_token_byte, is_value, parse_request, parse_response, write_request,
    write_response,
};
use pointsman_wire::{http1, http2};
use proptest::prelude::*;

/// Method, scheme (may be empty), authority (may be empty), path and fields.
type Asked<'a> = (&'a str, &'a str, &'a str, &'a str, &'a [(&'a str, &'a str)]);

fn parts((method, scheme, authority, path, fields): Asked<'_>) -> http::request::Parts {
    let mut uri = http::uri::Parts::default();
    uri.scheme = (!scheme.is_empty()).then(|| scheme.parse().unwrap());
    uri.authority = (!authority.is_empty()).then(|| authority.parse().unwrap());
    uri.path_and_query = (!path.is_empty()).then(|| path.parse().unwrap());
    let mut request = Request::new(());
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = http::Uri::from_parts(uri).unwrap();
    *request.headers_mut() = map(fields);
    request.into_parts().0
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(
            HeaderName::from_lowercase(name.as_bytes()).unwrap(), // as `h2` does
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    map
}

/// What an HTTP/1 endpoint would get.
fn written(
    asked: Asked<'_>,
    protocol: Option<&str>,
    end_stream: bool,
) -> Result<(String, BodyLength), Reason> {
    let parts = parts(asked);
    let mut slots = http2::field_slots();
    let head = http2::request_head(
        &parts,
        protocol,
        end_stream,
        &mut slots,
        &HeadLimits::default(),
    )
    .map_err(|refusal| refusal.reason)?;
    assert!(head.keep_alive && head.version == Version::Http2);
    let mut out = Vec::new();
    let connection = head.upgrade.map_or(ConnectionOption::KeepAlive, |upgrade| {
        ConnectionOption::Upgrade(upgrade.protocols)
    });
    let rewrite = RequestRewrite {
        connection,
        ..RequestRewrite::default()
    };
    write_request(&mut out, &head, &rewrite, head.body, &[]);
    Ok((String::from_utf8(out).unwrap(), head.body))
}

#[test]
fn requests_read_as_http1_reads_them() {
    use BodyLength::{Chunked, Length, None as Empty};
    let cases: &[(Asked<'_>, bool, &str, BodyLength)] = &[
        (
            (
                "GET",
                "http",
                "a.example:8080",
                "/x?y=1",
                &[("accept", "*/*")],
            ),
            true,
            "GET /x?y=1 HTTP/1.1\r\nHost: a.example:8080\r\naccept: */*\r\n\r\n",
            Empty,
        ),
        (
            (
                "GET",
                "https",
                "a",
                "/",
                &[("host", "A"), ("te", "trailers")],
            ),
            true,
            "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
            Empty,
        ),
        (
            (
                "POST",
                "",
                "",
                "/up",
                &[("host", "b"), ("content-length", "3")],
            ),
            false,
            "POST /up HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\n",
            Length(3),
        ),
        (
            ("POST", "http", "a", "/up", &[("content-length", "0")]),
            true,
            "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            Length(0),
        ),
        (
            ("POST", "http", "a", "/up", &[("expect", "100-continue")]),
            false,
            "POST /up HTTP/1.1\r\nHost: a\r\nexpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
            Chunked,
        ),
        (
            ("OPTIONS", "http", "a", "*", &[]),
            true,
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            Empty,
        ),
        (
            ("CONNECT", "", "a:443", "", &[]),
            false,
            "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
            Empty,
        ),
    ];
    for (asked, end_stream, text, body) in cases {
        let expected = Ok(((*text).to_owned(), *body));
        assert_eq!(written(*asked, None, *end_stream), expected, "{asked:?}");
    }
}

/// RFC 8441 section 5: in HTTP/1 it is a GET with an upgrade.
#[test]
fn an_extended_connect_reads_as_an_upgrade() {
    let asked: Asked<'_> = (
        "CONNECT",
        "https",
        "a",
        "/chat",
        &[("sec-websocket-version", "13")],
    );
    let (text, body) = written(asked, Some("websocket"), false).unwrap();
    assert_eq!(
        text,
        "GET /chat HTTP/1.1\r\nHost: a\r\nsec-websocket-version: 13\r\n\
         Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    assert_eq!(body, BodyLength::None);
    for (protocol, reason) in [
        ("connect-udp", Reason::UnknownProtocol),
        ("", Reason::UnknownProtocol),
    ] {
        assert_eq!(written(asked, Some(protocol), false), Err(reason));
    }
    let get: Asked<'_> = ("GET", "https", "a", "/chat", &[]);
    assert_eq!(
        written(get, Some("websocket"), false),
        Err(Reason::UnknownProtocol)
    );
}

#[test]
fn what_http1_could_not_carry_is_refused() {
    use Reason::*;
    let long = "x".repeat(33);
    let deep = format!("/{}", "a".repeat(20_000));
    let many: Vec<(&str, &str)> = vec![("a", "1"); 101];
    let large = "v".repeat(40_000);
    let huge = [("a", large.as_str()), ("b", large.as_str())];
    let cases: &[(Asked<'_>, bool, Reason)] = &[
        ((&long, "http", "a", "/", &[]), true, MethodTooLong),
        (("GET", "ftp", "a", "/", &[]), true, BadScheme),
        (("GET", "http", "u@a", "/", &[]), true, BadHost),
        (("GET", "http", "a,b", "/", &[]), true, BadHost),
        (
            ("GET", "http", "a", "/", &[("host", "b")]),
            true,
            AuthorityMismatch,
        ),
        (
            ("GET", "http", "a", "/", &[("host", "")]),
            true,
            AuthorityMismatch,
        ),
        (
            ("GET", "http", "a", "/", &[("host", "a"), ("host", "a")]),
            true,
            DuplicateHost,
        ),
        (("GET", "", "", "/", &[("host", "a b")]), true, BadHost),
        (("GET", "", "", "/", &[]), true, MissingHost),
        (("GET", "http", "a", "*", &[]), true, BadTarget),
        (("GET", "http", "a", "?x", &[]), true, BadTarget),
        (("GET", "http", "a", "/caf\u{e9}", &[]), true, BadTarget),
        (("GET", "", "", "", &[("host", "a")]), true, BadTarget),
        (("GET", "http", "a", &deep, &[]), true, TargetTooLong),
        (("CONNECT", "", "a", "", &[]), false, BadTarget),
        (("CONNECT", "http", "a:1", "/", &[]), false, BadTarget),
        (
            ("CONNECT", "", "a:1", "", &[("content-length", "1")]),
            false,
            LengthWithoutBody,
        ),
        (("GET", "http", "a", "/", &many), true, TooManyFields),
        (("GET", "http", "a", "/", &huge), true, HeadTooLarge),
        (
            ("GET", "http", "a", "/", &[("a\"b", "1")]),
            true,
            BadFieldName,
        ),
        (
            ("GET", "http", "a", "/", &[("a", " 1")]),
            true,
            BlankAroundValue,
        ),
        (
            ("GET", "http", "a", "/", &[("a", "1\t")]),
            true,
            BlankAroundValue,
        ),
        (
            ("GET", "http", "a", "/", &[("connection", "close")]),
            true,
            ConnectionField,
        ),
        (
            ("GET", "http", "a", "/", &[("keep-alive", "1")]),
            true,
            ConnectionField,
        ),
        (
            ("GET", "http", "a", "/", &[("proxy-connection", "close")]),
            true,
            ConnectionField,
        ),
        (
            ("GET", "http", "a", "/", &[("transfer-encoding", "chunked")]),
            true,
            ConnectionField,
        ),
        (
            ("GET", "http", "a", "/", &[("upgrade", "websocket")]),
            true,
            ConnectionField,
        ),
        (
            ("GET", "http", "a", "/", &[("http2-settings", "AAMAAABk")]),
            true,
            ConnectionField,
        ),
        (("GET", "http", "a", "/", &[("te", "gzip")]), true, BadTe),
        (
            ("GET", "http", "a", "/", &[("te", "trailers, gzip")]),
            true,
            BadTe,
        ),
        (
            ("PUT", "http", "a", "/", &[("content-length", "+1")]),
            false,
            BadContentLength,
        ),
        (
            ("PUT", "http", "a", "/", &[("content-length", "1,1")]),
            false,
            DuplicateContentLength,
        ),
        (
            (
                "PUT",
                "http",
                "a",
                "/",
                &[("content-length", "1"), ("content-length", "2")],
            ),
            false,
            DuplicateContentLength,
        ),
        (
            ("PUT", "http", "a", "/", &[("content-length", "1")]),
            true,
            LengthWithoutBody,
        ),
    ];
    for (asked, end_stream, reason) in cases {
        let got = written(*asked, None, *end_stream);
        assert_eq!(got, Err(*reason), "{:.80}", format!("{asked:?}"));
    }
}

/// The reader leans on these promises of the `http` crate.
#[test]
fn the_library_holds_names_and_values_to_the_grammar() {
    for byte in 0..=255u8 {
        let name = HeaderName::from_lowercase(&[b'a', byte]);
        let token = is_token_byte(byte) && !byte.is_ascii_uppercase();
        assert_eq!(name.is_ok(), token || byte == b'"', "{byte:#x}");
        let value = HeaderValue::from_bytes(&[b'a', byte]);
        assert_eq!(value.is_ok(), is_value(&[byte]), "{byte:#x}");
    }
}

/// RFC 9113 section 8.2.3.
#[test]
fn cookies_are_joined() {
    for (crumbs, joined) in [
        (&[][..], None),
        (&["a=1"], Some("a=1")),
        (&["a=1", "b=2", "c=3"], Some("a=1; b=2; c=3")),
        // Crumbs of nothing, which some clients send, are no part of it.
        (&["a=1", ""], Some("a=1")),
        (&["", "a=1"], Some("a=1")),
        (&["a=1", "", "b=2"], Some("a=1; b=2")),
        (&["", ""], Some("")),
        (&[""], Some("")),
    ] {
        let mut fields: Vec<(&str, &str)> = crumbs.iter().map(|crumb| ("cookie", *crumb)).collect();
        fields.insert(crumbs.len() / 2, ("x", "y"));
        let mut fields = map(&fields);
        http2::join_cookies(&mut fields);
        let cookies: Vec<_> = fields.get_all("cookie").iter().collect();
        assert_eq!(cookies, Vec::from_iter(joined), "{crumbs:?}");
        assert_eq!(fields["x"], "y");
    }
}

fn answered(
    status: u16,
    fields: &[(&str, &str)],
    end_stream: bool,
    kind: RequestKind,
) -> Result<(String, ResponseBody), Reason> {
    let map = map(fields);
    let mut slots = http2::field_slots();
    let head = http2::response_head(
        StatusCode::from_u16(status).unwrap(),
        &map,
        end_stream,
        &mut slots,
        &HeadLimits::default(),
        kind,
    )
    .map_err(|refusal| {
        assert_eq!(refusal.status, 502);
        refusal.reason
    })?;
    let mut out = Vec::new();
    write_response(
        &mut out,
        &head,
        ConnectionOption::KeepAlive,
        Version::Http2, // the writer says HTTP/1.1
        head.body.towards(Version::Http2),
        &[],
    );
    Ok((String::from_utf8(out).unwrap(), head.body))
}

#[test]
fn responses_read_as_http1_reads_them() {
    use RequestKind::{Connect, Head, Other};
    use ResponseBody::{Chunked, Length, None as Empty};
    let length: &[(&str, &str)] = &[("content-length", "5")];
    for (status, fields, end, kind, text, body) in [
        (
            200,
            &[("a", "b")][..],
            false,
            Other,
            "200 OK\r\na: b\r\nTransfer-Encoding: chunked",
            Chunked,
        ),
        (
            200,
            &[("a", "b")],
            true,
            Other,
            "200 OK\r\na: b\r\nContent-Length: 0",
            Length(0),
        ),
        (
            200,
            length,
            false,
            Other,
            "200 OK\r\nContent-Length: 5",
            Length(5),
        ),
        (
            200,
            length,
            true,
            Head,
            "200 OK\r\nContent-Length: 5",
            Empty,
        ),
        (
            304,
            length,
            true,
            Other,
            "304 Not Modified\r\nContent-Length: 5",
            Empty,
        ),
        (204, length, true, Other, "204 No Content", Empty),
        (200, &[], false, Connect, "200 OK", Empty),
        (
            103,
            &[("link", "</a>")],
            false,
            Other,
            "103 \r\nlink: </a>",
            Empty,
        ),
        (100, &[], false, Other, "100 Continue", Empty),
    ] {
        let expected = Ok((format!("HTTP/1.1 {text}\r\n\r\n"), body));
        assert_eq!(
            answered(status, fields, end, kind),
            expected,
            "{status} {fields:?}"
        );
    }
    for (status, fields, end, reason) in [
        (101, &[][..], false, Reason::BadInterim),
        (100, &[], true, Reason::BadInterim),
        (200, length, true, Reason::LengthWithoutBody),
        (
            200,
            &[("content-length", "5"), ("content-length", "6")],
            false,
            Reason::DuplicateContentLength,
        ),
        (200, &[("te", "trailers")], false, Reason::ConnectionField),
        (
            200,
            &[("connection", "close")],
            false,
            Reason::ConnectionField,
        ),
        (
            200,
            &[("transfer-encoding", "chunked")],
            false,
            Reason::ConnectionField,
        ),
        (200, &[("a", "b ")], false, Reason::BlankAroundValue),
    ] {
        assert_eq!(
            answered(status, fields, end, Other),
            Err(reason),
            "{status} {fields:?}"
        );
    }
}

fn lines(head: &http::HeaderMap) -> Vec<String> {
    head.iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect()
}

fn built(
    bytes: &str,
    rewrite: &RequestRewrite<'_>,
    extra: &[(&str, &[u8])],
) -> Result<String, Reason> {
    let mut slots = http1::field_slots();
    let head = parse_request(bytes.as_bytes(), &mut slots, &HeadLimits::default())
        .unwrap()
        .unwrap();
    let request = http2::to_request(&head, rewrite, "https", head.body, extra)
        .map_err(|refusal| refusal.reason)?;
    Ok(format!(
        "{} {} {:?} {}",
        request.method(),
        request.uri(),
        request.version(),
        lines(request.headers()).join("|")
    ))
}

#[test]
fn requests_are_built_for_http2() {
    let plain = RequestRewrite::default();
    let websocket = RequestRewrite {
        connection: ConnectionOption::Upgrade("websocket"),
        ..plain
    };
    let moved = RequestRewrite {
        target: Some("/neu \u{e9}#x"),
        host: Some("b:1"),
        ..plain
    };
    let handshake = "GET /c HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n";
    type Case<'a> = (
        &'a str,
        &'a RequestRewrite<'a>,
        &'a [(&'a str, &'a [u8])],
        &'a str,
    );
    let cases: &[Case<'_>] = &[
        (
            "GET /x?y HTTP/1.1\r\nHost: a\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nX-A: 1\r\nx-a: 2\r\n\r\n",
            &plain,
            &[],
            "GET https://a/x?y HTTP/2.0 x-a: 1|x-a: 2",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTE: trailers, gzip\r\nConnection: TE\r\n\r\n",
            &plain,
            &[
                ("X-B", b" c "),
                ("b d", b""),
                ("e", b"\n"),
                ("Connection", b"close"),
                ("te", b"gzip"),
            ],
            "POST https://a/ HTTP/2.0 content-length: 3|x-b: c|te: trailers",
        ),
        (
            "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            &plain,
            &[],
            "PUT https://a/ HTTP/2.0 ",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            &moved,
            &[],
            "GET https://b:1/neu%20%C3%A9%23x HTTP/2.0 ",
        ),
        (
            handshake,
            &websocket,
            &[],
            "CONNECT https://a/c HTTP/2.0 sec-websocket-version: 13",
        ),
        (
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            &plain,
            &[],
            "CONNECT a:1 HTTP/2.0 ",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
            &plain,
            &[],
            "OPTIONS https://a* HTTP/2.0 ",
        ),
        ("GET /x HTTP/1.0\r\n\r\n", &plain, &[], "GET /x HTTP/1.1 "),
        (
            "GET /<\"`>?<\"`> HTTP/1.1\r\nHost: a\r\n\r\n",
            &plain,
            &[],
            "GET https://a/%3C%22%60%3E?%3C%22%60%3E HTTP/2.0 ",
        ),
    ];
    for (bytes, rewrite, extra, expected) in cases {
        assert_eq!(built(bytes, rewrite, extra).as_deref(), Ok(*expected));
    }
    assert_eq!(
        built("GET / HTTP/1.1\r\nHost: a%41\r\n\r\n", &plain, &[]),
        Err(Reason::BadHost)
    );
}

#[test]
fn responses_are_built_for_http2() {
    for (bytes, kind, expected) in [
        (
            "HTTP/1.1 200 OK\r\nX-A: 1\r\nConnection: x-b\r\nX-B: 1\r\nContent-Length: 3\r\n\r\n",
            RequestKind::Other,
            "200 OK x-a: 1|content-length: 3",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            RequestKind::Head,
            "200 OK content-length: 3",
        ),
        (
            "HTTP/1.0 200 OK\r\nKeep-Alive: 3\r\n\r\n",
            RequestKind::Other,
            "200 OK ",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            RequestKind::Other,
            "200 OK ",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
            RequestKind::Other,
            "200 OK sec-websocket-protocol: chat",
        ),
        (
            "HTTP/1.1 999 X\r\n\r\n",
            RequestKind::Other,
            "999 <unknown status code> ",
        ),
    ] {
        let mut slots = http1::field_slots();
        let head = parse_response(bytes.as_bytes(), &mut slots, &HeadLimits::default(), kind)
            .unwrap()
            .unwrap();
        let response = http2::to_response(&head, head.body.towards(Version::Http2), &[]).unwrap();
        let text = format!(
            "{} {}",
            response.status(),
            lines(response.headers()).join("|")
        );
        assert_eq!(text, expected);
    }
    // What only ended its stream is told no length.
    let map = map(&[("grpc-status", "12")]);
    let mut slots = http2::field_slots();
    let head = http2::response_head(
        StatusCode::OK,
        &map,
        true,
        &mut slots,
        &HeadLimits::default(),
        RequestKind::Other,
    )
    .unwrap();
    let response = http2::to_response(&head, head.body, &[]).unwrap();
    assert_eq!(lines(response.headers()), ["grpc-status: 12"]);
}

#[test]
fn trailers_pass_without_what_may_not_be_late() {
    let asked: &[(&str, &str)] = &[
        ("grpc-status", "0"),
        ("content-length", "3"),
        ("host", "b"),
        ("x-forwarded-for", "1.1.1.1"),
        ("x-envoy-internal", "true"),
        ("x-request-id", "1"),
        ("authorization", "x"),
        ("connection", "close"),
        ("a\"b", "1"),
        ("x", " 1 "),
    ];
    let mut out = Vec::new();
    http2::write_trailers(&mut out, &map(asked));
    assert_eq!(out, b"0\r\ngrpc-status: 0\r\nx: 1\r\n\r\n");

    let limits = http1::ChunkLimits::default();
    let mut trailers = map(asked);
    http2::retain_trailers(&mut trailers, &limits).unwrap();
    assert_eq!(lines(&trailers), ["grpc-status: 0", "x:  1 "]);
    let mut trailers = map(&[("a", "1"); 65]);
    assert_eq!(
        http2::retain_trailers(&mut trailers, &limits),
        Err(Reason::TooManyTrailers)
    );
    let large = "v".repeat(16_384);
    let mut trailers = map(&[("a", &large)]);
    assert_eq!(
        http2::retain_trailers(&mut trailers, &limits),
        Err(Reason::TrailersTooLarge)
    );

    let field = |name, value| http1::Field { name, value };
    let late = [
        field("X-Sum", &b"1"[..]),
        field("Set-Cookie", b"a"),
        field("x-sum", b"2"),
    ];
    let map = http2::trailers_to_map(late.into_iter());
    assert_eq!(lines(&map), ["x-sum: 1", "x-sum: 2"]);
}

/// The lines of a head in lower case and in the order of the alphabet.
fn normal(head: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    lines.sort();
    lines
}

fn field_line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "Accept",
        "X-A",
        "x-a",
        "Cookie",
        "User-Agent",
        "X-Very-Long-Name-Of-No-Standard",
        "Expect",
        "Keep-Alive",
        "Proxy-Connection",
    ]);
    let free = (name, "[!-~\u{e9}]?([ -~\t]{0,20}[!-~])?")
        .prop_map(|(name, value)| format!("{name}: {value}"));
    let told = prop::sample::select(vec!["Expect: 100-continue", "TE: trailers", "TE: gzip"]);
    prop_oneof![4 => free, 1 => told.prop_map(str::to_owned)]
}

proptest! {
    /// What HTTP/1 accepts goes through HTTP/2 and comes out as HTTP/1 would have sent it, beside
    /// letter case and order.
    #[test]
    fn http1_survives_http2(
        method in prop::sample::select(vec!["GET", "POST", "HEAD", "DELETE", "OPTIONS", "X!y"]),
        target in "/[!$-;=?-_a-z~]{0,30}",
        host in "[a-z0-9.-]{1,10}(:[0-9]{1,4})?",
        fields in prop::collection::vec(field_line(), 0..12),
        framing in prop::sample::select(vec![
            "", "Content-Length: 0\r\n", "Content-Length: 12\r\n", "Transfer-Encoding: chunked\r\n",
        ]),
    ) {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{framing}{}\r\n",
            fields.iter().map(|line| format!("{line}\r\n")).collect::<String>());
        let limits = HeadLimits::default();
        let mut slots = http1::field_slots();
        let head = parse_request(text.as_bytes(), &mut slots, &limits).unwrap().unwrap();
        let plain = RequestRewrite::default();
        let mut direct = Vec::new();
        write_request(&mut direct, &head, &plain, head.body, &[]);

        let parts = http2::to_request(&head, &plain, "http", head.body, &[]).unwrap().into_parts().0;
        let end_stream = matches!(head.body, BodyLength::None | BodyLength::Length(0));
        let mut slots = http2::field_slots();
        let again = http2::request_head(&parts, None, end_stream, &mut slots, &limits).unwrap();
        let mut through = Vec::new();
        write_request(&mut through, &again, &plain, again.body, &[]);
        prop_assert_eq!(normal(&through), normal(&direct));
        prop_assert_eq!(again.expect_continue, head.expect_continue);
        prop_assert_eq!((again.path, again.query, again.te_trailers), (head.path, head.query, head.te_trailers));
        prop_assert!(again.len <= through.len() + 64 && through.len() <= again.len + 64);
    }
}

/// From HTTP/2 to HTTP/2 the fields are the same ones, with what a route changes.
#[test]
fn fields_are_shared_between_http2_messages() {
    let asked: Asked<'_> = (
        "POST",
        "http",
        "a",
        "/x?y",
        &[
            ("x-one", "1"),
            ("accept", "*/*"),
            ("x-one", "2"),
            ("te", "trailers"),
            ("x-gone", "3"),
            ("content-length", "5"),
        ],
    );
    let parts = parts(asked);
    let mut slots = http2::field_slots();
    let limits = HeadLimits::default();
    let head = http2::request_head(&parts, None, false, &mut slots, &limits).unwrap();
    let mut more = head.fields.to_vec();
    more.push(http1::Field {
        name: "x-more",
        value: b"5",
    });
    let longer = RequestHead {
        fields: &more,
        ..head
    };
    let mut changed = RequestRewrite {
        host: Some("b"),
        ..RequestRewrite::default()
    };
    let gone = head.fields.iter().position(|field| field.name == "x-gone");
    changed.drop.insert(gone.unwrap());
    let extra: &[(&str, &[u8])] = &[("X-New", b"4")];
    let plain = RequestRewrite::default();
    for (head, rewrite, extra, uri, expected) in [
        (
            &head,
            &plain,
            &[][..],
            "http://a/x?y",
            "x-one: 1|x-one: 2|accept: */*|te: trailers|x-gone: 3|content-length: 5",
        ),
        (
            &longer,
            &plain,
            extra,
            "http://a/x?y",
            "x-one: 1|x-one: 2|accept: */*|te: trailers|x-gone: 3|content-length: 5|x-more: 5|x-new: 4",
        ),
        (
            &longer,
            &changed,
            extra,
            "http://b/x?y",
            "x-one: 1|x-one: 2|accept: */*|te: trailers|content-length: 5|x-more: 5|x-new: 4",
        ),
    ] {
        let shared = http2::to_request(head, rewrite, "http", head.body, extra).unwrap();
        assert_eq!(shared.uri(), uri);
        assert_eq!(lines(shared.headers()).join("|"), expected);
        let address = |map: &HeaderMap| map["accept"].as_bytes().as_ptr();
        assert_eq!(address(shared.headers()), address(&parts.headers));
        let copied = RequestHead {
            source: None,
            ..*head
        };
        let copied = http2::to_request(&copied, rewrite, "http", head.body, extra).unwrap();
        assert_eq!(copied.headers(), shared.headers());
        assert_eq!(copied.uri(), shared.uri());
    }
    // A length that is told in another way is told anew, as is one that was changed.
    let body = BodyLength::Length(6);
    let told = http2::to_request(&head, &plain, "http", body, &[]).unwrap();
    assert_eq!(told.headers()["content-length"], "6");
    let body = BodyLength::Chunked;
    let told = http2::to_request(&head, &plain, "http", body, &[]).unwrap();
    assert_eq!(told.headers().get("content-length"), None);
    // Another scheme is another URI.
    let other = http2::to_request(&head, &plain, "https", head.body, &[]).unwrap();
    assert_eq!(other.uri(), "https://a/x?y");
}

/// What is sent as it came changes hands, and nothing of it is copied.
#[test]
fn fields_that_all_pass_are_given_away() {
    let mut parts = parts((
        "POST",
        "http",
        "a",
        "/",
        &[("accept", "*/*"), ("x-request-id", "1")],
    ));
    let plain = RequestRewrite::default();
    let extra: &[(&str, &[u8])] = &[("x-new", b"4")];
    let (mut outgoing, whole) = {
        let mut slots = http2::field_slots();
        let limits = HeadLimits::default();
        let head = http2::request_head(&parts, None, true, &mut slots, &limits).unwrap();
        let mut changed = RequestRewrite::default();
        changed.drop.insert(0);
        let written = http2::outgoing_request(&head, &changed, "http", head.body, extra).unwrap();
        assert!(!written.lacks_source());
        assert_eq!(
            lines(written.message().headers()),
            ["x-request-id: 1", "x-new: 4"]
        );
        let outgoing = http2::outgoing_request(&head, &plain, "http", head.body, extra).unwrap();
        let whole = http2::to_request(&head, &plain, "http", head.body, extra).unwrap();
        (outgoing, whole)
    };
    assert!(outgoing.lacks_source());
    let address = parts.headers["accept"].as_bytes().as_ptr();
    outgoing.complete(|| std::mem::take(&mut parts.headers));
    assert!(!outgoing.lacks_source());
    outgoing.complete(|| unreachable!("it lacks nothing"));
    let sent = outgoing.with(HeaderMap::new);
    assert_eq!(
        lines(sent.headers()),
        ["accept: */*", "x-request-id: 1", "x-new: 4"]
    );
    assert_eq!(sent.headers(), whole.headers());
    assert_eq!(sent.uri(), whole.uri());
    assert_eq!(sent.headers()["accept"].as_bytes().as_ptr(), address);
}

/// Values that hardly come again are sent as literals that go into no table (RFC 7541 section 6.2.3),
/// wherever they come from.
#[test]
fn what_differs_each_time_goes_into_no_table() {
    let once = [
        "x-request-id",
        "traceparent",
        "tracestate",
        "x-b3-spanid",
        "b3",
        "grpc-timeout",
    ];
    let again = ["x-request", "accept", "grpc-status", "x-b", "bb", "trailer"];
    let plain = RequestRewrite::default();
    for (names, expected) in [(once, true), (again, false)] {
        for name in names {
            let literal = |request: http::Request<()>| request.headers()[name].is_sensitive();
            let parts = parts(("GET", "http", "a", "/", &[(name, "1")]));
            let mut slots = http2::field_slots();
            let limits = HeadLimits::default();
            let head = http2::request_head(&parts, None, true, &mut slots, &limits).unwrap();
            let passed = http2::to_request(&head, &plain, "http", head.body, &[]).unwrap();
            assert_eq!(literal(passed), expected, "{name}");
            let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: 1\r\n\r\n");
            let mut slots = http1::field_slots();
            let head = parse_request(bytes.as_bytes(), &mut slots, &limits)
                .unwrap()
                .unwrap();
            let written = http2::to_request(&head, &plain, "http", head.body, &[]).unwrap();
            assert_eq!(literal(written), expected, "{name}");
            let head = RequestHead {
                fields: &[],
                ..head
            };
            let extra: &[(&str, &[u8])] = &[(name, b"1")];
            let added = http2::to_request(&head, &plain, "http", head.body, extra).unwrap();
            assert_eq!(literal(added), expected, "{name}");
        }
    }
}
