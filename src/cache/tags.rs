//! Generations and pending counts per tag (design §7, ruling 9).
//!
//! Fixed tables of counters, indexed by a hash: one per tag, one per tag and whose pending event it
//! is. Nothing grows and nothing is evicted, so nothing stale can come back; a collision only
//! invalidates more than needed. Each table is there twice, and a tag's two places are independent of
//! one another: what is true of a tag shows in both, so that only what both show counts. A tag that
//! every reader of a route has would else share its place with that of some user sooner or later, and
//! each event of that user would make the whole route's answers old. The hash has a key of its own in
//! every process (ruling 17): a stranger can't find tags that share another's places.
//!
//! INVARIANT: an event's tags are marked before it is journaled and acknowledged, and settled after
//! its outcome. A read that starts after the acknowledgement therefore sees moved generations, and
//! until settlement also pending counts.

use crate::event::{Owner, Principal, Realm, Tag, UserId};
use crate::keyed::folded;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Of each table.
const SLOTS: usize = 1 << 17;

#[derive(Debug, Default)]
struct Slot {
    generation: AtomicU64,
    pending: AtomicU32,
}

/// Whose pending events are counted together: a principal's own, and those of the user that its
/// token names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    principal: u64,
    user: Option<NonZeroU64>,
}

impl Waiting {
    /// Of an event of this owner and user.
    #[must_use]
    pub fn of(owner: &Owner, user: &UserId) -> Self {
        Self {
            principal: short(owner.principal),
            user: owner.claimed.then(|| Self::user(owner.realm, user)),
        }
    }

    /// Of a principal whose token names no user.
    #[must_use]
    pub fn of_principal(principal: Principal) -> Self {
        Self {
            principal: short(principal),
            user: None,
        }
    }

    fn user(realm: Realm, user: &UserId) -> NonZeroU64 {
        let number = user.keyed_without_case() ^ realm.0.rotate_left(32);
        NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN)
    }
}

/// One of the two copies.
#[derive(Debug)]
struct Table {
    all: Box<[Slot]>,
    own: Box<[AtomicU32]>,
}

impl Table {
    fn new() -> Self {
        Self {
            all: (0..SLOTS).map(|_| Slot::default()).collect(),
            own: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

/// The tables.
#[derive(Debug)]
pub struct Tags {
    tables: [Table; 2],
    key: RandomState,
}

/// A tag's place in one table, and the generation there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Moment {
    place: usize,
    generation: u64,
}

/// The generations of some tags at one moment, each with its places: those of other tags are never
/// equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generations(Box<[[Moment; 2]]>);

impl Default for Tags {
    fn default() -> Self {
        Self::new()
    }
}

impl Tags {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tables: [Table::new(), Table::new()],
            key: RandomState::new(),
        }
    }

    fn hash(&self, tag: &Tag) -> u64 {
        self.key.hash_one(tag.0)
    }

    /// One in each table.
    fn slots(&self, hash: u64) -> impl Iterator<Item = &Slot> {
        self.tables
            .iter()
            .zip(places(hash))
            .filter_map(|(table, place)| table.all.get(place))
    }

    /// One in each table, of a tag's hash and whose event it is. Both are keyed hashes, and together
    /// they make another one: of a sum of the two, pairs that share a place would have others that
    /// do.
    fn own(&self, hash: u64, of: u64) -> impl Iterator<Item = &AtomicU32> {
        self.tables
            .iter()
            .zip(places(folded(hash, of)))
            .filter_map(|(table, place)| table.own.get(place))
    }

    fn moments(&self, hash: u64) -> [Moment; 2] {
        let mut moments = places(hash).map(|place| Moment {
            place,
            generation: 0,
        });
        for (moment, slot) in moments.iter_mut().zip(self.slots(hash)) {
            moment.generation = slot.generation.load(Ordering::SeqCst);
        }
        moments
    }

    fn owns(&self, hash: u64, of: Waiting) -> impl Iterator<Item = &AtomicU32> {
        std::iter::once(of.principal)
            .chain(of.user.map(NonZeroU64::get))
            .flat_map(move |of| self.own(hash, of))
    }

    /// All generations move: whatever was asked for before is old.
    pub fn move_all(&self) {
        for slot in self.tables.iter().flat_map(|table| &table.all) {
            slot.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// An event that touches these tags is about to be kept: generations move, and it counts as
    /// pending.
    pub fn mark(&self, tags: &[Tag], of: Waiting) {
        for tag in tags {
            let hash = self.hash(tag);
            // ORDER: pending in both tables before a generation moves in either, so that whoever sees
            // a new generation sees it pending.
            for slot in self.slots(hash) {
                slot.pending.fetch_add(1, Ordering::SeqCst);
            }
            for own in self.owns(hash, of) {
                own.fetch_add(1, Ordering::SeqCst);
            }
            self.advance(hash, 1);
        }
    }

    fn advance(&self, hash: u64, steps: u64) {
        for slot in self.slots(hash) {
            slot.generation.fetch_add(steps, Ordering::SeqCst);
        }
    }

    /// That event has its outcome: generations move again, then it is pending no longer.
    pub fn settle(&self, tags: &[Tag], of: Waiting) {
        self.settle_several(tags, of, 1);
    }

    /// So many events that touch the same tags have their outcomes.
    pub fn settle_several(&self, tags: &[Tag], of: Waiting, events: u32) {
        for tag in tags {
            let hash = self.hash(tag);
            // ORDER: the generations of both tables first; else a fill that began before settlement
            // could be stored in between.
            self.advance(hash, events.into());
            for own in self.owns(hash, of) {
                own.fetch_sub(events, Ordering::SeqCst);
            }
            for slot in self.slots(hash) {
                slot.pending.fetch_sub(events, Ordering::SeqCst);
            }
        }
    }

    /// Everything stored under these tags is old.
    pub fn invalidate(&self, tags: &[Tag]) {
        for tag in tags {
            self.advance(self.hash(tag), 1);
        }
    }

    /// How often tags were made old. It adds up all generations.
    #[must_use]
    pub fn invalidations(&self) -> u64 {
        let [first, _] = &self.tables;
        let generations = first.all.iter().map(|slot| &slot.generation);
        generations.fold(0, |sum, generation| {
            generation.load(Ordering::Relaxed).wrapping_add(sum)
        })
    }

    /// The generations now.
    #[must_use]
    pub fn snapshot(&self, tags: &[Tag]) -> Generations {
        let moments = tags.iter().map(|tag| self.moments(self.hash(tag)));
        Generations(moments.collect())
    }

    /// Whether these tags are where they were, each in its places; like comparing with a snapshot,
    /// without making one.
    #[must_use]
    pub fn unmoved(&self, tags: &[Tag], since: &Generations) -> bool {
        tags.len() == since.0.len()
            && tags.iter().zip(&since.0).all(|(tag, then)| {
                steps(self.moments(self.hash(tag)), *then).is_some_and(|steps| steps.contains(&0))
            })
    }

    /// The generations now, if since then each of these tags has moved once if it is among `own`,
    /// and else not at all.
    #[must_use]
    pub fn moved_by(&self, own: &[Tag], tags: &[Tag], since: &Generations) -> Option<Generations> {
        let now = self.snapshot(tags);
        let moved = now.0.len() == since.0.len()
            && tags
                .iter()
                .zip(now.0.iter().zip(&since.0))
                .all(|(tag, (now, then))| {
                    let wanted = u64::from(own.contains(tag));
                    steps(*now, *then).is_some_and(|steps| steps.contains(&wanted))
                });
        moved.then_some(now)
    }

    /// Whether nothing has moved since but what these events of a principal moved, which are
    /// pending: of these tags, each has as many moves as events pending, all of them are the
    /// principal's, and as many have it among `marked`, the tags of all the events that are meant.
    /// A settled event has moved twice and is pending no longer, so it never looks like this.
    #[must_use]
    pub fn moved_by_pending(
        &self,
        tags: &[Tag],
        since: &Generations,
        (of, marked): (Waiting, &[Tag]),
    ) -> bool {
        let count = |count: &AtomicU32| u64::from(count.load(Ordering::SeqCst));
        tags.len() == since.0.len()
            && tags.iter().zip(&since.0).all(|(tag, then)| {
                let hash = self.hash(tag);
                let Some(steps) = steps(self.moments(hash), *then) else {
                    return false;
                };
                let meant = marked.iter().filter(|one| *one == tag).count() as u64;
                let counts = self
                    .slots(hash)
                    .map(|slot| count(&slot.pending))
                    .zip(self.own(hash, of.principal).map(count));
                steps
                    .into_iter()
                    .zip(counts)
                    .any(|(moves, (pending, own))| {
                        moves == pending && pending == own && pending == meant
                    })
            })
    }

    /// Whether an event of this principal may be pending on one of them.
    #[must_use]
    pub fn own_pending(&self, tags: &[Tag], of: Waiting) -> bool {
        self.any(tags, Some(of.principal))
    }

    /// Whether an event of this caller's user, under another principal that names it, may be
    /// pending on one of them.
    #[must_use]
    pub fn user_pending(&self, tags: &[Tag], of: Waiting) -> bool {
        of.user.is_some() && self.any(tags, of.user.map(NonZeroU64::get))
    }

    fn any(&self, tags: &[Tag], of: Option<u64>) -> bool {
        let of = of.into_iter();
        tags.iter().any(|tag| {
            let hash = self.hash(tag);
            of.clone().any(|of| {
                self.own(hash, of)
                    .all(|count| count.load(Ordering::SeqCst) > 0)
            })
        })
    }
}

/// The places of a hash, each by bits of its own.
fn places(hash: u64) -> [usize; 2] {
    [hash, hash >> 32].map(|bits| usize::try_from(bits % SLOTS as u64).unwrap_or(0))
}

/// How often a tag seems to have moved, by each table: never less often than it has. `None`: it is
/// another tag.
fn steps(now: [Moment; 2], then: [Moment; 2]) -> Option<[u64; 2]> {
    if now.map(|now| now.place) != then.map(|then| then.place) {
        return None;
    }
    let [first, second] = now.map(|now| now.generation);
    let [first_then, second_then] = then.map(|then| then.generation);
    Some([
        first.wrapping_sub(first_then),
        second.wrapping_sub(second_then),
    ])
}

fn short(principal: Principal) -> u64 {
    principal
        .0
        .iter()
        .take(8)
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[cfg(test)]
#[path = "tags_tests.rs"]
mod tests;
