//! A new connection that found no place, as the connections that have one know of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// A listener has at most one at a time; clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Newcomer(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// No connection could be asked; the first that begins to wait for its client gives way
    /// unasked.
    takes_first: AtomicBool,
    /// One that was asked stays.
    declined: Notify,
}

impl Newcomer {
    /// From now on the first connection that can gives way.
    pub(super) fn take_first(&self) {
        self.0.takes_first.store(true, Ordering::SeqCst);
    }

    /// It has a place.
    pub(super) fn is_placed(&self) {
        self.0.takes_first.store(false, Ordering::SeqCst);
    }

    /// Whether a connection that wasn't asked is the first to give way; true once.
    pub(super) fn claim(&self) -> bool {
        self.0.takes_first.load(Ordering::SeqCst)
            && self.0.takes_first.swap(false, Ordering::SeqCst)
    }

    /// A connection that was asked, or that claimed it, stays.
    pub(super) fn decline(&self) {
        self.0.declined.notify_waiters();
    }

    /// Until one declines, from the moment that this is enabled.
    pub(super) fn declined(&self) -> Notified<'_> {
        self.0.declined.notified()
    }
}
