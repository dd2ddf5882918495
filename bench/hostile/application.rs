//! The application behind the sidecar, in a process of its own (this binary once more): takes
//! batches and single events of users that it knows, answers 401 to everybody else and 429 to one
//! user, and has a large export and a report that takes its time. It is asked over stdin what came.

use super::users::{self, Tally};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;

/// Between the priority of the sidecar and that of the attackers.
pub const NICE: i32 = 10;
/// Set in the application's process.
const ROLE: &str = "TIDEGATE_HOSTILE_APPLICATION";
/// What it is asked, a line each: to forget the delays, for the longest in microseconds, and for
/// the ids that came, a line each with an empty one at the end.
const FORGET: &str = "forget";
const LONGEST: &str = "longest";
const IDS: &str = "ids";

/// The export is this piece, over and over: made once, so that it costs the application nothing.
/// One of 8 MiB would be one write, for whose 17 to 35 ms (`perf sched`) no other thread gets this
/// processor, whatever the priorities; frameworks write pieces of such a size.
static PIECE: [u8; 64 << 10] = [b'x'; 64 << 10];
const PIECES: usize = 128;

/// How long the report takes.
const REPORT: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Seen {
    ids: HashSet<String>,
    longest: Duration,
}

/// Is this the application's process?
pub fn is_this() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Serves until stdin closes. Its first line is its address.
pub async fn serve() -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let seen = Arc::<Mutex<Seen>>::default();
    tokio::spawn(accept(listener, Arc::clone(&seen)));
    let asked = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lines() {
            let said = seen.lock().tell(&line.expect("a question"));
            std::io::stdout()
                .write_all(said.as_bytes())
                .expect("a reader");
        }
    });
    asked.await.expect("a thread");
    true
}

impl Seen {
    fn tell(&mut self, asked: &str) -> String {
        match asked {
            FORGET => {
                self.longest = Duration::ZERO;
                "forgotten\n".to_owned()
            }
            LONGEST => format!("{}\n", self.longest.as_micros()),
            IDS => {
                self.ids
                    .iter()
                    .map(|id| format!("{id}\n"))
                    .collect::<String>()
                    + "\n"
            }
            other => panic!("{other} isn't a question"),
        }
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Seen>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
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
}

/// The running application, seen from the process that judges.
#[derive(Debug)]
pub struct Application {
    pub address: SocketAddr,
    child: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Application {
    pub fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary"))
            .env(ROLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let asks = child.stdin.take().expect("its stdin");
        let mut says = BufReader::new(child.stdout.take().expect("its stdout"));
        let mut address = String::new();
        says.read_line(&mut address).expect("its address");
        Self {
            address: address.trim().parse().expect("an address"),
            child,
            asks,
            says,
        }
    }

    fn ask(&mut self, what: &str) -> String {
        writeln!(self.asks, "{what}").expect("a listener");
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).expect("an answer");
        line.trim_end().to_owned()
    }

    pub fn forget_delays(&mut self) {
        self.ask(FORGET);
    }

    /// The longest time from a good user's call to the arrival of its event.
    pub fn longest_delay(&mut self) -> Duration {
        Duration::from_micros(self.ask(LONGEST).parse().expect("microseconds"))
    }

    /// Ends it; how many events never came of those that good users were told are kept.
    pub fn end(mut self, tallies: &[&Tally]) -> usize {
        let mut seen = HashSet::new();
        let mut id = self.ask(IDS);
        while !id.is_empty() {
            seen.insert(id);
            id = self.line();
        }
        drop((self.asks, self.says));
        self.child.wait().expect("its end");
        tallies
            .iter()
            .flat_map(|tally| &tally.kept)
            .filter(|id| !seen.contains(*id))
            .count()
    }
}

/// An answer's body.
#[derive(Debug)]
enum Reply {
    Whole(Full<Bytes>),
    /// So many pieces are left.
    Export(usize),
}

impl Reply {
    fn whole(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Export(0) => Poll::Ready(None),
            Self::Export(left) => {
                *left -= 1;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE)))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Export(left) => SizeHint::with_exact((left * PIECE.len()) as u64),
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Seen>>,
) -> Result<Response<Reply>, Infallible> {
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
        (_, "/export") => Response::new(Reply::Export(PIECES)),
        (None, _) => status(StatusCode::UNAUTHORIZED),
        (Some(user), _) if user == users::LIMITED => {
            let mut reply = status(StatusCode::TOO_MANY_REQUESTS);
            reply
                .headers_mut()
                .insert(header::RETRY_AFTER, http::HeaderValue::from_static("60"));
            reply
        }
        (Some(_), "/api/progress/summary") => {
            Response::new(Reply::whole(Bytes::from_static(b"{\"done\":1}")))
        }
        (Some(_), _) => take(&body, &seen),
    })
}

fn take(body: &Bytes, seen: &Mutex<Seen>) -> Response<Reply> {
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
            let took = SystemTime::now().duration_since(sent);
            seen.longest = seen.longest.max(took.unwrap_or_default());
        }
        seen.ids.insert(id.to_owned());
        ids.push(id.to_owned());
    }
    let reply = json!({ "accepted": ids, "duplicates": [], "failed": [] }).to_string();
    Response::new(Reply::whole(Bytes::from(reply)))
}

fn status(status: StatusCode) -> Response<Reply> {
    let mut reply = Response::new(Reply::whole(Bytes::from_static(b"{}")));
    *reply.status_mut() = status;
    reply
}
