//! Asking the application: with a condition where something is stored, and with what is stored as a
//! fallback.

use super::Read;
use super::answer;
use super::ask::{Ask, Bypass};
use super::complete::{Completion, Missing};
use super::fetch_plan::{FetchPlan, FetchState};
use super::forwarded_fields::ForwardedFields;
use super::relay::Relayed;
use crate::body::Body;
use crate::cache::policy::freshness::Times;
use crate::cache::policy::reuse::{self, Failure};
use crate::cache::policy::validate;
use crate::cache::store::{Entry, Flight};
use crate::peer::Peer;
use crate::route::CacheRoute;
use crate::upstream::UpstreamError;
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Read {
    pub(super) async fn fetch(
        &self,
        mut request: Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        ask: &Ask,
        mut plan: FetchPlan,
    ) -> Result<Response<Body>, UpstreamError> {
        self.store.counts.misses.fetch_add(1, Ordering::Relaxed);
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let (uri, version) = (request.uri().clone(), request.version());
        let fields = ForwardedFields::new(version, self.upstream.hops());
        let validates = |entry: &Arc<Entry>| {
            entry.status == StatusCode::OK && validate::can_validate(&entry.headers)
        };
        // ORDER: generations before the application is asked, and before it is seen that what is
        // stored is of them: it may be confirmed under them.
        let generations = self.tags.snapshot(&ask.reader.tags);
        plan.stored
            .take_if(|entry| !self.is_current(entry, &ask.reader.tags));
        let confirmable = plan.stored.as_ref().filter(|entry| validates(entry));
        let extensions = confirmable.map(|_| request.extensions().clone());
        if let Some(entry) = confirmable {
            validate::condition(request.headers_mut(), &entry.headers);
        }
        let validating = confirmable.is_some();
        let missing = if ask.conditional {
            None
        } else {
            Missing::of(&plan)
        };
        let again = missing
            .as_ref()
            .map(|missing| missing.ask_for(&mut request));
        let asked = self.clock.now();
        let mut response = self
            .ask_for(request, peer, (route, &ask.reader), Relayed::Proof)
            .await;
        if let (Some(entry), Ok(said)) = (confirmable, &response)
            && said.status() == StatusCode::NOT_MODIFIED
            && !validate::confirms(said.headers(), &entry.headers)
        {
            self.store.remove(&ask.key);
            let mut anew = Request::new(Body::empty());
            (*anew.method_mut(), *anew.uri_mut(), *anew.version_mut()) = (method, uri, version);
            *anew.headers_mut() = headers;
            *anew.extensions_mut() = extensions.unwrap_or_default();
            let plan = FetchPlan {
                stored: None,
                ..plan
            };
            // Boxed: it is itself once more, and asks by no condition of its own.
            return Box::pin(self.fetch(anew, peer, route, ask, plan)).await;
        }
        let completion = match (&missing, &response) {
            (Some(missing), Ok(said)) => missing.judge(said),
            _ => Completion::Other,
        };
        if completion == Completion::Unusable
            && let Some(again) = again
        {
            response = self
                .ask_for(again, peer, (route, &ask.reader), Relayed::Proof)
                .await;
        }
        if response
            .as_ref()
            .is_ok_and(|response| response.status().is_success())
        {
            self.speak_for(route, ask);
        }
        let times = Times {
            asked,
            answered: self.clock.now(),
        };
        let fetch = FetchState {
            route,
            ask,
            method,
            headers,
            generations,
            validating,
            times,
            plan,
            peer,
            fields,
        };
        match (completion, missing, response) {
            (Completion::Here, Some(missing), Ok(response)) => {
                Ok(self.complete_stored(fetch, &missing, response))
            }
            (_, _, response) => self.answer_fetched(fetch, response),
        }
    }

    fn answer_fetched(
        &self,
        fetch: FetchState<'_>,
        response: Result<Response<Body>, UpstreamError>,
    ) -> Result<Response<Body>, UpstreamError> {
        let failure = match &response {
            Ok(response) => reuse::is_failure(response.status()).then_some(Failure::Status),
            Err(_) => Some(Failure::Unreachable),
        };
        if let Some(failure) = failure
            && let Some(entry) = self.find_fallback(&fetch, failure)
        {
            return Ok(self.answer_despite_failure(
                &fetch,
                &entry,
                response.ok().map(|response| response.status()),
            ));
        }
        let response = response?;
        let confirmed = fetch.validating && response.status() == StatusCode::NOT_MODIFIED;
        match fetch.plan.stored.clone().filter(|_| confirmed) {
            Some(entry) => Ok(self.confirm_stored(&fetch, &entry, &response)),
            None => Ok(self.store_answer(fetch, response)),
        }
    }

    /// What may stand in for an error (RFC 5861 §4, RFC 9111 §4.2.4); looked at again, since events
    /// may have come meanwhile.
    fn find_fallback(&self, fetch: &FetchState<'_>, failure: Failure) -> Option<Arc<Entry>> {
        let entry = fetch.plan.stored.as_ref()?;
        let age = entry.age(self.clock.instant());
        let allowed = reuse::despite_error(&entry.terms, age, &fetch.ask.wishes, failure)
            && answer::has_what_is_asked(&fetch.method, &fetch.headers, entry);
        (allowed && self.is_current(entry, &fetch.ask.reader.tags)).then(|| Arc::clone(entry))
    }

    fn answer_despite_failure(
        &self,
        fetch: &FetchState<'_>,
        entry: &Entry,
        failure: Option<StatusCode>,
    ) -> Response<Body> {
        let age = entry.age(self.clock.instant());
        let detail = if failure.is_some() {
            "stale-if-error"
        } else {
            "unreachable"
        };
        let failure = failure
            .map(|status| format!("; fwd-status={}", status.as_u16()))
            .unwrap_or_default();
        let (reason, ttl) = (fetch.plan.reason, answer::ttl(entry, age));
        let status = format!("tidegate; fwd={reason}{failure}; ttl={ttl}; detail={detail}");
        self.answer_stored(&fetch.method, &fetch.headers, entry, age, status)
    }

    /// Asks behind the back of a client that has its answer already (RFC 5861 §3): once per key,
    /// and only so many.
    pub(super) fn revalidate_behind(
        &self,
        request: &Request<Body>,
        peer: &Peer,
        route: &CacheRoute,
        ask: &Ask,
        entry: &Arc<Entry>,
    ) {
        let Ok(permit) = Arc::clone(&self.behind).try_acquire_owned() else {
            return;
        };
        let Flight::Lead(lead) = self.store.join(&ask.key) else {
            return;
        };
        let mut again = Request::new(Body::empty());
        *again.uri_mut() = request.uri().clone();
        *again.headers_mut() = request.headers().clone();
        for name in [
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_RANGE,
            header::RANGE,
        ] {
            again.headers_mut().remove(name);
        }
        let (read, peer, route) = (self.clone(), peer.clone(), route.clone());
        let ask = Ask {
            conditional: false,
            ..ask.clone()
        };
        let plan = FetchPlan {
            reason: "stale",
            stored: Some(Arc::clone(entry)),
            lead: Some(lead),
        };
        // Ends with the application's answer or its time-out; the semaphore bounds how many there
        // are.
        drop(tokio::spawn(async move {
            match read.fetch(again, &peer, &route, &ask, plan).await {
                Ok(response) => drop(response.into_body().collect().await),
                Err(error) => tracing::debug!(%error, "a revalidation failed"),
            }
            drop(permit);
        }));
    }

    /// A HEAD that the store can't answer is passed on. If its answer differs from what is stored,
    /// that is old (§4.3.5).
    pub(super) async fn forward_head(
        &self,
        request: Request<Body>,
        peer: &Peer,
        (route, ask): (&CacheRoute, &Ask),
        stored: Option<&Entry>,
    ) -> Result<Response<Body>, UpstreamError> {
        const WHY: Bypass = "head";
        let response = self
            .bypass(request, peer, (route, &ask.reader), WHY)
            .await?;
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
