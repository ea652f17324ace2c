//! Fields: their grammar, and what each name means to a proxy (RFC 9110 section 5).

use super::Reason;

/// One field of a head, pointing into the received bytes: the name as sent, the value with its
/// outer blanks taken off.
pub use httparse::Header as Field;

/// What a field is to the one pass over a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Te,
    Upgrade,
    Expect,
    Date,
    /// Hop-by-hop and of no interest: `Keep-Alive`, `Proxy-Connection`, `HTTP2-Settings`.
    Hop,
    /// Everything else passes.
    Other,
}

/// Classifies a field name by its length first, so that most names cost one comparison of integers.
#[inline]
pub(crate) fn kind(name: &str) -> Kind {
    let is = |word: &str| name.eq_ignore_ascii_case(word);
    match name.len() {
        2 if is("te") => Kind::Te,
        4 if is("host") => Kind::Host,
        4 if is("date") => Kind::Date,
        6 if is("expect") => Kind::Expect,
        7 if is("upgrade") => Kind::Upgrade,
        10 if is("connection") => Kind::Connection,
        10 if is("keep-alive") => Kind::Hop,
        // Nearly every response has it, in one of these: two comparisons in place of fourteen.
        14 if matches!(name, "Content-Length" | "content-length") => Kind::ContentLength,
        14 if is("content-length") => Kind::ContentLength,
        14 if is("http2-settings") => Kind::Hop,
        16 if is("proxy-connection") => Kind::Hop,
        17 if is("transfer-encoding") => Kind::TransferEncoding,
        _ => Kind::Other,
    }
}

/// Names that a `Connection` option cannot remove: what proxies add must not be taken out again by
/// the client whose address it states.
pub(crate) fn is_protected(name: &str) -> bool {
    let starts = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    starts("x-forwarded-")
        || starts("x-envoy-")
        || ["forwarded", "via", "x-request-id"]
            .iter()
            .any(|word| name.eq_ignore_ascii_case(word))
}

/// Whether `byte` may be part of a token (RFC 9110 section 5.6.2).
#[inline]
#[must_use]
pub const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether `bytes` is a token: a field name, a method, a connection option.
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_token_byte(byte))
}

/// Whether `bytes` may stand in a field value: tabs, blanks, visible and 8-bit bytes (RFC 9110
/// section 5.5). Any other control byte, DEL included, may not.
#[must_use]
pub fn is_value(bytes: &[u8]) -> bool {
    let may_stand = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
    // Eight at a time, for every response has a date to be looked at; tabs are rare.
    let (words, rest) = bytes.as_chunks::<8>();
    let plain = |word: &[u8; 8]| is_plain(u64::from_ne_bytes(*word)) || word.iter().all(may_stand);
    words.iter().all(plain) && rest.iter().all(may_stand)
}

/// Are these eight bytes no control bytes, tabs included?
const fn is_plain(bytes: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    // What is less takes a bit from above it, as does what is zero.
    let below = bytes.wrapping_sub(0x20 * EACH) & !bytes;
    let other = bytes ^ (0x7f * EACH);
    let delete = other.wrapping_sub(EACH) & !other;
    (below | delete) & HIGH == 0
}

/// The elements of a comma-separated list, outer blanks taken off. Empty elements are kept.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(trim)
}

/// Takes blanks and tabs off both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Reads one field line whose CR LF is taken off already: the strict grammar, for trailers and for
/// naming what is wrong with a head.
pub(crate) fn parse_line(line: &[u8]) -> Result<(&str, &[u8]), Reason> {
    if line.contains(&0) {
        return Err(Reason::NulByte);
    }
    if line.contains(&b'\r') {
        return Err(Reason::BareCr);
    }
    if let [b' ' | b'\t', ..] = line {
        return Err(Reason::ObsFold);
    }
    let colon = line
        .iter()
        .position(|&byte| byte == b':')
        .ok_or(Reason::MissingColon)?;
    let (name, value) = line.split_at(colon);
    match name {
        [] => return Err(Reason::EmptyFieldName),
        [.., b' ' | b'\t'] => return Err(Reason::SpaceBeforeColon),
        _ if !is_token(name) => return Err(Reason::BadFieldName),
        _ => {}
    }
    let name = std::str::from_utf8(name).map_err(|_| Reason::BadFieldName)?;
    let value = trim(value.get(1..).unwrap_or_default());
    if is_value(value) {
        Ok((name, value))
    } else {
        Err(Reason::BadFieldValue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_of_a_value_is_looked_at() {
        for length in 1..20 {
            for (at, byte) in (0..length).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                let mut value = vec![b'a'; length];
                value[at] = byte;
                let may_stand = !byte.is_ascii_control() || byte == b'\t';
                assert_eq!(is_value(&value), may_stand, "{byte:#x} at {at} of {length}");
                // Neighbours do not hide each other.
                value.fill(byte);
                assert_eq!(is_value(&value), may_stand, "{byte:#x} {length} times");
            }
        }
    }
}
