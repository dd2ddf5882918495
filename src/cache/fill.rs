//! A response on its way to the client that is stored as it passes.
//!
//! It is stored when its last byte has come and before the client sees that byte. What ends early,
//! is too large, brings trailers, has another length than it says, or is dropped by its client
//! halfway is not stored. Nor is what an invalidation has overtaken.

use super::policy::parts::{ContentRange, Parts};
use super::store::{Entry, Key, Lead, Room, Store};
use super::tags::Tags;
use crate::body::{Body, BodyError};
use crate::event::Tag;
use crate::memory::Share;
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
    /// Which bytes its body holds, if not all.
    pub part: Option<ContentRange>,
    /// The flight that waits for it.
    pub lead: Option<Lead>,
    /// Its reader's share of the memory.
    pub share: Share,
}

impl Fill {
    /// Bytes that the body must have, where that is known.
    fn expected(&self) -> Option<usize> {
        let said = self.entry.headers.get(header::CONTENT_LENGTH)?;
        // What can't be read is no length that any body has.
        Some(
            said.to_str()
                .ok()
                .and_then(|said| said.parse().ok())
                .unwrap_or(usize::MAX),
        )
    }

    /// INVARIANT: stored only if it is as long as it says, and nothing has moved since before the
    /// application was asked.
    fn complete(self, body: Bytes) {
        let is_whole = self
            .expected()
            .is_none_or(|expected| expected == body.len());
        let Self {
            store,
            key,
            tags,
            names,
            entry,
            part,
            lead,
            share: _,
        } = self;
        if is_whole
            && tags.unmoved(&names, &entry.generations)
            && let Some(entry) = filled(entry, part.as_ref(), body)
        {
            store.put(&key, entry);
        }
        // ORDER: the followers wake after the response is there.
        drop(lead);
    }
}

/// An entry with its body; `None`: a part that isn't what it says.
fn filled(mut entry: Entry, part: Option<&ContentRange>, body: Bytes) -> Option<Entry> {
    let Some(shown) = part else {
        // A 204 has no length (RFC 9110 §8.6).
        if entry.status != StatusCode::NO_CONTENT {
            entry
                .headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        return Some(Entry { body, ..entry });
    };
    let parts = Parts::new(shown, body)?;
    // The stored head is that of the whole; a part's own fields are written when it is served.
    entry.headers.remove(header::CONTENT_RANGE);
    entry
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(shown.total));
    Some(match parts.whole() {
        Some(body) => Entry {
            status: StatusCode::OK,
            body,
            ..entry
        },
        None => Entry {
            parts: Some(parts),
            ..entry
        },
    })
}

struct Gathering {
    fill: Fill,
    expected: Option<usize>,
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
        let (room, expected) = (fill.store.room(fill.share.lease()), fill.expected());
        Body::boxed(Self {
            inner,
            gathering: Some(Gathering {
                fill,
                expected,
                bytes: BytesMut::new(),
                room,
            }),
        })
    }

    fn take(&mut self, frame: &Frame<Bytes>) {
        let Some(gathering) = &mut self.gathering else {
            return;
        };
        // Trailers can't be stored; nor can what finds no room, which passes all the same.
        let fits = frame.data_ref().is_some_and(|data| {
            gathering.bytes.extend_from_slice(data);
            gathering.room.grow(data.len(), gathering.bytes.capacity())
        });
        if !fits {
            self.gathering = None;
        }
    }

    fn is_full(&self) -> bool {
        self.gathering
            .as_ref()
            .is_some_and(|gathering| gathering.expected == Some(gathering.bytes.len()))
    }

    fn complete(&mut self) {
        if let Some(Gathering {
            fill, bytes, room, ..
        }) = self.gathering.take()
        {
            fill.complete(bytes.freeze());
            drop(room);
        }
    }
}

impl http_body::Body for Filling {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                this.take(frame);
                // A body of known length isn't polled for its end.
                if this.inner.is_end_stream() || this.is_full() {
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
