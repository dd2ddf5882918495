//! What would become of a call if its route were in mode `coalesce`: the gateway's own decision, by
//! an event path whose acknowledgements nobody hears.

use super::answers::Answers;
use super::callers::Callers;
use super::decide::{Decider, Decision, EventHead};
use super::unpack::unpack_whole;
use crate::clock::Clock;
use crate::identity::Identity;
use crate::ingest::accept::call::Call;
use crate::ingest::accept::copied::Copied;
use crate::ingest::accept::decode;
use crate::ingest::accept::refusal::Forward;
use crate::ingest::{Acceptor, CallerLanes, CallerStanding};
use crate::metrics::Metrics;
use crate::migration::parity::Told;
use crate::migration::shadow::{Acknowledged, Decided, Rehearsed, Stage, Whose};
use crate::rollout::Mode;
use crate::route::{EventRoute, Found, Params, Routes};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// Largest answer that is looked at, without its coding, bytes.
const MOST_PLAIN: usize = 128 << 10;

/// What a rehearsal is made of.
pub(crate) struct Setup {
    /// Rules, with switches of their own.
    pub(crate) routes: Routes,
    /// Who is who.
    pub(crate) identity: Arc<Identity>,
    /// Takes events.
    pub(crate) acceptor: Acceptor,
    /// What callers have pending.
    pub(crate) lanes: CallerLanes,
    /// What is known of callers.
    pub(crate) standing: CallerStanding,
    /// Instruments, which nobody reads.
    pub(crate) metrics: Arc<Metrics>,
    /// Wall clock.
    pub(crate) clock: Clock,
    /// A body must be there in this time.
    pub(crate) body_timeout: Duration,
}

/// Decides copies of calls.
pub(crate) struct Rehearsal {
    routes: Routes,
    decider: Decider,
    answers: Answers,
    standing: CallerStanding,
}

impl Rehearsal {
    /// A rehearsal.
    #[must_use]
    pub(crate) fn new(setup: Setup) -> Self {
        let Setup {
            routes,
            identity,
            acceptor,
            lanes,
            standing,
            metrics,
            clock,
            body_timeout,
        } = setup;
        let callers = Callers {
            identity: Arc::clone(&identity),
            standing: standing.clone(),
            clock,
        };
        let decider = Decider::new(callers, acceptor, lanes, body_timeout);
        Self {
            routes,
            decider,
            answers: Answers {
                identity,
                metrics,
                are_noted: false,
            },
            standing,
        }
    }

    /// A body without its coding, or as it is, if that can't be taken off.
    async fn unpack_call(&self, call: &Copied) -> Bytes {
        let most = self.decider.acceptor.max_body();
        let unpacker = &self.decider.bodies.unpacker;
        let unpacked = unpacker.unpack(&call.parts.headers, &call.body, (most, true));
        unpacked.await.unwrap_or_else(|_| call.body.clone())
    }

    fn place_of(&self, chosen: &EventRoute) -> Option<usize> {
        let is_chosen = |route: &EventRoute| Arc::ptr_eq(&route.switch, &chosen.switch);
        self.routes.events().iter().position(is_chosen)
    }

    fn find_whose(
        &self,
        call: &Copied,
        candidates: &[&EventRoute],
        (params, plain): (&Params, &Bytes),
    ) -> Whose {
        let caller = self.decider.callers.identify(&call.parts, &call.peer);
        let call = Call::new(&caller, params, &call.request_id);
        let touches = self.decider.touch.of_event(&call, candidates, plain);
        Whose {
            principal: touches.keys.principal,
            user: touches.asker.user,
            is_nameless: touches.keys.nameless,
            groups: touches.proves,
        }
    }
}

/// As the acceptor reads a call whose method needs no body.
fn body_or_empty(plain: &Bytes) -> &[u8] {
    if plain.is_empty() { b"{}" } else { plain }
}

impl Stage for Rehearsal {
    async fn decide(&self, call: &Copied) -> Option<Rehearsed> {
        let Copied {
            parts,
            peer,
            body: raw,
            request_id,
        } = call;
        let Found::Event(candidates, params) = self.routes.find(&parts.method, parts.uri.path())
        else {
            return None;
        };
        let head = EventHead {
            parts,
            peer,
            candidates: &candidates,
            params: &params,
            request_id,
        };
        let plain = self.unpack_call(call).await;
        let parsed = decode::parse(body_or_empty(&plain)).ok();
        let object = parsed.as_ref().map(|(_, object)| object);
        let chosen = object
            .and_then(|object| decode::choose(&candidates, object))
            .or_else(|| candidates.first().copied())?;
        let route = self.place_of(chosen)?;
        let whose = self.find_whose(call, &candidates, (&params, &plain));
        let decided = match self.decider.decide_event(&head, raw).await {
            Decision::Forward(Forward::Mode, _) => Decided::NotDrawn,
            Decision::Forward(why, _) => Decided::Declined(why.as_str()),
            Decision::Refuse(refusal) => Decided::Declined(refusal.as_str()),
            Decision::Acknowledge(ack) => {
                let missed = object.map(|object| decode::unmapped_names(chosen, object));
                let event = ack.event.clone()?;
                let (is_repetition, body) = (ack.duplicate, ack.body.clone());
                let predicted = self.answers.acknowledge(parts, ack, request_id.to_owned());
                let head = predicted.into_parts().0;
                Decided::Acknowledged(Acknowledged {
                    predicted: Told {
                        status: head.status.as_u16(),
                        headers: head.headers,
                        body,
                        is_whole: true,
                    },
                    event,
                    is_repetition,
                    missed: missed.into_iter().flatten().map(Into::into).collect(),
                })
            }
        };
        Some(Rehearsed {
            route,
            whose,
            decided,
        })
    }

    async fn find_route(&self, call: &Copied) -> Option<usize> {
        let parts = &call.parts;
        let Found::Event(candidates, params) = self.routes.find(&parts.method, parts.uri.path())
        else {
            return None;
        };
        let plain = self.unpack_call(call).await;
        let (_, object) = decode::parse(body_or_empty(&plain)).ok()?;
        let chosen = decode::choose(&candidates, &object)?;
        // A call that is forwarded for its head hears the application's answer live too.
        let caller = self.decider.callers.identify(parts, &call.peer);
        self.decider.check_event(&caller, &[chosen]).ok()?;
        let whose = self.find_whose(call, &candidates, (&params, &plain));
        let mode = match &whose.user {
            Some(user) => chosen.switch.mode_for(user, None),
            None => chosen.switch.setting().mode,
        };
        // A rehearsal's switch is on where its original is in mode `shadow`.
        (mode == Mode::Coalesce).then(|| self.place_of(chosen))?
    }

    async fn learn(&self, whose: &Whose, status: StatusCode) {
        if status.is_success() {
            self.standing
                .vouch(whose.principal, whose.is_nameless, &whose.groups);
        } else if status == StatusCode::UNAUTHORIZED {
            self.standing.refuse(whose.principal).await;
        }
    }

    fn unpack(&self, headers: &HeaderMap, body: &Bytes) -> Option<Bytes> {
        unpack_whole(headers, body, MOST_PLAIN).ok()
    }
}
