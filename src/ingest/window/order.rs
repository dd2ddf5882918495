//! Which events go before which, over lanes: how far a lane may offer (P4, rulings 15 and 17).
//!
//! What one user of one principal does, in groups that keep one order, goes out in the order in which it was acknowledged,
//! under however many fingerprints. Other principals are the same user only where the user's name is a claim of each: then
//! a principal waits for those that are known to be good, and, while it is not known to be good itself, for the others
//! that are not, as long as no attempt of theirs fails. A lane that is held by a refusal holds up its own principal only.

use super::LaneId;
use crate::event::{GroupIndex, LaneKey, Owner, Principal, Realm, UserId};
use std::collections::{BTreeMap, HashMap};

/// Principals of one user that are told apart; more are not ordered against one another (P10).
const CLAIMANTS: usize = 16;

/// Lanes that keep one order whatever is known of their principal: of one user of one principal, in groups that keep one
/// order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Domain {
    set: usize,
    user: UserId,
    principal: Principal,
}

/// What a lane in a foreign domain is, for whoever may have to wait for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foreign {
    /// Its principal had a 2xx in its group, and no refusal since.
    pub(super) good: bool,
    /// No attempt of it fails.
    pub(super) well: bool,
}

/// Where a lane stands in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the event that it offers next, or has on its way.
    pub(super) front: u64,
    /// A refusal holds it.
    pub(super) refused: bool,
}

/// The fronts of all lanes that may hold up others.
#[derive(Debug)]
pub(super) struct Order {
    /// The set of groups that each group keeps one order with, by the smallest of them.
    sets: Vec<usize>,
    /// By the number of the event that each lane offers next, or has on its way.
    domains: HashMap<Domain, BTreeMap<u64, LaneId>>,
    /// Of the lanes that a refusal holds: their own domain waits for them, and no other does.
    refused: HashMap<Domain, BTreeMap<u64, LaneId>>,
    /// Principals with lanes whose user's name is a claim, and with how many.
    claims: HashMap<(Realm, UserId), Vec<(Principal, usize)>>,
}

impl Order {
    /// `ordered`: with which other groups each group keeps one order.
    pub(super) fn new<'a>(ordered: impl Iterator<Item = &'a [GroupIndex]>) -> Self {
        let set = |(own, others): (usize, &[GroupIndex])| others.iter().map(|other| other.0).fold(own, usize::min);
        Self {
            sets: ordered.enumerate().map(set).collect(),
            domains: HashMap::new(),
            refused: HashMap::new(),
            claims: HashMap::new(),
        }
    }

    pub(super) fn domain(&self, key: &LaneKey, principal: Principal) -> Domain {
        let set = self.sets.get(key.group.0).copied().unwrap_or(key.group.0);
        Domain { set, user: key.user.clone(), principal }
    }

    /// A lane of this owner came into being. `is_good`: which of the known principals give no place up. The principal
    /// that gave its place up, if one did: it waits for no other any more, nor is it waited for.
    pub(super) fn enter(
        &mut self,
        user: &UserId,
        owner: &Owner,
        is_good: impl Fn(Principal) -> bool,
    ) -> Option<Principal> {
        if !owner.claimed {
            return None;
        }
        let known = self.claims.entry((owner.realm, user.clone())).or_default();
        if let Some((_, lanes)) = known.iter_mut().find(|(principal, _)| *principal == owner.principal) {
            *lanes += 1;
        } else if known.len() < CLAIMANTS {
            known.push((owner.principal, 1));
        } else if is_good(owner.principal)
            && let Some(place) = known.iter_mut().find(|(principal, _)| !is_good(*principal))
        {
            return Some(std::mem::replace(place, (owner.principal, 1)).0);
        }
        None
    }

    /// A lane of this owner is gone.
    pub(super) fn leave(&mut self, user: &UserId, owner: &Owner) {
        let key = (owner.realm, user.clone());
        let Some(known) = self.claims.get_mut(&key) else { return };
        for (principal, lanes) in known.iter_mut() {
            if *principal == owner.principal {
                *lanes = lanes.saturating_sub(1);
            }
        }
        known.retain(|(_, lanes)| *lanes > 0);
        if known.is_empty() {
            self.claims.remove(&key);
        }
    }

    /// A lane has moved; `None`: it has nothing left.
    pub(super) fn list(&mut self, id: LaneId, domain: &Domain, before: Option<Place>, place: Option<Place>) {
        if before == place {
            return;
        }
        if let Some(before) = before {
            let all = self.listed(before.refused);
            if let Some(fronts) = all.get_mut(domain) {
                fronts.remove(&before.front);
                if fronts.is_empty() {
                    all.remove(domain);
                }
            }
        }
        if let Some(place) = place {
            self.listed(place.refused).entry(domain.clone()).or_default().insert(place.front, id);
        }
    }

    const fn listed(&mut self, refused: bool) -> &mut HashMap<Domain, BTreeMap<u64, LaneId>> {
        if refused { &mut self.refused } else { &mut self.domains }
    }

    /// A refusal holds a lane of this domain.
    pub(super) fn is_refused(&self, domain: &Domain) -> bool {
        self.refused.contains_key(domain)
    }

    /// Whether this owner's lanes are told when what they wait for has moved.
    pub(super) fn is_told(&self, user: &UserId, owner: &Owner) -> bool {
        let known = if owner.claimed { self.claims.get(&(owner.realm, user.clone())) } else { None };
        known.is_some_and(|known| known.iter().any(|(principal, _)| *principal == owner.principal))
    }

    /// Domains of the same user under other principals.
    fn foreign<'a>(&'a self, domain: &'a Domain, owner: &Owner) -> impl Iterator<Item = &'a BTreeMap<u64, LaneId>> {
        let known = if owner.claimed { self.claims.get(&(owner.realm, domain.user.clone())) } else { None };
        // One that is not listed would not be told when what it waits for has moved.
        let known = known.filter(|known| known.iter().any(|(principal, _)| *principal == domain.principal));
        let others = known.into_iter().flatten().map(|(principal, _)| *principal);
        let others = others.filter(|principal| *principal != domain.principal);
        others.filter_map(|principal| self.domains.get(&Domain { principal, ..domain.clone() }))
    }

    /// The last number that a lane may offer: all that others have before it goes first.
    pub(super) fn limit(
        &self,
        id: LaneId,
        (domain, owner): (&Domain, &Owner),
        good: bool,
        look: impl Fn(LaneId) -> Foreign,
    ) -> u64 {
        let own = self.domains.get(domain).into_iter().chain(self.refused.get(domain));
        let own = own.filter_map(|fronts| fronts.iter().find(|(_, other)| **other != id)).map(|(front, _)| *front);
        let waits_for = |lane: LaneId| {
            let Foreign { good: other_is_good, well } = look(lane);
            other_is_good || !good && well
        };
        let first = |fronts: &BTreeMap<u64, LaneId>| fronts.first_key_value().map(|(front, lane)| (*front, *lane));
        let foreign = self.foreign(domain, owner).filter_map(first).filter(|(_, lane)| waits_for(*lane));
        let older = own.chain(foreign.map(|(front, _)| front)).min();
        older.map_or(u64::MAX, |front| front.saturating_sub(1))
    }

    /// Lanes that have something before `seq` and that a lane with that number is to seal: of its own domain all; of
    /// another principal's if both are known to be good, or neither is (what is not known seals nothing of what is).
    pub(super) fn before(
        &self,
        seq: u64,
        (domain, owner): (&Domain, &Owner),
        good: bool,
        look: impl Fn(LaneId) -> Foreign,
    ) -> Vec<LaneId> {
        let older = |fronts: &BTreeMap<u64, LaneId>| fronts.range(..seq).map(|(_, lane)| *lane).collect::<Vec<_>>();
        let mut found = self.domains.get(domain).map(older).unwrap_or_default();
        for fronts in self.foreign(domain, owner) {
            found.extend(older(fronts).into_iter().filter(|lane| look(*lane).good == good));
        }
        found
    }

    /// The lanes that may go first now: of this domain, and of the same user's other ones.
    pub(super) fn heads(&self, domain: &Domain, owner: &Owner) -> Vec<LaneId> {
        let own = self.domains.get(domain).into_iter();
        own.chain(self.foreign(domain, owner)).filter_map(|fronts| fronts.values().next().copied()).collect()
    }

    /// Principals with lanes of this user whose name is a claim.
    pub(super) fn claimants(&self, realm: Realm, user: &UserId) -> impl Iterator<Item = Principal> {
        self.claims.get(&(realm, user.clone())).into_iter().flatten().map(|(principal, _)| *principal)
    }
}
