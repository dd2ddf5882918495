//! HTTP/2 to applications: few connections, each of which carries many calls.
//!
//! Over TLS the application chooses the version (ALPN); in the clear `upstream.http2` says it.
//! Where it chooses HTTP/1.1, the other client's pool has the calls from then on.
//!
//! ```text
//! origin   Unknown ─ a connection is opened ─▶ Http2 ─ the next one is HTTP/1.1 ─▶ Http1
//!             └────────────── it is HTTP/1.1 ──────────────────────────────────────▶┘
//! ```
//!
//! - A connection carries at most [`MAX_STREAMS`](super::load::MAX_STREAMS) calls at once, or as many as
//!   the application allows if that is less; beyond it another one is opened, so that streams that
//!   last hold up no other. Each connection has a place among `max_connections`, and each call has
//!   its own among those of calls.
//! - Those that wait for a connection wait for the same one, and share its failure.
//! - A stream may have `STREAM_WINDOW` bytes under way that its client hasn't taken, and the
//!   connection that many for each of its streams: one that isn't read stops no other.
//! - Deliveries and calls of clients have connections of their own.
//! - A connection without calls closes after `upstream.idle_timeout`. After a few calls that were
//!   abandoned it takes no more (`load.rs`), and closes when those that it has are over.
//! - A connection on which nothing came while a call waited for its answer in vain takes no more.
//! - `:authority` is what Host would be (RFC 9113 §8.3.1), whatever the connection leads to.

mod awaited;
mod message;

use super::connector::Connector;
use super::error::{self, Failure, UpstreamError};
use super::link::Link;
use super::load::{Load, OpenStream};
use super::repeat;
use super::settings::{Http2Use, UpstreamSettings};
use super::tls::Offer;
use crate::body::Body;
use awaited::AwaitedHead;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use message::{Running, shake_hands, translate};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A request that no connection took is offered to so many.
const OFFERS: usize = 3;

/// The connections of one client; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Http2(Arc<Origins>);

/// Whose connections a request goes over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    scheme: Scheme,
    /// A host with its port.
    authority: Authority,
    /// Deliveries have connections of their own: an upload that the application doesn't read, or a
    /// call that ends its connection, holds up none of them.
    of_delivery: bool,
}

impl Key {
    /// The application did, when it was asked for connections of either kind.
    fn has_chosen_http1(&self, origins: &HashMap<Self, Origin>) -> bool {
        let of_both = [true, false].map(|of_delivery| Self {
            of_delivery,
            ..self.clone()
        });
        let is_http1 = |key| {
            origins
                .get(key)
                .is_some_and(|origin: &Origin| origin.is_http1)
        };
        of_both.iter().any(is_http1)
    }
}

/// A request that is a delivery has this among its extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfDelivery;

/// A connection on its way, awaited by all that need it.
type Opening = Shared<BoxFuture<'static, Result<(), UpstreamError>>>;

#[derive(Debug)]
struct Origins {
    connector: Connector,
    /// That of `upstream.url`, where HTTP/2 is spoken to it in the clear.
    clear: Option<(Scheme, Authority)>,
    /// HTTP/2 is offered over TLS.
    negotiates: bool,
    idle: Duration,
    /// So long the application has to begin to speak.
    patience: Duration,
    /// Numbers connections.
    last: AtomicU64,
    /// As many as the configuration names. Locked for a look-up.
    origins: Mutex<HashMap<Key, Origin>>,
}

/// What is known of an origin.
#[derive(Debug, Default)]
struct Origin {
    /// It has chosen HTTP/1.1.
    is_http1: bool,
    connections: Vec<Connection>,
    opening: Option<Opening>,
}

/// An open connection.
#[derive(Debug)]
struct Connection {
    number: u64,
    sender: SendRequest<Body>,
    link: Link,
    load: Arc<Load>,
}

/// A connection with room for a call, which is counted on it.
pub(super) struct Reserved {
    number: u64,
    sender: SendRequest<Body>,
    link: Link,
}

impl Http2 {
    /// None where HTTP/2 is spoken nowhere.
    pub(super) fn new(settings: &UpstreamSettings, connector: &Connector) -> Option<Self> {
        let negotiates = settings.tls.is_some() && settings.http2 != Http2Use::Never;
        let clear = origin_of(&settings.url).filter(|(scheme, _)| {
            settings.http2 == Http2Use::PriorKnowledge && *scheme != Scheme::HTTPS
        });
        (negotiates || clear.is_some()).then(|| {
            Self(Arc::new(Origins {
                connector: connector.clone(),
                clear,
                negotiates,
                idle: settings.idle_timeout,
                patience: settings.connect_timeout,
                last: AtomicU64::new(0),
                origins: Mutex::default(),
            }))
        })
    }

    /// The origin that this request is sent to over HTTP/2; none: it goes over HTTP/1.1.
    pub(super) fn origin_of<B>(&self, request: &Request<B>) -> Option<Key> {
        // What a connection becomes, or whose it becomes, needs one of its own. In the clear an
        // application may speak nothing else, and refuses what it wants over HTTP/1.1.
        let is_https = request.uri().scheme() == Some(&Scheme::HTTPS);
        let is_apart = request.headers().contains_key(header::UPGRADE)
            || is_https && repeat::authenticates_connection(request.headers())
            || request.extensions().get::<repeat::OverHttp1>().is_some();
        let may_speak = |origin: &(Scheme, Authority)| {
            let over_tls = self.0.negotiates && origin.0 == Scheme::HTTPS;
            over_tls || self.0.clear.as_ref() == Some(origin)
        };
        let (scheme, authority) =
            origin_of(request.uri()).filter(|origin| !is_apart && may_speak(origin))?;
        Some(Key {
            scheme,
            authority,
            of_delivery: request.extensions().get::<OfDelivery>().is_some(),
        })
    }

    /// The application hasn't chosen HTTP/1.1 for such requests yet.
    pub(super) fn may_carry<B>(&self, request: &Request<B>) -> bool {
        self.origin_of(request)
            .is_some_and(|key| !key.has_chosen_http1(&self.0.origins.lock()))
    }

    /// A connection with room for a call; none: the application has chosen HTTP/1.1.
    ///
    /// # Errors
    /// There is no connection.
    pub(super) async fn reserve(&self, key: &Key) -> Result<Option<Reserved>, UpstreamError> {
        loop {
            let opening = {
                let mut origins = self.0.origins.lock();
                if key.has_chosen_http1(&origins) {
                    return Ok(None);
                }
                let origin = origins.entry(key.clone()).or_default();
                if let Some(reserved) = origin.reserve() {
                    return Ok(Some(reserved));
                }
                // One whose task ended early has left it behind.
                origin.opening.take_if(|opening| opening.peek().is_some());
                let open = || Arc::clone(&self.0).begin_opening(key.clone());
                origin.opening.get_or_insert_with(open).clone()
            };
            if let Err(error) = opening.await {
                // Calls that have ended meanwhile left room.
                let mut origins = self.0.origins.lock();
                let reserved = origins.get_mut(key).and_then(Origin::reserve);
                return reserved.map(Some).ok_or(error);
            }
        }
    }

    /// Sends a request over a connection that has room for it, or another one if that took nothing
    /// of it. `patience`: a peer that says nothing for so long may be gone.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn send(
        &self,
        key: &Key,
        mut reserved: Reserved,
        (request, patience): (Request<Body>, Duration),
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = translate(request).map_err(Failure::Unsent)?;
        let mut offers = 1;
        loop {
            let Reserved {
                number,
                mut sender,
                link,
            } = reserved;
            let patience = patience.min(self.0.patience);
            let leave = || {
                self.0.forget(key, number, |_| true);
            };
            let awaited = AwaitedHead::begin(&link, patience, leave);
            let result = sender.try_send_request(request).await;
            awaited.end();
            let mut failed = match result {
                Ok(mut response) => {
                    response.extensions_mut().insert(link);
                    return Ok(response);
                }
                Err(failed) => failed,
            };
            link.note_end_of_answer();
            let unsent = failed.take_message();
            let error = failed.into_error();
            let is_refused = error::is_unprocessed(&error) && !error::wants_http1(&error);
            if unsent.is_some() || is_refused || error::is_of_connection(&error) {
                // It takes no more calls, which its task may not have heard yet.
                self.0.forget(key, number, |_| true);
            }
            let Some(again) = unsent.filter(|_| offers < OFFERS) else {
                return Err(failure(&link, error));
            };
            tracing::debug!(%error, "a connection took no more calls; the call goes on another one");
            offers += 1;
            request = again;
            let next = self.reserve(key).await;
            reserved = match next.map_err(Failure::Unsent)? {
                Some(next) => next,
                // It speaks HTTP/1.1 now: the next call does too.
                None => return Err(failure(&link, error)),
            };
        }
    }
}

impl Origin {
    fn reserve(&mut self) -> Option<Reserved> {
        self.connections.retain(|one| !one.sender.is_closed());
        let found = self.connections.iter().find(|one| one.load.has_room())?;
        Some(Reserved {
            number: found.number,
            sender: found.sender.clone(),
            link: found.link.of_stream(OpenStream::begin(&found.load)),
        })
    }
}

impl Origins {
    /// Opens a connection in a task of its own: whoever waits for it may go.
    fn begin_opening(self: Arc<Self>, key: Key) -> Opening {
        let task = tokio::spawn(async move {
            let opened = self.open(&key).await;
            if let Some(origin) = self.origins.lock().get_mut(&key) {
                origin.opening = None;
            }
            opened
        });
        let joined = async move {
            let ended =
                |_| UpstreamError::ConnectionTerminated("its opening ended early".to_owned());
            task.await.map_err(ended)?
        };
        joined.boxed().shared()
    }

    async fn open(self: &Arc<Self>, key: &Key) -> Result<(), UpstreamError> {
        let target = Uri::builder()
            .scheme(key.scheme.clone())
            .authority(key.authority.clone())
            .path_and_query("/")
            .build()
            .map_err(|_| UpstreamError::BadTarget)?;
        let opened = self.connector.open(target, Offer::Either).await;
        let stream = opened.map_err(|error| UpstreamError::from_connector(&*error))?;
        if key.scheme == Scheme::HTTPS && !stream.has_negotiated_http2() {
            tracing::debug!(host = %key.authority, "an application chose HTTP/1.1");
            if let Some(origin) = self.origins.lock().get_mut(key) {
                // Unknown | Http2 => Http1
                origin.is_http1 = true;
            }
            return Ok(());
        }
        let link = stream.link();
        let (sender, mut connection) = shake_hands(stream)
            .await
            .map_err(|error| UpstreamError::from_connection(&error))?;
        let settled = settle(&mut connection, &link);
        tokio::time::timeout(self.patience, settled)
            .await
            .map_err(|_| UpstreamError::ConnectionTimeout)??;
        let (number, load) = (
            self.last.fetch_add(1, Ordering::Relaxed),
            Arc::new(Load::new(connection.current_max_send_streams())),
        );
        if let Some(origin) = self.origins.lock().get_mut(key) {
            origin.connections.push(Connection {
                number,
                sender,
                link,
                load: Arc::clone(&load),
            });
        }
        drop(tokio::spawn(Arc::clone(self).drive(
            key.clone(),
            number,
            connection,
            load,
        )));
        Ok(())
    }

    /// Runs a connection to its end, or until it has had no call for `idle`.
    async fn drive(self: Arc<Self>, key: Key, number: u64, connection: Running, load: Arc<Load>) {
        let mut connection = pin!(connection);
        let mut running = pin!(poll_fn(|cx| {
            let ended = connection.as_mut().poll(cx);
            let most = connection.current_max_send_streams();
            load.allow(most);
            ended
        }));
        loop {
            let look = load
                .idles_until(self.idle)
                .unwrap_or(Instant::now() + self.idle);
            tokio::select! {
                biased;
                ended = &mut running => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "an HTTP/2 connection ended with an error");
                    }
                    self.forget(&key, number, |_| true);
                    return;
                }
                () = tokio::time::sleep_until(look) => {}
                () = load.wait_until_over() => {}
            }
            // ORDER: forgotten under the lock that calls are counted under, so that none comes
            // meanwhile.
            let is_idle = |one: &Connection| {
                one.load
                    .idles_until(self.idle)
                    .is_some_and(|at| at <= Instant::now())
            };
            if self.forget(&key, number, is_idle) {
                // Without senders it says goodbye and ends.
                return drop(running.await);
            }
        }
    }

    /// Takes a connection off the list, if it is so. `true`: it is off.
    fn forget(&self, key: &Key, number: u64, is_so: impl Fn(&Connection) -> bool) -> bool {
        let mut origins = self.origins.lock();
        let Some(origin) = origins.get_mut(key) else {
            return true;
        };
        origin
            .connections
            .retain(|one| one.number != number || !is_so(one));
        !origin.connections.iter().any(|one| one.number == number)
    }
}

/// Waits until the application has said how many calls it allows: its first bytes are its settings
/// (RFC 9113 §3.4).
///
/// # Errors
/// The connection ended before.
async fn settle(connection: &mut Running, link: &Link) -> Result<(), UpstreamError> {
    let ended = tokio::select! {
        ended = connection => ended,
        () = link.wait_until_replied() => return Ok(()),
    };
    Err(match (link.refusal(), ended) {
        (Some(refusal), _) => UpstreamError::Tls(refusal),
        (None, Err(error)) => UpstreamError::from_connection(&error),
        (None, Ok(())) => UpstreamError::ConnectionTerminated("it said nothing".to_owned()),
    })
}

fn origin_of(target: &Uri) -> Option<(Scheme, Authority)> {
    Some((target.scheme()?.clone(), target.authority()?.clone()))
}

/// Why a request got no answer on this connection.
fn failure(link: &Link, error: hyper::Error) -> Failure {
    match link.refusal() {
        Some(refusal) => Failure::Unsent(UpstreamError::Tls(refusal)),
        None => Failure::Http2 {
            error,
            has_answered: link.has_answered(),
        },
    }
}
