//! One field of a message that came in: what it may be in HTTP/2 and what it takes.

use http::HeaderMap;
use smallvec::SmallVec;

use crate::http1::field::{Kind, kind};
use crate::http1::{Field, HeadLimits, MAX_FIELDS, Reason};

/// Room for the fields of one head, most of them on the caller's stack. Keep it out of values that
/// live across an `.await`.
pub type FieldSlots<'b> = SmallVec<[Field<'b>; 32]>;

/// Empty room for one head.
#[inline]
#[must_use]
pub fn field_slots<'b>() -> FieldSlots<'b> {
    SmallVec::new()
}

/// Fills `slots` with the fields of `map`, in the order of the map, and tells the index and kind of
/// each that means something to a proxy. Returns the bytes of the fields as HTTP/1 writes them.
///
/// A [`http::HeaderName`] is a token in lower case or has a `"` in it, which no token has; a
/// [`http::HeaderValue`] has no control bytes but HTAB. The tests hold the library to that.
pub(super) fn read<'b>(
    map: &'b HeaderMap,
    slots: &mut FieldSlots<'b>,
    limits: &HeadLimits,
    mut special: impl FnMut(usize, Kind, &'b [u8]) -> Result<(), Reason>,
) -> Result<usize, Reason> {
    slots.clear();
    if map.len() > limits.max_fields.min(MAX_FIELDS) {
        return Err(Reason::TooManyFields);
    }
    let mut size = 0;
    for (index, (name, value)) in map.iter().enumerate() {
        let (name, value) = (name.as_str(), value.as_bytes());
        // Names are short: a loop is quicker than a search that gets ready for long ones.
        if name
            .bytes()
            .fold(false, |found, byte| found | (byte == b'"'))
        {
            return Err(Reason::BadFieldName);
        }
        // RFC 9113 section 8.2.1.
        if let [b' ' | b'\t', ..] | [.., b' ' | b'\t'] = value {
            return Err(Reason::BlankAroundValue);
        }
        size += name.len() + value.len() + ": \r\n".len();
        match kind(name) {
            Kind::Other => {}
            // RFC 9113 section 8.2.2.
            Kind::Connection | Kind::TransferEncoding | Kind::Upgrade | Kind::Hop => {
                return Err(Reason::ConnectionField);
            }
            kind => special(index, kind, value)?,
        }
        slots.push(Field { name, value });
    }
    Ok(size)
}
