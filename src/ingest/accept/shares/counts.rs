//! Sums by key. As a rule there are few, and those take no table.

use std::collections::HashMap;
use std::hash::Hash;

/// Most sums that are looked for one by one.
const FEW: usize = 8;

/// Sums by key; one that is zero isn't there.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "an account has three of them, and a table's own place would make each twice as large"
)]
pub(super) enum Counts<K> {
    Few(Vec<(K, u64)>),
    Many(Box<HashMap<K, u64>>),
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Copy + Eq + Hash> Counts<K> {
    pub(super) fn get(&self, key: K) -> u64 {
        match self {
            Self::Few(sums) => sums
                .iter()
                .find(|(one, _)| *one == key)
                .map_or(0, |(_, sum)| *sum),
            Self::Many(sums) => sums.get(&key).copied().unwrap_or(0),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (K, u64)> {
        let (few, many) = match self {
            Self::Few(sums) => (Some(sums), None),
            Self::Many(sums) => (None, Some(&**sums)),
        };
        few.into_iter()
            .flatten()
            .copied()
            .chain(many.into_iter().flatten().map(|(key, sum)| (*key, *sum)))
    }

    pub(super) fn add(&mut self, key: K, amount: u64) {
        match self {
            Self::Few(sums) => {
                if let Some((_, sum)) = sums.iter_mut().find(|(one, _)| *one == key) {
                    *sum += amount;
                } else if sums.len() < FEW {
                    sums.reserve_exact(1);
                    sums.push((key, amount));
                } else {
                    let many = sums.drain(..).chain([(key, amount)]).collect();
                    *self = Self::Many(Box::new(many));
                }
            }
            Self::Many(sums) => *sums.entry(key).or_default() += amount,
        }
    }

    pub(super) fn take(&mut self, key: K, amount: u64) {
        match self {
            Self::Few(sums) => {
                if let Some(place) = sums.iter().position(|(one, _)| *one == key)
                    && let Some((_, sum)) = sums.get_mut(place)
                {
                    *sum = sum.saturating_sub(amount);
                    if *sum == 0 {
                        sums.swap_remove(place);
                    }
                }
            }
            Self::Many(sums) => {
                if let Some(sum) = sums.get_mut(&key) {
                    *sum = sum.saturating_sub(amount);
                    if *sum == 0 {
                        sums.remove(&key);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_are_what_was_added_less_what_was_taken_few_or_many(
            moves in proptest::collection::vec((0..20u8, 0..5u64, any::<bool>()), 0..200),
        ) {
            let (mut counts, mut model) = (Counts::default(), HashMap::<u8, u64>::new());
            for (key, amount, adds) in moves {
                let sum = model.entry(key).or_default();
                if adds {
                    *sum += amount + 1;
                    counts.add(key, amount + 1);
                } else {
                    *sum = sum.saturating_sub(amount);
                    counts.take(key, amount);
                }
                prop_assert_eq!(counts.get(key), *sum);
            }
            model.retain(|_, sum| *sum > 0);
            prop_assert_eq!(counts.iter().collect::<HashMap<_, _>>(), model);
        }
    }
}
