//! One run of the demo: what is asked of it.

use crate::demo::arrangement::Arrangement;
use crate::demo::learners::rhythm::Rhythm;
use std::fmt;
use std::time::Duration;

/// What one run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Learners.
    pub learners: usize,
    /// Their rhythm.
    pub rhythm: Rhythm,
    /// How fast the clock runs.
    pub speed: u32,
    /// How long, real time.
    pub duration: Duration,
    /// How the sidecar is set up; none: as the configuration ships it.
    pub arrangement: Option<Arrangement>,
    /// Another sidecar stands before it, which observes the same calls and predicts what it saves.
    pub observed: bool,
}

impl Run {
    /// Whether batches go under a service's credential.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.arrangement.is_some_and(Arrangement::is_shared)
    }

    /// The clock in words.
    #[must_use]
    pub fn clock(&self) -> String {
        let theirs = self.duration * self.speed;
        format!(
            "{:.0} s on a clock x{}, {:.0} s of theirs",
            self.duration.as_secs_f64(),
            self.speed,
            theirs.as_secs_f64()
        )
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrangement = self.arrangement.map_or("as configured", Arrangement::title);
        write!(
            f,
            "{} learners, {} rhythm, {arrangement}; {}",
            self.learners,
            self.rhythm.as_str(),
            self.clock()
        )
    }
}
