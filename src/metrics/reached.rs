//! Whether the application answers, as the last exchange with it has it.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Whether the application answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It was not asked yet.
    Unknown,
    /// It answered last time, whatever its answer was.
    Up,
    /// It gave no answer last time.
    Down,
}

impl Reach {
    /// The word that is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    const fn of(stored: u8) -> Self {
        match stored {
            0 => Self::Unknown,
            1 => Self::Up,
            _ => Self::Down,
        }
    }
}

/// What the exchanges with `[upstream]` found. Noting what is known already is one read.
#[derive(Debug, Default)]
pub struct Reached {
    state: AtomicU8,
    // When the state was last changed. Locked for that only, and for a look.
    since: Mutex<Option<Instant>>,
}

impl Reached {
    /// An exchange is over: with an answer or without one.
    pub fn note(&self, is_answered: bool) {
        let found = if is_answered { Reach::Up } else { Reach::Down };
        if Reach::of(self.state.load(Ordering::Relaxed)) != found {
            let mut since = self.since.lock();
            self.state.store(found as u8, Ordering::Relaxed);
            *since = Some(Instant::now());
        }
    }

    /// What is known, and for how long.
    #[must_use]
    pub fn look(&self) -> (Reach, Option<Duration>) {
        let since = self.since.lock();
        (
            Reach::of(self.state.load(Ordering::Relaxed)),
            since.map(|at| at.elapsed()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_exchange_says_whether_the_application_answers_and_the_first_of_its_kind_since_when()
     {
        let reached = Reached::default();
        assert_eq!(reached.look(), (Reach::Unknown, None));
        let second = Duration::from_secs(1);
        reached.note(false);
        tokio::time::advance(second).await;
        reached.note(false);
        assert_eq!(reached.look(), (Reach::Down, Some(second)));
        reached.note(true);
        tokio::time::advance(second).await;
        assert_eq!(reached.look(), (Reach::Up, Some(second)));
    }
}
