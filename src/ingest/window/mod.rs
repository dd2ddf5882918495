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
//! Rejected -> Idle              a newer call of the principal succeeded, or the events are given up
//! ```
//!
//! `order` says how far a lane may offer while others of its user have something older.

mod batch;
mod lane;
mod order;
mod recent;
mod rules;
mod verdict;

pub use batch::{Batch, Doubt, Fate, Form, LaneId, Settled, Trouble, Verdict};
pub use lane::{Covers, Queued};
pub use rules::{Entry, Rules};

use super::reputation::{Grounds, ReadRoutes};
use crate::event::{
    EventId, GroupIndex, LaneKey, Outcome, Owner, Principal, ReadIndex, Realm, Reason, Subject, Tag, UserId, View,
};
use crate::template::Path;
use bytes::Bytes;
use lane::{Lane, Phase, Seal, Shown};
use order::{Foreign, Order, Place};
use recent::Recent;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;

/// `{"events":[` and `]}`: what a batch body has around its events, in bytes, unless its group says otherwise.
pub const ENVELOPE_BYTES: usize = 13;

/// How many lanes are looked at for one that can be emptied, at the cap on lanes.
const LOOK: usize = 64;

/// A caller, as far as its lanes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// Who calls.
    pub principal: Principal,
    /// Of which host.
    pub realm: Realm,
    /// Whose lanes are meant; none: all of the principal's.
    pub user: Option<UserId>,
    /// The user's name is a claim of the principal's token, and the principal is known to be good where it matters: then
    /// the lanes of other good principals with that claim are the user's too (ruling 17).
    pub joins: bool,
}

/// What a forwarded call waits for and holds back.
#[derive(Debug, Clone)]
struct Hold {
    asker: Asker,
    groups: Groups,
    /// Events up to here go first, later ones wait.
    after: u64,
}

/// A pending event, as a look at it shows it.
#[derive(Debug, Clone)]
pub struct Pending {
    /// Its group.
    pub group: GroupIndex,
    /// The event as it stands in the batch.
    pub json: Bytes,
    /// What it makes old, and what those make old that it stands for.
    pub tags: Vec<Tag>,
}

/// Which groups' lanes are meant.
pub type Groups = Arc<[GroupIndex]>;

/// How far a lane must get before somebody who waits may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    lane: LaneId,
    seq: u64,
}

/// One user of one principal in one group.
type Concern = (GroupIndex, UserId, Principal);

/// The last numbers sent, by whom and of what.
type Sent = Recent<(Concern, Option<Subject>), Vec<Option<f64>>>;

/// All lanes of one shard.
#[derive(Debug)]
pub struct Lanes<E> {
    rules: Arc<[Rules]>,
    max_lanes: usize,
    lanes: HashMap<LaneId, Lane<E>>,
    by_key: HashMap<LaneKey, LaneId>,
    by_user: HashMap<(UserId, Principal), BTreeSet<LaneId>>,
    by_principal: HashMap<Principal, BTreeSet<LaneId>>,
    order: Order,
    timers: BTreeSet<(Instant, LaneId)>,
    /// Calls that hold lanes back, by principal, in the order of their numbers.
    holds: HashMap<Principal, BTreeMap<u64, Hold>>,
    /// Of those, the ones that hold other principals of their user back too.
    joint_holds: HashMap<(Realm, UserId), BTreeMap<u64, Hold>>,
    sent: Sent,
    /// Principals that had a 2xx in a group, and no refusal since: by what.
    good: Recent<(Principal, GroupIndex), Grounds>,
    /// Reads that strangers are answered: a 2xx to one says nothing of a name.
    open_reads: ReadRoutes,
    /// Groups in which strangers are taken: a 2xx there says nothing of a name.
    open: BTreeSet<GroupIndex>,
    /// Whose next event is sealed at once, since a priority event of another group came: until when.
    awaited: Recent<Concern, Instant>,
    next_lane: u64,
    next_hold: u64,
    last_seq: u64,
    ready: VecDeque<Batch<E>>,
    settled: Vec<Settled<E>>,
    /// Lanes that a refusal held when an event came: their callers are acknowledged, so it may be forgotten elsewhere.
    held_by_refusal: Vec<LaneId>,
    /// When the first event came: an event that is older was brought back by this start.
    began: Option<Instant>,
}

impl<E: Entry> Lanes<E> {
    /// No lanes yet; one set of rules per group, in the order of the groups.
    #[must_use]
    pub fn new(rules: Vec<Rules>, max_lanes: usize) -> Self {
        let max_lanes = max_lanes.max(1);
        let order = Order::new(rules.iter().map(|rules| rules.ordered.as_slice()));
        Self {
            rules: rules.into(),
            max_lanes,
            lanes: HashMap::new(),
            by_key: HashMap::new(),
            by_user: HashMap::new(),
            by_principal: HashMap::new(),
            order,
            timers: BTreeSet::new(),
            holds: HashMap::new(),
            joint_holds: HashMap::new(),
            sent: Recent::new(max_lanes),
            awaited: Recent::new(max_lanes),
            good: Recent::new(max_lanes),
            open_reads: ReadRoutes::default(),
            open: BTreeSet::new(),
            next_lane: 0,
            next_hold: 0,
            last_seq: 0,
            ready: VecDeque::new(),
            settled: Vec::new(),
            held_by_refusal: Vec::new(),
            began: None,
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

    /// An event has its outcome.
    #[must_use]
    pub const fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    /// There is something to take that is neither a batch nor a time.
    #[must_use]
    pub const fn has_news(&self) -> bool {
        self.has_settled() || !self.held_by_refusal.is_empty()
    }

    /// Callers that an event was just taken of into a lane that a refusal holds.
    pub fn take_refused(&mut self) -> Vec<(Principal, GroupIndex)> {
        let ids = std::mem::take(&mut self.held_by_refusal);
        let held = ids.iter().filter_map(|id| self.lanes.get(id)).filter(|lane| lane.is_rejected());
        held.map(|lane| (lane.owner.principal, lane.key.group)).collect()
    }

    /// When [`tick`](Self::tick) is wanted next.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// An event enters its window.
    pub fn push(&mut self, now: Instant, entry: E) {
        self.began.get_or_insert(now);
        self.last_seq = self.last_seq.max(entry.seq());
        let all = Arc::clone(&self.rules);
        let Some(rules) = all.get(entry.lane().group.0) else { return self.orphan(entry) };
        let (key, owner) = (entry.lane().clone(), entry.owner());
        let id = self.lane_for(&key, &owner, entry.envelope());
        let concern = (key.group, key.user.clone(), owner.principal);
        let hurry = self.has_moved(rules, &entry, &concern) || self.is_awaited(now, &concern);
        let priority = entry.priority();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let since = entry.since().unwrap_or(now);
        let expires = entry.expires().map(|at| at.checked_sub(rules.token_margin).unwrap_or(now));
        let deadline = (since + rules.window).min(expires.unwrap_or(since + rules.window));
        let full = lane.take_in(rules, entry, since, deadline);
        if lane.is_rejected() {
            self.held_by_refusal.push(id);
        }
        if priority {
            self.seal(id, Seal::Priority);
            self.seal_others(now, &concern, rules);
        } else if full || hurry {
            self.seal(id, Seal::Window);
        }
        self.advance(id);
    }

    fn orphan(&mut self, entry: E) {
        self.settled.push(Settled { entry, outcome: Outcome::Dead(Reason::GroupRemoved), failed: 0, status: None });
    }

    /// Whether a number has moved far enough since the last one sent of the subject; nothing sent counts as 0.
    fn has_moved(&self, rules: &Rules, entry: &E, concern: &Concern) -> bool {
        if rules.change.is_empty() {
            return false;
        }
        let sent = self.sent.get(&(concern.clone(), entry.subject()));
        let last = |place: usize| sent.and_then(|all| all.get(place).copied().flatten()).unwrap_or(0.0);
        let moved = |(place, (path, step)): (usize, &(Path, f64))| {
            number(entry, path).is_some_and(|value| (value - last(place)).abs() >= *step)
        };
        rules.change.iter().enumerate().any(moved)
    }

    fn is_awaited(&mut self, now: Instant, concern: &Concern) -> bool {
        !self.awaited.is_empty() && self.awaited.take(concern).is_some_and(|until| now <= until)
    }

    /// A priority event came: the same user's windows of the groups that go with it.
    fn seal_others(&mut self, now: Instant, (_, user, principal): &Concern, rules: &Rules) {
        let all = Arc::clone(&self.rules);
        for group in &rules.seals {
            let open = |lane: &Lane<E>| lane.key.group == *group && lane.deadline.is_some();
            let lanes = self.lanes_of(user, *principal, open);
            if !lanes.is_empty() {
                self.seal_all_of(&lanes, Seal::Window);
            } else if let Some(rules) = all.get(group.0) {
                self.awaited.put((*group, user.clone(), *principal), now + rules.window);
            }
        }
    }

    fn lane_for(&mut self, key: &LaneKey, owner: &Owner, envelope: usize) -> LaneId {
        if let Some(id) = self.by_key.get(key) {
            return *id;
        }
        if self.lanes.len() >= self.max_lanes {
            self.seal_oldest();
        }
        let id = LaneId(self.next_lane);
        self.next_lane += 1;
        self.by_key.insert(key.clone(), id);
        self.by_user.entry((key.user.clone(), owner.principal)).or_default().insert(id);
        self.by_principal.entry(owner.principal).or_default().insert(id);
        let (good, is_open, group, open_reads) =
            (&self.good, self.open.contains(&key.group), key.group, self.open_reads);
        let holds = |grounds: &Grounds| grounds.hold(open_reads);
        let is_good = |principal| !is_open && good.get(&(principal, group)).is_some_and(holds);
        let gone = self.order.enter(&key.user, owner, is_good);
        let domain = self.order.domain(key, owner.principal);
        self.lanes.insert(id, Lane::new(key.clone(), *owner, domain, envelope));
        if let Some(gone) = gone {
            self.let_go(&key.user, owner, gone);
        }
        id
    }

    /// A principal gave its place among its user's up to this owner: it waits for none, and none for it.
    fn let_go(&mut self, user: &UserId, owner: &Owner, gone: Principal) {
        let others = self.order.claimants(owner.realm, user).filter(|other| *other != owner.principal);
        let all: Vec<_> = others.chain([gone]).flat_map(|one| self.lanes_of(user, one, |_| true)).collect();
        all.into_iter().for_each(|id| self.advance(id));
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

    /// Ends the pauses between two attempts.
    pub fn try_again(&mut self) {
        let waits = |lane: &Lane<E>| matches!(lane.phase, Phase::Waiting(_));
        let ids: Vec<_> = self.lanes.iter().filter(|(_, lane)| waits(lane)).map(|(id, _)| *id).collect();
        for id in ids {
            // Waiting => Idle
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.phase = Phase::Idle;
            }
            self.advance(id);
        }
    }

    fn seal_all_of(&mut self, ids: &[LaneId], why: Seal) {
        for id in ids {
            self.seal(*id, why);
            self.advance(*id);
        }
    }

    /// Seals a lane's window, and what must go before it.
    fn seal(&mut self, id: LaneId, why: Seal) {
        self.seal_one(id, why);
        // ORDER: all fronts are known before any lane goes: what was made needless holds up nothing.
        self.list(id);
        let newest = self.lanes.get(&id).and_then(Lane::last_seq).unwrap_or(0);
        let mut others = self.older_than(id, newest);
        others.retain(|other| *other != id);
        for other in &others {
            // Only its own end may hold what a priority event closes.
            self.seal_one(*other, if why == Seal::Priority { Seal::Window } else { why });
            self.list(*other);
        }
        others.into_iter().for_each(|other| self.advance(other));
    }

    /// Lanes that have something that must go before this number of a lane.
    fn older_than(&self, id: LaneId, seq: u64) -> Vec<LaneId> {
        let Some(lane) = self.lanes.get(&id) else { return Vec::new() };
        self.order.before(seq, (&lane.domain, &lane.owner), self.is_good(lane), |other| self.look(other))
    }

    fn look(&self, id: LaneId) -> Foreign {
        let lane = self.lanes.get(&id);
        Foreign { good: lane.is_some_and(|lane| self.is_good(lane)), well: lane.is_some_and(Lane::is_well) }
    }

    fn is_good(&self, lane: &Lane<E>) -> bool {
        let group = lane.key.group;
        let grounds = self.good.get(&(lane.owner.principal, group));
        !self.open.contains(&group) && grounds.is_some_and(|grounds| grounds.hold(self.open_reads))
    }

    fn seal_one(&mut self, id: LaneId, why: Seal) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(rules) = self.rules.get(lane.key.group.0) else { return };
        let held = hold_limit(&self.holds, &self.joint_holds, lane, false) != u64::MAX;
        lane.seal(rules, why, held);
        if why == Seal::Asked {
            lane.urgent = self.last_seq;
        }
    }

    /// A batch of this lane's principal was taken.
    fn note_success(&mut self, owner: &Owner, group: GroupIndex) {
        self.note_grounds(owner.principal, group, Grounds::CALL);
    }

    fn note_grounds(&mut self, principal: Principal, group: GroupIndex, grounds: Grounds) {
        let before = self.good.get(&(principal, group)).copied().unwrap_or_default();
        self.good.put((principal, group), before.and(grounds));
    }

    /// A batch of this lane's principal was refused for its sake. The principal's lanes, if that changes what they wait
    /// for and who waits for them.
    fn note_refusal(&mut self, owner: &Owner) -> Vec<LaneId> {
        let mut was_good = false;
        for group in 0..self.rules.len() {
            was_good |= self.good.take(&(owner.principal, GroupIndex(group))).is_some();
        }
        let lanes = self.by_principal.get(&owner.principal).filter(|_| was_good);
        lanes.into_iter().flatten().copied().collect()
    }

    fn lanes_of(&self, user: &UserId, principal: Principal, wanted: impl Fn(&Lane<E>) -> bool) -> Vec<LaneId> {
        let ids = self.by_user.get(&(user.clone(), principal)).into_iter().flatten();
        ids.filter(|id| self.lanes.get(id).is_some_and(&wanted)).copied().collect()
    }

    /// The lanes of a caller in these groups; and of its user, under other principals that are known to be good.
    fn lanes_for(&self, asker: &Asker, groups: &[GroupIndex]) -> Vec<LaneId> {
        let meant = |lane: &Lane<E>| groups.contains(&lane.key.group);
        let Some(user) = &asker.user else {
            let ids = self.by_principal.get(&asker.principal).into_iter().flatten();
            return ids.filter(|id| self.lanes.get(id).is_some_and(meant)).copied().collect();
        };
        let mut ids = self.lanes_of(user, asker.principal, meant);
        if asker.joins {
            let others = self.order.claimants(asker.realm, user).filter(|other| *other != asker.principal);
            let joined =
                |lane: &Lane<E>| meant(lane) && lane.owner.claimed && self.is_good(lane) && !lane.is_rejected();
            ids.extend(others.flat_map(|other| self.lanes_of(user, other, joined)));
        }
        ids
    }

    /// Seals a caller's windows in these groups; the marks say when what is in them now is settled.
    pub fn barrier(&mut self, asker: &Asker, groups: &[GroupIndex]) -> Vec<Mark> {
        let ids = self.lanes_for(asker, groups);
        self.seal_all_of(&ids, Seal::Asked);
        self.marks(&ids)
    }

    fn marks(&self, ids: &[LaneId]) -> Vec<Mark> {
        ids.iter().map(|lane| Mark { lane: *lane, seq: self.last_seq }).collect()
    }

    /// Seals the lanes of a forwarded call and holds later events back until [`release_hold`](Self::release_hold); the
    /// marks must be passed first. A lane that waits for a pause to end is tried again at once (ruling 4).
    pub fn hold(&mut self, asker: &Asker, groups: &Groups) -> (u64, Vec<Mark>) {
        let ids = self.lanes_for(asker, groups);
        // ORDER: sealed before the hold stands, so that what is open may still take the place of what is due.
        self.seal_all_of(&ids, Seal::Asked);
        let number = self.next_hold;
        self.next_hold += 1;
        let hold = Hold { asker: asker.clone(), groups: Arc::clone(groups), after: self.last_seq };
        if let Some(user) = asker.user.as_ref().filter(|_| asker.joins) {
            self.joint_holds.entry((asker.realm, user.clone())).or_default().insert(number, hold.clone());
        }
        self.holds.entry(asker.principal).or_default().insert(number, hold);
        for id in &ids {
            if let Some(lane) = self.lanes.get_mut(id)
                && matches!(lane.phase, Phase::Waiting(_))
            {
                lane.phase = Phase::Idle;
            }
            self.advance(*id);
        }
        (number, self.marks(&ids))
    }

    /// The forwarded call is over; what waited behind it may go.
    pub fn release_hold(&mut self, principal: Principal, number: u64) {
        let Some(holds) = self.holds.get_mut(&principal) else { return };
        let Some(Hold { asker, groups, .. }) = holds.remove(&number) else { return };
        if holds.is_empty() {
            self.holds.remove(&principal);
        }
        if let Some(user) = &asker.user {
            let key = (asker.realm, user.clone());
            if let Some(holds) = self.joint_holds.get_mut(&key) {
                holds.remove(&number);
                if holds.is_empty() {
                    self.joint_holds.remove(&key);
                }
            }
        }
        for id in self.kept_back(&asker, &groups) {
            self.advance(id);
        }
    }

    /// The lanes that a hold may have kept back, whatever is known of their principals by now.
    fn kept_back(&self, asker: &Asker, groups: &[GroupIndex]) -> Vec<LaneId> {
        let mut ids = self.lanes_for(&Asker { joins: false, ..asker.clone() }, groups);
        if let Some(user) = asker.user.as_ref().filter(|_| asker.joins) {
            let others = self.order.claimants(asker.realm, user).filter(|other| *other != asker.principal);
            ids.extend(others.flat_map(|other| self.lanes_of(user, other, |lane| groups.contains(&lane.key.group))));
        }
        ids
    }

    /// The last number that was pushed.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// A forwarded call told a newer state of this subject and was taken: what the lane holds of it up to this number is
    /// needless. Else it would be sent after that call, and an older state would be the last one written.
    pub fn replace(&mut self, group: GroupIndex, asker: &Asker, subject: Subject, upto: u64, by: &EventId) {
        let Some(user) = &asker.user else { return };
        for id in self.lanes_of(user, asker.principal, |lane| lane.key.group == group) {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let status = lane.status;
            for queued in lane.take_replaced(subject, upto) {
                self.settle(queued, Outcome::Superseded { by: by.clone() }, status);
            }
            self.advance_with(id);
        }
    }

    /// A lane has moved: it goes on, and what was behind its events.
    fn advance_with(&mut self, id: LaneId) {
        let Some((domain, owner)) = self.lanes.get(&id).map(|lane| (lane.domain.clone(), lane.owner)) else { return };
        // ORDER: looked at before too: a lane that is gone is no claimant any more, and those behind it are not found.
        let behind = self.order.heads(&domain, &owner);
        self.advance(id);
        for head in behind.into_iter().chain(self.order.heads(&domain, &owner)) {
            self.advance(head);
        }
    }

    /// Whether what the mark stands for is settled.
    #[must_use]
    pub fn passed(&self, mark: Mark) -> bool {
        self.lanes.get(&mark.lane).is_none_or(|lane| lane.first_seq().is_none_or(|first| first > mark.seq))
    }

    /// Whether a forwarded call may go: as [`passed`](Self::passed), or its lane, or another one of the same principal that
    /// keeps one order with it, is held by a 401 or 403, whose cure is the verdict of just such a call (ruling 4).
    #[must_use]
    pub fn may_pass(&self, mark: Mark) -> bool {
        self.passed(mark) || self.lanes.get(&mark.lane).is_some_and(|lane| self.order.is_refused(&lane.domain))
    }

    /// The lanes whose batches must come back before a mark is passed: its own, and those that go before it.
    pub fn before(&self, mark: Mark) -> impl Iterator<Item = LaneId> {
        std::iter::once(mark.lane).chain(self.older_than(mark.lane, mark.seq))
    }

    /// A call of this principal was taken in these groups; its rejected lanes try again. In other groups they do so once,
    /// since that says nothing of whose their refusal is.
    pub fn vouch(&mut self, principal: Principal, groups: &[GroupIndex]) {
        self.vouch_by(principal, groups, Grounds::CALL);
    }

    /// As [`vouch`](Self::vouch), by what was taken or answered.
    pub fn vouch_by(&mut self, principal: Principal, groups: &[GroupIndex], grounds: Grounds) {
        for group in groups {
            self.note_grounds(principal, *group, grounds);
        }
        self.try_refused(principal, groups);
    }

    /// The rejected lanes of this principal try again: in the groups in which a call of it was taken, so that a 403 there
    /// is an event's; in others if they have not done so since the last time that they moved.
    pub fn try_refused(&mut self, principal: Principal, taken: &[GroupIndex]) {
        let ids = self.by_principal.get(&principal).into_iter().flatten();
        let rejected = |id: &&LaneId| self.lanes.get(id).is_some_and(Lane::is_rejected);
        let ids: Vec<_> = ids.filter(rejected).copied().collect();
        for id in ids {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            if taken.contains(&lane.key.group) {
                lane.turn_doubt(Doubt::Credential, Doubt::Event);
                (lane.may_try_once, lane.was_refused) = (true, false);
            } else if !std::mem::take(&mut lane.may_try_once) {
                continue;
            }
            // Rejected => Idle
            lane.phase = Phase::Idle;
            self.advance_with(id);
        }
    }

    /// A caller without a name was taken in this group: no principal is good there any more, whatever it met, and none joins
    /// another one's order as such (ruling 17).
    pub fn open(&mut self, group: GroupIndex) {
        if self.open.insert(group) {
            let lanes = self.lanes.iter().filter(|(_, lane)| lane.key.group == group).map(|(id, _)| *id);
            let ids: Vec<_> = lanes.collect();
            ids.into_iter().for_each(|id| self.advance(id));
        }
    }

    /// A read of this route was answered to a stranger: who is good by it alone is good no longer (ruling 17).
    pub fn open_read(&mut self, read: ReadIndex) {
        self.open_reads = self.open_reads.and(ReadRoutes::of(read));
        let ids: Vec<_> = self.lanes.keys().copied().collect();
        ids.into_iter().for_each(|id| self.advance(id));
    }

    /// What is pending of this user and view in these groups, oldest first, at most `most`; of what was superseded,
    /// what it was superseded by.
    #[must_use]
    pub fn pending(
        &self,
        user: &UserId,
        (principal, view): (Principal, View),
        groups: &[GroupIndex],
        most: usize,
    ) -> Vec<Pending> {
        let meant = |lane: &Lane<E>| lane.owner.view == view && groups.contains(&lane.key.group);
        let ids = self.lanes_of(user, principal, meant);
        let lanes = ids.iter().filter_map(|id| self.lanes.get(id));
        let mut all: Vec<_> = lanes.flat_map(|lane| lane.shown().map(|shown| (lane.key.group, shown))).collect();
        all.sort_unstable_by_key(|(_, shown)| shown.seq);
        all.truncate(most);
        all.into_iter().map(|(group, Shown { json, tags, .. })| Pending { group, json, tags }).collect()
    }

    /// Consecutive attempts of this lane that got no answer.
    #[must_use]
    pub fn retries(&self, lane: LaneId) -> u32 {
        self.lanes.get(&lane).map_or(0, |lane| lane.retries)
    }

    /// Up to which number a lane may offer: not beyond what forwarded calls hold back, nor what others have first.
    fn limit(&self, id: LaneId) -> u64 {
        let Some(lane) = self.lanes.get(&id) else { return 0 };
        let good = self.is_good(lane);
        let order = self.order.limit(id, (&lane.domain, &lane.owner), good, |other| self.look(other));
        // INVARIANT: only what is told of a hold's end is held.
        let joins = good && self.order.is_told(&lane.key.user, &lane.owner);
        hold_limit(&self.holds, &self.joint_holds, lane, joins).min(order)
    }

    /// Forms the next batch if the lane may, sets its timer, forgets it when it is empty.
    fn advance(&mut self, id: LaneId) {
        let behind = self.drop_oversize(id);
        self.go_on(id);
        behind.into_iter().for_each(|head| self.go_on(head));
    }

    fn go_on(&mut self, id: LaneId) {
        self.list(id);
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

    /// What stands first in the lane and fits no batch any more, since its group's `max_bytes` is smaller than it was,
    /// has its outcome, unless its single call is left (P6). The lanes that may go then.
    fn drop_oversize(&mut self, id: LaneId) -> Vec<LaneId> {
        let mut behind = Vec::new();
        while let Some(lane) = self.lanes.get_mut(&id)
            && let Some(rules) = self.rules.get(lane.key.group.0)
            && let Some(mut queued) = lane.take_oversize(rules)
        {
            let status = lane.status;
            if let Some(heir) = queued.uncover() {
                lane.put_first(id, heir);
            }
            self.settle(queued, Outcome::Dead(Reason::TooLarge), status);
            self.list(id);
            if let Some(lane) = self.lanes.get(&id) {
                behind = self.order.heads(&lane.domain, &lane.owner);
            }
        }
        behind
    }

    /// Tells the order how far the lane is.
    fn list(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let refused = lane.is_rejected();
        let place = lane.front().map(|front| Place { front, refused });
        self.order.list(id, &lane.domain, lane.listed, place);
        lane.listed = place;
    }

    fn offer(&mut self, id: LaneId) {
        if self.lanes.get(&id).is_none_or(|lane| lane.phase != Phase::Idle) {
            return;
        }
        let limit = self.limit(id);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(rules) = self.rules.get(lane.key.group.0) else { return };
        let Some(mut batch) = lane.next_batch(id, rules, limit) else { return };
        batch.was_refused = lane.was_refused;
        if let Some(flight) = batch.flight() {
            lane.phase = flight;
        }
        if rules.shown {
            lane.flying = batch.events.iter().map(Queued::shown).collect();
        }
        if !rules.change.is_empty() {
            for queued in &batch.events {
                let numbers = rules.change.iter().map(|(path, _)| number(&queued.entry, path)).collect();
                let concern = (batch.key.group, batch.key.user.clone(), lane.owner.principal);
                self.sent.put((concern, queued.entry.subject()), numbers);
            }
        }
        self.ready.push_back(batch);
    }

    fn forget(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.remove(&id) else { return };
        if let Some(at) = lane.timer {
            self.timers.remove(&(at, id));
        }
        self.order.list(id, &lane.domain, lane.listed, None);
        self.order.leave(&lane.key.user, &lane.owner);
        self.by_key.remove(&lane.key);
        remove_from(&mut self.by_user, &(lane.key.user.clone(), lane.owner.principal), id);
        remove_from(&mut self.by_principal, &lane.owner.principal, id);
    }
}

/// The number at a place of an event.
fn number<E: Entry>(entry: &E, path: &Path) -> Option<f64> {
    serde_json::from_slice(entry.field(path)?).ok()
}

fn remove_from<K: std::hash::Hash + Eq>(index: &mut HashMap<K, BTreeSet<LaneId>>, key: &K, id: LaneId) {
    if let Some(ids) = index.get_mut(key) {
        ids.remove(&id);
        if ids.is_empty() {
            index.remove(key);
        }
    }
}

/// Up to which event this lane may send while forwarded calls hold it. `joins`: those of its user's other principals, too.
fn hold_limit<E: Entry>(
    holds: &HashMap<Principal, BTreeMap<u64, Hold>>,
    joint: &HashMap<(Realm, UserId), BTreeMap<u64, Hold>>,
    lane: &Lane<E>,
    joins: bool,
) -> u64 {
    let is_meant = |hold: &&Hold| hold.groups.contains(&lane.key.group);
    let is_own = |hold: &&Hold| hold.asker.user.as_ref().is_none_or(|user| *user == lane.key.user);
    // Holds stand in the order in which they were made, so that the first one that is meant goes back the furthest.
    let own = holds.get(&lane.owner.principal);
    let own = own.and_then(|own| own.values().find(|hold| is_own(hold) && is_meant(hold)));
    let joint = if joins && !joint.is_empty() { joint.get(&(lane.owner.realm, lane.key.user.clone())) } else { None };
    let joint = joint.and_then(|joint| joint.values().find(is_meant));
    own.into_iter().chain(joint).map(|hold| hold.after).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
