//! Which places of the application's answers no acknowledgement can know: times, ids that the
//! application makes, and counts that it keeps. Learned from the answers of one route, since a rule
//! for each of them would have to be written by its operator first.
//!
//! | two values that differ | are left out |
//! |---|---|
//! | times | always |
//! | ids | until [`ENOUGH`] answers had one there; then while the application's is another in most of them, and the acknowledgement's is not the same as it in most of them |
//! | other numbers | as ids, and only while the acknowledgement's is the same in most of them: a number that changes with the call is taken from the call |
//!
//! What is left out is counted and told.

use super::shape::Shape;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Places of a route that are learned of; at others, ids and numbers that differ are left out.
pub(super) const MOST_PLACES: usize = 256;
/// Answers that must have a value at a place before its differences count.
pub(super) const ENOUGH: u64 = 20;

/// What is known of a place where answers have an id, a time or a number.
#[derive(Debug, Default)]
struct Known {
    answers: u64,
    /// The acknowledgement had the same value.
    equal: u64,
    /// The application's value was another than in the answer before.
    answer_changed: u64,
    /// So was the acknowledgement's.
    ack_changed: u64,
    /// Hashes of both values of the answer before.
    last: Option<(u64, u64)>,
    /// Answers whose difference was left out.
    left_out: u64,
    shape: Option<Shape>,
}

impl Known {
    fn is_mostly(&self, count: u64) -> bool {
        count * 2 >= self.answers
    }

    fn leaves_out(&self, shape: Shape) -> bool {
        match shape {
            Shape::Time => true,
            Shape::Other => false,
            Shape::Id | Shape::Number if self.answers < ENOUGH => true,
            Shape::Id => !self.is_mostly(self.equal) && self.is_mostly(self.answer_changed),
            Shape::Number => {
                !self.is_mostly(self.equal)
                    && self.is_mostly(self.answer_changed)
                    && !self.is_mostly(self.ack_changed)
            }
        }
    }
}

/// What is known of a route's places, at most [`MOST_PLACES`].
#[derive(Debug, Default)]
pub(super) struct Learned(BTreeMap<String, Known>);

impl Learned {
    /// Notes both values at a place, and says whether their difference, if they differ, counts.
    pub(super) fn judge(
        &mut self,
        place: &str,
        (answer, ack): (&Value, &Value),
        equal: bool,
    ) -> bool {
        let (shape, of_ack) = (Shape::of(answer), Shape::of(ack));
        if shape == Shape::Other {
            return !equal;
        }
        if !self.0.contains_key(place) && self.0.len() >= MOST_PLACES {
            return false;
        }
        let known = self.0.entry(place.to_owned()).or_default();
        let counts = !equal && (shape != of_ack || !known.leaves_out(shape));
        if !equal && !counts {
            known.left_out += 1;
            known.shape = Some(shape);
        }
        let hashes = (hash(answer), hash(ack));
        if let Some((answer, ack)) = known.last {
            known.answer_changed += u64::from(answer != hashes.0);
            known.ack_changed += u64::from(ack != hashes.1);
        }
        known.last = Some(hashes);
        known.answers += 1;
        known.equal += u64::from(equal);
        counts
    }

    /// Places where a difference was left out: what they hold, and of how many answers.
    pub(super) fn left_out(&self) -> impl Iterator<Item = (&str, &'static str, u64)> {
        let left_out = self.0.iter().filter(|(_, known)| known.left_out > 0);
        left_out.map(|(place, known)| {
            let what = match known.shape {
                Some(Shape::Time) => "time",
                Some(Shape::Id) => "id",
                _ => "number",
            };
            (&**place, what, known.left_out)
        })
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.0.len()
    }
}

fn hash(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    match value {
        Value::String(text) => text.hash(&mut hasher),
        other => other.to_string().hash(&mut hasher),
    }
    hasher.finish()
}
