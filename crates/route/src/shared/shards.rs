//! A hash map in shards.
use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry};
use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    sync::Arc,
};

/// Entries of a shard on average, when it is made: what fills a table of 256 places well.
const FILLED: usize = 176;
/// More on average, and there will be more shards.
const CROWDED: usize = 1024;

type Shard<K, V> = Arc<HashTable<(K, V)>>;

/// A map that is cheap to copy, and to change in few places after that: a change copies one shard,
/// and a pointer for each of the others. A lookup hashes once.
pub(crate) struct Shards<K, V> {
    shards: Arc<[Shard<K, V>]>,
    hasher: RandomState,
    len: usize,
}

impl<K, V> Shards<K, V> {
    #[allow(
        dead_code,
        reason = "for tables made from their predecessors, which are next"
    )]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// In no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let entries = self.shards.iter().flat_map(|shard| shard.iter());
        entries.map(|(key, value)| (key, value))
    }

    /// In no particular order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// In no particular order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

/// The hash's upper half chooses the shard; the places within one are chosen by its lower bits.
fn shard_of(hash: u64, shards: usize) -> usize {
    (((hash >> 32) * shards as u64) >> 32) as usize
}

impl<K: Hash + Eq, V> Shards<K, V> {
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let shard = self.shards.get(shard_of(hash, self.shards.len()))?;
        let found = shard.find(hash, |(own, _)| own.borrow() == key);
        found.map(|(_, value)| value)
    }

    pub(crate) fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    /// Sets the value of a key; the former one comes back.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if self.len >= self.shards.len() * CROWDED {
            self.spread(self.len * 2);
        }
        let hash = self.hasher.hash_one(&key);
        let hasher = &self.hasher;
        let count = self.shards.len();
        let shards = Arc::make_mut(&mut self.shards);
        let shard = shards.get_mut(shard_of(hash, count)).map(Arc::make_mut)?;
        match shard.entry(hash, |own| own.0 == key, |own| hasher.hash_one(&own.0)) {
            Entry::Occupied(mut own) => Some(std::mem::replace(&mut own.get_mut().1, value)),
            Entry::Vacant(place) => {
                place.insert((key, value));
                self.len += 1;
                None
            }
        }
    }

    /// Sets the value of a key that has none; the rejected value comes back.
    pub(crate) fn insert_new(&mut self, key: K, value: V) -> Result<(), V> {
        if self.contains_key(&key) {
            return Err(value);
        }
        self.insert(key, value);
        Ok(())
    }

    #[allow(
        dead_code,
        reason = "for tables made from their predecessors, which are next"
    )]
    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let at = shard_of(hash, self.shards.len());
        let is_own = |own: &(K, V)| own.0.borrow() == key;
        self.shards.get(at)?.find(hash, is_own)?;
        let shards = Arc::make_mut(&mut self.shards);
        let shard = shards.get_mut(at).map(Arc::make_mut)?;
        let ((_, value), _) = shard.find_entry(hash, is_own).ok()?.remove();
        self.len -= 1;
        Some(value)
    }

    /// To be called when many entries were added: as little memory as they need.
    pub(crate) fn fit(&mut self) {
        self.spread(self.len);
    }

    /// Makes as many shards as so many entries ask for.
    fn spread(&mut self, entries: usize) {
        let count = entries.div_ceil(FILLED).max(1);
        let mut shards: Vec<HashTable<(K, V)>> = Vec::new();
        shards.resize_with(count, HashTable::new);
        for (key, value) in self.iter() {
            let hash = self.hasher.hash_one(key);
            if let Some(shard) = shards.get_mut(shard_of(hash, count)) {
                let rehash = |own: &(K, V)| self.hasher.hash_one(&own.0);
                shard.insert_unique(hash, (key.clone(), value.clone()), rehash);
            }
        }
        self.shards = shards.into_iter().map(Arc::new).collect();
    }
}

impl<K, V> Clone for Shards<K, V> {
    fn clone(&self) -> Self {
        Self {
            shards: Arc::clone(&self.shards),
            hasher: self.hasher.clone(),
            len: self.len,
        }
    }
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self {
            shards: Arc::default(),
            hasher: RandomState::default(),
            len: 0,
        }
    }
}

impl<K: Hash + Eq, V: PartialEq> PartialEq for Shards<K, V> {
    fn eq(&self, other: &Self) -> bool {
        // Copies of one map have their shards in common.
        let common = |at: usize, shard: &Shard<K, V>| {
            let others = (self.shards.len() == other.shards.len()).then_some(&other.shards);
            let other = others.and_then(|others| others.get(at));
            other.is_some_and(|other| Arc::ptr_eq(shard, other))
        };
        self.len == other.len
            && self.shards.iter().enumerate().all(|(at, shard)| {
                common(at, shard)
                    || shard
                        .iter()
                        .all(|(key, value)| other.get(key) == Some(value))
            })
    }
}
impl<K: Hash + Eq, V: Eq> Eq for Shards<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Shards<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::HashMap;

    fn same(map: &Shards<u32, u8>, plain: &HashMap<u32, u8>) -> bool {
        let all = map.iter().all(|(key, value)| plain.get(key) == Some(value));
        all && map.len() == plain.len() && map.iter().count() == plain.len()
    }

    proptest! {
        /// It does what a `HashMap` does, and a copy stays what it was.
        #[test]
        fn it_is_a_map(
            first in vec((any::<bool>(), 0_u32..8_000, 0_u8..3), 0..200),
            then in vec((any::<bool>(), 0_u32..8_000, 0_u8..3), 0..40),
            many in any::<bool>(),
            fit in any::<bool>(),
        ) {
            let mut map = Shards::default();
            let mut plain = HashMap::new();
            if many {
                for key in 0..7_000 {
                    map.insert(key, 9);
                    plain.insert(key, 9);
                }
            }
            let apply = |map: &mut Shards<u32, u8>, plain: &mut HashMap<u32, u8>, steps| {
                for (is_removed, key, value) in steps {
                    let (own, other) = if is_removed {
                        (map.remove(&key), plain.remove(&key))
                    } else {
                        (map.insert(key, value), plain.insert(key, value))
                    };
                    assert_eq!(own, other);
                }
            };
            apply(&mut map, &mut plain, first);
            if fit {
                map.fit();
            }
            let (copy, before) = (map.clone(), plain.clone());
            apply(&mut map, &mut plain, then);
            prop_assert!(same(&map, &plain) && same(&copy, &before));
            prop_assert_eq!(map == copy, plain == before);
            let mut fresh = Shards::default();
            for (key, value) in &plain {
                fresh.insert(*key, *value);
            }
            prop_assert!(fresh == map);
            prop_assert_eq!(fresh.insert_new(9_000, 1), Ok(()));
            prop_assert_eq!(fresh.insert_new(9_000, 2), Err(2));
        }
    }
}
