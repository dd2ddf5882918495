//! Two applications' states after the same events: what a read tells after single calls (the
//! control, read twice) and after batches (the candidate).
//!
//! What differs between the two reads of the control is noise, whatever it is. Left out are also
//! two times and two ids, since each application stamps and numbers what it stores by itself, and
//! numbers whose member is named as an id.

use super::pairs::{Pair, pairs_of};
use super::shape::{Shape, are_equal, describe};
use crate::template::Path;
use serde_json::Value;
use std::collections::BTreeSet;

/// Differences of one check at most.
const MOST_DIFFERENCES: usize = 64;

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct StateFinding {
    /// What differs, at most 64 places.
    pub differences: Vec<StateDifference>,
    /// Places that were left out, at most 64.
    pub left_out: BTreeSet<String>,
}

impl StateFinding {
    /// The control has this state, and the candidate says by a refusal that it has none.
    #[must_use]
    pub fn of_refused(control: &Value, status: u16) -> Self {
        let difference = StateDifference {
            place: String::new(),
            control: describe(Some(control)),
            candidate: format!("status {status}"),
        };
        Self {
            differences: vec![difference],
            left_out: BTreeSet::new(),
        }
    }
}

/// A place where the states differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDifference {
    /// Where, elements of an array as `*`.
    pub place: String,
    /// What the control has there: JSON type and length.
    pub control: String,
    /// What the candidate has.
    pub candidate: String,
}

/// Compares a candidate with a control that was read twice. The order of arrays counts for nothing.
#[must_use]
pub fn compare_states(controls: [&Value; 2], candidate: &Value, ignore: &[Path]) -> StateFinding {
    let [control, again] = controls;
    let differs = |pair: &Pair<'_>| match (pair.left, pair.right) {
        (Some(left), Some(right)) => !are_equal(left, right),
        _ => true,
    };
    let noise: BTreeSet<String> = pairs_of(control, again)
        .iter()
        .filter(|pair| differs(pair))
        .map(|pair| pair.place.show())
        .collect();
    let is_noise = |place: &str| {
        let lies_in = |noisy: &String| {
            let rest = place.strip_prefix(&**noisy);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        noise.iter().any(lies_in)
    };
    let mut finding = StateFinding::default();
    let mut told = BTreeSet::new();
    let pairs = pairs_of(control, candidate);
    for pair in pairs
        .iter()
        .filter(|pair| differs(pair) && !pair.place.is_in(ignore))
    {
        let place = pair.place.show();
        if is_noise(&place) || is_own(pair) {
            if finding.left_out.len() < MOST_DIFFERENCES {
                finding.left_out.insert(place);
            }
        } else if told.len() < MOST_DIFFERENCES && told.insert(place.clone()) {
            finding.differences.push(StateDifference {
                place,
                control: describe(pair.left),
                candidate: describe(pair.right),
            });
        }
    }
    finding
}

/// Two values that each application makes by itself.
fn is_own(pair: &Pair<'_>) -> bool {
    let (Some(left), Some(right)) = (pair.left, pair.right) else {
        return false;
    };
    match (Shape::of(left), Shape::of(right)) {
        (Shape::Time, Shape::Time) | (Shape::Id, Shape::Id) => true,
        (Shape::Number, Shape::Number) => pair.place.names_id(),
        _ => false,
    }
}
