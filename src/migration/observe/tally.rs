//! What left the lanes of one group in one run, and how long it had waited.

use hdrhistogram::Histogram;
use std::time::Duration;
use tokio::time::Instant;

/// Minutes that are remembered.
pub(super) const MINUTES: usize = 60;
/// Longest wait that is told apart, ms.
const LONGEST_WAIT: u64 = 120_000;

/// Counts of the last minutes, by the minute.
#[derive(Debug, Clone)]
pub(super) struct Minutes {
    counts: [u64; MINUTES],
    /// The newest minute that has a count.
    newest: u64,
}

impl Minutes {
    pub(super) const fn new() -> Self {
        Self {
            counts: [0; MINUTES],
            newest: 0,
        }
    }

    pub(super) fn count(&mut self, minute: u64, count: u64) {
        let gone = minute.saturating_sub(self.newest).min(MINUTES as u64);
        for step in 0..gone {
            if let Some(slot) = self.slot(minute - step) {
                *slot = 0;
            }
        }
        self.newest = self.newest.max(minute);
        if let Some(slot) = self.slot(minute) {
            *slot += count;
        }
    }

    fn slot(&mut self, minute: u64) -> Option<&mut u64> {
        let place = usize::try_from(minute % MINUTES as u64).ok()?;
        self.counts.get_mut(place)
    }

    /// The count of one minute; 0 where it is forgotten.
    pub(super) fn of(&self, minute: u64) -> u64 {
        if minute > self.newest || minute + MINUTES as u64 <= self.newest {
            return 0;
        }
        let place = usize::try_from(minute % MINUTES as u64).unwrap_or(0);
        self.counts.get(place).copied().unwrap_or(0)
    }
}

/// The minute that an instant lies in.
pub(super) fn minute_of(began: Instant, at: Instant) -> u64 {
    at.saturating_duration_since(began).as_secs() / 60
}

/// Deliveries on paper of one group in one run.
#[derive(Debug)]
pub(super) struct Tally {
    /// Calls that would have gone out: batches, or single calls where the group has those.
    pub(super) batches: u64,
    /// Events in them.
    pub(super) events: u64,
    /// Events that a newer one made needless.
    pub(super) superseded: u64,
    /// The calls by the minute, for all users, where only a sample is worked on.
    pub(super) minutes: Minutes,
    waits: Option<Histogram<u32>>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            batches: 0,
            events: 0,
            superseded: 0,
            minutes: Minutes::new(),
            // Two digits; none if the bounds were wrong, which a test shows.
            waits: Histogram::new_with_bounds(1, LONGEST_WAIT, 2).ok(),
        }
    }

    /// An event left that had waited so long.
    pub(super) fn note_wait(&mut self, wait: Duration) {
        self.events += 1;
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if let Some(waits) = &mut self.waits {
            waits.saturating_record(millis);
        }
    }

    /// Milliseconds that this part of the events waited at most; 0 without events.
    pub(super) fn wait_ms(&self, part: f64) -> u64 {
        let waits = self.waits.as_ref();
        waits.map_or(0, |waits| waits.value_at_quantile(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_of_minutes_is_remembered_and_no_more() {
        let mut minutes = Minutes::new();
        minutes.count(0, 3);
        minutes.count(59, 4);
        assert_eq!((minutes.of(0), minutes.of(30), minutes.of(59)), (3, 0, 4));
        minutes.count(60, 5);
        assert_eq!((minutes.of(0), minutes.of(59), minutes.of(60)), (0, 4, 5));
        minutes.count(1_000, 6);
        assert_eq!(
            (minutes.of(60), minutes.of(1_000), minutes.of(1_001)),
            (0, 6, 0)
        );
    }

    #[test]
    fn waits_are_told_to_two_digits() {
        let mut tally = Tally::new();
        for wait in 1..=100 {
            tally.note_wait(Duration::from_millis(wait * 10));
        }
        assert_eq!(tally.events, 100);
        assert!(
            (495..=505).contains(&tally.wait_ms(0.5)),
            "{}",
            tally.wait_ms(0.5)
        );
    }
}
