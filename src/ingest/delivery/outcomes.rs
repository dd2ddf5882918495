//! Who is told of events, their deliveries and their outcomes beside the journal: a rehearsal (mode
//! `shadow`).

use crate::event::{Event, Outcome};
use std::fmt;
use std::time::Duration;

/// One delivery that has ended.
#[derive(Debug)]
pub struct Delivered<'a> {
    /// Its events, in their order.
    pub events: Vec<&'a Event>,
    /// How long it took.
    pub took: Duration,
    /// It breaks its contract, and how; known in a dry run only.
    pub broken: Option<&'a str>,
    /// There was an answer, or none was asked for.
    pub is_answered: bool,
}

/// Is told of events. It is called by the tasks that keep, deliver and settle, so it must
/// neither wait nor fail.
pub trait Outcomes: Send + Sync + fmt::Debug {
    /// An event was kept: its call is acknowledged next.
    fn note_kept(&self, event: &Event);
    /// A delivery has ended, in whatever way.
    fn note_delivery(&self, delivered: &Delivered<'_>);
    /// An event has its outcome.
    fn note_outcome(&self, event: &Event, outcome: &Outcome);
}
