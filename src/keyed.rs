//! Maps whose keys are keyed hashes already: nobody can choose them, so their first bytes serve as
//! they are. And a keyed hash of long texts for tables in which a text takes nobody's place for long.

use moka::policy::EvictionPolicy;
use moka::sync::{Cache, CacheBuilder};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};

/// A map by a keyed hash, or by one and a small number beside it.
pub type Keyed<K, V> = HashMap<K, V, AsItIsBuilder>;

/// A cache of so many entries that forgets those that were used least recently. What is new is taken in
/// any case: moka's own policy turns it away where older entries were used more often, so that a
/// cache that is full would learn nothing of those who come.
pub fn recently_used<K, V>(most: u64) -> CacheBuilder<K, V, Cache<K, V>>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    Cache::builder()
        .max_capacity(most)
        .eviction_policy(EvictionPolicy::lru())
}

/// Builds [`AsItIs`].
pub type AsItIsBuilder = BuildHasherDefault<AsItIs>;

/// Takes what it is given for a hash. Only for keys that hold a hash with a secret in it.
#[derive(Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write_u64(&mut self, number: u64) {
        self.0 = self.0.rotate_left(7) ^ number;
    }

    fn write_usize(&mut self, number: usize) {
        self.0 ^= spread(number as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |sum, byte| (sum << 8) | u64::from(*byte));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A small number in all bits, so that it can stand beside a hash.
#[must_use]
pub const fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A hash of long texts with a secret in it, in a tenth of `SipHash`'s time. It holds against texts
/// that are chosen without knowing its hashes, and promises less than that against others.
#[derive(Debug)]
pub struct TextHash(u64, u64);

impl Default for TextHash {
    fn default() -> Self {
        Self::new()
    }
}

impl TextHash {
    /// With a secret of its own.
    #[must_use]
    pub fn new() -> Self {
        let random = RandomState::new();
        Self(random.hash_one(0), random.hash_one(1))
    }

    /// Of these texts, one after the other.
    pub fn hash<'a>(&self, texts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let Self(first, second) = *self;
        let mut hash = first;
        for text in texts {
            let (whole, rest) = text.as_chunks();
            let mut last = [0; 16];
            last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            hash = folded(hash ^ text.len() as u64, second);
            for chunk in whole.iter().chain([&last]) {
                let (low, high) = halves(u128::from_le_bytes(*chunk));
                hash = folded(hash ^ low, second ^ high);
            }
        }
        hash
    }
}

/// One hash of two: their product, its halves on one another.
#[must_use]
pub fn folded(one: u64, other: u64) -> u64 {
    let (low, high) = halves(u128::from(one) * u128::from(other));
    low ^ high
}

#[expect(clippy::cast_possible_truncation, reason = "that is the lower half")]
const fn halves(whole: u128) -> (u64, u64) {
    (whole as u64, (whole >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn texts_that_differ_in_a_byte_or_in_where_they_end_differ_in_their_hash() {
        let hash = TextHash::new();
        let text = [b'x'; 70];
        let of = |texts: &[&[u8]]| hash.hash(texts.iter().copied());
        let mut seen = HashSet::new();
        for length in 0..text.len() {
            let (begin, end) = text.split_at(length);
            assert!(seen.insert(of(&[begin])), "{length}");
            assert!(seen.insert(of(&[begin, end])), "{length}");
            let mut other = text;
            other[length] = b'y';
            assert!(seen.insert(of(&[&other])), "{length}");
        }
        assert_eq!(of(&[&text]), of(&[&text]));
        assert_ne!(of(&[&text]), TextHash::new().hash([&text[..]]));
    }
}
