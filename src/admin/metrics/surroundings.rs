//! Clients' connections, the application, and the cache between them.

use crate::admin::setup::Setup;
use crate::metrics::{Reach, Scrape, float};
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn read(setup: &Setup, scrape: &mut Scrape) {
    scrape.gauge(
        "tidegate_connections",
        "Connections of clients",
        float(setup.connections.count()),
    );
    scrape.gauge(
        "tidegate_connections_limit",
        "server.max_connections, as far as the descriptors reach",
        float(setup.max_connections as u64),
    );
    scrape.gauge(
        "tidegate_draining",
        "1: the stop has begun",
        f64::from(u8::from(setup.drain.is_announced())),
    );
    read_upstream(setup, scrape);
    read_cache(setup, scrape);
}

fn read_upstream(setup: &Setup, scrape: &mut Scrape) {
    let exchanges = &setup.exchanges;
    scrape.gauge(
        "tidegate_upstream_up",
        "0: the application did not answer the last exchange",
        f64::from(u8::from(setup.metrics.reached.look().0 != Reach::Down)),
    );
    scrape.latencies(
        "tidegate_upstream_seconds",
        "Time from a request to the head of the application's answer",
        &exchanges.latencies,
    );
    scrape.counters(
        "tidegate_upstream_failures_total",
        "Exchanges that the application did not answer, by why (RFC 9209)",
        exchanges
            .failures()
            .map(|(error, count)| (vec![("error", error)], float(count))),
    );
}

fn read_cache(setup: &Setup, scrape: &mut Scrape) {
    let counts = &setup.store.counts;
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let stale = of(&counts.stale);
    let answers = [
        ("hit", of(&counts.hits).saturating_sub(stale)),
        ("stale", stale),
        ("miss", of(&counts.misses)),
        ("bypass", of(&counts.bypasses)),
    ];
    scrape.counters(
        "tidegate_cache_reads_total",
        "Reads of cached routes, by where their answer came from",
        answers.map(|(answer, count)| (vec![("answer", answer)], float(count))),
    );
    scrape.counter(
        "tidegate_cache_stored_total",
        "Answers that were stored",
        float(of(&counts.stored)),
    );
    scrape.gauge(
        "tidegate_cache_bytes",
        "Bytes of stored answers",
        float(setup.store.weight()),
    );
    scrape.counter(
        "tidegate_invalidations_total",
        "How often a tag was made old: by events, twice each, by writes and by operators",
        float(setup.tags.invalidations()),
    );
}
