//! An answer's body on its way to the client, and the bound on what a client doesn't take (P10).
//!
//! Over HTTP/1.1 an answer is written as the socket takes it: `phase.rs` watches that. Over HTTP/2
//! the client grants each stream bytes of its own, and what was handed out lies in memory until it
//! has granted and read them. So there a body goes out in slices of at most [`SLICE`] bytes, which
//! are counted until they are written (`handed_out.rs`), and a stream of which none is written for
//! too long is reset (`http2.rs`).
//!
//! The end of a body of more than [`SMALL`] bytes is told when its slices are written: until then
//! its stream can be reset alone, and a proxy that has other clients' calls on the same connection
//! keeps those.

use super::handed_out::{Place, Places, STREAM, Stream, UnsentOfOne};
use super::phase::OpenCall;
use crate::body::{Body, BodyError};
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// Most bytes that are handed out at once.
pub(super) const SLICE: usize = 16 << 10;
/// A body of at most so many bytes is ended with its last slice.
const SMALL: usize = 1 << 10;

/// Bytes that were handed out; dropped when they are written, or when their stream is gone.
struct Slice {
    bytes: Bytes,
    stream: Arc<Stream>,
    connection: UnsentOfOne,
    #[expect(dead_code, reason = "held, never looked at")]
    call: OpenCall,
}

impl AsRef<[u8]> for Slice {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.stream.written(self.bytes.len());
        self.connection.take(self.bytes.len());
    }
}

/// An answer's body, which keeps its call open until it is sent: over HTTP/2, until its last slice
/// is written.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    #[expect(dead_code, reason = "held, never looked at")]
    call: OpenCall,
    /// Over HTTP/2 only.
    metered: Option<Metered>,
}

/// How an answer's bytes are counted.
#[derive(Debug)]
struct Metered {
    stream: Arc<Stream>,
    connection: UnsentOfOne,
    call: OpenCall,
    /// Of a frame of the body, what is not handed out.
    rest: Bytes,
    /// The trailers, once they have come.
    trailers: Option<Frame<Bytes>>,
    ended: bool,
    handed_out: usize,
    /// Where it waits for room.
    places: Places,
    /// Where it waits for its own bytes to be written.
    end: Place,
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.connection.leave(&mut self.places);
    }
}

impl Answer {
    /// Within the task of an HTTP/2 stream its bytes are counted.
    pub(super) fn new(body: Body, call: OpenCall, connection: &UnsentOfOne) -> Self {
        let metered = STREAM.try_with(Arc::clone).ok().map(|stream| Metered {
            stream,
            connection: connection.clone(),
            call: call.share(),
            rest: Bytes::new(),
            trailers: None,
            ended: false,
            handed_out: 0,
            places: Places::default(),
            end: Place::default(),
        });
        Self {
            body,
            call,
            metered,
        }
    }
}

impl Metered {
    fn poll_frame(
        &mut self,
        body: &mut Body,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if !self.rest.is_empty() {
                ready!(
                    self.connection
                        .poll_room(&self.stream, &mut self.places, cx)
                );
                return Poll::Ready(Some(Ok(Frame::data(self.slice()))));
            }
            if self.ended {
                ready!(self.poll_written(cx));
                return Poll::Ready(self.trailers.take().map(Ok));
            }
            match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => self.end(body, Some(trailers)),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.end(body, None),
            }
        }
    }

    /// The body has given all; what it holds is needed no longer.
    fn end(&mut self, body: &mut Body, trailers: Option<Frame<Bytes>>) {
        *body = Body::empty();
        (self.ended, self.trailers) = (true, trailers);
    }

    fn slice(&mut self) -> Bytes {
        let bytes = self.rest.split_to(self.rest.len().min(SLICE));
        self.handed_out = self.handed_out.saturating_add(bytes.len());
        self.stream.hand_out(bytes.len());
        self.connection.add(bytes.len());
        Bytes::from_owner(Slice {
            bytes,
            stream: Arc::clone(&self.stream),
            connection: self.connection.clone(),
            call: self.call.share(),
        })
    }

    /// Until all that was handed out is written; a small body's end doesn't wait.
    fn poll_written(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.handed_out <= SMALL {
            Poll::Ready(())
        } else {
            self.stream.unsent.poll_below(&mut self.end, cx)
        }
    }

    fn is_end_stream(&self, body: &Body) -> bool {
        let given =
            self.rest.is_empty() && self.trailers.is_none() && (self.ended || body.is_end_stream());
        given && (self.handed_out <= SMALL || self.stream.unsent.is_below(1))
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match &mut this.metered {
            Some(metered) => metered.poll_frame(&mut this.body, cx),
            None => Pin::new(&mut this.body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.metered.as_ref().map_or_else(
            || self.body.is_end_stream(),
            |metered| metered.is_end_stream(&self.body),
        )
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::handed_out::UnsentOfAll;
    use super::super::newcomer::Newcomer;
    use super::super::phase::{Limits, Phases};
    use super::*;
    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;
    use std::time::Duration;

    pub(in crate::server) const STALL: Duration = Duration::from_secs(60);

    fn call() -> OpenCall {
        Phases::new(
            Limits {
                head: STALL,
                idle: STALL,
            },
            Newcomer::default(),
        )
        .begin_call()
    }

    /// An answer within the task of an HTTP/2 stream, and that stream.
    pub(in crate::server) async fn answer(
        body: Body,
        connection: &UnsentOfOne,
    ) -> (Answer, Arc<Stream>) {
        let stream = Arc::new(Stream::default());
        let answer = STREAM
            .scope(Arc::clone(&stream), async {
                Answer::new(body, call(), connection)
            })
            .await;
        (answer, stream)
    }

    pub(in crate::server) fn next(answer: &mut Answer) -> Option<Option<Bytes>> {
        let frame = answer.frame().now_or_never()?;
        Some(frame.map(|frame| frame.unwrap().into_data().unwrap()))
    }

    /// What is handed out while none of it is written.
    pub(in crate::server) fn unread(answer: &mut Answer) -> Vec<Bytes> {
        std::iter::from_fn(|| next(answer).flatten()).collect()
    }

    #[tokio::test]
    async fn the_end_is_told_when_all_is_written_and_that_of_a_small_answer_at_once() {
        let connection = UnsentOfOne::new(&UnsentOfAll::default());
        let (mut small, _) = answer(Body::from("small"), &connection).await;
        let held = next(&mut small).flatten().unwrap();
        assert!(small.is_end_stream());
        drop(held);
        let (mut large, _) = answer(Body::from(vec![b'x'; SMALL + 1]), &connection).await;
        let held = next(&mut large).flatten().unwrap();
        assert!(!large.is_end_stream());
        let mut ending = large.frame();
        assert!((&mut ending).now_or_never().is_none());
        drop(held);
        assert!(ending.await.is_none());
        assert!(large.is_end_stream());
    }
}
