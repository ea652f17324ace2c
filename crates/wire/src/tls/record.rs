//! From TLS records to the first handshake message (RFC 8446 section 5.1).

use std::borrow::Cow;

use super::{HelloError, MAX_CLIENT_HELLO, MAX_HELLO_RECORDS};

/// Content type, version (2), length (2).
const RECORD_HEADER: usize = 5;
/// Handshake type, length (3).
const HANDSHAKE_HEADER: usize = 4;
/// The most a plaintext record may hold.
const MAX_RECORD: usize = 1 << 14;

/// The body of the ClientHello message, its own four-byte header taken off. Borrowed when one
/// record holds all of it (nearly always), gathered otherwise. `None` while bytes are missing.
pub(super) fn handshake_message(bytes: &[u8]) -> Result<Option<Cow<'_, [u8]>>, HelloError> {
    let mut header = [0; HANDSHAKE_HEADER];
    let mut known = 0; // bytes of `header` seen
    let mut payload = 0; // handshake bytes in the records walked so far
    let mut rest = bytes;
    for _ in 0..MAX_HELLO_RECORDS {
        let Some((content, after)) = next_record(rest)? else {
            return Ok(None);
        };
        for (slot, byte) in header.iter_mut().skip(known).zip(content.seen) {
            *slot = *byte;
            known += 1;
        }
        let wanted = match (known, header) {
            (0, _) => return Ok(None),
            (_, [kind, ..]) if kind != 1 => {
                return Err(HelloError::NotTls("the first message is not a ClientHello"));
            }
            (HANDSHAKE_HEADER, [_, high, middle, low]) => {
                HANDSHAKE_HEADER + u32::from_be_bytes([0, high, middle, low]) as usize
            }
            _ => usize::MAX, // the length itself is still to come
        };
        if wanted != usize::MAX && wanted > MAX_CLIENT_HELLO - RECORD_HEADER {
            return Err(HelloError::TooLarge {
                limit: MAX_CLIENT_HELLO,
            });
        }
        payload += content.seen.len();
        if payload >= wanted {
            return Ok(message(bytes, content.seen, payload, wanted));
        }
        if !content.complete {
            return Ok(None);
        }
        rest = after;
    }
    Err(HelloError::Malformed("spread over too many records"))
}

/// What is there of one record.
struct Content<'b> {
    seen: &'b [u8],
    complete: bool,
}

/// Checks one record header; `None` when even that is incomplete.
fn next_record(bytes: &[u8]) -> Result<Option<(Content<'_>, &[u8])>, HelloError> {
    match bytes.first() {
        None | Some(22) => {}
        Some(_) => return Err(HelloError::NotTls("no handshake record")),
    }
    if bytes.get(1).is_some_and(|&major| major != 3) {
        return Err(HelloError::NotTls("no TLS record version"));
    }
    let Some((&[_, _, _, high, low], after)) = bytes.split_first_chunk::<RECORD_HEADER>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length == 0 {
        return Err(HelloError::Malformed("empty handshake record"));
    }
    if length > MAX_RECORD {
        return Err(HelloError::Malformed("record longer than 16384 bytes"));
    }
    Ok(Some(match after.split_at_checked(length) {
        Some((seen, rest)) => (
            Content {
                seen,
                complete: true,
            },
            rest,
        ),
        None => (
            Content {
                seen: after,
                complete: false,
            },
            &[],
        ),
    }))
}

/// Cuts the message of `wanted` bytes, header included, out of the records. `last` is the content
/// of the record that completed it and `payload` the bytes up to the end of `last`.
fn message<'b>(
    bytes: &'b [u8],
    last: &'b [u8],
    payload: usize,
    wanted: usize,
) -> Option<Cow<'b, [u8]>> {
    if payload == last.len() {
        return last.get(HANDSHAKE_HEADER..wanted).map(Cow::Borrowed);
    }
    let mut whole = Vec::with_capacity(payload);
    let mut rest = bytes;
    while whole.len() < wanted {
        // Each record was checked on the way here, so neither branch ends the loop early.
        let Ok(Some((content, after))) = next_record(rest) else {
            break;
        };
        whole.extend_from_slice(content.seen);
        rest = after;
    }
    whole.truncate(wanted);
    whole.drain(..HANDSHAKE_HEADER.min(whole.len()));
    Some(Cow::Owned(whole))
}
