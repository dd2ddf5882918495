//! The contexts in use: each kept once in memory for all its events, and what one principal makes
//! Tidegate keep is bounded (ruling 25); so is what all strangers do.

use crate::event::{Charge, Context, Fingerprint, Keys, Principal};
use crate::ingest::accept::reputation::Reputation;
use crate::ingest::accept::shares::{Address, ContextShare, Holder, NoShare, Share, Takes};
use crate::keyed::Keyed;
use parking_lot::Mutex;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

const SHELVES: usize = 64;
/// Contexts on a shelf at which those that are gone are looked for.
const SWEEP_AT: usize = 256;

/// Contexts take as much as they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// Those of one principal.
    #[error(
        "the contexts of this principal's pending events take {0} bytes, which is all that one \
         principal may have"
    )]
    OfPrincipal(usize),
    /// Together with all that strangers hold.
    #[error(transparent)]
    NoShare(#[from] NoShare),
}

/// A context's bytes, counted as long as it lives.
#[derive(Debug)]
struct Counted {
    total: Arc<AtomicU64>,
    share: ContextShare,
}

impl Counted {
    fn new(total: &Arc<AtomicU64>, bytes: u64, share: Share) -> Self {
        total.fetch_add(bytes, Ordering::Relaxed);
        Self {
            total: Arc::clone(total),
            share: ContextShare::of(share, bytes),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.total.fetch_sub(self.share.bytes(), Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Known {
    context: Weak<Context>,
    principal: Principal,
    bytes: usize,
}

#[derive(Debug)]
struct Shelf {
    known: Keyed<Fingerprint, Known>,
    /// Bytes by principal, those of contexts that are gone included until the next sweep.
    principals: Keyed<Principal, usize>,
    sweep_at: usize,
}

impl Shelf {
    fn sweep(&mut self) {
        let Self {
            known, principals, ..
        } = self;
        known.retain(|_, one| one.context.strong_count() > 0);
        principals.clear();
        for one in known.values() {
            *principals.entry(one.principal).or_default() += one.bytes;
        }
        self.sweep_at = SWEEP_AT.max(2 * self.known.len());
    }

    fn add(&mut self, context: &Arc<Context>, bytes: usize) {
        let Keys {
            fingerprint,
            principal,
            ..
        } = context.keys;
        let known = Known {
            context: Arc::downgrade(context),
            principal,
            bytes,
        };
        if let Some(old) = self.known.insert(fingerprint, known)
            && let Some(count) = self.principals.get_mut(&old.principal)
        {
            *count = count.saturating_sub(old.bytes);
        }
        *self.principals.entry(principal).or_default() += bytes;
        if self.known.len() >= self.sweep_at {
            self.sweep();
        }
    }
}

/// All contexts that pending events and dead letters need.
#[derive(Debug)]
pub struct Contexts {
    // A plain lock: held for a look-up.
    shelves: Vec<Mutex<Shelf>>,
    bytes: Arc<AtomicU64>,
    /// Most bytes of one principal.
    most: usize,
    reputation: Arc<Reputation>,
}

impl Contexts {
    /// None yet; one principal's may take `most` bytes together.
    #[must_use]
    pub fn new(most: usize, reputation: Arc<Reputation>) -> Self {
        let shelf = || Shelf {
            known: Keyed::default(),
            principals: Keyed::default(),
            sweep_at: SWEEP_AT,
        };
        Self {
            shelves: (0..SHELVES).map(|_| Mutex::new(shelf())).collect(),
            bytes: Arc::default(),
            most,
            reputation,
        }
    }

    fn shelf(&self, principal: Principal) -> Option<&Mutex<Shelf>> {
        // A keyed hash, so some of its bits serve; a shelf goes by others.
        let [_, _, _, byte, ..] = principal.0;
        self.shelves.get(usize::from(byte) % SHELVES)
    }

    /// The context of these keys: the one in use, or a new one. `address`: where the call comes
    /// from.
    ///
    /// # Errors
    /// A new one would be more than this principal may have, or than strangers may.
    pub fn share(
        &self,
        keys: &Keys,
        address: Address,
        make: impl FnOnce() -> Context,
    ) -> Result<Arc<Context>, TooMuch> {
        let Some(shelf) = self.shelf(keys.principal) else {
            return Ok(Arc::new(make()));
        };
        let mut shelf = shelf.lock();
        if let Some(found) = shelf
            .known
            .get(&keys.fingerprint)
            .and_then(|known| known.context.upgrade())
        {
            return Ok(found);
        }
        let mut context = make();
        let bytes = context.bytes();
        let taken = |shelf: &Shelf| shelf.principals.get(&keys.principal).copied().unwrap_or(0);
        if taken(&shelf) + bytes > self.most {
            shelf.sweep();
            if taken(&shelf) + bytes > self.most {
                return Err(TooMuch::OfPrincipal(taken(&shelf)));
            }
        }
        let (holder, takes) = (
            Holder {
                principal: keys.principal,
                address,
            },
            Takes::Context {
                bytes: bytes as u64,
            },
        );
        let share = self.reputation.take_share(holder, takes)?;
        context.charge = Charge::new(Counted::new(&self.bytes, bytes as u64, share));
        let context = Arc::new(context);
        shelf.add(&context, bytes);
        Ok(context)
    }

    /// One that a start found in the journal; it is kept whatever it takes. It doesn't say where
    /// its calls came from.
    #[must_use]
    pub fn adopt(&self, found: &Arc<Context>) -> Arc<Context> {
        let Some(shelf) = self.shelf(found.keys.principal) else {
            return Arc::clone(found);
        };
        let mut shelf = shelf.lock();
        if let Some(found) = shelf
            .known
            .get(&found.keys.fingerprint)
            .and_then(|known| known.context.upgrade())
        {
            return found;
        }
        let bytes = found.bytes();
        let address = Address::of(Ipv4Addr::UNSPECIFIED.into());
        let holder = Holder {
            principal: found.keys.principal,
            address,
        };
        let share = self.reputation.adopt_share(
            holder,
            Takes::Context {
                bytes: bytes as u64,
            },
        );
        let charge = Charge::new(Counted::new(&self.bytes, bytes as u64, share));
        let mut context = Context::clone(found);
        context.charge = charge;
        let context = Arc::new(context);
        shelf.add(&context, bytes);
        context
    }

    /// Bytes that all of them take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Raw, Said};
    use crate::ingest::accept::reputation::RefusedBy;
    use crate::ingest::accept::shares::{Bounds, Shares};
    use std::time::Duration;

    fn keys(number: u8) -> Keys {
        Keys {
            principal: Principal([7; 16]),
            ..Keys::of(Fingerprint([number; 16]))
        }
    }

    fn context(number: u8) -> Context {
        let said = Said {
            headers: vec![("user-agent", Raw(&[b'x'; 1_000]))],
            ..Said::default()
        };
        Context::new(keys(number), &said)
    }

    fn here() -> Address {
        Address::of(Ipv4Addr::LOCALHOST.into())
    }

    /// One principal's may take 3,000 bytes.
    fn contexts(all: u64) -> Contexts {
        let shares = Shares::new(Bounds {
            shards: 1,
            lanes: 100,
            bytes: all,
            listeners: 1,
            user_events: 1,
        });
        let reputation = Reputation::new(
            1,
            None,
            Duration::from_secs(60),
            None,
            100,
            Arc::new(shares),
        );
        Contexts::new(3_000, Arc::new(reputation))
    }

    #[test]
    fn calls_of_one_fingerprint_share_one_context_and_a_principal_has_a_bound() {
        let contexts = contexts(100_000);
        let first = contexts.share(&keys(1), here(), || context(1)).unwrap();
        let again = contexts.share(&keys(1), here(), || unreachable!()).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let second = contexts.share(&keys(2), here(), || context(2)).unwrap();
        assert!(contexts.bytes() > 2_000);
        assert!(
            matches!(contexts.share(&keys(3), here(), || context(3)), Err(TooMuch::OfPrincipal(bytes)) if bytes > 2_000)
        );
        drop((first, again));
        assert!(
            contexts.share(&keys(3), here(), || context(3)).is_ok(),
            "what is gone makes room"
        );
        drop(second);
        assert_eq!(contexts.bytes(), 0);
    }

    #[test]
    fn contexts_of_strangers_have_a_share_which_they_give_back_when_they_are_gone_or_their_principal_is_good()
     {
        // A quarter of a half of this holds one of these contexts.
        let contexts = contexts(8 * 2_000);
        let held = || contexts.reputation.shares().held().bytes;
        let first = contexts.share(&keys(1), here(), || context(1)).unwrap();
        assert_eq!(held(), contexts.bytes());
        assert_eq!(
            contexts.share(&keys(2), here(), || context(2)),
            Err(TooMuch::NoShare(NoShare::Strangers))
        );
        drop(first);
        assert_eq!(held(), 0);
        let first = contexts.share(&keys(1), here(), || context(1)).unwrap();
        contexts
            .reputation
            .vouch(Principal([7; 16]), false, crate::event::GroupIndex(0));
        assert_eq!(held(), 0);
        let second = contexts.share(&keys(2), here(), || context(2)).unwrap();
        contexts
            .reputation
            .refuse(Principal([7; 16]), RefusedBy::Unauthorized);
        assert_eq!(
            held(),
            contexts.bytes(),
            "what a refused principal holds is a stranger's again"
        );
        drop((first, second));
        assert_eq!((held(), contexts.bytes()), (0, 0));
    }

    #[test]
    fn a_context_that_a_start_finds_counts_among_those_of_strangers_whatever_it_takes() {
        let contexts = contexts(100);
        let found = contexts.adopt(&Arc::new(context(1)));
        assert_eq!(
            contexts.reputation.shares().held().bytes,
            found.bytes() as u64
        );
        drop(found);
        assert_eq!(contexts.reputation.shares().held().bytes, 0);
    }
}
