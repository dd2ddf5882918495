//! A load that failed: how long it waits, and whether it is at fault itself.

use super::deliverer::Deliverer;
use super::gate::{Asking, Caller, Evidence, Failure, Gate};
use super::load::{self, Ready};
use super::retry;
use super::verdict::{Judged, same};
use crate::ingest::lanes::window::Verdict;
use crate::ingest::settings::Group;
use http::StatusCode;
use std::time::Duration;
use tokio::time::Instant;

impl Deliverer {
    /// 403 under the service's credential. Each lane is asked about alone, and waits alone: where
    /// others pass meanwhile, time and again, it is the lane's own; where none does, the circuit
    /// opens, as at a 5xx.
    pub(super) fn forbidden_to_service(
        &self,
        group: &Group,
        load: &mut [Ready],
        status: StatusCode,
    ) -> Judged {
        if load.len() > 1 {
            self.end_probe(load);
            return Judged::Halves;
        }
        load.iter_mut().for_each(|ready| ready.batch.alone = true);
        let batch = load::id_of(load);
        tracing::warn!(group = %group.name, %batch, status = status.as_u16(), "forbidden: the service, or one of the \
            user's events");
        let pause = self.fail_gate(group, load, status, None);
        self.suspect(
            load,
            pause,
            Failure::Refusal,
            |evidence, events| match evidence {
                Evidence::Own => Some(Verdict::Refused { named: Vec::new() }),
                Evidence::InTime => Some(Verdict::Persistent { pause }),
                Evidence::Lonely => (events > 1).then_some(Verdict::Persistent { pause }),
                Evidence::None => None,
            },
        )
    }

    pub(super) fn failing(
        &self,
        group: &Group,
        load: &mut [Ready],
        status: StatusCode,
        asked: Option<Duration>,
    ) -> Judged {
        let pause = self.fail_gate(group, load, status, asked);
        // What speaks of the way there, and not of the batch: nobody is looked into without
        // evidence.
        let of_the_way = matches!(status.as_u16(), 502..=504);
        let failure = if of_the_way {
            Failure::Way
        } else {
            Failure::Error
        };
        self.suspect(load, pause, failure, |evidence, events| {
            is_looked_into(evidence, events, of_the_way).then_some(Verdict::Persistent { pause })
        })
    }

    /// A single call met 404, 405 or 501 where calls were taken before: as 5xx; but where others
    /// are taken meanwhile, time and again, it is the call's own.
    pub(super) fn vanished(&self, group: &Group, load: &mut [Ready], status: StatusCode) -> Judged {
        let pause = self.fail_gate(group, load, status, None);
        self.suspect(
            load,
            pause,
            Failure::Refusal,
            |evidence, _| match evidence {
                Evidence::Own => Some(Verdict::Refused { named: Vec::new() }),
                Evidence::InTime => Some(Verdict::Persistent { pause }),
                Evidence::Lonely | Evidence::None => None,
            },
        )
    }

    /// How long the lane waits.
    pub(super) fn fail_gate(
        &self,
        group: &Group,
        load: &[Ready],
        status: StatusCode,
        asked: Option<Duration>,
    ) -> Duration {
        let own = retry::server(
            self.settings.retry_server,
            load::count_retries(load),
            fastrand::f64(),
        );
        let pause = asked.unwrap_or_default().max(own);
        let look = |gate: &mut Gate, asking: &Asking<'_>| {
            let was_open = gate.is_open(&self.settings);
            let is_open = gate.fail(Instant::now(), asking, pause, &self.settings);
            (is_open && !was_open, gate.errors())
        };
        if let Some((true, errors)) = self.with_gate(load, look) {
            tracing::warn!(group = %group.name, status = status.as_u16(), errors, "the circuit is open: one request \
                at a time");
        }
        pause
    }

    pub(super) fn unreachable(&self, load: &mut [Ready]) -> Judged {
        let pause = retry::network(&self.settings.retry_network, load::count_retries(load));
        self.end_probe(load);
        // An event alone is not given up for a way that breaks off; a batch may be what breaks it.
        self.suspect(load, pause, Failure::Way, |evidence, events| {
            (evidence == Evidence::Own && events > 1).then_some(Verdict::Persistent { pause })
        })
    }

    /// One more failure of each batch; `at_fault` says what follows for those of which it is
    /// believed by now that they are at fault themselves.
    pub(super) fn suspect(
        &self,
        load: &mut [Ready],
        pause: Duration,
        failure: Failure,
        at_fault: impl Fn(Evidence, usize) -> Option<Verdict>,
    ) -> Judged {
        let retry = Verdict::Retry { pause };
        let several = load.len() > 1;
        let suspect_each = |caller: Caller, gate: &mut Gate, load: &mut [Ready]| {
            gate.count_failure(caller);
            let verdicts = load.iter_mut().map(|ready| {
                let events = if several {
                    usize::MAX
                } else {
                    ready.batch.events.len()
                };
                // It may be a batch that breaks the way, but no event alone.
                let failure = match failure {
                    Failure::Way if events > 1 => Failure::Error,
                    other => other,
                };
                let before = ready.batch.trouble;
                let (trouble, evidence) = gate.trouble(before, (failure, caller), &self.settings);
                ready.batch.trouble = trouble;
                match at_fault(evidence, events) {
                    // Which of them it is will be seen when each travels alone.
                    Some(_) if several => {
                        ready.batch.alone = true;
                        retry.clone()
                    }
                    found => found.unwrap_or_else(|| retry.clone()),
                }
            });
            verdicts.collect()
        };
        let index = load.first().map(|ready| ready.batch.key.group.0);
        let group = index.and_then(|index| self.groups.get(index).zip(self.gates.get(index)));
        let Some((group, gate)) = group else {
            return same(load, &retry);
        };
        let Some(caller) = self.asking(group, load).map(|asking| asking.caller) else {
            return same(load, &retry);
        };
        Judged::Each(suspect_each(caller, &mut gate.lock(), load))
    }
}

/// Whether a batch of so many events that met a 5xx is looked into in halves, and one event given
/// up in time. `of_the_way`: the status speaks of the way to the application.
const fn is_looked_into(evidence: Evidence, events: usize, of_the_way: bool) -> bool {
    match evidence {
        Evidence::Own => events > 1 || !of_the_way,
        // Nobody else speaks for it or against it: an event alone waits.
        Evidence::Lonely => events > 1 && !of_the_way,
        // Of refusals only.
        Evidence::InTime | Evidence::None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_looked_into_where_the_evidence_speaks_against_it_and_an_event_alone_only_where_others_pass()
     {
        for (evidence, events, of_the_way, wanted) in [
            (Evidence::Own, 2, false, true),
            (Evidence::Own, 1, false, true),
            (Evidence::Own, 2, true, true),
            (Evidence::Own, 1, true, false),
            (Evidence::Lonely, 2, false, true),
            (Evidence::Lonely, 1, false, false),
            (Evidence::Lonely, 2, true, false),
            (Evidence::Lonely, 1, true, false),
            (Evidence::None, 2, false, false),
            (Evidence::None, 1, false, false),
        ] {
            assert_eq!(
                is_looked_into(evidence, events, of_the_way),
                wanted,
                "{evidence:?}, {events}, {of_the_way}"
            );
        }
    }
}
