//! What a listener can be told.

use crate::peer::TrustedProxies;
use std::net::SocketAddr;
use std::time::Duration;

/// `[server]`.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Connections at once. One network has a quarter of them at most; where all are taken, one
    /// that waits for its client gives way to a new one.
    pub max_connections: usize,
    /// A connection's first byte, and each request's head, must be there in this time.
    pub header_timeout: Duration,
    /// Between two requests, a connection may idle for so long.
    pub keepalive_timeout: Duration,
    /// Bytes that are ready may wait so long for a client that takes none of them.
    pub stall_timeout: Duration,
    /// From these connections `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted_proxies: TrustedProxies,
    /// A buffered body must be there in this time.
    pub body_timeout: Duration,
    /// After SIGTERM: how long connections and windows may take.
    pub drain: Duration,
}
