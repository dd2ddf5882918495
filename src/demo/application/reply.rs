//! Answers in the application's dress: the envelope of its JSON bodies and the headers of each
//! stage of its middleware.

use super::call::Call;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    CACHE_CONTROL, CONTENT_TYPE, EXPIRES, HeaderName, HeaderValue, PRAGMA, REFERRER_POLICY,
    SET_COOKIE, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde_json::{Map, Value, json};

/// How far into the middleware a call came; each stage adds its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Refused for its origin.
    Origin,
    /// Answered with CORS and request id, no more: preflights, unreadable bodies.
    Body,
    /// Behind the security headers: `/api/auth`, health, CSRF refusals.
    Guard,
    /// An ordinary route: never to be stored.
    Route,
}

/// An answer before it is dressed.
#[derive(Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// How far the call came.
    pub stage: Stage,
    /// What is said.
    pub content: Content,
    /// Cookies set, whole values.
    pub cookies: Vec<String>,
}

/// What an answer says.
#[derive(Debug)]
pub enum Content {
    /// JSON that gets the envelope.
    Enveloped(Value),
    /// JSON as it is.
    Plain(Value),
    /// The framework's own error page.
    Html(String),
    /// Nothing: a preflight.
    Preflight,
}

impl Reply {
    /// An ordinary answer.
    #[must_use]
    pub fn json(status: StatusCode, body: Value) -> Self {
        Self {
            status,
            stage: Stage::Route,
            content: Content::Enveloped(body),
            cookies: Vec::new(),
        }
    }

    /// 200.
    #[must_use]
    pub fn ok(body: Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// An error that is a sentence or a word.
    #[must_use]
    pub fn error(status: StatusCode, error: &str) -> Self {
        Self::json(status, json!({ "error": error }))
    }

    /// JSON made before the envelope.
    #[must_use]
    pub fn plain(status: StatusCode, stage: Stage, body: Value) -> Self {
        Self {
            status,
            stage,
            content: Content::Plain(body),
            cookies: Vec::new(),
        }
    }

    /// No or a bad token.
    #[must_use]
    pub fn unauthenticated(message: &str) -> Self {
        Self::json(
            StatusCode::UNAUTHORIZED,
            json!({"error": "Authentication required", "message": message}),
        )
    }

    /// Same, answered at another stage.
    #[must_use]
    pub fn at(self, stage: Stage) -> Self {
        Self { stage, ..self }
    }

    /// The response, dressed for this call.
    #[must_use]
    pub fn dress(self, call: &Call, allowed: Option<HeaderValue>) -> Response<Full<Bytes>> {
        let (media, body) = self
            .content
            .bytes(self.status.is_success(), &call.request_id);
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            HeaderName::from_static("x-powered-by"),
            HeaderValue::from_static("Express"),
        );
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        headers.insert(
            HeaderName::from_static("keep-alive"),
            HeaderValue::from_static("timeout=5"),
        );
        if let Some(media) = media {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
        }
        if self.stage >= Stage::Body {
            headers.extend(CORS.map(|(name, value)| (name, HeaderValue::from_static(value))));
            headers.extend(allowed.map(|origin| (ACCESS_CONTROL_ALLOW_ORIGIN, origin)));
            // A preflight is answered before a request id is given.
            let id = HeaderValue::try_from(&*call.request_id)
                .ok()
                .filter(|_| media.is_some());
            headers.extend(id.map(|id| (HeaderName::from_static("x-request-id"), id)));
            let missing = call.cookie("csrf_token").is_none() && media.is_some();
            let copies = if missing { call.csrf_copies() } else { 0 };
            let csrf = (0..copies).map(|_| call.set_cookie("csrf_token", &token(), 86_400, false));
            let cookies = csrf
                .chain(self.cookies)
                .filter_map(|cookie| HeaderValue::try_from(cookie).ok());
            headers.extend(cookies.map(|cookie| (SET_COOKIE, cookie)));
        }
        if media.is_none() {
            headers.extend(PREFLIGHT.map(|(name, value)| (name, HeaderValue::from_static(value))));
        }
        if self.stage >= Stage::Guard {
            headers.extend(SECURITY.map(|(name, value)| (name, HeaderValue::from_static(value))));
        }
        if self.stage >= Stage::Route {
            headers.extend(NO_STORE.map(|(name, value)| (name, HeaderValue::from_static(value))));
        }
        response
    }
}

fn token() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

const CORS: [(HeaderName, &str); 2] = [
    (ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"),
    (
        ACCESS_CONTROL_EXPOSE_HEADERS,
        "Content-Type, X-Request-Id, X-CSRF-Token, Set-Cookie",
    ),
];

const PREFLIGHT: [(HeaderName, &str); 3] = [
    (
        ACCESS_CONTROL_ALLOW_METHODS,
        "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    ),
    (
        ACCESS_CONTROL_ALLOW_HEADERS,
        "Content-Type, Authorization, X-Requested-With, X-Org-Id, X-Organization-Id, X-User-Role, \
         X-User-Id, X-CSRF-Token, X-Request-Id",
    ),
    (ACCESS_CONTROL_MAX_AGE, "86400"),
];

const SECURITY: [(HeaderName, &str); 4] = [
    (X_FRAME_OPTIONS, "SAMEORIGIN"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_XSS_PROTECTION, "1; mode=block"),
    (REFERRER_POLICY, "strict-origin-when-cross-origin"),
];

const NO_STORE: [(HeaderName, &str); 3] = [
    (
        CACHE_CONTROL,
        "no-store, no-cache, must-revalidate, max-age=0",
    ),
    (PRAGMA, "no-cache"),
    (EXPIRES, "0"),
];

impl Content {
    fn bytes(self, success: bool, request_id: &str) -> (Option<&'static str>, Bytes) {
        const JSON: Option<&str> = Some("application/json; charset=utf-8");
        match self {
            Self::Enveloped(Value::Object(body)) => (
                JSON,
                text(&Value::Object(envelope(body, success, request_id))),
            ),
            Self::Enveloped(body) | Self::Plain(body) => (JSON, text(&body)),
            Self::Html(page) => (Some("text/html; charset=utf-8"), page.into()),
            Self::Preflight => (None, Bytes::new()),
        }
    }
}

fn text(body: &Value) -> Bytes {
    body.to_string().into()
}

/// Fills in what is missing of `ok`, `data`, `code`, `message` and `meta`; a body that has all five
/// stays as it is.
fn envelope(mut body: Map<String, Value>, success: bool, request_id: &str) -> Map<String, Value> {
    if ["ok", "data", "code", "message", "meta"]
        .iter()
        .all(|name| body.contains_key(*name))
    {
        return body;
    }
    let error = body.get("error").cloned().unwrap_or(Value::Null);
    if !body.contains_key("data") {
        let data = if success { payload(&body) } else { Value::Null };
        body.insert("data".into(), data);
    }
    body.entry("ok").or_insert(success.into());
    body.entry("code").or_insert_with(|| error.clone());
    body.entry("message").or_insert(error);
    let meta = body.entry("meta").or_insert_with(|| json!({}));
    if let Value::Object(meta) = meta {
        meta.insert("requestId".into(), request_id.into());
    }
    body
}

/// The only field, or everything.
fn payload(body: &Map<String, Value>) -> Value {
    let mut fields = body
        .iter()
        .filter(|(name, _)| *name != "ok" && *name != "message");
    match (fields.next(), fields.next()) {
        (Some((_, only)), None) => only.clone(),
        _ => Value::Object(body.clone()),
    }
}
