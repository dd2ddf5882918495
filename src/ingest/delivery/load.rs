//! What goes to the application in one request: batches of one lane, or of several lanes of a
//! shared group.

use super::known::RouteShape;
use super::pack::Parcel;
use crate::event::{Carried, Owner};
use crate::ingest::lanes::shard::Kept;
use crate::ingest::lanes::window::{Batch, Form};
use crate::spans::Origin;
use uuid::Uuid;

/// A batch that may go.
#[derive(Debug)]
pub struct Ready {
    /// Where its verdict goes.
    pub shard: usize,
    /// The batch.
    pub batch: Batch<Kept>,
    /// Attempts of this lane in a row that got no answer.
    pub retries: u32,
    /// Under whose credential it goes.
    pub under: Under,
}

/// Under whose credential a batch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Under {
    /// Its events' own, and no other lane's batch with it.
    Own,
    /// Its group's service credential (`pack = "shared"`), perhaps with batches of other lanes.
    Service,
}

impl Parcel for Ready {
    type Event = Kept;
    fn batch(&self) -> &Batch<Kept> {
        &self.batch
    }
}

/// The id of a request: that of its batch, or one of the very batches that it holds, so that an
/// upstream which keeps its answers by `Idempotency-Key` never takes one load for another.
pub(super) fn id_of(load: &[Ready]) -> Uuid {
    if let [one] = load {
        return one.batch.id;
    }
    let mut hasher = blake3::Hasher::new();
    for ready in load {
        hasher.update(ready.batch.id.as_bytes());
    }
    let mut short = [0; 16];
    hasher.finalize_xof().fill(&mut short);
    uuid::Builder::from_custom_bytes(short).into_uuid()
}

/// Its place among the groups.
pub(super) fn group_of(load: &[Ready]) -> Option<usize> {
    load.first().map(|ready| ready.batch.key.group.0)
}

pub(super) fn is_under_service(load: &[Ready]) -> bool {
    load.first()
        .is_some_and(|ready| ready.under == Under::Service)
}

pub(super) fn count_events(load: &[Ready]) -> usize {
    load.iter().map(|ready| ready.batch.events.len()).sum()
}

/// Attempts in a row that got no answer.
pub(super) fn count_retries(load: &[Ready]) -> u32 {
    load.iter().map(|ready| ready.retries).max().unwrap_or(0)
}

/// It repeats one call.
pub(super) fn is_single(load: &[Ready]) -> bool {
    load.first()
        .is_some_and(|ready| ready.batch.form == Form::Single)
}

/// The spans of the calls whose events it holds.
pub(super) fn origins_of(load: &[Ready]) -> impl Iterator<Item = &Origin> {
    let queued = load.iter().flat_map(|ready| ready.batch.events.iter());
    queued.map(|queued| queued.entry.ticket.origin())
}

/// How often the event failed that did most often.
pub(super) fn most_failed(batch: &Batch<Kept>) -> u32 {
    batch
        .events
        .iter()
        .map(|queued| queued.failed)
        .max()
        .unwrap_or(0)
}

/// Whose batch it is, and whether that principal is nameless.
pub(super) fn owner_of(batch: &Batch<Kept>) -> Option<(Owner, bool)> {
    let event = batch.events.first()?.entry.event();
    Some((event.owner(), event.context.keys.nameless))
}

/// The route of a single call.
pub(super) fn route_of(batch: &Batch<Kept>) -> Option<RouteShape> {
    let event = batch
        .events
        .first()
        .filter(|_| batch.form == Form::Single)?
        .entry
        .event();
    let single = Carried::unpack(event.carried())?.legacy?;
    Some(RouteShape::of_call(single.method, single.path))
}
