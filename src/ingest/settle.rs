//! Settlement: each event's one outcome, told to everybody whom it concerns.

use super::admit::Admitted;
use super::dead::{DeadLetter, DeadLetters};
use super::shard::Kept;
use super::window::Settled;
use crate::clock::{Clock, millis};
use crate::event::{Outcome, Reason};
use crate::journal::{End, Journal};
use std::sync::Arc;
use std::time::Duration;

/// Gives each event its outcome.
#[derive(Debug)]
pub struct Settler {
    journal: Arc<Journal<Admitted>>,
    dead: Arc<DeadLetters>,
    groups: Vec<Arc<str>>,
    clock: Clock,
}

impl Settler {
    /// `groups`: names, in the order of the configuration.
    #[must_use]
    pub const fn new(
        journal: Arc<Journal<Admitted>>,
        dead: Arc<DeadLetters>,
        groups: Vec<Arc<str>>,
        clock: Clock,
    ) -> Self {
        Self { journal, dead, groups, clock }
    }

    /// The end of an event: dead letter if it is one, journal, tags, seen id, ledger.
    pub fn settle(&self, settled: Settled<Kept>) {
        let letter = match &settled.outcome {
            Outcome::Dead(reason) => Some(self.letter(&settled, *reason)),
            _ => None,
        };
        let Settled { entry, outcome, .. } = settled;
        let stored = letter.as_ref().map(DeadLetter::stored);
        let dropped = letter.map(|letter| self.dead.bury(letter)).unwrap_or_default();
        let now = millis(self.clock.now());
        let until = |keep: Duration| now.saturating_add(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        let seen = entry.ticket.keep(&outcome).map(|keep| (entry.ticket.seen(), until(keep)));
        self.journal.settle(&entry, End { outcome: outcome.clone(), seen, letter: stored, dropped });
        entry.ticket.settle(&outcome);
    }

    fn letter(&self, settled: &Settled<Kept>, reason: Reason) -> DeadLetter {
        let event = settled.entry.event();
        let group = self.groups.get(event.lane.group.0).cloned().unwrap_or_else(|| "?".into());
        tracing::warn!(
            group = %group, id = event.id.as_str(), user = event.lane.user.as_str(), reason = reason.as_str(),
            attempts = settled.failed, status = settled.status, "event became a dead letter"
        );
        DeadLetter {
            key: settled.entry.seq(),
            group,
            event: event.clone(),
            seen: settled.entry.ticket.seen(),
            reason: reason.as_str().into(),
            attempts: settled.failed,
            status: settled.status.unwrap_or(0),
            died_ms: millis(self.clock.now()),
        }
    }
}
