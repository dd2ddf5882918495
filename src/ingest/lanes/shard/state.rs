//! What a shard's lock protects: the lanes, and those who wait for them.

use super::Message;
use super::{Kept, MOST_LANES};
use crate::event::{GroupIndex, Principal};
use crate::ingest::lanes::window::{LaneId, Lanes, Mark, Settled};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A barrier or a hold that is not passed yet.
#[derive(Debug)]
pub(super) struct Waiter {
    marks: Vec<Mark>,
    /// A forwarded call may pass a rejected lane, a read may not.
    forwarded: bool,
    done: oneshot::Sender<()>,
}

/// Which lanes' batches must not wait for company.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hurry {
    Lanes(Vec<LaneId>),
    All,
}

/// The lanes, and what is owed to others for them.
#[derive(Debug)]
pub(super) struct State {
    pub(super) lanes: Lanes<Kept>,
    pub(super) waiters: Vec<Waiter>,
    /// Lanes that somebody began to wait for; the dispatcher is told.
    pub(super) hurry: Hurry,
    /// When the task looks at the clock next; none: not before it is woken.
    wake: Option<Instant>,
    /// The task settles what was taken from the lanes.
    pub(super) is_settling: bool,
    /// Something was done since the task looked last that may let somebody go on who waits.
    pub(super) has_moved: bool,
}

/// What is left to the task, after the lock.
pub(super) struct Turn {
    pub(super) settled: Vec<Settled<Kept>>,
    pub(super) refused: Vec<(Principal, GroupIndex)>,
    pub(super) passed: Vec<oneshot::Sender<()>>,
    /// When it looks next, if it isn't woken before.
    pub(super) wake: Option<Instant>,
}

impl State {
    /// Nothing is owed for these lanes yet.
    pub(super) fn new(lanes: Lanes<Kept>) -> Self {
        let (waiters, hurry) = (Vec::new(), Hurry::Lanes(Vec::new()));
        Self {
            lanes,
            waiters,
            hurry,
            wake: None,
            is_settling: false,
            has_moved: false,
        }
    }

    /// What has come due by now, for the task; of many lanes at once, so many as may keep others
    /// from the lock.
    pub(super) fn begin_turn(&mut self, now: Instant) -> Turn {
        self.lanes.tick_some(now, MOST_LANES);
        // ORDER: who may go on is looked up together with what is settled: it hears so when that is
        // known everywhere.
        let (settled, refused, passed) = (
            self.lanes.take_settled(),
            self.lanes.take_refused(),
            self.take_passed(),
        );
        self.is_settling = !settled.is_empty();
        self.has_moved = false;
        self.wake = self.lanes.next_wake();
        Turn {
            settled,
            refused,
            passed,
            wake: self.wake,
        }
    }

    /// Whether the task has something to do before it would look by itself.
    pub(super) fn wants_task(&mut self) -> bool {
        let next = self.lanes.next_wake();
        let is_nearer = next.is_some_and(|next| self.wake.is_none_or(|wake| next < wake));
        if is_nearer {
            self.wake = next;
        }
        is_nearer || self.lanes.has_news() || self.has_moved && !self.waiters.is_empty()
    }

    /// Batches that may go, and then, since they may be what is waited for, the lanes that somebody
    /// waits for.
    pub(super) fn take_messages(&mut self, shard: usize) -> Vec<Message> {
        let ready = self.lanes.take_ready().into_iter();
        let ready = ready.map(|batch| Message::Ready {
            shard,
            retries: self.lanes.retries(batch.lane),
            batch,
        });
        let mut messages: Vec<_> = ready.collect();
        match std::mem::replace(&mut self.hurry, Hurry::Lanes(Vec::new())) {
            Hurry::Lanes(lanes) if lanes.is_empty() => {}
            Hurry::Lanes(lanes) => messages.push(Message::Hurry {
                shard,
                lanes: Some(lanes),
            }),
            Hurry::All => messages.push(Message::Hurry { shard, lanes: None }),
        }
        messages
    }

    /// Every outcome that the lanes gave is known everywhere.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_settling && !self.lanes.has_settled()
    }

    pub(super) fn is_over(&self, marks: &[Mark], forwarded: bool) -> bool {
        let lanes = &self.lanes;
        marks.iter().all(|mark| {
            if forwarded {
                lanes.may_pass(*mark)
            } else {
                lanes.passed(*mark)
            }
        })
    }

    /// Those who have waited long enough, or wait no more.
    fn take_passed(&mut self) -> Vec<oneshot::Sender<()>> {
        if self.waiters.is_empty() {
            return Vec::new();
        }
        let (over, left) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|waiter| {
                waiter.done.is_closed() || self.is_over(&waiter.marks, waiter.forwarded)
            });
        self.waiters = left;
        over.into_iter().map(|waiter: Waiter| waiter.done).collect()
    }

    pub(super) fn hurry(&mut self, marks: &[Mark]) {
        if let Hurry::Lanes(lanes) = &mut self.hurry {
            lanes.extend(marks.iter().flat_map(|mark| self.lanes.before(*mark)));
        }
    }

    /// Somebody waits for these marks.
    pub(super) fn wait_for(&mut self, marks: Vec<Mark>, forwarded: bool) -> oneshot::Receiver<()> {
        let (done, passed) = oneshot::channel();
        self.waiters.push(Waiter {
            marks,
            forwarded,
            done,
        });
        passed
    }
}
