//! What callers, operators and the rest of the event path ask of the lanes, or tell them.

use super::phase::Phase;
use super::queued::Shown;
use super::{Doubt, Entry, Lane, LaneId, Lanes, Seal};
use crate::event::{
    EventId, GroupIndex, Outcome, Principal, ReadIndex, Subject, Tag, UserId, View,
};
use crate::ingest::accept::reputation::Grounds;
use crate::ingest::asker::Asker;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

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

impl<E: Entry> Lanes<E> {
    /// The lanes of a caller in these groups; and of its user, under other principals that are
    /// known to be good.
    fn lanes_for(&self, asker: &Asker, groups: &[GroupIndex]) -> Vec<LaneId> {
        let meant = |lane: &Lane<E>| groups.contains(&lane.key.group);
        let Some(user) = &asker.user else {
            let ids = self.order.lanes_of_principal(asker.principal);
            let mut ids: Vec<_> = ids.filter(|id| self.lane(*id).is_some_and(meant)).collect();
            ids.sort_by_key(|id| self.lane(*id).and_then(Lane::front));
            return ids;
        };
        let mut ids = self.lanes_of(user, asker.principal, meant);
        if asker.joins {
            let others = self
                .order
                .claimants(asker.realm, user)
                .filter(|other| *other != asker.principal);
            let joined = |lane: &Lane<E>| {
                meant(lane) && lane.owner.claimed && self.is_good(lane) && !lane.is_rejected()
            };
            ids.extend(others.flat_map(|other| self.lanes_of(user, other, joined)));
        }
        ids
    }

    /// Whether a caller has anything pending in these groups. Nothing is sealed.
    pub fn has_any(&self, asker: &Asker, groups: &[GroupIndex]) -> bool {
        !self.lanes_for(asker, groups).is_empty()
    }

    /// Whether one of a caller's lanes in these groups pauses until after this time.
    pub fn pause_beyond(&self, asker: &Asker, groups: &[GroupIndex], time: Instant) -> bool {
        let ids = self.lanes_for(asker, groups);
        let mut lanes = ids.iter().filter_map(|id| self.lane(*id));
        lanes.any(|lane| lane.pauses_until().is_some_and(|until| until > time))
    }

    /// Seals a caller's windows in these groups; the marks say when what is in them now is settled.
    pub fn barrier(&mut self, asker: &Asker, groups: &[GroupIndex]) -> Vec<Mark> {
        let ids = self.lanes_for(asker, groups);
        self.seal_all_of(&ids, Seal::Asked);
        self.marks(&ids)
    }

    fn marks(&self, ids: &[LaneId]) -> Vec<Mark> {
        ids.iter()
            .map(|lane| Mark {
                lane: *lane,
                seq: self.last_seq,
            })
            .collect()
    }

    /// Seals the lanes of a forwarded call and holds later events back until
    /// [`release_hold`](Self::release_hold); the marks must be passed first. A lane that waits for
    /// a pause to end is tried again at once (ruling 4).
    pub fn hold(&mut self, asker: &Asker, groups: &Groups) -> (u64, Vec<Mark>) {
        let ids = self.lanes_for(asker, groups);
        // ORDER: sealed before the hold stands, so that what is open may still take the place of
        // what is due.
        self.seal_all_of(&ids, Seal::Asked);
        let number = self.holds.insert(asker, groups, self.last_seq);
        for id in &ids {
            if let Some(lane) = self.lane_mut(*id).filter(|lane| lane.is_waiting()) {
                lane.set_phase(Phase::Idle);
            }
            self.advance(*id);
        }
        (number, self.marks(&ids))
    }

    /// The forwarded call is over; what waited behind it may go.
    pub fn release_hold(&mut self, principal: Principal, number: u64) {
        let Some(hold) = self.holds.remove(principal, number) else {
            return;
        };
        for id in self.kept_back(&hold.asker, &hold.groups) {
            self.advance(id);
        }
    }

    /// The lanes that a hold may have kept back, whatever is known of their principals by now.
    fn kept_back(&self, asker: &Asker, groups: &[GroupIndex]) -> Vec<LaneId> {
        let mut ids = self.lanes_for(
            &Asker {
                joins: false,
                ..asker.clone()
            },
            groups,
        );
        if let Some(user) = asker.user.as_ref().filter(|_| asker.joins) {
            let others = self
                .order
                .claimants(asker.realm, user)
                .filter(|other| *other != asker.principal);
            ids.extend(others.flat_map(|other| {
                self.lanes_of(user, other, |lane| groups.contains(&lane.key.group))
            }));
        }
        ids
    }

    /// The last number that was pushed.
    #[must_use]
    pub const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// A forwarded call told a newer state of this subject and was taken: what the lane holds of it
    /// up to this number is needless. Else it would be sent after that call, and an older state
    /// would be the last one written.
    pub fn replace(
        &mut self,
        group: GroupIndex,
        asker: &Asker,
        subject: Subject,
        upto: u64,
        by: &EventId,
    ) {
        let Some(user) = &asker.user else { return };
        for id in self.lanes_of(user, asker.principal, |lane| lane.key.group == group) {
            let Some(lane) = self.lane_mut(id) else {
                continue;
            };
            let status = lane.tried.status;
            for queued in lane.take_replaced(subject, upto) {
                self.settle(queued, Outcome::Superseded { by: by.clone() }, status);
            }
            self.advance_with(id);
        }
    }

    /// Whether what the mark stands for is settled.
    #[must_use]
    pub fn passed(&self, mark: Mark) -> bool {
        self.lane(mark.lane)
            .is_none_or(|lane| lane.first_seq().is_none_or(|first| first > mark.seq))
    }

    /// Whether a forwarded call may go: as [`passed`](Self::passed), or its lane, or another one of
    /// the same principal that keeps one order with it, is held by a 401 or 403, whose cure is the
    /// verdict of just such a call (ruling 4).
    #[must_use]
    pub fn may_pass(&self, mark: Mark) -> bool {
        self.passed(mark)
            || self
                .lane(mark.lane)
                .is_some_and(|lane| self.order.is_refused(lane.seat))
    }

    /// The lanes whose batches must come back before a mark is passed: its own, and those that go
    /// before it.
    pub fn before(&self, mark: Mark) -> impl Iterator<Item = LaneId> {
        std::iter::once(mark.lane).chain(self.older_than(mark.lane, mark.seq))
    }

    /// A call of this principal was taken in these groups; its rejected lanes try again. In other
    /// groups they do so once, since that says nothing of whose their refusal is.
    pub fn vouch(&mut self, principal: Principal, groups: &[GroupIndex]) {
        self.vouch_by(principal, groups, Grounds::CALL);
    }

    /// As [`vouch`](Self::vouch), by what was taken or answered.
    pub fn vouch_by(&mut self, principal: Principal, groups: &[GroupIndex], grounds: Grounds) {
        for group in groups {
            self.standing.note(principal, *group, grounds);
        }
        self.try_refused(principal, groups);
    }

    /// The rejected lanes of this principal try again: in the groups in which a call of it was
    /// taken, so that a 403 there is an event's; in others if they have not done so since the last
    /// time that they moved.
    pub fn try_refused(&mut self, principal: Principal, taken: &[GroupIndex]) {
        let rejected = |id: &LaneId| self.lane(*id).is_some_and(Lane::is_rejected);
        let ids: Vec<_> = self
            .order
            .lanes_of_principal(principal)
            .filter(rejected)
            .collect();
        for id in ids {
            let Some(lane) = self.lane_mut(id) else {
                continue;
            };
            if taken.contains(&lane.key.group) {
                lane.turn_doubt(Doubt::Credential, Doubt::Event);
                (lane.may_try_once, lane.was_refused) = (true, false);
            } else if !std::mem::take(&mut lane.may_try_once) {
                continue;
            }
            lane.set_phase(Phase::Idle);
            self.advance_with(id);
        }
    }

    /// A caller without a name was taken in this group: no principal is good there any more,
    /// whatever it met, and none joins another one's order as such (ruling 17).
    pub fn open(&mut self, group: GroupIndex) {
        if self.standing.open(group) {
            let ids = self.ids_of(|lane| lane.key.group == group);
            ids.into_iter().for_each(|id| self.advance(id));
        }
    }

    /// A read of this route was answered to a stranger: who is good by it alone is good no longer
    /// (ruling 17).
    pub fn open_read(&mut self, read: ReadIndex) {
        self.standing.open_read(read);
        let ids = self.ids_of(|_| true);
        ids.into_iter().for_each(|id| self.advance(id));
    }

    /// What is pending of this user and view in these groups, oldest first, at most `most`; of what
    /// was superseded, what it was superseded by.
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
        let lanes = ids.iter().filter_map(|id| self.lane(*id));
        let mut all: Vec<_> = lanes
            .flat_map(|lane| lane.shown().map(|shown| (lane.key.group, shown)))
            .collect();
        all.sort_unstable_by_key(|(_, shown)| shown.seq);
        all.truncate(most);
        all.into_iter()
            .map(|(group, Shown { json, tags, .. })| Pending { group, json, tags })
            .collect()
    }
}
