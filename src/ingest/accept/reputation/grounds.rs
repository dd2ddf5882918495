//! By what a principal is known to be good in a group: calls, and reads by their routes; and since
//! when.

use crate::event::ReadIndex;
use tokio::time::Instant;

/// Some `[[cache]]` routes: the first 63 of the configuration each by itself, all others as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadRoutes(pub(super) u64);

impl ReadRoutes {
    /// One route.
    #[must_use]
    pub fn of(read: ReadIndex) -> Self {
        Self(1 << read.0.min(63))
    }

    /// All of both.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// One of these isn't among `others`.
    #[must_use]
    pub const fn is_beyond(self, others: Self) -> bool {
        self.0 & !others.0 != 0
    }
}

/// By what a principal is known to be good in a group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grounds {
    /// A call of the group's own routes, or a batch.
    pub calls: bool,
    /// Reads of what its events change.
    pub reads: ReadRoutes,
}

impl Grounds {
    /// A call.
    pub const CALL: Self = Self {
        calls: true,
        reads: ReadRoutes(0),
    };

    /// A read of this route.
    #[must_use]
    pub fn read(read: ReadIndex) -> Self {
        Self {
            calls: false,
            reads: ReadRoutes::of(read),
        }
    }

    /// Both.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self {
            calls: self.calls || more.calls,
            reads: self.reads.and(more.reads),
        }
    }

    /// Whether one of them refuses strangers. `open`: routes that don't.
    #[must_use]
    pub const fn hold(self, open: ReadRoutes) -> bool {
        self.calls || self.reads.is_beyond(open)
    }
}

/// What is known of a principal in a group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Proof {
    /// The last call that counts.
    pub(super) called_at: Option<Instant>,
    /// The last read that counts, of one of these routes.
    pub(super) read_at: Option<Instant>,
    reads: ReadRoutes,
}

impl Proof {
    pub(super) fn grounds(&self) -> Grounds {
        Grounds {
            calls: self.called_at.is_some(),
            reads: self.reads,
        }
    }

    pub(super) fn with(self, grounds: Grounds, now: Instant) -> Self {
        let reads = self.reads.and(grounds.reads);
        match grounds.calls {
            true => Self {
                called_at: Some(now),
                reads,
                ..self
            },
            false => Self {
                read_at: Some(now),
                reads,
                ..self
            },
        }
    }

    /// The last time that it was proven by what refuses strangers.
    pub(super) fn last(&self, open: ReadRoutes) -> Option<Instant> {
        self.called_at
            .max(self.read_at.filter(|_| self.reads.is_beyond(open)))
    }
}
