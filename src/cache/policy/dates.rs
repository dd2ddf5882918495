//! HTTP dates in their three formats (RFC 9110 §5.6.7): IMF-fixdate, RFC 850, asctime.

use http::{HeaderMap, HeaderName};
use std::time::{Duration, SystemTime};

/// What a field that should hold one date holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dated {
    /// The field is not there.
    Absent,
    /// It can't be read, or is there more than once with different dates.
    Invalid,
    /// A date.
    At(SystemTime),
}

/// The date in a field.
#[must_use]
pub fn date(headers: &HeaderMap, name: &HeaderName) -> Dated {
    let mut lines = headers.get_all(name).iter().map(|value| parse(value.as_bytes()));
    let Some(first) = lines.next() else { return Dated::Absent };
    match first.filter(|first| lines.all(|other| other == Some(*first))) {
        Some(at) => Dated::At(at),
        None => Dated::Invalid,
    }
}

/// One date.
#[must_use]
pub fn parse(text: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(text).ok()?.trim()).ok()
}

/// From one time to a later one, in whole seconds; nothing if it is no later.
#[must_use]
pub fn between(earlier: SystemTime, later: SystemTime) -> Duration {
    Duration::from_secs(later.duration_since(earlier).unwrap_or_default().as_secs())
}
