//! The event path: decode, admit, journal, window, contract, deliver, settle. Only this module knows their order.
//!
//! | stage | takes | gives | may say no with |
//! |---|---|---|---|
//! | [`decode`] | a call and its rule | [`Event`] | a refusal, or "the application's to judge" |
//! | [`admit`] | [`Event`] | [`admit::Admitted`] | duplicate, over the limit |
//! | journal | both | `Journaled` | no room: forward |
//! | [`window`] | `Journaled` | [`window::Batch`] | – |
//! | [`contract`] | a batch | a body; later a verdict | more than one credential |
//! | [`deliver`] | a batch | a verdict | – |
//! | [`settle`] | an event and its outcome | nothing left | – |

pub mod admit;
pub mod contract;
pub mod decode;
pub mod deliver;
pub mod refusal;
pub mod retry;
pub mod settings;
pub mod settle;
pub mod shard;
pub mod window;

use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::event::{Event, Fingerprint, GroupIndex, UserId};
use crate::identity::{Admit, Identity};
use crate::journal::{Journal, NotKept};
use crate::json::{self, Object};
use crate::metrics::{Ledger, Metrics};
use crate::rollout;
use crate::route::{EventRoute, Mode};
use crate::template::{Found, Lookup, Source};
use crate::upstream::Upstream;
use admit::{Admitted, Buckets, Dry, Ground, Seen, Standing};
use bytes::Bytes;
use decode::{Call, Decoded, Scope};
use deliver::Courier;
use http::{HeaderName, HeaderValue, StatusCode};
use refusal::{Decline, Forward, Refusal};
use settings::{ClientBatches, Delivery, Fallback, Group, Limits};
use settle::{DeadLetters, Settler};
use shard::{Command, Level, Parts, Shard};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use window::{ENVELOPE_BYTES, Lanes, Rules};

/// How often full buckets are forgotten.
const SWEEP: Duration = Duration::from_secs(10);

/// An acknowledgement, ready to be sent.
#[derive(Debug)]
pub struct Ack {
    /// Status.
    pub status: StatusCode,
    /// The route's headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body, JSON.
    pub body: Bytes,
    /// The event's id (`Tidegate-Event`); none for a batch.
    pub event: Option<Box<str>>,
    /// The event was known already.
    pub duplicate: bool,
    /// The call's id, the same in header and body.
    pub request_id: String,
}

/// How a wait for settlement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// What was pending is settled.
    Yes,
    /// Not in time.
    TimedOut,
}

/// A forwarded call may not pass: earlier events of its lane can't be delivered now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("earlier events of this user could not be delivered in time")]
pub struct Busy;

/// While it lives, this user's lanes of this credential send nothing that came after it.
#[derive(Debug)]
pub struct Hold {
    user: UserId,
    number: u64,
    shard: mpsc::UnboundedSender<Command>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A shard that is gone holds nothing back any more.
        drop(self.shard.send(Command::Release { user: self.user.clone(), number: self.number }));
    }
}

/// What the event path is made of.
pub struct Setup {
    /// The groups.
    pub groups: Vec<Group>,
    /// `[delivery]`.
    pub delivery: Delivery,
    /// `[limits]`.
    pub limits: Limits,
    /// `journal.max_bytes`.
    pub journal_bytes: u64,
    /// Who is who.
    pub identity: Arc<Identity>,
    /// Generations and pending counts.
    pub tags: Arc<Tags>,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// The way to the application.
    pub upstream: Upstream,
    /// Wall clock.
    pub clock: Clock,
    /// Tasks that own lanes; at least one.
    pub shards: usize,
}

struct Shared {
    groups: Vec<Group>,
    delivery: Delivery,
    limits: Limits,
    identity: Arc<Identity>,
    ground: Arc<Ground>,
    buckets: Buckets,
    standing: Arc<Standing>,
    journal: Arc<Journal<Admitted>>,
    shards: Vec<mpsc::UnboundedSender<Command>>,
    levels: Vec<Arc<Level>>,
    dead: Arc<DeadLetters>,
}

/// The handle of the event path.
#[derive(Clone)]
pub struct Ingest(Arc<Shared>);

/// The tasks of the event path, to be spawned by `app`, by name.
pub struct Tasks {
    /// One per shard.
    pub shards: Vec<Shard>,
    /// Delivery.
    pub courier: Courier,
    /// What the courier reads.
    pub ready: mpsc::UnboundedReceiver<deliver::Ready>,
}

impl Ingest {
    /// The handle and its tasks; nothing runs yet.
    #[must_use]
    pub fn new(setup: Setup) -> (Self, Tasks) {
        let Setup { groups, delivery, limits, journal_bytes, identity, tags, metrics, upstream, clock, shards } = setup;
        let (journal, tails) = Journal::in_memory(shards, journal_bytes);
        let journal = Arc::new(journal);
        let proof = (identity.settings().admit == Admit::Proven).then_some(identity.settings().proof_ttl);
        let standing = Arc::new(Standing::new(proof, delivery.give_up_after, limits.max_users as u64));
        let dead = Arc::new(DeadLetters::new(limits.max_dead_letters));
        let names = groups.iter().map(|group| Arc::clone(&group.name)).collect();
        let settler = Arc::new(Settler::new(Arc::clone(&journal), Arc::clone(&dead), names, clock.clone()));
        let rules: Vec<_> = groups.iter().map(|group| rules(group, &delivery)).collect();
        let (courier_in, ready) = mpsc::unbounded_channel();
        let mut senders = Vec::new();
        let mut levels = Vec::new();
        let most = limits.max_lanes.div_ceil(tails.len().max(1));
        let tasks = tails.into_iter().enumerate().map(|(number, tail)| {
            let (sender, commands) = mpsc::unbounded_channel();
            let level = Arc::new(Level::default());
            senders.push(sender);
            levels.push(Arc::clone(&level));
            let lanes = Lanes::new(rules.clone(), most);
            let (courier, settler) = (courier_in.clone(), Arc::clone(&settler));
            Shard::new(Parts { number, lanes, tail, commands, courier, settler, level })
        });
        let tasks: Vec<_> = tasks.collect();
        let shared_instruments = (Arc::clone(&metrics), Arc::clone(&standing));
        let courier =
            Courier::new(upstream, delivery.clone(), groups.clone(), shared_instruments, senders.clone(), clock);
        let ground = Arc::new(Ground { seen: Seen::new(limits.max_seen), tags, metrics });
        let buckets = Buckets::new(&limits);
        let shared = Shared {
            groups,
            delivery,
            limits,
            identity,
            ground,
            buckets,
            standing,
            journal,
            shards: senders,
            levels,
            dead,
        };
        (Self(Arc::new(shared)), Tasks { shards: tasks, courier, ready })
    }

    /// Takes an event call: decodes it, admits it, keeps it. `vouched`: the call was tried at the application just now
    /// and nothing speaks against its credential.
    ///
    /// # Errors
    /// The call is refused, or to be forwarded; in both cases nothing was kept.
    ///
    /// # Cancel safety
    /// From the journal on the event is kept whether or not the caller stays (ruling 2).
    pub async fn take(
        &self,
        candidates: &[&EventRoute],
        call: &Call<'_>,
        body: &Bytes,
        vouched: bool,
    ) -> Result<Ack, Decline> {
        let (text, object) = decode::parse(body)?;
        let route = decode::choose(candidates, &object).ok_or(Decline::Forward(Forward::NoRule))?;
        if route.mode == Mode::Off {
            return Err(Decline::Forward(Forward::Mode));
        }
        let into = self.into(route.group).ok_or(Decline::Forward(Forward::NoRule))?;
        let decoded = decode::single(into, route, call, body, (text, &object))?;
        if !rollout::included(&decoded.event.lane.user, route.rollout) {
            return Err(Decline::Forward(Forward::Mode));
        }
        let ack = |duplicate| self.ack(route, call, (text, &object), &decoded, duplicate);
        let (fresh, repeated) = (ack(false), route.ack.duplicate.is_some().then(|| ack(true)));
        match self.keep(into.group, decoded.event, vouched).await? {
            true => Ok(fresh),
            false => Ok(Ack { duplicate: true, ..repeated.unwrap_or(fresh) }),
        }
    }

    fn into(&self, index: GroupIndex) -> Option<decode::Into<'_>> {
        let shared = &self.0;
        let group = shared.groups.get(index.0)?;
        Some(decode::Into {
            index,
            group,
            identity: &shared.identity,
            forward_headers: &shared.delivery.forward_headers,
        })
    }

    fn ack(
        &self,
        route: &EventRoute,
        call: &Call<'_>,
        body: (&str, &Object<'_>),
        decoded: &Decoded,
        duplicate: bool,
    ) -> Ack {
        let event = &decoded.event;
        let scope = Scope { call, body: Some(body), event: Some(decoded.view()), user: Some(&event.lane.user) };
        let template = route.ack.duplicate.as_ref().filter(|_| duplicate).unwrap_or(&route.ack.body);
        let mut out = Vec::with_capacity(256);
        template.write(&scope, &mut out);
        let headers = route.ack.headers.iter().filter_map(|(name, template)| {
            // Ruling 12: a value that no header may carry is left out.
            let value = HeaderValue::try_from(template.render(&scope)?).ok()?;
            Some((name.clone(), value))
        });
        Ack {
            status: route.ack.status,
            headers: headers.collect(),
            body: out.into(),
            event: Some(event.id.as_str().into()),
            duplicate,
            request_id: call.request_id.to_owned(),
        }
    }

    /// Admits and keeps an event; `false`: it was known.
    async fn keep(&self, group: &Group, event: Event, vouched: bool) -> Result<bool, Decline> {
        let shared = &self.0;
        let credential = event.lane.credential;
        if event.json.len() + ENVELOPE_BYTES > group.max_bytes {
            return Err(Decline::Forward(Forward::TooLargeForBatch));
        }
        if shared.standing.is_rejected(credential) {
            return Err(Decline::Forward(Forward::Rejected));
        }
        if !vouched && !shared.standing.is_proven(credential) {
            return Err(Decline::Forward(Forward::Unproven));
        }
        let Some(mut admitted) = shared.ground.admit(&event, group.max_age) else {
            shared.ground.repeat();
            return Ok(false);
        };
        shared.buckets.take(&event.lane).map_err(|dry| match dry {
            Dry::Limited(wait) => Decline::Refuse(Refusal::Limited(wait)),
            Dry::TooManyUsers => Decline::Forward(Forward::TooManyUsers),
        })?;
        let number = self.shard_of(&event.lane.user);
        admitted.keep();
        match shared.journal.append(number, event, admitted).await {
            Ok(_) => Ok(true),
            Err(NotKept { error, ticket }) => {
                ticket.take_back();
                tracing::warn!(%error, "an event could not be kept and is forwarded");
                Err(Decline::Forward(Forward::NotKept))
            }
        }
    }

    /// A client's own batch: taken apart, deduplicated, kept event by event.
    ///
    /// # Errors
    /// The whole call is refused, or to be forwarded; in both cases nothing was kept.
    pub async fn take_batch(&self, group: GroupIndex, call: &Call<'_>, body: &Bytes) -> Result<Ack, Decline> {
        let into = self.into(group).ok_or(Decline::Forward(Forward::NoRule))?;
        if into.group.client_batches == ClientBatches::Forward {
            return Err(Decline::Forward(Forward::ClientBatch));
        }
        if body.len() > into.group.max_bytes {
            return Err(Decline::Refuse(Refusal::TooLarge(into.group.max_bytes)));
        }
        let (_, object) = decode::parse(body)?;
        let missing = || Decline::Refuse(Refusal::MissingField("events, an array with at least one event".into()));
        let elements = object.get("events").and_then(|raw| json::elements(raw).ok()).ok_or_else(missing)?;
        if elements.is_empty() {
            return Err(missing());
        }
        if elements.len() > into.group.max_events {
            let (found, allowed) = (elements.len(), into.group.max_events);
            return Err(Decline::Refuse(Refusal::TooManyEvents { found, allowed }));
        }
        // All are decoded before any is kept: if one is the application's to judge, it judges the whole call.
        let mut decoded = Vec::with_capacity(elements.len());
        for raw in &elements {
            match decode::element(into, call, raw) {
                Err(Decline::Forward(why)) => return Err(Decline::Forward(why)),
                other => decoded.push(other),
            }
        }
        let mut tally = Tally { received: elements.len(), ..Tally::default() };
        for (raw, event) in elements.iter().zip(decoded) {
            self.keep_element(into.group, raw, event, &mut tally).await?;
        }
        Ok(tally.ack(into.group, call))
    }

    async fn keep_element(
        &self,
        group: &Group,
        raw: &str,
        event: Result<Decoded, Decline>,
        tally: &mut Tally,
    ) -> Result<(), Decline> {
        let kept = match event {
            Ok(Decoded { event, .. }) => {
                let id = event.id.clone();
                self.keep(group, event, false).await.map(|fresh| (id.as_str().to_owned(), fresh))
            }
            Err(decline) => Err(decline),
        };
        match kept {
            Ok((id, true)) => tally.accepted.push(id),
            Ok((id, false)) => tally.duplicates.push(id),
            // Nothing of this call is kept yet: the application may still have it whole.
            Err(Decline::Forward(why)) if tally.is_untouched() => return Err(Decline::Forward(why)),
            Err(Decline::Forward(why)) => tally.fail(raw, group, why.as_str()),
            Err(Decline::Refuse(refusal)) => tally.fail(raw, group, refusal.as_str()),
        }
        Ok(())
    }

    fn shard_of(&self, user: &UserId) -> usize {
        // By user alone, so that all lanes of a user are in one place.
        let hash = user
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        usize::try_from(hash % self.0.shards.len().max(1) as u64).unwrap_or(0)
    }

    fn shard(&self, user: &UserId) -> Option<&mpsc::UnboundedSender<Command>> {
        self.0.shards.get(self.shard_of(user))
    }

    /// Seals this user's windows of this credential and waits until what is in them is settled (P7).
    pub async fn barrier(&self, user: &UserId, credential: Fingerprint, within: Duration) -> Settled {
        let (done, settled) = oneshot::channel();
        let command = Command::Barrier { user: user.clone(), credential, done };
        if self.shard(user).is_none_or(|shard| shard.send(command).is_err()) {
            return Settled::TimedOut;
        }
        match tokio::time::timeout(within, settled).await {
            Ok(Ok(())) => Settled::Yes,
            _ => Settled::TimedOut,
        }
    }

    /// Drains this user's lanes of this credential and holds back later events while the guard lives (ruling 4).
    /// Healthy lanes of the user under another credential are waited for too, but don't refuse the call.
    ///
    /// # Errors
    /// The lanes could not be drained in time.
    pub async fn hold(&self, user: &UserId, credential: Fingerprint, within: Duration) -> Result<Hold, Busy> {
        let shard = self.shard(user).ok_or(Busy)?;
        let deadline = Instant::now() + within;
        let ((number, numbered), (own, passed), (others, passed_too)) =
            (oneshot::channel(), oneshot::channel(), oneshot::channel());
        let command = Command::Hold { user: user.clone(), credential, number, own, others };
        shard.send(command).map_err(|_| Busy)?;
        let number = numbered.await.map_err(|_| Busy)?;
        let hold = Hold { user: user.clone(), number, shard: shard.clone() };
        match tokio::time::timeout_at(deadline, passed).await {
            Ok(Ok(())) => {}
            _ => return Err(Busy),
        }
        // Not being in time here is no reason to refuse.
        drop(tokio::time::timeout_at(deadline, passed_too).await);
        Ok(hold)
    }

    /// A call of this credential succeeded at the application.
    pub fn vouch(&self, credential: Fingerprint) {
        let was_rejected = self.0.standing.is_rejected(credential);
        self.0.standing.vouch(credential);
        if was_rejected {
            self.tell_all(|| Command::Vouch(credential));
        }
    }

    /// Seals every window.
    pub fn flush(&self) {
        self.tell_all(|| Command::Flush);
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for shard in &self.0.shards {
            if shard.send(command()).is_err() {
                tracing::error!("a shard is gone");
            }
        }
    }

    /// Generations and pending counts.
    #[must_use]
    pub fn tags(&self) -> &Arc<Tags> {
        &self.0.ground.tags
    }

    /// The group.
    #[must_use]
    pub fn group(&self, index: GroupIndex) -> Option<&Group> {
        self.0.groups.get(index.0)
    }

    /// `[limits]`.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// How long a forwarded call waits for its lanes.
    #[must_use]
    pub fn barrier_time(&self) -> Duration {
        self.0.delivery.barrier
    }

    /// The conservation ledger.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.0.ground.metrics.books.sum()
    }

    /// Dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> &Arc<DeadLetters> {
        &self.0.dead
    }

    /// Lanes with events.
    #[must_use]
    pub fn lanes(&self) -> u64 {
        self.0.levels.iter().map(|level| level.lanes.load(Ordering::Relaxed)).sum()
    }

    /// Bytes of pending events.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.0.journal.held()
    }

    /// Age of the oldest event that has no outcome yet.
    pub async fn oldest_pending(&self) -> Option<Duration> {
        let mut oldest: Option<Instant> = None;
        for shard in &self.0.shards {
            let (answer, asked) = oneshot::channel();
            if shard.send(Command::Oldest(answer)).is_ok() {
                let found = asked.await.ok().flatten();
                oldest = oldest.into_iter().chain(found).min();
            }
        }
        oldest.map(|at| at.elapsed())
    }

    /// Forgets what needs no memory, for ever. Run by `app`.
    pub async fn keep_house(self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.0.buckets.sweep();
        }
    }

    /// Seals all windows and waits until nothing is pending, or until the deadline.
    pub async fn drain(&self, deadline: Instant) {
        // Settlement is told to nobody in particular, so the ledger is looked at; a stop is no hot path.
        let mut look = tokio::time::interval(Duration::from_millis(10));
        loop {
            self.flush();
            if self.ledger().pending == 0 {
                return;
            }
            tokio::select! {
                _ = look.tick() => {}
                () = tokio::time::sleep_until(deadline) => return,
            }
        }
    }
}

fn rules(group: &Group, delivery: &Delivery) -> Rules {
    Rules {
        window: group.window,
        flush_at: group.flush_at,
        max_events: group.max_events,
        max_bytes: group.max_bytes,
        distinct: group.distinct.clone(),
        single: group.fallback == Fallback::Single,
        max_attempts: group.max_attempts,
        give_up_after: delivery.give_up_after,
    }
}

/// What became of the events of a client's batch.
#[derive(Default)]
struct Tally {
    received: usize,
    accepted: Vec<String>,
    duplicates: Vec<String>,
    failed: Vec<serde_json::Value>,
}

impl Tally {
    fn is_untouched(&self) -> bool {
        self.accepted.is_empty() && self.duplicates.is_empty() && self.failed.is_empty()
    }

    fn fail(&mut self, raw: &str, group: &Group, reason: &str) {
        let object = Object::parse(raw).ok();
        let names = group.aliases.iter().filter(|(_, to)| *to == group.id_field).map(|(from, _)| from);
        let id = object.and_then(|object| {
            std::iter::once(&group.id_field)
                .chain(names)
                .find_map(|name| json::string(object.get(name)?).map(String::from))
        });
        self.failed.push(serde_json::json!({ "id": id, "reason": reason }));
    }

    fn ack(&self, group: &Group, call: &Call<'_>) -> Ack {
        let lists = [
            ("accepted", serde_json::json!(self.accepted)),
            ("duplicates", serde_json::json!(self.duplicates)),
            ("failed", serde_json::json!(self.failed)),
            ("received", serde_json::json!(self.received)),
        ];
        let scope = BatchScope { call, lists: lists.map(|(name, value)| (name, value.to_string())) };
        let mut out = Vec::with_capacity(256);
        group.reply.body.write(&scope, &mut out);
        Ack {
            status: group.reply.status,
            headers: Vec::new(),
            body: out.into(),
            event: None,
            duplicate: false,
            request_id: call.request_id.to_owned(),
        }
    }
}

struct BatchScope<'a, 'c> {
    call: &'a Call<'c>,
    lists: [(&'static str, String); 4],
}

impl Lookup for BatchScope<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        if source != Source::Batch {
            return self.call.find(source, path);
        }
        let wanted = path.first()?;
        self.lists.iter().find(|(name, _)| **name == **wanted).map(|(_, raw)| Found::Json(raw))
    }
}
