//! What is looked at of an event before anything of the bounds is taken for it.

use super::refusal::{Decline, Forward};
use super::seen::{Known, SeenKey};
use crate::event::{Event, GroupIndex, Principal};
use crate::ingest::Acceptor;
use crate::ingest::settings::Group;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

/// What was found out of an event before it is admitted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looked {
    pub(super) key: SeenKey,
    /// Its caller is refused in its group.
    pub(super) is_refused: bool,
    pub(super) known: Known,
}

impl Acceptor {
    /// What is known of an event's id, and of its caller.
    pub(super) fn look_up(&self, event: &Event) -> Looked {
        let (principal, group) = (event.owner().principal, event.lane.group);
        self.look_up_of(event, self.0.reputation.is_refused_in(principal, group))
    }

    /// As [`look_up`](Self::look_up), of a caller that is known to be refused, or not to be. A
    /// refused caller must hear the application's own answer, whatever is known of the id.
    pub(super) fn look_up_of(&self, event: &Event, is_refused: bool) -> Looked {
        let admitter = &self.0.admitter;
        let key = admitter.key(event);
        let known = if is_refused {
            Known::No
        } else {
            admitter.seen.look(key, Instant::now())
        };
        Looked {
            key,
            is_refused,
            known,
        }
    }

    /// A known event came again.
    pub(super) fn repeat(&self, key: SeenKey) {
        self.0.admitter.repeat(key);
        self.0.journal.repeat();
    }

    /// Whether an event may be admitted, as far as can be said before its id is looked at.
    /// `is_refused`: its caller is, in its group.
    pub(in crate::ingest) fn check_admissible(
        &self,
        group: &Group,
        event: &Event,
        is_refused: bool,
    ) -> Result<(), Decline> {
        self.check_place(group, event)
            .and_then(|()| {
                self.check_standing(event.owner().principal, event.lane.group, is_refused)
            })
            .map_err(Decline::Forward)
    }

    /// Whether there is a place for an event, whoever called.
    pub(super) fn check_place(&self, group: &Group, event: &Event) -> Result<(), Forward> {
        let shared = &self.0;
        if !group.is_single()
            && event.json().len() + shared.admitter.envelope(event) > group.max_bytes
        {
            return Err(Forward::TooLargeForBatch);
        }
        if shared.closed.load(Ordering::Relaxed) {
            return Err(Forward::NotKept);
        }
        let number = self.shard_of(&event.lane.user);
        if shared
            .levels
            .get(number)
            .is_some_and(|level| level.lanes.load(Ordering::Relaxed) > shared.most_lanes)
        {
            return Err(Forward::TooManyLanes);
        }
        Ok(())
    }

    /// Whether a principal's call may be acknowledged in a group just now, whatever it says; where
    /// its session is to be renewed, this call is taken for the one that renews it.
    pub(super) fn check_standing(
        &self,
        principal: Principal,
        group: GroupIndex,
        is_refused: bool,
    ) -> Result<(), Forward> {
        let reputation = &self.0.reputation;
        if is_refused {
            return Err(Forward::Rejected);
        }
        if !reputation.is_proven(principal, group) {
            return Err(Forward::Unproven);
        }
        if reputation.wants_renewal(principal) {
            return Err(Forward::Renewal);
        }
        Ok(())
    }
}
