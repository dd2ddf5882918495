//! What a lane is doing, and what may follow it.

use tokio::time::Instant;

/// What a lane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// `front`: the first event's own number; `first_seq`: the smallest that it stands for.
    InFlight {
        front: u64,
        first_seq: u64,
        since: Instant,
    },
    Waiting(Instant),
    Rejected(Instant),
}

impl Phase {
    /// Whether a lane that is doing this may go on to `next`.
    pub(super) const fn may_become(self, next: Self) -> bool {
        match (self, next) {
            // Idle => InFlight: a batch was formed.
            (Self::Idle, Self::InFlight { .. }) => true,
            // InFlight => Idle: a verdict came. What it makes of the lane follows.
            (Self::InFlight { .. }, Self::Idle) => true,
            // Idle => Waiting: a network error, a 5xx, a 429, failed events, or nothing may be
            // tried now.
            (Self::Idle, Self::Waiting(_)) => true,
            // Idle => Rejected: 401, or a 403 that is the credential's.
            (Self::Idle, Self::Rejected(_)) => true,
            // Waiting => Idle: the time has come, or somebody waits or stops.
            (Self::Waiting(_), Self::Idle) => true,
            // Rejected => Idle: a newer call of the principal succeeded, or the events are given up
            // after one more try.
            (Self::Rejected(_), Self::Idle) => true,
            // Waiting => Waiting: more than one piece of a batch waits.
            (Self::Waiting(_), Self::Waiting(_)) => true,
            (Self::Idle, Self::Idle) => true,
            (Self::InFlight { .. } | Self::Waiting(_) | Self::Rejected(_), _) => false,
        }
    }
}
