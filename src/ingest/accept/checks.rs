//! What a group asks of an event: members that must be there, its id, its age, what makes it a
//! priority, what it tells the state of.

use super::call::{Call, Scope};
use super::draft::Draft;
use crate::clock::millis;
use crate::event::{EventId, IdError, Subject, UserId};
use crate::ingest::accept::refusal::{Decline, Refusal};
use crate::ingest::settings::{Condition, Group, Keep, KeyPart, MissingId};
use crate::json;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Tolerance for timestamps in the future (ruling 8).
const FUTURE: Duration = Duration::from_mins(5);

/// Whether a value seals its event's window at once.
pub(super) fn is_met(raw: Option<&str>, condition: &Condition) -> bool {
    let Some(raw) = raw else { return false };
    match condition {
        Condition::Set => !json::is_null(raw) && !json::is_empty_string(raw),
        Condition::AtLeast(least) => {
            serde_json::from_str::<f64>(raw).is_ok_and(|value| value >= *least)
        }
        Condition::Among(values) => match json::string(raw) {
            Some(text) => values.iter().any(|value| value == &*text),
            None => serde_json::from_str::<serde_json::Value>(raw)
                .is_ok_and(|value| values.contains(&value)),
        },
    }
}

/// What an event tells the state of: its group's `key`. An event that lacks a part of it tells the
/// state of nothing: nothing replaces it. Of single calls, those of another route are about
/// something else; without a key, all calls of a route are about the same. How a subject is told is
/// part of it, so that events from before a change of the configuration meet none from after it.
pub(super) fn find_subject(group: &Group, scope: &Scope<'_, '_>) -> Option<Subject> {
    let is_state_of_route = group.is_single() && group.keep == Keep::Newest;
    if group.key.is_empty() && !is_state_of_route {
        return None;
    }
    let values: Vec<_> = group
        .key
        .iter()
        .map(|part| find_part(part, scope))
        .collect::<Option<_>>()?;
    let told = group.key.iter().map(|part| part.source().as_bytes());
    let parts = scope.call.caller.parts();
    let route = [parts.method.as_str(), parts.uri.path()].map(str::as_bytes);
    let route = route.into_iter().filter(|_| group.is_single());
    Some(Subject::of(
        told.chain(route)
            .chain(values.iter().map(|value| value.as_bytes()))
            .map(Some),
    ))
}

fn find_part<'a>(part: &KeyPart, scope: &'a Scope<'_, '_>) -> Option<Cow<'a, str>> {
    let there = |raw: &&str| !json::is_null(raw) && !json::is_empty_string(raw);
    match part {
        KeyPart::Template(template) => template.render(scope).map(Cow::Owned),
        KeyPart::Places(places, _) => {
            let event = scope.event?;
            places
                .iter()
                .find_map(|place| event.at(&place.0).filter(there))
                .map(Cow::Borrowed)
        }
    }
}

pub(super) fn require_members(group: &Group, draft: &Draft<'_>) -> Result<(), Decline> {
    let there = |field: &Arc<str>| {
        draft
            .raw(field)
            .is_some_and(|raw| !json::is_null(raw) && !json::is_empty_string(raw))
    };
    // The id may be made up later, unless it must be sent.
    let made = |field: &Arc<str>| *field == group.id_field;
    match group
        .require
        .iter()
        .find(|any| !any.iter().any(|field| there(field) || made(field)))
    {
        Some(missing) => Err(Decline::Refuse(Refusal::MissingField(
            missing.join(" or ").into(),
        ))),
        None => Ok(()),
    }
}

/// What an id that hashes the whole call is made of: the call, its user, its body, its principal.
pub(super) type Hashed<'a, 'c> = (&'a Call<'c>, &'a UserId, &'a str, &'a [u8; 16]);

/// Whether the event has an id; else one is made.
pub(super) fn names_id(group: &Group, draft: &Draft<'_>) -> bool {
    draft
        .raw(&group.id_field)
        .is_some_and(|raw| !json::is_null(raw) && !json::is_empty_string(raw))
}

pub(super) fn read_or_make_id<'a>(
    group: &'a Group,
    draft: &mut Draft<'a>,
    hashed: &Hashed<'_, '_>,
) -> Result<EventId, Decline> {
    let refuse = |error: IdError| {
        Decline::Refuse(Refusal::BadId {
            field: Arc::clone(&group.id_field),
            error,
        })
    };
    let missing = || {
        Err(Decline::Refuse(Refusal::MissingId(Arc::clone(
            &group.id_field,
        ))))
    };
    if group.missing_id == MissingId::Never && draft.is_drawn(&group.id_field) {
        return missing();
    }
    match draft.raw(&group.id_field) {
        Some(raw) if names_id(group, draft) => {
            let text = json::string(raw).ok_or_else(|| {
                Decline::Refuse(Refusal::WrongType {
                    field: Arc::clone(&group.id_field),
                    allowed: "a string",
                })
            })?;
            return EventId::try_new(&text).map_err(refuse);
        }
        // An id that is there and says nothing would stand in the event twice.
        Some(_) => draft.remove(&group.id_field),
        None => {}
    }
    if group.refuse.iter().any(|name| &**name == "missing_id") {
        return missing();
    }
    let text = match group.missing_id {
        MissingId::Never => return missing(),
        MissingId::Generate => uuid::Uuid::new_v4().to_string(),
        MissingId::Hash => {
            let (call, user, body, principal) = hashed;
            let parts = call.caller.parts();
            let target = parts
                .uri
                .path_and_query()
                .map_or("/", http::uri::PathAndQuery::as_str);
            let mut hasher = blake3::Hasher::new();
            for text in [
                &*group.name,
                parts.method.as_str(),
                target,
                user.as_str(),
                body,
            ] {
                hasher
                    .update(&(text.len() as u64).to_le_bytes())
                    .update(text.as_bytes());
            }
            hasher.update(*principal);
            let mut short = [0; 16];
            hasher.finalize_xof().fill(&mut short);
            uuid::Builder::from_custom_bytes(short)
                .into_uuid()
                .to_string()
        }
    };
    draft.push_text(&group.id_field, &text);
    EventId::try_new(&text).map_err(refuse)
}

/// `max_age` by the wall clock, with five minutes of tolerance for the future (ruling 8). A time
/// that can't be read is not judged.
pub(super) fn check_age(group: &Group, draft: &Draft<'_>, now: SystemTime) -> Result<(), Decline> {
    let Some(at) = draft.raw(&group.time_field).and_then(time_of) else {
        return Ok(());
    };
    let now = i128::from(millis(now));
    let oldest = now - i128::try_from(group.max_age.as_millis()).unwrap_or(i128::MAX / 2);
    if at < oldest {
        return Err(Decline::Refuse(Refusal::TooOld {
            field: Arc::clone(&group.time_field),
            limit: group.max_age,
        }));
    }
    if at > now + i128::try_from(FUTURE.as_millis()).unwrap_or(0) {
        return Err(Decline::Refuse(Refusal::InTheFuture {
            field: Arc::clone(&group.time_field),
            limit: FUTURE,
        }));
    }
    Ok(())
}

/// Unix milliseconds: a number, or ISO 8601 text.
fn time_of(raw: &str) -> Option<i128> {
    if let Ok(whole) = raw.parse::<u64>() {
        return Some(whole.into());
    }
    if let Some(text) = json::string(raw) {
        return text
            .parse::<jiff::Timestamp>()
            .ok()
            .map(|stamp| i128::from(stamp.as_millisecond()));
    }
    let value: f64 = serde_json::from_str(raw).ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`as` saturates, and any such time is out of range"
    )]
    value.is_finite().then_some(value as i128)
}
