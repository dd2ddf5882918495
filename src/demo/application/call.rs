//! A call as the handlers see it: headers looked up, body parsed.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, HeaderMap};
use http::{Method, request::Parts};
use serde_json::{Value, json};
use std::time::SystemTime;

/// One call.
#[derive(Debug)]
pub struct Call {
    /// Method; HEAD is a GET here.
    pub method: Method,
    /// Lower case, without a trailing slash: the application matches either way.
    pub path: String,
    /// The path as it came.
    pub raw_path: String,
    /// Query, undecoded.
    pub query: String,
    /// Headers.
    pub headers: HeaderMap,
    /// `X-Request-Id`, or a new one.
    pub request_id: String,
}

/// A body that the parser refuses, in its words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

impl Call {
    /// From a request's head.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let raw_path = parts.uri.path().to_owned();
        let path = raw_path.to_ascii_lowercase();
        let path = path.strip_suffix('/').map_or(path.clone(), str::to_owned);
        let method = if parts.method == Method::HEAD {
            Method::GET
        } else {
            parts.method
        };
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let given = parts
            .headers
            .get("x-request-id")
            .and_then(|id| id.to_str().ok())
            .filter(|id| !id.is_empty());
        let request_id = given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned);
        Self {
            method,
            path,
            raw_path,
            query,
            headers: parts.headers,
            request_id,
        }
    }

    /// A header's text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A cookie's value; the first of a name wins.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self
            .headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok());
        let mut pairs = lines
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        pairs
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }

    /// A query parameter, percent-decoded where it has to be.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value.replace("%2C", ",").replace("%2c", ","))
    }

    /// The body as the framework's parser gives it: only `application/json` is parsed, anything
    /// else is empty.
    ///
    /// # Errors
    /// It is no JSON object or array.
    pub fn body(&self, bytes: &Bytes) -> Result<Value, Unreadable> {
        let media = self
            .headers
            .get(CONTENT_TYPE)
            .and_then(|media| media.to_str().ok())
            .unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/json") || bytes.is_empty() {
            return Ok(json!({}));
        }
        match serde_json::from_slice(bytes) {
            Ok(body @ (Value::Object(_) | Value::Array(_))) => Ok(body),
            Ok(_) => Err(Unreadable(
                "Unexpected token in JSON at position 0".to_owned(),
            )),
            Err(error) if error.is_eof() => {
                Err(Unreadable("Unexpected end of JSON input".to_owned()))
            }
            Err(error) => Err(Unreadable(format!("Unexpected token in JSON: {error}"))),
        }
    }

    /// How many CSRF cookies a call without one is given: two middlewares do so on ordinary routes.
    #[must_use]
    pub fn csrf_copies(&self) -> usize {
        if self.path.starts_with("/api/auth/") || self.path.starts_with("/api/health") {
            1
        } else {
            2
        }
    }

    /// A `Set-Cookie` value with the attributes that this host gets.
    #[must_use]
    pub fn set_cookie(&self, name: &str, value: &str, seconds: u64, http_only: bool) -> String {
        let expires =
            httpdate::fmt_http_date(SystemTime::now() + std::time::Duration::from_secs(seconds));
        let hidden = if http_only { "; HttpOnly" } else { "" };
        let site = if self.is_loopback() {
            "; SameSite=Lax"
        } else {
            "; Secure; SameSite=None"
        };
        format!("{name}={value}; Max-Age={seconds}; Path=/; Expires={expires}{hidden}{site}")
    }

    fn is_loopback(&self) -> bool {
        let host = self
            .headers
            .get(HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default();
        host.starts_with("127.0.0.1") || host.starts_with("localhost") || host.starts_with("[::1]")
    }
}
