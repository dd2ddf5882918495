//! Lanes and their windows, as a pure state machine: no clock, no task, no socket.
//!
//! A lane collects events in an open window. The window is sealed by its first event's deadline (P5), by count, by
//! bytes, by a priority event, by a barrier or at the end; sealed events are *due*. A lane forms batches of due events
//! within the limits (P6) and has at most one of them in flight (P4). What a batch meets comes back as a [`Verdict`].
//!
//! ```text
//! Idle -> InFlight              a batch was formed
//! InFlight -> Idle              settled, or to be split or refused piece by piece
//! InFlight -> Waiting(until)    network error, 5xx, 429, failed events
//! InFlight -> Rejected(until)   401 or 403; until the events are given up
//! Waiting -> Idle               the time has come
//! Rejected -> Idle              a newer call of the credential succeeded, or the events are given up
//! ```

use crate::event::{EventId, Fingerprint, GroupIndex, LaneKey, Outcome, Reason, UserId};
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// `{"events":[` and `]}`: what a batch body has around its events, in bytes.
pub const ENVELOPE_BYTES: usize = 13;

/// How many lanes are looked at for one that can be emptied, at the cap on lanes.
const LOOK: usize = 64;

/// What a window needs to know of an event.
pub trait Entry {
    /// Place in the lane's order, from 1.
    fn seq(&self) -> u64;
    /// When it was kept, if it knows better than the clock that it is pushed by.
    fn since(&self) -> Option<Instant> {
        None
    }
    /// When its token expires.
    fn expires(&self) -> Option<Instant> {
        None
    }
    /// The event's id.
    fn id(&self) -> &EventId;
    /// Where it queues.
    fn lane(&self) -> &LaneKey;
    /// Serialized bytes.
    fn bytes(&self) -> usize;
    /// Seals at once.
    fn priority(&self) -> bool;
    /// Raw value of a field, for `distinct`.
    fn field(&self, name: &str) -> Option<&[u8]>;
    /// Whether its single call can be repeated.
    fn has_single(&self) -> bool;
}

/// The limits of one group's windows.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Longest time from a window's first event to its seal.
    pub window: Duration,
    /// Seal at this many.
    pub flush_at: usize,
    /// Most in a batch.
    pub max_events: usize,
    /// Most bytes in a batch, envelope included.
    pub max_bytes: usize,
    /// A batch never holds a value of these twice.
    pub distinct: Vec<Arc<str>>,
    /// A refused event may be repeated as a single call.
    pub single: bool,
    /// Tries of a failing event.
    pub max_attempts: u32,
    /// Age at which an event is given up.
    pub give_up_after: Duration,
    /// A window is sealed this long before its token expires.
    pub token_margin: Duration,
}

/// One event on its way, with what it has been through.
#[derive(Debug)]
pub struct Queued<E> {
    /// The event.
    pub entry: E,
    /// Times it was named as failed, or left out of every list.
    pub failed: u32,
    /// When it entered its lane.
    pub since: Instant,
}

/// How a batch goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As a batch call.
    Batch,
    /// One event, as the single call it came in.
    Single,
}

/// Events of one lane on their way out together.
#[derive(Debug)]
pub struct Batch<E> {
    /// The same on every retry of the same events.
    pub id: Uuid,
    /// The lane's number, for the verdict.
    pub lane: LaneId,
    /// The lane.
    pub key: LaneKey,
    /// Batch or single call.
    pub form: Form,
    /// The upstream's status for its last attempt.
    pub status: Option<u16>,
    /// Never empty; in the lane's order.
    pub events: Vec<Queued<E>>,
}

/// A lane's number; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(u64);

/// What the upstream's reply makes of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It has its outcome.
    Done(Outcome),
    /// It leads the next batch after a pause.
    Again,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream spoke of every event; one fate each, in order.
    Answered(Vec<Fate>),
    /// Kept as it is; again after `pause`.
    Retry {
        /// How long the lane waits.
        pause: Duration,
    },
    /// The group's gate was closed: nothing was tried.
    Deferred {
        /// How long the lane waits.
        pause: Duration,
    },
    /// 401 or 403.
    Rejected,
    /// A 4xx for all; the ids it names, if any.
    Refused {
        /// Offending events.
        named: Vec<EventId>,
    },
    /// 413.
    TooLarge,
    /// 404, 405 or 501: no batch endpoint there.
    NoBatchEndpoint,
}

/// An event that has its outcome; the caller settles it.
#[derive(Debug)]
pub struct Settled<E> {
    /// The event.
    pub entry: E,
    /// Its outcome.
    pub outcome: Outcome,
    /// Times it failed by name.
    pub failed: u32,
    /// The upstream's last status for its lane.
    pub status: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    InFlight { first_seq: u64, since: Instant },
    Waiting(Instant),
    Rejected(Instant),
}

#[derive(Debug)]
struct Lane<E> {
    key: LaneKey,
    /// Events in no batch, oldest first.
    queue: VecDeque<Queued<E>>,
    /// How many at the front of `queue` are sealed.
    due: usize,
    /// Serialized bytes of the open part.
    open_bytes: usize,
    /// When the open window is sealed; set while it has an event.
    deadline: Option<Instant>,
    /// Formed batches that are to be tried again, first one first.
    again: VecDeque<Batch<E>>,
    phase: Phase,
    /// The instant this lane is listed under in `timers`.
    timer: Option<Instant>,
    /// Consecutive attempts without an answer; the schedule's index.
    retries: u32,
    /// The upstream's last status.
    status: Option<u16>,
}

/// What a forwarded call waits for and holds back.
#[derive(Debug, Clone)]
struct Hold {
    credential: Fingerprint,
    groups: Groups,
    /// Events up to here go first, later ones wait.
    after: u64,
}

/// Which groups' lanes are meant.
pub type Groups = Arc<[GroupIndex]>;

/// How far a lane must get before somebody who waits may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    lane: LaneId,
    seq: u64,
}

/// All lanes of one shard.
#[derive(Debug)]
pub struct Lanes<E> {
    rules: Vec<Rules>,
    max_lanes: usize,
    lanes: HashMap<LaneId, Lane<E>>,
    by_key: HashMap<LaneKey, LaneId>,
    by_user: HashMap<UserId, Vec<LaneId>>,
    timers: BTreeSet<(Instant, LaneId)>,
    holds: HashMap<UserId, HashMap<u64, Hold>>,
    /// Groups whose upstream has no batch endpoint.
    singles_only: HashSet<GroupIndex>,
    next_lane: u64,
    next_hold: u64,
    last_seq: u64,
    ready: VecDeque<Batch<E>>,
    settled: Vec<Settled<E>>,
}

impl<E: Entry> Lanes<E> {
    /// No lanes yet; one set of rules per group, in the order of the groups.
    #[must_use]
    pub fn new(rules: Vec<Rules>, max_lanes: usize) -> Self {
        Self {
            rules,
            max_lanes: max_lanes.max(1),
            lanes: HashMap::new(),
            by_key: HashMap::new(),
            by_user: HashMap::new(),
            timers: BTreeSet::new(),
            holds: HashMap::new(),
            singles_only: HashSet::new(),
            next_lane: 0,
            next_hold: 0,
            last_seq: 0,
            ready: VecDeque::new(),
            settled: Vec::new(),
        }
    }

    /// Lanes with events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// No lane has an event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// When the oldest event that is not settled entered; `None` without events.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        let first = |lane: &Lane<E>| {
            let again = lane.again.iter().flat_map(|batch| batch.events.iter()).map(|queued| queued.since).min();
            let flying = match lane.phase {
                Phase::InFlight { since, .. } => Some(since),
                Phase::Idle | Phase::Waiting(_) | Phase::Rejected(_) => None,
            };
            again.into_iter().chain(flying).chain(lane.queue.front().map(|queued| queued.since)).min()
        };
        self.lanes.values().filter_map(first).min()
    }

    /// Batches to send now.
    pub fn take_ready(&mut self) -> VecDeque<Batch<E>> {
        std::mem::take(&mut self.ready)
    }

    /// Events that have their outcome.
    pub fn take_settled(&mut self) -> Vec<Settled<E>> {
        std::mem::take(&mut self.settled)
    }

    /// When [`tick`](Self::tick) is wanted next.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// An event enters its window.
    pub fn push(&mut self, now: Instant, entry: E) {
        self.last_seq = self.last_seq.max(entry.seq());
        let id = self.lane_for(entry.lane());
        let Some(rules) = self.rules.get(entry.lane().group.0) else { return self.orphan(entry) };
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let priority = entry.priority();
        let since = entry.since().unwrap_or(now);
        lane.open_bytes += entry.bytes() + 1;
        let expires = entry.expires().map(|at| at.checked_sub(rules.token_margin).unwrap_or(now));
        let deadline = (since + rules.window).min(expires.unwrap_or(since + rules.window));
        // P5: from the *first* event; later ones do not postpone it.
        lane.deadline = Some(lane.deadline.map_or(deadline, |first| first.min(deadline)));
        lane.queue.push_back(Queued { entry, failed: 0, since });
        let full = lane.queue.len() - lane.due >= rules.flush_at || lane.open_bytes + ENVELOPE_BYTES > rules.max_bytes;
        if priority || full {
            lane.seal();
        }
        self.advance(id);
    }

    fn orphan(&mut self, entry: E) {
        self.settled.push(Settled { entry, outcome: Outcome::Dead(Reason::GroupRemoved), failed: 0, status: None });
    }

    fn lane_for(&mut self, key: &LaneKey) -> LaneId {
        if let Some(id) = self.by_key.get(key) {
            return *id;
        }
        if self.lanes.len() >= self.max_lanes {
            self.seal_oldest();
        }
        let id = LaneId(self.next_lane);
        self.next_lane += 1;
        self.by_key.insert(key.clone(), id);
        self.by_user.entry(key.user.clone()).or_default().push(id);
        self.lanes.insert(id, Lane::new(key.clone()));
        id
    }

    /// At the cap on lanes the window that opened first is sealed, so that its lane empties and goes (P10).
    fn seal_oldest(&mut self) {
        let open = self
            .timers
            .iter()
            .take(LOOK)
            .find(|(_, id)| self.lanes.get(id).is_some_and(|lane| lane.deadline.is_some()));
        let Some((_, id)) = open.copied() else { return };
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.seal();
        }
        self.advance(id);
    }

    /// Deadlines and pauses that have passed.
    pub fn tick(&mut self, now: Instant) {
        while let Some((at, id)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.remove(&(at, id));
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.timer = None;
                lane.on_time(now);
            }
            self.advance(id);
        }
    }

    /// Seals every window.
    pub fn seal_all(&mut self) {
        let ids: Vec<_> = self.lanes.keys().copied().collect();
        self.seal(&ids);
    }

    fn seal(&mut self, ids: &[LaneId]) {
        for id in ids {
            if let Some(lane) = self.lanes.get_mut(id) {
                lane.seal();
            }
            self.advance(*id);
        }
    }

    fn lanes_of(&self, user: &UserId, wanted: impl Fn(&Lane<E>) -> bool) -> Vec<LaneId> {
        let ids = self.by_user.get(user).map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter(|id| self.lanes.get(id).is_some_and(&wanted)).copied().collect()
    }

    /// Seals this credential's windows of this user in these groups; the marks say when what is in them now is settled.
    pub fn barrier(&mut self, user: &UserId, credential: Fingerprint, groups: &[GroupIndex]) -> Vec<Mark> {
        let meant = |lane: &Lane<E>| lane.key.credential == credential && groups.contains(&lane.key.group);
        let ids = self.lanes_of(user, meant);
        self.seal(&ids);
        self.marks(&ids)
    }

    fn marks(&self, ids: &[LaneId]) -> Vec<Mark> {
        ids.iter().map(|lane| Mark { lane: *lane, seq: self.last_seq }).collect()
    }

    /// Seals the lanes of a forwarded call and holds later events back until [`release_hold`](Self::release_hold).
    /// The first marks must be passed; the second are lanes of the same user under another credential that has not
    /// failed so far (a token that was just renewed): worth waiting for, but no reason to refuse.
    pub fn hold(&mut self, user: &UserId, credential: Fingerprint, groups: &Groups) -> (u64, Vec<Mark>, Vec<Mark>) {
        let meant = |lane: &Lane<E>| groups.contains(&lane.key.group);
        let own = self.lanes_of(user, |lane| meant(lane) && lane.key.credential == credential);
        let others = self.lanes_of(user, |lane| meant(lane) && lane.key.credential != credential && lane.is_well());
        let number = self.next_hold;
        self.next_hold += 1;
        let hold = Hold { credential, groups: Arc::clone(groups), after: self.last_seq };
        self.holds.entry(user.clone()).or_default().insert(number, hold);
        self.seal(&own);
        self.seal(&others);
        (number, self.marks(&own), self.marks(&others))
    }

    /// The forwarded call is over; what waited behind it may go.
    pub fn release_hold(&mut self, user: &UserId, number: u64) {
        let Some(holds) = self.holds.get_mut(user) else { return };
        holds.remove(&number);
        if holds.is_empty() {
            self.holds.remove(user);
        }
        for id in self.lanes_of(user, |_| true) {
            self.advance(id);
        }
    }

    /// Whether what the mark stands for is settled.
    #[must_use]
    pub fn passed(&self, mark: Mark) -> bool {
        self.lanes.get(&mark.lane).is_none_or(|lane| lane.first_seq().is_none_or(|first| first > mark.seq))
    }

    /// Whether a forwarded call may go: as [`passed`](Self::passed), or its lane is held by a 401 or 403, whose cure
    /// is the verdict of just such a call (ruling 4).
    #[must_use]
    pub fn may_pass(&self, mark: Mark) -> bool {
        self.passed(mark) || self.lanes.get(&mark.lane).is_some_and(|lane| matches!(lane.phase, Phase::Rejected(_)))
    }

    /// A newer call of this credential succeeded: its rejected lanes try again.
    pub fn vouch(&mut self, credential: Fingerprint) {
        let rejected = |lane: &Lane<E>| lane.key.credential == credential && matches!(lane.phase, Phase::Rejected(_));
        let ids: Vec<_> = self.lanes.iter().filter(|(_, lane)| rejected(lane)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.phase = Phase::Idle;
            }
            self.advance(id);
        }
    }

    /// Consecutive attempts of this lane that got no answer.
    #[must_use]
    pub fn retries(&self, lane: LaneId) -> u32 {
        self.lanes.get(&lane).map_or(0, |lane| lane.retries)
    }

    /// An attempt is over. `pause` is how long a lane with failed events waits.
    pub fn verdict(&mut self, now: Instant, batch: Batch<E>, verdict: Verdict, pause: Duration) {
        let id = batch.lane;
        let Some(rules) = self.rules.get(batch.key.group.0).cloned() else { return };
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.phase = Phase::Idle;
        lane.status = batch.status.or(lane.status);
        match verdict {
            Verdict::Retry { .. } => lane.retries = lane.retries.saturating_add(1),
            Verdict::Deferred { .. } => {}
            _ => lane.retries = 0,
        }
        match verdict {
            Verdict::Answered(fates) => self.answered(now, &rules, batch, fates, pause),
            Verdict::Retry { pause } | Verdict::Deferred { pause } => {
                lane.phase = Phase::Waiting(now + pause);
                lane.again.push_front(batch);
            }
            Verdict::Rejected => {
                let first = batch.events.iter().map(|queued| queued.since).min().unwrap_or(now);
                lane.phase = Phase::Rejected(first + rules.give_up_after);
                lane.again.push_front(batch);
            }
            Verdict::Refused { named } => self.refused(&rules, batch, &named),
            Verdict::TooLarge => self.split(&rules, batch),
            Verdict::NoBatchEndpoint => self.without_endpoint(now, &rules, batch, pause),
        }
        self.give_up(now, id, &rules);
        self.advance(id);
    }

    fn answered(&mut self, now: Instant, rules: &Rules, batch: Batch<E>, fates: Vec<Fate>, pause: Duration) {
        let Some(lane) = self.lanes.get_mut(&batch.lane) else { return };
        let mut back = Vec::new();
        // INVARIANT: one fate per event; an event without one is tried again, never dropped.
        let fates = fates.into_iter().chain(std::iter::repeat(Fate::Again));
        for (mut queued, fate) in batch.events.into_iter().zip(fates) {
            match fate {
                Fate::Done(outcome) => {
                    self.settled.push(Settled {
                        entry: queued.entry,
                        outcome,
                        failed: queued.failed,
                        status: batch.status,
                    });
                }
                Fate::Again => {
                    queued.failed += 1;
                    if queued.failed >= rules.max_attempts {
                        let outcome = Outcome::Dead(Reason::TooManyAttempts);
                        self.settled.push(Settled {
                            entry: queued.entry,
                            outcome,
                            failed: queued.failed,
                            status: batch.status,
                        });
                    } else {
                        back.push(queued);
                    }
                }
            }
        }
        if back.is_empty() {
            return;
        }
        lane.phase = Phase::Waiting(now + pause);
        // P4: the refused ones lead the next batch, in their order.
        if batch.form == Form::Single {
            lane.again.push_front(Batch { events: back, ..batch_like(batch.lane, &batch.key, Form::Single) });
            return;
        }
        lane.due += back.len();
        for queued in back.into_iter().rev() {
            lane.queue.push_front(queued);
        }
    }

    fn refused(&mut self, rules: &Rules, batch: Batch<E>, named: &[EventId]) {
        if batch.events.len() == 1 {
            return self.refused_alone(rules, batch);
        }
        let is_named = |queued: &Queued<E>| named.contains(queued.entry.id());
        let (lane, key, status) = (batch.lane, batch.key, batch.status);
        if !batch.events.iter().any(is_named) {
            return self.halve(lane, &key, batch.events);
        }
        // P4: an offender that has a single call left keeps its place: what was before it goes before it.
        let mut runs: Vec<Batch<E>> = Vec::new();
        for queued in batch.events {
            let offends = is_named(&queued);
            if offends && !(rules.single && queued.entry.has_single()) {
                let outcome = Outcome::Dead(Reason::Refused);
                self.settled.push(Settled { entry: queued.entry, outcome, failed: queued.failed, status });
                continue;
            }
            let form = if offends { Form::Single } else { Form::Batch };
            match runs.last_mut().filter(|run| form == Form::Batch && run.form == Form::Batch) {
                Some(run) => run.events.push(queued),
                None => runs.push(Batch { events: vec![queued], ..batch_like(lane, &key, form) }),
            }
        }
        if let Some(state) = self.lanes.get_mut(&lane) {
            runs.into_iter().rev().for_each(|run| state.again.push_front(run));
        }
    }

    fn refused_alone(&mut self, rules: &Rules, batch: Batch<E>) {
        let single = rules.single && batch.form == Form::Batch;
        if single && batch.events.iter().all(|queued| queued.entry.has_single()) {
            let Some(lane) = self.lanes.get_mut(&batch.lane) else { return };
            lane.again.push_front(Batch { id: Uuid::new_v4(), form: Form::Single, ..batch });
            return;
        }
        for queued in batch.events {
            let outcome = Outcome::Dead(Reason::Refused);
            self.settled.push(Settled { entry: queued.entry, outcome, failed: queued.failed, status: batch.status });
        }
    }

    fn split(&mut self, rules: &Rules, batch: Batch<E>) {
        if batch.events.len() == 1 {
            return self.refused_alone(rules, batch);
        }
        self.halve(batch.lane, &batch.key, batch.events);
    }

    fn halve(&mut self, lane: LaneId, key: &LaneKey, mut events: Vec<Queued<E>>) {
        let second = events.split_off(events.len() / 2);
        self.resend(lane, key, second);
        self.resend(lane, key, events);
    }

    /// To the front of the lane, as a batch of its own.
    fn resend(&mut self, lane: LaneId, key: &LaneKey, events: Vec<Queued<E>>) {
        if events.is_empty() {
            return;
        }
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.again.push_front(Batch { events, ..batch_like(lane, key, Form::Batch) });
        }
    }

    fn without_endpoint(&mut self, now: Instant, rules: &Rules, batch: Batch<E>, pause: Duration) {
        let can = rules.single && batch.events.iter().all(|queued| queued.entry.has_single());
        if batch.form == Form::Single {
            return self.refused_alone(rules, batch);
        }
        let Some(lane) = self.lanes.get_mut(&batch.lane) else { return };
        if !can {
            // A wrong path in the configuration is no reason to bury everything: it is tried until given up.
            lane.phase = Phase::Waiting(now + pause);
            lane.again.push_front(batch);
            return;
        }
        self.singles_only.insert(batch.key.group);
        for queued in batch.events.into_iter().rev() {
            let single = Batch { events: vec![queued], ..batch_like(batch.lane, &batch.key, Form::Single) };
            lane.again.push_front(single);
        }
    }

    fn give_up(&mut self, now: Instant, id: LaneId, rules: &Rules) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let reason = match lane.phase {
            Phase::Rejected(_) => Reason::CredentialRejected,
            Phase::Waiting(_) => Reason::GaveUp,
            Phase::Idle | Phase::InFlight { .. } => return,
        };
        for batch in &mut lane.again {
            let (old, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut batch.events)
                .into_iter()
                .partition(|queued| now.saturating_duration_since(queued.since) >= rules.give_up_after);
            if !old.is_empty() {
                batch.id = Uuid::new_v4();
            }
            batch.events = rest;
            self.settled.extend(old.into_iter().map(|queued| Settled {
                entry: queued.entry,
                outcome: Outcome::Dead(reason),
                failed: queued.failed,
                status: lane.status,
            }));
        }
        lane.again.retain(|batch| !batch.events.is_empty());
        while let Some(queued) =
            lane.queue.pop_front_if(|queued| now.saturating_duration_since(queued.since) >= rules.give_up_after)
        {
            if lane.due > 0 {
                lane.due -= 1;
            } else {
                lane.open_bytes = lane.open_bytes.saturating_sub(queued.entry.bytes() + 1);
            }
            let (entry, failed) = (queued.entry, queued.failed);
            self.settled.push(Settled { entry, outcome: Outcome::Dead(reason), failed, status: lane.status });
        }
        if lane.queue.len() == lane.due {
            lane.deadline = None;
        }
    }

    /// Forms the next batch if the lane may, sets its timer, forgets it when it is empty.
    fn advance(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.phase == Phase::Idle {
            let limit = hold_limit(&self.holds, &lane.key);
            let singles = self.singles_only.contains(&lane.key.group);
            let rules = self.rules.get(lane.key.group.0);
            if let Some(batch) = rules.and_then(|rules| lane.next_batch(id, rules, limit, singles)) {
                if let Some(since) = batch.events.iter().map(|queued| queued.since).min() {
                    lane.phase = Phase::InFlight { first_seq: batch.first_seq(), since };
                }
                self.ready.push_back(batch);
            }
        }
        if lane.phase == Phase::Idle && lane.queue.is_empty() && lane.again.is_empty() {
            return self.forget(id);
        }
        let wake = lane.wake();
        if lane.timer != wake {
            if let Some(old) = lane.timer {
                self.timers.remove(&(old, id));
            }
            if let Some(at) = wake {
                self.timers.insert((at, id));
            }
            lane.timer = wake;
        }
    }

    fn forget(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.remove(&id) else { return };
        if let Some(at) = lane.timer {
            self.timers.remove(&(at, id));
        }
        self.by_key.remove(&lane.key);
        if let Some(ids) = self.by_user.get_mut(&lane.key.user) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_user.remove(&lane.key.user);
            }
        }
    }
}

/// Up to which event this lane may send while forwarded calls hold it.
fn hold_limit(holds: &HashMap<UserId, HashMap<u64, Hold>>, key: &LaneKey) -> u64 {
    let holds = holds.get(&key.user).into_iter().flat_map(HashMap::values);
    let meant = |hold: &&Hold| hold.credential == key.credential && hold.groups.contains(&key.group);
    holds.filter(meant).map(|hold| hold.after).min().unwrap_or(u64::MAX)
}

fn batch_like<E>(lane: LaneId, key: &LaneKey, form: Form) -> Batch<E> {
    Batch { id: Uuid::new_v4(), lane, key: key.clone(), form, status: None, events: Vec::new() }
}

impl<E: Entry> Batch<E> {
    fn first_seq(&self) -> u64 {
        self.events.iter().map(|queued| queued.entry.seq()).min().unwrap_or(u64::MAX)
    }
}

impl<E: Entry> Lane<E> {
    fn new(key: LaneKey) -> Self {
        Self {
            key,
            queue: VecDeque::new(),
            due: 0,
            open_bytes: 0,
            deadline: None,
            again: VecDeque::new(),
            phase: Phase::Idle,
            timer: None,
            retries: 0,
            status: None,
        }
    }

    /// No attempt of it is failing.
    fn is_well(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::InFlight { .. }) && self.again.is_empty() && self.retries == 0
    }

    fn seal(&mut self) {
        self.due = self.queue.len();
        self.open_bytes = 0;
        self.deadline = None;
    }

    fn on_time(&mut self, now: Instant) {
        if self.deadline.is_some_and(|at| at <= now) {
            self.seal();
        }
        match self.phase {
            // Waiting => Idle, Rejected => Idle: one more attempt, after which what is too old is given up.
            Phase::Waiting(until) | Phase::Rejected(until) if until <= now => self.phase = Phase::Idle,
            Phase::Idle | Phase::InFlight { .. } | Phase::Waiting(_) | Phase::Rejected(_) => {}
        }
    }

    fn wake(&self) -> Option<Instant> {
        let pause = match self.phase {
            Phase::Waiting(until) | Phase::Rejected(until) => Some(until),
            Phase::Idle | Phase::InFlight { .. } => None,
        };
        self.deadline.into_iter().chain(pause).min()
    }

    /// The smallest number that is not settled.
    fn first_seq(&self) -> Option<u64> {
        let flying = match self.phase {
            Phase::InFlight { first_seq, .. } => Some(first_seq),
            Phase::Idle | Phase::Waiting(_) | Phase::Rejected(_) => None,
        };
        let again = self.again.iter().map(Batch::first_seq);
        let queued = self.queue.front().map(|queued| queued.entry.seq());
        again.chain(flying).chain(queued).min()
    }

    fn next_batch(&mut self, id: LaneId, rules: &Rules, limit: u64, singles: bool) -> Option<Batch<E>> {
        if let Some(batch) = self.again.pop_front() {
            return Some(batch);
        }
        let form = if singles && self.queue.front().is_some_and(|queued| queued.entry.has_single()) {
            Form::Single
        } else {
            Form::Batch
        };
        let most = if form == Form::Single { 1 } else { rules.max_events };
        let mut events: Vec<Queued<E>> = Vec::new();
        let mut bytes = ENVELOPE_BYTES;
        while self.due > 0 && events.len() < most {
            let Some(next) = self.queue.front() else { break };
            let comma = usize::from(!events.is_empty());
            let fits = bytes + comma + next.entry.bytes() <= rules.max_bytes || events.is_empty();
            if !fits || next.entry.seq() > limit || repeats(&events, next, &rules.distinct) {
                break;
            }
            bytes += comma + next.entry.bytes();
            self.due -= 1;
            events.extend(self.queue.pop_front());
        }
        (!events.is_empty()).then(|| Batch { events, ..batch_like(id, &self.key, form) })
    }
}

/// Ruling 5: the batch ends before the event that would repeat a value.
fn repeats<E: Entry>(events: &[Queued<E>], next: &Queued<E>, distinct: &[Arc<str>]) -> bool {
    distinct.iter().any(|field| {
        let value = next.entry.field(field);
        value.is_some() && events.iter().any(|queued| queued.entry.field(field) == value)
    })
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
