//! The batch contract (design §6), pure: a body out of events, one verdict out of a reply.

use super::settings::{Envelope, Missing, Places, Results};
use super::window::{Batch, ENVELOPE_BYTES, Entry, Fate, Form, Verdict};
use crate::event::{Context, EventId, Fingerprint, Outcome, Reason};
use crate::identity::{Caller, Identity, keys};
use crate::json::{self, Object};
use crate::peer::{Connection, Peer};
use crate::template::{Found, Lookup, Source};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A batch that holds events of more than one credential; it is never sent (P3).
#[derive(Debug, thiserror::Error)]
#[error("a batch holds events of more than one credential")]
pub struct MixedCredentials;

/// The one context of all events.
///
/// # Errors
/// They differ, or there are none.
pub fn one_context<'a>(
    lane: Fingerprint,
    mut contexts: impl Iterator<Item = &'a Arc<Context>>,
) -> Result<Arc<Context>, MixedCredentials> {
    let first = contexts.next().ok_or(MixedCredentials)?;
    let same =
        |context: &Arc<Context>| context.keys.fingerprint == lane && (Arc::ptr_eq(context, first) || context == first);
    if same(first) && contexts.all(same) { Ok(Arc::clone(first)) } else { Err(MixedCredentials) }
}

/// What a context holds, as the head of a call that templates can look into.
#[derive(Debug)]
pub struct Head {
    parts: Parts,
    peer: Peer,
}

impl Head {
    /// Of a context.
    #[must_use]
    pub fn of(context: &Context) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let peer = Peer::new(Connection { address: nowhere, secure: context.https });
        Self { parts: Identity::head_of(context), peer: Peer { host: context.host.clone(), ..peer } }
    }

    /// To look into.
    #[must_use]
    pub fn caller(&self, identity: &Identity, now: SystemTime) -> Caller<'_> {
        identity.caller(&self.parts, &self.peer, now)
    }
}

/// What templates of a batch can see: what its calls share, and what is the batch's own.
pub struct BatchScope<'a> {
    caller: Option<Caller<'a>>,
    context: Option<&'a Context>,
    user: Option<&'a str>,
    id: &'a str,
    now: SystemTime,
    now_ms: String,
    events: Cow<'a, str>,
}

impl<'a> BatchScope<'a> {
    /// Of a batch of one context (with its [`Head`]), or of none.
    #[must_use]
    pub fn new(
        identity: &Identity,
        of: Option<(&'a Head, &'a Context)>,
        user: Option<&'a str>,
        id: &'a str,
        now: SystemTime,
    ) -> Self {
        let caller = of.map(|(head, _)| head.caller(identity, now));
        let (context, now_ms) = (of.map(|(_, context)| context), crate::clock::millis(now).to_string());
        Self { caller, context, user, id, now, now_ms, events: Cow::Borrowed("[]") }
    }
}

impl Lookup for BatchScope<'_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::Events => Some(Found::Json(&self.events)),
            Source::User => self.user.map(|user| Found::Text(Cow::Borrowed(user))),
            Source::Batch if path.first().is_some_and(|name| **name == *"id") => Some(Found::Text(self.id.into())),
            Source::Uuid => Some(Found::Text(self.id.into())),
            Source::NowMs => Some(Found::Json(&self.now_ms)),
            Source::NowIso => Some(Found::Text(Cow::Owned(super::decode::iso(self.now)))),
            Source::Header | Source::Cookie | Source::Jwt => self.caller.as_ref()?.look(source, path),
            Source::Body | Source::Query => keys::named(self.context?, source.name(), path).map(Found::Json),
            _ => None,
        }
    }
}

impl Envelope {
    /// The body of a batch, exactly as long as the window counted it.
    #[must_use]
    pub fn wrap<'a>(&self, events: impl Iterator<Item = &'a [u8]>, mut scope: BatchScope<'_>) -> Vec<u8> {
        let mut list = match self {
            Self::Plain => b"{\"events\":[".to_vec(),
            Self::Document(_) => b"[".to_vec(),
        };
        for (index, event) in events.enumerate() {
            if index > 0 {
                list.push(b',');
            }
            list.extend_from_slice(event);
        }
        list.push(b']');
        let Self::Document(document) = self else {
            list.push(b'}');
            return list;
        };
        // Events are JSON, and so UTF-8.
        scope.events = String::from_utf8(list).unwrap_or_default().into();
        let mut body = Vec::with_capacity(scope.events.len() + 64);
        document.write(&scope, &mut body);
        body
    }

    /// Bytes around the events of a batch of this user and context, commas left out.
    #[must_use]
    pub fn overhead(&self, identity: &Identity, context: &Context, user: &str, now: SystemTime) -> usize {
        let Self::Document(_) = self else { return ENVELOPE_BYTES };
        let head = Head::of(context);
        let id = uuid::Uuid::nil().to_string();
        self.wrap(std::iter::empty(), BatchScope::new(identity, Some((&head, context)), Some(user), &id, now)).len()
    }
}

/// What was asked of the upstream.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The ids, in the order of the events.
    pub ids: Vec<&'a EventId>,
    /// Batch or single call.
    pub form: Form,
}

impl<'a> Asked<'a> {
    /// In one request, of these batches.
    pub fn of<E: Entry + 'a>(batches: impl Iterator<Item = &'a Batch<E>>) -> Self {
        let mut asked = Self { ids: Vec::new(), form: Form::Batch };
        for batch in batches {
            asked.form = batch.form;
            asked.ids.extend(batch.events.iter().map(|queued| queued.entry.id()));
        }
        asked
    }

    fn all_accepted(&self) -> Vec<Fate> {
        vec![Fate::Done(Outcome::Accepted); self.ids.len()]
    }
}

/// How a group's replies are read.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Where they speak of single events.
    pub results: &'a Results,
    /// Reasons under `failed` that no retry can cure.
    pub permanent: &'a [Arc<str>],
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
    /// 5xx, or nothing that could be understood; with the time that Retry-After asks for (RFC 9110 §15.6.4).
    Server(Option<Duration>),
    /// 429, likewise.
    Limited(Option<Duration>),
}

/// Reads the reply to a batch or a single call.
#[must_use]
pub fn read(
    asked: &Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    reader: Reader<'_>,
    now: SystemTime,
) -> Reading {
    let plain = |verdict| Reading { verdict: Answer::Verdict(verdict), unknown: 0 };
    let passing = || Reading { verdict: Answer::Server(retry_after(headers, now)), unknown: 0 };
    match status.as_u16() {
        200..=299 if asked.form == Form::Single => plain(Verdict::Answered(asked.all_accepted())),
        // A JSON document that breaks off, or a page, says nothing of what was taken; the upstream knows the ids when they
        // come again.
        200..=299 if is_garbled(body) => passing(),
        200..=299 => read_lists(asked, body, reader).unwrap_or_else(passing),
        401 | 403 => plain(Verdict::Rejected),
        404 | 405 | 501 => plain(Verdict::NoBatchEndpoint),
        413 => plain(Verdict::TooLarge),
        // Not this batch's fault: a proxy in between, a request too slow, too early or on the wrong connection.
        407 | 408 | 421 | 425 => passing(),
        429 => Reading { verdict: Answer::Limited(retry_after(headers, now)), unknown: 0 },
        400..=499 => plain(Verdict::Refused { named: named_ids(asked, body, reader.results) }),
        // 1xx and 3xx are no answer to a batch; like 5xx they are tried again and given up in time.
        _ => passing(),
    }
}

/// Retry-After (RFC 9110 §10.2.3): seconds or a date; nonsense counts as absent. At most a day.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(86_400)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO).min(Duration::from_secs(86_400)))
}

/// It begins like a JSON document and is none, or like a page for people: a proxy, a portal or a front end's fallback
/// answered, and not who takes batches.
fn is_garbled(body: &[u8]) -> bool {
    let body = body.trim_ascii();
    match body.first() {
        Some(b'{' | b'[') => serde_json::from_slice::<&serde_json::value::RawValue>(body).is_err(),
        Some(b'<') => true,
        _ => false,
    }
}

/// One fate per event; `None`: the lists that must be there are not.
fn read_lists(asked: &Asked<'_>, body: &[u8], reader: Reader<'_>) -> Option<Reading> {
    let Some(fates) = json::text_of(body).ok().and_then(|text| lists(text, reader)) else {
        let all = Reading { verdict: Answer::Verdict(Verdict::Answered(asked.all_accepted())), unknown: 0 };
        return (!reader.results.needed).then_some(all);
    };
    let missing = match reader.results.missing {
        Missing::Retry => Fate::Again,
        Missing::Duplicate => Fate::Done(Outcome::Duplicate),
        Missing::Accepted => Fate::Done(Outcome::Accepted),
    };
    let mut known = 0;
    let of_event = |id: &&EventId| {
        let fate = fates.get(id.as_str());
        known += usize::from(fate.is_some());
        fate.unwrap_or(&missing).clone()
    };
    let verdict = Verdict::Answered(asked.ids.iter().map(of_event).collect());
    Some(Reading { verdict: Answer::Verdict(verdict), unknown: fates.len().saturating_sub(known) })
}

/// The fates in the first of the places where a list stands.
fn lists<'a>(text: &'a str, reader: Reader<'_>) -> Option<HashMap<Cow<'a, str>, Fate>> {
    reader.results.places.iter().find_map(|places| gather(text, places, reader))
}

fn gather<'a>(text: &'a str, places: &Places, reader: Reader<'_>) -> Option<HashMap<Cow<'a, str>, Fate>> {
    let list = |place: &Option<crate::template::Path>| json::elements(json::at(text, &place.as_ref()?.0)?).ok();
    let (failed, duplicates, accepted) = (list(&places.failed), list(&places.duplicates), list(&places.accepted));
    if failed.is_none() && duplicates.is_none() && accepted.is_none() {
        return None;
    }
    let results = reader.results;
    let mut fates = HashMap::new();
    // ORDER: a later insertion wins. An id that stands in two lists was taken by one of them, so `failed` comes first.
    for raw in failed.unwrap_or_default() {
        fates.extend(id_of(raw, results).map(|id| (id, fate_of(raw, reader))));
    }
    for raw in duplicates.unwrap_or_default() {
        fates.extend(id_of(raw, results).map(|id| (id, Fate::Done(Outcome::Duplicate))));
    }
    for raw in accepted.unwrap_or_default() {
        fates.extend(id_of(raw, results).map(|id| (id, Fate::Done(Outcome::Accepted))));
    }
    Some(fates)
}

/// An id by itself, or in an object: text, or a number as it is written.
fn id_of<'a>(raw: &'a str, results: &Results) -> Option<Cow<'a, str>> {
    let plain = |raw: &'a str| match raw.as_bytes().first()? {
        b'"' => json::string(raw),
        b'0'..=b'9' | b'-' => Some(Cow::Borrowed(raw)),
        _ => None,
    };
    plain(raw).or_else(|| {
        let object = Object::parse(raw).ok()?;
        results.id.iter().find_map(|name| object.get(name).and_then(plain))
    })
}

fn fate_of(raw: &str, reader: Reader<'_>) -> Fate {
    let object = Object::parse(raw).ok();
    let reason = |name: &Arc<str>| object.as_ref().and_then(|object| json::string(object.get(name)?));
    let fatal = reader
        .results
        .reason
        .iter()
        .find_map(reason)
        .is_some_and(|reason| reader.permanent.iter().any(|name| **name == *reason));
    if fatal { Fate::Done(Outcome::Dead(Reason::FailedPermanently)) } else { Fate::Again }
}

/// The events that a refusal names: by id under `invalid` or `failed` (or where the group's results have them), or by
/// their place in the array, as schema validators do (`details: [{"path": ["events", 3, "userId"], …}]`).
fn named_ids(asked: &Asked<'_>, body: &[u8], results: &Results) -> Vec<EventId> {
    let Some(text) = json::text_of(body).ok().filter(|_| !is_garbled(body)) else { return Vec::new() };
    let list = |path: &[Box<str>]| json::at(text, path).and_then(|raw| json::elements(raw).ok()).unwrap_or_default();
    let of = |steps: &[&str]| list(&crate::template::Path::of(steps).0);
    let by_id = [of(&["invalid"]), of(&["data", "invalid"]), of(&["failed"]), of(&["data", "failed"])];
    let configured = results.places.iter().filter_map(|places| places.failed.as_ref()).flat_map(|path| list(&path.0));
    let named: HashSet<Cow<'_, str>> =
        by_id.into_iter().flatten().chain(configured).filter_map(|raw| id_of(raw, results)).collect();
    let by_place = [of(&["details"]), of(&["errors"]), of(&["issues"])];
    let places: HashSet<usize> = by_place.into_iter().flatten().filter_map(place_of).collect();
    let is_named = |(place, id): &(usize, &&EventId)| places.contains(place) || named.contains(id.as_str());
    asked.ids.iter().enumerate().filter(is_named).map(|(_, id)| (*id).clone()).collect()
}

/// The first number of a problem's `path`.
fn place_of(raw: &str) -> Option<usize> {
    let path = json::elements(Object::parse(raw).ok()?.get("path")?).ok()?;
    path.iter().find_map(|step| step.parse().ok())
}

#[cfg(test)]
#[path = "contract_tests.rs"]
mod tests;
