//! Conditions of a client, answered from a stored response (RFC 9110 §13, RFC 9111 §4.3.2).

use super::dates::{self, Dated};
use http::{HeaderMap, HeaderName, header};

/// Conditions that only the application can judge (RFC 9111 §4.3.2).
const FOR_THE_APPLICATION: [HeaderName; 2] = [header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
/// Fields by which an application may take a request for one of another method.
const OTHER_METHODS: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];
/// Conditions, and the wish for a part.
const CONDITIONS: [HeaderName; 4] = [
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::RANGE,
    header::IF_RANGE,
];

/// The request is the application's to judge.
#[must_use]
pub fn is_for_the_application(request: &HeaderMap) -> bool {
    FOR_THE_APPLICATION
        .iter()
        .any(|name| request.contains_key(name))
        || overrides_method(request)
}

/// The application may take the request for one of another method.
#[must_use]
pub fn overrides_method(request: &HeaderMap) -> bool {
    OTHER_METHODS.iter().any(|name| request.contains_key(name))
}

/// The request has a condition, or is for a part.
#[must_use]
pub fn is_conditional(request: &HeaderMap) -> bool {
    CONDITIONS.iter().any(|name| request.contains_key(name))
}

/// The client has what is stored: If-None-Match before If-Modified-Since (RFC 9110 §13.2.2).
#[must_use]
pub fn not_modified(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        return none_match_fails(request, stored);
    }
    let Dated::At(since) = dates::date(request, &header::IF_MODIFIED_SINCE) else {
        return false;
    };
    // RFC 9111 §4.3.2: without a Last-Modified that says anything, by the response's own date. A
    // stored head always has one: what came without was given the time of its arrival.
    let modified = match dates::date(stored, &header::LAST_MODIFIED) {
        Dated::Absent | Dated::Invalid => dates::date(stored, &header::DATE),
        said @ Dated::At(_) => said,
    };
    matches!(modified, Dated::At(modified) if modified <= since)
}

/// Weak comparison (RFC 9110 §8.8.3.2) with every listed tag.
fn none_match_fails(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let tag = stored.get(header::ETAG).map(|tag| opaque(tag.as_bytes()));
    let listed = request.get_all(header::IF_NONE_MATCH);
    listed.iter().any(|line| {
        line.as_bytes().trim_ascii() == b"*" || tag.is_some_and(|tag| lists(line.as_bytes(), tag))
    })
}

/// A tag without its mark of weakness.
pub(super) fn opaque(tag: &[u8]) -> &[u8] {
    let tag = tag.trim_ascii();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// Whether a list of tags has this one. A comma inside quotes is part of a tag.
fn lists(line: &[u8], tag: &[u8]) -> bool {
    let mut quoted = false;
    let mut tags = line.split(|byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    });
    tags.any(|one| opaque(one) == tag)
}

/// If-Range holds (RFC 9110 §13.1.5): a strong tag that is the stored one, or exactly the stored
/// date, if that is old enough to be strong. Without If-Range nothing stands in the way.
#[must_use]
pub fn range_applies(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).iter();
    let Some(condition) = lines.next().map(|line| line.as_bytes().trim_ascii()) else {
        return true;
    };
    if lines.next().is_some() {
        return false;
    }
    if condition.starts_with(b"\"") {
        return stored
            .get(header::ETAG)
            .is_some_and(|tag| tag.as_bytes().trim_ascii() == condition);
    }
    let (Some(wanted), Dated::At(modified), Dated::At(date)) = (
        dates::parse(condition),
        dates::date(stored, &header::LAST_MODIFIED),
        dates::date(stored, &header::DATE),
    ) else {
        return false;
    };
    // RFC 9110 §8.8.2.2: two changes in one second can't be told apart by their date.
    wanted == modified && !dates::between(modified, date).is_zero()
}
