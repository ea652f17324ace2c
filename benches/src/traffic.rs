//! The exact bytes of the load, and what must come back.

/// Host of the HTTP rows: the full name of a Kubernetes Service.
pub const HTTP_HOST: &str = "web.bench.svc.cluster.local";
/// Server name of the `sni` row.
pub const SNI_HOST: &str = "sni.bench.test";
/// Body of the small answer.
pub const SMALL_BODY: usize = 100;
/// Body of the realistic answer.
pub const REALISTIC_BODY: usize = 1024;
/// First bytes of a request for the realistic answer.
pub const REALISTIC_PREFIX: &[u8] = b"GET /r";
/// First bytes of a request for a body of as many bytes as follow in digits. Any request that
/// begins with neither gets the small answer.
pub const LARGE_PREFIX: &[u8] = b"GET /large/";
/// A gRPC message: not compressed, its length, 50 bytes.
pub const GRPC_REQUEST: [u8; 55] = grpc_message();
/// The answer to it, 100 bytes.
pub const GRPC_ANSWER: [u8; 105] = grpc_message();

/// Rules of the three lists of `rules-1`, `rules-10` and `rules-100`.
pub const RULE_LISTS: [u32; 3] = [1, 10, 100];

/// The host that has so many rules.
#[must_use]
pub fn rules_host(rules: u32) -> String {
    format!("rules-{rules}.bench.svc.cluster.local")
}

/// The prefix that rule `number`, counted from 0, matches.
#[must_use]
pub fn rule_prefix(number: u32) -> String {
    format!("/area-{number}/")
}

/// As [`small_request`], for the path that only the last of `rules` rules matches.
#[must_use]
pub fn last_rule_request(rules: u32) -> Vec<u8> {
    small_request_for(
        &rules_host(rules),
        &format!("{}item", rule_prefix(rules - 1)),
    )
}

/// A request for a body of `length` bytes.
#[must_use]
pub fn large_request(length: u64) -> Vec<u8> {
    small_request_for(HTTP_HOST, &format!("/large/{length}"))
}

/// The head of a request that brings a body of `length` bytes; the small answer follows.
#[must_use]
pub fn upload_head(length: u64) -> Vec<u8> {
    format!(
        "POST /upload HTTP/1.1\r\nHost: {HTTP_HOST}\r\nUser-Agent: side-by-side\r\n\
         Content-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes()
}

/// A length-prefixed message of gRPC: all of `N` but the five bytes of its prefix is content.
const fn grpc_message<const N: usize>() -> [u8; N] {
    let mut message = [b'x'; N];
    // Shorter than 256 bytes.
    let prefix = [0, 0, 0, 0, (N - 5) as u8];
    let mut index = 0;
    while index < prefix.len() {
        message[index] = prefix[index];
        index += 1;
    }
    message
}

/// About 120 bytes: a health check or an internal call.
#[must_use]
pub fn small_request(host: &str) -> Vec<u8> {
    small_request_for(host, "/s")
}

fn small_request_for(host: &str, path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: side-by-side\r\nAccept: */*\r\n\r\n"
    )
    .into_bytes()
}

/// The path of the realistic request.
pub const REALISTIC_PATH: &str = "/reviews/0123456789abcdef?page=2&sort=newest";

/// The fields of the realistic request, beside its host.
pub const REALISTIC_FIELDS: [(&str, &str); 11] = [
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Referer", "https://shop.example/products/0123456789"),
    (
        "Cookie",
        "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=all",
    ),
    ("X-Request-Id", "2f1c0e9a-6f0b-4c56-9d7e-3a1b5c7d9e0f"),
    (
        "traceparent",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ),
    ("X-Forwarded-Proto", "https"),
    ("Cache-Control", "no-cache"),
    (
        "Authorization",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    ),
];

/// About 700 bytes and 12 fields: what a browser or a traced service call sends.
#[must_use]
pub fn realistic_request(host: &str) -> Vec<u8> {
    let mut request = format!("GET {REALISTIC_PATH} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in REALISTIC_FIELDS {
        request.extend([name, ": ", value, "\r\n"]);
    }
    request.push_str("\r\n");
    request.into_bytes()
}

/// The upstream's answer with a body of this size.
#[must_use]
pub fn answer(body: usize) -> Vec<u8> {
    let mut bytes = answer_head(body as u64);
    bytes.resize(bytes.len() + body, b'x');
    bytes
}

/// The head of [`answer`].
#[must_use]
pub fn answer_head(body: u64) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {body}\r\n\r\n")
        .into_bytes()
}

/// The length of a whole answer at the start of `bytes`; `None` while it is not all there.
///
/// # Errors
/// Any status but 200, a body of any other length than `body`, or no `Content-Length`: every proxy
/// must pass on what the upstream sent.
pub fn answer_length(bytes: &[u8], body: usize) -> Result<Option<usize>, String> {
    let head = answer_head_length(bytes, body as u64)?;
    let total = head.map(|head| head + body);
    Ok(total.filter(|total| bytes.len() >= *total))
}

/// The length of the head of an answer at the start of `bytes`; `None` while it is not all there.
///
/// # Errors
/// As [`answer_length`].
pub fn answer_head_length(bytes: &[u8], body: u64) -> Result<Option<usize>, String> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = bytes.get(..end).unwrap_or_default();
    let text = || String::from_utf8_lossy(head).into_owned();
    if !head.starts_with(b"HTTP/1.1 200") {
        return Err(format!(
            "answered {:?}",
            text().lines().next().unwrap_or_default()
        ));
    }
    let length = head
        .split(|byte| *byte == b'\n')
        .find(|line| {
            line.get(..15)
                .is_some_and(|name| name.eq_ignore_ascii_case(b"content-length:"))
        })
        .and_then(|line| {
            std::str::from_utf8(line.get(15..)?)
                .ok()?
                .trim()
                .parse::<u64>()
                .ok()
        });
    match length {
        Some(length) if length == body => Ok(Some(end + 4)),
        Some(length) => Err(format!("body of {length} bytes, not {body}")),
        None => Err(format!("no Content-Length in {:?}", text())),
    }
}

/// A TLS ClientHello as a current client sends it (RFC 8446 section 4.1.2), padded to 517 bytes,
/// in one record. The random parts are fixed: nothing here completes a handshake.
#[must_use]
pub fn client_hello(server_name: &str) -> Vec<u8> {
    let name = server_name.as_bytes();
    let sni = prefixed16(&[&[0], prefixed16(name).as_slice()].concat());
    let key_share = [&[0x00, 0x1d][..], &prefixed16(&[0x42; 32])].concat();
    let extensions = [
        extension(0x0000, &sni),
        extension(0x000a, &prefixed16(&[0x00, 0x1d, 0x00, 0x17])),
        extension(0x000b, &[1, 0]),
        extension(0x000d, &prefixed16(&[0x04, 0x03, 0x08, 0x04, 0x04, 0x01])),
        extension(0x0010, &prefixed16(b"\x02h2\x08http/1.1")),
        extension(0x002b, &[4, 0x03, 0x04, 0x03, 0x03]),
        extension(0x0033, &prefixed16(&key_share)),
    ]
    .concat();
    let fixed = [
        &[0x03, 0x03][..],
        &[0x11; 32],
        &[32],
        &[0x22; 32],
        &prefixed16(&[0x13, 0x01, 0x13, 0x02, 0xc0, 0x2b]),
        &[1, 0],
    ]
    .concat();
    // 5 bytes of record header, 4 of handshake header, 2 of extensions length, 4 of padding header.
    let padding = 517_usize.saturating_sub(5 + 4 + fixed.len() + 2 + extensions.len() + 4);
    let extensions = [extensions, extension(0x0015, &vec![0; padding])].concat();
    let body = [fixed, prefixed16(&extensions)].concat();
    let handshake = [&[1, 0], prefixed16(&body).as_slice()].concat();
    [&[0x16, 0x03, 0x01], prefixed16(&handshake).as_slice()].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &prefixed16(data)].concat()
}

fn prefixed16(data: &[u8]) -> Vec<u8> {
    // Everything prefixed here is part of a 517-byte record.
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], data].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_documented() {
        assert!((90..130).contains(&small_request(HTTP_HOST).len()));
        let realistic = realistic_request(HTTP_HOST);
        assert!((680..780).contains(&realistic.len()), "{}", realistic.len());
        assert!(realistic.starts_with(REALISTIC_PREFIX));
        assert_eq!(client_hello(SNI_HOST).len(), 517);
    }

    #[test]
    fn grpc_messages_tell_their_length() {
        assert_eq!(GRPC_REQUEST[..6], [0, 0, 0, 0, 50, b'x']);
        assert_eq!(GRPC_ANSWER[..6], [0, 0, 0, 0, 100, b'x']);
    }

    #[test]
    fn lengths_inside_the_hello_agree() {
        let hello = client_hello("a.test");
        assert_eq!(hello.get(3..5), Some(&(517_u16 - 5).to_be_bytes()[..]));
        assert_eq!(hello.get(5..9), Some(&[1, 0, 1, 252][..]));
        assert!(memchr::memmem::find(&hello, b"\x00\x00\x06a.test").is_some());
    }

    #[test]
    fn answers_are_measured_whole_or_refused() {
        let bytes = answer(100);
        assert_eq!(answer_length(&bytes, 100), Ok(Some(bytes.len())));
        assert_eq!(answer_length(&bytes[..bytes.len() - 1], 100), Ok(None));
        assert_eq!(answer_length(b"HTTP/1.1 200 OK\r\n", 100), Ok(None));
        assert!(answer_length(&bytes, 99).is_err());
        assert!(answer_length(b"HTTP/1.1 503 No\r\nContent-Length: 100\r\n\r\n", 100).is_err());
        assert!(answer_length(b"HTTP/1.1 200 OK\r\n\r\n", 100).is_err());
    }
}
