//! One shard: its lanes behind their lock, and the task that keeps their clock.
//!
//! An event enters its lane under the lock, by the thread that made it durable; an attempt's
//! verdict, a barrier and a hold take the lock as well. Whatever takes it hands over what is ready
//! for the dispatcher. Only what takes long or must come in one order is left to the
//! [task](ShardTask): it seals when a deadline has passed, settles, and tells those who wait. It is
//! woken when there is something to settle, when somebody may have waited long enough, or when a
//! deadline came nearer than the one that it sleeps until.
//!
//! ORDER: the shard's lock is the innermost but for the one that orders messages to the dispatcher.
//! It is taken while the journal hands an event over (at `none`: under the lock that numbers it),
//! never while the journal's queue or writer is locked. While it is held neither the journal nor
//! the tags, the seen ids or the reputation are called, and no task is woken: that comes after it.

mod entry;
mod hold;
mod look;
mod message;
mod state;
mod task;

pub use hold::Hold;
pub use message::Message;
pub use task::{Settle, ShardTask, sleep_until};

use crate::event::{GroupIndex, Principal, ReadIndex, UserId};
use crate::ingest::accept::admit::Admitted;
use crate::ingest::accept::reputation::{Grounds, Reputation};
use crate::ingest::asker::Asker;
use crate::ingest::lanes::window::{Batch, Entry as _, GivenUp, Lanes, Verdict};
use crate::journal::Journaled;
use crate::journal::tail::Tail;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use state::{Hurry, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

/// A durable event with its obligation. In a box, since it goes through many hands.
pub type Kept = Box<Journaled<Admitted>>;

/// The shard has ended: it takes nothing, and sends nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shard has ended")]
pub struct Ended;

/// Most lanes that are looked at in one hold of the lock, where there may be very many.
const MOST_LANES: usize = 256;

/// What a shard shows of itself.
#[derive(Debug, Default)]
pub struct Level {
    /// Lanes with events.
    pub lanes: AtomicU64,
}

/// What a shard is made of.
pub struct Parts {
    /// Its number, which the dispatcher answers to.
    pub number: usize,
    /// Its lanes.
    pub lanes: Lanes<Kept>,
    /// Where batches go.
    pub dispatcher: mpsc::UnboundedSender<Message>,
    /// What it shows.
    pub level: Arc<Level>,
    /// What is known of principals.
    pub reputation: Arc<Reputation>,
}

/// The lanes of one shard, behind their lock.
pub struct Shard {
    number: usize,
    // One lock, since an event, its order among its user's lanes and its deadline change together.
    // Held for one step of the lanes, never across a wait.
    state: Mutex<State>,
    // ORDER: locked before `state` is let go and while messages are sent, so that they are sent in
    // the order of the steps: a lane's batch before the word that somebody waits for it.
    dispatcher: Mutex<mpsc::UnboundedSender<Message>>,
    /// Wakes the task.
    due: Notify,
    /// Set under `state`'s lock, but for a panic.
    is_closed: AtomicBool,
    level: Arc<Level>,
    reputation: Arc<Reputation>,
    began: Instant,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Tail<Admitted> for Shard {
    fn take(&self, kept: Kept) -> Option<Kept> {
        // What a start found is older than the shard.
        let now = (*kept).since().max(self.began);
        let mut kept = Some(kept);
        let pushed = self.step(|state| kept.take().map(|kept| state.lanes.push(now, kept)));
        // An event that was not pushed is there still.
        pushed.map_or(kept, |_| None)
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }
}

impl Shard {
    /// A shard, and the task that is to be run for it.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts {
            number,
            lanes,
            dispatcher,
            level,
            reputation,
        } = parts;
        Self {
            number,
            state: Mutex::new(State::new(lanes)),
            dispatcher: Mutex::new(dispatcher),
            due: Notify::new(),
            is_closed: AtomicBool::new(false),
            level,
            reputation,
            began: Instant::now(),
        }
    }

    /// One step of the lanes; afterwards the dispatcher has what is ready, and the task knows what
    /// is left to it.
    fn step<R>(&self, step: impl FnOnce(&mut State) -> R) -> Result<R, Ended> {
        let panics = EndsInPanic(self);
        let mut state = self.state.lock();
        let result = if self.is_closed() {
            Err(Ended)
        } else {
            let result = step(&mut state);
            if self.hand_over(state) {
                self.due.notify_one();
            }
            Ok(result)
        };
        std::mem::forget(panics);
        result
    }

    /// A step after which those who wait may go on.
    fn tell<R>(&self, step: impl FnOnce(&mut State) -> R) -> Result<R, Ended> {
        self.step(|state| {
            state.has_moved = true;
            step(state)
        })
    }

    /// Lets the lock go and sends the dispatcher what is ready; whether the task has something to
    /// do.
    fn hand_over(&self, mut state: MutexGuard<'_, State>) -> bool {
        self.level
            .lanes
            .store(state.lanes.len() as u64, Ordering::Relaxed);
        let wakes = state.wants_task();
        let messages = state.take_messages(self.number);
        if messages.is_empty() {
            return wakes;
        }
        let dispatcher = self.dispatcher.lock();
        drop(state);
        // The dispatcher outlives the shards; if it is gone, the process is ending and the events
        // stay pending.
        if messages
            .into_iter()
            .any(|message| dispatcher.send(message).is_err())
        {
            tracing::error!(
                shard = self.number,
                "the dispatcher is gone, batches stay pending"
            );
        }
        wakes
    }

    /// What it shows of itself.
    pub fn level(&self) -> Arc<Level> {
        Arc::clone(&self.level)
    }

    /// An attempt is over. `pause`: how long a lane with failed events waits.
    pub fn verdict(&self, batch: Batch<Kept>, verdict: Verdict, pause: Duration) {
        self.verdict_of((batch, None), verdict, pause);
    }

    /// As [`verdict`](Self::verdict), with what the application said, for the letters of those that
    /// die of it.
    pub fn verdict_of(
        &self,
        (batch, answer): (Batch<Kept>, Option<Bytes>),
        verdict: Verdict,
        pause: Duration,
    ) {
        let group = batch.key.group;
        let owner = batch.events.first().map(|queued| queued.entry.owner());
        let refused = owner
            .filter(|_| verdict == Verdict::Rejected)
            .map(|owner| owner.principal);
        let now = Instant::now();
        if self
            .tell(|state| state.lanes.verdict_of(now, (batch, answer), verdict, pause))
            .is_err()
        {
            tracing::debug!(
                shard = self.number,
                "a shard is gone, its events stay pending"
            );
        }
        // ORDER: looked at after the lane is held: a call of this principal that succeeded while
        // the verdict was on its way has found no lane to free, and one that succeeds from here on
        // finds it.
        if let Some(principal) = refused.filter(|one| !self.reputation.is_refused_in(*one, group)) {
            self.set(|lanes| lanes.try_refused(principal, &[group]));
        }
    }

    /// Whether a caller may have anything pending in these groups. Nothing is sealed.
    ///
    /// # Errors
    /// The shard has ended.
    pub fn has_any(&self, asker: &Asker, groups: &[GroupIndex]) -> Result<bool, Ended> {
        self.step(|state| !state.is_settled() || state.lanes.has_any(asker, groups))
    }

    /// Seals a caller's windows in these groups. The receiver hears when what is in them is
    /// settled; none: it is.
    ///
    /// # Errors
    /// The shard has ended.
    pub fn barrier(
        &self,
        asker: &Asker,
        groups: &[GroupIndex],
    ) -> Result<Option<oneshot::Receiver<()>>, Ended> {
        self.tell(|state| {
            let marks = state.lanes.barrier(asker, groups);
            if state.is_settled() && state.is_over(&marks, false) {
                return None;
            }
            state.hurry(&marks);
            Some(state.wait_for(marks, false))
        })
    }

    /// Whether one of a caller's lanes in these groups tries nothing before this time has passed.
    pub fn pauses_beyond(&self, asker: &Asker, groups: &[GroupIndex], time: Instant) -> bool {
        self.step(|state| state.lanes.pause_beyond(asker, groups, time))
            .unwrap_or(true)
    }

    /// A call of this principal was taken in these groups.
    pub fn vouch(&self, principal: Principal, groups: &[GroupIndex], grounds: Grounds) {
        self.set(|lanes| lanes.vouch_by(principal, groups, grounds));
    }

    /// Strangers are taken in this group.
    pub fn open(&self, group: GroupIndex) {
        self.set(|lanes| lanes.open(group));
    }

    /// Strangers are answered by this read.
    pub fn open_read(&self, read: ReadIndex) {
        self.set(|lanes| lanes.open_read(read));
    }

    /// Ends every pause between two attempts.
    pub fn try_again(&self) {
        self.set(Lanes::try_again);
    }

    /// Seals everything that is there, some lanes at a time.
    pub fn flush(&self) {
        for slots in self.slots() {
            self.set(|lanes| lanes.seal_all_in(slots));
        }
        if self.tell(|state| state.hurry = Hurry::All).is_err() {
            tracing::error!(shard = self.number, "a shard is gone");
        }
    }

    /// Gives up what is pending of a user and not on its way, in all lanes before any of them goes
    /// on.
    pub fn give_up_user(&self, user: &UserId) -> GivenUp {
        let mut given_up = GivenUp::default();
        for slots in self.slots() {
            self.set(|lanes| given_up += lanes.give_up_user_in(slots, user));
        }
        for slots in self.slots() {
            self.set(|lanes| lanes.advance_user_in(slots, user));
        }
        given_up
    }

    /// The lanes learn of something. A shard that is gone has none that could.
    fn set(&self, step: impl FnOnce(&mut Lanes<Kept>)) {
        if self.tell(|state| step(&mut state.lanes)).is_err() {
            tracing::debug!(shard = self.number, "a shard is gone");
        }
    }

    /// Nothing is taken any more, and those who wait hear so.
    fn close(&self) {
        let mut state = self.state.lock();
        self.is_closed.store(true, Ordering::Relaxed);
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        drop(waiters);
    }
}

/// Lanes that a step broke off in hold who knows what: their shard ends, and with its task the
/// process.
struct EndsInPanic<'a>(&'a Shard);

impl Drop for EndsInPanic<'_> {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
        self.0.due.notify_one();
    }
}

#[cfg(test)]
mod tests;
