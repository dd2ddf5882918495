//! What an event's id is, and what stands in for it where there is none.

use super::search::{Search, rank};
use super::{Field, Mapping};
use crate::migration::learn::by_caller::{count_by_caller, differs_by_call, find_repeats};
use crate::migration::learn::made::NEAR;
use crate::migration::learn::repeats::Place;
use crate::migration::learn::routes::Call;
use crate::migration::words::{
    ID_NAMES, TIME_NAMES, is_iso_time, is_milliseconds, names_user, plain_name,
};
use serde_json::Value;
use std::collections::HashMap;

/// So many calls of one caller, each later than the one before, show that a time is the call's.
const ENOUGH_TIMES: usize = 3;
/// These name an event, or what an event is about.
const VAGUE_NAMES: [&str; 2] = ["id", "ref"];

impl Search<'_, '_> {
    pub(super) fn map_id(&self, mapping: &mut Mapping) {
        let mut found: Vec<_> = self
            .said()
            .filter(|place| self.could_be_id(place))
            .map(|place| (rank(&ID_NAMES, place.name()), place))
            .collect();
        found.sort_by_key(|(rank, _)| *rank);
        let header = Place::Header("idempotency-key".to_owned());
        let header = (self.count(&header) * 2 > self.calls.len()).then_some(header);
        let Some((place, others)) = (match found.as_slice() {
            [(_, place), others @ ..] => Some(((*place).clone(), others)),
            [] => header.map(|place| (place, [].as_slice())),
        }) else {
            self.tell_no_id(mapping);
            return;
        };
        let (spelled, template) = self.spellings(&place);
        let id = |call: &Call<'_>| spelled.iter().find_map(|place| place.find(call));
        mapping.repeats = find_repeats(self.calls, id);
        let calls = self.calls.iter().filter(|call| id(call).is_some()).count();
        let others: Vec<_> = others
            .iter()
            .filter(|(_, other)| !spelled.contains(other))
            .map(|(_, other)| other.template())
            .collect();
        if calls < self.calls.len() {
            mapping.missing_id = Some("generate");
        }
        if VAGUE_NAMES.contains(&&*plain_name(place.name())) && !self.has_time() {
            let text = format!(
                "{} may name what a call is about: if equal calls come again, the later ones would be \
                 dropped as repetitions",
                place.template()
            );
            let subject = format!("event.{}", mapping.id_field);
            mapping.doubts.push((subject, text));
        }
        mapping.fields.push(Field {
            key: mapping.id_field.clone(),
            template: format!("{{{template}}}"),
            calls,
            note: if others.is_empty() {
                String::new()
            } else {
                format!("; it could also be {}", others.join(", "))
            },
        });
    }

    /// By its name it is an event's id, and it differs from call to call. Its form is not enough: a
    /// short session names each lesson by a UUID once, and a later one names it again.
    fn could_be_id(&self, place: &Place) -> bool {
        let values: Vec<_> = self
            .calls
            .iter()
            .filter_map(|call| place.find(call))
            .collect();
        let texts: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        let by_caller = count_by_caller(self.calls, place);
        texts.len() == values.len()
            && texts.iter().all(|text| !text.is_empty())
            && values.len() * 2 >= self.calls.len()
            // A call that is made again has its id again.
            && differs_by_call(&by_caller)
            && !names_user(place.name())
            && ID_NAMES.contains(&&*plain_name(place.name()))
    }

    /// Each call says when it was, so that no two that say the same are two.
    fn has_time(&self) -> bool {
        let is_time = |place: &Place| TIME_NAMES.contains(&&*plain_name(place.name()));
        let mut said = self.said();
        said.any(|place| is_time(place) && self.times_of_calls(place).is_some())
    }

    fn tell_no_id(&self, mapping: &mut Mapping) {
        mapping.repeats = vec![false; self.calls.len()];
        // With `generate` a call that its client makes again is delivered again, as it is without
        // Tidegate. With `hash` an equal call is lost, so that must be sure to be a repetition.
        let is_dated = self.said().any(|place| self.grows(place));
        mapping.missing_id = Some(if is_dated { "hash" } else { "generate" });
        let taken = Place::Body(vec![mapping.id_field.clone()]);
        if self.count(&taken) > 0 {
            mapping.id_field = "tidegateEventId".to_owned();
        }
    }

    /// It is the call's own time to the millisecond, and later in each call of one caller than in the
    /// one before. Only that makes of two equal calls one and its repetition: that the calls of a
    /// session differ otherwise is chance, other numbers begin anew, and other times are of what the
    /// calls are about. Whole seconds tell two calls of one second apart by chance only.
    fn grows(&self, place: &Place) -> bool {
        let Some(times) = self.times_of_calls(place) else {
            return false;
        };
        let mut by_caller: HashMap<&str, Vec<i64>> = HashMap::new();
        for (call, time) in self.calls.iter().zip(&times) {
            by_caller.entry(&call.caller).or_default().push(*time);
        }
        times.iter().any(|time| time % 1_000 != 0)
            && by_caller.values().any(|times| times.len() >= ENOUGH_TIMES)
            && by_caller
                .values()
                .all(|times| times.is_sorted_by(|one, next| one < next))
    }

    /// What each call says there, if that is the time at which it was made, in milliseconds.
    fn times_of_calls(&self, place: &Place) -> Option<Vec<i64>> {
        let time_of = |call: &Call<'_>| {
            let time = milliseconds_of(&place.find(call)?)?;
            let is_near = time.abs_diff(call.exchange.started?) <= NEAR;
            is_near.then_some(time)
        };
        self.calls.iter().map(time_of).collect()
    }
}

/// A time that tells milliseconds, as a number or in ISO 8601.
fn milliseconds_of(value: &Value) -> Option<i64> {
    if let Some(text) = value.as_str().filter(|text| is_iso_time(text)) {
        let time = text.parse::<jiff::Timestamp>().ok()?;
        return text.contains('.').then(|| time.as_millisecond());
    }
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok())?;
    is_milliseconds(&number.into()).then_some(number)
}
