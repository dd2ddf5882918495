//! Why the application gave no answer, in the words of RFC 9209.

use super::link::Link;
use super::reserve::Full;
use super::tls::{self, HandshakeError};
use http::StatusCode;
use hyper_util::client::legacy::Error;

/// No answer from the application.
#[derive(Debug, Clone, thiserror::Error)]
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
    /// Its TLS handshake failed.
    #[error(transparent)]
    Tls(HandshakeError),
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

    /// What a client reads: addresses and the network's own words are for the log.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::ConnectionRefused(_) => "the application can't be reached".to_owned(),
            Self::ConnectionTerminated(_) => "the connection ended without a response".to_owned(),
            Self::ProtocolError(_) => "the response is no HTTP".to_owned(),
            Self::RequestBody(_) => "the request's body ended early".to_owned(),
            Self::Tls(error) => format!("the TLS handshake failed, {}", error.fault.as_str()),
            other => other.to_string(),
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
            Self::Tls(error) => error.fault.proxy_error(),
            Self::ProtocolError(_) => "http_protocol_error",
            Self::RequestBody(_) | Self::RequestStalled | Self::BadTarget => "http_request_error",
        }
    }

    /// The application can't be reached.
    #[must_use]
    pub const fn is_unreached(&self) -> bool {
        !self.may_have_arrived() && !matches!(self, Self::BadTarget)
    }

    /// Whether the application may have seen the request.
    #[must_use]
    pub const fn may_have_arrived(&self) -> bool {
        !matches!(
            self,
            Self::ConnectionRefused(_)
                | Self::ConnectionTimeout
                | Self::ConnectionLimit
                | Self::Tls(_)
                | Self::BadTarget
        )
    }

    fn from_client(error: &Error) -> Self {
        if error.is_connect() {
            return Self::from_connector(error);
        }
        Self::from_connection(error)
    }

    /// No connection could be opened.
    pub(super) fn from_connector(error: &(dyn std::error::Error + 'static)) -> Self {
        if has(error, |_: &Full| true) {
            return Self::ConnectionLimit;
        }
        if let Some(failed) = find(error, |failed: &HandshakeError| Some(failed.clone())) {
            return Self::Tls(failed);
        }
        let timed_out = has(error, |io: &std::io::Error| {
            io.kind() == std::io::ErrorKind::TimedOut
        });
        if timed_out {
            Self::ConnectionTimeout
        } else {
            Self::ConnectionRefused(chain(error))
        }
    }

    /// A connection that was open gave no answer.
    pub(super) fn from_connection(error: &(dyn std::error::Error + 'static)) -> Self {
        let text = chain(error);
        if has(error, hyper::Error::is_user) {
            return Self::RequestBody(text);
        }
        // ORDER: after what is the client's: its connection has TLS of its own.
        if let Some(refusal) = tls::find_refusal(error) {
            return Self::Tls(refusal);
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
#[derive(Debug)]
pub(super) enum Failure {
    Client(Error),
    /// Over HTTP/2; the connection may have answered before.
    Http2 {
        error: hyper::Error,
        has_answered: bool,
    },
    /// Nothing was sent.
    Unsent(UpstreamError),
    Timeout,
    /// Its client brought too little of the body.
    Stalled,
}

/// An HTTP/2 connection has ended, and not only a stream of it.
pub(super) fn is_of_connection(error: &hyper::Error) -> bool {
    let has_ended = error.is_closed()
        || error.is_canceled()
        || has(error, |_: &std::io::Error| true)
        || has(error, h2::Error::is_go_away);
    has_ended && !error.is_user()
}

/// The application has said that it didn't process the request, which may be sent again whatever it
/// asks for (RFC 9113 §8.7).
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    // A GOAWAY is the error of those streams only that are above its last one.
    let is_refused = |error: &h2::Error| {
        error.is_remote()
            && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    };
    has(error, is_refused) || wants_http1(error)
}

/// The application takes the request over HTTP/1.1 only (RFC 9113 §7, HTTP_1_1_REQUIRED), as some do
/// whose callers prove themselves by their connection.
pub(super) fn wants_http1(error: &hyper::Error) -> bool {
    has(error, |error: &h2::Error| {
        error.is_remote()
            && (error.is_reset() || error.is_go_away())
            && error.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED)
    })
}

impl Failure {
    /// See [`is_unprocessed`].
    pub(super) fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Http2 { error, .. } if is_unprocessed(error))
    }

    /// See [`wants_http1`].
    pub(super) fn wants_http1(&self) -> bool {
        matches!(self, Self::Http2 { error, .. } if wants_http1(error))
    }

    /// The request's connection had answered before, and ended without a byte of this answer: the
    /// application has closed it, or lets none of its calls through any more.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::Client(error) => Link::was_closed_between_requests(error),
            Self::Http2 {
                error,
                has_answered,
            } => *has_answered && is_of_connection(error),
            Self::Unsent(_) | Self::Timeout | Self::Stalled => false,
        }
    }
}

impl From<Failure> for UpstreamError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Client(error) => Self::from_client(&error),
            Failure::Http2 { error, .. } => Self::from_connection(&error),
            Failure::Unsent(error) => error,
            Failure::Timeout => Self::ResponseTimeout,
            Failure::Stalled => Self::RequestStalled,
        }
    }
}

fn has<E: std::error::Error + 'static>(
    error: &(dyn std::error::Error + 'static),
    holds: impl Fn(&E) -> bool,
) -> bool {
    find(error, |error| holds(error).then_some(())).is_some()
}

/// What the first error of this type in the chain of causes gives.
fn find<E: std::error::Error + 'static, T>(
    error: &(dyn std::error::Error + 'static),
    take: impl Fn(&E) -> Option<T>,
) -> Option<T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>().and_then(&take) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
