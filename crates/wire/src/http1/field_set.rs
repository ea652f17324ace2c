//! A set of fields of one head, by position.

use super::MAX_FIELDS;

/// Positions in [`RequestHead::fields`](super::RequestHead::fields) or
/// [`ResponseHead::fields`](super::ResponseHead::fields). One machine word pair, so marking a field
/// costs nothing and no list is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(u128);

impl FieldSet {
    /// No field.
    pub const EMPTY: Self = Self(0);

    /// Adds the field at `index`. Positions of [`MAX_FIELDS`] and more do not exist and are ignored.
    #[inline]
    pub const fn insert(&mut self, index: usize) {
        if index < MAX_FIELDS {
            self.0 |= 1 << index;
        }
    }

    /// Whether the field at `index` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, index: usize) -> bool {
        index < MAX_FIELDS && self.0 & (1 << index) != 0
    }

    /// The fields of either set.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// How many fields are in the set.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
