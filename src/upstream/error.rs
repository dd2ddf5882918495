//! Why the application gave no answer, in the words of RFC 9209.

use super::reserve::Full;
use http::StatusCode;
use hyper_util::client::legacy::Error;
use std::error::Error as _;

/// No answer from the application.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No program listens there, or the network says no.
    #[error("the connection was refused: {0}")]
    ConnectionRefused(String),
    /// `upstream.connect_timeout`.
    #[error("no connection in time")]
    ConnectionTimeout,
    /// `upstream.max_connections`: none was free in `upstream.connect_timeout`.
    #[error("all connections to the application are in use, or this client's share of them")]
    ConnectionLimit,
    /// `upstream.response_timeout`.
    #[error("no response head in time")]
    ResponseTimeout,
    /// The connection ended before the response's head.
    #[error("the connection ended without a response: {0}")]
    ConnectionTerminated(String),
    /// What came was no HTTP.
    #[error("the response is no HTTP: {0}")]
    ProtocolError(String),
    /// The request's own body failed halfway: the client went away or sent nonsense.
    #[error("the request's body ended early: {0}")]
    RequestBody(String),
    /// `server.stall_timeout`: its client was waited for and brought too little.
    #[error("the request's body came too slowly")]
    RequestStalled,
    /// The request has a target that can't be forwarded.
    #[error("the request target can't be forwarded")]
    BadTarget,
}

impl UpstreamError {
    /// The status that the client gets.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::ConnectionTimeout | Self::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::RequestBody(_) | Self::BadTarget => StatusCode::BAD_REQUEST,
            Self::RequestStalled => StatusCode::REQUEST_TIMEOUT,
            Self::ConnectionLimit => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// The error type of `Proxy-Status` (RFC 9209 §2.3).
    #[must_use]
    pub const fn proxy_error(&self) -> &'static str {
        match self {
            Self::ConnectionRefused(_) => "connection_refused",
            Self::ConnectionTimeout => "connection_timeout",
            Self::ConnectionLimit => "connection_limit_reached",
            Self::ResponseTimeout => "http_response_timeout",
            Self::ConnectionTerminated(_) => "connection_terminated",
            Self::ProtocolError(_) => "http_protocol_error",
            Self::RequestBody(_) | Self::RequestStalled | Self::BadTarget => "http_request_error",
        }
    }

    /// Whether the application may have seen the request.
    #[must_use]
    pub const fn may_have_arrived(&self) -> bool {
        !matches!(
            self,
            Self::ConnectionRefused(_)
                | Self::ConnectionTimeout
                | Self::ConnectionLimit
                | Self::BadTarget
        )
    }

    fn from_client(error: &Error) -> Self {
        if has(error, |_: &Full| true) {
            return Self::ConnectionLimit;
        }
        let text = chain(error);
        let timed_out = has(error, |io: &std::io::Error| {
            io.kind() == std::io::ErrorKind::TimedOut
        });
        if error.is_connect() {
            return if timed_out {
                Self::ConnectionTimeout
            } else {
                Self::ConnectionRefused(text)
            };
        }
        if has(error, hyper::Error::is_user) {
            return Self::RequestBody(text);
        }
        if has(error, |error: &hyper::Error| {
            error.is_parse() && !error.is_incomplete_message()
        }) {
            return Self::ProtocolError(text);
        }
        Self::ConnectionTerminated(text)
    }
}

impl From<Full> for UpstreamError {
    fn from(_: Full) -> Self {
        Self::ConnectionLimit
    }
}

/// Why a request got no answer on its connection.
pub(super) enum Failure {
    Client(Error),
    Timeout,
    /// Its client brought too little of the body.
    Stalled,
}

impl From<Failure> for UpstreamError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Client(error) => Self::from_client(&error),
            Failure::Timeout => Self::ResponseTimeout,
            Failure::Stalled => Self::RequestStalled,
        }
    }
}

fn has<E: std::error::Error + 'static>(
    error: &(dyn std::error::Error + 'static),
    holds: impl Fn(&E) -> bool,
) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<E>().is_some_and(&holds) {
            return true;
        }
        next = error.source();
    }
    false
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
