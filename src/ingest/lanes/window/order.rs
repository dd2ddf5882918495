//! Order between lanes and users: how far a lane may offer while others have something older (P4,
//! rulings 15 and 17).
//!
//! What one user of one principal does, in groups that keep one order, goes out in the order in
//! which it was acknowledged, under however many fingerprints. Other principals are the same user
//! only where the user's name is a claim of each: then a principal waits for those that are known
//! to be good, and, while it is not known to be good itself, for the others that are not, as long
//! as no attempt of theirs fails. A lane that is held by a refusal holds up its own principal only.
//!
//! A lane that is alone for its user and principal costs no look-up: its [`Seat`] says where its
//! own are.

use super::LaneId;
use super::claims::{Claims, Name};
use super::domains::{Domain, Domains, Place};
use super::slab::Key;
use crate::event::{GroupIndex, LaneKey, Owner, Principal, Realm, UserId};
use smallvec::SmallVec;

/// Where a lane has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    domain: Key,
    /// Where the user's name is a claim.
    claim: Option<Key>,
}

/// What a lane in a foreign domain is, for whoever may have to wait for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foreign {
    /// Its principal had a 2xx in its group, and no refusal since.
    pub(super) good: bool,
    /// No attempt of it fails.
    pub(super) well: bool,
}

/// The fronts of all lanes that may hold up others.
#[derive(Debug)]
pub(super) struct Order {
    /// The set of groups that each group keeps one order with, by the smallest of them.
    sets: Vec<u32>,
    /// Each of them once.
    each_set: Vec<u32>,
    domains: Domains,
    claims: Claims,
}

impl Order {
    /// `ordered`: with which other groups each group keeps one order.
    pub(super) fn new<'a>(ordered: impl Iterator<Item = &'a [GroupIndex]>) -> Self {
        let set = |(own, others): (usize, &[GroupIndex])| {
            others.iter().map(|other| other.0).fold(own, usize::min)
        };
        let sets: Vec<_> = ordered
            .enumerate()
            .map(|one| u32::try_from(set(one)).unwrap_or(u32::MAX))
            .collect();
        let mut each_set = sets.clone();
        each_set.sort_unstable();
        each_set.dedup();
        Self {
            sets,
            each_set,
            domains: Domains::new(),
            claims: Claims::new(),
        }
    }

    /// A lane of this owner came into being. `is_good`: which of the known principals give no place
    /// up. The principal that gave its place up, if one did: it waits for no other any more, nor is
    /// it waited for.
    pub(super) fn enter(
        &mut self,
        name: Name,
        key: &LaneKey,
        owner: &Owner,
        is_good: impl Fn(Principal) -> bool,
    ) -> (Seat, Option<Principal>) {
        let set = self.sets.get(key.group.0).copied().unwrap_or(u32::MAX);
        let domain = self.domains.enter(name, set, &key.user, owner.principal);
        if !owner.claimed {
            return (
                Seat {
                    domain,
                    claim: None,
                },
                None,
            );
        }
        let (claim, gone) =
            self.claims
                .enter((name, owner.realm, &key.user), owner.principal, is_good);
        (
            Seat {
                domain,
                claim: Some(claim),
            },
            gone,
        )
    }

    /// A lane of this owner is gone. `true`: so may be the principal's place among its user's, though
    /// other lanes of it are left.
    pub(super) fn leave(&mut self, seat: Seat, owner: &Owner) -> bool {
        self.domains.leave(seat.domain);
        let claim = seat.claim;
        claim.is_some_and(|key| self.claims.leave(key, owner.principal))
    }

    /// A lane has moved; `None`: it has nothing left.
    pub(super) fn list(
        &mut self,
        id: LaneId,
        seat: Seat,
        before: Option<Place>,
        place: Option<Place>,
    ) {
        if before == place {
            return;
        }
        let Some(domain) = self.domains.get_mut(seat.domain) else {
            return;
        };
        domain.list(id, before, place);
    }

    /// A refusal holds a lane of this domain.
    pub(super) fn is_refused(&self, seat: Seat) -> bool {
        self.domains
            .get(seat.domain)
            .is_some_and(|domain| domain.refused.is_some())
    }

    /// Whether this owner's lanes are told when what they wait for has moved.
    pub(super) fn is_told(&self, seat: Seat, owner: &Owner) -> bool {
        let claim = seat.claim.and_then(|claim| self.claims.get(claim));
        claim.is_some_and(|claim| claim.knows(owner.principal))
    }

    /// Domains of the same user under other principals. One that is not known itself would not be
    /// told when what it waits for has moved.
    fn foreign(&self, seat: Seat) -> impl Iterator<Item = &Domain> {
        let domain = self.domains.get(seat.domain);
        let claim = seat
            .claim
            .and_then(|claim| self.claims.get(claim))
            .filter(|claim| claim.known.len() > 1);
        let both = claim
            .zip(domain)
            .filter(|(claim, domain)| claim.knows(domain.principal));
        both.into_iter().flat_map(move |(claim, domain)| {
            let others = claim.known.iter().map(|(principal, _)| *principal);
            let others = others.filter(|principal| *principal != domain.principal);
            others.filter_map(|principal| {
                self.domains
                    .find(domain.name(), domain.set, &domain.user, principal)
            })
        })
    }

    /// The last number that a lane may offer: all that others have before it goes first.
    pub(super) fn limit(
        &self,
        id: LaneId,
        seat: Seat,
        good: bool,
        look: impl Fn(LaneId) -> Foreign,
    ) -> u64 {
        let Some(domain) = self.domains.get(seat.domain) else {
            return u64::MAX;
        };
        let other = |fronts: &[(u64, LaneId)]| {
            fronts
                .iter()
                .find(|(_, other)| *other != id)
                .map(|(front, _)| *front)
        };
        let own = other(&domain.fronts)
            .into_iter()
            .chain(domain.refused.as_ref().and_then(|refused| other(refused)));
        // A principal's standing is one in each group: the first of its lanes that is waited for needn't
        // be its first.
        let foreign = self
            .foreign(seat)
            .filter_map(|other| {
                // What stands behind a lane that fails, or is refused, fares no better.
                let mut is_well = other.refused.is_none();
                other.fronts.iter().find(|(_, lane)| {
                    let Foreign {
                        good: is_good,
                        well,
                    } = look(*lane);
                    is_well &= well;
                    is_good || !good && is_well
                })
            })
            .map(|(front, _)| *front);
        own.chain(foreign)
            .min()
            .map_or(u64::MAX, |front| front.saturating_sub(1))
    }

    /// Other lanes that have something before `seq` and that a lane with that number is to seal: of
    /// its own domain all; of another principal's if both are known to be good, or neither is (what
    /// is not known seals nothing of what is).
    pub(super) fn before(
        &self,
        seq: u64,
        (id, seat): (LaneId, Seat),
        good: bool,
        look: impl Fn(LaneId) -> Foreign,
    ) -> Vec<LaneId> {
        let Some(domain) = self.domains.get(seat.domain) else {
            return Vec::new();
        };
        let mut found: Vec<_> = older(&domain.fronts, seq)
            .filter(|lane| *lane != id)
            .collect();
        for other in self.foreign(seat) {
            found.extend(older(&other.fronts, seq).filter(|lane| look(*lane).good == good));
        }
        found
    }

    /// The lanes that may go first now: of this domain, and of the same user's other ones.
    pub(super) fn heads(&self, seat: Seat) -> SmallVec<[LaneId; 2]> {
        let own = self.domains.get(seat.domain).into_iter();
        own.chain(self.foreign(seat))
            .filter_map(|domain| domain.fronts.first())
            .map(|(_, lane)| *lane)
            .collect()
    }

    /// Principals with lanes of this user whose name is a claim.
    pub(super) fn claimants(&self, realm: Realm, user: &UserId) -> impl Iterator<Item = Principal> {
        let claim = self.claims.find(Name::of(user), realm, user);
        claim
            .into_iter()
            .flat_map(|claim| &claim.known)
            .map(|(principal, _)| *principal)
    }

    /// The listed lanes of a user of a principal.
    pub(super) fn lanes_of(
        &self,
        user: &UserId,
        principal: Principal,
    ) -> impl Iterator<Item = LaneId> {
        let name = Name::of(user);
        let domains = self
            .each_set
            .iter()
            .filter_map(move |set| self.domains.find(name, *set, user, principal));
        domains.flat_map(Domain::lanes)
    }

    /// The listed lanes of a principal.
    pub(super) fn lanes_of_principal(&self, principal: Principal) -> impl Iterator<Item = LaneId> {
        self.domains.of_principal(principal).flat_map(Domain::lanes)
    }
}

fn older(fronts: &[(u64, LaneId)], seq: u64) -> impl Iterator<Item = LaneId> {
    fronts
        .iter()
        .take_while(move |(front, _)| *front < seq)
        .map(|(_, lane)| *lane)
}

#[cfg(test)]
mod tests {
    use super::super::Lane;
    use super::super::claims::Claim;
    use super::*;

    #[test]
    fn a_lone_lanes_seat_takes_few_bytes() {
        // Beside 32 bytes of places in tables and slots.
        assert_eq!(
            (size_of::<Domain>(), size_of::<Claim>(), size_of::<Seat>()),
            (96, 64, 16)
        );
        assert!(size_of::<Lane<Box<()>>>() <= 224);
    }
}
