//! The conservation ledger (P2).

use crate::event::Outcome;
use parking_lot::Mutex;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where every acknowledged event is. `received = accepted + duplicate + superseded + dead +
/// pending`, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Ledger {
    /// Acknowledged (or about to be).
    pub received: u64,
    /// Taken by the upstream.
    pub accepted: u64,
    /// Known already, here or at the upstream.
    pub duplicate: u64,
    /// Made needless by a newer one.
    pub superseded: u64,
    /// In the dead letters.
    pub dead: u64,
    /// Not yet settled.
    pub pending: u64,
}

impl Ledger {
    /// Whether the sum holds.
    #[must_use]
    pub const fn balances(&self) -> bool {
        self.received == self.accepted + self.duplicate + self.superseded + self.dead + self.pending
    }
}

impl AddAssign for Ledger {
    fn add_assign(&mut self, other: Self) {
        self.received = self.received.wrapping_add(other.received);
        self.accepted = self.accepted.wrapping_add(other.accepted);
        self.duplicate = self.duplicate.wrapping_add(other.duplicate);
        self.superseded = self.superseded.wrapping_add(other.superseded);
        self.dead = self.dead.wrapping_add(other.dead);
        self.pending = self.pending.wrapping_add(other.pending);
    }
}

impl std::fmt::Display for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            received,
            accepted,
            duplicate,
            superseded,
            dead,
            pending,
        } = self;
        write!(
            f,
            "received {received} = accepted {accepted} + duplicate {duplicate} + superseded \
             {superseded} + dead {dead} + pending {pending}"
        )
    }
}

const PARTS: usize = 16;

/// One less, in a part that is added up without a look at what doesn't fit.
const LESS: u64 = u64::MAX;

/// The ledger as it is kept: split over locks held for a few additions each, summed under all of
/// them. An event may be received in one part and settled in another, so one part alone may go
/// below zero; only their sum means anything.
#[derive(Debug, Default)]
pub struct Ledgers {
    parts: [Mutex<Ledger>; PARTS],
    /// Events that became dead letters since the start; a replay takes none back.
    deaths: AtomicU64,
}

impl Ledgers {
    fn part(&self, choice: u64) -> &Mutex<Ledger> {
        // The array is never empty and the remainder is below its length; the first part stands in
        // for the compiler.
        let [first, ..] = &self.parts;
        self.parts
            .get(usize::try_from(choice % PARTS as u64).unwrap_or(0))
            .unwrap_or(first)
    }

    /// An event is received and pending.
    pub fn receive(&self, choice: u64) {
        *self.part(choice).lock() += Ledger {
            received: 1,
            pending: 1,
            ..Ledger::default()
        };
    }

    /// A duplicate was recognized when it was to be accepted.
    pub fn repeat(&self, choice: u64) {
        *self.part(choice).lock() += Ledger {
            received: 1,
            duplicate: 1,
            ..Ledger::default()
        };
    }

    /// A received event was not kept after all, and nobody was told that it was.
    pub fn release(&self, choice: u64) {
        *self.part(choice).lock() += Ledger {
            received: LESS,
            pending: LESS,
            ..Ledger::default()
        };
    }

    /// Pending events found their outcomes.
    pub fn settle<'a>(&self, choice: u64, outcomes: impl Iterator<Item = &'a Outcome>) {
        let mut settled = Ledger::default();
        for outcome in outcomes {
            settled.pending = settled.pending.wrapping_sub(1);
            let count = match outcome {
                Outcome::Accepted => &mut settled.accepted,
                Outcome::Duplicate => &mut settled.duplicate,
                Outcome::Superseded { .. } => &mut settled.superseded,
                Outcome::Dead(_) => &mut settled.dead,
            };
            *count += 1;
        }
        self.deaths.fetch_add(settled.dead, Ordering::Relaxed);
        *self.part(choice).lock() += settled;
    }

    /// A dead letter is pending again: it was received once, and is dead no longer.
    pub fn revive(&self) {
        *self.part(0).lock() += Ledger {
            received: LESS,
            dead: LESS,
            ..Ledger::default()
        };
    }

    /// It could not be brought back after all.
    pub fn unrevive(&self) {
        *self.part(0).lock() += Ledger {
            received: 1,
            dead: 1,
            ..Ledger::default()
        };
    }

    /// What was counted before this start: outcomes, without what is pending.
    pub fn restore(&self, before: Ledger) {
        *self.part(0).lock() += before;
    }

    /// Events that became dead letters since the start, whatever became of those.
    #[must_use]
    pub fn count_deaths(&self) -> u64 {
        self.deaths.load(Ordering::Relaxed)
    }

    /// The sum at one moment: all parts are locked, in order, before any is read.
    #[must_use]
    pub fn sum(&self) -> Ledger {
        let guards: Vec<_> = self.parts.iter().map(Mutex::lock).collect();
        guards.iter().fold(Ledger::default(), |mut sum, part| {
            sum += **part;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, Reason};

    #[test]
    fn the_ledger_balances_through_every_move() {
        let ledgers = Ledgers::default();
        let by = EventId::try_new("by").unwrap();
        for choice in 0..40 {
            ledgers.receive(choice);
            assert!(ledgers.sum().balances());
        }
        ledgers.repeat(7);
        ledgers.release(1);
        // In whatever part: one of these goes below zero.
        ledgers.settle(
            2,
            [
                Outcome::Accepted,
                Outcome::Superseded { by },
                Outcome::Duplicate,
            ]
            .iter(),
        );
        ledgers.settle(2, [Outcome::Dead(Reason::Refused)].iter());
        let sum = ledgers.sum();
        assert!(sum.balances(), "{sum}");
        assert_eq!(
            (sum.received, sum.pending, sum.accepted, sum.duplicate),
            (40, 35, 1, 2)
        );
        assert_eq!((sum.superseded, sum.dead), (1, 1));
    }
}
