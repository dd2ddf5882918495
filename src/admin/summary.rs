//! What one message of the live stream says: figures, names of groups and routes; nothing of a
//! body, an id, a user or a credential.

use super::groups::{ms, show_group};
use super::history::{History, Totals};
use super::modes::show_routes;
use super::setup::Setup;
use crate::clock::millis;
use crate::ingest::outcome::dead::age_ms;
use crate::version;
use serde_json::{Value, json};
use std::time::SystemTime;
use tokio::time::Instant;

/// Version of the message.
const SCHEMA: u32 = 1;

/// What was counted until now.
pub(super) fn read_totals(setup: &Setup) -> Totals {
    let now_ms = millis(SystemTime::now());
    Totals::read(&setup.metrics, &setup.store, Instant::now(), now_ms)
}

/// The message of this moment. It looks at every lane.
pub(super) fn compose(setup: &Setup, history: &parking_lot::Mutex<History>) -> Value {
    let operations = &setup.operations;
    let totals = read_totals(setup);
    let (minute, newest) = {
        let history = history.lock();
        (history.last_minute(&totals), history.newest().copied())
    };
    let groups = operations.survey_groups();
    let oldest = groups.iter().filter_map(|group| group.lanes.oldest).min();
    let (kept, dropped, oldest_dead) = operations.dead_letters().count();
    let (reach, since) = setup.metrics.reached.look();
    let (ledger, journal) = (operations.ledger(), operations.journal_health());
    json!({
        "schema": SCHEMA, "at": totals.at_ms, "version": version::NUMBER,
        "uptime_ms": ms(setup.began.elapsed()), "draining": setup.drain.is_announced(),
        "durability": setup.durability,
        "upstream": { "url": setup.upstream, "state": reach.as_str(), "since_ms": since.map(ms) },
        "ledger": ledger,
        "totals": {
            "acknowledged": totals.acknowledged, "forwarded": totals.forwarded, "refused": totals.refused,
            "requests": totals.requests, "in_flight": setup.metrics.in_flight.get(),
        },
        "minute": minute,
        "pending": {
            "events": ledger.pending, "bytes": operations.pending_bytes(),
            "oldest_ms": oldest.map(|at| ms(at.elapsed())),
        },
        "journal": {
            "max_bytes": setup.journal_max_bytes, "failing": journal.failure().as_deref(), "disk_low": journal.is_low(),
        },
        "cache": {
            "hits": totals.cache.hits, "misses": totals.cache.misses, "bypasses": totals.cache.bypasses,
            "stored": setup.store.counts.stored.load(std::sync::atomic::Ordering::Relaxed),
            "bytes": setup.store.weight(),
        },
        "dead_letters": {
            "kept": kept, "dropped": dropped, "deaths": setup.metrics.death_count(),
            "oldest_ms": oldest_dead.map(|died| age_ms(died, SystemTime::now())),
        },
        "groups": groups.iter().map(show_group).collect::<Vec<_>>(),
        "routes": show_routes(setup),
        "sample": newest,
    })
}
