//! A batch on its way, what it may meet, and what becomes of its events.

use super::Queued;
use crate::event::{EventId, LaneKey, Outcome};
use std::time::Duration;
use uuid::Uuid;

/// How a batch goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As a batch call.
    Batch,
    /// One event, as the single call it came in.
    Single,
}

/// What a batch's failures have said so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trouble {
    /// In a row, between each of which and the one before it more of the group was taken than failed.
    pub strikes: u32,
    /// In a row, between which nobody else of the group tried anything.
    pub lonely: u32,
    /// Requests of the group that had passed, and that had failed, at the last one.
    pub since: Option<(u64, u64)>,
}

/// Events of one lane on their way out together.
#[derive(Debug)]
pub struct Batch<E> {
    /// The same on every retry of the same events.
    pub id: Uuid,
    /// The lane's number, for the verdict.
    pub lane: LaneId,
    /// The lane.
    pub key: LaneKey,
    /// Batch or single call.
    pub form: Form,
    /// The upstream's status for its last attempt.
    pub status: Option<u16>,
    /// Never empty; in the lane's order.
    pub events: Vec<Queued<E>>,
    /// It was part of something that was refused, and shares no request with other lanes.
    pub alone: bool,
    /// Somebody waits for it.
    pub urgent: bool,
    /// Failures in a row.
    pub trouble: Trouble,
}

/// A lane's number; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub(super) u64);

/// What the upstream's reply makes of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It has its outcome.
    Done(Outcome),
    /// It leads the next batch after a pause.
    Again,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream spoke of every event; one fate each, in order.
    Answered(Vec<Fate>),
    /// Kept as it is; again after `pause`.
    Retry {
        /// How long the lane waits.
        pause: Duration,
    },
    /// Nothing was tried, or nothing was found to be wrong with it; again after `pause`.
    Deferred {
        /// How long the lane waits.
        pause: Duration,
    },
    /// 401 or 403.
    Rejected,
    /// A 4xx for all; the ids it names, if any.
    Refused {
        /// Offending events.
        named: Vec<EventId>,
    },
    /// It failed again and again while others of its group passed: something in it is at fault.
    Persistent,
    /// 413.
    TooLarge,
    /// 404, 405 or 501: no batch endpoint there.
    NoBatchEndpoint,
}

/// An event that has its outcome; the caller settles it.
#[derive(Debug)]
pub struct Settled<E> {
    /// The event.
    pub entry: E,
    /// Its outcome.
    pub outcome: Outcome,
    /// Times it failed by name.
    pub failed: u32,
    /// The upstream's last status for its lane.
    pub status: Option<u16>,
}
