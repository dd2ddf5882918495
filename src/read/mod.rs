//! The read path (design §7): barrier, lookup, one flight per missing key, store.
//!
//! Nothing older than the asker's last acknowledged event, nor than any caller's last settled one,
//! is ever served from the cache (P7, ruling 17):
//!
//! 1. the pending events of the asker's own user are sealed and awaited, up to the route's
//!    `barrier`; past it the cache is passed by in both directions. Others with pending events only
//!    move generations;
//! 2. a principal of which nothing is known seals nothing of its user's other principals. If they
//!    have something pending, the application is asked first: a 2xx makes the principal known, and
//!    it then waits and asks again;
//! 3. the tags' generations are taken before the application is asked; a response whose tags have
//!    moved since is not stored; a stored one whose tags have moved is not used in any way: not
//!    served stale, not served for an error, not validated (a date of one second's resolution would
//!    confirm it).
//!
//! A caller's responses are its own (P8): its view is part of the key. For callers without a token,
//! a session or a key only what the application itself lets a shared cache store is stored, or what
//! a public route declares.

mod answer;
mod ask;
mod barrier;
mod complete;
mod explain;
mod fetch;
mod fetch_plan;
mod forwarded_fields;
mod key;
mod known;
mod lookup;
mod relay;
mod scope;
mod store_answer;
mod write;

pub(crate) use explain::ReadPlan;
pub use scope::{find_in_head, user_of};
pub use write::{PendingInvalidation, is_near_a_cached_one, may_change};

use crate::body::Body;
use crate::cache::store::Store;
use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::identity::{Caller, Identity};
use crate::ingest::{CallerLanes, CallerStanding};
use crate::metrics::Metrics;
use crate::peer::Peer;
use crate::route::{CacheRoute, LiveRoutes, Params};
use crate::upstream::headers::asks_upgrade;
use crate::upstream::{Upstream, UpstreamError};
use ask::{Ask, Beside};
use http::uri::PathAndQuery;
use http::{Request, Response};
use http_body::Body as _;
use known::{KnownReads, ReadId};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Revalidations behind clients' backs at one time.
const MAX_BEHIND: usize = 256;

/// The read path.
#[derive(Clone)]
pub struct Read {
    store: Arc<Store>,
    tags: Arc<Tags>,
    upstream: Upstream,
    lanes: CallerLanes,
    callers: CallerStanding,
    identity: Arc<Identity>,
    clock: Clock,
    metrics: Arc<Metrics>,
    behind: Arc<Semaphore>,
    known: Arc<KnownReads>,
}

impl Read {
    /// A read path over a store.
    #[must_use]
    pub(crate) fn new(
        store: Arc<Store>,
        tags: Arc<Tags>,
        upstream: Upstream,
        (lanes, callers): (CallerLanes, CallerStanding),
        identity: Arc<Identity>,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let behind = Arc::new(Semaphore::new(MAX_BEHIND));
        Self {
            store,
            tags,
            upstream,
            lanes,
            callers,
            identity,
            clock,
            metrics,
            behind,
            known: Arc::new(KnownReads::new()),
        }
    }

    /// Answers a GET or HEAD of a cache route. `routes`: the rules in force.
    pub fn get<'a>(
        &'a self,
        request: Request<Body>,
        peer: &'a Peer,
        (route, params): (&'a CacheRoute, &Params),
        routes: &Arc<LiveRoutes>,
    ) -> Asked<'a> {
        let (parts, body) = request.into_parts();
        // ORDER: before the caller's keys.
        let version = self.identity.keys_version();
        let caller = self.identity.caller(&parts, peer, self.clock.now());
        let id = ReadId::of(&caller, version, route);
        let target = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let now = self.clock.instant();
        let known = id.and_then(|id| self.known.find(id, target, now));
        let known = known.filter(|ask| self.is_as_known(&caller, &body, ask));
        let examine = || {
            let beside = Beside::of(&routes.load(), parts.uri.path());
            self.examine(&caller, &body, (route, params), &beside)
        };
        if let Some(ask) = known
            && let Some(response) = self.answer_at_once((&parts).into(), peer, &ask, now)
        {
            debug_assert!(
                examine().is_ok_and(|examined| examined.is_as(&ask))
                    || self.identity.keys_version() != version,
                "known: {ask:?}, examined: {:?}",
                examine()
            );
            return Asked::Answered(answer::vary_by_origin(response));
        }
        let examined = examine();
        self.show_wait(match &examined {
            Ok(ask) => &ask.reader,
            Err((_, reader)) => reader,
        });
        let ask = match examined {
            Ok(ask) => ask,
            Err((why, reader)) => {
                // What may be taken for a write may be one.
                let old = self.makes_old(&parts, peer, routes);
                let request = Request::from_parts(parts, body);
                return Asked::Waits(Box::pin(async move {
                    let answered = self.bypass_in_turn(request, peer, (route, &reader), why);
                    let answered = answered.await;
                    let answered = match old {
                        Some(old) => old.end(answered),
                        None => answered,
                    };
                    answered.map(answer::vary_by_origin)
                }));
            }
        };
        if let Some(response) = self.answer_at_once((&parts).into(), peer, &ask, now) {
            if let Some(id) = id {
                self.known.remember(id, target, now, ask);
            }
            return Asked::Answered(answer::vary_by_origin(response));
        }
        let request = Request::from_parts(parts, body);
        Asked::Waits(Box::pin(async move {
            let answered = self.look_up_in_turn(request, peer, route, ask).await;
            answered.map(answer::vary_by_origin)
        }))
    }

    /// Forgets every stored answer, and what is remembered of reads and of heads.
    pub(crate) fn forget(&self) {
        self.store.clear();
        self.known.clear();
        self.identity.forget_heads();
        // Nothing that was asked for before is stored either.
        self.tags.move_all();
    }

    /// Whether what a known read asks for is all that there is to know of it: its caller may still be
    /// answered, and no observer is to be shown for whose events it would wait.
    fn is_as_known(&self, caller: &Caller<'_>, body: &Body, ask: &Ask) -> bool {
        body.is_end_stream()
            && !asks_upgrade(caller.parts())
            && self.identity.readable(caller).is_ok()
            && !self.lanes.are_observed(&ask.reader.groups)
    }
}

/// What a read met.
pub enum Asked<'a> {
    /// A stored answer, which waits for nothing.
    Answered(Response<Body>),
    /// It waits: for events of its reader, for another's flight, or for the application, which may
    /// give no answer. Boxed: it is large, and would be moved about for every hit.
    Waits(Pin<Box<dyn Future<Output = Result<Response<Body>, UpstreamError>> + Send + 'a>>),
}
