//! What the stage's event path tells of its deliveries and outcomes.

use super::pairs::EventKey;
use super::states::Checked;
use crate::event::{Event, Outcome, Reason};
use crate::ingest::delivery::outcomes::{Delivered, Outcomes};
use crate::migration::parity::Batched;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;

/// What was told.
#[derive(Debug)]
pub(super) enum Note {
    Delivered {
        events: Vec<EventKey>,
        took: Duration,
        broken: Option<Box<str>>,
        is_answered: bool,
    },
    Settled(EventKey, Batched),
    /// The states of a caller were asked for at both sides.
    States(Checked),
}

/// Puts notes into a queue: as many as there are deliveries and events in the stage's memory, which
/// is bounded.
#[derive(Debug)]
pub(super) struct Notes {
    pub(super) queue: mpsc::UnboundedSender<Note>,
    /// Nobody is asked.
    pub(super) is_dry: bool,
    /// The event that was kept last. The engine decides one call after the other, and takes it then.
    pub(super) kept: Mutex<Option<EventKey>>,
}

impl Notes {
    fn tell(&self, note: Note) {
        // Nobody listens any more at the end of the process.
        drop(self.queue.send(note));
    }

    fn word_on(&self, outcome: &Outcome) -> Batched {
        match outcome {
            Outcome::Accepted if self.is_dry => Batched::Supposed,
            Outcome::Accepted => Batched::Taken,
            Outcome::Duplicate => Batched::Duplicate,
            Outcome::Superseded { .. } => Batched::Superseded,
            Outcome::Dead(Reason::GaveUp) => Batched::Unanswered,
            Outcome::Dead(reason) => Batched::Refused(reason.as_str().into()),
        }
    }
}

impl Outcomes for Notes {
    fn note_kept(&self, event: &Event) {
        *self.kept.lock() = Some(EventKey::of(event));
    }

    fn note_delivery(&self, delivered: &Delivered<'_>) {
        self.tell(Note::Delivered {
            events: delivered.events.iter().copied().map(EventKey::of).collect(),
            took: delivered.took,
            broken: delivered.broken.map(Into::into),
            is_answered: delivered.is_answered,
        });
    }

    fn note_outcome(&self, event: &Event, outcome: &Outcome) {
        self.tell(Note::Settled(EventKey::of(event), self.word_on(outcome)));
    }
}
