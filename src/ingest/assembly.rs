//! Puts the event path together: its rooms, its handles and its tasks.

use super::Shared;
use super::accept::admit::Admitter;
use super::accept::buckets::Buckets;
use super::accept::changes::Changes;
use super::accept::contexts::Contexts;
use super::accept::repetitions::Repetitions;
use super::accept::reputation::Reputation;
use super::accept::seen::Seen;
use super::accept::shares::{Bounds, Shares};
use super::accept::watch::Watch;
use super::acceptor::Acceptor;
use super::caller_lanes::CallerLanes;
use super::caller_standing::CallerStanding;
use super::delivery::gate::Gate;
use super::delivery::outcomes::Outcomes;
use super::delivery::{self, Dispatcher};
use super::lanes::shard::{self, Parts, Shard, ShardTask};
use super::lanes::window::{Lanes, Rules};
use super::operations::Operations;
use super::outcome::dead::{self, DeadLetters};
use super::outcome::lives::Lives;
use super::outcome::settle::{self, Settler};
use super::recovery::Recovery;
use super::settings::{Delivery, Fallback, Group, Keep, Limits};
use super::spread::Spread;
use super::stop::Stop;
use super::tasks::{Housekeeping, Tasks};
use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::event::GroupIndex;
use crate::identity::{Admit, Identity, IdentitySettings};
use crate::journal::recover::Opened;
use crate::journal::settings::{Durability, JournalSettings};
use crate::journal::tail::Tail;
use crate::journal::{self, Journal};
use crate::logging::AccessLog;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::notices::{self, Notices};
use crate::spans::Spans;
use crate::upstream::Upstream;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::mpsc;

/// What the event path is made of.
pub(crate) struct Setup {
    /// The groups.
    pub(crate) groups: Vec<Group>,
    /// `[delivery]`.
    pub(crate) delivery: Delivery,
    /// `[limits]`.
    pub(crate) limits: Limits,
    /// Where events are kept.
    pub(crate) journal: Keeping,
    /// Who is who.
    pub(crate) identity: Arc<Identity>,
    /// Generations and pending counts.
    pub(crate) tags: Arc<Tags>,
    /// Instruments.
    pub(crate) metrics: Arc<Metrics>,
    /// The way to the application; none: batches are made and looked at, and nobody is asked.
    pub(crate) upstream: Option<Upstream>,
    /// Who is told of deliveries and outcomes.
    pub(crate) outcomes: Option<Arc<dyn Outcomes>>,
    /// Who hears of what was invalidated.
    pub(crate) notices: Arc<Notices>,
    /// Wall clock.
    pub(crate) clock: Clock,
    /// Who is shown calls in mode `observe`.
    pub(crate) watch: Arc<dyn Watch>,
    /// The access log.
    pub(crate) access: AccessLog,
    /// Records spans.
    pub(crate) spans: Spans,
    /// Tasks that own lanes; at least one.
    pub(crate) shards: usize,
}

/// Where events are kept.
pub(crate) enum Keeping {
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
    /// What hashes of callers and ids are keyed with.
    pub(crate) const fn secret(&self) -> [u8; 32] {
        match self {
            Self::Memory { secret, .. } => *secret,
            Self::Disk(opened, _) => opened.secret(),
        }
    }

    /// What acknowledged events survive.
    pub(crate) const fn durability(&self) -> Durability {
        match self {
            Self::Memory { .. } => Durability::None,
            Self::Disk(_, settings) => settings.durability,
        }
    }

    /// Where they are.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Memory { .. } => None,
            Self::Disk(_, settings) => Some(settings.path.clone()),
        }
    }

    /// Whether a start has found any.
    pub(crate) fn has_events(&self) -> bool {
        matches!(self, Self::Disk(opened, _) if opened.has_events())
    }

    /// `journal.max_bytes`.
    const fn max_bytes(&self) -> u64 {
        match self {
            Self::Memory { max_bytes, .. } => *max_bytes,
            Self::Disk(_, settings) => settings.max_bytes,
        }
    }
}

/// What the event path is used by; clones share everything.
pub(crate) struct Handles {
    /// Takes events.
    pub(crate) acceptor: Acceptor,
    /// What callers have pending.
    pub(crate) lanes: CallerLanes,
    /// What is known of callers.
    pub(crate) standing: CallerStanding,
    /// What an operator sees and does.
    pub(crate) operations: Operations,
    /// The end.
    pub(crate) stop: Stop,
}

/// The handles and the tasks; no task runs yet. What a durable journal held is in its lanes.
///
/// # Errors
/// The journal can't be read or written.
pub(crate) fn assemble(setup: Setup) -> std::io::Result<(Handles, Tasks)> {
    let Setup {
        groups,
        delivery,
        limits,
        journal,
        identity,
        tags,
        metrics,
        upstream,
        outcomes,
        notices,
        clock,
        watch,
        access,
        spans,
        shards,
    } = setup;
    let names: Vec<Arc<str>> = groups.iter().map(|group| Arc::clone(&group.name)).collect();
    let admitter = Arc::new(Admitter {
        groups: names.clone(),
        envelopes: groups.iter().map(|group| group.envelope.clone()).collect(),
        identity: Arc::clone(&identity),
        seen: Seen::new(limits.max_seen, &journal.secret()),
        tags,
        metrics: Arc::clone(&metrics),
        repetitions: Repetitions::default(),
    });
    let shards = shards.max(1);
    let most_lanes = limits.max_lanes.div_ceil(shards);
    let bounds = Bounds {
        shards: u32::try_from(shards).unwrap_or(u32::MAX),
        lanes: most_lanes as u64,
        bytes: journal.max_bytes(),
        listeners: notices::CALLERS as u64,
        user_events: limits.max_lane_events as u64,
    };
    let reputation = Arc::new(reputation(
        groups.len(),
        identity.settings(),
        &delivery,
        &limits,
        bounds,
    ));
    let letter_bytes = journal.max_bytes() / dead::PART_OF_JOURNAL;
    let dead = Arc::new(DeadLetters::new(
        limits.max_dead_letters,
        letter_bytes,
        Arc::clone(&reputation),
    ));
    let lives = Arc::<Lives>::default();
    let contexts = Contexts::new(limits.max_context_bytes, Arc::clone(&reputation));
    let changes = Changes::new(Arc::clone(&metrics));
    let spread = Spread::new(shards);
    let rules = window_rules(&groups, &delivery);
    let (dispatcher, ready) = mpsc::unbounded_channel();
    let shards: Vec<_> = (0..shards)
        .map(|number| {
            let (dispatcher, level, reputation) =
                (dispatcher.clone(), Arc::default(), Arc::clone(&reputation));
            let lanes = Lanes::new(rules.clone(), most_lanes);
            Arc::new(Shard::new(Parts {
                number,
                lanes,
                dispatcher,
                level,
                reputation,
            }))
        })
        .collect();
    let tails = shards
        .iter()
        .map(|shard| Arc::clone(shard) as Arc<dyn Tail<_>>)
        .collect();
    let journal = match journal {
        Keeping::Memory { max_bytes, .. } => Journal::in_memory(tails, max_bytes),
        Keeping::Disk(opened, settings) => {
            let recovery = Recovery {
                admitter: &admitter,
                dead: &dead,
                groups: &groups,
                names: &names,
                contexts: &contexts,
                reputation: &reputation,
                spread: &spread,
                shards: &shards,
                told: RefCell::default(),
                clock: &clock,
            };
            recovery.run(
                *opened,
                &settings,
                what_to_remember(&groups, &delivery, &limits),
                tails,
            )?
        }
    };
    let journal = Arc::new(journal);
    let keeper = Arc::downgrade(&journal);
    reputation.keep_refusals_in(keeper);
    let settler: Arc<dyn shard::Settle> = Arc::new(Settler::new(settle::Parts {
        journal: Arc::clone(&journal),
        dead: Arc::clone(&dead),
        lives: Arc::clone(&lives),
        groups: groups.clone(),
        identity: Arc::clone(&identity),
        notices,
        clock: clock.clone(),
        outcomes: outcomes.clone(),
    }));
    let task = |shard: &Arc<Shard>| ShardTask::new(Arc::clone(shard), Arc::clone(&settler));
    let tasks = shards.iter().map(task).collect();
    let gates: Arc<[Mutex<Gate>]> = groups.iter().map(|_| Mutex::default()).collect();
    let dispatcher = Dispatcher::new(delivery::Parts {
        upstream,
        outcomes: outcomes.clone(),
        gates: Arc::clone(&gates),
        settings: delivery.clone(),
        groups: groups.clone(),
        identity: Arc::clone(&identity),
        metrics,
        reputation: Arc::clone(&reputation),
        shards: shards.clone(),
        clock: clock.clone(),
        access,
        spans,
    });
    let shared = Arc::new(Shared {
        groups,
        gates,
        delivery,
        dead_letter_age: limits.dead_letter_age,
        max_body: limits.max_body,
        identity,
        admitter,
        buckets: Buckets::new(&limits),
        contexts,
        changes,
        memory: Memory::new(limits.max_body_memory),
        reputation,
        journal,
        levels: shards.iter().map(|shard| shard.level()).collect(),
        shards,
        spread,
        dead,
        lives,
        clock,
        most_lanes: 2 * most_lanes as u64,
        watch,
        outcomes,
        closed: AtomicBool::new(false),
    });
    let handles = Handles {
        acceptor: Acceptor(Arc::clone(&shared)),
        lanes: CallerLanes(Arc::clone(&shared)),
        standing: CallerStanding(Arc::clone(&shared)),
        operations: Operations(Arc::clone(&shared)),
        stop: Stop(Arc::clone(&shared)),
    };
    Ok((
        handles,
        Tasks {
            shards: tasks,
            dispatcher,
            ready,
            housekeeping: Housekeeping(shared),
        },
    ))
}

fn reputation(
    groups: usize,
    identity: &IdentitySettings,
    delivery: &Delivery,
    limits: &Limits,
    bounds: Bounds,
) -> Reputation {
    let proof = (identity.admit == Admit::Proven).then_some(identity.proof_ttl);
    let shares = Arc::new(Shares::new(bounds));
    Reputation::new(
        groups,
        proof,
        delivery.give_up_after,
        identity.refresh,
        limits.max_users as u64,
        shares,
    )
}

/// What a journal remembers of events that are settled.
fn what_to_remember(groups: &[Group], delivery: &Delivery, limits: &Limits) -> journal::Memory {
    let longest = groups
        .iter()
        .map(|group| group.max_age)
        .max()
        .unwrap_or_default();
    journal::Memory {
        max_seen: limits.max_seen,
        events: delivery.give_up_after.saturating_add(longest),
    }
}

/// The rules of each group's windows.
pub(crate) fn window_rules(groups: &[Group], delivery: &Delivery) -> Vec<Rules> {
    (0..groups.len())
        .filter_map(|group| rules(groups, group, delivery))
        .collect()
}

fn rules(groups: &[Group], index: usize, delivery: &Delivery) -> Option<Rules> {
    let group = groups.get(index)?;
    let goes_with = |other: &Group| other.flush_with.contains(&GroupIndex(index));
    let seals = groups
        .iter()
        .enumerate()
        .filter(|(_, other)| goes_with(other))
        .map(|(other, _)| GroupIndex(other));
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
