//! The listener: accepts, bounds and ends connections; HTTP/1.1 and HTTP/2 with prior knowledge
//! (h2c), or both over TLS, told apart by ALPN; over TCP or a Unix socket.
//!
//! A connection whose network has its share already is closed at once (`shares.rs`). Any other
//! takes a place; where all are taken, one that waits for its client gives way to it (`places.rs`).
//! While it waits for that, it is the only one beyond the cap: more of them wait in the kernel's
//! backlog.
//!
//! Its first byte, and each request's head from its first byte on, must arrive within
//! `header_timeout`; between two requests it may idle for `keepalive_timeout`, and what is ready
//! for its client waits at most `stall_timeout` (`phase.rs`, `http2.rs`). A peer that is gone
//! without a word is found by probes. When the drain begins, nothing more is accepted, idle
//! connections close, busy ones finish their request, and at the deadline the rest is cut.
//!
//! A listener that was passed to this process (`passed.rs`) is served on when the drain is
//! announced: each answer of HTTP/1.1 closes its connection, HTTP/2 connections are told to go, and
//! what idles for `LEAVE_WITHIN` is closed. When all connections from before the announcement have
//! gone, or most of the drain's time is over, no more are accepted, and the last ones have
//! `LAST_CALLS` for theirs. Then the drain begins. A connection that was accepted late has the time
//! of `LEAVE_WITHIN` for its first call in any case.

mod answer;
mod client;
pub mod descriptors;
mod handed_out;
mod http2;
mod listen;
mod newcomer;
mod passed;
mod phase;
mod places;
pub mod settings;
mod shares;
mod stream;
mod tls;
mod turns;
mod unsent;

pub use listen::{AddressError, ListenAddress, Listener};
pub use passed::{Passed, PassedError};
pub use settings::{OpenConnections, ServerSettings};
pub use tls::ServerTls;

use crate::body::Body;
use crate::drain::Drain;
use crate::peer::{Place, Precedence, network_of};
use client::Client;
use handed_out::{UnsentOfAll, UnsentOfOne};
use http::{Request, Response};
use http2::Streams;
use hyper::body::Incoming;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use phase::Limits;
use places::Places;
use shares::Shares;
use socket2::{SockRef, TcpKeepalive};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use stream::NetworkStream;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tower::Service;
use turns::Turns;

/// Largest request head, bytes; more is answered 431.
pub const MAX_HEAD: usize = 64 << 10;
/// Most header lines of a request.
const MAX_HEADERS: usize = 128;
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// Bytes of one HTTP/2 stream that lie ready to be framed.
const MAX_SEND_BUFFER: usize = 64 << 10;
/// Bytes of a body that an HTTP/2 client may send before they are read: of one stream, and of one
/// connection. A proxy of one's own has other users' calls on the same connection, which wait for
/// none that isn't read: there each stream has its own.
const WINDOWS: [u32; 2] = [256 << 10, 1 << 20];
const PROXY_WINDOWS: [u32; 2] = [64 << 10, (64 << 10) * MAX_STREAMS];
/// Bytes that lie in the kernel and were not sent.
const MAX_UNSENT_IN_KERNEL: u32 = 128 << 10;
/// A quiet connection's other end is asked for a sign of life after this time, and then so often.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(15);
/// Pause after an error that concerns the listener and not one connection (no more file
/// descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections that were accepted last have for their calls before the drain begins.
const LAST_CALLS: Duration = Duration::from_secs(1);
/// Of the time for a drain, the part in which connections that are told to leave are waited for:
/// three quarters. The rest is for what is on its way then.
const LEAVING: (u32, u32) = (3, 4);

/// Opens the listener.
///
/// # Errors
/// The address is taken or not ours; a file stands in the way of a socket's.
pub fn bind(settings: &ServerSettings) -> io::Result<Listener> {
    Listener::bind(&settings.listen)
}

/// What answers requests: clones of it do, on all connections at once, and are always ready to.
pub trait Answering:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Answering for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Serves until the drain begins, then finishes what is there, for at most `settings.drain`.
pub async fn serve<S: Answering>(
    listener: Listener,
    settings: ServerSettings,
    service: S,
    drain: Drain,
) {
    let turns = Turns::new();
    let _letting_go = AbortOnDropHandle::new(tokio::spawn({
        let turns = turns.clone();
        async move { turns.run().await }
    }));
    serve_in_turn(listener, settings, service, drain, turns).await;
}

async fn serve_in_turn<S: Answering>(
    listener: Listener,
    settings: ServerSettings,
    service: S,
    drain: Drain,
    turns: Turns,
) {
    let connections = Connections::default();
    let enough = CancellationToken::new();
    let accept = accept(
        &listener,
        &settings,
        service,
        (&drain, &enough),
        turns,
        &connections,
    );
    let leave = async {
        let has_left = connections.leave(&drain, settings.drain).await;
        enough.cancel();
        has_left
    };
    let leave_and_accept = async { tokio::join!(leave, accept).0 };
    let has_left = tokio::select! {
        biased;
        () = drain.draining() => true,
        has_left = leave_and_accept => has_left,
    };
    drop(listener);
    connections.early.close();
    connections.late.close();
    if !drain.is_draining() {
        let late = connections.late.wait();
        drop(tokio::time::timeout(LAST_CALLS.min(settings.drain / 8), late).await);
        drain.begin();
    }
    let all = async {
        connections.early.wait().await;
        connections.late.wait().await;
    };
    // Those that are still there had their time.
    let time = if has_left { settings.drain } else { LAST_CALLS };
    if tokio::time::timeout(time, all).await.is_err() {
        tracing::warn!("connections were cut at the drain's deadline");
    }
}

/// Tasks of connections, by whether they were accepted before a drain was announced.
#[derive(Debug, Default)]
struct Connections {
    early: TaskTracker,
    late: TaskTracker,
}

impl Connections {
    /// Until the early ones have gone after a drain's announcement; `false`: most of its time is
    /// over, and they have not.
    async fn leave(&self, drain: &Drain, time: Duration) -> bool {
        drain.announced().await;
        self.early.close();
        let time = time * LEAVING.0 / LEAVING.1;
        tokio::time::timeout(time, self.early.wait()).await.is_ok()
    }

    fn of_now(&self, drain: &Drain) -> &TaskTracker {
        if drain.is_announced() {
            &self.late
        } else {
            &self.early
        }
    }
}

/// Accepts connections and serves each in a task of its own, until there are `enough`.
///
/// # Cancel safety
/// A connection that waits for its place is closed unread.
async fn accept<S: Answering>(
    listener: &Listener,
    settings: &ServerSettings,
    service: S,
    (drain, enough): (&Drain, &CancellationToken),
    turns: Turns,
    connections: &Connections,
) {
    let places = Places::new(settings.max_connections, settings.trusted_proxies.clone());
    let builders = [WINDOWS, PROXY_WINDOWS].map(|windows| builder(settings.stall_timeout, windows));
    let [builder, of_proxies] = &builders;
    let shares = Shares::new(settings.max_connections, settings.trusted_proxies.clone());
    let unsent = UnsentOfAll::default();
    let limits = Limits {
        head: settings.header_timeout,
        idle: settings.keepalive_timeout,
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = enough.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, mut connection) = match accepted {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                if !is_of_one_connection(&error) {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        let Some(share) = shares.take(&connection) else {
            let address = connection.address;
            tracing::debug!(%address, "a connection is refused; its network has its share");
            continue;
        };
        let free = tokio::select! {
            biased;
            () = enough.cancelled() => return,
            free = places.take() => free,
        };
        let Some(free) = free else {
            continue;
        };
        if let NetworkStream::Tcp(stream) = &stream {
            prepare(stream);
        }
        let phases = places.open_account(limits);
        let listed = places.list(&connection, &phases);
        connection.secure = settings.tls.is_some();
        // A proxy of one's own speaks for many clients: each of its connections is a flow.
        let is_proxy = settings.trusted_proxies.trust(&connection);
        let flow = if is_proxy {
            connection.address
        } else {
            SocketAddr::new(network_of(connection.address.ip()), 0)
        };
        let builder = if is_proxy { of_proxies } else { builder };
        let precedence = Precedence::default();
        if !settings.knows_callers {
            precedence.give();
        }
        let client = Client {
            stream,
            tls: settings.tls.clone(),
            connection,
            // ORDER: off the list before the place is free.
            place: Place::new((listed, free, share, settings.connections.add())),
            stall: settings.stall_timeout,
            unsent: UnsentOfOne::new(&unsent),
            precedence: precedence.clone(),
            turns: turns.clone(),
            flow,
        };
        let serving = client.serve(builder.clone(), service.clone(), phases, drain.clone());
        let tracker = connections.of_now(drain);
        drop(tracker.spawn(turns.clone().in_turn(flow, precedence, serving)));
    }
}

/// What a connection's socket is told; where the system knows no such option, the connection goes
/// without.
fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new()
        .with_time(PROBE_AFTER)
        .with_interval(PROBE_EVERY);
    if let Err(error) = socket.set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "probes of quiet connections could not be set");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_tcp_notsent_lowat(MAX_UNSENT_IN_KERNEL) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT could not be set");
    }
}

/// hyper's time-out for heads is off: `phase.rs` knows when one begins.
fn builder(stall: Duration, [of_stream, of_connection]: [u32; 2]) -> auto::Builder<Streams> {
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
        .initial_stream_window_size(of_stream)
        .initial_connection_window_size(of_connection)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    builder
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

#[cfg(test)]
mod tests;
