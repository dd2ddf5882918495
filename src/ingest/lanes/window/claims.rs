//! Which principals have the same user: their tokens claim its name (ruling 17).

use super::slab::{Key, Slab};
use crate::event::{LaneKey, Principal, Realm, UserId, first_eight};
use crate::keyed::spread;
use hashbrown::HashTable;
use smallvec::SmallVec;

/// Principals of one user that are told apart; more are not ordered against one another (P10).
const CLAIMANTS: usize = 16;

/// A user's name, as a hash that nobody can foresee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name(u64);

impl Name {
    pub(super) fn of(user: &UserId) -> Self {
        Self(user.keyed())
    }

    /// Of a lane.
    pub(super) fn lane(self, key: &LaneKey) -> u64 {
        self.0 ^ first_eight(&key.credential.0) ^ spread(key.group.0 as u64)
    }

    pub(super) fn domain(self, set: u32, principal: Principal) -> u64 {
        self.0 ^ first_eight(&principal.0) ^ spread(u64::from(set))
    }

    const fn claim(self, realm: Realm) -> u64 {
        self.0 ^ spread(realm.0)
    }
}

/// The principals whose lanes have this user's name as a claim.
#[derive(Debug)]
pub(super) struct Claim {
    realm: Realm,
    user: UserId,
    /// Lanes that have a seat with it.
    seats: u32,
    /// Each with how many lanes that came while it was among them; those that are told apart.
    pub(super) known: SmallVec<[(Principal, u32); 1]>,
}

impl Claim {
    /// In the table of claims.
    fn hash(&self) -> u64 {
        Name::of(&self.user).claim(self.realm)
    }

    pub(super) fn knows(&self, principal: Principal) -> bool {
        self.known.iter().any(|(known, _)| *known == principal)
    }

    /// One more lane of this principal. The principal that gave its place up for it, if one did.
    fn enter(
        &mut self,
        principal: Principal,
        is_good: impl Fn(Principal) -> bool,
    ) -> Option<Principal> {
        self.seats += 1;
        if let Some((_, lanes)) = self.known.iter_mut().find(|(known, _)| *known == principal) {
            *lanes += 1;
        } else if self.known.len() < CLAIMANTS {
            self.known.push((principal, 1));
        } else if is_good(principal)
            && let Some(place) = self.known.iter_mut().find(|(known, _)| !is_good(*known))
        {
            return Some(std::mem::replace(place, (principal, 1)).0);
        }
        None
    }

    /// A lane of this principal less. `true`: the principal is told apart no more, though lanes that
    /// weren't counted may be left, of it or of others.
    fn leave(&mut self, principal: Principal) -> bool {
        self.seats = self.seats.saturating_sub(1);
        if let Some(place) = self.known.iter().position(|(known, _)| *known == principal)
            && let Some((_, lanes)) = self.known.get_mut(place)
        {
            *lanes -= 1;
            if *lanes == 0 {
                self.known.remove(place);
                let counted: u32 = self.known.iter().map(|(_, lanes)| *lanes).sum();
                return counted < self.seats;
            }
        }
        false
    }
}

/// The claims of all users with lanes.
#[derive(Debug)]
pub(super) struct Claims {
    all: Slab<Claim>,
    by_name: HashTable<Key>,
}

impl Claims {
    /// None.
    pub(super) const fn new() -> Self {
        Self {
            all: Slab::new(),
            by_name: HashTable::new(),
        }
    }

    /// A claim that a lane has a seat with.
    pub(super) fn get(&self, key: Key) -> Option<&Claim> {
        self.all.get(key)
    }

    /// One more lane of this principal. The principal that gave its place up for it, if one did.
    pub(super) fn enter(
        &mut self,
        (name, realm, user): (Name, Realm, &UserId),
        principal: Principal,
        is_good: impl Fn(Principal) -> bool,
    ) -> (Key, Option<Principal>) {
        let key = self
            .find_key(name, realm, user)
            .unwrap_or_else(|| self.insert(name, realm, user));
        let claim = self.all.get_mut(key);
        (key, claim.and_then(|claim| claim.enter(principal, is_good)))
    }

    fn insert(&mut self, name: Name, realm: Realm, user: &UserId) -> Key {
        let all = &mut self.all;
        let key = all.insert(Claim {
            realm,
            user: user.clone(),
            seats: 0,
            known: SmallVec::new(),
        });
        let hash = |key: &Key| all.get(*key).map_or(0, Claim::hash);
        self.by_name.insert_unique(name.claim(realm), key, hash);
        key
    }

    fn find_key(&self, name: Name, realm: Realm, user: &UserId) -> Option<Key> {
        let is_it = |key: &Key| {
            let claim = self.all.get(*key);
            claim.is_some_and(|claim| claim.realm == realm && claim.user == *user)
        };
        self.by_name.find(name.claim(realm), is_it).copied()
    }

    /// The claim of a user.
    pub(super) fn find(&self, name: Name, realm: Realm, user: &UserId) -> Option<&Claim> {
        self.find_key(name, realm, user)
            .and_then(|key| self.all.get(key))
    }

    /// A lane of this principal is gone. `true`: so may be the principal's place, though it has others.
    pub(super) fn leave(&mut self, key: Key, principal: Principal) -> bool {
        let Some(claim) = self.all.get_mut(key) else {
            return false;
        };
        let gave_place_up = claim.leave(principal);
        if claim.seats == 0
            && let Some(claim) = self.all.remove(key)
        {
            remove_from(&mut self.by_name, claim.hash(), key);
        }
        gave_place_up
    }
}

/// Takes a key out of a table.
pub(super) fn remove_from(table: &mut HashTable<Key>, hash: u64, key: Key) {
    if let Ok(entry) = table.find_entry(hash, |one| *one == key) {
        entry.remove();
    }
}
