//! Event calls and clients' own batches: gathered, decided, answered.

use super::answers::{Answers, request_id};
use super::bodies::Bodies;
use super::collect::{self, Gathered, Whole};
use super::copied_answer;
use super::decide::{Decider, Decision, EventHead};
use super::forward::Forwarder;
use crate::body::Body;
use crate::event::GroupIndex;
use crate::ingest::accept::copied::Seen;
use crate::ingest::accept::mirror::{Expecting, Mirror};
use crate::ingest::accept::take::refusing_group;
use crate::peer::Peer;
use crate::rollout::{Decided, Mode};
use crate::route::{EventRoute, Params};
use http::request::Parts;
use http::{Request, Response};
use std::sync::Arc;
use tokio::time::Instant;

/// Counts what was decided of a call of these routes' path.
fn count_call(candidates: &[&EventRoute], decided: Decided) {
    if let Some(route) = candidates.first() {
        route.switch.count_call(decided);
    }
}

/// What a decision is counted as.
const fn decided(decision: &Decision) -> Decided {
    match decision {
        Decision::Acknowledge(ack) if ack.duplicate => Decided::Duplicate,
        Decision::Acknowledge(_) => Decided::Acknowledged,
        Decision::Forward(..) => Decided::Forwarded,
        Decision::Refuse(_) => Decided::Refused,
    }
}

/// Answers event calls.
pub(super) struct EventCalls {
    pub(super) answers: Answers,
    pub(super) bodies: Bodies,
    pub(super) decider: Decider,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) mirror: Arc<dyn Mirror>,
}

impl EventCalls {
    /// Answers a call that is one event.
    pub(super) async fn answer_event(
        &self,
        request: Request<Body>,
        peer: &Peer,
        candidates: &[&EventRoute],
        params: &Params,
    ) -> Response<Body> {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let gathered = match self.bodies.gather(&parts, peer, body).await {
            Ok(gathered) => gathered,
            Err(refusal) => {
                count_call(candidates, Decided::Refused);
                return self.answers.refuse(&parts, &refusal);
            }
        };
        let request_id = request_id(&parts);
        let head = EventHead {
            parts: &parts,
            peer,
            candidates,
            params,
            request_id: &request_id,
        };
        let decision = match &gathered {
            Gathered::Whole(Whole { raw, .. }) => self.decider.decide_event(&head, raw).await,
            Gathered::Streamed(_, unread) => {
                let refusing = refusing_group(candidates);
                self.decider
                    .decide_unread(&head, (&head.groups(), refusing), *unread)
            }
        };
        count_call(candidates, decided(&decision));
        if let Decision::Acknowledge(ack) = decision {
            self.answers
                .metrics
                .ack_seconds
                .observe(began.elapsed().as_secs_f64());
            return self.answers.acknowledge(&parts, ack, request_id);
        }
        let expecting = self.copy_call(&head, &gathered);
        let answering = Box::pin(self.carry_out(decision, parts, gathered, peer, &request_id));
        match expecting {
            Some(expecting) => copied_answer::copy(answering.await, expecting),
            None => answering.await,
        }
    }

    /// Copies a call that is forwarded, where one of its routes is in mode `shadow`.
    fn copy_call(&self, head: &EventHead<'_>, gathered: &Gathered) -> Option<Box<dyn Expecting>> {
        let is_shadowed = |route: &&EventRoute| route.switch.setting().mode == Mode::Shadow;
        if !head.candidates.iter().any(is_shadowed) {
            return None;
        }
        match gathered {
            Gathered::Whole(Whole { raw, .. }) => self.mirror.copy_call(
                head.candidates,
                Seen {
                    parts: head.parts,
                    peer: head.peer,
                    body: raw,
                    request_id: head.request_id,
                },
            ),
            Gathered::Streamed(_, unread) => {
                self.mirror.note_unread(head.candidates, unread.as_str());
                None
            }
        }
    }

    /// Answers a batch that a client made itself.
    pub(super) async fn answer_batch(
        &self,
        request: Request<Body>,
        peer: &Peer,
        group: GroupIndex,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let gathered = match self.bodies.gather(&parts, peer, body).await {
            Ok(gathered) => gathered,
            Err(refusal) => return self.answers.refuse(&parts, &refusal),
        };
        let (params, request_id) = (Params::default(), request_id(&parts));
        let head = EventHead {
            parts: &parts,
            peer,
            candidates: &[],
            params: &params,
            request_id: &request_id,
        };
        let decision = match &gathered {
            Gathered::Whole(Whole { raw, .. }) => {
                self.decider.decide_batch(&head, group, raw).await
            }
            Gathered::Streamed(_, unread) => {
                self.decider
                    .decide_unread(&head, (&[group], Some(group)), *unread)
            }
        };
        self.carry_out(decision, parts, gathered, peer, &request_id)
            .await
    }

    async fn carry_out(
        &self,
        decision: Decision,
        parts: Parts,
        gathered: Gathered,
        peer: &Peer,
        request_id: &str,
    ) -> Response<Body> {
        match decision {
            Decision::Acknowledge(ack) => {
                let request_id = request_id.to_owned();
                self.answers.acknowledge(&parts, ack, request_id)
            }
            Decision::Forward(why, touches) => {
                self.forwarder
                    .forward(
                        Request::from_parts(parts, gathered),
                        peer,
                        Some(&why),
                        *touches,
                    )
                    .await
            }
            Decision::Refuse(refusal) => {
                // A client that waits for a 100 hears the refusal without having sent anything.
                if let Gathered::Streamed(body, _) = gathered
                    && !body.is_expected()
                {
                    collect::drain(body).await;
                }
                self.answers.refuse(&parts, &refusal)
            }
        }
    }
}
