//! Places of which some are kept for callers that something speaks for (P10).
//!
//! Callers that nothing speaks for can be as many as there are addresses and random tokens. They
//! may have all places but the last eighth of each bound, rounded down, so that a caller with a 2xx
//! behind it finds one whatever they hold. Where the application is asked about no events, no
//! caller ever is known to be good, and nothing is kept.

use std::sync::Arc;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Of the places, one in so many is kept for good callers.
const RESERVE: usize = 8;

/// No place was free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all connections to the application are in use")]
pub(super) struct Full;

/// Whether something speaks for a caller: which places it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerClass {
    /// It had a 2xx, and no refusal since.
    Good,
    /// Nothing speaks for it.
    Stranger,
}

/// Places, of which the last ones are taken by good callers only.
#[derive(Debug, Clone)]
pub(super) struct Reserved {
    open: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

impl Reserved {
    /// So many places in all. `keeps`: some of them for good callers.
    pub(super) fn new(places: usize, keeps: bool) -> Self {
        let reserve = if keeps { places / RESERVE } else { 0 };
        let semaphore = |count: usize| Arc::new(Semaphore::new(count));
        Self {
            open: semaphore(places - reserve),
            reserve: semaphore(reserve),
        }
    }

    /// A place that every caller may have, if one is free.
    pub(super) fn try_take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.open).try_acquire_owned().ok()
    }

    /// Waits for a place that this caller may have.
    ///
    /// # Cancel safety
    /// A future that is dropped has taken nothing; its turn in the queue is lost.
    pub(super) async fn take(&self, class: CallerClass) -> Result<OwnedSemaphorePermit, Full> {
        let open = Arc::clone(&self.open).acquire_owned();
        let taken: Result<_, AcquireError> = match class {
            CallerClass::Stranger => open.await,
            CallerClass::Good => {
                let reserve = Arc::clone(&self.reserve).acquire_owned();
                tokio::select! {
                    // The reserve is left alone as long as there is another place.
                    biased;
                    taken = open => taken,
                    taken = reserve => taken,
                }
            }
        };
        taken.map_err(|_| Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn the_last_eighth_of_the_places_is_taken_by_good_callers_only() {
        let places = Reserved::new(17, true);
        let mut held: Vec<_> = std::iter::from_fn(|| places.try_take()).collect();
        assert_eq!(held.len(), 15);
        assert!(places.take(CallerClass::Stranger).now_or_never().is_none());
        for _ in 0..2 {
            held.push(
                places
                    .take(CallerClass::Good)
                    .now_or_never()
                    .unwrap()
                    .unwrap(),
            );
        }
        assert!(
            places.take(CallerClass::Good).now_or_never().is_none(),
            "there are no more than 17"
        );
        // A stranger's place that is free again is any caller's.
        drop(held.swap_remove(0));
        drop(
            places
                .take(CallerClass::Good)
                .now_or_never()
                .unwrap()
                .unwrap(),
        );
        drop(
            places
                .take(CallerClass::Stranger)
                .now_or_never()
                .unwrap()
                .unwrap(),
        );
    }

    #[test]
    fn a_good_caller_leaves_the_reserve_alone_while_other_places_are_free() {
        let places = Reserved::new(8, true);
        let held: Vec<_> = (0..7)
            .map(|_| {
                places
                    .take(CallerClass::Good)
                    .now_or_never()
                    .unwrap()
                    .unwrap()
            })
            .collect();
        assert!(places.take(CallerClass::Stranger).now_or_never().is_none());
        drop(held);
        assert!(places.take(CallerClass::Stranger).now_or_never().is_some());
    }

    #[test]
    fn where_no_caller_can_be_known_to_be_good_nothing_is_kept() {
        let places = Reserved::new(16, false);
        let held: Vec<_> = std::iter::from_fn(|| places.try_take()).collect();
        assert_eq!(held.len(), 16);
    }
}
