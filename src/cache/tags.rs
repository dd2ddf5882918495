//! When tags moved, and whose events on them are pending (design §7, ruling 9).
//!
//! Pending events are counted in fixed tables, indexed by a hash of the tag and of whose event it
//! is. Each is there twice, and the two places are independent of one another: what is pending shows
//! in both, so that only what both show counts. A collision makes a read ask the lanes, and one of
//! whose caller nothing is known the application.
//! The hash has a key of its own in every process (ruling 17): a stranger can't find tags that share
//! another's places.
//!
//! INVARIANT: an event's tags are marked before it is journaled and acknowledged, and settled after
//! its outcome. A read that starts after the acknowledgement therefore sees that they moved, and
//! until settlement also pending counts.

use super::moves::{Generation, Moved, Moves};
use crate::event::{Owner, Principal, Realm, Tag, UserId};
use crate::keyed::folded;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, Ordering};

/// Of each table.
const SLOTS: usize = 1 << 17;

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

/// The tables.
#[derive(Debug)]
pub struct Tags {
    moves: Moves,
    own: [Box<[AtomicU32]>; 2],
    key: RandomState,
}

/// Some tags as they were when they were looked at.
#[derive(Debug, Clone)]
pub struct Generations(Box<[Generation]>);

impl Generations {
    /// Whether these are the same tags, and none has moved from one to the other.
    #[must_use]
    pub fn are_unmoved_from(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && (self.0.iter().zip(&other.0)).all(|(one, other)| one.is_unmoved_from(other))
    }
}

impl Default for Tags {
    fn default() -> Self {
        Self::new()
    }
}

impl Tags {
    /// All at zero.
    #[must_use]
    pub fn new() -> Self {
        let table = || (0..SLOTS).map(|_| AtomicU32::new(0)).collect();
        Self {
            moves: Moves::new(),
            own: [table(), table()],
            key: RandomState::new(),
        }
    }

    fn hash(&self, tag: &Tag) -> u64 {
        self.key.hash_one(tag.0)
    }

    /// One in each table, of a tag's hash and whose event it is. Both are keyed hashes, and together
    /// they make another one: of a sum of the two, pairs that share a place would have others that
    /// do.
    fn own(&self, hash: u64, of: u64) -> impl Iterator<Item = &AtomicU32> {
        self.own
            .iter()
            .zip(places(folded(hash, of)))
            .filter_map(|(table, place)| table.get(place))
    }

    fn owns(&self, hash: u64, of: Waiting) -> impl Iterator<Item = &AtomicU32> {
        std::iter::once(of.principal)
            .chain(of.user.map(NonZeroU64::get))
            .flat_map(move |of| self.own(hash, of))
    }

    /// All tags move: whatever was asked for before is old.
    pub fn move_all(&self) {
        self.moves.advance_all();
    }

    /// An event that touches these tags is about to be kept: they move, and it counts as pending.
    pub fn mark(&self, tags: &[Tag], of: Waiting) {
        for tag in tags {
            let hash = self.hash(tag);
            // ORDER: pending before the tag moves, so that whoever sees that it moved sees it
            // pending.
            for own in self.owns(hash, of) {
                own.fetch_add(1, Ordering::SeqCst);
            }
            self.moves.advance(*tag, hash, 1);
        }
    }

    /// That event has its outcome: the tags move again, then it is pending no longer.
    pub fn settle(&self, tags: &[Tag], of: Waiting) {
        self.settle_several(tags, of, 1);
    }

    /// So many events that touch the same tags have their outcomes.
    pub fn settle_several(&self, tags: &[Tag], of: Waiting, events: u32) {
        for tag in tags {
            let hash = self.hash(tag);
            // ORDER: the tag moves first; else a fill that began before settlement could be stored
            // in between.
            self.moves.advance(*tag, hash, events);
            for own in self.owns(hash, of) {
                own.fetch_sub(events, Ordering::SeqCst);
            }
        }
    }

    /// Everything stored under these tags is old.
    pub fn invalidate(&self, tags: &[Tag]) {
        for tag in tags {
            self.moves.advance(*tag, self.hash(tag), 1);
        }
    }

    /// How often tags were made old.
    #[must_use]
    pub fn invalidations(&self) -> u64 {
        self.moves.count()
    }

    /// The tags as they are now.
    #[must_use]
    pub fn snapshot(&self, tags: &[Tag]) -> Generations {
        Generations(tags.iter().map(|tag| self.look(*tag, 0).0).collect())
    }

    /// Whether none of these tags has moved since.
    #[must_use]
    pub fn unmoved(&self, tags: &[Tag], since: &Generations) -> bool {
        tags.len() == since.0.len()
            && tags
                .iter()
                .zip(&since.0)
                .all(|(tag, then)| *tag == then.tag && self.look(*tag, then.at).1 == Moved::Not)
    }

    /// The tags as they are now, if since then each of them has moved once if it is among `own`,
    /// and else not at all.
    #[must_use]
    pub fn moved_by(&self, own: &[Tag], tags: &[Tag], since: &Generations) -> Option<Generations> {
        if tags.len() != since.0.len() {
            return None;
        }
        let generations = tags.iter().zip(&since.0).map(|(tag, then)| {
            let (now, moved) = self.look(*tag, then.at);
            let wanted = if own.contains(tag) {
                Moved::Once
            } else {
                Moved::Not
            };
            (*tag == then.tag && moved == wanted).then_some(now)
        });
        generations.collect::<Option<_>>().map(Generations)
    }

    fn look(&self, tag: Tag, since: u64) -> (Generation, Moved) {
        self.moves.look(tag, self.hash(&tag), since)
    }

    /// Whether an event of this principal may be pending on one of them.
    #[must_use]
    pub fn own_pending(&self, tags: &[Tag], of: Waiting) -> bool {
        self.any(tags, std::iter::once(of.principal))
    }

    /// Whether an event of this caller's user, under another principal that names it, may be
    /// pending on one of them.
    #[must_use]
    pub fn user_pending(&self, tags: &[Tag], of: Waiting) -> bool {
        of.user.is_some() && self.any(tags, of.user.map(NonZeroU64::get).into_iter())
    }

    /// Either of both.
    #[must_use]
    pub fn any_pending(&self, tags: &[Tag], of: Waiting) -> bool {
        let user = of.user.map(NonZeroU64::get);
        self.any(tags, std::iter::once(of.principal).chain(user))
    }

    fn any(&self, tags: &[Tag], of: impl Iterator<Item = u64> + Clone) -> bool {
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
