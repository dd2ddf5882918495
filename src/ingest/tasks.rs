//! The tasks of the event path.

use super::Shared;
use super::delivery::Dispatcher;
use super::lanes::shard::{Message, ShardTask};
use crate::clock::millis;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often full buckets and old dead letters are forgotten.
const SWEEP: Duration = Duration::from_secs(10);
/// Not more often than this.
const OFTEN: Duration = Duration::from_millis(100);

/// The tasks of the event path, to be spawned by `app`, by name.
pub(crate) struct Tasks {
    /// One per shard.
    pub(crate) shards: Vec<ShardTask>,
    /// Delivery.
    pub(crate) dispatcher: Dispatcher,
    /// What the dispatcher reads.
    pub(crate) ready: mpsc::UnboundedReceiver<Message>,
    /// Forgets what needs no memory.
    pub(crate) housekeeping: Housekeeping,
}

/// Forgets what needs no memory.
pub(crate) struct Housekeeping(pub(super) Arc<Shared>);

impl Housekeeping {
    /// Runs for ever.
    pub(crate) async fn run(self) {
        let every = self.0.dead_letter_age.clamp(OFTEN, SWEEP);
        loop {
            tokio::time::sleep(every).await;
            self.0.buckets.sweep();
            self.expire_letters();
        }
    }

    /// Dead letters that are too old go.
    fn expire_letters(&self) {
        let Some(before) = self.0.clock.expiry().checked_sub(self.0.dead_letter_age) else {
            return;
        };
        let gone = self.0.dead.expire(millis(before));
        if !gone.is_empty() {
            tracing::warn!(
                letters = gone.len(),
                "dead letters older than limits.dead_letter_age were dropped"
            );
            self.0.journal.expire_letters(&gone);
        }
    }
}
