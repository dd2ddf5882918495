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
    /// All of them, in the order of their places in [`Seals`].
    pub const ALL: [Self; 9] = [
        Self::Deadline,
        Self::Count,
        Self::Bytes,
        Self::Priority,
        Self::Change,
        Self::OtherGroup,
        Self::Order,
        Self::Asked,
        Self::Room,
    ];

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

/// How many windows were sealed, by why.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seals([u64; Seal::ALL.len()]);

impl Seals {
    pub(super) fn count(&mut self, why: Seal) {
        if let Some(count) = self.0.get_mut(why as usize) {
            *count += 1;
        }
    }

    /// These and others.
    pub fn add(&mut self, others: &Self) {
        for (count, more) in self.0.iter_mut().zip(others.0) {
            *count += more;
        }
    }

    /// How many were sealed so.
    pub fn each(&self) -> impl Iterator<Item = (Seal, u64)> {
        Seal::ALL.into_iter().zip(self.0)
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
