//! What the way to the application can be told.

use super::headers::HopSettings;
use super::tls::UpstreamTls;
use crate::peer::TrustedProxies;
use crate::route::Pattern;
use http::uri::Scheme;
use std::path::PathBuf;
use std::time::Duration;

/// `[upstream]` and `[[relay]]`.
#[derive(Debug, Clone)]
pub struct UpstreamSettings {
    /// Scheme and authority, `http://host:port`, `https://host` or `unix://localhost`; a path prefix
    /// is refused by the configuration.
    pub url: http::Uri,
    /// The socket's file of a [`UNIX`] address.
    pub socket: Option<PathBuf>,
    /// Where an address has `https`.
    pub tls: Option<UpstreamTls>,
    /// Where HTTP/2 is spoken.
    pub http2: Http2Use,
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
    /// Over HTTP/1.1 names of headers begin with capitals.
    pub title_case: bool,
    /// What is put on each call.
    pub hops: HopSettings,
    /// First match wins.
    pub relays: Vec<RelayRule>,
    /// Their paths match in any case, with or without a slash at the end.
    pub relaxed_paths: bool,
}

/// The scheme of an address that is a Unix socket; its host is `localhost`.
pub const UNIX: &str = "unix";

/// The port of an address: its own, or that of its scheme.
#[must_use]
pub fn port_of(url: &http::Uri) -> u16 {
    let default = if url.scheme() == Some(&Scheme::HTTPS) {
        443
    } else {
        80
    };
    url.port_u16().unwrap_or(default)
}

/// Where HTTP/2 is spoken to applications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Http2Use {
    /// Nowhere.
    Never,
    /// Over TLS, where the application chooses it (ALPN).
    #[default]
    Negotiated,
    /// Also to [`UpstreamSettings::url`] in the clear, without asking (RFC 9113 §3.3).
    PriorKnowledge,
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
    /// The address as the configuration has it.
    #[must_use]
    pub fn shown_url(&self) -> String {
        match &self.socket {
            Some(path) => format!("{UNIX}:{}", path.display()),
            None => self.url.to_string(),
        }
    }

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
