//! Instruments: the conservation ledger (P2) and what Prometheus scrapes.

mod flights;
mod labels;
mod latencies;
mod ledger;
mod of_group;
mod process;
mod reached;
mod readings;
mod scrape;

pub use flights::Flights;
pub use labels::{Action, Attempt, Counters, Label};
pub use latencies::Latencies;
pub use ledger::{Ledger, Ledgers};
pub use of_group::OfGroup;
pub use reached::{Reach, Reached};
pub use readings::{AckTimes, MOST_MICROS};
pub use scrape::{Scrape, float};

use crate::event::{Outcome, Reason};
use crate::spans;
use process::Process;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts,
    Registry, TextEncoder,
};

/// Upper bounds of the buckets of `tidegate_batch_events`.
const BATCH_BUCKETS: [f64; 10] = [1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 25.0, 50.0, 100.0];

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
    /// Messages to the webhook, by result.
    pub notifications: IntCounterVec,
    /// Fetches of the keys that tokens are verified by, by result.
    pub key_fetches: IntCounterVec,
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
    /// Attempts of what was tried before, by group.
    retries: IntCounterVec,
    /// Events in each attempt, by group.
    batch_events: HistogramVec,
    /// Deliveries that were sent and have no answer yet.
    pub in_flight: IntGauge,
    /// And since when.
    pub flights: Flights,
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
    /// What became of spans.
    pub spans: spans::Counters,
    /// Acknowledgement latency, seconds, from the request's head to the reply.
    pub ack_seconds: Histogram,
    process: Process,
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
        let batch_events = HistogramVec::new(
            HistogramOpts::new("tidegate_batch_events", "Events in each attempt to deliver")
                .buckets(BATCH_BUCKETS.to_vec()),
            &["group"],
        )?;
        registry.register(Box::new(batch_events.clone()))?;
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = prometheus::IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
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
            notifications: vector(
                "tidegate_notifications_total",
                "Messages to the webhook of notify.url, by result: sent, failed",
                &["result"],
            )?,
            key_fetches: vector(
                "tidegate_jwt_key_fetches_total",
                "Fetches of the keys of identity.jwt.jwks_url, by result: fetched, failed",
                &["result"],
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
            retries: vector(
                "tidegate_retries_total",
                "Attempts to deliver what an earlier attempt did not bring",
                &["group"],
            )?,
            batch_events,
            flights: Flights::default(),
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
            spans: spans::Counters {
                sent: counter("tidegate_spans_sent_total", "Spans that the collector took")?,
                lost: counter(
                    "tidegate_spans_lost_total",
                    "Spans for which the queue had no room, or that the collector did not take",
                )?,
            },
            ack_seconds,
            process: Process::new(),
            registry,
        })
    }

    /// The counters of a group's attempts to deliver.
    fn attempts_of(&self, group: &str) -> Counters<Attempt> {
        Counters::of(&self.batches, &[group])
    }

    /// What is counted of a group's deliveries.
    #[must_use]
    pub fn of_group(&self, group: &str) -> OfGroup {
        OfGroup {
            attempts: self.attempts_of(group),
            retries: self.retries.with_label_values(&[group]),
            events: self.batch_events.with_label_values(&[group]),
        }
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

    /// The Prometheus text format of all counters, and of what was read for this scrape.
    ///
    /// # Errors
    /// Encoding failed.
    pub fn text(&self, mut scrape: Scrape) -> Result<Vec<u8>, prometheus::Error> {
        self.read_ledger(&mut scrape);
        self.process.read(&mut scrape);
        let mut families = self.registry.gather();
        scrape.merge_into(&mut families);
        let mut out = Vec::new();
        TextEncoder::new().encode(&families, &mut out)?;
        Ok(out)
    }

    fn read_ledger(&self, scrape: &mut Scrape) {
        let Ledger {
            received,
            accepted,
            duplicate,
            superseded,
            dead,
            pending,
        } = self.ledgers.sum();
        let states = [
            ("received", received),
            ("accepted", accepted),
            ("duplicate", duplicate),
            ("superseded", superseded),
            ("dead", dead),
            ("pending", pending),
        ];
        scrape.gauges(
            "tidegate_events",
            "The conservation ledger: received = the sum of the others",
            states.map(|(state, events)| (vec![("state", state)], float(events))),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scrape_names_the_ledger() {
        let metrics = Metrics::try_new().unwrap();
        metrics.ledgers.receive(0);
        let text = String::from_utf8(metrics.text(Scrape::default()).unwrap()).unwrap();
        assert!(
            text.contains("tidegate_events{state=\"pending\"} 1"),
            "{text}"
        );
    }
}
