//! How a lane goes on: it is listed, offers, is looked at again, and is forgotten when it is empty.

use super::claims::Name;
use super::{Entry, Lane, LaneId, Lanes, Place, Queued, Timer};
use crate::event::{Outcome, Reason};

impl<E: Entry> Lanes<E> {
    /// A lane has moved: it goes on, and what was behind its events.
    pub(super) fn advance_with(&mut self, id: LaneId) {
        let Some(seat) = self.lane(id).map(|lane| lane.seat) else {
            return;
        };
        // ORDER: looked at before too: a lane that is gone is no claimant any more, and those
        // behind it are not found.
        let behind = self.order.heads(seat);
        self.advance(id);
        for head in behind.into_iter().chain(self.order.heads(seat)) {
            self.advance(head);
        }
    }

    /// Up to which number a lane may offer: not beyond what forwarded calls hold back, nor what
    /// others have first.
    fn limit(&self, id: LaneId, lane: &Lane<E>) -> u64 {
        let good = self.is_good(lane);
        let order = self
            .order
            .limit(id, lane.seat, good, |other| self.look(other));
        // INVARIANT: only what is told of a hold's end is held.
        let joins = good && self.order.is_told(lane.seat, &lane.owner);
        self.holds.limit(lane, joins).min(order)
    }

    /// Forms the next batch if the lane may, sets its timer, forgets it when it is empty.
    pub(super) fn advance(&mut self, id: LaneId) {
        let behind = self.drop_oversize(id);
        self.go_on(id);
        behind.into_iter().for_each(|head| self.go_on(head));
    }

    fn go_on(&mut self, id: LaneId) {
        self.list(id);
        self.offer(id);
        let Some(lane) = self.lanes.get_mut(id.0) else {
            return;
        };
        if lane.is_empty() {
            return self.forget(id);
        }
        let wake = lane.wake();
        if lane.timer.map(|timer| timer.at) != wake {
            let old = std::mem::replace(&mut lane.timer, wake.map(|at| self.timers.insert(at, id)));
            self.drop_timer(old);
        }
    }

    fn drop_timer(&mut self, timer: Option<Timer>) {
        if let Some(old) = timer
            && let Some(moved) = self.timers.remove(old)
            && let Some(timer) = self.lane_mut(moved).and_then(|lane| lane.timer.as_mut())
        {
            timer.place = old.place;
        }
    }

    /// What stands first in the lane and fits no batch any more, since its group's `max_bytes` is
    /// smaller than it was, has its outcome, unless its single call is left (P6). The lanes that
    /// may go then.
    fn drop_oversize(&mut self, id: LaneId) -> Vec<LaneId> {
        let mut behind = Vec::new();
        while let Some(lane) = self.lanes.get_mut(id.0)
            && let Some(rules) = self.rules.get(lane.key.group.0)
            && let Some(mut queued) = lane.take_oversize(rules)
        {
            let (status, seat) = (lane.tried.status, lane.seat);
            if let Some(heir) = queued.uncover() {
                lane.put_first(id, heir);
            }
            self.settle(queued, Outcome::Dead(Reason::TooLarge), status);
            self.list(id);
            behind = self.order.heads(seat).to_vec();
        }
        behind
    }

    /// Tells the order how far the lane is.
    pub(super) fn list(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(id.0) else {
            return;
        };
        let refused = lane.is_rejected();
        let place = lane.front().map(|front| Place { front, refused });
        self.order.list(id, lane.seat, lane.listed, place);
        lane.listed = place;
    }

    fn offer(&mut self, id: LaneId) {
        let Some(lane) = self.lane(id).filter(|lane| lane.may_offer()) else {
            return;
        };
        let limit = self.limit(id, lane);
        let Some(lane) = self.lanes.get_mut(id.0) else {
            return;
        };
        let Some(rules) = self.rules.get(lane.key.group.0) else {
            return;
        };
        let Some(mut batch) = lane.next_batch(id, rules, limit) else {
            return;
        };
        batch.was_refused = lane.was_refused;
        if let Some(flight) = batch.flight() {
            lane.set_phase(flight);
        }
        let events: usize = batch.events.iter().map(Queued::count).sum();
        lane.tried.in_flight = u32::try_from(events).unwrap_or(u32::MAX);
        if rules.shown {
            lane.tried.flying = batch.events.iter().map(Queued::shown).collect();
        }
        self.numbers.note(rules, &batch.events);
        self.ready.push_back(batch);
    }

    fn forget(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.remove(id.0) else {
            return;
        };
        self.drop_timer(lane.timer);
        let hash = Name::of(&lane.key.user).lane(&lane.key);
        if let Ok(entry) = self.by_key.find_entry(hash, |one| *one == id) {
            entry.remove();
        }
        self.order.list(id, lane.seat, lane.listed, None);
        if self.order.leave(lane.seat, &lane.owner) {
            self.let_go(&lane.key.user, &lane.owner, lane.owner.principal);
        }
    }
}
