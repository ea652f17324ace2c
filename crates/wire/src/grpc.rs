//! What HTTP fields mean to gRPC: which requests are gRPC, deadlines, and the status of a reply.

use std::time::Duration;

/// How gRPC is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// `application/grpc`.
    Grpc,
    /// `application/grpc-web`: the trailers are the last frame of the body.
    Web,
    /// `application/grpc-web-text`: the same in base64.
    WebText,
}

impl Dialect {
    const ALL: [(Self, &str); 3] = [
        (Self::WebText, "application/grpc-web-text"),
        (Self::Web, "application/grpc-web"),
        (Self::Grpc, "application/grpc"),
    ];

    /// The dialect of a `content-type`, and what follows: a message format (`+proto`) and
    /// parameters. `None` when it is not gRPC.
    #[must_use]
    pub fn of(content_type: &[u8]) -> Option<(Self, &[u8])> {
        Self::ALL.into_iter().find_map(|(dialect, name)| {
            let (start, rest) = content_type.split_at_checked(name.len())?;
            let ends = matches!(rest, [] | [b'+' | b';' | b' ' | b'\t', ..]);
            (ends && start.eq_ignore_ascii_case(name.as_bytes())).then_some((dialect, rest))
        })
    }

    /// The `content-type` of an answer without messages, to a client whose own said nothing of their
    /// format or is not looked at. gRPC-Web's clients are told one as Envoy's filter tells it.
    #[must_use]
    pub const fn content_type_of_none(self) -> &'static str {
        match self {
            Self::Grpc => "application/grpc",
            Self::Web => "application/grpc-web+proto",
            Self::WebText => "application/grpc-web-text+proto",
        }
    }

    /// What a field of an answer of ours, written as plain gRPC has it, says to a client of this dialect:
    /// gRPC's `content-type` becomes its own.
    #[must_use]
    pub fn field<'v>(self, name: &str, value: &'v str) -> &'v str {
        match self {
            Self::Web | Self::WebText
                if name.eq_ignore_ascii_case("content-type")
                    && Self::of(value.as_bytes()).is_some() =>
            {
                self.content_type_of_none()
            }
            _ => value,
        }
    }

    /// The `content-type` of the same messages in this dialect; `None` when they are not gRPC. To a client
    /// of gRPC-Web their format is told, as by Envoy's filter, also where it is the one that goes without saying.
    #[must_use]
    pub fn content_type(self, of: &[u8]) -> Option<Vec<u8>> {
        let (_, rest) = Self::of(of)?;
        if rest.is_empty() {
            return Some(self.content_type_of_none().into());
        }
        let (_, name) = Self::ALL
            .into_iter()
            .find(|(dialect, _)| *dialect == self)?;
        Some([name.as_bytes(), rest].concat())
    }
}

/// The dialect of the call that a request with this method, and this in its `content-type`, is;
/// `None` when it is none. One of gRPC-Web is one to whoever translates it; others hand it on as it is.
#[must_use]
pub fn call<'a>(method: &str, content_type: impl IntoIterator<Item = &'a [u8]>) -> Option<Dialect> {
    // Calls are always POST, so that others are not searched.
    if method != "POST" {
        return None;
    }
    let (dialect, _) = content_type.into_iter().find_map(Dialect::of)?;
    Some(dialect)
}

/// In which dialect the client of such a call is answered, by us too (VS-H-144); `None`: it reads HTTP's
/// statuses. So does one of gRPC-Web unless its call is `translated` on its way (PS-4): it may be meant
/// for an endpoint that speaks that by itself. Whether it reads text it says in `accept`, whatever it writes.
#[must_use]
pub fn answered_in<'a>(
    call: Option<Dialect>,
    translated: bool,
    accept: impl IntoIterator<Item = &'a [u8]>,
) -> Option<Dialect> {
    match call? {
        Dialect::Grpc => Some(Dialect::Grpc),
        Dialect::Web | Dialect::WebText if !translated => None,
        Dialect::Web | Dialect::WebText => {
            let mut accept = accept.into_iter();
            let text = accept.any(|kind| matches!(Dialect::of(kind), Some((Dialect::WebText, _))));
            Some(if text { Dialect::WebText } else { Dialect::Web })
        }
    }
}

/// Reads a `grpc-timeout`: one to eight digits and a unit, `H`, `M`, `S`, `m`, `u` or `n` (VS-H-65).
/// `None` when it is anything else.
#[must_use]
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Appends a `grpc-timeout` in the finest unit that eight digits can tell. What is lost is cut off,
/// so that a deadline passed on is never later than the one received.
pub fn write_timeout(out: &mut Vec<u8>, timeout: Duration) {
    const MOST: u128 = 99_999_999;
    let nanos = timeout.as_nanos();
    let (number, unit) = [
        (nanos, b'n'),
        (nanos / 1_000, b'u'),
        (nanos / 1_000_000, b'm'),
        (nanos / 1_000_000_000, b'S'),
        (nanos / 60_000_000_000, b'M'),
    ]
    .into_iter()
    .find(|(number, _)| *number <= MOST)
    .unwrap_or(((nanos / 3_600_000_000_000).min(MOST), b'H'));
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.push(unit);
}

/// The `grpc-status` of a reply of ours that would have `status` in HTTP (VS-H-144).
#[must_use]
pub const fn status_of(status: u16) -> u8 {
    match status {
        400 => 13,                   // INTERNAL
        401 => 16,                   // UNAUTHENTICATED
        403 => 7,                    // PERMISSION_DENIED
        404 => 12,                   // UNIMPLEMENTED
        429 | 502 | 503 | 504 => 14, // UNAVAILABLE
        _ => 2,                      // UNKNOWN
    }
}

/// Appends a `grpc-message`: visible ASCII and blanks as they are, `%` and all other bytes
/// percent-encoded.
pub fn write_message(out: &mut Vec<u8>, message: &str) {
    const HEX: [u8; 16] = *b"0123456789ABCDEF";
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
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
