//! A response on its way to the client that is stored as it passes.
//!
//! It is stored when its last byte has come and before the client sees that byte. What ends early, is too large, brings
//! trailers, or is dropped by its client halfway is not stored. Nor is what an invalidation has overtaken.

use super::store::{Entry, Key, Lead, Room, Store};
use super::tags::Tags;
use crate::body::{Body, BodyError};
use crate::event::Tag;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, header};
use http_body::{Body as _, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What will be stored once the body is whole.
pub struct Fill {
    /// Where.
    pub store: Arc<Store>,
    /// Under what.
    pub key: Key,
    /// What moves the generations that must not have moved.
    pub tags: Arc<Tags>,
    /// The response's tags.
    pub names: Vec<Tag>,
    /// The response without its body.
    pub entry: Entry,
    /// The flight that waits for it.
    pub lead: Option<Lead>,
}

impl Fill {
    /// INVARIANT: stored only if nothing has moved since before the application was asked.
    fn complete(mut self, body: Bytes) {
        // A 204 has no length (RFC 9110 §8.6).
        if self.entry.status != StatusCode::NO_CONTENT {
            self.entry.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if self.tags.unmoved(&self.names, &self.entry.generations) {
            self.store.put(&self.key, Entry { body, ..self.entry });
        }
        // ORDER: the followers wake after the response is there.
        drop(self.lead);
    }
}

struct Gathering {
    fill: Fill,
    bytes: BytesMut,
    room: Room,
}

/// The body that passes.
pub struct Filling {
    inner: Body,
    gathering: Option<Gathering>,
}

impl Filling {
    /// Lets a body pass, and fills.
    #[must_use]
    pub fn body(inner: Body, fill: Fill) -> Body {
        if inner.is_end_stream() {
            fill.complete(Bytes::new());
            return inner;
        }
        let room = fill.store.room();
        Body::boxed(Self { inner, gathering: Some(Gathering { fill, bytes: BytesMut::new(), room }) })
    }

    fn take(&mut self, frame: &Frame<Bytes>) {
        let Some(gathering) = &mut self.gathering else { return };
        match frame.data_ref() {
            Some(data) if gathering.room.grow(data.len()) => gathering.bytes.extend_from_slice(data),
            // Too much, or trailers, which can't be stored.
            _ => self.gathering = None,
        }
    }

    fn complete(&mut self) {
        if let Some(Gathering { fill, bytes, room }) = self.gathering.take() {
            fill.complete(bytes.freeze());
            drop(room);
        }
    }
}

impl http_body::Body for Filling {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                this.take(frame);
                // A body of known length isn't polled for its end.
                if this.inner.is_end_stream() {
                    this.complete();
                }
            }
            Some(Err(_)) => this.gathering = None,
            None => this.complete(),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
