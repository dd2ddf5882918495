//! Committing: whoever brings an event, and finds nobody at it, writes for all that wait; a thread of the journal's own does
//! what can wait, and at `disk` all of it, since a sync takes long.
//!
//! **Invariants.** Numbers are given under the lock of a [queue](Committer::queue), in the order of the groups; an event reaches its tail in that
//! order, and is answered for after its group is as safe as the level promises, never before (P1). One thread leads at a time.
//! It leads without waiting for anything but the disk, so no client that goes away can stop it, and a panic passes the lead on.
//!
//! **Failure.** What a group that could not be written would have changed is taken back, its events are refused, and their
//! numbers are declared void by the first group that can be written again; all else waits for that. Until then no event is
//! taken.

use super::health::Health;
use super::log::files::Files;
use super::log::frame::{self, Flags, Kind};
use super::log::replay::Missing;
use super::log::writer::{Begun, Depth, Group, WriteError, Writer, salt_of};
use super::queue::{Answer, Kept, LogIndex, Queue, Settle, Taken, Waiting};
use super::record::{self, SuccessionRecord};
use super::tail::Tails;
use super::vault::{Draft, Vault};
use super::{AppendError, Journaled, Ticket};
use crate::event::{Context, Event, Fingerprint, Succession};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Most groups that one caller writes for others before the journal's thread goes on.
const ROUNDS: usize = 16;

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
    /// A dead letter that it comes from, which goes in the same moment.
    pub replaces: Option<u64>,
    /// Its caller's session succeeded another one.
    pub succession: Option<Succession>,
    /// Answered when it is kept, or isn't.
    pub answer: Answer,
}

/// Limits that the journal keeps.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// What an acknowledged event survives.
    pub depth: Depth,
    /// Bytes that must stay free on the disk.
    pub min_free: u64,
    /// Settled ids kept.
    pub max_seen: usize,
    /// How long a session's successor is kept after its last use.
    pub succession: Duration,
    /// Bytes of a segment.
    pub segment_size: u64,
}

/// The log of a process, and all that wait for it.
pub struct Committer<F: Files, T> {
    /// The files.
    pub files: Arc<F>,
    /// The log's own.
    pub epoch: [u8; 16],
    /// Limits.
    pub bounds: Bounds,
    /// How it is.
    pub health: Arc<Health>,
    vault: Vault,
    tails: Tails<T>,
    // Held for an append's bookkeeping, never while anything is written.
    queue: Mutex<Queue<T>>,
    // The leader's, and for a look the thread's.
    writer: Mutex<Writer<F>>,
    work: Condvar,
}

impl<F: Files, T: Ticket> Committer<F, T> {
    /// One that goes on from `index`.
    pub fn new(
        (files, epoch): (Arc<F>, [u8; 16]),
        vault: Vault,
        index: LogIndex,
        bounds: Bounds,
        tails: Tails<T>,
        health: Arc<Health>,
        writer: Writer<F>,
    ) -> Self {
        let queue = Queue::new(index);
        let (queue, writer, work) = (Mutex::new(queue), Mutex::new(writer), Condvar::new());
        Self { files, epoch, bounds, health, vault, tails, queue, writer, work }
    }

    /// A record as it may lie on disk.
    pub fn draft(&self, record: Vec<u8>) -> Draft {
        self.vault.draft(record)
    }

    /// What waits, locked.
    pub fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock()
    }

    /// The writer, locked.
    pub fn writer(&self) -> MutexGuard<'_, Writer<F>> {
        self.writer.lock()
    }

    /// Numbers an event and sees to its being written.
    pub fn append(&self, append: Append<T>) {
        let Append { shard, event, draft, ticket, replaces, succession, answer } = append;
        let mut queue = self.queue.lock();
        // Without random numbers nothing can be sealed, and nothing lies open that should not.
        let may = if draft.is_void() { Err(AppendError::Failing) } else { Ok(()) };
        if let Err(error) = may.and_then(|()| self.may_take(&mut queue, shard, &event.context)) {
            drop(queue);
            self.health.release(&event);
            // ORDER: the ticket takes everything back before the caller hears of it. A caller that left hears nothing.
            drop(ticket);
            drop(answer.send(Err(error)));
            return;
        }
        if let Some(succession) = succession {
            self.push_succession(&mut queue, &succession);
        }
        let replaced = replaces.and_then(|letter| Some((letter, queue.index.remove_letter(letter)?)));
        let replaces = replaced.map_or(0, |(letter, _)| letter);
        if replaced.is_some() {
            queue.index.sums.dead = queue.index.sums.dead.saturating_sub(1);
            queue.index.release_context(event.lane.credential);
        }
        let size = record::keyed_size(&draft.body);
        let seq = queue.push(Kind::Event, draft.flags, |out| record::put_keyed(out, replaces, &draft.body));
        queue.index.insert_event(Kept { number: seq, size });
        queue.has_events = true;
        let journaled = Box::new(Journaled { seq, size, event, ticket, since: Instant::now() });
        queue.waiting.push(Waiting { shard, journaled, replaced, answer });
        self.write_or_wake(queue);
    }

    fn may_take(&self, queue: &mut Queue<T>, shard: usize, context: &Context) -> Result<(), AppendError> {
        if self.health.failure().is_some() {
            return Err(AppendError::Failing);
        }
        if self.health.is_low() {
            return Err(AppendError::DiskFull);
        }
        if queue.is_closed || self.tails.get(shard).is_none_or(|tail| tail.is_closed()) {
            return Err(AppendError::Closed);
        }
        self.retain_context(queue, context)
    }

    /// One more needs this context.
    fn retain_context(&self, queue: &mut Queue<T>, context: &Context) -> Result<(), AppendError> {
        let fingerprint = context.keys.fingerprint;
        if queue.index.retain_context(fingerprint) {
            return Ok(());
        }
        let Ok(sealed) = self.vault.seal(context) else { return Err(AppendError::Failing) };
        let size = record::context_size(&sealed);
        let number = queue.push(Kind::Context, Flags::default(), |out| record::put_context(out, fingerprint, &sealed));
        queue.index.insert_context(fingerprint, Kept { number, size });
        queue.index.retain_context(fingerprint);
        Ok(())
    }

    /// Not while nothing can be written: what waits has no bound then.
    fn push_succession(&self, queue: &mut Queue<T>, succession: &Succession) {
        if !self.health.takes_events() {
            return;
        }
        let kept = queue.index.successors.keep(*succession, self.health.now_ms(), self.bounds.succession);
        let Some(kept) = kept else { return };
        let record = SuccessionRecord::of(succession, kept.until);
        let number = queue.push(Kind::Succession, Flags::default(), |out| record::put(out, &record));
        queue.index.insert_succession(succession.bearer, number);
        if let Some(gone) = kept.gone {
            queue.index.remove_succession(gone);
        }
    }

    /// These events have their outcomes: they go with the next group.
    pub fn settle_all(&self, settled: Vec<Settle>) {
        let mut queue = self.queue.lock();
        settled.into_iter().for_each(|settle| queue.push_settle(settle));
        self.wake_thread(&mut queue);
    }

    /// Dead letters that are gone; `for_room`: there was none for them, else an operator wanted it.
    pub fn drop_letters(&self, letters: &[(u64, Fingerprint)], for_room: bool) {
        let mut queue = self.queue.lock();
        queue.drop_letters(letters, for_room);
        self.wake_thread(&mut queue);
    }

    /// Keeps a session's successor; the receiver ends when it is kept, or can't be.
    pub fn succeed(&self, succession: &Succession) -> oneshot::Receiver<bool> {
        let mut queue = self.queue.lock();
        if !queue.is_ended {
            self.push_succession(&mut queue, succession);
        }
        self.add_fence(queue)
    }

    /// The receiver hears when everything that waits is as safe as the level promises.
    pub fn fence(&self) -> oneshot::Receiver<bool> {
        self.add_fence(self.queue.lock())
    }

    fn add_fence(&self, mut queue: MutexGuard<'_, Queue<T>>) -> oneshot::Receiver<bool> {
        let (fence, passed) = oneshot::channel();
        if queue.is_ended {
            return passed;
        }
        queue.fences.push(fence);
        self.write_or_wake(queue);
        passed
    }

    /// Everything that was sent is on the disk, nothing more will be, and the thread ends.
    pub fn close(&self) -> oneshot::Receiver<()> {
        let (answer, closed) = oneshot::channel();
        let mut queue = self.queue.lock();
        if !queue.is_ended {
            queue.closing.push(answer);
        }
        queue.is_closed = true;
        drop(queue);
        self.work.notify_all();
        closed
    }

    /// Nobody can bring anything any more: the thread writes what waits, and ends.
    pub fn abandon(&self) {
        self.queue.lock().is_closed = true;
        self.work.notify_all();
    }

    /// The thread is told once that something waits for which nobody waits.
    fn wake_thread(&self, queue: &mut Queue<T>) {
        if !std::mem::replace(&mut queue.is_woken, true) {
            self.work.notify_all();
        }
    }

    /// Somebody waits: whoever is here leads, if nobody does and no sync is asked for.
    fn write_or_wake(&self, mut queue: MutexGuard<'_, Queue<T>>) {
        match self.bounds.depth {
            Depth::Process if !queue.leading => {
                queue.leading = true;
                drop(queue);
                self.write_groups(ROUNDS);
            }
            Depth::Process => {}
            Depth::Disk => {
                queue.is_woken = true;
                drop(queue);
                self.work.notify_all();
            }
        }
    }

    /// Waits until there is something to do for the journal's thread, or for so long.
    pub fn wait_for_work(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut queue = self.queue.lock();
        let has_work = |queue: &Queue<T>| {
            // While another one leads there is nothing to do: it takes what waits, or tells of it when it ends.
            let waits = !queue.leading && (queue.is_woken || queue.has_waiters());
            queue.is_closed || (waits || queue.wants_spare) && self.health.takes_events()
        };
        while !has_work(&queue) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.work.wait_for(&mut queue, left);
        }
        // Settlements wait a moment for an event to go with.
        if queue.is_woken && !queue.is_closed && !queue.has_waiters() {
            self.work.wait_for(&mut queue, LINGER);
        }
    }

    /// Lets a frame of an earlier segment wait to be written as it was, under its number, but sealed as it would be today.
    pub fn push_again(&self, queue: &mut Queue<T>, found: &frame::Frame<'_>) {
        match self.vault.sealed_anew(found) {
            Some((sealed, body)) => {
                let copy = if found.flags.has(Flags::COPY) { Flags::COPY } else { Flags::default() };
                queue.push_again(&frame::Frame { flags: sealed.with(copy), body: &body, ..*found });
            }
            None => queue.push_again(found),
        }
    }

    /// What a start owes to what it found: numbers that are missing are gone for good, and at `disk` what may not be synced is
    /// written again, before anything that builds on it. `unsynced`: segments that hold something beyond the number `synced`.
    ///
    /// # Errors
    /// A file can't be read any more.
    pub fn take_up(&self, missing: Vec<Missing>, unsynced: &[u64], synced: u64) -> std::io::Result<()> {
        self.queue.lock().void.extend(missing);
        let again = if self.bounds.depth == Depth::Disk { unsynced } else { &[] };
        for segment in again {
            self.write_again(&self.files.read(*segment)?, *segment, synced);
        }
        Ok(())
    }

    /// What a file holds beyond a number waits to be written again, outcomes as well as pending events: it was not synced, as far as
    /// anybody knows. After a sync that failed the kernel shows it until the power goes, and no later sync brings it to the
    /// disk.
    fn write_again(&self, bytes: &[u8], segment: u64, beyond: u64) {
        let mut queue = self.queue.lock();
        for frame in frame::each_whole(bytes, salt_of(&self.epoch, segment)) {
            let matters = match frame.kind {
                Kind::Head => false,
                // One that was refused stays away, even if the power takes the frame that says so.
                Kind::Event => queue.is_alive(&frame),
                _ => true,
            };
            if frame.number > beyond && matters {
                self.push_again(&mut queue, &frame);
            }
        }
    }

    /// Whether a segment was begun since this was asked last.
    pub fn take_spare_request(&self) -> bool {
        std::mem::take(&mut self.queue.lock().wants_spare)
    }

    /// Whether the end was asked for.
    pub fn is_closing(&self) -> bool {
        self.queue.lock().is_closed
    }

    /// Nothing is written from here on, by nobody: the directory is about to be free.
    pub fn set_ended(&self) {
        loop {
            let mut queue = self.queue.lock();
            if !queue.leading {
                queue.is_ended = true;
                queue.fences.clear();
                return;
            }
            drop(queue);
            // Another one leads, and ends in a moment.
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// A segment is being reclaimed, or isn't any more.
    pub fn set_reclaiming(&self, is_reclaiming: bool) {
        self.queue.lock().is_reclaiming = is_reclaiming;
    }

    /// Who waits for the end.
    pub fn take_closing(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.queue.lock().closing)
    }

    /// Writes what waits, unless somebody does.
    pub fn lead_if_free(&self) {
        let mut queue = self.queue.lock();
        if !queue.leading {
            queue.leading = true;
            drop(queue);
            self.write_groups(ROUNDS);
        }
    }

    /// Writes what waits, group by group.
    fn write_groups(&self, rounds: usize) {
        let mut lead = Lead { committer: self, taken: None };
        for _ in 0..rounds {
            let Some(taken) = self.take_group() else { return std::mem::forget(lead) };
            let taken = lead.taken.insert(taken);
            // After a failure only a sync tells that the disk is well again.
            let waits = !taken.waiting.is_empty() || !taken.fences.is_empty() || self.health.failure().is_some();
            let sync = self.bounds.depth == Depth::Disk && waits;
            let group = Group {
                frames: &taken.frames,
                first: taken.first,
                last: taken.last,
                sums: taken.sums,
                sync,
                has_events: taken.has_events,
            };
            let (result, begun) = {
                let mut writer = self.writer.lock();
                let result = if taken.frames.is_empty() { Ok(()) } else { writer.write(&group) };
                (result, writer.take_begun())
            };
            let failed = result.is_err();
            if let Some(taken) = lead.taken.take() {
                self.end_group(taken, result, begun);
            }
            if failed {
                break;
            }
        }
        // The drop of the lead lets others go on.
    }

    /// What waits; none: nothing does, and nobody leads any more.
    fn take_group(&self) -> Option<Taken<T>> {
        let mut queue = self.queue.lock();
        if queue.is_ended {
            queue.leading = false;
            return None;
        }
        queue.is_woken = false;
        let repeats = self.health.repeats();
        queue.index.sums.duplicate += repeats - queue.repeats;
        let repeated = repeats != queue.repeats;
        queue.repeats = repeats;
        queue.push_settled();
        while let Some(gone) = queue.index.successors.take_expired(self.health.now_ms()) {
            queue.index.remove_succession(gone);
        }
        for missing in std::mem::take(&mut queue.void) {
            queue.push(Kind::Void, Flags::default(), |out| record::put(out, &missing));
        }
        if repeated || std::mem::take(&mut queue.owes_sums) {
            queue.push_sums();
        }
        if queue.frames.is_empty() && queue.fences.is_empty() {
            queue.leading = false;
            return None;
        }
        let frames = std::mem::take(&mut queue.frames);
        Some(Taken {
            first: if frames.is_empty() { queue.index.next } else { queue.first },
            last: queue.index.next - 1,
            frames,
            sums: queue.index.sums,
            has_events: std::mem::take(&mut queue.has_events),
            waiting: std::mem::take(&mut queue.waiting),
            fences: std::mem::take(&mut queue.fences),
        })
    }

    fn end_group(&self, taken: Taken<T>, result: Result<(), WriteError>, begun: Vec<Begun>) {
        if !begun.is_empty() {
            let mut queue = self.queue.lock();
            queue.index.segments.extend(begun);
            queue.wants_spare = true;
            self.work.notify_all();
        }
        match result {
            Ok(()) => {
                self.health.committed(taken.waiting.len());
                self.health.set_well();
                taken.waiting.into_iter().for_each(|waiting| self.hand_over(waiting));
                answer_fences(taken.fences, true);
            }
            Err(error) => self.refuse(taken, &error),
        }
    }

    fn hand_over(&self, waiting: Waiting<T>) {
        let Waiting { shard, mut journaled, answer, .. } = waiting;
        let seq = journaled.seq;
        journaled.ticket.kept();
        // ORDER: to the tail before the answer, so that whoever hears the acknowledgement finds it there. Without a tail the
        // process is ending, and the event waits on disk for the next start.
        if let Some(tail) = self.tails.get(shard) {
            drop(tail.take(journaled));
        }
        drop(answer.send(Ok(seq)));
    }

    /// The group's events are refused, and all else waits for a file that can be written.
    fn refuse(&self, taken: Taken<T>, error: &WriteError) {
        let Taken { frames, waiting, fences, .. } = taken;
        let refused = match error {
            WriteError::NoRoom(error) => {
                self.health.set_low(true, &error.to_string());
                AppendError::DiskFull
            }
            WriteError::Unknown(error) => {
                self.health.set_failure(&error.to_string());
                AppendError::Failing
            }
        };
        let mut queue = self.queue.lock();
        for Waiting { journaled, replaced, .. } in &waiting {
            let index = &mut queue.index;
            index.remove_event(Kept { number: journaled.seq, size: journaled.size });
            if let Some((letter, kept)) = *replaced {
                // One for the letter that is there again, which the event's own is let go for.
                index.insert_letter(letter, kept);
                index.sums.dead += 1;
            } else {
                index.release_context(journaled.event.lane.credential);
            }
        }
        let mut kept = Vec::new();
        let mut first = None;
        for (frame, whole) in frame::each(&frames) {
            let is_copy = frame.flags.has(Flags::COPY);
            let is_of_before = frame.number < queue.own;
            match frame.kind {
                // The segment that they come from stays, and they are copied anew.
                _ if is_copy && queue.is_reclaiming => {}
                // An earlier process has told of it.
                _ if is_of_before => kept.extend_from_slice(whole),
                Kind::Event if !is_copy => queue.declare_void(frame.number),
                // It counts what was taken back.
                Kind::State => {
                    queue.declare_void(frame.number);
                    queue.owes_sums = true;
                }
                // As for copies.
                Kind::Seen => queue.declare_void(frame.number),
                _ => {
                    first = first.or_else(|| (!is_copy).then_some(frame.number));
                    kept.extend_from_slice(whole);
                }
            }
        }
        if !kept.is_empty() {
            if queue.frames.is_empty() {
                queue.first = queue.index.next;
            }
            kept.append(&mut queue.frames);
            queue.first = first.unwrap_or(queue.first);
            queue.frames = kept;
        }
        drop(queue);
        for Waiting { journaled, answer, .. } in waiting {
            self.health.release(&journaled.event);
            // ORDER: as in `append`.
            drop(journaled);
            drop(answer.send(Err(refused.clone())));
        }
        answer_fences(fences, false);
    }

    /// The thread is gone: nothing is written any more.
    pub fn end_after_panic(&self) {
        self.health.set_failure("the journal's thread panicked");
        let mut queue = self.queue.lock();
        (queue.is_closed, queue.is_ended) = (true, true);
        let (waiting, fences) = (std::mem::take(&mut queue.waiting), std::mem::take(&mut queue.fences));
        queue.closing.clear();
        drop(queue);
        for Waiting { journaled, .. } in waiting {
            self.health.release(&journaled.event);
        }
        drop(fences);
    }

    /// What can't be written any more, since whoever led panicked.
    fn refuse_after_panic(&self, taken: Option<Taken<T>>) {
        self.health.set_failure("a panic while the journal was written");
        if let Some(taken) = taken {
            let error = WriteError::Unknown(std::io::Error::other("a panic while the journal was written"));
            self.refuse(taken, &error);
        }
    }
}

/// Whoever went away hears nothing.
fn answer_fences(fences: Vec<oneshot::Sender<bool>>, is_kept: bool) {
    let gone = fences.into_iter().filter_map(|fence| fence.send(is_kept).err()).count();
    tracing::trace!(gone, "those who waited for the journal were told");
}

/// How long settlements wait for an event to go with.
const LINGER: Duration = Duration::from_millis(2);

/// Leading: whatever happens, the lead is passed on.
struct Lead<'a, F: Files, T: Ticket> {
    committer: &'a Committer<F, T>,
    taken: Option<Taken<T>>,
}

impl<F: Files, T: Ticket> Drop for Lead<'_, F, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.committer.refuse_after_panic(self.taken.take());
        }
        let mut queue = self.committer.queue.lock();
        queue.leading = false;
        // What can't be written is tried again by the thread, in its own time.
        let waits = queue.has_waiters() || !queue.frames.is_empty() && self.committer.health.takes_events();
        queue.is_woken |= waits;
        let is_woken = queue.is_woken;
        drop(queue);
        if is_woken {
            self.committer.work.notify_all();
        }
    }
}
