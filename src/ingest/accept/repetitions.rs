//! The last calls whose events were known already: an operator who asks for an event hears how often
//! its client sent it again.

use crate::ingest::ring::Ring;
use parking_lot::Mutex;

/// Repetitions that are remembered.
const MOST: usize = 4_096;

/// The keys of ids that came again, each as often as it did.
#[derive(Debug)]
pub struct Repetitions(
    // Held for one push, when a known event comes again, and for an operator's look.
    Mutex<Ring<[u8; 16]>>,
);

impl Default for Repetitions {
    fn default() -> Self {
        Self(Mutex::new(Ring::new(MOST)))
    }
}

impl Repetitions {
    /// A known event came again.
    pub(super) fn note(&self, seen: [u8; 16]) {
        self.0.lock().push(seen);
    }

    /// How often this event came again, as far as that is remembered.
    pub(super) fn count(&self, seen: [u8; 16]) -> u64 {
        let ring = self.0.lock();
        let same = ring.iter().filter(|(_, other)| **other == seen);
        same.count() as u64
    }
}
