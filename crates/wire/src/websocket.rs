//! The keys of WebSocket handshakes (RFC 6455 section 4).
//!
//! HTTP/2 has none (RFC 8441 section 5): between a client and an endpoint of different versions the
//! gateway makes up the side that is missing. It asks an HTTP/1 endpoint with a [`key`] of its own
//! and checks the answer with [`accept`]; it answers an HTTP/1 client with [`accept`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A `Sec-WebSocket-Key`: 16 random bytes in base64. They need not be unpredictable; they only show
/// that the answer belongs to the request.
#[must_use]
pub fn key(random: [u8; 16]) -> [u8; 24] {
    encoded(&random)
}

/// The `Sec-WebSocket-Accept` that answers this `Sec-WebSocket-Key`, which is taken as it was sent.
#[must_use]
pub fn accept(key: &[u8]) -> [u8; 28] {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    encoded(&sha1(&[key, GUID].concat()))
}

/// Base64, of which the length is known. Ours always fits.
fn encoded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut text = [b'='; N];
    debug_assert_eq!(N, bytes.len().div_ceil(3) * 4);
    let _ = STANDARD.encode_slice(bytes, &mut text);
    text
}

/// SHA-1 (FIPS 180-4). WebSocket asks for it to tell a server from something else, not to keep
/// anything safe; no other part of the gateway may use it.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((message.len() + 9).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    let mut state: [u32; 5] = [
        0x6745_2301,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    let (words, _) = padded.as_chunks::<4>();
    let (blocks, _) = words.as_chunks::<16>();
    for block in blocks {
        let mut window = block.map(u32::from_be_bytes);
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for round in 0..80 {
            let word = window[round % 16];
            let (mixed, constant) = match round / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6u32),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(mixed)
                .wrapping_add(e)
                .wrapping_add(constant)
                .wrapping_add(word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
            // The word sixteen rounds on takes the place of this one.
            window[round % 16] = (window[(round + 13) % 16]
                ^ window[(round + 8) % 16]
                ^ window[(round + 2) % 16]
                ^ word)
                .rotate_left(1);
        }
        for (total, value) in state.iter_mut().zip([a, b, c, d, e]) {
            *total = total.wrapping_add(value);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::{accept, key, sha1};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// FIPS 180-4 and RFC 3174.
    #[test]
    fn sha1_of_known_messages() {
        for (message, expected) in [
            (String::new(), "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            ("abc".into(), "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".into(),
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
            (
                "a".repeat(1_000_000),
                "34aa973cd4c4daa4f61eeb2bdbad27316534016f",
            ),
        ] {
            assert_eq!(hex(&sha1(message.as_bytes())), expected);
        }
    }

    /// RFC 6455 section 1.3.
    #[test]
    fn an_answer_belongs_to_its_key() {
        assert_eq!(
            &accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert_eq!(&key(*b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
    }
}
