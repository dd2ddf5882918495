//! The journal's thread: it writes what no caller waits for and what must be synced, keeps files
//! ready, looks at the room that is left, and reclaims segments.
//!
//! **Reclaiming** takes the oldest segment only. What is alive in it is copied to the end, under
//! its number; when the copies are on the disk the file is deleted. So what settles an event always
//! lies behind all its frames, and outlives them.

use super::commit::leader::lead_if_free;
use super::commit::shared::Shared;
use super::copies::{copy_alive, write_waiting};
use super::directory::DirectoryLock;
use super::entry::Ticket;
use super::log::files::{Files, SegmentFile};
use super::log::writer::Full;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often the room that is left is looked at.
const CHORES: Duration = Duration::from_millis(200);
/// Longest pause between two attempts to write after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The thread's own state.
pub struct WriterThread<F: Files, T: Ticket> {
    shared: Arc<Shared<F, T>>,
    /// Holds the directory.
    lock: Option<DirectoryLock>,
    full: Vec<Full<F::File>>,
    /// A file could not be synced, and is not asked again: at `process` nothing counts as synced
    /// any more.
    is_behind: bool,
    /// So many of the oldest segments are reclaimed at once.
    to_reclaim: usize,
    next_chores: Instant,
    next_reclaim: Instant,
    pause: Duration,
}

impl<F: Files, T: Ticket> WriterThread<F, T> {
    /// `lock` holds the directory as long as it runs. `to_reclaim`: so many of the oldest segments
    /// are reclaimed at once, since they are damaged or what is in them should be sealed otherwise.
    pub fn new(shared: Arc<Shared<F, T>>, lock: Option<DirectoryLock>, to_reclaim: usize) -> Self {
        Self {
            shared,
            lock,
            full: Vec::new(),
            is_behind: false,
            to_reclaim,
            next_chores: Instant::now(),
            next_reclaim: Instant::now(),
            pause: CHORES,
        }
    }

    /// Runs until the journal is closed, or no caller is left that could bring it anything.
    pub fn run(mut self) {
        let _guard = PanicGuard(Arc::clone(&self.shared));
        loop {
            self.shared
                .wait_for_work(self.next_chores.saturating_duration_since(Instant::now()));
            if self.shared.is_closing() {
                break;
            }
            let is_due = Instant::now() >= self.next_chores;
            if self.shared.take_spare_request() && !is_due {
                self.look_at_the_disk();
            }
            if is_due || self.shared.health.takes_events() {
                lead_if_free(&self.shared);
            }
            if is_due {
                self.do_chores();
            }
        }
        self.end();
    }

    /// What has to be done now and then.
    pub(super) fn do_chores(&mut self) {
        self.look_at_the_disk();
        self.sync_full_files();
        let fails = self.shared.health.failure().is_some();
        self.pause = if fails {
            (self.pause * 2).min(LONGEST_PAUSE)
        } else {
            CHORES
        };
        // One after the other, as long as there is one to reclaim and that goes well.
        let reclaimed = !fails && self.reclaim_if_loose();
        self.next_chores = Instant::now()
            + if reclaimed {
                Duration::ZERO
            } else {
                self.pause
            };
    }

    /// Whether a segment was reclaimed.
    fn reclaim_if_loose(&mut self) -> bool {
        let is_loose = self.to_reclaim > 0
            || self
                .shared
                .queue()
                .is_loose(self.shared.bounds.segment_size);
        if !is_loose || Instant::now() < self.next_reclaim {
            return false;
        }
        // ORDER: what a start has to write again is written before anything counts as a copy that
        // can be made anew.
        let result = write_waiting(&self.shared).and_then(|()| {
            self.shared.set_reclaiming(true);
            let result = self.reclaim();
            self.shared.set_reclaiming(false);
            result
        });
        if let Err(error) = &result {
            tracing::warn!(%error, "a segment of the journal can't be reclaimed now");
            self.next_reclaim = Instant::now() + LONGEST_PAUSE;
        }
        result.is_ok()
    }

    /// Files are made ahead of their use, where no caller waits for it.
    pub(super) fn look_at_the_disk(&self) {
        let made = self.make_spares();
        let low = match self.shared.files.free() {
            Ok(free) => free < self.shared.bounds.min_free,
            // A file system that does not say has to speak by failing.
            Err(_) => false,
        };
        let why = made.err().map(|error| error.to_string());
        self.shared.health.set_low(
            low || why.is_some(),
            why.as_deref().unwrap_or("journal.min_free"),
        );
    }

    fn make_spares(&self) -> io::Result<()> {
        loop {
            let Some((segment, size)) = self.shared.writer().want_spare() else {
                return Ok(());
            };
            let file = self.shared.files.create(segment, size)?;
            // ORDER: its name is on the disk before anything may be written to it.
            let named = self.shared.files.sync_directory();
            let is_used = named.is_ok() && self.shared.writer().offer_spare(segment, size, file);
            if !is_used {
                self.shared.files.delete(segment)?;
            }
            named?;
        }
    }

    /// Files that are full are synced once, so that damage in them can be told from what the power
    /// took.
    fn sync_full_files(&mut self) {
        self.full.append(&mut self.shared.writer().take_full());
        for Full { file, last } in std::mem::take(&mut self.full) {
            match file.sync() {
                Ok(()) if !self.is_behind => self.shared.writer().set_synced(last),
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "a full segment of the journal can't be synced");
                    // Nothing after it may count as synced.
                    self.is_behind = true;
                }
            }
        }
    }

    /// The oldest segment goes, and what is alive in it stays.
    fn reclaim(&mut self) -> io::Result<()> {
        let (oldest, next) = {
            let queue = self.shared.queue();
            let mut segments = queue.index.segments.iter();
            let Some(oldest) = segments.next() else {
                return Ok(());
            };
            let next = segments.next().map_or(queue.index.next, |next| next.first);
            (*oldest, next)
        };
        let bytes = match self.shared.files.read(oldest.segment) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        // The next number outlives all segments: there is always one, even if nothing is alive.
        self.shared.queue().push_sums();
        copy_alive(&self.shared, &bytes, oldest.segment)?;
        // ORDER: the copies are on the disk before what they are copies of goes.
        self.sync_written()?;
        // ORDER: it is gone for good before the next one may go, which may hold what settles the
        // events of this one.
        self.shared
            .files
            .delete(oldest.segment)
            .or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        self.shared.files.sync_directory()?;
        let mut queue = self.shared.queue();
        queue.index.segments.pop_front();
        queue.index.events.begin_at(next);
        self.to_reclaim = self.to_reclaim.saturating_sub(1);
        Ok(())
    }

    /// Everything that was written survives a power cut.
    fn sync_written(&mut self) -> io::Result<()> {
        let current = {
            let mut writer = self.shared.writer();
            self.full.append(&mut writer.take_full());
            writer.current()
        };
        for Full { file, .. } in std::mem::take(&mut self.full) {
            file.sync().inspect_err(|_| self.is_behind = true)?;
        }
        if let Some(Full { file, last }) = current {
            // What it holds after that is unknown.
            file.sync()
                .inspect_err(|_| self.shared.writer().give_up())?;
            if !self.is_behind {
                self.shared.writer().set_synced(last);
            }
        }
        Ok(())
    }

    /// The last group, to the disk at every level, and then the directory is free.
    fn end(mut self) {
        let written = write_waiting(&self.shared).and_then(|()| self.sync_written());
        // ORDER: no thread writes once another process may.
        self.shared.set_ended();
        self.shared.writer().finish();
        if let Err(error) = written {
            tracing::error!(%error, "the journal ended before its last group was on the disk");
        }
        let closing = self.shared.take_closing();
        // ORDER: the directory is free before a caller hears that it is.
        drop(self.lock.take());
        let heard = closing
            .into_iter()
            .filter_map(|answer| answer.send(()).ok())
            .count();
        tracing::debug!(heard, "the journal is closed");
    }
}

/// Should the thread panic: no caller waits in vain, and readiness says so.
struct PanicGuard<F: Files, T: Ticket>(Arc<Shared<F, T>>);

impl<F: Files, T: Ticket> Drop for PanicGuard<F, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end_after_panic();
        }
    }
}
