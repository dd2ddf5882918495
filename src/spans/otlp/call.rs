//! Spans of calls, and of the exchanges with the application that they bring about.

use super::{Ids, Origin, Recorder, Spans, head, known_method, method_attribute};
use crate::spans::texts::shorten;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri};
use opentelemetry::trace::{Span as _, SpanBuilder, SpanContext, SpanKind, Status};
use opentelemetry::trace::{TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;
use parking_lot::Mutex;
use std::sync::Arc;

/// The span of a call, if it is recorded.
#[derive(Debug, Default)]
pub(crate) struct CallSpan(Option<Box<Recorded>>);

#[derive(Debug)]
struct Recorded {
    recorder: Arc<Recorder>,
    context: SpanContext,
    /// The call's head named the trace.
    is_continued: bool,
    method: &'static str,
    // Held for the moment in which the span ends; clones of the call's note share it.
    span: Mutex<Span>,
}

/// The span of an exchange, if it is recorded. Dropped before its end it says nothing of an answer.
#[derive(Debug)]
pub(crate) struct ExchangeSpan(Option<Span>);

impl Spans {
    /// Begins the span of a call, below the trace that its head names.
    pub(crate) fn begin_call(&self, parts: &Parts) -> CallSpan {
        let Some(recorder) = &self.0 else {
            return CallSpan::default();
        };
        let parent = head::read_parent(&parts.headers);
        let is_continued = parent.is_some();
        let method = known_method(&parts.method).unwrap_or("HTTP");
        let builder = SpanBuilder::from_name(method).with_kind(SpanKind::Server);
        let parent = parent.unwrap_or_default();
        let mut span = recorder.tracer.build_with_context(builder, &parent);
        if !span.span_context().is_sampled() {
            return CallSpan::default();
        }
        span.set_attribute(method_attribute(&parts.method));
        span.set_attribute(KeyValue::new(
            "url.path",
            shorten(parts.uri.path()).into_owned(),
        ));
        CallSpan(Some(Box::new(Recorded {
            recorder: Arc::clone(recorder),
            context: span.span_context().clone(),
            is_continued,
            method,
            span: Mutex::new(span),
        })))
    }
}

impl CallSpan {
    /// Whether it is recorded.
    pub(crate) const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Where an event of the call comes from.
    pub(crate) fn origin(&self) -> Origin {
        let ids = |recorded: &Recorded| {
            Box::new(Ids {
                trace: recorded.context.trace_id().to_bytes(),
                span: recorded.context.span_id().to_bytes(),
            })
        };
        Origin(self.0.as_deref().map(ids))
    }

    /// Begins the span of an exchange with the application at `uri`, and has the request's head name
    /// it. Where the call isn't recorded, the head stays as it is.
    pub(crate) fn begin_exchange(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &mut HeaderMap,
    ) -> ExchangeSpan {
        let Some(call) = &self.0 else {
            return ExchangeSpan(None);
        };
        let name = known_method(method).unwrap_or("HTTP");
        let builder = SpanBuilder::from_name(name).with_kind(SpanKind::Client);
        let parent = Context::new().with_remote_span_context(call.context.clone());
        let mut span = call.recorder.tracer.build_with_context(builder, &parent);
        span.set_attribute(method_attribute(method));
        if let Some(host) = uri.host() {
            span.set_attribute(KeyValue::new("server.address", host.to_owned()));
        }
        if let Some(port) = uri.port_u16() {
            span.set_attribute(KeyValue::new("server.port", i64::from(port)));
        }
        head::write_parent(span.span_context(), call.is_continued, headers);
        ExchangeSpan(Some(span))
    }

    /// The call was answered with this status. `decided`: what was done with it, and why; `route`:
    /// the rule that it met.
    pub(crate) fn end(
        &self,
        status: StatusCode,
        decided: (Option<&'static str>, Option<&str>),
        route: Option<&str>,
    ) {
        let Some(call) = &self.0 else { return };
        let mut span = call.span.lock();
        let (decision, reason) = decided;
        if let Some(decision) = decision {
            span.set_attribute(KeyValue::new("tidegate.decision", decision));
        }
        if let Some(reason) = reason {
            span.set_attribute(KeyValue::new("tidegate.reason", reason.to_owned()));
        }
        if let Some(route) = route {
            span.update_name(format!("{} {route}", call.method));
            span.set_attribute(KeyValue::new("http.route", route.to_owned()));
        }
        note_status(&mut span, status, status.is_server_error());
        span.end();
    }
}

impl ExchangeSpan {
    /// What the application said: a status, or nothing, for this reason.
    pub(crate) fn end(self, said: Result<StatusCode, &'static str>) {
        let Some(mut span) = self.0 else { return };
        match said {
            Ok(status) => {
                let failed = status.is_client_error() || status.is_server_error();
                note_status(&mut span, status, failed);
            }
            Err(error) => {
                span.set_attribute(KeyValue::new("error.type", error));
                span.set_status(Status::error(error));
            }
        }
        span.end();
    }
}

/// A status of which the conventions say whether it is a failure of this side.
pub(super) fn note_status(span: &mut Span, status: StatusCode, failed: bool) {
    let code = i64::from(status.as_u16());
    span.set_attribute(KeyValue::new("http.response.status_code", code));
    if failed {
        span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
        span.set_status(Status::error(""));
    }
}
