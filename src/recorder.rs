//! Copies of forwarded calls and of their answers, while something records them. The gateway makes
//! them; what records is no part of a call's way.

use crate::body::Body;
use crate::peer::Peer;
use http::{HeaderMap, Request, StatusCode};
use std::fmt;

/// Most of a body that is copied, bytes; a longer one is let go of.
pub const LARGEST_COPY: usize = 16 << 10;

/// Takes copies. It is called while the call waits, so it must neither wait nor fail.
pub trait Recorder: Send + Sync + fmt::Debug {
    /// Whether anything records now: one relaxed load, since every call asks.
    fn is_on(&self) -> bool;

    /// The head of a call that is about to be forwarded; `None`: it is not recorded.
    fn record_call(&self, call: &Request<Body>, peer: &Peer) -> Option<Recorded>;
}

/// Where the copies of one call go.
pub struct Recorded {
    /// Of its body.
    pub body: Box<dyn BodyCopy>,
    /// Of its answer. Dropped without one: there was none.
    pub answer: Box<dyn AnswerCopy>,
}

/// Takes the copy of an answer.
pub trait AnswerCopy: Send {
    /// Its head; the copy of its body goes to what is given back.
    fn take_head(self: Box<Self>, status: StatusCode, headers: &HeaderMap) -> Box<dyn BodyCopy>;
}

/// Takes the copy of a body, part by part.
pub trait BodyCopy: Send {
    /// The next part; at most [`LARGEST_COPY`] bytes come in all. `false`: no more is wanted.
    fn push(&mut self, data: &[u8]) -> bool;

    /// The last call of all: how it ended.
    fn end(&mut self, ending: Ending);
}

impl<C: BodyCopy + ?Sized> BodyCopy for Box<C> {
    fn push(&mut self, data: &[u8]) -> bool {
        (**self).push(data)
    }

    fn end(&mut self, ending: Ending) {
        (**self).end(ending);
    }
}

/// How a copied body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing of it is missing.
    Whole,
    /// It is longer than [`LARGEST_COPY`].
    TooLong,
    /// It broke off.
    BrokenOff,
}
