//! A bounded memory of what came last under a key.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

/// Remembers the last value of at least the `most` keys that were put last, and of at most twice as
/// many (P10).
#[derive(Debug)]
pub struct Recent<K, V, S = RandomState> {
    young: HashMap<K, V, S>,
    old: HashMap<K, V, S>,
    most: usize,
}

impl<K: Eq + Hash, V, S: BuildHasher + Default> Recent<K, V, S> {
    /// Empty.
    pub fn new(most: usize) -> Self {
        Self {
            young: HashMap::default(),
            old: HashMap::default(),
            most: most.max(1),
        }
    }

    /// The last value, if it is remembered.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// A newer value.
    pub fn put(&mut self, key: K, value: V) {
        if self.young.len() >= self.most && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    /// Forgets a key.
    pub fn take(&mut self, key: &K) -> Option<V> {
        let (young, old) = (self.young.remove(key), self.old.remove(key));
        young.or(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_keys_are_remembered_and_the_memory_is_bounded() {
        let mut recent: Recent<u32, u32> = Recent::new(10);
        for key in 0..1_000u32 {
            recent.put(key, key);
            assert!(recent.young.len() + recent.old.len() <= 20);
            assert!((key.saturating_sub(9)..=key).all(|one| recent.get(&one) == Some(&one)));
        }
        recent.put(999, 1);
        assert_eq!((recent.take(&999), recent.get(&999)), (Some(1), None));
    }
}
