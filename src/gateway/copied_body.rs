//! A body that is copied on its way. What passes is unchanged: frames, trailers, length, errors.

use crate::body::{Body, BodyError};
use crate::recorder::{BodyCopy, Ending, LARGEST_COPY};
use bytes::Bytes;
use futures_util::FutureExt as _;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The same body; the copy is told each part as it passes, and its end.
pub(super) fn copy_body(body: Body, mut copy: impl BodyCopy + Unpin + 'static) -> Body {
    if body.size_hint().lower() > LARGEST_COPY as u64 {
        copy.end(Ending::TooLong);
        return body;
    }
    if body.is_end_stream() {
        copy.end(Ending::Whole);
        return body;
    }
    // What is at hand stays so: the way to the application can repeat it.
    if let Body::Full(whole) = &body {
        if let Some(Some(Ok(frame))) = whole.clone().frame().now_or_never()
            && let Some(data) = frame.data_ref()
        {
            copy.push(data);
        }
        copy.end(Ending::Whole);
        return body;
    }
    Body::boxed(Copied {
        body,
        copy: Some(copy),
        copied: 0,
    })
}

struct Copied<C: BodyCopy> {
    body: Body,
    /// Until it was told of the end, or wants no more.
    copy: Option<C>,
    /// Bytes.
    copied: usize,
}

impl<C: BodyCopy> Copied<C> {
    fn take_frame(&mut self, frame: &Frame<Bytes>) {
        let (Some(copy), Some(data)) = (&mut self.copy, frame.data_ref()) else {
            return;
        };
        self.copied = self.copied.saturating_add(data.len());
        if self.copied > LARGEST_COPY {
            self.end(Ending::TooLong);
        } else if !copy.push(data) {
            self.copy = None;
        }
    }

    fn end(&mut self, ending: Ending) {
        if let Some(mut copy) = self.copy.take() {
            copy.end(ending);
        }
    }
}

impl<C: BodyCopy + Unpin> http_body::Body for Copied<C> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.take_frame(frame);
                // Nobody asks again for the end of a body whose length is known.
                if self.body.is_end_stream() {
                    self.end(Ending::Whole);
                }
            }
            Poll::Ready(None) => self.end(Ending::Whole),
            Poll::Ready(Some(Err(_))) => self.end(Ending::BrokenOff),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<C: BodyCopy> Drop for Copied<C> {
    fn drop(&mut self) {
        self.end(Ending::BrokenOff);
    }
}
