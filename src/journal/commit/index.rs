//! The in-memory index of the log: what in it is alive, and what the next group goes on from.

use crate::event::{Fingerprint, Principal};
use crate::journal::log::live::Live;
use crate::journal::log::writer::{Begun, Sums};
use crate::journal::refusals::KeptRefusals;
use crate::journal::successors::Successors;
use std::collections::{HashMap, HashSet, VecDeque};

/// What a remembered id counts, bytes on disk.
const SEEN_SIZE: u64 = 32;
/// What a succession counts, bytes on disk.
const SUCCESSION_SIZE: u64 = 128;
/// What a refusal counts, bytes on disk.
const REFUSAL_SIZE: u64 = 128;

/// A frame that is alive until something says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub number: u64,
    /// Bytes.
    pub size: u64,
}

/// A context, and how many events and dead letters use it.
#[derive(Debug, Clone, Copy)]
pub struct UsedContext {
    /// The number of its frame.
    pub number: u64,
    /// What that takes, bytes; no frame takes more.
    size: u32,
    /// How many use it.
    count: u32,
}

/// What of the log is alive, when everything that waits is written.
#[derive(Debug, Default)]
pub struct LogIndex {
    /// The sums.
    pub sums: Sums,
    /// The next number.
    pub next: u64,
    /// Pending events.
    pub events: Live,
    /// What all frames that are alive take, bytes, ids left out.
    bytes: u64,
    /// Contexts.
    pub contexts: HashMap<Fingerprint, UsedContext>,
    /// Numbers of events, and of events that are dead letters, whose contexts a start has not found: they
    /// count for none, not for a later one of the same fingerprint either.
    pub(in crate::journal) without_context: HashSet<u64>,
    /// Dead letters, by the numbers of their events.
    pub letters: HashMap<u64, Kept>,
    /// Successors of sessions.
    pub successors: Successors,
    /// The frames of these.
    pub successions: HashMap<Principal, u64>,
    /// Refusals of callers.
    pub refusals: KeptRefusals,
    /// Ids of settled events that are remembered.
    pub seen: usize,
    /// The segments, oldest first.
    pub segments: VecDeque<Begun>,
}

impl LogIndex {
    /// What of the files is alive, bytes, estimated from above.
    pub(super) const fn alive(&self) -> u64 {
        self.bytes + self.seen as u64 * SEEN_SIZE + self.refusals.alive() as u64 * REFUSAL_SIZE
    }

    /// An event is pending.
    pub fn insert_event(&mut self, kept: Kept) {
        self.events.insert(kept.number);
        self.bytes += kept.size;
    }

    /// An event is pending no more.
    pub fn remove_event(&mut self, kept: Kept) {
        if self.events.remove(kept.number) {
            self.bytes = self.bytes.saturating_sub(kept.size);
        }
    }

    /// An event is a dead letter.
    pub fn insert_letter(&mut self, key: u64, kept: Kept) {
        self.letters.insert(key, kept);
        self.bytes += kept.size;
    }

    /// A dead letter is gone, if it was there.
    pub fn remove_letter(&mut self, key: u64) -> Option<Kept> {
        let kept = self.letters.remove(&key)?;
        self.bytes = self.bytes.saturating_sub(kept.size);
        Some(kept)
    }

    /// One more frame uses a context that is known; whether it is known.
    pub fn retain_context(&mut self, credential: Fingerprint) -> bool {
        let used = self.contexts.get_mut(&credential);
        used.map(|used| used.count += 1).is_some()
    }

    /// A context is known, and no frame uses it yet.
    pub fn insert_context(&mut self, credential: Fingerprint, kept: Kept) {
        let Kept { number, size } = kept;
        let used = UsedContext {
            number,
            size: u32::try_from(size).unwrap_or(u32::MAX),
            count: 0,
        };
        self.contexts.insert(credential, used);
        self.bytes += size;
    }

    /// The event of this number, or its letter, uses its context no more.
    pub fn release_context_of(&mut self, number: u64, credential: Fingerprint) {
        // As a rule there is none, and nothing is hashed.
        if self.without_context.is_empty() || !self.without_context.remove(&number) {
            self.release_context(credential);
        }
    }

    /// One frame fewer uses this context.
    pub fn release_context(&mut self, credential: Fingerprint) {
        let Some(used) = self.contexts.get_mut(&credential) else {
            return;
        };
        used.count = used.count.saturating_sub(1);
        if used.count == 0 {
            self.bytes = self.bytes.saturating_sub(used.size.into());
            self.contexts.remove(&credential);
        }
    }

    /// So many ids are forgotten.
    pub const fn forget_seen(&mut self, count: usize) {
        self.seen = self.seen.saturating_sub(count);
    }

    /// The newest successor of a session.
    pub fn insert_succession(&mut self, bearer: Principal, number: u64) {
        if self.successions.insert(bearer, number).is_none() {
            self.bytes += SUCCESSION_SIZE;
        }
    }

    /// It is forgotten.
    pub fn remove_succession(&mut self, bearer: Principal) {
        if self.successions.remove(&bearer).is_some() {
            self.bytes = self.bytes.saturating_sub(SUCCESSION_SIZE);
        }
    }
}
