//! Responses of our own.

use super::write::{put_connection, put_length, put_status_line};
use super::{ConnectionOption, Version, is_token, is_value};

/// The interim answer to `Expect: 100-continue`.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A complete response that no backend gave.
#[derive(Clone, Copy, Debug)]
pub struct LocalResponse<'a> {
    /// 200 to 599.
    pub status: u16,
    /// Fields beside framing and connection, which are added.
    pub fields: &'a [(&'a str, &'a str)],
    /// When it is made, as `Date` says it, if no field does.
    pub date: &'a str,
    /// The whole body; not written for `head_only`, 204, 205 and 304.
    pub body: &'a [u8],
    /// Whether the connection stays open.
    pub keep_alive: bool,
    /// The version of the client.
    pub to: Version,
    /// The request was HEAD: the length is told, the body is not sent.
    pub head_only: bool,
}

/// Appends `response`, head and body. A field that is not valid is left out.
pub fn write_local_response(out: &mut Vec<u8>, response: &LocalResponse<'_>) {
    put_status_line(
        out,
        response.to,
        response.status,
        reason_phrase(response.status),
    );
    let dated = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("date");
    let date = [("date", response.date)];
    let date = date.iter().filter(|_| !response.fields.iter().any(dated));
    for (name, value) in response.fields.iter().chain(date) {
        if is_token(name.as_bytes()) && is_value(value.as_bytes()) {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    let (length, body): (_, &[u8]) = match response.status {
        100..=199 | 204 | 304 => (None, b""),
        // It may have a body as far as its framing goes, but none is to be made (RFC 9110 section
        // 15.3.6).
        205 => (Some(0), b""),
        _ => (Some(response.body.len() as u64), response.body),
    };
    if let Some(length) = length {
        put_length(out, length);
    }
    put_connection(
        out,
        match (response.keep_alive, response.to) {
            (false, _) => ConnectionOption::Close,
            (true, Version::Http10) => ConnectionOption::Keep10,
            (true, Version::Http11 | Version::Http2) => ConnectionOption::KeepAlive,
        },
    );
    out.extend_from_slice(b"\r\n");
    if !response.head_only {
        out.extend_from_slice(body);
    }
}

/// Says in a response of our own that it is the last of its connection, which it was to be kept behind.
pub fn make_last(response: &mut Vec<u8>) {
    const KEPT: &[u8] = b"Connection: keep-alive\r\n";
    let blank = response.windows(4).position(|it| it == b"\r\n\r\n");
    let Some((head, _)) = blank.and_then(|at| response.split_at_checked(at + 2)) else {
        return;
    };
    let kept = if head.ends_with(KEPT) { KEPT.len() } else { 0 };
    let end = head.len();
    response.splice(end - kept..end, *b"Connection: close\r\n");
}

/// The reason phrase of a status (RFC 9110 section 15), empty for one that has none.
#[must_use]
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
