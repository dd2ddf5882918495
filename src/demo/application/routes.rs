//! Which handler a call is for, and what is checked before it: origin, CSRF, token.

use super::call::Call;
use super::census::Kind;
use super::progress::Topic;
use super::reply::{Content, Reply, Stage};
use super::session::Session;
use super::shared::Shared;
use super::store::Subject;
use super::tokens::Use;
use super::{analytics, auth, progress, reads};
use http::header::AUTHORIZATION;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::SystemTime;

/// What kind of call this is, as the census counts it.
#[must_use]
pub fn kind(call: &Call) -> Kind {
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
#[must_use]
pub fn preflight(call: &Call, allowed: Option<bool>) -> Option<Reply> {
    let preflight = call.method == Method::OPTIONS;
    match allowed {
        Some(true) if preflight => {
            let status = StatusCode::NO_CONTENT;
            Some(Reply {
                status,
                stage: Stage::Body,
                content: Content::Preflight,
                cookies: Vec::new(),
            })
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

/// Answers a call whose body is parsed.
#[must_use]
pub fn handle(shared: &Shared, call: &Call, body: &Value) -> Reply {
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
        Token::Missing => {
            Reply::unauthenticated("No bearer token provided in the Authorization header")
        }
        Token::Of(user) => serve_route(shared, call, &Session::Of(user), body),
    }
}

fn is_service(shared: &Shared, call: &Call) -> bool {
    let given = call
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "));
    given.is_some() && given == shared.options.service_token.as_deref()
}

/// The double submit: any equal pair passes, there is nothing else to compare with.
fn csrf(call: &Call) -> Option<Reply> {
    if !matches!(
        call.method,
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE
    ) {
        return None;
    }
    let (code, message) = match (call.cookie("csrf_token"), call.header("x-csrf-token")) {
        (Some(cookie), Some(header)) if cookie == header => return None,
        (Some(_), Some(_)) => ("csrf_mismatch", "CSRF token mismatch"),
        _ => (
            "csrf_missing",
            "CSRF protection requires both cookie and header token",
        ),
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
    let header = call
        .headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then_some(token.trim())
    });
    let Some(token) = bearer.or_else(|| call.cookie("access_token")) else {
        return Token::Missing;
    };
    let account = shared.tokens.verify(token, Use::Access, SystemTime::now());
    account.map_or(Token::Bad, |account| Token::Of(account.user))
}

/// Routes that work without a token.
fn anonymous(call: &Call) -> bool {
    let analytics = matches!(
        &*call.path,
        "/api/analytics/events" | "/api/analytics/events/batch"
    );
    let catalogue = call.path == "/api/client/courses" && call.parameter("assigned").is_none();
    analytics || catalogue || call.path.starts_with("/api/client/courses/")
}

fn serve_route(shared: &Shared, call: &Call, session: &Session, body: &Value) -> Reply {
    let user = session.user(body).unwrap_or_default();
    match (call.method.as_str(), &*call.path) {
        ("POST", "/api/client/progress/lesson") => {
            progress::single(shared, Subject::Lesson, session, body)
        }
        ("POST", "/api/client/progress/course") => {
            progress::single(shared, Subject::Course, session, body)
        }
        ("POST", "/api/client/assignments/progress") => {
            progress::single(shared, Subject::Assignment, session, body)
        }
        ("POST", "/api/client/progress/batch") => {
            progress::batch(shared, Topic::Progress, session, body)
        }
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
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta \
         charset=\"utf-8\">\n<title>Error</title>\n</head>\n<body>\n<pre>Cannot {} \
         {}</pre>\n</body>\n</html>\n",
        call.method,
        escape(&call.raw_path)
    );
    Reply {
        status: StatusCode::NOT_FOUND,
        stage: Stage::Route,
        content: Content::Html(page),
        cookies: Vec::new(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
