//! An answer of the application that is copied on its way to its client.

use super::copied_body::copy_body;
use crate::body::Body;
use crate::ingest::accept::mirror::{Answered, Expecting};
use crate::recorder::{BodyCopy, Ending};
use bytes::BytesMut;
use http::{HeaderMap, Response, StatusCode};

/// The same answer; whoever expects it is told of it when its body has ended, or is too long.
pub(super) fn copy(response: Response<Body>, expecting: Box<dyn Expecting>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let copy = Copy {
        open: Some(Open {
            status: parts.status,
            headers: parts.headers.clone(),
            expecting,
        }),
        body: BytesMut::new(),
    };
    Response::from_parts(parts, copy_body(body, copy))
}

struct Open {
    status: StatusCode,
    headers: HeaderMap,
    expecting: Box<dyn Expecting>,
}

struct Copy {
    /// Until it was told.
    open: Option<Open>,
    body: BytesMut,
}

impl BodyCopy for Copy {
    fn push(&mut self, data: &[u8]) -> bool {
        let bytes = self.body.len() + data.len();
        let has_room = self
            .open
            .as_mut()
            .is_some_and(|open| open.expecting.make_room(bytes));
        if has_room {
            self.body.extend_from_slice(data);
        } else {
            self.end(Ending::TooLong);
        }
        has_room
    }

    fn end(&mut self, ending: Ending) {
        let is_whole = ending == Ending::Whole;
        let body = std::mem::take(&mut self.body);
        if let Some(open) = self.open.take() {
            open.expecting.take_answer(Answered {
                status: open.status,
                headers: open.headers,
                body: body.freeze(),
                is_whole,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::BodyError;
    use bytes::Bytes;
    use http_body::Frame;
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
