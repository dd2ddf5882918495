//! How long things took, in a histogram that costs three additions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, seconds; what took longer is in no bucket but `+Inf`.
pub(super) const BOUNDS: [f64; 15] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// A histogram of durations, from half a millisecond to half a minute.
#[derive(Debug, Default)]
pub struct Latencies {
    /// Not cumulative; the last one has what is over all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// What a histogram of durations holds at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Shown {
    /// How many took at most as long as each bound.
    pub(super) cumulative: [u64; BOUNDS.len()],
    pub(super) count: u64,
    /// All of them together, seconds.
    pub(super) seconds: f64,
}

impl Latencies {
    /// One more took so long.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let place = BOUNDS.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn show(&self) -> Shown {
        let mut count = 0;
        let mut cumulative = [0; BOUNDS.len()];
        let mut places = cumulative.iter_mut();
        for bucket in &self.buckets {
            count += bucket.load(Ordering::Relaxed);
            if let Some(place) = places.next() {
                *place = count;
            }
        }
        let sum = Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed));
        Shown {
            cumulative,
            count,
            seconds: sum.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_pass_and_in_all_later_ones() {
        let latencies = Latencies::default();
        for milliseconds in [1, 2, 60_000] {
            latencies.record(Duration::from_millis(milliseconds));
        }
        let shown = latencies.show();
        assert_eq!(shown.cumulative[..4], [0, 1, 2, 2]);
        assert_eq!((shown.cumulative[14], shown.count), (2, 3));
        assert!((shown.seconds - 60.003).abs() < 1e-9, "{shown:?}");
    }
}
