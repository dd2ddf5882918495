//! Delivery: one courier for all lanes. Ready batches take [`turns`](super::turns) under the cap on requests in flight,
//! those of shared groups after a moment's wait for company ([`pack`](super::pack)), both at the [`desk`](super::desk);
//! each group's [`gate`](super::gate) is minded, and every batch comes back to its shard with a verdict.
//!
//! ```text
//! Ready ─┬──────────────► turns ─ gate ─ request ─ reply ─► verdict, to the shard
//!        └─ pack (shared) ──┘        └ closed: deferred
//! ```

use super::contract::{self, Answer, Asked, Reader};
use super::desk::Desk;
use super::gate::{Evidence, Gate};
use super::pack::Parcel;
use super::reputation::Reputation;
use super::request::{Assembler, Outgoing};
use super::retry;
use super::settings::{Delivery, Group};
use super::shard::{Command, Kept};
use super::window::{Batch, Fate, Form, LaneId, Trouble, Verdict};
use crate::clock::Clock;
use crate::event::Owner;
use crate::identity::Identity;
use crate::metrics::Metrics;
use crate::upstream::{Upstream, UpstreamError};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

/// Largest reply that is read; a longer one is cut off and counts as no answer.
const MAX_REPLY: usize = 4 << 20;
/// Most messages that are taken at once.
const MOST_MESSAGES: usize = 1_024;

/// A batch that may go.
#[derive(Debug)]
pub struct Ready {
    /// Where its verdict goes.
    pub shard: usize,
    /// The batch.
    pub batch: Batch<Kept>,
    /// Attempts of this lane in a row that got no answer.
    pub retries: u32,
}

impl Parcel for Ready {
    type Event = Kept;
    fn batch(&self) -> &Batch<Kept> {
        &self.batch
    }
}

/// What the courier can be told.
#[derive(Debug)]
pub enum Message {
    /// A batch may go.
    Ready(Ready),
    /// Somebody waits for these lanes of a shard (`None`: for all): what is packed with them goes now.
    Hurry {
        /// The shard.
        shard: usize,
        /// Its lanes.
        lanes: Option<Vec<LaneId>>,
    },
}

/// What an attempt found.
enum Found {
    Reply(StatusCode, HeaderMap, Bytes),
    Network(String),
    Unsendable(&'static str),
}

/// What follows for a load.
enum Judged {
    /// One verdict for each batch, in order.
    Each(Vec<Verdict>),
    /// Refused as a whole, and nobody is named: the lanes are asked about in halves, so that none suffers for another.
    Halves,
}

/// Everything an attempt needs.
pub struct Courier {
    upstream: Upstream,
    pub(super) settings: Delivery,
    pub(super) groups: Vec<Group>,
    pub(super) assembler: Assembler,
    metrics: Arc<Metrics>,
    reputation: Arc<Reputation>,
    shards: Vec<mpsc::UnboundedSender<Command>>,
    // Held for a look and a count.
    gates: Vec<Mutex<Gate>>,
}

/// What a courier is made of.
pub struct Parts {
    /// The way to the application.
    pub upstream: Upstream,
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
    pub shards: Vec<mpsc::UnboundedSender<Command>>,
    /// Wall clock, for Retry-After dates.
    pub clock: Clock,
}

impl Courier {
    /// A courier; it does nothing until [`run`](Self::run).
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { upstream, settings, groups, identity, metrics, reputation, shards, clock } = parts;
        let gates = groups.iter().map(|_| Mutex::default()).collect();
        let assembler = Assembler { identity, clock };
        Self { upstream, settings, groups, assembler, metrics, reputation, shards, gates }
    }

    /// Runs until nobody can hand over batches any more. Attempts in flight then are cut: their events stay pending.
    pub async fn run(self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        let mut desk = Desk::new(Arc::new(self));
        let mut messages = Vec::new();
        loop {
            let wake = desk.wake();
            tokio::select! {
                biased;
                Some(ended) = desk.attempts.join_next_with_id(), if !desk.attempts.is_empty() => {
                    desk.ended(ended.map_or_else(|error| error.id(), |(id, ())| id));
                }
                count = inbox.recv_many(&mut messages, MOST_MESSAGES) => match count {
                    0 => return,
                    // All that is there is packed before any of it goes.
                    _ => messages.drain(..).for_each(|message| desk.take(message)),
                },
                () = super::shard::sleep_until(wake) => {}
            }
            desk.send();
        }
    }

    fn gate(&self, load: &[Ready]) -> Option<&Mutex<Gate>> {
        self.gates.get(load.first()?.batch.key.group.0)
    }

    /// How long this group's batches must wait, if they must.
    pub(super) fn closed_for(&self, load: &[Ready]) -> Option<Duration> {
        let key = &load.first()?.batch.key;
        self.gate(load)?.lock().closed_for(Instant::now(), key, &self.settings, fastrand::f64())
    }

    fn bring_back(&self, ready: Ready, verdict: Verdict) {
        let Ready { shard, batch, .. } = ready;
        let pause = retry::server(self.settings.retry_server, most_failed(&batch), fastrand::f64());
        let sent = self.shards.get(shard).map(|shard| shard.send(Command::Verdict { batch, verdict, pause }));
        if !matches!(sent, Some(Ok(()))) {
            tracing::debug!("a shard is gone, its events stay pending");
        }
    }

    pub(super) fn defer(&self, load: Vec<Ready>, pause: Duration) {
        self.count(&load, "deferred");
        load.into_iter().for_each(|ready| self.bring_back(ready, Verdict::Deferred { pause }));
    }

    fn count(&self, load: &[Ready], result: &str) {
        let group = load.first().and_then(|ready| self.groups.get(ready.batch.key.group.0));
        if let Some(group) = group {
            self.metrics.batches.with_label_values(&[&*group.name, result]).inc();
        }
    }

    /// Delivers a load; one that is refused as a whole goes on in halves, in order and one at a time, so that no lane has
    /// more than one batch in flight.
    pub(super) async fn deliver(self: Arc<Self>, load: Vec<Ready>) {
        let mut stack = vec![Carrier { courier: Arc::clone(&self), load }];
        let mut first = true;
        while let Some(mut carrier) = stack.pop() {
            // A piece minds the gate as everybody does.
            if !std::mem::take(&mut first)
                && let Some(pause) = self.closed_for(&carrier.load)
            {
                self.defer(std::mem::take(&mut carrier.load), pause);
                continue;
            }
            if let Judged::Halves = self.attempt(&mut carrier).await {
                let second = carrier.load.split_off(carrier.load.len() / 2);
                stack.push(Carrier { courier: Arc::clone(&self), load: second });
                stack.push(carrier);
            }
        }
    }

    async fn attempt(&self, carrier: &mut Carrier) -> Judged {
        let none = Judged::Each(Vec::new());
        let Some(group) = carrier.load.first().and_then(|ready| self.groups.get(ready.batch.key.group.0)) else {
            return none;
        };
        let began = Instant::now();
        let found = self.send(group, &carrier.load).await;
        if let Found::Reply(status, ..) = &found {
            carrier.load.iter_mut().for_each(|ready| ready.batch.status = Some(status.as_u16()));
        }
        let (judged, result) = self.judge(group, &mut carrier.load, found);
        log(group, &carrier.load, result, began);
        self.count(&carrier.load, result);
        let Judged::Each(verdicts) = judged else { return judged };
        for (ready, verdict) in std::mem::take(&mut carrier.load).into_iter().zip(verdicts) {
            self.bring_back(ready, verdict);
        }
        none
    }

    fn judge(&self, group: &Group, load: &mut [Ready], found: Found) -> (Judged, &'static str) {
        let batch = load_id(load);
        let (status, headers, body) = match found {
            Found::Reply(status, headers, body) => (status, headers, body),
            Found::Network(error) => {
                tracing::warn!(group = %group.name, %batch, error, "the upstream could not be reached");
                return (self.unreachable(load), "network");
            }
            Found::Unsendable(why) => {
                self.pass_gate(load, false);
                tracing::error!(group = %group.name, %batch, why, "a batch was refused by the assembler");
                return (same(load, &Verdict::Refused { named: Vec::new() }), "unsendable");
            }
        };
        let reader = Reader { results: &group.results, permanent: &group.permanent };
        let asked = Asked::of(load.iter().map(|ready| &ready.batch));
        let reading = contract::read(&asked, status, &headers, &body, reader, self.assembler.clock.now());
        if reading.unknown > 0 {
            self.metrics.unknown_ids.inc_by(reading.unknown as u64);
            tracing::warn!(group = %group.name, %batch, unknown = reading.unknown, "unknown ids in the reply");
        }
        match reading.verdict {
            Answer::Server(asked) => (self.failing(group, load, status, asked), "server_error"),
            Answer::Limited(asked) => {
                let pause = retry::limited(self.settings.retry_limited, asked, fastrand::f64());
                self.close_gate(load, pause);
                load.iter_mut().for_each(|ready| ready.batch.trouble = Trouble::default());
                (same(load, &Verdict::Retry { pause }), "limited")
            }
            Answer::Verdict(verdict) => self.answered(group, load, status, verdict),
        }
    }

    fn answered(&self, group: &Group, load: &[Ready], status: StatusCode, verdict: Verdict) -> (Judged, &'static str) {
        self.pass_gate(load, matches!(verdict, Verdict::Answered(_)));
        let batch = load_id(load);
        let alone = load.len() == 1;
        match verdict {
            Verdict::Answered(fates) => {
                self.vouch(group, load);
                (Judged::Each(split(load, fates).map(Verdict::Answered).collect()), "answered")
            }
            Verdict::Rejected if is_shared(group, load) => {
                let pause = self.settings.retry_server.cap;
                self.close_gate(load, pause);
                tracing::error!(group = %group.name, %batch, %status, "the service credential was rejected");
                (same(load, &Verdict::Retry { pause }), "rejected")
            }
            Verdict::Rejected => {
                load.iter().filter_map(owner_of).for_each(|(owner, _)| self.reputation.refuse(owner.principal));
                tracing::warn!(group = %group.name, %batch, %status, "the credential was rejected");
                (same(load, &Verdict::Rejected), "rejected")
            }
            Verdict::Refused { named } => {
                let (events, found) = (events(load), named.len());
                tracing::warn!(group = %group.name, %batch, %status, events, named = found, "the batch was refused");
                if named.is_empty() && !alone {
                    return (Judged::Halves, "refused");
                }
                // A lane none of whose events is named has nothing to do with it.
                let of_lane = |ready: &Ready| {
                    let own = ready.batch.events.iter().map(|queued| queued.entry.event().id.clone());
                    match own.filter(|id| named.contains(id)).collect::<Vec<_>>() {
                        own if own.is_empty() && !alone => Verdict::Deferred { pause: Duration::ZERO },
                        own => Verdict::Refused { named: own },
                    }
                };
                (Judged::Each(load.iter().map(of_lane).collect()), "refused")
            }
            Verdict::TooLarge if !alone => (Judged::Halves, "too_large"),
            Verdict::TooLarge => (same(load, &Verdict::TooLarge), "too_large"),
            Verdict::NoBatchEndpoint => {
                tracing::warn!(group = %group.name, %batch, %status, "there is no batch endpoint");
                (same(load, &Verdict::NoBatchEndpoint), "no_endpoint")
            }
            other @ (Verdict::Retry { .. } | Verdict::Deferred { .. } | Verdict::Persistent) => {
                (same(load, &other), "retry")
            }
        }
    }

    /// A success of its own credential; one of the service credential says nothing of the users'.
    fn vouch(&self, group: &Group, load: &[Ready]) {
        if is_shared(group, load) {
            return;
        }
        for (Owner { principal, .. }, nameless) in load.iter().filter_map(owner_of) {
            let Some(index) = load.first().map(|ready| ready.batch.key.group) else { return };
            if self.reputation.vouch(principal, nameless, index).was_refused {
                for shard in &self.shards {
                    // A shard that is gone has no lanes to free.
                    drop(shard.send(Command::Vouch { principal, groups: [index].into() }));
                }
            }
        }
    }

    fn failing(&self, group: &Group, load: &mut [Ready], status: StatusCode, asked: Option<Duration>) -> Judged {
        let (retries, now) = (retries(load), Instant::now());
        let own = retry::server(self.settings.retry_server, retries, fastrand::f64());
        let pause = asked.unwrap_or_default().max(own);
        let key = load.first().map(|ready| ready.batch.key.clone());
        if let Some((gate, key)) = self.gate(load).zip(key) {
            let mut gate = gate.lock();
            if gate.fail(now + pause, &key, &self.settings) {
                let errors = gate.errors();
                tracing::warn!(group = %group.name, %status, errors, "the circuit is open: one batch at a time");
            }
        }
        // What speaks of the way there, and not of the batch: nobody is looked into without evidence.
        let of_the_way = matches!(status.as_u16(), 502..=504);
        self.suspect(load, pause, |evidence, events| match evidence {
            Evidence::Own => events > 1 || !of_the_way,
            Evidence::Lonely => events > 1 && !of_the_way,
            Evidence::None => false,
        })
    }

    fn unreachable(&self, load: &mut [Ready]) -> Judged {
        let pause = retry::network(&self.settings.retry_network, retries(load));
        if let Some(gate) = self.gate(load) {
            gate.lock().end_probe();
        }
        // An event alone is not given up for a way that breaks off; a batch may be what breaks it.
        self.suspect(load, pause, |evidence, events| evidence == Evidence::Own && events > 1)
    }

    /// One more failure of each batch; those of which it is believed by now that they are at fault themselves.
    fn suspect(&self, load: &mut [Ready], pause: Duration, at_fault: impl Fn(Evidence, usize) -> bool) -> Judged {
        let Some(group) = load.first().map(|ready| ready.batch.key.group.0) else { return Judged::Each(Vec::new()) };
        let Some(gate) = self.gates.get(group) else { return same(load, &Verdict::Retry { pause }) };
        let mut gate = gate.lock();
        gate.count_failure();
        let several = load.len() > 1;
        let verdicts = load.iter_mut().map(|ready| {
            let events = ready.batch.events.len();
            let (trouble, evidence) = gate.trouble(ready.batch.trouble, &self.settings);
            ready.batch.trouble = trouble;
            match at_fault(evidence, if several { usize::MAX } else { events }) {
                // Which of them it is will be seen when each travels alone.
                true if several => {
                    ready.batch.alone = true;
                    Verdict::Retry { pause }
                }
                true => Verdict::Persistent,
                false => Verdict::Retry { pause },
            }
        });
        Judged::Each(verdicts.collect())
    }

    fn close_gate(&self, load: &[Ready], pause: Duration) {
        if let Some(gate) = self.gate(load) {
            gate.lock().close(Instant::now() + pause);
        }
    }

    fn pass_gate(&self, load: &[Ready], good: bool) {
        if let Some(gate) = self.gate(load) {
            gate.lock().pass(good);
        }
    }

    async fn send(&self, group: &Group, load: &[Ready]) -> Found {
        let request = match self.assembler.request(group, load) {
            Ok(Some(request)) => request,
            Ok(None) => return Found::Unsendable("it has no address"),
            Err(contract::MixedCredentials) => {
                self.metrics.mixed_credentials.inc();
                return Found::Unsendable("its events differ in credential");
            }
        };
        match tokio::time::timeout(self.settings.timeout, self.exchange(request)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => Found::Network(error.to_string()),
            Err(_) => Found::Network("no answer in time".to_owned()),
        }
    }

    async fn exchange(&self, outgoing: Outgoing) -> Result<Found, UpstreamError> {
        let Outgoing { request, peer } = outgoing;
        let answer = match &peer {
            Some(peer) => self.upstream.send_for(request, peer).await?,
            None => self.upstream.send(request).await?,
        };
        let (head, body) = answer.into_parts();
        match Limited::new(body, MAX_REPLY).collect().await {
            Ok(body) => Ok(Found::Reply(head.status, head.headers, body.to_bytes())),
            Err(error) => Ok(Found::Network(error.to_string())),
        }
    }
}

/// Whose batch it is, and whether that principal is nameless.
fn owner_of(ready: &Ready) -> Option<(Owner, bool)> {
    let event = ready.batch.events.first()?.entry.event();
    Some((event.owner, event.context.keys.nameless))
}

fn is_shared(group: &Group, load: &[Ready]) -> bool {
    group.is_shared() && load.first().is_some_and(|ready| ready.batch.form == Form::Batch)
}

/// The id of a request: that of its batch, or one of the very batches that it holds, so that an upstream which keeps its
/// answers by `Idempotency-Key` never takes one load for another.
pub(super) fn load_id(load: &[Ready]) -> Uuid {
    if let [one] = load {
        return one.batch.id;
    }
    let mut hasher = blake3::Hasher::new();
    for ready in load {
        hasher.update(ready.batch.id.as_bytes());
    }
    let mut short = [0; 16];
    hasher.finalize_xof().fill(&mut short);
    uuid::Builder::from_custom_bytes(short).into_uuid()
}

/// One verdict for all.
fn same(load: &[Ready], verdict: &Verdict) -> Judged {
    Judged::Each(load.iter().map(|_| verdict.clone()).collect())
}

/// Fates of all events, batch by batch.
fn split(load: &[Ready], fates: Vec<Fate>) -> impl Iterator<Item = Vec<Fate>> {
    let mut fates = fates.into_iter();
    load.iter().map(move |ready| fates.by_ref().take(ready.batch.events.len()).collect())
}

fn events(load: &[Ready]) -> usize {
    load.iter().map(|ready| ready.batch.events.len()).sum()
}

fn retries(load: &[Ready]) -> u32 {
    load.iter().map(|ready| ready.retries).max().unwrap_or(0)
}

fn most_failed(batch: &Batch<Kept>) -> u32 {
    batch.events.iter().map(|queued| queued.failed).max().unwrap_or(0)
}

/// One line for each request.
fn log(group: &Group, load: &[Ready], result: &str, began: Instant) {
    let Some(first) = load.first().map(|ready| &ready.batch) else { return };
    tracing::info!(
        group = %group.name, batch = %load_id(load), user = first.key.user.as_str(), lane = ?first.key.credential,
        lanes = load.len(), events = events(load), form = ?first.form, result, retries = retries(load),
        took_ms = began.elapsed().as_millis(), "batch"
    );
}

/// Batches on their way. Whatever happens to the attempt (a panic, too), they come back to their lanes.
pub(super) struct Carrier {
    pub(super) courier: Arc<Courier>,
    pub(super) load: Vec<Ready>,
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let load = std::mem::take(&mut self.load);
        if load.is_empty() {
            return;
        }
        // A probe that broke off must not keep the circuit open for ever.
        if let Some(gate) = self.courier.gate(&load) {
            gate.lock().end_probe();
        }
        self.courier.count(&load, "broken_off");
        let pause = retry::network(&self.courier.settings.retry_network, 0);
        load.into_iter().for_each(|ready| self.courier.bring_back(ready, Verdict::Retry { pause }));
    }
}
