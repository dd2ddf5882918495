//! The open window of a lane.

use tokio::time::Instant;

/// Why a window is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    /// Its time is over, or it is full.
    Window,
    /// A priority event stands at its end.
    Priority,
    /// Somebody waits for what is in it: a read, a forwarded call, an operator, the end.
    Asked,
}

/// The open window of a lane: the events at the end of its queue that are not due yet.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Serialized, each with a comma.
    pub(super) bytes: usize,
    /// When it is sealed; set while it has an event.
    pub(super) deadline: Option<Instant>,
}

impl Window {
    /// P5: it is sealed by the *first* event's deadline, and later ones don't postpone that.
    pub(super) fn take_in(&mut self, bytes: usize, deadline: Instant) {
        self.bytes += bytes + 1;
        self.deadline = Some(self.deadline.map_or(deadline, |first| first.min(deadline)));
    }

    /// An event of it is gone.
    pub(super) const fn let_out(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes + 1);
    }

    /// Nothing is in it any more.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    /// It has an event.
    pub(super) const fn is_open(&self) -> bool {
        self.deadline.is_some()
    }

    /// Its time is over.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|at| at <= now)
    }
}
