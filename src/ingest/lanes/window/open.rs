//! The open window of a lane.

use tokio::time::Instant;

/// Why a window is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    /// Its time is over.
    Deadline,
    /// It has `flush_at` events.
    Count,
    /// It has `max_bytes`.
    Bytes,
    /// A priority event stands at its end.
    Priority,
    /// What its group watches has changed (`flush_on_change`).
    Change,
    /// A priority event of another group came (`flush_with`).
    OtherGroup,
    /// A window that opened later is sealed, and this one goes before it.
    Order,
    /// Somebody waits for what is in it: a read, a forwarded call, an operator, the end.
    Asked,
    /// There are as many lanes as there may be.
    Room,
}

impl Seal {
    /// Its word in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Count => "count",
            Self::Bytes => "bytes",
            Self::Priority => "priority",
            Self::Change => "change",
            Self::OtherGroup => "other_group",
            Self::Order => "order",
            Self::Asked => "asked",
            Self::Room => "room",
        }
    }
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
