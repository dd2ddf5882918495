//! A group's gate, pure: closed for all after a 429; a circuit after too many 5xx in a row; and the evidence that a
//! failure is one batch's own.

use super::settings::Delivery;
use super::window::Trouble;
use crate::event::LaneKey;
use std::time::Duration;
use tokio::time::Instant;

/// A lane that has the group to itself must fail this many times more often before its batch is looked into.
const LONELY: u32 = 4;

/// The gate of one group.
#[derive(Debug, Default)]
pub struct Gate {
    until: Option<Instant>,
    /// 5xx in a row, of whatever batch.
    errors: u32,
    /// The circuit is open and one batch is on its way to try.
    probing: bool,
    /// Whose batch failed last: another lane may try before it, so that one batch that always fails can't keep the
    /// circuit open for all (P9).
    last: Option<LaneKey>,
    /// Requests that were answered with 2xx, ever.
    passed: u64,
    /// Requests that failed, ever.
    failed: u64,
}

impl Gate {
    /// How long this lane's batch must wait, if it must; else it may go, and with an open circuit it is the probe.
    /// `random` is in `0.0..1.0`.
    pub fn closed_for(&mut self, now: Instant, key: &LaneKey, delivery: &Delivery, random: f64) -> Option<Duration> {
        if let Some(until) = self.until.filter(|until| *until > now) {
            return Some(until - now + Duration::from_millis(50).mul_f64(random));
        }
        self.until = None;
        let open = self.errors >= delivery.escalate_after;
        if open && self.probing {
            return Some(delivery.retry_server.base);
        }
        if open && self.last.as_ref() == Some(key) {
            self.last = None;
            return Some(delivery.retry_server.base / 4 + Duration::from_millis(50));
        }
        self.probing = open;
        None
    }

    /// 429, or the like: nobody of the group until then.
    pub fn close(&mut self, until: Instant) {
        self.until = Some(self.until.map_or(until, |old| old.max(until)));
        self.probing = false;
    }

    /// 5xx. `true`: the circuit is open.
    pub fn fail(&mut self, until: Instant, key: &LaneKey, delivery: &Delivery) -> bool {
        self.errors = self.errors.saturating_add(1);
        self.probing = false;
        self.last = Some(key.clone());
        let open = self.errors >= delivery.escalate_after;
        if open {
            self.until = Some(until);
        }
        open
    }

    /// The upstream spoke; `good`: and took what it was sent.
    pub fn pass(&mut self, good: bool) {
        self.errors = 0;
        self.probing = false;
        self.passed += u64::from(good);
    }

    /// An attempt is over that says nothing of the upstream's health.
    pub const fn end_probe(&mut self) {
        self.probing = false;
    }

    /// How many 5xx in a row.
    #[must_use]
    pub const fn errors(&self) -> u32 {
        self.errors
    }

    /// A request failed.
    pub const fn count_failure(&mut self) {
        self.failed += 1;
    }

    /// What one more failure of a batch says, the request that carried it being counted. What happened to others counts
    /// from one failure of the batch to the next and no longer: an outage that began in between must not be held against
    /// it.
    #[must_use]
    pub fn trouble(&self, before: Trouble, delivery: &Delivery) -> (Trouble, Evidence) {
        let since =
            before.since.map(|(passed, failed)| (self.passed - passed, (self.failed - failed).saturating_sub(1)));
        let (strikes, lonely) = match since {
            // Of what others sent, more was taken than failed, and this was not.
            Some((passes, others)) if passes > others => (before.strikes.saturating_add(1), 0),
            Some((0, 0)) => (0, before.lonely.saturating_add(1)),
            None | Some(_) => (0, 0),
        };
        let evidence = if strikes >= delivery.escalate_after {
            Evidence::Own
        } else if lonely >= LONELY * delivery.escalate_after {
            Evidence::Lonely
        } else {
            Evidence::None
        };
        (Trouble { strikes, lonely, since: Some((self.passed, self.failed)) }, evidence)
    }
}

/// What speaks for a failure being the batch's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Nothing: the upstream may be ill.
    None,
    /// Nobody else of the group tried anything. Looking into the batch does no harm; giving it up would.
    Lonely,
    /// Others passed meanwhile, and more than failed.
    Own,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Fingerprint, GroupIndex, UserId};
    use crate::ingest::settings::{Backoff, Limited};

    fn delivery() -> Delivery {
        let second = Duration::from_secs(1);
        Delivery {
            timeout: second,
            max_in_flight: 4,
            retry_network: vec![second],
            retry_server: Backoff { base: second, cap: 30 * second },
            retry_limited: Limited { base: 5 * second, jitter: second },
            escalate_after: 3,
            give_up_after: 3_600 * second,
            token_margin: second,
            barrier: second,
            hold: second,
        }
    }

    fn lane(user: &str) -> LaneKey {
        LaneKey { group: GroupIndex(0), user: UserId::try_new(user).unwrap(), credential: Fingerprint([1; 16]) }
    }

    #[test]
    fn an_open_circuit_lets_one_probe_through_and_another_lane_before_the_one_that_failed() {
        let (mut gate, now, settings) = (Gate::default(), Instant::now(), delivery());
        for failure in 1..=3 {
            assert_eq!(gate.closed_for(now, &lane("a"), &settings, 0.0), None);
            assert_eq!(gate.fail(now + Duration::from_secs(1), &lane("a"), &settings), failure == 3);
        }
        assert_eq!(gate.closed_for(now, &lane("b"), &settings, 0.0), Some(Duration::from_secs(1)));
        let later = now + Duration::from_secs(1);
        assert!(gate.closed_for(later, &lane("a"), &settings, 0.0).is_some(), "another one first");
        assert_eq!(gate.closed_for(later, &lane("b"), &settings, 0.0), None);
        assert!(gate.closed_for(later, &lane("c"), &settings, 0.0).is_some(), "one probe at a time");
        gate.pass(true);
        assert_eq!(gate.closed_for(later, &lane("c"), &settings, 0.0), None);
        assert_eq!(gate.closed_for(later, &lane("a"), &settings, 0.0), None);
    }

    #[test]
    fn the_longest_time_asked_for_closes_the_gate() {
        let (mut gate, now, settings) = (Gate::default(), Instant::now(), delivery());
        gate.close(now + Duration::from_secs(60));
        gate.close(now + Duration::from_secs(5));
        assert_eq!(gate.closed_for(now, &lane("a"), &settings, 0.0), Some(Duration::from_secs(60)));
        assert_eq!(gate.closed_for(now + Duration::from_secs(60), &lane("a"), &settings, 0.0), None);
    }

    /// A batch fails again and again; before each failure so many others pass and fail.
    fn evidence(rounds: &[(u64, u64)]) -> Evidence {
        let (mut gate, settings, mut trouble, mut found) =
            (Gate::default(), delivery(), Trouble::default(), Evidence::None);
        for (passing, failing) in rounds {
            (0..*passing).for_each(|_| gate.pass(true));
            (0..*failing).for_each(|_| gate.count_failure());
            gate.count_failure();
            (trouble, found) = gate.trouble(trouble, &settings);
        }
        found
    }

    #[test]
    fn a_failure_is_the_batchs_own_when_time_and_again_most_others_pass() {
        let times = |count: usize, passing, failing| vec![(passing, failing); count];
        for (rounds, wanted) in [
            (times(3, 9, 0), Evidence::None),
            (times(4, 9, 0), Evidence::Own),
            (times(4, 1, 0), Evidence::Own),
            (times(4, 5, 2), Evidence::Own),
            (times(50, 2, 5), Evidence::None),
            (times(50, 0, 1), Evidence::None),
            (times(12, 0, 0), Evidence::None),
            (times(13, 0, 0), Evidence::Lonely),
            // Whatever passed before an outage: it is an outage.
            ([times(3, 100, 0), times(50, 0, 3)].concat(), Evidence::None),
            ([times(2, 0, 0), vec![(1, 0)], times(11, 0, 0)].concat(), Evidence::None),
        ] {
            assert_eq!(evidence(&rounds), wanted, "{rounds:?}");
        }
    }
}
