//! The one service of the public listener: match, decide, reply. Its error is `Infallible`: whatever happens becomes
//! an answer, in [`reply`].

pub mod collect;
mod forward;
pub mod own;
pub mod reply;
mod unpack;

use crate::body::Body;
use crate::cache::policy::precondition;
use crate::cache::tags::Tags;
use crate::clock::Clock;
use crate::drain::Drain;
use crate::event::{GroupIndex, Principal, UserId};
use crate::identity::{Caller, Identity, Part};
use crate::ingest::accept::call::{Call, Scope};
use crate::ingest::accept::decode;
use crate::ingest::accept::preview::preview;
use crate::ingest::accept::refusal::{Decline, Forward, Refusal};
use crate::ingest::accept::take::{Ack, Prepared};
use crate::ingest::{Acceptor, CallerLanes, CallerStanding};
use crate::json::Object;
use crate::memory::Lease;
use crate::metrics::{Action, Metrics};
use crate::notices::Notices;
use crate::peer::{Arrived, Connection, Peer, TrustedProxies};
use crate::read::Read;
use crate::route::{EventRoute, Found as Rule, Params, Routes, WriteRoute};
use crate::template::{Found, Lookup, Source, Template};
use crate::upstream::Upstream;
use crate::upstream::headers::normalize;
use bytes::Bytes;
use collect::{Bounds, Gathered, Unread, Whole};
use forward::{Touches, fail};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use hyper::body::Incoming;
use std::borrow::Cow;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use unpack::Unpacker;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the gateway is made of.
pub struct Setup {
    /// Rules.
    pub routes: Routes,
    /// Who is who.
    pub identity: Arc<Identity>,
    /// Takes events.
    pub(crate) acceptor: Acceptor,
    /// What callers have pending.
    pub(crate) lanes: CallerLanes,
    /// What is known of callers.
    pub(crate) standing: CallerStanding,
    /// Generations.
    pub(crate) tags: Arc<Tags>,
    /// Read path.
    pub read: Read,
    /// The way to the application.
    pub upstream: Upstream,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// Wall clock.
    pub clock: Clock,
    /// A buffered body must be there in this time.
    pub body_timeout: Duration,
    /// Who may say on whose behalf it calls.
    pub trusted_proxies: TrustedProxies,
    /// Who hears of what was invalidated.
    pub notices: Arc<Notices>,
    /// Ends what would stream for ever.
    pub drain: Drain,
    /// A forwarded call's answer says why (`server.explain`).
    pub explain: bool,
}

/// The public service; clones share everything.
#[derive(Clone)]
pub struct Gateway(Arc<Setup>, Unpacker);

/// What becomes of an event call.
enum Decision<A> {
    /// Tidegate answers it, as soon as it is kept ([`Prepared`]), or since it is ([`Ack`]).
    Acknowledge(A),
    /// The application does, after what is before it.
    Forward(Forward, Box<Touches>),
    /// Tidegate refuses it, since its configuration or its own limits say so.
    Refuse(Refusal),
}

impl Gateway {
    /// A gateway.
    #[must_use]
    pub fn new(parts: Setup) -> Self {
        Self(Arc::new(parts), Unpacker::new())
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Never.
    pub async fn handle(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let unknown = Connection { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), secure: false };
        let (mut parts, body) = request.into_parts();
        let connection = parts.extensions.get::<Arrived>().map_or(unknown, |arrived| arrived.connection);
        match normalize(&mut parts, &connection, &self.0.trusted_proxies) {
            Ok(peer) => {
                let body = Body::arriving(body, &parts.headers);
                Ok(self.answer(Request::from_parts(parts, body), &peer).await)
            }
            Err(error) => {
                self.count(Action::Refused);
                self.0.metrics.declined.with_label_values(&[error.as_str()]).inc();
                Ok(reply::bad_head(&error))
            }
        }
    }

    async fn answer(&self, request: Request<Body>, peer: &Peer) -> Response<Body> {
        if request.uri().path() == own::INVALIDATIONS {
            self.count(Action::Listen);
            return self.invalidations(&request.into_parts().0, peer);
        }
        let found = self.0.routes.find(request.method(), request.uri().path());
        let outcome = match found {
            Rule::Preview(route) => {
                self.count(Action::Preview);
                return Box::pin(self.preview(&request.into_parts().0, peer, route)).await;
            }
            // Boxed: a future as large as the largest of these would be moved about for every hit.
            Rule::Event(candidates, params) => return Box::pin(self.event(request, peer, &candidates, &params)).await,
            Rule::Batch(group) => return Box::pin(self.batch(request, peer, group)).await,
            Rule::Write(route, params) => return Box::pin(self.write(request, peer, route, &params)).await,
            Rule::Cache(route, params) => {
                self.count(Action::Read);
                let beside = self.0.routes.groups_at(request.uri().path());
                self.0.read.get(request, peer, route, &params, &beside).await
            }
            Rule::Other => return Box::pin(self.other(request, peer)).await,
        };
        outcome.unwrap_or_else(|error| fail(&error))
    }

    /// No rule has it. What shares its path with events goes after its caller's lanes all the same: an update must not
    /// meet a row that was not inserted yet.
    async fn other(&self, request: Request<Body>, peer: &Peer) -> Response<Body> {
        let waits = !matches!(*request.method(), Method::OPTIONS | Method::TRACE | Method::CONNECT);
        let groups = if waits { self.0.routes.groups_at(request.uri().path()) } else { Vec::new() };
        self.count(Action::Forwarded);
        if groups.is_empty() {
            return self.pass_whole(request, peer).await;
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD)
            && !precondition::overrides_method(request.headers());
        let (parts, body) = request.into_parts();
        let gathered = match self.gather(&parts, peer, body).await {
            Ok(gathered) => gathered,
            Err(refusal) => return self.refuse(&parts, &refusal),
        };
        let touches = {
            let caller = self.0.identity.caller(&parts, peer, self.0.clock.now());
            let user = self.user_without_body(&caller, &Params::default());
            self.touches(&caller, &Params::default(), user, &groups, None)
        };
        if reads {
            let body = match self.keep(gathered, touches.asker.principal, peer) {
                Ok(body) => body,
                Err(refusal) => return self.refuse(&parts, &refusal),
            };
            self.wait_as_reader(&touches).await;
            return self.pass(Request::from_parts(parts, body), peer, false).await.unwrap_or_else(|error| fail(&error));
        }
        self.forward(Request::from_parts(parts, gathered), peer, None, touches).await
    }

    /// Ruling 17: a read of an empty or refused principal seals nothing, and passes. In time or not: the answer is as new as
    /// the application is.
    async fn wait_as_reader(&self, touches: &Touches) {
        let Touches { asker, keys, groups, .. } = touches;
        if keys.nameless || self.0.standing.reputation().is_refused(keys.principal) {
            return;
        }
        self.0.lanes.barrier(asker, groups, self.0.lanes.barrier_time()).await;
    }

    async fn gather(&self, parts: &Parts, peer: &Peer, body: Body) -> Result<Gathered, Refusal> {
        let bounds =
            Bounds { most: self.0.acceptor.max_body(), within: self.0.body_timeout, memory: self.0.standing.memory() };
        let whose = || {
            let caller = self.0.identity.caller(parts, peer, self.0.clock.now());
            self.0.standing.memory_share(self.0.identity.keys(&caller, None).principal, peer.client)
        };
        collect::gather(body, bounds, whose).await
    }

    /// A body as it waits and goes on, in its caller's share of the memory.
    fn keep(&self, gathered: Gathered, principal: Principal, peer: &Peer) -> Result<Body, Refusal> {
        gathered.keep(|| self.0.standing.memory_share(principal, peer.client))
    }

    fn count(&self, action: Action) {
        self.0.metrics.calls.count(action);
    }

    async fn event(
        &self,
        request: Request<Body>,
        peer: &Peer,
        candidates: &[&EventRoute],
        params: &Params,
    ) -> Response<Body> {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let gathered = match self.gather(&parts, peer, body).await {
            Ok(gathered) => gathered,
            Err(refusal) => return self.refuse(&parts, &refusal),
        };
        let request_id = request_id(&parts);
        let head = EventHead { parts: &parts, peer, candidates, params, request_id: &request_id };
        let decision = match &gathered {
            Gathered::Whole(Whole { raw, .. }) => match self.decide(&head, raw) {
                Some(decision) => decision,
                None => Box::pin(self.decide_packed(&head, raw)).await,
            },
            Gathered::Streamed(_, unread) => {
                let group = candidates.first().map(|route| route.group);
                self.decide_streamed(&parts, peer, (candidates, params), (group, *unread))
            }
        };
        let decision = match decision {
            Decision::Acknowledge(prepared) => match self.0.acceptor.keep_prepared(*prepared).await {
                Ok(Some(ack)) => Decision::Acknowledge(ack),
                Ok(None) => {
                    let raw = gathered.raw();
                    Box::pin(self.decide_again(&head, raw)).await
                }
                Err(decline) => self.decline_unkept(&head, &gathered.raw(), decline),
            },
            Decision::Forward(why, touches) => Decision::Forward(why, touches),
            Decision::Refuse(refusal) => Decision::Refuse(refusal),
        };
        if let Decision::Acknowledge(ack) = decision {
            self.0.metrics.ack_seconds.observe(began.elapsed().as_secs_f64());
            return self.acknowledge(&parts, ack, &request_id);
        }
        Box::pin(self.carry_out(decision, parts, gathered, peer, &request_id)).await
    }

    async fn carry_out(
        &self,
        decision: Decision<Ack>,
        parts: Parts,
        gathered: Gathered,
        peer: &Peer,
        request_id: &str,
    ) -> Response<Body> {
        match decision {
            Decision::Acknowledge(ack) => self.acknowledge(&parts, ack, request_id),
            Decision::Forward(why, touches) => {
                self.forward(Request::from_parts(parts, gathered), peer, Some(&why), *touches).await
            }
            Decision::Refuse(refusal) => {
                // A client that waits for a 100 hears the refusal without having sent anything.
                if let Gathered::Streamed(body, _) = gathered
                    && !body.is_expected()
                {
                    collect::drain(body).await;
                }
                self.refuse(&parts, &refusal)
            }
        }
    }

    /// A body that is too large to be looked at, has trailers or found no room: the application's, unless the group
    /// refuses the first.
    fn decide_streamed<A>(
        &self,
        parts: &Parts,
        peer: &Peer,
        (candidates, params): (&[&EventRoute], &Params),
        (group, unread): (Option<GroupIndex>, Unread),
    ) -> Decision<A> {
        let decline = match unread {
            Unread::TooLarge => Decline::Refuse(Refusal::TooLarge(self.0.acceptor.max_body())),
            Unread::Trailers => Decline::Forward(Forward::Trailers),
            Unread::NoRoom => Decline::Forward(Forward::NoRoom),
        };
        let caller = self.0.identity.caller(parts, peer, self.0.clock.now());
        match self.0.acceptor.judge(group, decline) {
            Decline::Refuse(refusal) => Decision::Refuse(refusal),
            Decline::Forward(why) => {
                let user = self.user_without_body(&caller, params);
                let groups: Vec<_> = candidates.iter().map(|route| route.group).chain(group).collect();
                Decision::Forward(why, self.touches(&caller, params, user, &groups, None).into())
            }
        }
    }

    /// Decides what becomes of an event call whose body is whole; `None`: its body must be unpacked off this thread first.
    fn decide(&self, head: &EventHead<'_>, raw: &Bytes) -> Option<Decision<Box<Prepared>>> {
        let caller = self.0.identity.caller(head.parts, head.peer, self.0.clock.now());
        let group = head.candidates.first().map(|route| route.group);
        let mut room = None;
        let body = match self.admissible(&caller, head.candidates) {
            Ok(()) => match self.unpack_now(&caller, raw, group, &mut room) {
                Ok(Some(body)) => Ok(body),
                Ok(None) => return None,
                Err(decline) => Err(decline),
            },
            Err(why) => Err(Decline::Forward(why)),
        };
        Some(self.decide_unpacked(head, &caller, raw, body))
    }

    /// As [`decide`](Self::decide), for a large body in a content coding.
    async fn decide_packed(&self, head: &EventHead<'_>, raw: &Bytes) -> Decision<Box<Prepared>> {
        let caller = self.0.identity.caller(head.parts, head.peer, self.0.clock.now());
        let groups: Vec<_> = head.candidates.iter().map(|route| route.group).collect();
        let mut room = None;
        let body = self.unpack(&caller, raw, &groups, &mut room).await;
        self.decide_unpacked(head, &caller, raw, body)
    }

    fn decide_unpacked<'c>(
        &self,
        head: &'c EventHead<'_>,
        caller: &'c Caller<'c>,
        raw: &Bytes,
        body: Result<Bytes, Decline>,
    ) -> Decision<Box<Prepared>> {
        let call = Call::new(caller, head.params, head.request_id);
        let prepared = match &body {
            Ok(body) => self.0.acceptor.prepare(head.candidates, &call, raw, body),
            Err(decline) => Err(decline.clone()),
        };
        match prepared {
            Ok(prepared) => Decision::Acknowledge(Box::new(prepared)),
            Err(Decline::Refuse(refusal)) => Decision::Refuse(refusal),
            Err(Decline::Forward(why)) => {
                let touches = self.touched_by(&call, head.candidates, &self.shown(head.parts, raw, body));
                Decision::Forward(why, touches.into())
            }
        }
    }

    /// The id of an event became known while it was on its way: it is prepared once more, and is a repetition now.
    async fn decide_again(&self, head: &EventHead<'_>, raw: Bytes) -> Decision<Ack> {
        let decision = self.decide_packed(head, &raw).await;
        match decision {
            Decision::Acknowledge(prepared) => match self.0.acceptor.keep_prepared(*prepared).await {
                Ok(Some(ack)) => Decision::Acknowledge(ack),
                // It was forgotten at once, and is known once more: one of many in one moment.
                Ok(None) => Decision::Refuse(Refusal::Busy(Duration::from_secs(1))),
                Err(decline) => self.decline_unkept(head, &raw, decline),
            },
            Decision::Forward(why, touches) => Decision::Forward(why, touches),
            Decision::Refuse(refusal) => Decision::Refuse(refusal),
        }
    }

    /// An event that could not be kept after all is the application's.
    fn decline_unkept(&self, head: &EventHead<'_>, raw: &Bytes, decline: Decline) -> Decision<Ack> {
        let why = match decline {
            Decline::Refuse(refusal) => return Decision::Refuse(refusal),
            Decline::Forward(why) => why,
        };
        let caller = self.0.identity.caller(head.parts, head.peer, self.0.clock.now());
        let call = Call::new(&caller, head.params, head.request_id);
        let shown = self.shown(head.parts, raw, Err(Decline::Forward(why.clone())));
        Decision::Forward(why, self.touched_by(&call, head.candidates, &shown).into())
    }

    /// A body without its coding, if that is quick; `room`: what that takes, where it takes more than the body as it came.
    fn unpack_now(
        &self,
        caller: &Caller<'_>,
        raw: &Bytes,
        group: Option<GroupIndex>,
        room: &mut Option<Lease>,
    ) -> Result<Option<Bytes>, Decline> {
        let headers = &caller.parts().headers;
        if !headers.contains_key(header::CONTENT_ENCODING) {
            return Ok(Some(raw.clone()));
        }
        let judge = |refusal| self.0.acceptor.judge(group, Decline::Refuse(refusal));
        let small = unpack::unpack_small(headers, raw, self.0.acceptor.max_body()).map_err(judge)?;
        let Some(body) = small else { return Ok(None) };
        *room = Some(self.lease(&body)?);
        Ok(Some(body))
    }

    /// Room for what a coding held.
    fn lease(&self, body: &Bytes) -> Result<Lease, Decline> {
        let mut lease = self.0.standing.memory().unnamed().lease();
        lease.stretch(body.len()).map_err(|_| Decline::Forward(Forward::NoRoom))?;
        Ok(lease)
    }

    /// A body without its coding; what that makes of it has room of its own. A large one is unpacked only for a caller that
    /// may be answered.
    async fn unpack(
        &self,
        caller: &Caller<'_>,
        raw: &Bytes,
        groups: &[GroupIndex],
        room: &mut Option<Lease>,
    ) -> Result<Bytes, Decline> {
        let group = groups.first().copied();
        if let Some(body) = self.unpack_now(caller, raw, group, room)? {
            return Ok(body);
        }
        let (headers, most) = (&caller.parts().headers, self.0.acceptor.max_body());
        let is_good = self.standing(caller, groups).map_err(Decline::Forward)?;
        let unpacked = self.1.unpack(headers, raw, (most, is_good)).await;
        let body = unpacked.map_err(|decline| self.0.acceptor.judge(group, decline))?;
        *room = Some(self.lease(&body)?);
        Ok(body)
    }

    /// Whether a caller is known to be good, as far as its head tells.
    ///
    /// # Errors
    /// It is known that its call will be forwarded.
    fn standing(&self, caller: &Caller<'_>, groups: &[GroupIndex]) -> Result<bool, Forward> {
        let named = &self.0.identity.settings().selection.named;
        if named.iter().any(|part| matches!(part, Part::Body(_))) {
            return Ok(false);
        }
        let (principal, reputation) = (self.0.identity.keys(caller, None).principal, self.0.standing.reputation());
        if reputation.is_refused(principal) {
            return Err(Forward::Rejected);
        }
        if !groups.iter().any(|group| reputation.is_proven(principal, *group)) {
            return Err(Forward::Unproven);
        }
        Ok(reputation.is_good_anywhere(principal))
    }

    /// What may be looked at of the body of a call that is forwarded.
    fn shown(&self, parts: &Parts, raw: &Bytes, body: Result<Bytes, Decline>) -> Bytes {
        let small = || unpack::unpack_small(&parts.headers, raw, self.0.acceptor.max_body()).ok().flatten();
        body.ok().or_else(small).unwrap_or_else(|| raw.clone())
    }

    fn admissible(&self, caller: &Caller<'_>, candidates: &[&EventRoute]) -> Result<(), Forward> {
        self.0.identity.answerable(caller).map_err(Forward::NotAnswerable)?;
        let kind = media_type(caller);
        let lists = |route: &&EventRoute| route.content_types.iter().any(|allowed| **allowed == *kind);
        if candidates.iter().any(lists) {
            return Ok(());
        }
        if candidates.iter().all(|route| !route.content_types.is_empty()) {
            return Err(Forward::ContentType);
        }
        if self.0.identity.is_asked_for(caller, &kind) { Ok(()) } else { Err(Forward::NotAskedFor) }
    }

    fn admissible_batch(&self, caller: &Caller<'_>) -> Result<(), Forward> {
        self.0.identity.answerable(caller).map_err(Forward::NotAnswerable)?;
        if self.0.identity.is_asked_for(caller, &media_type(caller)) { Ok(()) } else { Err(Forward::NotAskedFor) }
    }

    /// What an event call touches that is forwarded: the user and tags as the event would name them, else as the head does.
    fn touched_by(&self, call: &Call<'_>, candidates: &[&EventRoute], body: &Bytes) -> Touches {
        let parsed = decode::parse(body).ok();
        let mapped = parsed.as_ref().and_then(|(text, object)| {
            let route = decode::choose(candidates, object)?;
            let scope = Scope { call, body: Some((*text, object)), event: None, user: None };
            let found = preview(&self.0.identity, Some(route), self.0.acceptor.group(route.group)?, &scope);
            found.map(|found| (route.group, found))
        });
        let groups: Vec<_> = candidates.iter().map(|route| route.group).collect();
        let object = parsed.as_ref().map(|(_, object)| object);
        let head = || self.user_without_body(call.caller, call.params);
        match mapped {
            None => self.touches(call.caller, call.params, head(), &groups, object),
            Some((group, preview)) => {
                let touches = self.touches(call.caller, call.params, Some(preview.user), &groups, object);
                let state = preview.state.map(|(subject, id)| (group, subject, id));
                Touches { tags: preview.names, state, ..touches }
            }
        }
    }

    /// The user of a call whose body wasn't understood; none, which stands for all of its caller's lanes, if its body might
    /// have named another one than its head.
    fn user_without_body(&self, caller: &Caller<'_>, params: &Params) -> Option<UserId> {
        let scope = AnyBody(HeadScope { caller, params, user: None, body: None });
        self.0.identity.user(&scope)
    }

    /// What a call touches by its place: its caller's lanes in these groups, and the tags that its head can tell of.
    fn touches(
        &self,
        caller: &Caller<'_>,
        params: &Params,
        user: Option<UserId>,
        groups: &[GroupIndex],
        body: Option<&Object<'_>>,
    ) -> Touches {
        let keys = self.0.identity.keys(caller, body);
        let scope = HeadScope { caller, params, user: user.as_ref(), body };
        let of = groups.iter().filter_map(|group| self.0.acceptor.group(*group));
        let mut tags: Vec<_> = of.flat_map(|group| &group.invalidates).filter_map(|tag| tag.render(&scope)).collect();
        tags.sort_unstable();
        tags.dedup();
        let waits_for = self.0.lanes.with_siblings(groups);
        let asker = self.asker(caller, &keys, user, &waits_for);
        Touches { asker, keys, groups: waits_for, proves: groups.to_vec(), tags, state: None }
    }

    async fn batch(&self, request: Request<Body>, peer: &Peer, group: GroupIndex) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let params = Params::default();
        let gathered = match self.gather(&parts, peer, body).await {
            Ok(gathered) => gathered,
            Err(refusal) => return self.refuse(&parts, &refusal),
        };
        let request_id = request_id(&parts);
        let decision = match &gathered {
            Gathered::Whole(Whole { raw, .. }) => self.decide_batch((&parts, peer), group, raw, &request_id).await,
            Gathered::Streamed(_, unread) => self.decide_streamed(&parts, peer, (&[], &params), (Some(group), *unread)),
        };
        self.carry_out(decision, parts, gathered, peer, &request_id).await
    }

    async fn decide_batch(
        &self,
        (parts, peer): (&Parts, &Peer),
        group: GroupIndex,
        raw: &Bytes,
        request_id: &str,
    ) -> Decision<Ack> {
        let params = Params::default();
        let caller = self.0.identity.caller(parts, peer, self.0.clock.now());
        let call = Call::new(&caller, &params, request_id);
        let mut room = None;
        let body = match self.admissible_batch(&caller) {
            Ok(()) => self.unpack(&caller, raw, &[group], &mut room).await,
            Err(why) => Err(Decline::Forward(why)),
        };
        let taken = match &body {
            Ok(body) => self.0.acceptor.take_batch(group, &call, body).await,
            Err(decline) => Err(decline.clone()),
        };
        match taken {
            Ok(ack) => Decision::Acknowledge(ack),
            Err(Decline::Refuse(refusal)) => Decision::Refuse(refusal),
            Err(Decline::Forward(why)) => {
                let tags = self.0.acceptor.preview_batch(group, &call, &self.shown(parts, raw, body));
                // Ruling 26: after all lanes of its caller, whatever users it names.
                let touches = self.touches(&caller, &params, None, &[group], None);
                Decision::Forward(why, Touches { tags, ..touches }.into())
            }
        }
    }

    /// A forwarded write that meets buffered ones. Its body is read first, within bounds: its place in the order is taken
    /// when it is there, and its user may be in it.
    async fn write(&self, request: Request<Body>, peer: &Peer, route: &WriteRoute, params: &Params) -> Response<Body> {
        self.count(Action::Write);
        let (parts, body) = request.into_parts();
        let gathered = match self.gather(&parts, peer, body).await {
            Ok(gathered) => gathered,
            Err(refusal) => return self.refuse(&parts, &refusal),
        };
        let raw: &[u8] = if let Gathered::Whole(whole) = &gathered { &whole.raw } else { &[] };
        let touches = self.touched_by_write(&parts, peer, (route, params), raw);
        self.forward(Request::from_parts(parts, gathered), peer, None, touches).await
    }

    fn touched_by_write(
        &self,
        parts: &Parts,
        peer: &Peer,
        (route, params): (&WriteRoute, &Params),
        raw: &[u8],
    ) -> Touches {
        let caller = self.0.identity.caller(parts, peer, self.0.clock.now());
        let parsed = decode::parse(raw).ok();
        let body = parsed.as_ref().map(|(_, object)| object);
        let keys = self.0.identity.keys(&caller, body);
        let scope = HeadScope { caller: &caller, params, user: None, body };
        let template = route.user.as_ref().unwrap_or(&self.0.identity.settings().user);
        let user = self.0.identity.user_by(template, &scope);
        let scope = HeadScope { user: user.as_ref(), ..scope };
        let render = |tag: &Template| tag.render(&scope);
        let tags: Vec<_> = route.invalidates.iter().filter_map(render).collect();
        // What its path shares with events it goes after, whatever else it drains.
        let mut groups = self.0.routes.groups_at(parts.uri.path());
        groups.extend(route.groups.iter().filter(|_| !route.drains.is_empty()));
        let groups = if groups.is_empty() { groups } else { self.0.lanes.with_siblings(&groups) };
        let asker = self.asker(&caller, &keys, user, &groups);
        Touches { asker, keys, groups, proves: route.groups.clone(), tags, state: None }
    }

    /// What a browser depends on in every answer.
    fn dress(&self, parts: &Parts, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        headers.extend(self.0.identity.cors_headers(parts));
        if let Some(id) = parts.headers.get(REQUEST_ID) {
            headers.insert(REQUEST_ID, id.clone());
        }
    }

    fn acknowledge(&self, parts: &Parts, ack: Ack, request_id: &str) -> Response<Body> {
        self.count(if ack.duplicate { Action::Duplicate } else { Action::Acknowledged });
        let id = HeaderValue::try_from(request_id);
        let mut response = reply::acknowledge(ack);
        self.dress(parts, &mut response);
        if let Ok(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    fn refuse(&self, parts: &Parts, refusal: &Refusal) -> Response<Body> {
        self.count(Action::Refused);
        self.0.metrics.declined.with_label_values(&[refusal.as_str()]).inc();
        tracing::debug!(reason = refusal.as_str(), path = parts.uri.path(), "a call was refused");
        let mut response = reply::refuse(refusal);
        self.dress(parts, &mut response);
        response
    }
}

/// The head of an event call, and the rules of its path.
struct EventHead<'a> {
    parts: &'a Parts,
    peer: &'a Peer,
    candidates: &'a [&'a EventRoute],
    params: &'a Params,
    request_id: &'a str,
}

/// What templates can see of a call that is no event: its head, and its body where that was read. What a template expects
/// of an event is looked for in the body.
struct HeadScope<'a, 'c> {
    caller: &'a Caller<'c>,
    params: &'a Params,
    user: Option<&'a UserId>,
    body: Option<&'a Object<'a>>,
}

impl Lookup for HeadScope<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::User => self.user.map(|user| Found::Text(Cow::Borrowed(user.as_str()))),
            Source::Path => self.params.get(path.first()?).map(|text| Found::Text(Cow::Borrowed(text))),
            Source::Body | Source::Event => self.body?.at(path).map(Found::Json),
            _ => self.caller.look(source, path),
        }
    }
}

/// The head of a call whose body may hold anything: what a template finds there makes no user id.
struct AnyBody<'a, 'c>(HeadScope<'a, 'c>);

impl Lookup for AnyBody<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::Body | Source::Event => Some(Found::Text(Cow::Borrowed("\0"))),
            _ => self.0.find(source, path),
        }
    }
}

/// The type of a call's body in lower case, without parameters; empty where none can be read.
fn media_type<'a>(caller: &Caller<'a>) -> Cow<'a, str> {
    let line = caller.parts().headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = line.and_then(|line| line.split(';').next()).unwrap_or_default().trim();
    if kind.bytes().any(|byte| byte.is_ascii_uppercase()) { kind.to_ascii_lowercase().into() } else { kind.into() }
}

fn request_id(parts: &Parts) -> String {
    let given = parts.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    let made = || uuid::Uuid::new_v4().hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).to_owned();
    given.map_or_else(made, str::to_owned)
}
