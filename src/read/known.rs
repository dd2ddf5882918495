//! Reads that were answered from the store, as they were examined: one that asks the same again needs
//! no examination.
//!
//! What a read asks for follows from its head, its target, the rule that it meets, and which
//! principals stand for one another (`Identity::keys_version`). What may change of itself is asked
//! each time: whether the caller's token holds, what is pending, what is stored. After [`FOR`] a read
//! is examined again, since that also keeps fresh what is known of its caller.

use super::ask::Ask;
use crate::event::ReadIndex;
use crate::identity::Caller;
use crate::keyed::TextHash;
use crate::route::CacheRoute;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Reads that are known.
const PLACES: u64 = 8_192;
/// Longest target and URI together that are kept, bytes: a place takes 2 KB at most.
const LONGEST: usize = 512;
/// How long a read is known.
const FOR: Duration = Duration::from_secs(10);

/// A read that may be known, but for its target.
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
    /// Path and query.
    target: Box<str>,
    ask: Arc<Ask>,
    since: Instant,
}

/// The reads that are known, each in the one place of its head and target.
pub(super) struct KnownReads {
    // Plain locks: held for a comparison.
    places: Box<[Mutex<Option<KnownRead>>]>,
    hasher: TextHash,
}

impl KnownReads {
    pub(super) fn new() -> Self {
        Self {
            places: (0..PLACES).map(|_| Mutex::default()).collect(),
            hasher: TextHash::new(),
        }
    }

    fn place(&self, id: ReadId, target: &str) -> Option<&Mutex<Option<KnownRead>>> {
        if target.len() > LONGEST {
            return None;
        }
        let texts = [target.as_bytes(), &id.head.to_le_bytes()];
        let place = self.hasher.hash(texts) % PLACES;
        self.places.get(usize::try_from(place).ok()?)
    }

    /// What a read asks for, if it is known. `target`: its path and query.
    pub(super) fn find(&self, id: ReadId, target: &str, now: Instant) -> Option<Arc<Ask>> {
        let place = self.place(id, target)?.lock();
        let known = place.as_ref()?;
        let is_it = known.id == id && *known.target == *target && now < known.since + FOR;
        is_it.then(|| Arc::clone(&known.ask))
    }

    pub(super) fn remember(&self, id: ReadId, target: &str, since: Instant, ask: Ask) {
        if target.len() + ask.key.uri.len() > LONGEST {
            return;
        }
        if let Some(place) = self.place(id, target) {
            *place.lock() = Some(KnownRead {
                id,
                target: target.into(),
                ask: Arc::new(ask),
                since,
            });
        }
    }

    pub(super) fn clear(&self) {
        self.places.iter().for_each(|place| *place.lock() = None);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::Reader;
    use super::*;
    use crate::cache::policy::reuse::Wishes;
    use crate::cache::policy::storable::Audience;
    use crate::cache::store::Key;
    use crate::cache::tags::Waiting;
    use crate::event::{Fingerprint, Keys};
    use crate::ingest::Asker;

    const ID: ReadId = ReadId {
        head: 1,
        keys_version: 2,
        rule: ReadIndex(3),
    };

    fn ask(uri: &str) -> Ask {
        let keys = Keys::of(Fingerprint([7; 16]));
        let asker = Asker {
            principal: keys.principal,
            realm: keys.realm,
            user: None,
            joins: false,
        };
        let reader = Reader {
            asker,
            writes_for_others: false,
            keys,
            tags: Vec::new(),
            is_untold: false,
            is_shared: false,
            waiting: Waiting::of_principal(keys.principal),
            groups: Vec::new(),
            proves: Vec::new(),
        };
        Ask {
            key: Key {
                uri: uri.into(),
                view: None,
                rule: ReadIndex(0),
            },
            reader,
            audience: Audience::Personal,
            is_plain: false,
            wishes: Wishes::default(),
            conditional: false,
            is_foreign: false,
        }
    }

    #[test]
    fn a_read_is_known_for_a_time_by_all_that_it_is_of() {
        let (known, now) = (KnownReads::new(), Instant::now());
        known.remember(ID, "/a", now, ask("a"));
        let is_known = |id, target, at| known.find(id, target, at).is_some();
        assert!(is_known(ID, "/a", now));
        assert!(is_known(ID, "/a", now + FOR - Duration::from_millis(1)));
        assert!(!is_known(ID, "/a", now + FOR));
        assert!(!is_known(ID, "/b", now));
        for other in [
            ReadId { head: 9, ..ID },
            ReadId {
                keys_version: 9,
                ..ID
            },
            ReadId {
                rule: ReadIndex(9),
                ..ID
            },
        ] {
            assert!(!is_known(other, "/a", now), "{other:?}");
        }
        known.clear();
        assert!(!is_known(ID, "/a", now));
    }

    #[test]
    fn a_long_read_is_not_kept() {
        let (known, now) = (KnownReads::new(), Instant::now());
        let long = "/".repeat(LONGEST);
        for (target, uri, is_kept) in [(&*long, "", true), (&long, "u", false), ("/", &long, false)]
        {
            known.clear();
            known.remember(ID, target, now, ask(uri));
            assert_eq!(known.find(ID, target, now).is_some(), is_kept);
        }
    }
}
