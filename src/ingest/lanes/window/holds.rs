//! Forwarded calls that hold lanes back (ruling 4).

use super::{Entry, Groups, Lane};
use crate::event::{Principal, Realm, UserId};
use crate::ingest::asker::Asker;
use crate::keyed::Keyed;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// What a forwarded call waits for and holds back.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    pub(super) asker: Asker,
    pub(super) groups: Groups,
    /// Events up to here go first, later ones wait.
    after: u64,
}

/// The calls that hold lanes back, in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Holds {
    own: Keyed<Principal, BTreeMap<u64, Hold>>,
    /// Of those, the ones that hold other principals of their user back too.
    joint: HashMap<(Realm, UserId), BTreeMap<u64, Hold>>,
    next: u64,
}

impl Holds {
    /// One more; its number.
    pub(super) fn insert(&mut self, asker: &Asker, groups: &Groups, after: u64) -> u64 {
        let number = self.next;
        self.next += 1;
        let hold = Hold {
            asker: asker.clone(),
            groups: Arc::clone(groups),
            after,
        };
        if let Some(user) = asker.user.as_ref().filter(|_| asker.joins) {
            self.joint
                .entry((asker.realm, user.clone()))
                .or_default()
                .insert(number, hold.clone());
        }
        self.own
            .entry(asker.principal)
            .or_default()
            .insert(number, hold);
        number
    }

    /// It is over.
    pub(super) fn remove(&mut self, principal: Principal, number: u64) -> Option<Hold> {
        let holds = self.own.get_mut(&principal)?;
        let hold = holds.remove(&number)?;
        if holds.is_empty() {
            self.own.remove(&principal);
        }
        if let Some(user) = &hold.asker.user {
            let key = (hold.asker.realm, user.clone());
            if let Some(holds) = self.joint.get_mut(&key) {
                holds.remove(&number);
                if holds.is_empty() {
                    self.joint.remove(&key);
                }
            }
        }
        Some(hold)
    }

    /// Up to which event this lane may send. `joins`: calls of its user's other principals hold it,
    /// too.
    pub(super) fn limit<E: Entry>(&self, lane: &Lane<E>, joins: bool) -> u64 {
        if self.own.is_empty() {
            return u64::MAX;
        }
        let is_meant = |hold: &&Hold| hold.groups.contains(&lane.key.group);
        let is_own = |hold: &&Hold| {
            hold.asker
                .user
                .as_ref()
                .is_none_or(|user| *user == lane.key.user)
        };
        // They stand in the order in which they were made, so that the first one that is meant goes
        // back the furthest.
        let own = self.own.get(&lane.owner.principal);
        let own = own.and_then(|own| own.values().find(|hold| is_own(hold) && is_meant(hold)));
        let joint = if joins && !self.joint.is_empty() {
            self.joint.get(&(lane.owner.realm, lane.key.user.clone()))
        } else {
            None
        };
        let joint = joint.and_then(|joint| joint.values().find(is_meant));
        own.into_iter()
            .chain(joint)
            .map(|hold| hold.after)
            .min()
            .unwrap_or(u64::MAX)
    }
}
