//! Delivery: one courier for all lanes. It takes ready batches in the order in which lanes became ready (a lane has at
//! most one), keeps the number in flight under the cap, minds each group's gate, and brings every batch back to its
//! shard with a verdict.

use super::admit::Standing;
use super::contract::{self, Answer};
use super::retry;
use super::settings::{Delivery, Group, Target};
use super::shard::{Command, Kept};
use super::window::{Batch, Form, Verdict};
use crate::body::Body;
use crate::clock::Clock;
use crate::event::{Carried, Credential, LaneKey};
use crate::metrics::Metrics;
use crate::upstream::{Upstream, UpstreamError};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

/// Largest reply that is read; a longer one is cut off and counts as no answer.
const MAX_REPLY: usize = 4 << 20;

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

/// A group's gate: closed for all after a 429; a circuit after too many 5xx in a row.
#[derive(Debug, Default)]
struct Gate {
    until: Option<Instant>,
    errors: u32,
    /// The circuit is open and one batch is on its way to try.
    probing: bool,
    /// Whose batch failed last: another lane may try before it, so that one batch that always fails can't keep the
    /// circuit open for all (P9).
    last: Option<LaneKey>,
}

/// What an attempt found.
enum Found {
    Reply(StatusCode, HeaderMap, Bytes),
    Network(String),
    Unsendable(&'static str),
}

/// Everything an attempt needs.
pub struct Courier {
    /// The way to the application.
    pub upstream: Upstream,
    /// `[delivery]`.
    pub settings: Delivery,
    /// The groups.
    pub groups: Vec<Group>,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// Whose credential was rejected.
    pub standing: Arc<Standing>,
    /// The shards, by number.
    pub shards: Vec<mpsc::UnboundedSender<Command>>,
    /// Wall clock, for Retry-After dates.
    pub clock: Clock,
    gates: Vec<Mutex<Gate>>,
}

impl Courier {
    /// A courier; it does nothing until [`run`](Self::run).
    #[must_use]
    pub fn new(
        upstream: Upstream,
        settings: Delivery,
        groups: Vec<Group>,
        (metrics, standing): (Arc<Metrics>, Arc<Standing>),
        shards: Vec<mpsc::UnboundedSender<Command>>,
        clock: Clock,
    ) -> Self {
        let gates = groups.iter().map(|_| Mutex::default()).collect();
        Self { upstream, settings, groups, metrics, standing, shards, clock, gates }
    }

    /// Runs until nobody can hand over batches any more. Attempts in flight then are cut: their events stay pending.
    pub async fn run(self, mut ready: mpsc::UnboundedReceiver<Ready>) {
        let courier = Arc::new(self);
        let permits = Arc::new(Semaphore::new(courier.settings.max_in_flight));
        let mut attempts = tokio::task::JoinSet::new();
        while let Some(next) = ready.recv().await {
            while attempts.try_join_next().is_some() {}
            if let Some(pause) = courier.closed_for(&next.batch) {
                courier.bring_back(next.shard, next.batch, Verdict::Deferred { pause }, "deferred");
                continue;
            }
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let courier = Arc::clone(&courier);
            attempts.spawn(async move {
                courier.attempt(next).await;
                drop(permit);
            });
        }
    }

    /// A batch on its way. Whatever happens to the attempt (a panic, too), the batch comes back to its lane.
    fn carry(self: &Arc<Self>, shard: usize, batch: Batch<Kept>) -> Carrier {
        Carrier { courier: Arc::clone(self), shard, batch: Some(batch) }
    }

    fn gate(&self, batch: &Batch<Kept>) -> Option<&Mutex<Gate>> {
        self.gates.get(batch.key.group.0)
    }

    /// How long this group's batches must wait, if they must.
    fn closed_for(&self, batch: &Batch<Kept>) -> Option<Duration> {
        let mut gate = self.gate(batch)?.lock();
        let now = Instant::now();
        if let Some(until) = gate.until.filter(|until| *until > now) {
            return Some(until - now + Duration::from_millis(fastrand::u64(0..50)));
        }
        gate.until = None;
        let open = gate.errors >= self.settings.escalate_after;
        if open && gate.probing {
            return Some(self.settings.retry_server.base);
        }
        if open && gate.last.as_ref() == Some(&batch.key) {
            gate.last = None;
            return Some(self.settings.retry_server.base / 4 + Duration::from_millis(50));
        }
        gate.probing = open;
        None
    }

    fn bring_back(&self, shard: usize, batch: Batch<Kept>, verdict: Verdict, result: &str) {
        if let Some(group) = self.groups.get(batch.key.group.0) {
            self.metrics.batches.with_label_values(&[&*group.name, result]).inc();
        }
        let pause = retry::server(self.settings.retry_server, most_failed(&batch), fastrand::f64());
        let sent = self.shards.get(shard).map(|shard| shard.send(Command::Verdict { batch, verdict, pause }));
        if !matches!(sent, Some(Ok(()))) {
            tracing::debug!("a shard is gone, its events stay pending");
        }
    }

    async fn attempt(self: &Arc<Self>, ready: Ready) {
        let Ready { shard, batch, retries } = ready;
        let carrier = self.carry(shard, batch);
        let Some(batch) = &carrier.batch else { return };
        let Some(group) = self.groups.get(batch.key.group.0) else { return };
        let began = Instant::now();
        let found = self.send(group, batch).await;
        let status = if let Found::Reply(status, ..) = &found { Some(status.as_u16()) } else { None };
        let (verdict, result) = self.judge(group, batch, retries, found);
        tracing::info!(
            group = %group.name, batch = %batch.id, user = batch.key.user.as_str(), lane = ?batch.key.credential,
            events = batch.events.len(), form = ?batch.form, result, retries,
            took_ms = began.elapsed().as_millis(), "batch"
        );
        carrier.arrive(verdict, status, result);
    }

    fn judge(&self, group: &Group, batch: &Batch<Kept>, retries: u32, found: Found) -> (Verdict, &'static str) {
        let (status, headers, body) = match found {
            Found::Reply(status, headers, body) => (status, headers, body),
            Found::Network(error) => {
                self.end_probe(batch);
                tracing::warn!(group = %group.name, batch = %batch.id, error, "the upstream could not be reached");
                return (Verdict::Retry { pause: retry::network(&self.settings.retry_network, retries) }, "network");
            }
            Found::Unsendable(why) => {
                self.pass_gate(batch);
                tracing::error!(group = %group.name, batch = %batch.id, why, "a batch was refused by the assembler");
                return (Verdict::Refused { named: Vec::new() }, "unsendable");
            }
        };
        let reading = contract::read(batch, status, &headers, &body, &group.permanent, self.clock.now());
        if reading.unknown > 0 {
            self.metrics.unknown_ids.inc_by(reading.unknown as u64);
            tracing::warn!(group = %group.name, batch = %batch.id, unknown = reading.unknown, "unknown ids in the reply");
        }
        match reading.verdict {
            Answer::Server => self.failing(group, batch, status, retries),
            Answer::Limited(asked) => {
                let pause = retry::limited(self.settings.retry_limited, asked, fastrand::f64());
                self.close_gate(batch, pause);
                (Verdict::Retry { pause }, "limited")
            }
            Answer::Verdict(verdict) => {
                self.pass_gate(batch);
                let result = self.note(group, batch, status, &verdict);
                (verdict, result)
            }
        }
    }

    fn note(&self, group: &Group, batch: &Batch<Kept>, status: StatusCode, verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Answered(_) => {
                let credential = batch.key.credential;
                let was_rejected = self.standing.is_rejected(credential);
                self.standing.vouch(credential);
                if was_rejected {
                    for shard in &self.shards {
                        // A shard that is gone has no lanes to free.
                        drop(shard.send(Command::Vouch(credential)));
                    }
                }
                "answered"
            }
            Verdict::Rejected => {
                self.standing.reject(batch.key.credential);
                tracing::warn!(group = %group.name, batch = %batch.id, %status, "the credential was rejected");
                "rejected"
            }
            Verdict::Refused { named } => {
                let (events, named) = (batch.events.len(), named.len());
                tracing::warn!(group = %group.name, batch = %batch.id, %status, events, named, "the batch was refused");
                "refused"
            }
            Verdict::TooLarge => "too_large",
            Verdict::NoBatchEndpoint => {
                tracing::warn!(group = %group.name, batch = %batch.id, %status, "there is no batch endpoint");
                "no_endpoint"
            }
            Verdict::Retry { .. } | Verdict::Deferred { .. } => "retry",
        }
    }

    fn failing(&self, group: &Group, batch: &Batch<Kept>, status: StatusCode, retries: u32) -> (Verdict, &'static str) {
        let pause = retry::server(self.settings.retry_server, retries, fastrand::f64());
        if let Some(gate) = self.gate(batch) {
            let mut gate = gate.lock();
            gate.errors = gate.errors.saturating_add(1);
            gate.probing = false;
            gate.last = Some(batch.key.clone());
            if gate.errors >= self.settings.escalate_after {
                gate.until = Some(Instant::now() + pause);
                tracing::warn!(group = %group.name, %status, errors = gate.errors, "the circuit is open: one batch at a time");
            }
        }
        (Verdict::Retry { pause }, "server_error")
    }

    fn close_gate(&self, batch: &Batch<Kept>, pause: Duration) {
        if let Some(gate) = self.gate(batch) {
            let mut gate = gate.lock();
            let until = Instant::now() + pause;
            gate.until = Some(gate.until.map_or(until, |old| old.max(until)));
            gate.probing = false;
        }
    }

    fn pass_gate(&self, batch: &Batch<Kept>) {
        if let Some(gate) = self.gate(batch) {
            let mut gate = gate.lock();
            gate.errors = 0;
            gate.probing = false;
        }
    }

    fn end_probe(&self, batch: &Batch<Kept>) {
        if let Some(gate) = self.gate(batch) {
            gate.lock().probing = false;
        }
    }

    async fn send(&self, group: &Group, batch: &Batch<Kept>) -> Found {
        let events = batch.events.iter().map(|queued| queued.entry.event());
        // P3: the key of the lane says so already; the assembler looks again.
        let Ok(credential) = contract::one_credential(batch.key.credential, events.map(|event| &event.credential))
        else {
            self.metrics.mixed_credentials.inc();
            return Found::Unsendable("its events differ in credential");
        };
        let Some(request) = request(group, batch, &credential) else { return Found::Unsendable("it has no address") };
        match tokio::time::timeout(self.settings.timeout, self.exchange(request)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => Found::Network(error.to_string()),
            Err(_) => Found::Network("no answer in time".to_owned()),
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Found, UpstreamError> {
        let (head, body) = self.upstream.send(request).await?.into_parts();
        match Limited::new(body, MAX_REPLY).collect().await {
            Ok(body) => Ok(Found::Reply(head.status, head.headers, body.to_bytes())),
            Err(error) => Ok(Found::Network(error.to_string())),
        }
    }
}

struct Carrier {
    courier: Arc<Courier>,
    shard: usize,
    batch: Option<Batch<Kept>>,
}

impl Carrier {
    fn arrive(mut self, verdict: Verdict, status: Option<u16>, result: &str) {
        if let Some(mut batch) = self.batch.take() {
            batch.status = status;
            self.courier.bring_back(self.shard, batch, verdict, result);
        }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        // A probe that broke off must not keep the circuit open for ever.
        self.courier.end_probe(&batch);
        let pause = retry::network(&self.courier.settings.retry_network, 0);
        self.courier.bring_back(self.shard, batch, Verdict::Retry { pause }, "broken_off");
    }
}

fn most_failed(batch: &Batch<Kept>) -> u32 {
    batch.events.iter().map(|queued| queued.failed).max().unwrap_or(0)
}

/// The call that carries a batch, or repeats a single call.
fn request(group: &Group, batch: &Batch<Kept>, credential: &Credential) -> Option<Request<Body>> {
    let newest = batch.events.last()?.entry.event();
    let carried = Carried::unpack(&newest.carried)?;
    let (method, uri, body): (Method, Uri, Bytes) = match batch.form {
        Form::Batch => {
            let events = batch.events.iter().map(|queued| &*queued.entry.event().json);
            (Method::POST, address(&group.target)?, contract::envelope(events).into())
        }
        Form::Single => {
            let call = carried.legacy?;
            (call.method.parse().ok()?, call.path.parse().ok()?, Bytes::copy_from_slice(call.body.0))
        }
    };
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    for (name, value) in carried.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.0)) {
            headers.append(name, value);
        }
    }
    for (name, value) in &credential.headers {
        headers.append(name, value.clone());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let mut set = |name: &'static str, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("idempotency-key", batch.id.to_string());
    // W3C Trace Context: the batch begins a trace of its own.
    set("traceparent", format!("00-{}-{:016x}-01", batch.id.simple(), fastrand::u64(1..)));
    Some(request)
}

fn address(target: &Target) -> Option<Uri> {
    match target {
        Target::Path(path) => path.parse().ok(),
        Target::Url(url) => Some(url.clone()),
    }
}
