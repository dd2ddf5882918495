//! What strangers hold of the bounds that all callers share (P10, ruling 25).
//!
//! A *stranger* is a principal that had no 2xx since its last refusal, in no group: nothing speaks for it, and anybody can
//! make as many of them as there are random tokens. Of each bound all strangers together may hold a half, and those of one
//! client address a quarter of that half. Beyond it their calls are forwarded, and the other half is left to the good.
//!
//! ```text
//! Share:    one event, context, listener or call taken before it is kept, given back by its drop
//! Account:  one principal with shares             what it holds, by address and bound; good or not
//! Strangers: sums over the accounts that aren't good, together and by address
//! ```
//!
//! **Operation.** What a good principal holds stands in its account only. When a principal becomes good its account's
//! sums leave those of the strangers; when it is refused they enter them, whatever there is, since the events are there
//! already. An account without shares is dropped. It also knows how many events each user of the principal has in each
//! group, which `limits.max_lane_events` bounds for everybody, and how many of its calls wait, which has a bound for the
//! good as well: a call that waits outlives its client (ruling 2).
//!
//! INVARIANT: the strangers' sums are those of the accounts that aren't good. Every change of an account is made under its
//! shelf's lock, and so is the look at the standing that it goes by.

use crate::event::{Carried, Event, LaneKey, Principal, first_eight};
use crate::journal;
use crate::peer::network_of;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Shelves of accounts, and of addresses.
const SHELVES: usize = 64;
/// Of each bound strangers may hold one part in this many.
const TOGETHER: u64 = 2;
/// Of that, the strangers of one address may hold one part in this many.
const OF_ONE_ADDRESS: u64 = 4;
/// Forwarded calls that may wait for their place in the order, of which strangers have their part.
const WAITING_CALLS: u64 = 4_096;
/// Of a good principal, so many may wait.
const OF_ONE_PRINCIPAL: u64 = 512;

/// Whom the calls of one client address are counted as: an IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(IpAddr);

impl Address {
    /// Of a client.
    #[must_use]
    pub fn of(client: IpAddr) -> Self {
        Self(network_of(client))
    }

    /// Of the client whose call an event came from.
    #[must_use]
    pub fn of_event(event: &Event) -> Self {
        let client = Carried::unpack(&event.carried).map(|carried| carried.client);
        Self::of(client.unwrap_or(Ipv4Addr::UNSPECIFIED.into()))
    }
}

/// Who takes a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Who calls.
    pub principal: Principal,
    /// From where.
    pub address: Address,
}

/// A bound that all callers share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Bound {
    /// Bytes of pending events and of contexts.
    Bytes,
    /// Callers who listen for invalidations.
    Listeners,
    /// Forwarded calls that wait for their place in the order.
    Calls,
    /// Lanes of one shard.
    Lanes(usize),
}

impl Bound {
    const fn place(self) -> usize {
        match self {
            Self::Bytes => 0,
            Self::Listeners => 1,
            Self::Calls => 2,
            Self::Lanes(shard) => 3 + shard,
        }
    }
}

/// The bounds, whole: what all callers may hold together.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Shards of lanes.
    pub shards: usize,
    /// Lanes of one shard.
    pub lanes: u64,
    /// Bytes of pending events and of contexts.
    pub bytes: u64,
    /// Callers who listen for invalidations.
    pub listeners: u64,
    /// Pending events of one user of one principal in one group; nothing is shared of it.
    pub user_events: u64,
}

impl Bounds {
    /// What strangers may hold together, and what those of one address may.
    fn shares(&self, bound: Bound) -> (u64, u64) {
        let whole = match bound {
            Bound::Bytes => self.bytes,
            Bound::Listeners => self.listeners,
            Bound::Calls => WAITING_CALLS,
            Bound::Lanes(_) => self.lanes,
        };
        let together = (whole / TOGETHER).max(1);
        (together, (together / OF_ONE_ADDRESS).max(1))
    }
}

/// What a share is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A pending event: its bytes, and its lane while it has any.
    Event {
        /// The shard that its lane is in.
        shard: usize,
        /// Its lane.
        lane: LaneHash,
        /// Its user in its group.
        user: UserHash,
        /// What it counts against `journal.max_bytes`.
        bytes: u64,
    },
    /// A context: its bytes.
    Context {
        /// Bytes.
        bytes: u64,
    },
    /// A caller who listens.
    Listener,
    /// A forwarded call that waits for its place in the order.
    Call,
}

/// A lane, as a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneHash(u64);

/// A user in a group, as a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UserHash(u64);

/// Why there is no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoShare {
    /// The holder is a stranger, and strangers hold what they may.
    #[error("callers that nothing speaks for hold their share of a bound")]
    Strangers,
    /// The event's user has as many events of this principal in its group as one may, or the principal as many calls that
    /// wait.
    #[error("this user has as many pending events in the group, or calls that wait, as one may")]
    User,
}

/// What strangers hold, all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldByStrangers {
    /// Lanes.
    pub lanes: u64,
    /// Bytes of pending events and of contexts.
    pub bytes: u64,
    /// Callers who listen.
    pub listeners: u64,
    /// Forwarded calls that wait for their place in the order.
    pub calls: u64,
}

/// The sums over all accounts that aren't good.
#[derive(Debug)]
struct Strangers {
    bounds: Bounds,
    /// By [`Bound::place`].
    together: Vec<AtomicU64>,
    // Plain locks: held for a look-up. ORDER: taken under an account's lock, never the other way round.
    addresses: Vec<Mutex<HashMap<(Address, Bound), u64>>>,
    hasher: RandomState,
}

impl Strangers {
    fn new(bounds: Bounds) -> Self {
        let together = (0..Bound::Lanes(bounds.shards).place()).map(|_| AtomicU64::new(0)).collect();
        let addresses = (0..SHELVES).map(|_| Mutex::default()).collect();
        Self { bounds, together, addresses, hasher: RandomState::new() }
    }

    fn address(&self, address: Address) -> Option<MutexGuard<'_, HashMap<(Address, Bound), u64>>> {
        let place = self.hasher.hash_one(address) % SHELVES as u64;
        self.addresses.get(usize::try_from(place).unwrap_or(0)).map(Mutex::lock)
    }

    /// Enters what fits.
    fn try_enter(&self, address: Address, bound: Bound, amount: u64) -> Result<(), NoShare> {
        if amount == 0 {
            return Ok(());
        }
        let (most, most_of_one) = self.bounds.shares(bound);
        let Some(together) = self.together.get(bound.place()) else { return Ok(()) };
        if together.fetch_add(amount, Ordering::Relaxed) + amount > most {
            together.fetch_sub(amount, Ordering::Relaxed);
            return Err(NoShare::Strangers);
        }
        let Some(mut addresses) = self.address(address) else { return Ok(()) };
        let held = addresses.get(&(address, bound)).copied().unwrap_or(0);
        if held + amount > most_of_one {
            together.fetch_sub(amount, Ordering::Relaxed);
            return Err(NoShare::Strangers);
        }
        addresses.insert((address, bound), held + amount);
        Ok(())
    }

    /// Enters what is there already, whatever it is.
    fn enter(&self, address: Address, bound: Bound, amount: u64) {
        if amount == 0 {
            return;
        }
        if let Some(together) = self.together.get(bound.place()) {
            together.fetch_add(amount, Ordering::Relaxed);
        }
        if let Some(mut addresses) = self.address(address) {
            *addresses.entry((address, bound)).or_default() += amount;
        }
    }

    fn leave(&self, address: Address, bound: Bound, amount: u64) {
        if amount == 0 {
            return;
        }
        if let Some(together) = self.together.get(bound.place()) {
            together.fetch_sub(amount, Ordering::Relaxed);
        }
        if let Some(mut addresses) = self.address(address) {
            take_off(&mut addresses, (address, bound), amount);
        }
    }
}

/// Less of a sum, which goes when nothing is left of it.
fn take_off<K: Hash + Eq>(sums: &mut HashMap<K, u64>, key: K, amount: u64) {
    if let Entry::Occupied(mut sum) = sums.entry(key) {
        *sum.get_mut() = sum.get().saturating_sub(amount);
        if *sum.get() == 0 {
            sum.remove();
        }
    }
}

/// What one principal holds.
#[derive(Debug)]
struct Account {
    good: bool,
    /// Shares that are out.
    shares: usize,
    /// Pending events by lane and the address that they came from.
    lanes: HashMap<(Address, usize, LaneHash), u64>,
    /// Pending events by user and group.
    users: HashMap<UserHash, u64>,
    sums: HashMap<(Address, Bound), u64>,
}

impl Account {
    fn new(good: bool) -> Self {
        Self { good, shares: 0, lanes: HashMap::new(), users: HashMap::new(), sums: HashMap::new() }
    }

    /// What a share takes of the bounds, where the account has `others` more events of its lane.
    fn amounts(takes: Takes, others: u64) -> [(Bound, u64); 2] {
        match takes {
            Takes::Event { shard, bytes, .. } => [(Bound::Lanes(shard), u64::from(others == 0)), (Bound::Bytes, bytes)],
            Takes::Context { bytes } => [(Bound::Bytes, bytes), (Bound::Listeners, 0)],
            Takes::Listener => [(Bound::Listeners, 1), (Bound::Bytes, 0)],
            Takes::Call => [(Bound::Calls, 1), (Bound::Bytes, 0)],
        }
    }

    const fn lane_of(address: Address, takes: Takes) -> Option<(Address, usize, LaneHash)> {
        match takes {
            Takes::Event { shard, lane, .. } => Some((address, shard, lane)),
            Takes::Context { .. } | Takes::Listener | Takes::Call => None,
        }
    }

    /// What a share takes that is to come.
    fn wanted(&self, address: Address, takes: Takes) -> [(Bound, u64); 2] {
        let others = Self::lane_of(address, takes).and_then(|lane| self.lanes.get(&lane)).copied();
        Self::amounts(takes, others.unwrap_or(0))
    }

    /// Calls that wait, from whatever address.
    fn calls(&self) -> u64 {
        self.sums.iter().filter(|((_, bound), _)| *bound == Bound::Calls).map(|(_, amount)| amount).sum()
    }

    /// Nothing of it counts if a part of it doesn't fit.
    fn try_enter(&self, strangers: &Strangers, address: Address, takes: Takes) -> Result<(), NoShare> {
        if let Takes::Event { user, .. } = takes
            && self.users.get(&user).is_some_and(|events| *events >= strangers.bounds.user_events)
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
        strangers.try_enter(address, second, more).inspect_err(|_| strangers.leave(address, first, much))
    }

    fn enter(&self, strangers: &Strangers, address: Address, takes: Takes) {
        if !self.good {
            self.wanted(address, takes).into_iter().for_each(|(bound, amount)| strangers.enter(address, bound, amount));
        }
    }

    /// The share is out.
    fn note(&mut self, address: Address, takes: Takes) {
        for (bound, amount) in self.wanted(address, takes).into_iter().filter(|(_, amount)| *amount > 0) {
            *self.sums.entry((address, bound)).or_default() += amount;
        }
        if let Some(lane) = Self::lane_of(address, takes) {
            *self.lanes.entry(lane).or_default() += 1;
        }
        if let Takes::Event { user, .. } = takes {
            *self.users.entry(user).or_default() += 1;
        }
        self.shares += 1;
    }

    /// The share is back.
    fn leave(&mut self, strangers: &Strangers, address: Address, takes: Takes) {
        if let Some(lane) = Self::lane_of(address, takes) {
            take_off(&mut self.lanes, lane, 1);
        }
        if let Takes::Event { user, .. } = takes {
            take_off(&mut self.users, user, 1);
        }
        for (bound, amount) in self.wanted(address, takes) {
            take_off(&mut self.sums, (address, bound), amount);
            if !self.good {
                strangers.leave(address, bound, amount);
            }
        }
        self.shares = self.shares.saturating_sub(1);
    }

    /// Stranger -> good, good -> stranger: what it holds leaves the strangers' sums, or enters them.
    fn stand(&mut self, strangers: &Strangers, good: bool) {
        if std::mem::replace(&mut self.good, good) == good {
            return;
        }
        for ((address, bound), amount) in &self.sums {
            if good {
                strangers.leave(*address, *bound, *amount);
            } else {
                strangers.enter(*address, *bound, *amount);
            }
        }
    }
}

/// All accounts, and what strangers hold.
#[derive(Debug)]
pub struct Shares {
    // Plain locks: held for a look-up and a sum, also at a good principal's calls, whose events are a stranger's once it is
    // refused.
    accounts: Vec<Mutex<HashMap<Principal, Account>>>,
    strangers: Strangers,
    hasher: RandomState,
}

impl Shares {
    /// Nobody holds anything.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let accounts = (0..SHELVES).map(|_| Mutex::default()).collect();
        Self { accounts, strangers: Strangers::new(bounds), hasher: RandomState::new() }
    }

    /// What an event takes in a shard.
    #[must_use]
    pub fn of_event(&self, shard: usize, event: &Event) -> Takes {
        let LaneKey { group, user, credential } = &event.lane;
        let lane = LaneHash(self.hasher.hash_one((group, user, credential)));
        let user = UserHash(self.hasher.hash_one((group, user)));
        Takes::Event { shard, lane, user, bytes: journal::size(event) }
    }

    fn accounts(&self, principal: Principal) -> Option<MutexGuard<'_, HashMap<Principal, Account>>> {
        // A keyed hash, so its first bytes serve.
        let place = first_eight(&principal.0) % SHELVES as u64;
        self.accounts.get(usize::try_from(place).unwrap_or(0)).map(Mutex::lock)
    }

    /// A share, if its holder may have it: it is good, or what it takes fits into what strangers may hold. `is_good`: the holder's standing.
    ///
    /// # Errors
    /// The holder may not have it; nothing was taken.
    pub fn take(
        self: &Arc<Self>,
        holder: Holder,
        takes: Takes,
        is_good: impl FnOnce() -> bool,
    ) -> Result<Share, NoShare> {
        let Holder { principal, address } = holder;
        let mut is_strangers = false;
        if let Some(mut accounts) = self.accounts(principal) {
            let account = accounts.entry(principal).or_insert_with(|| Account::new(is_good()));
            is_strangers = !account.good;
            let fits = account.try_enter(&self.strangers, address, takes);
            if fits.is_ok() {
                account.note(address, takes);
            } else if account.shares == 0 {
                accounts.remove(&principal);
            }
            fits?;
        }
        Ok(Share { shares: Arc::clone(self), holder, takes, is_strangers })
    }

    /// A share of what is there already; it counts whatever others hold.
    #[must_use]
    pub fn adopt(self: &Arc<Self>, holder: Holder, takes: Takes, is_good: impl FnOnce() -> bool) -> Share {
        let Holder { principal, address } = holder;
        let mut is_strangers = false;
        if let Some(mut accounts) = self.accounts(principal) {
            let account = accounts.entry(principal).or_insert_with(|| Account::new(is_good()));
            is_strangers = !account.good;
            account.enter(&self.strangers, address, takes);
            account.note(address, takes);
        }
        Share { shares: Arc::clone(self), holder, takes, is_strangers }
    }

    /// The standing of a principal may have changed. `is_good` is asked under the lock, so that of two changes at once
    /// the later one stands.
    pub fn reconsider(&self, principal: Principal, is_good: impl FnOnce() -> bool) {
        let Some(mut accounts) = self.accounts(principal) else { return };
        if let Some(account) = accounts.get_mut(&principal) {
            account.stand(&self.strangers, is_good());
        }
    }

    fn give_back(&self, Holder { principal, address }: Holder, takes: Takes) {
        let Some(mut accounts) = self.accounts(principal) else { return };
        let Some(account) = accounts.get_mut(&principal) else { return };
        account.leave(&self.strangers, address, takes);
        if account.shares == 0 {
            accounts.remove(&principal);
        }
    }

    /// What strangers hold, all together.
    #[must_use]
    pub fn held(&self) -> HeldByStrangers {
        let sum = |bound: Bound| {
            let sum = self.strangers.together.get(bound.place());
            sum.map_or(0, |sum| sum.load(Ordering::Relaxed))
        };
        let lanes = (0..self.strangers.bounds.shards).map(|shard| sum(Bound::Lanes(shard))).sum();
        let (bytes, listeners, calls) = (sum(Bound::Bytes), sum(Bound::Listeners), sum(Bound::Calls));
        HeldByStrangers { lanes, bytes, listeners, calls }
    }
}

/// A part of the bounds, held until it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    holder: Holder,
    takes: Takes,
    is_strangers: bool,
}

impl Share {
    /// Its holder was a stranger when it was taken.
    #[must_use]
    pub const fn is_strangers(&self) -> bool {
        self.is_strangers
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.give_back(self.holder, self.takes);
    }
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
