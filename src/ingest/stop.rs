//! The end of the event path (P12, ruling 18): what is pending is sent, as far as anything can
//! move.

use super::Shared;
use super::lanes::shard::Shard;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long nothing may have moved before the stop gives up: as long as a first retry waits.
const STANDSTILL: Duration = Duration::from_secs(2);
/// How often what waits is tried before that: an application may be on its way back.
const ROUNDS: u32 = 3;
/// Deliveries that came back with no outcome for any event, after which no further one is waited
/// for.
const IN_VAIN: u64 = 64;
/// How often it is looked at what is pending; settlement is told to nobody in particular.
const LOOK: Duration = Duration::from_millis(10);

/// Why no more is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Nothing is pending.
    Empty,
    /// Three times nothing was settled for two seconds, with nothing in flight or one failure after
    /// the other: what is left is held by a refused credential, a closed gate or an upstream that
    /// is down.
    Standstill,
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
struct Progress {
    /// Events without an outcome.
    pending: u64,
    /// When the oldest delivery began that has no answer, if there is one.
    oldest: Option<Instant>,
    /// Deliveries that came back, ever.
    ended: u64,
}

/// Whether anything moved lately, pure: `now` is passed in.
#[derive(Debug)]
struct Movement {
    /// What was seen when an event found its outcome last.
    last: Progress,
    since: Instant,
    /// When something was in flight last.
    flown: Instant,
}

impl Movement {
    const fn new(now: Instant, look: Progress) -> Self {
        Self {
            last: look,
            since: now,
            flown: now,
        }
    }

    /// Whether no event found its outcome for [`STANDSTILL`], and either nothing was in flight all
    /// the time, or so many deliveries came back without one that what is in flight now won't fare
    /// better: but for one that has been on its way for as long, which may be another group's, whose
    /// application is slow and well.
    fn is_over(&mut self, now: Instant, look: Progress) -> bool {
        if look.pending != self.last.pending {
            *self = Self::new(now, look);
        }
        if look.oldest.is_some() {
            self.flown = now;
        }
        let is_slow = (look.oldest).is_some_and(|began| now.duration_since(began) >= STANDSTILL);
        let in_vain = !is_slow && look.ended.saturating_sub(self.last.ended) >= IN_VAIN;
        let since = if in_vain { self.since } else { self.flown };
        now.saturating_duration_since(since) >= STANDSTILL
    }
}

/// The end of the event path.
#[derive(Clone)]
pub(crate) struct Stop(pub(super) Arc<Shared>);

impl Stop {
    /// Events without an outcome.
    #[must_use]
    pub(crate) fn pending(&self) -> u64 {
        self.0.ledger().pending
    }

    /// Deliveries without an answer yet.
    #[must_use]
    pub(crate) fn in_flight(&self) -> u64 {
        u64::try_from(self.0.admitter.metrics.in_flight.get()).unwrap_or(0)
    }

    fn progress(&self) -> Progress {
        let ended = self.0.admitter.metrics.deliveries.get();
        Progress {
            pending: self.pending(),
            oldest: self.0.admitter.metrics.flights.oldest(),
            ended,
        }
    }

    /// Lanes that wait for a pause to end are tried at once.
    fn try_again(&self) {
        self.0.tell_all(Shard::try_again);
    }

    /// Seals all windows and sends what is pending. Lanes that wait for a pause to end are tried at
    /// once, three times. `to_the_last`: a standstill is waited out.
    pub(crate) async fn drain(&self, to_the_last: bool) -> Drained {
        self.try_again();
        let mut rounds = ROUNDS;
        let mut movement = Movement::new(Instant::now(), self.progress());
        let over = async {
            loop {
                let look = self.progress();
                if look.pending == 0 {
                    return Drained::Empty;
                }
                if movement.is_over(Instant::now(), look) && !to_the_last {
                    rounds -= 1;
                    if rounds == 0 {
                        return Drained::Standstill;
                    }
                    self.try_again();
                    movement = Movement::new(Instant::now(), self.progress());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::select! {
            drained = over => drained,
            () = self.keep_flushing() => Drained::Standstill,
        }
    }

    /// Seals all windows again and again, for ever: whatever still comes in goes out at once.
    pub(crate) async fn keep_flushing(&self) {
        loop {
            self.0.flush();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// From here on every event is forwarded, none taken.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }

    /// Everything that the journal was told is on the disk, and it takes nothing more.
    pub(crate) async fn close_journal(&self) {
        self.0.journal.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_waits_while_anything_is_in_flight_or_settled_and_no_longer() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let look = |pending, in_flight, ended| Progress {
            pending,
            oldest: (in_flight > 0).then_some(start),
            ended,
        };
        let mut movement = Movement::new(start, look(5, 0, 100));
        assert!(!movement.is_over(at(1_900), look(5, 0, 100)));
        // One was settled.
        assert!(!movement.is_over(at(1_950), look(4, 0, 101)));
        assert!(!movement.is_over(at(3_900), look(4, 0, 101)));
        // One is on its way for long.
        assert!(
            !movement.is_over(at(3_940), look(4, 1, 101))
                && !movement.is_over(at(13_940), look(4, 1, 101))
        );
        assert!(!movement.is_over(at(15_900), look(4, 0, 102)));
        assert!(movement.is_over(at(15_940), look(4, 0, 102)));
    }

    #[test]
    fn a_stop_does_not_wait_for_ever_for_an_upstream_that_fails_again_and_again() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let look = |ended| Progress {
            pending: 5,
            oldest: Some(at(5_000)),
            ended,
        };
        let mut movement = Movement::new(start, look(0));
        assert!(!movement.is_over(at(5_000), look(IN_VAIN - 1)));
        assert!(movement.is_over(at(5_010), look(IN_VAIN)));
    }

    #[test]
    fn a_stop_waits_for_a_slow_application_though_another_one_fails_again_and_again() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let look = |oldest, ended| Progress {
            pending: 5,
            oldest: Some(oldest),
            ended,
        };
        let mut movement = Movement::new(start, look(start, 0));
        assert!(!movement.is_over(at(8_000), look(start, 4 * IN_VAIN)));
        assert!(movement.is_over(at(8_010), look(at(8_000), 4 * IN_VAIN)));
    }
}
