//! The one service of the public listener: match, decide, reply. Its error is `Infallible`: whatever happens becomes
//! an answer, in [`reply`].

pub mod collect;
pub mod own;
pub mod reply;

use crate::body::Body;
use crate::clock::Clock;
use crate::drain::Drain;
use crate::event::{EventId, Fingerprint, GroupIndex, LaneKey, Subject, UserId};
use crate::identity::{Caller, Identity};
use crate::ingest::decode::{self, Call, Scope};
use crate::ingest::refusal::{Decline, Forward, Refusal};
use crate::ingest::settings::Group;
use crate::ingest::{Ack, Hold, Ingest};
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::peer::{Connection, Peer};
use crate::read::{Read, ReadScope, user_of};
use crate::route::{EventRoute, Found, Params, Routes, WriteRoute};
use crate::template::Template;
use crate::upstream::{Upstream, UpstreamError};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the gateway is made of.
pub struct Setup {
    /// Rules.
    pub routes: Routes,
    /// Who is who.
    pub identity: Arc<Identity>,
    /// Event path.
    pub ingest: Ingest,
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
    /// Who hears of what was invalidated.
    pub notices: Arc<Notices>,
    /// Ends what would stream for ever.
    pub drain: Drain,
}

/// The public service; clones share everything.
#[derive(Clone)]
pub struct Gateway(Arc<Setup>);

/// Who a synchronous call's lanes belong to, and what it makes old.
struct Owner {
    user: Option<UserId>,
    credential: Fingerprint,
    /// Groups of those lanes.
    groups: Vec<GroupIndex>,
    /// Names of the tags.
    tags: Vec<String>,
    /// The group whose older states it would replace, of what, and under which id.
    state: Option<(GroupIndex, Subject, EventId)>,
}

impl Gateway {
    /// A gateway.
    #[must_use]
    pub fn new(parts: Setup) -> Self {
        Self(Arc::new(parts))
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Never.
    pub async fn handle(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let unknown = Connection { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), secure: false };
        let peer = Peer::new(request.extensions().get::<Connection>().copied().unwrap_or(unknown));
        Ok(self.answer(request.map(Body::Incoming), &peer).await)
    }

    async fn answer(&self, request: Request<Body>, peer: &Peer) -> Response<Body> {
        if request.uri().path() == own::INVALIDATIONS {
            self.count("listen");
            return self.invalidations(&request.into_parts().0);
        }
        let found = self.0.routes.find(request.method(), request.uri().path());
        let outcome = match found {
            Found::Preview(route) => {
                self.count("preview");
                return Box::pin(self.preview(&request.into_parts().0, route)).await;
            }
            // Boxed: a future as large as the largest of these would be moved about for every hit.
            Found::Event(candidates, params) => return Box::pin(self.event(request, peer, &candidates, &params)).await,
            Found::Batch(group) => return Box::pin(self.batch(request, peer, group)).await,
            Found::Write(route, params) => return Box::pin(self.write(request, peer, route, &params)).await,
            Found::Cache(route, params) => {
                self.0.metrics.reads.inc();
                self.0.read.get(request, peer, route, &params).await
            }
            Found::Other => {
                self.count("forwarded");
                Box::pin(self.pass(request, peer)).await
            }
        };
        outcome.unwrap_or_else(|error| fail(&error))
    }

    /// Forwards a call; a write makes stored answers to its URI old (RFC 9111 §4.4) before its client hears of it.
    async fn pass(&self, request: Request<Body>, peer: &Peer) -> Result<Response<Body>, UpstreamError> {
        let (parts, body) = request.into_parts();
        let old = self.0.read.makes_old(&parts, peer, &self.0.routes);
        let response = self.0.upstream.relay(Request::from_parts(parts, body), peer).await;
        match old {
            Some(old) => old.end(&self.0.routes, response),
            None => response,
        }
    }

    fn count(&self, action: &str) {
        self.0.metrics.calls.with_label_values(&[action]).inc();
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
        let raw = match collect::gather(body, self.0.ingest.limits().max_body, self.0.body_timeout).await {
            Ok(raw) => raw,
            Err(refusal) => return self.refuse(&parts, &refusal),
        };
        let decided = self.decide(&parts, peer, candidates, params, &raw, false).await;
        let (why, owner) = match decided {
            Ok(ack) => {
                self.0.metrics.ack_seconds.observe(began.elapsed().as_secs_f64());
                return self.acknowledge(&parts, ack);
            }
            Err((Decline::Refuse(refusal), _)) => return self.refuse(&parts, &refusal),
            Err((Decline::Forward(why), owner)) => (why, owner),
        };
        if why == Forward::Unproven {
            return self.prove(parts, raw, peer, candidates, params, owner).await;
        }
        self.synchronously(parts, raw, peer, why, owner).await
    }

    /// `admit = "proven"`: the application hears the call first; if it can't tell, the call is kept.
    async fn prove(
        &self,
        parts: Parts,
        raw: Bytes,
        peer: &Peer,
        candidates: &[&EventRoute],
        params: &Params,
        owner: Owner,
    ) -> Response<Body> {
        let again = copy(&parts);
        let credential = owner.credential;
        let response = self.try_synchronously(parts, raw.clone(), peer, Forward::Unproven, owner).await;
        // What a shared batch carries nobody judges later: only a proof lets it in.
        let shared = |route: &&EventRoute| self.0.ingest.group(route.group).is_some_and(Group::is_shared);
        if candidates.iter().any(shared) {
            return self.flatten(&again, response);
        }
        let silent = match &response {
            Ok(Ok(response)) => matches!(response.status().as_u16(), 404 | 405 | 501..),
            Ok(Err(_)) => true,
            Err(_) => false,
        };
        if silent && let Ok(ack) = self.decide(&again, peer, candidates, params, &raw, true).await {
            tracing::debug!(?credential, "the application could not judge a credential; its call is kept");
            return self.acknowledge(&again, ack);
        }
        self.flatten(&again, response)
    }

    async fn decide(
        &self,
        parts: &Parts,
        peer: &Peer,
        candidates: &[&EventRoute],
        params: &Params,
        raw: &Bytes,
        vouched: bool,
    ) -> Result<Ack, (Decline, Owner)> {
        let now = self.0.clock.now();
        let caller = self.0.identity.caller(parts, now);
        let request_id = request_id(parts);
        let call = Call::new(&caller, params, &request_id, now, peer.client);
        let limit = self.0.ingest.limits().max_body;
        let body = match self.admissible(&caller, candidates) {
            Ok(()) => collect::unpack(&parts.headers, raw.clone(), limit).map_err(Decline::Refuse),
            Err(why) => Err(Decline::Forward(why)),
        };
        let result = match &body {
            Ok(body) => self.0.ingest.take(candidates, &call, body, vouched).await,
            Err(decline) => Err(decline.clone()),
        };
        result.map_err(|decline| {
            let owner = self.owner(&caller, params, &call, candidates, body.as_ref().unwrap_or(raw));
            (decline, owner)
        })
    }

    fn admissible(&self, caller: &Caller<'_>, candidates: &[&EventRoute]) -> Result<(), Forward> {
        self.0.identity.answerable(caller).map_err(Forward::NotAnswerable)?;
        let kind = caller.parts().headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
        let takes = |route: &&EventRoute| {
            route.content_types.is_empty() || route.content_types.iter().any(|allowed| **allowed == *kind)
        };
        if candidates.iter().any(takes) { Ok(()) } else { Err(Forward::ContentType) }
    }

    /// Whose lanes a call must not overtake: the user as the event would name them, else as the head does.
    fn owner(
        &self,
        caller: &Caller<'_>,
        params: &Params,
        call: &Call<'_>,
        candidates: &[&EventRoute],
        body: &Bytes,
    ) -> Owner {
        let mapped = decode::parse(body).ok().and_then(|(text, object)| {
            let route = decode::choose(candidates, &object)?;
            let scope = Scope { call, body: Some((text, &object)), event: None, user: None };
            let preview = decode::preview(&self.0.identity, Some(route), self.0.ingest.group(route.group)?, &scope);
            preview.map(|preview| (route.group, preview))
        });
        let (user, tags, state) = mapped.map_or((None, Vec::new(), None), |(group, preview)| {
            let state = preview.state.map(|(subject, id)| (group, subject, id));
            (Some(preview.user), preview.names, state)
        });
        let user = user.or_else(|| user_of(&self.0.identity, caller, params));
        let groups: Vec<_> = candidates.iter().map(|route| route.group).collect();
        let groups = self.0.ingest.with_siblings(&groups);
        Owner { user, credential: self.0.identity.fingerprint(caller), groups, tags, state }
    }

    async fn batch(&self, request: Request<Body>, peer: &Peer, group: GroupIndex) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let limit = self.0.ingest.limits().max_body;
        let raw = match collect::gather(body, limit, self.0.body_timeout).await {
            Ok(raw) => raw,
            Err(refusal) => return self.refuse(&parts, &refusal),
        };
        let now = self.0.clock.now();
        let params = Params::default();
        let decided = {
            let caller = self.0.identity.caller(&parts, now);
            let request_id = request_id(&parts);
            let call = Call::new(&caller, &params, &request_id, now, peer.client);
            let body = collect::unpack(&parts.headers, raw.clone(), limit);
            let taken = match (self.0.identity.answerable(&caller), &body) {
                (Err(why), _) => Err(Decline::Forward(Forward::NotAnswerable(why))),
                (Ok(()), Err(refusal)) => Err(Decline::Refuse(refusal.clone())),
                (Ok(()), Ok(body)) => self.0.ingest.take_batch(group, &call, body).await,
            };
            taken.map_err(|decline| {
                let (first, tags) = self.0.ingest.preview_batch(group, &call, body.as_ref().unwrap_or(&raw));
                let user = user_of(&self.0.identity, &caller, &params).or(first);
                let credential = self.0.identity.fingerprint(&caller);
                let groups = self.0.ingest.with_siblings(&[group]);
                (decline, Owner { user, credential, groups, tags, state: None })
            })
        };
        match decided {
            Ok(ack) => self.acknowledge(&parts, ack),
            Err((Decline::Refuse(refusal), _)) => self.refuse(&parts, &refusal),
            Err((Decline::Forward(why), owner)) => self.synchronously(parts, raw, peer, why, owner).await,
        }
    }

    /// Forwards an event call on its own route, after its lanes (ruling 4).
    async fn synchronously(&self, parts: Parts, raw: Bytes, peer: &Peer, why: Forward, owner: Owner) -> Response<Body> {
        let head = copy(&parts);
        let response = self.try_synchronously(parts, raw, peer, why, owner).await;
        self.flatten(&head, response)
    }

    fn flatten(
        &self,
        head: &Parts,
        response: Result<Result<Response<Body>, UpstreamError>, Refusal>,
    ) -> Response<Body> {
        match response {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => fail(&error),
            Err(refusal) => self.refuse(head, &refusal),
        }
    }

    async fn try_synchronously(
        &self,
        parts: Parts,
        raw: Bytes,
        peer: &Peer,
        why: Forward,
        owner: Owner,
    ) -> Result<Result<Response<Body>, UpstreamError>, Refusal> {
        self.count("forwarded");
        self.0.metrics.declined.with_label_values(&[why.as_str()]).inc();
        let hold = self.hold(&owner).await?;
        let stale = Stale::new(&self.0.ingest, owner.credential, owner.tags);
        let response = self.pass(Request::from_parts(parts, Body::from(raw)), peer).await;
        stale.end(&response);
        let taken = response.as_ref().is_ok_and(|response| response.status().is_success());
        // ORDER: before the lane may send again.
        if let (true, Some(hold), Some((group, subject, by)), Some(user)) = (taken, &hold, owner.state, owner.user) {
            hold.replace(LaneKey { group, user, credential: owner.credential }, subject, by);
        }
        drop(hold);
        if taken {
            self.0.ingest.vouch(owner.credential);
        }
        Ok(response)
    }

    async fn hold(&self, owner: &Owner) -> Result<Option<Hold>, Refusal> {
        let Some(user) = &owner.user else { return Ok(None) };
        let within = self.0.ingest.barrier_time();
        let hold = self.0.ingest.hold(user, owner.credential, &owner.groups, within).await;
        hold.map(Some).map_err(|_| Refusal::Busy(Duration::from_secs(1)))
    }

    /// A forwarded write that meets buffered ones.
    async fn write(&self, request: Request<Body>, peer: &Peer, route: &WriteRoute, params: &Params) -> Response<Body> {
        self.count("write");
        let (parts, body) = request.into_parts();
        let owner = {
            let caller = self.0.identity.caller(&parts, self.0.clock.now());
            let user = user_of(&self.0.identity, &caller, params);
            let scope = ReadScope { caller: &caller, params, user: user.as_ref() };
            let render = |tag: &Template| tag.render(&scope);
            let tags: Vec<_> = route.invalidates.iter().filter_map(render).collect();
            if user.is_none() && !route.drains.is_empty() {
                tracing::warn!(path = parts.uri.path(), "a write names no user in its head: it waits for no lanes");
            }
            let groups = self.0.ingest.with_siblings(&route.groups);
            Owner { user, credential: self.0.identity.fingerprint(&caller), groups, tags, state: None }
        };
        let hold = if route.drains.is_empty() { Ok(None) } else { self.hold(&owner).await };
        let hold = match hold {
            Ok(hold) => hold,
            Err(refusal) => return self.refuse(&parts, &refusal),
        };
        let stale = Stale::new(&self.0.ingest, owner.credential, owner.tags);
        let response = self.pass(Request::from_parts(parts, body), peer).await;
        stale.end(&response);
        drop(hold);
        match response {
            Ok(response) => {
                if response.status().is_success() {
                    self.0.ingest.vouch(owner.credential);
                }
                response
            }
            Err(error) => fail(&error),
        }
    }

    /// What a browser depends on in every answer.
    fn dress(&self, parts: &Parts, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        headers.extend(self.0.identity.cors_headers(parts));
        if let Some(id) = parts.headers.get(REQUEST_ID) {
            headers.insert(REQUEST_ID, id.clone());
        }
    }

    fn acknowledge(&self, parts: &Parts, ack: Ack) -> Response<Body> {
        match ack.duplicate {
            true => self.count("duplicate"),
            false => self.0.metrics.acknowledged.inc(),
        }
        let id = HeaderValue::try_from(&ack.request_id);
        let mut response = reply::acknowledge(ack);
        self.dress(parts, &mut response);
        if let Ok(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    fn refuse(&self, parts: &Parts, refusal: &Refusal) -> Response<Body> {
        self.count("refused");
        self.0.metrics.declined.with_label_values(&[refusal.as_str()]).inc();
        tracing::debug!(reason = refusal.as_str(), path = parts.uri.path(), "a call was refused");
        let mut response = reply::refuse(refusal);
        self.dress(parts, &mut response);
        response
    }
}

/// What a forwarded call makes old: when its answer is there and before its client hears of it, or when the client went
/// away and nobody knows. A fill that began before is not stored either, since the generation has moved.
struct Stale<'a> {
    ingest: &'a Ingest,
    caller: Fingerprint,
    tags: Vec<String>,
}

impl<'a> Stale<'a> {
    const fn new(ingest: &'a Ingest, caller: Fingerprint, tags: Vec<String>) -> Self {
        Self { ingest, caller, tags }
    }

    /// RFC 9111 §4.4: an error says that nothing has changed; no answer, or a 5xx, doesn't.
    fn end(mut self, response: &Result<Response<Body>, UpstreamError>) {
        if response.as_ref().is_ok_and(|response| response.status().is_client_error()) {
            self.tags.clear();
        }
    }
}

impl Drop for Stale<'_> {
    fn drop(&mut self) {
        self.ingest.invalidate(self.caller, std::mem::take(&mut self.tags));
    }
}

fn fail(error: &UpstreamError) -> Response<Body> {
    tracing::warn!(%error, "the application gave no answer");
    reply::failure(error)
}

/// The head of a request, for a second look; without its extensions.
fn copy(parts: &Parts) -> Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = parts.method.clone();
    copy.uri = parts.uri.clone();
    copy.version = parts.version;
    copy.headers = HeaderMap::clone(&parts.headers);
    copy
}

fn request_id(parts: &Parts) -> String {
    let given = parts.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}
