//! Places on the way to the application (P10): a bounded number of connections to each of its
//! addresses, a queue for them with a deadline, and a share for each client.
//!
//! | bound | of | beyond it |
//! |---|---|---|
//! | `upstream.max_connections` | connections to one address, those that idle included and those of streams not | wait for `connect_timeout`, then 503 |
//! | the same, less what is kept for deliveries: the calls' part | calls of clients that wait for their answer or read it | the same |
//! | a quarter of the calls' part | calls of one client's network | the same |
//! | the last eighth of both, rounded down | calls of callers that something speaks for (`reserve.rs`) | the same |
//! | as many as the calls' part, beside `max_connections` | streams with their connections | the call keeps the place that it has |
//! | a quarter of these | streams of one client's network | the same |
//! | what is kept for deliveries | deliveries on their way | wait |
//! | [`OPENINGS`] | connections that are being opened, to all addresses | wait |
//!
//! A connection's place is taken before it is opened and given back when it is closed. That alone
//! would hold the cap, but not the shares, since connections go from one call to the next: so a
//! call has a place too, until the body of its answer has ended. A call that has its place seldom
//! waits for a connection: there are as many as there are places for calls and deliveries together,
//! and one that idles is taken first.
//!
//! A *stream* is a tunnel (101), an answer of the type `text/event-stream`, or one whose length
//! isn't known and that has lasted for [`LONG`](super::answer_body::LONG). Streams live as long as
//! both sides want, so they don't stay among the calls:
//!
//! ```text
//! Call => Stream    the answer shows that it is one, and a place of all streams and one of its network's are free: the
//!                   call's places are free again
//! Stream => ended   its places are free
//! ```
//!
//! What finds no place as a stream tries again with every piece of its answer. A stream's
//! connection goes from `max_connections` to the streams' connections, and back after the stream,
//! each if there is a place. Where there is none, a connection of the other kind idles or carries a
//! call, and calls have as many as before.

use super::link::Link;
use super::reserve::{CallerClass, Full, Reserved};
use super::settings::UpstreamSettings;
use crate::peer::{TrustedProxies, network_of};
use http::uri::Authority;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// Of the places for calls, and of those for streams, one network has one in so many.
const PART: usize = 4;

/// Connections that are opened at once. Opening one costs processor time here and at the
/// application: what waits for a call that is answered meanwhile are so many at most, and not as
/// many as there are places.
pub(super) const OPENINGS: usize = 32;

/// All places, by the application's addresses.
#[derive(Debug)]
pub(super) struct Places {
    counts: Counts,
    patience: Duration,
    openings: Semaphore,
    trusted: TrustedProxies,
    /// That of `upstream.url`.
    own: (Option<Authority>, Arc<Address>),
    /// Others, as many as the configuration names. Locked for a look-up.
    addresses: Mutex<HashMap<Authority, Arc<Address>>>,
}

/// How many there are at each address.
#[derive(Debug, Clone, Copy)]
struct Counts {
    connections: usize,
    calls: usize,
    deliveries: usize,
    keeps_reserve: bool,
}

/// Places at one address.
#[derive(Debug)]
struct Address {
    connections: Arc<Semaphore>,
    calls: Reserved,
    deliveries: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Connections that streams are on, or that had one and found no other place since.
    stream_connections: Arc<Semaphore>,
    /// Networks that have a call or a stream under way, or waiting. Locked for a look-up.
    shares: Mutex<HashMap<IpAddr, Share>>,
}

#[derive(Debug)]
struct Share {
    places: SharePlaces,
    /// Calls and streams under way or waiting.
    users: usize,
}

/// One network's part of an address's places.
#[derive(Debug, Clone)]
struct SharePlaces {
    calls: Reserved,
    streams: Arc<Semaphore>,
}

/// A request's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    held: Held,
    /// None of a delivery.
    client: Option<Client>,
}

#[derive(Debug)]
struct Held {
    _place: OwnedSemaphorePermit,
    _of_network: Option<OwnedSemaphorePermit>,
    /// It is a stream's place.
    stream: Option<StreamConnection>,
}

/// A stream's connection. After the stream it is one of many, if it goes on.
#[derive(Debug)]
struct StreamConnection {
    link: Link,
    address: Arc<Address>,
}

/// Whose call it is.
#[derive(Debug)]
struct Client {
    address: Arc<Address>,
    /// None of one that stands for many clients.
    network: Option<Network>,
}

/// Keeps a network's share known.
#[derive(Debug)]
struct Network {
    address: Arc<Address>,
    network: IpAddr,
    places: SharePlaces,
}

impl Places {
    pub(super) fn new(settings: &UpstreamSettings) -> Self {
        let connections = settings.max_connections;
        let kept = settings.kept_for_deliveries.min(connections / 2);
        let calls = (connections - kept).max(1);
        let counts = Counts {
            connections,
            calls,
            deliveries: if kept == 0 { connections } else { kept },
            keeps_reserve: settings.knows_callers,
        };
        Self {
            counts,
            patience: settings.connect_timeout,
            openings: Semaphore::new(OPENINGS),
            trusted: settings.trusted_proxies.clone(),
            own: (
                settings.url.authority().cloned(),
                Arc::new(Address::new(counts)),
            ),
            addresses: Mutex::default(),
        }
    }

    fn at(&self, authority: Option<&Authority>) -> Arc<Address> {
        let (own, address) = &self.own;
        if authority == own.as_ref() {
            return Arc::clone(address);
        }
        let authority = authority
            .cloned()
            .unwrap_or_else(|| Authority::from_static("none"));
        let mut addresses = self.addresses.lock();
        Arc::clone(
            addresses
                .entry(authority)
                .or_insert_with(|| Arc::new(Address::new(self.counts))),
        )
    }

    /// A place for a connection.
    ///
    /// # Errors
    /// None was free in time.
    pub(super) async fn connect(
        &self,
        authority: Option<&Authority>,
    ) -> Result<OwnedSemaphorePermit, Full> {
        let address = self.at(authority);
        match tokio::time::timeout(
            self.patience,
            Arc::clone(&address.connections).acquire_owned(),
        )
        .await
        {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Full),
        }
    }

    /// Waits while [`OPENINGS`] other connections are opened.
    pub(super) async fn begin_opening(&self) -> Option<SemaphorePermit<'_>> {
        self.openings.acquire().await.ok()
    }

    /// A place for a delivery, whose own deadline is its sender's.
    ///
    /// # Errors
    /// There are no places any more.
    pub(super) async fn take_for_delivery(
        &self,
        authority: Option<&Authority>,
    ) -> Result<Taken, Full> {
        let address = self.at(authority);
        let place = Arc::clone(&address.deliveries)
            .acquire_owned()
            .await
            .map_err(|_| Full)?;
        Ok(Taken {
            held: Held::call(place, None),
            client: None,
        })
    }

    /// A place for the call of the client at this address. Its class is asked for where places are
    /// scarce.
    ///
    /// # Errors
    /// None was free in time.
    pub(super) async fn take_for_client(
        &self,
        authority: Option<&Authority>,
        client: IpAddr,
        class: impl FnOnce() -> CallerClass,
    ) -> Result<Taken, Full> {
        let address = self.at(authority);
        let network = if self.trusted.contain(client) {
            None
        } else {
            Some(self.enter(&address, client))
        };
        let client = Client { address, network };
        let held = match client.try_call() {
            Some(held) => held,
            None => {
                let class = class();
                tokio::time::timeout(self.patience, client.call(class))
                    .await
                    .unwrap_or(Err(Full))?
            }
        };
        Ok(Taken {
            held,
            client: Some(client),
        })
    }

    fn enter(&self, address: &Arc<Address>, client: IpAddr) -> Network {
        let network = network_of(client);
        let part = (self.counts.calls / PART).max(1);
        let new = || {
            let places = SharePlaces {
                calls: Reserved::new(part, self.counts.keeps_reserve),
                streams: Arc::new(Semaphore::new(part)),
            };
            Share { places, users: 0 }
        };
        let mut shares = address.shares.lock();
        let share = shares.entry(network).or_insert_with(new);
        share.users += 1;
        Network {
            address: Arc::clone(address),
            network,
            places: share.places.clone(),
        }
    }
}

impl Address {
    fn new(counts: Counts) -> Self {
        let places = |count: usize| Arc::new(Semaphore::new(count));
        Self {
            connections: places(counts.connections),
            calls: Reserved::new(counts.calls, counts.keeps_reserve),
            deliveries: places(counts.deliveries),
            streams: places(counts.calls),
            stream_connections: places(counts.calls),
            shares: Mutex::default(),
        }
    }
}

impl Client {
    /// A call's place that every caller may have, if one is free.
    fn try_call(&self) -> Option<Held> {
        let of_network = match &self.network {
            Some(network) => Some(network.places.calls.try_take()?),
            None => None,
        };
        Some(Held::call(self.address.calls.try_take()?, of_network))
    }

    async fn call(&self, class: CallerClass) -> Result<Held, Full> {
        let of_network = match &self.network {
            Some(network) => Some(network.places.calls.take(class).await?),
            None => None,
        };
        Ok(Held::call(
            self.address.calls.take(class).await?,
            of_network,
        ))
    }

    /// A stream's place on this connection, if one is free.
    fn try_stream(&self, link: &Link) -> Option<Held> {
        let try_take = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().ok();
        let of_network = match &self.network {
            Some(network) => Some(try_take(&network.places.streams)?),
            None => None,
        };
        let place = try_take(&self.address.streams)?;
        let stream = StreamConnection {
            link: link.clone(),
            address: Arc::clone(&self.address),
        };
        Some(Held {
            _place: place,
            _of_network: of_network,
            stream: Some(stream),
        })
    }
}

impl Held {
    const fn call(place: OwnedSemaphorePermit, of_network: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            _place: place,
            _of_network: of_network,
            stream: None,
        }
    }
}

impl Taken {
    // Call => Stream
    /// Where there are places for it. `link`: the connection that its answer comes on. `true`:
    /// there is nothing more to exchange.
    pub(super) fn try_stream(&mut self, link: Option<&Link>) -> bool {
        let (Some(client), Some(link)) = (&self.client, link) else {
            return true;
        };
        if self.held.stream.is_none()
            && let Some(held) = client.try_stream(link)
        {
            self.held = held;
        }
        self.held
            .stream
            .as_ref()
            .is_some_and(StreamConnection::move_out)
    }
}

impl StreamConnection {
    /// Out of `max_connections`. `true`: it is.
    fn move_out(&self) -> bool {
        self.link.move_to(&self.address.stream_connections)
    }
}

impl Drop for StreamConnection {
    fn drop(&mut self) {
        self.link.move_to(&self.address.connections);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let mut shares = self.address.shares.lock();
        if let Some(share) = shares.get_mut(&self.network) {
            share.users -= 1;
            if share.users == 0 {
                shares.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
pub(super) mod tests;
