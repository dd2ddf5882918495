//! What would become of a call, and why (`tidegate explain`): the gateway's own stages, over an event
//! path in memory that nobody hears of. What is said comes from the code that decides calls; here it
//! is only written down.
//!
//! | file | holds |
//! |---|---|
//! | `report` | what is said, as data |
//! | `describe` | each stage, written down |
//! | `decision` | what is decided, written down |
//! | `kept` | the events that would be kept |
//! | `reasons` | the reasons, in sentences |
//! | `secrets` | what is not repeated |

mod decision;
mod describe;
mod kept;
mod reasons;
pub(crate) mod report;
mod secrets;

pub(crate) use kept::KeptEvents;

use super::answers::{Answers, request_id};
use super::callers::Callers;
use super::collect::Unread;
use super::decide::{Decider, EventHead};
use super::own;
use super::rehearsal::Setup;
use super::touches::Touches;
use crate::identity::Identity;
use crate::ingest::CallerStanding;
use crate::ingest::accept::call::Call;
use crate::ingest::accept::decode::refusing_group;
use crate::metrics::Action;
use crate::peer::{Connection, Peer, TrustedProxies};
use crate::read::Read;
use crate::route::{Found, Params, Routes};
use crate::upstream::headers::{HeadError, normalize};
use bytes::Bytes;
use decision::decided;
use http::request::Parts;
use report::{DecisionReport, Explanation, InCoalesce};
use secrets::Secrets;
use std::sync::Arc;

/// A call to be explained, as a client would send it.
#[derive(Debug, Clone)]
pub(crate) struct AskedCall {
    /// Its head.
    pub(crate) parts: Parts,
    /// Its body.
    pub(crate) body: Bytes,
    /// Where it comes from.
    pub(crate) connection: Connection,
}

/// What is known of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Supposed {
    /// The application has taken a call of it.
    Good,
    /// Nothing.
    Unseen,
}

/// Explains calls. One explains one: what it keeps of it would make a repetition of the next.
pub(crate) struct Explainer {
    routes: Routes,
    identity: Arc<Identity>,
    decider: Decider,
    answers: Answers,
    standing: CallerStanding,
    read: Read,
    kept: Arc<KeptEvents>,
    trusted: TrustedProxies,
}

/// A call whose head was taken.
struct Arrived<'a> {
    parts: Parts,
    peer: Peer,
    body: &'a Bytes,
    request_id: String,
}

/// What was decided.
struct Decided {
    report: DecisionReport,
    touches: Option<Touches>,
}

impl Explainer {
    /// Over the event path of `setup`, whose events `kept` is told of.
    #[must_use]
    pub(crate) fn new(
        setup: Setup,
        read: Read,
        kept: Arc<KeptEvents>,
        trusted: TrustedProxies,
    ) -> Self {
        let callers = Callers {
            identity: Arc::clone(&setup.identity),
            standing: setup.standing.clone(),
            clock: setup.clock,
        };
        Self {
            routes: setup.routes,
            identity: Arc::clone(&setup.identity),
            decider: Decider::new(callers, setup.acceptor, setup.lanes, setup.body_timeout),
            answers: Answers {
                identity: setup.identity,
                metrics: setup.metrics,
                are_noted: false,
            },
            standing: setup.standing,
            read,
            kept,
            trusted,
        }
    }

    fn arrive<'a>(&self, call: &'a AskedCall) -> Result<Arrived<'a>, HeadError> {
        let mut parts = call.parts.clone();
        let peer = normalize(&mut parts, &call.connection, &self.trusted)?;
        let (request_id, body) = (request_id(&parts), &call.body);
        Ok(Arrived {
            parts,
            peer,
            body,
            request_id,
        })
    }

    /// What would become of the call, stage by stage; `unseen` is still to be put in.
    ///
    /// # Errors
    /// Its head can't be forwarded: it would be refused before anything is looked at.
    pub(crate) async fn explain(&self, call: &AskedCall) -> Result<Explanation, HeadError> {
        let arrived = self.arrive(call)?;
        let plain = self.unpack(&arrived).await;
        let Decided { report, touches } = self.decide(&arrived, &plain, Supposed::Good).await;
        let mut explanation = self.describe(call, &arrived, &plain, touches);
        explanation.decision = report;
        Ok(explanation)
    }

    /// What would be decided of the call.
    ///
    /// # Errors
    /// As for [`explain`](Self::explain).
    pub(crate) async fn decide_alone(
        &self,
        call: &AskedCall,
        supposed: Supposed,
    ) -> Result<InCoalesce, HeadError> {
        let arrived = self.arrive(call)?;
        let plain = self.unpack(&arrived).await;
        let Decided { report, .. } = self.decide(&arrived, &plain, supposed).await;
        let caller = self.decider.callers.identify(&arrived.parts, &arrived.peer);
        let object = describe::object_of(&plain);
        let secrets = Secrets::of(&self.identity, caller.parts(), object.as_ref());
        Ok(InCoalesce {
            decision: report,
            events: self.kept.describe(
                &secrets,
                &self.decider.acceptor,
                &String::from_utf8_lossy(&plain),
            ),
        })
    }

    /// The body without its coding; as it came, where that can't be taken off.
    async fn unpack(&self, arrived: &Arrived<'_>) -> Bytes {
        let most = self.decider.acceptor.max_body();
        let unpacker = &self.decider.bodies.unpacker;
        let unpacked = unpacker.unpack(&arrived.parts.headers, arrived.body, (most, true));
        unpacked.await.unwrap_or_else(|_| arrived.body.clone())
    }

    async fn decide(&self, arrived: &Arrived<'_>, plain: &Bytes, supposed: Supposed) -> Decided {
        let Arrived { parts, peer, .. } = arrived;
        let path = parts.uri.path();
        if path == own::INVALIDATIONS {
            return decided(Action::Listen, None);
        }
        match self.routes.find(&parts.method, path) {
            Found::Event(candidates, params) => {
                let head = EventHead {
                    parts,
                    peer,
                    candidates: &candidates,
                    params: &params,
                    request_id: &arrived.request_id,
                };
                self.decide_event(&head, arrived, plain, supposed).await
            }
            Found::Batch(group) => {
                let rule = self.routes.batch_rule(group);
                let params = Params::default();
                let head = EventHead {
                    parts,
                    peer,
                    candidates: &[],
                    params: &params,
                    request_id: &arrived.request_id,
                };
                let touches = self.touches_of(&head, |call| {
                    self.decider.touch.of_batch(call, group, plain)
                });
                self.suppose(supposed, &touches);
                let decision = if arrived.body.len() > self.decider.acceptor.max_body() {
                    let groups = (&[group][..], rule.refusing_group());
                    self.decider.decide_unread(&head, groups, Unread::TooLarge)
                } else {
                    self.decider.decide_batch(&head, &rule, arrived.body).await
                };
                self.tell(arrived, plain, decision, touches).await
            }
            Found::Write(route, params) => {
                let beside = self.routes.groups_at(path);
                let caller = self.decider.callers.identify(parts, peer);
                let rule = (route, &params);
                let touches = self.decider.touch.of_write(&caller, rule, beside, plain);
                decided(Action::Write, Some(touches))
            }
            Found::Cache(..) => decided(Action::Read, None),
            Found::Preview(_) => decided(Action::Preview, None),
            Found::Other => {
                let groups = self.routes.groups_at(path);
                let caller = self.decider.callers.identify(parts, peer);
                let touches = (!groups.is_empty()).then(|| {
                    self.decider
                        .touch
                        .of_head(&caller, &Params::default(), &groups)
                });
                let mut decided = decided(Action::Forwarded, touches);
                decided.report.reason = Some("no_route".to_owned());
                decided.report.detail = Some("no rule has it".to_owned());
                decided
            }
        }
    }

    async fn decide_event(
        &self,
        head: &EventHead<'_>,
        arrived: &Arrived<'_>,
        plain: &Bytes,
        supposed: Supposed,
    ) -> Decided {
        let touches = self.touches_of(head, |call| {
            self.decider.touch.of_event(call, head.candidates, plain)
        });
        self.suppose(supposed, &touches);
        let decision = if arrived.body.len() > self.decider.acceptor.max_body() {
            let refusing = refusing_group(head.candidates);
            self.decider
                .decide_unread(head, (&head.groups(), refusing), Unread::TooLarge)
        } else {
            self.decider.decide_event(head, arrived.body).await
        };
        self.tell(arrived, plain, decision, touches).await
    }

    fn touches_of(
        &self,
        head: &EventHead<'_>,
        touch: impl FnOnce(&Call<'_>) -> Touches,
    ) -> Touches {
        let caller = self.decider.callers.identify(head.parts, head.peer);
        touch(&Call::new(&caller, head.params, head.request_id))
    }

    fn suppose(&self, supposed: Supposed, touches: &Touches) {
        if supposed == Supposed::Good {
            let keys = &touches.keys;
            self.standing
                .vouch(keys.principal, keys.nameless, &touches.proves);
        }
    }
}
