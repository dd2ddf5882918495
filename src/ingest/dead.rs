//! Dead letters: events that could not be delivered, until somebody replays or drops them.
//!
//! All are in memory, bounded by `limits.max_dead_letters`: the oldest go first, and are counted. With a durable journal
//! they lie in it too, changed by the same commits as the events they were. A letter shows no credential; a replay goes
//! with the one that the event came with, and with no other (P3).

use crate::clock::millis;
use crate::event::{Carried, Event, Fingerprint};
use crate::identity::keys;
use crate::journal::commit::stored_letter;
use crate::journal::record::{DeadRecord, Record};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::BTreeMap;
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
}

impl DeadLetter {
    /// As the journal's table holds it.
    #[must_use]
    pub fn stored(&self) -> Vec<u8> {
        let event = Record::of(&self.event, &self.group, self.seen);
        let (reason, attempts, status, died_ms) = (&*self.reason, self.attempts, self.status, self.died_ms);
        stored_letter(self.key, &DeadRecord { reason, attempts, status, died_ms, event })
    }

    /// As operators see it.
    #[must_use]
    pub fn show(&self) -> Shown {
        let event = &self.event;
        let json = std::str::from_utf8(&event.json).unwrap_or("null").to_owned();
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
        }
    }
}

/// Letters that are gone, with the credentials that they held.
pub type Gone = Vec<(u64, Fingerprint)>;

#[derive(Debug, Default)]
struct Pile {
    letters: BTreeMap<u64, DeadLetter>,
    dropped: u64,
}

/// The dead letters, by key.
#[derive(Debug)]
pub struct DeadLetters {
    // A plain lock: dead letters are rare, and listing copies.
    pile: Mutex<Pile>,
    most: usize,
}

impl DeadLetters {
    /// Room for `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { pile: Mutex::default(), most: most.max(1) }
    }

    /// One more; what goes for want of room comes back.
    pub fn bury(&self, letter: DeadLetter) -> Gone {
        let mut pile = self.pile.lock();
        pile.letters.insert(letter.key, letter);
        let mut gone = Gone::new();
        while pile.letters.len() > self.most
            && let Some((key, letter)) = pile.letters.pop_first()
        {
            pile.dropped += 1;
            gone.push((key, letter.event.lane.credential));
        }
        gone
    }

    /// As it was before this start.
    pub fn restore(&self, dropped: u64) {
        self.pile.lock().dropped += dropped;
    }

    /// All that are kept, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Shown> {
        self.pile.lock().letters.values().map(DeadLetter::show).collect()
    }

    /// The letters of a key or of an event id; all without one. Oldest first.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> Vec<DeadLetter> {
        let pile = self.pile.lock();
        let key: Option<u64> = name.and_then(|name| name.parse().ok());
        let named =
            |letter: &&DeadLetter| name.is_none_or(|name| key == Some(letter.key) || letter.event.id.as_str() == name);
        pile.letters.values().filter(named).cloned().collect()
    }

    /// Takes one away; `false`: somebody else did.
    pub fn remove(&self, key: u64) -> bool {
        self.pile.lock().letters.remove(&key).is_some()
    }

    /// How many are kept, how many were dropped for want of room, and when the oldest kept one died.
    #[must_use]
    pub fn count(&self) -> (usize, u64, Option<u64>) {
        let pile = self.pile.lock();
        let oldest = pile.letters.values().map(|letter| letter.died_ms).min();
        (pile.letters.len(), pile.dropped, oldest)
    }
}

/// How long ago a letter died, milliseconds.
#[must_use]
pub fn age_ms(died_ms: u64, now: SystemTime) -> u64 {
    millis(now).saturating_sub(died_ms)
}
