//! How often a learner calls.

use std::time::Duration;

/// What kind of client the learners have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rhythm {
    /// A progress call about every second while playing. Every second learner is on the course
    /// player, which tells its whole state each time; the others tell their lesson.
    #[default]
    Player,
    /// The video ping: one progress and one analytics call every 15 s.
    Pings,
}

impl Rhythm {
    /// Its name on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Player => "player",
            Self::Pings => "pings",
        }
    }
}

/// A rhythm in times, on a clock that runs `speed` times faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two progress calls of somebody who plays.
    pub tick: Duration,
    /// Seconds of the lesson that one tick plays.
    pub step: u32,
    /// Every second learner tells the state of the whole course instead of the lesson.
    pub snapshots: bool,
    /// Each tick is accompanied by an analytics event.
    pub tracked: bool,
    /// Ticks between two calls about the assignment, beside the one at each lesson's end.
    pub assignment_every: Option<u32>,
    /// Ticks between two looks at the dashboard.
    pub look_every: u32,
    /// How long a learner stays on the dashboard; half of it passes before they come back to the
    /// tab.
    pub stay: Duration,
    /// All learners have begun after this.
    pub ramp: Duration,
    /// How long before its end a token is renewed, as the identity provider's kit in the browser
    /// does.
    pub renew: Duration,
    /// First pause before a failed call is repeated.
    pub patience: Duration,
}

impl Pace {
    /// The pace of a rhythm.
    #[must_use]
    pub fn new(rhythm: Rhythm, speed: u32) -> Self {
        let scaled = |seconds: f64| Duration::from_secs_f64(seconds / f64::from(speed.max(1)));
        let (tick, step, look_every) = match rhythm {
            Rhythm::Player => (1.0, 1, 120),
            Rhythm::Pings => (15.0, 15, 8),
        };
        let player = rhythm == Rhythm::Player;
        Self {
            tick: scaled(tick),
            step,
            snapshots: player,
            tracked: !player,
            assignment_every: player.then_some(15),
            look_every,
            stay: scaled(6.0),
            ramp: scaled(tick.max(3.0)),
            renew: scaled(60.0),
            patience: scaled(0.5),
        }
    }
}
