//! How long a body is (RFC 9112 section 6).
//!
//! Stricter than the RFC wherever two receivers could disagree: a message with both a length and a
//! coding is refused instead of repaired, lists of lengths are refused even when their members are
//! equal, and `chunked` is the only coding known.

use super::field::{is_token, list};
use super::{Reason, Version};

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No framing field: no body.
    None,
    /// This many bytes, below 2^63. Zero when the sender says so.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// How the body of a response is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseBody {
    /// None by definition: an answer to HEAD, an accepted CONNECT, 1xx, 204 and 304.
    None,
    /// This many bytes, below 2^63.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Everything up to the end of the connection.
    UntilClose,
}

impl ResponseBody {
    /// The framing to use towards a client that speaks `version`: HTTP/1.0 knows no chunks, and a
    /// body without a known end becomes chunked for HTTP/1.1, so that a cut never looks whole.
    #[must_use]
    pub const fn towards(self, version: Version) -> Self {
        match (self, version) {
            (Self::Chunked, Version::Http10) => Self::UntilClose,
            (Self::UntilClose, Version::Http11 | Version::Http2) => Self::Chunked,
            _ => self,
        }
    }
}

/// What the framing fields of one head say, gathered field by field.
#[derive(Default)]
pub(crate) struct Framing {
    length: Option<u64>,
    coding: Option<Coding>,
}

#[derive(Clone, Copy)]
enum Coding {
    Chunked,
    Unknown,
}

impl Framing {
    /// One `Content-Length` field.
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), Reason> {
        if value.contains(&b',') {
            return Err(Reason::DuplicateContentLength);
        }
        let length = decimal(value).ok_or(Reason::BadContentLength)?;
        match self.length.replace(length) {
            Some(before) if before != length => Err(Reason::DuplicateContentLength),
            _ => Ok(()),
        }
    }

    /// One `Transfer-Encoding` field.
    pub(crate) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Reason> {
        if self.coding.is_some() {
            return Err(Reason::DuplicateTransferEncoding);
        }
        self.coding = Some(if value.eq_ignore_ascii_case(b"chunked") {
            Coding::Chunked
        } else {
            other_coding(value)?
        });
        Ok(())
    }

    /// What all fields say together.
    pub(crate) fn finish(&self, version: Version) -> Result<BodyLength, Reason> {
        match (self.length, self.coding) {
            (Some(_), Some(_)) => Err(Reason::ClAndTe),
            (None, Some(_)) if version == Version::Http10 => Err(Reason::TeInHttp10),
            (None, Some(Coding::Unknown)) => Err(Reason::UnknownTransferCoding),
            (None, Some(Coding::Chunked)) => Ok(BodyLength::Chunked),
            (Some(length), None) => Ok(BodyLength::Length(length)),
            (None, None) => Ok(BodyLength::None),
        }
    }
}

/// Digits only, below 2^63. No sign, blank, prefix or empty value (RFC 9110 section 8.6).
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (number <= i64::MAX as u64).then_some(number)
}

/// Tells a coding that is merely not supported (501) from a value that no one should guess about.
fn other_coding(value: &[u8]) -> Result<Coding, Reason> {
    let mut unknown = false;
    for coding in list(value) {
        if !is_token(coding) {
            return Err(Reason::BadTransferEncoding);
        }
        unknown |= !coding.eq_ignore_ascii_case(b"chunked");
    }
    if unknown {
        Ok(Coding::Unknown)
    } else {
        Err(Reason::DuplicateTransferEncoding)
    }
}
