//! An ordered map whose copies share what they have in common.
//!
//! Documents are few that change and many that stay, and the set of all of them is held by several
//! hands at once: by the catalogue that changes it, and by whoever compiles it. So a copy costs
//! nothing, a change afterwards copies one chunk, and two versions are compared by their chunks.
//! A persistent tree does the same; entries in sorted chunks are walked faster, which is what
//! compiling does with them, and are less code than a dependency has.
use std::{borrow::Borrow, cmp::Ordering, fmt, sync::Arc};

/// Entries of one chunk at most. A change copies one chunk, and the list of all chunks.
const CHUNK: usize = 256;

/// Entries in chunks, none of them empty.
type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A map in the order of its keys. Cheap to clone; see the module.
#[derive(Clone)]
pub struct SharedMap<K, V> {
    chunks: Arc<Vec<Chunk<K, V>>>,
    len: usize,
}

impl<K, V: Clone> SharedMap<K, V> {
    /// All values in the order of their keys. Those that other maps share are cloned.
    pub fn into_values(self) -> impl Iterator<Item = V> {
        let values: Vec<V> = self.values().cloned().collect();
        values.into_iter()
    }
}

/// What became of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'m, K, V> {
    /// The key.
    pub key: &'m K,
    /// Its value in the former map.
    pub before: Option<&'m V>,
    /// Its value in the latter map; never equal to `before`.
    pub after: Option<&'m V>,
}

impl<K, V> SharedMap<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Self {
            chunks: Arc::default(),
            len: 0,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All entries in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + Clone {
        let entries = self.chunks.iter().flat_map(|chunk| chunk.iter());
        entries.map(|(key, value)| (key, value))
    }

    /// All keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// All values in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// The same map in memory? Then they are equal; otherwise they may still be.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.chunks, &other.chunks)
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = position(chunk, key).ok()?;
        chunk.get(at).map(|(_, value)| value)
    }

    /// Is the key there?
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The entries whose keys are not below `from`, in order.
    pub fn from<Q: Ord + ?Sized>(&self, from: &Q) -> impl Iterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(from);
        let skipped = self.chunks.get(at).map_or(0, |chunk| {
            position(chunk, from).unwrap_or_else(|position| position)
        });
        let chunks = self.chunks.get(at..).unwrap_or_default();
        let entries = chunks.iter().flat_map(|chunk| chunk.iter()).skip(skipped);
        entries.map(|(key, value)| (key, value))
    }

    /// Number of the chunk that has the key, if any has.
    fn chunk_of<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let starts_after = |chunk: &Chunk<K, V>| {
            let first = chunk.first();
            first.is_some_and(|(first, _)| first.borrow() <= key)
        };
        self.chunks.partition_point(starts_after).saturating_sub(1)
    }
}

fn position<K: Ord + Borrow<Q>, V, Q: Ord + ?Sized>(
    chunk: &[(K, V)],
    key: &Q,
) -> Result<usize, usize> {
    chunk.binary_search_by(|(own, _)| own.borrow().cmp(key))
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Sets the value of a key; the former one comes back.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let at = self.chunk_of(&key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(at) else {
            chunks.push(Arc::new(vec![(key, value)]));
            self.len += 1;
            return None;
        };
        let chunk = Arc::make_mut(chunk);
        match position(chunk, &key) {
            Ok(position) => {
                let (_, own) = chunk.get_mut(position)?;
                return Some(std::mem::replace(own, value));
            }
            Err(position) => chunk.insert(position, (key, value)),
        }
        self.len += 1;
        if chunk.len() > CHUNK {
            // Entries that come in order, as they mostly do, leave full chunks behind.
            let is_last = at + 1 == chunks.len();
            let chunk = chunks.get_mut(at).map(Arc::make_mut)?;
            let rest = chunk.split_off(if is_last { CHUNK } else { CHUNK / 2 });
            chunk.shrink_to_fit();
            chunks.insert(at + 1, Arc::new(rest));
        }
        None
    }

    /// Keeps the entries that `keep` says yes to.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let kept = self.iter().filter(|(key, value)| keep(key, value));
        *self = kept
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
    }

    /// Removes a key; its value comes back.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let at = self.chunk_of(key);
        let position = position(self.chunks.get(at)?, key).ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = chunks.get_mut(at).map(Arc::make_mut)?;
        let (_, value) = chunk.remove(position);
        self.len -= 1;
        let len = chunk.len();
        // Small neighbours unite, so that a map that shrank has few chunks.
        let next = chunks.get(at + 1).map_or(CHUNK, |next| next.len());
        if len == 0 {
            chunks.remove(at);
        } else if len + next <= CHUNK / 2 {
            let next = chunks.remove(at + 1);
            if let Some(chunk) = chunks.get_mut(at) {
                Arc::make_mut(chunk).extend(next.iter().cloned());
            }
        }
        Some(value)
    }
}

impl<K: Ord, V: PartialEq> SharedMap<K, V> {
    /// What is different from `before`, in the order of keys. Chunks that both share are not
    /// looked into.
    pub fn changes_since<'m>(&'m self, before: &'m Self) -> Vec<Change<'m, K, V>> {
        let mut changes = Vec::new();
        if self.is_same(before) {
            return changes;
        }
        let (mut old, mut new) = (Cursor::of(before), Cursor::of(self));
        loop {
            if old.skips_with(&mut new) {
                continue;
            }
            let order = match (old.head(), new.head()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            let before = if order.is_le() { old.take() } else { None };
            let after = if order.is_ge() { new.take() } else { None };
            let Some((key, _)) = before.or(after) else {
                return changes;
            };
            let (before, after) = (before.map(|it| &it.1), after.map(|it| &it.1));
            if before != after {
                changes.push(Change { key, before, after });
            }
        }
    }
}

/// A walk over the entries, chunk by chunk.
struct Cursor<'m, K, V> {
    chunks: &'m [Chunk<K, V>],
    /// In the first of `chunks`.
    position: usize,
}

impl<'m, K, V> Cursor<'m, K, V> {
    fn of(map: &'m SharedMap<K, V>) -> Self {
        Self {
            chunks: &map.chunks,
            position: 0,
        }
    }

    fn head(&self) -> Option<&'m (K, V)> {
        self.chunks.first()?.get(self.position)
    }

    fn take(&mut self) -> Option<&'m (K, V)> {
        let head = self.head()?;
        self.position += 1;
        if self.head().is_none() {
            self.chunks = self.chunks.get(1..).unwrap_or_default();
            self.position = 0;
        }
        Some(head)
    }

    /// True if both stood at the beginning of the same chunk, and now stand behind it.
    fn skips_with(&mut self, other: &mut Self) -> bool {
        if self.position != 0 || other.position != 0 {
            return false;
        }
        let shared = std::iter::zip(self.chunks, other.chunks)
            .take_while(|(own, other)| Arc::ptr_eq(own, other))
            .count();
        self.chunks = self.chunks.get(shared..).unwrap_or_default();
        other.chunks = other.chunks.get(shared..).unwrap_or_default();
        shared > 0
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.changes_since(other).is_empty()
    }
}
impl<K: Ord, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(entries: T) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::BTreeMap;

    proptest! {
        /// It does what a `BTreeMap` does; a copy stays what it was, and the difference between
        /// the two is what was done in between.
        #[test]
        fn it_is_a_map(
            first in vec((any::<bool>(), 0_u32..2_000, 0_u8..3), 0..3_000),
            then in vec((any::<bool>(), 0_u32..2_000, 0_u8..3), 0..40),
            many in any::<bool>(),
        ) {
            let mut map = SharedMap::new();
            let mut plain = BTreeMap::new();
            if many {
                for key in 0..2_000 {
                    map.insert(key, 9);
                    plain.insert(key, 9);
                }
            }
            for (is_removed, key, value) in first {
                apply(&mut map, &mut plain, is_removed, key, value);
            }
            let (copy, before) = (map.clone(), plain.clone());
            for (is_removed, key, value) in then {
                apply(&mut map, &mut plain, is_removed, key, value);
            }
            for (map, plain) in [(&map, &plain), (&copy, &before)] {
                prop_assert_eq!(map.len(), plain.len());
                prop_assert!(map.iter().eq(plain.iter()));
                prop_assert!(map.from(&700).eq(plain.range(700..)));
                prop_assert!(map.chunks.iter().all(|chunk| !chunk.is_empty()));
                prop_assert!(map.chunks.iter().all(|chunk| chunk.len() <= CHUNK));
                for key in 0..2_000 {
                    prop_assert_eq!(map.get(&key), plain.get(&key));
                }
            }
            let expected: Vec<_> = (0..2_000)
                .map(|key| (key, before.get(&key), plain.get(&key)))
                .filter(|(_, before, after)| before != after)
                .collect();
            let changes: Vec<_> = map
                .changes_since(&copy)
                .into_iter()
                .map(|change| (*change.key, change.before, change.after))
                .collect();
            prop_assert_eq!(map == copy, expected.is_empty());
            prop_assert_eq!(changes, expected);
        }
    }

    fn apply(
        map: &mut SharedMap<u32, u8>,
        plain: &mut BTreeMap<u32, u8>,
        is_removed: bool,
        key: u32,
        value: u8,
    ) {
        if is_removed {
            assert_eq!(map.remove(&key), plain.remove(&key));
        } else {
            assert_eq!(map.insert(key, value), plain.insert(key, value));
        }
    }
}
