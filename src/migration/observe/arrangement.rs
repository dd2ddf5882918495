//! The arrangements that are tried: each changes the window, the count, the packing and the keep of
//! all groups, and leaves the rest of their rules as the configuration has it.

use crate::ingest::lanes::window::Rules;
use crate::ingest::settings::{Group, Keep};
use std::time::Duration;

/// Windows that are tried beside each group's own.
pub(super) const WINDOWS: [Duration; 7] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(15),
    Duration::from_secs(30),
    LONGEST,
];
/// The longest of them.
pub(super) const LONGEST: Duration = Duration::from_mins(1);

/// One way to batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrangement {
    /// `window`; none: each group's own.
    pub(super) window: Option<Duration>,
    /// A window is sealed by its count only when a batch is full (`flush_at = max_events`); else at
    /// the group's own `flush_at`.
    pub(super) full: bool,
    /// `pack = "shared"`.
    pub(super) shared: bool,
    /// `keep = "newest"`.
    pub(super) newest: bool,
}

impl Arrangement {
    /// All that are worth a try in these groups.
    pub(super) fn all_for(groups: &[Group]) -> Vec<Self> {
        let keeps: &[bool] = if groups.iter().any(has_subjects) {
            &[false, true]
        } else {
            &[false]
        };
        let windows = std::iter::once(None).chain(WINDOWS.map(Some));
        let mut all = Vec::new();
        for window in windows {
            for full in [false, true] {
                for shared in [false, true] {
                    all.extend(keeps.iter().map(|newest| Self {
                        window,
                        full,
                        shared,
                        newest: *newest,
                    }));
                }
            }
        }
        all
    }

    /// A group's rules under it.
    pub(super) fn rules(self, own: &Rules) -> Rules {
        Rules {
            window: self.window.unwrap_or(own.window),
            flush_at: if self.full {
                own.max_events
            } else {
                own.flush_at
            },
            newest: self.newest,
            shared: self.shared && !own.single_calls,
            // Nobody looks at what is on paper.
            shown: false,
            ..own.clone()
        }
    }

    /// It says something of this group that no other arrangement says.
    pub(super) fn concerns(self, group: &Group) -> bool {
        let is_listed = self.window.is_none() && WINDOWS.contains(&group.window);
        let is_said = is_listed || self.full && group.flush_at == group.max_events;
        !(is_said || self.shared && group.is_single() || self.newest && !has_subjects(group))
    }

    /// It is how this group is configured.
    pub(super) fn is_configured(self, group: &Group) -> bool {
        let window = self.window.unwrap_or(group.window);
        self.concerns(group)
            && window == group.window
            && !self.full
            && self.shared == group.is_shared()
            && self.newest == (group.keep == Keep::Newest)
    }
}

/// Of its events the subject is known, so that `keep = "newest"` can be tried.
pub(super) fn has_subjects(group: &Group) -> bool {
    !group.key.is_empty() || group.is_single() && group.keep == Keep::Newest
}
