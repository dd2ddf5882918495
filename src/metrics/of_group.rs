//! What is counted of one group's deliveries.

use super::{Attempt, Counters};
use prometheus::{Histogram, IntCounter};

/// Counters of one group, each looked up once.
#[derive(Debug)]
pub struct OfGroup {
    pub(super) attempts: Counters<Attempt>,
    pub(super) retries: IntCounter,
    pub(super) events: Histogram,
}

impl OfGroup {
    /// An attempt ended so. `events`: how many it was to bring; `is_retry`: one before it brought
    /// them not.
    pub fn count(&self, attempt: Attempt, events: usize, is_retry: bool) {
        self.attempts.count(attempt);
        if is_retry {
            self.retries.inc();
        }
        // Lost in nothing: batches are of thousands of events at most.
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.events.observe(events.into());
    }
}
