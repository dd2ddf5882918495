//! What the learners measure, all of them together.

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A write that was answered with 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    /// Who made it.
    pub user: Arc<str>,
    /// What it told.
    pub told: Told,
}

/// What a write tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// One event, by its id.
    Event(Box<str>),
    /// The whole state of a course; a later one holds all that an earlier one does.
    Snapshot {
        /// Its course.
        course: Arc<str>,
        /// Time spent on it, which grows with every snapshot.
        seconds: u64,
    },
}

/// One counter.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// So far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters and the latency of acknowledgements.
#[derive(Debug)]
pub struct Tally {
    /// Calls that write; a repeated try is the same call.
    pub writes: Count,
    /// Calls that read.
    pub reads: Count,
    /// Writes acknowledged by the sidecar itself.
    pub acknowledged_here: Count,
    /// Writes that the upstream answered.
    pub forwarded: Count,
    /// Writes given up after 4xx or too many tries: their event was never promised to be kept.
    pub refused: Count,
    /// Tries repeated after 429, 5xx or a broken connection.
    pub repeated: Count,
    /// Token refreshes.
    pub refreshes: Count,
    /// Learners that could not log in.
    pub locked_out: Count,
    /// Answers of cache routes.
    pub cache_answers: Count,
    /// Those that came from memory.
    pub cache_hits: Count,
    /// Reads that failed.
    pub failed_reads: Count,
    /// Reads that showed less than what had been acknowledged to their learner.
    pub stale: Count,
    /// Those that the sidecar sent past the cache, because the pending events took too long to
    /// arrive.
    pub stale_past_barrier: Count,
    /// Learners that are logged in.
    pub learners: Count,
    /// Plain locks, held for one record or one push.
    latency: Mutex<Histogram<u64>>,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

/// Latencies of acknowledgements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latency {
    /// Half are faster, µs.
    pub p50: u64,
    /// 99 of 100 are faster, µs.
    pub p99: u64,
}

impl Tally {
    /// All at zero.
    ///
    /// # Errors
    /// The histogram's bounds make no sense: a mistake of this file.
    pub fn try_new() -> Result<Self, hdrhistogram::CreationError> {
        // 1 µs to 60 s, three digits.
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        Ok(Self {
            writes: Count::default(),
            reads: Count::default(),
            acknowledged_here: Count::default(),
            forwarded: Count::default(),
            refused: Count::default(),
            repeated: Count::default(),
            refreshes: Count::default(),
            locked_out: Count::default(),
            cache_answers: Count::default(),
            cache_hits: Count::default(),
            failed_reads: Count::default(),
            stale: Count::default(),
            stale_past_barrier: Count::default(),
            learners: Count::default(),
            latency: Mutex::new(latency),
            acknowledged: Mutex::default(),
        })
    }

    /// Calls of both kinds: what the upstream would have to answer without a sidecar.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.writes.get() + self.reads.get()
    }

    /// The sidecar acknowledged within this time.
    pub fn acknowledged_in(&self, time: Duration) {
        self.acknowledged_here.add();
        self.latency
            .lock()
            .saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// A write was answered with 2xx: from here on it must not be lost.
    pub fn promise(&self, event: Acknowledged) {
        self.acknowledged.lock().push(event);
    }

    /// Everything promised, in the order of the promises.
    #[must_use]
    pub fn promised(&self) -> Vec<Acknowledged> {
        self.acknowledged.lock().clone()
    }

    /// Quantiles so far.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let latency = self.latency.lock();
        Latency {
            p50: latency.value_at_quantile(0.50),
            p99: latency.value_at_quantile(0.99),
        }
    }
}
