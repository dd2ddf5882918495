//! What the callers, the leader and the journal's thread share: the queue, the writer, and what
//! wakes the thread.

use super::index::LogIndex;
use super::queue::{Queue, Waiting};
use crate::journal::entry::Ticket;
use crate::journal::health::Health;
use crate::journal::log::files::Files;
use crate::journal::log::writer::{Depth, Writer};
use crate::journal::tail::Tails;
use crate::journal::vault::{Draft, Vault};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long settlements wait for an event to go with.
const LINGER: Duration = Duration::from_millis(2);

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
pub struct Shared<F: Files, T> {
    /// The files.
    pub files: Arc<F>,
    /// The log's own.
    pub epoch: [u8; 16],
    /// Limits.
    pub bounds: Bounds,
    /// How the journal is.
    pub health: Arc<Health>,
    pub(super) vault: Vault,
    pub(super) tails: Tails<T>,
    // Held for an append's bookkeeping, never while anything is written.
    queue: Mutex<Queue<T>>,
    // Held by the leader while it writes, and by the journal's thread for a look.
    writer: Mutex<Writer<F>>,
    work: Condvar,
}

impl<F: Files, T: Ticket> Shared<F, T> {
    /// A log that goes on from `index`. `epoch`: the log's own.
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
        Self {
            files,
            epoch,
            bounds,
            health,
            vault,
            tails,
            queue,
            writer,
            work,
        }
    }

    /// A record as it may lie on disk.
    pub fn draft(&self, record: Vec<u8>) -> Draft {
        self.vault.draft(record)
    }

    /// The key that seals what is copied.
    pub const fn vault(&self) -> &Vault {
        &self.vault
    }

    /// What waits, locked.
    pub fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock()
    }

    /// The writer, locked.
    pub fn writer(&self) -> MutexGuard<'_, Writer<F>> {
        self.writer.lock()
    }

    /// Wakes the journal's thread, wherever it waits.
    pub(super) fn notify_thread(&self) {
        self.work.notify_all();
    }

    /// Tells the journal's thread, once, that something waits for which no caller does.
    pub(super) fn wake_thread(&self, queue: &mut Queue<T>) {
        if !std::mem::replace(&mut queue.is_woken, true) {
            self.notify_thread();
        }
    }

    /// The journal's thread waits until there is something to do for it, `patience` at most.
    pub fn wait_for_work(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut queue = self.queue.lock();
        let has_work = |queue: &Queue<T>| {
            // While another thread leads there is nothing to do: it takes what waits, or says so
            // when it ends.
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
        // Settlements wait a little for an event to go with.
        if queue.is_woken && !queue.is_closed && !queue.has_waiters() {
            self.work.wait_for(&mut queue, LINGER);
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

    /// A segment is being reclaimed, or isn't any more.
    pub fn set_reclaiming(&self, is_reclaiming: bool) {
        let mut queue = self.queue.lock();
        (queue.is_reclaiming, queue.has_refused) = (is_reclaiming, false);
    }

    /// From here on no thread writes anything: the directory is about to be free.
    pub fn set_ended(&self) {
        self.end().fences.clear();
        self.health.end_write(false);
    }

    /// Ends the log when no thread leads any more.
    fn end(&self) -> MutexGuard<'_, Queue<T>> {
        loop {
            let mut queue = self.queue.lock();
            if !queue.leading {
                queue.is_ended = true;
                return queue;
            }
            drop(queue);
            // Another thread leads, and ends soon.
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// The callers that wait for the end.
    pub fn take_closing(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.queue.lock().closing)
    }

    /// The journal's thread is gone: nothing is written any more, and what waits is not kept.
    pub fn end_after_panic(&self) {
        self.queue.lock().is_closed = true;
        // ORDER: no thread writes once the directory is free, nor finds the journal well again.
        let mut queue = self.end();
        self.health.set_failure("the journal's thread panicked");
        let (waiting, fences) = (
            std::mem::take(&mut queue.waiting),
            std::mem::take(&mut queue.fences),
        );
        queue.closing.clear();
        drop(queue);
        for Waiting { journaled, .. } in waiting {
            self.health.release(journaled.event());
        }
        drop(fences);
    }
}
