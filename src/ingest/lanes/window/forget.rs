//! Giving up a user's pending events because an operator says so.

use super::lane::Phase;
use super::{Entry, LaneId, Lanes};
use crate::event::{Outcome, Reason, UserId};
use std::ops::Range;

/// What was found of a user in some lanes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OfUser {
    /// Events that wait: given up where that was asked for.
    pub waiting: u64,
    /// Lanes with a batch on its way, whose events have an outcome soon.
    pub in_flight: u64,
}

impl std::ops::AddAssign for OfUser {
    fn add_assign(&mut self, other: Self) {
        self.waiting += other.waiting;
        self.in_flight += other.in_flight;
    }
}

impl<E: Entry> Lanes<E> {
    /// Counts the events of this user in the lanes in these places.
    #[must_use]
    pub fn count_user_in(&self, slots: Range<usize>, user: &UserId) -> OfUser {
        let mut found = OfUser::default();
        for (_, lane) in self.lanes.iter_in(slots) {
            if lane.key.user == *user {
                let flying = u64::from(lane.in_flight);
                found.waiting += (lane.count_events() as u64).saturating_sub(flying);
                found.in_flight += u64::from(matches!(lane.phase(), Phase::InFlight { .. }));
            }
        }
        found
    }

    /// Gives up those of them that are not on their way: each becomes a dead letter, for the caller
    /// to drop.
    pub fn forget_user_in(&mut self, slots: Range<usize>, user: &UserId) -> OfUser {
        let found = self.count_user_in(slots.clone(), user);
        let lanes = self.lanes.iter_in(slots);
        let ids: Vec<_> = lanes
            .filter(|(_, lane)| lane.key.user == *user)
            .map(|(key, _)| LaneId(key))
            .collect();
        for id in ids {
            self.forget_lane(id);
        }
        found
    }

    fn forget_lane(&mut self, id: LaneId) {
        let Some(lane) = self.lane_mut(id) else {
            return;
        };
        let batches = std::mem::take(&mut lane.again).into_iter();
        let mut forgotten: Vec<_> = batches.flat_map(|batch| batch.events).collect();
        forgotten.extend(std::mem::take(&mut lane.queue));
        lane.due = 0;
        lane.window.close();
        // Waiting | Rejected => Idle
        if !matches!(lane.phase(), Phase::InFlight { .. }) {
            lane.set_phase(Phase::Idle);
        }
        let status = lane.status;
        for queued in forgotten {
            self.settle(queued, Outcome::Dead(Reason::Forgotten), status);
        }
        self.advance_with(id);
    }
}
