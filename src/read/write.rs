//! What a forwarded write makes old of what is stored (RFC 9111 §4.4): one tag per resource, so
//! nothing is searched.
//!
//! The answer to a POST that is also its target's new representation (RFC 9110 §9.3.3) is stored
//! for the caller's next GET.
//!
//! The tag has one name for all spellings of a URI ([`invalidate::resource`]), and a write need not
//! be spelled like the read that it makes old, nor match its route.

use super::Read;
use super::ask::{Ask, Beside};
use super::fetch_plan::{FetchPlan, FetchState};
use super::forwarded_fields::ForwardedFields;
use super::key::host;
use crate::body::Body;
use crate::cache::fill::{Fill, Filling};
use crate::cache::policy::control::CacheControl;
use crate::cache::policy::freshness::{self, Times};
use crate::cache::policy::invalidate;
use crate::cache::policy::precondition;
use crate::cache::tags::{Generations, Tags};
use crate::event::Tag;
use crate::peer::Peer;
use crate::route::{Found, LiveRoutes, Routes};
use crate::upstream::{CloseDelimited, UpstreamError};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as _;
use std::sync::Arc;
use std::time::SystemTime;

/// What a write in progress will have made old. If it is dropped before its end, whether it was
/// applied is unknown: then it was, as far as the store is concerned.
pub struct PendingInvalidation {
    tags: Arc<Tags>,
    host: String,
    /// Path and query.
    target: String,
    names: Vec<Tag>,
    post: Option<Box<StorablePost>>,
    routes: Arc<LiveRoutes>,
    is_over: bool,
}

/// A POST whose answer may be stored as that of a GET.
struct StorablePost {
    read: Read,
    ask: Ask,
    headers: HeaderMap,
    fields: ForwardedFields,
    peer: Peer,
    /// Taken before the application was asked.
    generations: Generations,
    asked: SystemTime,
}

impl Read {
    /// The target of a request that may change something; `None` for a safe one.
    #[must_use]
    pub fn makes_old(
        &self,
        parts: &Parts,
        peer: &Peer,
        routes: &Arc<LiveRoutes>,
    ) -> Option<PendingInvalidation> {
        if !may_change(parts) {
            return None;
        }
        let host = host(peer)?.to_owned();
        let target = parts.uri.path_and_query()?.as_str().to_owned();
        let now = routes.load();
        let post = self.find_storable_post(parts, peer, &now).map(Box::new);
        let mut old = PendingInvalidation {
            tags: Arc::clone(&self.tags),
            host,
            target: target.clone(),
            names: Vec::new(),
            post,
            routes: Arc::clone(routes),
            is_over: false,
        };
        old.add(&now, &target);
        Some(old)
    }

    /// As if it were the GET that its answer may be stored for.
    fn find_storable_post(
        &self,
        parts: &Parts,
        peer: &Peer,
        routes: &Routes,
    ) -> Option<StorablePost> {
        if parts.method != Method::POST {
            return None;
        }
        let Found::Cache(route, params) = routes.find(&Method::GET, parts.uri.path()) else {
            return None;
        };
        let (mut get, ()) = Request::new(()).into_parts();
        (get.uri, get.version, get.headers) =
            (parts.uri.clone(), parts.version, parts.headers.clone());
        let caller = self.identity.caller(&get, peer, self.clock.now());
        let ask = self
            .examine(
                &caller,
                &Body::empty(),
                (route, &params),
                &Beside::default(),
            )
            .ok()
            .filter(|ask| !ask.conditional)?;
        drop(caller);
        let fields = ForwardedFields::new(parts.version, self.upstream.hops());
        let generations = self.tags.snapshot(&ask.reader.tags);
        let (peer, asked) = (peer.clone(), self.clock.now());
        Some(StorablePost {
            read: self.clone(),
            ask,
            headers: get.headers,
            fields,
            peer,
            generations,
            asked,
        })
    }
}

impl StorablePost {
    /// Stores the answer on its way to the client, if it says for how long, and is the target's.
    /// `own`: what this write has just made old.
    fn store_answer(
        self,
        routes: &Routes,
        host: &str,
        target: &str,
        own: &[Tag],
        response: Response<Body>,
    ) -> Response<Body> {
        let Self {
            read,
            ask,
            headers,
            fields,
            peer,
            generations,
            asked,
        } = self;
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let Found::Cache(route, _) = routes.find(&Method::GET, path) else {
            return response;
        };
        let times = Times {
            asked,
            answered: read.clock.now(),
        };
        let targeted = CacheControl::targeted(response.headers());
        let control = targeted
            .clone()
            .unwrap_or_else(|| CacheControl::of(response.headers()));
        let says_how_long =
            freshness::explicit(&control, response.headers(), targeted.is_some(), times).is_some();
        if response.status() != StatusCode::OK
            || response.extensions().get::<CloseDelimited>().is_some()
            || !says_how_long
            || !invalidate::is_of_target(host, target, response.headers())
        {
            return response;
        }
        // ORDER: after this write has made the target old; any other move since it was asked stands
        // in the way.
        let Some(generations) = read.tags.moved_by(own, &ask.reader.tags, &generations) else {
            return response;
        };
        let plan = FetchPlan {
            reason: "method",
            stored: None,
            lead: None,
        };
        let (method, validating) = (Method::GET, false);
        let fetch = FetchState {
            route,
            ask: &ask,
            method,
            headers,
            generations,
            validating,
            times,
            plan,
            peer: &peer,
            fields,
        };
        let Ok(terms) = read.judge_storable(&fetch, false, response.status(), response.headers())
        else {
            return response;
        };
        let entry = read.draft_entry(&fetch, response.status(), response.headers(), terms);
        if !read.store.takes(response.body().size_hint().exact()) {
            return response;
        }
        let (store, tags) = (Arc::clone(&read.store), Arc::clone(&read.tags));
        let (names, share) = (ask.reader.tags.clone(), read.share(&ask, &peer));
        let fill = Fill {
            store,
            key: ask.key.clone(),
            tags,
            names,
            entry,
            part: None,
            lead: None,
            share,
        };
        response.map(|body| Filling::body(body, fill))
    }
}

impl PendingInvalidation {
    /// A rule that came in force since the write began may have stored what was there before it.
    fn add_by_now(&mut self) -> Arc<Routes> {
        let (routes, target) = (self.routes.load(), self.target.clone());
        self.add(&routes, &target);
        routes
    }

    fn add(&mut self, routes: &Routes, target: &str) {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        if !is_near_a_cached_one(routes, path) {
            return;
        }
        let tag = Tag::new(&invalidate::resource(&self.host, path));
        if !self.names.contains(&tag) {
            self.names.push(tag);
        }
    }

    /// The answer is there: an error changes nothing, another may name more URIs, and may be
    /// stored.
    ///
    /// # Errors
    /// The application gave no answer.
    pub fn end(
        mut self,
        response: Result<Response<Body>, UpstreamError>,
    ) -> Result<Response<Body>, UpstreamError> {
        let response = response?;
        self.is_over = true;
        if !invalidate::invalidates(response.status()) {
            self.names.clear();
            return Ok(response);
        }
        let routes = self.add_by_now();
        for target in invalidate::named(&self.host, &self.target, response.headers()) {
            self.add(&routes, &target);
        }
        let own = std::mem::take(&mut self.names);
        self.tags.invalidate(&own);
        Ok(match self.post.take() {
            Some(post) => post.store_answer(&routes, &self.host, &self.target, &own, response),
            None => response,
        })
    }
}

/// Whether a request isn't known to be safe, or may be taken for one that isn't.
#[must_use]
pub fn may_change(parts: &Parts) -> bool {
    invalidate::is_unsafe(&parts.method) || precondition::overrides_method(&parts.headers)
}

/// Whether a cache route begins like this path, in whatever spelling. Other paths move no tag: the
/// table of tags has only so many places, and whatever shares one with a moved tag is asked for
/// anew.
#[must_use]
pub fn is_near_a_cached_one(routes: &Routes, path: &str) -> bool {
    let path = invalidate::loose_path(path);
    routes.cached_paths().any(|pattern| {
        let literal = pattern
            .split_once('{')
            .map_or(pattern, |(literal, _)| literal);
        path.starts_with(&*invalidate::loose_path(literal))
    })
}

impl Drop for PendingInvalidation {
    fn drop(&mut self) {
        if !self.is_over {
            self.add_by_now();
        }
        self.tags.invalidate(&self.names);
    }
}
