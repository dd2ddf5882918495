//! The mapping from a call to its event: which members are its id, its user and its time.

use super::batches::Endpoint;
use super::by_caller::{count_by_caller, differs_by_call, differs_within, find_repeats};
use super::caller::is_session;
use super::repeats::{Place, places_of};
use super::routes::Call;
use crate::identity::{Kind, lists};
use crate::migration::words::{
    ID_NAMES, TIME_NAMES, USER_NAMES, is_field_name, is_iso_time, is_milliseconds, is_uuid,
    names_user, plain_name,
};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

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

struct Search<'a, 'e> {
    calls: &'a [Call<'e>],
    places: Vec<Place>,
    endpoint: Option<&'a Endpoint>,
}

/// Proposes a mapping for calls that succeeded.
pub(super) fn propose_mapping(
    calls: &[Call<'_>],
    endpoint: Option<&Endpoint>,
    has_body: bool,
) -> Mapping {
    let search = Search {
        calls,
        places: places_of(calls),
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
    fn count(&self, place: &Place) -> usize {
        self.calls
            .iter()
            .filter(|call| place.find(call).is_some())
            .count()
    }

    fn all(&self, place: &Place, test: impl Fn(&Value) -> bool) -> bool {
        self.calls
            .iter()
            .filter_map(|call| place.find(call))
            .all(|value| test(&value))
    }

    /// Places in bodies and queries, not too deep.
    fn said(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| match place {
            Place::Body(steps) => steps.len() <= 3,
            Place::Query(_) => true,
            _ => false,
        })
    }

    /// All spellings of a place's name, as one template's alternatives.
    fn spellings(&self, place: &Place) -> (Vec<Place>, String) {
        let depth = |place: &Place| matches!(place, Place::Body(steps) if steps.len() > 1);
        let plain = plain_name(place.name());
        let mut all = vec![place.clone()];
        all.extend(
            self.said()
                .filter(|other| *other != place && !depth(other) && !depth(place))
                .filter(|other| plain_name(other.name()) == plain)
                .cloned(),
        );
        let text = all
            .iter()
            .map(Place::template)
            .collect::<Vec<_>>()
            .join("|");
        (all, text)
    }

    fn map_id(&self, mapping: &mut Mapping) {
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

    fn map_user(&self, mapping: &mut Mapping, key: &str) {
        let scalar = |value: &Value| value.is_string() || value.is_number();
        let mut named: Vec<_> = self
            .said()
            .filter(|place| names_user(place.name()))
            .filter(|place| self.all(place, scalar) && self.count(place) * 2 >= self.calls.len())
            .map(|place| (rank(&USER_NAMES, place.name()), place))
            .collect();
        named.sort_by_key(|(rank, _)| *rank);
        let claim = self.user_claim();
        let place = named.first().map(|(_, place)| *place);
        let mut templates: Vec<_> = claim.iter().map(Place::template).collect();
        let mut calls = claim.as_ref().map_or(0, |claim| self.count(claim));
        match place {
            Some(place) => {
                let (spelled, mut template) = self.spellings(place);
                let has = |call: &&Call<'_>| spelled.iter().any(|one| one.find(call).is_some());
                let count = self.calls.iter().filter(has).count();
                if let Some(claim) = claim.as_ref().filter(|_| count < self.calls.len()) {
                    template = format!("{template}|{}", claim.template());
                }
                calls = calls.max(count);
                mapping.fields.push(Field {
                    key: key.to_owned(),
                    template: format!("{{{template}}}"),
                    calls: count,
                    note: self.compare(place, claim.as_ref()),
                });
                templates.push(format!("event.{key}"));
            }
            None => {
                if let Some(claim) = &claim {
                    mapping.fields.push(Field {
                        key: key.to_owned(),
                        template: format!("{{{}}}", claim.template()),
                        calls,
                        note: String::new(),
                    });
                } else if let Some((template, count)) = self.session() {
                    templates.push(template);
                    calls = count;
                }
            }
        }
        if templates.is_empty() {
            let text = "no claim, member, parameter or cookie names the user: say in identity.user what does";
            mapping.doubts.push(("user".to_owned(), text.to_owned()));
        } else {
            mapping.user = Some(User { templates, calls });
        }
    }

    fn user_claim(&self) -> Option<Place> {
        let claims = self
            .places
            .iter()
            .filter(|place| matches!(place, Place::Claim(_)));
        claims
            .filter(|place| names_user(place.name()) && self.count(place) * 2 >= self.calls.len())
            .min_by_key(|place| rank(&USER_NAMES, place.name()))
            .cloned()
    }

    /// How often a member is what the token says.
    fn compare(&self, place: &Place, claim: Option<&Place>) -> String {
        let Some(claim) = claim else {
            return String::new();
        };
        let pairs: Vec<_> = self
            .calls
            .iter()
            .filter_map(|call| Some((place.find(call)?, claim.find(call)?)))
            .collect();
        let same = pairs
            .iter()
            .filter(|(said, claimed)| said == claimed)
            .count();
        format!("; {same} of {} as the token says", pairs.len())
    }

    /// A session's cookie or a key that all calls have, as a template.
    fn session(&self) -> Option<(String, usize)> {
        let first = self.calls.first()?.exchange;
        let cookies = first
            .cookies()
            .filter(|(name, value)| is_session(name, value));
        let keys = first
            .headers
            .iter()
            .filter(|(name, _)| lists::header(name) == Kind::Principal);
        let templates = cookies
            .map(|(name, _)| ("cookie", name))
            .chain(keys.map(|(name, _)| ("header", &**name)));
        templates
            .filter(|(source, name)| {
                self.calls.iter().all(|call| match *source {
                    "cookie" => call.exchange.cookies().any(|(known, _)| known == *name),
                    _ => call.exchange.header(name).is_some(),
                })
            })
            .map(|(source, name)| (format!("{source}.{name}"), self.calls.len()))
            .next()
    }

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

fn rank(names: &[&str], name: &str) -> usize {
    let plain = plain_name(name);
    names
        .iter()
        .position(|known| *known == plain)
        .unwrap_or(names.len())
}
