//! A stand-in for a collector of OpenTelemetry that takes spans as JSON.

use super::upstream::{FakeUpstream, Seen, answer};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The collector.
pub struct Collector(FakeUpstream);

impl Collector {
    pub async fn start() -> Self {
        let fake = FakeUpstream::start().await;
        fake.answer_with(|_| Some(answer(200, json!({}))));
        Self(fake)
    }

    pub const fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// It takes requests from now on, and answers none.
    pub fn close_gate(&self) {
        self.0.close_gate();
    }

    /// The requests that came so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.0.seen()
    }

    /// The spans that came so far.
    pub fn spans(&self) -> Vec<Span> {
        self.requests().iter().flat_map(spans_of).collect()
    }

    /// The first span that is wanted, when it is there.
    pub async fn until_span(&self, wanted: impl Fn(&Span) -> bool) -> Span {
        let is_wanted = |seen: &Seen| spans_of(seen).iter().any(&wanted);
        self.0.until(|seen| seen.iter().any(is_wanted)).await;
        self.spans().into_iter().find(wanted).unwrap()
    }
}

/// A span as it came.
#[derive(Debug, Clone)]
pub struct Span(pub Value);

impl Span {
    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }

    pub fn name(&self) -> &str {
        self.text("name")
    }

    /// Of its trace.
    pub fn trace(&self) -> &str {
        self.text("traceId")
    }

    pub fn id(&self) -> &str {
        self.text("spanId")
    }

    pub fn parent(&self) -> &str {
        self.text("parentSpanId")
    }

    /// Another service called this one in it.
    pub fn is_server(&self) -> bool {
        self.0["kind"] == 2
    }

    /// This service called another one in it.
    pub fn is_client(&self) -> bool {
        self.0["kind"] == 3
    }

    /// An attribute as text; empty without it.
    pub fn attribute(&self, name: &str) -> String {
        attribute(&self.0["attributes"], name)
    }

    /// Trace and span of each link.
    pub fn links(&self) -> Vec<(String, String)> {
        let links = self.0["links"].as_array().cloned().unwrap_or_default();
        let id = |link: &Value, name: &str| link[name].as_str().unwrap().to_owned();
        links
            .iter()
            .map(|link| (id(link, "traceId"), id(link, "spanId")))
            .collect()
    }

    /// What a request's head says that names this span.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace(), self.id())
    }
}

/// An attribute of a list as text; empty without it.
pub fn attribute(all: &Value, name: &str) -> String {
    let all = all.as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|one| one["key"] == name);
    let value = found.and_then(|one| one["value"].as_object()?.values().next().cloned());
    match value {
        None => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    }
}

fn spans_of(seen: &Seen) -> Vec<Span> {
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    let list = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
    let resources = list(&body, "resourceSpans").into_iter();
    let scopes = resources.flat_map(|resource| list(&resource, "scopeSpans"));
    let spans = scopes.flat_map(|scope| list(&scope, "spans"));
    spans.map(Span).collect()
}
