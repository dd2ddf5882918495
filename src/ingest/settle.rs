//! Settlement: each event's one outcome, told to everybody whom it concerns; and the dead letters.

use super::admit::Admitted;
use super::shard::Kept;
use super::window::Settled;
use crate::clock::{Clock, millis};
use crate::event::{Outcome, Reason};
use crate::journal::Journal;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// An event that could not be delivered. Never holds a credential.
#[derive(Debug, Clone, serde::Serialize)]
pub struct DeadLetter {
    /// The event's id.
    pub id: String,
    /// Its batch group.
    pub group: String,
    /// Its user.
    pub user: String,
    /// Why it is here.
    pub reason: &'static str,
    /// The event as the batch held it.
    pub event: Box<serde_json::value::RawValue>,
    /// When it was received, Unix milliseconds.
    pub received_at: u64,
    /// When it was given up, Unix milliseconds.
    pub died_at: u64,
    /// Times it was named as failed.
    pub attempts: u32,
}

/// Dead letters in memory: the newest `most`; the oldest are dropped, and counted.
#[derive(Debug)]
pub struct DeadLetters {
    // A plain lock: dead letters are rare, and listing copies.
    letters: Mutex<(VecDeque<DeadLetter>, u64)>,
    most: usize,
}

impl DeadLetters {
    /// Room for `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { letters: Mutex::default(), most: most.max(1) }
    }

    fn bury(&self, letter: DeadLetter) {
        let mut guard = self.letters.lock();
        guard.0.push_back(letter);
        if guard.0.len() > self.most {
            guard.0.pop_front();
            guard.1 += 1;
        }
    }

    /// All that are kept, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<DeadLetter> {
        self.letters.lock().0.iter().cloned().collect()
    }

    /// How many are kept, and how many were dropped for want of room.
    #[must_use]
    pub fn count(&self) -> (usize, u64) {
        let guard = self.letters.lock();
        (guard.0.len(), guard.1)
    }
}

/// Gives each event its outcome.
#[derive(Debug)]
pub struct Settler {
    journal: Arc<Journal<Admitted>>,
    dead: Arc<DeadLetters>,
    groups: Vec<Arc<str>>,
    clock: Clock,
}

impl Settler {
    /// `groups`: names, in the order of the configuration.
    #[must_use]
    pub const fn new(
        journal: Arc<Journal<Admitted>>,
        dead: Arc<DeadLetters>,
        groups: Vec<Arc<str>>,
        clock: Clock,
    ) -> Self {
        Self { journal, dead, groups, clock }
    }

    /// The end of an event: dead letter if it is one, journal, tags, seen id, ledger.
    pub fn settle(&self, settled: Settled<Kept>) {
        let event = settled.entry.event();
        if let Outcome::Dead(reason) = &settled.outcome {
            self.bury(&settled, *reason);
        }
        self.journal.settle(event);
        settled.entry.ticket.settle(&settled.outcome);
    }

    fn bury(&self, settled: &Settled<Kept>, reason: Reason) {
        let event = settled.entry.event();
        let group = self.groups.get(event.lane.group.0).cloned().unwrap_or_else(|| "?".into());
        let json = std::str::from_utf8(&event.json).unwrap_or("null").to_owned();
        let raw = serde_json::value::RawValue::from_string(json).unwrap_or_default();
        tracing::warn!(
            group = %group, id = event.id.as_str(), user = event.lane.user.as_str(), reason = reason.as_str(),
            attempts = settled.failed, "event became a dead letter"
        );
        self.dead.bury(DeadLetter {
            id: event.id.as_str().to_owned(),
            group: group.to_string(),
            user: event.lane.user.as_str().to_owned(),
            reason: reason.as_str(),
            event: raw,
            received_at: millis(event.received_at),
            died_at: millis(self.clock.now()),
            attempts: settled.failed,
        });
    }
}
