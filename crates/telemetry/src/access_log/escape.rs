//! Bytes that others chose, made safe for a line of text.
use super::put;

/// What an escape does with blanks: inside quotes they stand for themselves.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Spaces {
    Kept,
    Escaped,
}

/// `"` and `\` get a backslash, everything that could move a terminal's or parser's line becomes
/// `\xNN`: control characters, bytes that are not UTF-8, Unicode's line separators and its marks
/// that reverse the direction of the text around them. Reversible.
pub(super) fn escape(out: &mut Vec<u8>, value: &[u8], spaces: Spaces) {
    let plain = |byte: &u8| match byte {
        b'"' | b'\\' => false,
        b' ' => spaces == Spaces::Kept,
        byte => byte.is_ascii_graphic(),
    };
    if value.iter().all(plain) {
        out.extend_from_slice(value);
        return;
    }
    let hex = |out: &mut Vec<u8>, bytes: &[u8]| {
        for byte in bytes {
            put(out, format_args!("\\x{byte:02x}"));
        }
    };
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut buffer = [0; 4];
            let bytes = c.encode_utf8(&mut buffer).as_bytes();
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                    hex(out, bytes);
                }
                c if c.is_control() => hex(out, bytes),
                c if c.is_whitespace() && spaces == Spaces::Escaped => hex(out, bytes),
                _ => out.extend_from_slice(bytes),
            }
        }
        hex(out, chunk.invalid());
    }
}
