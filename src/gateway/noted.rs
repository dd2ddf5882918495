//! A call that has a line in the access log, or a span: what is known of it from its head on, until
//! its line is handed over with its answer.

use super::answers::request_id;
use crate::body::Body;
use crate::cache::policy::fields::CACHE_STATUS;
use crate::clock::Clock;
use crate::logging::{AccessLog, CallLine, CallNote, short_method, watch_body};
use crate::route::{EventRoute, Found};
use crate::spans::{Spans, shorten};
use http::request::Parts;
use http::{Response, header};
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::Instant;

/// A call that has a line, or a span.
pub(super) struct NotedCall {
    line: CallLine,
    began: Instant,
}

impl NotedCall {
    /// Notes a call of a sample; its note goes with it.
    pub(super) fn begin(
        (log, spans): (&AccessLog, &Spans),
        parts: &mut Parts,
        clock: &Clock,
    ) -> Option<Self> {
        let span = spans.begin_call(parts);
        let note = log.note_call(span, || request_id(parts).into())?;
        parts.extensions.insert(note.clone());
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let line = CallLine {
            at: clock.now(),
            method: short_method(&parts.method),
            path: shorten(parts.uri.path()).into(),
            status: 0,
            received: length.and_then(|length| length.to_str().ok()?.parse().ok()),
            sent: 0,
            took: Duration::ZERO,
            note,
        };
        let began = Instant::now();
        Some(Self { line, began })
    }

    /// What its stages say of it.
    pub(super) const fn note(&self) -> &CallNote {
        &self.line.note
    }

    /// Its span ends with its answer's head; its line is written when its answer has gone.
    pub(super) fn end(self, log: &AccessLog, response: Response<Body>) -> Response<Body> {
        self.line.note.end_span(response.status());
        if !self.line.note.has_line() {
            return response;
        }
        let line = CallLine {
            status: response.status().as_u16(),
            took: self.began.elapsed(),
            ..self.line
        };
        watch_body(response, log, line)
    }
}

/// The name or path of the rule that a call met.
pub(super) fn name_of<'a>(found: &Found<'a>) -> Option<&'a str> {
    let of_event = |route: &&'a EventRoute| -> &'a str {
        route.name.as_deref().unwrap_or_else(|| route.path.source())
    };
    match found {
        Found::Preview(route) => Some(route.path.source()),
        Found::Event(candidates, _) => candidates.first().map(of_event),
        Found::Write(route, _) => Some(route.path.source()),
        Found::Cache(route, _) => Some(route.path.source()),
        Found::Batch(_) | Found::Other => None,
    }
}

/// What the cache did, in the words of RFC 9211: `hit`, or why the call went on.
pub(super) fn cache_reason(response: &Response<Body>) -> Option<Cow<'static, str>> {
    let lines = response.headers().get_all(CACHE_STATUS);
    let last = lines.iter().next_back()?.to_str().ok()?;
    let own = last.rsplit(',').next()?.trim().strip_prefix("tidegate;")?;
    let mut words = own.split(';').map(str::trim);
    let first = words.next()?;
    let detail = own
        .split(';')
        .find_map(|word| word.trim().strip_prefix("detail="));
    let word = match first.strip_prefix("fwd=") {
        Some("bypass") => detail.unwrap_or("bypass"),
        Some(reason) => reason,
        None => first.strip_prefix("detail=").unwrap_or(first),
    };
    Some(word.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cache_did_is_one_word() {
        for (status, wanted) in [
            ("tidegate; hit; ttl=3", Some("hit")),
            ("tidegate; fwd=uri-miss; stored", Some("uri-miss")),
            ("tidegate; fwd=bypass; detail=no-tag", Some("no-tag")),
            ("cdn; hit, tidegate; fwd=stale", Some("stale")),
            ("cdn; hit", None),
        ] {
            let mut response = Response::new(Body::empty());
            let headers = response.headers_mut();
            headers.insert(CACHE_STATUS, status.parse().unwrap());
            assert_eq!(cache_reason(&response).as_deref(), wanted, "{status}");
        }
    }
}
