//! What strangers hold of the bounds that all callers share (P10, ruling 25).
//!
//! A *stranger* is a principal that had no 2xx since its last refusal, in no group: nothing speaks
//! for it, and anybody can make as many of them as there are random tokens. Of each bound all
//! strangers together may hold a half, and those of one client address a quarter of that half.
//! Beyond it their calls are forwarded, and the other half is left to the good.
//!
//! ```text
//! Share:    one event, context, listener or call taken before it is kept, given back by its drop
//! Account:  one principal with shares             what it holds, by address and bound; good or not
//! Strangers: sums over the accounts that aren't good, together and by address
//! ```
//!
//! **Operation.** What a good principal holds stands in its account only. When a principal becomes
//! good its account's sums leave those of the strangers; when it is refused they enter them,
//! whatever there is, since the events are there already. An account without shares is dropped. It
//! also knows how many events each user of the principal has in each group, which
//! `limits.max_lane_events` bounds for everybody, and how many of its calls wait, which has a bound
//! for the good as well: a call that waits outlives its client (ruling 2).
//!
//! INVARIANT: the strangers' sums are those of the accounts that aren't good. Every change of an
//! account is made under its shelf's lock, and so is the look at the standing that it goes by.

mod account;
mod counts;
mod of_context;
mod strangers;

pub use of_context::ContextShare;

use crate::event::{Carried, Event, LaneKey, Principal, first_eight};
use crate::journal;
use crate::keyed::{Keyed, spread};
use crate::peer::network_of;
use account::Account;
use parking_lot::{Mutex, MutexGuard};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strangers::Strangers;

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

/// Whom the calls of one client address are counted as: an IPv4 address, or the first 64 bits of an
/// IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Address([u8; 8]);

/// An IPv4 address stands for its number behind this; it is what an IPv6 address for many receivers
/// begins with, which is nobody's own (RFC 4291 §2.7).
const V4: [u8; 4] = [0xff, 0, 0, 0];

impl Address {
    /// Of a client.
    #[must_use]
    pub fn of(client: IpAddr) -> Self {
        Self(match network_of(client) {
            IpAddr::V4(address) => {
                let ([a, b, c, d], [first, second, third, fourth]) = (V4, address.octets());
                [a, b, c, d, first, second, third, fourth]
            }
            IpAddr::V6(address) => address.octets().first_chunk().copied().unwrap_or_default(),
        })
    }

    /// Of the client whose call an event came from.
    #[must_use]
    pub fn of_event(event: &Event) -> Self {
        let caller = Carried::read_caller(event.carried());
        Self::of(caller.map_or(Ipv4Addr::UNSPECIFIED.into(), |(_, client)| client))
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum Bound {
    /// Bytes of pending events and of contexts.
    #[default]
    Bytes,
    /// Callers who listen for invalidations.
    Listeners,
    /// Forwarded calls that wait for their place in the order.
    Calls,
    /// Lanes of one shard.
    Lanes(u32),
}

impl Bound {
    const fn place(self) -> usize {
        match self {
            Self::Bytes => 0,
            Self::Listeners => 1,
            Self::Calls => 2,
            Self::Lanes(shard) => 3 + shard as usize,
        }
    }
}

/// The bounds, whole: what all callers may hold together.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Shards of lanes.
    pub shards: u32,
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
        shard: u32,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LaneHash(u64);

/// A user in a group, as a keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct UserHash(u64);

/// Why there is no share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoShare {
    /// The holder is a stranger, and strangers hold what they may.
    #[error("callers that nothing speaks for hold their share of a bound")]
    Strangers,
    /// The event's user has as many events of this principal in its group as one may, or the
    /// principal as many calls that wait.
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

type Accounts = Keyed<Principal, Box<Account>>;

/// All accounts, and what strangers hold.
#[derive(Debug)]
pub struct Shares {
    // Plain locks: held for a look-up and a sum, also at a good principal's calls, whose events are
    // a stranger's once it is refused.
    // Each account in a box, so that a table's free places are small.
    accounts: Vec<Mutex<Accounts>>,
    strangers: Strangers,
}

impl Shares {
    /// Nobody holds anything.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let accounts = (0..SHELVES).map(|_| Mutex::default()).collect();
        Self {
            accounts,
            strangers: Strangers::new(bounds),
        }
    }

    /// What an event takes in a shard.
    #[must_use]
    pub fn of_event(&self, shard: usize, event: &Event) -> Takes {
        let LaneKey {
            group,
            user,
            credential,
        } = &event.lane;
        let user = user.keyed() ^ spread(group.0 as u64);
        let lane = LaneHash(user ^ first_eight(&credential.0));
        let user = UserHash(user);
        Takes::Event {
            shard: u32::try_from(shard).unwrap_or(u32::MAX),
            lane,
            user,
            bytes: journal::size(event),
        }
    }

    fn accounts(&self, principal: Principal) -> Option<MutexGuard<'_, Accounts>> {
        // A keyed hash, so some of its bits serve; a shelf goes by others.
        let place = (first_eight(&principal.0) >> 32) % SHELVES as u64;
        self.accounts
            .get(usize::try_from(place).unwrap_or(0))
            .map(Mutex::lock)
    }

    /// A share, if its holder may have it: it is good, or what it takes fits into what strangers
    /// may hold. `is_good`: the holder's standing.
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
            let account = accounts
                .entry(principal)
                .or_insert_with(|| Box::new(Account::new(is_good())));
            is_strangers = !account.good;
            let fits = account.try_enter(&self.strangers, address, takes);
            if fits.is_ok() {
                account.note(address, takes);
            } else if account.shares == 0 {
                accounts.remove(&principal);
            }
            fits?;
        }
        Ok(Share {
            shares: Arc::clone(self),
            holder,
            takes,
            count: 1,
            is_strangers,
        })
    }

    /// A share of what is there already; it counts whatever others hold.
    #[must_use]
    pub fn adopt(
        self: &Arc<Self>,
        holder: Holder,
        takes: Takes,
        is_good: impl FnOnce() -> bool,
    ) -> Share {
        let Holder { principal, address } = holder;
        let mut is_strangers = false;
        if let Some(mut accounts) = self.accounts(principal) {
            let account = accounts
                .entry(principal)
                .or_insert_with(|| Box::new(Account::new(is_good())));
            is_strangers = !account.good;
            account.enter(&self.strangers, address, takes);
            account.note(address, takes);
        }
        Share {
            shares: Arc::clone(self),
            holder,
            takes,
            count: 1,
            is_strangers,
        }
    }

    /// The standing of a principal may have changed. `is_good` is asked under the lock, so that of
    /// two changes at once the later one stands.
    pub fn reconsider(&self, principal: Principal, is_good: impl FnOnce() -> bool) {
        let Some(mut accounts) = self.accounts(principal) else {
            return;
        };
        if let Some(account) = accounts.get_mut(&principal) {
            account.stand(&self.strangers, is_good());
        }
    }

    fn give_back(&self, Holder { principal, address }: Holder, takes: Takes, count: u32) {
        let Some(mut accounts) = self.accounts(principal) else {
            return;
        };
        let Some(account) = accounts.get_mut(&principal) else {
            return;
        };
        account.leave(&self.strangers, address, takes, count);
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
        let lanes = (0..self.strangers.bounds.shards)
            .map(|shard| sum(Bound::Lanes(shard)))
            .sum();
        let (bytes, listeners, calls) =
            (sum(Bound::Bytes), sum(Bound::Listeners), sum(Bound::Calls));
        HeldByStrangers {
            lanes,
            bytes,
            listeners,
            calls,
        }
    }
}

/// A part of the bounds, held until it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    holder: Holder,
    takes: Takes,
    /// Shares that it is; none where another one has taken it over.
    count: u32,
    is_strangers: bool,
}

impl Share {
    /// Its holder was a stranger when it was taken.
    #[must_use]
    pub const fn is_strangers(&self) -> bool {
        self.is_strangers
    }

    /// Lets the shares of events of one lane that stand beside one another be given back as one.
    pub fn join<'a>(shares: impl IntoIterator<Item = &'a mut Self>) {
        let mut shares = shares.into_iter();
        let Some(mut last) = shares.next() else {
            return;
        };
        for share in shares {
            if !last.take_over(share) {
                last = share;
            }
        }
    }

    /// Whether the other one is an event's of the same lane, and nothing is left of it now.
    fn take_over(&mut self, other: &mut Self) -> bool {
        let (
            Takes::Event {
                shard,
                lane,
                user,
                bytes,
            },
            Takes::Event { bytes: more, .. },
        ) = (self.takes, other.takes)
        else {
            return false;
        };
        let is_same = Arc::ptr_eq(&self.shares, &other.shares)
            && self.holder == other.holder
            && other.takes
                == Takes::Event {
                    shard,
                    lane,
                    user,
                    bytes: more,
                };
        if is_same {
            self.takes = Takes::Event {
                shard,
                lane,
                user,
                bytes: bytes + more,
            };
            self.count += std::mem::take(&mut other.count);
        }
        is_same
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.count > 0 {
            self.shares.give_back(self.holder, self.takes, self.count);
        }
    }
}

#[cfg(test)]
mod tests;
