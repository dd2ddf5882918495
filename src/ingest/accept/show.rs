//! Showing calls of mode `observe` to the observer: at once, or what copies of them say.

use super::ack::acknowledge;
use super::call::Call;
use super::decode::{Decoded, Payload, read_body};
use super::look::Looked;
use super::refusal::{Decline, Forward};
use super::seen::Known;
use super::watch::{Decide, Observed, Undecoded, UndecodedCopy};
use crate::identity::Caller;
use crate::ingest::Acceptor;
use crate::ingest::settings::Group;
use crate::json::Object;
use crate::rollout::Mode;
use crate::route::EventRoute;
use bytes::Bytes;

impl Acceptor {
    /// Shows the observer that a call would not have been acknowledged. It counts for the first of
    /// its path's routes that is observed.
    pub(crate) fn show_declined(&self, candidates: &[&EventRoute], decline: &Decline) {
        let is_observed = |route: &&&EventRoute| route.switch.setting().mode == Mode::Observe;
        if let Some(route) = candidates.iter().find(is_observed) {
            self.0.watch.see_declined(route, name_of(decline));
        }
    }

    /// Shows the observer a call whose decoding nothing waits for.
    pub(super) fn show_undecoded(
        &self,
        route: &EventRoute,
        call: &Call<'_>,
        (body, object): (&Bytes, &Object<'_>),
    ) {
        let shared = &self.0;
        let principal = shared.identity.keys(call.caller, Some(object)).principal;
        let is_refused = shared.reputation.is_refused_in(principal, route.group);
        let undecoded = Undecoded {
            call,
            body,
            standing: self.check_standing(principal, route.group, is_refused),
        };
        shared.watch.see_undecoded(route, &undecoded);
    }

    /// Shows the observer an event, or why it would not have been acknowledged, without taking
    /// anything of the bounds. `has_ack`: its acknowledgement can be written.
    pub(super) fn show_event(
        &self,
        (route, group): (&EventRoute, &Group),
        decoded: &Decoded<'_>,
        looked: Looked,
        has_ack: bool,
    ) {
        let event = &decoded.event;
        let standing =
            || self.check_standing(event.owner().principal, event.lane.group, looked.is_refused);
        match self.observe(group, decoded, looked, has_ack, standing) {
            Ok(observed) => self.0.watch.see_event(route, &observed),
            Err(why) => self.show_declined(&[route], &Decline::Forward(why)),
        }
    }

    fn observe<'a>(
        &self,
        group: &Group,
        decoded: &'a Decoded<'_>,
        looked: Looked,
        has_ack: bool,
        standing: impl FnOnce() -> Result<(), Forward>,
    ) -> Result<Observed<'a>, Forward> {
        if !has_ack {
            return Err(Forward::HeaderValue);
        }
        if looked.known == Known::Other {
            return Err(Forward::OtherContent);
        }
        let event = &decoded.event;
        self.check_place(group, event)?;
        standing()?;
        decoded.fits?;
        Ok(Observed {
            event,
            view: decoded.view(),
            key: looked.key,
            envelope: self.0.admitter.envelope(event),
        })
    }
}

impl Decide for Acceptor {
    fn decide_copy<R>(
        &self,
        route: &EventRoute,
        copy: &UndecodedCopy,
        tell: impl FnOnce(Result<Observed<'_>, &'static str>) -> R,
    ) -> R {
        let body = &copy.copied.body;
        let head = (&copy.copied.parts, &copy.copied.peer);
        let caller = Caller::of_copy(head, copy.came, &copy.head);
        let call = Call::new(&caller, &copy.params, &copy.copied.request_id);
        let (text, object) = match read_body(&call, body) {
            Ok(read) => read,
            Err(decline) => return tell(Err(name_of(&decline))),
        };
        let Some(decoder) = self.decoder(route.group) else {
            return tell(Err(Forward::NoRule.as_str()));
        };
        // What a delivery would repeat of the call is not looked at.
        let payload = Payload {
            sent: body,
            text,
            object: &object,
        };
        let decoded = match decoder.decode_single(route, &call, payload) {
            Ok(decoded) => decoded,
            Err(decline) => return tell(Err(name_of(&decline))),
        };
        if let Err(decline) = &decoded.in_time {
            return tell(Err(name_of(decline)));
        }
        let is_refused = copy.standing == Err(Forward::Rejected);
        let looked = self.look_up_of(&decoded.event, is_refused);
        let has_ack = has_ack(route, &call, (text, &object), &decoded);
        let standing = || copy.standing.clone();
        let observed = self.observe(decoder.group, &decoded, looked, has_ack, standing);
        tell(observed.map_err(|why| why.as_str()))
    }
}

/// Whether the acknowledgement of an event can be written.
pub(super) fn has_ack(
    route: &EventRoute,
    call: &Call<'_>,
    body: (&str, &Object<'_>),
    decoded: &Decoded<'_>,
) -> bool {
    route.ack.headers.is_empty() || acknowledge(route, call, body, decoded, false).is_some()
}

const fn name_of(decline: &Decline) -> &'static str {
    match decline {
        Decline::Refuse(refusal) => refusal.as_str(),
        Decline::Forward(why) => why.as_str(),
    }
}
