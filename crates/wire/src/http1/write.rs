//! Heads and chunk headers going out, built from the parsed form.

use super::field::{Field, is_token, is_value};
use super::{BodyLength, FieldSet, RequestHead, ResponseBody, ResponseHead, Version};

/// What to say about the connection in a head that is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionOption<'a> {
    /// Nothing: HTTP/1.1 keeps the connection unless told otherwise.
    #[default]
    KeepAlive,
    /// `Connection: close`.
    Close,
    /// `Connection: keep-alive`, for HTTP/1.0 clients that asked for it.
    Keep10,
    /// `Connection: upgrade` and `Upgrade:` with this protocol list.
    Upgrade(&'a str),
}

/// What a route changes in a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestRewrite<'a> {
    /// The target to send instead of the origin-form of the received one. Bytes that may not stand
    /// in a target are percent-encoded.
    pub target: Option<&'a str>,
    /// The `Host` to send instead of [`RequestHead::host`].
    pub host: Option<&'a str>,
    /// Fields to leave out beside [`RequestHead::drop`].
    pub drop: FieldSet,
    /// What to say about the connection to the backend.
    pub connection: ConnectionOption<'a>,
}

/// The whole last chunk of a body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends a request head: `Host` first, then the fields that pass in their order and letter case,
/// then our framing fields, our connection fields and `extra`.
///
/// The version is always HTTP/1.1, as a proxy sends its own (RFC 9110 section 2.5). `body` is how
/// the body will be delimited, usually [`RequestHead::body`]. An extra field whose name is no token
/// or whose value has control bytes is left out: whoever computed it, it must not become two fields.
pub fn write_request(
    out: &mut Vec<u8>,
    head: &RequestHead<'_>,
    rewrite: &RequestRewrite<'_>,
    body: BodyLength,
    extra: &[(&str, &[u8])],
) {
    out.reserve(head.len + 128);
    put(out, &[head.method.as_bytes(), b" "]);
    match rewrite.target {
        Some(target) => put_target(out, target),
        None if head.method == "CONNECT" => put_target(out, head.target),
        None => {
            put(out, &[head.path.as_bytes()]);
            if let Some(query) = head.query {
                put(out, &[b"?", query.as_bytes()]);
            }
        }
    }
    put(out, &[b" HTTP/1.1\r\nHost: "]);
    // An empty Host says that there is none (RFC 9112 section 3.2).
    let host = rewrite
        .host
        .filter(|host| is_value(host.as_bytes()))
        .or(head.host)
        .unwrap_or_default();
    put(out, &[host.as_bytes(), b"\r\n"]);
    put_fields(out, head.bytes, head.fields, head.drop.union(rewrite.drop));
    match body {
        BodyLength::None if owes_length(head.method, rewrite.connection) => put_length(out, 0),
        BodyLength::None => {}
        BodyLength::Length(length) => put_length(out, length),
        BodyLength::Chunked => put(out, &[CHUNKED]),
    }
    put_request_connection(out, rewrite.connection, head.te_trailers);
    put_extra(out, extra);
    put(out, &[b"\r\n"]);
}

/// Is a body expected of this method, so that a request without one says so (RFC 9110 section 8.6)? There are
/// servers that answer 411 else. Clients of HTTP/2 need not say it, as the end of their stream does.
fn owes_length(method: &str, connection: ConnectionOption<'_>) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH")
        && !matches!(connection, ConnectionOption::Upgrade(_))
}

/// Makes a request head that [`write_request`] wrote, of a body with a length, that of a chunked body.
/// Any other stays as it is.
pub fn chunk_request(head: &mut Vec<u8>) {
    let line = b"\r\nContent-Length: ";
    let Some(at) = memchr::memmem::find(head, line) else {
        return;
    };
    // What passes of a client's fields has none of this name, and no value has a line in it.
    let start = at + 2;
    let rest = head.get(start..).unwrap_or_default();
    if let Some(length) = memchr::memchr(b'\n', rest) {
        drop(head.splice(start..=start + length, CHUNKED.iter().copied()));
    }
}

/// Appends a response head: status line, the fields that pass in their order and letter case, then
/// our framing fields, our connection fields and `extra`.
///
/// `to` is the version of the client. `body` is how the body will be delimited, usually
/// `head.body.towards(to)`; with [`ResponseBody::None`] the length that a HEAD or 304 answer tells
/// is passed on. `UntilClose`, and `Chunked` to HTTP/1.0, which are the same there, always say
/// `close`. `extra` as for [`write_request`].
pub fn write_response(
    out: &mut Vec<u8>,
    head: &ResponseHead<'_>,
    connection: ConnectionOption<'_>,
    to: Version,
    body: ResponseBody,
    extra: &[(&str, &[u8])],
) {
    out.reserve(head.len + 128);
    put_status_line(out, to, head.status, head.reason);
    put_fields(out, head.bytes, head.fields, head.drop);
    let body = if body == ResponseBody::Chunked {
        body.towards(to)
    } else {
        body
    };
    match (body, head.declared) {
        (ResponseBody::None, BodyLength::Length(length)) | (ResponseBody::Length(length), _) => {
            put_length(out, length)
        }
        (ResponseBody::Chunked, _) => put(out, &[CHUNKED]),
        (ResponseBody::None | ResponseBody::UntilClose, _) => {}
    }
    let connection = if body == ResponseBody::UntilClose {
        ConnectionOption::Close
    } else {
        connection
    };
    put_connection(out, connection);
    if head.status == 426 && to == Version::Http11 {
        put_wanted(out, head);
    }
    put_extra(out, extra);
    put(out, &[b"\r\n"]);
}

/// The protocols that the client is to ask for, without which 426 says nothing (RFC 9110 section 15.5.22).
fn put_wanted(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    for protocols in head.values("upgrade") {
        put(
            out,
            &[b"Connection: upgrade\r\nUpgrade: ", protocols, b"\r\n"],
        );
    }
}

/// Appends the line before the data of a chunk of `length` bytes. Nothing for a length of zero,
/// which would end the body.
pub fn write_chunk_header(out: &mut Vec<u8>, length: usize) {
    if length == 0 {
        return;
    }
    let (line, start) = chunk_header(length);
    out.extend_from_slice(line.get(start..).unwrap_or_default());
}

/// The line before the data of a chunk of `length` bytes, for callers that send slices: the bytes
/// from the returned offset on.
#[must_use]
pub fn chunk_header(length: usize) -> ([u8; 18], usize) {
    let mut line = *b"0000000000000000\r\n";
    let mut start = 16;
    let mut left = length;
    for digit in line.iter_mut().take(16).rev() {
        *digit = match left % 16 {
            low @ 0..=9 => b'0' + low as u8,
            high => b'a' + (high - 10) as u8,
        };
        start -= 1;
        left /= 16;
        if left == 0 {
            break;
        }
    }
    (line, start)
}

const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n";

/// One reservation for all parts of a line.
#[inline]
fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

#[inline]
fn put_fields(out: &mut Vec<u8>, bytes: &[u8], fields: &[Field<'_>], drop: FieldSet) {
    // Most peers send a field just as it is written here. Neighbours that do are copied as one piece
    // of the received `bytes`, which for a browser's head is one copy in place of fifty.
    let base = bytes.as_ptr().addr();
    let at = |part: &[u8]| part.as_ptr().addr().wrapping_sub(base);
    let mut run = 0..0;
    for (index, field) in fields.iter().enumerate() {
        if drop.contains(index) {
            continue;
        }
        let start = at(field.name.as_bytes());
        let colon = start.wrapping_add(field.name.len());
        let value = at(field.value);
        let line_end = value.wrapping_add(field.value.len());
        let end = line_end.wrapping_add(2);
        let as_written =
            bytes.get(colon..value) == Some(b": ") && bytes.get(line_end..end) == Some(b"\r\n");
        if as_written && start == run.end {
            run.end = end;
            continue;
        }
        if !run.is_empty() {
            put(out, &[bytes.get(run).unwrap_or_default()]);
        }
        run = if as_written { start..end } else { 0..0 };
        if !as_written {
            put(out, &[field.name.as_bytes(), b": ", field.value, b"\r\n"]);
        }
    }
    put(out, &[bytes.get(run).unwrap_or_default()]);
}

fn put_extra(out: &mut Vec<u8>, extra: &[(&str, &[u8])]) {
    for (name, value) in extra {
        if is_token(name.as_bytes()) && is_value(value) {
            put(out, &[name.as_bytes(), b": ", value, b"\r\n"]);
        }
    }
}

pub(super) fn put_status_line(out: &mut Vec<u8>, version: Version, status: u16, reason: &str) {
    let mut digits = itoa::Buffer::new();
    put(
        out,
        &[
            first_line(version).as_bytes(),
            b" ",
            digits.format(status).as_bytes(),
            b" ",
            reason.as_bytes(),
            b"\r\n",
        ],
    );
}

/// The version to put on a first line: none of HTTP/1 says HTTP/2, whoever asked for it.
const fn first_line(version: Version) -> &'static str {
    match version {
        Version::Http10 => Version::Http10.as_str(),
        Version::Http11 | Version::Http2 => Version::Http11.as_str(),
    }
}

pub(super) fn put_length(out: &mut Vec<u8>, length: u64) {
    let mut digits = itoa::Buffer::new();
    put(
        out,
        &[
            b"Content-Length: ",
            digits.format(length).as_bytes(),
            b"\r\n",
        ],
    );
}

pub(super) fn put_connection(out: &mut Vec<u8>, connection: ConnectionOption<'_>) {
    match connection {
        ConnectionOption::KeepAlive => {}
        ConnectionOption::Close => put(out, &[b"Connection: close\r\n"]),
        ConnectionOption::Keep10 => put(out, &[b"Connection: keep-alive\r\n"]),
        ConnectionOption::Upgrade(protocols) => {
            if is_value(protocols.as_bytes()) {
                put(
                    out,
                    &[
                        b"Connection: upgrade\r\nUpgrade: ",
                        protocols.as_bytes(),
                        b"\r\n",
                    ],
                );
            }
        }
    }
}

/// As [`put_connection`]; `TE` must be named in `Connection` (RFC 9110 section 10.1.4).
fn put_request_connection(out: &mut Vec<u8>, connection: ConnectionOption<'_>, te_trailers: bool) {
    put_connection(out, connection);
    if te_trailers {
        put(out, &[b"TE: trailers\r\nConnection: TE\r\n"]);
    }
}

/// Copies a target, with bytes that may not stand in one percent-encoded: a rewrite may splice
/// decoded text, and must not be able to end the line.
fn put_target(out: &mut Vec<u8>, target: &str) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if target.bytes().all(allowed) {
        return put(out, &[target.as_bytes()]);
    }
    for byte in target.bytes() {
        if allowed(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        }
    }
}
