//! Whether a stored response answers a request (RFC 9111 §4, §4.2.4, §5.2.1; RFC 5861).

use super::control::CacheControl;
use super::freshness::Terms;
use http::{HeaderMap, header};
use std::time::Duration;

/// What a request's Cache-Control asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Ask again (§5.2.1.4; Pragma §5.4).
    pub no_cache: bool,
    /// Keep nothing of this exchange (§5.2.1.5).
    pub no_store: bool,
    /// Nothing but what is stored (§5.2.1.7).
    pub only_if_cached: bool,
    /// No older than this (§5.2.1.1).
    pub max_age: Option<Duration>,
    /// Fresh for at least this long (§5.2.1.3).
    pub min_fresh: Option<Duration>,
    /// Stale for at most this long (§5.2.1.2).
    pub max_stale: Option<Duration>,
    /// Stale for at most this long if asking fails (RFC 5861 §4).
    pub stale_if_error: Duration,
}

impl Wishes {
    /// Of a request.
    #[must_use]
    pub fn of(request: &HeaderMap) -> Self {
        if !request.contains_key(header::CACHE_CONTROL) {
            // §5.4: Pragma counts only where there is no Cache-Control.
            let no_cache = request
                .get_all(header::PRAGMA)
                .iter()
                .any(|line| is_no_cache(line.as_bytes()));
            return Self {
                no_cache,
                ..Self::default()
            };
        }
        let control = CacheControl::of(request);
        let seconds = |name| control.seconds(name).map(Duration::from_secs);
        Self {
            no_cache: control.has("no-cache"),
            no_store: control.has("no-store"),
            only_if_cached: control.has("only-if-cached"),
            max_age: seconds("max-age"),
            min_fresh: seconds("min-fresh"),
            max_stale: control.max_stale().map(Duration::from_secs),
            stale_if_error: seconds("stale-if-error").unwrap_or_default(),
        }
    }
}

fn is_no_cache(line: &[u8]) -> bool {
    line.split(|byte| *byte == b',')
        .any(|one| one.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
}

/// What to do with a stored response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is the answer.
    Serve,
    /// It is the answer, and is asked again behind the client's back.
    ServeAndRevalidate,
    /// The application is asked first: the client wants that.
    AskForRequest,
    /// The application is asked first: it is too old.
    AskForStale,
}

/// Weighs a stored response of this age against a request.
#[must_use]
pub fn decide(terms: &Terms, age: Duration, wishes: &Wishes) -> Use {
    if wishes.no_cache || wishes.no_store {
        return Use::AskForRequest;
    }
    if terms.no_cache {
        return Use::AskForStale;
    }
    if wishes.max_age.is_some_and(|most| age > most) {
        return Use::AskForRequest;
    }
    if terms.lifetime > age {
        let left = terms.lifetime.saturating_sub(age);
        return if wishes.min_fresh.is_none_or(|least| left >= least) {
            Use::Serve
        } else {
            Use::AskForRequest
        };
    }
    stale(terms, age, wishes)
}

fn stale(terms: &Terms, age: Duration, wishes: &Wishes) -> Use {
    let stale_for = age.saturating_sub(terms.lifetime);
    if terms.must_revalidate || wishes.min_fresh.is_some() {
        return Use::AskForStale;
    }
    if wishes.max_stale.is_some_and(|most| stale_for <= most) {
        return Use::Serve;
    }
    if stale_for < terms.stale_while_revalidate {
        Use::ServeAndRevalidate
    } else {
        Use::AskForStale
    }
}

/// How asking the application has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It said 500, 502, 503 or 504 (RFC 5861 §4).
    Status,
    /// It gave no answer: no connection, or one that ended first (§4.2.4).
    Unreachable,
}

/// Whether it may stand in for the answer that asking failed to bring (RFC 5861 §4, §4.2.4).
#[must_use]
pub fn despite_error(terms: &Terms, age: Duration, wishes: &Wishes, failure: Failure) -> bool {
    if terms.must_revalidate || terms.no_cache || wishes.no_cache || wishes.no_store {
        return false;
    }
    let stale_for = age.saturating_sub(terms.lifetime);
    if stale_for < terms.stale_if_error.max(wishes.stale_if_error) {
        return true;
    }
    // Without a word that allows it only for a client that doesn't say how fresh it must be.
    let demands = wishes.max_age.is_some() || wishes.min_fresh.is_some();
    failure == Failure::Unreachable && !demands && stale_for < terms.stale_if_unreachable
}

/// Statuses that count as an error of asking (RFC 5861 §4).
#[must_use]
pub fn is_failure(status: http::StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
