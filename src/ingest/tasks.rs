//! The tasks of the event path.

use super::Shared;
use super::delivery::Dispatcher;
use super::lanes::shard::{Message, ShardTask};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How often full buckets are forgotten.
const SWEEP: Duration = Duration::from_secs(10);

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
        loop {
            tokio::time::sleep(SWEEP).await;
            self.0.buckets.sweep();
        }
    }
}
