//! Answers from the store: the whole, a part (RFC 9110 §14), or the news that the client has it
//! (§15.4.5).

use super::Read;
use crate::body::Body;
use crate::cache::policy::fields::{self, CACHE_STATUS};
use crate::cache::policy::precondition;
use crate::cache::policy::range::{self, Wanted};
use crate::cache::store::Entry;
use bytes::Bytes;
use http::request::Parts;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ACCEPT_RANGES: HeaderValue = HeaderValue::from_static("bytes");

/// What of a read's head says which stored answer fits, and what of it is shown.
#[derive(Clone, Copy)]
pub(super) struct Head<'r> {
    pub(super) method: &'r Method,
    pub(super) headers: &'r HeaderMap,
    pub(super) version: Version,
}

impl<'r> From<&'r Parts> for Head<'r> {
    fn from(parts: &'r Parts) -> Self {
        Self {
            method: &parts.method,
            headers: &parts.headers,
            version: parts.version,
        }
    }
}

impl<'r> From<&'r Request<Body>> for Head<'r> {
    fn from(request: &'r Request<Body>) -> Self {
        Self {
            method: request.method(),
            headers: request.headers(),
            version: request.version(),
        }
    }
}

impl Read {
    /// A stored response as the answer; `waited`: why its reader first waited for another's flight.
    pub(super) fn answer_hit(
        &self,
        head: Head<'_>,
        entry: &Entry,
        now: Instant,
        waited: Option<&str>,
    ) -> Response<Body> {
        self.store.counts.hits.fetch_add(1, Ordering::Relaxed);
        let age = entry.age(now);
        let status = match waited {
            None => format!("tidegate; hit; ttl={}", ttl(entry, age)),
            Some(reason) => format!("tidegate; fwd={reason}; collapsed; ttl={}", ttl(entry, age)),
        };
        self.answer_stored(head.method, head.headers, entry, age, status)
    }

    /// An answer made of an entry: conditions first, then the part (RFC 9110 §13.2.2).
    pub(super) fn answer_stored(
        &self,
        method: &Method,
        request: &HeaderMap,
        entry: &Entry,
        age: Duration,
        status: String,
    ) -> Response<Body> {
        let mut response = if entry.parts.is_some() {
            stored_part(method, request, entry).unwrap_or_else(|| only_if_cached("partial"))
        } else if entry.status != StatusCode::OK || !precondition::is_conditional(request) {
            whole(method, entry)
        } else if precondition::not_modified(request, &entry.headers) {
            not_modified(entry)
        } else if *method == Method::GET && precondition::range_applies(request, &entry.headers) {
            match range::wanted(request, entry.body.len()) {
                Wanted::Whole => whole(method, entry),
                Wanted::Part(part) => partial(
                    entry,
                    &part,
                    entry.body.len(),
                    entry.body.slice(part.clone()),
                ),
                Wanted::Unsatisfiable => unsatisfiable(entry),
            }
        } else {
            whole(method, entry)
        };
        let headers = response.headers_mut();
        headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
        if let Some(id) = request.get(REQUEST_ID) {
            headers.insert(REQUEST_ID, id.clone());
        }
        self.echo_cors(headers, request);
        if let Ok(status) = HeaderValue::try_from(status) {
            headers.insert(CACHE_STATUS, status);
        }
        response
    }

    /// The CORS headers are of this request, not of the one that fetched the response.
    pub(super) fn echo_cors(&self, headers: &mut HeaderMap, request: &HeaderMap) {
        if self.identity.settings().cors.is_none() {
            return;
        }
        for (name, value) in self.identity.cors_headers(request) {
            if name == header::VARY {
                add_origin_to_vary(headers);
            } else {
                headers.insert(name, value);
            }
        }
    }
}

/// Seconds of freshness that are left; below zero for a stale response (RFC 9211 §2.3).
pub(super) fn ttl(entry: &Entry, age: Duration) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    seconds(entry.terms.lifetime).saturating_sub(seconds(age))
}

fn head(entry: &Entry, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = entry.status;
    *response.headers_mut() = entry.headers.clone();
    response
}

/// RFC 9110 §9.3.2: HEAD gets the head of a GET.
fn whole(method: &Method, entry: &Entry) -> Response<Body> {
    head(
        entry,
        if *method == Method::HEAD {
            Body::empty()
        } else {
            Body::from(entry.body.clone())
        },
    )
}

fn not_modified(entry: &Entry) -> Response<Body> {
    let mut response = head(entry, Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    fields::strip_for_304(response.headers_mut());
    response
}

fn partial(entry: &Entry, part: &Range<usize>, total: usize, body: Bytes) -> Response<Body> {
    let shown = format!(
        "bytes {}-{}/{total}",
        part.start,
        part.end.saturating_sub(1)
    );
    let mut response = head(entry, Body::from(body));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.len()));
    headers.insert(header::ACCEPT_RANGES, ACCEPT_RANGES);
    if let Ok(value) = HeaderValue::try_from(shown) {
        headers.insert(header::CONTENT_RANGE, value);
    }
    response
}

/// Whether an entry answers a request all by itself: one with parts only where these bytes and
/// nothing else are asked for (RFC 9111 §3.3).
pub(super) fn has_what_is_asked(method: &Method, request: &HeaderMap, entry: &Entry) -> bool {
    entry.parts.is_none() || wanted_part(method, request, entry).is_some()
}

fn wanted_part(
    method: &Method,
    request: &HeaderMap,
    entry: &Entry,
) -> Option<(Range<usize>, Bytes)> {
    let parts = entry.parts.as_ref()?;
    let other = request.contains_key(header::IF_NONE_MATCH)
        || request.contains_key(header::IF_MODIFIED_SINCE);
    if *method != Method::GET || other || !precondition::range_applies(request, &entry.headers) {
        return None;
    }
    match range::wanted(request, parts.total()) {
        Wanted::Part(part) => parts.get(&part).map(|bytes| (part, bytes)),
        Wanted::Whole | Wanted::Unsatisfiable => None,
    }
}

fn stored_part(method: &Method, request: &HeaderMap, entry: &Entry) -> Option<Response<Body>> {
    let total = entry.parts.as_ref()?.total();
    let (part, bytes) = wanted_part(method, request, entry)?;
    Some(partial(entry, &part, total, bytes))
}

/// An answer with an Access-Control-Allow-Origin is for one origin, and says so (Fetch §3.2.5).
pub(super) fn vary_by_origin(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        add_origin_to_vary(headers);
    }
    response
}

/// Adds Origin to Vary, unless it is there or anything counts.
pub(super) fn add_origin_to_vary(headers: &mut HeaderMap) {
    let is_there = |name: &[u8]| {
        name.trim_ascii() == b"*" || name.trim_ascii().eq_ignore_ascii_case(b"origin")
    };
    let said = |line: &HeaderValue| line.as_bytes().split(|byte| *byte == b',').any(is_there);
    if !headers.get_all(header::VARY).iter().any(said) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// RFC 9110 §15.5.17.
fn unsatisfiable(entry: &Entry) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{}", entry.body.len())) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response
}

/// RFC 9111 §5.2.1.7: the client wanted what is stored or nothing.
pub(super) fn only_if_cached(reason: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    with_status(
        response,
        &format!("tidegate; detail=only-if-cached-{reason}"),
    )
}

/// Adds this cache's word to Cache-Status (RFC 9211 §2).
pub(super) fn with_status(mut response: Response<Body>, status: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::try_from(status) {
        response.headers_mut().append(CACHE_STATUS, value);
    }
    response
}
