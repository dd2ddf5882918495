//! The ids that were seen: which are on their way into the journal, which are kept, and which were
//! delivered and stay known for a while.

use crate::event::{Event, Principal, UserId, first_eight};
use crate::keyed::Keyed;
use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

const SHARDS: usize = 64;

/// An id as it is remembered: 64 bits of a keyed hash of group, principal, user and id, and 64 bits
/// of what the event said (ruling 21). The principal is part of it, so that a forged call can't
/// make another's true event look like a duplicate (which would lose it). Two ids that share their
/// 64 bits differ in what they said: such a call is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenKey(pub [u8; 16]);

/// The half that names the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IdKey(u64);

impl SeenKey {
    /// The same id with other content.
    #[must_use]
    pub fn names_other(self, other: Self) -> bool {
        let ((id, content), (other_id, other_content)) = (self.halves(), other.halves());
        id == other_id && content != other_content
    }

    fn halves(self) -> (IdKey, u64) {
        let (id, content) = self.0.split_at(8);
        (IdKey(first_eight(id)), first_eight(content))
    }
}

impl Hash for IdKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// On its way into the journal.
    Undecided,
    /// Kept.
    Pending,
    /// Delivered, and known until so many seconds after the beginning.
    Settled(u32),
}

/// What is known of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    No,
    /// It is on its way into the journal; whether it is kept will be known in a moment.
    Undecided,
    /// It is kept, or was delivered.
    Yes,
    /// Another event came under it.
    Other,
}

#[derive(Debug, Default)]
struct SeenShard {
    ids: Keyed<IdKey, (u64, State)>,
    /// Settled ids in the order in which they were settled, each with the second until which it is
    /// known. Groups know them for different times: one that stands behind another may be over.
    settled: VecDeque<(u32, IdKey)>,
}

impl SeenShard {
    fn look(&mut self, key: SeenKey, now: u32) -> Known {
        while self.settled.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest();
        }
        let (id, content) = key.halves();
        match self.ids.get(&id) {
            None => Known::No,
            Some((_, State::Settled(until))) if *until <= now => Known::No,
            Some((_, State::Undecided)) => Known::Undecided,
            Some((said, _)) if *said == content => Known::Yes,
            Some(_) => Known::Other,
        }
    }

    /// The id may have come again since it was over: only this settlement of it is forgotten.
    fn forget_oldest(&mut self) {
        if let Some((until, id)) = self.settled.pop_front()
            && let Some((_, State::Settled(known))) = self.ids.get(&id)
            && *known == until
        {
            self.ids.remove(&id);
        }
    }
}

#[derive(Debug, Default)]
struct Slot {
    shard: Mutex<SeenShard>,
    /// An undecided id of this slot was decided.
    decided: Notify,
}

/// The ids that were seen: pending ones always, settled ones for `max_age` or until the cap is
/// reached.
#[derive(Debug)]
pub struct Seen {
    key: [u8; 16],
    slots: Vec<Slot>,
    most: usize,
    /// Times are counted from here, in whole seconds: an id takes half of what it would with an
    /// `Instant`.
    began: Instant,
}

impl Seen {
    /// Remembers at most `most` settled ids (rounded up to a multiple of 64); the oldest are
    /// forgotten first. `secret` stays with the data directory.
    #[must_use]
    pub fn new(most: usize, secret: &[u8; 32]) -> Self {
        let mut key = [0; 16];
        blake3::derive_key("tidegate 2026 seen ids", secret)
            .iter()
            .zip(&mut key)
            .for_each(|(from, to)| *to = *from);
        Self {
            key,
            slots: (0..SHARDS).map(|_| Slot::default()).collect(),
            most: most.div_ceil(SHARDS).max(1),
            began: Instant::now(),
        }
    }

    /// The second in which this is; a part of one counts as not over yet.
    fn second_of(&self, at: Instant) -> u32 {
        let passed = at.saturating_duration_since(self.began).as_secs();
        u32::try_from(passed).unwrap_or(u32::MAX)
    }

    /// The key of an event in a group of this name.
    #[must_use]
    pub fn key(&self, group: &str, event: &Event) -> SeenKey {
        let id = event.id();
        let id = self.hash_id(group, event.owner().principal, &event.lane.user, id);
        SeenKey((u128::from(id) << 64 | u128::from(event.content)).to_be_bytes())
    }

    fn hash_id(&self, group: &str, principal: Principal, user: &UserId, id: &str) -> u64 {
        let mut hash = SipHasher13::new_with_key(&self.key);
        for bytes in [
            group.as_bytes(),
            &principal.0,
            user.as_str().as_bytes(),
            id.as_bytes(),
        ] {
            hash.write_u64(bytes.len() as u64);
            hash.write(bytes);
        }
        hash.finish()
    }

    /// Whether an event of this id is kept and has no outcome yet, whatever it says.
    #[must_use]
    pub fn is_pending(&self, group: &str, principal: Principal, user: &UserId, id: &str) -> bool {
        let hash = self.hash_id(group, principal, user, id);
        let slot = self.slot(SeenKey((u128::from(hash) << 64).to_be_bytes()));
        let state = slot.and_then(|slot| {
            let shard = slot.shard.lock();
            shard.ids.get(&IdKey(hash)).map(|(_, state)| *state)
        });
        state == Some(State::Pending)
    }

    fn slot(&self, key: SeenKey) -> Option<&Slot> {
        let [first, ..] = key.0;
        self.slots.get(usize::from(first) % SHARDS)
    }

    /// Takes the id as undecided, if nothing is known of it.
    pub fn begin(&self, key: SeenKey, now: Instant) -> Known {
        let Some(slot) = self.slot(key) else {
            return Known::No;
        };
        let mut shard = slot.shard.lock();
        let known = shard.look(key, self.second_of(now));
        if known == Known::No {
            let (id, content) = key.halves();
            shard.ids.insert(id, (content, State::Undecided));
        }
        known
    }

    /// What is known of an id, which stays as it is.
    #[must_use]
    pub fn look(&self, key: SeenKey, now: Instant) -> Known {
        self.slot(key).map_or(Known::No, |slot| {
            slot.shard.lock().look(key, self.second_of(now))
        })
    }

    /// As [`begin`](Self::begin), but waits while the id is undecided: a duplicate must not be
    /// acknowledged before its original is kept (P1).
    pub async fn claim(&self, key: SeenKey) -> Claim {
        loop {
            if let Some(claim) = Claim::of(self.begin(key, Instant::now())) {
                return claim;
            }
            let Some(slot) = self.slot(key) else {
                return Claim::New;
            };
            let mut decided = std::pin::pin!(slot.decided.notified());
            // ORDER: listening before looking again, so that no decision falls in between.
            decided.as_mut().enable();
            match Claim::of(self.begin(key, Instant::now())) {
                Some(claim) => return claim,
                None => decided.await,
            }
        }
    }

    /// What is known of an id once it is decided.
    pub async fn known_when_decided(&self, key: SeenKey) -> Known {
        loop {
            let known = self.look(key, Instant::now());
            let (Known::Undecided, Some(slot)) = (known, self.slot(key)) else {
                return known;
            };
            let mut decided = std::pin::pin!(slot.decided.notified());
            // ORDER: listening before looking again, so that no decision falls in between.
            decided.as_mut().enable();
            if self.look(key, Instant::now()) == Known::Undecided {
                decided.await;
            }
        }
    }

    /// The event is kept.
    pub fn confirm(&self, key: SeenKey) {
        let Some(slot) = self.slot(key) else { return };
        let (id, content) = key.halves();
        slot.shard.lock().ids.insert(id, (content, State::Pending));
        slot.decided.notify_waiters();
    }

    /// The event has left: its id stays known for `keep`, or is free again if it was not delivered.
    pub fn end(&self, key: SeenKey, keep: Option<Duration>, now: Instant) {
        let Some(slot) = self.slot(key) else { return };
        let (id, content) = key.halves();
        let mut shard = slot.shard.lock();
        match keep {
            None => drop(shard.ids.remove(&id)),
            Some(keep) => {
                // Not less than `keep`.
                let until = self.second_of(now + keep).saturating_add(1);
                shard.ids.insert(id, (content, State::Settled(until)));
                shard.settled.push_back((until, id));
                if shard.settled.len() > self.most {
                    shard.forget_oldest();
                }
            }
        }
        drop(shard);
        slot.decided.notify_waiters();
    }
}

/// What an event's id says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is new, and undecided now.
    New,
    /// It is kept, or was delivered.
    Known,
    /// Another event came under its id.
    Other,
}

impl Claim {
    fn of(known: Known) -> Option<Self> {
        match known {
            Known::No => Some(Self::New),
            Known::Yes => Some(Self::Known),
            Known::Other => Some(Self::Other),
            Known::Undecided => None,
        }
    }
}

#[cfg(test)]
#[path = "seen_tests.rs"]
mod tests;
