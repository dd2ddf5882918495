//! Retry schedules, pure: how long a lane waits, given what happened and a random number.

use crate::ingest::settings::{Backoff, Limited};
use std::time::Duration;

/// After the `retries`-th network error in a row (from 0): the schedule's entry, the last one
/// repeating.
#[must_use]
pub fn network(schedule: &[Duration], retries: u32) -> Duration {
    let index = usize::try_from(retries)
        .unwrap_or(usize::MAX)
        .min(schedule.len().saturating_sub(1));
    schedule
        .get(index)
        .copied()
        .unwrap_or(Duration::from_secs(1))
}

/// Exponential with full jitter (Brooker, "Exponential Backoff and Jitter", 2015): up to `base *
/// 2^retries`, at most `cap`. `random` is in `0.0..1.0`. Never under a tenth of `base`, so that a
/// bad draw is no busy loop.
#[must_use]
pub fn server(backoff: Backoff, retries: u32, random: f64) -> Duration {
    let ceiling = backoff
        .base
        .saturating_mul(2u32.saturating_pow(retries.min(30)))
        .min(backoff.cap);
    ceiling
        .mul_f64(random.clamp(0.0, 1.0))
        .max(backoff.base / 10)
}

/// After a 429: `base` plus jitter, or a longer Retry-After.
#[must_use]
pub fn limited(limited: Limited, asked: Option<Duration>, random: f64) -> Duration {
    let own = limited.base + limited.jitter.mul_f64(random.clamp(0.0, 1.0));
    asked.unwrap_or_default().max(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(2),
        cap: Duration::from_secs(30),
    };
    const LIMITED: Limited = Limited {
        base: Duration::from_secs(5),
        jitter: Duration::from_secs(2),
    };

    #[test]
    fn the_network_schedule_repeats_its_last_entry() {
        let schedule = [2, 5, 10, 20].map(Duration::from_secs);
        let pauses: Vec<_> = (0..6)
            .map(|retries| network(&schedule, retries).as_secs())
            .collect();
        assert_eq!(pauses, [2, 5, 10, 20, 20, 20]);
    }

    #[test]
    fn a_longer_retry_after_wins_and_a_shorter_one_does_not() {
        assert_eq!(
            limited(LIMITED, Some(Duration::from_secs(60)), 1.0),
            Duration::from_secs(60)
        );
        assert_eq!(
            limited(LIMITED, Some(Duration::from_secs(1)), 0.5),
            Duration::from_secs(6)
        );
        assert_eq!(limited(LIMITED, None, 0.0), Duration::from_secs(5));
    }

    proptest! {
        #[test]
        fn backoff_stays_between_its_floor_and_its_cap(retries in 0u32..10_000, random in 0.0f64..1.0) {
            let pause = server(BACKOFF, retries, random);
            prop_assert!(pause >= BACKOFF.base / 10 && pause <= BACKOFF.cap);
        }

        #[test]
        fn the_ceiling_never_shrinks(retries in 0u32..100, random in 0.0f64..1.0) {
            prop_assert!(server(BACKOFF, retries + 1, random) >= server(BACKOFF, retries, random));
        }
    }
}
