//! What do the first bytes of a connection say?
//!
//! A verdict needs a prefix only, never a whole request line: the first bytes of a request are
//! enough to know that an HTTP parser should have it, and waiting for more would let a slow client
//! hold the decision (PS-48 and PS-50 wait for the line end). HTTP/1.0 counts as HTTP.
//!
//! The rule behind the details is *when in doubt, TCP*: a text protocol taken for HTTP is broken,
//! an odd HTTP request taken for TCP still reaches the address its client dialled.

/// After this many bytes [`sniff`] never answers [`Verdict::NeedMore`].
pub const MAX_SNIFF: usize = 64;

/// The longest method token that is taken for one, in bytes.
const MAX_METHOD: usize = 32;

/// The 24 bytes every HTTP/2 client sends first (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes say. A verdict other than [`Verdict::NeedMore`] is final: more bytes never
/// change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Too early to tell.
    NeedMore,
    /// An HTTP/1.x request begins here (it may still turn out malformed).
    Http1,
    /// The whole HTTP/2 connection preface.
    Http2Preface,
    /// A TLS record that holds a ClientHello.
    Tls,
    /// None of these: raw TCP.
    Tcp,
}

/// Classifies the first bytes of a connection, as received so far.
///
/// Call it with the bytes peeked up to now, from the first one; decided at the latest after
/// [`MAX_SNIFF`] bytes, for most clients after fewer than 10.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Verdict {
    match bytes.first() {
        None => Verdict::NeedMore,
        Some(0x16) => sniff_tls(bytes),
        Some(_) if bytes.starts_with(PREFACE) => Verdict::Http2Preface,
        Some(_) if PREFACE.starts_with(bytes) => Verdict::NeedMore,
        Some(_) => sniff_http1(bytes),
    }
}

/// Record type handshake (22), version 3.x, a plausible length, handshake type ClientHello (1).
///
/// Waits for the sixth byte, because the handshake type tells a client from a stray record; every
/// first record of a real client has it (RFC 8446 section 5.1 forbids empty ones).
fn sniff_tls(bytes: &[u8]) -> Verdict {
    let plausible = |at: usize, ok: fn(u8) -> bool| bytes.get(at).is_none_or(|&byte| ok(byte));
    let fits = plausible(1, |major| major == 3)
        && plausible(2, |minor| minor <= 4)
        && plausible(3, |high| high <= 0x40)
        && plausible(5, |kind| kind == 1);
    match (fits, bytes.len()) {
        (false, _) => Verdict::Tcp,
        (true, ..6) => Verdict::NeedMore,
        (true, _) => Verdict::Tls,
    }
}

/// `token SP` and the start of a request target.
fn sniff_http1(bytes: &[u8]) -> Verdict {
    let window = bytes.get(..=MAX_METHOD).unwrap_or(bytes);
    let Some(end) = window
        .iter()
        .position(|&byte| !crate::http1::is_token_byte(byte))
    else {
        return if window.len() > MAX_METHOD {
            Verdict::Tcp
        } else {
            Verdict::NeedMore
        };
    };
    let (method, rest) = bytes.split_at(end);
    let [b' ', target @ ..] = rest else {
        return Verdict::Tcp;
    };
    if method.is_empty() {
        return Verdict::Tcp;
    }
    sniff_target(method, target)
}

/// Decides by the first bytes of the target.
///
/// Letters alone are not enough outside `CONNECT`: `EHLO host`, `USER bob` and
/// `OPTIONS rtsp://camera RTSP/1.0` are words, a blank and letters too.
fn sniff_target(method: &[u8], target: &[u8]) -> Verdict {
    match target.first() {
        None => Verdict::NeedMore,
        Some(b'/') => Verdict::Http1,
        Some(first) if method == b"CONNECT" => {
            if first.is_ascii_alphanumeric() || *first == b'[' {
                Verdict::Http1
            } else {
                Verdict::Tcp
            }
        }
        Some(b'*') => spells(target, b"* HTTP/"),
        Some(b'h' | b'H') => match spells(target, b"http://") {
            Verdict::Tcp => spells(target, b"https://"),
            verdict => verdict,
        },
        Some(_) => Verdict::Tcp,
    }
}

/// HTTP as soon as `target` holds all of `word` (any letter case), undecided while it may.
fn spells(target: &[u8], word: &[u8]) -> Verdict {
    let shared = target.len().min(word.len());
    match (target.get(..shared), word.get(..shared)) {
        (Some(seen), Some(wanted)) if seen.eq_ignore_ascii_case(wanted) => {
            if shared == word.len() {
                Verdict::Http1
            } else {
                Verdict::NeedMore
            }
        }
        _ => Verdict::Tcp,
    }
}

/// Is this what servers of HTTP say that nobody has asked for anything? `None`: too early to tell.
///
/// Those of HTTP/2 may send their SETTINGS as soon as they are connected to (RFC 9113 section 3.4), those of
/// HTTP/1 tell a client that is silent for too long so (408, RFC 9110 section 15.5.9). An answer is final, and
/// there is one after nine bytes.
#[must_use]
pub fn is_unasked_http(bytes: &[u8]) -> Option<bool> {
    const STATUS_LINE: &[u8] = b"HTTP/1.";
    match bytes.get(..STATUS_LINE.len()) {
        Some(begin) if begin == STATUS_LINE => Some(true),
        None if STATUS_LINE.starts_with(bytes) => None,
        _ => begins_with_settings(bytes),
    }
}

/// The head of a SETTINGS frame: whole settings, no more than a frame may have at first, nothing that is
/// reserved, and not of a stream.
fn begins_with_settings(bytes: &[u8]) -> Option<bool> {
    const MAX_FRAME: u32 = 16_384;
    const SETTING: u32 = 6;
    let length = match bytes {
        [high, middle, low, ..] => u32::from_be_bytes([0, *high, *middle, *low]),
        [high, ..] if *high > 0 => return Some(false),
        _ => return None,
    };
    let [_, _, _, kind_flags_stream @ ..] = bytes else {
        return None;
    };
    let fits = length <= MAX_FRAME
        && length % SETTING == 0
        && kind_flags_stream
            .iter()
            .zip(b"\x04\0\0\0\0\0")
            .all(|(byte, wanted)| byte == wanted);
    match (fits, bytes.len()) {
        (false, _) => Some(false),
        (true, ..9) => None,
        (true, _) => Some(true),
    }
}
