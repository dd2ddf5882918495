//! Spans: what a trace says of calls, of exchanges with the application and of batches (`[trace]`),
//! by OpenTelemetry.
//!
//! Constraints: a call never waits for a span, and a build without the feature `otlp` pays nothing,
//! since all types here hold nothing then (`off.rs`). With the feature but without `[trace]`, and of
//! a call that isn't sampled, nothing is recorded and no header is touched.
//!
//! A call's span continues the trace that its `traceparent` names. It travels with the call's note
//! among the call's extensions; what the call is forwarded by begins a span below it, and the
//! request says so in its `traceparent`. An acknowledged event keeps the [`Origin`] of its call, in
//! memory only: the journal doesn't know it. A batch's span has links to the origins of its events.
//! Spans that have ended go through a bounded queue to one task, which sends them; one that finds the
//! queue full is lost and counted.

#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod otlp;
mod settings;
mod texts;

#[cfg(not(feature = "otlp"))]
use off as twin;
#[cfg(feature = "otlp")]
use otlp as twin;

pub use settings::{Encoding, TraceSettings};
pub(crate) use texts::shorten;
pub(crate) use twin::{BatchSpan, CallSpan};
pub use twin::{Origin, Spans, StartError};

use prometheus::IntCounter;

/// Whether this build can record spans: it has the feature `otlp`.
pub const IS_BUILT_IN: bool = cfg!(feature = "otlp");

/// What is counted of spans.
#[derive(Debug, Clone)]
pub struct Counters {
    /// Spans that the collector took.
    pub sent: IntCounter,
    /// Spans that found the queue full, or that the collector didn't take.
    pub lost: IntCounter,
}
