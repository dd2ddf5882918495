//! Who is at the other end of a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// The client as its connection shows it; put into each request's extensions by the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Address and port.
    pub address: SocketAddr,
    /// The connection is encrypted.
    pub secure: bool,
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
