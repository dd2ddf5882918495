//! A group's gate, pure: `now` is passed in. It knows four things of its group, each with who may
//! speak for it:
//!
//! | | begins | ends |
//! |---|---|---|
//! | *a caller's pause* | that caller's 429 | its time |
//! | *closed* for all | 429 of three good principals, and of half of those tried lately | the last one's time; nothing shortens it |
//! | *circuit* open: one probe at a time | `escalate_after` 5xx in a row, lately, of two good principals at least | an answer to a good principal, or a 2xx |
//! | *detour*: single calls in place of batches | three good principals met no batch endpoint; or a probe's single call passed where batches met 5xx | a batch passes; one tries after a minute, doubling to an hour |
//!
//! A principal is *good* when it has had a 2xx and no refusal since (ruling 15): what a stranger
//! meets says nothing of the group, and strangers probe apart from the good ones, so that neither
//! holds up the other. Beside these there is the evidence that a failure is one batch's own.
//!
//! | file | holds |
//! |---|---|
//! | `asking` | who asks, what the answer is, how much one caller says |
//! | `limits` | whom 429 holds back |
//! | `evidence` | whether a failure is one batch's own |

mod asking;
mod evidence;
mod limits;

pub use asking::{Asking, Caller, Closed, Pass, Standing};
pub use evidence::{Evidence, Failure};

use super::known::{RouteShape, Routes};
use crate::event::{LaneKey, Principal};
use crate::ingest::lanes::window::{Form, Trouble};
use crate::ingest::settings::Delivery;
use asking::{LATELY, SEVERAL};
use evidence::Counts;
use limits::Limits;
use std::time::Duration;
use tokio::time::Instant;

/// Good principals of whom one is enough for an open circuit, when another fails too.
const FAILING: usize = 2;
/// First and longest time between two tries of a batch path that isn't there.
const DETOUR: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));

#[derive(Debug, Clone, Copy)]
struct Detour {
    /// When a batch tries again.
    until: Instant,
    /// What is added then, if it fails.
    pause: Duration,
}

/// The gate of one group.
#[derive(Debug, Default)]
pub struct Gate {
    limits: Limits,
    /// 5xx in a row.
    errors: u32,
    /// Good principals that met them, and when they did last, oldest first.
    failing: Vec<(Principal, Instant)>,
    /// One of them was a batch's, and none has passed since.
    batches_fail: bool,
    /// When an open circuit lets the next probe go.
    probe_at: Option<Instant>,
    /// When the circuit opened, for the log.
    open_since: Option<Instant>,
    /// Whose probe is on its way: a good principal's, a stranger's.
    probes: [Option<LaneKey>; 2],
    /// Whose batch failed last, likewise: another lane may try before it, so that one batch that
    /// always fails can't keep the circuit open for all (P9).
    last: [Option<LaneKey>; 2],
    /// Good principals that met no batch endpoint.
    astray: Vec<Principal>,
    detour: Option<Detour>,
    /// Routes of single calls that gave a 2xx.
    routes: Routes,
    /// A batch was taken, ever.
    batch_passed: bool,
    counts: Counts,
}

impl Gate {
    /// Whether a request may go. `random` is in `0.0..1.0`.
    pub fn admit(
        &mut self,
        now: Instant,
        asking: &Asking<'_>,
        delivery: &Delivery,
        random: f64,
    ) -> Pass {
        let after =
            |until: Instant| Pass::Wait(until - now + Duration::from_millis(50).mul_f64(random));
        if let Some(until) = self.limits.until(now, asking.caller) {
            return after(until);
        }
        if asking.form == Form::Batch && asking.any && self.is_on_detour(now, delivery) {
            return Pass::Singles;
        }
        if !self.is_open(delivery) {
            return Pass::Go;
        }
        if let Some(until) = self.probe_at.filter(|until| *until > now) {
            return after(until);
        }
        let slot = usize::from(asking.caller.is_stranger());
        let (Some(probe), Some(last)) = (self.probes.get_mut(slot), self.last.get_mut(slot)) else {
            return Pass::Go;
        };
        if probe.is_some() {
            return Pass::Wait(delivery.retry_server.base);
        }
        if last.as_ref() == Some(asking.lane) {
            *last = None;
            return Pass::Wait(delivery.retry_server.base / 4 + Duration::from_millis(50));
        }
        if asking.form == Form::Batch && asking.oldest {
            return Pass::OldestAlone;
        }
        *probe = Some(asking.lane.clone());
        Pass::Go
    }

    /// Whether batches go as single calls; from time to time one of them is told no, and tries for
    /// all.
    fn is_on_detour(&mut self, now: Instant, delivery: &Delivery) -> bool {
        let Some(detour) = &mut self.detour else {
            return false;
        };
        if detour.until > now {
            return true;
        }
        // Until its answer is there; an attempt that says nothing of the group is followed by
        // another one.
        detour.until = now + delivery.timeout;
        false
    }

    /// Whether the circuit is open.
    #[must_use]
    pub fn is_open(&self, delivery: &Delivery) -> bool {
        self.errors >= delivery.escalate_after && self.failing.len() >= FAILING
    }

    /// How it stands, for an operator.
    #[must_use]
    pub fn look(&self, now: Instant, delivery: &Delivery) -> Standing {
        Standing {
            is_open: self.is_open(delivery),
            closed_for: self.limits.closed_for(now),
            is_on_detour: self.detour.is_some(),
        }
    }

    /// 2xx. `route`: of a single call.
    pub fn take(
        &mut self,
        now: Instant,
        asking: &Asking<'_>,
        route: Option<RouteShape>,
        delivery: &Delivery,
    ) -> Option<Closed> {
        let was_open = self.is_open(delivery);
        self.counts.count_pass(asking.caller);
        self.limits.witness(now, asking.caller, None);
        match asking.form {
            Form::Batch => {
                self.batch_passed = true;
                self.batches_fail = false;
                self.detour = None;
                self.astray.clear();
            }
            Form::Single => {
                if let Some(route) = route {
                    self.routes.learn(route);
                }
                // Batches meet 5xx and this doesn't. The next batch tries at once: the outage may
                // just be over.
                if was_open && self.batches_fail && self.detour.is_none() {
                    self.detour = Some(Detour {
                        until: now,
                        pause: DETOUR.0,
                    });
                }
            }
        }
        self.recover(now, asking)
    }

    /// An answer that is no 2xx and no failure: of a good principal it shows that the application
    /// is well.
    pub fn answer(&mut self, now: Instant, asking: &Asking<'_>) -> Option<Closed> {
        if asking.caller.is_stranger() {
            self.end_probe(asking.lane);
            return None;
        }
        self.limits.witness(now, asking.caller, None);
        self.recover(now, asking)
    }

    fn recover(&mut self, now: Instant, asking: &Asking<'_>) -> Option<Closed> {
        let closed = self.open_since.take().map(|since| Closed {
            open: now - since,
            errors: self.errors,
        });
        self.errors = 0;
        self.failing.clear();
        self.probe_at = None;
        self.end_probe(asking.lane);
        closed
    }

    /// 5xx; the lane waits for `pause`. `true`: the circuit is open.
    pub fn fail(
        &mut self,
        now: Instant,
        asking: &Asking<'_>,
        pause: Duration,
        delivery: &Delivery,
    ) -> bool {
        self.end_probe(asking.lane);
        if let Some(last) = self.last.get_mut(usize::from(asking.caller.is_stranger())) {
            *last = Some(asking.lane.clone());
        }
        if asking.caller.is_stranger() {
            return self.is_open(delivery);
        }
        self.forget_failures(now, delivery);
        match asking.caller {
            Caller::Stranger(_) => {}
            // Of several lanes.
            Caller::Service(None) => self.failing = vec![(Principal([0; 16]), now); FAILING],
            Caller::Good(who) | Caller::Service(Some(who)) => self.note_failing(now, who),
        }
        self.limits.witness(now, asking.caller, None);
        self.errors = self.errors.saturating_add(1);
        if asking.form == Form::Batch {
            self.batches_fail = true;
            self.lengthen_detour(now);
        }
        let open = self.is_open(delivery);
        if open {
            self.open_since.get_or_insert(now);
            // A long Retry-After is its lane's; others look before.
            let until = now + pause.min(delivery.retry_server.cap);
            self.probe_at = Some(self.probe_at.map_or(until, |old| old.max(until)));
        }
        open
    }

    /// What was met long ago is no outage of today.
    fn forget_failures(&mut self, now: Instant, delivery: &Delivery) {
        // A lane that goes on failing comes again within its pause.
        let lately = LATELY.max(delivery.retry_server.cap * 2);
        self.failing
            .retain(|(_, at)| now.saturating_duration_since(*at) <= lately);
        if self.failing.is_empty() {
            self.errors = 0;
        }
    }

    fn note_failing(&mut self, now: Instant, who: Principal) {
        self.failing.retain(|(other, _)| *other != who);
        if self.failing.len() >= FAILING {
            self.failing.remove(0);
        }
        self.failing.push((who, now));
    }

    fn lengthen_detour(&mut self, now: Instant) {
        if let Some(detour) = &mut self.detour {
            detour.until = now + detour.pause;
            detour.pause = (detour.pause * 2).min(DETOUR.1);
        }
    }

    /// 429; the lane waits for `pause`. `true`: the gate is closed for all.
    pub fn limit(&mut self, now: Instant, asking: &Asking<'_>, pause: Duration) -> bool {
        self.end_probe(asking.lane);
        self.limits.limit(now, asking.caller, pause)
    }

    /// Nobody of the group until then, nor before an earlier close is over.
    pub fn close(&mut self, until: Instant) {
        self.limits.close(until);
    }

    /// A batch met no batch endpoint. `true`: from now on the group is believed to have none.
    pub fn miss(&mut self, now: Instant, asking: &Asking<'_>) -> bool {
        self.end_probe(asking.lane);
        match asking.caller {
            Caller::Stranger(_) => return false,
            Caller::Service(_) => self.astray = vec![Principal([0; 16]); SEVERAL],
            Caller::Good(who) if self.astray.len() < SEVERAL && !self.astray.contains(&who) => {
                self.astray.push(who)
            }
            Caller::Good(_) => {}
        }
        if self.detour.is_some() {
            self.lengthen_detour(now);
            return false;
        }
        if self.astray.len() < SEVERAL {
            return false;
        }
        self.detour = Some(Detour {
            until: now,
            pause: DETOUR.0,
        });
        self.lengthen_detour(now);
        true
    }

    /// A forwarded call of this route gave a 2xx.
    pub fn learn_route(&mut self, route: RouteShape) {
        self.routes.learn(route);
    }

    /// Whether a single call's 404, 405 or 501 is rather the way's than the call's: its route gave
    /// a 2xx before, or (`astray`: its batch met no endpoint just now) batches passed before.
    #[must_use]
    pub fn knows_route(&self, route: Option<RouteShape>, astray: bool) -> bool {
        route.is_some_and(|route| self.routes.knows(route)) || astray && self.batch_passed
    }

    /// An attempt of this lane is over.
    pub fn end_probe(&mut self, lane: &LaneKey) {
        for probe in &mut self.probes {
            if probe.as_ref() == Some(lane) {
                *probe = None;
            }
        }
    }

    /// How many 5xx in a row.
    #[must_use]
    pub const fn errors(&self) -> u32 {
        self.errors
    }

    /// A request failed.
    pub const fn count_failure(&mut self, caller: Caller) {
        self.counts.count_failure(caller);
    }

    /// What one more failure of a batch says, the request that carried it being counted.
    #[must_use]
    pub fn trouble(
        &self,
        before: Trouble,
        failed: (Failure, Caller),
        delivery: &Delivery,
    ) -> (Trouble, Evidence) {
        self.counts.trouble(before, failed, delivery)
    }
}

#[cfg(test)]
mod tests;
