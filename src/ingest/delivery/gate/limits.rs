//! Whom 429 holds back: the caller that met it, and the whole group once several good principals
//! did, and half of those tried lately.

use super::asking::{Caller, LATELY, SEVERAL};
use crate::event::Principal;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Good principals whose last answer is remembered.
const WITNESSES: usize = 64;
/// Callers whose pause is remembered; a further one waits lane by lane.
const PAUSED: usize = 4_096;

/// What a good principal met last.
#[derive(Debug, Clone, Copy)]
struct Witness {
    who: Principal,
    at: Instant,
    /// It is limited until then.
    limited: Option<Instant>,
}

/// The pauses of callers, and of all.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// Callers that were limited.
    paused: HashMap<Principal, Instant>,
    /// Oldest first.
    witnesses: VecDeque<Witness>,
    closed: Option<Instant>,
}

impl Limits {
    /// Until when this caller may not go, if it may not.
    pub(super) fn until(&self, now: Instant, caller: Caller) -> Option<Instant> {
        let own = match caller {
            Caller::Service(_) => None,
            Caller::Good(who) | Caller::Stranger(who) => self.paused.get(&who).copied(),
        };
        own.max(self.closed).filter(|until| *until > now)
    }

    /// For how long it is closed for all, if it is.
    pub(super) fn closed_for(&self, now: Instant) -> Option<Duration> {
        let closed = self
            .closed
            .map(|until| until.saturating_duration_since(now));
        closed.filter(|left| !left.is_zero())
    }

    /// 429; the lane waits for `pause`. `true`: it is closed for all.
    pub(super) fn limit(&mut self, now: Instant, caller: Caller, pause: Duration) -> bool {
        let until = now + pause;
        let who = match caller {
            Caller::Service(_) => {
                self.close(until);
                return true;
            }
            Caller::Good(who) | Caller::Stranger(who) => who,
        };
        if self.paused.len() >= PAUSED {
            self.paused.retain(|_, until| *until > now);
        }
        if self.paused.len() < PAUSED || self.paused.contains_key(&who) {
            let old = self.paused.entry(who).or_insert(until);
            *old = (*old).max(until);
        }
        self.witness(now, caller, Some(until));
        let (limited, tried) = self.limited_of_tried(now);
        let closes = !caller.is_stranger() && limited >= SEVERAL && limited * 2 >= tried;
        if closes {
            self.close(until);
        }
        closes
    }

    fn limited_of_tried(&self, now: Instant) -> (usize, usize) {
        let is_limited = |witness: &&Witness| witness.limited.is_some_and(|until| until > now);
        let is_recent = |witness: &&Witness| now.saturating_duration_since(witness.at) <= LATELY;
        let limited = self.witnesses.iter().filter(is_limited).count();
        let tried = self
            .witnesses
            .iter()
            .filter(|witness| is_limited(witness) || is_recent(witness))
            .count();
        (limited, tried)
    }

    /// Nobody of the group until then, nor before an earlier close is over.
    pub(super) fn close(&mut self, until: Instant) {
        self.closed = self.closed.max(Some(until));
    }

    /// What a good principal met last.
    pub(super) fn witness(&mut self, now: Instant, caller: Caller, limited: Option<Instant>) {
        let Caller::Good(who) = caller else { return };
        self.witnesses.retain(|witness| witness.who != who);
        if self.witnesses.len() >= WITNESSES {
            self.witnesses.pop_front();
        }
        self.witnesses.push_back(Witness {
            who,
            at: now,
            limited,
        });
    }
}
