//! Waiting for a client that takes nothing of what is ready.
//!
//! The kernel takes a write only when a good part of its buffer is free again, which a slow client
//! reaches seldom. So while a write waits, the kernel is asked how much it still has (`unsent.rs`),
//! and less than before counts as taken.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How often in the stall time a client that is waited for is looked at.
const LOOKS: u32 = 4;

/// How long bytes that are ready may wait for a client that takes none. A connection that has
/// nothing to say never waits.
#[derive(Debug)]
pub(super) struct Stall {
    limit: Duration,
    /// Made when a client is first waited for; most never are.
    sleep: Option<Pin<Box<Sleep>>>,
    wait: Option<Wait>,
}

/// A client is waited for.
#[derive(Debug, Clone, Copy)]
struct Wait {
    /// Since when it has taken nothing, as far as can be told.
    still_since: Instant,
    /// What it hadn't taken when that was last asked.
    unsent: Option<u32>,
}

impl Stall {
    pub(super) const fn new(limit: Duration) -> Self {
        Self {
            limit,
            sleep: None,
            wait: None,
        }
    }

    /// The client took something.
    pub(super) fn end(&mut self) {
        self.wait = None;
    }

    /// Until the client has been waited for too long.
    pub(super) fn poll(
        &mut self,
        unsent: impl Fn() -> Option<u32>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let (limit, now) = (self.limit, Instant::now());
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(now)));
        let wait = match &mut self.wait {
            Some(wait) => wait,
            none => {
                let wait = none.insert(Wait {
                    still_since: now,
                    unsent: None,
                });
                sleep.as_mut().reset(wait.next_look(limit, now));
                wait
            }
        };
        loop {
            ready!(sleep.as_mut().poll(cx));
            let now = Instant::now();
            wait.look(unsent(), now);
            if now >= wait.still_since + limit {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(wait.next_look(limit, now));
        }
    }
}

impl Wait {
    fn look(&mut self, unsent: Option<u32>, now: Instant) {
        let Some(found) = unsent else { return };
        // What was taken before the first look isn't known; it is taken for something.
        if self.unsent.is_none_or(|before| found < before) {
            *self = Self {
                still_since: now,
                unsent,
            };
        }
    }

    fn next_look(&self, limit: Duration, now: Instant) -> Instant {
        (now + limit / LOOKS).min(self.still_since + limit)
    }
}
