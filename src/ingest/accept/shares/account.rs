//! What one principal holds.

use super::counts::Counts;
use super::strangers::Strangers;
use super::{Address, Bound, LaneHash, NoShare, OF_ONE_PRINCIPAL, Takes, UserHash};

/// What one principal holds.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) good: bool,
    /// Shares that are out.
    pub(super) shares: u32,
    /// Pending events by lane and the address that they came from.
    lanes: Counts<(LaneHash, u32, Address), 1>,
    /// Pending events by user and group.
    users: Counts<UserHash, 1>,
    sums: Counts<(Bound, Address), 2>,
}

impl Account {
    pub(super) fn new(good: bool) -> Self {
        Self {
            good,
            shares: 0,
            lanes: Counts::default(),
            users: Counts::default(),
            sums: Counts::default(),
        }
    }

    /// What a share takes of the bounds, where the account has `others` more events of its lane.
    fn amounts(takes: Takes, others: u64) -> [(Bound, u64); 2] {
        match takes {
            Takes::Event { shard, bytes, .. } => [
                (Bound::Lanes(shard), u64::from(others == 0)),
                (Bound::Bytes, bytes),
            ],
            Takes::Context { bytes } => [(Bound::Bytes, bytes), (Bound::Listeners, 0)],
            Takes::Listener => [(Bound::Listeners, 1), (Bound::Bytes, 0)],
            Takes::Call => [(Bound::Calls, 1), (Bound::Bytes, 0)],
        }
    }

    const fn lane_of(address: Address, takes: Takes) -> Option<(LaneHash, u32, Address)> {
        match takes {
            Takes::Event { shard, lane, .. } => Some((lane, shard, address)),
            Takes::Context { .. } | Takes::Listener | Takes::Call => None,
        }
    }

    /// What a share takes that is to come.
    fn wanted(&self, address: Address, takes: Takes) -> [(Bound, u64); 2] {
        let others = Self::lane_of(address, takes).map_or(0, |lane| self.lanes.get(lane));
        Self::amounts(takes, others)
    }

    /// Calls that wait, from whatever address.
    fn calls(&self) -> u64 {
        self.sums
            .iter()
            .filter(|((bound, _), _)| *bound == Bound::Calls)
            .map(|(_, amount)| amount)
            .sum()
    }

    /// Nothing of it counts if a part of it doesn't fit.
    pub(super) fn try_enter(
        &self,
        strangers: &Strangers,
        address: Address,
        takes: Takes,
    ) -> Result<(), NoShare> {
        if let Takes::Event { user, .. } = takes
            && self.users.get(user) >= strangers.bounds.user_events
        {
            return Err(NoShare::User);
        }
        if self.good {
            return match takes {
                Takes::Call if self.calls() >= OF_ONE_PRINCIPAL => Err(NoShare::User),
                _ => Ok(()),
            };
        }
        let [(first, much), (second, more)] = self.wanted(address, takes);
        strangers.try_enter(address, first, much)?;
        strangers
            .try_enter(address, second, more)
            .inspect_err(|_| strangers.leave(address, first, much))
    }

    pub(super) fn enter(&self, strangers: &Strangers, address: Address, takes: Takes) {
        if !self.good {
            self.wanted(address, takes)
                .into_iter()
                .for_each(|(bound, amount)| strangers.enter(address, bound, amount));
        }
    }

    /// The share is out.
    pub(super) fn note(&mut self, address: Address, takes: Takes) {
        for (bound, amount) in self
            .wanted(address, takes)
            .into_iter()
            .filter(|(_, amount)| *amount > 0)
        {
            self.sums.add((bound, address), amount);
        }
        if let Some(lane) = Self::lane_of(address, takes) {
            self.lanes.add(lane, 1);
        }
        if let Takes::Event { user, .. } = takes {
            self.users.add(user, 1);
        }
        self.shares += 1;
    }

    /// Shares are back: one, or those of several events of a lane, whose bytes `takes` has
    /// together.
    pub(super) fn leave(
        &mut self,
        strangers: &Strangers,
        address: Address,
        takes: Takes,
        shares: u32,
    ) {
        if let Some(lane) = Self::lane_of(address, takes) {
            self.lanes.take(lane, shares.into());
        }
        if let Takes::Event { user, .. } = takes {
            self.users.take(user, shares.into());
        }
        for (bound, amount) in self.wanted(address, takes) {
            self.sums.take((bound, address), amount);
            if !self.good {
                strangers.leave(address, bound, amount);
            }
        }
        self.shares = self.shares.saturating_sub(shares);
    }

    /// Stranger -> good, good -> stranger: what it holds leaves the strangers' sums, or enters
    /// them.
    pub(super) fn stand(&mut self, strangers: &Strangers, good: bool) {
        if std::mem::replace(&mut self.good, good) == good {
            return;
        }
        for ((bound, address), amount) in self.sums.iter() {
            if good {
                strangers.leave(address, bound, amount);
            } else {
                strangers.enter(address, bound, amount);
            }
        }
    }
}
