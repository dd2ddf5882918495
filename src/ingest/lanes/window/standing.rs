//! Which principals are known to be good, as far as order goes (ruling 17).

use super::recent::Recent;
use crate::event::{GroupIndex, Principal, ReadIndex};
use crate::ingest::accept::reputation::{Grounds, ReadRoutes};
use crate::keyed::AsItIsBuilder;
use std::collections::BTreeSet;

/// Who had a 2xx where, and where that says something of a name.
#[derive(Debug)]
pub(super) struct Standing {
    /// Principals that had a 2xx in a group, and no refusal since: by what.
    good: Recent<(Principal, GroupIndex), Grounds, AsItIsBuilder>,
    /// Reads that strangers are answered: a 2xx to one says nothing of a name.
    open_reads: ReadRoutes,
    /// Groups in which strangers are taken: a 2xx there says nothing of a name.
    open: BTreeSet<GroupIndex>,
}

impl Standing {
    /// Nothing is known; so many principals are remembered at least.
    pub(super) fn new(most: usize) -> Self {
        Self {
            good: Recent::new(most),
            open_reads: ReadRoutes::default(),
            open: BTreeSet::new(),
        }
    }

    /// Had a 2xx in this group that says something of a name, and no refusal since.
    pub(super) fn is_good(&self, principal: Principal, group: GroupIndex) -> bool {
        let grounds = self.good.get(&(principal, group));
        grounds.is_some_and(|grounds| grounds.hold(self.open_reads)) && !self.open.contains(&group)
    }

    /// A call of this principal was taken, or answered, in this group.
    pub(super) fn note(&mut self, principal: Principal, group: GroupIndex, grounds: Grounds) {
        let before = self
            .good
            .get(&(principal, group))
            .copied()
            .unwrap_or_default();
        self.good.put((principal, group), before.and(grounds));
    }

    /// A call of this principal was refused for its sake; whether it was good in one of so many
    /// groups.
    pub(super) fn note_refusal(&mut self, principal: Principal, groups: usize) -> bool {
        let taken =
            (0..groups).filter(|group| self.good.take(&(principal, GroupIndex(*group))).is_some());
        taken.count() > 0
    }

    /// Strangers are taken in this group; whether that is news.
    pub(super) fn open(&mut self, group: GroupIndex) -> bool {
        self.open.insert(group)
    }

    /// Strangers are answered by this read.
    pub(super) fn open_read(&mut self, read: ReadIndex) {
        self.open_reads = self.open_reads.and(ReadRoutes::of(read));
    }
}
