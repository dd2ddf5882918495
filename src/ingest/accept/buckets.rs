//! The rate per user: token buckets, in which a stranger takes no good caller's place.

use crate::event::{Owner, Principal, Realm, UserId};
use crate::ingest::settings::Limits;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Parts of the table of buckets, each with a lock of its own.
const SHARDS: usize = 64;

/// Whose tokens a call takes (ruling 17): a caller can choose the name that it uses, and one that
/// nothing speaks for can use any number of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Payer {
    /// A user, by the keyed hash of its name, under whichever of its principals: the name is a claim
    /// of each of them, and each is known to be good where it matters.
    User(Realm, u64),
    /// A name under one principal that is known to be good and does not claim it.
    Name(Principal, u64),
    /// A principal that nothing speaks for, whatever names it uses; where its token names its user,
    /// that token, whatever stands beside it.
    Stranger(Principal),
}

impl Payer {
    /// Of a call. `token`: what its token is counted by, where that names its user. `is_good`: its
    /// principal is known to be good in its group.
    #[must_use]
    pub fn of(
        user: &UserId,
        owner: &Owner,
        token: Option<Principal>,
        is_stranger: bool,
        is_good: bool,
    ) -> Self {
        let name = || user.keyed_without_case();
        match (is_stranger, is_good && owner.claimed) {
            (true, _) => Self::Stranger(token.unwrap_or(owner.principal)),
            (false, true) => Self::User(owner.realm, name()),
            (false, false) => Self::Name(owner.principal, name()),
        }
    }
}

/// A good principal that uses many names has so much of the buckets, a part of this many.
const PARTS_OF_NAMES: usize = 8;

/// Tokens of each [`Payer`]. Strangers have buckets of their own, half as many, so that no number
/// of them takes a good principal's place.
#[derive(Debug)]
pub struct Buckets {
    good: Shelf,
    strangers: Shelf,
}

/// How fast a bucket fills.
#[derive(Debug, Clone, Copy)]
struct Filling {
    /// Time for one token.
    each: Duration,
    /// Time for all but one.
    rest: Duration,
}

/// Buckets that are counted together.
#[derive(Debug)]
struct Shelf {
    filling: Option<Filling>,
    most: usize,
    count: AtomicUsize,
    /// When each bucket is full again; one that is full is as good as none. A plain lock each, held
    /// for one look.
    slots: Vec<Mutex<HashMap<Payer, Instant>>>,
    /// Buckets of names, by their principal; locked after a slot.
    names: Vec<Mutex<HashMap<Principal, usize>>>,
    hasher: RandomState,
}

/// Why a bucket gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoToken {
    /// Over the rate; tokens will be there after this time.
    Limited(Duration),
    /// More users than `max_users` in the last seconds, more strangers than half of it, or more
    /// names of one principal than an eighth; calls are forwarded.
    TooManyUsers,
}

impl Buckets {
    /// Buckets as `limits.events_per_user` says; none: no limit.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self {
            good: Shelf::new(limits, limits.max_users),
            strangers: Shelf::new(limits, limits.max_users / 2),
        }
    }

    /// Whether tokens are counted at all.
    #[must_use]
    pub fn are_limited(&self) -> bool {
        self.good.filling.is_some()
    }

    /// So many tokens, or none of them. More than a bucket holds are given by a full one, which owes
    /// the rest.
    ///
    /// # Errors
    /// They aren't there, or the payer has no bucket and can't get one.
    pub fn take(&self, payer: Payer, tokens: u32) -> Result<(), NoToken> {
        self.shelf_of(payer).take(payer, tokens, Instant::now())
    }

    /// Gives tokens back that were taken for nothing.
    pub fn give_back(&self, payer: Payer, tokens: u32) {
        let shelf = self.shelf_of(payer);
        let (Some(filling), Some(slot)) = (shelf.filling, shelf.slots.get(shelf.place(payer)))
        else {
            return;
        };
        // One that is full in the past is full.
        if let Some(full_at) = slot.lock().get_mut(&payer) {
            let cost = filling.each.saturating_mul(tokens);
            *full_at = full_at.checked_sub(cost).unwrap_or(*full_at);
        }
    }

    fn shelf_of(&self, payer: Payer) -> &Shelf {
        if matches!(payer, Payer::Stranger(_)) {
            &self.strangers
        } else {
            &self.good
        }
    }

    /// Forgets full buckets, which are as good as new ones.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.good.sweep(now);
        self.strangers.sweep(now);
    }
}

impl Shelf {
    fn new(limits: &Limits, most: usize) -> Self {
        let filling = limits.events_per_user.and_then(|rate| {
            let each = rate
                .per
                .checked_div(rate.rate)
                .filter(|each| !each.is_zero())?;
            Some(Filling {
                each,
                rest: each.saturating_mul(rate.burst.checked_sub(1)?),
            })
        });
        Self {
            filling,
            most: most.max(1),
            count: AtomicUsize::new(0),
            slots: (0..SHARDS).map(|_| Mutex::default()).collect(),
            names: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    fn place(&self, of: impl Hash) -> usize {
        let place = self.hasher.hash_one(of) % SHARDS as u64;
        usize::try_from(place).unwrap_or(0)
    }

    /// One more name, if its principal may have one.
    fn enter_name(&self, principal: Principal) -> bool {
        let Some(names) = self.names.get(self.place(principal)) else {
            return true;
        };
        let mut names = names.lock();
        let count = names.entry(principal).or_default();
        let may = *count < (self.most / PARTS_OF_NAMES).max(1);
        *count += usize::from(may);
        may
    }

    fn leave_name(&self, principal: Principal) {
        let Some(names) = self.names.get(self.place(principal)) else {
            return;
        };
        let mut names = names.lock();
        if let Some(count) = names.get_mut(&principal) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                names.remove(&principal);
            }
        }
    }

    fn take(&self, payer: Payer, tokens: u32, now: Instant) -> Result<(), NoToken> {
        let Some(filling) = self.filling else {
            return Ok(());
        };
        let Some(slot) = self.slots.get(self.place(payer)) else {
            return Ok(());
        };
        // Of more than a bucket holds a full one is asked, and all are owed.
        let cost = filling.each.saturating_mul(tokens);
        let more = cost.saturating_sub(filling.each).min(filling.rest);
        let after = |at: Instant| at.checked_add(cost).unwrap_or(at);
        let mut buckets = slot.lock();
        if let Some(full_at) = buckets.get_mut(&payer) {
            let missing = full_at.saturating_duration_since(now).saturating_add(more);
            if missing > filling.rest {
                return Err(NoToken::Limited(missing - filling.rest));
            }
            *full_at = after(now.max(*full_at));
            return Ok(());
        }
        if let Payer::Name(principal, _) = payer
            && !self.enter_name(principal)
        {
            return Err(NoToken::TooManyUsers);
        }
        // ORDER: counted before it is there, so that no number of callers at once makes more than
        // there may be.
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.count.fetch_sub(1, Ordering::Relaxed);
            if let Payer::Name(principal, _) = payer {
                self.leave_name(principal);
            }
            return Err(NoToken::TooManyUsers);
        }
        buckets.insert(payer, after(now));
        Ok(())
    }

    fn sweep(&self, now: Instant) {
        for slot in &self.slots {
            let mut buckets = slot.lock();
            let before = buckets.len();
            buckets.retain(|payer, full_at| {
                let stays = *full_at > now;
                if let (false, Payer::Name(principal, _)) = (stays, payer) {
                    self.leave_name(*principal);
                }
                stays
            });
            self.count
                .fetch_sub(before - buckets.len(), Ordering::Relaxed);
            buckets.shrink_to_fit();
        }
        for names in &self.names {
            names.lock().shrink_to_fit();
        }
    }
}

#[cfg(test)]
#[path = "buckets_tests.rs"]
mod tests;
