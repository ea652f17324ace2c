//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B).
//!
//! It is canonical: codes of one length are given in the order of their symbols, shorter ones first.
//! So the lengths say everything.

use std::sync::LazyLock;

/// Bits of each symbol's code. The end of the string, symbol 256, has 30, the largest of them.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const LONGEST: u8 = 30;

/// The text of a Huffman string; `None` when it is not one: padding that is too long or not of ones,
/// or the symbol of the end (RFC 7541 section 5.2).
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    // What of a code was read, and how many bits that is.
    let (mut code, mut length) = (0_u32, 0_u8);
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
    {
        code = code << 1 | u32::from(bit);
        length += 1;
        if let Some(symbol) = symbol(code, length) {
            text.push(symbol);
            (code, length) = (0, 0);
        } else if length == LONGEST {
            return None;
        }
    }
    (length < 8 && code == (1 << length) - 1).then_some(text)
}

/// The Huffman string of a text.
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let mut bits: Vec<bool> = Vec::new();
    for byte in text {
        let length = LENGTHS[usize::from(*byte)];
        let codes = &codes()[usize::from(length)];
        let place = codes.symbols.iter().position(|it| it == byte);
        let code = codes.first + place.expect("every byte has a code") as u32;
        bits.extend((0..length).rev().map(|at| code >> at & 1 == 1));
    }
    bits.resize(bits.len().next_multiple_of(8), true);
    bits.chunks(8)
        .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
        .collect()
}

/// The codes of one length, which follow each other.
#[derive(Default)]
struct Codes {
    first: u32,
    symbols: Vec<u8>,
}

/// By length in bits.
fn codes() -> &'static [Codes] {
    static CODES: LazyLock<Vec<Codes>> = LazyLock::new(|| {
        let mut next = 0;
        let codes = (0..=LONGEST).map(|length| {
            let of_length = |symbol: &u8| LENGTHS[usize::from(*symbol)] == length;
            let symbols: Vec<u8> = (0..=255).filter(of_length).collect();
            next <<= 1;
            let first = next;
            next += symbols.len() as u32;
            Codes { first, symbols }
        });
        codes.collect()
    });
    &CODES
}

fn symbol(code: u32, length: u8) -> Option<u8> {
    let codes = codes().get(usize::from(length))?;
    let place = code.checked_sub(codes.first)?;
    codes.symbols.get(place as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 appendix C.4 and C.6.
    #[test]
    fn the_examples_of_the_specification() {
        for (bytes, text) in [
            (
                &b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"[..],
                "www.example.com",
            ),
            (b"\xa8\xeb\x10\x64\x9c\xbf", "no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", "custom-value"),
            (
                b"\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3",
                "https://www.example.com",
            ),
        ] {
            assert_eq!(decode(bytes).as_deref(), Some(text.as_bytes()));
            assert_eq!(encode(text.as_bytes()), bytes);
        }
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Some(all));
    }

    #[test]
    fn wrong_endings_are_noticed() {
        assert_eq!(decode(b"\xff\xff\xff\xff"), None, "the symbol of the end");
        assert_eq!(decode(b"\x1f\xff"), None, "eleven bits of padding");
        assert_eq!(decode(b"\x18"), None, "padding of zeros");
        assert_eq!(decode(b"\x1f").as_deref(), Some(&b"a"[..]));
    }
}
