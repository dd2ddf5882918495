//! The read path (design §7): barrier, lookup, one flight per missing key, store.
//!
//! Nothing older than the asker's last acknowledged event, nor than anybody's last settled one, is ever served from the
//! cache (P7, ruling 17):
//!
//! 1. the pending events of the asker's own user are sealed and awaited, up to the route's `barrier`; past it the cache
//!    is passed by in both directions. Whoever else has events pending only moves generations;
//! 2. a principal of which nothing is known seals nothing of its user's other principals. If they have something pending,
//!    the application is asked first: a 2xx makes the principal known, and it then waits and asks again;
//! 3. the tags' generations are taken before the application is asked; a response whose tags have moved since is not
//!    stored; a stored one whose tags have moved is not used in any way: not served stale, not served for an error, not
//!    validated (a date of one second's resolution would confirm it).
//!
//! A caller's responses are its own (P8): its view is part of the key. For callers without a token, a session or a key
//! only what the application itself lets a shared cache store is stored, or what a public route declares.

mod answer;
mod ask;
mod complete;
mod fetch;
mod sent;
mod write;

pub use write::Old;

use crate::body::Body;
use crate::cache::policy::reuse::{self, Use};
use crate::cache::store::{Entry, Flight, Found as Stored, Store};
use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::event::{GroupIndex, Keys, Tag, UserId};
use crate::identity::{Caller, Identity, Renewal};
use crate::ingest::{Asker, CallerLanes, CallerStanding, Settled};
use crate::memory::Share;
use crate::peer::Peer;
use crate::route::{CacheRoute, Params};
use crate::template::{Found, Lookup, Source};
use crate::upstream::{Standing, Upstream, UpstreamError};
use ask::{Ask, Bypass, Reader};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use sent::Line;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How long somebody waits for another's flight before asking too.
const FLIGHT_WAIT: Duration = Duration::from_secs(5);
/// Revalidations behind clients' backs at one time.
const MAX_BEHIND: usize = 256;

/// The reader's own events are pending, and seal nothing: nothing speaks for the reader (ruling 17).
const PENDING: Bypass = "pending";

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
    behind: Arc<Semaphore>,
}

/// What templates of a read can see.
pub struct ReadScope<'a, 'c> {
    /// The call.
    pub caller: &'a Caller<'c>,
    /// Named segments of the path.
    pub params: &'a Params,
    /// The user, once known.
    pub user: Option<&'a UserId>,
}

impl Lookup for ReadScope<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::User => self.user.map(|user| Found::Text(Cow::Borrowed(user.as_str()))),
            Source::Path => self.params.get(path.first()?).map(|text| Found::Text(Cow::Borrowed(text))),
            _ => self.caller.look(source, path),
        }
    }
}

/// The user of a call without a body.
#[must_use]
pub fn user_of(identity: &Identity, caller: &Caller<'_>, params: &Params) -> Option<UserId> {
    let scope = ReadScope { caller, params, user: None };
    identity.user(&scope)
}

/// What a relayed call is, as far as its answer speaks for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relayed {
    /// Of no route of ours.
    Other,
    /// A read that says nothing of what events change.
    Read,
    /// A 2xx speaks for its caller.
    Proof,
}

/// What a lookup has found.
enum Look {
    /// The answer.
    Hit(Arc<Entry>),
    /// The answer, and it is asked again meanwhile.
    Stale(Arc<Entry>),
    /// The application is to be asked.
    Ask {
        /// In the words of RFC 9211 §2.2.
        reason: &'static str,
        /// What it may confirm, or what may stand in for it.
        stored: Option<Arc<Entry>>,
    },
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
    ) -> Self {
        let behind = Arc::new(Semaphore::new(MAX_BEHIND));
        Self { store, tags, upstream, lanes, callers, identity, clock, behind }
    }

    /// Answers a GET or HEAD of a cache route. `beside`: groups whose events come over its path.
    ///
    /// # Errors
    /// The application was asked and gave no answer.
    pub async fn get(
        &self,
        request: Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        params: &Params,
        beside: &[GroupIndex],
    ) -> Result<Response<Body>, UpstreamError> {
        let (parts, body) = request.into_parts();
        let examined = self.examine(&parts, peer, &body, (route, params), beside);
        let request = Request::from_parts(parts, body);
        let answered = match examined {
            // A hit waits for nothing. Else boxed: what waits is large, and would be moved about for every hit.
            Ok(ask) => match self.at_once(&request, peer, &ask) {
                Some(response) => Ok(response),
                None => Box::pin(self.lookup(request, peer, route, ask)).await,
            },
            Err((why, reader)) => Box::pin(self.bypass_in_turn(request, peer, (route, &reader), why)).await,
        };
        answered.map(answer::vary_by_origin)
    }

    /// The answer, if it is there and nothing of its reader is pending on its tags.
    fn at_once(&self, request: &Request<Body>, peer: &Peer, ask: &Ask) -> Option<Response<Body>> {
        if self.tags.own_pending(&ask.reader.tags, ask.reader.waiting)
            || self.tags.user_pending(&ask.reader.tags, ask.reader.waiting)
        {
            return None;
        }
        match self.look(request, peer, ask, ask.now) {
            Look::Hit(entry) => Some(self.hit(request, &entry, ask.now, None)),
            _ => None,
        }
    }

    /// What the cache has no part in is read after its reader's own writes all the same. In time or not: the answer is as
    /// new as the application is.
    async fn bypass_in_turn(
        &self,
        request: Request<Body>,
        peer: &Peer,
        (route, reader): (&CacheRoute, &Reader),
        why: Bypass,
    ) -> Result<Response<Body>, UpstreamError> {
        let why = self.settled(route, reader).await.err().unwrap_or(why);
        self.bypass(request, peer, (route, reader), why).await
    }

    async fn bypass(
        &self,
        request: Request<Body>,
        peer: &Peer,
        (route, reader): (&CacheRoute, &Reader),
        why: Bypass,
    ) -> Result<Response<Body>, UpstreamError> {
        self.store.counts.bypasses.fetch_add(1, Ordering::Relaxed);
        let response = self.ask_for(request, peer, (route, reader), Relayed::Read).await?;
        Ok(answer::with_status(response, &format!("tidegate; fwd=bypass; detail={why}")))
    }

    /// Asks the application for a reader. That it answers a stranger shows that its answers to this read say nothing of who
    /// asks (ruling 17): a caller without a name, or one that was refused by 401.
    async fn ask_for(
        &self,
        request: Request<Body>,
        peer: &Peer,
        (route, reader): (&CacheRoute, &Reader),
        relayed: Relayed,
    ) -> Result<Response<Body>, UpstreamError> {
        let reputation = self.callers.reputation();
        // ORDER: before it is asked. A refusal of meanwhile says nothing of this answer.
        let Keys { principal, nameless, .. } = reader.keys;
        let is_stranger = nameless || reputation.is_unknown(principal);
        let is_open =
            route.public || nameless || reputation.is_refused(principal) || reputation.is_open_read(route.index);
        let relayed = if is_open { Relayed::Read } else { relayed };
        let response = self.relay_of(request, peer, relayed).await?;
        if is_stranger && !route.public && is_shown(response.status()) {
            self.callers.open_read(route.index);
        }
        Ok(response)
    }

    /// Asks the application, and learns of a session that it renews (ruling 24). `proves`: a 2xx speaks for its caller,
    /// since it is a call of some group's events.
    ///
    /// # Errors
    /// It gave no answer.
    pub async fn relay(
        &self,
        request: Request<Body>,
        peer: &Peer,
        proves: bool,
    ) -> Result<Response<Body>, UpstreamError> {
        let relayed = if proves { Relayed::Proof } else { Relayed::Other };
        self.relay_of(request, peer, relayed).await
    }

    async fn relay_of(
        &self,
        request: Request<Body>,
        peer: &Peer,
        relayed: Relayed,
    ) -> Result<Response<Body>, UpstreamError> {
        let (parts, body) = request.into_parts();
        let has_session = parts.headers.contains_key(header::COOKIE);
        let asked = has_session.then(|| (parts.method.clone(), parts.uri.clone(), parts.headers.clone()));
        let standing = |parts: &Parts| self.standing(parts, peer);
        let response = self.upstream.relay(Request::from_parts(parts, body), peer, standing).await?;
        if let Some((method, uri, headers)) = asked
            && response.headers().contains_key(header::SET_COOKIE)
            && response.status().is_success()
        {
            let (mut parts, ()) = Request::new(()).into_parts();
            (parts.method, parts.uri, parts.headers) = (method, uri, headers);
            let caller = self.identity.caller(&parts, peer, self.clock.now());
            let principal = self.identity.keys(&caller, None).principal;
            let reputation = self.callers.reputation();
            let is_proof = relayed == Relayed::Proof && !reputation.is_refused(principal);
            // A call of another route may be what signs in or out: what is known of its caller says nothing of who has
            // the cookie afterwards.
            let good = relayed != Relayed::Other && (is_proof || reputation.is_good_anywhere(principal));
            // Where nothing is known, a page that was shown speaks, as far as order goes; a write of another route doesn't,
            // which may make somebody else of its caller.
            let shown = parts.method.is_safe() && !reputation.is_refused(principal);
            let set = response.headers().get_all(header::SET_COOKIE);
            let renewal = if good || shown { self.identity.renew(&caller, set.iter(), good) } else { Renewal::None };
            if renewal != Renewal::None {
                self.callers.note_renewal(principal);
            }
            if let Renewal::Successor(succession) = renewal {
                // ORDER: before the client has the cookie, whose bearer a start must know.
                self.callers.keep_succession(succession).await;
            }
        }
        Ok(response)
    }

    /// Whether something speaks for a caller, as far as the head of its call tells who it is.
    fn standing(&self, parts: &Parts, peer: &Peer) -> Standing {
        let caller = self.identity.caller(parts, peer, self.clock.now());
        let principal = self.identity.keys(&caller, None).principal;
        let is_good = self.callers.reputation().is_good_anywhere(principal);
        if is_good { Standing::Good } else { Standing::Stranger }
    }

    /// Step 1: afterwards nothing that the reader's own user has had acknowledged is pending on the tags.
    async fn settled(&self, route: &CacheRoute, reader: &Reader) -> Result<(), Bypass> {
        let Reader { asker, keys, tags, is_untold, waiting, groups, writes_for_others, .. } = reader;
        let speaks = !keys.nameless && !self.callers.reputation().is_refused(keys.principal);
        let own_pending = self.tags.own_pending(tags, *waiting);
        if !speaks && own_pending {
            return Err(PENDING);
        }
        let own = speaks && (*is_untold || own_pending);
        let joined = asker.joins && self.tags.user_pending(tags, *waiting);
        let until = Instant::now() + route.barrier;
        if own && *writes_for_others {
            let all_own = Asker { user: None, joins: false, ..asker.clone() };
            self.wait_for(&all_own, groups, until).await?;
        }
        if joined || own && !writes_for_others {
            self.wait_for(asker, groups, until).await?;
        }
        Ok(())
    }

    async fn wait_for(&self, asker: &Asker, groups: &[GroupIndex], until: Instant) -> Result<(), Bypass> {
        let within = until.saturating_duration_since(Instant::now());
        match self.lanes.barrier(asker, groups, within).await {
            Settled::Yes => Ok(()),
            Settled::TimedOut => Err("barrier-timeout"),
        }
    }

    /// Step 2: whether other principals of the reader's user have something pending that the reader may not wait for yet.
    /// Where every group takes strangers it may never, whatever it is answered: no proof would come of asking.
    fn is_to_be_proven(&self, ask: &Ask) -> bool {
        let reputation = self.callers.reputation();
        !ask.reader.asker.joins
            && self.tags.user_pending(&ask.reader.tags, ask.reader.waiting)
            && !reputation.is_refused(ask.reader.keys.principal)
            && !ask.reader.groups.iter().all(|group| reputation.is_open(*group))
    }

    /// Lets the application judge a reader of which nothing is known. `None`: it is known to be good now.
    async fn prove(
        &self,
        first: Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        ask: &mut Ask,
    ) -> Result<Option<Response<Body>>, UpstreamError> {
        let response = self.ask_for(first, peer, (route, &ask.reader), Relayed::Proof).await?;
        if is_shown(response.status()) {
            self.speak_for(route, ask);
            let good = |group: &GroupIndex| self.callers.reputation().is_good(ask.reader.keys.principal, *group);
            ask.reader.asker.joins = ask.reader.groups.iter().any(good);
        }
        if ask.reader.asker.joins {
            return Ok(None);
        }
        Ok(Some(answer::with_status(response, "tidegate; fwd=bypass; detail=unproven")))
    }

    /// The application answered a read of this principal. What it shows to anybody alike says nothing of who asks (ruling
    /// 17).
    fn speak_for(&self, route: &CacheRoute, ask: &Ask) {
        let Reader { keys, proves, .. } = &ask.reader;
        let is_own = ask.key.view.is_some();
        if is_own && !keys.nameless {
            self.callers.vouch_by_read(keys.principal, route.index, proves);
        }
    }

    /// What a reader may take of the memory of bodies.
    fn share(&self, ask: &Ask, peer: &Peer) -> Share {
        self.callers.memory_share(ask.reader.keys.principal, peer.client)
    }

    async fn lookup(
        &self,
        request: Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        mut ask: Ask,
    ) -> Result<Response<Body>, UpstreamError> {
        let mut waited = None;
        loop {
            if let Err(why) = self.settled(route, &ask.reader).await {
                return self.bypass(request, peer, (route, &ask.reader), why).await;
            }
            if self.is_to_be_proven(&ask) {
                let first = without_body(&request);
                match self.prove(first, peer, route, &mut ask).await? {
                    Some(response) => return Ok(response),
                    None => continue,
                }
            }
            let now = self.clock.instant();
            let (reason, stored) = match self.look(&request, peer, &ask, now) {
                Look::Hit(entry) => return Ok(self.hit(&request, &entry, now, waited)),
                Look::Stale(entry) => {
                    self.revalidate_behind(&request, peer, route, &ask, &entry);
                    return Ok(self.hit(&request, &entry, now, waited));
                }
                Look::Ask { reason, stored } => (reason, stored),
            };
            if ask.wishes.only_if_cached {
                return Ok(answer::only_if_cached(reason));
            }
            if *request.method() == Method::HEAD {
                return self.head(request, peer, (route, &ask), stored.as_deref()).await;
            }
            let alone = waited.is_some()
                || reason == "request"
                || (ask.conditional && stored.as_ref().is_none_or(|entry| entry.parts.is_some()))
                || self.store.is_shunned(&ask.key, now);
            let lead = match if alone { None } else { Some(self.store.join(&ask.key)) } {
                Some(Flight::Follow(mut done)) => {
                    // Whether the lead ends or its time is over: look again, and then ask for oneself.
                    drop(tokio::time::timeout(FLIGHT_WAIT, done.changed()).await);
                    waited = Some(reason);
                    continue;
                }
                Some(Flight::Lead(lead)) => Some(lead),
                None => None,
            };
            return self.fetch(request, peer, route, &ask, fetch::Errand { reason, stored, lead }).await;
        }
    }

    fn look(&self, request: &Request<Body>, peer: &Peer, ask: &Ask, now: Instant) -> Look {
        let line = Line::new(request.version(), self.upstream.hops());
        let entry = match self.store.get(&ask.key, &mut line.values(request.headers(), peer)) {
            Stored::Nothing => return Look::Ask { reason: "uri-miss", stored: None },
            Stored::OtherVariants => return Look::Ask { reason: "vary-miss", stored: None },
            Stored::Entry(entry) => entry,
        };
        if !self.is_current(&entry, &ask.reader.tags) {
            return Look::Ask { reason: "stale", stored: None };
        }
        match reuse::decide(&entry.terms, entry.age(now), &ask.wishes) {
            Use::Serve | Use::ServeAndRevalidate
                if !answer::has_what_is_asked(request.method(), request.headers(), &entry) =>
            {
                Look::Ask { reason: "partial", stored: Some(entry) }
            }
            Use::Serve => Look::Hit(entry),
            Use::ServeAndRevalidate => Look::Stale(entry),
            Use::AskForRequest => Look::Ask { reason: "request", stored: Some(entry) },
            Use::AskForStale => Look::Ask { reason: "stale", stored: Some(entry) },
        }
    }

    /// INVARIANT: whatever is taken from the store passes here, after its look-up and before it is used: an event that
    /// was acknowledged before shows as a moved generation.
    fn is_current(&self, entry: &Entry, tags: &[Tag]) -> bool {
        self.tags.unmoved(tags, &entry.generations)
    }
}

/// The caller was shown something, or told that it is what it has.
fn is_shown(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_MODIFIED
}

/// A read once more.
fn without_body(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
