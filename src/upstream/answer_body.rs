//! The body of an answer, which keeps its request's place until its end, and becomes a stream's
//! once it is known to be one.

use super::link::Link;
use super::places::Taken;
use super::upload::Unended;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// An answer of unknown length that lasts longer is a stream.
pub(super) const LONG: Duration = Duration::from_secs(10);

/// With so many bytes left of an answer that isn't wanted any more, its connection is closed unread.
/// hyper would read once more, for the case that this was the end, and so let the application send
/// more.
///
/// INVARIANT: more than hyper reads ahead of the body's reader, which is one frame, of less than four
/// times its [largest buffer](super::MAX_BUFFER): so the connection can't have gone to another call
/// yet.
const LONG_REST: u64 = 8 * super::MAX_BUFFER as u64;

/// What an answer takes at its application.
#[derive(Debug)]
pub(super) struct Placed {
    /// Its request's place.
    pub(super) taken: Taken,
    /// The connection that it comes on.
    pub(super) link: Option<Link>,
    /// What of its request goes on.
    pub(super) upload: Option<Unended>,
}

impl Placed {
    /// The answer has come whole.
    pub(super) fn end(self) {
        if let Some(link) = &self.link {
            link.note_end_of_answer();
        }
        self.leave();
    }

    /// Nothing more of the answer is wanted; its request may go on.
    pub(super) fn leave(self) {
        if let Some(upload) = self.upload {
            upload.outlive(self.taken, self.link);
        }
    }
}

/// An answer's body that keeps its request's place until its end.
pub(super) fn keep_place<B>(headers: &HeaderMap, body: B, placed: Placed) -> PlacedBody<B>
where
    B: http_body::Body,
{
    let stream_from = if body.size_hint().exact().is_some() {
        None
    } else if is_event_stream(headers) {
        Some(Instant::now())
    } else {
        Some(Instant::now() + LONG)
    };
    let mut kept = PlacedBody {
        body,
        placed: Some(placed),
        stream_from,
    };
    kept.try_stream();
    kept
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("text/event-stream")
}

/// See [`keep_place`].
#[derive(Debug)]
pub(super) struct PlacedBody<B: http_body::Body> {
    body: B,
    /// Until its end.
    placed: Option<Placed>,
    /// From then on it is a stream and looks for a place as one; none when it has one, or isn't one
    /// ever.
    stream_from: Option<Instant>,
}

impl<B: http_body::Body> PlacedBody<B> {
    fn try_stream(&mut self) {
        if let (Some(from), Some(placed)) = (self.stream_from, &mut self.placed)
            && from <= Instant::now()
            && placed.taken.try_stream(placed.link.as_ref())
        {
            self.stream_from = None;
        }
    }

    fn note_end_of_answer(&self) {
        if let Some(link) = self.link() {
            link.note_end_of_answer();
        }
    }

    /// The connection that it comes on.
    fn link(&self) -> Option<&Link> {
        self.placed.as_ref()?.link.as_ref()
    }

    fn has_come_whole(&self) -> bool {
        self.body.is_end_stream() || self.body.size_hint().exact() == Some(0)
    }
}

/// An answer that is given up, since its client is gone for example.
impl<B: http_body::Body> Drop for PlacedBody<B> {
    fn drop(&mut self) {
        let left = self.body.size_hint().exact();
        if left.is_some_and(|left| left >= LONG_REST)
            && let Some(link) = self.link()
        {
            // ORDER: before the body is dropped; hyper reads once more then.
            link.abandon();
        }
        if let Some(placed) = self.placed.take() {
            placed.leave();
        }
    }
}

impl<B> http_body::Body for PlacedBody<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match frame {
            Poll::Ready(None | Some(Err(_))) => {
                if let Some(placed) = self.placed.take() {
                    placed.end();
                }
            }
            // Of an answer whose length is known, a server doesn't ask for the end.
            Poll::Ready(Some(Ok(_))) if self.has_come_whole() => self.note_end_of_answer(),
            Poll::Ready(Some(Ok(_))) => self.try_stream(),
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
