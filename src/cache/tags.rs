//! Generations and pending counts per tag (design §7, ruling 9).
//!
//! Two fixed tables of counters, indexed by a hash: one per tag, one per tag and whose pending
//! event it is. Nothing grows and nothing is evicted, so nothing stale can come back; a collision
//! only invalidates more than needed. The hash has a key of its own in every process (ruling 17): a
//! stranger can't find tags that share another's places.
//!
//! INVARIANT: an event's tags are marked before it is journaled and acknowledged, and settled after
//! its outcome. A read that starts after the acknowledgement therefore sees a moved generation, and
//! until settlement also a pending count.

use crate::event::{Owner, Principal, Realm, Tag, UserId};
use crate::keyed::folded;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const SLOTS: usize = 1 << 16;

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

/// The tables.
#[derive(Debug)]
pub struct Tags {
    all: Box<[Slot]>,
    own: Box<[AtomicU32]>,
    key: RandomState,
}

/// The generations of some tags at one moment, each with its place: those of other tags are never
/// equal.
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
            key: RandomState::new(),
        }
    }

    fn hash(&self, tag: &Tag) -> u64 {
        self.key.hash_one(tag.0)
    }

    fn slot(&self, tag: &Tag) -> Option<&Slot> {
        self.all.get(place(self.hash(tag)))
    }

    /// Of a tag's hash and whose event it is. Both are keyed hashes, and together they make another
    /// one: of a sum of the two, pairs that share a place would have others that do.
    fn own(&self, hash: u64, of: u64) -> Option<&AtomicU32> {
        self.own.get(place(folded(hash, of)))
    }

    fn generation(&self, tag: &Tag) -> Option<(usize, u64)> {
        let place = place(self.hash(tag));
        Some((
            place,
            self.all.get(place)?.generation.load(Ordering::SeqCst),
        ))
    }

    fn owns(&self, hash: u64, of: Waiting) -> impl Iterator<Item = &AtomicU32> {
        std::iter::once(of.principal)
            .chain(of.user.map(NonZeroU64::get))
            .filter_map(move |of| self.own(hash, of))
    }

    /// All generations move: whatever was asked for before is old.
    pub fn move_all(&self) {
        for slot in &self.all {
            slot.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// An event that touches these tags is about to be kept: generations move, and it counts as
    /// pending.
    pub fn mark(&self, tags: &[Tag], of: Waiting) {
        for tag in tags {
            let hash = self.hash(tag);
            if let Some(slot) = self.all.get(place(hash)) {
                // ORDER: pending before the generation, so that whoever sees the new generation
                // sees it pending.
                slot.pending.fetch_add(1, Ordering::SeqCst);
                for own in self.owns(hash, of) {
                    own.fetch_add(1, Ordering::SeqCst);
                }
                slot.generation.fetch_add(1, Ordering::SeqCst);
            }
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
            if let Some(slot) = self.all.get(place(hash)) {
                // ORDER: the generation first; else a fill that began before settlement could be
                // stored in between.
                slot.generation.fetch_add(events.into(), Ordering::SeqCst);
                for own in self.owns(hash, of) {
                    own.fetch_sub(events, Ordering::SeqCst);
                }
                slot.pending.fetch_sub(events, Ordering::SeqCst);
            }
        }
    }

    /// Everything stored under these tags is old.
    pub fn invalidate(&self, tags: &[Tag]) {
        for slot in tags.iter().filter_map(|tag| self.slot(tag)) {
            slot.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// How often tags were made old. It adds up all generations.
    #[must_use]
    pub fn invalidations(&self) -> u64 {
        let generations = self.all.iter().map(|slot| &slot.generation);
        generations.fold(0, |sum, generation| {
            generation.load(Ordering::Relaxed).wrapping_add(sum)
        })
    }

    /// The generations now.
    #[must_use]
    pub fn snapshot(&self, tags: &[Tag]) -> Generations {
        Generations(tags.iter().filter_map(|tag| self.generation(tag)).collect())
    }

    /// Whether these tags are where they were, each in its place; like comparing with a snapshot,
    /// without making one.
    #[must_use]
    pub fn unmoved(&self, tags: &[Tag], since: &Generations) -> bool {
        tags.iter()
            .filter_map(|tag| self.generation(tag))
            .eq(since.0.iter().copied())
    }

    /// The generations now, if since then each of these tags has moved once if it is among `own`,
    /// and else not at all.
    #[must_use]
    pub fn moved_by(&self, own: &[Tag], tags: &[Tag], since: &Generations) -> Option<Generations> {
        let now = self.snapshot(tags);
        let steps = tags.iter().map(|tag| u64::from(own.contains(tag)));
        let moved = since
            .0
            .iter()
            .zip(steps)
            .map(|((place, then), step)| (*place, then.wrapping_add(step)));
        moved.eq(now.0.iter().copied()).then_some(now)
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
        let Generations(then) = self.snapshot(tags);
        then.len() == since.0.len()
            && tags.iter().zip(then.iter().zip(&since.0)).all(
                |(tag, ((place, now), (old_place, old)))| {
                    let count = |all: Option<&AtomicU32>| {
                        all.map_or(0, |count| u64::from(count.load(Ordering::SeqCst)))
                    };
                    let moves = now.wrapping_sub(*old);
                    let pending = count(self.slot(tag).map(|slot| &slot.pending));
                    let meant = marked.iter().filter(|one| *one == tag).count() as u64;
                    let own = count(self.own(self.hash(tag), of.principal));
                    place == old_place && moves == pending && pending == own && pending == meant
                },
            )
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
            of.clone()
                .filter_map(|of| self.own(hash, of))
                .any(|count| count.load(Ordering::SeqCst) > 0)
        })
    }
}

/// The place of a hash.
fn place(hash: u64) -> usize {
    usize::try_from(hash % SLOTS as u64).unwrap_or(0)
}

fn short(principal: Principal) -> u64 {
    principal
        .0
        .iter()
        .take(8)
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::View;

    fn waiting(principal: u8, user: &str) -> Waiting {
        let (principal, view) = (Principal([principal; 16]), View([0; 16]));
        Waiting::of(
            &Owner {
                principal,
                realm: Realm(7),
                view,
                claimed: true,
            },
            &UserId::try_new(user).unwrap(),
        )
    }

    fn tags() -> [Tag; 1] {
        [Tag::new("progress:u")]
    }

    /// Which of these tags another one's event makes old.
    fn shared_places(table: &Tags) -> Vec<(usize, usize)> {
        let tags: Vec<_> = (0..2_000)
            .map(|number| Tag::new(&format!("t:{number}")))
            .collect();
        let places: Vec<_> = tags.iter().map(|tag| place(table.hash(tag))).collect();
        let pairs = |one: usize| (0..one).map(move |other| (other, one));
        (0..tags.len())
            .flat_map(pairs)
            .filter(|(one, other)| places[*one] == places[*other])
            .collect()
    }

    #[test]
    fn which_tags_share_a_place_is_another_matter_in_every_process() {
        let (here, there) = (Tags::new(), Tags::new());
        let found = shared_places(&here);
        assert!(
            !found.is_empty(),
            "of 2,000 tags some share one of 65,536 places"
        );
        assert_ne!(found, shared_places(&there));
        // Nor does it help to choose a user and a tag whose sum is another's.
        let (tag, of) = (Tag(3), 5);
        let places = |table: &Tags| {
            [(tag, of), (Tag(4), 2)].map(|(tag, of)| place(folded(table.hash(&tag), of)))
        };
        assert_ne!(
            [places(&here), places(&there)].map(|[one, other]| one == other),
            [true; 2]
        );
    }

    #[test]
    fn names_that_differ_in_case_are_one_tag() {
        for names in [
            ["progress:Ada", "PROGRESS:ada"],
            ["t:ΑΣ", "t:ας"],
            ["t:ΑΣx", "t:αςx"],
            ["t:İ", "t:i\u{307}"],
        ] {
            let [one, other] = names.map(Tag::new);
            assert_eq!(one, other, "{names:?}");
        }
        assert_ne!(Tag::new("t:a"), Tag::new("t:b"));
    }

    #[test]
    fn a_generation_moves_at_the_acknowledgement_and_at_settlement() {
        let (table, mine) = (Tags::new(), waiting(1, "u"));
        let before = table.snapshot(&tags());
        table.mark(&tags(), mine);
        let between = table.snapshot(&tags());
        assert_ne!(before, between);
        assert!(table.own_pending(&tags(), mine) && table.user_pending(&tags(), waiting(2, "u")));
        assert!(
            !table.own_pending(&tags(), waiting(2, "v"))
                && !table.user_pending(&tags(), waiting(1, "v"))
        );
        table.settle(&tags(), mine);
        assert_ne!(table.snapshot(&tags()), between);
        assert!(!table.own_pending(&tags(), mine) && !table.user_pending(&tags(), mine));
    }

    #[test]
    fn events_that_settle_together_move_a_generation_as_often_as_each_of_them_would() {
        let (together, one_by_one, mine) = (Tags::new(), Tags::new(), waiting(1, "u"));
        let generation = |table: &Tags| table.snapshot(&tags()).0[0].1;
        for table in [&together, &one_by_one] {
            (0..3).for_each(|_| table.mark(&tags(), mine));
        }
        together.settle_several(&tags(), mine, 2);
        assert!(
            together.own_pending(&tags(), mine) && together.user_pending(&tags(), mine),
            "one is left"
        );
        together.settle(&tags(), mine);
        (0..3).for_each(|_| one_by_one.settle(&tags(), mine));
        assert_eq!(generation(&together), generation(&one_by_one));
        assert!(!together.own_pending(&tags(), mine) && !together.user_pending(&tags(), mine));
    }

    #[test]
    fn only_the_callers_own_pending_events_count_as_such() {
        let (table, mine, other) = (Tags::new(), waiting(1, "u"), waiting(2, "v"));
        let by = |since: &Generations, of, meant: usize| {
            table.moved_by_pending(&tags(), since, (of, &vec![Tag::new("progress:u"); meant]))
        };
        let since = table.snapshot(&tags());
        assert!(by(&since, mine, 0));
        table.mark(&tags(), mine);
        table.mark(&tags(), mine);
        assert!(by(&since, mine, 2) && !by(&since, other, 2));
        assert!(
            !by(&since, mine, 1),
            "one of them isn't meant: it is shown to another view"
        );
        table.settle(&tags(), mine);
        assert!(!by(&since, mine, 1), "one was delivered since");
        let since = table.snapshot(&tags());
        assert!(!by(&since, mine, 1), "it was pending before");
        table.settle(&tags(), mine);
        let since = table.snapshot(&tags());
        table.mark(&tags(), mine);
        table.mark(&tags(), other);
        assert!(!by(&since, mine, 1), "somebody else's is pending too");
        table.settle(&tags(), other);
        assert!(!by(&since, mine, 1));
    }

    #[test]
    fn a_move_of_ones_own_is_told_from_anothers() {
        let (table, own, all) = (
            Tags::new(),
            tags(),
            [Tag::new("progress:u"), Tag::new("other")],
        );
        let since = table.snapshot(&all);
        assert_eq!(table.moved_by(&own, &all, &since), None, "not moved yet");
        table.invalidate(&own);
        assert_eq!(
            table.moved_by(&own, &all, &since),
            Some(table.snapshot(&all))
        );
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
        let mine = waiting(3, "u");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    table.mark(&tags(), mine);
                    table.settle(&tags(), mine);
                }
            });
            for _ in 0..20_000 {
                let generation = table.snapshot(&tags()).0[0].1;
                let pending = table.own_pending(&tags(), mine);
                let after = table.snapshot(&tags()).0[0].1;
                // Odd: marked and not settled. If it stayed odd while we looked, it must have been
                // pending.
                assert!(generation.is_multiple_of(2) || generation != after || pending);
            }
        });
        assert!(!table.own_pending(&tags(), mine));
    }
}
