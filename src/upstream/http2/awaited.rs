//! A call that waits for the head of its answer. One that is given up after a while though nothing
//! at all has come meanwhile leaves its connection to those that it has: its peer may be gone
//! without a word. What is given up sooner says nothing of the peer.

use crate::upstream::link::Link;
use std::time::Duration;
use tokio::time::Instant;

/// A call that waits.
pub(super) struct AwaitedHead<'a, F: Fn()> {
    link: &'a Link,
    /// What had come when it began; none: it isn't awaited any more.
    received: Option<usize>,
    since: Instant,
    patience: Duration,
    /// Leaves the connection.
    leave: F,
}

impl<'a, F: Fn()> AwaitedHead<'a, F> {
    /// `patience`: a peer that says nothing for so long may be gone, and `leave` is called.
    pub(super) fn begin(link: &'a Link, patience: Duration, leave: F) -> Self {
        Self {
            link,
            received: Some(link.count_received()),
            since: Instant::now(),
            patience,
            leave,
        }
    }

    /// It has come, or an error.
    pub(super) fn end(mut self) {
        self.received = None;
    }
}

impl<F: Fn()> Drop for AwaitedHead<'_, F> {
    fn drop(&mut self) {
        let has_waited = self.since.elapsed() >= self.patience;
        if has_waited && self.received == Some(self.link.count_received()) {
            (self.leave)();
        }
    }
}
