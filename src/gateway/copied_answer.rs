//! An answer of the application that is copied on its way to its client.

use crate::body::{Body, BodyError};
use crate::ingest::accept::mirror::{Answered, Expecting};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Most of a body that is copied, bytes; of a longer one nothing is compared.
const MOST: usize = 16 << 10;

/// The same answer; whoever expects it is told of it when its body has ended, or is too long.
pub(super) fn copy(response: Response<Body>, expecting: Box<dyn Expecting>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let mut copied = Copied {
        open: Some(Open {
            status: parts.status,
            headers: parts.headers.clone(),
            expecting,
        }),
        copy: BytesMut::new(),
        body,
    };
    let is_long = copied.body.size_hint().lower() > MOST as u64;
    if is_long || copied.body.is_end_stream() {
        copied.end(!is_long);
        return Response::from_parts(parts, std::mem::take(&mut copied.body));
    }
    Response::from_parts(parts, Body::boxed(copied))
}

struct Open {
    status: StatusCode,
    headers: HeaderMap,
    expecting: Box<dyn Expecting>,
}

struct Copied {
    body: Body,
    copy: BytesMut,
    /// Until it was told.
    open: Option<Open>,
}

impl Copied {
    fn take(&mut self, frame: &Frame<Bytes>) {
        let (Some(open), Some(data)) = (&mut self.open, frame.data_ref()) else {
            return;
        };
        let bytes = self.copy.len() + data.len();
        if bytes <= MOST && open.expecting.make_room(bytes) {
            self.copy.extend_from_slice(data);
        } else {
            self.end(false);
        }
    }

    fn end(&mut self, is_whole: bool) {
        let body = std::mem::take(&mut self.copy).freeze();
        if let Some(open) = self.open.take() {
            open.expecting.take_answer(Answered {
                status: open.status,
                headers: open.headers,
                body,
                is_whole,
            });
        }
    }
}

impl http_body::Body for Copied {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.take(frame);
                // Nobody asks again for the end of a body whose length is known.
                if self.body.is_end_stream() {
                    self.end(true);
                }
            }
            Poll::Ready(None) => self.end(true),
            Poll::Ready(Some(Err(_))) => self.end(false),
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

impl Drop for Copied {
    fn drop(&mut self) {
        self.end(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, StreamBody};
    use std::sync::mpsc;

    struct Told(mpsc::Sender<Answered>);

    impl Expecting for Told {
        fn make_room(&mut self, _: usize) -> bool {
            true
        }

        fn take_answer(self: Box<Self>, answered: Answered) {
            self.0.send(answered).unwrap();
        }
    }

    fn streamed(pieces: &[&'static [u8]]) -> Body {
        let frames: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::from_static(piece))))
            .collect();
        Body::boxed(StreamBody::new(futures_util::stream::iter(frames)))
    }

    async fn told(body: Body) -> (Bytes, Answered) {
        let (sender, receiver) = mpsc::channel();
        let response = copy(Response::new(body), Box::new(Told(sender)));
        let through = response.into_body().collect().await.unwrap().to_bytes();
        (through, receiver.recv().unwrap())
    }

    #[tokio::test]
    async fn an_answer_goes_on_unchanged_and_is_told_once_it_has_ended() {
        for body in [
            Body::from("{\"ok\":true}"),
            streamed(&[b"{\"ok\":", b"true}"]),
        ] {
            let (through, answered) = told(body).await;
            assert_eq!(through, "{\"ok\":true}");
            assert_eq!(answered.body, "{\"ok\":true}");
            assert!(answered.is_whole);
        }
        let (through, answered) = told(Body::empty()).await;
        assert!(through.is_empty() && answered.is_whole);
    }

    #[tokio::test]
    async fn of_a_long_answer_nothing_is_compared_and_one_that_its_client_leaves_is_not_whole() {
        static LONG: [u8; 10 << 10] = [b'x'; 10 << 10];
        let (through, answered) = told(streamed(&[&LONG, &LONG])).await;
        assert_eq!(through.len(), 20 << 10);
        assert!(!answered.is_whole);
        let (through, answered) = told(Body::from(vec![b'x'; 20 << 10])).await;
        assert_eq!(through.len(), 20 << 10);
        assert!(!answered.is_whole && answered.body.is_empty());

        let (sender, receiver) = mpsc::channel();
        let response = copy(
            Response::new(streamed(&[b"a", b"b"])),
            Box::new(Told(sender)),
        );
        drop(response);
        assert!(!receiver.recv().unwrap().is_whole);
    }
}
