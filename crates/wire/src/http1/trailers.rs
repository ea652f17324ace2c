//! Trailer fields (RFC 9110 section 6.5): read line by line, and only those that are safe to merge
//! late are kept.

use std::ops::Range;

use super::field::{Kind, is_protected, kind, parse_line};
use super::{Field, Reason, is_token, is_value};

/// Reads a trailer section byte by byte.
#[derive(Debug)]
pub(super) struct TrailerReader {
    /// The lines of the kept fields, and after them the line being read.
    text: Vec<u8>,
    kept: Vec<(Range<usize>, Range<usize>)>,
    line_start: usize,
    bytes_left: usize,
    fields_left: usize,
}

impl TrailerReader {
    pub(super) const fn new(max_bytes: usize, max_fields: usize) -> Self {
        Self {
            text: Vec::new(),
            kept: Vec::new(),
            line_start: 0,
            bytes_left: max_bytes,
            fields_left: max_fields,
        }
    }

    /// Takes one byte; true when it ended the section. The final CR LF counts against no limit.
    pub(super) fn push(&mut self, byte: u8) -> Result<bool, Reason> {
        let line = self.text.get(self.line_start..).unwrap_or_default();
        if byte == b'\n' {
            let Some((b'\r', line)) = line.split_last() else {
                return Err(Reason::BareLf);
            };
            if line.is_empty() {
                self.text.truncate(self.line_start);
                return Ok(true);
            }
            let parsed = parse_line(line)?;
            let (name, value) = parsed;
            self.fields_left = self
                .fields_left
                .checked_sub(1)
                .ok_or(Reason::TooManyTrailers)?;
            if may_be_trailer(name) {
                let name_end = self.line_start + name.len();
                // Blanks may stand on both sides of the value; find it by its distance from the end.
                let after_colon = line.get(name.len() + 1..).unwrap_or_default();
                let blanks = after_colon
                    .iter()
                    .take_while(|byte| matches!(byte, b' ' | b'\t'))
                    .count();
                let value_start = name_end + 1 + if value.is_empty() { 0 } else { blanks };
                self.kept.push((
                    self.line_start..name_end,
                    value_start..value_start + value.len(),
                ));
                self.line_start = self.text.len();
            } else {
                self.text.truncate(self.line_start);
            }
            return Ok(false);
        }
        let ends_section = line.is_empty() && byte == b'\r';
        if line.last() == Some(&b'\r') {
            return Err(Reason::BareCr);
        }
        if !ends_section {
            self.bytes_left = self
                .bytes_left
                .checked_sub(1)
                .ok_or(Reason::TrailersTooLarge)?;
        }
        self.text.push(byte);
        Ok(false)
    }

    pub(super) fn fields(&self) -> Trailers<'_> {
        Trailers {
            text: &self.text,
            kept: self.kept.iter(),
        }
    }
}

/// The trailer fields that are sent on, in order.
#[derive(Clone, Debug, Default)]
pub struct Trailers<'d> {
    text: &'d [u8],
    kept: std::slice::Iter<'d, (Range<usize>, Range<usize>)>,
}

impl<'d> Iterator for Trailers<'d> {
    type Item = Field<'d>;

    fn next(&mut self) -> Option<Field<'d>> {
        let (name, value) = self.kept.next()?;
        let name = std::str::from_utf8(self.text.get(name.clone())?).ok()?;
        Some(Field {
            name,
            value: self.text.get(value.clone())?,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.kept.size_hint()
    }
}

impl ExactSizeIterator for Trailers<'_> {}

/// Whether a field of this name may come after the body. Not those that decide about framing,
/// routing, authentication, caching or how the body is read: they were acted on already, and a
/// receiver that merges trailers into the head would let a client change them afterwards (RFC 9110
/// section 6.5.1). Nor what proxies say of a request, and whom it comes from.
pub(crate) fn may_be_trailer(name: &str) -> bool {
    const NEVER: [&str; 17] = [
        "age",
        "authorization",
        "cache-control",
        "content-encoding",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expires",
        "location",
        "max-forwards",
        "proxy-authorization",
        "range",
        "set-cookie",
        "trailer",
        "vary",
        "www-authenticate",
    ];
    matches!(kind(name), Kind::Other | Kind::Date)
        && !is_protected(name)
        && !NEVER.iter().any(|word| name.eq_ignore_ascii_case(word))
}

/// Appends the last chunk with these trailers. A field that is not valid is left out.
pub fn write_last_chunk<'d>(out: &mut Vec<u8>, trailers: impl Iterator<Item = Field<'d>>) {
    out.extend_from_slice(b"0\r\n");
    for field in trailers {
        if is_token(field.name.as_bytes()) && is_value(field.value) {
            out.extend_from_slice(field.name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(field.value);
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
}
