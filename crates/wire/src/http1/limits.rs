//! Every bound on what a peer may send, in one place.

use std::mem::MaybeUninit;

use super::Field;

/// The hard cap on the number of fields of one head; [`HeadLimits::max_fields`] may only lower it.
pub const MAX_FIELDS: usize = 128;

/// The longest method, in bytes.
pub const MAX_METHOD: usize = 32;

/// The longest host name, port not counted, in bytes.
pub const MAX_HOST_NAME: usize = 255;

/// The most options all `Connection` fields of a head may list. Each may name a field to remove,
/// so without a bound a head costs options x fields comparisons.
pub const MAX_CONNECTION_OPTIONS: usize = 32;

/// Bounds on one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, first line and final empty line included. Default 65536.
    pub max_bytes: usize,
    /// Number of fields, at most [`MAX_FIELDS`]. Default 100.
    pub max_fields: usize,
    /// Bytes of the request target. Default 16384.
    pub max_target: usize,
}

impl HeadLimits {
    /// For heads of our own: no more than what cannot be otherwise.
    pub const HARD: Self = Self {
        max_bytes: usize::MAX,
        max_fields: MAX_FIELDS,
        max_target: usize::MAX,
    };
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            max_bytes: 65_536,
            max_fields: 100,
            max_target: 16_384,
        }
    }
}

/// Bounds on what a chunked body may carry beside its data, counted over the whole body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Bytes of all chunk extensions together. Default 16384.
    pub max_extension_bytes: usize,
    /// Bytes of the trailer section. Default 16384.
    pub max_trailer_bytes: usize,
    /// Number of trailer fields, dropped ones included. Default 64.
    pub max_trailer_fields: usize,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self {
            max_extension_bytes: 16_384,
            max_trailer_bytes: 16_384,
            max_trailer_fields: 64,
        }
    }
}

/// Room for the parsed fields of one head, 4 KiB on the caller's stack. Keep it out of values that
/// live across an `.await`.
pub type FieldSlots<'b> = [MaybeUninit<Field<'b>>; MAX_FIELDS];

/// Fresh, uninitialised room for one head.
#[inline]
#[must_use]
pub const fn field_slots<'b>() -> FieldSlots<'b> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}
