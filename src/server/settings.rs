//! What a listener can be told.

use super::listen::ListenAddress;
use super::tls::ServerTls;
use crate::peer::TrustedProxies;
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
    /// From these connections `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted_proxies: TrustedProxies,
    /// A buffered body must be there in this time.
    pub body_timeout: Duration,
    /// After SIGTERM: how long connections and windows may take.
    pub drain: Duration,
}
