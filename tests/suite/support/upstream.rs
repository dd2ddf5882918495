//! An upstream that does what a test tells it, and remembers everything that it was asked.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub version: Version,
    /// The client's end of the connection over which it came.
    pub from: SocketAddr,
    /// With `host` also over HTTP/2.
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// Ids of a batch's events, in order.
    pub fn ids(&self) -> Vec<String> {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["clientEventId"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// An answer, or [`hang_up`].
pub type Reply = Response<Full<Bytes>>;

type Answerer = Box<dyn FnMut(&Seen) -> Option<Reply> + Send>;
type Meant = Box<dyn Fn(&Seen) -> bool + Send>;

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    /// Requests are not remembered: there will be too many.
    forgets: bool,
    script: VecDeque<Reply>,
    answerer: Option<Answerer>,
    /// Whom the gate holds; none: everybody.
    held_back: Option<Meant>,
}

/// The upstream. Without a script it takes every event of a batch, and answers other calls with 200
/// and a counter.
#[derive(Clone)]
pub struct FakeUpstream {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    came: Arc<Notify>,
    gate: Arc<Semaphore>,
    held: Arc<AtomicUsize>,
    /// Calls on one connection over HTTP/2 at once.
    streams: Arc<AtomicU32>,
}

/// An answer with a JSON body.
pub fn answer(status: u16, body: Value) -> Reply {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    response
}

/// Answers each head that comes with these bytes, and reads no body.
pub async fn answer_heads(mut stream: TcpStream, answer: impl Fn(&str) -> &'static str) {
    let (mut head, mut byte) = (String::new(), [0]);
    while matches!(stream.read(&mut byte).await, Ok(1)) {
        head.push(char::from(byte[0]));
        if head.ends_with("\r\n\r\n") {
            let text = answer(&head);
            head.clear();
            drop(stream.write_all(text.as_bytes()).await);
        }
    }
}

/// Marks an answer that is never given.
#[derive(Clone)]
struct HangUp;

/// No answer: the connection is closed.
pub fn hang_up() -> Reply {
    let mut response = Response::default();
    response.extensions_mut().insert(HangUp);
    response
}

impl FakeUpstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::default(),
            came: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            held: Arc::default(),
            streams: Arc::new(AtomicU32::new(200)),
        };
        let copy = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let fake = copy.clone();
                let service = service_fn(move |request| fake.clone().handle(request, from));
                let streams = copy.streams.load(Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut server = auto::Builder::new(TokioExecutor::new());
                    server.http2().max_concurrent_streams(streams);
                    // A client may go at any moment.
                    drop(
                        server
                            .serve_connection_with_upgrades(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        fake
    }

    async fn handle(self, request: Request<Incoming>, from: SocketAddr) -> io::Result<Reply> {
        let (mut head, body) = request.into_parts();
        if let (Version::HTTP_2, Some(authority)) = (head.version, head.uri.authority()) {
            let host = authority.as_str().parse().unwrap();
            assert!(
                head.headers.insert("host", host).is_none(),
                "both host and :authority"
            );
        }
        let body = body
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        let path = head.uri.path_and_query().unwrap().as_str().to_owned();
        let seen = Seen {
            method: head.method,
            path,
            version: head.version,
            from,
            headers: head.headers,
            body,
        };
        let (answer, waits) = {
            let mut state = self.state.lock().unwrap();
            if !state.forgets {
                state.seen.push(seen.clone());
            }
            let count = state.seen.len();
            let scripted = state.answerer.as_mut().and_then(|answerer| answerer(&seen));
            let waits = state.held_back.as_ref().is_none_or(|meant| meant(&seen));
            (
                scripted
                    .or_else(|| state.script.pop_front())
                    .unwrap_or_else(|| default(&seen, count)),
                waits,
            )
        };
        self.held.fetch_add(1, Ordering::SeqCst);
        self.came.notify_waiters();
        // Held until the test opens the gate.
        if waits {
            drop(self.gate.acquire().await.unwrap());
        }
        self.held.fetch_sub(1, Ordering::SeqCst);
        if answer.extensions().get::<HangUp>().is_some() {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(answer)
        }
    }

    /// Connections from now on carry so many calls at once over HTTP/2.
    pub fn limit_streams(&self, streams: u32) {
        self.streams.store(streams, Ordering::SeqCst);
    }

    /// Requests are not remembered from now on.
    pub fn forget(&self) {
        self.state.lock().unwrap().forgets = true;
    }

    /// The next answers, in order.
    pub fn script(&self, answers: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().script.extend(answers);
    }

    /// Answers as this says; `None` falls back to the script and the default.
    pub fn answer_with(&self, answerer: impl FnMut(&Seen) -> Option<Reply> + Send + 'static) {
        self.state.lock().unwrap().answerer = Some(Box::new(answerer));
    }

    /// Requests are taken from now on, but not answered.
    pub fn close_gate(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Requests that this says are taken from now on, but not answered; all others are.
    pub fn hold_back(&self, meant: impl Fn(&Seen) -> bool + Send + 'static) {
        self.state.lock().unwrap().held_back = Some(Box::new(meant));
        self.close_gate();
    }

    /// Everything that waits is answered.
    pub fn open_gate(&self) {
        self.gate.add_permits(1_000);
    }

    /// Paths of what has come so far.
    pub fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    /// Requests that arrived and are not answered yet.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::SeqCst)
    }

    /// Everything that arrived so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Ids of the batches that arrived so far.
    pub fn batches(&self) -> Vec<Vec<String>> {
        self.seen()
            .iter()
            .filter(|seen| seen.path == "/batch")
            .map(Seen::ids)
            .collect()
    }

    /// Waits until requests have arrived that satisfy this.
    pub async fn until(&self, wanted: impl Fn(&[Seen]) -> bool) {
        let reached = async {
            loop {
                let notified = self.came.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if wanted(&self.seen()) {
                    return;
                }
                notified.await;
            }
        };
        super::in_time("requests at the upstream", reached).await;
    }
}

fn default(seen: &Seen, count: usize) -> Reply {
    if seen.path == "/batch" {
        return answer(
            200,
            json!({ "accepted": seen.ids(), "duplicates": [], "failed": [] }),
        );
    }
    answer(200, json!({ "count": count, "path": seen.path }))
}
