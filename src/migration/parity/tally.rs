//! Counts by name and durations, both with a bound.

use super::report::Durations;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// Under this name stands what a count has no room for.
const OTHER: &str = "other";
/// Longest duration that is told apart, µs: ten minutes.
const LONGEST: u64 = 600_000_000;

/// Counts by name, of at most `MOST` names and the rest together.
#[derive(Debug, Default)]
pub(super) struct Counts<const MOST: usize>(BTreeMap<String, u64>);

impl<const MOST: usize> Counts<MOST> {
    pub(super) fn add(&mut self, name: &str) {
        if let Some(count) = self.0.get_mut(name) {
            *count += 1;
            return;
        }
        let name = if self.0.len() < MOST { name } else { OTHER };
        *self.0.entry(name.to_owned()).or_default() += 1;
    }

    pub(super) fn sum(&self) -> u64 {
        self.0.values().sum()
    }

    pub(super) const fn all(&self) -> &BTreeMap<String, u64> {
        &self.0
    }
}

/// How long things took, to two digits; at most ten minutes are told apart. About 12 KiB.
#[derive(Debug)]
pub(super) struct Times(Option<Histogram<u32>>);

impl Default for Times {
    fn default() -> Self {
        // None if the bounds were wrong, which a test shows.
        Self(Histogram::new_with_bounds(1, LONGEST, 2).ok())
    }
}

impl Times {
    pub(super) fn note(&mut self, took: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn report(&self) -> Durations {
        let Some(histogram) = &self.0 else {
            return Durations::default();
        };
        Durations {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p95_us: histogram.value_at_quantile(0.95),
            longest_us: histogram.max(),
        }
    }
}
