//! What an event's id is, and what stands in for it where there is none.

use super::search::{Search, rank};
use super::{Field, Mapping};
use crate::migration::learn::by_caller::{
    count_by_caller, differs_by_call, differs_within, find_repeats,
};
use crate::migration::learn::repeats::Place;
use crate::migration::learn::routes::Call;
use crate::migration::words::{ID_NAMES, is_uuid, names_user, plain_name};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

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

    /// It differs from call to call, and is an id by its name or its form.
    fn could_be_id(&self, place: &Place) -> bool {
        let values: Vec<_> = self
            .calls
            .iter()
            .filter_map(|call| place.find(call))
            .collect();
        let texts: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        let by_caller = count_by_caller(self.calls, place);
        let named = ID_NAMES.contains(&&*plain_name(place.name()));
        let uuids = texts.iter().all(|text| is_uuid(text)) && texts.len() > 1;
        texts.len() == values.len()
            && texts.iter().all(|text| !text.is_empty())
            && values.len() * 2 >= self.calls.len()
            // A call that is made again has its id again.
            && differs_by_call(&by_caller)
            && !names_user(place.name())
            && (named || (uuids && differs_within(&by_caller)))
    }

    fn tell_no_id(&self, mapping: &mut Mapping) {
        mapping.repeats = vec![false; self.calls.len()];
        let mut by_caller: HashMap<&str, Vec<_>> = HashMap::new();
        for call in self.calls {
            let exchange = &call.exchange;
            let body = call.body.as_ref().map(Value::to_string);
            let said = (&exchange.path, &exchange.query, body);
            by_caller.entry(&call.caller).or_default().push(said);
        }
        // A caller that called once says nothing of whether its next call differs; where all did,
        // what different callers said is all that there is.
        let has_several = by_caller.values().any(|said| said.len() > 1);
        let differ = if has_several {
            by_caller.values().all(|said| {
                let distinct: HashSet<_> = said.iter().collect();
                distinct.len() == said.len()
            })
        } else {
            let distinct: HashSet<_> = by_caller.values().flatten().collect();
            distinct.len() == self.calls.len()
        };
        mapping.missing_id = Some(if differ { "hash" } else { "generate" });
        let taken = Place::Body(vec![mapping.id_field.clone()]);
        if self.count(&taken) > 0 {
            mapping.id_field = "tidegateEventId".to_owned();
        }
    }
}
