//! What a shard tells those who deliver.

use super::Kept;
use crate::ingest::lanes::window::{Batch, LaneId};

/// What the dispatcher can be told.
#[derive(Debug)]
pub enum Message {
    /// A batch may go.
    Ready {
        /// Where its verdict goes.
        shard: usize,
        /// The batch.
        batch: Batch<Kept>,
        /// Attempts of this lane in a row that got no answer.
        retries: u32,
    },
    /// Somebody waits for these lanes of a shard (`None`: for all): what is packed with them goes
    /// now.
    Hurry {
        /// The shard.
        shard: usize,
        /// Its lanes.
        lanes: Option<Vec<LaneId>>,
    },
}
