//! What a listener can be told.

use super::listen::ListenAddress;
use super::tls::ServerTls;
use crate::peer::TrustedProxies;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// `[server]`.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where to listen.
    pub listen: ListenAddress,
    /// Connections are encrypted; none: they are in the clear.
    pub tls: Option<ServerTls>,
    /// Connections at once. One network has a quarter of them at most; where all are taken, one
    /// that waits for its client gives way to a new one.
    pub max_connections: usize,
    /// A connection's first byte, and each request's head, must be there in this time.
    pub header_timeout: Duration,
    /// Between two requests, a connection may idle for so long.
    pub keepalive_timeout: Duration,
    /// Bytes that are ready may wait so long for a client that takes none of them.
    pub stall_timeout: Duration,
    /// Callers can come to be known, as those of events do: strangers' connections take turns, so
    /// that known callers' don't wait for all of them.
    pub knows_callers: bool,
    /// From these connections `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted_proxies: TrustedProxies,
    /// A buffered body must be there in this time.
    pub body_timeout: Duration,
    /// After SIGTERM: how long connections and windows may take.
    pub drain: Duration,
    /// How many connections there are.
    pub connections: OpenConnections,
}

/// Connections that have a place; clones share the number.
#[derive(Debug, Clone, Default)]
pub struct OpenConnections(Arc<AtomicU64>);

impl OpenConnections {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more, until what comes back is dropped.
    pub(super) fn add(&self) -> OpenConnection {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenConnection(self.clone())
    }
}

/// A connection that is counted.
#[derive(Debug)]
pub(super) struct OpenConnection(OpenConnections);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
