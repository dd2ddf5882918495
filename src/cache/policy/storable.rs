//! What may be stored (RFC 9111 §3), for whom (§3.5), and on which terms.

use super::control::CacheControl;
use super::freshness::{self, Terms, Times};
use super::parts;
use super::reuse::Wishes;
use super::vary;
use http::{HeaderMap, Method, StatusCode, header};
use std::time::Duration;

/// How long a stale response stands in while the application gives no answer at all, where neither
/// it nor the route says anything (§4.2.4 leaves a disconnected cache free in this).
const UNREACHABLE: Duration = Duration::from_secs(60);

/// Why a response is not stored. The same word in `Cache-Status` and in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStored {
    /// Not a GET.
    Method,
    /// A part (206) that can't be told apart from others, a confirmation (304), an answer to a
    /// condition, or a status that the route's `ttl` is not for.
    Status,
    /// `no-store` in the request.
    RequestNoStore,
    /// `no-store` in the response.
    NoStore,
    /// `private`, where others would see it.
    Private,
    /// `must-understand`, and a status that isn't understood (§5.2.2.3).
    NotUnderstood,
    /// An authorized request, a key without the authorization, and no word that it may be shared
    /// (§3.5).
    Authorization,
    /// `Vary: *`, or a Vary that can't be read.
    Vary,
    /// `Set-Cookie`, which belongs to one client.
    SetCookie,
    /// It says nothing of its freshness, and the route declares no `ttl`.
    NoFreshness,
    /// Its freshness is over, and it has nothing to be validated by.
    Stale,
}

impl NotStored {
    /// The reason's one name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::NotUnderstood => "must-understand",
            Self::Authorization => "authorization",
            Self::Vary => "vary",
            Self::SetCookie => "set-cookie",
            Self::NoFreshness => "no-freshness",
            Self::Stale => "stale",
        }
    }
}

/// What a route declares.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declared {
    /// `ttl`.
    pub ttl: Option<Duration>,
    /// `force`.
    pub force: bool,
    /// What says nothing of its freshness is not stored, whatever the keys above say.
    pub only_said: bool,
    /// Longest freshness that is guessed where the response says nothing (§4.2.2); zero: none.
    pub longest_guess: Duration,
    /// `stale_while_revalidate`, where the response says nothing.
    pub stale_while_revalidate: Duration,
    /// `stale_if_error`, where the response says nothing.
    pub stale_if_error: Duration,
}

/// Who will find what is stored under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// One credential, which is somebody's own.
    Personal,
    /// Everybody, or everybody without a credential of their own.
    Shared,
}

/// A request, as far as storing its response depends on it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// Who shares its key.
    pub audience: Audience,
    /// It went with a condition or for a part, other than this cache's own validation.
    pub conditional: bool,
    /// Its response begins a session: it sets what its caller will be known by, and hasn't sent.
    pub begins_session: bool,
}

/// The terms on which a response may be stored.
///
/// # Errors
/// Why it may not.
pub fn storable(
    asked: Asked<'_>,
    status: StatusCode,
    response: &HeaderMap,
    declared: Declared,
    times: Times,
) -> Result<Terms, NotStored> {
    if *asked.method != Method::GET {
        return Err(NotStored::Method);
    }
    // §3.3: a part is stored on the terms of the whole.
    let is_part = status == StatusCode::PARTIAL_CONTENT && parts::is_keepable(response);
    let status = if is_part { StatusCode::OK } else { status };
    // §3.4: any other part, or a confirmation, is not the whole; nor does an error answer a
    // condition for everybody.
    if matches!(status.as_u16(), 206 | 304 | 416)
        || status.as_u16() < 200
        || asked.conditional && status != StatusCode::OK
    {
        return Err(NotStored::Status);
    }
    if Wishes::of(asked.headers).no_store {
        return Err(NotStored::RequestNoStore);
    }
    if vary::names(response).is_none() {
        return Err(NotStored::Vary);
    }
    let targeted = CacheControl::targeted(response);
    let control = targeted
        .clone()
        .unwrap_or_else(|| CacheControl::of(response));
    let shared = asked.audience == Audience::Shared;
    if shared && control.covers_all("private") {
        return Err(NotStored::Private);
    }
    // What begins a session may be made for it, and its caller was one of many until now.
    if asked.begins_session || shared && response.contains_key(header::SET_COOKIE) {
        return Err(NotStored::SetCookie);
    }
    if declared.force {
        return forced(status, declared);
    }
    if response.contains_key(header::SET_COOKIE) {
        return Err(NotStored::SetCookie);
    }
    permitted(asked, status, &control)?;
    terms(
        status,
        response,
        (&control, targeted.is_some()),
        declared,
        times,
    )
}

/// The operator knows better than `no-store`, and than `private` where the credential is somebody's
/// own.
fn forced(status: StatusCode, declared: Declared) -> Result<Terms, NotStored> {
    if status != StatusCode::OK {
        return Err(NotStored::Status);
    }
    let lifetime = declared
        .ttl
        .filter(|ttl| !ttl.is_zero())
        .ok_or(NotStored::NoFreshness)?;
    Ok(Terms {
        lifetime,
        initial_age: Duration::ZERO,
        no_cache: false,
        must_revalidate: false,
        stale_while_revalidate: declared.stale_while_revalidate,
        stale_if_error: declared.stale_if_error,
        // The application wanted nothing of it stored: only what the operator says.
        stale_if_unreachable: declared.stale_if_error,
    })
}

fn permitted(
    asked: Asked<'_>,
    status: StatusCode,
    control: &CacheControl,
) -> Result<(), NotStored> {
    // §5.2.2.3: beside must-understand, no-store is for those who don't understand the status.
    if control.has("must-understand") {
        if !freshness::heuristically_cacheable(status) {
            return Err(NotStored::NotUnderstood);
        }
    } else if control.has("no-store") {
        return Err(NotStored::NoStore);
    }
    let says_so =
        control.has("public") || control.has("s-maxage") || control.has("must-revalidate");
    if asked.audience == Audience::Shared
        && asked.headers.contains_key(header::AUTHORIZATION)
        && !says_so
    {
        return Err(NotStored::Authorization);
    }
    Ok(())
}

fn terms(
    status: StatusCode,
    response: &HeaderMap,
    (control, targeted): (&CacheControl, bool),
    declared: Declared,
    times: Times,
) -> Result<Terms, NotStored> {
    let explicit = freshness::explicit(control, response, targeted, times);
    if declared.only_said && explicit.is_none() {
        return Err(NotStored::NoFreshness);
    }
    let declared_ttl = declared
        .ttl
        // Over `private`, only `force` lets the operator speak.
        .filter(|ttl| !ttl.is_zero() && status == StatusCode::OK && !control.covers_all("private"));
    let may_guess = freshness::heuristically_cacheable(status) || control.has("public");
    let guess =
        || freshness::heuristic(response, times, declared.longest_guess).filter(|_| may_guess);
    let validators =
        response.contains_key(header::ETAG) || response.contains_key(header::LAST_MODIFIED);
    let unsaid = || (status == StatusCode::OK && validators).then_some(Duration::ZERO);
    let lifetime = explicit
        .or(declared_ttl)
        .or_else(guess)
        .or_else(unsaid)
        .ok_or(NotStored::NoFreshness)?;
    let seconds = |name, default| control.seconds(name).map_or(default, Duration::from_secs);
    let unsaid = if declared.stale_if_error.is_zero() {
        UNREACHABLE
    } else {
        declared.stale_if_error
    };
    let terms = Terms {
        lifetime,
        initial_age: freshness::initial_age(response, times),
        no_cache: control.covers_all("no-cache"),
        must_revalidate: ["must-revalidate", "proxy-revalidate", "s-maxage"]
            .iter()
            .any(|name| control.has(name)),
        stale_while_revalidate: seconds("stale-while-revalidate", declared.stale_while_revalidate),
        stale_if_error: seconds("stale-if-error", declared.stale_if_error),
        stale_if_unreachable: seconds("stale-if-error", unsaid),
    };
    let usable = terms.lifetime > terms.initial_age && !terms.no_cache;
    if usable || validators {
        Ok(terms)
    } else {
        Err(NotStored::Stale)
    }
}
