//! The application's listener: one connection after the other, one call after the other.

use super::body::events;
use super::call::Call;
use super::census::{Census, Kind};
use super::reply::{Reply, Stage};
use super::routes;
use super::shared::{Options, Shared};
use super::store::Store;
use super::tokens::Tokens;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderValue, ORIGIN};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Largest JSON body.
const MAX_BODY: usize = 25 * 1024 * 1024;
/// The application closes an idle connection after this, though its `Keep-Alive` says 5 s.
const IDLE: Duration = Duration::from_secs(6);

/// The running upstream. Dropping it cuts its connections.
pub struct Upstream {
    address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Upstream {
    /// Listens on a loopback port that the system picks.
    ///
    /// # Errors
    /// No socket.
    pub async fn start(options: Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let tokens = Tokens::new(options.token_life);
        let shared = Arc::new(Shared {
            options,
            tokens,
            census: Census::default(),
            store: Mutex::<Store>::default(),
        });
        let stop = CancellationToken::new();
        drop(tokio::spawn(accept(
            listener,
            Arc::clone(&shared),
            stop.clone(),
        )));
        Ok(Self {
            address,
            shared,
            stop,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its counts.
    #[must_use]
    pub fn census(&self) -> &Census {
        &self.shared.census
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let connection = serve(stream, Arc::clone(&shared));
                let stop = stop.clone();
                drop(connections.spawn(async move { stop.run_until_cancelled(connection).await }));
            }
            // Out of file descriptors, most likely: some connection ends soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    // A peer that is already gone shows up in the next line.
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request| answer(Arc::clone(&shared), request));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(IDLE);
    // A connection that breaks is its client's affair.
    drop(server.serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let call = Call::new(parts);
    let kind = routes::kind(&call);
    shared.census.call(kind);
    let origin = call.header("origin").map(str::to_ascii_lowercase);
    let allowed = origin.as_deref().map(|origin| {
        shared
            .options
            .origins
            .iter()
            .any(|known| **known == *origin)
    });
    let reply = match routes::preflight(&call, allowed) {
        Some(reply) => reply,
        None => route(&shared, &call, kind, body).await,
    };
    if reply.status.as_u16() >= 400 {
        shared.census.refusal();
    }
    let echo = call
        .headers
        .get(ORIGIN)
        .and_then(|_| HeaderValue::try_from(origin?).ok());
    Ok(reply.dress(&call, echo))
}

async fn route(shared: &Shared, call: &Call, kind: Kind, body: Incoming) -> Reply {
    let coded = call
        .headers
        .get(CONTENT_ENCODING)
        .is_some_and(|coding| coding != "identity");
    let refuse = |status, message: &str| {
        let body = json!({"ok": false, "code": "internal_error", "message": message, "requestId": call.request_id});
        Reply::plain(status, Stage::Body, body)
    };
    if coded {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported content encoding",
        );
    }
    let Ok(bytes) = Limited::new(body, MAX_BODY).collect().await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "request entity too large");
    };
    let body = match call.body(&bytes.to_bytes()) {
        Ok(body) => body,
        Err(unreadable) => return refuse(StatusCode::BAD_REQUEST, &unreadable.0),
    };
    // Half of the time passes before the call takes effect, half between that and its answer.
    let pause = if shared.options.latency {
        pause(kind, &body)
    } else {
        Duration::ZERO
    };
    tokio::time::sleep(pause / 2).await;
    let mut unclear = Unclear {
        census: &shared.census,
        ids: ids_of(kind, &body),
    };
    let reply = routes::handle(shared, call, &body);
    tokio::time::sleep(pause / 2).await;
    unclear.is_answered_with(reply.status);
    reply
}

/// The events of a call whose sender does not know yet what became of them. Dropped without an
/// answer, or with a refusal, they may rightly be offered a second time.
struct Unclear<'a> {
    census: &'a Census,
    ids: Vec<Box<str>>,
}

/// The ids of a call's events, as their senders gave them.
fn ids_of(kind: Kind, body: &Value) -> Vec<Box<str>> {
    let id_of = |event: &Value| {
        let names = ["clientEventId", "client_event_id", "id"];
        let mut found = names.iter().filter_map(|name| event.get(name)?.as_str());
        found.next().map(Box::from)
    };
    match kind {
        Kind::Single => id_of(body).into_iter().collect(),
        _ => events(body)
            .into_iter()
            .flatten()
            .filter_map(id_of)
            .collect(),
    }
}

impl Unclear<'_> {
    fn is_answered_with(&mut self, status: StatusCode) {
        if status.is_success() {
            self.ids.clear();
        }
    }
}

impl Drop for Unclear<'_> {
    fn drop(&mut self) {
        self.census.leave_unclear(std::mem::take(&mut self.ids));
    }
}

/// A few milliseconds, one more for each event of a batch, and a password hash's worth for a login.
fn pause(kind: Kind, body: &Value) -> Duration {
    let events = events(body).map_or(0, <[Value]>::len);
    let base = fastrand::u64(3_000..6_000) + 1_000 * u64::try_from(events).unwrap_or(0);
    Duration::from_micros(if kind == Kind::Auth {
        base + 15_000
    } else {
        base
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_whose_call_is_cut_off_or_refused_may_be_repeated() {
        let census = Census::default();
        for (status, left) in [
            (Some(StatusCode::OK), 0),
            (None, 3),
            (Some(StatusCode::INTERNAL_SERVER_ERROR), 3),
        ] {
            let mut unclear = Unclear {
                census: &census,
                ids: ids_of(
                    Kind::AnalyticsBatch,
                    &json!({ "events": [{ "clientEventId": "a" }, { "clientEventId": "b" }, { "id": "c" }] }),
                ),
            };
            if let Some(status) = status {
                unclear.is_answered_with(status);
            }
            drop(unclear);
            assert_eq!(census.look(|book| book.unclear.len()), left, "{status:?}");
        }
    }
}
