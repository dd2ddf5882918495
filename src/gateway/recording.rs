//! What a recorder is shown of calls that are forwarded. While nothing records, a call pays one
//! relaxed load.

use super::copied_body::copy_body;
use super::unpack::unpack_whole;
use crate::body::Body;
use crate::ingest::accept::refusal::Refusal;
use crate::migration::learn::{LARGEST_PLAIN, Unpacked};
use crate::peer::Peer;
use crate::recorder::{AnswerCopy, Recorded, Recorder};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use std::sync::Arc;

/// Copies calls and answers where something records them.
#[derive(Clone)]
pub(super) struct Recording(pub(super) Arc<dyn Recorder>);

/// A recorded body without its coding.
pub(crate) fn unpack_recorded(headers: &HeaderMap, body: &Bytes) -> Unpacked {
    match unpack_whole(headers, body, LARGEST_PLAIN) {
        Ok(plain) => Unpacked::Plain(plain),
        Err(Refusal::TooLarge(_)) => Unpacked::TooLarge,
        Err(_) => Unpacked::Unreadable,
    }
}

/// The answer to a recorded call is expected.
pub(super) struct Awaited(Option<Box<dyn AnswerCopy>>);

impl Recording {
    /// The same call, which is copied on its way to the application.
    pub(super) fn copy_call(
        &self,
        request: Request<Body>,
        peer: &Peer,
    ) -> (Request<Body>, Awaited) {
        if !self.0.is_on() {
            return (request, Awaited(None));
        }
        let (parts, body) = request.into_parts();
        let Some(Recorded { body: copy, answer }) = self.0.record_call(&parts, peer) else {
            return (Request::from_parts(parts, body), Awaited(None));
        };
        let request = Request::from_parts(parts, copy_body(body, copy));
        (request, Awaited(Some(answer)))
    }
}

impl Awaited {
    /// The same answer, which is copied on its way to the client.
    pub(super) fn copy_answer(self, response: Response<Body>) -> Response<Body> {
        let Some(answer) = self.0 else {
            return response;
        };
        let (parts, body) = response.into_parts();
        let copy = answer.take_head(&parts);
        Response::from_parts(parts, copy_body(body, copy))
    }
}
