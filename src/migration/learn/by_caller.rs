//! What differs between the calls of one caller, and what only between callers.

use super::repeats::Place;
use super::routes::Call;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// An id of so many characters, its quotes included, is drawn, not counted.
const LONG_ID: usize = 14;

/// Values by caller, and how many of its calls have one.
pub(super) type ByCaller<'c> = HashMap<&'c str, (HashSet<String>, usize)>;

/// The values of each caller that has any, and how many calls have one.
pub(super) fn count_by_caller<'c>(calls: &'c [Call<'_>], place: &Place) -> ByCaller<'c> {
    let mut counts = ByCaller::new();
    for call in calls {
        if let Some(value) = place.find(call) {
            let (distinct, calls) = counts.entry(&call.caller).or_default();
            distinct.insert(value.to_string());
            *calls += 1;
        }
    }
    counts
}

/// Which calls repeat the id of an earlier one of their caller, or that call itself under a renewed
/// credential. Two callers may number their events alike, but chance makes no two long ids equal.
pub(super) fn find_repeats(
    calls: &[Call<'_>],
    id: impl Fn(&Call<'_>) -> Option<Value>,
) -> Vec<bool> {
    let (mut by_caller, mut by_body) = (HashSet::new(), HashSet::new());
    let is_repeated = |call: &Call<'_>| {
        let Some(id) = id(call).map(|id| id.to_string()) else {
            return false;
        };
        let body = call.body.as_ref().map(Value::to_string);
        let is_same = id.len() >= LONG_ID && !by_body.insert((id.clone(), body));
        !by_caller.insert((call.caller.clone(), id)) || is_same
    };
    calls.iter().map(is_repeated).collect()
}

/// Whether nearly all calls of one caller differ in a value; where no caller called twice, whether
/// nearly all calls do, whoever made them.
pub(super) fn differs_by_call(by_caller: &ByCaller<'_>) -> bool {
    if by_caller.values().any(|(_, calls)| *calls > 1) {
        return differs_within(by_caller);
    }
    let values: HashSet<_> = by_caller.values().flat_map(|(values, _)| values).collect();
    values.len() * 4 >= by_caller.len() * 3
}

/// Whether the calls of one caller differ in a value. What differs between callers only is a
/// caller's or a device's, not an event's.
fn differs_within(by_caller: &ByCaller<'_>) -> bool {
    let several = by_caller.values().filter(|(_, calls)| *calls > 1);
    let (distinct, calls) = several.fold((0, 0), |(distinct, calls), (values, count)| {
        (distinct + values.len(), calls + count)
    });
    calls > 0 && distinct * 4 >= calls * 3
}
