//! Giving up a user's pending events because an operator says so.

use super::phase::Phase;
use super::{Entry, LaneId, Lanes};
use crate::event::{Outcome, Reason, UserId};
use std::ops::Range;

/// What was found of a user in some lanes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OfUser {
    /// Events that wait, those included that newer ones go in place of.
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

/// What was given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Events.
    pub events: u64,
    /// Those of them that are dead letters now; the others were superseded.
    pub letters: u64,
}

impl std::ops::AddAssign for GivenUp {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.letters += other.letters;
    }
}

impl<E: Entry> Lanes<E> {
    /// Counts the events of this user in the lanes in these places.
    #[must_use]
    pub fn count_user_in(&self, slots: Range<usize>, user: &UserId) -> OfUser {
        let mut found = OfUser::default();
        for (_, lane) in self.lanes.iter_in(slots) {
            if lane.key.user == *user {
                let flying = u64::from(lane.tried.in_flight);
                found.waiting += (lane.count_events() as u64).saturating_sub(flying);
                found.in_flight += u64::from(matches!(lane.phase(), Phase::InFlight { .. }));
            }
        }
        found
    }

    /// Gives up those of them that are not on their way: each becomes a dead letter, for the caller
    /// to drop. What waits behind them stays where it is until
    /// [`advance_user_in`](Self::advance_user_in): it may be the same user's.
    pub fn give_up_user_in(&mut self, slots: Range<usize>, user: &UserId) -> GivenUp {
        let mut given_up = GivenUp::default();
        for id in self.lanes_of_user(slots, user) {
            given_up += self.give_up_lane(id);
        }
        given_up
    }

    /// Lets this user's lanes go on, and what was behind their events.
    pub fn advance_user_in(&mut self, slots: Range<usize>, user: &UserId) {
        for id in self.lanes_of_user(slots, user) {
            self.advance_with(id);
        }
    }

    fn lanes_of_user(&self, slots: Range<usize>, user: &UserId) -> Vec<LaneId> {
        let lanes = self.lanes.iter_in(slots);
        let of_user = lanes.filter(|(_, lane)| lane.key.user == *user);
        of_user.map(|(key, _)| LaneId(key)).collect()
    }

    fn give_up_lane(&mut self, id: LaneId) -> GivenUp {
        let Some(lane) = self.lane_mut(id) else {
            return GivenUp::default();
        };
        let batches = std::mem::take(&mut lane.tried.again).into_iter();
        let mut given_up: Vec<_> = batches.flat_map(|batch| batch.events).collect();
        given_up.extend(std::mem::take(&mut lane.queue));
        lane.due = 0;
        lane.window.close();
        // Waiting | Rejected => Idle
        if !matches!(lane.phase(), Phase::InFlight { .. }) {
            lane.set_phase(Phase::Idle);
        }
        let (status, letters, before) = (lane.tried.status, given_up.len(), self.settled.len());
        for queued in given_up {
            self.settle(queued, Outcome::Dead(Reason::Forgotten), status);
        }
        GivenUp {
            events: (self.settled.len() - before) as u64,
            letters: letters as u64,
        }
    }
}
