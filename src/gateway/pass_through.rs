//! Calls that are the application's, whatever is in them: writes, and what no rule has.

use super::answers::{Answers, fail};
use super::bodies::Bodies;
use super::callers::Callers;
use super::collect::Gathered;
use super::forward::Forwarder;
use super::touches::{TouchRules, Touches};
use crate::body::Body;
use crate::cache::policy::precondition;
use crate::ingest::CallerLanes;
use crate::metrics::{Action, Label as _};
use crate::peer::Peer;
use crate::route::{LiveRoutes, Params, WriteRoute};
use http::{Method, Request, Response};
use std::sync::Arc;

/// Passes calls on.
pub(super) struct PassThrough {
    pub(super) answers: Answers,
    pub(super) bodies: Bodies,
    pub(super) callers: Callers,
    pub(super) lanes: CallerLanes,
    pub(super) touch: TouchRules,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) routes: Arc<LiveRoutes>,
}

impl PassThrough {
    /// No rule has it. What shares its path with events goes after its caller's lanes all the same:
    /// an update must not meet a row that was not inserted yet.
    pub(super) async fn pass_other(&self, request: Request<Body>, peer: &Peer) -> Response<Body> {
        let waits = !matches!(
            *request.method(),
            Method::OPTIONS | Method::TRACE | Method::CONNECT
        );
        let groups = if waits {
            self.routes.load().groups_at(request.uri().path())
        } else {
            Vec::new()
        };
        self.answers.count(Action::Forwarded);
        if let Some(note) = self.answers.note(request.extensions()) {
            note.decide(Action::Forwarded.as_str(), Some("no_route".into()));
        }
        if groups.is_empty() {
            return self.forwarder.pass_whole(request, peer).await;
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD)
            && !precondition::overrides_method(request.headers());
        let (parts, body) = request.into_parts();
        let gathered = match self.bodies.gather(&parts, peer, body).await {
            Ok(gathered) => gathered,
            Err(refusal) => return self.answers.refuse(&parts, &refusal),
        };
        let touches = self.touch.of_head(
            &self.callers.identify(&parts, peer),
            &Params::default(),
            &groups,
        );
        if reads {
            let body = match self.bodies.keep(gathered, touches.asker.principal, peer) {
                Ok(body) => body,
                Err(refusal) => return self.answers.refuse(&parts, &refusal),
            };
            self.wait_as_reader(&touches).await;
            let passed = self
                .forwarder
                .pass(Request::from_parts(parts, body), peer, false)
                .await;
            return passed.unwrap_or_else(|error| fail(&error));
        }
        self.forwarder
            .forward(Request::from_parts(parts, gathered), peer, None, touches)
            .await
    }

    /// Ruling 17: a read of an empty or refused principal seals nothing, and passes. In time or
    /// not: the answer is as new as the application is.
    async fn wait_as_reader(&self, touches: &Touches) {
        let Touches {
            asker,
            keys,
            groups,
            ..
        } = touches;
        if keys.nameless
            || self
                .callers
                .standing
                .reputation()
                .is_refused(keys.principal)
        {
            return;
        }
        if self.lanes.are_observed(groups) {
            self.lanes.show_wait(asker, groups);
        }
        self.lanes
            .barrier(asker, groups, self.lanes.barrier_time())
            .await;
    }

    /// A forwarded write that meets buffered ones. Its body is read first, within bounds: its place
    /// in the order is taken when it is there, and its user may be in it.
    pub(super) async fn pass_write(
        &self,
        request: Request<Body>,
        peer: &Peer,
        route: &WriteRoute,
        params: &Params,
    ) -> Response<Body> {
        self.answers.count(Action::Write);
        if let Some(note) = self.answers.note(request.extensions()) {
            note.decide(Action::Write.as_str(), None);
        }
        let (parts, body) = request.into_parts();
        let gathered = match self.bodies.gather(&parts, peer, body).await {
            Ok(gathered) => gathered,
            Err(refusal) => return self.answers.refuse(&parts, &refusal),
        };
        let caller = self.callers.identify(&parts, peer);
        let shown = match &gathered {
            Gathered::Whole(whole) => Some(self.bodies.show(&caller, &whole.raw).await),
            Gathered::Streamed(..) => None,
        };
        let shown = shown.as_ref().map_or(&[][..], |plain| &plain.body);
        let beside = self.routes.load().groups_at(parts.uri.path());
        let touches = self.touch.of_write(&caller, (route, params), beside, shown);
        drop(caller);
        self.forwarder
            .forward(Request::from_parts(parts, gathered), peer, None, touches)
            .await
    }
}
