//! What is pending, where it waits, what became dead letters, and what callers hold.

use crate::admin::setup::Setup;
use crate::ingest::GroupSurvey;
use crate::ingest::delivery::gate::Standing;
use crate::ingest::lanes::window::Survey;
use crate::metrics::{Scrape, float};
use crate::rollout::Decided;

pub(super) fn read(setup: &Setup, scrape: &mut Scrape) {
    read_calls(setup, scrape);
    read_lanes(setup, scrape);
    read_groups(setup, scrape);
    read_dead_letters(setup, scrape);
    read_shares(setup, scrape);
}

fn read_calls(setup: &Setup, scrape: &mut Scrape) {
    let paths = setup.modes.calls();
    let counts = paths.iter().flat_map(|(path, counts)| {
        Decided::ALL
            .into_iter()
            .zip(counts)
            .map(move |(decided, count)| {
                let labels = vec![("path", path.as_str()), ("decision", decided.as_str())];
                (labels, float(*count))
            })
    });
    scrape.counters(
        "tidegate_event_calls_total",
        "Calls of event routes, by method and path, and by what was decided",
        counts,
    );
}

fn read_lanes(setup: &Setup, scrape: &mut Scrape) {
    let operations = &setup.operations;
    scrape.gauge(
        "tidegate_lanes",
        "Lanes with events",
        float(operations.lanes()),
    );
    scrape.gauge(
        "tidegate_pending_bytes",
        "Bytes of pending events",
        float(operations.pending_bytes()),
    );
    scrape.counters(
        "tidegate_windows_sealed_total",
        "Windows that were sealed, by why",
        operations
            .seals()
            .each()
            .map(|(why, count)| (vec![("cause", why.as_str())], float(count))),
    );
}

fn read_groups(setup: &Setup, scrape: &mut Scrape) {
    let groups = setup.operations.survey_groups();
    scrape.gauges(
        "tidegate_group_pending",
        "Events that have no outcome",
        groups
            .iter()
            .map(|group| (vec![("group", group.name)], float(group.lanes.events))),
    );
    scrape.gauges(
        "tidegate_oldest_pending_seconds",
        "Age of the oldest event that has no outcome; 0 without one",
        groups.iter().map(|group| {
            let age = group.lanes.oldest.map(|at| at.elapsed().as_secs_f64());
            (vec![("group", group.name)], age.unwrap_or(0.0))
        }),
    );
    let lanes = groups.iter().flat_map(|group| {
        let Survey {
            open,
            in_flight,
            credential,
            gate,
            backoff,
            order,
            ..
        } = group.lanes;
        [
            ("open", open),
            ("in_flight", in_flight),
            ("credential", credential),
            ("gate", gate),
            ("backoff", backoff),
            ("order", order),
        ]
        .map(|(state, count)| (of_group(group, state), float(count)))
    });
    scrape.gauges(
        "tidegate_group_lanes",
        "Lanes with events, by what they wait for",
        lanes,
    );
    let gates = groups.iter().flat_map(|group| {
        let Standing {
            is_open,
            closed_for,
            is_on_detour,
        } = group.gate;
        [
            ("circuit", is_open),
            ("limited", closed_for.is_some()),
            ("singles", is_on_detour),
        ]
        .map(|(state, is_so)| (of_group(group, state), f64::from(u8::from(is_so))))
    });
    scrape.gauges(
        "tidegate_group_gate",
        "1: the circuit is open, the group is limited, or single calls go in place of batches",
        gates,
    );
}

fn of_group<'a>(group: &GroupSurvey<'a>, state: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![("group", group.name), ("state", state)]
}

fn read_dead_letters(setup: &Setup, scrape: &mut Scrape) {
    let letters = setup.operations.dead_letters();
    let (kept, dropped, _) = letters.count();
    scrape.gauge(
        "tidegate_dead_letters",
        "Dead letters kept",
        float(kept as u64),
    );
    scrape.counter(
        "tidegate_dead_letters_dropped_total",
        "Dead letters that went for want of room",
        float(dropped),
    );
    let reasons = letters.count_by_reason();
    scrape.gauges(
        "tidegate_dead_letters_held",
        "Dead letters kept, by reason",
        reasons
            .iter()
            .map(|(reason, count)| (vec![("reason", reason.as_str())], float(*count))),
    );
}

fn read_shares(setup: &Setup, scrape: &mut Scrape) {
    let held = setup.operations.held_by_strangers();
    let bounds = [
        ("lanes", held.lanes),
        ("bytes", held.bytes),
        ("listeners", held.listeners),
        ("calls", held.calls),
    ];
    scrape.gauges(
        "tidegate_strangers",
        "What callers hold of a bound whom nothing speaks for",
        bounds.map(|(bound, held)| (vec![("bound", bound)], float(held))),
    );
    let memory = setup.operations.memory_usage();
    scrape.gauge(
        "tidegate_body_memory_bytes",
        "Bytes that bodies take in memory",
        float(memory.bytes),
    );
    scrape.gauge(
        "tidegate_body_memory_highest_bytes",
        "Most bytes that bodies took in memory since the start",
        float(memory.highest),
    );
    scrape.gauge(
        "tidegate_body_memory_limit_bytes",
        "limits.max_body_memory",
        float(memory.limit),
    );
    scrape.gauge(
        "tidegate_body_no_room",
        "How often a body or a part of it found no room since the start",
        float(memory.no_room),
    );
}
