//! One attempt after the other: request, exchange, verdict; every batch comes back to its shard
//! with one.

use super::deliverer::{Carrier, Deliverer};
use super::exchange::Found;
use super::load::{self, Ready};
use super::outcomes::Delivered;
use super::verdict::Judged;
use crate::event::{Carried, Event};
use crate::identity::keys;
use crate::ingest::lanes::window::Verdict;
use crate::ingest::settings::Group;
use crate::logging::DeliveryLine;
use crate::metrics::{Attempt, Label as _};
use crate::spans::BatchSpan;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Of an answer that does not take everything, so many bytes come back with the batch: enough for
/// what a dead letter shows of it.
const MAX_KEPT: usize = 16 << 10;

impl Deliverer {
    /// Delivers a load; one that is refused as a whole goes on in halves, in order and one at a
    /// time, so that no lane has more than one batch in flight.
    pub(super) async fn deliver(self: Arc<Self>, whole: Carrier) {
        let mut stack = vec![whole];
        let mut first = true;
        while let Some(mut carrier) = stack.pop() {
            // A piece minds the gate as everybody does.
            if !std::mem::take(&mut first) {
                match self.admit(std::mem::take(&mut carrier.load)) {
                    Some(load) => carrier.load = load,
                    None => continue,
                }
            }
            if let Judged::Halves = self.attempt(&mut carrier).await {
                let second = carrier.load.split_off(carrier.load.len() / 2);
                stack.push(Carrier {
                    deliverer: Arc::clone(&self),
                    load: second,
                });
                stack.push(carrier);
            }
        }
    }

    async fn attempt(&self, carrier: &mut Carrier) -> Judged {
        let none = Judged::Each(Vec::new());
        let Some(group) = load::group_of(&carrier.load).and_then(|group| self.groups.get(group))
        else {
            return none;
        };
        let began = Instant::now();
        let span = self.begin_span(group, &carrier.load);
        let found = self.exchange(group, &carrier.load, &span).await;
        self.tell(&carrier.load, &found, began.elapsed());
        let mut answer = None;
        if let Found::Reply(reply) = &found {
            carrier
                .load
                .iter_mut()
                .for_each(|ready| ready.batch.status = Some(reply.status.as_u16()));
            self.note_renewal(&carrier.load, reply.status, &reply.headers);
            answer = Some(reply.body.clone());
        }
        let (tries, status) = (load::count_retries(&carrier.load) + 1, found.status());
        let (judged, attempt) = self.judge(group, &mut carrier.load, found);
        let events = load::count_events(&carrier.load);
        span.end(events, tries, status, attempt.as_str());
        log(group, &carrier.load, attempt, began);
        self.access.write_delivery(|| DeliveryLine {
            at: self.assembler.clock.now(),
            group: Arc::clone(&group.name),
            batch: load::id_of(&carrier.load).to_string(),
            calls: load::count_events(&carrier.load),
            result: attempt.as_str(),
            took: began.elapsed(),
        });
        self.count(&carrier.load, attempt);
        let Judged::Each(verdicts) = judged else {
            return judged;
        };
        let answer = answer
            .filter(|body| !body.is_empty() && !verdicts.iter().all(Verdict::takes_all))
            .map(|body| Bytes::copy_from_slice(body.get(..MAX_KEPT).unwrap_or(&body)));
        for (ready, verdict) in std::mem::take(&mut carrier.load).into_iter().zip(verdicts) {
            let answer = answer.clone().filter(|_| !verdict.takes_all());
            self.bring_back_with(ready, answer, verdict);
        }
        none
    }

    fn begin_span(&self, group: &Group, load: &[Ready]) -> BatchSpan {
        let (is_single, origins) = (load::is_single(load), load::origins_of(load));
        self.spans.begin_batch(&group.name, is_single, origins)
    }

    /// Tells of a delivery, where somebody wants to hear of it.
    fn tell(&self, load: &[Ready], found: &Found, took: Duration) {
        let Some(outcomes) = &self.outcomes else {
            return;
        };
        let queued = load.iter().flat_map(|ready| ready.batch.events.iter());
        let broken = match found {
            Found::Supposed(Err(why)) => Some(&**why),
            Found::Unsendable(why) => Some(*why),
            _ => None,
        };
        outcomes.note_delivery(&Delivered {
            events: queued.map(|queued| queued.entry.event()).collect(),
            took,
            broken,
            is_answered: !matches!(found, Found::Network(_)),
        });
    }

    /// A cookie that the answer renews reaches no browser: the caller's next call is forwarded, so
    /// that its session lives (ruling 24).
    fn note_renewal(&self, load: &[Ready], status: StatusCode, headers: &HeaderMap) {
        let set = headers.get_all(http::header::SET_COOKIE);
        if !status.is_success()
            || load::is_under_service(load)
            || !self.assembler.identity.is_renewal(set.iter())
        {
            return;
        }
        let events = load
            .iter()
            .filter_map(|ready| ready.batch.events.first())
            .map(|queued| queued.entry.event());
        let has_session = |event: &&Event| {
            let carried = Carried::unpack(event.carried());
            let line = carried
                .as_ref()
                .map_or(b"".as_slice(), |carried| carried.cookie.0);
            self.assembler.identity.has_session(&event.context, line)
        };
        for event in events.filter(has_session) {
            self.reputation.ask_renewal(event.owner().principal);
        }
    }
}

/// One line for each request: at `debug`, since in the steady state it would be most of what the log
/// holds, and in the access log.
fn log(group: &Group, load: &[Ready], attempt: Attempt, began: Instant) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let Some(first) = load.first().map(|ready| &ready.batch) else {
        return;
    };
    let event = first.events.first().map(|queued| queued.entry.event());
    let user = event
        .map(|event| keys::shown_user(event))
        .unwrap_or_default();
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(
        group = %group.name, batch = %load::id_of(load), user = &*user, lane = ?first.key.credential,
        lanes = load.len(), events = load::count_events(load), form = ?first.form, result = attempt.as_str(),
        retries = load::count_retries(load), took_ms, "batch"
    );
}
