//! The HTTP/1 reader of upstreams and clients: strict, small, and independent of the codec under
//! test. Anything RFC 9112 calls malformed is an error here, never repaired, so a gateway that
//! forwards it is caught.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Largest head read, in bytes.
pub const MAX_HEAD: usize = 1 << 20;
/// Largest body kept, in bytes.
pub const MAX_BODY: usize = 256 << 20;

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The socket failed; a reset arrives here as `ConnectionReset`.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// The peer closed in the middle of a message.
    #[error("closed in the middle of {what} after {got:?}", got = String::from_utf8_lossy(.got))]
    Truncated {
        /// The part that was being read.
        what: &'static str,
        /// What had arrived of that part.
        got: Vec<u8>,
    },
    /// The message breaks a framing rule (RFC 9112).
    #[error("malformed: {0}")]
    Malformed(String),
    /// Nothing complete arrived in time.
    #[error("no complete message before the deadline")]
    TimedOut,
}

fn malformed<T>(what: impl Into<String>) -> Result<T, MessageError> {
    Err(MessageError::Malformed(what.into()))
}

/// Names and values in the order and letter case they arrived in.
pub type Fields = Vec<(String, String)>;

/// The first value of `name` (any letter case).
#[must_use]
pub fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    values(fields, name).next()
}

/// Every value of `name` (any letter case), in order.
pub fn values<'f>(
    fields: &'f [(String, String)],
    name: &str,
) -> impl Iterator<Item = &'f str> + use<'f> {
    let name = name.to_owned();
    fields
        .iter()
        .filter(move |(candidate, _)| candidate.eq_ignore_ascii_case(&name))
        .map(|(_, value)| value.as_str())
}

/// Whether a comma-separated field of this name holds `token` (any letter case).
#[must_use]
pub fn has_token(fields: &[(String, String)], name: &str, token: &str) -> bool {
    values(fields, name)
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// A request or response head.
#[derive(Debug, Clone)]
pub struct Head {
    /// Request line or status line, without its line end.
    pub first_line: String,
    /// The fields.
    pub fields: Fields,
    /// The exact bytes, final empty line included.
    pub raw: Vec<u8>,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// `Content-Length`.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The connection's end.
    UntilClose,
}

/// A body and what came with it.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// The content, chunk framing removed.
    pub bytes: Vec<u8>,
    /// Sizes of the chunks as they were framed; empty when not chunked.
    pub chunks: Vec<usize>,
    /// The trailer section of a chunked body.
    pub trailers: Fields,
}

impl Head {
    /// The framing the fields declare, or `None` where they declare nothing.
    ///
    /// # Errors
    /// `Content-Length` with `Transfer-Encoding`, a repeated or non-numeric `Content-Length`, any
    /// coding but one `chunked` (RFC 9112 section 6).
    pub fn declared_framing(&self) -> Result<Option<Framing>, MessageError> {
        let lengths: Vec<_> = values(&self.fields, "content-length").collect();
        let codings: Vec<_> = values(&self.fields, "transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Ok(None),
            ([digits], []) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                match digits.parse() {
                    Ok(length) => Ok(Some(Framing::Length(length))),
                    Err(_) => malformed(format!("content length {digits} overflows")),
                }
            }
            ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
            _ => malformed(format!(
                "content-length {lengths:?}, transfer-encoding {codings:?}"
            )),
        }
    }
}

/// Reads a head that has arrived whole.
///
/// # Errors
/// [`MessageError::Malformed`] for bare CR or LF, folded lines, blanks before the colon, names that
/// are not tokens, control bytes in values, bytes outside ASCII in the first line.
pub fn parse_head(raw: &[u8]) -> Result<Head, MessageError> {
    let text = String::from_utf8_lossy(raw);
    let Some(text) = text.strip_suffix("\r\n\r\n") else {
        return malformed("the head does not end in an empty line");
    };
    let mut lines = text.split("\r\n");
    let first_line = lines.next().unwrap_or_default().to_owned();
    if first_line.is_empty() || !first_line.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return malformed(format!("first line {first_line:?}"));
    }
    let fields = lines.map(parse_field).collect::<Result<_, _>>()?;
    Ok(Head {
        first_line,
        fields,
        raw: raw.to_vec(),
    })
}

fn parse_field(line: &str) -> Result<(String, String), MessageError> {
    let Some((name, value)) = line.split_once(':') else {
        return malformed(format!("field without colon: {line:?}"));
    };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return malformed(format!("field name {name:?}"));
    }
    let value = value.trim_matches([' ', '\t']);
    if value
        .bytes()
        .any(|byte| byte != b'\t' && byte.is_ascii_control())
    {
        return malformed(format!("control byte in value of {name}: {value:?}"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Bytes as they arrived, shared by the readers of many streams.
#[derive(Debug, Clone, Default)]
pub struct Tape(Arc<Mutex<Vec<u8>>>);

impl Tape {
    /// Everything recorded so far, in order of arrival.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn record(&self, bytes: &[u8]) {
        let mut tape = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tape.extend_from_slice(bytes);
    }
}

/// A stream with the bytes read ahead of what was asked for.
#[derive(Debug)]
pub struct MessageReader<S> {
    stream: S,
    ahead: Vec<u8>,
    tape: Option<Tape>,
}

impl<S: AsyncRead + Unpin> MessageReader<S> {
    /// Reads from `stream`.
    pub fn new(stream: S) -> Self {
        MessageReader {
            stream,
            ahead: Vec::new(),
            tape: None,
        }
    }

    /// As [`MessageReader::new`]; all that is read goes onto the tape as well, before it is looked at.
    pub fn recorded(stream: S, tape: Option<Tape>) -> Self {
        MessageReader {
            tape,
            ..MessageReader::new(stream)
        }
    }

    /// The stream, for writing and for socket options.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Bytes that have arrived and belong to no message read so far.
    #[must_use]
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// The stream and the bytes read ahead.
    #[must_use]
    pub fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.ahead)
    }

    /// Reads some more; false at the end of the stream.
    async fn more(&mut self) -> Result<bool, MessageError> {
        // Into the vector itself: a buffer in the future would be in every future around it.
        self.ahead.reserve(16 * 1024);
        let before = self.ahead.len();
        let read = self.stream.read_buf(&mut self.ahead).await?;
        if let Some(tape) = &self.tape {
            tape.record(self.ahead.get(before..).unwrap_or_default());
        }
        Ok(read > 0)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.ahead.split_off(length.min(self.ahead.len()));
        std::mem::replace(&mut self.ahead, rest)
    }

    fn truncated<T>(&mut self, what: &'static str) -> Result<T, MessageError> {
        Err(MessageError::Truncated {
            what,
            got: std::mem::take(&mut self.ahead),
        })
    }

    /// The next head; `None` when the peer closed before its first byte.
    ///
    /// # Errors
    /// As [`parse_head`]; `Truncated` when the peer closed inside it.
    pub async fn head(&mut self) -> Result<Option<Head>, MessageError> {
        let mut scanned = 0;
        loop {
            // Bare line feeds also end a head, so that it is refused at once rather than awaited.
            if let Some(length) = head_end(&self.ahead, scanned) {
                return parse_head(&self.take(length)).map(Some);
            }
            scanned = self.ahead.len().saturating_sub(3);
            if self.ahead.len() > MAX_HEAD {
                return malformed(format!("head of more than {MAX_HEAD} bytes"));
            }
            if !self.more().await? {
                return if self.ahead.is_empty() {
                    Ok(None)
                } else {
                    self.truncated("head")
                };
            }
        }
    }

    /// Exactly `length` bytes.
    ///
    /// # Errors
    /// `Truncated` when the peer closes first.
    pub async fn exact(&mut self, length: usize) -> Result<Vec<u8>, MessageError> {
        while self.ahead.len() < length {
            if !self.more().await? {
                return self.truncated("body");
            }
        }
        Ok(self.take(length))
    }

    /// Everything up to the end of the stream.
    ///
    /// # Errors
    /// When the socket fails, or after [`MAX_BODY`] bytes.
    pub async fn until_close(&mut self) -> Result<Vec<u8>, MessageError> {
        while self.more().await? {
            if self.ahead.len() > MAX_BODY {
                return malformed(format!("body of more than {MAX_BODY} bytes"));
            }
        }
        Ok(std::mem::take(&mut self.ahead))
    }

    /// One line without its CRLF.
    async fn line(&mut self) -> Result<String, MessageError> {
        loop {
            if let Some(end) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let line = self.take(end + 1);
                let line = String::from_utf8_lossy(&line).into_owned();
                return match line.strip_suffix("\r\n") {
                    Some(line) if !line.contains('\r') => Ok(line.to_owned()),
                    _ => malformed(format!("line end of {line:?}")),
                };
            }
            if self.ahead.len() > MAX_HEAD || !self.more().await? {
                return self.truncated("chunk framing");
            }
        }
    }

    /// A body with this framing.
    ///
    /// # Errors
    /// `Truncated` when the peer closes before its end, `Malformed` for bad chunk framing.
    pub async fn body(&mut self, framing: Framing) -> Result<Body, MessageError> {
        let bytes = match framing {
            Framing::None => Vec::new(),
            Framing::Length(length) if length > MAX_BODY => return malformed("body too large"),
            Framing::Length(length) => self.exact(length).await?,
            Framing::UntilClose => self.until_close().await?,
            Framing::Chunked => return self.chunked_body().await,
        };
        Ok(Body {
            bytes,
            ..Body::default()
        })
    }

    async fn chunked_body(&mut self) -> Result<Body, MessageError> {
        let mut body = Body::default();
        while let Some(chunk) = self.chunk().await? {
            body.chunks.push(chunk.len());
            body.bytes.extend(chunk);
            if body.bytes.len() > MAX_BODY {
                return malformed("body too large");
            }
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(body);
            }
            body.trailers.push(parse_field(&line)?);
        }
    }

    /// The next chunk of a chunked body; `None` at the last one, before the trailer section.
    ///
    /// # Errors
    /// As [`MessageReader::body`].
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, MessageError> {
        let line = self.line().await?;
        let digits = line.split(';').next().unwrap_or_default();
        let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = match usize::from_str_radix(digits, 16) {
            Ok(size) if is_hex && size <= MAX_BODY => size,
            _ => return malformed(format!("chunk size {line:?}")),
        };
        if size == 0 {
            return Ok(None);
        }
        let chunk = self.exact(size).await?;
        if self.exact(2).await? != b"\r\n" {
            return malformed("chunk data not followed by CRLF");
        }
        Ok(Some(chunk))
    }
}

/// Where the head ends: past the first empty line, whatever its line ends.
fn head_end(bytes: &[u8], scanned: usize) -> Option<usize> {
    let mut line_feeds = bytes
        .iter()
        .enumerate()
        .skip(scanned)
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at);
    line_feeds.find_map(|at| match bytes.get(at + 1..) {
        Some([b'\n', ..]) => Some(at + 2),
        Some([b'\r', b'\n', ..]) => Some(at + 3),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8], framing: Framing) -> Result<Body, MessageError> {
        MessageReader::new(bytes).body(framing).await
    }

    #[test]
    fn heads_are_read_strictly() {
        let head =
            parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nX-Two:  b \r\n\r\n").expect("well formed");
        assert_eq!(head.first_line, "GET / HTTP/1.1");
        assert_eq!(field(&head.fields, "x-two"), Some("b"));
        for bad in [
            &b"GET / HTTP/1.1\nHost: a\n\n"[..],
            b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\nc: d\r\n\r\n",
            b"GET / HTTP/1.1\r\nnocolon\r\n\r\n",
            b"GET / HTTP/1.1\r\n: empty\r\n\r\n",
            b"\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            assert!(
                parse_head(bad).is_err(),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn framing_is_unambiguous_or_refused() {
        let framing = |fields: &str| {
            parse_head(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes())
                .and_then(|head| head.declared_framing())
        };
        assert_eq!(framing("").expect("none"), None);
        assert_eq!(
            framing("Content-Length: 5\r\n").expect("length"),
            Some(Framing::Length(5))
        );
        assert_eq!(
            framing("transfer-encoding: Chunked\r\n").expect("chunked"),
            Some(Framing::Chunked)
        );
        for bad in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 99999999999999999999999\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
        ] {
            assert!(framing(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn bodies() {
        let body = read(
            b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: u\r\n\r\n",
            Framing::Chunked,
        )
        .await
        .expect("well formed");
        assert_eq!(body.bytes, b"abc0123456789");
        assert_eq!(body.chunks, [3, 10]);
        assert_eq!(body.trailers, [("T".to_owned(), "u".to_owned())]);
        for bad in [
            &b"3\r\nabcd\r\n0\r\n\r\n"[..],
            b"-1\r\n",
            b"\r\n",
            b"3\nabc\r\n0\r\n\r\n",
        ] {
            assert!(matches!(
                read(bad, Framing::Chunked).await,
                Err(MessageError::Malformed(_))
            ));
        }
        assert!(matches!(
            read(b"abc", Framing::Length(4)).await,
            Err(MessageError::Truncated { got, .. }) if got == b"abc"
        ));
        assert_eq!(
            read(b"abc", Framing::UntilClose)
                .await
                .expect("closed")
                .bytes,
            b"abc"
        );
    }

    #[test]
    fn head_end_is_found_whatever_the_scan_start() {
        let bytes = b"A\r\nB\r\n\r\nrest";
        for scanned in 0..=5 {
            assert_eq!(head_end(bytes, scanned), Some(8));
        }
        assert_eq!(head_end(b"A\n\nrest", 0), Some(3));
        assert_eq!(head_end(b"A\r\nB\r\n", 0), None);
    }
}
