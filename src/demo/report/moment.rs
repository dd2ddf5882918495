//! The demo's numbers at one moment.

use super::numbers::ratio;
use super::run::Run;
use crate::demo::application::census::Calls;
use crate::demo::learners::tally::{Latency, Tally};
use crate::metrics::Ledger;
use std::net::SocketAddr;
use std::time::Duration;

/// What stays the same through a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scene {
    /// What was asked for.
    pub run: Run,
    /// The sidecar's public address.
    pub address: SocketAddr,
    /// Its admin address.
    pub admin: SocketAddr,
}

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// Since the learners began.
    pub elapsed: Duration,
    /// Learners that are logged in.
    pub learners: u64,
    /// Calls that write.
    pub writes: u64,
    /// Calls that read.
    pub reads: u64,
    /// What reached the upstream.
    pub upstream: Calls,
    /// Acknowledgements.
    pub latency: Latency,
    /// Reads on cache routes.
    pub cache_answers: u64,
    /// Those from memory.
    pub cache_hits: u64,
    /// Reads that showed less than was acknowledged.
    pub stale: u64,
    /// The sidecar's own ledger.
    pub ledger: Ledger,
    /// Age of the oldest acknowledged event that has not arrived.
    pub oldest: Option<Duration>,
}

impl Moment {
    /// The learners' and the upstream's numbers, now.
    #[must_use]
    pub fn of(
        elapsed: Duration,
        tally: &Tally,
        upstream: Calls,
        ledger: Ledger,
        oldest: Option<Duration>,
    ) -> Self {
        Self {
            elapsed,
            learners: tally.learners.get(),
            writes: tally.writes.get(),
            reads: tally.reads.get(),
            upstream,
            latency: tally.latency(),
            cache_answers: tally.cache_answers.get(),
            cache_hits: tally.cache_hits.get(),
            stale: tally.stale.get(),
            ledger,
            oldest,
        }
    }

    /// Calls of the learners: what the upstream would have answered without a sidecar.
    #[must_use]
    pub const fn calls(&self) -> u64 {
        self.writes + self.reads
    }

    /// How many calls of the learners one call of the upstream stands for.
    #[must_use]
    pub fn reduction(&self) -> f64 {
        ratio(self.calls(), self.upstream.work())
    }

    /// The same for writes alone.
    #[must_use]
    pub fn write_reduction(&self) -> f64 {
        ratio(self.writes, self.upstream.writes())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn moment(writes: u64, reads: u64, batches: u64) -> Moment {
        let upstream = Calls {
            progress_batches: batches,
            reads: 10,
            auth: 99,
            ..Calls::default()
        };
        Moment {
            elapsed: Duration::from_secs(1),
            learners: 5,
            writes,
            reads,
            upstream,
            latency: Latency {
                p50: 310,
                p99: 1_900,
            },
            cache_answers: 4,
            cache_hits: 3,
            stale: 0,
            ledger: Ledger::default(),
            oldest: Some(Duration::from_millis(480)),
        }
    }

    #[test]
    fn the_reduction_is_calls_in_over_calls_out_without_logins() {
        assert!((moment(400, 50, 80).reduction() - 5.0).abs() < 1e-9);
        assert!((moment(400, 50, 80).write_reduction() - 5.0).abs() < 1e-9);
        assert!(
            (moment(400, 0, 80).write_reduction() - moment(400, 99, 80).write_reduction()).abs()
                < 1e-9
        );
        assert!(moment(0, 0, 0).reduction().abs() < 1e-9);
    }
}
