//! What the groups do at a moment: their lanes, by what these wait for, and their gates.

use crate::ingest::GroupSurvey;
use serde_json::{Value, json};
use std::time::Duration;

/// Milliseconds.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// One group: events, lanes by what they wait for, circuit.
pub(super) fn show_group(group: &GroupSurvey<'_>) -> Value {
    let (lanes, gate) = (group.lanes, group.gate);
    json!({
        "name": group.name, "pending": lanes.events,
        "oldest_ms": lanes.oldest.map(|at| ms(at.elapsed())),
        "lanes": {
            "open": lanes.open, "in_flight": lanes.in_flight, "credential": lanes.credential,
            "gate": lanes.gate, "backoff": lanes.backoff, "order": lanes.order,
        },
        "circuit": if gate.is_open { "open" } else { "closed" },
        "closed_ms": gate.closed_for.map(ms), "singles": gate.is_on_detour,
    })
}
