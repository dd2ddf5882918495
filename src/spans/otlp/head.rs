//! W3C Trace Context in the heads of requests.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace that a head names, if it names one; several `traceparent` are none (W3C Trace Context
/// §2.2).
pub(super) fn read_parent(headers: &HeaderMap) -> Option<Context> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    if lines.next().is_none() || lines.next().is_some() {
        return None;
    }
    let parent = TraceContextPropagator::new()
        .extract_with_context(&Context::new(), &HeaderExtractor(headers));
    parent.span().span_context().is_valid().then_some(parent)
}

/// A head names this span as its parent. `keeps_state`: `tracestate` is of the same trace, and goes
/// on as it came.
pub(super) fn write_parent(span: &SpanContext, keeps_state: bool, headers: &mut HeaderMap) {
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    let Ok(value) = HeaderValue::try_from(format!("00-{trace}-{id}-{flags:02x}")) else {
        return;
    };
    headers.insert(TRACEPARENT, value);
    if !keeps_state {
        headers.remove(TRACESTATE);
    }
}
