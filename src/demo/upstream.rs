//! The reference upstream: a small server that answers like the application of the recorded exchanges in its in-memory
//! profile with CSRF on, and counts what it sees.
//!
//! Order of a call, as in the application: origin, body, `/api/auth`, CSRF, token, route. So a bad origin is refused
//! before CSRF, CSRF before a missing token, and unreadable JSON before both. A service that has the service credential
//! is no browser: CSRF doesn't concern it, and it speaks for the users that its events name. Left out: WebSocket, SSE, uploads, the
//! limit on failed logins, the general per-address limit (loopback is exempt from it), the CSRF bypass header.

pub mod account;
pub mod analytics;
pub mod auth;
pub mod call;
pub mod census;
pub mod progress;
pub mod reads;
pub mod reply;
pub mod store;
pub mod tokens;

use bytes::Bytes;
use call::Call;
use census::{Census, Kind, SERVICE};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, HeaderValue, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use progress::Topic;
use reply::{Content, Reply, Stage};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use store::{Store, Subject};
use tokens::{Tokens, Use};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Largest JSON body.
const MAX_BODY: usize = 25 * 1024 * 1024;
/// The application closes an idle connection after this, though its `Keep-Alive` says 5 s.
const IDLE: Duration = Duration::from_secs(6);

/// How the upstream behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Factor by which its rate limit is raised, for learners on a faster clock.
    pub speed: u32,
    /// Life of an access token.
    pub token_life: Duration,
    /// Allowed origins, lower case.
    pub origins: Vec<Box<str>>,
    /// Whether it takes a real server's time to answer.
    pub latency: bool,
    /// The token of a trusted service.
    pub service_token: Option<String>,
}

/// What all handlers share.
pub struct Shared {
    options: Options,
    tokens: Tokens,
    census: Census,
    /// A plain lock: handlers hold it for one batch at most, never across a wait.
    store: Mutex<Store>,
}

/// The running upstream. Dropping it cuts its connections.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
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
        let shared = Arc::new(Shared { options, tokens, census: Census::default(), store: Mutex::default() });
        let stop = CancellationToken::new();
        drop(tokio::spawn(accept(listener, Arc::clone(&shared), stop.clone())));
        Ok(Self { address, shared, stop })
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

/// The time as the application writes it.
#[must_use]
pub fn now_iso() -> String {
    let milliseconds = i64::try_from(crate::clock::millis(SystemTime::now())).unwrap_or(0);
    let stamp = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{stamp:.3}")
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

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let call = Call::new(parts);
    let kind = kind(&call);
    shared.census.call(kind);
    let origin = call.header("origin").map(str::to_ascii_lowercase);
    let allowed = origin.as_deref().map(|origin| shared.options.origins.iter().any(|known| **known == *origin));
    let reply = match preflight(&call, allowed) {
        Some(reply) => reply,
        None => route(&shared, &call, kind, body).await,
    };
    if reply.status.as_u16() >= 400 {
        shared.census.refusal();
    }
    let echo = call.headers.get(ORIGIN).and_then(|_| HeaderValue::try_from(origin?).ok());
    Ok(reply.dress(&call, echo))
}

fn kind(call: &Call) -> Kind {
    match (call.method.as_str(), &*call.path) {
        (_, path) if path.starts_with("/api/auth/") => Kind::Auth,
        (
            "POST",
            "/api/client/progress/lesson"
            | "/api/client/progress/course"
            | "/api/client/assignments/progress"
            | "/api/analytics/events",
        ) => Kind::Single,
        ("POST", "/api/learner/progress") => Kind::Snapshot,
        ("POST", "/api/client/progress/batch") => Kind::ProgressBatch,
        ("POST", "/api/analytics/events/batch") => Kind::AnalyticsBatch,
        ("POST", "/api/client/assignments/progress/batch") => Kind::AssignmentBatch,
        ("GET", _) => Kind::Read,
        _ => Kind::Other,
    }
}

/// Answers preflights, and refuses an origin that is not allowed before anything else.
fn preflight(call: &Call, allowed: Option<bool>) -> Option<Reply> {
    let preflight = call.method == Method::OPTIONS;
    match allowed {
        Some(true) if preflight => {
            let status = StatusCode::NO_CONTENT;
            Some(Reply { status, stage: Stage::Body, content: Content::Preflight, cookies: Vec::new() })
        }
        None if !preflight => None,
        Some(true) => None,
        _ => {
            let message = "The requested origin is not allowed.";
            let body = json!({"ok": false, "error": "origin_not_allowed", "message": message});
            Some(Reply::plain(StatusCode::FORBIDDEN, Stage::Origin, body))
        }
    }
}

async fn route(shared: &Shared, call: &Call, kind: Kind, body: Incoming) -> Reply {
    let coded = call.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    let refuse = |status, message: &str| {
        let body = json!({"ok": false, "code": "internal_error", "message": message, "requestId": call.request_id});
        Reply::plain(status, Stage::Body, body)
    };
    if coded {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported content encoding");
    }
    let Ok(bytes) = Limited::new(body, MAX_BODY).collect().await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "request entity too large");
    };
    let body = match call.body(&bytes.to_bytes()) {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    // Half of the time passes before the call takes effect, half between that and its answer.
    let pause = if shared.options.latency { pause(kind, &body) } else { Duration::ZERO };
    tokio::time::sleep(pause / 2).await;
    let reply = handle(shared, call, &body);
    tokio::time::sleep(pause / 2).await;
    reply
}

/// A few milliseconds, one more for each event of a batch, and a password hash's worth for a login.
fn pause(kind: Kind, body: &Value) -> Duration {
    let events = progress::events(body).map_or(0, <[Value]>::len);
    let base = fastrand::u64(3_000..6_000) + 1_000 * u64::try_from(events).unwrap_or(0);
    Duration::from_micros(if kind == Kind::Auth { base + 15_000 } else { base })
}

fn handle(shared: &Shared, call: &Call, body: &Value) -> Reply {
    match (call.method.as_str(), &*call.path) {
        ("POST", "/api/auth/login") => return auth::login(shared, call, body),
        ("POST", "/api/auth/refresh") => return auth::refresh(shared, call, body),
        ("POST", "/api/auth/logout") => return auth::logout(call),
        ("GET", "/api/health") => return Reply::ok(json!({"status": "ok"})).at(Stage::Guard),
        _ => {}
    }
    if is_service(shared, call) {
        return serve_route(shared, call, &Session::Service, body);
    }
    if let Some(refusal) = csrf(call) {
        return refusal;
    }
    match token(shared, call) {
        Token::Bad => Reply::unauthenticated("Invalid or expired token"),
        Token::Missing if anonymous(call) => serve_route(shared, call, &Session::Anonymous, body),
        Token::Missing => Reply::unauthenticated("No bearer token provided in the Authorization header"),
        Token::Of(user) => serve_route(shared, call, &Session::Of(user), body),
    }
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// Nobody who is known.
    Anonymous,
    /// A user.
    Of(Box<str>),
    /// The trusted service.
    Service,
}

impl Session {
    /// What the census knows its token as.
    #[must_use]
    pub fn token(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Of(user) => user,
            Self::Service => SERVICE,
        }
    }

    /// Whose session it is; the service speaks for the user that the body names.
    #[must_use]
    pub fn user<'a>(&'a self, body: &'a Value) -> Option<&'a str> {
        match self {
            Self::Anonymous => None,
            Self::Of(user) => Some(user),
            Self::Service => progress::text(body, &["user_id", "userId"]),
        }
    }
}

fn is_service(shared: &Shared, call: &Call) -> bool {
    let given = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    given.is_some() && given == shared.options.service_token.as_deref()
}

/// The double submit: any equal pair passes, there is nothing else to compare with.
fn csrf(call: &Call) -> Option<Reply> {
    if !matches!(call.method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE) {
        return None;
    }
    let (code, message) = match (call.cookie("csrf_token"), call.header("x-csrf-token")) {
        (Some(cookie), Some(header)) if cookie == header => return None,
        (Some(_), Some(_)) => ("csrf_mismatch", "CSRF token mismatch"),
        _ => ("csrf_missing", "CSRF protection requires both cookie and header token"),
    };
    let body = json!({"ok": false, "data": null, "code": code, "message": message, "meta": null});
    Some(Reply::json(StatusCode::FORBIDDEN, body).at(Stage::Guard))
}

enum Token {
    Of(Box<str>),
    Missing,
    Bad,
}

/// A Bearer token counts even if it is bad; another scheme is ignored and the cookie used.
fn token(shared: &Shared, call: &Call) -> Token {
    let header = call.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let Some(token) = bearer.or_else(|| call.cookie("access_token")) else { return Token::Missing };
    let account = shared.tokens.verify(token, Use::Access, SystemTime::now());
    account.map_or(Token::Bad, |account| Token::Of(account.user))
}

/// Routes that work without a token.
fn anonymous(call: &Call) -> bool {
    let analytics = matches!(&*call.path, "/api/analytics/events" | "/api/analytics/events/batch");
    let catalogue = call.path == "/api/client/courses" && call.parameter("assigned").is_none();
    analytics || catalogue || call.path.starts_with("/api/client/courses/")
}

fn serve_route(shared: &Shared, call: &Call, session: &Session, body: &Value) -> Reply {
    let user = session.user(body).unwrap_or_default();
    match (call.method.as_str(), &*call.path) {
        ("POST", "/api/client/progress/lesson") => progress::single(shared, Subject::Lesson, session, body),
        ("POST", "/api/client/progress/course") => progress::single(shared, Subject::Course, session, body),
        ("POST", "/api/client/assignments/progress") => progress::single(shared, Subject::Assignment, session, body),
        ("POST", "/api/client/progress/batch") => progress::batch(shared, Topic::Progress, session, body),
        ("POST", "/api/client/assignments/progress/batch") => {
            progress::batch(shared, Topic::Assignments, session, body)
        }
        ("POST", "/api/learner/progress") => progress::snapshot(shared, call, session, body),
        ("POST", "/api/analytics/events") => analytics::single(shared, call, session, body),
        ("POST", "/api/analytics/events/batch") => analytics::batch(shared, session, body),
        ("GET", "/api/analytics/events") => analytics::list(shared, call),
        ("GET", "/api/learner/progress") => reads::lesson_progress(shared, call, user),
        ("GET", "/api/client/progress/summary") => reads::summary(shared, user),
        ("GET", "/api/client/courses") => reads::courses(call),
        ("GET", path) => match path.strip_prefix("/api/client/courses/") {
            Some(id) if !id.contains('/') => reads::one_course(call, id),
            _ => unknown(call),
        },
        _ => unknown(call),
    }
}

fn unknown(call: &Call) -> Reply {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Error</title>\n</head>\n<body>\n<pre>Cannot {} {}</pre>\n</body>\n</html>\n",
        call.method,
        escape(&call.raw_path)
    );
    Reply { status: StatusCode::NOT_FOUND, stage: Stage::Route, content: Content::Html(page), cookies: Vec::new() }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
