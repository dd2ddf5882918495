//! How many calls an HTTP/2 connection has, and since when it has none.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Calls on one connection at once: the fewest that an application should allow (RFC 9113 §6.5.2).
pub(super) const MAX_STREAMS: usize = 100;

/// How many calls a connection has.
#[derive(Debug)]
pub(super) struct Load {
    streams: AtomicUsize,
    /// What the application allows.
    most: AtomicUsize,
    /// When the last call ended. Locked for a look.
    ended: Mutex<Instant>,
}

impl Load {
    pub(super) fn new() -> Self {
        Self {
            streams: AtomicUsize::new(0),
            most: AtomicUsize::new(MAX_STREAMS),
            ended: Mutex::new(Instant::now()),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed).clamp(1, MAX_STREAMS);
        self.streams.load(Ordering::Relaxed) < most
    }

    /// What the application allows is so many.
    pub(super) fn allow(&self, streams: usize) {
        self.most.store(streams, Ordering::Relaxed);
    }

    /// When it has had no call for so long; none while it has one.
    pub(super) fn idles_until(&self, idle: Duration) -> Option<Instant> {
        let is_idle = self.streams.load(Ordering::Relaxed) == 0;
        is_idle.then(|| *self.ended.lock() + idle)
    }
}

/// A call on a connection, until its answer has ended.
#[derive(Debug)]
pub(super) struct OpenStream(Arc<Load>);

impl OpenStream {
    pub(super) fn begin(load: &Arc<Load>) -> Arc<Self> {
        load.streams.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self(Arc::clone(load)))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        *self.0.ended.lock() = Instant::now();
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
