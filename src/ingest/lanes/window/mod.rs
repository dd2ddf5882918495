//! Lanes and their windows, as a pure state machine: no clock, no task, no socket.
//!
//! A lane collects events in an open window. The window is sealed by its first event's deadline
//! (P5), by count, by bytes, by a priority event, by a barrier or at the end; sealed events are
//! *due*. A lane forms batches of due events within the limits (P6) and has at most one of them in
//! flight (P4). What a batch meets comes back as a [`Verdict`].
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
//! `Order` says how far a lane may offer while others of its user have something older; `Holds` how
//! far it may while forwarded calls stand before what came later.

mod batch;
mod callers;
mod claims;
mod domains;
mod enter;
mod find;
mod flow;
mod forget;
mod holds;
mod lane;
mod numbers;
mod offer;
mod open;
mod order;
mod phase;
mod pieces;
mod queued;
mod recent;
mod rules;
mod seal;
mod settle;
mod slab;
mod standing;
mod survey;
mod timers;
mod trail;
mod verdict;

pub use batch::{Batch, Doubt, Fate, Form, LaneId, Settled, Trouble, Verdict};
pub use callers::{Groups, Mark, Pending};
pub use find::{Flight, Found, Wait};
pub use forget::{GivenUp, OfUser};
pub use open::{Seal, Seals};
pub use queued::{Covers, Queued};
pub use rules::{Entry, Rules};
pub use survey::Survey;
pub use trail::{Trace, TracedAttempt, TracedWindow};

use crate::event::{GroupIndex, Principal, UserId};
use bytes::Bytes;
use domains::Place;
use hashbrown::HashTable;
use holds::Holds;
use lane::Lane;
use numbers::Numbers;
use order::{Foreign, Order};
use phase::Phase;
use recent::Recent;
use slab::Slab;
use standing::Standing;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use timers::{Timer, Timers};
use tokio::time::Instant;
use trail::Trail;

/// `{"events":[` and `]}`: what a batch body has around its events, in bytes, unless its group says
/// otherwise.
pub const ENVELOPE_BYTES: usize = 13;

/// One user of one principal in one group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Concern {
    group: GroupIndex,
    user: UserId,
    principal: Principal,
}

impl Concern {
    fn of<E: Entry>(entry: &E) -> Self {
        let lane = entry.lane();
        Self {
            group: lane.group,
            user: lane.user.clone(),
            principal: entry.owner().principal,
        }
    }
}

/// All lanes of one shard.
#[derive(Debug)]
pub struct Lanes<E> {
    rules: Arc<[Rules]>,
    max_lanes: usize,
    lanes: Slab<Lane<E>>,
    /// By their keys, which the lanes hold themselves.
    by_key: HashTable<LaneId>,
    order: Order,
    timers: Timers,
    /// Lanes whose timers were due and that were not looked at yet, and since when.
    due: (Vec<LaneId>, Option<Instant>),
    holds: Holds,
    numbers: Numbers,
    standing: Standing,
    /// Whose next event is sealed at once, since a priority event of another group came: until
    /// when.
    awaited: Recent<Concern, Instant>,
    last_seq: u64,
    ready: VecDeque<Batch<E>>,
    settled: Vec<Settled<E>>,
    /// What the application said in the attempt whose verdict is being carried out.
    answer: Option<Bytes>,
    /// Lanes that a refusal held when an event came: their callers are acknowledged, so it may be
    /// forgotten elsewhere.
    held_by_refusal: Vec<LaneId>,
    /// When the first event came: an event that is older was brought back by this start.
    began: Option<Instant>,
    /// What became of windows and batches.
    trail: Trail,
    seals: Seals,
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
            lanes: Slab::new(),
            by_key: HashTable::new(),
            order,
            timers: Timers::default(),
            due: (Vec::new(), None),
            holds: Holds::default(),
            numbers: Numbers::new(max_lanes),
            standing: Standing::new(max_lanes),
            awaited: Recent::new(max_lanes),
            last_seq: 0,
            ready: VecDeque::new(),
            settled: Vec::new(),
            held_by_refusal: Vec::new(),
            answer: None,
            began: None,
            trail: Trail::new(),
            seals: Seals::default(),
        }
    }

    /// Windows that were sealed so far, by why.
    #[must_use]
    pub const fn seals(&self) -> Seals {
        self.seals
    }

    /// Lanes with events.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lanes.len()
    }

    /// No lane has an event.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lanes.len() == 0
    }

    /// Places of lanes, taken or free.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.lanes.slots()
    }

    /// When the oldest event entered that is not settled, of the lanes in these places; `None`
    /// without events.
    #[must_use]
    pub fn oldest_in(&self, slots: Range<usize>) -> Option<Instant> {
        self.lanes
            .iter_in(slots)
            .filter_map(|(_, lane)| lane.oldest())
            .min()
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
        let held = ids
            .iter()
            .filter_map(|id| self.lane(*id))
            .filter(|lane| lane.is_rejected());
        held.map(|lane| (lane.owner.principal, lane.key.group))
            .collect()
    }

    /// When [`tick`](Self::tick) is wanted next, to the millisecond.
    #[must_use]
    pub fn next_wake(&self) -> Option<Instant> {
        if self.due.0.is_empty() {
            self.timers.first()
        } else {
            self.due.1
        }
    }

    fn lane(&self, id: LaneId) -> Option<&Lane<E>> {
        self.lanes.get(id.0)
    }

    fn lane_mut(&mut self, id: LaneId) -> Option<&mut Lane<E>> {
        self.lanes.get_mut(id.0)
    }

    /// Deadlines and pauses that have passed.
    pub fn tick(&mut self, now: Instant) {
        while self.tick_some(now, usize::MAX) {}
    }

    /// At most so many of the lanes whose deadline or pause has passed; whether there was one.
    pub fn tick_some(&mut self, now: Instant, most: usize) -> bool {
        if self.due.0.is_empty() {
            let Some(due) = self.timers.take(now) else {
                return false;
            };
            // ORDER: all of them before any goes on, which may set the timer of another one.
            for id in &due {
                if let Some(lane) = self.lane_mut(*id) {
                    lane.timer = None;
                }
            }
            self.due = (due, Some(now));
        }
        let left = self.due.0.len().saturating_sub(most);
        for id in self.due.0.split_off(left) {
            self.wake(now, id);
        }
        true
    }

    fn wake(&mut self, now: Instant, id: LaneId) {
        let Some(lane) = self.lane_mut(id) else {
            return;
        };
        lane.resume(now);
        if lane.window.is_over(now) {
            self.seal(id, Seal::Deadline);
        }
        self.advance(id);
    }

    /// Ends the pauses between two attempts.
    pub fn try_again(&mut self) {
        for id in self.ids_of(Lane::is_waiting) {
            if let Some(lane) = self.lane_mut(id) {
                lane.set_phase(Phase::Idle);
            }
            self.advance(id);
        }
    }

    /// Lanes of which this is true.
    fn ids_of(&self, wanted: impl Fn(&Lane<E>) -> bool) -> Vec<LaneId> {
        self.lanes
            .iter()
            .filter(|(_, lane)| wanted(lane))
            .map(|(key, _)| LaneId(key))
            .collect()
    }

    fn look(&self, id: LaneId) -> Foreign {
        let lane = self.lane(id);
        Foreign {
            good: lane.is_some_and(|lane| self.is_good(lane)),
            well: lane.is_some_and(Lane::is_well),
        }
    }

    fn is_good(&self, lane: &Lane<E>) -> bool {
        self.standing.is_good(lane.owner.principal, lane.key.group)
    }

    fn lanes_of(
        &self,
        user: &UserId,
        principal: Principal,
        wanted: impl Fn(&Lane<E>) -> bool,
    ) -> Vec<LaneId> {
        let ids = self.order.lanes_of(user, principal);
        ids.filter(|id| self.lane(*id).is_some_and(&wanted))
            .collect()
    }

    /// Consecutive attempts of this lane that got no answer.
    #[must_use]
    pub fn retries(&self, lane: LaneId) -> u32 {
        self.lane(lane).map_or(0, |lane| lane.tried.retries)
    }
}

#[cfg(test)]
mod tests;
