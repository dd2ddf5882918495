//! A batch's verdict: what follows from what the wire said.

use super::deliverer::Deliverer;
use super::exchange::Found;
use super::gate::Closed;
use super::load::{self, Ready};
use super::reply::{self, Answer, Asked, Reader};
use super::retry;
use crate::event::{EventId, Outcome, Owner};
use crate::ingest::accept::reputation::{Grounds, RefusedBy};
use crate::ingest::lanes::window::{Doubt, Fate, Form, Trouble, Verdict};
use crate::ingest::settings::{Fallback, Group};
use crate::metrics::Attempt;
use http::{HeaderMap, StatusCode};
use std::time::Duration;
use tokio::time::Instant;

/// What follows for a load.
pub(super) enum Judged {
    /// One verdict for each batch, in order.
    Each(Vec<Verdict>),
    /// Refused as a whole, and nobody is named: the lanes are asked about in halves, so that none
    /// suffers for another.
    Halves,
}

impl Deliverer {
    /// What follows from what an attempt found, for each batch.
    pub(super) fn judge(
        &self,
        group: &Group,
        load: &mut [Ready],
        found: Found,
    ) -> (Judged, Attempt) {
        let batch = load::id_of(load);
        let reply = match found {
            Found::Reply(reply) => reply,
            Found::Supposed(Ok(())) => {
                let fates = vec![Fate::Done(Outcome::Accepted); load::count_events(load)];
                return (
                    Judged::Each(split(load, fates).map(Verdict::Answered).collect()),
                    Attempt::Answered,
                );
            }
            Found::Supposed(Err(why)) => {
                tracing::error!(group = %group.name, %batch, why, "a batch breaks its contract");
                return (
                    same(load, &Verdict::Refused { named: Vec::new() }),
                    Attempt::Unsendable,
                );
            }
            Found::Network(error) => {
                // An outage has its two lines in `upstream`.
                tracing::debug!(group = %group.name, %batch, error, "the batch got no answer");
                return (self.unreachable(load), Attempt::Network);
            }
            Found::Unsendable(why) => {
                self.end_probe(load);
                tracing::error!(group = %group.name, %batch, why, "a batch was refused by the \
                    assembler");
                // None suffers for what another lane's events are.
                let judged = if load.len() > 1 {
                    Judged::Halves
                } else {
                    same(load, &Verdict::Refused { named: Vec::new() })
                };
                return (judged, Attempt::Unsendable);
            }
        };
        let reader = Reader {
            results: &group.results,
            success: group.success.as_ref(),
            permanent: &group.permanent,
        };
        let asked = Asked::of(load.iter().map(|ready| &ready.batch));
        let reading = reply::read(&asked, &reply, reader, self.assembler.clock.now());
        let (status, headers) = (reply.status, &reply.headers);
        if reading.unknown > 0 {
            self.metrics.unknown_ids.inc_by(reading.unknown as u64);
            tracing::warn!(group = %group.name, %batch, unknown = reading.unknown, "unknown ids in the reply");
        }
        match reading.answer {
            Answer::Fates(fates) => (self.taken(load, fates), Attempt::Answered),
            Answer::Unclear(why) => {
                tracing::warn!(group = %group.name, %batch, status = status.as_u16(), why, "a success that says nothing of what was taken");
                (self.unclear(load), Attempt::Unclear)
            }
            Answer::Rejected => (self.rejected(group, load, status), Attempt::Rejected),
            Answer::Forbidden => self.forbidden(group, load, status),
            Answer::NotThere => self.not_there(group, load, status, headers),
            Answer::TooLarge => {
                self.answer_gate(load);
                if load.len() > 1 {
                    (Judged::Halves, Attempt::TooLarge)
                } else {
                    (same(load, &Verdict::TooLarge), Attempt::TooLarge)
                }
            }
            Answer::Refused(named) => (self.refused(group, load, status, &named), Attempt::Refused),
            Answer::Server(asked) => (
                self.failing(group, load, status, asked),
                Attempt::ServerError,
            ),
            Answer::Limited(asked) => (self.limited(group, load, asked), Attempt::Limited),
        }
    }

    fn taken(&self, load: &[Ready], fates: Vec<Fate>) -> Judged {
        let route = load.first().and_then(|ready| load::route_of(&ready.batch));
        let closed = self.with_gate(load, |gate, asking| {
            gate.take(Instant::now(), asking, route, &self.settings)
        });
        self.log_closed(load, closed.flatten());
        self.vouch(load);
        Judged::Each(split(load, fates).map(Verdict::Answered).collect())
    }

    /// Nobody knows what was taken: its single calls will tell, since the application knows the ids
    /// when they come again.
    fn unclear(&self, load: &[Ready]) -> Judged {
        self.end_probe(load);
        let pause = retry::server(
            self.settings.retry_server,
            load::count_retries(load),
            fastrand::f64(),
        );
        same(load, &Verdict::Singles { pause })
    }

    fn rejected(&self, group: &Group, load: &[Ready], status: StatusCode) -> Judged {
        let batch = load::id_of(load);
        if load::is_under_service(load) {
            let pause = self.settings.retry_server.cap;
            if let Some(gate) = load::group_of(load).and_then(|group| self.gates.get(group)) {
                gate.lock().close(Instant::now() + pause);
            }
            self.end_probe(load);
            tracing::error!(group = %group.name, %batch, status = status.as_u16(), "the service credential was \
                rejected");
            return same(load, &Verdict::Retry { pause });
        }
        self.answer_gate(load);
        let by = if status == StatusCode::FORBIDDEN {
            RefusedBy::Forbidden
        } else {
            RefusedBy::Unauthorized
        };
        for (owner, _) in load.iter().filter_map(|ready| load::owner_of(&ready.batch)) {
            self.reputation.refuse(owner.principal, by);
        }
        tracing::warn!(group = %group.name, %batch, status = status.as_u16(), "the credential was rejected");
        same(load, &Verdict::Rejected)
    }

    /// 403 may be the credential's or one event's.
    fn forbidden(
        &self,
        group: &Group,
        load: &mut [Ready],
        status: StatusCode,
    ) -> (Judged, Attempt) {
        if load::is_under_service(load) {
            return (
                self.forbidden_to_service(group, load, status),
                Attempt::Forbidden,
            );
        }
        let fallback = group.fallback == Fallback::Single;
        if load
            .iter()
            .any(|ready| ready.batch.blames_credential(fallback))
        {
            return (self.rejected(group, load, status), Attempt::Rejected);
        }
        self.answer_gate(load);
        let (batch, events) = (load::id_of(load), load::count_events(load));
        tracing::warn!(group = %group.name, %batch, status = status.as_u16(), events, "forbidden: the credential, or one of its events");
        (same(load, &Verdict::Forbidden), Attempt::Forbidden)
    }

    /// A batch goes on as its single calls. A single call's verdict it is, unless something was
    /// there before.
    fn not_there(
        &self,
        group: &Group,
        load: &mut [Ready],
        status: StatusCode,
        headers: &HeaderMap,
    ) -> (Judged, Attempt) {
        let batch = load::id_of(load);
        let single = load
            .first()
            .map(|ready| &ready.batch)
            .filter(|batch| batch.form == Form::Single);
        if let Some((route, astray)) =
            single.map(|batch| (load::route_of(batch), batch.doubt == Doubt::Path))
        {
            if !load::group_of(load)
                .and_then(|group| self.gates.get(group))
                .is_some_and(|gate| gate.lock().knows_route(route, astray))
            {
                return (self.refused(group, load, status, &[]), Attempt::Refused);
            }
            tracing::warn!(group = %group.name, %batch, status = status.as_u16(), "a route that was there is gone: \
                tried again");
            return (self.vanished(group, load, status), Attempt::ServerError);
        }
        let pause = retry::server(
            self.settings.retry_server,
            load::count_retries(load),
            fastrand::f64(),
        );
        let location = location_of(headers);
        let is_news =
            self.with_gate(load, |gate, asking| gate.miss(Instant::now(), asking)) == Some(true);
        if is_news {
            tracing::warn!(
                group = %group.name, %batch, status = status.as_u16(), location,
                "there is no batch endpoint: single calls go in place of batches, and a batch tries \
                 again from time to time"
            );
        } else {
            tracing::debug!(group = %group.name, %batch, status = status.as_u16(), location, "this batch met no batch endpoint");
        }
        (same(load, &Verdict::Singles { pause }), Attempt::NoEndpoint)
    }

    fn refused(
        &self,
        group: &Group,
        load: &[Ready],
        status: StatusCode,
        named: &[EventId],
    ) -> Judged {
        self.answer_gate(load);
        let alone = load.len() == 1;
        let (batch, events, found) = (load::id_of(load), load::count_events(load), named.len());
        let status = status.as_u16();
        if events == 1 && load.iter().all(|ready| ready.batch.alone) {
            // Of its batch it was told, and what becomes of it will be.
            tracing::debug!(group = %group.name, %batch, status, "an event was refused alone");
        } else {
            tracing::warn!(group = %group.name, %batch, status, events, named = found, "the batch was refused");
        }
        if named.is_empty() && !alone {
            return Judged::Halves;
        }
        // A lane none of whose events is named has nothing to do with it.
        let of_lane = |ready: &Ready| {
            let own = |id: &&EventId| {
                let mut events = ready.batch.events.iter();
                events.any(|queued| queued.entry.event().id() == id.as_str())
            };
            match named.iter().filter(own).cloned().collect::<Vec<_>>() {
                own if own.is_empty() && !alone => Verdict::Deferred {
                    pause: Duration::ZERO,
                },
                own => Verdict::Refused { named: own },
            }
        };
        Judged::Each(load.iter().map(of_lane).collect())
    }

    fn limited(&self, group: &Group, load: &mut [Ready], asked: Option<Duration>) -> Judged {
        let pause = retry::limited(self.settings.retry_limited, asked, fastrand::f64());
        let closed = self.with_gate(load, |gate, asking| {
            gate.limit(Instant::now(), asking, pause)
        });
        if closed == Some(true) {
            let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(group = %group.name, pause_ms, "the group is limited: all of it waits");
        }
        load.iter_mut()
            .for_each(|ready| ready.batch.trouble = Trouble::default());
        same(load, &Verdict::Retry { pause })
    }

    /// A success of its own credential; one of the service credential says nothing of the users'.
    fn vouch(&self, load: &[Ready]) {
        if load::is_under_service(load) {
            return;
        }
        for (Owner { principal, .. }, nameless) in
            load.iter().filter_map(|ready| load::owner_of(&ready.batch))
        {
            let Some(index) = load.first().map(|ready| ready.batch.key.group) else {
                return;
            };
            let vouched = self.reputation.vouch(principal, nameless, index);
            for shard in &self.shards {
                if vouched.opens {
                    shard.open(index);
                }
                if vouched.was_refused {
                    shard.vouch(principal, &[index], Grounds::CALL);
                }
            }
        }
    }

    /// The upstream spoke, and took nothing.
    pub(super) fn answer_gate(&self, load: &[Ready]) {
        let closed = self.with_gate(load, |gate, asking| gate.answer(Instant::now(), asking));
        self.log_closed(load, closed.flatten());
    }

    /// The second of the two lines of a circuit that was open.
    fn log_closed(&self, load: &[Ready], closed: Option<Closed>) {
        let group = load::group_of(load).and_then(|group| self.groups.get(group));
        let (Some(Closed { open, errors }), Some(group)) = (closed, group) else {
            return;
        };
        let open_ms = u64::try_from(open.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(group = %group.name, open_ms, errors, "the circuit is closed again");
    }

    /// An attempt is over that says nothing of the upstream's health.
    pub(super) fn end_probe(&self, load: &[Ready]) {
        self.with_gate(load, |gate, asking| gate.end_probe(asking.lane));
    }
}

/// Where a redirect leads; its query may hold what is nobody's business.
fn location_of(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(http::header::LOCATION)?
        .to_str()
        .ok()?
        .split(['?', '#'])
        .next()
}

/// One verdict for all.
pub(super) fn same(load: &[Ready], verdict: &Verdict) -> Judged {
    Judged::Each(load.iter().map(|_| verdict.clone()).collect())
}

/// Fates of all events, batch by batch.
fn split(load: &[Ready], fates: Vec<Fate>) -> impl Iterator<Item = Vec<Fate>> {
    let mut fates = fates.into_iter();
    load.iter()
        .map(move |ready| fates.by_ref().take(ready.batch.events.len()).collect())
}
