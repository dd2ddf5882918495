//! What an attempt needs, and the way back to the shards.

use super::gate::Gate;
use super::load::{self, Ready};
use super::outcomes::Outcomes;
use super::request::Assembler;
use super::retry;
use crate::clock::Clock;
use crate::identity::Identity;
use crate::ingest::accept::reputation::Reputation;
use crate::ingest::lanes::shard::Shard;
use crate::ingest::lanes::window::Verdict;
use crate::ingest::settings::{Delivery, Group};
use crate::logging::AccessLog;
use crate::metrics::{Attempt, Metrics, OfGroup};
use crate::spans::Spans;
use crate::upstream::Upstream;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// Everything an attempt needs.
pub struct Deliverer {
    pub(super) upstream: Option<Upstream>,
    pub(super) outcomes: Option<Arc<dyn Outcomes>>,
    pub(super) settings: Delivery,
    pub(super) groups: Vec<Group>,
    pub(super) assembler: Assembler,
    pub(super) metrics: Arc<Metrics>,
    /// By group.
    counters: Vec<OfGroup>,
    pub(super) reputation: Arc<Reputation>,
    pub(super) shards: Vec<Arc<Shard>>,
    pub(super) access: AccessLog,
    pub(super) spans: Spans,
    // Held for a look and a count.
    pub(super) gates: Arc<[Mutex<Gate>]>,
}

/// What a deliverer is made of.
pub struct Parts {
    /// The way to the application; none: batches are made and looked at, and nobody is asked.
    pub upstream: Option<Upstream>,
    /// Who is told of each delivery.
    pub outcomes: Option<Arc<dyn Outcomes>>,
    /// `[delivery]`.
    pub settings: Delivery,
    /// The groups.
    pub groups: Vec<Group>,
    /// Who is who.
    pub identity: Arc<Identity>,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// What is known of principals.
    pub reputation: Arc<Reputation>,
    /// The shards, by number.
    pub shards: Vec<Arc<Shard>>,
    /// The groups' gates, in the order of the groups.
    pub gates: Arc<[Mutex<Gate>]>,
    /// Wall clock, for Retry-After dates.
    pub clock: Clock,
    /// The access log.
    pub access: AccessLog,
    /// Records spans.
    pub spans: Spans,
}

impl Deliverer {
    /// Of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            upstream,
            outcomes,
            settings,
            gates,
            groups,
            identity,
            metrics,
            reputation,
            shards,
            clock,
            access,
            spans,
        } = parts;
        let assembler = Assembler { identity, clock };
        let counters = groups
            .iter()
            .map(|group| metrics.of_group(&group.name))
            .collect();
        Self {
            upstream,
            outcomes,
            settings,
            groups,
            assembler,
            metrics,
            counters,
            reputation,
            shards,
            gates,
            access,
            spans,
        }
    }

    pub(super) fn bring_back(&self, ready: Ready, verdict: Verdict) {
        self.bring_back_with(ready, None, verdict);
    }

    /// With what the application said, if it did not take everything.
    pub(super) fn bring_back_with(&self, ready: Ready, answer: Option<Bytes>, verdict: Verdict) {
        let Ready { shard, batch, .. } = ready;
        let pause = retry::server(
            self.settings.retry_server,
            load::most_failed(&batch),
            fastrand::f64(),
        );
        if let Some(shard) = self.shards.get(shard) {
            shard.verdict_of((batch, answer), verdict, pause);
        }
    }

    pub(super) fn count(&self, load: &[Ready], attempt: Attempt) {
        if let Some(counters) = load::group_of(load).and_then(|group| self.counters.get(group)) {
            let is_retry = load::count_retries(load) > 0;
            counters.count(attempt, load::count_events(load), is_retry);
        }
    }
}

/// Batches on their way. Whatever happens to the attempt (a panic, too), they come back to their
/// lanes.
pub struct Carrier {
    /// The way back.
    pub deliverer: Arc<Deliverer>,
    /// What is on its way.
    pub load: Vec<Ready>,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let load = std::mem::take(&mut self.load);
        if load.is_empty() {
            return;
        }
        // A probe that broke off must not keep the circuit open for ever.
        self.deliverer.end_probe(&load);
        self.deliverer.count(&load, Attempt::BrokenOff);
        let pause = retry::network(&self.deliverer.settings.retry_network, 0);
        load.into_iter()
            .for_each(|ready| self.deliverer.bring_back(ready, Verdict::Retry { pause }));
    }
}
