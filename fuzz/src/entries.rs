//! What each fuzz target does with its input: not only that nothing panics, but that the promises
//! of the parser hold. Shared by the libFuzzer targets and by the corpus test of `pointsman-wire`.

use pointsman_wire::http1::{
    BodyLength, ChunkDecoder, ChunkEvent, ChunkLimits, ConnectionOption, Field, HeadLimits, Reason,
    RequestHead, RequestKind, RequestRewrite, ResponseHead, Version, field_slots,
    head_may_be_complete, is_token, is_valid_host, is_value, parse_request, parse_response,
    write_request, write_response,
};
use pointsman_wire::sniff::{MAX_SNIFF, Verdict};
use pointsman_wire::{grpc, grpc_web, http2, proxy_protocol, tls};

/// An accepted request reads the same without what follows it, and after it is written anew.
pub fn request_head(bytes: &[u8]) {
    let limits = HeadLimits::default();
    let mut slots = field_slots();
    let Ok(Some(head)) = parse_request(bytes, &mut slots, &limits) else {
        return;
    };
    let own = &bytes[..head.len];
    assert!(own.ends_with(b"\r\n\r\n") && head_may_be_complete(own, 0));
    assert!(lines_are_clean(own.strip_prefix(b"\r\n").unwrap_or(own)));
    assert!(head.host.is_none_or(|host| is_valid_host(host.as_bytes())));
    assert!(head.path.is_empty() || head.path == "*" || head.path.starts_with('/'));
    for end in [head.len - 1, head.len / 2] {
        assert!(
            parse_request(&bytes[..end], &mut field_slots(), &limits)
                .is_ok_and(|head| head.is_none())
        );
    }
    let mut out = Vec::new();
    write_request(&mut out, &head, &RequestRewrite::default(), head.body, &[]);
    assert!(lines_are_clean(&out));
    let mut slots = field_slots();
    // A head that fills the limits may exceed them by the fields that are ours.
    let Ok(Some(again)) = parse_request(&out, &mut slots, &limits) else {
        return assert!(own.len() > 60_000 || head.fields.len() > 90 || head.target.len() > 16_000);
    };
    assert_eq!(essence(&head), essence(&again));
    assert_eq!(again.len, out.len());
}

fn essence<'h>(head: &RequestHead<'h>) -> impl PartialEq + std::fmt::Debug + 'h {
    let fields: Vec<(&str, &[u8])> = head
        .forwarded()
        .map(|field| (field.name, field.value))
        .collect();
    (
        head.method,
        head.path,
        head.query,
        head.host.unwrap_or_default(),
        // Where a body is expected, it is said that there is none.
        match head.body {
            BodyLength::None => BodyLength::Length(0),
            body => body,
        },
        head.te_trailers,
        fields,
    )
}

/// As [`request_head`]; the first byte picks what is answered and to which version.
pub fn response_head(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else {
        return;
    };
    let limits = HeadLimits::default();
    let kind =
        [RequestKind::Other, RequestKind::Head, RequestKind::Connect][usize::from(choice % 3)];
    let to = if choice & 0x80 == 0 {
        Version::Http11
    } else {
        Version::Http10
    };
    let mut slots = field_slots();
    let Ok(Some(head)) = parse_response(bytes, &mut slots, &limits, kind) else {
        return;
    };
    let own = &bytes[..head.len];
    assert!(own.ends_with(b"\r\n\r\n") && lines_are_clean(own));
    let mut out = Vec::new();
    write_response(
        &mut out,
        &head,
        ConnectionOption::KeepAlive,
        to,
        head.body.towards(to),
        &[],
    );
    assert!(lines_are_clean(&out));
    let mut slots = field_slots();
    let Ok(Some(again)) = parse_response(&out, &mut slots, &limits, kind) else {
        return assert!(own.len() > 60_000 || head.fields.len() > 90);
    };
    assert_eq!(
        (again.status, again.reason, again.version),
        (head.status, head.reason, to)
    );
    assert_eq!(again.body, head.body.towards(to));
    assert!(again.forwarded().map(pair).eq(head.forwarded().map(pair)));
}

fn pair<'h>(field: &Field<'h>) -> (&'h str, &'h [u8]) {
    (field.name, field.value)
}

/// CR and LF only in pairs, no NUL, no folded line.
fn lines_are_clean(head: &[u8]) -> bool {
    head.split_inclusive(|&byte| byte == b'\n')
        .all(|line| match line {
            [b' ' | b'\t', ..] => false,
            [line @ .., b'\r', b'\n'] => !line.iter().any(|byte| matches!(byte, b'\r' | 0)),
            _ => false,
        })
}

/// The first byte is the size of the pieces; whole and in pieces the same comes out.
pub fn chunked(bytes: &[u8]) {
    let Some((&size, bytes)) = bytes.split_first() else {
        return;
    };
    let limits = ChunkLimits {
        max_extension_bytes: 100,
        max_trailer_bytes: 200,
        max_trailer_fields: 5,
    };
    let whole = decode(bytes.chunks(bytes.len().max(1)), limits);
    let pieces = decode(bytes.chunks(usize::from(size).max(1)), limits);
    assert_eq!(whole, pieces);
}

#[derive(Debug, PartialEq)]
struct Body {
    data: Vec<u8>,
    consumed: usize,
    /// Present when the body came to its end.
    trailers: Option<Vec<(String, Vec<u8>)>>,
}

fn decode<'b>(pieces: impl Iterator<Item = &'b [u8]>, limits: ChunkLimits) -> Result<Body, Reason> {
    let mut decoder = ChunkDecoder::new(limits);
    let mut body = Body {
        data: Vec::new(),
        consumed: 0,
        trailers: None,
    };
    for mut piece in pieces {
        loop {
            let (consumed, event) = decoder.decode(piece).map_err(|refusal| refusal.reason)?;
            body.consumed += consumed;
            match event {
                ChunkEvent::Data(range) => body.data.extend_from_slice(&piece[range]),
                ChunkEvent::NeedMore => break assert_eq!(consumed, piece.len()),
                ChunkEvent::TrailersEnd => {
                    let trailers = decoder
                        .trailers()
                        .map(|field| (field.name.to_owned(), field.value.to_vec()));
                    let trailers: Vec<_> = trailers.collect();
                    assert!(
                        trailers
                            .iter()
                            .all(|(name, value)| is_token(name.as_bytes()) && is_value(value))
                    );
                    body.trailers = Some(trailers);
                    return Ok(body);
                }
            }
            piece = &piece[consumed..];
        }
    }
    Ok(body)
}

/// What a prefix decided, more bytes do not change; names are clean.
pub fn client_hello(bytes: &[u8]) {
    let whole = tls::client_hello(bytes);
    for end in [bytes.len() / 2, bytes.len().saturating_sub(1), 6, 11, 50] {
        let part = tls::client_hello(bytes.get(..end).unwrap_or(bytes));
        assert!(part == Ok(None) || part == whole);
    }
    if let Ok(Some(hello)) = whole {
        assert_eq!(hello.server_name.is_some(), hello.sni == tls::Sni::Named);
        if let Some(name) = hello.server_name {
            assert!((1..=255).contains(&name.len()) && !name.ends_with('.'));
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || b"-_.".contains(&byte)));
        }
    }
}

/// A verdict is final and comes within the limit.
pub fn sniff(bytes: &[u8]) {
    let mut decided = Verdict::NeedMore;
    for end in 0..=bytes.len().min(2 * MAX_SNIFF) {
        let verdict = pointsman_wire::sniff::sniff(&bytes[..end]);
        assert!(decided == Verdict::NeedMore || verdict == decided);
        assert!(end < MAX_SNIFF || verdict != Verdict::NeedMore);
        decided = verdict;
    }
}

/// What a prefix decided, more bytes do not change; the length stays within the limit.
pub fn proxy_header(bytes: &[u8]) {
    let whole = proxy_protocol::read(bytes);
    for end in 0..=bytes.len().min(300) {
        let part = proxy_protocol::read(&bytes[..end]);
        assert!(part == Ok(None) || part == whole);
    }
    if let Ok(Some(header)) = whole {
        assert!(header.len <= bytes.len() && header.len <= proxy_protocol::MAX_HEADER);
        assert!(
            header
                .addresses
                .is_none_or(|pair| pair.source.is_ipv4() == pair.destination.is_ipv4())
        );
    }
}

/// The first byte picks how the stream ends and what is asked; then lines: method, scheme,
/// authority, path, and fields as `name: value`. A head that HTTP/2 and we accept is what HTTP/1
/// reads after it is written there, and what HTTP/2 reads after it is built anew.
pub fn http2_map(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else {
        return;
    };
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, scheme, authority, path) = (line(), line(), line(), line());
    let mut fields = http::HeaderMap::new();
    for line in lines {
        let colon = line
            .iter()
            .position(|&byte| byte == b':')
            .unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b": ").unwrap_or_default();
        let name = http::HeaderName::from_lowercase(name);
        let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(value)) else {
            return;
        };
        fields.append(name, value);
    }
    http2::join_cookies(&mut fields);
    mapped_response(choice, &fields);
    if let Some(parts) = http2_parts(method, scheme, authority, path, fields) {
        mapped_request(choice, &parts);
    }
}

/// The request as a library for HTTP/2 hands it over, if it does.
fn http2_parts(
    method: &[u8],
    scheme: &[u8],
    authority: &[u8],
    path: &[u8],
    fields: http::HeaderMap,
) -> Option<http::request::Parts> {
    let mut uri = http::uri::Parts::default();
    if !scheme.is_empty() {
        uri.scheme = Some(scheme.try_into().ok()?);
    }
    if !authority.is_empty() {
        uri.authority = Some(authority.try_into().ok()?);
    }
    if !path.is_empty() {
        uri.path_and_query = Some(path.try_into().ok()?);
    }
    let mut request = http::Request::new(());
    *request.method_mut() = http::Method::from_bytes(method).ok()?;
    *request.uri_mut() = http::Uri::from_parts(uri).ok()?;
    *request.headers_mut() = fields;
    Some(request.into_parts().0)
}

fn mapped_request(choice: u8, parts: &http::request::Parts) {
    let limits = HeadLimits::default();
    let end_stream = choice & 1 != 0;
    let protocol = (choice & 2 != 0).then_some("websocket");
    let mut slots = http2::field_slots();
    let Ok(head) = http2::request_head(parts, protocol, end_stream, &mut slots, &limits) else {
        return;
    };
    let rewrite = RequestRewrite {
        connection: match head.upgrade {
            Some(upgrade) => ConnectionOption::Upgrade(upgrade.protocols),
            None => ConnectionOption::KeepAlive,
        },
        ..RequestRewrite::default()
    };
    let mut out = Vec::new();
    write_request(&mut out, &head, &rewrite, head.body, &[]);
    assert!(lines_are_clean(&out));
    // A head that fills the limits may exceed them by the fields that are ours.
    let full = head.len > 60_000 || head.fields.len() > 90 || head.target.len() > 16_000;
    let mut slots = field_slots();
    match parse_request(&out, &mut slots, &limits) {
        Ok(Some(again)) => {
            assert_eq!(essence(&head), essence(&again));
            assert_eq!(again.len, out.len());
            assert_eq!(again.upgrade.is_some(), head.upgrade.is_some());
            assert_eq!(again.expect_continue, head.expect_continue);
        }
        _ => assert!(full),
    }
    let Ok(built) = http2::to_request(&head, &rewrite, "http", head.body, &[]) else {
        return assert!(head.host.unwrap_or_default().contains(['%', '[']));
    };
    let copied = RequestHead {
        source: None,
        ..head
    };
    let copied = http2::to_request(&copied, &rewrite, "http", head.body, &[]);
    assert!(copied.is_ok_and(|copied| copied.headers() == built.headers()));
    let (parts, ()) = built.into_parts();
    let mut slots = http2::field_slots();
    match http2::request_head(&parts, protocol, end_stream, &mut slots, &limits) {
        // A WebSocket key does not go through HTTP/2.
        Ok(again) if protocol.is_none() => assert_eq!(essence(&head), essence(&again)),
        Ok(_) => {}
        Err(_) => assert!(full || head.host == Some("")),
    }
}

fn mapped_response(choice: u8, fields: &http::HeaderMap) {
    let limits = HeadLimits::default();
    let kind =
        [RequestKind::Other, RequestKind::Head, RequestKind::Connect][usize::from(choice / 4 % 3)];
    let status = [200, 204, 304, 100, 103, 101, 404, 999][usize::from(choice >> 5)];
    let status = http::StatusCode::from_u16(status).expect("three digits");
    let end_stream = choice & 1 != 0;
    let mut slots = http2::field_slots();
    let Ok(head) = http2::response_head(status, fields, end_stream, &mut slots, &limits, kind)
    else {
        return;
    };
    let mut out = Vec::new();
    let keep = ConnectionOption::KeepAlive;
    write_response(&mut out, &head, keep, Version::Http11, head.body, &[]);
    assert!(lines_are_clean(&out));
    let mut slots = field_slots();
    match parse_response(&out, &mut slots, &limits, kind) {
        Ok(Some(again)) => {
            assert_eq!((again.status, again.body), (head.status, head.body));
            assert!(again.forwarded().map(pair).eq(head.forwarded().map(pair)));
        }
        _ => assert!(head.len > 60_000 || head.fields.len() > 90),
    }
    let built = http2::to_response(&head, head.body, &[]).expect("HTTP/2 said it before");
    let copied = ResponseHead {
        source: None,
        ..head
    };
    let copied = http2::to_response(&copied, head.body, &[]);
    assert!(copied.is_ok_and(|copied| copied.headers() == built.headers()));
    let mut slots = http2::field_slots();
    let again = http2::response_head(
        built.status(),
        built.headers(),
        end_stream,
        &mut slots,
        &limits,
        kind,
    );
    match again {
        Ok(again) => {
            assert_eq!((again.status, again.body), (head.status, head.body));
            assert!(again.forwarded().map(pair).eq(head.forwarded().map(pair)));
        }
        Err(_) => assert!(head.len > 60_000 || head.fields.len() > 90),
    }
}

/// The first byte is the size of the pieces; whole and in pieces the same flood is seen, and none
/// in fewer frames than the smallest budget.
pub fn frame_watch(bytes: &[u8]) {
    let Some((&size, bytes)) = bytes.split_first() else {
        return;
    };
    let limits = http2::FloodLimits {
        ping: http2::Budget {
            burst: 4,
            ..http2::FloodLimits::default().ping
        },
        ..http2::FloodLimits::default()
    };
    for (watch, preface) in [
        (http2::FrameWatch::new(&limits), 24),
        (http2::FrameWatch::of_endpoint(&limits), 0),
    ] {
        let flood = watch.clone().see(bytes);
        assert!(flood.is_none() || bytes.len() >= preface + 5 * 9);
        let mut watch = watch;
        let pieces = bytes.chunks(usize::from(size).max(1));
        let seen: Vec<_> = pieces.filter_map(|piece| watch.see(piece)).collect();
        assert_eq!(seen.first().copied(), flood);
    }
}

/// The first byte is the size of the pieces; whole and in pieces the same text comes out, and what
/// comes out is what its own text says. The bytes are a deadline and a content type too.
pub fn grpc_web(bytes: &[u8]) {
    let Some((&size, bytes)) = bytes.split_first() else {
        return;
    };
    let size = usize::from(size).max(1);
    let whole = decode_text(bytes.chunks(bytes.len().max(1)));
    assert_eq!(whole, decode_text(bytes.chunks(size)));
    if let Some(body) = whole {
        assert!(body.len() <= bytes.len() / 4 * 3);
        let mut text = Vec::new();
        for piece in body.chunks(size) {
            grpc_web::encode_text(&mut text, piece);
        }
        assert_eq!(decode_text([&text[..]].into_iter()), Some(body));
    }
    if let Some(timeout) = grpc::parse_timeout(bytes) {
        let mut out = Vec::new();
        grpc::write_timeout(&mut out, timeout);
        assert!(grpc::parse_timeout(&out).is_some_and(|told| told <= timeout));
    }
    if let Some((dialect, rest)) = grpc::Dialect::of(bytes) {
        let web = grpc::Dialect::Web.content_type(bytes).expect("is gRPC");
        // The format that goes without saying is told to clients of gRPC-Web.
        let told: &[u8] = if rest.is_empty() { b"+proto" } else { rest };
        assert_eq!(grpc::Dialect::of(&web), Some((grpc::Dialect::Web, told)));
        let back = dialect.content_type(&web).expect("is gRPC");
        assert_eq!(grpc::Dialect::of(&back), Some((dialect, told)));
    }
}

fn decode_text<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> Option<Vec<u8>> {
    let mut decoder = grpc_web::TextDecoder::default();
    let mut out = Vec::new();
    for piece in pieces {
        decoder.decode(piece, &mut out).ok()?;
    }
    decoder.finish().ok()?;
    Some(out)
}
