//! Taking an event call: what needs no wait first ([`Acceptor::prepare`]), then the journal
//! ([`Acceptor::keep_prepared`]).

use super::ack::{Ack, acknowledge};
use super::arrival::Arrival;
use super::call::Call;
use super::decode::{self, Decoded, Decoder, Payload};
use super::look::Looked;
use super::show::has_ack;
use crate::event::{Event, GroupIndex, Succession};
use crate::ingest::Acceptor;
use crate::ingest::accept::buckets::{NoToken, Payer};
use crate::ingest::accept::refusal::{Decline, Forward, Refusal};
use crate::ingest::accept::seen::{Claim, Known, SeenKey};
use crate::ingest::accept::shares::{Holder, Share};
use crate::ingest::settings::Group;
use crate::journal::More;
use crate::rollout::Mode;
use crate::route::EventRoute;
use crate::spans::Origin;
use bytes::Bytes;

/// An event that may be kept, and what is said when it is.
#[derive(Debug)]
pub struct Prepared {
    event: Event,
    admission: Admission,
    succession: Option<Succession>,
    origin: Origin,
    ack: Ack,
    /// Something else is said of an event that is known.
    differs_if_known: bool,
    /// Where members of the body are counted that no mapping names, and how many there are.
    unmapped: Option<(Box<str>, u64)>,
}

/// How an event is admitted.
#[derive(Debug)]
enum Admission {
    /// It is known, under this key.
    Known(SeenKey),
    /// Its route is off, and its id is on the way into the journal: it is a repetition if that is
    /// kept, and the application's if it isn't.
    OffUndecided(SeenKey),
    /// Under this key, with this share of the bounds.
    New(SeenKey, Share),
}

impl Acceptor {
    /// Decodes an event call and looks whether it may be kept. `sent`: its body as it came; `body`:
    /// without its coding.
    ///
    /// # Errors
    /// The call is to be forwarded, or refused.
    pub fn prepare(
        &self,
        candidates: &[&EventRoute],
        call: &Call<'_>,
        sent: &Bytes,
        body: &Bytes,
    ) -> Result<Prepared, Decline> {
        let (text, object) = decode::read_body(call, body).map_err(|decline| {
            let decline = match decline {
                // In another charset it may be what the application reads.
                Decline::Refuse(what) if !call.caller.has_utf8_body() => {
                    Decline::Forward(Forward::NotUnderstood(what))
                }
                other => self.judge(decode::refusing_group(candidates), other),
            };
            self.show_declined(candidates, &decline);
            decline
        })?;
        let route = decode::choose(candidates, &object).ok_or_else(|| {
            let decline = Decline::Forward(Forward::NoRule);
            self.show_declined(candidates, &decline);
            decline
        })?;
        let stands = route.switch.setting().mode;
        if matches!(stands, Mode::Off | Mode::Shadow) && route.switch.was_never_on() {
            return Err(Decline::Forward(Forward::Mode));
        }
        let judge = |decline| self.judge(decode::refusing_group(&[route]), decline);
        if let Err(why) = self.check_head(candidates, route, call) {
            let decline = Decline::Forward(why);
            self.show_declined(&[route], &decline);
            return Err(decline);
        }
        let decoder = self
            .decoder(route.group)
            .ok_or(Decline::Forward(Forward::NoRule))?;
        if stands == Mode::Observe && route.switch.was_never_on() {
            self.show_undecoded(route, call, (body, &object));
            return Err(Decline::Forward(Forward::Mode));
        }
        let payload = Payload {
            sent,
            text,
            object: &object,
        };
        let decoded = decoder.decode_single(route, call, payload);
        let decoded = decoded.map_err(|decline| match route.switch.setting().mode {
            Mode::Off | Mode::Shadow => Decline::Forward(Forward::Mode),
            Mode::Observe => {
                self.show_declined(&[route], &judge(decline));
                Decline::Forward(Forward::Mode)
            }
            Mode::Coalesce => judge(decline),
        })?;
        let looked = self.look_up(&decoded.event);
        let tester = route
            .switch
            .tester(&call.caller.parts().headers, call.caller.peer());
        let mode = route.switch.mode_for(&decoded.event.lane.user, tester);
        let is_off = mode != Mode::Coalesce;
        // A repetition of what was acknowledged before the route was switched off is one still: its
        // event goes once. An id that Tidegate made of the call names no repetition for certain.
        let may_repeat =
            decoded.id_is_given && matches!(looked.known, Known::Yes | Known::Undecided);
        if is_off && !may_repeat {
            if mode == Mode::Observe
                && let Err(decline) = &decoded.in_time
            {
                self.show_declined(&[route], &judge(decline.clone()));
            } else if mode == Mode::Observe {
                let has_ack = has_ack(route, call, (text, &object), &decoded);
                self.show_event((route, decoder.group), &decoded, looked, has_ack);
            }
            return Err(Decline::Forward(Forward::Mode));
        }
        let ack = acknowledge(
            route,
            call,
            (text, &object),
            &decoded,
            looked.known == Known::Yes,
        );
        // Ruling 12: what no header may carry makes the call the application's.
        let ack = ack.ok_or(Decline::Forward(Forward::HeaderValue))?;
        let unmapped = decode::unmapped(route, &object);
        let mut arrival = self.arrival(call, decoded);
        let admission = if is_off && looked.known == Known::Undecided {
            Admission::OffUndecided(looked.key)
        } else {
            self.admit(decoder.group, &mut arrival, looked)
                .map_err(judge)?
        };
        let Arrival {
            event,
            succession,
            origin,
            ..
        } = arrival;
        let unmapped = (unmapped > 0).then(|| (route.path.source().into(), unmapped as u64));
        Ok(Prepared {
            event,
            admission,
            succession,
            origin,
            ack,
            differs_if_known: route.ack.duplicate.is_some(),
            unmapped,
        })
    }

    /// What a call's head says against the rule that its body meets.
    fn check_head(
        &self,
        candidates: &[&EventRoute],
        route: &EventRoute,
        call: &Call<'_>,
    ) -> Result<(), Forward> {
        // One of the path's rules takes its type; if there are more, it may be another one.
        if candidates.len() > 1 {
            decode::check_type(&self.0.identity, call.caller, &route.content_types)?;
        }
        if !call.caller.has_utf8_body() {
            return Err(Forward::ContentType);
        }
        let query = call.caller.parts().uri.query();
        let is_known = query.is_none_or(|query| route.knows_query(query));
        is_known.then_some(()).ok_or(Forward::Query)
    }

    /// Keeps what may be kept, and says what its client hears; `None`: its id has become known
    /// meanwhile, and the call is to be prepared anew.
    ///
    /// # Errors
    /// The call is to be forwarded; nothing was kept.
    ///
    /// # Cancel safety
    /// From the journal on the event is kept whether or not the caller stays (ruling 2).
    pub async fn keep_prepared(&self, prepared: Prepared) -> Result<Option<Ack>, Decline> {
        let Prepared {
            event,
            admission,
            succession,
            origin,
            ack,
            differs_if_known,
            unmapped,
        } = prepared;
        let (key, is_new) = match admission {
            Admission::Known(key) => (key, false),
            Admission::OffUndecided(key) => {
                match self.0.admitter.seen.known_when_decided(key).await {
                    // Another body may be said of it.
                    Known::Yes if differs_if_known => return Ok(None),
                    Known::Yes => (key, false),
                    _ => return Err(Decline::Forward(Forward::Mode)),
                }
            }
            Admission::New(key, share) => {
                let stored = self.store(event, (key, share), succession, origin);
                let is_new = stored.await?;
                if !is_new && differs_if_known {
                    return Ok(None);
                }
                (key, is_new)
            }
        };
        if let Some((path, count)) = unmapped {
            self.0
                .admitter
                .metrics
                .unmapped
                .with_label_values(&[&*path])
                .inc_by(count);
        }
        if !is_new {
            self.repeat(key);
        }
        Ok(Some(Ack {
            duplicate: !is_new,
            ..ack
        }))
    }

    /// P14: what isn't understood is forwarded, unless its group says that Tidegate refuses it.
    pub fn judge(&self, group: Option<GroupIndex>, decline: Decline) -> Decline {
        let refuses = |name: &str| {
            let group = group.and_then(|group| self.group(group));
            group.is_some_and(|group| group.refuse.iter().any(|one| **one == *name))
        };
        match decline {
            Decline::Refuse(
                Refusal::Limited(_)
                | Refusal::Busy(_)
                | Refusal::NoRoom(_)
                | Refusal::TooSlow
                | Refusal::Incomplete,
            ) => decline,
            Decline::Refuse(refusal) if !refuses(refusal.as_str()) => {
                Decline::Forward(Forward::NotUnderstood(refusal))
            }
            other => other,
        }
    }

    pub(in crate::ingest) fn decoder(&self, index: GroupIndex) -> Option<Decoder<'_>> {
        let shared = &self.0;
        Some(Decoder {
            index,
            group: shared.groups.get(index.0)?,
            identity: &shared.identity,
            contexts: &shared.contexts,
            changes: &shared.changes,
            reputation: &shared.reputation,
            token_margin: shared.delivery.token_margin,
        })
    }

    /// A decoded event on its way.
    pub(super) fn arrival(&self, call: &Call<'_>, decoded: Decoded<'_>) -> Arrival {
        let is_limited = self.0.buckets.are_limited();
        Arrival::of(is_limited.then_some(&self.0.identity), call, decoded)
    }

    /// What an event takes of the bounds, if it may.
    pub(in crate::ingest) fn share(&self, arrival: &Arrival) -> Result<Share, Decline> {
        arrival.fits.map_err(|why| Decline::Forward(why.into()))?;
        let (event, reputation) = (&arrival.event, &self.0.reputation);
        let takes = reputation
            .shares()
            .of_event(self.shard_of(&event.lane.user), event);
        let holder = Holder {
            principal: event.owner().principal,
            address: arrival.address,
        };
        reputation
            .take_share(holder, takes)
            .map_err(|why| Decline::Forward(why.into()))
    }

    /// Whether an event may be kept, and what of the bounds it takes then.
    fn admit(
        &self,
        group: &Group,
        arrival: &mut Arrival,
        looked: Looked,
    ) -> Result<Admission, Decline> {
        let share = arrival.share.take();
        let event = &arrival.event;
        let Looked {
            key,
            is_refused,
            known,
        } = looked;
        // ORDER: before anything that would forward it: an event that was acknowledged goes once.
        match known {
            Known::Yes => return Ok(Admission::Known(key)),
            Known::Other => return Err(Decline::Forward(Forward::OtherContent)),
            Known::No | Known::Undecided => {}
        }
        arrival.in_time.clone()?;
        self.check_admissible(group, event, is_refused)?;
        let share = share.map_or_else(|| self.share(arrival), Ok)?;
        if !arrival.is_paid {
            self.take_tokens(arrival, &share, 1)?;
        }
        Ok(Admission::New(key, share))
    }

    /// Takes so many tokens of the event's payer, or none of them; whose they were.
    pub(super) fn take_tokens(
        &self,
        arrival: &Arrival,
        share: &Share,
        tokens: u32,
    ) -> Result<Option<Payer>, Decline> {
        let shared = &self.0;
        if !shared.buckets.are_limited() {
            return Ok(None);
        }
        let event = &arrival.event;
        let is_good = shared
            .reputation
            .is_good(event.owner().principal, event.lane.group);
        let payer = Payer::of(
            &event.lane.user,
            &event.owner(),
            arrival.token,
            share.is_strangers(),
            is_good,
        );
        match shared.buckets.take(payer, tokens) {
            Ok(()) => Ok(Some(payer)),
            Err(NoToken::Limited(wait)) => Err(Decline::Refuse(Refusal::Limited(wait))),
            Err(NoToken::TooManyUsers) => Err(Decline::Forward(Forward::TooManyUsers)),
        }
    }

    /// Puts an event into the journal; `false`: its id is known by now.
    async fn store(
        &self,
        event: Event,
        (key, share): (SeenKey, Share),
        succession: Option<Succession>,
        origin: Origin,
    ) -> Result<bool, Decline> {
        let shared = &self.0;
        let keep = shared
            .groups
            .get(event.lane.group.0)
            .map_or_else(Default::default, |group| group.max_age);
        let admitted = match shared.admitter.admit(key, &event, keep, share).await {
            Ok(admitted) => admitted.with_origin(origin),
            Err(Claim::Other) => return Err(Decline::Forward(Forward::OtherContent)),
            Err(Claim::Known | Claim::New) => return Ok(false),
        };
        if let Some(outcomes) = &shared.outcomes {
            outcomes.note_kept(&event);
        }
        let number = self.shard_of(&event.lane.user);
        let more = More {
            seen: admitted.seen(),
            replaces: None,
            beside: shared.contexts.bytes(),
            succession,
            good: event.claimed
                && shared
                    .reputation
                    .is_good_by_calls(event.owner().principal, event.lane.group),
        };
        match shared.journal.append(number, event, admitted, more).await {
            Ok(_) => Ok(true),
            Err(error) => {
                tracing::debug!(%error, "an event could not be kept and is forwarded");
                Err(Decline::Forward(Forward::NotKept))
            }
        }
    }

    /// Admits and keeps an event; `false`: it was known.
    pub(in crate::ingest) async fn keep(
        &self,
        group: &Group,
        mut arrival: Arrival,
    ) -> Result<bool, Decline> {
        let looked = self.look_up(&arrival.event);
        let (key, is_new) = match self.admit(group, &mut arrival, looked)? {
            Admission::Known(key) | Admission::OffUndecided(key) => (key, false),
            Admission::New(key, share) => {
                let Arrival {
                    event,
                    succession,
                    origin,
                    ..
                } = arrival;
                let stored = self.store(event, (key, share), succession, origin);
                (key, stored.await?)
            }
        };
        if !is_new {
            self.repeat(key);
        }
        Ok(is_new)
    }
}
