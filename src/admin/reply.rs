//! The forms of the admin surface's answers.

use crate::body::Body;
use http::{HeaderValue, Response, StatusCode, header};

/// An answer of this media type, which no cache stores.
pub(super) fn typed(status: StatusCode, body: Vec<u8>, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn text(status: StatusCode, body: &str) -> Response<Body> {
    typed(
        status,
        body.as_bytes().to_vec(),
        "text/plain; charset=utf-8",
    )
}

pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    typed(
        status,
        format!("{value}\n").into_bytes(),
        "application/json",
    )
}

/// A value that may be large, written once.
pub(super) fn large_json(status: StatusCode, value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(mut written) => {
            written.push(b'\n');
            typed(status, written, "application/json")
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

/// 405, with the methods that are allowed.
pub(super) fn refuse_method(allowed: &'static str) -> Response<Body> {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        &format!("allowed: {allowed}\n"),
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}
