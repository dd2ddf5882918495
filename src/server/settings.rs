//! What a listener can be told.

use std::net::SocketAddr;
use std::time::Duration;

/// `[server]`.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Connections at once; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// A connection's first byte, and each request's head, must be there in this time.
    pub header_timeout: Duration,
    /// A buffered body must be there in this time.
    pub body_timeout: Duration,
    /// After SIGTERM: how long connections and windows may take.
    pub drain: Duration,
}
