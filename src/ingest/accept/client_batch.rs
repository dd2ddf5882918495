//! A batch that a client made itself: taken apart, deduplicated, kept event by event, and answered
//! in one piece.

use crate::event::GroupIndex;
use crate::ingest::Acceptor;
use crate::ingest::accept::ack::Ack;
use crate::ingest::accept::arrival::Arrival;
use crate::ingest::accept::buckets::Payer;
use crate::ingest::accept::call::{Call, Scope};
use crate::ingest::accept::decode::{self, Decoder};
use crate::ingest::accept::look::Looked;
use crate::ingest::accept::preview::preview;
use crate::ingest::accept::refusal::{Decline, Forward, Refusal};
use crate::ingest::accept::seen::{Known, SeenKey};
use crate::ingest::settings::{ClientBatches, Group};
use crate::json::{self, Object};
use crate::route::BatchRule;
use crate::template::{Found, Lookup, Source};
use bytes::Bytes;
use std::cell::Cell;
use std::time::Duration;

/// Elements of a forwarded batch that are looked at for their users and tags.
const MOST_PREVIEWED: usize = 1000;

impl Acceptor {
    /// The tags that a client's own batch would touch, if it is one: for when the application
    /// answers it.
    #[must_use]
    pub fn preview_batch(&self, group: GroupIndex, call: &Call<'_>, body: &Bytes) -> Vec<String> {
        let Some(group) = self.group(group) else {
            return Vec::new();
        };
        let Ok((_, object)) = decode::parse(body) else {
            return Vec::new();
        };
        let elements = object
            .get("events")
            .and_then(|raw| json::elements(raw).ok())
            .unwrap_or_default();
        let previews = elements.into_iter().take(MOST_PREVIEWED).filter_map(|raw| {
            let element = Object::parse(raw).ok()?;
            let scope = Scope {
                call,
                body: Some((raw, &element)),
                event: None,
                user: None,
            };
            preview(&self.0.identity, None, group, &scope)
        });
        let mut tags: Vec<_> = previews.flat_map(|preview| preview.names).collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    /// A client's own batch: taken apart, deduplicated, kept event by event (ruling 26), where the
    /// group's routes are in mode `coalesce` for its user.
    ///
    /// # Errors
    /// The whole call is to be forwarded, or refused; in both cases nothing was kept, or what was
    /// kept is a duplicate when the client sends the batch again.
    pub async fn take_batch(
        &self,
        rule: &BatchRule,
        call: &Call<'_>,
        body: &Bytes,
    ) -> Result<Ack, Decline> {
        let into = self
            .decoder(rule.group)
            .ok_or(Decline::Forward(Forward::NoRule))?;
        if into.group.client_batches == ClientBatches::Forward {
            return Err(Decline::Forward(Forward::ClientBatch));
        }
        if rule.was_never_on() {
            return Err(Decline::Forward(Forward::Mode));
        }
        let refusing = rule.refusing_group();
        let is_off = rule.is_off_for_all();
        let judge = |decline| {
            if is_off {
                Decline::Forward(Forward::Mode)
            } else {
                self.judge(refusing, decline)
            }
        };
        let (arrivals, elements) = self.take_apart(&into, call, body).map_err(judge)?;
        let parts = call.caller.parts();
        let user = arrivals.first().map(|arrival| &arrival.event.lane.user);
        if user.is_some_and(|user| !rule.is_on_for(user, &parts.headers, call.caller.peer())) {
            let tally = self.repeat_all(&arrivals).await?;
            return tally.ack(into.group, call);
        }
        let (arrivals, paid) = self.take_places(into.group, arrivals, judge)?;
        // Polled in their order, so that they are kept in it; together, so that one commit takes
        // them all.
        let keeping = arrivals
            .into_iter()
            .map(|arrival| self.keep_element(into.group, arrival));
        let kept = futures_util::future::join_all(keeping).await;
        if !kept.iter().any(Result::is_ok)
            && let Some(decline) = weightiest(kept.iter().filter_map(|one| one.as_ref().err()))
        {
            if let Some((payer, tokens)) = paid {
                self.0.buckets.give_back(payer, tokens);
            }
            return Err(decline);
        }
        let mut tally = Tally {
            received: elements.len(),
            ..Tally::default()
        };
        for (raw, kept) in elements.iter().zip(kept) {
            match kept {
                Ok((id, true)) => tally.accepted.push(id),
                Ok((id, false)) => tally.duplicates.push(id),
                Err(Decline::Forward(why)) => tally.fail(raw, into.group, why.as_str()),
                Err(Decline::Refuse(refusal)) => tally.fail(raw, into.group, refusal.as_str()),
            }
        }
        tally.ack(into.group, call)
    }

    /// Decodes all events of a batch before any is kept: if one is the application's to judge, it
    /// judges the whole call.
    fn take_apart<'b>(
        &self,
        into: &Decoder<'_>,
        call: &Call<'_>,
        body: &'b Bytes,
    ) -> Result<(Vec<Arrival>, Vec<&'b str>), Decline> {
        if call.caller.parts().uri.query().is_some() {
            return Err(Decline::Forward(Forward::Query));
        }
        if body.len() > into.group.max_bytes {
            return Err(Decline::Refuse(Refusal::TooLarge(into.group.max_bytes)));
        }
        let (_, object) = decode::parse(body)?;
        if let Some((other, _)) = object.iter().find(|(name, _)| *name != "events") {
            return Err(Decline::Refuse(Refusal::UnknownWrapper(other.into())));
        }
        let missing = || {
            let what = "events, an array with at least one event";
            Decline::Refuse(Refusal::MissingField(what.into()))
        };
        let elements = object
            .get("events")
            .and_then(|raw| json::elements(raw).ok())
            .filter(|elements| !elements.is_empty())
            .ok_or_else(missing)?;
        if elements.len() > into.group.max_events {
            let (found, allowed) = (elements.len(), into.group.max_events);
            return Err(Decline::Refuse(Refusal::TooManyEvents { found, allowed }));
        }
        let mut arrivals: Vec<Arrival> = Vec::with_capacity(elements.len());
        for raw in &elements {
            let element = Object::parse(raw)
                .map_err(|error| Decline::Refuse(Refusal::NotJson(error.to_string().into())))?;
            let decoded = into.decode_element(call, raw, &element)?;
            arrivals.push(self.arrival(call, decoded));
        }
        let users = || arrivals.iter().map(|arrival| &arrival.event.lane.user);
        if users().zip(users().skip(1)).any(|(one, next)| one != next) {
            return Err(Decline::Forward(Forward::OtherUser));
        }
        Ok((arrivals, elements))
    }

    /// Takes a share of the bounds and a token for each event that isn't known: a batch of which only
    /// a part has room is the application's, and one of which a part is over the rate is refused.
    /// Whose tokens were taken, and how many.
    fn take_places(
        &self,
        group: &Group,
        mut arrivals: Vec<Arrival>,
        judge: impl Fn(Decline) -> Decline,
    ) -> Result<(Vec<Arrival>, Option<(Payer, u32)>), Decline> {
        let mut keys: Vec<SeenKey> = Vec::with_capacity(arrivals.len());
        for arrival in &mut arrivals {
            let Looked {
                key,
                is_refused,
                known,
            } = self.look_up(&arrival.event);
            if known == Known::Other || keys.iter().any(|one| one.names_other(key)) {
                return Err(Decline::Forward(Forward::OtherContent));
            }
            if known != Known::Yes {
                arrival.in_time.clone().map_err(&judge)?;
                self.check_admissible(group, &arrival.event, is_refused)?;
                arrival.share = Some(self.share(arrival)?);
            }
            keys.push(key);
        }
        let count = arrivals.iter().filter(|one| one.share.is_some()).count();
        let first = arrivals
            .iter()
            .find_map(|one| Some((one, one.share.as_ref()?)));
        let tokens = u32::try_from(count).unwrap_or(u32::MAX);
        let paid = match first {
            Some((arrival, share)) => self.take_tokens(arrival, share, tokens)?,
            None => None,
        };
        arrivals
            .iter_mut()
            .for_each(|arrival| arrival.is_paid = true);
        Ok((arrivals, paid.map(|payer| (payer, tokens))))
    }

    /// A batch of a user whose calls are forwarded: it is acknowledged where all of its events were
    /// before that, so that they go once.
    async fn repeat_all(&self, arrivals: &[Arrival]) -> Result<Tally, Decline> {
        let mut keys = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            let Looked { key, known, .. } = self.look_up(&arrival.event);
            let known = match known {
                // It names no repetition for certain.
                _ if !arrival.id_is_given => Known::No,
                Known::Undecided => self.0.admitter.seen.known_when_decided(key).await,
                known => known,
            };
            if known != Known::Yes {
                return Err(Decline::Forward(Forward::Mode));
            }
            keys.push(key);
        }
        keys.into_iter().for_each(|key| self.repeat(key));
        Ok(Tally {
            received: arrivals.len(),
            duplicates: arrivals
                .iter()
                .map(|arrival| arrival.event.id().to_owned())
                .collect(),
            ..Tally::default()
        })
    }

    async fn keep_element(
        &self,
        group: &Group,
        arrival: Arrival,
    ) -> Result<(String, bool), Decline> {
        let id = arrival.event.id().to_owned();
        self.keep(group, arrival).await.map(|fresh| (id, fresh))
    }
}

/// What is done with a batch of which nothing was kept: over a limit, it is refused with the longest
/// wait; else it is the application's.
fn weightiest<'a>(declines: impl Iterator<Item = &'a Decline>) -> Option<Decline> {
    let wait = |decline: &Decline| match decline {
        Decline::Refuse(Refusal::Limited(wait) | Refusal::Busy(wait)) => Some(*wait),
        Decline::Refuse(_) => Some(Duration::ZERO),
        Decline::Forward(_) => None,
    };
    declines.max_by_key(|decline| wait(decline)).cloned()
}

/// What became of the events of a client's batch.
#[derive(Default)]
struct Tally {
    received: usize,
    accepted: Vec<String>,
    duplicates: Vec<String>,
    failed: Vec<serde_json::Value>,
}

impl Tally {
    fn fail(&mut self, raw: &str, group: &Group, reason: &str) {
        let object = Object::parse(raw).ok();
        let names = group
            .aliases
            .iter()
            .filter(|(_, to)| *to == group.id_field)
            .map(|(from, _)| from);
        let id = object.and_then(|object| {
            std::iter::once(&group.id_field)
                .chain(names)
                .find_map(|name| json::string(object.get(name)?).map(String::from))
        });
        self.failed
            .push(serde_json::json!({ "id": id, "reason": reason }));
    }

    /// The answer.
    ///
    /// # Errors
    /// Events failed and the group's `reply.body` has no place for them: it would say that they were
    /// kept. The client is to send the batch again, in which those that were are duplicates.
    fn ack(&self, group: &Group, call: &Call<'_>) -> Result<Ack, Decline> {
        let lists = [
            ("accepted", serde_json::json!(self.accepted)),
            ("duplicates", serde_json::json!(self.duplicates)),
            ("failed", serde_json::json!(self.failed)),
            ("received", serde_json::json!(self.received)),
        ];
        let scope = BatchScope {
            call,
            lists: lists.map(|(name, value)| (name, value.to_string())),
            names_failed: Cell::new(false),
        };
        let mut out = String::with_capacity(256);
        group.reply.body.write(&scope, &mut out);
        if !self.failed.is_empty() && !scope.names_failed.get() {
            return Err(Decline::Refuse(Refusal::Busy(Duration::from_secs(1))));
        }
        Ok(Ack {
            status: group.reply.status,
            headers: Vec::new(),
            body: out.into(),
            event: None,
            duplicate: false,
        })
    }
}

struct BatchScope<'a, 'c> {
    call: &'a Call<'c>,
    lists: [(&'static str, String); 4],
    /// The failed ones were looked at.
    names_failed: Cell<bool>,
}

impl Lookup for BatchScope<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        if source != Source::Batch {
            return self.call.find(source, path);
        }
        let wanted = path.first()?;
        if **wanted == *"failed" {
            self.names_failed.set(true);
        }
        self.lists
            .iter()
            .find(|(name, _)| **name == **wanted)
            .map(|(_, raw)| Found::Json(raw))
    }
}
