//! The read path (design §7): barrier, lookup, one flight per missing key, store.
//!
//! Nothing older than the last acknowledged event on a response's tags is ever served from the cache (P7):
//!
//! 1. the asker's own pending events are sealed and awaited, up to the route's `barrier`;
//! 2. while any event is pending on the tags, the cache is passed by in both directions;
//! 3. the tags' generations are taken before the application is asked; a response whose tags have moved since, or on
//!    which something is pending by then, is not stored; a stored one whose tags have moved is not served.

use crate::body::{Body, BodyError};
use crate::cache::policy::{self, CacheControl, Declared, NotStored};
use crate::cache::store::{Entry, Flight, Key, Store};
use crate::cache::tags::{Generations, Tags};
use crate::clock::Clock;
use crate::event::{Fingerprint, Tag, UserId};
use crate::identity::{Caller, Identity};
use crate::ingest::{Ingest, Settled};
use crate::peer::Peer;
use crate::route::{CacheRoute, Params};
use crate::template::{Found, Lookup, Source};
use crate::upstream::{Upstream, UpstreamError};
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, StreamBody};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// How long somebody waits for another's flight before asking too.
const FLIGHT_WAIT: Duration = Duration::from_secs(5);
/// Longer targets are not cached, bytes.
const MAX_TARGET: usize = 4096;
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers that belong to the request that fetched a response, not to the response.
const PER_REQUEST: [HeaderName; 5] = [
    header::SET_COOKIE,
    REQUEST_ID,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::AGE,
    HeaderName::from_static("cache-status"),
];

/// The read path.
#[derive(Clone)]
pub struct Read {
    store: Arc<Store>,
    tags: Arc<Tags>,
    upstream: Upstream,
    ingest: Ingest,
    identity: Arc<Identity>,
    clock: Clock,
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
    identity.settings().user.render(&scope).and_then(|text| UserId::try_new(&text).ok())
}

/// A read that may use the cache.
struct Ask {
    key: Key,
    tags: Vec<Tag>,
    user: UserId,
    credential: Fingerprint,
    /// The request says `no-cache`: ask again, then store.
    refresh: bool,
}

/// Why the cache is passed by.
type Bypass = &'static str;

impl Read {
    /// A read path over a store.
    #[must_use]
    pub fn new(store: Arc<Store>, upstream: Upstream, ingest: Ingest, identity: Arc<Identity>, clock: Clock) -> Self {
        let tags = Arc::clone(ingest.tags());
        Self { store, tags, upstream, ingest, identity, clock }
    }

    /// Answers a GET or HEAD of a cache route.
    ///
    /// # Errors
    /// The application was asked and gave no answer.
    pub async fn get(
        &self,
        request: Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        params: &Params,
    ) -> Result<Response<Body>, UpstreamError> {
        let (parts, body) = request.into_parts();
        match self.examine(&parts, &body, route, params) {
            Ok(ask) => self.lookup(Request::from_parts(parts, body), peer, route, ask).await,
            Err(why) => self.bypass(Request::from_parts(parts, body), peer, why).await,
        }
    }

    fn examine(&self, parts: &Parts, body: &Body, route: &CacheRoute, params: &Params) -> Result<Ask, Bypass> {
        let caller = self.identity.caller(parts, self.clock.now());
        self.identity.answerable(&caller).map_err(crate::identity::NotAnswerable::as_str)?;
        if !body.is_end_stream() {
            return Err("body");
        }
        let conditional = [
            header::RANGE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_UNMODIFIED_SINCE,
            header::IF_RANGE,
            header::UPGRADE,
        ];
        if conditional.iter().any(|name| parts.headers.contains_key(name)) {
            return Err("conditional");
        }
        if parts.uri.path_and_query().is_some_and(|path| path.as_str().len() > MAX_TARGET) {
            return Err("long-target");
        }
        let credential = self.identity.fingerprint(&caller);
        let user = user_of(&self.identity, &caller, params);
        let scope = ReadScope { caller: &caller, params, user: user.as_ref() };
        let rendered: Option<Vec<_>> = route.tags.iter().map(|tag| Some(Tag::new(&tag.render(&scope)?))).collect();
        let tags = rendered.ok_or("no-tag")?;
        // A public route may have no user; then it has no events of its own to wait for either.
        let user = match user {
            Some(user) => user,
            None => UserId::try_new("-").map_err(|_| "no-user")?,
        };
        let key = Key {
            host: host(parts).ok_or("no-host")?,
            target: target(parts, &route.ignore_query),
            credential: (!route.public).then_some(credential),
        };
        let control = CacheControl::of(&parts.headers);
        let refresh = control.has("no-cache") || control.seconds("max-age") == Some(0);
        Ok(Ask { key, tags, user, credential, refresh })
    }

    async fn bypass(&self, request: Request<Body>, peer: &Peer, why: Bypass) -> Result<Response<Body>, UpstreamError> {
        self.store.counts.bypasses.fetch_add(1, Ordering::Relaxed);
        let response = self.upstream.relay(request, peer).await?;
        Ok(with_status(response, &format!("tidegate; fwd=bypass; detail={why}")))
    }

    /// Steps 1 and 2: afterwards nothing that was acknowledged is pending on the tags.
    async fn settled(&self, route: &CacheRoute, ask: &Ask) -> Result<(), Bypass> {
        if self.tags.pending_of(&ask.tags, ask.credential)
            && self.ingest.barrier(&ask.user, ask.credential, &route.groups, route.barrier).await == Settled::TimedOut
        {
            return Err("barrier-timeout");
        }
        if self.tags.pending(&ask.tags) { Err("pending") } else { Ok(()) }
    }

    async fn lookup(
        &self,
        request: Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        ask: Ask,
    ) -> Result<Response<Body>, UpstreamError> {
        let mut collapsed = false;
        loop {
            if let Err(why) = self.settled(route, &ask).await {
                return self.bypass(request, peer, why).await;
            }
            // ORDER: generations before the lookup, and pending looked at again after it: an event acknowledged in
            // between shows in one of the two.
            let generations = self.tags.snapshot(&ask.tags);
            let reason = match self.fresh(&request, &ask, &generations) {
                Ok(entry) => return Ok(self.hit(&request, &entry, collapsed)),
                Err(reason) => reason,
            };
            if *request.method() == Method::HEAD {
                return self.bypass(request, peer, "head").await;
            }
            match self.store.join(&ask.key) {
                Flight::Follow(mut done) if !collapsed => {
                    // Whether the lead ends or its time is over: look again, and then ask for oneself.
                    drop(tokio::time::timeout(FLIGHT_WAIT, done.changed()).await);
                    collapsed = true;
                }
                flight => {
                    let response = self.fetch(request, peer, route, &ask, generations, reason).await;
                    drop(flight);
                    return response;
                }
            }
        }
    }

    fn fresh(&self, request: &Request<Body>, ask: &Ask, now: &Generations) -> Result<Arc<Entry>, &'static str> {
        let entry = self.store.get(&ask.key, request.headers()).ok_or("uri-miss")?;
        if ask.refresh {
            return Err("request");
        }
        let fresh = entry.expires > Instant::now() && entry.generations == *now && !self.tags.pending(&ask.tags);
        if fresh { Ok(entry) } else { Err("stale") }
    }

    fn hit(&self, request: &Request<Body>, entry: &Entry, collapsed: bool) -> Response<Body> {
        self.store.counts.hits.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let head = *request.method() == Method::HEAD;
        let mut response = Response::new(if head { Body::empty() } else { Body::from(entry.body.clone()) });
        *response.headers_mut() = entry.headers.clone();
        let left = entry.expires.saturating_duration_since(now).as_secs();
        let age = entry.age.saturating_add(now.saturating_duration_since(entry.stored_at).as_secs());
        let headers = response.headers_mut();
        headers.insert(header::AGE, HeaderValue::from(age));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(entry.body.len()));
        if let Some(id) = request.headers().get(REQUEST_ID) {
            headers.insert(REQUEST_ID, id.clone());
        }
        self.echo_cors(headers, request.headers());
        let collapsed = if collapsed { "; collapsed" } else { "" };
        with_status(response, &format!("tidegate; hit; ttl={left}{collapsed}"))
    }

    /// The CORS headers are of this request, not of the one that fetched the response.
    fn echo_cors(&self, headers: &mut HeaderMap, request: &HeaderMap) {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = request.clone();
        for (name, value) in self.identity.cors_headers(&parts) {
            let there = name == header::VARY && headers.contains_key(header::VARY);
            if !there {
                headers.insert(name, value);
            }
        }
    }

    async fn fetch(
        &self,
        request: Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        ask: &Ask,
        generations: Generations,
        reason: &str,
    ) -> Result<Response<Body>, UpstreamError> {
        self.store.counts.misses.fetch_add(1, Ordering::Relaxed);
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let response = self.upstream.relay(request, peer).await?;
        let declared = Declared { ttl: route.ttl, force: route.force, public: route.public };
        let now = self.clock.now();
        let verdict = policy::storable(&method, &headers, response.status(), response.headers(), declared, now);
        let ttl = match verdict {
            Ok(ttl) => ttl,
            Err(why) => return Ok(not_stored(response, reason, why)),
        };
        let (head, body) = response.into_parts();
        let bytes = match gather(body, self.store.max_object).await {
            Ok(bytes) => bytes,
            // Too large: what was read goes out, the rest streams after it.
            Err(Gathered::TooLarge(body)) => {
                let response = Response::from_parts(head, body);
                return Ok(with_status(response, &format!("tidegate; fwd={reason}; detail=too-large")));
            }
            Err(Gathered::Broken(error)) => return Err(UpstreamError::ConnectionTerminated(error.to_string())),
        };
        let response = Response::from_parts(head, Body::from(bytes.clone()));
        // INVARIANT: stored only if nothing has moved or is pending since before the application was asked.
        if self.tags.snapshot(&ask.tags) != generations || self.tags.pending(&ask.tags) {
            return Ok(with_status(response, &format!("tidegate; fwd={reason}; detail=invalidated")));
        }
        let Some(names) = policy::vary(response.headers()) else {
            return Ok(not_stored(response, reason, NotStored::Vary));
        };
        let entry = entry(response.headers(), bytes, generations, ttl, self.identity.settings().cors.is_some());
        self.store.put(&ask.key, names, &headers, entry);
        Ok(with_status(response, &format!("tidegate; fwd={reason}; stored")))
    }
}

fn entry(headers: &HeaderMap, body: Bytes, generations: Generations, ttl: Duration, cors: bool) -> Entry {
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.parse().ok()).unwrap_or(0);
    let mut headers = headers.clone();
    for name in &PER_REQUEST {
        // Without [cors] nobody would put it back; then the response's own Vary keeps origins apart.
        if cors || *name != header::ACCESS_CONTROL_ALLOW_ORIGIN {
            headers.remove(name);
        }
    }
    let now = Instant::now();
    Entry { headers, body, generations, stored_at: now, age, expires: now + ttl }
}

fn not_stored(response: Response<Body>, reason: &str, why: NotStored) -> Response<Body> {
    with_status(response, &format!("tidegate; fwd={reason}; detail={}", why.as_str()))
}

fn with_status(mut response: Response<Body>, status: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::try_from(status) {
        response.headers_mut().append(CACHE_STATUS, value);
    }
    response
}

fn host(parts: &Parts) -> Option<Box<str>> {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| parts.headers.get(header::HOST)?.to_str().ok())?;
    Some(host.to_ascii_lowercase().into())
}

/// Path and query without the ignored parameters, the others as they came.
fn target(parts: &Parts, ignore: &[Box<str>]) -> Box<str> {
    let path = parts.uri.path();
    let Some(query) = parts.uri.query() else { return path.into() };
    let kept = query.split('&').filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !ignore.iter().any(|ignored| **ignored == *name)
    });
    let kept: Vec<_> = kept.collect();
    if kept.is_empty() { path.into() } else { format!("{path}?{}", kept.join("&")).into() }
}

enum Gathered {
    TooLarge(Body),
    Broken(BodyError),
}

/// The whole body if it is no larger than `most`.
async fn gather(mut body: Body, most: usize) -> Result<Bytes, Gathered> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Gathered::Broken)?;
        let data = match frame.into_data() {
            Ok(data) => data,
            // Trailers can't be stored here; the response goes out with them and is not kept.
            Err(trailers) => return Err(Gathered::TooLarge(rejoin(bytes, Some(trailers), body))),
        };
        bytes.extend_from_slice(&data);
        if bytes.len() > most {
            return Err(Gathered::TooLarge(rejoin(bytes, None, body)));
        }
    }
    Ok(bytes.freeze())
}

fn rejoin(read: BytesMut, next: Option<http_body::Frame<Bytes>>, rest: Body) -> Body {
    let first = std::iter::once(http_body::Frame::data(read.freeze())).chain(next).map(Ok::<_, BodyError>);
    let rest = http_body_util::BodyStream::new(rest);
    Body::boxed(StreamBody::new(futures_util::StreamExt::chain(stream::iter(first), rest)))
}
