//! An event on its way into the journal and out of it: what it brings along, what proves that it is
//! kept, how it ends.

use crate::event::{Carried, Event, Fingerprint, Outcome, Principal, Succession};
use tokio::time::Instant;

/// Bytes that a pending event takes beside what it carries, estimated: lane, maps. Counted so that
/// many tiny events meet the cap too.
const OVERHEAD: u64 = 512;

/// An event that is as durable as the level promises. Only the journal makes one.
#[derive(Debug)]
pub struct Journaled<T> {
    pub(super) seq: u64,
    /// What its frame takes, bytes.
    pub(super) size: u64,
    pub(super) event: Event,
    pub(super) since: Instant,
    /// What the caller sent along: the obligation to settle.
    pub ticket: T,
}

impl<T> Journaled<T> {
    /// Its place in the order of its lane.
    pub const fn seq(&self) -> u64 {
        self.seq
    }
    /// The event.
    pub const fn event(&self) -> &Event {
        &self.event
    }
    /// Its principal, if it came in for its group's service credential.
    pub(super) fn for_service(&self) -> Option<Principal> {
        Carried::is_for_service(self.event.carried()).then_some(self.event.owner().principal)
    }
    /// Its place in the order, the event, and what the caller sent along.
    pub(crate) fn into_parts(self) -> (u64, Event, T) {
        (self.seq, self.event, self.ticket)
    }
    /// When it was kept; for a recovered event, as long ago as it was received.
    pub const fn since(&self) -> Instant {
        self.since
    }
}

/// Why an event could not be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// `journal.max_bytes` is reached.
    #[error("the journal holds {held} of {max} bytes")]
    Full {
        /// Bytes held.
        held: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// Less than `journal.min_free` is left.
    #[error("the journal's disk is nearly full")]
    DiskFull,
    /// Writes fail.
    #[error("the journal can't be written")]
    Failing,
    /// The windows have stopped.
    #[error("the journal is closed")]
    Closed,
}

/// What a caller sends along with an event: the obligation to settle it. Dropped before
/// [`kept`](Self::kept) it takes everything back, as if the event had never come.
pub trait Ticket: Send + 'static {
    /// The event is as durable as the level promises; from here on only an outcome ends the
    /// obligation.
    fn kept(&mut self);
    /// It could not be handed over after all.
    fn taken_back(&mut self);
}

/// The end of an event, as the journal needs to know it.
#[derive(Debug)]
pub struct End {
    /// What became of it.
    pub outcome: Outcome,
    /// Its key among the seen ids, and the Unix milliseconds at which it may be forgotten; none: it
    /// is forgotten now.
    pub seen: Option<([u8; 16], u64)>,
    /// The dead letter as its frame holds it, if it became one.
    pub letter: Option<Vec<u8>>,
}

/// What goes along with an event into the journal.
#[derive(Debug, Clone, Copy)]
pub struct More {
    /// The key of its id among the seen ones.
    pub seen: [u8; 16],
    /// The dead letter that it was, which the event's frame ends, and the credential that the letter
    /// had.
    pub replaces: Option<(u64, Fingerprint)>,
    /// Bytes that count against `max_bytes` beside the events: contexts.
    pub beside: u64,
    /// Its caller's session succeeded another one.
    pub succession: Option<Succession>,
    /// Its caller is known to be good, by calls of its group: after a restart, too, it keeps one order with others of its
    /// user.
    pub good: bool,
}

/// What an event counts against `max_bytes`, bytes.
#[must_use]
pub fn size(event: &Event) -> u64 {
    (event.json().len() + event.carried().len()) as u64 + OVERHEAD
}
