//! What decides copies of calls: an event path of its own, whose acknowledgements nobody hears.

use crate::event::{EventId, GroupIndex, Principal, UserId};
use crate::ingest::accept::copied::Copied;
use crate::migration::parity::Told;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// Whose call it is, for what its answer teaches.
#[derive(Debug, Clone)]
pub struct Whose {
    /// Who called.
    pub principal: Principal,
    /// The user that it names.
    pub user: Option<UserId>,
    /// Nothing but an address speaks for the caller.
    pub is_nameless: bool,
    /// Groups in which a success speaks for it.
    pub groups: Vec<GroupIndex>,
}

/// What would become of a call in mode `coalesce`.
#[derive(Debug)]
pub enum Decided {
    /// Its event is kept.
    Acknowledged(Acknowledged),
    /// It would be forwarded or refused, for the reason of this name.
    Declined(&'static str),
    /// Its user is not among those whose calls are copied.
    NotDrawn,
}

/// An acknowledgement.
#[derive(Debug)]
pub struct Acknowledged {
    /// What its client would hear.
    pub predicted: Told,
    /// The event's id.
    pub event: EventId,
    /// The id is known.
    pub is_repetition: bool,
    /// Members of its body that no mapping names.
    pub missed: Vec<Box<str>>,
}

/// A call, decided.
#[derive(Debug)]
pub struct Rehearsed {
    /// The place of its route among all `[[event]]` routes.
    pub route: usize,
    /// Whose it is.
    pub whose: Whose,
    /// What would become of it.
    pub decided: Decided,
}

/// Decides copies of calls.
pub trait Stage: Send + Sync {
    /// Decides a call, whose body is in its content coding, and keeps its event if it is
    /// acknowledged; `None`: it meets no `[[event]]` route.
    fn decide(&self, call: &Copied) -> impl Future<Output = Option<Rehearsed>> + Send;

    /// The place of the route that a call's body meets among all `[[event]]` routes; `None`: it meets
    /// none, or its calls, or this user's, are not copied, or its head says that it is forwarded.
    fn find_route(&self, call: &Copied) -> impl Future<Output = Option<usize>> + Send;

    /// Learns from the application's answer to a call what its caller is, as the gateway does.
    fn learn(&self, whose: &Whose, status: StatusCode) -> impl Future<Output = ()> + Send;

    /// A body without its coding; `None`: it has one that can't be taken off.
    fn unpack(&self, headers: &HeaderMap, body: &Bytes) -> Option<Bytes>;
}
