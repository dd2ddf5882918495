//! Admission: the ids that were seen, the rate per user, the standing of credentials, and the guard that stands for
//! an event from its admission to its outcome.

use super::settings::{Envelope, Limits};
use crate::cache::tags::Tags;
use crate::event::{Event, EventId, Fingerprint, LaneKey, Outcome, Tag};
use crate::identity::Identity;
use crate::journal::Ticket;
use crate::metrics::Metrics;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

const SHARDS: usize = 64;
/// Buckets are counted every this many calls.
const COUNT_EVERY: u64 = 256;

/// An id as it is remembered: a keyed 128-bit hash of group, user, credential and id. The credential is part of it, so
/// that a forged call can't make somebody's true event look like a duplicate (which would lose it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenKey(pub [u8; 16]);

impl Hash for SeenKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// A seen key is a keyed hash already, and nobody can choose it: its last half serves as it is.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.last_chunk().map_or(0, |last| u64::from_le_bytes(*last));
    }
    fn finish(&self) -> u64 {
        self.0
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
    /// Nothing; it counts as undecided now.
    No,
    /// It is on its way into the journal; whether it is kept will be known in a moment.
    Undecided,
    /// It is kept, or was delivered.
    Yes,
}

#[derive(Debug, Default)]
struct SeenShard {
    ids: HashMap<SeenKey, State, BuildHasherDefault<AsItIs>>,
    /// Settled ids, oldest first, with the time after which they are forgotten.
    settled: VecDeque<(Instant, SeenKey)>,
}

#[derive(Debug, Default)]
struct Slot {
    shard: Mutex<SeenShard>,
    /// An undecided id of this slot was decided.
    decided: Notify,
}

/// The ids that were seen: pending ones always, settled ones for `max_age` or until the cap is reached.
#[derive(Debug)]
pub struct Seen {
    key: [u8; 32],
    slots: Vec<Slot>,
    most: usize,
}

impl Seen {
    /// Remembers at most `most` settled ids (rounded up to a multiple of 64); the oldest are forgotten first. `secret`
    /// stays with the data directory.
    #[must_use]
    pub fn new(most: usize, secret: &[u8; 32]) -> Self {
        let key = blake3::derive_key("tidegate 2026 seen ids", secret);
        Self { key, slots: (0..SHARDS).map(|_| Slot::default()).collect(), most: most.div_ceil(SHARDS).max(1) }
    }

    /// The key of an id in a group of this name.
    #[must_use]
    pub fn key(&self, group: &str, lane: &LaneKey, id: &EventId) -> SeenKey {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&(group.len() as u64).to_le_bytes());
        hasher.update(group.as_bytes());
        hasher.update(&lane.credential.0);
        hasher.update(&(lane.user.as_str().len() as u64).to_le_bytes());
        hasher.update(lane.user.as_str().as_bytes());
        hasher.update(id.as_str().as_bytes());
        let mut short = [0; 16];
        hasher.finalize_xof().fill(&mut short);
        SeenKey(short)
    }

    fn slot(&self, key: SeenKey) -> Option<&Slot> {
        let [first, ..] = key.0;
        self.slots.get(usize::from(first) % SHARDS)
    }

    /// Takes the id as undecided, if it is not known already.
    pub fn begin(&self, key: SeenKey, now: Instant) -> Known {
        let Some(slot) = self.slot(key) else { return Known::No };
        let mut shard = slot.shard.lock();
        while shard.settled.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, old)) = shard.settled.pop_front() {
                shard.ids.remove(&old);
            }
        }
        match shard.ids.entry(key) {
            Entry::Occupied(found) if *found.get() == State::Undecided => Known::Undecided,
            Entry::Occupied(_) => Known::Yes,
            Entry::Vacant(place) => {
                place.insert(State::Undecided);
                Known::No
            }
        }
    }

    /// As [`begin`](Self::begin), but waits while the id is undecided: a duplicate must not be acknowledged before its
    /// original is kept (P1). `true`: it was not known and is undecided now.
    pub async fn claim(&self, key: SeenKey) -> bool {
        loop {
            match self.begin(key, Instant::now()) {
                Known::No => return true,
                Known::Yes => return false,
                Known::Undecided => {}
            }
            let Some(slot) = self.slot(key) else { return true };
            let mut decided = std::pin::pin!(slot.decided.notified());
            // ORDER: listening before looking again, so that no decision falls in between.
            decided.as_mut().enable();
            match self.begin(key, Instant::now()) {
                Known::No => return true,
                Known::Yes => return false,
                Known::Undecided => decided.await,
            }
        }
    }

    /// The event is kept.
    pub fn confirm(&self, key: SeenKey) {
        let Some(slot) = self.slot(key) else { return };
        slot.shard.lock().ids.insert(key, State::Pending);
        slot.decided.notify_waiters();
    }

    /// The event has left: its id stays known for `keep`, or is free again if it was not delivered.
    pub fn end(&self, key: SeenKey, keep: Option<Duration>, now: Instant) {
        let Some(slot) = self.slot(key) else { return };
        let mut shard = slot.shard.lock();
        match keep {
            None => drop(shard.ids.remove(&key)),
            Some(keep) => {
                shard.ids.insert(key, State::Settled);
                shard.settled.push_back((now + keep, key));
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

/// Lanes counted apart from one another; two that share a place meet the cap earlier.
const CROWDS: usize = 1 << 14;

/// How many events are pending in each lane, estimated from above: a fixed table of counters, indexed by a hash.
#[derive(Debug)]
pub struct Crowds {
    counts: Box<[AtomicU32]>,
    most: u32,
}

impl Crowds {
    /// All at zero; a lane is crowded at `most`.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let counts = (0..CROWDS).map(|_| AtomicU32::new(0)).collect();
        Self { counts, most: u32::try_from(most).unwrap_or(u32::MAX) }
    }

    fn place(lane: &LaneKey) -> u16 {
        let mut hasher = std::hash::DefaultHasher::new();
        lane.hash(&mut hasher);
        u16::try_from(hasher.finish() % CROWDS as u64).unwrap_or(0)
    }

    /// It has as many events as one lane may have.
    #[must_use]
    pub fn is_crowded(&self, lane: &LaneKey) -> bool {
        let count = self.counts.get(usize::from(Self::place(lane)));
        count.is_some_and(|count| count.load(Ordering::Relaxed) >= self.most)
    }

    fn enter(&self, lane: &LaneKey) -> u16 {
        let place = Self::place(lane);
        if let Some(count) = self.counts.get(usize::from(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        place
    }

    fn leave(&self, place: u16) {
        if let Some(count) = self.counts.get(usize::from(place)) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What admission, settlement and the lanes share.
#[derive(Debug)]
pub struct Ground {
    /// Names of the groups, in the order of the configuration.
    pub groups: Vec<Arc<str>>,
    /// What their batches have around the events.
    pub envelopes: Vec<Envelope>,
    /// Who is who.
    pub identity: Arc<Identity>,
    /// Events per lane.
    pub crowds: Crowds,
    /// Seen ids.
    pub seen: Seen,
    /// Generations and pending counts.
    pub tags: Arc<Tags>,
    /// Instruments.
    pub metrics: Arc<Metrics>,
}

/// An admitted event's obligations: its place in the ledger, its entry among the seen ids, its mark on the tags.
/// Dropped before the journal has the event, it takes all of them back; nobody was told that the event was kept.
#[derive(Debug)]
pub struct Admitted {
    ground: Arc<Ground>,
    key: SeenKey,
    book: u64,
    tags: Arc<[Tag]>,
    credential: Fingerprint,
    crowd: u16,
    /// What a batch of its lane has around its events, bytes.
    envelope: u32,
    keep: Duration,
    state: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Admitted,
    Journaled,
    Settled,
}

impl Ground {
    /// Admits an event: known ids give `None`. The tags' generations move here, before the journal and before the
    /// acknowledgement (ruling 1). `keep`: how long the id stays known after its delivery.
    #[must_use]
    pub async fn admit(self: &Arc<Self>, event: &Event, keep: Duration) -> Option<Admitted> {
        let group = self.groups.get(event.lane.group.0).map_or("", |group| group);
        let key = self.seen.key(group, &event.lane, &event.id);
        self.seen.claim(key).await.then(|| self.obligation(key, event, keep))
    }

    /// The obligation of an event that a start found in the journal.
    #[must_use]
    pub fn readmit(self: &Arc<Self>, seen: [u8; 16], event: &Event, keep: Duration) -> Admitted {
        self.seen.confirm(SeenKey(seen));
        self.obligation(SeenKey(seen), event, keep)
    }

    fn obligation(self: &Arc<Self>, key: SeenKey, event: &Event, keep: Duration) -> Admitted {
        let [first, second, ..] = key.0;
        let book = u64::from(first) << 8 | u64::from(second);
        self.metrics.books.receive(book);
        let (tags, credential) = (Arc::clone(&event.tags), event.lane.credential);
        self.tags.mark(&tags, credential);
        let crowd = self.crowds.enter(&event.lane);
        let envelope = u32::try_from(self.envelope(event)).unwrap_or(u32::MAX);
        Admitted {
            ground: Arc::clone(self),
            key,
            book,
            tags,
            credential,
            crowd,
            envelope,
            keep,
            state: Stage::Admitted,
        }
    }

    /// What a batch of an event's lane has around its events, bytes.
    #[must_use]
    pub fn envelope(&self, event: &Event) -> usize {
        let envelope = self.envelopes.get(event.lane.group.0).unwrap_or(&Envelope::Plain);
        envelope.overhead(&self.identity, &event.credential, event.lane.user.as_str(), event.received_at)
    }

    /// A known id came again.
    pub fn repeat(&self) {
        self.metrics.books.repeat(fastrand::u64(..));
    }
}

impl Ticket for Admitted {
    fn kept(&mut self) {
        self.state = Stage::Journaled;
        self.ground.seen.confirm(self.key);
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

    /// The one outcome. Consumes the obligation, so it can't be given twice.
    pub fn settle(mut self, outcome: &Outcome) {
        self.state = Stage::Settled;
        // ORDER: the generation moves before the event stops being pending, so that nothing stale fits in between.
        self.ground.tags.settle(&self.tags, self.credential);
        self.ground.crowds.leave(self.crowd);
        self.ground.seen.end(self.key, self.keep(outcome), Instant::now());
        self.ground.metrics.settle(self.book, outcome);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if self.state == Stage::Admitted {
            self.ground.tags.settle(&self.tags, self.credential);
            self.ground.crowds.leave(self.crowd);
            self.ground.seen.end(self.key, None, Instant::now());
            self.ground.metrics.books.release(self.book);
        }
    }
}

type UserBucket = (u64, Fingerprint);

/// Tokens per user and credential (a forged token can't use up another's).
#[derive(Debug)]
pub struct Buckets {
    limiter: Option<DefaultKeyedRateLimiter<UserBucket>>,
    most: usize,
    calls: AtomicU64,
    /// More buckets than `most`: until the next sweep everybody's calls are forwarded.
    crowded: AtomicBool,
    clock: DefaultClock,
}

/// Why a bucket gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dry {
    /// Over the rate; tokens will be there after this time.
    Limited(Duration),
    /// More users than `max_users` in the last seconds; calls are forwarded.
    TooManyUsers,
}

impl Buckets {
    /// Buckets as `limits.events_per_user` says; none: no limit.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let limiter = limits.events_per_user.and_then(|rate| {
            let each = rate.per.checked_div(rate.rate).filter(|each| !each.is_zero())?;
            let quota = Quota::with_period(each)?.allow_burst(NonZeroU32::new(rate.burst)?);
            Some(RateLimiter::keyed(quota))
        });
        let (calls, crowded) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { limiter, most: limits.max_users.max(1), calls, crowded, clock: DefaultClock::default() }
    }

    /// One token.
    ///
    /// # Errors
    /// None is there, or the user has no bucket and can't get one.
    pub fn take(&self, lane: &LaneKey) -> Result<(), Dry> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let user = Tag::new(lane.user.as_str()).0;
        limiter.check_key(&(user, lane.credential)).map_err(|not_until| {
            // A refused check leaves the bucket as it is.
            Dry::Limited(not_until.wait_time_from(self.clock.now()))
        })?;
        // Counting locks every part of the map, so it is done now and then; housekeeping forgets full buckets.
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(COUNT_EVERY) {
            self.crowded.store(limiter.len() > self.most, Ordering::Relaxed);
        }
        if self.crowded.load(Ordering::Relaxed) { Err(Dry::TooManyUsers) } else { Ok(()) }
    }

    /// Forgets full buckets, which are as good as new ones.
    pub fn sweep(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            limiter.shrink_to_fit();
            self.crowded.store(limiter.len() > self.most, Ordering::Relaxed);
        }
    }

    /// Buckets in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.limiter.as_ref().map_or(0, RateLimiter::len)
    }

    /// None in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is known of credentials: rejected ones (their next calls go to the application until one succeeds, §5), and,
/// with `admit = "proven"`, those that have succeeded lately.
#[derive(Debug)]
pub struct Standing {
    rejected: moka::sync::Cache<Fingerprint, ()>,
    /// Those that had a success, and no rejection since.
    good: moka::sync::Cache<Fingerprint, ()>,
    proven: Option<moka::sync::Cache<Fingerprint, ()>>,
}

impl Standing {
    /// `proof`: how long a proof lasts; `None`: every credential is good until it is rejected. `rejection`: how long a
    /// rejection is remembered if nothing succeeds, and a success if nothing more comes. The maps are capped at `most`
    /// credentials; a forgotten rejection costs one more late rejection, a forgotten proof one more forwarded call, a
    /// forgotten success makes a stranger of its credential until the next one.
    #[must_use]
    pub fn new(proof: Option<Duration>, rejection: Duration, most: u64) -> Self {
        let map = |ttl| moka::sync::Cache::builder().max_capacity(most).time_to_live(ttl).build();
        Self { rejected: map(rejection), good: map(rejection), proven: proof.map(map) }
    }

    /// A batch of this credential met 401 or 403.
    pub fn reject(&self, credential: Fingerprint) {
        self.rejected.insert(credential, ());
        self.good.invalidate(&credential);
        if let Some(proven) = &self.proven {
            proven.invalidate(&credential);
        }
    }

    /// A call of this credential succeeded.
    pub fn vouch(&self, credential: Fingerprint) {
        self.rejected.invalidate(&credential);
        self.good.insert(credential, ());
        if let Some(proven) = &self.proven {
            proven.insert(credential, ());
        }
    }

    /// Its last batch was rejected.
    #[must_use]
    pub fn is_rejected(&self, credential: Fingerprint) -> bool {
        self.rejected.contains_key(&credential)
    }

    /// It had a success lately, and no rejection since: what it meets says something of its group (ruling 15).
    #[must_use]
    pub fn is_good(&self, credential: Fingerprint) -> bool {
        self.good.contains_key(&credential)
    }

    /// It may be acknowledged without asking.
    #[must_use]
    pub fn is_proven(&self, credential: Fingerprint) -> bool {
        self.proven.as_ref().is_none_or(|proven| proven.contains_key(&credential))
    }
}
