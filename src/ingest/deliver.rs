//! Delivery: one courier for all lanes. Ready batches take [`turns`](super::turns) under the cap on requests in flight,
//! those of shared groups after a moment's wait for company ([`pack`](super::pack)), both at the [`desk`](super::desk);
//! each group's [`gate`](super::gate) is minded, and every batch comes back to its shard with a verdict.
//!
//! ```text
//! Ready ─┬──────────────► turns ─ gate ─ request ─ reply ─► verdict, to the shard
//!        └─ pack (shared) ──┘        └ closed: deferred; on a detour: back, to come again as single calls
//! ```

use super::contract;
use super::desk::Desk;
use super::gate::{Asking, Caller, Evidence, Gate, Pass};
use super::known::RouteShape;
use super::pack::Parcel;
use super::reply::{self, Answer, Asked, Reader};
use super::reputation::{Grounds, RefusedBy, Reputation};
use super::request::{Assembler, Outgoing};
use super::retry;
use super::settings::{Delivery, Fallback, Group};
use super::shard::{Command, Kept};
use super::window::{Batch, Doubt, Fate, Form, LaneId, Trouble, Verdict};
use crate::clock::Clock;
use crate::event::{Carried, Event, EventId, Owner};
use crate::identity::{Identity, keys};
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
    /// Under whose credential it goes.
    pub under: Under,
}

/// Under whose credential a batch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Under {
    /// Its events' own, and no other lane's batch with it.
    Own,
    /// Its group's service credential (`pack = "shared"`), perhaps with batches of other lanes.
    Service,
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
    Ready {
        /// Where its verdict goes.
        shard: usize,
        /// The batch.
        batch: Batch<Kept>,
        /// Attempts of this lane in a row that got no answer.
        retries: u32,
    },
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
    gates: Arc<[Mutex<Gate>]>,
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
    /// The groups' gates, in the order of the groups.
    pub gates: Arc<[Mutex<Gate>]>,
    /// Wall clock, for Retry-After dates.
    pub clock: Clock,
}

impl Courier {
    /// A courier; it does nothing until [`run`](Self::run).
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { upstream, settings, gates, groups, identity, metrics, reputation, shards, clock } = parts;
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

    /// Whom a load speaks for, and what of it could go as single calls.
    fn asking<'a>(&self, group: &Group, load: &'a [Ready]) -> Option<Asking<'a>> {
        let batch = &load.first()?.batch;
        let shared = is_under_service(load);
        let fallback = group.fallback == Fallback::Single;
        let (Owner { principal, .. }, _) = owner_of(batch)?;
        let caller = match self.reputation.was_taken(principal, batch.key.group) {
            _ if shared => Caller::Service(Some(principal).filter(|_| load.len() == 1)),
            true => Caller::Good(principal),
            false => Caller::Stranger(principal),
        };
        // A single call of a shared group goes with its user's credential: it says nothing of what the service's may.
        let oldest = !shared && batch.has_oldest_single(fallback);
        let any = load.iter().any(|ready| ready.batch.has_singles(fallback));
        Some(Asking { caller, lane: &batch.key, form: batch.form, oldest, any })
    }

    /// Has the group's gate look at a load, or learn of it.
    fn with_gate<T>(&self, load: &[Ready], look: impl FnOnce(&mut Gate, &Asking<'_>) -> T) -> Option<T> {
        let group = self.groups.get(load.first()?.batch.key.group.0)?;
        let asking = self.asking(group, load)?;
        Some(look(&mut self.gate(load)?.lock(), &asking))
    }

    /// Under whose credential a batch goes now. The service's is for what was taken in for it, as long as its caller is
    /// not refused (P3): what came in while each credential spoke for itself does so whatever the group says by now.
    pub(super) fn choose_credential(&self, batch: &Batch<Kept>) -> Under {
        let is_shared = self.groups.get(batch.key.group.0).is_some_and(Group::is_shared);
        let is_refused =
            || owner_of(batch).is_none_or(|(owner, _)| self.reputation.is_refused_in(owner.principal, batch.key.group));
        if is_shared && batch.is_for_service() && !is_refused() { Under::Service } else { Under::Own }
    }

    /// Sends back what must not go as it is: whose caller was refused while it waited for company, and what its shared
    /// group's batch endpoint would have to take from a user where the single calls are left.
    fn sort_out(&self, load: Vec<Ready>) -> Vec<Ready> {
        let (mut goes, pause) = (Vec::with_capacity(load.len()), Duration::ZERO);
        for ready in load {
            let group = self.groups.get(ready.batch.key.group.0);
            let fallback = group.is_some_and(|group| group.fallback == Fallback::Single);
            if self.choose_credential(&ready.batch) != ready.under {
                self.bring_back(ready, Verdict::Deferred { pause });
            } else if group.is_some_and(Group::is_shared)
                && ready.under == Under::Own
                && ready.batch.has_singles(fallback)
            {
                self.bring_back(ready, Verdict::Singles { pause });
            } else {
                goes.push(ready);
            }
        }
        goes
    }

    /// A load that may go now, as far as it may. Else it is on its way back to its lanes.
    pub(super) fn admit(&self, load: Vec<Ready>) -> Option<Vec<Ready>> {
        let load = self.sort_out(load);
        if load.is_empty() {
            return None;
        }
        let pass =
            self.with_gate(&load, |gate, asking| gate.admit(Instant::now(), asking, &self.settings, fastrand::f64()));
        let (verdict, result) = match pass {
            None | Some(Pass::Go) => return Some(load),
            Some(Pass::Wait(pause)) => (Verdict::Deferred { pause }, "deferred"),
            // It has single calls, so the pause is for what has none in other lanes of the load.
            Some(Pass::Singles) => (Verdict::Singles { pause: self.settings.retry_server.base }, "as_singles"),
            Some(Pass::OldestAlone) => (Verdict::OldestAlone, "oldest_alone"),
        };
        self.count(&load, result);
        load.into_iter().for_each(|ready| self.bring_back(ready, verdict.clone()));
        None
    }

    fn bring_back(&self, ready: Ready, verdict: Verdict) {
        let Ready { shard, batch, .. } = ready;
        let pause = retry::server(self.settings.retry_server, most_failed(&batch), fastrand::f64());
        let sent = self.shards.get(shard).map(|shard| shard.send(Command::Verdict { batch, verdict, pause }));
        if !matches!(sent, Some(Ok(()))) {
            tracing::debug!("a shard is gone, its events stay pending");
        }
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
            if !std::mem::take(&mut first) {
                match self.admit(std::mem::take(&mut carrier.load)) {
                    Some(load) => carrier.load = load,
                    None => continue,
                }
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
        let in_flight = InFlight::begin(&self.metrics);
        let found = self.send(group, &carrier.load).await;
        drop(in_flight);
        if let Found::Reply(status, headers, _) = &found {
            carrier.load.iter_mut().for_each(|ready| ready.batch.status = Some(status.as_u16()));
            self.note_renewal(&carrier.load, *status, headers);
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

    /// A cookie that the answer renews reaches no browser: the caller's next call is forwarded, so that its session lives
    /// (ruling 24).
    fn note_renewal(&self, load: &[Ready], status: StatusCode, headers: &HeaderMap) {
        let set = headers.get_all(http::header::SET_COOKIE);
        if !status.is_success() || is_under_service(load) || !self.assembler.identity.is_renewal(set.iter()) {
            return;
        }
        let events = load.iter().filter_map(|ready| ready.batch.events.first()).map(|queued| queued.entry.event());
        let has_session = |event: &&Event| {
            let carried = Carried::unpack(&event.carried);
            let line = carried.as_ref().map_or(b"".as_slice(), |carried| carried.cookie.0);
            self.assembler.identity.has_session(&event.context, line)
        };
        for event in events.filter(has_session) {
            self.reputation.ask_renewal(event.owner.principal);
        }
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
                self.end_probe(load);
                tracing::error!(group = %group.name, %batch, why, "a batch was refused by the assembler");
                return (same(load, &Verdict::Refused { named: Vec::new() }), "unsendable");
            }
        };
        let reader = Reader { results: &group.results, success: group.success.as_ref(), permanent: &group.permanent };
        let asked = Asked::of(load.iter().map(|ready| &ready.batch));
        let reading = reply::read(&asked, status, &headers, &body, reader, self.assembler.clock.now());
        if reading.unknown > 0 {
            self.metrics.unknown_ids.inc_by(reading.unknown as u64);
            tracing::warn!(group = %group.name, %batch, unknown = reading.unknown, "unknown ids in the reply");
        }
        match reading.answer {
            Answer::Fates(fates) => (self.taken(load, fates), "answered"),
            Answer::Unclear(why) => {
                tracing::warn!(group = %group.name, %batch, %status, why, "a success that says nothing of what was taken");
                (self.unclear(load), "unclear")
            }
            Answer::Rejected => (self.rejected(group, load, status), "rejected"),
            Answer::Forbidden => self.forbidden(group, load, status),
            Answer::NotThere => self.not_there(group, load, status, &headers),
            Answer::TooLarge => {
                self.answer_gate(load);
                if load.len() > 1 {
                    (Judged::Halves, "too_large")
                } else {
                    (same(load, &Verdict::TooLarge), "too_large")
                }
            }
            Answer::Refused(named) => (self.refused(group, load, status, &named), "refused"),
            Answer::Server(asked) => (self.failing(group, load, status, asked), "server_error"),
            Answer::Limited(asked) => (self.limited(group, load, asked), "limited"),
        }
    }

    fn taken(&self, load: &[Ready], fates: Vec<Fate>) -> Judged {
        let route = load.first().and_then(|ready| route_of(&ready.batch));
        self.with_gate(load, |gate, asking| gate.take(Instant::now(), asking, route, &self.settings));
        self.vouch(load);
        Judged::Each(split(load, fates).map(Verdict::Answered).collect())
    }

    /// Nobody knows what was taken: its single calls will tell, since the application knows the ids when they come again.
    fn unclear(&self, load: &[Ready]) -> Judged {
        self.end_probe(load);
        let pause = retry::server(self.settings.retry_server, retries(load), fastrand::f64());
        same(load, &Verdict::Singles { pause })
    }

    fn rejected(&self, group: &Group, load: &[Ready], status: StatusCode) -> Judged {
        let batch = load_id(load);
        if is_under_service(load) {
            let pause = self.settings.retry_server.cap;
            if let Some(gate) = self.gate(load) {
                gate.lock().close(Instant::now() + pause);
            }
            self.end_probe(load);
            tracing::error!(group = %group.name, %batch, %status, "the service credential was rejected");
            return same(load, &Verdict::Retry { pause });
        }
        self.answer_gate(load);
        let by = if status == StatusCode::FORBIDDEN { RefusedBy::Forbidden } else { RefusedBy::Unauthorized };
        for (owner, _) in load.iter().filter_map(|ready| owner_of(&ready.batch)) {
            self.reputation.refuse(owner.principal, by);
        }
        tracing::warn!(group = %group.name, %batch, %status, "the credential was rejected");
        same(load, &Verdict::Rejected)
    }

    /// 403 may be the credential's or one event's.
    fn forbidden(&self, group: &Group, load: &mut [Ready], status: StatusCode) -> (Judged, &'static str) {
        if is_under_service(load) {
            return (self.forbidden_to_service(group, load, status), "forbidden");
        }
        let fallback = group.fallback == Fallback::Single;
        if load.iter().any(|ready| ready.batch.blames_credential(fallback)) {
            return (self.rejected(group, load, status), "rejected");
        }
        self.answer_gate(load);
        let (batch, events) = (load_id(load), events(load));
        tracing::warn!(group = %group.name, %batch, %status, events, "forbidden: the credential, or one of its events");
        (same(load, &Verdict::Forbidden), "forbidden")
    }

    /// 403 under the service's credential. Each lane is asked about alone, and waits alone: where others pass meanwhile, time
    /// and again, it is the lane's own; where none does, the circuit opens, as at a 5xx.
    fn forbidden_to_service(&self, group: &Group, load: &mut [Ready], status: StatusCode) -> Judged {
        if load.len() > 1 {
            self.end_probe(load);
            return Judged::Halves;
        }
        load.iter_mut().for_each(|ready| ready.batch.alone = true);
        let batch = load_id(load);
        tracing::warn!(group = %group.name, %batch, %status, "forbidden: the service, or one of the user's events");
        let pause = self.fail_gate(group, load, status, None);
        self.suspect(load, pause, |evidence, events| match evidence {
            Evidence::Own => Some(Verdict::Refused { named: Vec::new() }),
            Evidence::Lonely => (events > 1).then_some(Verdict::Persistent),
            Evidence::None => None,
        })
    }

    /// A batch goes on as its single calls. A single call's verdict it is, unless something was there before.
    fn not_there(
        &self,
        group: &Group,
        load: &mut [Ready],
        status: StatusCode,
        headers: &HeaderMap,
    ) -> (Judged, &'static str) {
        let batch = load_id(load);
        let single = load.first().map(|ready| &ready.batch).filter(|batch| batch.form == Form::Single);
        if let Some((route, astray)) = single.map(|batch| (route_of(batch), batch.doubt == Doubt::Path)) {
            if !self.gate(load).is_some_and(|gate| gate.lock().knows_route(route, astray)) {
                return (self.refused(group, load, status, &[]), "refused");
            }
            tracing::warn!(group = %group.name, %batch, %status, "a route that was there is gone: tried again");
            return (self.vanished(group, load, status), "server_error");
        }
        let pause = retry::server(self.settings.retry_server, retries(load), fastrand::f64());
        let location = location_of(headers);
        let is_news = self.with_gate(load, |gate, asking| gate.miss(Instant::now(), asking)) == Some(true);
        if is_news {
            tracing::warn!(
                group = %group.name, %batch, %status, location,
                "there is no batch endpoint: single calls go in place of batches, and a batch tries again from time to time"
            );
        } else {
            tracing::info!(group = %group.name, %batch, %status, location, "this batch met no batch endpoint");
        }
        (same(load, &Verdict::Singles { pause }), "no_endpoint")
    }

    fn refused(&self, group: &Group, load: &[Ready], status: StatusCode, named: &[EventId]) -> Judged {
        self.answer_gate(load);
        let alone = load.len() == 1;
        let (batch, events, found) = (load_id(load), events(load), named.len());
        tracing::warn!(group = %group.name, %batch, %status, events, named = found, "the batch was refused");
        if named.is_empty() && !alone {
            return Judged::Halves;
        }
        // A lane none of whose events is named has nothing to do with it.
        let of_lane = |ready: &Ready| {
            let own = ready.batch.events.iter().map(|queued| queued.entry.event().id.clone());
            match own.filter(|id| named.contains(id)).collect::<Vec<_>>() {
                own if own.is_empty() && !alone => Verdict::Deferred { pause: Duration::ZERO },
                own => Verdict::Refused { named: own },
            }
        };
        Judged::Each(load.iter().map(of_lane).collect())
    }

    fn limited(&self, group: &Group, load: &mut [Ready], asked: Option<Duration>) -> Judged {
        let pause = retry::limited(self.settings.retry_limited, asked, fastrand::f64());
        let closed = self.with_gate(load, |gate, asking| gate.limit(Instant::now(), asking, pause));
        if closed == Some(true) {
            tracing::warn!(group = %group.name, ?pause, "the group is limited: all of it waits");
        }
        load.iter_mut().for_each(|ready| ready.batch.trouble = Trouble::default());
        same(load, &Verdict::Retry { pause })
    }

    /// A success of its own credential; one of the service credential says nothing of the users'.
    fn vouch(&self, load: &[Ready]) {
        if is_under_service(load) {
            return;
        }
        for (Owner { principal, .. }, nameless) in load.iter().filter_map(|ready| owner_of(&ready.batch)) {
            let Some(index) = load.first().map(|ready| ready.batch.key.group) else { return };
            let vouched = self.reputation.vouch(principal, nameless, index);
            for shard in &self.shards {
                // A shard that is gone has no lanes to free.
                if vouched.opens {
                    drop(shard.send(Command::Open(index)));
                }
                if vouched.was_refused {
                    let grounds = Grounds::CALL;
                    drop(shard.send(Command::Vouch { principal, groups: [index].into(), grounds }));
                }
            }
        }
    }

    fn failing(&self, group: &Group, load: &mut [Ready], status: StatusCode, asked: Option<Duration>) -> Judged {
        let pause = self.fail_gate(group, load, status, asked);
        // What speaks of the way there, and not of the batch: nobody is looked into without evidence.
        let of_the_way = matches!(status.as_u16(), 502..=504);
        self.suspect(load, pause, |evidence, events| {
            is_looked_into(evidence, events, of_the_way).then_some(Verdict::Persistent)
        })
    }

    /// A single call met 404, 405 or 501 where calls were taken before: as 5xx; but where others are taken meanwhile, time
    /// and again, it is the call's own.
    fn vanished(&self, group: &Group, load: &mut [Ready], status: StatusCode) -> Judged {
        let pause = self.fail_gate(group, load, status, None);
        self.suspect(load, pause, |evidence, _| match evidence {
            Evidence::Own => Some(Verdict::Refused { named: Vec::new() }),
            Evidence::Lonely => Some(Verdict::Persistent),
            Evidence::None => None,
        })
    }

    /// How long the lane waits.
    fn fail_gate(&self, group: &Group, load: &[Ready], status: StatusCode, asked: Option<Duration>) -> Duration {
        let own = retry::server(self.settings.retry_server, retries(load), fastrand::f64());
        let pause = asked.unwrap_or_default().max(own);
        let look = |gate: &mut Gate, asking: &Asking<'_>| {
            let open = gate.fail(Instant::now(), asking, pause, &self.settings);
            (open, gate.errors())
        };
        if let Some((true, errors)) = self.with_gate(load, look) {
            tracing::warn!(group = %group.name, %status, errors, "the circuit is open: one request at a time");
        }
        pause
    }

    fn unreachable(&self, load: &mut [Ready]) -> Judged {
        let pause = retry::network(&self.settings.retry_network, retries(load));
        self.end_probe(load);
        // An event alone is not given up for a way that breaks off; a batch may be what breaks it.
        self.suspect(load, pause, |evidence, events| {
            (evidence == Evidence::Own && events > 1).then_some(Verdict::Persistent)
        })
    }

    /// One more failure of each batch; `at_fault` says what follows for those of which it is believed by now that they are
    /// at fault themselves.
    fn suspect(
        &self,
        load: &mut [Ready],
        pause: Duration,
        at_fault: impl Fn(Evidence, usize) -> Option<Verdict>,
    ) -> Judged {
        let retry = Verdict::Retry { pause };
        let several = load.len() > 1;
        let suspect_each = |caller: Caller, gate: &mut Gate, load: &mut [Ready]| {
            gate.count_failure(caller);
            let verdicts = load.iter_mut().map(|ready| {
                let events = if several { usize::MAX } else { ready.batch.events.len() };
                let (trouble, evidence) = gate.trouble(ready.batch.trouble, caller, &self.settings);
                ready.batch.trouble = trouble;
                match at_fault(evidence, events) {
                    // Which of them it is will be seen when each travels alone.
                    Some(_) if several => {
                        ready.batch.alone = true;
                        retry.clone()
                    }
                    found => found.unwrap_or_else(|| retry.clone()),
                }
            });
            verdicts.collect()
        };
        let index = load.first().map(|ready| ready.batch.key.group.0);
        let group = index.and_then(|index| self.groups.get(index).zip(self.gates.get(index)));
        let Some((group, gate)) = group else { return same(load, &retry) };
        let Some(caller) = self.asking(group, load).map(|asking| asking.caller) else { return same(load, &retry) };
        Judged::Each(suspect_each(caller, &mut gate.lock(), load))
    }

    /// The upstream spoke, and took nothing.
    fn answer_gate(&self, load: &[Ready]) {
        self.with_gate(load, |gate, asking| gate.answer(Instant::now(), asking));
    }

    /// An attempt is over that says nothing of the upstream's health.
    fn end_probe(&self, load: &[Ready]) {
        self.with_gate(load, |gate, asking| gate.end_probe(asking.lane));
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
fn owner_of(batch: &Batch<Kept>) -> Option<(Owner, bool)> {
    let event = batch.events.first()?.entry.event();
    Some((event.owner, event.context.keys.nameless))
}

fn is_under_service(load: &[Ready]) -> bool {
    load.first().is_some_and(|ready| ready.under == Under::Service)
}

/// The route of a single call.
fn route_of(batch: &Batch<Kept>) -> Option<RouteShape> {
    let event = batch.events.first().filter(|_| batch.form == Form::Single)?.entry.event();
    let single = Carried::unpack(&event.carried)?.legacy?;
    Some(RouteShape::of_call(single.method, single.path))
}

/// Where a redirect leads; its query may hold what is nobody's business.
fn location_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(http::header::LOCATION)?.to_str().ok()?.split(['?', '#']).next()
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
    let event = first.events.first().map(|queued| queued.entry.event());
    let user = event.map(|event| keys::shown_user(event)).unwrap_or_default();
    tracing::info!(
        group = %group.name, batch = %load_id(load), user = &*user, lane = ?first.key.credential,
        lanes = load.len(), events = events(load), form = ?first.form, result, retries = retries(load),
        took_ms = began.elapsed().as_millis(), "batch"
    );
}

/// A delivery without an answer yet, counted.
struct InFlight(Arc<Metrics>);

impl InFlight {
    fn begin(metrics: &Arc<Metrics>) -> Self {
        metrics.in_flight.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
        self.0.deliveries.inc();
    }
}

/// Whether a batch of so many events that met a 5xx is looked into in halves, and one event given up in time. `of_the_way`:
/// the status speaks of the way to the application.
const fn is_looked_into(evidence: Evidence, events: usize, of_the_way: bool) -> bool {
    match evidence {
        Evidence::Own => events > 1 || !of_the_way,
        // Nobody else speaks for it or against it: an event alone waits.
        Evidence::Lonely => events > 1 && !of_the_way,
        Evidence::None => false,
    }
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
        self.courier.end_probe(&load);
        self.courier.count(&load, "broken_off");
        let pause = retry::network(&self.courier.settings.retry_network, 0);
        load.into_iter().for_each(|ready| self.courier.bring_back(ready, Verdict::Retry { pause }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_looked_into_where_the_evidence_speaks_against_it_and_an_event_alone_only_where_others_pass() {
        for (evidence, events, of_the_way, wanted) in [
            (Evidence::Own, 2, false, true),
            (Evidence::Own, 1, false, true),
            (Evidence::Own, 2, true, true),
            (Evidence::Own, 1, true, false),
            (Evidence::Lonely, 2, false, true),
            (Evidence::Lonely, 1, false, false),
            (Evidence::Lonely, 2, true, false),
            (Evidence::Lonely, 1, true, false),
            (Evidence::None, 2, false, false),
            (Evidence::None, 1, false, false),
        ] {
            assert_eq!(is_looked_into(evidence, events, of_the_way), wanted, "{evidence:?}, {events}, {of_the_way}");
        }
    }
}
