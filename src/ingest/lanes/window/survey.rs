//! What the lanes of each group do at a moment, counted for an operator.

use super::phase::Phase;
use super::{Entry, Lane, Lanes};
use std::ops::{AddAssign, Range};
use tokio::time::Instant;

/// What the lanes of one group do. Each lane is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    /// Events without an outcome.
    pub events: u64,
    /// When the oldest of them came.
    pub oldest: Option<Instant>,
    /// Lanes whose windows are open, with nothing that is due.
    pub open: u64,
    /// Lanes with a batch on its way.
    pub in_flight: u64,
    /// Held lanes: the application refused the credential (401, 403).
    pub credential: u64,
    /// Held lanes: a rate limit, a closed gate, or an open circuit.
    pub gate: u64,
    /// Held lanes: the last attempt failed, and the next one is not due yet.
    pub backoff: u64,
    /// Held lanes: older events of the same user, or a forwarded call, go first.
    pub order: u64,
}

impl AddAssign for Survey {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self.open += other.open;
        self.in_flight += other.in_flight;
        self.credential += other.credential;
        self.gate += other.gate;
        self.backoff += other.backoff;
        self.order += other.order;
    }
}

impl Survey {
    fn add_lane<E: Entry>(&mut self, lane: &Lane<E>) {
        self.events += lane.count_events() as u64;
        self.oldest = self.oldest.into_iter().chain(lane.oldest()).min();
        let kind = match lane.phase() {
            Phase::InFlight { .. } => &mut self.in_flight,
            Phase::Rejected(_) => &mut self.credential,
            Phase::Waiting(_) if lane.waits_for_gate() => &mut self.gate,
            Phase::Waiting(_) => &mut self.backoff,
            // It would have gone, if nothing else held it.
            Phase::Idle if lane.may_offer() => &mut self.order,
            Phase::Idle => &mut self.open,
        };
        *kind += 1;
    }
}

impl<E: Entry> Lanes<E> {
    /// Adds the lanes in these places to the survey of their group; `groups` are in the order of
    /// the groups.
    pub fn survey_in(&self, slots: Range<usize>, groups: &mut [Survey]) {
        for (_, lane) in self.lanes.iter_in(slots) {
            if let Some(survey) = groups.get_mut(lane.key.group.0) {
                survey.add_lane(lane);
            }
        }
    }
}
