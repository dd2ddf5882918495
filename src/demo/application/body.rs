//! Looks into JSON bodies.

use serde_json::Value;

/// The first of these fields that is a text with something in it.
#[must_use]
pub fn text<'a>(body: &'a Value, names: &[&str]) -> Option<&'a str> {
    names
        .iter()
        .find_map(|name| body.get(name)?.as_str())
        .filter(|text| !text.is_empty())
}

/// The events of a batch, if it has any.
#[must_use]
pub fn events(body: &Value) -> Option<&[Value]> {
    body.get("events")?
        .as_array()
        .map(Vec::as_slice)
        .filter(|events| !events.is_empty())
}
