//! Each client's share of a listener's places (P10): one address can't take those that others need.

use crate::peer::{Connection, TrustedProxies, network_of};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Of the places, one network (an IPv4 address, an IPv6 /64) has one in so many.
const PART: usize = 4;

/// Who has how many places; clones share it. A proxy of one's own speaks for many clients, and has
/// no share.
#[derive(Debug, Clone)]
pub(super) struct Shares(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    trusted: TrustedProxies,
    /// Connections by network; one that has none has no entry. Locked for a look-up.
    taken: Mutex<HashMap<IpAddr, usize>>,
}

impl Shares {
    /// Of so many places.
    pub(super) fn new(places: usize, trusted: TrustedProxies) -> Self {
        let most = (places / PART).max(1);
        Self(Arc::new(Shared {
            most,
            trusted,
            taken: Mutex::default(),
        }))
    }

    /// A place for a connection from there; none: its network has all of its share.
    pub(super) fn take(&self, connection: &Connection) -> Option<Share> {
        if self.0.trusted.trust(connection) {
            return Some(Share(None));
        }
        let network = network_of(connection.address.ip());
        let mut taken = self.0.taken.lock();
        let count = taken.entry(network).or_default();
        if *count >= self.0.most {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Share(Some((self.clone(), network))))
    }
}

/// A connection's part of its network's share, for as long as it is held.
#[derive(Debug)]
pub(super) struct Share(Option<(Shares, IpAddr)>);

impl Drop for Share {
    fn drop(&mut self) {
        let Some((shares, network)) = self.0.take() else {
            return;
        };
        let mut taken = shares.0.taken.lock();
        if let Some(count) = taken.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn at(address: &str) -> Connection {
        Connection {
            address: SocketAddr::new(address.parse().unwrap(), 7),
            secure: false,
        }
    }

    #[test]
    fn a_network_has_a_quarter_of_the_places_and_a_proxy_of_ones_own_any_number() {
        let shares = Shares::new(8, TrustedProxies::parse(&["10.0.0.0/8"]).unwrap());
        let held: Vec<_> = (0..2)
            .map(|_| shares.take(&at("192.0.2.1")).unwrap())
            .collect();
        assert!(
            shares.take(&at("192.0.2.1")).is_none()
                && shares.take(&at("::ffff:192.0.2.1")).is_none()
        );
        let other = shares.take(&at("192.0.2.2")).unwrap();
        let six = [at("2001:db8::1"), at("2001:db8::ffff:2")]
            .map(|connection| shares.take(&connection).unwrap());
        assert!(shares.take(&at("2001:db8:0:0:9::")).is_none());
        assert!(shares.take(&at("2001:db8:0:1::")).is_some());
        let own: Vec<_> = (0..100)
            .map(|_| shares.take(&at("10.1.2.3")).unwrap())
            .collect();
        drop((held, other, six, own));
        assert!(shares.take(&at("192.0.2.1")).is_some());
        assert!(shares.0.taken.lock().is_empty());
    }

    #[test]
    fn of_few_places_everyone_has_one() {
        let shares = Shares::new(2, TrustedProxies::default());
        let held = shares.take(&at("127.0.0.1"));
        assert!(held.is_some() && shares.take(&at("127.0.0.1")).is_none());
    }
}
