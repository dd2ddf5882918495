//! Who is at the other end of a connection, and whom a request speaks for.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A connection as the listener sees it; put into each request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Address and port.
    pub address: SocketAddr,
    /// It is encrypted.
    pub secure: bool,
}

/// Whom a request comes from and what it was asked of, as far as that is to be believed: from the connection, and from
/// the headers of a trusted proxy (`server.trusted_proxies`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the connection.
    pub connection: Connection,
    /// The client's address: the connection's, or what a trusted proxy says.
    pub client: IpAddr,
    /// The client's call was encrypted.
    pub https: bool,
    /// The host that was asked, with its port as it was sent, lower case; none in HTTP/1.0 without Host.
    pub host: Option<Arc<str>>,
}

impl Peer {
    /// Without any header.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self { connection, client: connection.address.ip().to_canonical(), https: connection.secure, host: None }
    }
}

/// A connection's place under the cap, taken for as long as somebody holds it.
#[derive(Debug, Clone)]
pub struct Place(#[expect(dead_code, reason = "held, never looked at")] Arc<OwnedSemaphorePermit>);

impl Place {
    /// The place that a permit stands for.
    #[must_use]
    pub const fn new(permit: Arc<OwnedSemaphorePermit>) -> Self {
        Self(permit)
    }
}
