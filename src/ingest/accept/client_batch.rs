//! A batch that a client made itself: taken apart, deduplicated, kept event by event, and answered
//! in one piece.

use crate::event::GroupIndex;
use crate::ingest::Acceptor;
use crate::ingest::accept::ack::Ack;
use crate::ingest::accept::call::{Call, Scope};
use crate::ingest::accept::decode;
use crate::ingest::accept::look::Looked;
use crate::ingest::accept::preview::preview;
use crate::ingest::accept::refusal::{Decline, Forward, Refusal};
use crate::ingest::accept::seen::{Known, SeenKey};
use crate::ingest::accept::take::Arrival;
use crate::ingest::settings::{ClientBatches, Group};
use crate::json::{self, Object};
use crate::template::{Found, Lookup, Source};
use bytes::Bytes;

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

    /// A client's own batch: taken apart, deduplicated, kept event by event (ruling 26).
    ///
    /// # Errors
    /// The whole call is to be forwarded, or refused; in both cases nothing was kept.
    pub async fn take_batch(
        &self,
        group: GroupIndex,
        call: &Call<'_>,
        body: &Bytes,
    ) -> Result<Ack, Decline> {
        let into = self
            .decoder(group)
            .ok_or(Decline::Forward(Forward::NoRule))?;
        let judge = |refusal| self.judge(Some(group), Decline::Refuse(refusal));
        if into.group.client_batches == ClientBatches::Forward {
            return Err(Decline::Forward(Forward::ClientBatch));
        }
        if call.caller.parts().uri.query().is_some() {
            return Err(Decline::Forward(Forward::Query));
        }
        if body.len() > into.group.max_bytes {
            return Err(judge(Refusal::TooLarge(into.group.max_bytes)));
        }
        let (_, object) =
            decode::parse(body).map_err(|decline| self.judge(Some(group), decline))?;
        if let Some((other, _)) = object.iter().find(|(name, _)| *name != "events") {
            return Err(judge(Refusal::UnknownWrapper(other.into())));
        }
        let missing = || {
            judge(Refusal::MissingField(
                "events, an array with at least one event".into(),
            ))
        };
        let elements = object
            .get("events")
            .and_then(|raw| json::elements(raw).ok())
            .ok_or_else(missing)?;
        if elements.is_empty() {
            return Err(missing());
        }
        if elements.len() > into.group.max_events {
            let (found, allowed) = (elements.len(), into.group.max_events);
            return Err(judge(Refusal::TooManyEvents { found, allowed }));
        }
        // All are decoded before any is kept: if one is the application's to judge, it judges the
        // whole call. So are their shares taken: a batch of which only a part has room is the
        // application's.
        let mut arrivals: Vec<Arrival> = Vec::with_capacity(elements.len());
        let mut keys: Vec<SeenKey> = Vec::with_capacity(elements.len());
        for raw in &elements {
            let element = Object::parse(raw)
                .map_err(|error| judge(Refusal::NotJson(error.to_string().into())))?;
            let decoded = into
                .decode_element(call, raw, &element)
                .map_err(|decline| self.judge(Some(group), decline))?;
            let mut arrival = self.arrival(call, decoded);
            let Looked {
                key,
                is_refused,
                known,
            } = self.look_up(&arrival.event);
            if known == Known::Other || keys.iter().any(|one| one.names_other(key)) {
                return Err(Decline::Forward(Forward::OtherContent));
            }
            if known != Known::Yes {
                let in_time = arrival.in_time.clone();
                in_time.map_err(|decline| self.judge(Some(group), decline))?;
                self.check_admissible(into.group, &arrival.event, is_refused)?;
                arrival.share = Some(self.share(&arrival)?);
            }
            keys.push(key);
            arrivals.push(arrival);
        }
        let users = || arrivals.iter().map(|arrival| &arrival.event.lane.user);
        if users().zip(users().skip(1)).any(|(one, next)| one != next) {
            return Err(Decline::Forward(Forward::OtherUser));
        }
        // Polled in their order, so that they are kept in it; together, so that one commit takes
        // them all.
        let keeping = arrivals
            .into_iter()
            .map(|arrival| self.keep_element(into.group, arrival));
        let kept = futures_util::future::join_all(keeping).await;
        // If not one was taken in, the application may have the call whole.
        if let Some(Err(Decline::Forward(why))) = kept.first()
            && kept
                .iter()
                .all(|one| matches!(one, Err(Decline::Forward(_))))
        {
            return Err(Decline::Forward(why.clone()));
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
        Ok(tally.ack(into.group, call))
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

    fn ack(&self, group: &Group, call: &Call<'_>) -> Ack {
        let lists = [
            ("accepted", serde_json::json!(self.accepted)),
            ("duplicates", serde_json::json!(self.duplicates)),
            ("failed", serde_json::json!(self.failed)),
            ("received", serde_json::json!(self.received)),
        ];
        let scope = BatchScope {
            call,
            lists: lists.map(|(name, value)| (name, value.to_string())),
        };
        let mut out = String::with_capacity(256);
        group.reply.body.write(&scope, &mut out);
        Ack {
            status: group.reply.status,
            headers: Vec::new(),
            body: out.into(),
            event: None,
            duplicate: false,
        }
    }
}

struct BatchScope<'a, 'c> {
    call: &'a Call<'c>,
    lists: [(&'static str, String); 4],
}

impl Lookup for BatchScope<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        if source != Source::Batch {
            return self.call.find(source, path);
        }
        let wanted = path.first()?;
        self.lists
            .iter()
            .find(|(name, _)| **name == **wanted)
            .map(|(_, raw)| Found::Json(raw))
    }
}
