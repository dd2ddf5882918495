//! The sums over all accounts that aren't good, together and by address.

use super::{Address, Bound, Bounds, NoShare, SHELVES};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// The sums over all accounts that aren't good.
#[derive(Debug)]
pub(super) struct Strangers {
    pub(super) bounds: Bounds,
    /// By [`Bound::place`].
    pub(super) together: Vec<AtomicU64>,
    // Plain locks: held for a look-up. ORDER: taken under an account's lock, never the other way
    // round.
    pub(super) addresses: Vec<Mutex<HashMap<(Address, Bound), u64>>>,
    hasher: RandomState,
}

impl Strangers {
    pub(super) fn new(bounds: Bounds) -> Self {
        let together = (0..Bound::Lanes(bounds.shards).place())
            .map(|_| AtomicU64::new(0))
            .collect();
        let addresses = (0..SHELVES).map(|_| Mutex::default()).collect();
        Self {
            bounds,
            together,
            addresses,
            hasher: RandomState::new(),
        }
    }

    fn address(&self, address: Address) -> Option<MutexGuard<'_, HashMap<(Address, Bound), u64>>> {
        let place = self.hasher.hash_one(address) % SHELVES as u64;
        self.addresses
            .get(usize::try_from(place).unwrap_or(0))
            .map(Mutex::lock)
    }

    /// Enters what fits.
    pub(super) fn try_enter(
        &self,
        address: Address,
        bound: Bound,
        amount: u64,
    ) -> Result<(), NoShare> {
        if amount == 0 {
            return Ok(());
        }
        let (most, most_of_one) = self.bounds.shares(bound);
        let Some(together) = self.together.get(bound.place()) else {
            return Ok(());
        };
        if together.fetch_add(amount, Ordering::Relaxed) + amount > most {
            together.fetch_sub(amount, Ordering::Relaxed);
            return Err(NoShare::Strangers);
        }
        let Some(mut addresses) = self.address(address) else {
            return Ok(());
        };
        let held = addresses.get(&(address, bound)).copied().unwrap_or(0);
        if held + amount > most_of_one {
            together.fetch_sub(amount, Ordering::Relaxed);
            return Err(NoShare::Strangers);
        }
        addresses.insert((address, bound), held + amount);
        Ok(())
    }

    /// Enters what is there already, whatever it is.
    pub(super) fn enter(&self, address: Address, bound: Bound, amount: u64) {
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

    pub(super) fn leave(&self, address: Address, bound: Bound, amount: u64) {
        if amount == 0 {
            return;
        }
        if let Some(together) = self.together.get(bound.place()) {
            together.fetch_sub(amount, Ordering::Relaxed);
        }
        if let Some(mut addresses) = self.address(address)
            && let Entry::Occupied(mut sum) = addresses.entry((address, bound))
        {
            *sum.get_mut() = sum.get().saturating_sub(amount);
            if *sum.get() == 0 {
                sum.remove();
            }
        }
    }
}
