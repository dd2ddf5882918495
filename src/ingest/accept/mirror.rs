//! Where copies of calls go whose route is in mode `shadow`, with what the application answered
//! them. The gateway makes them; whoever works on them is no part of the event path.

use super::copied::Seen;
use crate::route::EventRoute;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::fmt;

/// What the application answered to a copied call.
#[derive(Debug)]
pub struct Answered {
    /// Status.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, in its content coding.
    pub body: Bytes,
    /// Nothing of the body is missing.
    pub is_whole: bool,
}

/// Takes copies of calls. It is called while the call waits, so it must neither wait nor fail.
pub trait Mirror: Send + Sync + fmt::Debug {
    /// Copies a call that meets one of these routes, with its body in its content coding; `None`:
    /// there is no room for it.
    fn copy_call(&self, candidates: &[&EventRoute], seen: Seen<'_>) -> Option<Box<dyn Expecting>>;

    /// A call that meets one of these routes and can't be looked at. `reason`: the one name of why.
    fn note_unread(&self, candidates: &[&EventRoute], reason: &'static str);
}

/// Expects the answer to a copied call. Dropped without one, the client went away before it.
pub trait Expecting: Send {
    /// Whether there is room for a copy of so many bytes of its body, in all.
    fn make_room(&mut self, bytes: usize) -> bool;

    /// The answer is there, as far as it was copied.
    fn take_answer(self: Box<Self>, answered: Answered);
}
