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
pub mod dead;
pub mod decode;
pub mod deliver;
pub mod refusal;
pub mod retry;
pub mod settings;
pub mod settle;
pub mod shard;
pub mod window;

use crate::cache::tags::Tags;
use crate::clock::{Clock, millis};
use crate::event::{Event, Fingerprint, GroupIndex, Outcome, Reason, Tag, UserId};
use crate::identity::{Admit, Identity};
use crate::journal::recover::{Opened, Placement, Stored, StoredLetter};
use crate::journal::settings::JournalSettings;
use crate::journal::store::{Engine, StoreError};
use crate::journal::{Journal, More, Tails, Vitals};
use crate::json::{self, Object};
use crate::metrics::{Ledger, Metrics};
use crate::rollout;
use crate::route::{EventRoute, Mode};
use crate::template::{Found, Lookup, Source};
use crate::upstream::Upstream;
use admit::{Admitted, Buckets, Dry, Ground, Seen, Standing};
use bytes::Bytes;
use dead::{DeadLetter, DeadLetters};
use decode::{Call, Decoded, Scope};
use deliver::Courier;
use http::{HeaderName, HeaderValue, StatusCode};
use refusal::{Decline, Forward, Refusal};
use settings::{ClientBatches, Delivery, Fallback, Group, Limits};
use settle::Settler;
pub use shard::Hold;
use shard::{Command, Level, Parts, Shard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use window::{ENVELOPE_BYTES, Lanes, Rules};

/// Pace of a replay.
pub const REPLAYS_PER_SECOND: u32 = 50;

/// What became of dead letters that were to be replayed.
#[derive(Debug, Default, serde::Serialize)]
pub struct Replayed {
    /// Ids of those that are pending again.
    pub replayed: Vec<String>,
    /// Ids of those that are still dead, each with the reason.
    pub kept: Vec<(String, String)>,
}

/// Elements of a forwarded batch that are looked at for their users and tags.
const MOST_PREVIEWED: usize = 1000;
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

/// What the event path is made of.
pub struct Setup {
    /// The groups.
    pub groups: Vec<Group>,
    /// `[delivery]`.
    pub delivery: Delivery,
    /// `[limits]`.
    pub limits: Limits,
    /// Where events are kept.
    pub journal: Keeping,
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

/// Where events are kept.
pub enum Keeping {
    /// In memory (`durability = "none"`), at most this many bytes.
    Memory {
        /// `journal.max_bytes`.
        max_bytes: u64,
        /// Made fresh with every start.
        secret: [u8; 32],
    },
    /// On disk.
    Disk(Box<Opened<Engine>>, JournalSettings),
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
    clock: Clock,
    /// Lanes of one shard beyond which new events are forwarded: twice its share of `limits.max_lanes`.
    most_lanes: u64,
    /// The end: nothing more is taken.
    closed: AtomicBool,
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
    /// The handle and its tasks; no task runs yet. What a durable journal held is in the tails, in order.
    ///
    /// # Errors
    /// The journal can't be read or written.
    pub fn new(setup: Setup) -> Result<(Self, Tasks), StoreError> {
        let Setup { groups, delivery, limits, journal, identity, tags, metrics, upstream, clock, shards } = setup;
        let names: Vec<Arc<str>> = groups.iter().map(|group| Arc::clone(&group.name)).collect();
        let dead = Arc::new(DeadLetters::new(limits.max_dead_letters));
        let secret = match &journal {
            Keeping::Memory { secret, .. } => *secret,
            Keeping::Disk(opened, _) => opened.secret(),
        };
        let seen = Seen::new(limits.max_seen, &secret);
        let ground = Arc::new(Ground { groups: names.clone(), seen, tags, metrics: Arc::clone(&metrics) });
        let (journal, tails) = match journal {
            Keeping::Memory { max_bytes, .. } => Journal::in_memory(shards, max_bytes),
            Keeping::Disk(opened, settings) => {
                let recovery = Recovery { ground: &ground, dead: &dead, groups: &groups, names: &names, clock: &clock };
                recovery.run(*opened, &settings, shards, limits.max_seen)?
            }
        };
        let journal = Arc::new(journal);
        let proof = (identity.settings().admit == Admit::Proven).then_some(identity.settings().proof_ttl);
        let standing = Arc::new(Standing::new(proof, delivery.give_up_after, limits.max_users as u64));
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
            let standing = Arc::clone(&standing);
            Shard::new(Parts { number, lanes, tail, commands, courier, settler, level, standing })
        });
        let tasks: Vec<_> = tasks.collect();
        let instruments = (metrics, Arc::clone(&standing));
        let courier =
            Courier::new(upstream, delivery.clone(), groups.clone(), instruments, senders.clone(), clock.clone());
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
            clock,
            most_lanes: 2 * most as u64,
            closed: AtomicBool::new(false),
        };
        Ok((Self(Arc::new(shared)), Tasks { shards: tasks, courier, ready }))
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
        // Ruling 12: what no header may carry makes the call the application's.
        let unfit = || Decline::Forward(Forward::HeaderValue);
        let fresh = ack(false).ok_or_else(unfit)?;
        let repeated = route.ack.duplicate.is_some().then(|| ack(true)).flatten();
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
    ) -> Option<Ack> {
        let event = &decoded.event;
        let scope = Scope { call, body: Some(body), event: Some(decoded.view()), user: Some(&event.lane.user) };
        let template = route.ack.duplicate.as_ref().filter(|_| duplicate).unwrap_or(&route.ack.body);
        let mut out = Vec::with_capacity(256);
        template.write(&scope, &mut out);
        let rendered = route.ack.headers.iter().filter_map(|(name, template)| Some((name, template.render(&scope)?)));
        let headers: Result<Vec<_>, _> =
            rendered.map(|(name, text)| HeaderValue::try_from(text).map(|value| (name.clone(), value))).collect();
        Some(Ack {
            status: route.ack.status,
            headers: headers.ok()?,
            body: out.into(),
            event: Some(event.id.as_str().into()),
            duplicate,
            request_id: call.request_id.to_owned(),
        })
    }

    /// Admits and keeps an event; `false`: it was known.
    async fn keep(&self, group: &Group, event: Event, vouched: bool) -> Result<bool, Decline> {
        let shared = &self.0;
        let credential = event.lane.credential;
        if event.json.len() + ENVELOPE_BYTES > group.max_bytes {
            return Err(Decline::Forward(Forward::TooLargeForBatch));
        }
        if shared.closed.load(Ordering::Relaxed) {
            return Err(Decline::Forward(Forward::NotKept));
        }
        let number = self.shard_of(&event.lane.user);
        if shared.levels.get(number).is_some_and(|level| level.lanes.load(Ordering::Relaxed) > shared.most_lanes) {
            return Err(Decline::Forward(Forward::TooManyLanes));
        }
        if shared.standing.is_rejected(credential) {
            return Err(Decline::Forward(Forward::Rejected));
        }
        if !vouched && !shared.standing.is_proven(credential) {
            return Err(Decline::Forward(Forward::Unproven));
        }
        shared.buckets.take(&event.lane).map_err(|dry| match dry {
            Dry::Limited(wait) => Decline::Refuse(Refusal::Limited(wait)),
            Dry::TooManyUsers => Decline::Forward(Forward::TooManyUsers),
        })?;
        let Some(admitted) = shared.ground.admit(&event, group.max_age).await else {
            shared.ground.repeat();
            shared.journal.repeat();
            return Ok(false);
        };
        let more = More { seen: admitted.seen(), replaces: None };
        match shared.journal.append(number, event, admitted, more).await {
            Ok(_) => Ok(true),
            Err(error) => {
                tracing::debug!(%error, "an event could not be kept and is forwarded");
                Err(Decline::Forward(Forward::NotKept))
            }
        }
    }

    /// Users and tags that a client's own batch would touch, if it is one: for when the application answers it.
    #[must_use]
    pub fn preview_batch(&self, group: GroupIndex, call: &Call<'_>, body: &Bytes) -> (Option<UserId>, Vec<Tag>) {
        let Some(group) = self.group(group) else { return (None, Vec::new()) };
        let Ok((_, object)) = decode::parse(body) else { return (None, Vec::new()) };
        let elements = object.get("events").and_then(|raw| json::elements(raw).ok()).unwrap_or_default();
        let mut first = None;
        let mut tags = Vec::new();
        for raw in elements.into_iter().take(MOST_PREVIEWED) {
            let Ok(element) = Object::parse(raw) else { continue };
            let scope = Scope { call, body: Some((raw, &element)), event: None, user: None };
            if let Some((user, more)) = decode::preview(&self.0.identity, None, group, &scope) {
                first.get_or_insert(user);
                tags.extend(more);
            }
        }
        (first, tags)
    }

    /// Makes everything stored under these tags old.
    pub fn invalidate(&self, tags: &[Tag]) {
        self.tags().invalidate(tags);
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
        // Polled in their order, so that they are kept in it; together, so that one commit takes them all.
        let keeping = decoded.into_iter().map(|decoded| self.keep_element(into.group, decoded));
        let kept = futures_util::future::join_all(keeping).await;
        // If not one was taken in, the application may have the call whole.
        if let Some(Err(Decline::Forward(why))) = kept.first()
            && kept.iter().all(|one| matches!(one, Err(Decline::Forward(_))))
        {
            return Err(Decline::Forward(*why));
        }
        let mut tally = Tally { received: elements.len(), ..Tally::default() };
        for (raw, kept) in elements.iter().zip(kept) {
            match kept {
                Ok((id, true)) => tally.accepted.push(id),
                Ok((id, false)) => tally.duplicates.push(id),
                Err(Decline::Forward(why)) => tally.fail(raw, into.group, why.as_str()),
                Err(Decline::Refuse(refusal)) => tally.fail(raw, into.group, refusal.as_str()),
            }
        }
        Ok(tally.ack(into.group, call))
    }

    async fn keep_element(&self, group: &Group, decoded: Result<Decoded, Decline>) -> Result<(String, bool), Decline> {
        let Decoded { event, .. } = decoded?;
        let id = event.id.as_str().to_owned();
        self.keep(group, event, false).await.map(|fresh| (id, fresh))
    }

    fn shard_of(&self, user: &UserId) -> usize {
        shard_of(user, self.0.shards.len())
    }

    fn shard(&self, user: &UserId) -> Option<&mpsc::UnboundedSender<Command>> {
        self.0.shards.get(self.shard_of(user))
    }

    /// Seals this user's windows of this credential in these groups and waits until what is in them is settled (P7).
    pub async fn barrier(
        &self,
        user: &UserId,
        credential: Fingerprint,
        groups: &[GroupIndex],
        within: Duration,
    ) -> Settled {
        let (done, settled) = oneshot::channel();
        let command = Command::Barrier { user: user.clone(), credential, groups: groups.into(), done };
        if self.shard(user).is_none_or(|shard| shard.send(command).is_err()) {
            return Settled::TimedOut;
        }
        match tokio::time::timeout(within, settled).await {
            Ok(Ok(())) => Settled::Yes,
            _ => Settled::TimedOut,
        }
    }

    /// Drains this user's lanes of this credential in these groups and holds back later events while the guard lives (ruling 4).
    /// Healthy lanes of the user under another credential are waited for too, but don't refuse the call.
    ///
    /// # Errors
    /// The lanes could not be drained in time.
    pub async fn hold(
        &self,
        user: &UserId,
        credential: Fingerprint,
        groups: &[GroupIndex],
        within: Duration,
    ) -> Result<Hold, Busy> {
        let shard = self.shard(user).ok_or(Busy)?;
        let deadline = Instant::now() + within;
        let ((hold, held), (own, passed), (others, passed_too)) =
            (oneshot::channel(), oneshot::channel(), oneshot::channel());
        let (user, groups, shard_again) = (user.clone(), groups.into(), shard.clone());
        let command = Command::Hold { user, credential, groups, shard: shard_again, hold, own, others };
        shard.send(command).map_err(|_| Busy)?;
        let hold = held.await.map_err(|_| Busy)?;
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

    /// How the journal is.
    #[must_use]
    pub fn journal(&self) -> &Arc<Vitals> {
        self.0.journal.vitals()
    }

    /// Everything that the journal was told is on the disk, and it takes nothing more.
    pub async fn close_journal(&self) {
        self.0.journal.close().await;
    }

    /// Replays the dead letters of a key or an id, or all: oldest first, at most [`REPLAYS_PER_SECOND`].
    ///
    /// # Cancel safety
    /// A letter is replayed or still there, whenever the caller leaves.
    pub async fn replay(&self, name: Option<&str>) -> Replayed {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / REPLAYS_PER_SECOND);
        let mut done = Replayed::default();
        for letter in self.0.dead.find(name) {
            pace.tick().await;
            let id = letter.event.id.as_str().to_owned();
            match self.replay_one(letter).await {
                Ok(()) => done.replayed.push(id),
                Err(why) => done.kept.push((id, why)),
            }
        }
        done
    }

    async fn replay_one(&self, letter: DeadLetter) -> Result<(), String> {
        let shared = &self.0;
        let DeadLetter { key, group, mut event, reason, .. } = letter;
        if reason == Reason::CredentialLost.as_str() {
            return Err("its credential is lost".to_owned());
        }
        let index = shared.groups.iter().position(|one| one.name == group);
        let index = index.ok_or_else(|| format!("there is no group {group}"))?;
        event.lane.group = GroupIndex(index);
        // Its time to be given up begins anew.
        event.received_at = shared.clock.now();
        let keep = shared.groups.get(index).map_or(Duration::ZERO, |group| group.max_age);
        let known = || "an event with its id came in the meantime".to_owned();
        let admitted = shared.ground.admit(&event, keep).await.ok_or_else(known)?;
        let more = More { seen: admitted.seen(), replaces: Some(key) };
        // ORDER: it leaves the pile before the journal may say that it is pending; else a drop could take it too.
        if !shared.dead.remove(key) {
            return Err("it was dropped or replayed by somebody else".to_owned());
        }
        shared.ground.metrics.books.revive();
        let back = event.clone();
        match shared.journal.append(self.shard_of(&event.lane.user), event, admitted, more).await {
            Ok(_) => Ok(()),
            Err(error) => {
                shared.ground.metrics.books.unrevive();
                let letter = DeadLetter { event: back, key, group, reason, ..letter };
                let gone = shared.dead.bury(letter);
                shared.journal.drop_letters(gone);
                Err(error.to_string())
            }
        }
    }

    /// Drops the dead letters of a key or an id, or all.
    #[must_use]
    pub fn drop_letters(&self, name: Option<&str>) -> Vec<String> {
        let letters = self.0.dead.find(name).into_iter().filter(|letter| self.0.dead.remove(letter.key));
        let (gone, ids): (Vec<_>, Vec<_>) = letters
            .map(|letter| ((letter.key, letter.event.lane.credential), letter.event.id.as_str().to_owned()))
            .unzip();
        self.0.journal.drop_letters(gone);
        ids
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

    /// Seals all windows again and again, for ever: whatever still comes in goes out at once.
    pub async fn keep_flushing(&self) {
        loop {
            self.flush();
            // Each shard answers after it has flushed, so flushes never pile up before it.
            self.oldest_pending().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Seals all windows and waits until nothing is pending, or until the deadline.
    pub async fn drain(&self, deadline: Instant) {
        // Settlement is told to nobody in particular, so the ledger is looked at; a stop is no hot path.
        let empty = async {
            while self.ledger().pending > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = empty => {}
            () = self.keep_flushing() => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }

    /// From here on every event is forwarded, none taken.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }
}

/// By user alone, so that all lanes of a user are in one place.
fn shard_of(user: &UserId, shards: usize) -> usize {
    let hash = user
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    usize::try_from(hash % shards.max(1) as u64).unwrap_or(0)
}

/// Brings back what a durable journal holds.
struct Recovery<'a> {
    ground: &'a Arc<Ground>,
    dead: &'a Arc<DeadLetters>,
    groups: &'a [Group],
    names: &'a [Arc<str>],
    clock: &'a Clock,
}

impl Recovery<'_> {
    fn run(
        &self,
        mut opened: Opened<Engine>,
        settings: &JournalSettings,
        shards: usize,
        max_seen: usize,
    ) -> Result<(Journal<Admitted>, Tails<Admitted>), StoreError> {
        let (now, wall) = (Instant::now(), millis(self.clock.now()));
        for (seen, until) in opened.settled() {
            let left = until.saturating_sub(wall);
            if left > 0 {
                self.ground.seen.end(admit::SeenKey(*seen), Some(Duration::from_millis(left)), now);
            }
        }
        let state = opened.state();
        for letter in opened.letters(self.names) {
            let StoredLetter { stored, reason, attempts, status, died_ms } = letter;
            let Stored { seq: key, group, event, seen, .. } = stored;
            let reason = reason.into();
            let gone = self.dead.bury(DeadLetter { key, group, event, seen, reason, attempts, status, died_ms });
            opened.forget_letters(&gone);
        }
        self.dead.restore(state.dropped);
        let books = &self.ground.metrics.books;
        books.restore(Ledger {
            received: state.accepted + state.duplicate + state.superseded + state.dead,
            accepted: state.accepted,
            duplicate: state.duplicate,
            superseded: state.superseded,
            dead: state.dead,
            pending: 0,
        });
        opened.start(settings, self.names, shards, (max_seen, self.clock.clone()), |stored| self.place(stored, shards))
    }

    fn place(&self, stored: &Stored, shards: usize) -> Placement<Admitted> {
        let group = self.groups.get(stored.event.lane.group.0);
        let keep = group.map_or(Duration::ZERO, |group| group.max_age);
        let admitted = self.ground.readmit(stored.seen, &stored.event, keep);
        let reason = match (group, stored.has_credential) {
            (Some(_), true) => return Placement::Tail(shard_of(&stored.event.lane.user, shards), admitted),
            (None, _) => Reason::GroupRemoved,
            (Some(_), false) => Reason::CredentialLost,
        };
        tracing::warn!(
            group = %stored.group, id = stored.event.id.as_str(), reason = reason.as_str(), "event became a dead letter"
        );
        admitted.settle(&Outcome::Dead(reason));
        let letter = DeadLetter {
            key: stored.seq,
            group: Arc::clone(&stored.group),
            event: stored.event.clone(),
            seen: stored.seen,
            reason: reason.as_str().into(),
            attempts: 0,
            status: 0,
            died_ms: millis(self.clock.now()),
        };
        let bytes = letter.stored();
        Placement::Dead(bytes, self.dead.bury(letter))
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
