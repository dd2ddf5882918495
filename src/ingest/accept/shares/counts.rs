//! Sums by key. As a rule there are one or two, which lie where the account does; a few more take a
//! list, and only many take a table.

use std::collections::HashMap;
use std::hash::Hash;

/// Most sums that are looked for one by one.
const FEW: usize = 8;

/// Sums by key; one that is zero isn't there. The first `N` of them take no memory of their own.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "an account has three of them, and a table's own place would make each twice as large"
)]
pub(super) enum Counts<K, const N: usize> {
    /// A place of zero is free.
    First([(K, u64); N]),
    Few(Vec<(K, u64)>),
    Many(Box<HashMap<K, u64>>),
}

impl<K: Copy + Default, const N: usize> Default for Counts<K, N> {
    fn default() -> Self {
        Self::First([(K::default(), 0); N])
    }
}

impl<K: Copy + Eq + Hash, const N: usize> Counts<K, N> {
    /// Those that are looked for one by one.
    fn few(&self) -> &[(K, u64)] {
        match self {
            Self::First(sums) => sums,
            Self::Few(sums) => sums,
            Self::Many(_) => &[],
        }
    }

    pub(super) fn get(&self, key: K) -> u64 {
        match self {
            Self::Many(sums) => sums.get(&key).copied().unwrap_or(0),
            _ => self
                .iter()
                .find(|(one, _)| *one == key)
                .map_or(0, |(_, sum)| sum),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (K, u64)> {
        let many = match self {
            Self::Many(sums) => Some(&**sums),
            Self::First(_) | Self::Few(_) => None,
        };
        let few = self.few().iter().copied().filter(|(_, sum)| *sum > 0);
        few.chain(many.into_iter().flatten().map(|(key, sum)| (*key, *sum)))
    }

    pub(super) fn add(&mut self, key: K, amount: u64) {
        match self {
            Self::First(sums) => {
                let place = sums.iter().position(|(one, sum)| *sum > 0 && *one == key);
                let place = place.or_else(|| sums.iter().position(|(_, sum)| *sum == 0));
                match place.and_then(|place| sums.get_mut(place)) {
                    Some(place) => *place = (key, place.1 + amount),
                    None => {
                        let few = sums.iter().copied().chain([(key, amount)]).collect();
                        *self = Self::Few(few);
                    }
                }
            }
            Self::Few(sums) => {
                if let Some((_, sum)) = sums.iter_mut().find(|(one, _)| *one == key) {
                    *sum += amount;
                } else if sums.len() < FEW {
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
            Self::First(sums) => {
                if let Some((_, sum)) = sums.iter_mut().find(|(one, _)| *one == key) {
                    *sum = sum.saturating_sub(amount);
                }
            }
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
            let (mut counts, mut model) = (Counts::<u8, 2>::default(), HashMap::<u8, u64>::new());
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
