//! HTTP/2 to applications: few connections, each of which carries many calls.
//!
//! Over TLS the application chooses the version (ALPN); in the clear `upstream.http2` says it. Where
//! it chooses HTTP/1.1, the other client's pool has the calls from then on.
//!
//! ```text
//! origin   Unknown ─ a connection is opened ─▶ Http2 ─ the next one is HTTP/1.1 ─▶ Http1
//!             └────────────── it is HTTP/1.1 ──────────────────────────────────────▶┘
//! ```
//!
//! - A connection carries at most [`MAX_STREAMS`] calls at once, or as many as the application allows
//!   if that is less; beyond it another one is opened, so that streams that last hold up nobody. Each
//!   has a place among `max_connections`, and each call has its own among those of calls.
//! - Those that wait for a connection wait for the same one, and share its failure.
//! - A stream may have [`STREAM_WINDOW`] bytes under way that its client hasn't taken, and the
//!   connection that many for each of its streams: one that isn't read stops no other.
//! - A connection without calls closes after `upstream.idle_timeout`.
//! - `:authority` is what Host would be (RFC 9113 §8.3.1), whatever the connection leads to.

use super::connector::{Connector, LinkedStream};
use super::error::{self, Failure, UpstreamError};
use super::link::Link;
use super::settings::{Http2Use, UpstreamSettings};
use super::tls::Offer;
use crate::body::Body;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Calls on one connection at once: the fewest that an application should allow (RFC 9113 §6.5.2).
const MAX_STREAMS: usize = 100;
/// Bytes of one answer that are read ahead of its client, and of all answers of a connection.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 100;
/// Bytes of one request's body that lie ready to be framed.
const MAX_SEND_BUFFER: usize = 64 << 10;
/// Largest response head, bytes.
const MAX_HEAD: u32 = 128 << 10;
/// A request that no connection took is offered to so many.
const OFFERS: usize = 3;
/// Where calls are under way and nothing is heard, the application is asked for a sign of life.
const PROBE_EVERY: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// The connections of one client; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Http2(Arc<Origins>);

/// A scheme, and a host with its port.
pub(super) type Key = (Scheme, Authority);

/// A connection on its way, awaited by all that need it.
type Opening = Shared<BoxFuture<'static, Result<(), UpstreamError>>>;

#[derive(Debug)]
struct Origins {
    connector: Connector,
    /// That of `upstream.url`, where HTTP/2 is spoken to it in the clear.
    clear: Option<Key>,
    /// HTTP/2 is offered over TLS.
    negotiates: bool,
    idle: Duration,
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

/// How many calls a connection has.
#[derive(Debug)]
struct Load {
    streams: AtomicUsize,
    /// What the application allows.
    most: AtomicUsize,
    /// When the last call ended. Locked for a look.
    ended: Mutex<Instant>,
}

impl Load {
    fn new() -> Self {
        Self {
            streams: AtomicUsize::new(0),
            most: AtomicUsize::new(MAX_STREAMS),
            ended: Mutex::new(Instant::now()),
        }
    }

    fn has_room(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed).clamp(1, MAX_STREAMS);
        self.streams.load(Ordering::Relaxed) < most
    }

    /// When it has had no call for so long; none while it has one.
    fn idles_until(&self, idle: Duration) -> Option<Instant> {
        let is_idle = self.streams.load(Ordering::Relaxed) == 0;
        is_idle.then(|| *self.ended.lock() + idle)
    }
}

/// A call on a connection, until its answer has ended.
#[derive(Debug)]
struct OpenStream(Arc<Load>);

impl OpenStream {
    fn begin(load: &Arc<Load>) -> Arc<Self> {
        load.streams.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self(Arc::clone(load)))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        *self.0.ended.lock() = Instant::now();
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
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
        let clear = key_of(&settings.url).filter(|(scheme, _)| {
            settings.http2 == Http2Use::PriorKnowledge && *scheme != Scheme::HTTPS
        });
        (negotiates || clear.is_some()).then(|| {
            Self(Arc::new(Origins {
                connector: connector.clone(),
                clear,
                negotiates,
                idle: settings.idle_timeout,
                last: AtomicU64::new(0),
                origins: Mutex::default(),
            }))
        })
    }

    /// The origin that this request is sent to over HTTP/2; none: it goes over HTTP/1.1.
    pub(super) fn origin_of<B>(&self, request: &Request<B>) -> Option<Key> {
        // What a connection becomes needs one of its own.
        let upgrades = request.headers().contains_key(header::UPGRADE);
        let may_speak = |key: &Key| {
            let over_tls = self.0.negotiates && key.0 == Scheme::HTTPS;
            over_tls || self.0.clear.as_ref() == Some(key)
        };
        key_of(request.uri()).filter(|key| !upgrades && may_speak(key))
    }

    /// A connection with room for a call; none: the application has chosen HTTP/1.1.
    ///
    /// # Errors
    /// There is no connection.
    pub(super) async fn reserve(&self, key: &Key) -> Result<Option<Reserved>, UpstreamError> {
        loop {
            let opening = {
                let mut origins = self.0.origins.lock();
                let origin = origins.entry(key.clone()).or_default();
                if origin.is_http1 {
                    return Ok(None);
                }
                if let Some(reserved) = origin.reserve() {
                    return Ok(Some(reserved));
                }
                // One whose task ended early has left it behind.
                origin.opening.take_if(|opening| opening.peek().is_some());
                let open = || Arc::clone(&self.0).begin_opening(key.clone());
                origin.opening.get_or_insert_with(open).clone()
            };
            opening.await?;
        }
    }

    /// Sends a request over a connection that has room for it, or another one if that took nothing
    /// of it.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn send(
        &self,
        key: &Key,
        mut reserved: Reserved,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = translate(request)?;
        let mut offers = 1;
        loop {
            let Reserved {
                number,
                mut sender,
                link,
            } = reserved;
            let mut failed = match sender.try_send_request(request).await {
                Ok(mut response) => {
                    response.extensions_mut().insert(link);
                    return Ok(response);
                }
                Err(failed) => failed,
            };
            let unsent = failed.take_message();
            let error = failed.into_error();
            if unsent.is_some() || error::is_of_connection(&error) {
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
            .scheme(key.0.clone())
            .authority(key.1.clone())
            .path_and_query("/")
            .build()
            .map_err(|_| UpstreamError::BadTarget)?;
        let opened = self.connector.open(target, Offer::Either).await;
        let stream = opened.map_err(|error| UpstreamError::from_connector(&*error))?;
        if key.0 == Scheme::HTTPS && !stream.has_negotiated_http2() {
            tracing::debug!(host = %key.1, "an application chose HTTP/1.1");
            if let Some(origin) = self.origins.lock().get_mut(key) {
                // Unknown | Http2 => Http1
                origin.is_http1 = true;
            }
            return Ok(());
        }
        let link = stream.link();
        let (sender, connection) = shake_hands(stream)
            .await
            .map_err(|error| UpstreamError::from_connection(&error))?;
        let (number, load) = (
            self.last.fetch_add(1, Ordering::Relaxed),
            Arc::new(Load::new()),
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
    async fn drive(
        self: Arc<Self>,
        key: Key,
        number: u64,
        connection: http2::Connection<TokioIo<LinkedStream>, Body, TokioExecutor>,
        load: Arc<Load>,
    ) {
        let mut connection = pin!(connection);
        let mut running = pin!(poll_fn(|cx| {
            let ended = connection.as_mut().poll(cx);
            let most = connection.current_max_send_streams();
            load.most.store(most, Ordering::Relaxed);
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

async fn shake_hands(
    stream: LinkedStream,
) -> hyper::Result<(
    SendRequest<Body>,
    http2::Connection<TokioIo<LinkedStream>, Body, TokioExecutor>,
)> {
    http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(PROBE_EVERY)
        .keep_alive_timeout(PROBE_TIMEOUT)
        .handshake(TokioIo::new(stream))
        .await
}

fn key_of(target: &Uri) -> Option<Key> {
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

/// The request as HTTP/2 has it: Host is `:authority`, and nothing speaks of the connection.
fn translate(request: Request<Body>) -> Result<Request<Body>, Failure> {
    let (mut head, body) = request.into_parts();
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        head.headers.remove(name);
    }
    let mut parts = head.uri.into_parts();
    if let Some(host) = head.headers.remove(header::HOST) {
        parts.authority = Authority::try_from(host.as_bytes())
            .ok()
            .or(parts.authority);
    }
    // A Unix socket is spoken to in the clear.
    if parts.scheme != Some(Scheme::HTTPS) {
        parts.scheme = Some(Scheme::HTTP);
    }
    parts
        .path_and_query
        .get_or_insert(PathAndQuery::from_static("/"));
    head.uri = Uri::from_parts(parts).map_err(|_| Failure::Unsent(UpstreamError::BadTarget))?;
    head.version = Version::HTTP_2;
    Ok(Request::from_parts(head, body))
}
