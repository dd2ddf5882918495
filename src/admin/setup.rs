//! Where the admin surface listens, and what it shows.

use crate::cache::store::Store;
use crate::cache::tags::Tags;
use crate::drain::Drain;
use crate::ingest::Operations;
use crate::metrics::Metrics;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// `[admin]`.
#[derive(Debug, Clone, Copy)]
pub struct AdminSettings {
    /// Where to listen; loopback.
    pub listen: SocketAddr,
}

/// What the admin surface shows.
pub struct Setup {
    /// Where it listens.
    pub listen: IpAddr,
    /// The event path.
    pub(crate) operations: Operations,
    /// Generations.
    pub tags: Arc<Tags>,
    /// The cache.
    pub store: Arc<Store>,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// Whether the end has begun.
    pub drain: Drain,
    /// The durability level, as configured.
    pub durability: &'static str,
}
