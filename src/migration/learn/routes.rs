//! Calls by route: the method and the path, in which what looks like an id is a `{name}`.

use super::caller::caller_of;
use super::exchange::Exchange;
use super::private::Private;
use crate::migration::words::{is_word, looks_like_id, names_id};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Calls of one route that are looked at; all are counted.
const MOST: usize = 500;
/// So many values in one place of equal paths make it a name; of plain words it takes more.
const DIFFERENT: usize = 3;
const DIFFERENT_WORDS: usize = 6;

/// A part of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Text(String),
    Named,
}

/// Calls of one method on paths of one shape.
#[derive(Debug)]
pub(super) struct Route<'e> {
    pub(super) method: &'e str,
    path: Vec<Segment>,
    pub(super) calls: Vec<&'e Exchange>,
    /// A word of its paths that several callers use is named only since some call says that it is a
    /// user's name.
    pub(super) has_shared_name: bool,
}

/// A call of a route, with its JSON read.
#[derive(Debug)]
pub(super) struct Call<'e> {
    pub(super) exchange: &'e Exchange,
    pub(super) body: Option<Value>,
    pub(super) answer: Option<Value>,
    pub(super) claims: Map<String, Value>,
    pub(super) caller: String,
    /// Named segments of its path.
    pub(super) path: Vec<(String, String)>,
}

impl<'e> Route<'e> {
    /// As the configuration writes it.
    pub(super) fn pattern(&self) -> String {
        let names = self.names();
        let mut names = names.iter();
        let parts = self.path.iter().map(|segment| match segment {
            Segment::Text(text) => text.clone(),
            Segment::Named => format!("{{{}}}", names.next().map_or("part", |name| name)),
        });
        format!("/{}", parts.collect::<Vec<_>>().join("/"))
    }

    /// Method and pattern.
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.method, self.pattern())
    }

    /// Its plain segments.
    pub(super) fn words(&self) -> impl Iterator<Item = &str> {
        self.path.iter().filter_map(|segment| match segment {
            Segment::Text(text) => Some(&**text),
            Segment::Named => None,
        })
    }

    /// Names of its segments that have one, each once.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut before = "part";
        for segment in &self.path {
            match segment {
                Segment::Text(text) => before = text,
                Segment::Named => {
                    let stem: String = before
                        .trim_end_matches('s')
                        .chars()
                        .map(|letter| {
                            if letter.is_ascii_alphanumeric() {
                                letter
                            } else {
                                '_'
                            }
                        })
                        .collect();
                    let name = format!("{stem}_id");
                    let again = names
                        .iter()
                        .filter(|known| known.starts_with(&name))
                        .count();
                    names.push(if again == 0 {
                        name
                    } else {
                        format!("{name}{}", again + 1)
                    });
                }
            }
        }
        names
    }

    /// Its first calls, with their JSON read.
    pub(super) fn read_calls(&self) -> Vec<Call<'e>> {
        let names = self.names();
        let calls = self.calls.iter().take(MOST);
        calls
            .map(|exchange| self.read_call(exchange, &names))
            .collect()
    }

    fn read_call(&self, exchange: &'e Exchange, names: &[String]) -> Call<'e> {
        let values = segments_of(&exchange.path)
            .zip(&self.path)
            .filter(|(_, segment)| matches!(segment, Segment::Named))
            .map(|(value, _)| value.to_owned());
        Call {
            exchange,
            body: exchange.body.json(),
            answer: exchange.answer.json(),
            claims: exchange.claims(),
            caller: caller_of(exchange),
            path: names.iter().cloned().zip(values).collect(),
        }
    }
}

fn segments_of(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').unwrap_or(path).split('/')
}

/// The routes of these calls, in the order of their first calls.
pub(super) fn gather_routes<'e>(
    exchanges: impl Iterator<Item = &'e Exchange>,
    private: &Private,
) -> Vec<Route<'e>> {
    let mut routes: Vec<Route<'_>> = Vec::new();
    let mut known: BTreeMap<(&str, Vec<Segment>), usize> = BTreeMap::new();
    for exchange in exchanges {
        let body = exchange.body.json();
        let path: Vec<_> = segments_of(&exchange.path)
            .map(|text| segment_of(text, body.as_ref(), private))
            .collect();
        let index = *known
            .entry((&exchange.method, path.clone()))
            .or_insert(routes.len());
        match routes.get_mut(index) {
            Some(route) => route.calls.push(exchange),
            None => routes.push(Route {
                method: &exchange.method,
                path,
                calls: vec![exchange],
                has_shared_name: false,
            }),
        }
    }
    for route in &mut routes {
        route.has_shared_name = has_shared_name(route, private);
    }
    merge_routes(routes)
}

fn has_shared_name(route: &Route<'_>, private: &Private) -> bool {
    let mut callers: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for call in route.calls.iter().take(MOST) {
        let named =
            segments_of(&call.path).filter(|text| is_word(text) && private.names_user(text));
        for text in named {
            callers.entry(text).or_default().insert(caller_of(call));
        }
    }
    callers.values().any(|callers| callers.len() >= DIFFERENT)
}

fn segment_of(text: &str, body: Option<&Value>, private: &Private) -> Segment {
    let in_body = body.and_then(Value::as_object).is_some_and(|members| {
        members
            .iter()
            .any(|(name, value)| names_id(name) && value.as_str() == Some(text))
    });
    if !text.is_empty() && (in_body || looks_like_id(text) || private.names_user(text)) {
        Segment::Named
    } else {
        Segment::Text(text.to_owned())
    }
}

/// Most merges: each looks at all routes.
const MOST_MERGES: usize = 100;

/// Routes that differ in one place only, and whose calls have the same members, are one.
fn merge_routes(mut routes: Vec<Route<'_>>) -> Vec<Route<'_>> {
    for _ in 0..MOST_MERGES {
        let mut alike: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, route) in routes.iter().enumerate() {
            let Some(members) = route.calls.first().and_then(|first| members_of(first)) else {
                continue;
            };
            for place in 1..route.path.len() {
                let mut others = route.path.clone();
                if others.get(place) != Some(&Segment::Named) && others.len() > place {
                    others.remove(place);
                    let key = (route.method, place, others, members.clone());
                    alike.entry(key).or_default().push(index);
                }
            }
        }
        let found = alike.into_iter().find(|((_, place, _, _), indices)| {
            let words = indices.iter().all(|index| {
                let route = routes.get(*index).and_then(|route| route.path.get(*place));
                matches!(route, Some(Segment::Text(text)) if is_word(text)
                    && !text.bytes().any(|byte| byte.is_ascii_digit()))
            });
            indices.len() >= if words { DIFFERENT_WORDS } else { DIFFERENT }
        });
        let Some(((_, place, _, _), indices)) = found else {
            return routes;
        };
        let mut merged: Option<Route<'_>> = None;
        for index in indices.iter().rev() {
            let mut one = routes.remove(*index);
            if let Some(segment) = one.path.get_mut(place) {
                *segment = Segment::Named;
            }
            if let Some(later) = merged.take() {
                one.calls.extend(later.calls);
                one.has_shared_name |= later.has_shared_name;
            }
            merged = Some(one);
        }
        let first = indices.first().copied().unwrap_or_default();
        routes.splice(first..first, merged);
    }
    routes
}

/// Names of the members of a call's and of its answer's object.
fn members_of(exchange: &Exchange) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    let names = |value: &Value| value.as_object().map(|it| it.keys().cloned().collect());
    let body = names(&exchange.body.json()?)?;
    Some((
        body,
        exchange
            .answer
            .json()
            .as_ref()
            .and_then(names)
            .unwrap_or_default(),
    ))
}
