//! Dead letters: events that could not be delivered, until somebody replays or drops them.
//!
//! All are in memory, bounded by `limits.max_dead_letters` and in bytes by a quarter of
//! `journal.max_bytes`. For want of room the oldest goes, and is counted; but while strangers'
//! letters ([`shares`](crate::ingest::accept::shares)) take more than a half, the oldest of the
//! address that has most of these. One that is older than `limits.dead_letter_age` goes too, and is
//! counted. With a durable journal they lie in it too, changed by the same
//! commits as the events they were. A letter shows no credential; a replay goes with the one that
//! the event came with, and with no other (P3).
//!
//! | file | holds |
//! |---|---|
//! | `letter` | one letter, as it is kept, stored and shown |
//! | `selection` | which letters a command means |
//! | `pile` | all of them, and which goes for want of room |

mod letter;
mod pile;
mod selection;

pub use letter::{DeadLetter, Shown};
pub use selection::Selection;

use crate::clock::millis;
use crate::event::Fingerprint;
use crate::ingest::accept::reputation::Reputation;
use crate::ingest::accept::shares::Address;
use crate::journal;
use parking_lot::Mutex;
use pile::{Kept, Pile};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

/// Letters that are gone, with the credentials that they held.
pub type Gone = Vec<(u64, Fingerprint)>;

/// Of the bytes that the journal may hold, dead letters may take one part in this many.
pub const PART_OF_JOURNAL: u64 = 4;

/// The dead letters, by key.
#[derive(Debug)]
pub struct DeadLetters {
    // A plain lock: dead letters are rare, and listing copies.
    pile: Mutex<Pile>,
    most: u64,
    /// Bytes that weigh as much as one letter does at least, so that `most` bounds letters and
    /// bytes.
    unit: u64,
    reputation: Arc<Reputation>,
}

impl DeadLetters {
    /// Room for `most`, of `bytes` together, each estimated from above.
    #[must_use]
    pub fn new(most: usize, bytes: u64, reputation: Arc<Reputation>) -> Self {
        let most = most.max(1) as u64;
        Self {
            pile: Mutex::default(),
            most,
            unit: (bytes / most).max(1),
            reputation,
        }
    }

    fn weight(&self, DeadLetter { event, answer, .. }: &DeadLetter) -> u64 {
        let beside = event.context.bytes() + answer.as_ref().map_or(0, |answer| answer.len());
        (journal::size(event) + beside as u64).div_ceil(self.unit)
    }

    /// One more; what goes for want of room comes back.
    pub(in crate::ingest) fn bury(&self, letter: DeadLetter) -> Gone {
        let is_good = |principal| self.reputation.is_good_anywhere(principal);
        let is_strangers = !is_good(letter.event.owner().principal);
        let (address, weight) = (
            is_strangers.then(|| Address::of_event(&letter.event)),
            self.weight(&letter),
        );
        let mut pile = self.pile.lock();
        let mut gone = Gone::new();
        if weight > self.most {
            // All others together would make no room for it.
            pile.dropped += 1;
            gone.push((letter.key, letter.event.lane.credential));
            return gone;
        }
        pile.add(letter, weight, address);
        while pile.weight > self.most
            && let Some(key) = pile.next_to_go(self.most / 2, is_good)
            && let Some(letter) = pile.remove(key)
        {
            pile.dropped += 1;
            gone.push((key, letter.event.lane.credential));
        }
        gone
    }

    /// Takes away those that died before this, Unix milliseconds, and counts them as dropped.
    pub(in crate::ingest) fn expire(&self, before_ms: u64) -> Gone {
        let mut pile = self.pile.lock();
        let is_old = |kept: &&Kept| kept.letter.died_ms < before_ms;
        let old = pile.letters.values().filter(is_old);
        let old: Vec<_> = old.map(|kept| kept.letter.key).collect();
        let mut gone = Gone::new();
        for key in old {
            if let Some(letter) = pile.remove(key) {
                pile.dropped += 1;
                gone.push((key, letter.event.lane.credential));
            }
        }
        gone
    }

    /// As it was before this start.
    pub(in crate::ingest) fn restore(&self, dropped: u64) {
        self.pile.lock().dropped += dropped;
    }

    /// All that are kept and meant, oldest first.
    #[must_use]
    pub fn list(&self, meant: &Selection) -> Vec<Shown> {
        self.find(meant).iter().map(DeadLetter::show).collect()
    }

    /// Those of them that were given up last, at most so many, oldest first.
    #[must_use]
    pub fn list_newest(&self, meant: &Selection, most: usize) -> Vec<Shown> {
        let pile = self.pile.lock();
        let mut by_death: Vec<_> = pile
            .letters
            .iter()
            .filter(|(_, kept)| meant.holds(&kept.letter))
            .map(|(key, kept)| (kept.letter.died_ms, *key, &kept.letter))
            .collect();
        by_death.sort_unstable_by_key(|(died, key, _)| (*died, *key));
        let newest = by_death.len().saturating_sub(most);
        let newest: Vec<DeadLetter> = by_death
            .iter()
            .skip(newest)
            .map(|(_, _, letter)| (*letter).clone())
            .collect();
        // What they say is unpacked without the lock: outcomes wait for it.
        drop(by_death);
        drop(pile);
        newest.iter().map(DeadLetter::show).collect()
    }

    /// The letters that are meant, oldest first. Clones share their memory.
    #[must_use]
    pub fn find(&self, meant: &Selection) -> Vec<DeadLetter> {
        let pile = self.pile.lock();
        let letters = pile.letters.values().map(|kept| &kept.letter);
        letters
            .filter(|letter| meant.holds(letter))
            .cloned()
            .collect()
    }

    /// The letters of an event id, oldest first, at most so many.
    #[must_use]
    pub fn find_id(&self, id: &str, most: usize) -> Vec<DeadLetter> {
        let pile = self.pile.lock();
        let letters = pile.letters.values().map(|kept| &kept.letter);
        letters
            .filter(|letter| letter.event.id() == id)
            .take(most)
            .cloned()
            .collect()
    }

    /// How many are meant.
    #[must_use]
    pub fn count_meant(&self, meant: &Selection) -> usize {
        let pile = self.pile.lock();
        let letters = pile.letters.values().map(|kept| &kept.letter);
        letters.filter(|letter| meant.holds(letter)).count()
    }

    /// Takes one away; `false`: somebody else did.
    pub(in crate::ingest) fn remove(&self, key: u64) -> bool {
        self.pile.lock().remove(key).is_some()
    }

    /// How many are kept, how many were dropped for want of room, and when the oldest kept one
    /// died.
    #[must_use]
    pub fn count(&self) -> (usize, u64, Option<u64>) {
        let pile = self.pile.lock();
        let oldest = pile.letters.values().map(|kept| kept.letter.died_ms).min();
        (pile.letters.len(), pile.dropped, oldest)
    }

    /// How many are kept, by group.
    #[must_use]
    pub fn count_by_group(&self) -> BTreeMap<String, u64> {
        self.count_by(|letter| &letter.group)
    }

    /// How many are kept, by reason.
    #[must_use]
    pub fn count_by_reason(&self) -> BTreeMap<String, u64> {
        self.count_by(|letter| &letter.reason)
    }

    fn count_by(&self, name: impl Fn(&DeadLetter) -> &str) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for kept in self.pile.lock().letters.values() {
            *counts.entry(name(&kept.letter).to_owned()).or_default() += 1;
        }
        counts
    }
}

/// How long ago a letter died, milliseconds.
#[must_use]
pub fn age_ms(died_ms: u64, now: SystemTime) -> u64 {
    millis(now).saturating_sub(died_ms)
}

#[cfg(test)]
mod tests;
