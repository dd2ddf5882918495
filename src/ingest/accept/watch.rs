//! What an observer is shown of the calls of a route whose mode is `observe`: those that `coalesce`
//! would have acknowledged as events, the others with the reason, and calls that go after what their
//! callers have pending. They are decoded and checked by the code that acknowledges, but take nothing
//! of any bound.
//!
//! A call waits for that only where it may be the repetition of an acknowledged event. The calls of
//! a route that was never on are forwarded at once, and the observer decides copies of them
//! ([`Decide`]).

use super::call::Call;
use super::copied::{Copied, Seen};
use super::draft::View;
use super::refusal::Forward;
use super::seen::SeenKey;
use crate::copies::size_of;
use crate::event::{Event, GroupIndex};
use crate::identity::KnownHead;
use crate::ingest::asker::Asker;
use crate::route::{EventRoute, Params};
use bytes::Bytes;
use std::fmt;
use std::time::SystemTime;

/// An event of a call that is forwarded.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The event.
    pub event: &'a Event,
    /// To look into it.
    pub view: View<'a>,
    /// By which a repetition of it is known.
    pub key: SeenKey,
    /// What a batch of its lane has around its events, bytes.
    pub envelope: usize,
}

/// A call that is forwarded before it is decoded.
pub struct Undecoded<'a, 'c> {
    /// The call.
    pub call: &'a Call<'c>,
    /// Its body, without its coding.
    pub body: &'a Bytes,
    /// Whether its caller might be acknowledged when it came: its own answer may change that.
    pub standing: Result<(), Forward>,
}

impl Undecoded<'_, '_> {
    fn seen(&self) -> Seen<'_> {
        let caller = self.call.caller;
        Seen {
            parts: caller.parts(),
            peer: caller.peer(),
            body: self.body,
            request_id: self.call.request_id,
        }
    }

    /// What a copy takes, bytes: what is known of its head is as large as the head, and where its
    /// cookies lie.
    #[must_use]
    pub fn size(&self) -> usize {
        let caller = self.call.caller;
        self.seen().size() + size_of(&caller.parts().headers) + caller.cookie_places_size()
    }

    /// A copy, with all that was known when the call came.
    #[must_use]
    pub fn copy(&self) -> UndecodedCopy {
        UndecodedCopy {
            copied: self.seen().copy(),
            head: self.call.caller.known_head(),
            params: self.call.params.clone(),
            came: self.call.now,
            standing: self.standing.clone(),
        }
    }
}

/// A copy of a call that was forwarded before it was decoded.
#[derive(Debug)]
pub struct UndecodedCopy {
    pub(super) copied: Copied,
    pub(super) head: KnownHead,
    pub(super) params: Params,
    /// Wall clock.
    pub(super) came: SystemTime,
    pub(super) standing: Result<(), Forward>,
}

/// Watches calls. It is called while the call waits, so it must neither wait nor fail.
pub trait Watch: Send + Sync + fmt::Debug {
    /// An event that would have been acknowledged.
    fn see_event(&self, route: &EventRoute, observed: &Observed<'_>);
    /// A call that would have been forwarded or refused; `reason`: the one name of why.
    fn see_declined(&self, route: &EventRoute, reason: &'static str);
    /// A call that is forwarded before it is decoded: a copy of it is to be decided.
    fn see_undecoded(&self, route: &EventRoute, undecoded: &Undecoded<'_, '_>);
    /// Whether [`see_wait`](Self::see_wait) is to be told of calls that concern these groups.
    fn wants_waits(&self, groups: &[GroupIndex]) -> bool;
    /// A call that goes after what its caller has pending in these groups, and so ends its windows
    /// there: a read (P7), or one that is forwarded (ruling 4).
    fn see_wait(&self, asker: &Asker, groups: &[GroupIndex]);
}

/// Decides copies of calls.
pub trait Decide: Send + Sync {
    /// Decides a copy of a call of this route as `coalesce` would have decided the call when it
    /// came, taking nothing of any bound. `tell`: told the event, or the one name of why the call
    /// would have been forwarded or refused.
    fn decide_copy<R>(
        &self,
        route: &EventRoute,
        copy: &UndecodedCopy,
        tell: impl FnOnce(Result<Observed<'_>, &'static str>) -> R,
    ) -> R;
}
