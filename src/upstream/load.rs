//! How many calls an HTTP/2 connection has, since when it has none, and when it has had its last.
//!
//! Whoever abandons a call resets its stream, and applications close a connection on which many
//! streams are reset. So that one client's abandoned calls end none of the others', a connection
//! takes no more calls after a few of them, and is closed once those that it has are over.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Calls on one connection at once: the fewest that an application should allow (RFC 9113 §6.5.2).
pub(super) const MAX_STREAMS: usize = 100;
/// After so many abandoned calls a connection takes no more. Applications bear a thousand.
const MAX_ABANDONED: usize = 16;

/// How many calls a connection has.
#[derive(Debug)]
pub(super) struct Load {
    streams: AtomicUsize,
    /// What the application allows.
    most: AtomicUsize,
    /// Calls that were abandoned before their answers had ended.
    abandoned: AtomicUsize,
    /// When the last call ended. Locked for a look.
    ended: Mutex<Instant>,
    /// It takes no more calls, and has none.
    is_over: Notify,
}

impl Load {
    /// Of a connection whose application allows so many calls at once.
    pub(super) fn new(most: usize) -> Self {
        Self {
            streams: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
            abandoned: AtomicUsize::new(0),
            ended: Mutex::new(Instant::now()),
            is_over: Notify::new(),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed).clamp(1, MAX_STREAMS);
        !self.is_retired() && self.streams.load(Ordering::Relaxed) < most
    }

    /// It takes no more calls.
    fn is_retired(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed) >= MAX_ABANDONED
    }

    /// What the application allows is so many.
    pub(super) fn allow(&self, streams: usize) {
        self.most.store(streams, Ordering::Relaxed);
    }

    /// When it has had no call for so long, or now if it takes no more; none while it has one.
    pub(super) fn idles_until(&self, idle: Duration) -> Option<Instant> {
        let is_idle = self.streams.load(Ordering::Relaxed) == 0;
        let idle = if self.is_retired() {
            Duration::ZERO
        } else {
            idle
        };
        is_idle.then(|| *self.ended.lock() + idle)
    }

    /// Waits until it takes no more calls and has none.
    pub(super) async fn wait_until_over(&self) {
        self.is_over.notified().await;
    }
}

/// A call on a connection, until its answer has ended.
#[derive(Debug)]
pub(super) struct OpenStream {
    load: Arc<Load>,
    /// By its application: nothing of it is reset.
    has_ended: AtomicBool,
}

impl OpenStream {
    pub(super) fn begin(load: &Arc<Load>) -> Arc<Self> {
        load.streams.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self {
            load: Arc::clone(load),
            has_ended: AtomicBool::new(false),
        })
    }

    /// The application has ended it. What is dropped before that is abandoned.
    pub(super) fn note_end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let load = &self.load;
        if !*self.has_ended.get_mut() {
            load.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        *load.ended.lock() = Instant::now();
        // ORDER: last, so that the one that leaves no other sees all that were abandoned.
        if load.streams.fetch_sub(1, Ordering::AcqRel) == 1 && load.is_retired() {
            load.is_over.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_many_abandoned_calls_takes_no_more_and_is_over_after_its_last() {
        let (load, idle) = (Arc::new(Load::new(MAX_STREAMS)), Duration::from_secs(60));
        let last = OpenStream::begin(&load);
        for _ in 0..MAX_ABANDONED {
            assert!(load.has_room());
            let ended = OpenStream::begin(&load);
            ended.note_end();
            drop(ended);
            drop(OpenStream::begin(&load));
        }
        assert!(!load.has_room());
        assert_eq!(load.idles_until(idle), None);
        last.note_end();
        drop(last);
        load.wait_until_over().await;
        assert_eq!(load.idles_until(idle), Some(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_idles_from_its_last_call_on() {
        let (load, idle) = (Arc::new(Load::new(MAX_STREAMS)), Duration::from_secs(60));
        let call = OpenStream::begin(&load);
        tokio::time::advance(idle).await;
        assert_eq!(load.idles_until(idle), None);
        drop(call);
        assert_eq!(load.idles_until(idle), Some(Instant::now() + idle));
    }
}
