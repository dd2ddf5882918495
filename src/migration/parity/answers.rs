//! An acknowledgement against what the application answered to the same call.

use super::compared::{Rules, Told};
use super::header::{COMPARED_BY_VALUE, is_left_out};
use super::kind::Kind;
use super::learned::Learned;
use super::pairs::{Pair, pairs_of};
use super::shape::{are_equal, describe, have_one_type};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use serde_json::Value;

/// Findings of one event at most; what is beyond them would say nothing new.
const MOST_FINDINGS: usize = 32;
/// Longest value of a header that is shown, characters.
const LONGEST_VALUE: usize = 60;

/// In what an event disagrees, as it may be shown.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    /// Where: a place of the body, a header, a reason.
    pub(super) place: String,
    /// What the acknowledgement or the batch says there.
    pub(super) batched: String,
    /// What the application says to the single call.
    pub(super) single: String,
}

/// What an answer's body is, for a comparison.
pub(super) enum Content<'t> {
    /// It was cut off, or is packed.
    Unread,
    Nothing,
    Json(Value),
    Other(&'t [u8]),
}

impl<'t> Content<'t> {
    pub(super) fn of(told: &'t Told) -> Self {
        let is_packed = told
            .headers
            .get(CONTENT_ENCODING)
            .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
        if !told.is_whole || is_packed {
            return Self::Unread;
        }
        if told.body.trim_ascii().is_empty() {
            return Self::Nothing;
        }
        serde_json::from_slice(&told.body).map_or(Self::Other(&told.body), Self::Json)
    }

    fn describe(&self) -> String {
        match self {
            Self::Unread => "a body that wasn't read".to_owned(),
            Self::Nothing => "nothing".to_owned(),
            Self::Json(value) => describe(Some(value)),
            Self::Other(bytes) => format!("{} bytes that are no JSON", bytes.len()),
        }
    }

    /// A body that says no by itself: `ok` or `success` is false, there is an `error`, or `status`
    /// is a word for it (JSend).
    pub(super) fn says_no(&self) -> bool {
        let Self::Json(Value::Object(members)) = self else {
            return false;
        };
        let is_false = |name| members.get(name) == Some(&Value::Bool(false));
        let is_told = |name| members.get(name).is_some_and(|value| !is_empty(value));
        let has_failed = members
            .get("status")
            .and_then(Value::as_str)
            .is_some_and(|status| ["error", "fail", "failed", "failure"].contains(&status));
        is_false("ok") || is_false("success") || is_told("error") || is_told("errors") || has_failed
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// What is compared: the application's answer and the acknowledgement.
pub(super) struct Answers<'t> {
    pub(super) single: &'t Told,
    pub(super) single_content: &'t Content<'t>,
    pub(super) ack: &'t Told,
    pub(super) ack_content: &'t Content<'t>,
}

/// In what they differ.
pub(super) fn compare_answers(
    answers: &Answers<'_>,
    rules: &Rules,
    learned: &mut Learned,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if answers.single.status != answers.ack.status {
        findings.push(Finding {
            kind: Kind::AckStatus,
            place: "the status".to_owned(),
            batched: answers.ack.status.to_string(),
            single: answers.single.status.to_string(),
        });
    }
    compare_headers(
        &answers.single.headers,
        &answers.ack.headers,
        rules,
        &mut findings,
    );
    match (answers.single_content, answers.ack_content) {
        (Content::Unread, _) | (_, Content::Unread) | (Content::Nothing, Content::Nothing) => {}
        (Content::Json(single), Content::Json(ack)) => {
            for pair in pairs_of(single, ack) {
                findings.extend(judge_pair(&pair, rules, learned));
                if findings.len() >= MOST_FINDINGS {
                    break;
                }
            }
        }
        (Content::Other(single), Content::Other(ack)) if single == ack => {}
        (single, ack) => findings.push(Finding {
            kind: match (single, ack) {
                (Content::Other(_), Content::Other(_)) => Kind::AckValue,
                _ => Kind::AckType,
            },
            place: "the body".to_owned(),
            batched: ack.describe(),
            single: single.describe(),
        }),
    }
    findings
}

/// What the application has at a place, and the acknowledgement.
fn judge_pair(pair: &Pair<'_>, rules: &Rules, learned: &mut Learned) -> Option<Finding> {
    if pair.place.is_in(&rules.ignore) {
        return None;
    }
    let place = pair.place.show();
    let kind = match (pair.left, pair.right) {
        (Some(_), None) | (None, Some(_)) if pair.place.is_element() => Kind::AckValue,
        (Some(_), None) => Kind::AckMissingKey,
        (None, Some(_)) => Kind::AckExtraKey,
        (Some(single), Some(ack)) if !have_one_type(single, ack) => Kind::AckType,
        (Some(single), Some(ack)) => {
            let is_equal = are_equal(single, ack);
            if !learned.judge(&place, (single, ack), is_equal) {
                return None;
            }
            Kind::AckValue
        }
        (None, None) => return None,
    };
    Some(Finding {
        kind,
        place,
        batched: describe(pair.right),
        single: describe(pair.left),
    })
}

fn compare_headers(single: &HeaderMap, ack: &HeaderMap, rules: &Rules, out: &mut Vec<Finding>) {
    let (wanted, found) = (media_type(single), media_type(ack));
    if wanted != found && !rules.ignores_header(CONTENT_TYPE.as_str()) {
        out.push(Finding {
            kind: Kind::AckContentType,
            place: format!("header:{CONTENT_TYPE}"),
            batched: found.unwrap_or_else(|| "nothing".to_owned()),
            single: wanted.unwrap_or_else(|| "nothing".to_owned()),
        });
    }
    let may_count = |name: &&HeaderName| {
        *name != CONTENT_TYPE && !is_left_out(name) && !rules.ignores_header(name.as_str())
    };
    for name in single.keys().filter(may_count).take(MOST_FINDINGS) {
        let batched = if !ack.contains_key(name) {
            "nothing"
        } else if COMPARED_BY_VALUE.contains(&name.as_str()) && single.get(name) != ack.get(name) {
            "another value"
        } else {
            continue;
        };
        out.push(Finding {
            kind: Kind::AckHeader,
            place: format!("header:{name}"),
            batched: batched.to_owned(),
            single: describe_header(single, name),
        });
    }
}

fn describe_header(headers: &HeaderMap, name: &HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    match value.filter(|_| *name == CACHE_CONTROL) {
        Some(value) => value.chars().take(LONGEST_VALUE).collect(),
        None => "a value".to_owned(),
    }
}

/// The media type without its parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?;
    let text = value.to_str().unwrap_or("not readable");
    let essence = text.split(';').next().unwrap_or_default().trim();
    Some(
        essence
            .chars()
            .take(LONGEST_VALUE)
            .collect::<String>()
            .to_ascii_lowercase(),
    )
}
