//! Every answer that is Tidegate's own, in one place: acknowledgements, refusals (RFC 9457),
//! failures (RFC 9209).

use crate::body::Body;
use crate::ingest::accept::ack::Ack;
use crate::ingest::accept::refusal::Refusal;
use crate::upstream::UpstreamError;
use crate::upstream::headers::HeadError;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use std::time::Duration;

const EVENT: HeaderName = HeaderName::from_static("tidegate-event");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// When to come again if all connections to the application are in use.
const BUSY: Duration = Duration::from_secs(1);
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The acknowledgement of an event or of a client's batch.
#[must_use]
pub(super) fn acknowledge(ack: Ack) -> Response<Body> {
    let mut response = Response::new(Body::from(ack.body));
    *response.status_mut() = ack.status;
    let headers = response.headers_mut();
    // With what a browser depends on.
    headers.reserve(ack.headers.len() + 8);
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in ack.headers {
        headers.insert(name, value);
    }
    if let Some(Ok(id)) = ack.event.map(|id| HeaderValue::try_from(id.as_str())) {
        headers.insert(EVENT, id);
    }
    response
}

/// The status of a refusal.
#[must_use]
pub(super) const fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::NotJson(_)
        | Refusal::MissingField(_)
        | Refusal::MissingId(_)
        | Refusal::UnknownWrapper(_)
        | Refusal::BadId { .. }
        | Refusal::WrongType { .. }
        | Refusal::TooManyEvents { .. }
        | Refusal::BadCoding(_)
        | Refusal::Incomplete => StatusCode::BAD_REQUEST,
        Refusal::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::UnknownCoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::TooOld { .. } | Refusal::InTheFuture { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
        Refusal::Busy(_) | Refusal::NoRoom(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A refusal as `application/problem+json`.
#[must_use]
pub(super) fn refuse(refusal: &Refusal) -> Response<Body> {
    let mut response = problem(status(refusal), refusal.as_str(), &refusal.to_string());
    match refusal {
        Refusal::Limited(wait) => retry_after(&mut response, *wait),
        Refusal::Busy(wait) | Refusal::NoRoom(wait) => {
            retry_after(&mut response, *wait);
            // RFC 9209 §2.3.29: the application was not asked.
            let status = format!(
                "tidegate; error=proxy_internal_response; details=\"{}\"",
                refusal.as_str()
            );
            response
                .headers_mut()
                .extend(HeaderValue::try_from(status).map(|status| (PROXY_STATUS, status)));
        }
        // RFC 9110 §15.5.9: after a body that did not come, the connection is of no use.
        Refusal::TooSlow | Refusal::Incomplete => {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// The request's head can't be forwarded. Where the next request on its connection begins is
/// anybody's guess, so that is closed (RFC 9112 §11.2).
#[must_use]
pub(super) fn bad_head(error: &HeadError) -> Response<Body> {
    let mut response = problem(error.status(), error.as_str(), &error.to_string());
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The application gave no answer.
#[must_use]
pub(super) fn failure(error: &UpstreamError) -> Response<Body> {
    let mut response = problem(error.status(), error.proxy_error(), &error.shown());
    if let Ok(value) = HeaderValue::try_from(format!("tidegate; error={}", error.proxy_error())) {
        response.headers_mut().insert(PROXY_STATUS, value);
    }
    match error {
        UpstreamError::ConnectionLimit => retry_after(&mut response, BUSY),
        // RFC 9110 §15.5.9, as with a body that is read here.
        UpstreamError::RequestStalled => {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// A problem document (RFC 9457).
#[must_use]
pub(super) fn problem(status: StatusCode, name: &str, detail: &str) -> Response<Body> {
    let body = serde_json::json!({
        "type": format!("urn:tidegate:{name}"), "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(), "code": name, "detail": detail,
    });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `Retry-After`, in whole seconds, at least one.
pub(super) fn retry_after(response: &mut Response<Body>, wait: Duration) {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
}
