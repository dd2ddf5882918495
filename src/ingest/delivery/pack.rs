//! Shared packing (design §6), pure: sealed windows of different users wait a moment for company,
//! and leave together within the limits of one batch.

use crate::ingest::lanes::window::{Batch, Entry};
use crate::template::Path;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::Instant;

/// The limits of one group's common batches.
#[derive(Debug, Clone)]
pub struct Room {
    /// Most events.
    pub max_events: usize,
    /// Most bytes, envelope included.
    pub max_bytes: usize,
    /// What a batch has around its events, bytes.
    pub envelope: usize,
    /// Longest wait.
    pub wait: Duration,
    /// No batch holds a value of these twice.
    pub distinct: Vec<Path>,
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
    ids: HashSet<Box<str>>,
    /// Values of the `distinct` fields in `waiting`.
    values: HashSet<(usize, Box<[u8]>)>,
    events: usize,
    bytes: usize,
    deadline: Option<Instant>,
}

impl<P: Parcel> Packer<P> {
    /// Empty.
    #[must_use]
    pub fn new(room: Room) -> Self {
        let bytes = room.envelope;
        Self {
            room,
            waiting: Vec::new(),
            ids: HashSet::new(),
            values: HashSet::new(),
            events: 0,
            bytes,
            deadline: None,
        }
    }

    /// When what waits must go.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// One more; what is to go now comes back, each load one request. A parcel that must travel
    /// alone does.
    pub fn push(&mut self, now: Instant, parcel: P) -> Vec<Vec<P>> {
        if parcel.batch().alone {
            return vec![vec![parcel]];
        }
        let mut loads = Vec::new();
        let values = values(&self.room.distinct, parcel.batch());
        if !self.fits(parcel.batch(), &values) {
            loads.extend(self.take());
        }
        let batch = parcel.batch();
        // What somebody waits for goes with the next look, and with all that came by then.
        let deadline = if batch.awaited {
            now
        } else {
            now + self.room.wait
        };
        self.values.extend(values);
        self.events += batch.events.len();
        self.bytes += size(batch);
        self.ids.extend(
            batch
                .events
                .iter()
                .map(|queued| Box::from(queued.entry.id())),
        );
        self.waiting.push(parcel);
        self.deadline = Some(self.deadline.map_or(deadline, |first| first.min(deadline)));
        if self.events >= self.room.max_events {
            loads.extend(self.take());
        }
        loads
    }

    fn fits(&self, batch: &Batch<P::Event>, values: &HashSet<(usize, Box<[u8]>)>) -> bool {
        let known = |id: &str| self.ids.contains(id);
        self.events + batch.events.len() <= self.room.max_events
            && self.bytes + size(batch) <= self.room.max_bytes + 1
            && !batch.events.iter().any(|queued| known(queued.entry.id()))
            && values.is_disjoint(&self.values)
    }

    /// Everything that waits, if it is time.
    pub fn tick(&mut self, now: Instant) -> Option<Vec<P>> {
        self.deadline
            .filter(|at| *at <= now)
            .and_then(|_| self.take())
    }

    /// Everything that waits, if one of it is meant.
    pub fn take_if(&mut self, meant: impl Fn(&P) -> bool) -> Option<Vec<P>> {
        self.waiting
            .iter()
            .any(meant)
            .then(|| self.take())
            .flatten()
    }

    /// Everything that waits.
    pub fn take(&mut self) -> Option<Vec<P>> {
        let waiting = std::mem::take(&mut self.waiting);
        *self = Self::new(self.room.clone());
        (!waiting.is_empty()).then_some(waiting)
    }
}

/// Values of fields that no batch may hold twice.
fn values<E: Entry>(distinct: &[Path], batch: &Batch<E>) -> HashSet<(usize, Box<[u8]>)> {
    let of = |(place, path): (usize, &Path)| {
        let events = batch.events.iter();
        let found = events.filter_map(|queued| queued.entry.field(path));
        found.map(|value| (place, value.into())).collect::<Vec<_>>()
    };
    distinct.iter().enumerate().flat_map(of).collect()
}

/// Bytes of a batch's events, each with a comma before it.
fn size<E: Entry>(batch: &Batch<E>) -> usize {
    batch
        .events
        .iter()
        .map(|queued| queued.entry.bytes() + 1)
        .sum()
}

#[cfg(test)]
#[path = "pack_tests.rs"]
mod tests;
