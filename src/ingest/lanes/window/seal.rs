//! How windows are sealed: one, and what must go before it; those that go with a priority event; the
//! oldest for want of room; all.

use super::{Concern, Entry, Lane, LaneId, Lanes, Rules, Seal};
use std::ops::Range;
use std::sync::Arc;
use tokio::time::Instant;

/// How many lanes are looked at for one that can be emptied, at the cap on lanes.
const LOOK: usize = 64;

impl<E: Entry> Lanes<E> {
    /// Seals every window.
    pub fn seal_all(&mut self) {
        self.seal_all_in(0..self.slots());
    }

    /// Seals the windows of the lanes in these places.
    pub fn seal_all_in(&mut self, slots: Range<usize>) {
        let ids: Vec<_> = self
            .lanes
            .iter_in(slots)
            .map(|(key, _)| LaneId(key))
            .collect();
        self.seal_all_of(&ids, Seal::Asked);
    }

    pub(super) fn seal_all_of(&mut self, ids: &[LaneId], why: Seal) {
        for id in ids {
            self.seal(*id, why);
            self.advance(*id);
        }
    }

    /// Seals a lane's window, and what must go before it.
    pub(super) fn seal(&mut self, id: LaneId, why: Seal) {
        self.seal_one(id, why);
        // ORDER: all fronts are known before any lane goes: what was made needless holds up
        // nothing.
        self.list(id);
        let newest = self.lane(id).and_then(Lane::last_seq).unwrap_or(0);
        let others = self.older_than(id, newest);
        for other in &others {
            // Only its own end may hold what a priority event closes.
            let why = if why == Seal::Asked { why } else { Seal::Order };
            self.seal_one(*other, why);
            self.list(*other);
        }
        others.into_iter().for_each(|other| self.advance(other));
    }

    fn seal_one(&mut self, id: LaneId, why: Seal) {
        let Some(lane) = self.lanes.get_mut(id.0) else {
            return;
        };
        let Some(rules) = self.rules.get(lane.key.group.0) else {
            return;
        };
        let held = self.holds.limit(lane, false) != u64::MAX;
        self.trail.note_seal(id, lane, why);
        if lane.window.is_open() {
            self.seals.count(why);
        }
        lane.seal(rules, why, held);
        if why == Seal::Asked {
            lane.tried.awaited = self.last_seq;
        }
    }

    /// A priority event came: the same user's windows of the groups that go with it.
    pub(super) fn seal_others(&mut self, now: Instant, of: &Concern, rules: &Rules) {
        let all = Arc::clone(&self.rules);
        for group in &rules.seals {
            let open = |lane: &Lane<E>| lane.key.group == *group && lane.window.is_open();
            let lanes = self.lanes_of(&of.user, of.principal, open);
            if !lanes.is_empty() {
                self.seal_all_of(&lanes, Seal::OtherGroup);
            } else if let Some(rules) = all.get(group.0) {
                self.awaited.put(
                    Concern {
                        group: *group,
                        ..of.clone()
                    },
                    now + rules.window,
                );
            }
        }
    }

    /// At the cap on lanes the window that opened first is sealed, so that its lane empties and
    /// goes (P10).
    pub(super) fn seal_oldest(&mut self) {
        let is_open = |id: &LaneId| self.lane(*id).is_some_and(|lane| lane.window.is_open());
        let open = self.timers.lanes().take(LOOK).find(is_open);
        if let Some(id) = open {
            self.seal_all_of(&[id], Seal::Room);
        }
    }

    /// Other lanes that have something that must go before this number of a lane.
    pub(super) fn older_than(&self, id: LaneId, seq: u64) -> Vec<LaneId> {
        let Some(lane) = self.lane(id) else {
            return Vec::new();
        };
        self.order
            .before(seq, (id, lane.seat), self.is_good(lane), |other| {
                self.look(other)
            })
    }
}
