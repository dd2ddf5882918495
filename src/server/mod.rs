//! The listener: accepts, bounds and ends connections; HTTP/1.1 and HTTP/2 with prior knowledge (h2c).
//!
//! A connection takes a permit before it is accepted, so that the cap holds; more of them wait in the kernel's backlog.
//! Its first byte, and each request's head from its first byte on, must arrive within `header_timeout`; between two
//! requests it may idle for `keepalive_timeout` (`phase.rs`). When the drain begins, nothing more is accepted, idle
//! connections close, busy ones finish their request, and at the deadline the rest is cut.

mod phase;
pub mod settings;

pub use settings::ServerSettings;

use crate::body::Body;
use crate::drain::Drain;
use crate::peer::{Connection, Place};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use phase::{Answer, Limits, Over, Phases, Watched};
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};

/// Largest request head, bytes; more is answered 431.
pub const MAX_HEAD: usize = 64 << 10;
/// Most header lines of a request.
const MAX_HEADERS: usize = 128;
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
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
    let builder = builder();
    let limits = Limits { head: settings.header_timeout, idle: settings.keepalive_timeout };
    loop {
        let permit = tokio::select! {
            biased;
            () = drain.draining() => break,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let Ok(permit) = permit.map(Arc::new) else { break };
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
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let client = Client { stream, connection: Connection { address, secure: false }, permit };
        drop(connections.spawn(client.serve(builder.clone(), service.clone(), Phases::new(limits), drain.clone())));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(settings.drain, connections.wait()).await.is_err() {
        tracing::warn!("connections were cut at the drain's deadline");
    }
}

/// hyper's time-out for heads is off: `phase.rs` knows when one begins.
fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
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
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
    builder
}

/// A connection that was accepted.
struct Client {
    stream: TcpStream,
    connection: Connection,
    permit: Arc<OwnedSemaphorePermit>,
}

impl Client {
    /// Serves it to its end: the client's, the drain's, or its phase's deadline.
    async fn serve<S>(self, builder: auto::Builder<TokioExecutor>, service: S, phases: Phases, drain: Drain)
    where
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        let Self { stream, connection, permit } = self;
        let place = Place::new(Arc::clone(&permit));
        let watched = Watched { stream, phases: phases.clone() };
        let account = phases.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let call = account.begin_call();
            request.extensions_mut().insert(connection);
            // An upgraded connection outlives its task, and takes its place among the others along.
            request.extensions_mut().insert(place.clone());
            let answering = service.clone().oneshot(request);
            async move {
                let response = answering.await?;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    call.becomes_tunnel();
                }
                Ok::<_, Infallible>(response.map(|body| Answer { body, call }))
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
        drop(permit);
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
