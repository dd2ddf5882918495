//! Which fields of a response are kept, sent again, and replaced by a validation (RFC 9111 §3.1,
//! §3.2).

use super::control::CacheControl;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::time::SystemTime;

/// This cache's word on how it handled a request (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Fields of the exchange that fetched a response, or of one connection: never kept.
const NOT_KEPT: [HeaderName; 15] = [
    header::SET_COOKIE,
    HeaderName::from_static("x-request-id"),
    header::AGE,
    CACHE_STATUS,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("proxy-status"),
];

/// Fields that describe the stored body: a 304 doesn't change it, so it can't change them (§3.2).
const OF_THE_BODY: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::ETAG,
    HeaderName::from_static("content-md5"),
];

/// Fields that a 304 leaves out (RFC 9110 §15.4.5).
const NOT_IN_304: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_RANGE,
];

/// The head to keep of a response. Hop-by-hop fields and those named in Connection are gone before
/// the cache sees it; fields named in `no-cache` and `private` go here (§5.2.2.4, §5.2.2.7). A
/// response without a date gets one (RFC 9110 §6.6.1), so that no later hop takes it for new.
#[must_use]
pub fn kept(response: &HeaderMap, control: &CacheControl, now: SystemTime) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(response.keys_len() + 4);
    for (name, value) in response {
        kept.append(name.clone(), detached(value));
    }
    let named = control
        .fields("no-cache")
        .into_iter()
        .chain(control.fields("private"));
    for name in NOT_KEPT.into_iter().chain(named) {
        kept.remove(name);
    }
    if !kept.contains_key(header::DATE)
        && let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now))
    {
        kept.insert(header::DATE, date);
    }
    kept
}

/// A copy with memory of its own: a value as it came is a slice of its connection's read buffer,
/// and would pin it.
fn detached(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

/// A stored head after a validation: every field of the 304 replaces the stored ones of its name,
/// but for those that describe the body (§3.2).
#[must_use]
pub fn merged(stored: &HeaderMap, update: &HeaderMap) -> HeaderMap {
    let mut merged = stored.clone();
    for name in update.keys().filter(|name| !OF_THE_BODY.contains(name)) {
        merged.remove(name);
        for value in update.get_all(name) {
            merged.append(name.clone(), value.clone());
        }
    }
    merged
}

/// The head of a 304 from a stored response's.
pub fn strip_for_304(headers: &mut HeaderMap) {
    for name in &NOT_IN_304 {
        headers.remove(name);
    }
}
