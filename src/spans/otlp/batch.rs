//! Spans of attempts to deliver a batch.

use super::call::note_status;
use super::{Origin, Spans, head};
use http::{HeaderMap, StatusCode};
use opentelemetry::trace::{Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status};
use opentelemetry::trace::{TraceContextExt as _, TraceFlags, TraceId, TraceState, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;

/// Most links of a span: calls beyond are left out.
const MOST_LINKS: usize = 128;

/// The span of an attempt, if one of its calls is recorded. Dropped before its end it says nothing of
/// a verdict.
#[derive(Debug)]
pub(crate) struct BatchSpan(Option<Recorded>);

#[derive(Debug)]
struct Recorded {
    span: Span,
    /// It repeats one call, and belongs to that call's trace.
    is_single: bool,
}

impl Origin {
    fn context(&self) -> Option<SpanContext> {
        let ids = self.0.as_deref()?;
        let trace = TraceId::from_bytes(ids.trace);
        let span = SpanId::from_bytes(ids.span);
        let (flags, state) = (TraceFlags::SAMPLED, TraceState::default());
        Some(SpanContext::new(trace, span, flags, false, state))
    }
}

impl Spans {
    /// Begins the span of an attempt to deliver events of a group, with links to the spans of the
    /// calls that they came in. A single call that is repeated stays in its own trace; a batch begins
    /// one.
    pub(crate) fn begin_batch<'a>(
        &self,
        group: &str,
        is_single: bool,
        origins: impl Iterator<Item = &'a Origin>,
    ) -> BatchSpan {
        let Some(recorder) = &self.0 else {
            return BatchSpan(None);
        };
        let contexts: Vec<_> = origins
            .filter_map(Origin::context)
            .take(MOST_LINKS)
            .collect();
        let Some(first) = contexts.first() else {
            return BatchSpan(None);
        };
        let parent = if is_single {
            Context::new().with_remote_span_context(first.clone())
        } else {
            Context::new()
        };
        let links = contexts.into_iter().map(Link::with_context).collect();
        let builder = SpanBuilder::from_name(format!("batch {group}"))
            .with_kind(SpanKind::Client)
            .with_links(links);
        let mut span = recorder.tracer.build_with_context(builder, &parent);
        span.set_attribute(KeyValue::new("tidegate.group", group.to_owned()));
        BatchSpan(Some(Recorded { span, is_single }))
    }
}

impl BatchSpan {
    /// Has the head of the attempt's request name the span. Where there is none, the head stays as it
    /// is.
    pub(crate) fn write_parent(&self, headers: &mut HeaderMap) {
        if let Some(recorded) = &self.0 {
            head::write_parent(recorded.span.span_context(), recorded.is_single, headers);
        }
    }

    /// The attempt is over. `events`: how many it brought; `attempt`: its number, from 1; `status`: of
    /// the answer, if there was one.
    pub(crate) fn end(
        self,
        events: usize,
        attempt: u32,
        status: Option<StatusCode>,
        verdict: &'static str,
    ) {
        let Some(Recorded { mut span, .. }) = self.0 else {
            return;
        };
        let events = i64::try_from(events).unwrap_or(i64::MAX);
        span.set_attribute(KeyValue::new("tidegate.events", events));
        span.set_attribute(KeyValue::new("tidegate.attempt", i64::from(attempt)));
        span.set_attribute(KeyValue::new("tidegate.verdict", verdict));
        match status {
            Some(status) => {
                let failed = status.is_client_error() || status.is_server_error();
                note_status(&mut span, status, failed);
            }
            None => {
                span.set_attribute(KeyValue::new("error.type", verdict));
                span.set_status(Status::error(""));
            }
        }
        span.end();
    }
}
