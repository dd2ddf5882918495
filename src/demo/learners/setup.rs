//! What a learner is made of.

use super::rhythm::Pace;
use super::session::{Client, Site};
use super::tally::Tally;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// One learner.
#[derive(Debug, Clone)]
pub struct Setup {
    /// 0 to the number of learners.
    pub number: usize,
    /// All learners.
    pub of: usize,
    /// How fast.
    pub pace: Pace,
    /// Where to.
    pub site: Arc<Site>,
    /// Shared connections.
    pub client: Client,
    /// Shared counters.
    pub tally: Arc<Tally>,
    /// The end.
    pub stop: CancellationToken,
}
