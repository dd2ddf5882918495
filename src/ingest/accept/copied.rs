//! A call as it came, and a copy of it for those who work on it while it goes on.

use crate::copies::{copy_bytes, copy_headers, copy_uri, size_of};
use crate::peer::Peer;
use bytes::Bytes;
use http::Request;
use http::request::Parts;

/// What a copy takes beside its head and its body, bytes.
pub const BESIDE: usize = 1 << 10;

/// A call as it came.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its head.
    pub parts: &'a Parts,
    /// Whom it comes from.
    pub peer: &'a Peer,
    /// Its body.
    pub body: &'a Bytes,
    /// Its `X-Request-Id`, or the one that it was given.
    pub request_id: &'a str,
}

impl Seen<'_> {
    /// What a copy takes, bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        let target = self.parts.uri.path_and_query();
        let target = target.map_or(0, |target| target.as_str().len());
        let head = size_of(&self.parts.headers) + target + self.request_id.len();
        self.body.len() + head + BESIDE
    }

    /// A copy, which shares no buffer with the connection that the call came on, but for a body
    /// that is large.
    #[must_use]
    pub fn copy(&self) -> Copied {
        Copied {
            parts: copy_head(self.parts),
            peer: self.peer.clone(),
            body: copy_bytes(self.body),
            request_id: self.request_id.to_owned(),
        }
    }
}

/// A copy of a call.
#[derive(Debug)]
pub struct Copied {
    /// Its head.
    pub parts: Parts,
    /// Whom it comes from.
    pub peer: Peer,
    /// Its body.
    pub body: Bytes,
    /// Its `X-Request-Id`, or the one that it was given.
    pub request_id: String,
}

/// A head without what belongs to its connection.
fn copy_head(parts: &Parts) -> Parts {
    let mut copy = Request::new(()).into_parts().0;
    copy.method = parts.method.clone();
    copy.uri = copy_uri(&parts.uri);
    copy.version = parts.version;
    copy.headers = copy_headers(&parts.headers);
    copy
}
