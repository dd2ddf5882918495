//! What two JSON documents have at the same places.
//!
//! Members are paired by their names. The order of an array counts for nothing: its elements are
//! paired by a member that identifies them on both sides, else equal ones with one another and the
//! rest as they stand.

use crate::migration::words::{is_field_name, names_id};
use crate::template::Path;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// How deep is looked.
const DEEPEST: usize = 32;
/// How many pairs of two documents are compared.
const MOST_PAIRS: usize = 10_000;
/// Longest text of a place, bytes.
const LONGEST_PLACE: usize = 160;

/// One step of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step<'v> {
    Member(&'v str),
    /// Of an array, whichever.
    Element,
}

/// A place in a document; elements of an array have one place.
#[derive(Debug, Clone, Default)]
pub(super) struct Place<'v>(Vec<Step<'v>>);

impl Place<'_> {
    /// As a JSON Pointer with `*` for elements, and for names that may be values: those that look
    /// like ids or hold other signs than names do.
    pub(super) fn show(&self) -> String {
        if self.0.is_empty() {
            return "the body".to_owned();
        }
        let mut out = String::new();
        for step in &self.0 {
            let name = match step {
                Step::Member(name) if is_field_name(name) => name,
                Step::Member(_) | Step::Element => "*",
            };
            if out.len() + name.len() > LONGEST_PLACE {
                out.push_str("/…");
                break;
            }
            out.push('/');
            out.push_str(name);
        }
        out
    }

    /// It, or what it lies in, is one of these.
    pub(super) fn is_in(&self, paths: &[Path]) -> bool {
        let covers = |path: &Path| {
            let is_step = |(wanted, step): (&str, &Step<'_>)| match step {
                Step::Member(name) => wanted == *name,
                Step::Element => wanted == "*" || wanted.bytes().all(|byte| byte.is_ascii_digit()),
            };
            let wanted = path.0.iter().map(|step| &**step);
            path.0.len() <= self.0.len() && wanted.zip(&self.0).all(is_step)
        };
        paths.iter().any(covers)
    }

    /// It is an element of an array.
    pub(super) fn is_element(&self) -> bool {
        matches!(self.0.last(), Some(Step::Element))
    }

    /// By the name of its member it identifies something.
    pub(super) fn names_id(&self) -> bool {
        matches!(self.0.last(), Some(Step::Member(name)) if names_id(name))
    }
}

/// What two documents have at a place: two values that aren't both filled containers, or one value
/// that the other document lacks.
#[derive(Debug)]
pub(super) struct Pair<'v> {
    pub(super) place: Place<'v>,
    pub(super) left: Option<&'v Value>,
    pub(super) right: Option<&'v Value>,
}

/// The pairs of two documents, in the left one's order; the first [`MOST_PAIRS`].
pub(super) fn pairs_of<'v>(left: &'v Value, right: &'v Value) -> Vec<Pair<'v>> {
    let mut out = Vec::new();
    gather(&mut Place::default(), (Some(left), Some(right)), &mut out);
    out
}

type Two<'v> = (Option<&'v Value>, Option<&'v Value>);

fn gather<'v>(place: &mut Place<'v>, two: Two<'v>, out: &mut Vec<Pair<'v>>) {
    if out.len() >= MOST_PAIRS {
        return;
    }
    let is_deep = place.0.len() >= DEEPEST;
    match two {
        (Some(Value::Object(left)), Some(Value::Object(right))) if !is_deep => {
            for (name, value) in left {
                descend(
                    place,
                    Step::Member(name),
                    (Some(value), right.get(name)),
                    out,
                );
            }
            for (name, value) in right.iter().filter(|(name, _)| !left.contains_key(*name)) {
                descend(place, Step::Member(name), (None, Some(value)), out);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) if !is_deep => {
            for two in pair_elements(left, right) {
                descend(place, Step::Element, two, out);
            }
        }
        (left, right) => out.push(Pair {
            place: place.clone(),
            left,
            right,
        }),
    }
}

fn descend<'v>(place: &mut Place<'v>, step: Step<'v>, two: Two<'v>, out: &mut Vec<Pair<'v>>) {
    place.0.push(step);
    gather(place, two, out);
    place.0.pop();
}

fn pair_elements<'v>(left: &'v [Value], right: &'v [Value]) -> Vec<Two<'v>> {
    match identifying_member(left, right) {
        Some(name) => pair_by(left, right, |value| {
            value.get(name).map(Value::to_string).unwrap_or_default()
        }),
        None => {
            let (mut same, mut rest) = (Vec::new(), (Vec::new(), Vec::new()));
            for two in pair_by(left, right, Value::to_string) {
                match two {
                    (Some(value), None) => rest.0.push(value),
                    (None, Some(value)) => rest.1.push(value),
                    both => same.push(both),
                }
            }
            let longest = rest.0.len().max(rest.1.len());
            let of = |values: &[&'v Value], at: usize| values.get(at).copied();
            same.extend((0..longest).map(|at| (of(&rest.0, at), of(&rest.1, at))));
            same
        }
    }
}

/// Pairs those that have the same key; the others stay alone.
fn pair_by<'v>(
    left: &'v [Value],
    right: &'v [Value],
    key: impl Fn(&Value) -> String,
) -> Vec<Two<'v>> {
    let mut by_key: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, value) in right.iter().enumerate().rev() {
        by_key.entry(key(value)).or_default().push(at);
    }
    let mut taken = HashSet::new();
    let mut out: Vec<Two<'v>> = Vec::new();
    for value in left {
        let at = by_key.get_mut(&key(value)).and_then(Vec::pop);
        taken.extend(at);
        out.push((Some(value), at.and_then(|at| right.get(at))));
    }
    let alone = right
        .iter()
        .enumerate()
        .filter(|(at, _)| !taken.contains(at));
    out.extend(alone.map(|(_, value)| (None, Some(value))));
    out
}

/// A member by whose name and values elements are known on both sides: named as an id, in every
/// element, no value twice on a side, and at least one value on both.
fn identifying_member<'v>(left: &'v [Value], right: &[Value]) -> Option<&'v str> {
    let names = left
        .first()?
        .as_object()?
        .keys()
        .filter(|name| names_id(name));
    let values = |elements: &[Value], name: &str| {
        let mut found = HashSet::new();
        let is_new = |element: &Value| match element.get(name) {
            Some(value @ (Value::String(_) | Value::Number(_))) => found.insert(value.to_string()),
            _ => false,
        };
        elements.iter().all(is_new).then_some(found)
    };
    let identifies = |name: &&'v String| {
        let (Some(left), Some(right)) = (values(left, name), values(right, name)) else {
            return false;
        };
        !left.is_disjoint(&right)
    };
    names.into_iter().find(identifies).map(String::as_str)
}
