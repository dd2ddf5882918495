//! Calls that the application answers itself, in their place in the order (ruling 4).

use super::answers::{Answers, fail};
use super::bodies::Bodies;
use super::collect::Gathered;
use super::recording::Recording;
use super::reply;
use super::touches::Touches;
use crate::body::Body;
use crate::cache::tags::Tags;
use crate::event::{Tag, View};
use crate::ingest::accept::refusal::{Forward, Refusal};
use crate::ingest::delivery::known::RouteShape;
use crate::ingest::{CallerLanes, CallerStanding, Held};
use crate::metrics::{Action, Label as _};
use crate::notices::Notices;
use crate::peer::Peer;
use crate::read::{Read, is_near_a_cached_one, may_change};
use crate::route::LiveRoutes;
use crate::upstream::{Upstream, UpstreamError};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

const FORWARDED: HeaderName = HeaderName::from_static("tidegate-forwarded");

/// Forwards calls.
pub(super) struct Forwarder {
    pub(super) answers: Answers,
    pub(super) bodies: Bodies,
    pub(super) read: Read,
    pub(super) routes: Arc<LiveRoutes>,
    pub(super) upstream: Upstream,
    pub(super) lanes: CallerLanes,
    pub(super) standing: CallerStanding,
    pub(super) tags: Arc<Tags>,
    pub(super) notices: Arc<Notices>,
    /// A forwarded call's answer says why (`server.explain`).
    pub(super) explain: bool,
    pub(super) recording: Recording,
}

impl Forwarder {
    /// Forwards a call after what is before it. What it makes old is made old when the application
    /// has answered, and its place in the order is free then: also if its client has gone away
    /// meanwhile (ruling 2), since the application may be at work on it.
    pub(super) async fn forward(
        self: &Arc<Self>,
        request: Request<Gathered>,
        peer: &Peer,
        why: Option<&Forward>,
        touches: Touches,
    ) -> Response<Body> {
        if let Some(why) = why {
            self.answers.count(Action::Forwarded);
            self.answers
                .metrics
                .declined
                .with_label_values(&[why.as_str()])
                .inc();
            if let Some(note) = self.answers.note(request.extensions()) {
                note.decide(Action::Forwarded.as_str(), Some(why.as_str().into()));
            }
        }
        let (forwarder, peer, why) = (Arc::clone(self), peer.clone(), why.cloned());
        whole(async move {
            forwarder
                .forward_in_turn(request, &peer, why.as_ref(), touches)
                .await
        })
        .await
    }

    /// Forwards a call that waits for nothing. One that makes a stored answer old is waited for,
    /// whatever its client does.
    pub(super) async fn pass_whole(
        self: &Arc<Self>,
        request: Request<Body>,
        peer: &Peer,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let changes =
            may_change(&parts) && is_near_a_cached_one(&self.routes.load(), parts.uri.path());
        let request = Request::from_parts(parts, body);
        if !changes {
            return self
                .pass(request, peer, false)
                .await
                .unwrap_or_else(|error| fail(&error));
        }
        let (forwarder, peer) = (Arc::clone(self), peer.clone());
        whole(async move {
            forwarder
                .pass(request, &peer, false)
                .await
                .unwrap_or_else(|error| fail(&error))
        })
        .await
    }

    async fn forward_in_turn(
        &self,
        request: Request<Gathered>,
        peer: &Peer,
        why: Option<&Forward>,
        touches: Touches,
    ) -> Response<Body> {
        let (parts, gathered) = request.into_parts();
        let route = RouteShape::of_call(parts.method.as_str(), parts.uri.path());
        // A call whose body can't be kept while it waits has no place in the order.
        let body = match self.bodies.keep(gathered, touches.keys.principal, peer) {
            Ok(body) => body,
            Err(refusal) => return self.answers.refuse(&parts, &refusal),
        };
        let longest = self.upstream.response_timeout(parts.uri.path());
        let would_wait = !(touches.is_observed && why == Some(&Forward::Mode));
        if would_wait && self.lanes.are_observed(&touches.groups) {
            self.lanes.show_wait(&touches.asker, &touches.groups);
        }
        let mut held = match self.hold(&touches, peer, longest).await {
            Ok(held) => held,
            Err(refusal) => return self.answers.refuse(&parts, &refusal),
        };
        let is_full = why.is_some_and(Forward::is_for_want_of_room);
        let head = is_full.then(|| parts.clone());
        let stale = Stale::new(&self.tags, &self.notices, touches.keys.view, touches.tags);
        let mut passing = pin!(self.pass(
            Request::from_parts(parts, body),
            peer,
            !touches.proves.is_empty()
        ));
        let response = match tokio::time::timeout(longest, &mut passing).await {
            Ok(response) => response,
            Err(_) => {
                // Its body is still coming: the call goes on, and what stands behind it doesn't
                // wait for it any longer.
                held = None;
                passing.await
            }
        };
        stale.end(&response);
        let taken = response
            .as_ref()
            .is_ok_and(|response| response.status().is_success());
        // ORDER: before the lane may send again.
        if let (true, Some(held), Some((group, subject, by))) = (taken, &held, &touches.state) {
            held.replace(*group, *subject, by);
        }
        drop(held);
        let principal = touches.keys.principal;
        if taken {
            self.standing
                .vouch(principal, touches.keys.nameless, &touches.proves);
            self.standing.learn_route(&touches.proves, route);
        } else if response
            .as_ref()
            .is_ok_and(|response| response.status() == StatusCode::UNAUTHORIZED)
        {
            self.standing.refuse(principal).await;
        }
        let mut response = response.unwrap_or_else(|error| match &head {
            // P1: neither kept nor forwarded.
            Some(parts) if error.is_unreached() => {
                let wait = Duration::from_secs(1);
                self.answers.refuse(parts, &Refusal::Busy(wait))
            }
            _ => fail(&error),
        });
        if let Some(why) = why.filter(|_| self.explain) {
            response
                .headers_mut()
                .insert(FORWARDED, HeaderValue::from_static(why.as_str()));
        }
        response
    }

    /// As long as the application may take to answer such a call, and no longer. A call that waits
    /// outlives its client, so one caller's are bounded in number.
    async fn hold(
        &self,
        touches: &Touches,
        peer: &Peer,
        longest: Duration,
    ) -> Result<Option<Held>, Refusal> {
        if touches.groups.is_empty() {
            return Ok(None);
        }
        let held = self
            .lanes
            .hold(&touches.asker, peer.client, &touches.groups, longest)
            .await;
        held.map(Some)
            .map_err(|_| Refusal::Busy(Duration::from_secs(1)))
    }

    /// Forwards a call; a write makes stored answers to its URI old (RFC 9111 §4.4) before its
    /// client hears of it. `proves`: a 2xx speaks for its caller.
    pub(super) async fn pass(
        &self,
        mut request: Request<Body>,
        peer: &Peer,
        proves: bool,
    ) -> Result<Response<Body>, UpstreamError> {
        let awaited = self.recording.copy_call(&mut request, peer);
        let (parts, body) = request.into_parts();
        let old = self.read.makes_old(&parts, peer, &self.routes);
        let response = self
            .read
            .relay(Request::from_parts(parts, body), peer, proves)
            .await;
        let mut response = match old {
            Some(old) => old.end(response),
            None => response,
        }?;
        awaited.copy_answer(&mut response);
        Ok(response)
    }
}

/// Waits for an answer's head in a task of its own, which goes on if nobody waits any more.
pub(super) async fn whole(
    answer: impl Future<Output = Response<Body>> + Send + 'static,
) -> Response<Body> {
    tokio::spawn(answer).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a call broke off");
        let detail = "the call broke off on its way; whether the application has it is not known";
        reply::problem(StatusCode::BAD_GATEWAY, "broken_off", detail)
    })
}

/// What a forwarded call makes old: when its answer is there and before its client hears of it, or
/// when the call broke off and nobody knows. A fill that began before is not stored either, since
/// the generation has moved.
struct Stale<'a> {
    generations: &'a Tags,
    notices: &'a Notices,
    caller: View,
    tags: Vec<String>,
}

impl<'a> Stale<'a> {
    const fn new(
        generations: &'a Tags,
        notices: &'a Notices,
        caller: View,
        tags: Vec<String>,
    ) -> Self {
        Self {
            generations,
            notices,
            caller,
            tags,
        }
    }

    /// RFC 9111 §4.4: an error says that nothing has changed; no answer, or a 5xx, doesn't.
    fn end(mut self, response: &Result<Response<Body>, UpstreamError>) {
        if response
            .as_ref()
            .is_ok_and(|response| response.status().is_client_error())
        {
            self.tags.clear();
        }
    }
}

impl Drop for Stale<'_> {
    fn drop(&mut self) {
        let names = std::mem::take(&mut self.tags);
        let tags: Vec<_> = names.iter().map(|name| Tag::new(name)).collect();
        // ORDER: old before anybody hears of it and asks anew.
        self.generations.invalidate(&tags);
        self.notices.publish(self.caller, names);
    }
}
