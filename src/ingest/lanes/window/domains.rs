//! Domains: the lanes that keep one order among themselves whatever is known of their principal,
//! found by user, principal and set of groups, or all of a principal.

use super::LaneId;
use super::claims::{Name, remove_from};
use super::slab::{Key, Slab};
use crate::event::{Principal, UserId, first_eight};
use hashbrown::HashTable;
use smallvec::SmallVec;

/// The fronts of lanes, in the order of their numbers.
type Fronts = SmallVec<[(u64, LaneId); 1]>;

/// Where a lane stands in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the event that it offers next, or has on its way.
    pub(super) front: u64,
    /// A refusal holds it.
    pub(super) refused: bool,
}

/// Lanes that keep one order whatever is known of their principal: of one user of one principal, in
/// groups that keep one order.
#[derive(Debug)]
pub(super) struct Domain {
    pub(super) set: u32,
    /// Lanes that have a seat in it.
    seats: u32,
    pub(super) user: UserId,
    pub(super) principal: Principal,
    /// The one before it among its principal's; the first of them is in a table.
    before: Option<Key>,
    /// The one after it.
    after: Option<Key>,
    /// By the number of the event that each lane offers next, or has on its way.
    pub(super) fronts: Fronts,
    /// Of the lanes that a refusal holds: their own domain waits for them, and no other does.
    pub(super) refused: Option<Box<Fronts>>,
}

impl Domain {
    pub(super) fn name(&self) -> Name {
        Name::of(&self.user)
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = LaneId> {
        self.fronts
            .iter()
            .chain(self.refused.iter().flat_map(|refused| refused.iter()))
            .map(|(_, lane)| *lane)
    }

    /// A lane has moved; `None`: it has nothing left.
    pub(super) fn list(&mut self, id: LaneId, before: Option<Place>, place: Option<Place>) {
        if let Some(Place { front, refused }) = before {
            let listed = self.listed(refused);
            if let Ok(place) = listed.binary_search_by_key(&front, |(front, _)| *front) {
                listed.remove(place);
            }
            self.refused.take_if(|refused| refused.is_empty());
        }
        if let Some(Place { front, refused }) = place {
            let listed = self.listed(refused);
            let at = listed.partition_point(|(other, _)| *other < front);
            listed.insert(at, (front, id));
        }
    }

    fn listed(&mut self, refused: bool) -> &mut Fronts {
        if refused {
            self.refused.get_or_insert_default()
        } else {
            &mut self.fronts
        }
    }
}

/// The domains of all lanes.
#[derive(Debug)]
pub(super) struct Domains {
    all: Slab<Domain>,
    by_name: HashTable<Key>,
    /// The first domain of each principal.
    by_principal: HashTable<Key>,
}

impl Domains {
    /// None.
    pub(super) const fn new() -> Self {
        Self {
            all: Slab::new(),
            by_name: HashTable::new(),
            by_principal: HashTable::new(),
        }
    }

    /// A domain that a lane has a seat in.
    pub(super) fn get(&self, key: Key) -> Option<&Domain> {
        self.all.get(key)
    }

    /// As [`get`](Self::get), to be changed.
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Domain> {
        self.all.get_mut(key)
    }

    /// The domain of a user of a principal in a set of groups.
    pub(super) fn find(
        &self,
        name: Name,
        set: u32,
        user: &UserId,
        principal: Principal,
    ) -> Option<&Domain> {
        self.all.get(self.find_key(name, set, user, principal)?)
    }

    /// All domains of a principal.
    pub(super) fn of_principal(&self, principal: Principal) -> impl Iterator<Item = &Domain> {
        let first = self
            .first_of(principal)
            .and_then(|first| self.all.get(first));
        std::iter::successors(first, |domain| self.all.get(domain.after?))
    }

    /// One more lane of it.
    pub(super) fn enter(
        &mut self,
        name: Name,
        set: u32,
        user: &UserId,
        principal: Principal,
    ) -> Key {
        let found = self.find_key(name, set, user, principal);
        let key = found.unwrap_or_else(|| self.insert(name, set, user.clone(), principal));
        if let Some(domain) = self.all.get_mut(key) {
            domain.seats += 1;
        }
        key
    }

    fn insert(&mut self, name: Name, set: u32, user: UserId, principal: Principal) -> Key {
        let after = self.first_of(principal);
        let (seats, before, fronts, refused) = (0, None, Fronts::new(), None);
        let key = self.all.insert(Domain {
            set,
            seats,
            user,
            principal,
            before,
            after,
            fronts,
            refused,
        });
        if let Some(first) = after.and_then(|after| self.all.get_mut(after)) {
            first.before = Some(key);
            self.set_first(principal, key);
        } else {
            let hash = |key: &Key| {
                self.all
                    .get(*key)
                    .map_or(0, |domain| first_eight(&domain.principal.0))
            };
            self.by_principal
                .insert_unique(first_eight(&principal.0), key, hash);
        }
        let hash = |key: &Key| {
            let domain = self.all.get(*key);
            domain.map_or(0, |domain| {
                domain.name().domain(domain.set, domain.principal)
            })
        };
        self.by_name
            .insert_unique(name.domain(set, principal), key, hash);
        key
    }

    /// The first domain of a principal.
    fn first_of(&self, principal: Principal) -> Option<Key> {
        let is_it = |key: &Key| {
            self.all
                .get(*key)
                .is_some_and(|domain| domain.principal == principal)
        };
        self.by_principal
            .find(first_eight(&principal.0), is_it)
            .copied()
    }

    /// Another one is the first of its principal.
    fn set_first(&mut self, principal: Principal, key: Key) {
        let is_it = |key: &Key| {
            self.all
                .get(*key)
                .is_some_and(|domain| domain.principal == principal)
        };
        if let Some(first) = self.by_principal.find_mut(first_eight(&principal.0), is_it) {
            *first = key;
        }
    }

    fn find_key(&self, name: Name, set: u32, user: &UserId, principal: Principal) -> Option<Key> {
        let is_it = |key: &Key| {
            let domain = self.all.get(*key);
            domain.is_some_and(|domain| {
                domain.principal == principal && domain.set == set && domain.user == *user
            })
        };
        self.by_name
            .find(name.domain(set, principal), is_it)
            .copied()
    }

    /// A lane of it is gone.
    pub(super) fn leave(&mut self, key: Key) {
        let Some(domain) = self.all.get_mut(key) else {
            return;
        };
        domain.seats = domain.seats.saturating_sub(1);
        if domain.seats > 0 {
            return;
        }
        let (before, after) = (domain.before, domain.after);
        let (principal, hash) = (
            domain.principal,
            domain.name().domain(domain.set, domain.principal),
        );
        if let Some(after) = after.and_then(|after| self.all.get_mut(after)) {
            after.before = before;
        }
        match (before.and_then(|before| self.all.get_mut(before)), after) {
            (Some(before), _) => before.after = after,
            (None, Some(after)) => self.set_first(principal, after),
            (None, None) => remove_from(&mut self.by_principal, first_eight(&principal.0), key),
        }
        remove_from(&mut self.by_name, hash, key);
        self.all.remove(key);
    }
}
