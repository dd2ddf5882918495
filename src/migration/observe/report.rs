//! What is told of the calls that were observed: the document of `GET /observe`. It names groups,
//! routes, reasons, headers and cookies, and counts; nothing of a body, an id, a user or a
//! credential.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All that is told. Times are in the unit that a name ends with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Version of this document: 1.
    pub schema: u32,
    /// Since when calls are observed, RFC 3339.
    pub since: String,
    /// How long the observer runs.
    pub seconds: u64,
    /// Calls that the observer had no room for; they are in no other figure.
    pub shed: u64,
    /// The paper runs hold one user in so many.
    pub one_in: u64,
    /// Users in them, at most 10,000 counted.
    pub users: u64,
    /// Percent by which a saving may be off for that, 19 times in 20; 0: nothing was left out.
    pub error_percent: f64,
    /// What makes one caller's calls differ, so that they share no batch; of all routes, in
    /// whatever mode, since the start.
    pub splits: Vec<Split>,
    /// One for each group that a call was observed for.
    pub groups: Vec<GroupReport>,
}

/// A header, cookie or member that differs from call to call of one caller.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Split {
    /// Its name.
    pub part: String,
    /// Calls that differed in it from the one before.
    pub calls: u64,
}

/// What is told of a `[batch.NAME]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its name.
    pub group: String,
    /// From its first observed call to the last.
    pub seconds: u64,
    /// Calls that were observed: events, duplicates and declined ones.
    pub calls: u64,
    /// Those that would have been acknowledged as events.
    pub events: u64,
    /// Those that would have been answered as repetitions.
    pub duplicates: u64,
    /// Those that would have been forwarded or refused.
    pub declined: u64,
    /// Its routes.
    pub routes: Vec<RouteReport>,
    /// What each arrangement would have saved.
    pub arrangements: Vec<Figures>,
    /// What is recommended, or why nothing is.
    pub advice: Advice,
    /// The last 60 minutes at most, oldest first.
    pub minutes: Vec<Minute>,
}

/// What is told of an `[[event]]` route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteReport {
    /// Its name, or its method and path.
    pub route: String,
    /// Calls that were observed.
    pub calls: u64,
    /// Why some would have been forwarded or refused, and how many.
    pub declined: BTreeMap<String, u64>,
}

/// One arrangement, and what it would have made of the events whose windows are over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// `window`.
    pub window_ms: u64,
    /// `flush_at`.
    pub flush_at: usize,
    /// `flush_at` is `max_events`: a window is sealed by its count only when a batch is full.
    pub full: bool,
    /// `pack`: `user` or `shared`.
    pub pack: String,
    /// `keep`: `all` or `newest`.
    pub keep: String,
    /// It is how the group is configured.
    pub configured: bool,
    /// Calls out.
    pub batches: u64,
    /// Events in them.
    pub sent: u64,
    /// Events that a newer one made needless.
    pub superseded: u64,
    /// How long half of the events that were sent had waited.
    pub wait_p50_ms: u64,
    /// How long 95 percent had waited at most.
    pub wait_p95_ms: u64,
    /// How long all had.
    pub wait_longest_ms: u64,
}

impl Figures {
    /// Calls in for each call out; 1 without calls.
    #[must_use]
    pub fn saving(&self) -> f64 {
        if self.batches == 0 {
            return 1.0;
        }
        as_float(self.sent + self.superseded) / as_float(self.batches)
    }

    /// The part of the calls that would have been saved, 0 to 1.
    #[must_use]
    pub fn saved(&self) -> f64 {
        1.0 - 1.0 / self.saving().max(1.0)
    }
}

/// A count, as what it is divided by. Exact up to 2^52.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of calls stay far below 2^52"
)]
pub const fn as_float(count: u64) -> f64 {
    count as f64
}

/// What is recommended for a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Advice {
    /// The arrangement; none: nothing is recommended.
    pub arrangement: Option<Figures>,
    /// Why it is, or why none is: sentences.
    pub why: Vec<String>,
    /// Lines for the group's section of the configuration.
    pub toml: Option<String>,
}

/// One minute of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Minute {
    /// How many minutes before this one it was.
    pub ago: u64,
    /// Calls that came: the application had all of them.
    pub calls: u64,
    /// Calls that the application would have had with the group as it is configured.
    pub after_configured: u64,
    /// As the advice has it.
    pub after_advised: Option<u64>,
}
