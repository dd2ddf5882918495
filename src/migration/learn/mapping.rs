//! The mapping from a call to its event: which members are its id, its user and its time.

mod id;
mod search;
mod user;

use super::batches::Endpoint;
use super::by_caller::count_by_caller;
use super::private::Private;
use super::repeats::{Place, places_of};
use super::routes::Call;
use crate::migration::words::{
    ID_NAMES, TIME_NAMES, USER_NAMES, is_field_name, is_iso_time, is_milliseconds, plain_name,
};
use search::{Search, rank};
use serde_json::Value;
use std::collections::HashSet;

/// A line of the mapping.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: String,
    pub(super) template: String,
    /// Calls that have it.
    pub(super) calls: usize,
    /// What else could stand there.
    pub(super) note: String,
}

/// What names a route's users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// For `identity.user`.
    pub(super) templates: Vec<String>,
    pub(super) calls: usize,
}

/// A mapping.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) fields: Vec<Field>,
    /// The rest of the body is taken along.
    pub(super) rest: bool,
    pub(super) id_field: String,
    pub(super) time_field: String,
    /// Without an id: what stands in for it.
    pub(super) missing_id: Option<&'static str>,
    pub(super) user: Option<User>,
    /// Parameters of the query that are keys.
    pub(super) keys: Vec<String>,
    /// What can't be known: of what, and why.
    pub(super) doubts: Vec<(String, String)>,
    /// Which calls have the id of an earlier one.
    pub(super) repeats: Vec<bool>,
}

/// Proposes a mapping for calls that succeeded.
pub(super) fn propose_mapping(
    calls: &[Call<'_>],
    endpoint: Option<&Endpoint>,
    has_body: bool,
    private: &Private,
) -> Mapping {
    let search = Search {
        calls,
        places: places_of(calls, private),
        endpoint,
    };
    let name = |names: &[&str], default: &str| {
        let known = endpoint.and_then(|endpoint| endpoint.first_of(names));
        known.unwrap_or(default).to_owned()
    };
    let mut mapping = Mapping {
        fields: Vec::new(),
        rest: has_body,
        id_field: name(&ID_NAMES, "clientEventId"),
        time_field: name(&TIME_NAMES, "timestamp"),
        missing_id: None,
        user: None,
        keys: Vec::new(),
        doubts: Vec::new(),
        repeats: Vec::new(),
    };
    search.map_id(&mut mapping);
    search.map_user(&mut mapping, &name(&USER_NAMES, "userId"));
    search.map_time(&mut mapping);
    search.map_spellings(&mut mapping);
    search.map_address(&mut mapping);
    search.tell_missing(&mut mapping);
    mapping
}

impl Search<'_, '_> {
    fn map_time(&self, mapping: &mut Mapping) {
        let told =
            |value: &Value| is_milliseconds(value) || value.as_str().is_some_and(is_iso_time);
        let place = self
            .said()
            .filter(|place| matches!(place, Place::Body(_)))
            .filter(|place| self.count(place) * 2 >= self.calls.len())
            .filter(|place| {
                TIME_NAMES.contains(&&*plain_name(place.name())) && self.all(place, told)
            })
            .min_by_key(|place| rank(&TIME_NAMES, place.name()));
        if let Some(place) = place {
            mapping.fields.push(Field {
                key: mapping.time_field.clone(),
                template: format!("{{{}|now.ms}}", self.spellings(place).1),
                calls: self.count(place),
                note: String::new(),
            });
        } else if self.count(&Place::Body(vec![mapping.time_field.clone()])) > 0 {
            // What stands there is no time that Tidegate reads: every call would be forwarded.
            mapping.time_field = "tidegateTime".to_owned();
        }
    }

    /// Members that a batch's events spell otherwise.
    fn map_spellings(&self, mapping: &mut Mapping) {
        let Some(endpoint) = self.endpoint else {
            return;
        };
        for place in &self.places {
            let Place::Body(steps) = place else { continue };
            let [name] = steps.as_slice() else { continue };
            let Some(field) = endpoint.field(name).filter(|field| field != name) else {
                continue;
            };
            if !mapping.fields.iter().any(|known| known.key == field) {
                mapping.fields.push(Field {
                    key: field.to_owned(),
                    template: format!("{{{}}}", self.spellings(place).1),
                    calls: self.count(place),
                    note: String::new(),
                });
            }
        }
    }

    /// Parameters and segments, which would be lost.
    fn map_address(&self, mapping: &mut Mapping) {
        for place in &self.places {
            let name = match place {
                Place::Path(name) | Place::Query(name) => name.clone(),
                _ => continue,
            };
            let plain = plain_name(&name);
            if matches!(place, Place::Query(_))
                && self.is_shared(place)
                && ["key", "token", "secret"]
                    .iter()
                    .any(|it| plain.contains(it))
            {
                mapping.keys.push(name);
                continue;
            }
            if matches!(place, Place::Query(_)) && !self.is_shared(place) {
                continue;
            }
            let looks = format!("{{{}}}", place.template());
            if mapping.fields.iter().any(|field| field.template == looks) {
                continue;
            }
            let taken = |key: &str| {
                let member = Place::Body(vec![key.to_owned()]);
                mapping.fields.iter().any(|field| field.key == key) || self.count(&member) > 0
            };
            let key = if taken(&name) || name == mapping.time_field || name == mapping.id_field {
                let source = if matches!(place, Place::Path(_)) {
                    "path"
                } else {
                    "query"
                };
                format!("{source}_{name}")
            } else {
                name
            };
            if !taken(&key) {
                let calls = self.count(place);
                mapping.fields.push(Field {
                    key,
                    template: looks,
                    calls,
                    note: String::new(),
                });
            }
        }
        let odd = |call: &Call<'_>| {
            call.exchange
                .query
                .iter()
                .any(|(name, _)| !is_field_name(name))
        };
        if self.calls.iter().any(odd) {
            let text = "a parameter whose name no template can say: calls with it are forwarded";
            mapping.doubts.push(("query".to_owned(), text.to_owned()));
        }
    }

    /// Several callers say it, or all are few. A parameter that one of many sends is not mapped:
    /// calls with it are forwarded.
    fn is_shared(&self, place: &Place) -> bool {
        let callers: HashSet<_> = self.calls.iter().map(|call| &call.caller).collect();
        callers.len() < 3 || count_by_caller(self.calls, place).len() > 1
    }

    /// What a batch's events have and no call says.
    fn tell_missing(&self, mapping: &mut Mapping) {
        let Some(endpoint) = self.endpoint else {
            return;
        };
        for (field, count) in &endpoint.fields {
            let said = mapping.fields.iter().any(|known| known.key == *field)
                || self.count(&Place::Body(vec![field.clone()])) > 0
                || mapping
                    .fields
                    .iter()
                    .any(|known| plain_name(&known.key) == plain_name(field));
            if !said && count * 2 > endpoint.events {
                let text = format!(
                    "{count} of {} events of the batches to {} have it, and no call says it",
                    endpoint.events, endpoint.path
                );
                mapping.doubts.push((format!("event.{field}"), text));
            }
        }
    }
}
