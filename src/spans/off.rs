//! The twin of `otlp.rs` in builds without the feature: it holds nothing and does nothing.

use super::{Counters, TraceSettings};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri};
use std::convert::Infallible;

/// There is nothing that could fail.
pub type StartError = Infallible;

/// Records nothing.
#[derive(Debug, Clone, Default)]
pub struct Spans(());

/// Of a call of which nothing is recorded.
#[derive(Debug, Default)]
pub(crate) struct CallSpan(());

/// Of a call of which nothing is recorded.
#[derive(Debug, Default)]
pub struct Origin(());

/// Of an exchange of which nothing is recorded.
#[derive(Debug)]
pub(crate) struct ExchangeSpan;

/// Of a batch of which nothing is recorded.
#[derive(Debug)]
pub(crate) struct BatchSpan;

impl Spans {
    /// Records nothing: in such a build no configuration has `[trace]`.
    ///
    /// # Errors
    /// Never.
    pub fn start(_: &TraceSettings, _: Counters) -> Result<Self, StartError> {
        Ok(Self(()))
    }

    /// Whether anything is recorded.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        false
    }

    pub(crate) const fn begin_call(&self, _: &Parts) -> CallSpan {
        CallSpan(())
    }

    pub(crate) fn begin_batch<'a>(
        &self,
        _: &str,
        _: bool,
        _: impl Iterator<Item = &'a Origin>,
    ) -> BatchSpan {
        BatchSpan
    }

    /// Nothing waits to be sent.
    pub async fn flush(&self) {}
}

impl CallSpan {
    pub(crate) const fn is_on(&self) -> bool {
        false
    }

    pub(crate) const fn origin(&self) -> Origin {
        Origin(())
    }

    pub(crate) const fn begin_exchange(
        &self,
        _: &Method,
        _: &Uri,
        _: &mut HeaderMap,
    ) -> ExchangeSpan {
        ExchangeSpan
    }

    pub(crate) const fn end(
        &self,
        _: StatusCode,
        _: (Option<&'static str>, Option<&str>),
        _: Option<&str>,
    ) {
    }
}

impl ExchangeSpan {
    pub(crate) fn end(self, _: Result<StatusCode, &'static str>) {}
}

impl BatchSpan {
    pub(crate) const fn write_parent(&self, _: &mut HeaderMap) {}

    pub(crate) fn end(self, _: usize, _: u32, _: Option<StatusCode>, _: &'static str) {}
}
