//! Shared packing (design §6), pure: sealed windows of different users wait a moment for company, and leave together
//! within the limits of one batch.

use super::window::{Batch, Entry};
use crate::event::EventId;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// The limits of one group's common batches.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Most events.
    pub max_events: usize,
    /// Most bytes, envelope included.
    pub max_bytes: usize,
    /// What a batch has around its events, bytes.
    pub envelope: usize,
    /// Longest wait.
    pub wait: Duration,
}

/// Whoever has a batch of one lane.
pub trait Parcel {
    /// Its events.
    type Event: Entry;
    /// The batch.
    fn batch(&self) -> &Batch<Self::Event>;
}

/// What waits in one group.
#[derive(Debug)]
pub struct Packer<P> {
    room: Room,
    waiting: Vec<P>,
    /// Ids in `waiting`: a reply speaks of ids, so one id goes once in a batch, whoever's it is.
    ids: HashSet<EventId>,
    events: usize,
    bytes: usize,
    deadline: Option<Instant>,
}

impl<P: Parcel> Packer<P> {
    /// Empty.
    #[must_use]
    pub fn new(room: Room) -> Self {
        Self { room, waiting: Vec::new(), ids: HashSet::new(), events: 0, bytes: room.envelope, deadline: None }
    }

    /// When what waits must go.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// One more; what is to go now comes back, each load one request. A parcel that must travel alone does.
    pub fn push(&mut self, now: Instant, parcel: P) -> Vec<Vec<P>> {
        if parcel.batch().alone {
            return vec![vec![parcel]];
        }
        let mut loads = Vec::new();
        if !self.fits(parcel.batch()) {
            loads.extend(self.take());
        }
        let batch = parcel.batch();
        let urgent = batch.urgent;
        self.events += batch.events.len();
        self.bytes += size(batch);
        self.ids.extend(batch.events.iter().map(|queued| queued.entry.id().clone()));
        self.waiting.push(parcel);
        let deadline = now + self.room.wait;
        self.deadline = Some(self.deadline.map_or(deadline, |first| first.min(deadline)));
        if urgent || self.events >= self.room.max_events {
            loads.extend(self.take());
        }
        loads
    }

    fn fits(&self, batch: &Batch<P::Event>) -> bool {
        let known = |id: &EventId| self.ids.contains(id);
        self.events + batch.events.len() <= self.room.max_events
            && self.bytes + size(batch) <= self.room.max_bytes + 1
            && !batch.events.iter().any(|queued| known(queued.entry.id()))
    }

    /// Everything that waits, if it is time.
    pub fn tick(&mut self, now: Instant) -> Option<Vec<P>> {
        self.deadline.filter(|at| *at <= now).and_then(|_| self.take())
    }

    /// Everything that waits, if one of it is meant.
    pub fn take_if(&mut self, meant: impl Fn(&P) -> bool) -> Option<Vec<P>> {
        self.waiting.iter().any(meant).then(|| self.take()).flatten()
    }

    /// Everything that waits.
    pub fn take(&mut self) -> Option<Vec<P>> {
        let waiting = std::mem::take(&mut self.waiting);
        *self = Self::new(self.room);
        (!waiting.is_empty()).then_some(waiting)
    }
}

/// Bytes of a batch's events, each with a comma before it.
fn size<E: Entry>(batch: &Batch<E>) -> usize {
    batch.events.iter().map(|queued| queued.entry.bytes() + 1).sum()
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
