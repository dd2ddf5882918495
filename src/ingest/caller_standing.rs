//! The handle of those who learn by the application's answers what callers are, and who ask what
//! callers may take.

use super::Shared;
use super::accept::reputation::{Grounds, RefusedBy, Reputation};
use super::accept::shares::{Address, Holder, NoShare, Share, Takes};
use super::delivery::known::RouteShape;
use crate::event::{GroupIndex, Principal, ReadIndex, Succession};
use crate::memory::{self, Memory};
use std::net::IpAddr;
use std::sync::Arc;

/// What is known of callers, and what each may take.
#[derive(Clone)]
pub(crate) struct CallerStanding(pub(super) Arc<Shared>);

impl CallerStanding {
    /// What is known of principals.
    #[must_use]
    pub(crate) fn reputation(&self) -> &Reputation {
        &self.0.reputation
    }

    /// A call of this principal was taken in these groups by the application: one of those that the
    /// groups' events come or go by.
    pub(crate) fn vouch(&self, principal: Principal, nameless: bool, groups: &[GroupIndex]) {
        let mut told: Vec<GroupIndex> = Vec::new();
        for group in groups {
            let vouched = self.0.reputation.vouch(principal, nameless, *group);
            if vouched.opens {
                self.0.tell_all(|shard| shard.open(*group));
            }
            if vouched.was_refused || vouched.is_news && !nameless {
                told.push(*group);
            }
        }
        if !told.is_empty() {
            self.0
                .tell_all(|shard| shard.vouch(principal, &told, Grounds::CALL));
        }
    }

    /// A read of what these groups' events change was answered to this principal, which has a name.
    pub(crate) fn vouch_by_read(
        &self,
        principal: Principal,
        read: ReadIndex,
        groups: &[GroupIndex],
    ) {
        let is_news =
            |group: &&GroupIndex| self.0.reputation.vouch_by_read(principal, read, **group);
        let told: Vec<_> = groups.iter().filter(is_news).copied().collect();
        if !told.is_empty() {
            self.0
                .tell_all(|shard| shard.vouch(principal, &told, Grounds::read(read)));
        }
    }

    /// A read of this route was answered to a stranger.
    pub(crate) fn open_read(&self, read: ReadIndex) {
        if self.0.reputation.open_read(read) {
            self.0.tell_all(|shard| shard.open_read(read));
        }
    }

    /// A call of this principal met 401 at the application. Where a restart must know that, it does
    /// afterwards.
    pub(crate) async fn refuse(&self, principal: Principal) {
        if self.0.reputation.refuse(principal, RefusedBy::Unauthorized) {
            // One that can't be written takes no events either.
            let _written = self.0.journal.write_queued().await;
        }
    }

    /// A single call of these groups was taken by the application: its route is there.
    pub(crate) fn learn_route(&self, groups: &[GroupIndex], route: RouteShape) {
        for gate in groups.iter().filter_map(|group| self.0.gates.get(group.0)) {
            gate.lock().learn_route(route);
        }
    }

    /// A relayed answer renewed a session of this principal.
    pub(crate) fn note_renewal(&self, principal: Principal) {
        let renewals = &self.0.admitter.metrics.renewals;
        if renewals.get() == 0 && self.0.identity.settings().refresh.is_none() {
            tracing::warn!(
                "the application renews sessions by cookies on its answers; acknowledgements carry \
                 none: set identity.refresh to a part of a session's life, so that one call of each \
                 caller is forwarded so often"
            );
        }
        renewals.inc();
        self.0.reputation.note_renewal(principal);
    }

    /// A session has a successor: it is known after a restart too, if events of its family are
    /// remembered (ruling 24).
    pub(crate) async fn keep_succession(&self, succession: Succession) {
        self.0.journal.succeed(succession).await;
    }

    /// What bodies take in memory.
    #[must_use]
    pub(crate) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// The share of it that a caller has. `client`: its address, by which callers that nothing
    /// speaks for are counted together (ruling 25).
    #[must_use]
    pub(crate) fn memory_share(&self, principal: Principal, client: IpAddr) -> memory::Share {
        let is_known = self.0.reputation.is_good_anywhere(principal);
        self.0
            .memory
            .share(principal, (!is_known).then_some(client))
    }

    /// A place among those who listen for invalidations.
    ///
    /// # Errors
    /// Nothing speaks for the caller, and such callers have their share of the places.
    pub(crate) fn take_listener_place(
        &self,
        principal: Principal,
        client: IpAddr,
    ) -> Result<Share, NoShare> {
        let holder = Holder {
            principal,
            address: Address::of(client),
        };
        self.0.reputation.take_share(holder, Takes::Listener)
    }
}
