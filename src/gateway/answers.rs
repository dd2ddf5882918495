//! Tidegate's own answers as they leave: counted, and with what a browser depends on.

use super::reply;
use crate::body::Body;
use crate::identity::Identity;
use crate::ingest::accept::ack::Ack;
use crate::ingest::accept::refusal::Refusal;
use crate::logging::CallNote;
use crate::metrics::{Action, Label as _, Metrics};
use crate::upstream::UpstreamError;
use crate::upstream::headers::HeadError;
use http::request::Parts;
use http::{Extensions, HeaderName, HeaderValue, Response};
use std::sync::Arc;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives Tidegate's own answers.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) identity: Arc<Identity>,
    pub(super) metrics: Arc<Metrics>,
    /// Calls may have a note, for the access log or for a span.
    pub(super) are_noted: bool,
}

impl Answers {
    /// Counts what is done with a call.
    pub(super) fn count(&self, action: Action) {
        self.metrics.calls.count(action);
    }

    /// The note of a call, if it has one.
    pub(super) fn note<'a>(&self, of: &'a Extensions) -> Option<&'a CallNote> {
        if self.are_noted { of.get() } else { None }
    }

    /// Adds what a browser depends on in every answer.
    pub(super) fn dress(&self, parts: &Parts, response: &mut Response<Body>) {
        let id = parts.headers.get(REQUEST_ID).cloned();
        self.dress_with(id, parts, response);
    }

    fn dress_with(&self, id: Option<HeaderValue>, parts: &Parts, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        headers.extend(self.identity.cors_headers(&parts.headers));
        if let Some(id) = id {
            headers.insert(REQUEST_ID, id);
        }
    }

    /// The event, or the client's own batch, is kept.
    pub(super) fn acknowledge(
        &self,
        parts: &Parts,
        ack: Ack,
        request_id: String,
    ) -> Response<Body> {
        let action = if ack.duplicate {
            Action::Duplicate
        } else {
            Action::Acknowledged
        };
        self.count(action);
        if let Some(note) = self.note(&parts.extensions) {
            note.decide(action.as_str(), None);
            note.keep_event(ack.event.as_ref());
        }
        let id = HeaderValue::try_from(request_id).ok();
        let mut response = reply::acknowledge(ack);
        self.dress_with(id, parts, &mut response);
        response
    }

    /// The call is refused.
    pub(super) fn refuse(&self, parts: &Parts, refusal: &Refusal) -> Response<Body> {
        self.count_refusal(refusal.as_str());
        if let Some(note) = self.note(&parts.extensions) {
            note.decide(Action::Refused.as_str(), Some(refusal.as_str().into()));
        }
        tracing::debug!(
            reason = refusal.as_str(),
            path = parts.uri.path(),
            "a call was refused"
        );
        let mut response = reply::refuse(refusal);
        self.dress(parts, &mut response);
        response
    }

    /// The call's head can't be forwarded.
    pub(super) fn refuse_head(&self, error: &HeadError) -> Response<Body> {
        self.count_refusal(error.as_str());
        reply::bad_head(error)
    }

    fn count_refusal(&self, reason: &str) {
        self.count(Action::Refused);
        self.metrics.declined.with_label_values(&[reason]).inc();
    }
}

/// The application gave no answer; `upstream` has logged it.
pub(super) fn fail(error: &UpstreamError) -> Response<Body> {
    reply::failure(error)
}

/// The id that a call's head gives it, else a new one.
pub(super) fn request_id(parts: &Parts) -> String {
    let given = parts
        .headers
        .get(REQUEST_ID)
        .and_then(|id| id.to_str().ok())
        .filter(|id| !id.is_empty());
    let noted = || parts.extensions.get::<CallNote>().map(CallNote::request_id);
    let given = given.or_else(noted);
    let made = || {
        uuid::Uuid::new_v4()
            .hyphenated()
            .encode_lower(&mut uuid::Uuid::encode_buffer())
            .to_owned()
    };
    given.map_or_else(made, str::to_owned)
}
