//! Naming what is wrong with a head.
//!
//! `httparse` says that a head is wrong, in seven words; people who debug a client need to know
//! what it did. This walks the lines again, on the refusing path only.

use super::Reason;
use super::field::{Field, is_token_byte, parse_line};

/// Whether every line of a head that `httparse` accepted ends in CR LF; it takes a lone LF too.
///
/// Each line but the last two is followed by the name of a field, so the two bytes before every name
/// and the last four are all line ends there are. (Counting CR and LF over the whole head shows the
/// same and costs five times as much.)
#[inline]
pub(super) fn ends_lines_with_crlf(head: &[u8], fields: &[Field<'_>]) -> bool {
    let base = head.as_ptr().addr();
    head.ends_with(b"\r\n\r\n")
        && fields.iter().all(|field| {
            let at = field.name.as_ptr().addr().wrapping_sub(base);
            head.get(at.wrapping_sub(2)..at) == Some(b"\r\n")
        })
}

/// Why `httparse` refused this request.
#[cold]
pub(super) fn request(bytes: &[u8], error: httparse::Error) -> Reason {
    let (line, fields) = first_line(bytes);
    match error {
        httparse::Error::Token => request_line(line, fields.is_some()),
        httparse::Error::Version => version(line),
        httparse::Error::Status => Reason::BadRequestLine,
        httparse::Error::NewLine => behind_version(line).unwrap_or_else(|| common(fields, error)),
        _ => common(fields, error),
    }
}

/// Why `httparse` refused this response.
#[cold]
pub(super) fn response(bytes: &[u8], error: httparse::Error) -> Reason {
    let (line, fields) = first_line(bytes);
    match error {
        // The version is known, and what follows it is no blank.
        httparse::Error::Version
            if line.starts_with(b"HTTP/1.1") || line.starts_with(b"HTTP/1.0") =>
        {
            Reason::BadStatusLine
        }
        httparse::Error::Version if line.starts_with(b"HTTP/") => Reason::UnsupportedVersion,
        httparse::Error::Version | httparse::Error::Token => Reason::BadStatusLine,
        httparse::Error::Status if line.contains(&0) => Reason::NulByte,
        httparse::Error::Status => Reason::BadStatusLine,
        _ => common(fields, error),
    }
}

/// The first line without its LF, and what follows it when it is complete.
fn first_line(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut halves = bytes.splitn(2, |&byte| byte == b'\n');
    (halves.next().unwrap_or_default(), halves.next())
}

/// A method or target that `httparse` stopped at.
fn request_line(line: &[u8], complete: bool) -> Reason {
    if line.contains(&0) {
        return Reason::NulByte;
    }
    let line = if complete {
        line.strip_suffix(b"\r").unwrap_or(line)
    } else {
        line
    };
    let method = line
        .iter()
        .position(|&byte| !is_token_byte(byte))
        .unwrap_or(line.len());
    match line.get(method..) {
        Some([b' ', b' ' | b'\t', ..] | [b'\t', ..]) => Reason::BadRequestLine,
        Some([b' ', target @ ..]) if method > 0 => {
            let end = target.iter().position(|byte| matches!(byte, b' ' | b'\t'));
            match (end, target.get(..end.unwrap_or(target.len()))) {
                (_, Some(target)) if !target.iter().all(u8::is_ascii_graphic) => Reason::BadTarget,
                (None, Some([_, ..])) if complete => Reason::MissingVersion,
                _ => Reason::BadRequestLine,
            }
        }
        Some([] | [b' ', ..]) => Reason::BadRequestLine,
        _ => Reason::BadMethod,
    }
}

/// A version that `httparse` does not know: one that looks like a version, or just a wrong line.
fn version(line: &[u8]) -> Reason {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line
        .splitn(3, |&byte| byte == b' ')
        .nth(2)
        .unwrap_or_default()
    {
        [b'H', b'T', b'T', b'P', b'/', rest @ ..]
            if !rest.is_empty()
                && rest
                    .iter()
                    .all(|byte| byte.is_ascii_digit() || *byte == b'.') =>
        {
            Reason::UnsupportedVersion
        }
        _ => Reason::BadRequestLine,
    }
}

/// What stands between a version that `httparse` knows and the end of its line, if anything:
/// `HTTP/1.10`, `HTTP/1.1 `.
fn behind_version(line: &[u8]) -> Option<Reason> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.contains(&b'\r') {
        return Some(Reason::BareCr);
    }
    let known = line.ends_with(b" HTTP/1.0") || line.ends_with(b" HTTP/1.1");
    (!known).then(|| version(line))
}

/// A field line that `httparse` stopped at.
fn common(fields: Option<&[u8]>, error: httparse::Error) -> Reason {
    if error == httparse::Error::TooManyHeaders {
        return Reason::TooManyFields;
    }
    // What stands behind the empty line belongs to another message.
    let mut lines = fields
        .unwrap_or_default()
        .split_inclusive(|&byte| byte == b'\n')
        .take_while(|line| line != b"\r\n");
    lines.find_map(wrong_line).unwrap_or(match error {
        httparse::Error::HeaderName => Reason::BadFieldName,
        httparse::Error::HeaderValue => Reason::BadFieldValue,
        _ => Reason::BareCr,
    })
}

/// What is wrong with one line, if anything. The last one may still be without its end.
fn wrong_line(line: &[u8]) -> Option<Reason> {
    match line {
        b"\r\n" | b"\r" => None,
        [b'\r', ..] => Some(Reason::BareCr),
        [line @ .., b'\r', b'\n'] => parse_line(line).err(),
        [.., b'\n'] => Some(Reason::BareLf),
        [line @ .., b'\r'] => parse_line(line).err(),
        // A colon may still have been on its way.
        line => parse_line(line)
            .err()
            .filter(|reason| *reason != Reason::MissingColon),
    }
}
