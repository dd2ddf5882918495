//! Generations and pending counts per tag (design §7, ruling 9).
//!
//! Two fixed tables of counters, indexed by a hash: one per tag, one per tag and credential. Nothing grows and nothing
//! is evicted, so nothing stale can come back; a collision only invalidates more than needed.
//!
//! INVARIANT: an event's tags are marked before it is journaled and acknowledged, and settled after its outcome. A read
//! that starts after the acknowledgement therefore sees a moved generation, and until settlement also a pending count.

use crate::event::{Fingerprint, Tag};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const SLOTS: usize = 1 << 16;

#[derive(Debug, Default)]
struct Slot {
    generation: AtomicU64,
    pending: AtomicU32,
}

/// The tables.
#[derive(Debug)]
pub struct Tags {
    all: Box<[Slot]>,
    own: Box<[AtomicU32]>,
}

/// The generations of some tags at one moment, each with its place: those of other tags are never equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generations(Box<[(usize, u64)]>);

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
            all: (0..SLOTS).map(|_| Slot::default()).collect(),
            own: (0..SLOTS).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    fn slot(&self, tag: &Tag) -> Option<&Slot> {
        self.all.get(index(tag.0))
    }

    fn own(&self, tag: &Tag, credential: Fingerprint) -> Option<&AtomicU32> {
        let mixed = credential.0.iter().take(8).fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        self.own.get(index(tag.0 ^ mixed))
    }

    /// An event that touches these tags is about to be kept: generations move, and it counts as pending.
    pub fn mark(&self, tags: &[Tag], credential: Fingerprint) {
        for tag in tags {
            if let (Some(slot), Some(own)) = (self.slot(tag), self.own(tag, credential)) {
                // ORDER: pending before the generation, so that whoever sees the new generation sees it pending.
                slot.pending.fetch_add(1, Ordering::SeqCst);
                own.fetch_add(1, Ordering::SeqCst);
                slot.generation.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// That event has its outcome: generations move again, then it is pending no longer.
    pub fn settle(&self, tags: &[Tag], credential: Fingerprint) {
        for tag in tags {
            if let (Some(slot), Some(own)) = (self.slot(tag), self.own(tag, credential)) {
                // ORDER: the generation first; else a fill that began before settlement could be stored in between.
                slot.generation.fetch_add(1, Ordering::SeqCst);
                own.fetch_sub(1, Ordering::SeqCst);
                slot.pending.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Everything stored under these tags is old.
    pub fn invalidate(&self, tags: &[Tag]) {
        for slot in tags.iter().filter_map(|tag| self.slot(tag)) {
            slot.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// The generations now.
    #[must_use]
    pub fn snapshot(&self, tags: &[Tag]) -> Generations {
        let now = |tag: &Tag| Some((index(tag.0), self.slot(tag)?.generation.load(Ordering::SeqCst)));
        Generations(tags.iter().filter_map(now).collect())
    }

    /// Whether these tags are where they were, each in its place; like comparing with a snapshot, without making one.
    #[must_use]
    pub fn unmoved(&self, tags: &[Tag], since: &Generations) -> bool {
        let now = |tag: &Tag| Some((index(tag.0), self.slot(tag)?.generation.load(Ordering::SeqCst)));
        tags.iter().filter_map(now).eq(since.0.iter().copied())
    }

    /// The generations now, if since then each of these tags has moved once if it is among `own`, and else not at all.
    #[must_use]
    pub fn moved_by(&self, own: &[Tag], tags: &[Tag], since: &Generations) -> Option<Generations> {
        let now = self.snapshot(tags);
        let steps = tags.iter().map(|tag| u64::from(own.contains(tag)));
        let moved = since.0.iter().zip(steps).map(|((place, then), step)| (*place, then.wrapping_add(step)));
        moved.eq(now.0.iter().copied()).then_some(now)
    }

    /// Whether nothing has moved since but what this credential's pending events moved: of these tags, each has as many
    /// moves as events pending, and all of them are the credential's. A settled event has moved twice and is pending no
    /// longer, so it never looks like this.
    #[must_use]
    pub fn moved_by_pending(&self, tags: &[Tag], since: &Generations, credential: Fingerprint) -> bool {
        let Generations(then) = self.snapshot(tags);
        then.len() == since.0.len()
            && tags.iter().zip(then.iter().zip(&since.0)).all(|(tag, ((place, now), (old_place, old)))| {
                let count = |all: Option<&AtomicU32>| all.map_or(0, |count| u64::from(count.load(Ordering::SeqCst)));
                let moves = now.wrapping_sub(*old);
                let pending = count(self.slot(tag).map(|slot| &slot.pending));
                place == old_place && moves == pending && pending == count(self.own(tag, credential))
            })
    }

    /// Whether an event of anybody is pending on one of them.
    #[must_use]
    pub fn pending(&self, tags: &[Tag]) -> bool {
        tags.iter().filter_map(|tag| self.slot(tag)).any(|slot| slot.pending.load(Ordering::SeqCst) > 0)
    }
}

fn index(hash: u64) -> usize {
    usize::try_from(hash % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags() -> [Tag; 1] {
        [Tag::new("progress:u")]
    }

    #[test]
    fn a_generation_moves_at_the_acknowledgement_and_at_settlement() {
        let (table, mine) = (Tags::new(), Fingerprint([1; 16]));
        let before = table.snapshot(&tags());
        table.mark(&tags(), mine);
        let between = table.snapshot(&tags());
        assert_ne!(before, between);
        assert!(table.pending(&tags()));
        table.settle(&tags(), mine);
        assert_ne!(table.snapshot(&tags()), between);
        assert!(!table.pending(&tags()));
    }

    #[test]
    fn only_the_callers_own_pending_events_count_as_such() {
        let (table, mine, other) = (Tags::new(), Fingerprint([1; 16]), Fingerprint([2; 16]));
        let since = table.snapshot(&tags());
        assert!(table.moved_by_pending(&tags(), &since, mine));
        table.mark(&tags(), mine);
        table.mark(&tags(), mine);
        assert!(table.moved_by_pending(&tags(), &since, mine) && !table.moved_by_pending(&tags(), &since, other));
        table.settle(&tags(), mine);
        assert!(!table.moved_by_pending(&tags(), &since, mine), "one was delivered since");
        let since = table.snapshot(&tags());
        assert!(!table.moved_by_pending(&tags(), &since, mine), "it was pending before");
        table.settle(&tags(), mine);
        let since = table.snapshot(&tags());
        table.mark(&tags(), mine);
        table.mark(&tags(), other);
        assert!(!table.moved_by_pending(&tags(), &since, mine), "somebody else's is pending too");
        table.settle(&tags(), other);
        assert!(!table.moved_by_pending(&tags(), &since, mine));
    }

    #[test]
    fn a_move_of_ones_own_is_told_from_anothers() {
        let (table, own, all) = (Tags::new(), tags(), [Tag::new("progress:u"), Tag::new("other")]);
        let since = table.snapshot(&all);
        assert_eq!(table.moved_by(&own, &all, &since), None, "not moved yet");
        table.invalidate(&own);
        assert_eq!(table.moved_by(&own, &all, &since), Some(table.snapshot(&all)));
        table.invalidate(&[Tag::new("other")]);
        assert_eq!(table.moved_by(&own, &all, &since), None, "another's tag");
        let since = table.snapshot(&all);
        table.invalidate(&own);
        table.invalidate(&own);
        assert_eq!(table.moved_by(&own, &all, &since), None, "twice");
    }

    #[test]
    fn whoever_sees_a_moved_generation_sees_the_event_pending_or_settled() {
        let table = Tags::new();
        let credential = Fingerprint([3; 16]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    table.mark(&tags(), credential);
                    table.settle(&tags(), credential);
                }
            });
            for _ in 0..20_000 {
                let generation = table.snapshot(&tags()).0[0].1;
                let pending = table.pending(&tags());
                let after = table.snapshot(&tags()).0[0].1;
                // Odd: marked and not settled. If it stayed odd while we looked, it must have been pending.
                assert!(generation.is_multiple_of(2) || generation != after || pending);
            }
        });
        assert!(!table.pending(&tags()));
    }
}
