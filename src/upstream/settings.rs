//! What the way to the application can be told.

use std::time::Duration;

/// `[upstream]`.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// Scheme and authority, `http://host:port`; a path prefix is refused by the configuration.
    pub url: http::Uri,
    /// TCP connect.
    pub connect_timeout: Duration,
    /// Until the response head; bodies may stream for ever.
    pub response_timeout: Duration,
    /// Pooled connections idle longer are closed.
    pub idle_timeout: Duration,
    /// Send the client's Host; else the upstream's authority.
    pub preserve_host: bool,
}
