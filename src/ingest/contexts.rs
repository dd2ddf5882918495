//! The contexts in use: each kept once in memory for all its events, and what one principal makes Tidegate keep is
//! bounded (ruling 25).

use crate::event::{Charge, Context, Fingerprint, Keys, Principal};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

const SHELVES: usize = 64;
/// Contexts on a shelf at which those that are gone are looked for.
const SWEEP_AT: usize = 256;

/// A principal's contexts take as much as they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the contexts of this principal's pending events take {0} bytes, which is all that one principal may have")]
pub struct TooMuch(pub usize);

#[derive(Debug)]
struct Known {
    context: Weak<Context>,
    principal: Principal,
    bytes: usize,
}

#[derive(Debug)]
struct Shelf {
    known: HashMap<Fingerprint, Known>,
    /// Bytes by principal, those of contexts that are gone included until the next sweep.
    principals: HashMap<Principal, usize>,
    sweep_at: usize,
}

impl Shelf {
    fn sweep(&mut self) {
        let Self { known, principals, .. } = self;
        known.retain(|_, one| one.context.strong_count() > 0);
        principals.clear();
        for one in known.values() {
            *principals.entry(one.principal).or_default() += one.bytes;
        }
        self.sweep_at = SWEEP_AT.max(2 * self.known.len());
    }

    fn add(&mut self, context: &Arc<Context>, bytes: usize) {
        let Keys { fingerprint, principal, .. } = context.keys;
        let known = Known { context: Arc::downgrade(context), principal, bytes };
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
}

impl Contexts {
    /// None yet; one principal's may take `most` bytes together.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let shelf = || Shelf { known: HashMap::new(), principals: HashMap::new(), sweep_at: SWEEP_AT };
        Self { shelves: (0..SHELVES).map(|_| Mutex::new(shelf())).collect(), bytes: Arc::default(), most }
    }

    fn shelf(&self, principal: Principal) -> Option<&Mutex<Shelf>> {
        let [first, ..] = principal.0;
        self.shelves.get(usize::from(first) % SHELVES)
    }

    /// The context of these keys: the one in use, or a new one.
    ///
    /// # Errors
    /// A new one would be more than this principal may have.
    pub fn share(&self, keys: &Keys, make: impl FnOnce() -> Context) -> Result<Arc<Context>, TooMuch> {
        let Some(shelf) = self.shelf(keys.principal) else { return Ok(Arc::new(make())) };
        let mut shelf = shelf.lock();
        if let Some(found) = shelf.known.get(&keys.fingerprint).and_then(|known| known.context.upgrade()) {
            return Ok(found);
        }
        let mut context = make();
        let bytes = context.bytes();
        let taken = |shelf: &Shelf| shelf.principals.get(&keys.principal).copied().unwrap_or(0);
        if taken(&shelf) + bytes > self.most {
            shelf.sweep();
            if taken(&shelf) + bytes > self.most {
                return Err(TooMuch(taken(&shelf)));
            }
        }
        context.charge = Charge::new(&self.bytes, bytes as u64);
        let context = Arc::new(context);
        shelf.add(&context, bytes);
        Ok(context)
    }

    /// One that a start found in the journal; it is kept whatever it takes.
    #[must_use]
    pub fn adopt(&self, found: &Arc<Context>) -> Arc<Context> {
        let Some(shelf) = self.shelf(found.keys.principal) else { return Arc::clone(found) };
        let mut shelf = shelf.lock();
        if let Some(found) = shelf.known.get(&found.keys.fingerprint).and_then(|known| known.context.upgrade()) {
            return found;
        }
        let bytes = found.bytes();
        let context = Arc::new(Context { charge: Charge::new(&self.bytes, bytes as u64), ..Context::clone(found) });
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
    use http::HeaderValue;

    fn keys(number: u8) -> Keys {
        Keys { principal: Principal([7; 16]), ..Keys::of(Fingerprint([number; 16])) }
    }

    fn context(number: u8) -> Context {
        let agent = HeaderValue::try_from("x".repeat(1_000)).unwrap();
        Context { headers: vec![(http::header::USER_AGENT, agent)], ..Context::bare(keys(number)) }
    }

    #[test]
    fn calls_of_one_fingerprint_share_one_context_and_a_principal_has_a_bound() {
        let contexts = Contexts::new(3_000);
        let first = contexts.share(&keys(1), || context(1)).unwrap();
        let again = contexts.share(&keys(1), || unreachable!()).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let second = contexts.share(&keys(2), || context(2)).unwrap();
        assert!(contexts.bytes() > 2_000);
        assert!(matches!(contexts.share(&keys(3), || context(3)), Err(TooMuch(bytes)) if bytes > 2_000));
        drop((first, again));
        assert!(contexts.share(&keys(3), || context(3)).is_ok(), "what is gone makes room");
        drop(second);
        assert_eq!(contexts.bytes(), 0);
    }
}
