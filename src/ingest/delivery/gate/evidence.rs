//! Whether a failure is one batch's own, by what happened to others of its group meanwhile.

use super::asking::Caller;
use crate::ingest::lanes::window::Trouble;
use crate::ingest::settings::Delivery;
use std::cmp::Ordering;

/// A lane that has the group to itself must fail this many times more often before its batch is
/// looked into.
const LONELY: u32 = 4;

/// How a batch failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The application was asked and said no: to what is in the batch, or to everybody.
    Refusal,
    /// It fails, or isn't there, which says nothing of what is in a batch.
    Error,
    /// So does the way to it, which nothing that is in an event breaks.
    Way,
}

/// What speaks for a failure being the batch's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Nothing, or not now: the upstream may be ill.
    None,
    /// As [`Own`](Self::Own) for an error; of refusals it has too few in a row, so that time must
    /// tell.
    InTime,
    /// Nobody else of the group tried anything. Looking into the batch does no harm; giving it up
    /// would.
    Lonely,
    /// Others passed meanwhile, and more than failed.
    Own,
}

/// What happened to others of the group between two failures of a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    /// More was taken than failed, and the batch was not. What strangers met counts only where more
    /// of it was taken than failed, and no known caller's request failed.
    Passing,
    /// They tried nothing, or only strangers did and failed, whose failures are no excuse: it says
    /// nothing for the batch and nothing against it.
    Silent,
    /// As much failed as was taken, or more.
    Failing,
}

/// Requests of a group, ever.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Of the service and of good principals.
    known: Met,
    strangers: Met,
}

/// What requests met. The counts begin anew after 2^32: between two failures of a batch there are
/// fewer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Met {
    /// So many were answered with 2xx.
    passed: u32,
    failed: u32,
}

impl Met {
    /// What was met since then, less one request's failure if `is_own`.
    fn since(self, (passed, failed): (u32, u32), is_own: bool) -> Self {
        let failed = self.failed.wrapping_sub(failed);
        Self {
            passed: self.passed.wrapping_sub(passed),
            failed: failed.saturating_sub(is_own.into()),
        }
    }
}

impl Counts {
    /// A request was answered with 2xx.
    pub(super) const fn count_pass(&mut self, caller: Caller) {
        let met = self.met(caller);
        met.passed = met.passed.wrapping_add(1);
    }

    /// A request failed.
    pub(super) const fn count_failure(&mut self, caller: Caller) {
        let met = self.met(caller);
        met.failed = met.failed.wrapping_add(1);
    }

    const fn met(&mut self, caller: Caller) -> &mut Met {
        if caller.is_stranger() {
            &mut self.strangers
        } else {
            &mut self.known
        }
    }

    /// What one more failure of a batch says, the request that carried it being counted. What
    /// happened to others counts from one failure of the batch to the next and no longer: an outage
    /// that began in between must not be held against it. Where nothing happened to others, what is
    /// held against the batch stays, since a batch may be tried more often than all others
    /// together; but nothing follows from it until others pass again.
    ///
    /// Of a refusal, other refusals say whose it is, and errors don't: else three errors and one
    /// refusal that was meant for everybody would bury an event.
    pub(super) fn trouble(
        &self,
        before: Trouble,
        (failure, caller): (Failure, Caller),
        delivery: &Delivery,
    ) -> (Trouble, Evidence) {
        let is_strange = caller.is_stranger();
        let others = before.since.map(|[known, strangers]| {
            (
                self.known.since(known, !is_strange),
                self.strangers.since(strangers, is_strange),
            )
        });
        let meanwhile = others.map_or(Meanwhile::Failing, |(known, strangers)| {
            let counts = strangers.passed > strangers.failed && known.failed == 0;
            let passes =
                u64::from(known.passed) + u64::from(if counts { strangers.passed } else { 0 });
            match passes.cmp(&known.failed.into()) {
                Ordering::Greater => Meanwhile::Passing,
                Ordering::Equal if passes == 0 => Meanwhile::Silent,
                Ordering::Equal | Ordering::Less => Meanwhile::Failing,
            }
        });
        let (strikes, refusals) = match meanwhile {
            Meanwhile::Passing if failure == Failure::Way => (before.strikes, before.refusals),
            Meanwhile::Passing => (before.strikes.saturating_add(1), before.refusals),
            // What is given up at once for refusals has them in a row.
            Meanwhile::Silent => (before.strikes, 0),
            Meanwhile::Failing => (0, 0),
        };
        let nobody = (Met::default(), Met::default());
        let lonely = if others == Some(nobody) {
            before.lonely.saturating_add(1)
        } else {
            0
        };
        let is_strike = failure == Failure::Refusal && meanwhile == Meanwhile::Passing;
        let refusals = refusals.saturating_add(is_strike.into());
        let counted = match failure {
            Failure::Refusal => refusals,
            Failure::Error => strikes,
            Failure::Way => 0,
        };
        let most = |count: u16| u32::from(count) >= delivery.escalate_after;
        let evidence = match meanwhile {
            Meanwhile::Passing if most(counted) => Evidence::Own,
            Meanwhile::Passing if failure == Failure::Refusal && most(strikes) => Evidence::InTime,
            Meanwhile::Silent if lonely >= LONELY * delivery.escalate_after => Evidence::Lonely,
            _ => Evidence::None,
        };
        let alone_since = before
            .alone_since
            .filter(|_| meanwhile != Meanwhile::Failing);
        (
            Trouble {
                strikes,
                refusals,
                lonely,
                since: Some([self.known, self.strangers].map(|met| (met.passed, met.failed))),
                alone_since,
                is_last_chance: before.is_last_chance && alone_since.is_some(),
            },
            evidence,
        )
    }
}
