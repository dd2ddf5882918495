//! Deciding an event call, or a client's own batch: acknowledged, forwarded, or refused.

use super::bodies::{Bodies, Unusable};
use super::callers::Callers;
use super::collect::Unread;
use super::touches::{TouchRules, Touches};
use super::unpack::Unpacker;
use crate::event::GroupIndex;
use crate::identity::Caller;
use crate::ingest::accept::ack::Ack;
use crate::ingest::accept::call::Call;
use crate::ingest::accept::decode::{check_type, refusing_group};
use crate::ingest::accept::refusal::{Decline, Forward, Refusal};
use crate::ingest::accept::take::Prepared;
use crate::ingest::{Acceptor, CallerLanes};
use crate::peer::Peer;
use crate::route::{BatchRule, EventRoute, Params};
use bytes::Bytes;
use http::request::Parts;
use std::time::Duration;

/// How often a call is prepared whose id becomes known while it is on its way.
const ATTEMPTS: u32 = 2;

/// What becomes of a call.
pub(super) enum Decision {
    /// Tidegate answers it: its events are kept.
    Acknowledge(Ack),
    /// The application does, after what is before it.
    Forward(Forward, Box<Touches>),
    /// Tidegate refuses it, since its configuration or its own limits say so.
    Refuse(Refusal),
}

/// The head of an event call, and the rules of its path.
pub(super) struct EventHead<'a> {
    pub(super) parts: &'a Parts,
    pub(super) peer: &'a Peer,
    pub(super) candidates: &'a [&'a EventRoute],
    pub(super) params: &'a Params,
    pub(super) request_id: &'a str,
}

impl EventHead<'_> {
    pub(super) fn groups(&self) -> Vec<GroupIndex> {
        self.candidates.iter().map(|route| route.group).collect()
    }
}

/// Decides calls.
pub(super) struct Decider {
    pub(super) callers: Callers,
    pub(super) acceptor: Acceptor,
    pub(super) bodies: Bodies,
    pub(super) touch: TouchRules,
}

impl Decider {
    /// Of these, with what reads bodies and what tells what calls touch. `within`: a body must be
    /// there in this time.
    pub(super) fn new(
        callers: Callers,
        acceptor: Acceptor,
        lanes: CallerLanes,
        within: Duration,
    ) -> Self {
        Self {
            bodies: Bodies {
                callers: callers.clone(),
                acceptor: acceptor.clone(),
                unpacker: Unpacker::new(),
                within,
            },
            touch: TouchRules {
                callers: callers.clone(),
                acceptor: acceptor.clone(),
                lanes,
            },
            callers,
            acceptor,
        }
    }

    /// Decides an event call whose body is whole, and keeps its event if it is acknowledged.
    pub(super) async fn decide_event(&self, head: &EventHead<'_>, raw: &Bytes) -> Decision {
        for _ in 0..ATTEMPTS {
            let prepared = match self.prepare_at_once(head, raw) {
                Some(prepared) => prepared,
                None => Box::pin(self.prepare_large(head, raw)).await,
            };
            let prepared = match prepared {
                Ok(prepared) => prepared,
                Err(decision) => return decision,
            };
            match self.acceptor.keep_prepared(*prepared).await {
                Ok(Some(ack)) => return Decision::Acknowledge(ack),
                // Its id became known while it was on its way: it is a repetition now.
                Ok(None) => {}
                Err(decline) => return self.decline_unkept(head, raw, decline),
            }
        }
        // Its id was forgotten at once, and is known once more: one of many in one moment.
        Decision::Refuse(Refusal::Busy(Duration::from_secs(1)))
    }

    /// Prepares an event call; `None`: its body must be unpacked off this thread first.
    fn prepare_at_once(
        &self,
        head: &EventHead<'_>,
        raw: &Bytes,
    ) -> Option<Result<Box<Prepared>, Decision>> {
        let caller = self.callers.identify(head.parts, head.peer);
        let call = Call::new(&caller, head.params, head.request_id);
        let headers = &head.parts.headers;
        if let Err(why) = self.check_event(&caller, head.candidates) {
            let shown = self.bodies.peek(headers, raw);
            return Some(Err(self.decline_unseen(
                &call,
                head.candidates,
                Decline::Forward(why),
                &shown,
            )));
        }
        let group = refusing_group(head.candidates);
        match self.bodies.unpack_at_once(headers, raw, group) {
            Ok(Some(plain)) => Some(self.prepare(&call, head.candidates, raw, &plain.body)),
            Ok(None) => None,
            Err(Unusable { why, shown }) => Some(Err(self.decline_unseen(
                &call,
                head.candidates,
                why,
                &shown,
            ))),
        }
    }

    /// As [`prepare_at_once`](Self::prepare_at_once), for a body that is large without its coding.
    async fn prepare_large(
        &self,
        head: &EventHead<'_>,
        raw: &Bytes,
    ) -> Result<Box<Prepared>, Decision> {
        let caller = self.callers.identify(head.parts, head.peer);
        let refusing = refusing_group(head.candidates);
        let unpacked = self
            .bodies
            .unpack_large(&caller, raw, (&head.groups(), refusing))
            .await;
        let call = Call::new(&caller, head.params, head.request_id);
        match unpacked {
            Ok(plain) => self.prepare(&call, head.candidates, raw, &plain.body),
            Err(Unusable { why, shown }) => {
                Err(self.decline_unseen(&call, head.candidates, why, &shown))
            }
        }
    }

    fn prepare(
        &self,
        call: &Call<'_>,
        candidates: &[&EventRoute],
        raw: &Bytes,
        body: &Bytes,
    ) -> Result<Box<Prepared>, Decision> {
        let prepared = self.acceptor.prepare(candidates, call, raw, body);
        prepared
            .map(Box::new)
            .map_err(|decline| self.decline_event(call, candidates, decline, body))
    }

    /// As [`decline_event`](Self::decline_event), of a call whose body the acceptor hasn't seen.
    fn decline_unseen(
        &self,
        call: &Call<'_>,
        candidates: &[&EventRoute],
        decline: Decline,
        body: &Bytes,
    ) -> Decision {
        self.acceptor.show_declined(candidates, &decline);
        self.decline_event(call, candidates, decline, body)
    }

    /// `body`: what may be looked at of it.
    fn decline_event(
        &self,
        call: &Call<'_>,
        candidates: &[&EventRoute],
        decline: Decline,
        body: &Bytes,
    ) -> Decision {
        match decline {
            Decline::Refuse(refusal) => Decision::Refuse(refusal),
            Decline::Forward(why) => {
                Decision::Forward(why, self.touch.of_event(call, candidates, body).into())
            }
        }
    }

    /// An event that could not be kept after all is the application's.
    fn decline_unkept(&self, head: &EventHead<'_>, raw: &Bytes, decline: Decline) -> Decision {
        let caller = self.callers.identify(head.parts, head.peer);
        let call = Call::new(&caller, head.params, head.request_id);
        self.decline_event(
            &call,
            head.candidates,
            decline,
            &self.bodies.peek(&head.parts.headers, raw),
        )
    }

    /// Decides a client's own batch whose body is whole, and keeps its events if it is
    /// acknowledged.
    pub(super) async fn decide_batch(
        &self,
        head: &EventHead<'_>,
        rule: &BatchRule,
        raw: &Bytes,
    ) -> Decision {
        let group = rule.group;
        let refusing = rule.refusing_group();
        let caller = self.callers.identify(head.parts, head.peer);
        let call = Call::new(&caller, head.params, head.request_id);
        let headers = &head.parts.headers;
        if let Err(why) = self.check_batch(&caller) {
            return self.decline_batch(
                &call,
                group,
                Decline::Forward(why),
                &self.bodies.peek(headers, raw),
            );
        }
        let unpacked = match self.bodies.unpack_at_once(headers, raw, refusing) {
            Ok(Some(plain)) => Ok(plain),
            Ok(None) => {
                self.bodies
                    .unpack_large(&caller, raw, (&[group], refusing))
                    .await
            }
            Err(unusable) => Err(unusable),
        };
        let plain = match unpacked {
            Ok(plain) => plain,
            Err(Unusable { why, shown }) => return self.decline_batch(&call, group, why, &shown),
        };
        match self.acceptor.take_batch(rule, &call, &plain.body).await {
            Ok(ack) => Decision::Acknowledge(ack),
            Err(decline) => self.decline_batch(&call, group, decline, &plain.body),
        }
    }

    fn decline_batch(
        &self,
        call: &Call<'_>,
        group: GroupIndex,
        decline: Decline,
        body: &Bytes,
    ) -> Decision {
        match decline {
            Decline::Refuse(refusal) => Decision::Refuse(refusal),
            Decline::Forward(why) => {
                Decision::Forward(why, self.touch.of_batch(call, group, body).into())
            }
        }
    }

    /// Decides a call whose body can't be looked at: it is too large, has trailers or found no
    /// room. It is the application's, unless its group refuses the first.
    pub(super) fn decide_unread(
        &self,
        head: &EventHead<'_>,
        (groups, refusing): (&[GroupIndex], Option<GroupIndex>),
        unread: Unread,
    ) -> Decision {
        let decline = match unread {
            Unread::TooLarge => Decline::Refuse(Refusal::TooLarge(self.acceptor.max_body())),
            Unread::Trailers => Decline::Forward(Forward::Trailers),
            Unread::NoRoom => Decline::Forward(Forward::NoRoom),
        };
        let decline = self.acceptor.judge(refusing, decline);
        self.acceptor.show_declined(head.candidates, &decline);
        match decline {
            Decline::Refuse(refusal) => Decision::Refuse(refusal),
            Decline::Forward(why) => {
                let caller = self.callers.identify(head.parts, head.peer);
                Decision::Forward(why, self.touch.of_head(&caller, head.params, groups).into())
            }
        }
    }

    /// Whether an event call may be acknowledged, as far as its head tells.
    pub(super) fn check_event(
        &self,
        caller: &Caller<'_>,
        candidates: &[&EventRoute],
    ) -> Result<(), Forward> {
        let identity = &self.callers.identity;
        identity
            .answerable(caller)
            .map_err(Forward::NotAnswerable)?;
        // Which rule it meets its body says; one of them may take it.
        let mut why = Forward::ContentType;
        for route in candidates {
            match check_type(identity, caller, &route.content_types) {
                Ok(()) => return Ok(()),
                Err(Forward::ContentType) => {}
                Err(other) => why = other,
            }
        }
        Err(why)
    }

    /// Whether a client's own batch may be, as far as its head tells.
    fn check_batch(&self, caller: &Caller<'_>) -> Result<(), Forward> {
        let identity = &self.callers.identity;
        identity
            .answerable(caller)
            .map_err(Forward::NotAnswerable)?;
        if !caller.has_utf8_body() {
            return Err(Forward::ContentType);
        }
        check_type(identity, caller, &[])
    }
}
