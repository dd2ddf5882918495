//! The task of a shard: it keeps the clock, settles, and tells those who wait.

use super::state::Turn;
use super::{Ended, Kept, Shard};
use crate::ingest::lanes::window::Settled;
use std::sync::Arc;
use tokio::time::Instant;

/// Where events go that have their outcome.
pub trait Settle: Send + Sync {
    /// Gives each of them its end.
    fn settle_batch(&self, batch: Vec<Settled<Kept>>);
}

/// A shard's task, to be run by `app`. With it the shard ends.
pub struct ShardTask {
    shard: Arc<Shard>,
    settler: Arc<dyn Settle>,
}

impl ShardTask {
    /// The task of this shard; it does nothing until [`run`](Self::run).
    #[must_use]
    pub const fn new(shard: Arc<Shard>, settler: Arc<dyn Settle>) -> Self {
        Self { shard, settler }
    }

    /// Runs for ever, unless a step of the lanes panicked.
    pub async fn run(self) {
        loop {
            let now = Instant::now();
            let Ok(wake) = self.turn(now) else { return };
            if wake.is_some_and(|wake| wake <= now) {
                // More lanes are due than are looked at in one turn.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                // ORDER: the clock first, so that nothing else can postpone a deadline (P5).
                biased;
                () = sleep_until(wake) => {}
                () = self.shard.due.notified() => {}
            }
        }
    }

    /// Does what is due; when it is to look next.
    fn turn(&self, now: Instant) -> Result<Option<Instant>, Ended> {
        let Turn {
            settled,
            refused,
            passed,
            wake,
        } = self.shard.step(|state| state.begin_turn(now))?;
        // A refusal that was forgotten for want of room, while what it holds is still there, is
        // remembered again: else its caller would be acknowledged for ever, and no call of it be
        // forwarded that could end the refusal.
        for (principal, group) in refused {
            self.shard.reputation.refuse_again(principal, group);
        }
        if !settled.is_empty() {
            self.settler.settle_batch(settled);
            self.shard.step(|state| state.is_settling = false)?;
        }
        // ORDER: they hear so when what they waited for is settled.
        if passed
            .into_iter()
            .filter_map(|done| done.send(()).err())
            .count()
            > 0
        {
            tracing::trace!("nobody waits any more");
        }
        Ok(wake)
    }
}

impl Drop for ShardTask {
    fn drop(&mut self) {
        self.shard.close();
    }
}

/// Until then; for ever without a time.
pub async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
