//! Where the admin surface listens, and what it shows.

use super::token::{Guard, TokenError};
use crate::cache::store::Store;
use crate::cache::tags::Tags;
use crate::drain::Drain;
use crate::ingest::Operations;
use crate::metrics::Metrics;
use crate::migration::learn::Recordings;
use crate::migration::observe::Observer;
use crate::migration::shadow::Shadow;
use crate::migration::{Change, Modes};
use crate::read::Read;
use crate::server::OpenConnections;
use crate::upstream::Exchanges;
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::Instant;

/// `[admin]`.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// Where to listen; beyond loopback only with a token.
    pub listen: SocketAddr,
    /// The file that holds the token, if one is wanted.
    pub token_file: Option<PathBuf>,
    /// `/metrics` needs no token.
    pub open_metrics: bool,
}

impl AdminSettings {
    /// The guard of the listener, if a token is wanted.
    ///
    /// # Errors
    /// The token's file can't be read, or holds no token.
    pub(crate) fn guard(&self) -> Result<Option<Guard>, TokenError> {
        let path = self.token_file.as_deref();
        path.map(|path| Guard::new(path, self.open_metrics))
            .transpose()
    }
}

/// What a configuration that was read anew has changed.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// Modes that changed.
    pub changes: Vec<Change>,
    /// Routes whose mode waits for the restart, as sections do that it rests on.
    pub waiting: Vec<String>,
    /// Sections whose rules were replaced.
    pub rules: Vec<String>,
    /// Why they won't outlive the process, if so.
    pub failed: Option<std::io::Error>,
    /// Sections whose changes hold after a restart only.
    pub needs_restart: Vec<String>,
}

/// Reads the configuration anew; with an error, which names every problem, nothing has changed.
pub type Reload = Arc<dyn Fn() -> Result<Reloaded, String> + Send + Sync>;

/// What is logged.
pub trait LogFilter: Send + Sync {
    /// Now.
    fn current(&self) -> String;
    /// At the start.
    fn at_start(&self) -> String;
    /// From now on. `filter` is in the form of `RUST_LOG`.
    ///
    /// # Errors
    /// It isn't.
    fn replace(&self, filter: &str) -> Result<(), String>;
}

/// What the admin surface shows.
pub struct Setup {
    /// Where it listens.
    pub listen: IpAddr,
    /// Who wants a token, where one is wanted.
    pub(crate) guard: Option<Arc<Guard>>,
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
    /// The configuration as the process has it, without secrets, where there is a file.
    pub config: Option<Arc<Mutex<serde_json::Value>>>,
    /// What is logged, where the log is this process's own.
    pub log: Option<Arc<dyn LogFilter>>,
    /// What it has stored, and what it remembers of reads.
    pub(crate) read: Read,
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
