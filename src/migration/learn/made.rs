//! Values of answers that the application makes, and of which a template makes as good ones: the
//! time of the call, an id that nothing is asked by, the request's id.

use super::exchange::Exchange;
use super::routes::Call;
use crate::migration::words::{is_iso_as_written, is_milliseconds, is_uuid, names_id};
use serde_json::Value;
use std::collections::HashSet;
use std::time::UNIX_EPOCH;

/// So far a time may lie from its answer's and be the call's, ms: an answer takes time, and two clocks
/// differ.
pub(super) const NEAR: u64 = 10_000;

/// The template that makes what stands in one place of all answers; `None` if that can't be known.
pub(super) fn template_of(
    calls: &[&Call<'_>],
    name: &str,
    values: &[Option<&Value>],
) -> Option<&'static str> {
    let all: Vec<&Value> = values.iter().copied().collect::<Option<_>>()?;
    let is_now = || {
        let mut pairs = calls.iter().zip(&all);
        pairs.all(|(call, value)| is_near(call.exchange, value))
    };
    if is_request_id(calls, &all) {
        Some("{request_id}")
    } else if all.iter().all(|value| is_iso(value)) {
        is_now().then_some("{now.iso}")
    } else if all.iter().all(|value| is_milliseconds(value)) {
        is_now().then_some("{now.ms}")
    } else {
        (are_uuids(&all) && are_distinct(&all) && names_id(name)).then_some("{uuid}")
    }
}

/// Why no template makes these values, if they look as if one did.
pub(super) fn doubt_of(values: &[Option<&Value>]) -> Option<&'static str> {
    let all: Vec<&Value> = values.iter().copied().collect::<Option<_>>()?;
    if all.iter().all(|value| is_iso(value)) || all.iter().all(|value| is_milliseconds(value)) {
        Some("it is a time, but not the call's")
    } else if !are_uuids(&all) {
        None
    } else if are_distinct(&all) {
        Some("it is the application's, and a client may ask by it")
    } else {
        Some("it comes again in other answers, and no call says it")
    }
}

fn is_iso(value: &Value) -> bool {
    value.as_str().is_some_and(is_iso_as_written)
}

fn are_uuids(values: &[&Value]) -> bool {
    let is_one = |value: &&Value| value.as_str().is_some_and(is_uuid);
    values.iter().all(is_one)
}

fn are_distinct(values: &[&Value]) -> bool {
    let distinct: HashSet<_> = values.iter().filter_map(|value| value.as_str()).collect();
    distinct.len() == values.len()
}

fn is_request_id(calls: &[&Call<'_>], values: &[&Value]) -> bool {
    calls.iter().zip(values).all(|(call, value)| {
        let text = value.as_str();
        let id = call.exchange.answer_header("x-request-id");
        text.is_some() && (text == id || text == call.exchange.header("x-request-id"))
    })
}

/// Whether a time is about that of its answer.
fn is_near(exchange: &Exchange, value: &Value) -> bool {
    let time = match value.as_str() {
        Some(text) => text.parse().ok().map(jiff::Timestamp::as_millisecond),
        None => value.as_i64(),
    };
    let times = time.zip(answered_at(exchange));
    times.is_some_and(|(time, answered)| time.abs_diff(answered) <= NEAR)
}

/// When an answer was made, Unix milliseconds: by the application's own clock, which the browser's may
/// differ from, else when its call was made.
fn answered_at(exchange: &Exchange) -> Option<i64> {
    let date = exchange.answer_header("date");
    let date = date.and_then(|line| httpdate::parse_http_date(line).ok());
    let date = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
    let date = date.and_then(|since| i64::try_from(since.as_millis()).ok());
    date.or(exchange.started)
}
