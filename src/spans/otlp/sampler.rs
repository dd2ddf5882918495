//! Which spans are recorded: those whose trace is recorded already, those of batches whose calls are,
//! and a share of the others.

use opentelemetry::trace::{Link, SpanKind, TraceId, TraceState};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// By a trace's own flag; of what begins a trace this share is recorded.
pub(super) fn sampler_of(share: f64) -> Sampler {
    Sampler::ParentBased(Box::new(OfRoots(Sampler::TraceIdRatioBased(share))))
}

/// Of spans that begin a trace. Only a batch's has links, each to a call that is recorded.
#[derive(Debug, Clone)]
struct OfRoots(Sampler);

impl ShouldSample for OfRoots {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        if links.is_empty() {
            return self
                .0
                .should_sample(parent, trace, name, kind, attributes, links);
        }
        SamplingResult {
            decision: SamplingDecision::RecordAndSample,
            attributes: Vec::new(),
            trace_state: TraceState::default(),
        }
    }
}
