//! Dead letters: events that could not be delivered, until somebody replays or drops them.
//!
//! All are in memory, bounded by `limits.max_dead_letters` and in bytes by a quarter of
//! `journal.max_bytes`. For want of room the oldest goes, and is counted; but while strangers'
//! letters ([`shares`](crate::ingest::accept::shares)) take more than a half, the oldest of the
//! address that has most of these. One that is older than `limits.dead_letter_age` goes too, and is
//! counted. With a durable journal they lie in it too, changed by the same
//! commits as the events they were. A letter shows no credential; a replay goes with the one that
//! the event came with, and with no other (P3).

use crate::clock::millis;
use crate::event::{Carried, Event, Fingerprint, Principal, UserId};
use crate::identity::keys;
use crate::ingest::accept::reputation::Reputation;
use crate::ingest::accept::shares::Address;
use crate::journal;
use crate::journal::record::{self, DeadRecord, Record};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

/// A dead letter.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The event's number in the journal; its name for an operator.
    pub key: u64,
    /// The batch group's name.
    pub group: Arc<str>,
    /// The event.
    pub event: Event,
    /// The key of its id among the seen ones.
    pub seen: [u8; 16],
    /// Why it died.
    pub reason: Cow<'static, str>,
    /// Times it was named as failed.
    pub attempts: u32,
    /// The upstream's last status; 0: none.
    pub status: u16,
    /// When it was given up, Unix milliseconds.
    pub died_ms: u64,
    /// Its credential was damaged in the journal: it is never sent, whatever it died of.
    pub lost: bool,
    /// What the application said when it died, an excerpt.
    pub answer: Option<Box<str>>,
}

/// A dead letter as operators see it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Shown {
    /// What commands name it by.
    pub key: u64,
    /// The event's id.
    pub id: String,
    /// Its batch group.
    pub group: String,
    /// The path of the single call, without its query.
    pub route: Option<String>,
    /// Its user.
    pub user: String,
    /// Why it is here.
    pub reason: String,
    /// The upstream's last status.
    pub status: Option<u16>,
    /// The event as the batch held it.
    pub event: Box<serde_json::value::RawValue>,
    /// When it was received, Unix milliseconds.
    pub received_at: u64,
    /// When it was given up, Unix milliseconds.
    pub died_at: u64,
    /// Times it was named as failed.
    pub attempts: u32,
    /// What the application said when it died: 512 characters at most, of what names the event if
    /// that is more.
    pub answer: Option<String>,
}

impl DeadLetter {
    /// As the journal's table holds it.
    #[must_use]
    pub fn stored(&self) -> Vec<u8> {
        let event = Record::of(&self.event, &self.group, self.seen);
        let (reason, attempts, status, died_ms) =
            (&*self.reason, self.attempts, self.status, self.died_ms);
        let letter = DeadRecord {
            reason,
            attempts,
            status,
            died_ms,
            event,
        };
        record::letter_bytes(&letter, self.answer.as_deref())
    }

    /// As operators see it.
    #[must_use]
    pub fn show(&self) -> Shown {
        let event = &self.event;
        let json = std::str::from_utf8(&event.json)
            .unwrap_or("null")
            .to_owned();
        let legacy = Carried::unpack(&event.carried).and_then(|carried| carried.legacy);
        Shown {
            key: self.key,
            id: event.id.as_str().to_owned(),
            group: self.group.to_string(),
            route: legacy.map(|call| call.path.split('?').next().unwrap_or_default().to_owned()),
            user: keys::shown_user(event).into_owned(),
            reason: self.reason.to_string(),
            status: (self.status > 0).then_some(self.status),
            event: serde_json::value::RawValue::from_string(json).unwrap_or_default(),
            received_at: millis(event.received_at),
            died_at: self.died_ms,
            attempts: self.attempts,
            answer: self.answer.as_deref().map(str::to_owned),
        }
    }
}

/// What an operator names letters by. Clients choose ids, so that none of them may read as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name<'a> {
    /// Digits.
    Key(u64),
    /// `id:` and an event's id, or anything else than digits.
    Id(&'a str),
}

impl<'a> Name<'a> {
    fn of(text: &'a str) -> Self {
        match (text.strip_prefix("id:"), text.parse()) {
            (Some(id), _) => Self::Id(id),
            (None, Ok(key)) => Self::Key(key),
            (None, Err(_)) => Self::Id(text),
        }
    }

    fn is_of(self, letter: &DeadLetter) -> bool {
        match self {
            Self::Key(key) => letter.key == key,
            Self::Id(id) => letter.event.id.as_str() == id,
        }
    }
}

/// Which letters are meant: those for which everything holds that is said; all, if nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// A key (digits), or an event id (`id:…`, or anything that is no number).
    pub name: Option<String>,
    /// Their reason.
    pub reason: Option<String>,
    /// Their batch group.
    pub group: Option<String>,
    /// Their user, on all hosts.
    pub user: Option<UserId>,
}

impl Selection {
    fn holds(&self, letter: &DeadLetter) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        let name = self.name.as_deref().map(Name::of);
        name.is_none_or(|name| name.is_of(letter))
            && is(&self.reason, &letter.reason)
            && is(&self.group, &letter.group)
            && self
                .user
                .as_ref()
                .is_none_or(|user| *user == letter.event.lane.user)
    }
}

/// Letters that are gone, with the credentials that they held.
pub type Gone = Vec<(u64, Fingerprint)>;

/// Of the bytes that the journal may hold, dead letters may take one part in this many.
pub const PART_OF_JOURNAL: u64 = 4;

/// A letter, as the pile keeps it.
#[derive(Debug)]
struct Kept {
    letter: DeadLetter,
    weight: u64,
    /// Where a stranger's came from; none: its principal was good.
    address: Option<Address>,
}

/// The strangers' letters of one address.
#[derive(Debug, Default)]
struct OfAddress {
    keys: BTreeSet<u64>,
    weight: u64,
}

/// Which letters are strangers', by address.
#[derive(Debug, Default)]
struct OfStrangers {
    addresses: HashMap<Address, OfAddress>,
    /// The addresses, the one with the heaviest letters last.
    order: BTreeSet<(u64, Address)>,
    weight: u64,
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

#[derive(Debug, Default)]
struct Pile {
    letters: BTreeMap<u64, Kept>,
    weight: u64,
    strangers: OfStrangers,
    dropped: u64,
}

impl Pile {
    fn add(&mut self, letter: DeadLetter, weight: u64, address: Option<Address>) {
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

    fn remove(&mut self, key: u64) -> Option<DeadLetter> {
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
    fn next_to_go(&mut self, half: u64, is_good: impl Fn(Principal) -> bool) -> Option<u64> {
        while self.strangers.weight > half
            && let Some(key) = self.strangers.next_to_go()
        {
            let principal = self
                .letters
                .get(&key)
                .map(|kept| kept.letter.event.owner.principal);
            if !principal.is_some_and(&is_good) {
                return Some(key);
            }
            self.hand_to_the_good(key);
        }
        self.letters.first_key_value().map(|(key, _)| *key)
    }
}

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
        let is_strangers = !is_good(letter.event.owner.principal);
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
        let pile = self.pile.lock();
        let letters = pile.letters.values().map(|kept| &kept.letter);
        letters
            .filter(|letter| meant.holds(letter))
            .map(DeadLetter::show)
            .collect()
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
        by_death
            .iter()
            .skip(newest)
            .map(|(_, _, letter)| letter.show())
            .collect()
    }

    /// The letters that are meant, oldest first.
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
            .filter(|letter| letter.event.id.as_str() == id)
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
#[path = "dead_tests.rs"]
mod tests;
