//! The handle of those who must come after what a caller has pending: reads wait for it (P7),
//! forwarded calls take a place behind it (ruling 4).

use super::Shared;
use super::accept::shares::{Address, Holder, NoShare, Share, Takes};
use super::asker::Asker;
use super::lanes::shard::{Ended, Hold, Shard};
use super::lanes::window::{Groups, Pending};
use crate::event::{EventId, GroupIndex, Principal, Subject, UserId, View};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How a wait for settlement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// What was pending is settled.
    Yes,
    /// Not in time, or it can't be.
    TimedOut,
}

/// A forwarded call may not pass: earlier events of its lane can't be delivered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("earlier events of this user could not be delivered in time")]
pub(crate) struct Busy;

/// What callers have pending.
#[derive(Clone)]
pub(crate) struct CallerLanes(pub(super) Arc<Shared>);

impl CallerLanes {
    /// Seals a caller's windows in these groups and waits until what is in them is settled (P7).
    pub(crate) async fn barrier(
        &self,
        asker: &Asker,
        groups: &[GroupIndex],
        within: Duration,
    ) -> Settled {
        let deadline = Instant::now() + within;
        let mut waits = Vec::new();
        let mut is_in_vain = false;
        for shard in self.shards_of(asker) {
            match shard.barrier(asker, groups) {
                Ok(None) => {}
                Ok(Some(settled)) => {
                    is_in_vain |= shard.pauses_beyond(asker, groups, deadline);
                    waits.push(settled);
                }
                Err(Ended) => return Settled::TimedOut,
            }
        }
        // ORDER: when all is sealed. Nothing is gained by waiting for a pause that lasts longer.
        if is_in_vain {
            return Settled::TimedOut;
        }
        for settled in waits {
            match tokio::time::timeout_at(deadline, settled).await {
                Ok(Ok(())) => {}
                _ => return Settled::TimedOut,
            }
        }
        Settled::Yes
    }

    /// Whether a caller may have anything pending in these groups. Nothing is sealed.
    #[must_use]
    pub(crate) fn have_any(&self, asker: &Asker, groups: &[GroupIndex]) -> bool {
        self.shards_of(asker)
            .iter()
            .any(|shard| shard.has_any(asker, groups).unwrap_or(true))
    }

    /// Shows the observer that a call goes after what its caller would have pending in these groups,
    /// where [it wants to know](Self::are_observed).
    pub(crate) fn show_wait(&self, asker: &Asker, groups: &[GroupIndex]) {
        self.0.watch.see_wait(asker, groups);
    }

    /// The observer wants to be shown who goes after events of these groups.
    pub(crate) fn are_observed(&self, groups: &[GroupIndex]) -> bool {
        self.0.watch.wants_waits(groups)
    }

    /// What is pending of this user and view in these groups, oldest first, at most `most` events.
    #[must_use]
    pub(crate) fn look(
        &self,
        user: &UserId,
        (principal, view): (Principal, View),
        groups: &[GroupIndex],
        most: usize,
    ) -> Vec<Pending> {
        self.0
            .shard(user)
            .map(|shard| shard.look(user, (principal, view), groups, most))
            .unwrap_or_default()
    }

    /// Takes a place in the order of a caller's lanes: what is before it goes first, later events
    /// wait while the guard lives (ruling 4). `client`: where the call came from. Only a call that
    /// has to wait is counted among those that do.
    ///
    /// # Errors
    /// What is before it could not move in time, or as many calls of this caller wait as may.
    pub(crate) async fn hold(
        &self,
        asker: &Asker,
        client: IpAddr,
        groups: &[GroupIndex],
        within: Duration,
    ) -> Result<Held, Busy> {
        let deadline = Instant::now() + within;
        let (mut held, mut waits) = (Held(Vec::new()), Vec::new());
        let groups: Groups = groups.into();
        for shard in self.shards_of(asker) {
            let (hold, passed) = shard.hold(asker, &groups).map_err(|Ended| Busy)?;
            held.0.push(hold);
            waits.extend(passed);
        }
        if waits.is_empty() {
            return Ok(held);
        }
        let _place = self
            .take_waiting_place(asker.principal, client)
            .map_err(|_| Busy)?;
        for pass in waits {
            match tokio::time::timeout_at(deadline, pass).await {
                Ok(Ok(())) => {}
                _ => return Err(Busy),
            }
        }
        Ok(held)
    }

    /// How long a read waits for its user's lanes, where its route says nothing.
    #[must_use]
    pub(crate) fn barrier_time(&self) -> Duration {
        self.0.delivery.barrier
    }

    /// These groups, and those that keep one order with any of them: whoever goes synchronously
    /// goes after all of them.
    #[must_use]
    pub(crate) fn with_siblings(&self, groups: &[GroupIndex]) -> Vec<GroupIndex> {
        let siblings = groups
            .iter()
            .filter_map(|group| self.0.group(*group))
            .flat_map(|group| &group.order_with);
        let mut all: Vec<_> = groups.iter().chain(siblings).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The shards that a caller's lanes may be in.
    fn shards_of(&self, asker: &Asker) -> &[Arc<Shard>] {
        match &asker.user {
            Some(user) => self
                .0
                .shard(user)
                .map(std::slice::from_ref)
                .unwrap_or_default(),
            None => &self.0.shards,
        }
    }

    /// A place among the forwarded calls that wait for what is before them.
    ///
    /// # Errors
    /// As many of this caller's wait as may.
    fn take_waiting_place(&self, principal: Principal, client: IpAddr) -> Result<Share, NoShare> {
        let holder = Holder {
            principal,
            address: Address::of(client),
        };
        self.0.reputation.take_share(holder, Takes::Call)
    }
}

/// A place in the order, in every shard that its caller's lanes may be in.
#[derive(Debug)]
pub(crate) struct Held(Vec<Hold>);

impl Held {
    /// The held call told a newer state of this subject and was taken: older ones are needless.
    pub(crate) fn replace(&self, group: GroupIndex, subject: Subject, by: &EventId) {
        self.0
            .iter()
            .for_each(|hold| hold.replace(group, subject, by));
    }
}
