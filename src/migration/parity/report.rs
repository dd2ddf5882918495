//! What is told of the comparison: the document of `GET /parity`. It names routes, groups, places of
//! bodies, headers and reasons, JSON types and lengths, statuses and ids of events; it holds no value
//! of a body but booleans and null, and of headers only Content-Type and Cache-Control.

use super::kind::Kind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All that is told. Times are in the unit that a name ends with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Version of this document: 1.
    pub schema: u32,
    /// Since when calls are compared, RFC 3339.
    pub since: String,
    /// For how long.
    pub seconds: u64,
    /// The shadow target; none: a dry run, no target was asked.
    pub target: Option<String>,
    /// The target is the application that has the single calls.
    pub target_holds_singles: bool,
    /// Fewer compared events give no `go`.
    pub min_events: u64,
    /// Part of the events that may disagree.
    pub max_rate: f64,
    /// Routes that a call was copied of.
    pub routes: Vec<RouteReport>,
    /// Groups of these routes.
    pub groups: Vec<GroupReport>,
    /// State checks, of all routes together.
    pub states: Vec<StateReport>,
}

impl Report {
    /// There is a route, and every one is `go`.
    #[must_use]
    pub fn is_go(&self) -> bool {
        let is_go = |route: &RouteReport| route.verdict.decision == Decision::Go;
        !self.routes.is_empty() && self.routes.iter().all(is_go)
    }
}

/// Whether a route may go on to `coalesce`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may.
    Go,
    /// It may not.
    NoGo,
    /// Too little is known, or what is known is unclear.
    NotYet,
}

/// What is said of a route, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The decision.
    pub decision: Decision,
    /// Sentences, the reason first.
    pub why: Vec<String>,
}

/// What is told of an `[[event]]` route.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RouteReport {
    /// Its name, or its method and path.
    pub route: String,
    /// Its `[batch.NAME]`.
    pub group: String,
    /// The verdict.
    pub verdict: Verdict,
    /// Calls: `declined`, `shed`, `compared`, those that said nothing, and `pending`.
    pub calls: u64,
    /// Calls that live would be forwarded or refused, by the reason.
    pub declined: BTreeMap<String, u64>,
    /// Calls that there was no room for; they are in no other figure.
    pub shed: u64,
    /// Calls whose outcome isn't known yet.
    pub pending: u64,
    /// Events that agree or disagree.
    pub compared: u64,
    /// Those that agree.
    pub agreements: u64,
    /// Those that disagree, each counted once.
    pub disagreements: u64,
    /// Those among the compared that were repetitions.
    pub repetitions: u64,
    /// Events that say nothing, by the reason; not compared.
    pub silent: BTreeMap<String, u64>,
    /// Compared events of which a body was cut off or packed, so that it wasn't looked into.
    pub unread: u64,
    /// Events whose single call the application refused, and whose acknowledgement says yes.
    #[serde(default)]
    pub acknowledged_refusals: u64,
    /// `disagreements` by `compared`.
    pub rate: f64,
    /// At least so many of all events disagree, 19 times in 20.
    pub rate_low: f64,
    /// At most so many do.
    pub rate_high: f64,
    /// The kinds that came.
    pub kinds: Vec<KindReport>,
    /// Members that no mapping names, and in how many events.
    pub missed: BTreeMap<String, u64>,
    /// Reasons for which batches refused events.
    pub refused: BTreeMap<String, u64>,
    /// Statuses of the single calls.
    pub statuses: BTreeMap<String, u64>,
    /// Places whose differences were left out since no acknowledgement can know them.
    pub left_out: Vec<LeftOut>,
    /// How long the single calls took.
    pub single: Durations,
    /// How long the exchanges of their batches took, by events.
    pub batch: Durations,
    /// From a call to its outcome.
    pub waited: Durations,
}

/// A kind of disagreement.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KindReport {
    /// Which.
    pub kind: Kind,
    /// Events that have it.
    pub events: u64,
    /// Where, and in how many events.
    pub places: BTreeMap<String, u64>,
    /// The first ones.
    pub examples: Vec<Example>,
}

/// An event that disagrees.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Example {
    /// Its id, as logs have it.
    pub event: String,
    /// Where it disagrees.
    pub place: String,
    /// What the acknowledgement or the batch says there.
    pub batched: String,
    /// What the application says to the single call.
    pub single: String,
}

/// A place whose differences were left out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeftOut {
    /// Where.
    pub place: String,
    /// What it holds: `time`, `id` or `number`.
    pub what: String,
    /// In how many answers it differed.
    pub answers: u64,
}

/// How long things took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    /// How many there were.
    pub count: u64,
    /// Half of them took at most so long, to two digits.
    pub p50_us: u64,
    /// 95 percent did.
    pub p95_us: u64,
    /// All did; ten minutes at most are told apart.
    pub longest_us: u64,
}

/// What is told of a `[batch.NAME]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its name.
    pub group: String,
    /// Events whose batches are out, and repetitions, which no batch holds again.
    pub calls: u64,
    /// Calls out.
    pub batches: u64,
}

impl GroupReport {
    /// Calls in for each call out; none before the first one went out.
    #[must_use]
    pub fn saving(&self) -> Option<f64> {
        let batches = super::bounds::as_float(self.batches);
        (self.batches > 0).then(|| super::bounds::as_float(self.calls) / batches)
    }
}

/// What is told of a state check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StateReport {
    /// What was read.
    pub path: String,
    /// How often both sides were compared.
    pub checks: u64,
    /// How often that wasn't possible: a side had no answer, no 2xx, or no JSON.
    #[serde(default)]
    pub failed: u64,
    /// How often something differed.
    pub differing: u64,
    /// Where, and in how many checks.
    pub places: BTreeMap<String, u64>,
    /// Places that were left out: they differ between two reads of one application, or hold times
    /// or ids that differ.
    pub left_out: BTreeMap<String, u64>,
    /// The first differences: `place`, and what each of the two says there.
    pub examples: Vec<Example>,
}
