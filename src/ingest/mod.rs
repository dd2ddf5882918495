//! The event path. Four rooms, in the order in which an event passes them; only this module and `recovery`, `stop` know all
//! of them.
//!
//! | room | takes | gives | may say no with |
//! |---|---|---|---|
//! | [`accept`] | a call and its rule | [`Event`](crate::event::Event), admitted ([`Admitted`]) | forwarded, refused, known |
//! | the journal | both | `Journaled` | no room: forwarded |
//! | [`lanes`] | `Journaled` | [`Batch`](lanes::window::Batch) | – |
//! | [`delivery`] | a batch | its verdict, and one outcome for each event | – |
//! | [`outcome`] | an event and its outcome | nothing left: journal, seen ids, tags, dead letters | – |

pub mod accept;
pub mod delivery;
pub mod lanes;
pub mod outcome;
pub mod recovery;
pub mod settings;
pub mod stop;

use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::event::{EventId, GroupIndex, Principal, ReadIndex, Subject, Succession, Tag, UserId, View};
use crate::identity::{Admit, Identity};
use crate::journal::Journal;
use crate::journal::health::Health;
use crate::journal::recover::Opened;
use crate::journal::settings::JournalSettings;
use crate::journal::tail::Tail;
use crate::memory::{self, Memory};
use crate::metrics::{Ledger, Metrics};
use crate::notices::{self, Notices};
use crate::upstream::Upstream;
use accept::admit::{Admitted, Admitter, Seen};
use accept::buckets::Buckets;
use accept::changes::Changes;
use accept::contexts::Contexts;
use accept::reputation::{Grounds, RefusedBy, Reputation};
use accept::shares::{Address, Bounds, HeldByStrangers, Holder, NoShare, Share, Shares, Takes};
use delivery::Dispatcher;
use delivery::gate::Gate;
use delivery::known::RouteShape;
use lanes::shard::{Hold, Level, Parts, Shard, ShardTask};
pub use lanes::window::{Asker, Pending};
use lanes::window::{Lanes, Rules};
use outcome::dead::{self, DeadLetters};
use outcome::settle::{self, Settler};
use parking_lot::Mutex;
use recovery::Recovery;
use settings::{Delivery, Fallback, Group, Keep, Limits};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often full buckets are forgotten.
const SWEEP: Duration = Duration::from_secs(10);

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
    Disk(Box<Opened>, JournalSettings),
}

impl Keeping {
    /// `journal.max_bytes`.
    const fn max_bytes(&self) -> u64 {
        match self {
            Self::Memory { max_bytes, .. } => *max_bytes,
            Self::Disk(_, settings) => settings.max_bytes,
        }
    }
}

struct Shared {
    groups: Vec<Group>,
    // Held for a look and a count.
    gates: Arc<[Mutex<Gate>]>,
    delivery: Delivery,
    limits: Limits,
    identity: Arc<Identity>,
    admitter: Arc<Admitter>,
    buckets: Buckets,
    contexts: Contexts,
    changes: Changes,
    memory: Memory,
    reputation: Arc<Reputation>,
    journal: Arc<Journal<Admitted>>,
    shards: Vec<Arc<Shard>>,
    levels: Vec<Arc<Level>>,
    spread: Spread,
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
    pub shards: Vec<ShardTask>,
    /// Delivery.
    pub dispatcher: Dispatcher,
    /// What the dispatcher reads.
    pub ready: mpsc::UnboundedReceiver<lanes::shard::Message>,
}

impl Ingest {
    /// The handle and its tasks; no task runs yet. What a durable journal held is in its lanes.
    ///
    /// # Errors
    /// The journal can't be read or written.
    pub fn new(setup: Setup) -> Result<(Self, Tasks), std::io::Error> {
        let Setup { groups, delivery, limits, journal, identity, tags, metrics, upstream, notices, clock, shards } =
            setup;
        let names: Vec<Arc<str>> = groups.iter().map(|group| Arc::clone(&group.name)).collect();
        let secret = match &journal {
            Keeping::Memory { secret, .. } => *secret,
            Keeping::Disk(opened, _) => opened.secret(),
        };
        let seen = Seen::new(limits.max_seen, &secret);
        let admitter = Arc::new(Admitter {
            groups: names.clone(),
            envelopes: groups.iter().map(|group| group.envelope.clone()).collect(),
            identity: Arc::clone(&identity),
            seen,
            tags,
            metrics: Arc::clone(&metrics),
        });
        let most = limits.max_lanes.div_ceil(shards.max(1));
        let bounds = Bounds {
            shards: shards.max(1),
            lanes: most as u64,
            bytes: journal.max_bytes(),
            listeners: notices::CALLERS as u64,
            user_events: limits.max_lane_events as u64,
        };
        let proof = (identity.settings().admit == Admit::Proven).then_some(identity.settings().proof_ttl);
        let (refresh, users) = (identity.settings().refresh, limits.max_users as u64);
        let (shares, give_up) = (Arc::new(Shares::new(bounds)), delivery.give_up_after);
        let reputation = Arc::new(Reputation::new(groups.len(), proof, give_up, refresh, users, shares));
        let letter_bytes = journal.max_bytes() / dead::PART_OF_JOURNAL;
        let dead = Arc::new(DeadLetters::new(limits.max_dead_letters, letter_bytes, Arc::clone(&reputation)));
        let contexts = Contexts::new(limits.max_context_bytes, Arc::clone(&reputation));
        let changes = Changes::new(Arc::clone(&metrics));
        let spread = Spread::new(shards);
        let rules: Vec<_> = (0..groups.len()).filter_map(|group| rules(&groups, group, &delivery)).collect();
        let (dispatcher_in, ready) = mpsc::unbounded_channel();
        let shards: Vec<_> = (0..shards.max(1))
            .map(|number| {
                let (dispatcher, level, reputation) = (dispatcher_in.clone(), Arc::default(), Arc::clone(&reputation));
                let lanes = Lanes::new(rules.clone(), most);
                Arc::new(Shard::new(Parts { number, lanes, dispatcher, level, reputation }))
            })
            .collect();
        let tails = shards.iter().map(|shard| Arc::clone(shard) as Arc<dyn Tail<_>>).collect();
        let journal = match journal {
            Keeping::Memory { max_bytes, .. } => Journal::in_memory(tails, max_bytes),
            Keeping::Disk(opened, settings) => {
                let (admitter, dead, groups, names) = (&admitter, &dead, &groups, &names);
                let (contexts, reputation, clock) = (&contexts, &reputation, &clock);
                let spread = &spread;
                let recovery = Recovery { admitter, dead, groups, names, contexts, reputation, spread, clock };
                let keep = groups.iter().map(|group| group.max_age).max().unwrap_or_default();
                let memory = crate::journal::Memory {
                    max_seen: limits.max_seen,
                    events: delivery.give_up_after.saturating_add(keep),
                };
                recovery.run(*opened, &settings, memory, tails)?
            }
        };
        let journal = Arc::new(journal);
        let keeper = Arc::downgrade(&journal);
        reputation.keep_refusals_in(keeper);
        let settler: Arc<dyn lanes::shard::Settle> = Arc::new(Settler::new(settle::Parts {
            journal: Arc::clone(&journal),
            dead: Arc::clone(&dead),
            groups: groups.clone(),
            identity: Arc::clone(&identity),
            notices: Arc::clone(&notices),
            clock: clock.clone(),
        }));
        let task = |shard: &Arc<Shard>| ShardTask::new(Arc::clone(shard), Arc::clone(&settler));
        let tasks = shards.iter().map(task).collect();
        let levels = shards.iter().map(|shard| shard.level()).collect();
        let gates: Arc<[Mutex<Gate>]> = groups.iter().map(|_| Mutex::default()).collect();
        let dispatcher = Dispatcher::new(delivery::Parts {
            upstream,
            gates: Arc::clone(&gates),
            settings: delivery.clone(),
            groups: groups.clone(),
            identity: Arc::clone(&identity),
            metrics,
            reputation: Arc::clone(&reputation),
            shards: shards.clone(),
            clock: clock.clone(),
        });
        let buckets = Buckets::new(&limits);
        let memory = Memory::new(limits.max_body_memory);
        let shared = Shared {
            groups,
            gates,
            delivery,
            limits,
            identity,
            admitter,
            buckets,
            contexts,
            changes,
            memory,
            reputation,
            journal,
            shards,
            levels,
            spread,
            dead,
            notices,
            clock,
            most_lanes: 2 * most as u64,
            closed: AtomicBool::new(false),
        };
        Ok((Self(Arc::new(shared)), Tasks { shards: tasks, dispatcher, ready }))
    }

    /// What bodies take in memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// The share of it that a caller has. `client`: its address, by which callers that nothing speaks for are counted
    /// together (ruling 25).
    #[must_use]
    pub fn share_of(&self, principal: Principal, client: IpAddr) -> memory::Share {
        let is_known = self.0.reputation.is_good_anywhere(principal);
        self.0.memory.share(principal, (!is_known).then_some(client))
    }

    /// A caller's call made everything stored under these names old; the caller's listeners hear of it.
    pub fn invalidate(&self, caller: View, names: Vec<String>) {
        let tags: Vec<_> = names.iter().map(|name| Tag::new(name)).collect();
        // ORDER: old before anybody hears of it and asks anew.
        self.tags().invalidate(&tags);
        self.0.notices.publish(caller, names);
    }

    fn shard_of(&self, user: &UserId) -> usize {
        self.0.spread.shard_of(user)
    }

    fn shard(&self, user: &UserId) -> Option<&Arc<Shard>> {
        self.0.shards.get(self.shard_of(user))
    }

    /// The shards that a caller's lanes may be in.
    fn shards_of(&self, asker: &Asker) -> &[Arc<Shard>] {
        match &asker.user {
            Some(user) => self.shard(user).map(std::slice::from_ref).unwrap_or_default(),
            None => &self.0.shards,
        }
    }

    /// Seals a caller's windows in these groups and waits until what is in them is settled (P7).
    pub async fn barrier(&self, asker: &Asker, groups: &[GroupIndex], within: Duration) -> Settled {
        let deadline = Instant::now() + within;
        let mut waits = Vec::new();
        for shard in self.shards_of(asker) {
            match shard.barrier(asker, groups) {
                Ok(settled) => waits.extend(settled),
                Err(lanes::shard::Ended) => return Settled::TimedOut,
            }
        }
        for settled in waits {
            match tokio::time::timeout_at(deadline, settled).await {
                Ok(Ok(())) => {}
                _ => return Settled::TimedOut,
            }
        }
        Settled::Yes
    }

    /// What is pending of this user and view in these groups, oldest first, at most `most` events.
    pub async fn look(
        &self,
        user: &UserId,
        (principal, view): (Principal, View),
        groups: &[GroupIndex],
        most: usize,
    ) -> Vec<Pending> {
        self.shard(user).map(|shard| shard.look(user, (principal, view), groups, most)).unwrap_or_default()
    }

    /// Takes a place in the order of a caller's lanes: what is before it goes first, later events wait while the guard
    /// lives (ruling 4). `client`: where the call came from. Only a call that has to wait is counted among those that do.
    ///
    /// # Errors
    /// What is before it could not move in time, or as many calls of this caller wait as may.
    pub async fn hold(
        &self,
        asker: &Asker,
        client: IpAddr,
        groups: &[GroupIndex],
        within: Duration,
    ) -> Result<Held, Busy> {
        let deadline = Instant::now() + within;
        let (mut held, mut waits) = (Held(Vec::new()), Vec::new());
        let groups: lanes::window::Groups = groups.into();
        for shard in self.shards_of(asker) {
            let (hold, passed) = shard.hold(asker, &groups).map_err(|lanes::shard::Ended| Busy)?;
            held.0.push(hold);
            waits.extend(passed);
        }
        if waits.is_empty() {
            return Ok(held);
        }
        let _place = self.wait_share(asker.principal, client).map_err(|_| Busy)?;
        for pass in waits {
            match tokio::time::timeout_at(deadline, pass).await {
                Ok(Ok(())) => {}
                _ => return Err(Busy),
            }
        }
        Ok(held)
    }

    /// A call of this principal was taken in these groups by the application: one of those that the groups' events come or
    /// go by.
    pub fn vouch(&self, principal: Principal, nameless: bool, groups: &[GroupIndex]) {
        let mut told: Vec<GroupIndex> = Vec::new();
        for group in groups {
            let vouched = self.0.reputation.vouch(principal, nameless, *group);
            if vouched.opens {
                self.tell_all(|shard| shard.open(*group));
            }
            if vouched.was_refused || vouched.is_news && !nameless {
                told.push(*group);
            }
        }
        if !told.is_empty() {
            self.tell_all(|shard| shard.vouch(principal, &told, Grounds::CALL));
        }
    }

    /// A read of what these groups' events change was answered to this principal, which has a name.
    pub fn vouch_by_read(&self, principal: Principal, read: ReadIndex, groups: &[GroupIndex]) {
        let is_news = |group: &&GroupIndex| self.0.reputation.vouch_by_read(principal, read, **group);
        let told: Vec<_> = groups.iter().filter(is_news).copied().collect();
        if !told.is_empty() {
            self.tell_all(|shard| shard.vouch(principal, &told, Grounds::read(read)));
        }
    }

    /// A read of this route was answered to a stranger.
    pub fn open_read(&self, read: ReadIndex) {
        if self.0.reputation.open_read(read) {
            self.tell_all(|shard| shard.open_read(read));
        }
    }

    /// A single call of these groups was taken by the application: its route is there.
    pub fn learn_route(&self, groups: &[GroupIndex], route: RouteShape) {
        for gate in groups.iter().filter_map(|group| self.0.gates.get(group.0)) {
            gate.lock().learn_route(route);
        }
    }

    /// A relayed answer renewed a session of this principal.
    pub fn note_renewal(&self, principal: Principal) {
        let renewals = &self.0.admitter.metrics.renewals;
        if renewals.get() == 0 && self.0.identity.settings().refresh.is_none() {
            tracing::warn!(
                "the application renews sessions by cookies on its answers; acknowledgements carry none: set \
                 identity.refresh to a part of a session's life, so that one call of each caller is forwarded so often"
            );
        }
        renewals.inc();
        self.0.reputation.note_renewal(principal);
    }

    /// A session has a successor: it is known after a restart too, if events of its family are remembered (ruling 24).
    pub async fn keep_succession(&self, succession: Succession) {
        self.0.journal.succeed(succession).await;
    }

    /// A call of this principal met 401 at the application. Where a restart must know that, it does afterwards.
    pub async fn refuse(&self, principal: Principal) {
        if self.0.reputation.refuse(principal, RefusedBy::Unauthorized) {
            self.0.journal.write_queued().await;
        }
    }

    /// How long a read waits for its user's lanes, where its route says nothing.
    #[must_use]
    pub fn barrier_time(&self) -> Duration {
        self.0.delivery.barrier
    }

    /// What is known of principals.
    #[must_use]
    pub fn reputation(&self) -> &Reputation {
        &self.0.reputation
    }

    /// Seals every window.
    pub fn flush(&self) {
        self.tell_all(Shard::flush);
    }

    fn tell_all(&self, tell: impl Fn(&Shard)) {
        self.0.shards.iter().for_each(|shard| tell(shard));
    }

    /// Generations and pending counts.
    #[must_use]
    pub fn tags(&self) -> &Arc<Tags> {
        &self.0.admitter.tags
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

    /// The conservation ledger.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.0.admitter.metrics.ledgers.sum()
    }

    /// Dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> &Arc<DeadLetters> {
        &self.0.dead
    }

    /// How the journal is.
    #[must_use]
    pub fn journal(&self) -> &Arc<Health> {
        self.0.journal.health()
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
        self.0.journal.drop_letters(&gone);
        ids
    }

    /// Lanes with events.
    #[must_use]
    pub fn lanes(&self) -> u64 {
        self.0.levels.iter().map(|level| level.lanes.load(Ordering::Relaxed)).sum()
    }

    /// What callers hold whom nothing speaks for.
    #[must_use]
    pub fn held_by_strangers(&self) -> HeldByStrangers {
        self.0.reputation.shares().held()
    }

    /// A place among those who listen for invalidations.
    ///
    /// # Errors
    /// Nothing speaks for the caller, and such callers have their share of the places.
    pub fn listen_share(&self, principal: Principal, client: IpAddr) -> Result<Share, NoShare> {
        let holder = Holder { principal, address: Address::of(client) };
        self.0.reputation.take_share(holder, Takes::Listener)
    }

    /// A place among the forwarded calls that wait for what is before them.
    ///
    /// # Errors
    /// As many of this caller's wait as may.
    fn wait_share(&self, principal: Principal, client: IpAddr) -> Result<Share, NoShare> {
        let holder = Holder { principal, address: Address::of(client) };
        self.0.reputation.take_share(holder, Takes::Call)
    }

    /// Parts that differ at every call of a caller, as far as they were warned about.
    #[must_use]
    pub fn changing_parts(&self) -> Vec<String> {
        self.0.changes.warned()
    }

    /// Bytes of pending events, and of the contexts that they share.
    #[must_use]
    pub fn pending_bytes(&self) -> u64 {
        self.0.journal.held() + self.0.contexts.bytes()
    }

    /// Age of the oldest event that has no outcome yet.
    pub async fn oldest_pending(&self) -> Option<Duration> {
        self.0.shards.iter().filter_map(|shard| shard.oldest()).min().map(|at| at.elapsed())
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
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// From here on every event is forwarded, none taken.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
    }
}

/// A place in the order, in every shard that its caller's lanes may be in.
#[derive(Debug)]
pub struct Held(Vec<Hold>);

impl Held {
    /// The held call told a newer state of this subject and was taken: older ones are needless.
    pub fn replace(&self, group: GroupIndex, subject: Subject, by: &EventId) {
        self.0.iter().for_each(|hold| hold.replace(group, subject, by));
    }
}

/// Which shard a user's lanes are in: by user alone, so that all of them are in one place; keyed anew with each start, so
/// that no names can be chosen that meet in one.
#[derive(Debug)]
struct Spread {
    shards: usize,
    hasher: RandomState,
}

impl Spread {
    fn new(shards: usize) -> Self {
        Self { shards: shards.max(1), hasher: RandomState::new() }
    }

    fn shard_of(&self, user: &UserId) -> usize {
        usize::try_from(self.hasher.hash_one(user.as_str()) % self.shards as u64).unwrap_or(0)
    }
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
        newest: group.keep == Keep::Newest,
        single_calls: group.is_single(),
        change: group.flush_on_change.clone(),
        ordered: group.order_with.clone(),
        seals: seals.collect(),
        shared: group.is_shared(),
        shown: group.shown,
        single: group.fallback == Fallback::Single,
        max_attempts: group.max_attempts,
        give_up_after: delivery.give_up_after,
        token_margin: delivery.token_margin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_names_can_be_chosen_that_meet_in_one_shard() {
        let places = || {
            let spread = Spread::new(16);
            let users = (0..64).map(|number| UserId::try_new(&format!("u{number}")).unwrap());
            users.map(|user| spread.shard_of(&user)).collect::<Vec<_>>()
        };
        let (one, other) = (places(), places());
        assert!(one.iter().chain(&other).all(|place| *place < 16));
        assert_ne!(one, other, "each start has its own");
    }
}
