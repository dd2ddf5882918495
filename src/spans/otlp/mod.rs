//! Spans by the OpenTelemetry crates (feature `otlp`). Nothing global: several sidecars may live in
//! one process, each with its own collector.

mod batch;
mod call;
mod head;
mod queue;
mod sampler;
mod sender;

pub(crate) use batch::BatchSpan;
pub(crate) use call::CallSpan;
pub use sender::StartError;

use super::{Counters, TraceSettings};
use http::Method;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use queue::Queue;
use sampler::sampler_of;
use std::sync::Arc;

/// Records spans; clones share the queue. By default nothing is recorded.
#[derive(Debug, Clone, Default)]
pub struct Spans(Option<Arc<Recorder>>);

#[derive(Debug)]
struct Recorder {
    tracer: SdkTracer,
    queue: Queue,
    /// The tracer's own; it ends with the last span.
    _provider: SdkTracerProvider,
}

/// The span of the call that an event came in. Boxed, since it lies in each pending event, and most
/// have none.
#[derive(Debug, Default)]
pub struct Origin(Option<Box<Ids>>);

#[derive(Debug)]
struct Ids {
    trace: [u8; 16],
    span: [u8; 8],
}

impl Spans {
    /// Records spans for the collector of these settings. Nothing is connected yet; spans are sent by
    /// a task of the runtime that this is called in, which ends with the last clone.
    ///
    /// # Errors
    /// The system's root certificates can't be had, where the collector has `https`.
    pub fn start(settings: &TraceSettings, counters: Counters) -> Result<Self, StartError> {
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let exporter = sender::exporter_of(settings, &resource)?;
        let queue = Queue::start(exporter, counters);
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler_of(settings.sample))
            .with_span_processor(queue.clone())
            .build();
        let scope = InstrumentationScope::builder("tidegate")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        let tracer = provider.tracer_with_scope(scope);
        Ok(Self(Some(Arc::new(Recorder {
            tracer,
            queue,
            _provider: provider,
        }))))
    }

    /// Whether anything is recorded.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until every span that has ended before is sent, or is known not to be.
    ///
    /// # Cancel safety
    /// Spans that are not sent by then stay in the queue.
    pub async fn flush(&self) {
        if let Some(recorder) = &self.0 {
            recorder.queue.flush().await;
        }
    }
}

/// Methods by their names; others, which any client can make up, are one (HTTP semantic conventions
/// of OpenTelemetry).
fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

/// The attribute that says the method.
fn method_attribute(method: &Method) -> KeyValue {
    KeyValue::new(
        "http.request.method",
        known_method(method).unwrap_or("_OTHER"),
    )
}
