//! Pending events by their ids, for an operator. It looks at every event of the lanes.

use super::phase::Phase;
use super::trail::{Trace, held};
use super::{Entry, Lane, LaneId, Lanes, Queued};
use crate::event::{LaneKey, Owner};
use std::ops::Range;
use tokio::time::Instant;

/// What a pending event waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Its window is open, until then at the latest.
    Window(Option<Instant>),
    /// The pause after an attempt that failed ends then.
    Backoff(Instant),
    /// The application refused its credential; it is given up then.
    Credential(Instant),
    /// A rate limit or its group's circuit; it is tried again then.
    Gate(Instant),
    /// What is older goes first: events of the same user, or a forwarded call.
    Order,
}

impl Wait {
    /// The word that is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Window(_) => "window",
            Self::Backoff(_) => "backoff",
            Self::Credential(_) => "credential",
            Self::Gate(_) => "gate",
            Self::Order => "order",
        }
    }

    /// Until when at the latest, if that is known.
    #[must_use]
    pub const fn until(self) -> Option<Instant> {
        match self {
            Self::Window(until) => until,
            Self::Backoff(until) | Self::Credential(until) | Self::Gate(until) => Some(until),
            Self::Order => None,
        }
    }
}

/// A pending event that its lane has in its hands.
#[derive(Debug)]
pub struct Found<'a, E> {
    /// The event.
    pub entry: &'a E,
    /// Times it was named as failed.
    pub failed: u32,
    /// The application's last status for its lane.
    pub status: Option<u16>,
    /// What it waits for.
    pub wait: Wait,
    /// The newer event that goes in its place.
    pub covered_by: Option<&'a str>,
    /// Its window and its attempts.
    pub trace: Trace,
}

/// A lane with a batch on its way.
#[derive(Debug)]
pub struct Flight<'a> {
    /// Which.
    pub key: &'a LaneKey,
    /// Whose.
    pub owner: &'a Owner,
}

impl<E: Entry> Lanes<E> {
    /// Shows the events of this id that lanes in these places have in their hands, at most so many,
    /// and the lanes whose batches are on their way. How many it has shown.
    pub fn find_in<'a>(
        &'a self,
        slots: Range<usize>,
        (id, most): (&str, usize),
        mut see: impl FnMut(Found<'a, E>),
        mut see_flight: impl FnMut(Flight<'a>),
    ) -> usize {
        let mut shown = 0;
        for (key, lane) in self.lanes.iter_in(slots) {
            if matches!(lane.phase(), Phase::InFlight { .. }) {
                see_flight(Flight {
                    key: &lane.key,
                    owner: &lane.owner,
                });
            }
            for (queued, is_open) in held(lane) {
                for (one, covered_by) in with_covered(queued) {
                    if shown < most && one.entry.id() == id {
                        shown += 1;
                        see(Found {
                            entry: &one.entry,
                            failed: one.failed,
                            status: lane.tried.status,
                            wait: wait_of(lane, is_open),
                            covered_by,
                            trace: self.trail.trace(one.entry.seq(), Some(LaneId(key))),
                        });
                    }
                }
            }
        }
        shown
    }

    /// What is remembered of the event of this number, which is settled.
    #[must_use]
    pub fn trace(&self, seq: u64) -> Trace {
        self.trail.trace(seq, None)
    }
}

fn with_covered<E: Entry>(queued: &Queued<E>) -> impl Iterator<Item = (&Queued<E>, Option<&str>)> {
    let by = Some(queued.entry.id());
    let older = queued.covers.iter().flat_map(|covers| covers.events());
    std::iter::once((queued, None)).chain(older.map(move |older| (older, by)))
}

fn wait_of<E: Entry>(lane: &Lane<E>, is_open: bool) -> Wait {
    match lane.phase() {
        _ if is_open => Wait::Window(lane.window.deadline),
        Phase::Rejected(until) => Wait::Credential(until),
        Phase::Waiting(until) if lane.waits_for_gate() => Wait::Gate(until),
        Phase::Waiting(until) => Wait::Backoff(until),
        Phase::InFlight { .. } | Phase::Idle => Wait::Order,
    }
}
