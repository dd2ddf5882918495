//! What the way to the application can be told.

use super::headers::HopSettings;
use crate::peer::TrustedProxies;
use crate::route::Pattern;
use std::time::Duration;

/// `[upstream]` and `[[relay]]`.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// Scheme and authority, `http://host:port`; a path prefix is refused by the configuration.
    pub url: http::Uri,
    /// TCP connect.
    pub connect_timeout: Duration,
    /// Until the response head; bodies may stream for ever. A rule may say otherwise for its path.
    pub response_timeout: Duration,
    /// Pooled connections idle longer are closed.
    pub idle_timeout: Duration,
    /// Connections to one address at once, those that idle included. Of those that calls of clients
    /// may have, one client's network has a quarter at most, unless it is a proxy of one's own.
    /// Streams have as many again as calls.
    pub max_connections: usize,
    /// Of these, so many only deliveries take.
    pub kept_for_deliveries: usize,
    /// Something may speak for callers. The last eighth of what calls may have is then kept for
    /// such.
    pub knows_callers: bool,
    /// In so long a time, a client that is waited for must bring 1 KiB of its upload.
    pub stall_timeout: Duration,
    /// Their addresses stand for many clients.
    pub trusted_proxies: TrustedProxies,
    /// What is put on each call.
    pub hops: HopSettings,
    /// First match wins.
    pub relays: Vec<RelayRule>,
    /// Their paths match in any case, with or without a slash at the end.
    pub relaxed_paths: bool,
}

/// `[[relay]]`: calls that take longer than others.
#[derive(Debug, Clone)]
pub struct RelayRule {
    /// Which calls.
    pub path: Pattern,
    /// Until the response head.
    pub response_timeout: Duration,
}

impl UpstreamSettings {
    /// How long a response head may take on this path.
    #[must_use]
    pub fn response_timeout(&self, path: &str) -> Duration {
        let rule = self
            .relays
            .iter()
            .find(|rule| rule.path.matches(path, self.relaxed_paths).is_some());
        rule.map_or(self.response_timeout, |rule| rule.response_timeout)
    }
}
