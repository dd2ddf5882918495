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
//!
//! Lanes of one user and credential whose groups keep one order are *siblings*: their windows are sealed together, and
//! none offers an event while an older one of a sibling is not settled. Likewise the lanes of one user under two
//! credentials that have both been good (a token that was renewed), batch by batch: else the new one's events would pass
//! the old one's. A credential that nothing speaks for yet waits for those, but seals nothing of them; one that fails is waited for by
//! nobody but its own.

mod batch;
mod lane;
mod recent;
mod rules;
mod verdict;

pub use batch::{Batch, Doubt, Fate, Form, LaneId, Settled, Trouble, Verdict};
pub use lane::{Covers, Queued};
pub use rules::{Entry, Rules};

use crate::event::{EventId, Fingerprint, GroupIndex, LaneKey, Outcome, Reason, Subject, UserId};
use crate::template::Path;
use bytes::Bytes;
use lane::{Lane, Phase, Seal};
use recent::Recent;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;

/// `{"events":[` and `]}`: what a batch body has around its events, in bytes, unless its group says otherwise.
pub const ENVELOPE_BYTES: usize = 13;

/// Good credentials remembered for each user: browsers, and tokens that are being renewed.
const GOOD: usize = 8;
/// Lanes of one user that wait for another credential's batch.
const BEHIND: usize = 64;

/// How many lanes are looked at for one that can be emptied, at the cap on lanes.
const LOOK: usize = 64;

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

/// The last numbers sent, by lane and subject.
type Sent = Recent<(LaneKey, Option<Subject>), Vec<Option<f64>>>;

/// All lanes of one shard.
#[derive(Debug)]
pub struct Lanes<E> {
    rules: Arc<[Rules]>,
    max_lanes: usize,
    lanes: HashMap<LaneId, Lane<E>>,
    by_key: HashMap<LaneKey, LaneId>,
    by_user: HashMap<UserId, Vec<LaneId>>,
    timers: BTreeSet<(Instant, LaneId)>,
    holds: HashMap<UserId, HashMap<u64, Hold>>,
    sent: Sent,
    /// Credentials of which a batch was taken, by user, the last one last; few of each, so that forged ones cost nothing.
    good: Recent<UserId, Vec<Fingerprint>>,
    /// Lanes that wait for a batch under another credential of their user.
    behind: HashMap<UserId, Vec<LaneId>>,
    /// Lanes whose next event is sealed at once, since a priority event of another group came: until when.
    awaited: Recent<LaneKey, Instant>,
    next_lane: u64,
    next_hold: u64,
    last_seq: u64,
    /// The last moment that anybody told.
    now: Option<Instant>,
    ready: VecDeque<Batch<E>>,
    settled: Vec<Settled<E>>,
}

impl<E: Entry> Lanes<E> {
    /// No lanes yet; one set of rules per group, in the order of the groups.
    #[must_use]
    pub fn new(rules: Vec<Rules>, max_lanes: usize) -> Self {
        let max_lanes = max_lanes.max(1);
        Self {
            rules: rules.into(),
            max_lanes,
            lanes: HashMap::new(),
            by_key: HashMap::new(),
            by_user: HashMap::new(),
            timers: BTreeSet::new(),
            holds: HashMap::new(),
            sent: Recent::new(max_lanes),
            awaited: Recent::new(max_lanes),
            good: Recent::new(max_lanes),
            behind: HashMap::new(),
            next_lane: 0,
            next_hold: 0,
            last_seq: 0,
            now: None,
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
        self.lanes.values().filter_map(Lane::oldest).min()
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
        self.now = Some(now);
        self.last_seq = self.last_seq.max(entry.seq());
        let all = Arc::clone(&self.rules);
        let Some(rules) = all.get(entry.lane().group.0) else { return self.orphan(entry) };
        let key = entry.lane().clone();
        let id = self.lane_for(&key, entry.envelope());
        let (priority, hurry) = (entry.priority(), self.has_moved(rules, &entry) || self.is_awaited(now, &key));
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let since = entry.since().unwrap_or(now);
        let expires = entry.expires().map(|at| at.checked_sub(rules.token_margin).unwrap_or(now));
        let deadline = (since + rules.window).min(expires.unwrap_or(since + rules.window));
        let full = lane.take_in(rules, entry, since, deadline);
        if priority {
            self.seal(id, Seal::Priority);
            self.seal_others(now, &key, rules);
        } else if full || hurry {
            self.seal(id, Seal::Window);
        }
        self.advance(id);
    }

    fn orphan(&mut self, entry: E) {
        self.settled.push(Settled { entry, outcome: Outcome::Dead(Reason::GroupRemoved), failed: 0, status: None });
    }

    /// Whether a number has moved far enough since the last one sent of the subject; nothing sent counts as 0.
    fn has_moved(&self, rules: &Rules, entry: &E) -> bool {
        if rules.change.is_empty() {
            return false;
        }
        let sent = self.sent.get(&(entry.lane().clone(), entry.subject()));
        let last = |place: usize| sent.and_then(|all| all.get(place).copied().flatten()).unwrap_or(0.0);
        let moved = |(place, (path, step)): (usize, &(Path, f64))| {
            number(entry, path).is_some_and(|value| (value - last(place)).abs() >= *step)
        };
        rules.change.iter().enumerate().any(moved)
    }

    fn is_awaited(&mut self, now: Instant, key: &LaneKey) -> bool {
        !self.awaited.is_empty() && self.awaited.take(key).is_some_and(|until| now <= until)
    }

    /// A priority event came: the same caller's windows of the groups that go with it.
    fn seal_others(&mut self, now: Instant, key: &LaneKey, rules: &Rules) {
        let all = Arc::clone(&self.rules);
        for group in &rules.seals {
            let other = LaneKey { group: *group, ..key.clone() };
            let open = |id: &LaneId| self.lanes.get(id).is_some_and(|lane| lane.deadline.is_some());
            match self.by_key.get(&other).copied().filter(open) {
                Some(id) => self.seal_all_of(&[id], Seal::Window),
                None => {
                    if let Some(rules) = all.get(group.0) {
                        self.awaited.put(other, now + rules.window);
                    }
                }
            }
        }
    }

    fn lane_for(&mut self, key: &LaneKey, envelope: usize) -> LaneId {
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
        self.lanes.insert(id, Lane::new(key.clone(), envelope));
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
        self.seal_all_of(&[id], Seal::Window);
    }

    /// Deadlines and pauses that have passed.
    pub fn tick(&mut self, now: Instant) {
        self.now = Some(now);
        while let Some((at, id)) = self.timers.first().copied() {
            if at > now {
                break;
            }
            self.timers.remove(&(at, id));
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.timer = None;
                lane.resume(now);
                if lane.deadline.is_some_and(|at| at <= now) {
                    self.seal(id, Seal::Window);
                }
            }
            self.advance(id);
        }
    }

    /// Seals every window.
    pub fn seal_all(&mut self) {
        let ids: Vec<_> = self.lanes.keys().copied().collect();
        self.seal_all_of(&ids, Seal::Asked);
    }

    fn seal_all_of(&mut self, ids: &[LaneId], why: Seal) {
        for id in ids {
            self.seal(*id, why);
            self.advance(*id);
        }
    }

    /// Seals a lane's window, and its siblings' with it: what this lane may offer depends on them.
    fn seal(&mut self, id: LaneId, why: Seal) {
        self.seal_one(id, why);
        let mut siblings = self.siblings(id);
        if self.lanes.get(&id).is_some_and(|lane| self.is_good(&lane.key.user, lane.key.credential)) {
            siblings.extend(self.elders(id));
        }
        for sibling in siblings {
            // Only its own end may hold what a priority event closes.
            let why = if why == Seal::Priority { Seal::Window } else { why };
            self.seal_one(sibling, why);
            self.advance(sibling);
        }
    }

    fn seal_one(&mut self, id: LaneId, why: Seal) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(rules) = self.rules.get(lane.key.group.0) else { return };
        let held = hold_limit(&self.holds, &lane.key) != u64::MAX;
        lane.seal(rules, why, held);
        if why == Seal::Asked {
            lane.urgent = self.last_seq;
        }
    }

    /// Lanes of the same user and credential whose groups keep one order with its own.
    fn siblings(&self, id: LaneId) -> Vec<LaneId> {
        let Some(lane) = self.lanes.get(&id) else { return Vec::new() };
        let Some(rules) = self.rules.get(lane.key.group.0) else { return Vec::new() };
        let sibling = |group: &GroupIndex| self.by_key.get(&LaneKey { group: *group, ..lane.key.clone() }).copied();
        rules.ordered.iter().filter_map(sibling).collect()
    }

    fn is_good(&self, user: &UserId, credential: Fingerprint) -> bool {
        self.good.get(user).is_some_and(|good| good.contains(&credential))
    }

    /// A batch of this credential was taken.
    fn praise(&mut self, key: &LaneKey) {
        let mut good = self.good.take(&key.user).unwrap_or_default();
        good.retain(|other| *other != key.credential);
        if good.len() >= GOOD {
            good.remove(0);
        }
        good.push(key.credential);
        self.good.put(key.user.clone(), good);
    }

    /// A batch of this credential was refused for its sake.
    fn blame(&mut self, key: &LaneKey) {
        if let Some(mut good) = self.good.take(&key.user) {
            good.retain(|other| *other != key.credential);
            self.good.put(key.user.clone(), good);
        }
    }

    /// Lanes of the same user under other credentials that were good and don't fail, in its group or one that keeps an
    /// order with it.
    fn elders(&self, id: LaneId) -> Vec<LaneId> {
        let Some(LaneKey { group, user, credential }) = self.lanes.get(&id).map(|lane| &lane.key) else {
            return Vec::new();
        };
        let ordered = self.rules.get(group.0).map(|rules| rules.ordered.as_slice()).unwrap_or_default();
        self.elders_among(user, *credential, std::iter::once(group).chain(ordered))
    }

    fn elders_among<'a>(
        &self,
        user: &UserId,
        credential: Fingerprint,
        groups: impl Iterator<Item = &'a GroupIndex> + Clone,
    ) -> Vec<LaneId> {
        let Some(good) = self.good.get(user) else { return Vec::new() };
        let others = good.iter().copied().filter(|other| *other != credential);
        let keys = others.flat_map(|credential| {
            groups.clone().map(move |group| LaneKey { group: *group, user: user.clone(), credential })
        });
        let is_well = |id: &LaneId| self.lanes.get(id).is_some_and(Lane::is_well);
        keys.filter_map(|key| self.by_key.get(&key).copied()).filter(is_well).collect()
    }

    fn lanes_of(&self, user: &UserId, wanted: impl Fn(&Lane<E>) -> bool) -> Vec<LaneId> {
        let ids = self.by_user.get(user).map(Vec::as_slice).unwrap_or_default();
        ids.iter().filter(|id| self.lanes.get(id).is_some_and(&wanted)).copied().collect()
    }

    /// Seals this credential's windows of this user in these groups; the marks say when what is in them now is settled.
    /// What is under another credential that was good, such as a token that was renewed since, is waited for too, and
    /// sealed if this one was good itself: a forged credential forces nothing.
    pub fn barrier(&mut self, user: &UserId, credential: Fingerprint, groups: &[GroupIndex]) -> Vec<Mark> {
        let meant = |lane: &Lane<E>| lane.key.credential == credential && groups.contains(&lane.key.group);
        let mut ids = self.lanes_of(user, meant);
        let elders = self.elders_among(user, credential, groups.iter());
        self.seal_all_of(&ids, Seal::Asked);
        if self.is_good(user, credential) {
            self.seal_all_of(&elders, Seal::Asked);
        }
        ids.extend(elders);
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
        // ORDER: sealed before the hold stands, so that what is open may still take the place of what is due.
        self.seal_all_of(&own, Seal::Asked);
        self.seal_all_of(&others, Seal::Asked);
        let number = self.next_hold;
        self.next_hold += 1;
        let hold = Hold { credential, groups: Arc::clone(groups), after: self.last_seq };
        self.holds.entry(user.clone()).or_default().insert(number, hold);
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

    /// The last number that was pushed.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// A forwarded call told a newer state of this subject and was taken: what the lane holds of it up to this number is
    /// needless. Else it would be sent after that call, and an older state would be the last one written.
    pub fn replace(&mut self, key: &LaneKey, subject: Subject, upto: u64, by: &EventId) {
        let Some(id) = self.by_key.get(key).copied() else { return };
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let status = lane.status;
        for queued in lane.take_replaced(subject, upto) {
            self.settle(queued, Outcome::Superseded { by: by.clone() }, status);
        }
        let siblings = self.siblings(id);
        self.advance_with(id, &siblings, &key.user);
    }

    /// A lane has moved: it goes on, and what was behind its events.
    fn advance_with(&mut self, id: LaneId, siblings: &[LaneId], user: &UserId) {
        self.advance(id);
        siblings.iter().for_each(|sibling| self.advance(*sibling));
        for waiting in self.behind.remove(user).unwrap_or_default() {
            self.advance(waiting);
        }
    }

    /// Whether what the mark stands for is settled.
    #[must_use]
    pub fn passed(&self, mark: Mark) -> bool {
        self.lanes.get(&mark.lane).is_none_or(|lane| lane.first_seq().is_none_or(|first| first > mark.seq))
    }

    /// Whether a forwarded call may go: as [`passed`](Self::passed), or its lane, or a sibling before it, is held by a
    /// 401 or 403, whose cure is the verdict of just such a call (ruling 4).
    #[must_use]
    pub fn may_pass(&self, mark: Mark) -> bool {
        let rejected = |id: &LaneId| self.lanes.get(id).is_some_and(|lane| matches!(lane.phase, Phase::Rejected(_)));
        self.passed(mark) || rejected(&mark.lane) || self.siblings(mark.lane).iter().any(rejected)
    }

    /// The lanes whose batches must come back before a mark is passed: its own, and its siblings.
    pub fn before(&self, mark: Mark) -> impl Iterator<Item = LaneId> {
        std::iter::once(mark.lane).chain(self.siblings(mark.lane))
    }

    /// A newer call of this credential succeeded: its rejected lanes try again.
    pub fn vouch(&mut self, credential: Fingerprint) {
        let rejected = |lane: &Lane<E>| lane.key.credential == credential && matches!(lane.phase, Phase::Rejected(_));
        let ids: Vec<_> = self.lanes.iter().filter(|(_, lane)| rejected(lane)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.phase = Phase::Idle;
                lane.turn_doubt(Doubt::Credential, Doubt::Event);
            }
            self.advance(id);
        }
    }

    /// What is pending of this user and credential in these groups, oldest first, at most `most`; of what was superseded,
    /// what it was superseded by.
    #[must_use]
    pub fn pending(
        &self,
        user: &UserId,
        credential: Fingerprint,
        groups: &[GroupIndex],
        most: usize,
    ) -> Vec<(GroupIndex, Bytes)> {
        let meant = |lane: &Lane<E>| lane.key.credential == credential && groups.contains(&lane.key.group);
        let ids = self.lanes_of(user, meant);
        let lanes = ids.iter().filter_map(|id| self.lanes.get(id));
        let mut all: Vec<_> =
            lanes.flat_map(|lane| lane.shown().map(|(seq, json)| (seq, lane.key.group, json))).collect();
        all.sort_unstable_by_key(|(seq, ..)| *seq);
        all.truncate(most);
        all.into_iter().map(|(_, group, json)| (group, json)).collect()
    }

    /// Consecutive attempts of this lane that got no answer.
    #[must_use]
    pub fn retries(&self, lane: LaneId) -> u32 {
        self.lanes.get(&lane).map_or(0, |lane| lane.retries)
    }

    /// Up to which number a lane may offer: not beyond what forwarded calls hold back, nor what a sibling has first.
    fn limit(&self, id: LaneId) -> u64 {
        let Some(lane) = self.lanes.get(&id) else { return 0 };
        let front = |id: &LaneId| self.lanes.get(id).and_then(Lane::front);
        let siblings = self.siblings(id);
        let older = siblings.iter().filter_map(front).min().map_or(u64::MAX, |front| front.saturating_sub(1));
        hold_limit(&self.holds, &lane.key).min(older)
    }

    /// Whether a lane under another credential of the user has something older to send. Batches wait for one another here,
    /// not events: two browsers of one user would else send one event at a time.
    fn is_behind(&self, id: LaneId) -> bool {
        let front = |id: &LaneId| self.lanes.get(id).and_then(Lane::front);
        let may_send = self.lanes.get(&id).is_some_and(|lane| lane.due > 0 || !lane.again.is_empty());
        may_send && front(&id).is_some_and(|own| self.elders(id).iter().filter_map(front).any(|other| other < own))
    }

    /// Notes that a lane waits for another credential's batch. `false`: so many do that it doesn't (P10).
    fn waits_behind(&mut self, id: LaneId) -> bool {
        let Some(lane) = self.lanes.get(&id) else { return false };
        let waiting = self.behind.entry(lane.key.user.clone()).or_default();
        let listed = waiting.contains(&id);
        if !listed && waiting.len() < BEHIND {
            waiting.push(id);
            return true;
        }
        listed
    }

    /// Forms the next batch if the lane may, sets its timer, forgets it when it is empty.
    fn advance(&mut self, id: LaneId) {
        self.offer(id);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.is_empty() {
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

    fn offer(&mut self, id: LaneId) {
        if self.lanes.get(&id).is_none_or(|lane| lane.phase != Phase::Idle) {
            return;
        }
        if self.is_behind(id) && self.waits_behind(id) {
            return;
        }
        let limit = self.limit(id);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(rules) = self.rules.get(lane.key.group.0) else { return };
        let Some(batch) = lane.next_batch(id, rules, limit) else { return };
        if let Some(flight) = batch.flight() {
            lane.phase = flight;
        }
        if rules.shown {
            lane.flying = batch.events.iter().map(|queued| (queued.entry.seq(), queued.entry.shown())).collect();
        }
        if !rules.change.is_empty() {
            for queued in &batch.events {
                let numbers = rules.change.iter().map(|(path, _)| number(&queued.entry, path)).collect();
                self.sent.put((batch.key.clone(), queued.entry.subject()), numbers);
            }
        }
        self.ready.push_back(batch);
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

/// The number at a place of an event.
fn number<E: Entry>(entry: &E, path: &Path) -> Option<f64> {
    serde_json::from_slice(entry.field(path)?).ok()
}

/// Up to which event this lane may send while forwarded calls hold it.
fn hold_limit(holds: &HashMap<UserId, HashMap<u64, Hold>>, key: &LaneKey) -> u64 {
    let holds = holds.get(&key.user).into_iter().flat_map(HashMap::values);
    let meant = |hold: &&Hold| hold.credential == key.credential && hold.groups.contains(&key.group);
    holds.filter(meant).map(|hold| hold.after).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
