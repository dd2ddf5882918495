//! The ways to set up the sidecar that `demo --compare` measures beside one another.

use crate::config::Config;
use crate::route::Mode;
use std::time::Duration;

/// The route of the course player's snapshots.
const SNAPSHOTS: &str = "/api/learner/progress";
/// A long window.
const MINUTE: Duration = Duration::from_secs(60);

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrangement {
    /// Each user's windows as the configuration ships them.
    Shipped,
    /// Each user's windows of 60 s; what else seals them stays as it is.
    Minute,
}

impl Arrangement {
    /// In the order of the table.
    pub const ALL: [Self; 2] = [Self::Shipped, Self::Minute];

    /// Its name for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Minute => "minute",
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Shipped => "windows per user, 5 s and 3 s",
            Self::Minute => "windows per user, 60 s",
        }
    }

    /// Sets it up, on the learners' clock: before the configuration is sped up.
    pub fn apply(self, config: &mut Config) {
        forward_snapshots(config);
        match self {
            Self::Shipped => {}
            Self::Minute => config.groups.iter_mut().for_each(|group| group.window = MINUTE),
        }
    }
}

/// Snapshots go on one by one.
fn forward_snapshots(config: &mut Config) {
    let routes = config.events.iter_mut().filter(|route| route.path.source() == SNAPSHOTS);
    routes.for_each(|route| route.mode = Mode::Off);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn config(more: &str) -> Config {
        let text = format!("{}\n{more}", crate::demo::CONFIG);
        config::parse(&text, "config.toml", std::iter::empty()).unwrap()
    }

    /// Everything that seals a window: time, count, events, bytes.
    fn seals(config: &Config) -> Vec<(Duration, usize, usize, usize)> {
        let seals = config.groups.iter().map(|group| (group.window, group.flush_at, group.max_events, group.max_bytes));
        seals.collect()
    }

    #[test]
    fn an_arrangement_changes_windows_and_nothing_else_that_seals_them() {
        let shipped = config("");
        for (arrangement, window) in [(Arrangement::Shipped, None), (Arrangement::Minute, Some(MINUTE))] {
            let mut arranged = shipped.clone();
            arrangement.apply(&mut arranged);
            let expected: Vec<_> = seals(&shipped)
                .into_iter()
                .map(|(shipped, count, events, bytes)| (window.unwrap_or(shipped), count, events, bytes))
                .collect();
            assert_eq!(seals(&arranged), expected, "{arrangement:?}");
        }
    }

    #[test]
    fn windows_are_on_the_learners_clock() {
        let mut config = config("");
        Arrangement::Minute.apply(&mut config);
        config.speed_up(10);
        assert!(config.groups.iter().all(|group| group.window == Duration::from_secs(6)));
    }

    #[test]
    fn a_quiet_learner_fills_no_window_of_a_minute() {
        // What the pings rhythm sends in a minute: four calls of each kind, and fewer of anything else.
        let config = config("");
        assert!(
            config.groups.iter().filter(|group| &*group.name != "course-analytics").all(|group| group.flush_at > 4)
        );
    }

    #[test]
    fn snapshots_are_forwarded_and_nothing_else_is() {
        let route = "[[event]]\npath = \"/api/learner/progress\"\nbatch = \"progress\"\n";
        for arrangement in Arrangement::ALL {
            let mut config = config(route);
            arrangement.apply(&mut config);
            for event in &config.events {
                let off = event.path.source() == SNAPSHOTS;
                assert_eq!(event.mode, if off { Mode::Off } else { Mode::Coalesce }, "{}", event.path.source());
            }
            assert!(config.events.iter().any(|event| event.mode == Mode::Off));
        }
    }
}
