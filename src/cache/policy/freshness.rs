//! How long a response is fresh, and how old it is already (RFC 9111 §4.2).

use super::control::{self, CacheControl};
use super::dates::{Dated, between, date};
use http::{HeaderMap, StatusCode, header};
use std::time::{Duration, SystemTime};

/// Longest freshness that is believed: a year.
const MAX_LIFETIME: Duration = Duration::from_secs(31_536_000);
/// Longest freshness that is guessed where a route asks for guesses (§4.2.2).
pub const LONGEST_GUESS: Duration = Duration::from_secs(86_400);
/// Longest freshness that is guessed where a route says nothing of it, nor of a ttl. Browsers guess
/// as well, and longer.
pub const UNASKED_GUESS: Duration = Duration::from_secs(60);

/// All that is asked of a stored response when it may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Freshness lifetime (§4.2.1).
    pub lifetime: Duration,
    /// Age when it came (§4.2.3).
    pub initial_age: Duration,
    /// Never without asking (§5.2.2.4).
    pub no_cache: bool,
    /// Never stale, whatever else allows it (§5.2.2.2, §5.2.2.8, §5.2.2.10).
    pub must_revalidate: bool,
    /// May be served this long after it became stale, while it is asked again (RFC 5861 §3).
    pub stale_while_revalidate: Duration,
    /// May be served this long after it became stale, when asking fails (RFC 5861 §4).
    pub stale_if_error: Duration,
    /// May be served this long after it became stale, when there is no answer at all (§4.2.4).
    pub stale_if_unreachable: Duration,
}

/// When a request went and its response came, wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The request went.
    pub asked: SystemTime,
    /// The response's head came.
    pub answered: SystemTime,
}

/// Age of a response when it came (§4.2.3): the larger of what its Date shows and what its Age
/// says.
#[must_use]
pub fn initial_age(response: &HeaderMap, times: Times) -> Duration {
    let apparent = match date(response, &header::DATE) {
        Dated::At(date) => between(date, times.answered),
        Dated::Absent | Dated::Invalid => Duration::ZERO,
    };
    let delay = times
        .answered
        .duration_since(times.asked)
        .unwrap_or_default();
    apparent.max(age_value(response).saturating_add(delay))
}

/// The Age field: the first member of a list, and nothing if that is no number (§5.1).
fn age_value(response: &HeaderMap) -> Duration {
    let first = response
        .get(header::AGE)
        .and_then(|line| line.as_bytes().split(|byte| *byte == b',').next());
    Duration::from_secs(
        first
            .and_then(|text| control::seconds(text.trim_ascii()))
            .unwrap_or(0),
    )
}

/// What a response says of its freshness: `s-maxage`, `max-age`, Expires, in this order (§4.2.1).
#[must_use]
pub fn explicit(
    control: &CacheControl,
    response: &HeaderMap,
    targeted: bool,
    times: Times,
) -> Option<Duration> {
    let said = control
        .seconds("s-maxage")
        .or_else(|| control.seconds("max-age"))
        .map(Duration::from_secs);
    // RFC 9213 §2.2: beside a targeted field Expires is ignored, too.
    let said = said.or_else(|| {
        if targeted {
            None
        } else {
            expires(response, times)
        }
    });
    said.map(|lifetime| lifetime.min(MAX_LIFETIME))
}

/// Expires less Date; what can't be read, such as `0`, has passed (§5.3).
fn expires(response: &HeaderMap, times: Times) -> Option<Duration> {
    let from = match date(response, &header::DATE) {
        Dated::At(date) => date,
        Dated::Absent | Dated::Invalid => times.answered,
    };
    match date(response, &header::EXPIRES) {
        Dated::Absent => None,
        Dated::Invalid => Some(Duration::ZERO),
        Dated::At(at) => Some(between(from, at)),
    }
}

/// A tenth of the time since it was last modified, so long at most (§4.2.2).
#[must_use]
pub fn heuristic(response: &HeaderMap, times: Times, longest: Duration) -> Option<Duration> {
    let Dated::At(modified) = date(response, &header::LAST_MODIFIED) else {
        return None;
    };
    let date = match date(response, &header::DATE) {
        Dated::At(date) => date,
        Dated::Absent | Dated::Invalid => times.answered,
    };
    let guess = (between(modified, date) / 10).min(longest);
    (!guess.is_zero()).then_some(guess)
}

/// Statuses that may be kept without a word on freshness (RFC 9110 §15.1).
#[must_use]
pub fn heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}
