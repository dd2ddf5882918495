//! Which refusals of callers the journal keeps, so that a start knows them (P3).
//!
//! **Constraints.** An event that came in for its group's service credential goes under it only as
//! long as no 401 or 403 was heard of its caller since. A start that didn't know of the refusal
//! would send it so.
//!
//! **Operation.** The journal counts each principal's pending events that are for the service.
//! While there are any, a refusal of the principal is kept: from the moment at which it is heard,
//! or with the first such event after it. What [`Refusals`] says is looked up while the queue is
//! locked, so of two changes that cross the later one stays. A success writes a new record in the
//! place of the old one. With the last such event a record is written that says so
//! ([`RefusalRecord::is_over`]): it speaks for events from before it only, should their outcomes be
//! lost.
//!
//! **Bounds.** One record that is alive for each principal with such events, none for any other:
//! anybody can make as many refused tokens as there are random ones.

use super::record::RefusalRecord;
use crate::event::{GroupIndex, Principal};
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// That a principal is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// By what says that the application doesn't know who calls.
    pub is_unknown: bool,
    /// Groups in which a success has lifted it.
    pub lifted: Vec<GroupIndex>,
    /// How long it is remembered from now on.
    pub life: Duration,
}

/// What is known of refusals. It is asked while the journal's queue is locked, and must not call
/// the journal.
pub trait Refusals: Debug + Send + Sync {
    /// The refusal of this principal, if there is one.
    fn refusal_of(&self, principal: Principal) -> Option<Refusal>;
}

/// Keeps refusals.
pub trait KeepRefusals: Debug + Send + Sync {
    /// What is known of this principal's refusal has changed. `true`: a record of that waits to be
    /// written.
    fn keep_refusal(&self, principal: Principal) -> bool;
}

/// A principal with pending events that are for the service.
#[derive(Debug, Default)]
struct Caller {
    pending: u64,
    /// What is kept of its refusal, and the number of that frame.
    kept: Option<(RefusalRecord, u64)>,
}

/// The refusals that are kept, and of whom one would be.
#[derive(Debug, Default)]
pub struct KeptRefusals {
    source: Option<Arc<dyn Refusals>>,
    groups: Vec<Arc<str>>,
    callers: HashMap<Principal, Caller>,
    /// How many records are alive.
    alive: usize,
    /// Whose change could not be written yet.
    owed: HashSet<Principal>,
}

impl KeptRefusals {
    /// Whom it asks. `groups`: names in the order of the configuration.
    pub fn ask(&mut self, source: Arc<dyn Refusals>, groups: &[Arc<str>]) {
        (self.source, self.groups) = (Some(source), groups.to_vec());
    }

    /// How many records are alive.
    #[must_use]
    pub const fn alive(&self) -> usize {
        self.alive
    }

    /// Whether events of this principal are pending that are for the service.
    #[must_use]
    pub fn has_events(&self, principal: Principal) -> bool {
        self.callers.contains_key(&principal)
    }

    /// The frame that is alive of this principal.
    #[must_use]
    pub fn number_of(&self, principal: Principal) -> Option<u64> {
        self.callers
            .get(&principal)?
            .kept
            .as_ref()
            .map(|(_, number)| *number)
    }

    /// One more event of this principal is pending. `true`: it is the first.
    pub fn add_event(&mut self, principal: Principal) -> bool {
        let caller = self.callers.entry(principal).or_default();
        caller.pending += 1;
        caller.pending == 1
    }

    /// One event fewer is; the record that ends the refusal's, if it was the last one.
    pub fn remove_event(&mut self, principal: Principal) -> Option<RefusalRecord> {
        let caller = self.callers.get_mut(&principal)?;
        caller.pending = caller.pending.saturating_sub(1);
        if caller.pending > 0 {
            return None;
        }
        self.owed.remove(&principal);
        let (kept, _) = self.callers.remove(&principal)?.kept?;
        self.alive -= 1;
        Some(kept.over())
    }

    /// A record of this number is there, of a principal that has events.
    pub fn insert(&mut self, record: RefusalRecord, number: u64) {
        let Some(caller) = self.callers.get_mut(&record.principal()) else {
            return;
        };
        let before = caller.kept.take();
        if record.stands() {
            caller.kept = Some((record, number));
        }
        self.alive =
            self.alive + usize::from(caller.kept.is_some()) - usize::from(before.is_some());
    }

    /// What is to be written of this principal at `now`, Unix milliseconds; none: it has no such
    /// events, or what is known is kept.
    #[must_use]
    pub fn find_change(&self, principal: Principal, now: u64) -> Option<RefusalRecord> {
        let caller = self.callers.get(&principal)?;
        let known = self.source.as_ref()?.refusal_of(principal);
        let kept = caller.kept.as_ref().map(|(record, _)| record);
        let Some(Refusal {
            is_unknown,
            lifted,
            life,
        }) = known
        else {
            return kept.map(|_| RefusalRecord::lifted(principal));
        };
        let names = lifted
            .iter()
            .filter_map(|group| self.groups.get(group.0))
            .map(|name| (**name).to_owned());
        let lifted = names.collect();
        let end = now.saturating_add(u64::try_from(life.as_millis()).unwrap_or(u64::MAX));
        // A quarter longer than it is remembered, so that it is not written anew with every
        // refusal.
        let until_ms = end.saturating_add((end - now) / 4);
        let record = RefusalRecord::new(principal, until_ms, is_unknown, lifted);
        let is_kept = |kept: &RefusalRecord| {
            kept.until_ms >= end
                && (kept.is_unknown, &kept.lifted) == (record.is_unknown, &record.lifted)
        };
        if kept.is_some_and(is_kept) {
            None
        } else {
            Some(record)
        }
    }

    /// This principal's change is to be written when something can be.
    pub fn owe(&mut self, principal: Principal) {
        if self.callers.contains_key(&principal) {
            self.owed.insert(principal);
        }
    }

    /// Those whose changes are to be written.
    pub fn take_owed(&mut self) -> HashSet<Principal> {
        std::mem::take(&mut self.owed)
    }
}
