//! Asking the application: with a condition where something is stored, and with what is stored as a fallback.

use super::answer::{self, with_status};
use super::ask::Ask;
use super::complete::{Completion, Missing};
use super::sent::Line;
use super::{Bypass, Read, Relayed};
use crate::body::Body;
use crate::cache::fill::{Fill, Filling};
use crate::cache::policy::control::CacheControl;
use crate::cache::policy::fields::{self, CACHE_STATUS};
use crate::cache::policy::freshness::{Terms, Times};
use crate::cache::policy::parts::ContentRange;
use crate::cache::policy::reuse::{self, Failure};
use crate::cache::policy::storable::{self, Asked, Audience, Declared, NotStored};
use crate::cache::policy::{validate, vary};
use crate::cache::store::{Entry, Flight, Lead, Origins};
use crate::cache::tags::Generations;
use crate::peer::Peer;
use crate::route::CacheRoute;
use crate::upstream::{CloseDelimited, UpstreamError};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Why the application is asked, and with what in hand.
pub(super) struct Errand {
    /// In the words of RFC 9211 §2.2.
    pub(super) reason: &'static str,
    /// A stored response of the current generation.
    pub(super) stored: Option<Arc<Entry>>,
    /// Followers that wait for this answer.
    pub(super) lead: Option<Lead>,
}

/// What is known of a request while its answer is awaited.
pub(super) struct Asking<'a> {
    pub(super) route: &'a CacheRoute,
    pub(super) ask: &'a Ask,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// Taken before the application was asked.
    pub(super) generations: Generations,
    /// This cache's own condition went along.
    pub(super) validating: bool,
    pub(super) times: Times,
    pub(super) errand: Errand,
    pub(super) peer: &'a Peer,
    pub(super) line: Line,
}

impl Read {
    pub(super) async fn fetch(
        &self,
        mut request: Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        ask: &Ask,
        errand: Errand,
    ) -> Result<Response<Body>, UpstreamError> {
        self.store.counts.misses.fetch_add(1, Ordering::Relaxed);
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let line = Line::new(request.version(), self.upstream.hops());
        let validates = |entry: &Arc<Entry>| entry.status == StatusCode::OK && validate::can_validate(&entry.headers);
        let confirmable = errand.stored.as_ref().filter(|entry| validates(entry));
        if let Some(entry) = confirmable {
            validate::condition(request.headers_mut(), &entry.headers);
        }
        let validating = confirmable.is_some();
        let missing = if ask.conditional { None } else { Missing::of(&errand) };
        let again = missing.as_ref().map(|missing| missing.ask_for(&mut request));
        // ORDER: generations before the application is asked.
        let generations = self.tags.snapshot(&ask.reader.tags);
        let asked = self.clock.now();
        let mut response = self.ask_for(request, peer, (route, &ask.reader), Relayed::Proof).await;
        let completion = match (&missing, &response) {
            (Some(missing), Ok(said)) => missing.judge(said),
            _ => Completion::Other,
        };
        if completion == Completion::Unusable
            && let Some(again) = again
        {
            response = self.ask_for(again, peer, (route, &ask.reader), Relayed::Proof).await;
        }
        if response.as_ref().is_ok_and(|response| response.status().is_success()) {
            self.speak_for(route, ask);
        }
        let times = Times { asked, answered: self.clock.now() };
        let asking = Asking { route, ask, method, headers, generations, validating, times, errand, peer, line };
        match (completion, missing, response) {
            (Completion::Here, Some(missing), Ok(response)) => Ok(self.complete(asking, &missing, response)),
            (_, _, response) => self.judge(asking, response),
        }
    }

    fn judge(
        &self,
        asking: Asking<'_>,
        response: Result<Response<Body>, UpstreamError>,
    ) -> Result<Response<Body>, UpstreamError> {
        let failure = match &response {
            Ok(response) => reuse::is_failure(response.status()).then_some(Failure::Status),
            Err(_) => Some(Failure::Unreachable),
        };
        if let Some(failure) = failure
            && let Some(entry) = self.fallback(&asking, failure)
        {
            return Ok(self.despite(&asking, &entry, response.ok().map(|response| response.status())));
        }
        let response = response?;
        let confirmed = asking.validating && response.status() == StatusCode::NOT_MODIFIED;
        match asking.errand.stored.clone().filter(|_| confirmed) {
            Some(entry) => Ok(self.confirm(&asking, &entry, &response)),
            None => Ok(self.keep(asking, response)),
        }
    }

    /// What may stand in for an error (RFC 5861 §4, RFC 9111 §4.2.4); looked at again, since events may have come
    /// meanwhile.
    fn fallback(&self, asking: &Asking<'_>, failure: Failure) -> Option<Arc<Entry>> {
        let entry = asking.errand.stored.as_ref()?;
        let age = entry.age(self.clock.instant());
        let allowed = reuse::despite_error(&entry.terms, age, &asking.ask.wishes, failure)
            && answer::has_what_is_asked(&asking.method, &asking.headers, entry);
        (allowed && self.is_current(entry, &asking.ask.reader.tags)).then(|| Arc::clone(entry))
    }

    fn despite(&self, asking: &Asking<'_>, entry: &Entry, failure: Option<StatusCode>) -> Response<Body> {
        let age = entry.age(self.clock.instant());
        let detail = if failure.is_some() { "stale-if-error" } else { "unreachable" };
        let failure = failure.map(|status| format!("; fwd-status={}", status.as_u16())).unwrap_or_default();
        let (reason, ttl) = (asking.errand.reason, answer::ttl(entry, age));
        let status = format!("tidegate; fwd={reason}{failure}; ttl={ttl}; detail={detail}");
        self.answer(&asking.method, &asking.headers, entry, age, status)
    }

    pub(super) fn verdict(
        &self,
        asking: &Asking<'_>,
        conditional: bool,
        status: StatusCode,
        response: &HeaderMap,
    ) -> Result<Terms, NotStored> {
        let Asking { route, ask, .. } = asking;
        // P8: what a route declares of its callers' own answers doesn't speak for callers without a name. Nor is their
        // answers' freshness guessed, unless nothing of the call could name somebody.
        let speaks = route.public || ask.audience == Audience::Personal;
        let declared = Declared {
            ttl: route.ttl.filter(|_| speaks),
            force: route.force && speaks,
            only_said: !(speaks || ask.is_plain),
            longest_guess: route.longest_guess,
            stale_while_revalidate: route.stale_while_revalidate,
            stale_if_error: route.stale_if_error,
        };
        let asked = Asked { method: &asking.method, headers: &asking.headers, audience: ask.audience, conditional };
        storable::storable(asked, status, response, declared, asking.times)
    }

    /// An entry without its body.
    pub(super) fn draft(&self, asking: &Asking<'_>, status: StatusCode, response: &HeaderMap, terms: Terms) -> Entry {
        let control = CacheControl::targeted(response).unwrap_or_else(|| CacheControl::of(response));
        let mut headers = fields::kept(response, &control, asking.times.answered);
        let mut asked = asking.line.values(&asking.headers, asking.peer);
        // Without [cors] nobody would put it back; then origins are kept apart.
        let origins = if self.identity.settings().cors.is_some() {
            headers.remove(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            Origins::Any
        } else if headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            answer::add_origin_to_vary(&mut headers);
            Origins::Own(asked(&header::ORIGIN))
        } else {
            Origins::OwnOrNone(asked(&header::ORIGIN))
        };
        // What every hit sets has its place already, so that no copy of the head grows.
        headers.insert(header::AGE, HeaderValue::from(0));
        headers.insert(CACHE_STATUS, HeaderValue::from_static("tidegate"));
        let names = vary::names(response).unwrap_or_default();
        Entry {
            status,
            headers,
            body: Bytes::new(),
            parts: None,
            generations: asking.generations.clone(),
            stored_at: self.clock.instant(),
            terms,
            vary: names.into_iter().map(|name| (name.clone(), asked(&name))).collect(),
            origins,
        }
    }

    /// A stored response that the application has confirmed (RFC 9111 §4.3.3, §3.2).
    fn confirm(&self, asking: &Asking<'_>, stored: &Entry, response: &Response<Body>) -> Response<Body> {
        let mut merged = fields::merged(&stored.headers, response.headers());
        if !response.headers().contains_key(header::DATE) {
            // RFC 9110 §6.6.1: it is as old as its arrival, not as what it confirms.
            merged.remove(header::DATE);
        }
        let verdict = self.verdict(asking, false, stored.status, &merged);
        let terms = verdict.unwrap_or(Terms { stale_if_error: std::time::Duration::ZERO, ..stored.terms });
        let entry = Entry { body: stored.body.clone(), ..self.draft(asking, stored.status, &merged, terms) };
        let reason = asking.errand.reason;
        let word = match verdict {
            Err(why) => {
                self.store.remove(&asking.ask.key);
                format!("; detail={}", why.as_str())
            }
            Ok(_) if !self.is_current(&entry, &asking.ask.reader.tags) => "; detail=invalidated".to_owned(),
            Ok(terms) => {
                self.store.put(&asking.ask.key, entry.clone());
                self.remember(asking.ask, Ok(terms));
                "; stored".to_owned()
            }
        };
        let status = format!("tidegate; fwd={reason}; fwd-status=304{word}");
        let age = entry.age(self.clock.instant());
        let mut answer = self.answer(&asking.method, &asking.headers, &entry, age, status);
        // What the 304 brings for this client alone.
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            answer.headers_mut().append(header::SET_COOKIE, cookie.clone());
        }
        answer
    }

    /// Stores a response on its way to the client, if it may be.
    fn keep(&self, asking: Asking<'_>, response: Response<Body>) -> Response<Body> {
        let (reason, ask) = (asking.errand.reason, asking.ask);
        let (head, body) = response.into_parts();
        let conditional = ask.conditional && !asking.validating;
        let verdict = self.verdict(&asking, conditional, head.status, &head.headers);
        self.remember(ask, verdict);
        let terms = match verdict {
            Ok(terms) => terms,
            Err(why) => {
                // The application has said something else since: what was stored stands in for it no longer.
                if !head.status.is_server_error() && asking.errand.stored.is_some() {
                    self.store.remove(&ask.key);
                }
                let response = Response::from_parts(head, body);
                return with_status(response, &format!("tidegate; fwd={reason}; detail={}", why.as_str()));
            }
        };
        let entry = self.draft(&asking, head.status, &head.headers, terms);
        let is_part = head.status == StatusCode::PARTIAL_CONTENT;
        let why = if !self.is_current(&entry, &ask.reader.tags) {
            "invalidated"
        } else if head.extensions.get::<CloseDelimited>().is_some() {
            "close-delimited"
        } else if !self.store.takes(body.size_hint().exact()) {
            self.store.shun(&ask.key, self.clock.instant());
            "too-large"
        } else {
            let fill = Fill {
                store: Arc::clone(&self.store),
                key: ask.key.clone(),
                tags: Arc::clone(&self.tags),
                names: ask.reader.tags.clone(),
                entry,
                part: if is_part { ContentRange::of(&head.headers) } else { None },
                lead: asking.errand.lead,
                share: self.share(ask, asking.peer),
            };
            let response = Response::from_parts(head, Filling::body(body, fill));
            return with_status(response, &format!("tidegate; fwd={reason}; stored"));
        };
        with_status(Response::from_parts(head, body), &format!("tidegate; fwd={reason}; detail={why}"))
    }

    /// What was missing of a stored response has come (RFC 9111 §3.4): both together are the answer.
    fn complete(&self, asking: Asking<'_>, missing: &Missing, response: Response<Body>) -> Response<Body> {
        let (mut head, rest) = response.into_parts();
        let mut merged = fields::merged(&missing.stored.headers, &head.headers);
        merged.remove(header::CONTENT_RANGE);
        merged.insert(header::CONTENT_LENGTH, HeaderValue::from(missing.total));
        let verdict = self.verdict(&asking, false, StatusCode::OK, &merged);
        self.remember(asking.ask, verdict);
        let body = missing.around(rest);
        head.status = StatusCode::OK;
        let reason = asking.errand.reason;
        let (body, word) = match verdict {
            Err(why) => {
                self.store.remove(&asking.ask.key);
                (body, format!("; detail={}", why.as_str()))
            }
            Ok(terms) => {
                let entry = self.draft(&asking, StatusCode::OK, &merged, terms);
                if self.is_current(&entry, &asking.ask.reader.tags)
                    && self.store.takes(u64::try_from(missing.total).ok())
                {
                    let fill = Fill {
                        store: Arc::clone(&self.store),
                        key: asking.ask.key.clone(),
                        tags: Arc::clone(&self.tags),
                        names: asking.ask.reader.tags.clone(),
                        entry,
                        part: None,
                        lead: asking.errand.lead,
                        share: self.share(asking.ask, asking.peer),
                    };
                    (Filling::body(body, fill), "; stored".to_owned())
                } else {
                    (body, String::new())
                }
            }
        };
        // The stored head's own marks are no part of this answer.
        for name in [header::AGE, CACHE_STATUS] {
            merged.remove(&name);
            for value in head.headers.get_all(&name) {
                merged.append(name.clone(), value.clone());
            }
        }
        head.headers = merged;
        with_status(Response::from_parts(head, body), &format!("tidegate; fwd={reason}; fwd-status=206{word}"))
    }

    /// Readers of a key wait for one another only if what one gets may serve the others.
    fn remember(&self, ask: &Ask, verdict: Result<Terms, NotStored>) {
        match verdict {
            Ok(terms) if terms.lifetime > terms.initial_age && !terms.no_cache => self.store.welcome(&ask.key),
            Err(NotStored::RequestNoStore) => {}
            Err(_) if ask.conditional => {}
            Ok(_) | Err(_) => self.store.shun(&ask.key, self.clock.instant()),
        }
    }

    /// Asks behind the back of a client that has its answer already (RFC 5861 §3): once per key, and only so many.
    pub(super) fn revalidate_behind(
        &self,
        request: &Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        ask: &Ask,
        entry: &Arc<Entry>,
    ) {
        let Ok(permit) = Arc::clone(&self.behind).try_acquire_owned() else { return };
        let Flight::Lead(lead) = self.store.join(&ask.key) else { return };
        let mut again = Request::new(Body::empty());
        *again.uri_mut() = request.uri().clone();
        *again.headers_mut() = request.headers().clone();
        for name in [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE, header::RANGE] {
            again.headers_mut().remove(name);
        }
        let (read, peer, route) = (self.clone(), peer.clone(), route.clone());
        let ask = Ask { conditional: false, ..ask.clone() };
        let errand = Errand { reason: "stale", stored: Some(Arc::clone(entry)), lead: Some(lead) };
        // Ends with the application's answer or its time-out; the semaphore bounds how many there are.
        drop(tokio::spawn(async move {
            match read.fetch(again, &peer, &route, &ask, errand).await {
                Ok(response) => drop(response.into_body().collect().await),
                Err(error) => tracing::debug!(%error, "a revalidation failed"),
            }
            drop(permit);
        }));
    }

    /// A HEAD that the store can't answer is passed on. If its answer differs from what is stored, that is old (§4.3.5).
    pub(super) async fn head(
        &self,
        request: Request<Body>,
        peer: &Peer,
        (route, ask): (&CacheRoute, &Ask),
        stored: Option<&Entry>,
    ) -> Result<Response<Body>, UpstreamError> {
        const WHY: Bypass = "head";
        let response = self.bypass(request, peer, (route, &ask.reader), WHY).await?;
        let differs = |entry: &Entry| {
            let names = [header::ETAG, header::LAST_MODIFIED, header::CONTENT_LENGTH];
            names.iter().any(|name| {
                let said = response.headers().get(name);
                said.is_some() && said != entry.headers.get(name)
            })
        };
        if response.status() == StatusCode::OK && stored.is_some_and(differs) {
            self.store.remove(&ask.key);
        }
        Ok(response)
    }
}
