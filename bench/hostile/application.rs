//! The application behind the sidecar: takes batches and single events of users that it knows,
//! answers 401 to everybody else and 429 to one user, and has a large export and a report that
//! takes its time.

use super::users::{self, Tally};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// The export: made once, so that it costs the application nothing.
static EXPORT: [u8; 8 << 20] = [b'x'; 8 << 20];

/// How long the report takes.
const REPORT: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Seen {
    ids: HashSet<String>,
    longest: Duration,
}

#[derive(Debug)]
pub struct Application {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

impl Application {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = Arc::clone(&shared);
                let service = service_fn(move |request| answer(request, Arc::clone(&seen)));
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                tokio::spawn(async move {
                    drop(
                        builder
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    )
                });
            }
        });
        Self { address, seen }
    }

    pub fn forget_delays(&self) {
        self.seen.lock().longest = Duration::ZERO;
    }

    /// The longest time from a good user's call to the arrival of its event.
    pub fn longest_delay(&self) -> Duration {
        self.seen.lock().longest
    }

    /// Events that good users were told are kept and that never came.
    pub fn missing(&self, tallies: &[&Tally]) -> usize {
        let seen = self.seen.lock();
        tallies
            .iter()
            .flat_map(|tally| &tally.kept)
            .filter(|id| !seen.ids.contains(*id))
            .count()
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let token = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let user = token.strip_prefix("Bearer good-").map(str::to_owned);
    let Ok(body) = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
    else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    if parts.uri.path() == "/report" {
        tokio::time::sleep(REPORT).await;
        return Ok(status(StatusCode::OK));
    }
    Ok(match (user, parts.uri.path()) {
        (_, "/export") => Response::new(Full::new(Bytes::from_static(&EXPORT))),
        (None, _) => status(StatusCode::UNAUTHORIZED),
        (Some(user), _) if user == users::LIMITED => {
            let mut reply = status(StatusCode::TOO_MANY_REQUESTS);
            reply
                .headers_mut()
                .insert(header::RETRY_AFTER, http::HeaderValue::from_static("60"));
            reply
        }
        (Some(_), "/api/progress/summary") => {
            Response::new(Full::new(Bytes::from_static(b"{\"done\":1}")))
        }
        (Some(_), _) => take(&body, &seen),
    })
}

fn take(body: &Bytes, seen: &Mutex<Seen>) -> Response<Full<Bytes>> {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let one = [value.clone()];
    let events = value["events"].as_array().map_or(&one[..], Vec::as_slice);
    let mut seen = seen.lock();
    let mut ids = Vec::with_capacity(events.len());
    for event in events {
        let id = event["clientEventId"]
            .as_str()
            .or_else(|| event["id"].as_str())
            .unwrap_or_default();
        if let Some(sent) = users::sent_at(id) {
            seen.longest = seen
                .longest
                .max(Instant::now().saturating_duration_since(sent));
        }
        seen.ids.insert(id.to_owned());
        ids.push(id.to_owned());
    }
    let reply = json!({ "accepted": ids, "duplicates": [], "failed": [] }).to_string();
    Response::new(Full::new(Bytes::from(reply)))
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(Bytes::from_static(b"{}")));
    *reply.status_mut() = status;
    reply
}
