//! gRPC-Web bodies: gRPC for clients that cannot read trailers (browsers).
//!
//! A body is gRPC's frames as they are, then one more frame with the trailers. In its text form all
//! of it is base64, of pieces: each piece is padded by itself, so that a message does not wait for
//! the next to fill the last four characters.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::http1::{Field, is_token, is_value};

/// The flag of the frame that holds trailers.
const TRAILERS: u8 = 0x80;

/// Appends the frame that ends a response: the trailers as lines of HTTP/1 with names in lower
/// case. A field that is not valid is left out.
pub fn write_trailers<'d>(out: &mut Vec<u8>, trailers: impl Iterator<Item = Field<'d>>) {
    let start = out.len();
    out.extend_from_slice(&[TRAILERS, 0, 0, 0, 0]);
    for field in trailers {
        if is_token(field.name.as_bytes()) && is_value(field.value) {
            out.extend(field.name.bytes().map(|byte| byte.to_ascii_lowercase()));
            out.extend_from_slice(b": ");
            out.extend_from_slice(field.value);
            out.extend_from_slice(b"\r\n");
        }
    }
    // Trailers have limits far below 4 GiB.
    let length = u32::try_from(out.len() - start - 5).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start + 1..start + 5) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends one piece of a body in the text form, padded.
pub fn encode_text(out: &mut Vec<u8>, piece: &[u8]) {
    let start = out.len();
    out.resize(start + piece.len().div_ceil(3) * 4, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let written = STANDARD.encode_slice(piece, room).unwrap_or(0); // the room is exact
    out.truncate(start + written);
}

/// Reads a body in the text form, cut anywhere: the base64 of pieces, one after the other.
#[derive(Clone, Debug, Default)]
pub struct TextDecoder {
    /// Characters that are not four yet.
    begun: [u8; 4],
    have: u8,
}

impl TextDecoder {
    /// Appends what the next characters say.
    ///
    /// # Errors
    ///
    /// [`BadText`] at a byte that is not of the alphabet, and at padding that stands wrong or hides
    /// bits. The body is to be given up then.
    pub fn decode(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), BadText> {
        while self.have > 0 {
            let Some((character, rest)) = text.split_first() else {
                return Ok(());
            };
            text = rest;
            if let Some(place) = self.begun.get_mut(usize::from(self.have)) {
                *place = *character;
            }
            self.have += 1;
            if self.have == 4 {
                self.have = 0;
                decode_whole(&self.begun, out)?;
            }
        }
        let (mut whole, begun) = text.split_at(text.len() / 4 * 4);
        while !whole.is_empty() {
            let end = match memchr::memchr(b'=', whole) {
                Some(at) => (at / 4 + 1) * 4,
                None => whole.len(),
            };
            let (piece, rest) = whole.split_at(end);
            decode_whole(piece, out)?;
            whole = rest;
        }
        for (place, character) in self.begun.iter_mut().zip(begun) {
            *place = *character;
            self.have += 1;
        }
        Ok(())
    }

    /// The body is at its end.
    ///
    /// # Errors
    ///
    /// [`BadText`] when the last four characters are not complete.
    pub fn finish(&self) -> Result<(), BadText> {
        if self.have == 0 { Ok(()) } else { Err(BadText) }
    }
}

/// Fours of characters, with padding in the last of them only.
fn decode_whole(text: &[u8], out: &mut Vec<u8>) -> Result<(), BadText> {
    let start = out.len();
    out.resize(start + text.len() / 4 * 3, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let written = STANDARD.decode_slice(text, room);
    out.truncate(start + written.as_ref().unwrap_or(&0));
    written.map(|_| ()).map_err(|_| BadText)
}

/// The body is not base64 of pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadText;

impl fmt::Display for BadText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the gRPC-Web text body is not base64")
    }
}

impl std::error::Error for BadText {}
