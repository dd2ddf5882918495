//! Batch endpoints that the session shows: calls whose body is, or has, a list of what other calls
//! say one by one.

use super::private::Private;
use super::routes::{Call, Route};
use crate::migration::words::{is_field_name, plain_name};
use serde_json::Value;
use std::collections::HashSet;

/// A batch endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// The number of its route.
    pub(super) route: usize,
    pub(super) path: String,
    /// The member that holds the list; `None`: the body is the list.
    pub(super) wrapper: Option<String>,
    /// Something stands beside the list.
    pub(super) more: bool,
    /// Members of its events, with how many events have each, the most common first.
    pub(super) fields: Vec<(String, usize)>,
    pub(super) events: usize,
    /// Calls of it that succeeded.
    pub(super) calls: usize,
}

impl Endpoint {
    /// What a route's calls look like as a batch; `None` if they don't.
    pub(super) fn read(
        index: usize,
        route: &Route<'_>,
        calls: &[Call<'_>],
        private: &Private,
    ) -> Option<Self> {
        let path = route.pattern();
        if path.contains('{') || route.method != "POST" {
            return None;
        }
        let good: Vec<_> = calls
            .iter()
            .filter(|call| call.exchange.succeeded())
            .collect();
        let lists: Vec<_> = good
            .iter()
            .map(|call| list_of(call.body.as_ref()?))
            .collect::<Option<_>>()?;
        let (wrapper, _, _) = lists.first()?;
        let mut fields: Vec<(String, usize)> = Vec::new();
        let mut events = 0;
        for members in lists
            .iter()
            .flat_map(|(_, list, _)| *list)
            .filter_map(Value::as_object)
        {
            events += 1;
            for name in members.keys() {
                match fields.iter_mut().find(|(known, _)| known == name) {
                    Some((_, count)) => *count += 1,
                    None if is_field_name(name) && !private.names_user(name) => {
                        fields.push((name.clone(), 1));
                    }
                    None => {}
                }
            }
        }
        fields.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        Some(Self {
            route: index,
            path,
            wrapper: wrapper.map(str::to_owned),
            more: lists.iter().any(|(_, _, more)| *more),
            fields,
            events,
            calls: good.len(),
        })
    }

    /// Its events' member of this name, whatever its spelling.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let plain = plain_name(name);
        let found = self
            .fields
            .iter()
            .find(|(known, _)| plain_name(known) == plain)?;
        Some(&found.0)
    }

    /// The first of these that its events have.
    pub(super) fn first_of(&self, plain_names: &[&str]) -> Option<&str> {
        plain_names.iter().find_map(|name| self.field(name))
    }

    /// How much of what a call says its events can say, from 0 to 1.
    pub(super) fn likeness(&self, calls: &[Call<'_>]) -> f64 {
        let names: HashSet<_> = calls
            .iter()
            .filter_map(|call| call.body.as_ref()?.as_object())
            .flat_map(|members| members.keys().map(|name| plain_name(name)))
            .collect();
        let known = names
            .iter()
            .filter(|name| self.field(name).is_some())
            .count();
        if names.is_empty() {
            0.0
        } else {
            known as f64 / names.len() as f64
        }
    }

    /// By its name it takes batches.
    pub(super) fn is_named_so(&self) -> bool {
        let last = self
            .path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        ["batch", "bulk"].iter().any(|word| last.contains(word))
    }
}

/// The list of objects that a body is or has; whether it has more than that.
fn list_of(body: &Value) -> Option<(Option<&str>, &Vec<Value>, bool)> {
    let listed = |value: &Value| {
        value
            .as_array()
            .is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_object))
    };
    if listed(body) {
        return Some((None, body.as_array()?, false));
    }
    let members = body.as_object()?;
    let mut lists = members.iter().filter(|(_, value)| listed(value));
    let (name, list) = lists.next().filter(|(name, _)| is_field_name(name))?;
    let only = lists.next().is_none();
    only.then_some((Some(name.as_str()), list.as_array()?, members.len() > 1))
}
