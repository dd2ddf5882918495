//! What an answer means (design §6), pure: of a reply to a batch or a single call, one [`Answer`].
//!
//! A 2xx to a batch is read in this order: a body that isn't known whole, a page or JSON that can't
//! be read says nothing; `success` must be met; `results` (in order, or by id) say what became of
//! each event; then a body that says no isn't believed to have taken anything; what is left has
//! taken all. What isn't clear is [`Answer::Unclear`]: the batch goes on as its single calls.

mod ids;
mod lists;
mod targets;

use crate::event::{EventId, Outcome, Reason};
use crate::ingest::lanes::window::{Batch, Entry, Fate, Form};
use crate::ingest::settings::{InOrder, Missing, Results, Success};
use crate::json::{self, Object};
use crate::template::Path;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use ids::Ids;
use lists::Scan;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What was asked of the upstream.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The ids, in the order of the events.
    pub ids: Vec<&'a str>,
    /// Batch or single call.
    pub form: Form,
}

impl<'a> Asked<'a> {
    /// In one request, of these batches.
    pub fn of<E: Entry + 'a>(batches: impl Iterator<Item = &'a Batch<E>>) -> Self {
        let mut asked = Self {
            ids: Vec::new(),
            form: Form::Batch,
        };
        for batch in batches {
            asked.form = batch.form;
            asked
                .ids
                .extend(batch.events.iter().map(|queued| queued.entry.id()));
        }
        asked
    }

    fn all_accepted(&self) -> Vec<Fate> {
        vec![Fate::Done(Outcome::Accepted); self.ids.len()]
    }
}

/// An answer to a delivery, as far as it was received.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body without a coding; where it isn't known whole, its beginning or nothing.
    pub body: Bytes,
    /// Why its body isn't known whole.
    pub unread: Option<&'static str>,
}

/// How a group's replies are read.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Where they speak of single events.
    pub results: &'a Results,
    /// What makes a 2xx a success.
    pub success: Option<&'a Success>,
    /// Reasons under `failed` that no retry can cure.
    pub permanent: &'a [Arc<str>],
}

/// What the reply means, and what it held that nobody asked for.
#[derive(Debug)]
pub struct Reading {
    /// For the batch.
    pub answer: Answer,
    /// Ids that no event of the batch has.
    pub unknown: usize,
}

/// What a reply says.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Something of every event; one fate each, in order.
    Fates(Vec<Fate>),
    /// A 2xx to a batch that doesn't say that all was taken, and why.
    Unclear(&'static str),
    /// 401; of a single call, 3xx too.
    Rejected,
    /// 403.
    Forbidden,
    /// 404, 405 or 501; of a batch, 3xx too.
    NotThere,
    /// 413.
    TooLarge,
    /// Another 4xx; the ids that it names, if any.
    Refused(Vec<EventId>),
    /// 5xx, or what is no answer; with the time that Retry-After asks for (RFC 9110 §15.6.4).
    Server(Option<Duration>),
    /// 429, likewise.
    Limited(Option<Duration>),
}

/// Reads the reply to a batch or a single call.
#[must_use]
pub fn read(asked: &Asked<'_>, reply: &Reply, reader: Reader<'_>, now: SystemTime) -> Reading {
    let (status, headers) = (reply.status, &reply.headers);
    let single = asked.form == Form::Single;
    let body = reply.body.as_ref();
    let body = body
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(body)
        .trim_ascii();
    let passing = || Answer::Server(retry_after(headers, now));
    let answer = match status.as_u16() {
        // It is what the client itself would have got; but a page is an outage's, and 0 is 0.
        200..=299 if single && (is_page(headers, body) || fails(reader.success, body)) => passing(),
        200..=299 if single => Answer::Fates(asked.all_accepted()),
        200..=299 if let Some(why) = reply.unread => Answer::Unclear(why),
        200..=299 => return read_success(asked, status, headers, body, reader),
        300..=399 if single => Answer::Rejected,
        300..=399 => Answer::NotThere,
        401 => Answer::Rejected,
        403 => Answer::Forbidden,
        404 | 405 | 501 => Answer::NotThere,
        // Not this batch's fault: a proxy in between, a request too slow, too early or on the wrong
        // connection.
        407 | 408 | 421 | 425 => passing(),
        413 => Answer::TooLarge,
        429 => Answer::Limited(retry_after(headers, now)),
        400..=499 => Answer::Refused(named_ids(asked, body, reader.results)),
        // 1xx, and what is no status; like 5xx they are tried again and given up in time.
        _ => passing(),
    };
    Reading { answer, unknown: 0 }
}

/// Retry-After (RFC 9110 §10.2.3): seconds or a date; nonsense counts as absent. At most a day.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds.min(86_400)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(
        date.duration_since(now)
            .unwrap_or(Duration::ZERO)
            .min(Duration::from_secs(86_400)),
    )
}

/// A 2xx to a batch.
fn read_success(
    asked: &Asked<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    reader: Reader<'_>,
) -> Reading {
    let answer = |answer| Reading { answer, unknown: 0 };
    let unclear = |why| answer(Answer::Unclear(why));
    if is_page(headers, body) {
        return unclear("it is a page");
    }
    let Ok(scan) = Scan::of(body, asked, reader) else {
        return unclear("its JSON can't be read");
    };
    let text = || json::text_of(body).unwrap_or_default();
    if reader.success.is_some_and(|success| {
        value_at(text(), &success.place).is_none_or(|value| !is_among(&value, &success.values))
    }) {
        return unclear("`success` isn't met");
    }
    let results = reader.results;
    if let Some(places) = &results.in_order {
        let fates = fates_in_order(asked, text(), places, reader);
        return fates.map_or_else(
            || unclear("its results are not there in order"),
            |fates| answer(Answer::Fates(fates)),
        );
    }
    if let Some((fates, unknown)) = scan.fates(&fate_of_missing(results.missing)) {
        return Reading {
            answer: Answer::Fates(fates),
            unknown,
        };
    }
    if results.needed {
        return unclear("its results are not there");
    }
    if status == StatusCode::MULTI_STATUS {
        return unclear("it is 207 without results");
    }
    if reader.success.is_none() && says_no(&scan) {
        return unclear("its body says no");
    }
    answer(Answer::Fates(asked.all_accepted()))
}

const fn fate_of_missing(missing: Missing) -> Fate {
    match missing {
        Missing::Retry => Fate::Again,
        Missing::Duplicate => Fate::Done(Outcome::Duplicate),
        Missing::Accepted => Fate::Done(Outcome::Accepted),
    }
}

/// A page for people: a load balancer, a portal or a front end's fallback answered, and not who
/// takes events. XML that calls itself so is none.
fn is_page(headers: &HeaderMap, body: &[u8]) -> bool {
    let content_type = headers
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_xml = essence.ends_with("/xml")
        || essence.ends_with("+xml") && essence != "application/xhtml+xml";
    body.starts_with(b"<") && !is_xml
}

/// A body that says no by itself: `ok` or `success` is false, or there is an `error`.
fn says_no(scan: &Scan<'_, '_>) -> bool {
    let is_false = |name| scan.said(name) == Some("false");
    let is_empty = |raw: &str| match serde_json::from_str(raw) {
        Ok(Value::Null | Value::Bool(false)) => true,
        Ok(Value::String(text)) => text.is_empty(),
        Ok(Value::Array(all)) => all.is_empty(),
        Ok(Value::Object(all)) => all.is_empty(),
        Ok(Value::Number(number)) => number.as_f64() == Some(0.0),
        _ => false,
    };
    let is_told = |name| scan.said(name).is_some_and(|raw| !is_empty(raw));
    is_false("ok") || is_false("success") || is_told("error") || is_told("errors")
}

/// A single call's answer has a plain value where `success` looks, and it is another one. Where it
/// has none, nothing is known against it: a single call's answer need not look like a batch's.
fn fails(success: Option<&Success>, body: &[u8]) -> bool {
    let value = |success: &Success| value_at(json::text_of(body).ok()?, &success.place);
    let is_plain = |value: &Value| !value.is_object() && !value.is_array();
    let is_other = |success: &Success| {
        value(success).is_some_and(|value| is_plain(&value) && !is_among(&value, &success.values))
    };
    success.is_some_and(is_other)
}

fn value_at(text: &str, place: &Path) -> Option<Value> {
    serde_json::from_str(json::at(text, &place.0)?).ok()
}

/// Numbers are compared as numbers: 1.0 is 1.
fn is_among(value: &Value, values: &[Value]) -> bool {
    let same = |one: &Value| {
        one == value
            || one
                .as_f64()
                .zip(value.as_f64())
                .is_some_and(|(one, other)| one == other)
    };
    values.iter().any(same)
}

/// One fate per entry of a list that is as long as the batch; `None` if it isn't, or if no entry
/// has a status.
fn fates_in_order(
    asked: &Asked<'_>,
    text: &str,
    places: &InOrder,
    reader: Reader<'_>,
) -> Option<Vec<Fate>> {
    let entries = json::elements(json::at(text, &places.list.0)?).ok()?;
    let statuses: Vec<_> = entries
        .iter()
        .map(|entry| value_at(entry, &places.status))
        .collect();
    if entries.len() != asked.ids.len() || statuses.iter().all(Option::is_none) {
        return None;
    }
    let fate = |(entry, status): (&&str, &Option<Value>)| {
        fate_in_order(entry, status.as_ref(), places, reader)
    };
    Some(entries.iter().zip(&statuses).map(fate).collect())
}

fn fate_in_order(
    entry: &str,
    status: Option<&Value>,
    places: &InOrder,
    reader: Reader<'_>,
) -> Fate {
    let Some(status) = status else {
        return Fate::Again;
    };
    let is_permanent = |word: &str| reader.permanent.iter().any(|name| **name == *word);
    let code = status.as_u64().or_else(|| status.as_str()?.parse().ok());
    match code {
        _ if is_among(status, &places.accepted) => Fate::Done(Outcome::Accepted),
        _ if is_among(status, &places.duplicate) => Fate::Done(Outcome::Duplicate),
        _ if status.as_str().is_some_and(is_permanent) => {
            Fate::Done(Outcome::Dead(Reason::FailedPermanently))
        }
        _ if *status == Value::Bool(true) => Fate::Done(Outcome::Accepted),
        Some(200..=299) => Fate::Done(Outcome::Accepted),
        Some(409) => Fate::Done(Outcome::Duplicate),
        // Of the caller, of the moment, of the rate: another try may do.
        Some(401 | 403 | 407 | 408 | 421 | 425 | 429) => Fate::Again,
        Some(400..=499) => Fate::Done(Outcome::Dead(Reason::FailedPermanently)),
        _ => fate_of(entry, reader),
    }
}

/// An id by itself, or in an object: text, or a number as it is written; and the event that it names.
/// An object may have several, one of them its row's in a database: the first that names an event.
fn id_of<'a, E>(
    raw: &'a str,
    results: &Results,
    mut find: impl FnMut(&str) -> Option<E>,
) -> Option<(Cow<'a, str>, Option<E>)> {
    let plain = |raw: &'a str| match raw.as_bytes().first()? {
        b'"' => json::string(raw),
        b'0'..=b'9' | b'-' => Some(Cow::Borrowed(raw)),
        _ => None,
    };
    if let Some(id) = plain(raw) {
        let event = find(&id);
        return Some((id, event));
    }
    let object = Object::parse(raw).ok()?;
    let mut of_none = None;
    for name in &results.id {
        let Some(id) = object.get(name).and_then(plain) else {
            continue;
        };
        if let Some(event) = find(&id) {
            return Some((id, Some(event)));
        }
        of_none.get_or_insert((id, None));
    }
    of_none
}

fn fate_of(raw: &str, reader: Reader<'_>) -> Fate {
    let object = Object::parse(raw).ok();
    let reason = |name: &Arc<str>| {
        object
            .as_ref()
            .and_then(|object| json::string(object.get(name)?))
    };
    let fatal = reader
        .results
        .reason
        .iter()
        .find_map(reason)
        .is_some_and(|reason| reader.permanent.iter().any(|name| **name == *reason));
    if fatal {
        Fate::Done(Outcome::Dead(Reason::FailedPermanently))
    } else {
        Fate::Again
    }
}

/// The events that a refusal names: by id under `invalid` or `failed` (or where the group's results
/// have them), or by their place in the array, as schema validators do (`details: [{"path":
/// ["events", 3, "userId"], …}]`).
fn named_ids(asked: &Asked<'_>, body: &[u8], results: &Results) -> Vec<EventId> {
    let Ok(text) = json::text_of(body) else {
        return Vec::new();
    };
    let list = |path: &[Box<str>]| {
        json::at(text, path)
            .and_then(|raw| json::elements(raw).ok())
            .unwrap_or_default()
    };
    let of = |steps: &[&str]| list(&crate::template::Path::of(steps).0);
    let by_id = [
        of(&["invalid"]),
        of(&["data", "invalid"]),
        of(&["failed"]),
        of(&["data", "failed"]),
    ];
    let configured = results
        .places
        .iter()
        .filter_map(|places| places.failed.as_ref())
        .flat_map(|path| list(&path.0));
    let mut ids = Ids::of(&asked.ids);
    let named: HashSet<usize> = by_id
        .into_iter()
        .flatten()
        .chain(configured)
        .filter_map(|raw| id_of(raw, results, |id| ids.find(id))?.1)
        .collect();
    let by_place = [of(&["details"]), of(&["errors"]), of(&["issues"])];
    let places: HashSet<usize> = by_place
        .into_iter()
        .flatten()
        .filter_map(place_of)
        .collect();
    let is_named = |(place, _): &(usize, &&str)| places.contains(place) || named.contains(place);
    asked
        .ids
        .iter()
        .enumerate()
        .filter(is_named)
        // Each of them is an event's.
        .filter_map(|(_, id)| EventId::try_new(id).ok())
        .collect()
}

/// The first number of a problem's `path`.
fn place_of(raw: &str) -> Option<usize> {
    let path = json::elements(Object::parse(raw).ok()?.get("path")?).ok()?;
    path.iter().find_map(|step| step.parse().ok())
}

#[cfg(test)]
mod tests;
