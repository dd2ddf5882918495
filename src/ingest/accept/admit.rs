//! Admission: the ids that were seen, and the guard that stands for an event from its admission to
//! its outcome.

use crate::cache::tags::{Tags, Waiting};
use crate::event::{Event, Outcome, Principal, Tag, UserId, first_eight};
use crate::identity::Identity;
use crate::ingest::accept::repetitions::Repetitions;
use crate::ingest::accept::shares::Share;
use crate::ingest::settings::Envelope;
use crate::journal::Ticket;
use crate::keyed::Keyed;
use crate::metrics::Metrics;
use crate::spans::Origin;
use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

const SHARDS: usize = 64;
/// Sets of tags that an event's own is compared with when a batch is settled.
const SETS: usize = 8;

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
    /// Delivered.
    Settled,
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
    /// Settled ids, oldest first, with the time after which they are forgotten.
    settled: VecDeque<(Instant, IdKey)>,
}

impl SeenShard {
    fn look(&mut self, key: SeenKey, now: Instant) -> Known {
        while self.settled.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, old)) = self.settled.pop_front() {
                self.ids.remove(&old);
            }
        }
        let (id, content) = key.halves();
        match self.ids.get(&id) {
            None => Known::No,
            Some((_, State::Undecided)) => Known::Undecided,
            Some((said, _)) if *said == content => Known::Yes,
            Some(_) => Known::Other,
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
        }
    }

    /// The key of an event in a group of this name.
    #[must_use]
    pub fn key(&self, group: &str, event: &Event) -> SeenKey {
        let id = event.id.as_str();
        let id = self.hash_id(group, event.owner.principal, &event.lane.user, id);
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
        let known = shard.look(key, now);
        if known == Known::No {
            let (id, content) = key.halves();
            shard.ids.insert(id, (content, State::Undecided));
        }
        known
    }

    /// What is known of an id, which stays as it is.
    #[must_use]
    pub fn look(&self, key: SeenKey, now: Instant) -> Known {
        self.slot(key)
            .map_or(Known::No, |slot| slot.shard.lock().look(key, now))
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
                shard.ids.insert(id, (content, State::Settled));
                shard.settled.push_back((now + keep, id));
                if shard.settled.len() > self.most
                    && let Some((_, old)) = shard.settled.pop_front()
                {
                    shard.ids.remove(&old);
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

/// What admission, settlement and the lanes share.
#[derive(Debug)]
pub struct Admitter {
    /// Names of the groups, in the order of the configuration.
    pub groups: Vec<Arc<str>>,
    /// What their batches have around the events.
    pub envelopes: Vec<Envelope>,
    /// Who is who.
    pub identity: Arc<Identity>,
    /// Seen ids.
    pub seen: Seen,
    /// Generations and pending counts.
    pub tags: Arc<Tags>,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// Events that came again.
    pub repetitions: Repetitions,
}

/// An admitted event's obligations: its place in the ledger, its entry among the seen ids, its mark
/// on the tags, its share of the bounds. Dropped before the journal has the event, it takes all of
/// them back; nobody was told that the event was kept.
#[derive(Debug)]
pub struct Admitted {
    admitter: Arc<Admitter>,
    key: SeenKey,
    ledger_part: u64,
    tags: Arc<[Tag]>,
    waiting: Waiting,
    /// What a batch of its lane has around its events, bytes.
    envelope: u32,
    keep: Duration,
    state: Stage,
    share: Share,
    /// The span of the call that it came in, if there is one; no start finds it again.
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Admitted,
    Journaled,
    Settled,
}

impl Admitter {
    /// The key of an event among the seen ids.
    #[must_use]
    pub fn key(&self, event: &Event) -> SeenKey {
        self.seen.key(
            self.groups
                .get(event.lane.group.0)
                .map_or("", |group| group),
            event,
        )
    }

    /// Admits an event whose id is new; else says what the id says. The tags' generations move
    /// here, before the journal and before the acknowledgement (ruling 1). `key`: the event's own;
    /// `keep`: how long the id stays known after its delivery; `share`: what it takes of the
    /// bounds.
    ///
    /// # Errors
    /// Its id is known, or names another event; nothing was kept.
    pub async fn admit(
        self: &Arc<Self>,
        key: SeenKey,
        event: &Event,
        keep: Duration,
        share: Share,
    ) -> Result<Admitted, Claim> {
        match self.seen.claim(key).await {
            Claim::New => Ok(self.obligation(key, event, keep, share)),
            claim => Err(claim),
        }
    }

    /// The obligation of an event that a start found in the journal.
    #[must_use]
    pub fn readmit(
        self: &Arc<Self>,
        seen: [u8; 16],
        event: &Event,
        keep: Duration,
        share: Share,
    ) -> Admitted {
        self.seen.confirm(SeenKey(seen));
        self.obligation(SeenKey(seen), event, keep, share)
    }

    fn obligation(
        self: &Arc<Self>,
        key: SeenKey,
        event: &Event,
        keep: Duration,
        share: Share,
    ) -> Admitted {
        let [first, second, ..] = key.0;
        let ledger_part = u64::from(first) << 8 | u64::from(second);
        self.metrics.ledgers.receive(ledger_part);
        let (tags, waiting) = (
            Arc::clone(&event.tags),
            Waiting::of(&event.owner, &event.lane.user),
        );
        self.tags.mark(&tags, waiting);
        let envelope = u32::try_from(self.envelope(event)).unwrap_or(u32::MAX);
        let (admitter, state) = (Arc::clone(self), Stage::Admitted);
        Admitted {
            admitter,
            key,
            ledger_part,
            tags,
            waiting,
            envelope,
            keep,
            state,
            share,
            origin: Origin::default(),
        }
    }

    /// What a batch of an event's lane has around its events, bytes.
    #[must_use]
    pub fn envelope(&self, event: &Event) -> usize {
        let envelope = self
            .envelopes
            .get(event.lane.group.0)
            .unwrap_or(&Envelope::Plain);
        envelope.overhead(
            &self.identity,
            &event.context,
            event.lane.user.as_str(),
            event.received_at,
        )
    }

    /// A known event came again.
    pub fn repeat(&self, key: SeenKey) {
        self.repetitions.note(key.0);
        self.metrics.ledgers.repeat(fastrand::u64(..));
    }
}

impl Admitter {
    /// How often an event came again, as far as that is remembered. `seen`: its key among the seen
    /// ids.
    #[must_use]
    pub fn count_repetitions(&self, seen: [u8; 16]) -> u64 {
        self.repetitions.count(seen)
    }
}

impl Ticket for Admitted {
    fn kept(&mut self) {
        self.state = Stage::Journaled;
        self.admitter.seen.confirm(self.key);
    }

    fn taken_back(&mut self) {
        self.state = Stage::Admitted;
    }
}

impl Admitted {
    /// The key of its id among the seen ones.
    #[must_use]
    pub const fn seen(&self) -> [u8; 16] {
        self.key.0
    }

    /// The same, of an event that came in the call of this span.
    #[must_use]
    pub fn with_origin(self, origin: Origin) -> Self {
        let mut admitted = self;
        admitted.origin = origin;
        admitted
    }

    /// The span of the call that it came in.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How long its id stays known with this outcome; a dead letter's is free again.
    #[must_use]
    pub fn keep(&self, outcome: &Outcome) -> Option<Duration> {
        (!matches!(outcome, Outcome::Dead(_))).then_some(self.keep)
    }

    /// What a batch of its lane has around its events, bytes.
    #[must_use]
    pub const fn envelope(&self) -> usize {
        self.envelope as usize
    }

    /// The one outcome of each, in the order of their lanes. Consumes the obligations, so none can
    /// be given twice.
    pub fn settle_all(mut settled: Vec<(Self, Outcome)>) {
        settled
            .iter_mut()
            .for_each(|(admitted, _)| admitted.state = Stage::Settled);
        let Some((
            Self {
                admitter,
                ledger_part,
                ..
            },
            _,
        )) = settled.first()
        else {
            return;
        };
        // ORDER: the generations move before the events stop being pending, so that nothing stale
        // fits in between.
        for (Self { tags, waiting, .. }, events) in Self::by_tags(&settled) {
            admitter.tags.settle_several(tags, *waiting, events);
        }
        let now = Instant::now();
        for (admitted, outcome) in &settled {
            admitter.seen.end(admitted.key, admitted.keep(outcome), now);
        }
        admitter
            .metrics
            .settle_all(*ledger_part, settled.iter().map(|(_, outcome)| outcome));
        Share::join(settled.iter_mut().map(|(admitted, _)| &mut admitted.share));
    }

    /// One for each set of tags, and how many there are of it; a set may come again where many
    /// others stand between.
    fn by_tags(settled: &[(Self, Outcome)]) -> Vec<(&Self, u32)> {
        let mut sets: Vec<(&Self, u32)> = Vec::new();
        for (admitted, _) in settled {
            let is_same = |one: &Self| one.waiting == admitted.waiting && one.tags == admitted.tags;
            match sets
                .iter_mut()
                .rev()
                .take(SETS)
                .find(|(one, _)| is_same(one))
            {
                Some((_, events)) => *events += 1,
                None => sets.push((admitted, 1)),
            }
        }
        sets
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.state == Stage::Admitted {
            self.admitter.tags.settle(&self.tags, self.waiting);
            self.admitter.seen.end(self.key, None, Instant::now());
            self.admitter.metrics.ledgers.release(self.ledger_part);
        }
    }
}

#[cfg(test)]
#[path = "admit_tests.rs"]
mod tests;
