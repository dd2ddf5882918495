//! The batch contract (design §6), pure: a body out of events, one verdict out of a reply.

use super::window::{Batch, Entry, Fate, Form, Verdict};
use crate::event::{Credential, EventId, Outcome, Reason};
use crate::json::{self, Object};
use http::{HeaderMap, StatusCode};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A batch that holds events of more than one credential; it is never sent (P3).
#[derive(Debug, thiserror::Error)]
#[error("a batch holds events of more than one credential")]
pub struct MixedCredentials;

/// The one credential of all events.
///
/// # Errors
/// They differ, or there are none.
pub fn one_credential<'a>(
    lane: crate::event::Fingerprint,
    mut credentials: impl Iterator<Item = &'a Arc<Credential>>,
) -> Result<Arc<Credential>, MixedCredentials> {
    let first = credentials.next().ok_or(MixedCredentials)?;
    let same = |credential: &Arc<Credential>| credential.fingerprint == lane && credential.headers == first.headers;
    if same(first) && credentials.all(same) { Ok(Arc::clone(first)) } else { Err(MixedCredentials) }
}

/// `{"events":[…]}`, exactly as long as the window counted it.
#[must_use]
pub fn envelope<'a>(events: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut body = b"{\"events\":[".to_vec();
    for (index, event) in events.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(event);
    }
    body.extend_from_slice(b"]}");
    body
}

/// What the reply means, and what it held that nobody asked for.
#[derive(Debug)]
pub struct Reading {
    /// For the lane.
    pub verdict: Answer,
    /// Ids that no event of the batch has.
    pub unknown: usize,
}

/// A verdict, or what the schedule needs to make one.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Ready for the lane.
    Verdict(Verdict),
    /// 5xx.
    Server,
    /// 429, with the time Retry-After asks for.
    Limited(Option<Duration>),
}

/// Reads the reply to a batch or a single call. `permanent`: reasons under `failed` that no retry can cure.
#[must_use]
pub fn read<E: Entry>(
    batch: &Batch<E>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    permanent: &[Arc<str>],
    now: SystemTime,
) -> Reading {
    let plain = |verdict| Reading { verdict: Answer::Verdict(verdict), unknown: 0 };
    match status.as_u16() {
        200..=299 if batch.form == Form::Single => plain(Verdict::Answered(all_accepted(batch))),
        200..=299 => read_lists(batch, body, permanent),
        401 | 403 => plain(Verdict::Rejected),
        404 | 405 | 501 => plain(Verdict::NoBatchEndpoint),
        408 => Reading { verdict: Answer::Server, unknown: 0 },
        413 => plain(Verdict::TooLarge),
        429 => Reading { verdict: Answer::Limited(retry_after(headers, now)), unknown: 0 },
        400..=499 => plain(Verdict::Refused { named: named_ids(batch, body) }),
        // 1xx and 3xx are no answer to a batch; like 5xx they are tried again and given up in time.
        _ => Reading { verdict: Answer::Server, unknown: 0 },
    }
}

/// Retry-After (RFC 9110 §10.2.3): seconds or a date; nonsense counts as absent.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(86_400)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO).min(Duration::from_secs(86_400)))
}

fn all_accepted<E>(batch: &Batch<E>) -> Vec<Fate> {
    batch.events.iter().map(|_| Fate::Done(Outcome::Accepted)).collect()
}

/// The lists of a reply: at its top level, else under `data`.
struct Lists<'a> {
    fates: HashMap<Cow<'a, str>, Fate>,
    found: bool,
}

fn read_lists<E: Entry>(batch: &Batch<E>, body: &[u8], permanent: &[Arc<str>]) -> Reading {
    let lists = lists(body, permanent);
    if !lists.found {
        return Reading { verdict: Answer::Verdict(Verdict::Answered(all_accepted(batch))), unknown: 0 };
    }
    let mut known = 0;
    let fates = batch.events.iter().map(|queued| {
        let fate = lists.fates.get(queued.entry.id().as_str());
        known += usize::from(fate.is_some());
        // An id in no list: nobody said that it was taken.
        fate.cloned().unwrap_or(Fate::Again)
    });
    let fates: Vec<_> = fates.collect();
    let unknown = lists.fates.len().saturating_sub(known);
    Reading { verdict: Answer::Verdict(Verdict::Answered(fates)), unknown }
}

fn lists<'a>(body: &'a [u8], permanent: &[Arc<str>]) -> Lists<'a> {
    let none = Lists { fates: HashMap::new(), found: false };
    let Some(top) = json::text_of(body).ok().and_then(|text| Object::parse(text).ok()) else { return none };
    let has_lists = |object: &Object<'_>| {
        ["accepted", "duplicates", "failed"].iter().any(|name| object.get(name).is_some_and(is_array))
    };
    if has_lists(&top) {
        return gather(&top, permanent);
    }
    match top.get("data").and_then(|data| Object::parse(data).ok()) {
        Some(data) if has_lists(&data) => gather(&data, permanent),
        _ => none,
    }
}

fn is_array(raw: &str) -> bool {
    raw.trim_start().starts_with('[')
}

fn gather<'a>(object: &Object<'a>, permanent: &[Arc<str>]) -> Lists<'a> {
    let list = |name: &str| object.get(name).and_then(|raw| json::elements(raw).ok()).unwrap_or_default();
    let mut fates = HashMap::new();
    // ORDER: a later insertion wins. An id that stands in two lists was taken by one of them, so `failed` comes first.
    for raw in list("failed") {
        if let Some((id, fate)) = failed(raw, permanent) {
            fates.insert(id, fate);
        }
    }
    for raw in list("duplicates") {
        fates.extend(json::string(raw).map(|id| (id, Fate::Done(Outcome::Duplicate))));
    }
    for raw in list("accepted") {
        fates.extend(json::string(raw).map(|id| (id, Fate::Done(Outcome::Accepted))));
    }
    Lists { fates, found: true }
}

fn failed<'a>(raw: &'a str, permanent: &[Arc<str>]) -> Option<(Cow<'a, str>, Fate)> {
    if let Some(id) = json::string(raw) {
        return Some((id, Fate::Again));
    }
    let object = Object::parse(raw).ok()?;
    let id = ["id", "clientEventId"].iter().find_map(|name| object.get(name).and_then(json::string))?;
    let reason = object.get("reason").and_then(json::string).unwrap_or_default();
    let fatal = permanent.iter().any(|name| **name == *reason);
    Some((id, if fatal { Fate::Done(Outcome::Dead(Reason::FailedPermanently)) } else { Fate::Again }))
}

/// The ids that a refusal names under `invalid` or `failed`, and that the batch holds.
fn named_ids<E: Entry>(batch: &Batch<E>, body: &[u8]) -> Vec<EventId> {
    let Some(top) = json::text_of(body).ok().and_then(|text| Object::parse(text).ok()) else { return Vec::new() };
    let data = top.get("data").and_then(|data| Object::parse(data).ok());
    let lists = ["invalid", "failed"].iter().flat_map(|name| {
        let nested = data.as_ref().and_then(|data| data.get(name));
        top.get(name).into_iter().chain(nested).filter_map(|raw| json::elements(raw).ok()).flatten()
    });
    let named: Vec<Cow<'_, str>> = lists.filter_map(|raw| failed(raw, &[]).map(|(id, _)| id)).collect();
    let ids = batch.events.iter().map(|queued| queued.entry.id());
    ids.filter(|id| named.iter().any(|name| name == id.as_str())).cloned().collect()
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
