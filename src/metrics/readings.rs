//! What is read from the instruments for people: counts by label, and quantiles.

use super::Metrics;
use prometheus::core::Collector;
use prometheus::proto::{Metric, MetricFamily};

/// Upper bounds of the buckets of the acknowledgement's latency, seconds.
pub(super) const ACK_BOUNDS: [f64; 13] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0,
];
/// Longer acknowledgements aren't told apart, microseconds.
pub const MOST_MICROS: f64 = 1e6;

/// How many acknowledgements took how long: by bucket, those beyond the last bound at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AckTimes([u64; ACK_BOUNDS.len() + 1]);

impl AckTimes {
    /// Those that are not among the ones of before.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut rest = self.0;
        for (rest, before) in rest.iter_mut().zip(before.0) {
            *rest = rest.saturating_sub(before);
        }
        Self(rest)
    }

    /// The time within which this part of them was, microseconds, as if they were spread evenly
    /// over their bucket; at most [`MOST_MICROS`]. None: there were none.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let all: u64 = self.0.iter().sum();
        if all == 0 {
            return None;
        }
        let wanted = as_float(all) * part;
        let (mut below, mut from) = (0.0, 0.0);
        for (count, upto) in self.0.iter().zip(ACK_BOUNDS) {
            let count = as_float(*count);
            if count > 0.0 && below + count >= wanted {
                return Some((from + (upto - from) * ((wanted - below) / count)) * 1e6);
            }
            (below, from) = (below + count, upto);
        }
        Some(MOST_MICROS)
    }
}

/// A count, as what it is divided by. Exact up to 2^52.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls stay far below 2^52"
)]
const fn as_float(count: u64) -> f64 {
    count as f64
}

impl Metrics {
    /// Attempts to deliver since the start: group, result, how many.
    #[must_use]
    pub fn attempt_counts(&self) -> Vec<(String, String, u64)> {
        let families = self.batches.collect();
        let metrics = families.iter().flat_map(MetricFamily::get_metric);
        let count = |metric: &Metric| {
            let (group, result) = (label_of(metric, "group")?, label_of(metric, "result")?);
            Some((group, result, count_of(metric)))
        };
        metrics.filter_map(count).collect()
    }

    /// The parts that made fingerprints change, and how often each did.
    #[must_use]
    pub fn changed_part_counts(&self) -> Vec<(String, u64)> {
        let families = self.changed_parts.collect();
        let metrics = families.iter().flat_map(MetricFamily::get_metric);
        metrics
            .filter_map(|metric| Some((label_of(metric, "part")?, count_of(metric))))
            .collect()
    }

    /// Events that became dead letters since the start.
    #[must_use]
    pub fn death_count(&self) -> u64 {
        let families = self.dead.collect();
        let metrics = families.iter().flat_map(MetricFamily::get_metric);
        metrics.map(count_of).sum()
    }

    /// How long acknowledgements took since the start.
    #[must_use]
    pub fn ack_times(&self) -> AckTimes {
        let mut times = AckTimes::default();
        let families = self.ack_seconds.collect();
        let metric = families.iter().flat_map(MetricFamily::get_metric).next();
        let Some(histogram) = metric.map(|metric| metric.get_histogram()) else {
            return times;
        };
        let upto = histogram
            .get_bucket()
            .iter()
            .map(|bucket| bucket.cumulative_count())
            .chain([histogram.get_sample_count()]);
        let mut before = 0;
        for (count, upto) in times.0.iter_mut().zip(upto) {
            *count = upto.saturating_sub(before);
            before = upto;
        }
        times
    }
}

fn label_of(metric: &Metric, name: &str) -> Option<String> {
    let mut labels = metric.get_label().iter();
    let label = labels.find(|label| label.name() == name)?;
    Some(label.value().to_owned())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a counter counts up from 0, in ones"
)]
fn count_of(metric: &Metric) -> u64 {
    metric.get_counter().get_value() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_came_between_two_looks() {
        let metrics = Metrics::try_new().unwrap();
        let micros = |times: &AckTimes, part: f64| times.quantile(part).unwrap();
        (0..1_000).for_each(|_| metrics.ack_seconds.observe(0.7));
        let before = metrics.ack_times();
        assert_eq!(before.since(&before).quantile(0.5), None);
        (0..99).for_each(|_| metrics.ack_seconds.observe(0.000_2));
        metrics.ack_seconds.observe(5.0);
        let since = metrics.ack_times().since(&before);
        assert!((100.0..250.0).contains(&micros(&since, 0.5)), "{since:?}");
        assert!((249.0..=250.0).contains(&micros(&since, 0.99)), "{since:?}");
        assert_eq!(since.quantile(1.0), Some(MOST_MICROS));
        assert!((500_000.0..MOST_MICROS).contains(&micros(&metrics.ack_times(), 0.5)));
    }

    #[test]
    fn attempts_and_deaths_are_counted_by_what_they_are_of() {
        let metrics = Metrics::try_new().unwrap();
        metrics
            .attempts_of("a")
            .count(super::super::Attempt::Limited);
        metrics.dead.with_label_values(&["refused"]).inc();
        metrics.dead.with_label_values(&["gave_up"]).inc();
        assert_eq!(
            metrics.attempt_counts(),
            [("a".to_owned(), "limited".to_owned(), 1)]
        );
        assert_eq!(metrics.death_count(), 2);
    }
}
