//! One shard: its lanes behind their lock, and the task that keeps their clock.
//!
//! An event enters its lane under the lock, by the thread that made it durable; an attempt's verdict, a barrier and a hold
//! take the lock as well. Whatever takes it hands over what is ready for the courier. Only what takes long or must come in
//! one order is left to the [task](ShardTask): it seals when a deadline has passed, settles, and tells those who wait. It is
//! woken when there is something to settle, when somebody may have waited long enough, or when a deadline came nearer
//! than the one that it sleeps until.
//!
//! ORDER: the shard's lock is the innermost but for [`Shard::courier`]. It is taken while the journal hands an event over
//! (at `none`: under the lock that numbers it), never while the journal's queue or writer is locked. Nobody who holds it calls
//! the journal, the tags, the seen ids or the reputation, or wakes anybody: that comes after it.

mod entry;
mod task;

pub use task::{ShardTask, sleep_until};

use super::admit::Admitted;
use super::delivery::load::Message;
use super::reputation::{Grounds, Reputation};
use super::window::{Asker, Batch, Entry as _, Groups, LaneId, Lanes, Mark, Pending, Settled, Verdict};
use crate::event::{EventId, GroupIndex, Principal, ReadIndex, Subject, UserId, View};
use crate::journal::Journaled;
use crate::journal::tail::Tail;
use parking_lot::{Mutex, MutexGuard};
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

/// While it lives, its caller's lanes in one shard send nothing that came after it.
#[derive(Debug)]
pub struct Hold {
    asker: Asker,
    number: u64,
    /// Events up to here go first.
    after: u64,
    shard: Arc<Shard>,
}

impl Hold {
    /// The held call told a newer state of this subject and was taken: the lanes' older ones are needless.
    pub fn replace(&self, group: GroupIndex, subject: Subject, by: &EventId) {
        self.shard.set(|lanes| lanes.replace(group, &self.asker, subject, self.after, by));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shard.set(|lanes| lanes.release_hold(self.asker.principal, self.number));
    }
}

#[derive(Debug)]
struct Waiter {
    marks: Vec<Mark>,
    /// A forwarded call may pass a rejected lane, a read may not.
    forwarded: bool,
    done: oneshot::Sender<()>,
}

#[derive(Debug, PartialEq, Eq)]
enum Hurry {
    Lanes(Vec<LaneId>),
    All,
}

/// What the lock protects.
#[derive(Debug)]
struct State {
    lanes: Lanes<Kept>,
    waiters: Vec<Waiter>,
    /// Lanes that somebody began to wait for; the courier is told.
    hurry: Hurry,
    /// When the task looks at the clock next; none: not before it is woken.
    wake: Option<Instant>,
    /// The task settles what was taken from the lanes.
    is_settling: bool,
    /// Something was done since the task looked last that may let somebody go on who waits.
    has_moved: bool,
}

/// What is left to the task, after the lock.
struct Turn {
    settled: Vec<Settled<Kept>>,
    refused: Vec<(Principal, GroupIndex)>,
    passed: Vec<oneshot::Sender<()>>,
    /// When it looks next, if it isn't woken before.
    wake: Option<Instant>,
}

impl State {
    /// What has come due by now, for the task.
    fn begin_turn(&mut self, now: Instant) -> Turn {
        self.lanes.tick(now);
        // ORDER: who may go on is looked up together with what is settled: it hears so when that is known everywhere.
        let (settled, refused, passed) = (self.lanes.take_settled(), self.lanes.take_refused(), self.take_passed());
        self.is_settling = !settled.is_empty();
        self.has_moved = false;
        self.wake = self.lanes.next_wake();
        Turn { settled, refused, passed, wake: self.wake }
    }

    /// Whether the task has something to do before it would look by itself.
    fn wants_task(&mut self) -> bool {
        let next = self.lanes.next_wake();
        let is_nearer = next.is_some_and(|next| self.wake.is_none_or(|wake| next < wake));
        if is_nearer {
            self.wake = next;
        }
        is_nearer || self.lanes.has_news() || self.has_moved && !self.waiters.is_empty()
    }

    /// Batches that may go, and then, since they may be what is waited for, the lanes that somebody waits for.
    fn take_messages(&mut self, shard: usize) -> Vec<Message> {
        let ready = self.lanes.take_ready().into_iter();
        let ready = ready.map(|batch| Message::Ready { shard, retries: self.lanes.retries(batch.lane), batch });
        let mut messages: Vec<_> = ready.collect();
        match std::mem::replace(&mut self.hurry, Hurry::Lanes(Vec::new())) {
            Hurry::Lanes(lanes) if lanes.is_empty() => {}
            Hurry::Lanes(lanes) => messages.push(Message::Hurry { shard, lanes: Some(lanes) }),
            Hurry::All => messages.push(Message::Hurry { shard, lanes: None }),
        }
        messages
    }

    /// Every outcome that the lanes gave is known everywhere.
    fn is_settled(&self) -> bool {
        !self.is_settling && !self.lanes.has_settled()
    }

    fn is_over(&self, marks: &[Mark], forwarded: bool) -> bool {
        let lanes = &self.lanes;
        marks.iter().all(|mark| if forwarded { lanes.may_pass(*mark) } else { lanes.passed(*mark) })
    }

    /// Those who have waited long enough, or wait no more.
    fn take_passed(&mut self) -> Vec<oneshot::Sender<()>> {
        if self.waiters.is_empty() {
            return Vec::new();
        }
        let (over, left) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter| waiter.done.is_closed() || self.is_over(&waiter.marks, waiter.forwarded));
        self.waiters = left;
        over.into_iter().map(|waiter: Waiter| waiter.done).collect()
    }

    fn hurry(&mut self, marks: &[Mark]) {
        if let Hurry::Lanes(lanes) = &mut self.hurry {
            lanes.extend(marks.iter().flat_map(|mark| self.lanes.before(*mark)));
        }
    }

    /// Somebody waits for these marks.
    fn wait_for(&mut self, marks: Vec<Mark>, forwarded: bool) -> oneshot::Receiver<()> {
        let (done, passed) = oneshot::channel();
        self.waiters.push(Waiter { marks, forwarded, done });
        passed
    }
}

/// What a shard shows of itself.
#[derive(Debug, Default)]
pub struct Level {
    /// Lanes with events.
    pub lanes: AtomicU64,
}

/// What a shard is made of.
pub struct Parts {
    /// Its number, which the courier answers to.
    pub number: usize,
    /// Its lanes.
    pub lanes: Lanes<Kept>,
    /// Where batches go.
    pub courier: mpsc::UnboundedSender<Message>,
    /// What it shows.
    pub level: Arc<Level>,
    /// What is known of principals.
    pub reputation: Arc<Reputation>,
}

/// The lanes of one shard, behind their lock.
pub struct Shard {
    number: usize,
    // One lock, since an event, its order among its user's lanes and its deadline change together. Held for one step of the
    // lanes, never across a wait.
    state: Mutex<State>,
    // ORDER: locked before `state` is let go and while messages are sent, so that they are sent in the order of the steps: a
    // lane's batch before the word that somebody waits for it.
    courier: Mutex<mpsc::UnboundedSender<Message>>,
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
        f.debug_struct("Shard").field("number", &self.number).finish_non_exhaustive()
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
        let Parts { number, lanes, courier, level, reputation } = parts;
        let state = State {
            lanes,
            waiters: Vec::new(),
            hurry: Hurry::Lanes(Vec::new()),
            wake: None,
            is_settling: false,
            has_moved: false,
        };
        Self {
            number,
            state: Mutex::new(state),
            courier: Mutex::new(courier),
            due: Notify::new(),
            is_closed: AtomicBool::new(false),
            level,
            reputation,
            began: Instant::now(),
        }
    }

    /// One step of the lanes; afterwards the courier has what is ready, and the task knows what is left to it.
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

    /// Lets the lock go and sends the courier what is ready; whether the task has something to do.
    fn hand_over(&self, mut state: MutexGuard<'_, State>) -> bool {
        self.level.lanes.store(state.lanes.len() as u64, Ordering::Relaxed);
        let wakes = state.wants_task();
        let messages = state.take_messages(self.number);
        if messages.is_empty() {
            return wakes;
        }
        let courier = self.courier.lock();
        drop(state);
        // The courier outlives the shards; if it is gone, the process is ending and the events stay pending.
        if messages.into_iter().any(|message| courier.send(message).is_err()) {
            tracing::error!(shard = self.number, "the courier is gone, batches stay pending");
        }
        wakes
    }

    /// What it shows of itself.
    pub fn level(&self) -> Arc<Level> {
        Arc::clone(&self.level)
    }

    /// An attempt is over. `pause`: how long a lane with failed events waits.
    pub fn verdict(&self, batch: Batch<Kept>, verdict: Verdict, pause: Duration) {
        let group = batch.key.group;
        let owner = batch.events.first().map(|queued| queued.entry.owner());
        let refused = owner.filter(|_| verdict == Verdict::Rejected).map(|owner| owner.principal);
        let now = Instant::now();
        if self.tell(|state| state.lanes.verdict(now, batch, verdict, pause)).is_err() {
            tracing::debug!(shard = self.number, "a shard is gone, its events stay pending");
        }
        // ORDER: looked at after the lane is held: a call of this principal that succeeded while the verdict was on its way has
        // found no lane to free, and one that succeeds from here on finds it.
        if let Some(principal) = refused.filter(|one| !self.reputation.is_refused_in(*one, group)) {
            self.set(|lanes| lanes.try_refused(principal, &[group]));
        }
    }

    /// Seals a caller's windows in these groups. The receiver hears when what is in them is settled; none: it is.
    ///
    /// # Errors
    /// The shard has ended.
    pub fn barrier(&self, asker: &Asker, groups: &[GroupIndex]) -> Result<Option<oneshot::Receiver<()>>, Ended> {
        self.tell(|state| {
            let marks = state.lanes.barrier(asker, groups);
            if state.is_settled() && state.is_over(&marks, false) {
                return None;
            }
            state.hurry(&marks);
            Some(state.wait_for(marks, false))
        })
    }

    /// Seals a caller's windows in these groups and holds back what comes later. The receiver hears when the caller's lanes
    /// may be passed; none: at once.
    ///
    /// # Errors
    /// The shard has ended.
    pub fn hold(
        self: &Arc<Self>,
        asker: &Asker,
        groups: &Groups,
    ) -> Result<(Hold, Option<oneshot::Receiver<()>>), Ended> {
        let (number, after, passed) = self.tell(|state| {
            let (number, marks) = state.lanes.hold(asker, groups);
            let after = state.lanes.last_seq();
            if state.is_over(&marks, true) {
                return (number, after, None);
            }
            state.hurry(&marks);
            (number, after, Some(state.wait_for(marks, true)))
        })?;
        Ok((Hold { asker: asker.clone(), number, after, shard: Arc::clone(self) }, passed))
    }

    /// What is pending of this user and view in these groups, oldest first, at most `most` events.
    #[must_use]
    pub fn look(&self, user: &UserId, shown: (Principal, View), groups: &[GroupIndex], most: usize) -> Vec<Pending> {
        self.state.lock().lanes.pending(user, shown, groups, most)
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

    /// Seals everything.
    pub fn flush(&self) {
        let flushed = self.tell(|state| {
            state.lanes.seal_all();
            state.hurry = Hurry::All;
        });
        if flushed.is_err() {
            tracing::error!(shard = self.number, "a shard is gone");
        }
    }

    /// When the oldest event came that has no outcome.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.state.lock().lanes.oldest()
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

/// Lanes that a step broke off in hold who knows what: their shard ends, and with its task the process.
struct EndsInPanic<'a>(&'a Shard);

impl Drop for EndsInPanic<'_> {
    fn drop(&mut self) {
        self.0.is_closed.store(true, Ordering::Relaxed);
        self.0.due.notify_one();
    }
}

#[cfg(test)]
mod tests;
