//! The pile of dead letters, and which of them goes for want of room: while strangers' take more
//! than their half, the oldest of the address that has most of these.

use super::letter::DeadLetter;
use crate::event::Principal;
use crate::ingest::accept::shares::Address;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A letter, as the pile keeps it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) letter: DeadLetter,
    pub(super) weight: u64,
    /// Where a stranger's came from; none: its principal was good.
    pub(super) address: Option<Address>,
}

/// The strangers' letters of one address.
#[derive(Debug, Default)]
pub(super) struct OfAddress {
    keys: BTreeSet<u64>,
    weight: u64,
}

/// Which letters are strangers', by address.
#[derive(Debug, Default)]
pub(super) struct OfStrangers {
    pub(super) addresses: HashMap<Address, OfAddress>,
    /// The addresses, the one with the heaviest letters last.
    pub(super) order: BTreeSet<(u64, Address)>,
    pub(super) weight: u64,
}

impl OfStrangers {
    /// INVARIANT: `order` and `weight` follow each change of an address.
    fn change(&mut self, address: Address, change: impl FnOnce(&mut OfAddress)) {
        let of = self.addresses.entry(address).or_default();
        let before = of.weight;
        change(of);
        self.order.remove(&(before, address));
        self.weight = self.weight - before + of.weight;
        if of.keys.is_empty() {
            self.addresses.remove(&address);
        } else {
            self.order.insert((of.weight, address));
        }
    }

    fn add(&mut self, address: Address, key: u64, weight: u64) {
        self.change(address, |of| {
            of.keys.insert(key);
            of.weight += weight;
        });
    }

    fn remove(&mut self, address: Address, key: u64, weight: u64) {
        self.change(address, |of| {
            if of.keys.remove(&key) {
                of.weight -= weight;
            }
        });
    }

    /// The oldest letter of the address that has most.
    fn next_to_go(&self) -> Option<u64> {
        let (_, address) = self.order.last()?;
        self.addresses.get(address)?.keys.first().copied()
    }
}

/// All dead letters by key, and which of them are strangers'.
#[derive(Debug, Default)]
pub(super) struct Pile {
    pub(super) letters: BTreeMap<u64, Kept>,
    pub(super) weight: u64,
    pub(super) strangers: OfStrangers,
    /// How many were dropped for want of room, or since they were too old.
    pub(super) dropped: u64,
}

impl Pile {
    pub(super) fn add(&mut self, letter: DeadLetter, weight: u64, address: Option<Address>) {
        let key = letter.key;
        self.remove(key);
        self.weight += weight;
        if let Some(address) = address {
            self.strangers.add(address, key, weight);
        }
        self.letters.insert(
            key,
            Kept {
                letter,
                weight,
                address,
            },
        );
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<DeadLetter> {
        self.hand_to_the_good(key);
        let Kept { letter, weight, .. } = self.letters.remove(&key)?;
        self.weight -= weight;
        Some(letter)
    }

    /// The letter is no stranger's any more.
    fn hand_to_the_good(&mut self, key: u64) {
        let Some(kept) = self.letters.get_mut(&key) else {
            return;
        };
        if let Some(address) = kept.address.take() {
            self.strangers.remove(address, key, kept.weight);
        }
    }

    /// The letter that goes for want of room. While strangers have more than `half`, it is one of
    /// theirs.
    pub(super) fn next_to_go(
        &mut self,
        half: u64,
        is_good: impl Fn(Principal) -> bool,
    ) -> Option<u64> {
        while self.strangers.weight > half
            && let Some(key) = self.strangers.next_to_go()
        {
            let principal = self
                .letters
                .get(&key)
                .map(|kept| kept.letter.event.owner().principal);
            if !principal.is_some_and(&is_good) {
                return Some(key);
            }
            self.hand_to_the_good(key);
        }
        self.letters.first_key_value().map(|(key, _)| *key)
    }
}
