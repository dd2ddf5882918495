//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// The client as its connection shows it; put into each request's extensions by the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Address and port.
    pub address: SocketAddr,
    /// The connection is encrypted.
    pub secure: bool,
}
