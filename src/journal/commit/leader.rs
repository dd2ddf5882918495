//! Leading: the thread that leads writes, group by group, what has come for all that wait.

use super::queue::{Queue, TakenGroup, Waiting};
use super::refusal;
use super::shared::Shared;
use crate::journal::entry::{AppendError, Ticket};
use crate::journal::log::files::Files;
use crate::journal::log::writer::{Begun, Depth, Group, HEAD_ROOM, WriteError};
use parking_lot::MutexGuard;
use std::io;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Most groups that one caller writes for others before the journal's thread goes on.
const ROUNDS: usize = 16;

/// A caller waits for what it has queued: it leads if no other thread does and no sync is asked
/// for.
pub(super) fn write_or_wake<F: Files, T: Ticket>(
    shared: &Shared<F, T>,
    mut queue: MutexGuard<'_, Queue<T>>,
) {
    match shared.bounds.depth {
        Depth::Process if !queue.leading => {
            queue.leading = true;
            drop(queue);
            Lead::new(shared).write_groups(ROUNDS);
        }
        Depth::Process => {}
        Depth::Disk => {
            queue.is_woken = true;
            drop(queue);
            shared.notify_thread();
        }
    }
}

/// Writes what waits, unless another thread does.
pub fn lead_if_free<F: Files, T: Ticket>(shared: &Shared<F, T>) {
    lead_groups(shared, ROUNDS);
}

fn lead_groups<F: Files, T: Ticket>(shared: &Shared<F, T>, most: usize) {
    let mut queue = shared.queue();
    if !queue.leading {
        queue.leading = true;
        drop(queue);
        Lead::new(shared).write_groups(most);
    }
}

/// The receiver hears when everything that waits is as safe as the level promises.
pub fn fence<F: Files, T: Ticket>(shared: &Shared<F, T>) -> oneshot::Receiver<bool> {
    add_fence(shared, shared.queue())
}

/// Waits until everything that is queued is as safe as the level promises.
///
/// # Errors
/// The journal can't be written.
pub fn write_waiting<F: Files, T: Ticket>(shared: &Shared<F, T>) -> io::Result<()> {
    let mut passed = fence(shared);
    loop {
        // What comes after the fence waits no longer for that.
        lead_groups(shared, 1);
        match passed.try_recv() {
            Ok(true) => return Ok(()),
            // Another thread leads, and will have written it soon.
            Err(oneshot::error::TryRecvError::Empty) => {
                std::thread::sleep(Duration::from_micros(100))
            }
            Ok(false) | Err(_) => return Err(io::Error::other("the journal can't be written")),
        }
    }
}

/// As [`fence`], in the same step as what was queued under this lock.
pub(super) fn add_fence<F: Files, T: Ticket>(
    shared: &Shared<F, T>,
    mut queue: MutexGuard<'_, Queue<T>>,
) -> oneshot::Receiver<bool> {
    let (fence, passed) = oneshot::channel();
    if queue.is_ended {
        return passed;
    }
    queue.fences.push(fence);
    shared.health.begin_wait(Instant::now());
    write_or_wake(shared, queue);
    passed
}

/// The lead: whatever happens to the thread that has it, it is passed on.
struct Lead<'a, F: Files, T: Ticket> {
    shared: &'a Shared<F, T>,
    taken: Option<TakenGroup<T>>,
}

impl<'a, F: Files, T: Ticket> Lead<'a, F, T> {
    /// The caller has marked the queue as led.
    const fn new(shared: &'a Shared<F, T>) -> Self {
        Self {
            shared,
            taken: None,
        }
    }

    /// Writes what waits, group by group, but no more than so many.
    fn write_groups(mut self, most: usize) {
        for _ in 0..most {
            // With nothing left the queue is led no more: there is no lead to pass on.
            let Some(taken) = self.take_group() else {
                return std::mem::forget(self);
            };
            let taken = self.taken.insert(taken);
            // After a failure only a sync tells that the disk is well again.
            let waits = !taken.waiting.is_empty()
                || !taken.fences.is_empty()
                || self.shared.health.failure().is_some();
            let sync = self.shared.bounds.depth == Depth::Disk && waits;
            let group = Group {
                frames: &taken.frames,
                first: taken.first,
                last: taken.last,
                sums: taken.sums,
                sync,
                has_events: taken.has_events,
            };
            let began = sync.then(Instant::now);
            self.shared.health.begin_write();
            let (result, begun) = {
                let mut writer = self.shared.writer();
                // Who waits waits for what was written without a sync as well.
                let is_written = taken.frames.is_empty() && !(sync && writer.has_unsynced());
                let result = if is_written {
                    Ok(())
                } else {
                    writer.write(&group)
                };
                (result, writer.take_begun())
            };
            self.shared.health.end_write(result.is_ok());
            if let Some(began) = began {
                self.shared.health.syncs.record(began.elapsed());
            }
            let failed = result.is_err();
            if let Some(taken) = self.taken.take() {
                self.end_group(taken, result, begun);
            }
            if failed {
                break;
            }
        }
        // The drop of the lead lets other threads go on.
    }

    fn take_group(&self) -> Option<TakenGroup<T>> {
        let size = self.shared.bounds.segment_size.saturating_sub(HEAD_ROOM);
        let most = usize::try_from(size).unwrap_or(usize::MAX);
        self.shared.queue().take_group(&self.shared.health, most)
    }

    fn end_group(&self, taken: TakenGroup<T>, result: Result<(), WriteError>, begun: Vec<Begun>) {
        if !begun.is_empty() {
            let mut queue = self.shared.queue();
            queue.index.segments.extend(begun);
            queue.wants_spare = true;
            self.shared.notify_thread();
        }
        match result {
            Ok(()) => {
                self.shared.health.committed(taken.waiting.len());
                self.shared.health.set_well();
                taken
                    .waiting
                    .into_iter()
                    .for_each(|waiting| self.hand_over(waiting));
                answer_fences(taken.fences, true);
            }
            Err(error) => self.refuse_group(taken, &error),
        }
    }

    fn hand_over(&self, waiting: Waiting<T>) {
        let Waiting {
            shard,
            mut journaled,
            replaced,
            answer,
        } = waiting;
        let seq = journaled.seq();
        let credential = journaled.event().lane.credential;
        if let Some(replaced) = replaced.filter(|replaced| replaced.credential != credential) {
            let index = &mut self.shared.queue().index;
            index.release_context_of(replaced.letter, replaced.credential);
        }
        journaled.ticket.kept();
        // ORDER: to the tail before the answer, so that a caller that hears the acknowledgement
        // finds it there. Without a tail the process is ending, and the event waits on disk for the
        // next start.
        if let Some(tail) = self.shared.tails.get(shard) {
            drop(tail.take(journaled));
        }
        drop(answer.send(Ok(seq)));
    }

    /// The group's events are refused, and all else waits for a file that can be written.
    fn refuse_group(&self, taken: TakenGroup<T>, error: &WriteError) {
        let TakenGroup {
            mut frames,
            mut waiting,
            mut fences,
            is_cut,
            ..
        } = taken;
        let health = &self.shared.health;
        let refused = match error {
            WriteError::NoRoom(error) => {
                health.set_low(true, &error.to_string());
                AppendError::DiskFull
            }
            WriteError::Unknown(error) => {
                health.set_failure(&error.to_string());
                AppendError::Failing
            }
        };
        let mut queue = self.shared.queue();
        if is_cut {
            // Those that wait for the rest wait for this, too.
            frames.append(&mut queue.frames);
            waiting.append(&mut queue.waiting);
            fences.append(&mut queue.fences);
            queue.has_events = false;
        }
        refusal::take_back_group(&mut queue, &frames, &waiting);
        drop(queue);
        for Waiting {
            journaled, answer, ..
        } in waiting
        {
            health.release(journaled.event());
            // ORDER: as in `append`.
            drop(journaled);
            drop(answer.send(Err(refused.clone())));
        }
        answer_fences(fences, false);
    }

    /// The thread that led panicked: what it had taken can't be written any more.
    fn refuse_after_panic(&mut self) {
        self.shared.health.end_write(false);
        self.shared
            .health
            .set_failure("a panic while the journal was written");
        if let Some(taken) = self.taken.take() {
            let error =
                WriteError::Unknown(io::Error::other("a panic while the journal was written"));
            self.refuse_group(taken, &error);
        }
    }
}

impl<F: Files, T: Ticket> Drop for Lead<'_, F, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.refuse_after_panic();
        }
        let mut queue = self.shared.queue();
        queue.leading = false;
        // What can't be written is tried again by the thread, in its own time.
        let waits =
            queue.has_waiters() || !queue.frames.is_empty() && self.shared.health.takes_events();
        queue.is_woken |= waits;
        let is_woken = queue.is_woken;
        drop(queue);
        if is_woken {
            self.shared.notify_thread();
        }
    }
}

/// A caller that went away hears nothing.
fn answer_fences(fences: Vec<oneshot::Sender<bool>>, is_kept: bool) {
    let gone = fences
        .into_iter()
        .filter_map(|fence| fence.send(is_kept).err())
        .count();
    tracing::trace!(gone, "those who waited for the journal were told");
}
