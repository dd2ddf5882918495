//! Completing a stored response of which one stretch is missing (RFC 9111 §3.3, §3.4): only that
//! stretch is asked for, under the condition that the representation is the one that is stored
//! (If-Range, RFC 9110 §13.1.5).

use super::fetch_plan::FetchPlan;
use crate::body::{Body, BodyError};
use crate::cache::policy::parts::{self, ContentRange};
use crate::cache::store::Entry;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use std::ops::Range;
use std::sync::Arc;

/// What is missing of a stored response.
pub(super) struct Missing {
    pub(super) stored: Arc<Entry>,
    /// Length of the representation, bytes.
    pub(super) total: usize,
    before: Bytes,
    gap: Range<usize>,
    after: Bytes,
}

/// What an answer to the question for it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion {
    /// The missing bytes.
    Here,
    /// Neither them nor an answer to the client's own question: it has to be asked.
    Unusable,
    /// An answer to the client's own question.
    Other,
}

impl Missing {
    /// `None`: nothing is stored, or more than one stretch is missing, or the client wants it asked
    /// anew.
    pub(super) fn of(plan: &FetchPlan) -> Option<Self> {
        let stored = plan.stored.clone().filter(|_| plan.reason != "request")?;
        let parts = stored.parts.as_ref()?;
        parts::strong_tag(&stored.headers)?;
        let (before, gap, after) = parts.gap()?;
        Some(Self {
            total: parts.total(),
            before,
            gap,
            after,
            stored,
        })
    }

    /// Makes a request ask for it; gives back the request as it was.
    pub(super) fn ask_for(&self, request: &mut Request<Body>) -> Request<Body> {
        let mut again = Request::new(Body::empty());
        *again.method_mut() = request.method().clone();
        *again.uri_mut() = request.uri().clone();
        *again.version_mut() = request.version();
        *again.headers_mut() = request.headers().clone();
        let last = if self.gap.end == self.total {
            String::new()
        } else {
            (self.gap.end - 1).to_string()
        };
        if let (Ok(range), Some(tag)) = (
            HeaderValue::try_from(format!("bytes={}-{last}", self.gap.start)),
            self.stored.headers.get(header::ETAG),
        ) {
            request.headers_mut().insert(header::IF_RANGE, tag.clone());
            request.headers_mut().insert(header::RANGE, range);
        }
        again
    }

    /// What has come.
    pub(super) fn judge(&self, response: &Response<Body>) -> Completion {
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let wanted = ContentRange {
                    range: self.gap.clone(),
                    total: self.total,
                };
                let is_it = ContentRange::of(response.headers()) == Some(wanted)
                    && parts::is_same(&self.stored.headers, response.headers());
                if is_it {
                    Completion::Here
                } else {
                    Completion::Unusable
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED => {
                Completion::Unusable
            }
            _ => Completion::Other,
        }
    }

    /// The whole, with the missing bytes as they come.
    pub(super) fn around(&self, rest: Body) -> Body {
        let piece = |bytes: &Bytes| {
            stream::iter((!bytes.is_empty()).then(|| Ok::<_, BodyError>(bytes.clone())))
        };
        let all = piece(&self.before)
            .chain(rest.into_data_stream())
            .chain(piece(&self.after));
        Body::boxed(StreamBody::new(all.map(|bytes| bytes.map(Frame::data))))
    }
}
