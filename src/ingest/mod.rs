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
pub mod client_batch;
pub mod contract;
pub mod dead;
pub mod decode;
pub mod deliver;
pub mod desk;
pub mod gate;
pub mod known;
pub mod pack;
pub mod recovery;
pub mod refusal;
pub mod replay;
pub mod reply;
pub mod request;
pub mod retry;
pub mod settings;
pub mod settle;
pub mod shard;
pub mod turns;
pub mod window;

use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::event::{Event, Fingerprint, GroupIndex, Tag, UserId};
use crate::identity::{Admit, Identity};
use crate::journal::recover::Opened;
use crate::journal::settings::JournalSettings;
use crate::journal::store::{Engine, StoreError};
use crate::journal::{Journal, More, Vitals};
use crate::json::Object;
use crate::metrics::{Ledger, Metrics};
use crate::notices::Notices;
use crate::rollout;
use crate::route::{EventRoute, Mode};
use crate::upstream::Upstream;
use admit::{Admitted, Buckets, Crowds, Dry, Ground, Seen, Standing};
use bytes::Bytes;
use dead::DeadLetters;
use decode::{Call, Decoded, Scope};
use deliver::Courier;
use http::{HeaderName, HeaderValue, StatusCode};
use recovery::Recovery;
use refusal::{Decline, Forward, Refusal};
use settings::{Delivery, Fallback, Group, Limits, Shape};
use settle::Settler;
pub use shard::Hold;
use shard::{Command, Level, Parts, Shard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use window::{Lanes, Rules};

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
    /// Who hears of what was invalidated.
    pub notices: Arc<Notices>,
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
    notices: Arc<Notices>,
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
    pub ready: mpsc::UnboundedReceiver<deliver::Message>,
}

impl Ingest {
    /// The handle and its tasks; no task runs yet. What a durable journal held is in the tails, in order.
    ///
    /// # Errors
    /// The journal can't be read or written.
    pub fn new(setup: Setup) -> Result<(Self, Tasks), StoreError> {
        let Setup { groups, delivery, limits, journal, identity, tags, metrics, upstream, notices, clock, shards } =
            setup;
        let names: Vec<Arc<str>> = groups.iter().map(|group| Arc::clone(&group.name)).collect();
        let dead = Arc::new(DeadLetters::new(limits.max_dead_letters));
        let secret = match &journal {
            Keeping::Memory { secret, .. } => *secret,
            Keeping::Disk(opened, _) => opened.secret(),
        };
        let seen = Seen::new(limits.max_seen, &secret);
        let ground = Arc::new(Ground {
            groups: names.clone(),
            envelopes: groups.iter().map(|group| group.envelope.clone()).collect(),
            identity: Arc::clone(&identity),
            crowds: Crowds::new(limits.max_lane_events),
            seen,
            tags,
            metrics: Arc::clone(&metrics),
        });
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
        let settler = Arc::new(Settler::new(settle::Parts {
            journal: Arc::clone(&journal),
            dead: Arc::clone(&dead),
            groups: groups.clone(),
            identity: Arc::clone(&identity),
            notices: Arc::clone(&notices),
            clock: clock.clone(),
        }));
        let rules: Vec<_> = (0..groups.len()).filter_map(|group| rules(&groups, group, &delivery)).collect();
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
        let courier = Courier::new(deliver::Parts {
            upstream,
            settings: delivery.clone(),
            groups: groups.clone(),
            identity: Arc::clone(&identity),
            metrics,
            standing: Arc::clone(&standing),
            shards: senders.clone(),
            clock: clock.clone(),
        });
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
            notices,
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
        if group.shape != Shape::Latest && event.json.len() + shared.ground.envelope(&event) > group.max_bytes {
            return Err(Decline::Forward(Forward::TooLargeForBatch));
        }
        if shared.closed.load(Ordering::Relaxed) {
            return Err(Decline::Forward(Forward::NotKept));
        }
        let number = self.shard_of(&event.lane.user);
        if shared.levels.get(number).is_some_and(|level| level.lanes.load(Ordering::Relaxed) > shared.most_lanes) {
            return Err(Decline::Forward(Forward::TooManyLanes));
        }
        if shared.ground.crowds.is_crowded(&event.lane) {
            return Err(Decline::Forward(Forward::LaneFull));
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

    /// A caller's call made everything stored under these names old; the caller's listeners hear of it.
    pub fn invalidate(&self, caller: Fingerprint, names: Vec<String>) {
        let tags: Vec<_> = names.iter().map(|name| Tag::new(name)).collect();
        // ORDER: old before anybody hears of it and asks anew.
        self.tags().invalidate(&tags);
        self.0.notices.publish(caller, names);
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

    /// What is pending of this user and credential in these groups, oldest first, at most `most` events.
    pub async fn look(
        &self,
        user: &UserId,
        credential: Fingerprint,
        groups: &[GroupIndex],
        most: usize,
    ) -> Vec<(GroupIndex, Bytes)> {
        let (answer, shown) = oneshot::channel();
        let command = Command::Look { user: user.clone(), credential, groups: groups.into(), most, answer };
        if self.shard(user).is_none_or(|shard| shard.send(command).is_err()) {
            return Vec::new();
        }
        shown.await.unwrap_or_default()
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

    /// These groups, and those that keep one order with any of them: whoever goes synchronously goes after all of them.
    #[must_use]
    pub fn with_siblings(&self, groups: &[GroupIndex]) -> Vec<GroupIndex> {
        let siblings = groups.iter().filter_map(|group| self.group(*group)).flat_map(|group| &group.order_with);
        let mut all: Vec<_> = groups.iter().chain(siblings).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
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

fn rules(groups: &[Group], index: usize, delivery: &Delivery) -> Option<Rules> {
    let group = groups.get(index)?;
    let goes_with = |other: &Group| other.flush_with.contains(&GroupIndex(index));
    let seals = groups.iter().enumerate().filter(|(_, other)| goes_with(other)).map(|(other, _)| GroupIndex(other));
    Some(Rules {
        window: group.window,
        flush_at: group.flush_at,
        max_events: group.max_events,
        max_bytes: group.max_bytes,
        distinct: group.distinct.clone(),
        supersede: !group.supersede.is_empty(),
        latest: group.shape == Shape::Latest,
        change: group.flush_on_change.clone(),
        ordered: group.order_with.clone(),
        seals: seals.collect(),
        proves: !group.is_shared(),
        shown: group.shown,
        single: group.fallback == Fallback::Single,
        max_attempts: group.max_attempts,
        give_up_after: delivery.give_up_after,
        token_margin: delivery.token_margin,
    })
}
