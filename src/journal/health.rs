//! How a journal is: what it holds, and whether it can be written.

use super::entry;
use crate::clock::{Clock, millis};
use crate::event::Event;
use crate::metrics::Latencies;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What has waited this long to be written is taken for waiting on a disk that doesn't answer: one
/// behind a network that went away, or a device that hangs.
pub const STALL: Duration = Duration::from_secs(5);

/// When the health was made.
#[derive(Debug)]
struct Made(Instant);

impl Default for Made {
    fn default() -> Self {
        Self(Instant::now())
    }
}

/// How a journal is.
#[derive(Debug, Default)]
pub struct Health {
    held: AtomicU64,
    repeats: AtomicU64,
    commits: AtomicU64,
    appends: AtomicU64,
    /// Commits that waited for the disk (`durability = "disk"`).
    pub syncs: Latencies,
    is_low: AtomicBool,
    is_failing: AtomicBool,
    /// Since when something waits to be written, milliseconds after this was made, and one; 0: nothing
    /// does, as far as is known.
    waiting: AtomicU64,
    /// It was told that it waits too long.
    is_told: AtomicBool,
    /// Files of the log that could not be read at the start.
    unread: AtomicU64,
    made: Made,
    // Why it fails. Locked for a look.
    failure: RwLock<Option<Arc<str>>>,
    clock: Clock,
}

impl Health {
    /// Of a journal that holds nothing.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    /// Unix milliseconds.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        millis(self.clock.now())
    }

    /// Unix milliseconds by which what is kept for a time expires ([`Clock::expiry`]).
    #[must_use]
    pub fn expiry_ms(&self) -> u64 {
        millis(self.clock.expiry())
    }

    /// Bytes not yet settled.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// So many more bytes are held; how many were before.
    pub fn hold(&self, size: u64) -> u64 {
        self.held.fetch_add(size, Ordering::Relaxed)
    }

    /// What an event held is free again.
    pub fn release(&self, event: &Event) {
        self.held.fetch_sub(entry::size(event), Ordering::Relaxed);
    }

    /// A duplicate was recognized before it came here.
    pub fn repeat(&self) {
        self.repeats.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were.
    #[must_use]
    pub fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// The disk is nearly full, or isn't any more.
    pub fn set_low(&self, is_low: bool, why: &str) {
        if is_low != self.is_low.swap(is_low, Ordering::Relaxed) {
            match is_low {
                true => {
                    tracing::warn!(
                        why,
                        "the journal's disk is nearly full: events are forwarded, not acknowledged"
                    )
                }
                false => tracing::info!("the journal's disk has room again"),
            }
        }
    }

    /// A write failed.
    pub fn set_failure(&self, why: &str) {
        let mut failure = self.failure.write();
        if failure.is_none() {
            tracing::error!(
                why,
                "the journal can't be written: events are forwarded, not acknowledged, until it can"
            );
        }
        *failure = Some(why.into());
        self.is_failing.store(true, Ordering::Relaxed);
    }

    /// A write went well.
    pub fn set_well(&self) {
        if self.is_failing.load(Ordering::Relaxed) {
            self.is_failing.store(false, Ordering::Relaxed);
            *self.failure.write() = None;
            tracing::info!("the journal can be written again");
        }
    }

    /// So many more files of the log can't be read.
    pub fn note_unread(&self, files: usize) {
        self.unread.fetch_add(files as u64, Ordering::Relaxed);
    }

    /// Files of the log that could not be read at the start. While there are any, no segment is
    /// reclaimed.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.unread.load(Ordering::Relaxed)
    }

    fn mark(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.made.0).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Something waits to be written from now on: the thread that is to write may be held up by the
    /// disk before it comes to that.
    pub fn begin_wait(&self, now: Instant) {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            self.waiting.store(self.mark(now), Ordering::Relaxed);
        }
    }

    /// A write begins.
    pub fn begin_write(&self) {
        self.waiting
            .store(self.mark(Instant::now()), Ordering::Relaxed);
    }

    /// It has ended, well or not. What came meanwhile is marked by its own write, or by the next that
    /// comes.
    pub fn end_write(&self, is_well: bool) {
        self.waiting.store(0, Ordering::Relaxed);
        if self.is_told.swap(false, Ordering::Relaxed) && is_well {
            tracing::info!("the journal's disk answers again");
        }
    }

    /// How long something has waited to be written.
    #[must_use]
    pub fn waited(&self) -> Option<Duration> {
        let since = self.waiting.load(Ordering::Relaxed).checked_sub(1)?;
        let began = self.made.0 + Duration::from_millis(since);
        Some(Instant::now().saturating_duration_since(began))
    }

    /// The same, if that is too long.
    #[must_use]
    pub fn stalled(&self) -> Option<Duration> {
        let taken = self.waited()?;
        if taken < STALL {
            return None;
        }
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::error!(
                "the journal's disk doesn't answer: events are forwarded, not acknowledged, until it \
                 does"
            );
        }
        Some(taken)
    }

    /// Why the last write failed, if it did, or that the disk doesn't answer.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<str>> {
        if let Some(taken) = self.stalled() {
            let seconds = taken.as_secs();
            return Some(format!("the disk has not answered for {seconds} s").into());
        }
        if self.is_failing.load(Ordering::Relaxed) {
            self.failure.read().clone()
        } else {
            None
        }
    }

    /// The disk is nearly full.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.is_low.load(Ordering::Relaxed)
    }

    /// Whether events can be kept, as far as the disk goes.
    #[must_use]
    pub fn takes_events(&self) -> bool {
        !self.is_low() && !self.is_failing.load(Ordering::Relaxed) && self.stalled().is_none()
    }

    /// So many events were kept in one commit.
    pub fn committed(&self, appends: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.appends.fetch_add(appends as u64, Ordering::Relaxed);
    }

    /// Commits so far, and the events in them.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (
            self.commits.load(Ordering::Relaxed),
            self.appends.load(Ordering::Relaxed),
        )
    }
}
