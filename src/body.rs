//! The one body type that flows through the gateway, in both directions.

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_util::sync::CancellationToken;

/// Whatever stopped a body halfway.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body: whole in memory (no allocation of its own), or streamed.
#[derive(Debug)]
pub enum Body {
    /// All of it at hand.
    Full(Full<Bytes>),
    /// Straight from a hyper connection.
    Incoming(hyper::body::Incoming),
    /// Straight from a hyper connection, whose client waits for a 100 before it sends anything (RFC
    /// 9110 §10.1.1): the first poll sends that.
    Expected(hyper::body::Incoming),
    /// Anything else that streams.
    Boxed(UnsyncBoxBody<Bytes, BodyError>),
}

/// A call's body goes on to the application though the head of its answer has come, until this is
/// cancelled. In the answer's extensions.
#[derive(Debug, Clone)]
pub struct Uploading(pub CancellationToken);

impl Body {
    /// No bytes at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::Full(Full::default())
    }

    /// A request's body.
    #[must_use]
    pub fn arriving(body: hyper::body::Incoming, headers: &HeaderMap) -> Self {
        let expected = headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if expected {
            Self::Expected(body)
        } else {
            Self::Incoming(body)
        }
    }

    /// Its client sends it only when it is asked for it.
    #[must_use]
    pub const fn is_expected(&self) -> bool {
        matches!(self, Self::Expected(_))
    }

    /// A body that streams from elsewhere.
    pub fn boxed<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
    {
        Self::Boxed(body.map_err(Into::into).boxed_unsync())
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Full(Full::new(bytes.into()))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::Incoming(body) | Self::Expected(body) => {
                Pin::new(body).poll_frame(cx).map_err(Into::into)
            }
            Self::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Incoming(body) | Self::Expected(body) => body.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Incoming(body) | Self::Expected(body) => body.size_hint(),
            Self::Boxed(body) => body.size_hint(),
        }
    }
}
