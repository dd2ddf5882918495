//! Committing: a thread that brings an event, and finds no other at it, writes for all that wait;
//! the journal's own thread does what can wait, and at `disk` all of it, since a sync takes long.
//!
//! **Invariants.** Numbers are given under the lock of the [`queue`], in the order of the groups;
//! an event reaches its tail in that order, and is answered for after its group is as safe as the
//! level promises, never before (P1). One thread leads at a time ([`leader`]). It leads without
//! waiting for anything but the disk, so no client that goes away can stop it, and a panic passes
//! the lead on.
//!
//! **Failure.** What a group that could not be written would have changed is taken back
//! ([`refusal`]), its events are refused, and their numbers are declared void by the first group
//! that can be written again; all else waits for that. Until then no event is taken.

mod cut;
pub mod index;
pub mod leader;
pub mod queue;
mod refusal;
pub mod rewrite;
pub mod shared;

use super::entry::{AppendError, Journaled, Ticket};
use super::log::files::Files;
use super::log::frame::{Flags, Kind};
use super::log::replay::Missing;
use super::log::writer::{Depth, salt_of};
use super::record::{self, RefusalRecord};
use super::vault::Draft;
use crate::event::{Context, Event, Fingerprint, Principal, Succession};
use index::Kept;
use queue::{Answer, Queue, Replaced, Settle, Waiting};
use shared::Shared;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// An event to keep.
#[derive(Debug)]
pub struct Append<T> {
    /// Its tail.
    pub shard: usize,
    /// The event.
    pub event: Event,
    /// What its frame holds, and how.
    pub draft: Draft,
    /// The obligation.
    pub ticket: T,
    /// The dead letter that it was, which the event's frame ends, and the letter's credential.
    pub replaces: Option<(u64, Fingerprint)>,
    /// Its caller's session succeeded another one.
    pub succession: Option<Succession>,
    /// Answered when it is kept, or isn't.
    pub answer: Answer,
}

/// The callers' side of the log.
pub struct Committer<F: Files, T>(Arc<Shared<F, T>>);

impl<F: Files, T: Ticket> Committer<F, T> {
    /// A committer to this log.
    pub const fn new(shared: Arc<Shared<F, T>>) -> Self {
        Self(shared)
    }

    /// What it shares with the journal's thread.
    pub const fn shared(&self) -> &Arc<Shared<F, T>> {
        &self.0
    }

    /// Numbers an event and sees to its being written.
    pub fn append(&self, append: Append<T>) {
        let Append {
            shard,
            event,
            draft,
            ticket,
            replaces,
            succession,
            answer,
        } = append;
        let mut queue = self.0.queue();
        // Without random numbers nothing can be sealed, and nothing lies open that should not.
        let may = if draft.is_void() {
            Err(AppendError::Failing)
        } else {
            Ok(())
        };
        if let Err(error) = may.and_then(|()| self.may_take(&mut queue, shard, &event.context)) {
            drop(queue);
            self.0.health.release(&event);
            // ORDER: the ticket takes everything back before the caller hears of it. A caller that
            // left hears nothing.
            drop(ticket);
            drop(answer.send(Err(error)));
            return;
        }
        if let Some(succession) = succession {
            self.push_succession(&mut queue, &succession);
        }
        let replaced = replaces.and_then(|(letter, credential)| {
            let kept = queue.index.remove_letter(letter)?;
            Some(Replaced {
                letter,
                kept,
                credential,
            })
        });
        let replaces = replaced.as_ref().map_or(0, |replaced| replaced.letter);
        if let Some(replaced) = &replaced {
            queue.index.sums.dead = queue.index.sums.dead.saturating_sub(1);
            // That of another credential may be needed again, should the event be refused.
            if replaced.credential == event.lane.credential {
                let index = &mut queue.index;
                index.release_context_of(replaced.letter, event.lane.credential);
            }
        }
        let size = record::keyed_size(&draft.body);
        let seq = queue.push(Kind::Event, draft.flags, |out| {
            record::put_keyed(out, replaces, &draft.body)
        });
        queue.index.insert_event(Kept { number: seq, size });
        queue.has_events = true;
        let since = Instant::now();
        self.0.health.begin_wait(since);
        let journaled = Box::new(Journaled {
            seq,
            size,
            event,
            ticket,
            since,
        });
        if let Some(principal) = journaled.for_service() {
            // ORDER: in the same group as the event.
            queue.begin_for_service(principal, self.0.health.now_ms());
        }
        queue.waiting.push(Waiting {
            shard,
            journaled,
            replaced,
            answer,
        });
        leader::write_or_wake(&self.0, queue);
    }

    fn may_take(
        &self,
        queue: &mut Queue<T>,
        shard: usize,
        context: &Context,
    ) -> Result<(), AppendError> {
        if self.0.health.failure().is_some() {
            return Err(AppendError::Failing);
        }
        if self.0.health.is_low() {
            return Err(AppendError::DiskFull);
        }
        if queue.is_closed || self.0.tails.get(shard).is_none_or(|tail| tail.is_closed()) {
            return Err(AppendError::Closed);
        }
        self.retain_context(queue, context)
    }

    /// One more frame uses this context.
    fn retain_context(&self, queue: &mut Queue<T>, context: &Context) -> Result<(), AppendError> {
        let fingerprint = context.keys.fingerprint;
        if queue.index.retain_context(fingerprint) {
            return Ok(());
        }
        let Ok(sealed) = self.0.vault.seal(context) else {
            return Err(AppendError::Failing);
        };
        let size = record::context_size(&sealed);
        let number = queue.push(Kind::Context, Flags::default(), |out| {
            record::put_context(out, fingerprint, &sealed)
        });
        queue
            .index
            .insert_context(fingerprint, Kept { number, size });
        queue.index.retain_context(fingerprint);
        Ok(())
    }

    /// Not while nothing can be written: what waits has no bound then.
    fn push_succession(&self, queue: &mut Queue<T>, succession: &Succession) {
        if self.0.health.takes_events() {
            queue.push_succession(succession, self.0.health.now_ms(), self.0.bounds.succession);
        }
    }

    /// These events have their outcomes: they go with the next group.
    pub fn settle_all(&self, settled: Vec<Settle>) {
        let mut queue = self.0.queue();
        settled
            .into_iter()
            .for_each(|settle| queue.push_settle(settle));
        self.0.wake_thread(&mut queue);
    }

    /// Dead letters that are gone; `for_room`: there was none for them, else an operator wanted it.
    pub fn drop_letters(&self, letters: &[(u64, Fingerprint)], for_room: bool) {
        let mut queue = self.0.queue();
        queue.drop_letters(letters, for_room);
        self.0.wake_thread(&mut queue);
    }

    /// Keeps a session's successor; the receiver ends when it is kept, or can't be.
    pub fn keep_succession(&self, succession: &Succession) -> oneshot::Receiver<bool> {
        let mut queue = self.0.queue();
        if !queue.is_ended {
            self.push_succession(&mut queue, succession);
        }
        leader::add_fence(&self.0, queue)
    }

    /// What is known of a principal's refusal has changed: it goes with the next group. `true`:
    /// there is something to write.
    pub fn keep_refusal(&self, principal: Principal) -> bool {
        let mut queue = self.0.queue();
        if queue.is_ended {
            return false;
        }
        // What waits while nothing can be written has a bound: one change of a principal, whatever
        // it is by then.
        if self.0.health.failure().is_some() {
            queue.index.refusals.owe(principal);
            return false;
        }
        let is_news = queue.push_refusal(principal, self.0.health.now_ms());
        if is_news {
            self.0.wake_thread(&mut queue);
        }
        is_news
    }

    /// Brings what is kept of these principals' refusals up to what is known, those that a start
    /// has found; and ends those of which nothing is pending.
    pub fn restate_refusals(&self, found: &[RefusalRecord]) {
        let mut queue = self.0.queue();
        for record in found {
            queue.restate_refusal(record, self.0.health.now_ms());
        }
        if !found.is_empty() {
            self.0.wake_thread(&mut queue);
        }
    }

    /// The receiver hears when what was queued is as safe as the level promises.
    pub fn fence(&self) -> oneshot::Receiver<bool> {
        leader::fence(&self.0)
    }

    /// Queues what a start owes to what it found: numbers that are missing are gone for good, and
    /// at `disk` what may not be synced is written again, before anything that builds on it.
    /// `unsynced`: segments that hold something beyond the number `synced`. One that can't be read any
    /// more stays, for a later start.
    pub fn rewrite_unsynced(&self, missing: Vec<Missing>, unsynced: &[u64], synced: u64) {
        self.0.queue().void.extend(missing);
        let again = if self.0.bounds.depth == Depth::Disk {
            unsynced
        } else {
            &[]
        };
        for segment in again {
            let salt = salt_of(&self.0.epoch, *segment);
            let mut queue = self.0.queue();
            match self.0.files.read(*segment) {
                Ok(bytes) => {
                    rewrite::push_unsynced(&mut queue, &self.0.vault, &bytes, salt, synced);
                }
                Err(error) => {
                    tracing::error!(segment, %error, "a file of the log can't be read any more");
                    self.0.health.note_unread(1);
                }
            }
        }
    }

    /// Everything that was sent is on the disk, nothing more will be, and the thread ends.
    pub fn close(&self) -> oneshot::Receiver<()> {
        let (answer, closed) = oneshot::channel();
        let mut queue = self.0.queue();
        if !queue.is_ended {
            queue.closing.push(answer);
        }
        queue.is_closed = true;
        drop(queue);
        self.0.notify_thread();
        closed
    }

    /// No caller is left that could bring anything: the thread writes what waits, and ends.
    pub fn abandon(&self) {
        self.0.queue().is_closed = true;
        self.0.notify_thread();
    }
}
