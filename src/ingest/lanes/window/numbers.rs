//! Numbers that were sent, for windows that are sealed when one has moved far enough
//! (`flush_on_change`).

use super::recent::Recent;
use super::{Concern, Entry, Queued, Rules};
use crate::event::Subject;
use crate::template::Path;

/// The last numbers sent, by whom and of what.
#[derive(Debug)]
pub(super) struct Numbers(Recent<(Concern, Option<Subject>), Vec<Option<f64>>>);

impl Numbers {
    /// Nothing was sent; of so many subjects it is remembered at least.
    pub(super) fn new(most: usize) -> Self {
        Self(Recent::new(most))
    }

    /// Whether a number has moved far enough since the last one sent of the subject; nothing sent
    /// counts as 0.
    pub(super) fn have_moved<E: Entry>(&self, rules: &Rules, entry: &E) -> bool {
        if rules.change.is_empty() {
            return false;
        }
        let sent = self.0.get(&(Concern::of(entry), entry.subject()));
        let last = |place: usize| {
            sent.and_then(|all| all.get(place).copied().flatten())
                .unwrap_or(0.0)
        };
        let moved = |(place, (path, step)): (usize, &(Path, f64))| {
            number(entry, path).is_some_and(|value| (value - last(place)).abs() >= *step)
        };
        rules.change.iter().enumerate().any(moved)
    }

    /// These events are on their way.
    pub(super) fn note<E: Entry>(&mut self, rules: &Rules, events: &[Queued<E>]) {
        if rules.change.is_empty() {
            return;
        }
        for Queued { entry, .. } in events {
            let numbers = rules
                .change
                .iter()
                .map(|(path, _)| number(entry, path))
                .collect();
            self.0.put((Concern::of(entry), entry.subject()), numbers);
        }
    }
}

/// The number at a place of an event.
fn number<E: Entry>(entry: &E, path: &Path) -> Option<f64> {
    serde_json::from_slice(entry.field(path)?).ok()
}
