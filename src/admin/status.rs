//! `/status`: the ledger, and what every part holds.

use super::groups::{ms, show_group};
use super::modes::show_routes;
use super::reply::{json, text};
use super::setup::Setup;
use crate::body::Body;
use crate::ingest::outcome::dead::age_ms;
use crate::version;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// `/status`.
pub(super) async fn show_status(setup: &Arc<Setup>) -> Response<Body> {
    let setup = Arc::clone(setup);
    // It looks at every lane.
    match tokio::task::spawn_blocking(move || compose(&setup)).await {
        Ok(status) => json(StatusCode::OK, &status),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn compose(setup: &Setup) -> Value {
    let ledger = setup.operations.ledger();
    let groups = setup.operations.survey_groups();
    let oldest = groups.iter().filter_map(|group| group.lanes.oldest).min();
    let oldest = oldest.map(|at| ms(at.elapsed()));
    let (reach, since) = setup.metrics.reached.look();
    let ack = setup.metrics.ack_times();
    let counts = &setup.store.counts;
    let (dead, dropped, oldest_dead) = setup.operations.dead_letters().count();
    let strangers = setup.operations.held_by_strangers();
    let journal = setup.operations.journal_health();
    let (commits, commit_events) = journal.counts();
    let memory = setup.operations.memory_usage();
    json!({
        "version": version::NUMBER, "commit": version::COMMIT, "uptime_ms": ms(setup.began.elapsed()),
        "upstream": { "url": setup.upstream, "state": reach.as_str(), "since_ms": since.map(ms) },
        "acknowledgements": { "p50_us": ack.quantile(0.5), "p99_us": ack.quantile(0.99) },
        "groups": groups.iter().map(show_group).collect::<Vec<_>>(),
        "modes": show_routes(setup),
        "ledger": ledger, "balanced": ledger.balances(), "draining": setup.drain.is_announced(),
        "durability": setup.durability, "lanes": setup.operations.lanes(),
        "pending": { "events": ledger.pending, "bytes": setup.operations.pending_bytes(), "oldest_ms": oldest },
        "strangers": {
            "lanes": strangers.lanes, "bytes": strangers.bytes, "listeners": strangers.listeners, "calls": strangers.calls,
        },
        "changing_parts": setup.operations.changing_parts(),
        "batches": { "events": setup.metrics.batched_events.get(), "attempts": count_attempts(setup) },
        "dead_letters": { "kept": dead, "dropped": dropped, "oldest_ms": oldest_dead.map(|died| age_ms(died, SystemTime::now())) },
        "journal": {
            "durability": setup.durability, "failing": journal.failure().as_deref(), "disk_low": journal.is_low(),
            "commits": commits, "events": commit_events,
        },
        "body_memory": {
            "bytes": memory.bytes, "highest": memory.highest, "limit": memory.limit, "callers": memory.callers,
            "no_room": memory.no_room,
        },
        "sessions": { "renewals": setup.metrics.renewals.get() },
        "cache": {
            "hits": counts.hits.load(Ordering::Relaxed), "misses": counts.misses.load(Ordering::Relaxed),
            "bypasses": counts.bypasses.load(Ordering::Relaxed), "stored": counts.stored.load(Ordering::Relaxed),
            "bytes": setup.store.weight(),
        },
    })
}

/// Attempts by group and result.
fn count_attempts(setup: &Setup) -> Value {
    let counts = setup.metrics.attempt_counts();
    counts
        .into_iter()
        .map(|(group, result, count)| (format!("{group}.{result}"), json!(count)))
        .collect()
}
