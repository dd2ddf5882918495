//! Asking whether a stored response still holds (RFC 9111 §4.3.1, §4.3.3, §4.3.4).

use super::precondition::opaque;
use http::{HeaderMap, HeaderName, header};

/// Conditions of a client, and the part it wants: they are judged here, after the validation.
const OF_THE_CLIENT: [HeaderName; 4] = [
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_RANGE,
    header::RANGE,
];

/// Whether there is anything to ask by.
#[must_use]
pub fn can_validate(stored: &HeaderMap) -> bool {
    stored.contains_key(header::ETAG) || stored.contains_key(header::LAST_MODIFIED)
}

/// Whether a 304 speaks of what is stored: it names no tag, or the stored one (§4.3.4). One that
/// names another was judged by a date that both representations have.
#[must_use]
pub fn confirms(response: &HeaderMap, stored: &HeaderMap) -> bool {
    let tag = |headers: &HeaderMap| {
        let tag = headers.get(header::ETAG)?;
        Some(opaque(tag.as_bytes()).to_vec())
    };
    tag(response).is_none_or(|named| tag(stored) == Some(named))
}

/// Puts the stored validators in the place of the client's conditions.
pub fn condition(request: &mut HeaderMap, stored: &HeaderMap) {
    for name in &OF_THE_CLIENT {
        request.remove(name);
    }
    if let Some(tag) = stored.get(header::ETAG) {
        request.insert(header::IF_NONE_MATCH, tag.clone());
    }
    if let Some(modified) = stored.get(header::LAST_MODIFIED) {
        request.insert(header::IF_MODIFIED_SINCE, modified.clone());
    }
}
