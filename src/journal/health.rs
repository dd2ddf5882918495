//! How a journal is: what it holds, and whether it can be written.

use super::entry;
use crate::clock::{Clock, millis};
use crate::event::Event;
use crate::metrics::Latencies;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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

    /// Why the last write failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<str>> {
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
        !self.is_low() && !self.is_failing.load(Ordering::Relaxed)
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
