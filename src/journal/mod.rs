//! The journal: append until durable, tail into the windows, settle (design §2, §12).
//!
//! **Constraints.** An event is acknowledged only after `append` has returned `Ok` (P1). Events of one lane reach the
//! tail in the order of their sequence numbers (P4). What is not settled is bounded by `max_bytes` (P10).
//!
//! **Operation.** A journal has one tail per shard; a lane always goes to the same shard. `append` numbers the event
//! and hands it to the tail in one step, so that no later event of the lane can come before it. `settle` gives the
//! space back.
//!
//! **Levels.** `none` lives in memory. `process` and `disk` are written by one thread, the [`commit`]ter, into the
//! embedded engine behind [`store`]; [`recover`] brings back what a start finds.
//!
//! ```text
//! append ─► committer: one commit, one fsync for all that waits ─► tail ─► answer
//! settle ─► committer: with the next commit, never synced for its own sake (ruling 3)
//! ```

pub mod commit;
pub mod directory;
pub mod record;
pub mod recover;
pub mod salvage;
pub mod settings;
pub mod store;
pub mod successors;
pub mod vault;

use crate::clock::{Clock, millis};
use crate::event::{Event, Fingerprint, Outcome, Succession};
use commit::{Append, Message, Settle};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use successors::ActiveFamilies;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Bytes that a pending event takes beside what it carries, estimated: lane, maps. Counted so that many tiny events
/// meet the cap too.
const OVERHEAD: u64 = 512;

/// An event that is as durable as the level promises. Only a journal makes one.
#[derive(Debug)]
pub struct Journaled<T> {
    seq: u64,
    event: Event,
    since: Instant,
    /// What the caller sent along: the obligation to settle.
    pub ticket: T,
}

impl<T> Journaled<T> {
    /// Its place in the order of its lane.
    pub const fn seq(&self) -> u64 {
        self.seq
    }
    /// The event.
    pub const fn event(&self) -> &Event {
        &self.event
    }
    /// When it was kept; for a recovered event, as long ago as it was received.
    pub const fn since(&self) -> Instant {
        self.since
    }
}

/// Why an event could not be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// `journal.max_bytes` is reached.
    #[error("the journal holds {held} of {max} bytes")]
    Full {
        /// Bytes held.
        held: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// Less than `journal.min_free` is left.
    #[error("the journal's disk is nearly full")]
    DiskFull,
    /// A write failed; nobody knows what the disk holds.
    #[error("the journal failed to write and takes no more events")]
    Poisoned,
    /// The windows have stopped.
    #[error("the journal is closed")]
    Closed,
}

/// What a caller sends along with an event: the obligation to settle it. Dropped before [`kept`](Self::kept) it takes
/// everything back, as if the event had never come.
pub trait Ticket: Send + 'static {
    /// The event is as durable as the level promises; from here on only an outcome ends the obligation.
    fn kept(&mut self);
    /// It could not be handed over after all.
    fn taken_back(&mut self);
}

/// How a journal is.
#[derive(Debug, Default)]
pub struct Vitals {
    held: AtomicU64,
    repeats: AtomicU64,
    commits: AtomicU64,
    appends: AtomicU64,
    low: AtomicBool,
    poison: OnceLock<String>,
    clock: Clock,
}

impl Vitals {
    fn new(clock: Clock) -> Self {
        Self { clock, ..Self::default() }
    }
    fn now_ms(&self) -> u64 {
        millis(self.clock.now())
    }
    fn release(&self, event: &Event) {
        self.held.fetch_sub(size(event), Ordering::Relaxed);
    }
    fn set_low(&self, low: bool) -> bool {
        self.low.swap(low, Ordering::Relaxed)
    }
    fn set_poison(&self, why: String) {
        // The first failure is the one that counts.
        drop(self.poison.set(why));
    }
    fn committed(&self, appends: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.appends.fetch_add(appends as u64, Ordering::Relaxed);
    }
    fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }
    /// Why the journal takes no more events, if it doesn't.
    #[must_use]
    pub fn poison(&self) -> Option<&str> {
        self.poison.get().map(String::as_str)
    }
    /// The disk is nearly full.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }
    /// Commits so far, and the events in them.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.commits.load(Ordering::Relaxed), self.appends.load(Ordering::Relaxed))
    }
}

/// The end of an event, as the journal needs to know it.
#[derive(Debug)]
pub struct End {
    /// What became of it.
    pub outcome: Outcome,
    /// Its key among the seen ids, and the Unix milliseconds at which it may be forgotten; none: it is forgotten now.
    pub seen: Option<([u8; 16], u64)>,
    /// The dead letter as the table holds it, if it became one.
    pub letter: Option<Vec<u8>>,
    /// Dead letters that went for want of room, with their credentials.
    pub dropped: Vec<(u64, Fingerprint)>,
}

// A mutex around a sender that needs none: numbering and handing over must be one step, or a lane's order is lost.
type Tail<T> = Mutex<mpsc::UnboundedSender<Journaled<T>>>;

#[derive(Debug)]
enum Level<T> {
    Memory { tails: Vec<Tail<T>>, last: AtomicU64 },
    // Unbounded in type, bounded by `max_bytes`: what is in the channel is held.
    Disk { inbox: mpsc::UnboundedSender<Message<T>>, groups: Vec<Arc<str>>, shards: usize, active: ActiveFamilies },
}

/// A journal of any level.
#[derive(Debug)]
pub struct Journal<T> {
    level: Level<T>,
    vitals: Arc<Vitals>,
    max_bytes: u64,
}

/// What shards read.
pub type Tails<T> = Vec<mpsc::UnboundedReceiver<Journaled<T>>>;

impl<T: Ticket> Journal<T> {
    /// A journal in memory with `shards` tails (at least one).
    #[must_use]
    pub fn in_memory(shards: usize, max_bytes: u64) -> (Self, Tails<T>) {
        let (tails, receivers) = (0..shards.max(1))
            .map(|_| {
                let (tail, receiver) = mpsc::unbounded_channel();
                (Mutex::new(tail), receiver)
            })
            .unzip();
        (Self { level: Level::Memory { tails, last: AtomicU64::new(0) }, vitals: Arc::default(), max_bytes }, receivers)
    }

    /// Number of tails.
    #[must_use]
    pub const fn shards(&self) -> usize {
        match &self.level {
            Level::Memory { tails, .. } => tails.len(),
            Level::Disk { shards, .. } => *shards,
        }
    }

    /// Bytes not yet settled.
    pub fn held(&self) -> u64 {
        self.vitals.held.load(Ordering::Relaxed)
    }

    /// How it is.
    #[must_use]
    pub const fn vitals(&self) -> &Arc<Vitals> {
        &self.vitals
    }

    /// A duplicate was recognized before it came here; the state on disk counts it with the next commit.
    pub fn repeat(&self) {
        self.vitals.repeats.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps the event; afterwards it may be acknowledged.
    ///
    /// # Errors
    /// There is no room, the disk fails, or the windows have stopped; the ticket is dropped.
    ///
    /// # Cancel safety
    /// Once polled, the event is kept or dropped whether or not the caller stays (ruling 2).
    pub async fn append(&self, shard: usize, event: Event, ticket: T, more: More) -> Result<u64, AppendError> {
        let size = size(&event);
        let held = self.vitals.held.fetch_add(size, Ordering::Relaxed);
        if held + size + more.beside > self.max_bytes {
            self.vitals.held.fetch_sub(size, Ordering::Relaxed);
            return Err(AppendError::Full { held, max: self.max_bytes });
        }
        let shard = shard % self.shards().max(1);
        match &self.level {
            Level::Memory { tails, last } => self.hand_over(tails.get(shard), last, event, ticket),
            Level::Disk { inbox, groups, active, .. } => {
                // ORDER: before the event is kept, so that a session that is renewed meanwhile is seen to have one.
                active.mark(event.owner.principal, Instant::now());
                let group = groups.get(event.lane.group.0).map_or("", |group| group);
                let draft = commit::draft(&event, group, more.seen);
                let (answer, kept) = oneshot::channel();
                let More { replaces, succession, .. } = more;
                let append = Append { shard, event, draft, ticket, replaces, succession, answer };
                if inbox.send(Message::Append(Box::new(append))).is_err() {
                    self.vitals.held.fetch_sub(size, Ordering::Relaxed);
                    return Err(AppendError::Closed);
                }
                // A committer that ends without an answer has dropped the ticket.
                kept.await.unwrap_or(Err(AppendError::Closed))
            }
        }
    }

    fn hand_over(
        &self,
        tail: Option<&Tail<T>>,
        last: &AtomicU64,
        event: Event,
        mut ticket: T,
    ) -> Result<u64, AppendError> {
        let Some(tail) = tail.map(Mutex::lock).filter(|tail| !tail.is_closed()) else {
            self.vitals.release(&event);
            return Err(AppendError::Closed);
        };
        // ORDER: under the lock, so that the tail sees the numbers of a lane in order.
        let seq = last.fetch_add(1, Ordering::Relaxed) + 1;
        ticket.kept();
        match tail.send(Journaled { seq, event, ticket, since: Instant::now() }) {
            Ok(()) => Ok(seq),
            Err(mpsc::error::SendError(mut back)) => {
                back.ticket.taken_back();
                self.vitals.release(&back.event);
                Err(AppendError::Closed)
            }
        }
    }

    /// The event has its outcome; its space is free again.
    pub fn settle(&self, journaled: &Journaled<T>, end: End) {
        self.vitals.release(&journaled.event);
        if let Level::Disk { inbox, .. } = &self.level {
            let End { outcome, seen, letter, dropped } = end;
            let (seq, credential) = (journaled.seq, journaled.event.lane.credential);
            let settle = Settle { seq, credential, outcome, seen, letter, dropped };
            // Without a committer the process is ending: the event will be offered again (ruling 3).
            drop(inbox.send(Message::Settle(Box::new(settle))));
        }
    }

    /// Keeps a session's successor if an event of its family may be remembered; afterwards it is as durable as an event. A
    /// journal that can't keep it says nothing: it takes no events either.
    pub async fn succeed(&self, succession: Succession) {
        let Level::Disk { inbox, active, .. } = &self.level else { return };
        if !active.has_events(succession.first, Instant::now()) {
            return;
        }
        let (answer, kept) = oneshot::channel();
        if inbox.send(Message::Succeed(succession, answer)).is_ok() {
            // It ends without a word when the successor is kept, or when nothing is kept any more.
            drop(kept.await);
        }
    }

    /// Dead letters that an operator dropped, with their credentials.
    pub fn drop_letters(&self, letters: Vec<(u64, Fingerprint)>) {
        if let Level::Disk { inbox, .. } = &self.level {
            drop(inbox.send(Message::Bury(letters)));
        }
    }

    /// Everything that was sent is on the disk, and nothing more will be.
    pub async fn close(&self) {
        if let Level::Disk { inbox, .. } = &self.level {
            let (answer, closed) = oneshot::channel();
            if inbox.send(Message::Close(answer)).is_ok() && closed.await.is_err() {
                tracing::error!("the journal ended before its last commit");
            }
        }
    }
}

/// What goes along with an event into the journal.
#[derive(Debug, Clone, Copy)]
pub struct More {
    /// The key of its id among the seen ones.
    pub seen: [u8; 16],
    /// The dead letter that it was, which goes in the same moment.
    pub replaces: Option<u64>,
    /// Bytes that count against `max_bytes` beside the events: contexts.
    pub beside: u64,
    /// Its caller's session succeeded another one.
    pub succession: Option<Succession>,
}

/// How long the journal remembers what was.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Settled ids remembered; the oldest are forgotten first.
    pub max_seen: usize,
    /// How long an event may be pending, and its id known after that.
    pub events: Duration,
}

/// What an event counts against `max_bytes`, bytes.
#[must_use]
pub fn size(event: &Event) -> u64 {
    (event.json.len() + event.carried.len()) as u64 + OVERHEAD
}
