//! What the dashboard shows of the time before it was opened: totals, taken every five seconds, and
//! what came between two of them. Pure: the time of a look is in the totals.

use crate::cache::store::Store;
use crate::metrics::{AckTimes, Action, Attempt, Label as _, Metrics};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Between two samples.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// Samples that are kept: those of an hour.
pub(super) const MOST_SAMPLES: usize = 720;
/// Totals that are kept, for figures of the last minute.
const MOST_TOTALS: usize = 12;

/// Ways in which an attempt fails, and is followed by another one.
const FAILURES: [Attempt; 9] = [
    Attempt::Rejected,
    Attempt::Forbidden,
    Attempt::NoEndpoint,
    Attempt::TooLarge,
    Attempt::Refused,
    Attempt::ServerError,
    Attempt::Limited,
    Attempt::Network,
    Attempt::BrokenOff,
];

/// What was counted since the start.
#[derive(Debug, Clone)]
pub(super) struct Totals {
    /// When it was read.
    pub(super) at: Instant,
    /// The same on the wall clock, Unix milliseconds.
    pub(super) at_ms: u64,
    /// Event calls that Tidegate answered, repetitions included.
    pub(super) acknowledged: u64,
    /// Calls that the application answered.
    pub(super) forwarded: u64,
    /// Calls that were refused.
    pub(super) refused: u64,
    /// Requests that delivered events, or tried to.
    pub(super) requests: u64,
    /// Answers from the cache, look-ups without one, and reads that passed it.
    pub(super) cache: Lookups,
    /// Failed attempts, in the order of `FAILURES`.
    failed: [u64; FAILURES.len()],
    ack: AckTimes,
}

/// What came of look-ups in the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Lookups {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) bypasses: u64,
}

impl Lookups {
    fn since(self, before: Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(before.hits),
            misses: self.misses.saturating_sub(before.misses),
            bypasses: self.bypasses.saturating_sub(before.bypasses),
        }
    }
}

impl Totals {
    /// Reads the instruments. A few loads, and a walk over the counters of attempts.
    pub(super) fn read(metrics: &Metrics, store: &Store, at: Instant, at_ms: u64) -> Self {
        let calls = |action| metrics.calls.get(action);
        let counts = &store.counts;
        let attempts = metrics.attempt_counts();
        let failed = FAILURES.map(|failure| {
            let same = attempts
                .iter()
                .filter(|(_, result, _)| result == failure.as_str());
            same.map(|(_, _, count)| count).sum()
        });
        Self {
            at,
            at_ms,
            acknowledged: calls(Action::Acknowledged) + calls(Action::Duplicate),
            forwarded: calls(Action::Forwarded) + calls(Action::Write),
            refused: calls(Action::Refused),
            requests: metrics.deliveries.get(),
            cache: Lookups {
                hits: counts.hits.load(Ordering::Relaxed),
                misses: counts.misses.load(Ordering::Relaxed),
                bypasses: counts.bypasses.load(Ordering::Relaxed),
            },
            failed,
            ack: metrics.ack_times(),
        }
    }

    /// What came since those of before.
    fn since(&self, before: &Self) -> Span {
        let mut failed = BTreeMap::new();
        for (place, failure) in FAILURES.iter().enumerate() {
            let of = |totals: &Self| totals.failed.get(place).copied().unwrap_or_default();
            failed.insert(failure.as_str(), of(self).saturating_sub(of(before)));
        }
        failed.retain(|_, count| *count > 0);
        let (acknowledged, requests) = (
            self.acknowledged.saturating_sub(before.acknowledged),
            self.requests.saturating_sub(before.requests),
        );
        let ack = self.ack.since(&before.ack);
        Span {
            ms: millis(self.at.saturating_duration_since(before.at)),
            acknowledged,
            forwarded: self.forwarded.saturating_sub(before.forwarded),
            refused: self.refused.saturating_sub(before.refused),
            requests,
            saving: saving(acknowledged, requests),
            ack_p50_us: ack.quantile(0.5).map(f64::round),
            ack_p99_us: ack.quantile(0.99).map(f64::round),
            cache: self.cache.since(before.cache),
            failed,
        }
    }
}

/// What came in a span of time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Span {
    /// How long it is, milliseconds.
    pub(super) ms: u64,
    pub(super) acknowledged: u64,
    pub(super) forwarded: u64,
    pub(super) refused: u64,
    pub(super) requests: u64,
    /// Acknowledged calls for each request; none without a request.
    pub(super) saving: Option<f64>,
    pub(super) ack_p50_us: Option<f64>,
    pub(super) ack_p99_us: Option<f64>,
    pub(super) cache: Lookups,
    /// Failed attempts by how they failed.
    pub(super) failed: BTreeMap<&'static str, u64>,
}

/// A point of the plots.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Sample {
    /// Its end, Unix milliseconds.
    at: u64,
    /// How long it is, milliseconds.
    ms: u64,
    acknowledged: u64,
    forwarded: u64,
    requests: u64,
    ack_p50_us: Option<f64>,
    ack_p99_us: Option<f64>,
}

/// Samples of the last hour, and totals of the last minute.
#[derive(Debug)]
pub(super) struct History {
    samples: VecDeque<Sample>,
    /// Oldest first; never empty but for a moment in `record`.
    totals: VecDeque<Totals>,
}

impl History {
    /// It begins with these totals.
    pub(super) fn new(first: Totals) -> Self {
        Self {
            samples: VecDeque::new(),
            totals: VecDeque::from([first]),
        }
    }

    /// One more sample: what came since the last one.
    pub(super) fn record(&mut self, now: Totals) {
        if let Some(last) = self.totals.back() {
            let span = now.since(last);
            if self.samples.len() >= MOST_SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back(Sample {
                at: now.at_ms,
                ms: span.ms,
                acknowledged: span.acknowledged,
                forwarded: span.forwarded,
                requests: span.requests,
                ack_p50_us: span.ack_p50_us,
                ack_p99_us: span.ack_p99_us,
            });
        }
        if self.totals.len() >= MOST_TOTALS {
            self.totals.pop_front();
        }
        self.totals.push_back(now);
    }

    /// What came in the last minute, or since the start.
    pub(super) fn last_minute(&self, now: &Totals) -> Span {
        now.since(self.totals.front().unwrap_or(now))
    }

    /// Oldest first.
    pub(super) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter()
    }

    /// The newest one.
    pub(super) fn newest(&self) -> Option<&Sample> {
        self.samples.back()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls stay far below 2^52"
)]
fn saving(calls: u64, requests: u64) -> Option<f64> {
    (requests > 0).then(|| calls as f64 / requests as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(start: Instant, seconds: u64, acknowledged: u64, requests: u64) -> Totals {
        Totals {
            at: start + Duration::from_secs(seconds),
            at_ms: seconds * 1_000,
            acknowledged,
            forwarded: seconds,
            refused: 0,
            requests,
            cache: Lookups::default(),
            failed: [seconds, 0, 0, 0, 0, 0, 0, 0, 0],
            ack: AckTimes::default(),
        }
    }

    #[test]
    fn the_last_minute_slides_and_an_hour_of_samples_is_kept() {
        let start = Instant::now();
        let mut history = History::new(totals(start, 0, 0, 0));
        assert_eq!(history.last_minute(&totals(start, 2, 10, 5)).ms, 2_000);
        for number in 1..=800 {
            history.record(totals(start, number * 5, number * 40, number * 10));
        }
        assert_eq!(history.samples().count(), MOST_SAMPLES);
        let first = history.samples().next().unwrap();
        assert_eq!(
            (first.at, first.ms, first.acknowledged),
            (81 * 5_000, 5_000, 40)
        );
        assert_eq!(history.newest().unwrap().at, 4_000_000);
        let minute = history.last_minute(&totals(start, 4_005, 801 * 40, 801 * 10));
        assert_eq!((minute.ms, minute.acknowledged), (60_000, 480));
        assert_eq!((minute.requests, minute.saving), (120, Some(4.0)));
        assert_eq!(minute.failed, BTreeMap::from([("rejected", 60)]));
    }

    #[test]
    fn without_a_request_there_is_no_saving_and_without_an_acknowledgement_no_latency() {
        let start = Instant::now();
        let history = History::new(totals(start, 0, 0, 0));
        let minute = history.last_minute(&totals(start, 5, 7, 0));
        assert_eq!(
            (minute.saving, minute.ack_p50_us, minute.ack_p99_us),
            (None, None, None)
        );
    }
}
