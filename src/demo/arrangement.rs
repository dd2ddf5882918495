//! The ways to set up the sidecar that the benchmark `compare` measures beside one another.

use super::learners::rhythm::Rhythm;
use crate::config::Config;
use crate::ingest::settings::{ClientBatches, Pack, Shape};
use crate::rollout::Mode;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use std::time::Duration;

/// The configuration that ships with the program.
pub const CONFIG: &str = include_str!("../../config.toml");
/// Routes that the shipped configuration leaves off, since the application that it is written for
/// has no whole batch for them. The demo's application has.
const LEFT_OFF: [&str; 2] = ["/api/analytics/events", "/api/client/assignments/progress"];
/// Where that application's clients may batch themselves.
const TAKEN_APART: &str = "assignments";
/// The route of the course player's snapshots.
const SNAPSHOTS: &str = "/api/learner/progress";
/// A long window.
const MINUTE: Duration = Duration::from_secs(60);
/// How long a sealed window waits for others to share a batch with.
const WAIT: Duration = Duration::from_secs(1);

/// One way. Where snapshots are not collapsed they go on one by one, as they would without `form =
/// "latest"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrangement {
    /// Each user's windows as the configuration ships them.
    Shipped,
    /// Each user's windows of 60 s; what else seals them stays as it is.
    Minute,
    /// Windows as shipped, and sealed ones of different users share batches.
    Shared,
    /// Windows as shipped, and of each course's snapshots in a window only the newest is sent.
    Collapse,
    /// The same with windows of 60 s.
    CollapseMinute,
    /// Collapsed snapshots, and shared batches of everything else.
    CollapseShared,
}

impl Arrangement {
    /// In the order of the table.
    pub const ALL: [Self; 6] = [
        Self::Shipped,
        Self::Minute,
        Self::Shared,
        Self::Collapse,
        Self::CollapseMinute,
        Self::CollapseShared,
    ];

    /// Its name for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Minute => "minute",
            Self::Shared => "shared",
            Self::Collapse => "collapse",
            Self::CollapseMinute => "collapse-minute",
            Self::CollapseShared => "collapse-shared",
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Shipped => "windows per user, 5 s and 3 s",
            Self::Minute => "windows per user, 60 s",
            Self::Shared => "shared packing, 5 s and 3 s",
            Self::Collapse => "collapse, 5 s and 3 s",
            Self::CollapseMinute => "collapse, 60 s",
            Self::CollapseShared => "collapse and shared packing",
        }
    }

    /// Whether it differs from the others on this rhythm: without snapshots there is nothing to
    /// collapse.
    #[must_use]
    pub fn plays(self, rhythm: Rhythm) -> bool {
        rhythm == Rhythm::Player || !self.collapses()
    }

    /// Whether batches go under a service's credential.
    #[must_use]
    pub const fn is_shared(self) -> bool {
        match self {
            Self::Shared | Self::CollapseShared => true,
            Self::Shipped | Self::Minute | Self::Collapse | Self::CollapseMinute => false,
        }
    }

    const fn collapses(self) -> bool {
        match self {
            Self::Collapse | Self::CollapseMinute | Self::CollapseShared => true,
            Self::Shipped | Self::Minute | Self::Shared => false,
        }
    }

    const fn window(self) -> Option<Duration> {
        match self {
            Self::Minute | Self::CollapseMinute => Some(MINUTE),
            Self::Shipped | Self::Shared | Self::Collapse | Self::CollapseShared => None,
        }
    }

    /// Sets it up, on the learners' clock: before the configuration is sped up. `service` is the
    /// value of the `Authorization` of shared batches.
    pub fn apply(self, config: &mut Config, service: &HeaderValue) {
        if !self.collapses() {
            forward_snapshots(config);
        }
        if let Some(window) = self.window() {
            config
                .groups
                .iter_mut()
                .for_each(|group| group.window = window);
        }
        if self.is_shared() {
            share(config, service);
        }
    }
}

/// Switches on what the demo's application has a whole batch for. Every arrangement begins with
/// this.
pub fn fit_the_demo(config: &mut Config) {
    let routes = config
        .events
        .iter_mut()
        .filter(|route| LEFT_OFF.contains(&route.path.source()));
    routes.for_each(|route| route.configured.mode = Mode::Coalesce);
    let groups = config
        .groups
        .iter_mut()
        .filter(|group| &*group.name == TAKEN_APART);
    groups.for_each(|group| group.client_batches = ClientBatches::TakeApart);
}

/// Sealed windows of different users share batches, where there are batches.
fn share(config: &mut Config, service: &HeaderValue) {
    for group in config
        .groups
        .iter_mut()
        .filter(|group| matches!(group.shape, Shape::Batch(_)))
    {
        group.pack = Pack::Shared {
            wait: WAIT,
            credential: (AUTHORIZATION, service.clone()),
        };
    }
}

/// Snapshots go on one by one.
fn forward_snapshots(config: &mut Config) {
    let routes = config
        .events
        .iter_mut()
        .filter(|route| route.path.source() == SNAPSHOTS);
    routes.for_each(|route| route.configured.mode = Mode::Off);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn config() -> Config {
        let mut config = config::parse(CONFIG, "config.toml", std::iter::empty()).unwrap();
        fit_the_demo(&mut config);
        config
    }

    #[test]
    fn the_demo_switches_on_what_its_application_has_a_whole_batch_for_and_nothing_else() {
        let shipped = config::parse(CONFIG, "config.toml", std::iter::empty()).unwrap();
        let off = shipped
            .events
            .iter()
            .filter(|route| route.configured.mode == Mode::Off)
            .map(|route| route.path.source());
        assert_eq!(
            off.collect::<Vec<_>>(),
            [LEFT_OFF[0], LEFT_OFF[0], LEFT_OFF[1]]
        );
        let fit = config();
        assert!(
            fit.events
                .iter()
                .all(|route| route.configured.mode == Mode::Coalesce)
        );
        let forwarding = |config: &Config| {
            let groups = config
                .groups
                .iter()
                .filter(|group| group.client_batches == ClientBatches::Forward);
            groups
                .map(|group| group.name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            forwarding(&shipped),
            ["analytics", "course-analytics", TAKEN_APART]
        );
        assert_eq!(forwarding(&fit), ["analytics", "course-analytics"]);
    }

    fn arranged(arrangement: Arrangement) -> Config {
        let mut config = config();
        arrangement.apply(&mut config, &HeaderValue::from_static("Bearer service"));
        config
    }

    /// Everything that seals a window: time, count, events, bytes.
    fn seals(config: &Config) -> Vec<(Duration, usize, usize, usize)> {
        let seals = config.groups.iter().map(|group| {
            (
                group.window,
                group.flush_at,
                group.max_events,
                group.max_bytes,
            )
        });
        seals.collect()
    }

    #[test]
    fn an_arrangement_changes_windows_and_nothing_else_that_seals_them() {
        let shipped = config();
        for arrangement in Arrangement::ALL {
            let long = matches!(
                arrangement,
                Arrangement::Minute | Arrangement::CollapseMinute
            );
            let expected: Vec<_> = seals(&shipped)
                .into_iter()
                .map(|(window, count, events, bytes)| {
                    (if long { MINUTE } else { window }, count, events, bytes)
                })
                .collect();
            assert_eq!(seals(&arranged(arrangement)), expected, "{arrangement:?}");
        }
    }

    #[test]
    fn windows_and_the_wait_for_company_are_on_the_learners_clock() {
        let mut minute = arranged(Arrangement::Minute);
        minute.speed_up(10);
        assert!(
            minute
                .groups
                .iter()
                .all(|group| group.window == Duration::from_secs(6))
        );
        let mut shared = arranged(Arrangement::Shared);
        shared.speed_up(10);
        let waits = shared.groups.iter().filter_map(|group| match &group.pack {
            Pack::Shared { wait, .. } => Some(*wait),
            Pack::User => None,
        });
        assert_eq!(waits.collect::<Vec<_>>(), [Duration::from_millis(100); 4]);
    }

    #[test]
    fn a_quiet_learner_fills_no_window_of_a_minute() {
        // What the pings rhythm sends in a minute: four calls of each kind, and fewer of anything
        // else.
        let config = config();
        assert!(
            config
                .groups
                .iter()
                .filter(|group| &*group.name != "course-analytics")
                .all(|group| group.flush_at > 4)
        );
    }

    #[test]
    fn snapshots_are_forwarded_unless_they_are_collapsed_and_nothing_else_is() {
        for arrangement in Arrangement::ALL {
            let collapse = arrangement.as_str().starts_with("collapse");
            let config = arranged(arrangement);
            assert!(
                config
                    .events
                    .iter()
                    .any(|event| event.path.source() == SNAPSHOTS)
            );
            for event in &config.events {
                let off = event.path.source() == SNAPSHOTS && !collapse;
                let mode = if off { Mode::Off } else { Mode::Coalesce };
                assert_eq!(
                    event.configured.mode,
                    mode,
                    "{arrangement:?} {}",
                    event.path.source()
                );
            }
        }
    }

    #[test]
    fn batches_are_shared_under_the_service_credential_and_single_calls_never() {
        for arrangement in Arrangement::ALL {
            let shared = arrangement.as_str().ends_with("shared");
            assert_eq!(arrangement.is_shared(), shared);
            for group in &arranged(arrangement).groups {
                let service = (AUTHORIZATION, HeaderValue::from_static("Bearer service"));
                let together = shared && !group.is_single();
                let pack = if together {
                    Pack::Shared {
                        wait: Duration::from_secs(1),
                        credential: service,
                    }
                } else {
                    Pack::User
                };
                assert_eq!(group.pack, pack, "{arrangement:?} {}", group.name);
            }
        }
    }

    #[test]
    fn collapse_is_played_where_there_are_snapshots() {
        let played = |rhythm| {
            Arrangement::ALL
                .into_iter()
                .filter(|one| one.plays(rhythm))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            played(Rhythm::Pings),
            [
                Arrangement::Shipped,
                Arrangement::Minute,
                Arrangement::Shared
            ]
        );
        assert_eq!(played(Rhythm::Player), Arrangement::ALL);
    }
}
