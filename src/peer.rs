//! Who is at the other end of a connection, and whom a request speaks for.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// What a listener puts into each request's extensions.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Where it came from.
    pub connection: Connection,
    /// Its connection's place.
    pub place: LentPlace,
    /// Whether its connection waits for others.
    pub precedence: Precedence,
}

/// Whether a connection is worked on before those on which no known caller has called; clones share
/// it.
#[derive(Debug, Clone, Default)]
pub struct Precedence(Arc<AtomicBool>);

impl Precedence {
    /// A known caller has called on this connection.
    pub fn give(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether one has.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection as the listener sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Address and port.
    pub address: SocketAddr,
    /// It is encrypted.
    pub secure: bool,
}

impl Connection {
    /// The other end of a Unix socket: it has no address, and counts as one of this machine,
    /// without a port.
    const UNIX: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

    /// A connection over a Unix socket.
    #[must_use]
    pub const fn of_unix() -> Self {
        Self {
            address: Self::UNIX,
            secure: false,
        }
    }

    /// Whether it came over a Unix socket: no TCP connection has port 0.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.address == Self::UNIX
    }
}

/// Whom a request comes from and what it was asked of, as far as that is to be believed: from the
/// connection, and from the headers of a trusted proxy (`server.trusted_proxies`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the connection.
    pub connection: Connection,
    /// The client's address: the connection's, or what a trusted proxy says.
    pub client: IpAddr,
    /// The connection is a trusted proxy's.
    pub by_proxy: bool,
    /// The client's call was encrypted.
    pub https: bool,
    /// The host that was asked, with its port as it was sent, lower case; none in HTTP/1.0 without
    /// Host.
    pub host: Option<Arc<str>>,
}

impl Peer {
    /// Without any header.
    #[must_use]
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            client: connection.address.ip().to_canonical(),
            by_proxy: false,
            https: connection.secure,
            host: None,
        }
    }
}

/// Which connections come from a proxy of one's own, whose word on its clients counts
/// (`server.trusted_proxies`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    unix: bool,
}

/// Addresses that share their first `prefix` bits with `base`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    base: IpAddr,
    prefix: u32,
}

/// A text that names no proxies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {0:?}; allowed are \"loopback\", \"unix\", an address such as \"10.0.0.7\", and a \
     network such as \"10.0.0.0/8\""
)]
pub struct ProxyError(String);

impl TrustedProxies {
    /// The default: other processes on this machine.
    #[must_use]
    pub fn local() -> Self {
        Self {
            networks: Network::LOOPBACK.to_vec(),
            unix: true,
        }
    }

    /// From the texts of the configuration; an empty list trusts nothing.
    ///
    /// # Errors
    /// The first text that is neither a word, an address nor a network.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, ProxyError> {
        let mut proxies = Self::default();
        for text in texts {
            match text.as_ref() {
                "loopback" => proxies.networks.extend(Network::LOOPBACK),
                "unix" => proxies.unix = true,
                text => proxies
                    .networks
                    .push(Network::parse(text).ok_or_else(|| ProxyError(text.to_owned()))?),
            }
        }
        Ok(proxies)
    }

    /// Whether this address is one of them; an IPv4 address counts in its IPv6 form (`::ffff:…`)
    /// too.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(address))
    }

    /// Whether the other end of this connection is one of them.
    #[must_use]
    pub fn trust(&self, connection: &Connection) -> bool {
        if connection.is_unix() {
            self.unix
        } else {
            self.contain(connection.address.ip())
        }
    }
}

impl Network {
    const LOOPBACK: [Self; 2] = [
        Self {
            base: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
            prefix: 8,
        },
        Self {
            base: IpAddr::V6(Ipv6Addr::LOCALHOST),
            prefix: 128,
        },
    ];

    fn parse(text: &str) -> Option<Self> {
        let (base, prefix) = text
            .split_once('/')
            .map_or((text, None), |(base, prefix)| (base, Some(prefix)));
        let base: IpAddr = base.parse().ok()?;
        let widest = if base.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => widest,
            Some(digits) => digits.parse().ok().filter(|prefix| *prefix <= widest)?,
        };
        Some(Self { base, prefix })
    }

    fn contains(self, address: IpAddr) -> bool {
        // Bits that differ, from the left; a shift by the whole width leaves nothing to compare.
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                (base.to_bits() ^ address.to_bits())
                    .checked_shr(32 - self.prefix)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                (base.to_bits() ^ address.to_bits())
                    .checked_shr(128 - self.prefix)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// The network that an address is counted with, where clients have shares: an IPv4 address itself,
/// the /64 of an IPv6 address, since a household has that many.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
        address => address,
    }
}

/// A connection's place under the cap, taken for as long as a clone of it is held.
#[derive(Debug, Clone)]
pub struct Place(Arc<dyn Guard>);

/// A connection's place in its requests' extensions. A request may outlive its client, and must not
/// keep the place then.
#[derive(Debug, Clone)]
pub struct LentPlace(Weak<dyn Guard>);

/// What gives a place back when it is dropped.
trait Guard: Debug + Send + Sync {}

impl<T: Debug + Send + Sync> Guard for T {}

impl Place {
    /// The place that these guards stand for.
    #[must_use]
    pub fn new(guards: impl Debug + Send + Sync + 'static) -> Self {
        Self(Arc::new(guards))
    }

    /// For the connection's requests.
    #[must_use]
    pub fn lend(&self) -> LentPlace {
        LentPlace(Arc::downgrade(&self.0))
    }
}

impl LentPlace {
    /// The place, for what the connection becomes; none when the connection is gone.
    #[must_use]
    pub fn keep(&self) -> Option<Place> {
        self.0.upgrade().map(Place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_trusted_by_word_address_or_network() {
        let proxies =
            TrustedProxies::parse(&["loopback", "10.1.0.0/16", "192.0.2.7", "2001:db8::/32"])
                .unwrap();
        for (address, wanted) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::2", false),
            ("::ffff:127.0.0.1", true),
            ("10.1.255.255", true),
            ("10.2.0.0", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(
                proxies.contain(address.parse().unwrap()),
                wanted,
                "{address}"
            );
        }
        let all = TrustedProxies::parse(&["0.0.0.0/0"]).unwrap();
        assert!(
            all.contain("203.0.113.9".parse().unwrap())
                && !all.contain("2001:db8::1".parse().unwrap())
        );
        assert!(
            !TrustedProxies::parse::<&str>(&[])
                .unwrap()
                .contain("127.0.0.1".parse().unwrap())
        );
        let [tcp, unix] = ["127.0.0.1:7".parse().unwrap(), Connection::UNIX].map(|address| {
            let secure = false;
            Connection { address, secure }
        });
        for (words, wanted) in [
            (["loopback"].as_slice(), (true, false)),
            (&["unix"], (false, true)),
            (&["loopback", "unix"], (true, true)),
        ] {
            let proxies = TrustedProxies::parse(words).unwrap();
            assert_eq!((proxies.trust(&tcp), proxies.trust(&unix)), wanted);
        }
    }

    #[test]
    fn what_names_no_proxy_is_said_with_what_is_allowed() {
        for text in [
            "localhost",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "::/129",
            "10.0.0",
            "",
        ] {
            let error = TrustedProxies::parse(&[text]).unwrap_err().to_string();
            assert!(
                error.contains(&format!("found {text:?}")) && error.contains("10.0.0.0/8"),
                "{error}"
            );
        }
    }
}
