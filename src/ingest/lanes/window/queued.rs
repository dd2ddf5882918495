//! One event on its way, and the older ones that it made needless.

use super::Entry;
use crate::event::{Outcome, Tag};
use bytes::Bytes;
use tokio::time::Instant;

/// One event on its way, with what it has been through.
#[derive(Debug)]
pub struct Queued<E> {
    /// The event.
    pub entry: E,
    /// Times it was named as failed, or left out of every list, or failed alone.
    pub failed: u32,
    /// When it entered its lane.
    pub since: Instant,
    /// Older events that it made needless. Their outcome comes with its own.
    pub covers: Option<Box<Covers<E>>>,
}

/// A pending event as a look shows it.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) seq: u64,
    pub(super) json: Bytes,
    /// Its tags, and those of what it covers.
    pub(super) tags: Vec<Tag>,
}

/// Events that a newer one of their subject made needless.
#[derive(Debug)]
pub struct Covers<E> {
    /// Oldest first; none of them covers anything itself.
    events: Vec<Queued<E>>,
    first_seq: u64,
    first: Instant,
}

impl<E> Covers<E> {
    /// Oldest first.
    pub(super) fn events(&self) -> &[Queued<E>] {
        &self.events
    }
}

impl<E: Entry> Queued<E> {
    pub(super) const fn new(entry: E, since: Instant) -> Self {
        Self {
            entry,
            failed: 0,
            since,
            covers: None,
        }
    }

    pub(super) fn shown(&self) -> Shown {
        let covered = self
            .covers
            .iter()
            .flat_map(|covers| &covers.events)
            .flat_map(|older| older.entry.tags());
        let tags = self.entry.tags().iter().chain(covered).copied().collect();
        Shown {
            seq: self.entry.seq(),
            json: self.entry.shown(),
            tags,
        }
    }

    /// Itself and the events that it covers.
    pub(super) fn count(&self) -> usize {
        let covered = self.covers.as_ref().map(|covers| covers.events.len());
        1 + covered.unwrap_or(0)
    }

    /// Its own number, or that of the oldest event that it covers.
    pub(super) fn first_seq(&self) -> u64 {
        self.covers
            .as_ref()
            .map_or_else(|| self.entry.seq(), |covers| covers.first_seq)
    }

    /// When it came, or the oldest event that it covers.
    pub(super) fn first_since(&self) -> Instant {
        self.covers
            .as_ref()
            .map_or(self.since, |covers| covers.first)
    }

    /// Takes the place of an older event.
    pub(super) fn absorb(&mut self, mut older: Self) {
        let (first_seq, first) = (older.first_seq(), older.first_since());
        let mut before = older.covers.take();
        match (&mut self.covers, &mut before) {
            // The usual case, and the cheap one: what the older one covered is covered on.
            (None, Some(covers)) => {
                covers.events.push(older);
                self.covers = before;
            }
            (None, None) => {
                self.covers = Some(Box::new(Covers {
                    events: vec![older],
                    first_seq,
                    first,
                }))
            }
            (Some(covers), _) => {
                covers.first_seq = covers.first_seq.min(first_seq);
                covers.first = covers.first.min(first);
                covers
                    .events
                    .extend(before.map(|covers| covers.events).unwrap_or_default());
                covers.events.push(older);
                covers.events.sort_by_key(|queued| queued.entry.seq());
            }
        }
    }

    /// The newest event that it covers, standing for the older ones: what goes in its stead when it
    /// dies of its own fault.
    pub(super) fn uncover(&mut self) -> Option<Self> {
        let mut events = self.covers.take()?.events;
        let mut newest = events.pop()?;
        events.into_iter().for_each(|older| newest.absorb(older));
        Some(newest)
    }

    /// It and what it covers, each with its outcome.
    pub(super) fn outcomes(self, outcome: Outcome) -> impl Iterator<Item = (E, Outcome, u32)> {
        let needless = self.covers.map(|covers| {
            let by = match &outcome {
                Outcome::Superseded { by } => by.clone(),
                _ => self.entry.event_id(),
            };
            (by, covers.events)
        });
        let needless = needless.into_iter().flat_map(|(by, events)| {
            let superseded = move |queued: Self| {
                let by = by.clone();
                (queued.entry, Outcome::Superseded { by }, queued.failed)
            };
            events.into_iter().map(superseded)
        });
        needless.chain(std::iter::once((self.entry, outcome, self.failed)))
    }
}
