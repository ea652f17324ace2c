//! Hosts with an optional port: the `Host` field and the authority of a target (RFC 9110 section
//! 7.2, RFC 3986 section 3.2).

use std::net::Ipv6Addr;

use super::limits::MAX_HOST_NAME;

/// What may stand in a registered name: unreserved bytes, `%` and the sub-delimiters, but no comma,
/// because a list of two hosts is what joined `Host` fields look like.
static NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.'
                    | b'_'
                    | b'~'
                    | b'%'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b';'
                    | b'='
            );
        byte += 1;
    }
    table
};

/// Whether `value` is a host with an optional port, as [`RequestHead::host`] holds it, or empty.
/// No user information, no blanks, no comma, no empty port; names up to 255 bytes. HTTP/2 checks
/// `:authority` with it, so that both protocols route on the same grammar.
///
/// [`RequestHead::host`]: super::RequestHead::host
#[must_use]
pub fn is_valid_host(value: &[u8]) -> bool {
    value.is_empty() || split(value).is_some()
}

/// Splits a host that is not empty from its port; `None` when either is malformed.
pub(crate) fn split(value: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (name, rest) = match value {
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|&byte| byte == b']')?;
            let (address, rest) = rest.split_at(end);
            // Zone identifiers mean something on the sender's machine only and are refused.
            std::str::from_utf8(address)
                .ok()?
                .parse::<Ipv6Addr>()
                .ok()?;
            (address, rest.get(1..)?)
        }
        _ => {
            let (name, rest) = value.split_at(name_len(value));
            if name.is_empty() || name.len() > MAX_HOST_NAME || !has_whole_escapes(name) {
                return None;
            }
            (name, rest)
        }
    };
    match rest {
        [] => Some((name, None)),
        [b':', digits @ ..] => Some((name, Some(port(digits)?))),
        _ => None,
    }
}

/// How many bytes at the start may stand in a name: eight looked at together, as long as all may.
fn name_len(value: &[u8]) -> usize {
    let may_stand = |byte: &u8| NAME_BYTES[usize::from(*byte)];
    let (words, _) = value.as_chunks::<8>();
    let all = |word: &&[u8; 8]| word.iter().fold(true, |all, byte| all & may_stand(byte));
    let whole = 8 * words.iter().take_while(all).count();
    let rest = value.get(whole..).unwrap_or_default();
    whole + rest.iter().take_while(|byte| may_stand(byte)).count()
}

/// 1 to 5 digits, 0 to 65535.
fn port(digits: &[u8]) -> Option<u16> {
    if !(1..=5).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0u16, |port, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            None
        } else {
            port.checked_mul(10)?.checked_add(u16::from(digit))
        }
    })
}

/// Every `%` is followed by two hexadecimal digits.
fn has_whole_escapes(name: &[u8]) -> bool {
    memchr::memchr_iter(b'%', name).all(|at| {
        name.get(at + 1..at + 3)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_before_the_first_byte_that_may_not_stand_in_it() {
        for length in 0..20 {
            for end in 0..=length {
                let mut value = vec![b'a'; length];
                value[end..].fill(b':');
                assert_eq!(name_len(&value), end, "of {length}");
                value[end..].fill(0xe4);
                assert_eq!(name_len(&value), end, "of {length}");
            }
        }
    }
}
