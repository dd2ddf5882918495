//! The listener: accepts, bounds and ends connections; HTTP/1.1 and HTTP/2 with prior knowledge (h2c).
//!
//! A connection takes a permit before it is accepted, so that the cap holds; more of them wait in the kernel's backlog. One
//! whose network has its share already is closed at once (`shares.rs`).
//! Its first byte, and each request's head from its first byte on, must arrive within `header_timeout`; between two
//! requests it may idle for `keepalive_timeout`, and what is ready for its client waits at most `stall_timeout` (`phase.rs`,
//! `answer.rs`). A peer that is gone without a word is found by probes. When the drain begins, nothing more is accepted, idle
//! connections close, busy ones finish their request, and at the deadline the rest is cut.

mod answer;
pub mod descriptors;
mod phase;
pub mod settings;
mod shares;
mod unsent;

pub use settings::ServerSettings;

use crate::body::Body;
use crate::drain::Drain;
use crate::peer::{Arrived, Connection, Place};
use answer::{Answer, Streams, UnsentOfAll, UnsentOfOne};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use phase::{Limits, Over, Phases, Socket, Watched};
use shares::Shares;
use socket2::{SockRef, TcpKeepalive};
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};

/// Largest request head, bytes; more is answered 431.
pub const MAX_HEAD: usize = 64 << 10;
/// Most header lines of a request.
const MAX_HEADERS: usize = 128;
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// Bytes of one HTTP/2 stream that lie ready to be framed.
const MAX_SEND_BUFFER: usize = 64 << 10;
/// Bytes of a body that an HTTP/2 client may send before they are read: of one stream, and of one connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes that lie in the kernel and were not sent.
const MAX_UNSENT_IN_KERNEL: u32 = 128 << 10;
/// A quiet connection's other end is asked for a sign of life after this time, and then so often.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// Pause after an error that concerns the listener and not one connection (no more file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long an idle client has to say goodbye (HTTP/2: to answer the GOAWAY).
const GOODBYE: Duration = Duration::from_secs(5);

/// Opens the listener.
///
/// # Errors
/// The address is taken or not ours.
pub async fn bind(settings: &ServerSettings) -> io::Result<TcpListener> {
    TcpListener::bind(settings.listen).await
}

/// Serves until the drain begins, then finishes what is there, for at most `settings.drain`.
pub async fn serve<S>(listener: TcpListener, settings: ServerSettings, service: S, drain: Drain)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let permits = Arc::new(Semaphore::new(settings.max_connections));
    let connections = TaskTracker::new();
    let builder = builder(settings.stall_timeout);
    let shares = Shares::new(settings.max_connections, settings.trusted_proxies.clone());
    let unsent = UnsentOfAll::default();
    let limits = Limits { head: settings.header_timeout, idle: settings.keepalive_timeout };
    loop {
        let permit = tokio::select! {
            biased;
            () = drain.draining() => break,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            biased;
            () = drain.draining() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                if !is_of_one_connection(&error) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        let Some(share) = shares.take(address.ip()) else {
            tracing::debug!(%address, "a connection is refused; its network has its share");
            continue;
        };
        prepare(&stream);
        let client = Client {
            stream,
            connection: Connection { address, secure: false },
            place: Place::new((permit, share)),
            stall: settings.stall_timeout,
            unsent: UnsentOfOne::new(&unsent),
        };
        drop(connections.spawn(client.serve(builder.clone(), service.clone(), Phases::new(limits), drain.clone())));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(settings.drain, connections.wait()).await.is_err() {
        tracing::warn!("connections were cut at the drain's deadline");
    }
}

/// What a connection's socket is told; where the system knows no such option, the connection goes without.
fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY);
    if let Err(error) = socket.set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "probes of quiet connections could not be set");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_tcp_notsent_lowat(MAX_UNSENT_IN_KERNEL) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT could not be set");
    }
}

/// The kernel drops what the client didn't take, and doesn't go on offering it.
fn cut(stream: &TcpStream) {
    tracing::debug!("a client took nothing for too long; its connection is cut");
    if let Err(error) = SockRef::from(stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "SO_LINGER could not be set");
    }
}

/// hyper's time-out for heads is off: `phase.rs` knows when one begins.
fn builder(stall: Duration) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams { stall });
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .preserve_header_case(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    builder
}

/// A connection that was accepted.
struct Client {
    stream: TcpStream,
    connection: Connection,
    place: Place,
    stall: Duration,
    unsent: UnsentOfOne,
}

impl Client {
    /// Serves it to its end: the client's, the drain's, or its phase's deadline.
    async fn serve<S>(self, builder: auto::Builder<Streams>, service: S, phases: Phases, drain: Drain)
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        let Self { stream, connection, place, stall, unsent } = self;
        let kept = place.clone();
        let watched = Watched::new(stream, phases.clone(), stall, Socket { unsent: unsent::in_kernel, cut });
        let account = phases.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let call = account.begin_call();
            // An upgraded connection outlives its task, and takes its place among the others along.
            let arrived = Arrived { connection, place: place.lend() };
            request.extensions_mut().insert(arrived);
            let answering = service.clone().oneshot(request);
            let unsent = unsent.clone();
            async move {
                let response = answering.await?;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    call.becomes_tunnel();
                }
                Ok::<_, Infallible>(response.map(|body| Answer::new(body, call, &unsent)))
            }
        });
        let mut serving = pin!(builder.serve_connection_with_upgrades(TokioIo::new(watched), service));
        let (mut draining, mut over) = (pin!(drain.draining()), pin!(phases.over()));
        let mut goodbye = None;
        let mut asked_to_end = false;
        loop {
            tokio::select! {
                // ORDER: the connection first; what its phase is shows only then.
                biased;
                ended = serving.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended with an error");
                    }
                    break;
                }
                () = &mut draining, if !asked_to_end => {
                    asked_to_end = true;
                    serving.as_mut().graceful_shutdown();
                }
                over_in = &mut over, if goodbye.is_none() => match over_in {
                    Over::Head => {
                        tracing::debug!("a request's head did not come in time");
                        break;
                    }
                    Over::Idle => {
                        asked_to_end = true;
                        goodbye = Some(Instant::now() + GOODBYE);
                        serving.as_mut().graceful_shutdown();
                    }
                },
                () = until(goodbye), if goodbye.is_some() => {
                    // A call that crossed the goodbye is answered.
                    if !phases.is_busy() {
                        break;
                    }
                    goodbye = Some(Instant::now() + GOODBYE);
                }
            }
        }
        drop(kept);
    }
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Extensions;
    use tokio::io::AsyncWriteExt as _;
    use tokio::sync::mpsc;
    use tower::service_fn;

    /// A listener with one place, whose calls are never answered; their extensions.
    async fn serve_none() -> (std::net::SocketAddr, mpsc::UnboundedReceiver<Extensions>) {
        let long = Duration::from_secs(3_600);
        let settings = ServerSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            max_connections: 1,
            header_timeout: long,
            keepalive_timeout: long,
            stall_timeout: long,
            trusted_proxies: crate::peer::TrustedProxies::local(),
            body_timeout: long,
            drain: long,
        };
        let listener = bind(&settings).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, seen) = mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Incoming>| {
            drop(calls.send(request.into_parts().0.extensions));
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        drop(tokio::spawn(serve(listener, settings, service, Drain::new())));
        (address, seen)
    }

    #[tokio::test]
    async fn a_call_that_outlives_its_client_does_not_keep_the_clients_place() {
        let (address, mut seen) = serve_none().await;
        let mut kept = Vec::new();
        for _ in 0..3 {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            kept.push(seen.recv().await.unwrap());
            let arrived = kept.last().unwrap().get::<Arrived>().unwrap();
            assert!(arrived.place.keep().is_some(), "while the client is there, its place can be kept");
        }
    }
}
