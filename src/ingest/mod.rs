//! The event path. Four rooms, in the order in which an event passes them; what stands beside them
//! here knows all of them.
//!
//! | room | takes | gives | may say no with |
//! |---|---|---|---|
//! | [`accept`] | a call and its rule | [`Event`](crate::event::Event), admitted (`Admitted`) | forwarded, refused, known |
//! | the journal | both | `Journaled` | no room: forwarded |
//! | [`lanes`] | `Journaled` | [`Batch`](lanes::window::Batch) | – |
//! | `delivery` | a batch | its verdict, and one outcome for each event | – |
//! | `outcome` | an event and its outcome | nothing left: journal, seen ids, tags, dead letters | – |
//!
//! Each user of the event path has a handle of its own, with what it needs and no more:
//!
//! | handle | for | to |
//! |---|---|---|
//! | `Acceptor` | the gateway | take events |
//! | `CallerLanes` | the gateway, reads | come after what a caller has pending |
//! | `CallerStanding` | the gateway, reads | learn and tell what is known of a caller, and what it may take |
//! | `Operations` | the admin surface | look, flush, and handle dead letters |
//! | `Stop` | the process | end |

pub mod accept;
mod acceptor;
mod asker;
mod assembly;
mod caller_lanes;
mod caller_standing;
pub(crate) mod delivery;
pub mod lanes;
mod life;
mod operations;
pub(crate) mod outcome;
mod recovery;
mod ring;
pub mod settings;
mod spread;
mod stop;
mod tasks;

pub(crate) use acceptor::Acceptor;
pub(crate) use asker::Asker;
pub(crate) use assembly::{Handles, Keeping, Setup, assemble, window_rules};
pub(crate) use caller_lanes::{CallerLanes, Held, Settled};
pub(crate) use caller_standing::CallerStanding;
pub(crate) use operations::{GroupSurvey, Operations};
pub(crate) use outcome::lives::MOST as MOST_ENDED;
pub(crate) use stop::{Drained, Stop};
pub(crate) use tasks::Tasks;

use crate::clock::Clock;
use crate::event::{GroupIndex, UserId};
use crate::identity::Identity;
use crate::journal::Journal;
use crate::memory::Memory;
use crate::metrics::Ledger;
use accept::admit::{Admitted, Admitter};
use accept::buckets::Buckets;
use accept::changes::Changes;
use accept::contexts::Contexts;
use accept::reputation::Reputation;
use accept::watch::Watch;
use delivery::gate::Gate;
use delivery::outcomes::Outcomes;
use lanes::shard::{Level, Shard};
use outcome::dead::DeadLetters;
use outcome::lives::Lives;
use parking_lot::Mutex;
use settings::{Delivery, Group};
use spread::Spread;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What all handles share.
struct Shared {
    groups: Vec<Group>,
    // Held for a look and a count.
    gates: Arc<[Mutex<Gate>]>,
    delivery: Delivery,
    /// `limits.dead_letter_age`.
    dead_letter_age: Duration,
    /// Largest body of an event call that is looked at, bytes.
    max_body: usize,
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
    lives: Arc<Lives>,
    clock: Clock,
    /// Lanes of one shard beyond which new events are forwarded: twice its share of
    /// `limits.max_lanes`.
    most_lanes: u64,
    /// Who is shown calls in mode `observe`.
    watch: Arc<dyn Watch>,
    /// Who is told of events that are kept.
    outcomes: Option<Arc<dyn Outcomes>>,
    /// The end: nothing more is taken.
    closed: AtomicBool,
}

impl Shared {
    fn group(&self, index: GroupIndex) -> Option<&Group> {
        self.groups.get(index.0)
    }

    fn shard(&self, user: &UserId) -> Option<&Arc<Shard>> {
        self.shards.get(self.spread.shard_of(user))
    }

    fn tell_all(&self, tell: impl Fn(&Shard)) {
        self.shards.iter().for_each(|shard| tell(shard));
    }

    /// Seals every window.
    fn flush(&self) {
        self.tell_all(Shard::flush);
    }

    fn ledger(&self) -> Ledger {
        self.admitter.metrics.ledgers.sum()
    }
}
