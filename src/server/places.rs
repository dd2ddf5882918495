//! A listener's places, and which connection gives way when all are taken (P10).
//!
//! A connection that waits for its client, for the rest of a head or for the next request, may do
//! so for as long as its phase lasts (`phase.rs`). Where a new connection finds no place, one of
//! these gives way to it:
//!
//! - of the networks, the one that has the most places; among equals the one whose number has not
//!   changed for longest. A proxy of one's own, which speaks for many clients, comes after all
//!   others;
//! - of that network's connections, the one that has waited for its client for longest.
//!
//! A tunnel, and a connection that has a call which isn't answered to its end, never give way.
//! Where there are no others, the new connection waits until one of them ends or begins to wait for
//! its client.
//!
//! One connection a millisecond gives way: clients that come again as soon as they are closed would
//! keep a processor busy with accepting and closing otherwise. Those that wait for a place
//! meanwhile are the kernel's, in the order in which they came.
//!
//! What a connection does changes with each call and is kept with the connection. So the order here
//! is that of the last look: a connection that has done something since is put behind, and the next
//! one is looked at.

use super::newcomer::Newcomer;
use super::phase::{Limits, Phases};
use crate::peer::{Connection, TrustedProxies, network_of};
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Time between two connections that are asked to give way, at least.
const BETWEEN_ASKING: Duration = Duration::from_millis(1);

/// The places; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: Arc<Semaphore>,
    trusted: TrustedProxies,
    newcomer: Newcomer,
    /// When the next connection may be asked to give way.
    next_asking: Mutex<Instant>,
    /// Locked when a connection comes, goes or is to give way, never by a call. The last looks at
    /// each connection at most twice.
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// Numbers connections and changes.
    last: u64,
    connections: HashMap<u64, Known>,
    /// A network that has no connection has no entry.
    networks: HashMap<IpAddr, Network>,
    /// Those of all networks; the greatest gives way first.
    ranks: BTreeSet<Rank>,
}

#[derive(Debug)]
struct Known {
    network: IpAddr,
    phases: Phases,
    /// It waits for its client since then, or was looked at then.
    since: Instant,
}

#[derive(Debug)]
struct Network {
    rank: Rank,
    /// Its connections, the longest wait first.
    connections: BTreeSet<(Instant, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// No proxy of one's own.
    is_client: bool,
    places: usize,
    /// Number of the change that made it so many.
    changed: Reverse<u64>,
    network: IpAddr,
}

impl Places {
    /// So many.
    pub(super) fn new(places: usize, trusted: TrustedProxies) -> Self {
        let free = Arc::new(Semaphore::new(places));
        let next_asking = Mutex::new(Instant::now());
        let (newcomer, taken) = (Newcomer::default(), Mutex::default());
        Self(Arc::new(Shared {
            free,
            trusted,
            newcomer,
            next_asking,
            taken,
        }))
    }

    /// The account of a connection that may give way here.
    pub(super) fn open_account(&self, limits: Limits) -> Phases {
        Phases::new(limits, self.0.newcomer.clone())
    }

    /// A place for a new connection, for which another may have to give way. One at a time may wait
    /// for it.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(free) = Arc::clone(&self.0.free).try_acquire_owned() {
            return Some(free);
        }
        let mut freed = pin!(Arc::clone(&self.0.free).acquire_owned());
        let place = loop {
            tokio::select! {
                biased;
                place = freed.as_mut() => break place,
                () = self.wait_to_ask() => {}
            }
            let mut declined = pin!(self.0.newcomer.declined());
            // ORDER: before one is asked, so that its answer is heard.
            declined.as_mut().enable();
            self.ask_one();
            tokio::select! {
                biased;
                place = freed.as_mut() => break place,
                () = declined => {}
            }
        };
        self.0.newcomer.is_placed();
        place.ok()
    }

    /// Until the next connection may be asked.
    async fn wait_to_ask(&self) {
        let at = *self.0.next_asking.lock();
        tokio::time::sleep_until(at).await;
        *self.0.next_asking.lock() = Instant::now() + BETWEEN_ASKING;
    }

    /// Counts a connection that has a place, and makes it known as one that may give way.
    pub(super) fn list(&self, connection: &Connection, phases: &Phases) -> Listed {
        let network = network_of(connection.address.ip());
        let is_client = !self.0.trusted.trust(connection);
        let id = self.0.taken.lock().add(network, is_client, phases.clone());
        Listed {
            places: self.clone(),
            id,
        }
    }

    /// Asks the connection whose turn it is to give way; where none can, the first that will be
    /// able to.
    fn ask_one(&self) {
        if let Some(phases) = self.0.taken.lock().longest_wait() {
            phases.ask();
            return;
        }
        self.0.newcomer.take_first();
        // ORDER: looked at again, since one may have begun to wait for its client before it could
        // know.
        if let Some(phases) = self.0.taken.lock().longest_wait()
            && self.0.newcomer.claim()
        {
            phases.ask();
        }
    }
}

impl Taken {
    fn add(&mut self, address: IpAddr, is_client: bool, phases: Phases) -> u64 {
        self.last += 1;
        let (id, since) = (self.last, Instant::now());
        let network = self.networks.entry(address).or_insert_with(|| Network {
            rank: Rank {
                is_client,
                places: 0,
                changed: Reverse(id),
                network: address,
            },
            connections: BTreeSet::new(),
        });
        network.connections.insert((since, id));
        self.connections.insert(
            id,
            Known {
                network: address,
                phases,
                since,
            },
        );
        self.rank(address);
        id
    }

    fn remove(&mut self, id: u64) {
        let Some(Known {
            network: address,
            since,
            ..
        }) = self.connections.remove(&id)
        else {
            return;
        };
        if let Some(network) = self.networks.get_mut(&address) {
            network.connections.remove(&(since, id));
        }
        self.rank(address);
    }

    /// Puts a network in its place among the others, after its number of connections has changed.
    fn rank(&mut self, address: IpAddr) {
        let Some(network) = self.networks.get_mut(&address) else {
            return;
        };
        self.ranks.remove(&network.rank);
        self.last += 1;
        network.rank.places = network.connections.len();
        network.rank.changed = Reverse(self.last);
        if network.connections.is_empty() {
            self.networks.remove(&address);
        } else {
            self.ranks.insert(network.rank);
        }
    }

    /// The connection that is to give way; none: all have something to do.
    fn longest_wait(&mut self) -> Option<Phases> {
        let now = Instant::now();
        for rank in self.ranks.iter().rev() {
            let of_one = &mut self.networks.get_mut(&rank.network)?.connections;
            if let Some(phases) = longest_wait_of(of_one, &mut self.connections, now) {
                return Some(phases);
            }
        }
        None
    }
}

/// Of one network's connections, the one that is to give way; it is put behind the others.
fn longest_wait_of(
    of_one: &mut BTreeSet<(Instant, u64)>,
    all: &mut HashMap<u64, Known>,
    now: Instant,
) -> Option<Phases> {
    while let Some(&(since, id)) = of_one.first() {
        // All of them were looked at.
        if since >= now {
            return None;
        }
        let known = all.get_mut(&id)?;
        let waits_since = known.phases.waits_since();
        let gives_way = waits_since.is_some_and(|at| at <= since);
        known.since = waits_since.filter(|_| !gives_way).unwrap_or(now);
        of_one.pop_first();
        of_one.insert((known.since, id));
        if gives_way {
            return Some(known.phases.clone());
        }
    }
    None
}

/// A connection that has a place; dropping it takes it off the list.
#[derive(Debug)]
pub(super) struct Listed {
    places: Places,
    id: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.places.0.taken.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    const LIMITS: Limits = Limits {
        head: Duration::from_secs(3_600),
        idle: Duration::from_secs(3_600),
    };

    /// Connections by a name, in the order in which they came.
    struct Connections {
        places: Places,
        listed: Vec<(&'static str, Phases, Listed)>,
    }

    impl Connections {
        fn new() -> Self {
            let trusted = TrustedProxies::parse(&["10.0.0.0/8"]).unwrap();
            Self {
                places: Places::new(0, trusted),
                listed: Vec::new(),
            }
        }

        async fn come(&mut self, address: &str, names: &[&'static str]) {
            for name in names {
                tokio::time::advance(Duration::from_secs(1)).await;
                let phases = self.places.open_account(LIMITS);
                let address = SocketAddr::new(address.parse().unwrap(), 7);
                let secure = false;
                let listed = self.places.list(&Connection { address, secure }, &phases);
                self.listed.push((*name, phases, listed));
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }

        fn phases(&self, name: &str) -> Phases {
            self.listed
                .iter()
                .find(|(own, ..)| *own == name)
                .unwrap()
                .1
                .clone()
        }

        /// The one that gives way, which then goes.
        async fn next(&mut self) -> Option<&'static str> {
            tokio::time::advance(Duration::from_secs(1)).await;
            self.places.ask_one();
            for at in 0..self.listed.len() {
                let given_way = self.listed[at].1.give_way();
                if tokio::time::timeout(Duration::from_millis(1), given_way)
                    .await
                    .is_ok()
                {
                    return Some(self.listed.remove(at).0);
                }
            }
            None
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_networks_the_one_with_the_most_places_gives_way_first_and_a_proxy_of_ones_own_last()
    {
        let mut connections = Connections::new();
        connections
            .come("10.0.0.1", &["p1", "p2", "p3", "p4"])
            .await;
        connections.come("192.0.2.9", &["z1"]).await;
        connections.come("2001:db8::1", &["a1", "a2"]).await;
        connections.come("2001:db8::2", &["a3"]).await;
        connections.come("192.0.2.2", &["b1", "b2"]).await;
        let mut order = Vec::new();
        while let Some(name) = connections.next().await {
            order.push(name);
        }
        // Three of one /64, then two and two, then one, one and one: of equals the one that has
        // been so for longest.
        assert_eq!(
            order,
            ["a1", "b1", "a2", "z1", "b2", "a3", "p1", "p2", "p3", "p4"]
        );
        let taken = connections.places.0.taken.lock();
        assert!(
            taken.connections.is_empty() && taken.networks.is_empty() && taken.ranks.is_empty()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn of_one_networks_connections_the_longest_wait_gives_way_and_one_with_a_call_never_does()
    {
        let mut connections = Connections::new();
        connections
            .come("192.0.2.1", &["busy", "answered", "silent", "later"])
            .await;
        let call = connections.phases("busy").begin_call();
        drop(connections.phases("answered").begin_call());
        assert_eq!(connections.next().await, Some("silent"));
        assert_eq!(connections.next().await, Some("later"));
        assert_eq!(connections.next().await, Some("answered"));
        assert_eq!(connections.next().await, None);
        // Where none could be asked, one gives way as soon as it can.
        drop(call);
        assert_eq!(connections.next().await, Some("busy"));
    }

    #[tokio::test(start_paused = true)]
    async fn where_one_that_is_asked_stays_the_next_is_asked() {
        let mut connections = Connections::new();
        connections.come("192.0.2.1", &["first", "second"]).await;
        let places = connections.places.clone();
        let taking = tokio::spawn(async move { places.take().await.is_some() });
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
        connections.phases("first").decline();
        connections.phases("second").give_way().await;
        connections.places.0.free.add_permits(1);
        assert!(taking.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn one_connection_a_millisecond_gives_way_however_fast_new_ones_come() {
        let mut connections = Connections::new();
        connections.come("192.0.2.1", &["a", "b", "c", "d"]).await;
        let (places, began) = (connections.places.clone(), Instant::now());
        let taking = tokio::spawn(async move {
            for _ in 0..4 {
                places.take().await.unwrap().forget();
            }
            began.elapsed()
        });
        for name in ["a", "b", "c", "d"] {
            connections.phases(name).give_way().await;
            connections.places.0.free.add_permits(1);
        }
        assert_eq!(taking.await.unwrap(), 3 * BETWEEN_ASKING);
    }
}
