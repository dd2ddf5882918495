//! Who asks a group's gate, what it answers, and how much one caller says of the group.

use crate::event::{LaneKey, Principal};
use crate::ingest::lanes::window::Form;
use std::time::Duration;

/// Good principals that must meet the same before the group is believed to have no batch endpoint,
/// or to be limited.
pub(super) const SEVERAL: usize = 3;
/// How long an answer says something of the group.
pub(super) const LATELY: Duration = Duration::from_mins(1);

/// Whom a request speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// The service that a shared group's batches go as; there is but one, so it speaks for the
    /// group. With a principal: its batch goes alone, and may be what fails.
    Service(Option<Principal>),
    /// A principal that has had a 2xx, and no refusal since.
    Good(Principal),
    /// Nothing speaks for it, or it was refused.
    Stranger(Principal),
}

impl Caller {
    pub(super) const fn is_stranger(self) -> bool {
        matches!(self, Self::Stranger(_))
    }
}

/// A request that wants to go, or went.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// For whom.
    pub caller: Caller,
    /// Its first lane.
    pub lane: &'a LaneKey,
    /// Batch or single call.
    pub form: Form,
    /// Its oldest event has a single call left.
    pub oldest: bool,
    /// One of its events has.
    pub any: bool,
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// It may go. With an open circuit it is the probe.
    Go,
    /// Not before this time.
    Wait(Duration),
    /// As the single calls of its events.
    Singles,
    /// With an open circuit: its oldest event first, as its single call.
    OldestAlone,
}

/// How a gate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Its circuit is open: one request at a time.
    pub is_open: bool,
    /// It is closed for all, for so long.
    pub closed_for: Option<Duration>,
    /// Single calls go in place of batches.
    pub is_on_detour: bool,
}

/// An outage that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// How long the circuit was open.
    pub open: Duration,
    /// How many 5xx there were in a row.
    pub errors: u32,
}
