//! How an event enters its lane: the lane is found or made, and the event's window takes it.

use super::claims::Name;
use super::{Concern, Entry, Lane, LaneId, Lanes, Rules, Seal, Settled};
use crate::event::{Outcome, Owner, Principal, Reason, UserId};
use std::sync::Arc;
use tokio::time::Instant;

impl<E: Entry> Lanes<E> {
    /// An event enters its window.
    pub fn push(&mut self, now: Instant, entry: E) {
        self.began.get_or_insert(now);
        self.last_seq = self.last_seq.max(entry.seq());
        let all = Arc::clone(&self.rules);
        let Some(rules) = all.get(entry.lane().group.0) else {
            return self.orphan(entry);
        };
        let id = self.lane_for(&entry);
        let hurry = self.find_hurry(now, rules, &entry);
        let priority = entry.priority().then(|| Concern::of(&entry));
        let since = entry.since().unwrap_or(now);
        let expires = entry
            .expires()
            .map(|at| at.checked_sub(rules.token_margin).unwrap_or(now));
        let deadline = (since + rules.window).min(expires.unwrap_or(since + rules.window));
        let Some(lane) = self.lane_mut(id) else {
            return;
        };
        let full = lane.take_in(rules, entry, since, deadline);
        if lane.is_rejected() {
            self.held_by_refusal.push(id);
        }
        if let Some(concern) = priority {
            self.seal(id, Seal::Priority);
            self.seal_others(now, &concern, rules);
        } else if let Some(why) = full.or(hurry) {
            self.seal(id, why);
        }
        self.advance(id);
    }

    /// Why an event's window is sealed with it, whether or not it is full.
    fn find_hurry(&mut self, now: Instant, rules: &Rules, entry: &E) -> Option<Seal> {
        if self.numbers.have_moved(rules, entry) {
            return Some(Seal::Change);
        }
        self.is_awaited(now, entry).then_some(Seal::OtherGroup)
    }

    fn is_awaited(&mut self, now: Instant, entry: &E) -> bool {
        !self.awaited.is_empty()
            && self
                .awaited
                .take(&Concern::of(entry))
                .is_some_and(|until| now <= until)
    }

    fn orphan(&mut self, entry: E) {
        self.settled.push(Settled {
            entry,
            outcome: Outcome::Dead(Reason::GroupRemoved),
            failed: 0,
            status: None,
            answer: None,
        });
    }

    fn lane_for(&mut self, entry: &E) -> LaneId {
        let key = entry.lane();
        let name = Name::of(&key.user);
        let is_it = |id: &LaneId| self.lane(*id).is_some_and(|lane| lane.key == *key);
        let known = self.by_key.find(name.lane(key), is_it).copied();
        known.unwrap_or_else(|| self.new_lane(name, entry))
    }

    fn new_lane(&mut self, name: Name, entry: &E) -> LaneId {
        if self.lanes.len() >= self.max_lanes {
            self.seal_oldest();
        }
        let (key, owner) = (entry.lane(), entry.owner());
        let is_good = |principal| self.standing.is_good(principal, key.group);
        let (seat, gone) = self.order.enter(name, key, &owner, is_good);
        let id = LaneId(self.lanes.insert(Lane::new(key.clone(), owner, seat)));
        let lanes = &self.lanes;
        let hash = |id: &LaneId| {
            let lane = lanes.get(id.0);
            lane.map_or(0, |lane| Name::of(&lane.key.user).lane(&lane.key))
        };
        self.by_key.insert_unique(name.lane(key), id, hash);
        if let Some(gone) = gone {
            self.let_go(&key.user, &owner, gone);
        }
        id
    }

    /// A principal gave its place among its user's up, to this owner or with this owner's last lane
    /// that was counted: it waits for none, and none for it.
    pub(super) fn let_go(&mut self, user: &UserId, owner: &Owner, gone: Principal) {
        let others = self
            .order
            .claimants(owner.realm, user)
            .filter(|other| *other != owner.principal);
        let all: Vec<_> = others
            .chain([gone])
            .flat_map(|one| self.lanes_of(user, one, |_| true))
            .collect();
        all.into_iter().for_each(|id| self.advance(id));
    }
}
