//! Instruments: the conservation ledger (P2) and what Prometheus scrapes.

mod labels;
mod ledger;
mod reached;
mod readings;

pub use labels::{Action, Attempt, Counters, Label};
pub use ledger::{Ledger, Ledgers};
pub use reached::Reached;
pub use readings::{AckTimes, MOST_MICROS};

use crate::event::{Outcome, Reason};
use crate::memory::Usage;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

/// Every counter of one sidecar, in a registry of its own.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The ledger.
    pub ledgers: Ledgers,
    /// 1 for the mode of an event route, 0 for the others.
    pub route_mode: prometheus::IntGaugeVec,
    /// Percent of users of an event route, where its mode is `coalesce`.
    pub route_rollout: prometheus::IntGaugeVec,
    /// Calls by what was done.
    pub calls: Counters<Action>,
    /// Event calls that were forwarded or refused, by reason.
    pub declined: IntCounterVec,
    /// Client connections on which a known caller has called.
    pub known_connections: IntCounter,
    /// Events of routes in mode `observe`, by route.
    pub observed_events: IntCounterVec,
    /// What the observer had no room for.
    pub observe_shed: IntCounter,
    /// Calls of routes in mode `observe` that `coalesce` would have forwarded or refused, by route
    /// and reason.
    pub observe_declined: IntCounterVec,
    /// Calls of routes in mode `shadow` that were copied, by route.
    pub shadow_calls: IntCounterVec,
    /// Those for which there was no room, by route.
    pub shadow_shed: IntCounterVec,
    /// Members of bodies that no mapping names, by route.
    pub unmapped: IntCounterVec,
    /// Calls of one principal whose fingerprint changed, by the part that changed.
    pub changed_parts: IntCounterVec,
    /// Relayed answers that renewed a session cookie.
    pub renewals: IntCounter,
    /// Whether the application answers.
    pub reached: Reached,
    /// Batch attempts by group and result.
    pub batches: IntCounterVec,
    /// Deliveries that were sent and have no answer yet.
    pub in_flight: IntGauge,
    /// Deliveries that have an answer, or are known to get none.
    pub deliveries: IntCounter,
    /// Events in delivered batches.
    pub batched_events: IntCounter,
    /// Dead letters by reason.
    pub dead: IntCounterVec,
    /// Ids in a reply that the batch did not hold.
    pub unknown_ids: IntCounter,
    /// Batches refused by the assembler because credentials differed (P3); must stay 0.
    pub mixed_credentials: IntCounter,
    /// Acknowledgement latency, seconds, from the request's head to the reply.
    pub ack_seconds: Histogram,
    gauges: Gauges,
}

#[derive(Debug)]
struct Gauges {
    ledger: prometheus::IntGaugeVec,
    lanes: IntGauge,
    pending_bytes: IntGauge,
    strangers: prometheus::IntGaugeVec,
    journal_failing: IntGauge,
    journal_disk_low: IntGauge,
    dead_letters: IntGauge,
    body_memory: IntGauge,
    body_memory_highest: IntGauge,
    body_memory_limit: IntGauge,
    no_room: IntGauge,
}

/// What the gauges show, read when somebody scrapes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Levels {
    /// Lanes with events.
    pub lanes: u64,
    /// Bytes of pending events.
    pub pending_bytes: u64,
    /// What callers hold whom nothing speaks for, by the name of the bound.
    pub strangers: [(&'static str, u64); 4],
    /// The journal takes no more events.
    pub journal_failing: bool,
    /// The journal's disk is nearly full.
    pub journal_disk_low: bool,
    /// Dead letters kept.
    pub dead_letters: usize,
    /// What bodies take in memory.
    pub memory: Usage,
}

impl Metrics {
    /// All counters at zero.
    ///
    /// # Errors
    /// A metric's name is malformed or taken twice: a mistake of this file, found by its test.
    pub fn try_new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let vector =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
                let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(metric.clone()))?;
                Ok(metric)
            };
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let ack_seconds = Histogram::with_opts(
            HistogramOpts::new("tidegate_ack_seconds", "Time to acknowledge an event")
                .buckets(readings::ACK_BOUNDS.to_vec()),
        )?;
        registry.register(Box::new(ack_seconds.clone()))?;
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = prometheus::IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let ledger = gauges(
            "tidegate_events",
            "The conservation ledger: received = the sum of the others",
            &["state"],
        )?;
        let strangers = gauges(
            "tidegate_strangers",
            "What callers hold of a bound whom nothing speaks for",
            &["bound"],
        )?;
        let route_mode = gauges(
            "tidegate_route_mode",
            "1 for the mode of an event route, 0 for the others",
            &["route", "mode"],
        )?;
        let route_rollout = gauges(
            "tidegate_route_rollout_percent",
            "Percent of users whose events an event route batches where its mode is coalesce",
            &["route"],
        )?;
        let calls = vector(
            "tidegate_calls_total",
            "Calls by what was done",
            &["action"],
        )?;
        Ok(Self {
            ledgers: Ledgers::default(),
            route_mode,
            route_rollout,
            calls: Counters::of(&calls, &[]),
            declined: vector(
                "tidegate_declined_total",
                "Event calls not acknowledged, by reason",
                &["reason"],
            )?,
            known_connections: counter(
                "tidegate_known_connections_total",
                "Client connections on which a known caller has called, and which wait for no \
                 stranger's",
            )?,
            observed_events: vector(
                "tidegate_observed_events_total",
                "Events of routes in mode observe that coalesce would have acknowledged",
                &["route"],
            )?,
            observe_shed: counter(
                "tidegate_observe_shed_total",
                "Calls that the observer had no room for, and that no report tells of",
            )?,
            observe_declined: vector(
                "tidegate_observe_declined_total",
                "Calls of routes in mode observe that coalesce would have forwarded or refused",
                &["route", "reason"],
            )?,
            shadow_calls: vector(
                "tidegate_shadow_calls_total",
                "Calls of routes in mode shadow that were copied",
                &["route"],
            )?,
            shadow_shed: vector(
                "tidegate_shadow_shed_total",
                "Calls of routes in mode shadow that no report tells of for want of room",
                &["route"],
            )?,
            unmapped: vector(
                "tidegate_unmapped_members_total",
                "Members of bodies of acknowledged calls that no mapping names, and no batch holds",
                &["route"],
            )?,
            changed_parts: vector(
                "tidegate_fingerprint_changes_total",
                "Calls of a principal whose fingerprint differed from the one before, by what \
                 differed",
                &["part"],
            )?,
            renewals: counter(
                "tidegate_session_renewals_total",
                "Relayed answers that renewed a session cookie",
            )?,
            reached: Reached::default(),
            batches: vector(
                "tidegate_batches_total",
                "Batch attempts by result",
                &["group", "result"],
            )?,
            in_flight: gauge(
                "tidegate_deliveries_in_flight",
                "Deliveries that were sent and have no answer yet",
            )?,
            deliveries: counter(
                "tidegate_deliveries_total",
                "Deliveries that were answered, or known to get no answer",
            )?,
            batched_events: counter("tidegate_batched_events_total", "Events settled by batches")?,
            dead: vector(
                "tidegate_dead_letters_total",
                "Dead letters by reason",
                &["reason"],
            )?,
            unknown_ids: counter(
                "tidegate_unknown_ids_total",
                "Ids in replies that no event of the batch has",
            )?,
            mixed_credentials: counter(
                "tidegate_mixed_credentials_total",
                "Batches refused by the assembler",
            )?,
            ack_seconds,
            gauges: Gauges {
                ledger,
                lanes: gauge("tidegate_lanes", "Lanes with events")?,
                pending_bytes: gauge("tidegate_pending_bytes", "Bytes of pending events")?,
                strangers,
                journal_failing: gauge(
                    "tidegate_journal_failing",
                    "1: the journal can't be written, and events are forwarded",
                )?,
                journal_disk_low: gauge(
                    "tidegate_journal_disk_low",
                    "1: the journal's disk is nearly full",
                )?,
                dead_letters: gauge("tidegate_dead_letters", "Dead letters kept")?,
                body_memory: gauge(
                    "tidegate_body_memory_bytes",
                    "Bytes that bodies take in memory",
                )?,
                body_memory_highest: gauge(
                    "tidegate_body_memory_highest_bytes",
                    "Most bytes that bodies took in memory since the start",
                )?,
                body_memory_limit: gauge(
                    "tidegate_body_memory_limit_bytes",
                    "limits.max_body_memory",
                )?,
                no_room: gauge(
                    "tidegate_body_no_room",
                    "How often a body or a part of it found no room since the start",
                )?,
            },
            registry,
        })
    }

    /// The counters of a group's attempts to deliver.
    #[must_use]
    pub fn attempts_of(&self, group: &str) -> Counters<Attempt> {
        Counters::of(&self.batches, &[group])
    }

    /// Pending events found their outcomes.
    pub fn settle_all<'a>(&self, choice: u64, outcomes: impl Iterator<Item = &'a Outcome> + Clone) {
        self.ledgers.settle(choice, outcomes.clone());
        let mut batched = 0;
        for outcome in outcomes {
            match outcome {
                Outcome::Dead(reason) => self.bury(*reason),
                _ => batched += 1,
            }
        }
        self.batched_events.inc_by(batched);
    }

    fn bury(&self, reason: Reason) {
        self.dead.with_label_values(&[reason.as_str()]).inc();
    }

    /// The Prometheus text format.
    ///
    /// # Errors
    /// Encoding failed.
    pub fn text(&self, levels: Levels) -> Result<Vec<u8>, prometheus::Error> {
        let ledger = self.ledgers.sum();
        let show = |state: &str, value: u64| {
            self.gauges
                .ledger
                .with_label_values(&[state])
                .set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        show("received", ledger.received);
        show("accepted", ledger.accepted);
        show("duplicate", ledger.duplicate);
        show("superseded", ledger.superseded);
        show("dead", ledger.dead);
        show("pending", ledger.pending);
        self.gauges
            .lanes
            .set(i64::try_from(levels.lanes).unwrap_or(i64::MAX));
        self.gauges
            .pending_bytes
            .set(i64::try_from(levels.pending_bytes).unwrap_or(i64::MAX));
        for (bound, held) in levels.strangers {
            self.gauges
                .strangers
                .with_label_values(&[bound])
                .set(i64::try_from(held).unwrap_or(i64::MAX));
        }
        self.gauges
            .journal_failing
            .set(i64::from(levels.journal_failing));
        self.gauges
            .journal_disk_low
            .set(i64::from(levels.journal_disk_low));
        self.gauges
            .dead_letters
            .set(i64::try_from(levels.dead_letters).unwrap_or(i64::MAX));
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.gauges.body_memory.set(number(levels.memory.bytes));
        self.gauges
            .body_memory_highest
            .set(number(levels.memory.highest));
        self.gauges
            .body_memory_limit
            .set(number(levels.memory.limit));
        self.gauges.no_room.set(number(levels.memory.no_room));
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scrape_names_the_ledger() {
        let metrics = Metrics::try_new().unwrap();
        metrics.ledgers.receive(0);
        let text = String::from_utf8(metrics.text(Levels::default()).unwrap()).unwrap();
        assert!(
            text.contains("tidegate_events{state=\"pending\"} 1"),
            "{text}"
        );
    }
}
