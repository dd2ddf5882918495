//! Places on the way to the application (P10): a bounded number of connections to each of its addresses, a queue for them
//! with a deadline, and a share for each client.
//!
//! | bound | of | beyond it |
//! |---|---|---|
//! | `upstream.max_connections` | connections to one address, those that idle included | wait for `connect_timeout`, then 503 |
//! | the same, less what is kept for deliveries | calls of clients that wait for their answer or read it | the same |
//! | a quarter of that | calls of one client's network | the same |
//! | what is kept for deliveries | deliveries on their way | wait |
//!
//! A connection's place is taken before it is opened and given back when it is closed. That alone would hold the cap, but
//! not the shares, since connections go from one call to the next: so a call has a place too, until the body of its answer
//! has ended. A call that has its place seldom waits for a connection: there are as many as there are places for calls and
//! deliveries together, and one that idles is taken first.

use super::UpstreamSettings;
use crate::body::Body;
use crate::peer::{TrustedProxies, network_of};
use bytes::Bytes;
use http::uri::Authority;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Of the places for calls, one network has one in so many.
const PART: usize = 4;

/// No place was free in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all connections to the application are in use")]
pub(super) struct Full;

impl From<Full> for super::UpstreamError {
    fn from(_: Full) -> Self {
        Self::ConnectionLimit
    }
}

/// For whom a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    /// The client at this address.
    Client(IpAddr),
    /// Events that were acknowledged.
    Delivery,
}

/// All places, by the application's addresses.
#[derive(Debug)]
pub(super) struct Places {
    connections: usize,
    calls: usize,
    deliveries: usize,
    patience: Duration,
    trusted: TrustedProxies,
    /// As many as the configuration names. Locked for a look-up.
    addresses: Mutex<HashMap<Authority, Arc<Address>>>,
}

/// Places at one address.
#[derive(Debug)]
struct Address {
    connections: Arc<Semaphore>,
    calls: Arc<Semaphore>,
    deliveries: Arc<Semaphore>,
    /// Networks that have a call under way, or waiting. Locked for a look-up.
    shares: Mutex<HashMap<IpAddr, Share>>,
}

#[derive(Debug)]
struct Share {
    calls: Arc<Semaphore>,
    /// Calls under way or waiting.
    users: usize,
}

/// A request's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    _call: OwnedSemaphorePermit,
    _share: Option<TakenShare>,
}

/// A call's part of its network's share.
#[derive(Debug)]
struct TakenShare {
    _place: OwnedSemaphorePermit,
    _user: User,
}

/// Keeps a network's share known.
#[derive(Debug)]
struct User {
    address: Arc<Address>,
    network: IpAddr,
}

impl Places {
    pub(super) fn new(settings: &UpstreamSettings) -> Self {
        let connections = settings.max_connections;
        let kept = settings.kept_for_deliveries.min(connections / 2);
        Self {
            connections,
            calls: (connections - kept).max(1),
            deliveries: if kept == 0 { connections } else { kept },
            patience: settings.connect_timeout,
            trusted: settings.trusted_proxies.clone(),
            addresses: Mutex::default(),
        }
    }

    fn at(&self, authority: Option<&Authority>) -> Arc<Address> {
        let authority = authority.cloned().unwrap_or_else(|| Authority::from_static("none"));
        let mut addresses = self.addresses.lock();
        let address = addresses.entry(authority).or_insert_with(|| {
            let places = |count: usize| Arc::new(Semaphore::new(count));
            Arc::new(Address {
                connections: places(self.connections),
                calls: places(self.calls),
                deliveries: places(self.deliveries),
                shares: Mutex::default(),
            })
        });
        Arc::clone(address)
    }

    /// A place for a connection.
    ///
    /// # Errors
    /// None was free in time.
    pub(super) async fn connect(&self, authority: Option<&Authority>) -> Result<OwnedSemaphorePermit, Full> {
        let address = self.at(authority);
        self.soon(Arc::clone(&address.connections)).await
    }

    /// A place for a request. A delivery's own deadline is its sender's.
    ///
    /// # Errors
    /// None was free in time.
    pub(super) async fn take(&self, authority: Option<&Authority>, whose: For) -> Result<Taken, Full> {
        let address = self.at(authority);
        let client = match whose {
            For::Delivery => {
                let call = Arc::clone(&address.deliveries).acquire_owned().await.map_err(|_| Full)?;
                return Ok(Taken { _call: call, _share: None });
            }
            For::Client(client) => client,
        };
        let both = async {
            let share = if self.trusted.contain(client) { None } else { Some(self.share(&address, client).await?) };
            let call = Arc::clone(&address.calls).acquire_owned().await.map_err(|_| Full)?;
            Ok(Taken { _call: call, _share: share })
        };
        tokio::time::timeout(self.patience, both).await.unwrap_or(Err(Full))
    }

    async fn share(&self, address: &Arc<Address>, client: IpAddr) -> Result<TakenShare, Full> {
        let network = network_of(client);
        let calls = {
            let mut shares = address.shares.lock();
            let new = || Share { calls: Arc::new(Semaphore::new((self.calls / PART).max(1))), users: 0 };
            let share = shares.entry(network).or_insert_with(new);
            share.users += 1;
            Arc::clone(&share.calls)
        };
        let user = User { address: Arc::clone(address), network };
        let place = calls.acquire_owned().await.map_err(|_| Full)?;
        Ok(TakenShare { _place: place, _user: user })
    }

    async fn soon(&self, places: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Full> {
        match tokio::time::timeout(self.patience, places.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Full),
        }
    }
}

impl Drop for User {
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

/// An answer's body that keeps its request's place until its end.
pub(super) fn kept(body: Incoming, taken: Taken) -> Body {
    if body.is_end_stream() { Body::Incoming(body) } else { Body::boxed(Kept { body, taken: Some(taken) }) }
}

#[derive(Debug)]
struct Kept {
    body: Incoming,
    taken: Option<Taken>,
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.taken = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
