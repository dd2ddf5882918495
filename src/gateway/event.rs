//! Event calls and clients' own batches: gathered, decided, answered.

use super::answers::{Answers, request_id};
use super::bodies::Bodies;
use super::collect::{self, AtHand, Gathered, Whole};
use super::copied_answer;
use super::decide::{Decider, Decision, EventHead};
use super::forward::{Forwarder, whole};
use crate::body::Body;
use crate::ingest::accept::copied::Seen;
use crate::ingest::accept::decode::refusing_group;
use crate::ingest::accept::mirror::{Expecting, Mirror};
use crate::ingest::accept::refusal::Refusal;
use crate::peer::Peer;
use crate::rollout::{Decided, Mode};
use crate::route::{BatchRule, EventRoute, Params};
use http::header::CONTENT_ENCODING;
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

/// How far a call has come. Ruling 2: what comes whole is decided whether or not its client stays.
enum Came {
    /// It is decided before anything waits.
    Whole(Result<Gathered, Refusal>),
    /// There is more to read, or to unpack, and its client may go meanwhile: it is decided in a task
    /// of its own.
    Begun(AtHand),
}

impl Came {
    fn of(begun: Result<AtHand, Refusal>, parts: &Parts) -> Self {
        match begun {
            Ok(AtHand::All(gathered)) if !parts.headers.contains_key(CONTENT_ENCODING) => {
                Self::Whole(Ok(gathered))
            }
            Ok(came) => Self::Begun(came),
            Err(refusal) => Self::Whole(Err(refusal)),
        }
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
        self: &Arc<Self>,
        request: Request<Body>,
        peer: &Peer,
        candidates: &[&EventRoute],
        params: &Params,
    ) -> Response<Body> {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let came = match Came::of(self.bodies.begin(body), &parts) {
            Came::Whole(gathered) => {
                let came = (parts, gathered, began);
                return self.answer_gathered(came, peer, candidates, params).await;
            }
            Came::Begun(came) => came,
        };
        let (calls, peer, params) = (Arc::clone(self), peer.clone(), params.clone());
        let candidates: Vec<EventRoute> = candidates.iter().copied().cloned().collect();
        whole(async move {
            let candidates: Vec<_> = candidates.iter().collect();
            let gathered = calls.gather_rest(&parts, &peer, came).await;
            let came = (parts, gathered, began);
            calls
                .answer_gathered(came, &peer, &candidates, &params)
                .await
        })
        .await
    }

    async fn gather_rest(
        &self,
        parts: &Parts,
        peer: &Peer,
        came: AtHand,
    ) -> Result<Gathered, Refusal> {
        match came {
            AtHand::All(gathered) => Ok(gathered),
            AtHand::Part(rest) => self.bodies.gather_rest(parts, peer, rest).await,
        }
    }

    async fn answer_gathered(
        &self,
        (parts, gathered, began): (Parts, Result<Gathered, Refusal>, Instant),
        peer: &Peer,
        candidates: &[&EventRoute],
        params: &Params,
    ) -> Response<Body> {
        let gathered = match gathered {
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
        self: &Arc<Self>,
        request: Request<Body>,
        peer: &Peer,
        rule: BatchRule,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let came = match Came::of(self.bodies.begin(body), &parts) {
            Came::Whole(gathered) => {
                return self
                    .answer_gathered_batch(parts, gathered, peer, &rule)
                    .await;
            }
            Came::Begun(came) => came,
        };
        let (calls, peer) = (Arc::clone(self), peer.clone());
        whole(async move {
            let gathered = calls.gather_rest(&parts, &peer, came).await;
            calls
                .answer_gathered_batch(parts, gathered, &peer, &rule)
                .await
        })
        .await
    }

    async fn answer_gathered_batch(
        &self,
        parts: Parts,
        gathered: Result<Gathered, Refusal>,
        peer: &Peer,
        rule: &BatchRule,
    ) -> Response<Body> {
        let gathered = match gathered {
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
            Gathered::Whole(Whole { raw, .. }) => self.decider.decide_batch(&head, rule, raw).await,
            Gathered::Streamed(_, unread) => {
                let groups = (&[rule.group][..], rule.refusing_group());
                self.decider.decide_unread(&head, groups, *unread)
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
