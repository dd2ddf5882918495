//! Whose turn it is: the cap on batches in flight, shared so that nobody starves (P9). Pure.
//!
//! - Among groups, the one with the fewest in flight goes next; a group may not take the last
//!   places of the others: each has `most / (2 · groups)` places that only it can use.
//! - Among a group's [`Party`]s, in turn; one (of however many credentials, in whatever groups) has at
//!   most a quarter of the places. A name is no user yet: who names somebody without being known for
//!   it is of another party (ruling 17).
//! - Among a party's lanes, the one that was ready first; a lane has one batch in flight anyway
//!   (P4).

use crate::event::{Principal, Realm, UserId};
use std::collections::{HashMap, VecDeque};

/// Who takes turns as one: whose events are of this name at this host, and who they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Party {
    /// The host.
    pub realm: Realm,
    /// The user's name.
    pub name: UserId,
    /// Who calls by it.
    pub callers: Callers,
}

/// Who calls by a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Callers {
    /// The principals whose own claim the name is and that are good: one user.
    Claimants,
    /// One that is good, and names the user in its calls.
    One(Principal),
    /// All that nothing speaks for.
    Strangers,
}

/// Who has a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The group.
    group: usize,
    /// The party; none: a batch of several users.
    party: Option<Party>,
}

#[derive(Debug)]
struct Group<T> {
    waiting: HashMap<Option<Party>, VecDeque<T>>,
    /// Parties with something that waits; each once.
    turns: VecDeque<Option<Party>>,
    in_flight: usize,
}

/// What waits for a place, and who has one.
#[derive(Debug)]
pub struct Turns<T> {
    groups: Vec<Group<T>>,
    /// Places of each party, in all groups.
    parties: HashMap<Party, usize>,
    most: usize,
    floor: usize,
    per_party: usize,
    in_flight: usize,
    last: usize,
}

impl<T> Turns<T> {
    /// Nobody yet; at most `most` places (at least one).
    #[must_use]
    pub fn new(groups: usize, most: usize) -> Self {
        let most = most.max(1);
        let group = || Group {
            waiting: HashMap::new(),
            turns: VecDeque::new(),
            in_flight: 0,
        };
        Self {
            groups: (0..groups).map(|_| group()).collect(),
            parties: HashMap::new(),
            most,
            floor: most / (2 * groups.max(1)),
            per_party: (most / 4).max(1),
            in_flight: 0,
            last: 0,
        }
    }

    /// Somebody wants a place. An unknown group gives it back.
    ///
    /// # Errors
    /// There is no such group.
    pub fn push(&mut self, group: usize, party: Option<Party>, item: T) -> Result<(), T> {
        let Some(group) = self.groups.get_mut(group) else {
            return Err(item);
        };
        let line = group.waiting.entry(party.clone()).or_default();
        line.push_back(item);
        if line.len() == 1 {
            group.turns.push_back(party);
        }
        Ok(())
    }

    /// The next one that may go, with its place.
    pub fn grant(&mut self) -> Option<(Place, T)> {
        let number = self.next_group()?;
        let turn = self.next_party(self.groups.get(number)?)?;
        let group = self.groups.get_mut(number)?;
        let party = group.turns.remove(turn)?;
        let line = group.waiting.get_mut(&party)?;
        let item = line.pop_front()?;
        if line.is_empty() {
            group.waiting.remove(&party);
        } else {
            group.turns.push_back(party.clone());
        }
        group.in_flight += 1;
        self.in_flight += 1;
        self.last = number;
        if let Some(party) = &party {
            *self.parties.entry(party.clone()).or_default() += 1;
        }
        Some((
            Place {
                group: number,
                party,
            },
            item,
        ))
    }

    /// The first party of a group that may have one more place. Few can have all of theirs, so few
    /// are passed over.
    fn next_party(&self, group: &Group<T>) -> Option<usize> {
        // A batch of several users is of none.
        let may = |party: &Option<Party>| {
            party
                .as_ref()
                .and_then(|party| self.parties.get(party))
                .is_none_or(|count| *count < self.per_party)
        };
        group.turns.iter().position(may)
    }

    fn next_group(&self) -> Option<usize> {
        if self.in_flight >= self.most {
            return None;
        }
        let count = self.groups.len();
        // The one after the last first, so that equals take turns.
        let order = (1..=count).map(|step| (self.last + step) % count);
        let wants = |number: &usize| {
            let group = self.groups.get(*number);
            group.is_some_and(|group| {
                self.has_room(*number, group) && self.next_party(group).is_some()
            })
        };
        order
            .filter(wants)
            .min_by_key(|number| self.groups.get(*number).map(|group| group.in_flight))
    }

    /// Whether a group may have one more without taking what is reserved for the others.
    fn has_room(&self, number: usize, group: &Group<T>) -> bool {
        let others = self
            .groups
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != number);
        let reserved: usize = others
            .map(|(_, other)| self.floor.saturating_sub(other.in_flight))
            .sum();
        group.in_flight < self.floor || self.in_flight + reserved < self.most
    }

    /// A place is free again.
    pub fn done(&mut self, place: &Place) {
        let Some(group) = self.groups.get_mut(place.group) else {
            return;
        };
        group.in_flight -= 1;
        self.in_flight -= 1;
        let Some(party) = &place.party else { return };
        if let Some(count) = self.parties.get_mut(party) {
            *count -= 1;
            if *count == 0 {
                self.parties.remove(party);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn user(number: usize) -> Option<Party> {
        Some(Party {
            realm: Realm(0),
            name: UserId::try_new(&format!("u{number}")).ok()?,
            callers: Callers::Claimants,
        })
    }

    #[test]
    fn a_group_that_hangs_leaves_places_for_the_others() {
        let mut turns = Turns::new(2, 8);
        (0..100).for_each(|number| turns.push(0, user(number), number).unwrap());
        let first: Vec<_> = std::iter::from_fn(|| turns.grant()).collect();
        assert_eq!(first.len(), 6, "two of the eight are the other group's");
        turns.push(1, user(0), 1_000).unwrap();
        turns.push(1, user(1), 1_001).unwrap();
        turns.push(1, user(2), 1_002).unwrap();
        assert_eq!(
            std::iter::from_fn(|| turns.grant())
                .map(|(_, item)| item)
                .collect::<Vec<_>>(),
            [1_000, 1_001]
        );
        turns.done(&first[0].0);
        assert_eq!(
            turns.grant().map(|(_, item)| item),
            Some(1_002),
            "the group with fewer goes first"
        );
    }

    #[test]
    fn a_user_with_a_thousand_lanes_waits_for_its_turn_like_everybody() {
        let mut turns = Turns::new(1, 16);
        (0..1_000).for_each(|number| turns.push(0, user(0), number).unwrap());
        (1..4).for_each(|number| turns.push(0, user(number), number * 10_000).unwrap());
        let gone: Vec<_> = std::iter::from_fn(|| turns.grant()).collect();
        let items: Vec<_> = gone.iter().map(|(_, item)| *item).collect();
        assert_eq!(
            items,
            [0, 10_000, 20_000, 30_000, 1, 2, 3],
            "a quarter of the places, and no more"
        );
        turns.done(&gone[1].0);
        assert!(
            turns.grant().is_none(),
            "another user's place is of no use to it"
        );
        turns.done(&gone[0].0);
        assert_eq!(turns.grant().map(|(_, item)| item), Some(4));
    }

    #[test]
    fn strangers_who_use_a_name_take_no_turn_of_the_user_whose_it_is() {
        let of = |callers, realm| {
            let party = user(0).unwrap();
            Some(Party {
                realm: Realm(realm),
                callers,
                ..party
            })
        };
        let mut turns = Turns::new(1, 16);
        (0..100).for_each(|number| turns.push(0, of(Callers::Strangers, 0), number).unwrap());
        let first: Vec<_> = std::iter::from_fn(|| turns.grant()).collect();
        assert_eq!(first.len(), 4, "their quarter");
        for (number, party) in [
            of(Callers::Claimants, 0),
            of(Callers::One(Principal([1; 16])), 0),
            of(Callers::One(Principal([2; 16])), 0),
            of(Callers::Strangers, 1),
        ]
        .into_iter()
        .enumerate()
        {
            turns.push(0, party, 1_000 + number).unwrap();
            assert_eq!(turns.grant().map(|(_, item)| item), Some(1_000 + number));
        }
    }

    #[test]
    fn a_quarter_is_all_that_a_user_has_in_all_groups_together() {
        let mut turns = Turns::new(4, 64);
        for group in 0..4 {
            (0..100).for_each(|number| turns.push(group, user(0), number).unwrap());
        }
        assert_eq!(std::iter::from_fn(|| turns.grant()).count(), 16);
        turns.push(3, user(1), 1_000).unwrap();
        assert_eq!(turns.grant().map(|(_, item)| item), Some(1_000));
    }

    proptest! {
        #[test]
        fn everything_goes_once_and_never_more_than_the_places(
            most in 1usize..12, groups in 1usize..5,
            steps in proptest::collection::vec((any::<bool>(), 0usize..5, 0usize..4, any::<bool>()), 1..200),
        ) {
            let mut turns = Turns::new(groups, most);
            let (mut flying, mut gone, mut pushed) = (VecDeque::new(), Vec::new(), 0usize);
            for (push, group, who, shared) in steps {
                if push {
                    turns.push(group % groups, if shared { None } else { user(who) }, pushed).unwrap();
                    pushed += 1;
                } else if let Some(place) = flying.pop_front() {
                    turns.done(&place);
                }
                while let Some((place, item)) = turns.grant() {
                    flying.push_back(place);
                    gone.push(item);
                }
                prop_assert!(flying.len() <= most);
                // Nobody is kept waiting while there is room for anybody.
                let waiting = pushed - gone.len();
                prop_assert!(waiting == 0 || !flying.is_empty());
            }
            while let Some(place) = flying.pop_front() {
                turns.done(&place);
                while let Some((place, item)) = turns.grant() {
                    flying.push_back(place);
                    gone.push(item);
                }
            }
            gone.sort_unstable();
            prop_assert_eq!(gone, (0..pushed).collect::<Vec<_>>());
            prop_assert!(turns.groups.iter().all(|group| group.waiting.is_empty() && group.turns.is_empty()));
            prop_assert!(turns.parties.is_empty());
        }
    }
}
