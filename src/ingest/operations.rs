//! The handle of an operator: what is pending, what is dead, how the journal is. Replaying dead
//! letters stands in [`outcome`](super::outcome).

use super::Shared;
use super::accept::shares::HeldByStrangers;
use super::delivery::gate::Standing;
use super::lanes::window::{Seals, Survey};
use super::outcome::dead::{DeadLetters, Selection};
use crate::event::UserId;
use crate::journal::health::Health;
use crate::memory::Usage;
use crate::metrics::Ledger;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// What a group does at a moment.
pub(crate) struct GroupSurvey<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// What its lanes do.
    pub(crate) lanes: Survey,
    /// How its gate stands.
    pub(crate) gate: Standing,
}

/// What an operator sees and does.
#[derive(Clone)]
pub(crate) struct Operations(pub(super) Arc<Shared>);

impl Operations {
    /// Seals every window.
    pub(crate) fn flush(&self) {
        self.0.flush();
    }

    /// The conservation ledger.
    #[must_use]
    pub(crate) fn ledger(&self) -> Ledger {
        self.0.ledger()
    }

    /// Age of the oldest event that has no outcome yet.
    #[must_use]
    pub(crate) fn oldest_pending(&self) -> Option<Duration> {
        self.0
            .shards
            .iter()
            .filter_map(|shard| shard.oldest())
            .min()
            .map(|at| at.elapsed())
    }

    /// What the lanes and the gate of each group do, in the order of the groups. It looks at every
    /// lane.
    #[must_use]
    pub(crate) fn survey_groups(&self) -> Vec<GroupSurvey<'_>> {
        let mut surveys = vec![Survey::default(); self.0.groups.len()];
        let shards = &self.0.shards;
        shards.iter().for_each(|shard| shard.survey(&mut surveys));
        let (now, delivery) = (Instant::now(), &self.0.delivery);
        let all = self.0.groups.iter().zip(surveys).zip(self.0.gates.iter());
        all.map(|((group, lanes), gate)| GroupSurvey {
            name: &group.name,
            lanes,
            gate: gate.lock().look(now, delivery),
        })
        .collect()
    }

    /// Windows that were sealed so far, by why.
    #[must_use]
    pub(crate) fn seals(&self) -> Seals {
        let mut sum = Seals::default();
        self.0
            .shards
            .iter()
            .for_each(|shard| sum.add(&shard.seals()));
        sum
    }

    /// Bytes of pending events, and of the contexts that they share.
    #[must_use]
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.0.journal.held() + self.0.contexts.bytes()
    }

    /// Lanes with events.
    #[must_use]
    pub(crate) fn lanes(&self) -> u64 {
        self.0
            .levels
            .iter()
            .map(|level| level.lanes.load(Ordering::Relaxed))
            .sum()
    }

    /// What callers hold whom nothing speaks for.
    #[must_use]
    pub(crate) fn held_by_strangers(&self) -> HeldByStrangers {
        self.0.reputation.shares().held()
    }

    /// Parts that differ at every call of a caller, as far as they were warned about.
    #[must_use]
    pub(crate) fn changing_parts(&self) -> Vec<String> {
        self.0.changes.warned()
    }

    /// How the journal is, as long as there is one.
    #[must_use]
    pub(crate) fn watch_journal(&self) -> Weak<Health> {
        Arc::downgrade(self.0.journal.health())
    }

    /// How the journal is.
    #[must_use]
    pub(crate) fn journal_health(&self) -> &Health {
        self.0.journal.health()
    }

    /// Dead letters.
    #[must_use]
    pub(crate) fn dead_letters(&self) -> &DeadLetters {
        &self.0.dead
    }

    /// Drops the dead letters of a key or an id, or all.
    #[must_use]
    pub(crate) fn drop_letters(&self, meant: &Selection) -> Vec<String> {
        let letters = self
            .0
            .dead
            .find(meant)
            .into_iter()
            .filter(|letter| self.0.dead.remove(letter.key));
        let (gone, ids): (Vec<_>, Vec<_>) = letters
            .map(|letter| {
                (
                    (letter.key, letter.event.lane.credential),
                    letter.event.id().to_owned(),
                )
            })
            .unzip();
        self.0.journal.drop_letters(&gone);
        ids
    }

    /// What bodies take in memory.
    #[must_use]
    pub(crate) fn memory_usage(&self) -> Usage {
        self.0.memory.usage()
    }

    pub(super) fn shard_of(&self, user: &UserId) -> usize {
        self.0.spread.shard_of(user)
    }
}
