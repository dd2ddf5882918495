//! What is known of one call on its way, for its line.

use crate::event::EventId;
use crate::spans::{CallSpan, shorten};
use http::StatusCode;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// What is known of a call. It travels among the call's extensions, and clones share it: a forwarded
/// call goes on in a task of its own.
#[derive(Debug, Clone)]
pub(crate) struct CallNote(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    request_id: Box<str>,
    /// The call has a line.
    has_line: bool,
    span: CallSpan,
    // Held for a look or a store; each stage of the call writes in its turn.
    noted: Mutex<Noted>,
}

/// What the stages of a call say of it.
#[derive(Debug, Default, Clone)]
pub(super) struct Noted {
    pub(super) decision: Option<&'static str>,
    pub(super) reason: Option<Cow<'static, str>>,
    pub(super) route: Option<Box<str>>,
    pub(super) event: Option<EventId>,
    pub(super) upstream: Option<Duration>,
}

impl CallNote {
    /// `has_line`: the call has a line in the access log, and not only a span.
    pub(super) fn new(request_id: &str, has_line: bool, span: CallSpan) -> Self {
        Self(Arc::new(Shared {
            request_id: shorten(request_id).into(),
            has_line,
            span,
            noted: Mutex::default(),
        }))
    }

    /// `X-Request-Id` of the call, or the id that stands in for it.
    pub(crate) fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// The call has a line in the access log.
    pub(crate) fn has_line(&self) -> bool {
        self.0.has_line
    }

    /// The call's span.
    pub(crate) fn span(&self) -> &CallSpan {
        &self.0.span
    }

    /// The call was answered so: its span ends.
    pub(crate) fn end_span(&self, status: StatusCode) {
        if self.0.span.is_on() {
            let noted = self.noted();
            let decided = (noted.decision, noted.reason.as_deref());
            self.0.span.end(status, decided, noted.route.as_deref());
        }
    }

    /// What is done with the call, and why, each by its one name.
    pub(crate) fn decide(&self, decision: &'static str, reason: Option<Cow<'static, str>>) {
        let mut noted = self.0.noted.lock();
        noted.decision = Some(decision);
        noted.reason = reason;
    }

    /// The rule that the call met.
    pub(crate) fn meet_route(&self, route: &str) {
        self.0.noted.lock().route = Some(route.into());
    }

    /// The event that was acknowledged.
    pub(crate) fn keep_event(&self, event: Option<&EventId>) {
        self.0.noted.lock().event = event.cloned();
    }

    /// The application was asked, and took so long until its answer's head or its failure.
    pub(crate) fn ask_upstream(&self, took: Duration) {
        let mut noted = self.0.noted.lock();
        noted.upstream = Some(noted.upstream.unwrap_or_default() + took);
    }

    pub(super) fn noted(&self) -> Noted {
        self.0.noted.lock().clone()
    }
}
