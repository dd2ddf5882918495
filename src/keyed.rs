//! Maps whose keys are keyed hashes already: nobody can choose them, so their first bytes serve as
//! they are.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by a keyed hash, or by one and a small number beside it.
pub type Keyed<K, V> = HashMap<K, V, AsItIsBuilder>;

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
