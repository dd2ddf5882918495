//! What a recorder is shown of calls that are forwarded. While nothing records, a call pays one
//! relaxed load.

use super::copied_body::copy_body;
use super::unpack::unpack_whole;
use crate::body::Body;
use crate::ingest::accept::refusal::Refusal;
use crate::migration::learn::{LARGEST_PLAIN, Unpacked};
use crate::peer::Peer;
use crate::recorder::{AnswerCopy, Recorded, Recorder};
use crate::upstream::gather_to_repeat;
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
    /// Has a call copied on its way to the application.
    pub(super) fn copy_call(&self, request: &mut Request<Body>, peer: &Peer) -> Awaited {
        if !self.0.is_on() {
            return Awaited(None);
        }
        let Some(Recorded { body: copy, answer }) = self.0.record_call(request, peer) else {
            return Awaited(None);
        };
        // ORDER: gathered before it is copied, since a copied body can't be sent again.
        let body = std::mem::take(request.body_mut());
        let body = gather_to_repeat(request.method(), body);
        *request.body_mut() = copy_body(body, copy);
        Awaited(Some(answer))
    }
}

impl Awaited {
    /// Has the answer copied on its way to the client.
    pub(super) fn copy_answer(self, response: &mut Response<Body>) {
        let Some(answer) = self.0 else {
            return;
        };
        let copy = answer.take_head(response.status(), response.headers());
        let body = std::mem::take(response.body_mut());
        *response.body_mut() = copy_body(body, copy);
    }
}
