//! A JSON document as its leaves: values under paths of members. A list is a leaf.

use serde_json::Value;

/// Names of members from the outermost on.
pub(super) type Steps = Vec<String>;

/// How deep is looked, and at how many leaves of one document.
const DEEPEST: usize = 6;
const MOST: usize = 256;

/// The leaves of a document, in its order.
pub(super) fn leaves_of(value: &Value) -> Vec<(Steps, &Value)> {
    let mut out = Vec::new();
    gather(value, &mut Vec::new(), &mut out);
    out
}

fn gather<'v>(value: &'v Value, steps: &mut Steps, out: &mut Vec<(Steps, &'v Value)>) {
    if out.len() >= MOST {
        return;
    }
    match value {
        Value::Object(members) if !members.is_empty() && steps.len() < DEEPEST => {
            for (name, member) in members {
                steps.push(name.clone());
                gather(member, steps, out);
                steps.pop();
            }
        }
        leaf => out.push((steps.clone(), leaf)),
    }
}

/// The value at a path, `null` being none.
pub(super) fn value_at<'v>(value: &'v Value, steps: &[String]) -> Option<&'v Value> {
    let found = steps
        .iter()
        .try_fold(value, |value, step| value.as_object()?.get(step))?;
    Some(found).filter(|found| !found.is_null())
}
