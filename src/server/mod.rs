//! The listener: accepts, bounds and ends connections; HTTP/1.1 and HTTP/2 with prior knowledge (h2c).
//!
//! A connection takes a permit before it is accepted, so that the cap holds; more of them wait in the kernel's backlog.
//! Its first bytes and each request's head must arrive within `header_timeout`. When the drain begins, nothing more is
//! accepted, idle connections close, busy ones finish their request, and at the deadline the rest is cut.

pub mod settings;

pub use settings::ServerSettings;

use crate::body::Body;
use crate::drain::Drain;
use crate::peer::{Connection, Place};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::{Service, ServiceExt as _};

/// Largest request head, bytes; more is answered 431.
pub const MAX_HEAD: usize = 64 << 10;
/// Most header lines of a request.
const MAX_HEADERS: usize = 128;
/// Streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// Pause after an error that concerns the listener and not one connection (no more file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    let graceful = GracefulShutdown::new();
    let builder = Arc::new(builder(settings.header_timeout));
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
        let service = service.clone();
        let place = Place::new(Arc::clone(&permit));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Connection { address, secure: false });
            // An upgraded connection outlives its task, and takes its place among the others along.
            request.extensions_mut().insert(place.clone());
            service.clone().oneshot(request)
        });
        let builder = Arc::clone(&builder);
        let watcher = graceful.watcher();
        let (header_timeout, drain) = (settings.header_timeout, drain.clone());
        drop(tokio::spawn(async move {
            let spoke = tokio::select! {
                biased;
                spoke = first_bytes(&stream, header_timeout) => spoke,
                () = drain.draining() => false,
            };
            if spoke {
                let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!(error = %error, "a connection ended with an error");
                }
            }
            drop(permit);
        }));
    }
    drop(listener);
    if tokio::time::timeout(settings.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("connections were cut at the drain's deadline");
    }
}

fn builder(header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
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

/// Waits until the client has said enough to tell HTTP/2 from HTTP/1.1 (hyper's own time-out begins after that).
async fn first_bytes(stream: &TcpStream, within: Duration) -> bool {
    let read = async {
        let mut start = [0; 4];
        loop {
            match stream.peek(&mut start).await {
                Ok(0) | Err(_) => return false,
                Ok(count) if start.get(..count).is_none_or(|seen| count == 4 || !b"PRI ".starts_with(seen)) => {
                    return true;
                }
                // The beginning of a preface and no more: wait for the next byte without spinning.
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(within, read).await.unwrap_or(false)
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
