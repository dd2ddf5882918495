//! Deliveries without an answer yet, by when they began.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Those on their way.
#[derive(Debug, Default)]
pub struct Flights(Mutex<Begun>);

#[derive(Debug, Default)]
struct Begun {
    last: u64,
    at: BTreeMap<u64, Instant>,
}

impl Flights {
    /// One more; its number.
    pub fn begin(&self, now: Instant) -> u64 {
        let mut begun = self.0.lock();
        begun.last += 1;
        let number = begun.last;
        begun.at.insert(number, now);
        number
    }

    /// It is over.
    pub fn end(&self, number: u64) {
        self.0.lock().at.remove(&number);
    }

    /// When the oldest of them began.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.0.lock().at.values().next().copied()
    }
}
