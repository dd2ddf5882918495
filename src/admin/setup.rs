//! Where the admin surface listens, and what it shows.

use crate::cache::store::Store;
use crate::cache::tags::Tags;
use crate::drain::Drain;
use crate::ingest::Operations;
use crate::metrics::Metrics;
use crate::migration::learn::Recordings;
use crate::migration::observe::Observer;
use crate::migration::shadow::Shadow;
use crate::migration::{Change, Modes};
use crate::server::OpenConnections;
use crate::upstream::Exchanges;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;

/// `[admin]`.
#[derive(Debug, Clone, Copy)]
pub struct AdminSettings {
    /// Where to listen; loopback.
    pub listen: SocketAddr,
}

/// What a configuration that was read anew has changed.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// Modes that changed.
    pub changes: Vec<Change>,
    /// Why they won't outlive the process, if so.
    pub failed: Option<std::io::Error>,
    /// Sections whose changes hold after a restart only.
    pub needs_restart: Vec<String>,
}

/// Reads the configuration anew; with an error, which names every problem, nothing has changed.
pub type Reload = Arc<dyn Fn() -> Result<Reloaded, String> + Send + Sync>;

/// What the admin surface shows.
pub struct Setup {
    /// Where it listens.
    pub listen: IpAddr,
    /// The event path.
    pub(crate) operations: Operations,
    /// Modes.
    pub modes: Modes,
    /// What was observed.
    pub observer: Observer,
    /// What was compared.
    pub shadow: Shadow,
    /// What is forwarded, recorded.
    pub recordings: Recordings,
    /// The application's address, `http://HOST:PORT`.
    pub upstream: String,
    /// Reads the configuration anew, where there is a file.
    pub reload: Option<Reload>,
    /// Generations.
    pub tags: Arc<Tags>,
    /// The cache.
    pub store: Arc<Store>,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// Whether the end has begun.
    pub drain: Drain,
    /// Ends the admin listener.
    pub end: Drain,
    /// When the process began.
    pub began: Instant,
    /// The durability level, as configured.
    pub durability: &'static str,
    /// `journal.max_bytes`.
    pub journal_max_bytes: u64,
    /// The journal's directory, if there is one.
    pub journal: Option<PathBuf>,
    /// How exchanges with the application went.
    pub exchanges: Arc<Exchanges>,
    /// Connections of clients.
    pub connections: OpenConnections,
    /// How many of them there may be.
    pub max_connections: usize,
}
