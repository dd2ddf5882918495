//! One shard: the task that owns its lanes and their timers outright. It reads the journal's tail, asks the pure
//! [`Lanes`] what follows, hands batches to the courier and settles what has its outcome.

use super::admit::Admitted;
use super::delivery::load::Message;
use super::reputation::{Grounds, Reputation};
use super::settle::Settler;
use super::window::{Asker, Batch, Entry, Groups, LaneId, Lanes, Mark, Pending, Verdict};
use crate::event::{Carried, EventId, GroupIndex, LaneKey, Owner, Principal, ReadIndex, Subject, Tag, UserId, View};
use crate::journal::Journaled;
use crate::json::Object;
use crate::template::Path;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// A durable event with its obligation.
pub type Kept = Journaled<Admitted>;

impl Entry for Kept {
    fn seq(&self) -> u64 {
        Self::seq(self)
    }
    fn since(&self) -> Option<Instant> {
        Some(Self::since(self))
    }
    fn expires(&self) -> Option<Instant> {
        Self::since(self).checked_add(self.event().token_life?)
    }
    fn id(&self) -> &EventId {
        &self.event().id
    }
    fn lane(&self) -> &LaneKey {
        &self.event().lane
    }
    fn owner(&self) -> Owner {
        self.event().owner
    }
    fn bytes(&self) -> usize {
        self.event().json.len()
    }
    fn priority(&self) -> bool {
        self.event().priority
    }
    fn envelope(&self) -> usize {
        self.ticket.envelope()
    }
    fn subject(&self) -> Option<Subject> {
        self.event().subject
    }
    fn field(&self, path: &Path) -> Option<&[u8]> {
        let text = std::str::from_utf8(&self.event().json).ok()?;
        Object::parse(text).ok()?.at(&path.0).map(str::as_bytes)
    }
    fn has_single(&self) -> bool {
        self.event().has_single
    }
    fn is_for_service(&self) -> bool {
        Carried::is_for_service(&self.event().carried)
    }
    fn shown(&self) -> Bytes {
        self.event().json.clone()
    }
    fn tags(&self) -> &[Tag] {
        &self.event().tags
    }
}

/// What a shard can be asked.
#[derive(Debug)]
pub enum Command {
    /// An attempt is over.
    Verdict {
        /// The batch, back.
        batch: Batch<Kept>,
        /// What it met.
        verdict: Verdict,
        /// Pause of a lane with failed events.
        pause: Duration,
    },
    /// Seal a caller's windows; answered when what is in them is settled.
    Barrier {
        /// The caller.
        asker: Asker,
        /// The groups.
        groups: Groups,
        /// Answered when settled.
        done: oneshot::Sender<()>,
    },
    /// Seal, settle and hold back what comes later.
    Hold {
        /// The caller.
        asker: Asker,
        /// The groups.
        groups: Groups,
        /// The way back to this shard, for the hold's end.
        shard: mpsc::UnboundedSender<Command>,
        /// Answered with the hold at once, after `passed` if the lanes may be passed at once. Whatever becomes of the caller, a hold that is dropped is over.
        hold: oneshot::Sender<Hold>,
        /// Answered when the caller's lanes may be passed.
        passed: oneshot::Sender<()>,
    },
    /// A forwarded call told a newer state than its caller's lanes hold.
    Replace {
        /// The group.
        group: GroupIndex,
        /// The caller.
        asker: Asker,
        /// Of what.
        subject: Subject,
        /// Events up to this number are older.
        upto: u64,
        /// The call.
        by: EventId,
    },
    /// A hold is over.
    Release {
        /// Who holds.
        principal: Principal,
        /// The hold's number.
        number: u64,
    },
    /// What is pending of this user and view in these groups, oldest first.
    Look {
        /// The user.
        user: UserId,
        /// Who asks.
        principal: Principal,
        /// What is shown.
        view: View,
        /// The groups.
        groups: Groups,
        /// At most this many.
        most: usize,
        /// What there is.
        answer: oneshot::Sender<Vec<Pending>>,
    },
    /// A call of this principal was taken.
    Vouch {
        /// Who called.
        principal: Principal,
        /// Where.
        groups: Groups,
        /// By what.
        grounds: Grounds,
    },
    /// Strangers are taken in this group.
    Open(GroupIndex),
    /// Strangers are answered by this read.
    OpenRead(ReadIndex),
    /// Seal everything.
    Flush,
    /// End every pause between two attempts.
    TryAgain,
    /// When the oldest unsettled event came.
    Oldest(oneshot::Sender<Option<Instant>>),
}

/// While it lives, its caller's lanes in one shard send nothing that came after it.
#[derive(Debug)]
pub struct Hold {
    asker: Asker,
    number: u64,
    /// Events up to here go first.
    after: u64,
    shard: mpsc::UnboundedSender<Command>,
}

impl Hold {
    /// The held call told a newer state of this subject and was taken: the lanes' older ones are needless.
    pub fn replace(&self, group: GroupIndex, subject: Subject, by: EventId) {
        // A shard that is gone sends nothing any more.
        let asker = self.asker.clone();
        drop(self.shard.send(Command::Replace { group, asker, subject, upto: self.after, by }));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A shard that is gone holds nothing back any more.
        drop(self.shard.send(Command::Release { principal: self.asker.principal, number: self.number }));
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

/// A shard's task, to be run by `app`.
pub struct Shard {
    lanes: Lanes<Kept>,
    tail: mpsc::UnboundedReceiver<Kept>,
    commands: mpsc::UnboundedReceiver<Command>,
    courier: mpsc::UnboundedSender<Message>,
    settler: Arc<Settler>,
    waiters: Vec<Waiter>,
    /// Holds that their callers are to be given.
    holds: Vec<(oneshot::Sender<Hold>, Hold)>,
    /// Lanes that somebody began to wait for; the courier is told.
    hurry: Hurry,
    number: usize,
    level: Arc<Level>,
    reputation: Arc<Reputation>,
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
    /// The journal's tail.
    pub tail: mpsc::UnboundedReceiver<Kept>,
    /// Commands.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// Where batches go.
    pub courier: mpsc::UnboundedSender<Message>,
    /// Where outcomes go.
    pub settler: Arc<Settler>,
    /// What it shows.
    pub level: Arc<Level>,
    /// What is known of principals.
    pub reputation: Arc<Reputation>,
}

impl Shard {
    /// A shard; it does nothing until [`run`](Self::run).
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { number, lanes, tail, commands, courier, settler, level, reputation } = parts;
        let (waiters, holds, hurry) = (Vec::new(), Vec::new(), Hurry::Lanes(Vec::new()));
        Self { lanes, tail, commands, courier, settler, waiters, holds, hurry, number, level, reputation }
    }

    /// Runs until nobody can send commands any more.
    pub async fn run(mut self) {
        let mut events = Vec::with_capacity(256);
        loop {
            let wake = self.lanes.next_wake();
            let now = tokio::select! {
                // ORDER: the clock first, so that no stream of events can postpone a deadline (P5); then commands,
                // which free lanes; then new events.
                biased;
                () = sleep_until(wake) => Instant::now(),
                command = self.commands.recv() => {
                    let Some(command) = command else { return };
                    let now = Instant::now();
                    self.take_events(now, &mut events);
                    self.obey(now, command);
                    now
                }
                count = self.tail.recv_many(&mut events, 256), if !self.tail.is_closed() || !self.tail.is_empty() => {
                    let now = Instant::now();
                    if count > 0 {
                        events.drain(..).for_each(|kept| self.lanes.push(now, kept));
                    }
                    now
                }
            };
            self.lanes.tick(now);
            self.remind_of_refusals();
            self.hand_over();
            self.wake_waiters();
            self.give_holds();
            self.level.lanes.store(self.lanes.len() as u64, Ordering::Relaxed);
        }
    }

    /// A refusal that was forgotten for want of room, while what it holds is still there, is remembered again: else its
    /// caller would be acknowledged for ever, and no call of it be forwarded that could end the refusal.
    fn remind_of_refusals(&mut self) {
        for (principal, group) in self.lanes.take_refused() {
            self.reputation.refuse_again(principal, group);
        }
    }

    /// ORDER: what was appended before a command was sent must be in its lane before the command is obeyed; else a
    /// barrier would miss an acknowledged event.
    fn take_events(&mut self, now: Instant, events: &mut Vec<Kept>) {
        while let Ok(kept) = self.tail.try_recv() {
            events.push(kept);
        }
        events.drain(..).for_each(|kept| self.lanes.push(now, kept));
    }

    fn obey(&mut self, now: Instant, command: Command) {
        match command {
            Command::Verdict { batch, verdict, pause } => {
                let (owner, group) = (batch.events.first().map(|queued| queued.entry.owner()), batch.key.group);
                let refused = owner.filter(|_| verdict == Verdict::Rejected).map(|owner| owner.principal);
                self.lanes.verdict(now, batch, verdict, pause);
                // A call of this principal succeeded while the verdict was on its way: the lane may try again.
                if let Some(principal) = refused.filter(|one| !self.reputation.is_refused_in(*one, group)) {
                    self.lanes.try_refused(principal, &[group]);
                }
            }
            Command::Barrier { asker, groups, done } => {
                let marks = self.lanes.barrier(&asker, &groups);
                self.hurry(&marks);
                self.waiters.push(Waiter { marks, forwarded: false, done });
            }
            Command::Hold { asker, groups, shard, hold, passed } => {
                let (number, marks) = self.lanes.hold(&asker, &groups);
                self.holds.push((hold, Hold { asker, number, after: self.lanes.last_seq(), shard }));
                self.hurry(&marks);
                self.waiters.push(Waiter { marks, forwarded: true, done: passed });
            }
            // Whoever asked and left needs no answer.
            Command::Look { user, principal, view, groups, most, answer } => {
                drop(answer.send(self.lanes.pending(&user, (principal, view), &groups, most)));
            }
            Command::Replace { group, asker, subject, upto, by } => {
                self.lanes.replace(group, &asker, subject, upto, &by);
            }
            Command::Release { principal, number } => self.lanes.release_hold(principal, number),
            Command::Vouch { principal, groups, grounds } => self.lanes.vouch_by(principal, &groups, grounds),
            Command::Open(group) => self.lanes.open(group),
            Command::OpenRead(read) => self.lanes.open_read(read),
            Command::Flush => {
                self.lanes.seal_all();
                self.hurry = Hurry::All;
            }
            Command::TryAgain => self.lanes.try_again(),
            // Whoever asked and left needs no answer.
            Command::Oldest(answer) => drop(answer.send(self.lanes.oldest())),
        }
    }

    fn hurry(&mut self, marks: &[Mark]) {
        if let Hurry::Lanes(lanes) = &mut self.hurry {
            lanes.extend(marks.iter().flat_map(|mark| self.lanes.before(*mark)));
        }
    }

    fn hand_over(&mut self) {
        let settled = self.lanes.take_settled();
        if !settled.is_empty() {
            self.settler.settle_batch(settled);
        }
        for batch in self.lanes.take_ready() {
            let retries = self.lanes.retries(batch.lane);
            // The courier outlives the shards; if it is gone, the process is ending and the events stay pending.
            if self.courier.send(Message::Ready { shard: self.number, batch, retries }).is_err() {
                tracing::error!("the courier is gone, batches stay pending");
            }
        }
        // ORDER: after the batches, which may be what is waited for.
        let lanes = match std::mem::replace(&mut self.hurry, Hurry::Lanes(Vec::new())) {
            Hurry::Lanes(lanes) if lanes.is_empty() => return,
            Hurry::Lanes(lanes) => Some(lanes),
            Hurry::All => None,
        };
        if self.courier.send(Message::Hurry { shard: self.number, lanes }).is_err() {
            tracing::debug!("the courier is gone, nothing is waited for");
        }
    }

    fn wake_waiters(&mut self) {
        let lanes = &self.lanes;
        let over = |waiter: &mut Waiter| {
            let passed = |mark: &Mark| if waiter.forwarded { lanes.may_pass(*mark) } else { lanes.passed(*mark) };
            waiter.done.is_closed() || waiter.marks.iter().all(passed)
        };
        for waiter in self.waiters.extract_if(.., over) {
            if waiter.done.send(()).is_err() {
                tracing::trace!("nobody waits any more");
            }
        }
    }

    // ORDER: after what may be passed at once was told so: a call that has its hold and was not told has to wait.
    fn give_holds(&mut self) {
        for (caller, hold) in self.holds.drain(..) {
            // A caller that went away drops the hold, here or unread in the channel, and that releases it.
            drop(caller.send(hold));
        }
    }
}

/// Until then; for ever without a time.
pub async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
