//! Who calls, and what speaks for it.

use super::scope::{AnyBody, AnyOfTwo, HeadScope};
use crate::clock::Clock;
use crate::event::{GroupIndex, Keys, Principal, UserId};
use crate::identity::{Caller, Identity, Part};
use crate::ingest::accept::refusal::Forward;
use crate::ingest::{Asker, CallerStanding};
use crate::memory::Share;
use crate::peer::Peer;
use crate::route::Params;
use crate::template::Template;
use http::request::Parts;
use std::sync::Arc;

/// Tells who calls.
#[derive(Clone)]
pub(super) struct Callers {
    pub(super) identity: Arc<Identity>,
    pub(super) standing: CallerStanding,
    pub(super) clock: Clock,
}

impl Callers {
    /// The caller that a head names.
    pub(super) fn identify<'a>(&self, parts: &'a Parts, peer: &'a Peer) -> Caller<'a> {
        self.identity.caller(parts, peer, self.clock.now())
    }

    /// Whether the application knows the caller that a head names, as far as that tells.
    pub(super) fn is_known(&self, parts: &Parts, peer: &Peer) -> bool {
        let keys = self.identity.keys(&self.identify(parts, peer), None);
        !keys.nameless && self.standing.reputation().is_good_anywhere(keys.principal)
    }

    /// What a caller may take of the memory of bodies.
    pub(super) fn memory_share(&self, principal: Principal, peer: &Peer) -> Share {
        self.standing.memory_share(principal, peer.client)
    }

    /// A caller as its lanes in these groups know it.
    pub(super) fn asker(
        &self,
        caller: &Caller<'_>,
        keys: &Keys,
        user: Option<UserId>,
        groups: &[GroupIndex],
    ) -> Asker {
        let claimed = || self.identity.claimed(caller);
        let is_own = |user: &UserId| claimed().is_some_and(|name| name == user.as_str());
        let good = |group: &GroupIndex| self.standing.reputation().is_good(keys.principal, *group);
        let joins = groups.iter().any(good) && user.as_ref().is_some_and(is_own);
        Asker {
            principal: keys.principal,
            realm: keys.realm,
            user,
            joins,
        }
    }

    /// The user of a call whose body wasn't understood; none, which stands for all of its caller's
    /// lanes, if its body might have named another one than its head.
    pub(super) fn user_without_body(&self, caller: &Caller<'_>, params: &Params) -> Option<UserId> {
        let scope = AnyBody(HeadScope {
            caller,
            params,
            user: None,
            body: None,
        });
        self.identity.user(&scope)
    }

    /// The user that a template found; none, which stands for all of its caller's lanes, if it comes
    /// of a query parameter that is there twice, of which it took the first. `names`: parameters
    /// that others than the template look at for it.
    pub(super) fn sure_user(
        &self,
        (caller, params): (&Caller<'_>, &Params),
        (template, names): (&Template, &[Box<str>]),
        user: Option<UserId>,
    ) -> Option<UserId> {
        let is_twice = |source, path: &[Box<str>]| caller.is_repeated(source, path);
        if !names.iter().any(|name| caller.repeats(name)) && !template.looks(&is_twice) {
            return user;
        }
        let scope = AnyOfTwo(AnyBody(HeadScope {
            caller,
            params,
            user: None,
            body: None,
        }));
        let again = self.identity.user_by(template, &scope);
        user.filter(|user| again.as_ref() == Some(user))
    }

    /// Whether a caller is known to be good, as far as its head tells.
    ///
    /// # Errors
    /// It is known that its call will be forwarded.
    pub(super) fn is_good(
        &self,
        caller: &Caller<'_>,
        groups: &[GroupIndex],
    ) -> Result<bool, Forward> {
        let named = &self.identity.settings().selection.named;
        if named.iter().any(|part| matches!(part, Part::Body(_))) {
            return Ok(false);
        }
        let (principal, reputation) = (
            self.identity.keys(caller, None).principal,
            self.standing.reputation(),
        );
        if reputation.is_refused(principal) {
            return Err(Forward::Rejected);
        }
        if !groups
            .iter()
            .any(|group| reputation.is_proven(principal, *group))
        {
            return Err(Forward::Unproven);
        }
        Ok(reputation.is_good_anywhere(principal))
    }
}
