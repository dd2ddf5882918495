//! Reads that were answered from the store, as they were examined: one that asks the same again needs
//! no examination.
//!
//! What a read asks for follows from its head, its target, the rule that it meets, and which
//! principals stand for one another (`Identity::keys_version`). What may change of itself is asked
//! each time: whether the caller's token holds, what is pending, what is stored.

use super::ask::Ask;
use crate::event::ReadIndex;
use crate::identity::Caller;
use crate::route::CacheRoute;
use parking_lot::Mutex;
use std::sync::Arc;

/// Places, each for the heads of every so many numbers: as many as heads are remembered.
const PLACES: u64 = 4_096;
/// Reads of each place.
const READS: usize = 2;
/// Longest URI of a key that is kept, bytes: a place takes about 2 KB at most.
const LONGEST: usize = 512;

/// A read that may be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadId {
    head: u64,
    keys_version: u64,
    rule: ReadIndex,
}

impl ReadId {
    /// `None`: its head isn't remembered. `keys_version`: read before anything of the caller's keys.
    pub(super) fn of(caller: &Caller<'_>, keys_version: u64, route: &CacheRoute) -> Option<Self> {
        Some(Self {
            head: caller.head_number()?,
            keys_version,
            rule: route.index,
        })
    }
}

struct KnownRead {
    id: ReadId,
    target: Box<str>,
    ask: Arc<Ask>,
}

#[derive(Default)]
struct Place {
    reads: [Option<KnownRead>; READS],
    /// Which one another takes the place of.
    oldest: usize,
}

/// The reads that are known.
pub(super) struct KnownReads {
    // Plain locks: held for a comparison.
    places: Box<[Mutex<Place>]>,
}

impl KnownReads {
    pub(super) fn new() -> Self {
        Self {
            places: (0..PLACES).map(|_| Mutex::default()).collect(),
        }
    }

    fn place(&self, id: ReadId) -> Option<&Mutex<Place>> {
        self.places.get(usize::try_from(id.head % PLACES).ok()?)
    }

    /// What a read asks for, if it is known. `target`: its path and query.
    pub(super) fn find(&self, id: ReadId, target: &str) -> Option<Arc<Ask>> {
        let place = self.place(id)?.lock();
        let mut reads = place.reads.iter().flatten();
        let known = reads.find(|known| known.id == id && *known.target == *target)?;
        Some(Arc::clone(&known.ask))
    }

    pub(super) fn remember(&self, id: ReadId, target: &str, ask: Ask) {
        let Some(place) = self.place(id).filter(|_| ask.key.uri.len() <= LONGEST) else {
            return;
        };
        let known = KnownRead {
            id,
            target: target.into(),
            ask: Arc::new(ask),
        };
        let mut place = place.lock();
        let oldest = place.oldest;
        if let Some(read) = place.reads.get_mut(oldest) {
            *read = Some(known);
            place.oldest = (oldest + 1) % READS;
        }
    }
}
