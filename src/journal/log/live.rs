//! Which numbers are alive: a bit for each that was given since the oldest segment began, and a set
//! of the older ones, whose frames were copied.

use std::collections::{HashSet, VecDeque};

const BITS: u64 = u64::BITS as u64;

/// A set of numbers that grows at its end and shrinks everywhere.
#[derive(Debug, Default)]
pub struct Live {
    /// The number of the first bit; a multiple of 64.
    first: u64,
    words: VecDeque<u64>,
    /// Those before `first`.
    older: HashSet<u64>,
}

impl Live {
    fn word(&mut self, number: u64) -> Option<(&mut u64, u64)> {
        let at = number.checked_sub(self.first)?;
        let word = self.words.get_mut(usize::try_from(at / BITS).ok()?)?;
        Some((word, 1 << (at % BITS)))
    }

    /// One more.
    pub fn insert(&mut self, number: u64) {
        if self.words.is_empty() && number >= self.first {
            self.first = number - number % BITS;
        }
        if number < self.first {
            self.older.insert(number);
            return;
        }
        let index = usize::try_from((number - self.first) / BITS).unwrap_or(usize::MAX);
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        if let Some((word, bit)) = self.word(number) {
            *word |= bit;
        }
    }

    /// One fewer; whether it was there.
    pub fn remove(&mut self, number: u64) -> bool {
        if number < self.first {
            return self.older.remove(&number);
        }
        self.word(number).is_some_and(|(word, bit)| {
            let was_there = *word & bit != 0;
            *word &= !bit;
            was_there
        })
    }

    /// Whether it is there.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        let Some(at) = number.checked_sub(self.first) else {
            return self.older.contains(&number);
        };
        let word = usize::try_from(at / BITS)
            .ok()
            .and_then(|index| self.words.get(index));
        word.is_some_and(|word| word & (1 << (at % BITS)) != 0)
    }

    /// The oldest segment that is left begins with this number: what is older takes the room of a
    /// set's entry from now on.
    pub fn begin_at(&mut self, number: u64) {
        while self.first + BITS <= number {
            let Some(word) = self.words.pop_front() else {
                self.first = number - number % BITS;
                return;
            };
            let numbers = (0..BITS)
                .filter(|bit| word & (1 << bit) != 0)
                .map(|bit| self.first + bit);
            self.older.extend(numbers);
            self.first += BITS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// How many numbers are in it.
    fn count(live: &Live) -> usize {
        let in_words: u32 = live.words.iter().map(|word| word.count_ones()).sum();
        in_words as usize + live.older.len()
    }

    proptest! {
        #[test]
        fn it_is_the_set_that_it_says(
            steps in proptest::collection::vec((0u8..3, 0u64..400), 1..200), start in 0u64..1_000,
        ) {
            let (mut live, mut model, mut next) = (Live::default(), BTreeSet::new(), start);
            for (what, number) in steps {
                match what {
                    0 => {
                        next += 1 + number % 3;
                        live.insert(next);
                        model.insert(next);
                    }
                    1 => prop_assert_eq!(live.remove(start + number), model.remove(&(start + number))),
                    _ => live.begin_at((start + number).min(next)),
                }
                prop_assert_eq!(count(&live), model.len());
            }
            // Those that are old take no room for what lies between.
            prop_assert!(live.words.len() as u64 <= (next - start) / BITS + 2);
            for number in 0..next + 70 {
                prop_assert_eq!(live.contains(number), model.contains(&number), "{}", number);
            }
        }
    }
}
