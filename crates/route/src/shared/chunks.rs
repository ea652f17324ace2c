//! A list in chunks.
use std::sync::Arc;

/// Entries of a chunk, a power of two: replacing an entry copies one chunk, and a pointer for each
/// of the others.
const CHUNK: usize = 128;

/// A list that is cheap to copy, and to change in few places after that.
#[derive(Debug)]
pub(crate) struct Chunks<T> {
    /// All but the last are full.
    chunks: Arc<[Arc<[T]>]>,
    len: usize,
}

impl<T> Chunks<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + Clone {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl<T: Clone> Chunks<T> {
    #[allow(
        dead_code,
        reason = "for tables made from their predecessors, which are next"
    )]
    /// Puts values in the places of others; places behind the end are left out.
    pub(crate) fn replace(&mut self, values: impl IntoIterator<Item = (usize, T)>) {
        for (index, value) in values {
            let chunks = Arc::make_mut(&mut self.chunks);
            let chunk = chunks.get_mut(index / CHUNK).map(Arc::make_mut);
            if let Some(place) = chunk.and_then(|chunk| chunk.get_mut(index % CHUNK)) {
                *place = value;
            }
        }
    }
}

impl<T> Clone for Chunks<T> {
    fn clone(&self) -> Self {
        Self {
            chunks: Arc::clone(&self.chunks),
            len: self.len,
        }
    }
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl<T> From<Vec<T>> for Chunks<T> {
    fn from(values: Vec<T>) -> Self {
        let len = values.len();
        let mut values = values.into_iter();
        let chunks = (0..len.div_ceil(CHUNK)).map(|_| values.by_ref().take(CHUNK).collect());
        Self {
            chunks: chunks.collect(),
            len,
        }
    }
}

/// By value: entries that are `Arc`s of equal contents are equal.
impl<T: PartialEq> PartialEq for Chunks<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && std::iter::zip(&*self.chunks, &*other.chunks)
                .all(|(own, other)| Arc::ptr_eq(own, other) || own == other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_copy_leaves_the_first_alone() {
        for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 3] {
            let plain: Vec<usize> = (0..len).collect();
            let list = Chunks::from(plain.clone());
            assert_eq!(list.len(), len);
            assert!(list.iter().eq(&plain));
            let mut changed = list.clone();
            assert!(changed == list);
            changed.replace([(len / 2, 1_000_000), (len, 7)]);
            assert!(list.iter().eq(&plain));
            assert_eq!(changed.get(len), None);
            if len > 0 {
                assert_eq!(changed.get(len / 2), Some(&1_000_000));
                assert!(changed != list);
                changed.replace([(len / 2, len / 2)]);
            }
            assert!(changed == list);
        }
    }
}
