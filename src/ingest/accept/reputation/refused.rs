//! Who was refused: by what, in which groups and until when. Marks say of most principals, without
//! a look-up, that they never were.

use crate::event::{GroupIndex, Principal, first_eight};
use crate::journal::refusals::Refusal;
use crate::keyed::recently_used;
use moka::ops::compute::Op;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Of the principals that are remembered, so manieth may be refused ones: anybody can make as many
/// of those as there are random tokens, and one that was forgotten costs a late rejection.
const REFUSED_PART: u64 = 8;
/// By what a principal was refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RefusedBy {
    /// 401, or what counts as one: the application doesn't know who calls.
    Unauthorized,
    /// 403, which says nothing of the token: it may be of a write's CSRF pair, or of what its
    /// caller may do.
    #[default]
    Forbidden,
}

/// Where a principal is refused, by what, and until when.
#[derive(Debug, Clone)]
struct Refused {
    /// In no group of these it had a 2xx since.
    groups: Arc<BTreeSet<GroupIndex>>,
    by: RefusedBy,
    until: Instant,
}

impl Refused {
    fn is_remembered(&self) -> bool {
        Instant::now() < self.until
    }
}

/// A bit for each of some principals' hashes; a bit that is set says nothing for certain, one that
/// isn't does.
#[derive(Debug)]
struct Marks(Box<[AtomicU64]>);

impl Marks {
    /// 2^20 bits, 128 KiB.
    const WORDS: u64 = 1 << 14;

    fn new() -> Self {
        Self((0..Self::WORDS).map(|_| AtomicU64::new(0)).collect())
    }

    fn place(&self, principal: Principal) -> Option<(&AtomicU64, u64)> {
        // A keyed hash, so its first bytes serve.
        let hash = first_eight(&principal.0);
        let word = usize::try_from((hash >> 6) % Self::WORDS).ok()?;
        Some((self.0.get(word)?, 1 << (hash & 63)))
    }

    fn set(&self, principal: Principal) {
        if let Some((word, bit)) = self.place(principal) {
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }

    fn has(&self, principal: Principal) -> bool {
        self.place(principal)
            .is_none_or(|(word, bit)| word.load(Ordering::SeqCst) & bit != 0)
    }
}

/// The principals that were refused, and are not forgotten.
#[derive(Debug)]
pub(super) struct RefusedPrincipals {
    refused: moka::sync::Cache<Principal, Refused>,
    /// Which principals may be in there: most calls need no look.
    ever_refused: Marks,
    /// All groups.
    everywhere: Arc<BTreeSet<GroupIndex>>,
    /// How long a refusal is remembered.
    refusal: Duration,
}

impl RefusedPrincipals {
    /// `groups`: how many there are. `refusal`: how long one is remembered. `most`: principals of
    /// which anything is remembered.
    pub(super) fn new(groups: usize, refusal: Duration, most: u64) -> Self {
        Self {
            refused: recently_used((most / REFUSED_PART).max(1))
                .time_to_live(refusal)
                .build(),
            ever_refused: Marks::new(),
            everywhere: Arc::new((0..groups).map(GroupIndex).collect()),
            refusal,
        }
    }

    /// What an earlier process has heard of this principal.
    pub(super) fn restore(&self, principal: Principal, refusal: &Refusal) {
        let groups = self
            .everywhere
            .iter()
            .filter(|group| !refusal.lifted.contains(group))
            .copied()
            .collect();
        let by = if refusal.is_unknown {
            RefusedBy::Unauthorized
        } else {
            RefusedBy::Forbidden
        };
        let until = Instant::now() + refusal.life.min(self.refusal);
        self.ever_refused.set(principal);
        self.refused.insert(
            principal,
            Refused {
                groups: Arc::new(groups),
                by,
                until,
            },
        );
    }

    /// It is refused in all groups.
    pub(super) fn refuse(&self, principal: Principal, by: RefusedBy) {
        // ORDER: the mark first, so that whoever finds none finds nothing else either.
        self.ever_refused.set(principal);
        self.refused.insert(
            principal,
            Refused {
                groups: Arc::clone(&self.everywhere),
                by,
                until: self.until(),
            },
        );
    }

    /// It is refused in this group as well.
    pub(super) fn refuse_in(&self, principal: Principal, group: GroupIndex) {
        self.ever_refused.set(principal);
        self.refused.entry(principal).and_upsert_with(|before| {
            let before = before
                .map(moka::Entry::into_value)
                .filter(Refused::is_remembered);
            let mut refused = before.unwrap_or_else(|| self.refused_nowhere());
            Arc::make_mut(&mut refused.groups).insert(group);
            Refused {
                until: self.until(),
                ..refused
            }
        });
    }

    #[cfg(test)]
    pub(super) fn settle(&self) {
        self.refused.run_pending_tasks();
    }

    /// As if its refusal had been pushed out by others'.
    #[cfg(test)]
    pub(super) fn forget(&self, principal: Principal) {
        self.refused.invalidate(&principal);
    }

    /// A success lifts the refusal where it was given. `true`: there was one.
    pub(super) fn lift(&self, principal: Principal, group: GroupIndex) -> bool {
        if !self.is_in(principal, group) {
            return false;
        }
        self.refused.entry(principal).and_compute_with(|before| {
            let mut refused =
                before.map_or_else(|| self.refused_nowhere(), moka::Entry::into_value);
            Arc::make_mut(&mut refused.groups).remove(&group);
            if refused.groups.is_empty() {
                Op::Remove
            } else {
                Op::Put(refused)
            }
        });
        true
    }

    /// It is refused in every group.
    pub(super) fn is_everywhere(&self, principal: Principal) -> bool {
        self.find(principal)
            .is_some_and(|refused| self.has_all_groups(&refused))
    }

    /// It is refused in every group, and by what says that the application doesn't know who calls.
    pub(super) fn is_unknown(&self, principal: Principal) -> bool {
        let is_unknown = |refused: Refused| {
            refused.by == RefusedBy::Unauthorized && self.has_all_groups(&refused)
        };
        self.find(principal).is_some_and(is_unknown)
    }

    /// It is refused in this group.
    pub(super) fn is_in(&self, principal: Principal, group: GroupIndex) -> bool {
        self.find(principal)
            .is_some_and(|refused| refused.groups.contains(&group))
    }

    /// As the journal keeps it for the next start.
    pub(super) fn to_keep(&self, principal: Principal) -> Option<Refusal> {
        let Refused { groups, by, until } = self.find(principal)?;
        let lifted = self.everywhere.difference(&groups).copied().collect();
        let life = until.saturating_duration_since(Instant::now());
        Some(Refusal {
            is_unknown: by == RefusedBy::Unauthorized,
            lifted,
            life,
        })
    }

    fn find(&self, principal: Principal) -> Option<Refused> {
        if !self.ever_refused.has(principal) {
            return None;
        }
        self.refused.get(&principal).filter(Refused::is_remembered)
    }

    fn has_all_groups(&self, refused: &Refused) -> bool {
        refused.groups.len() == self.everywhere.len()
    }

    fn until(&self) -> Instant {
        Instant::now() + self.refusal
    }

    /// Refused in no group yet.
    fn refused_nowhere(&self) -> Refused {
        Refused {
            groups: Arc::default(),
            by: RefusedBy::default(),
            until: self.until(),
        }
    }
}
