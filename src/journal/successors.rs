//! Which successors of sessions the journal keeps, so that a start knows them (ruling 24).
//!
//! **Constraints.** The order of a session's events and its seen ids go by the first principal of
//! its family. A bearer of a renewed cookie that a start doesn't know is another principal: its
//! repetition of an acknowledged event would be new, and its next event could overtake. No value of
//! a cookie is kept: a principal is a keyed hash.
//!
//! **Operation.** A succession is kept where the journal may remember an event of the family: one
//! that is pending, dead, or settled with an id that is still known ([`ActiveFamilies`]). It is
//! written before the client has the cookie, and anew with an event of the bearer when a quarter of
//! its life has passed. It ends when no event from before it can matter.
//!
//! **Bounds.** [`MOST_OF_A_FAMILY`] of a family, and [`MOST`] of each of two kinds: successors of
//! principals that were good when they were succeeded, and all others. Of each the one that was
//! written first goes first; what is forgotten costs what it cost before: its bearer is a principal
//! of its own after the next start.

use crate::event::{Principal, Succession, first_eight};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Most successors of a kind: about 100 bytes each on disk, and 300 in memory.
pub const MOST: usize = 1 << 15;
/// Most successors of one family of a kind.
pub const MOST_OF_A_FAMILY: usize = 16;

/// A successor, and the Unix milliseconds at which it may be forgotten.
type Expiry = (u64, Principal);

/// Successors of one kind.
#[derive(Debug, Default)]
struct Pool {
    known: HashMap<Principal, (Succession, u64)>,
    oldest: BTreeSet<Expiry>,
    families: HashMap<Principal, BTreeSet<Expiry>>,
}

impl Pool {
    fn remove(&mut self, bearer: Principal) -> bool {
        let Some((succession, until)) = self.known.remove(&bearer) else {
            return false;
        };
        self.oldest.remove(&(until, bearer));
        if let Some(family) = self.families.get_mut(&succession.first) {
            family.remove(&(until, bearer));
            if family.is_empty() {
                self.families.remove(&succession.first);
            }
        }
        true
    }

    /// One more; and the one that goes for it, if it is one too many.
    fn insert(&mut self, succession: Succession, until: u64) -> Option<Principal> {
        let Succession { bearer, first, .. } = succession;
        self.remove(bearer);
        self.known.insert(bearer, (succession, until));
        self.oldest.insert((until, bearer));
        let family = self.families.entry(first).or_default();
        family.insert((until, bearer));
        let of_family = family.first().filter(|_| family.len() > MOST_OF_A_FAMILY);
        let of_all = self.oldest.first().filter(|_| self.known.len() > MOST);
        let (_, gone) = *of_family.or(of_all)?;
        self.remove(gone);
        Some(gone)
    }

    fn take_expired(&mut self, now: u64) -> Option<Principal> {
        let (_, bearer) = *self.oldest.first().filter(|(until, _)| *until <= now)?;
        self.remove(bearer);
        Some(bearer)
    }
}

/// What is kept.
#[derive(Debug, Default)]
pub struct Successors {
    proven: Pool,
    supposed: Pool,
}

/// What keeping one has changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// Unix milliseconds at which it may be forgotten.
    pub until: u64,
    /// Another one went for it.
    pub gone: Option<Principal>,
}

impl Successors {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.proven.known.len() + self.supposed.known.len()
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Succession> {
        self.proven
            .known
            .values()
            .chain(self.supposed.known.values())
            .map(|(succession, _)| succession)
    }

    fn pools(&mut self, succession: &Succession) -> (&mut Pool, &mut Pool) {
        let is_proven = succession.first == succession.known;
        if is_proven {
            (&mut self.proven, &mut self.supposed)
        } else {
            (&mut self.supposed, &mut self.proven)
        }
    }

    /// Keeps one from `now` (Unix milliseconds) on for its `life`; `None`: it is kept already, for
    /// most of that time.
    pub fn keep(&mut self, succession: Succession, now: u64, life: Duration) -> Option<Kept> {
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        let until = now.saturating_add(life);
        let (own, _) = self.pools(&succession);
        let is_fresh =
            |(known, end): &(Succession, u64)| *known == succession && *end >= until - life / 4;
        if own.known.get(&succession.bearer).is_some_and(is_fresh) {
            return None;
        }
        Some(Kept {
            until,
            gone: self.insert(succession, until),
        })
    }

    /// One that was kept before, until then; and the one that goes for it.
    pub fn insert(&mut self, succession: Succession, until: u64) -> Option<Principal> {
        let (own, other) = self.pools(&succession);
        other.remove(succession.bearer);
        own.insert(succession, until)
    }

    /// One whose time is over.
    pub fn take_expired(&mut self, now: u64) -> Option<Principal> {
        self.proven
            .take_expired(now)
            .or_else(|| self.supposed.take_expired(now))
    }
}

const SLOTS: usize = 1 << 16;

/// Which families had an event kept within the life of a succession, estimated from above: a fixed
/// table of times, by a hash. Two families that share a place keep more than is needed.
#[derive(Debug)]
pub struct ActiveFamilies {
    began: Instant,
    life: Duration,
    /// Minutes after the beginning, and one; 0: never.
    last: Box<[AtomicU32]>,
}

impl ActiveFamilies {
    /// `life`: how long an event may be remembered. `any`: events of an earlier process may be, of
    /// any family.
    #[must_use]
    pub fn new(now: Instant, life: Duration, any: bool) -> Self {
        let last = (0..SLOTS).map(|_| AtomicU32::new(u32::from(any))).collect();
        Self {
            began: now,
            life,
            last,
        }
    }

    fn slot(&self, family: Principal) -> Option<&AtomicU32> {
        self.last
            .get(usize::try_from(first_eight(&family.0) % SLOTS as u64).unwrap_or(0))
    }

    fn minutes(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.began).as_secs() / 60).unwrap_or(u32::MAX)
    }

    /// An event of this family is about to be kept.
    pub fn mark(&self, family: Principal, now: Instant) {
        if let Some(slot) = self.slot(family) {
            slot.store(self.minutes(now).saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Whether an event of this family may be remembered.
    #[must_use]
    pub fn has_events(&self, family: Principal, now: Instant) -> bool {
        let last = self
            .slot(family)
            .map_or(0, |slot| slot.load(Ordering::Relaxed));
        // A minute has begun when it is written.
        let since = u64::from(
            self.minutes(now)
                .saturating_sub(last.saturating_sub(1))
                .saturating_sub(1),
        );
        last > 0 && Duration::from_secs(since * 60) <= self.life
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn name(number: u64) -> Principal {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Principal(bytes)
    }

    fn succession(bearer: u64, known: u64, first: u64) -> Succession {
        Succession {
            bearer: name(bearer),
            known: name(known),
            first: name(first),
        }
    }

    #[test]
    fn one_that_is_used_is_written_anew_and_one_that_is_not_ends() {
        let mut kept = Successors::default();
        let [one, two] = [succession(2, 1, 1), succession(4, 3, 3)];
        let day = u64::try_from(DAY.as_millis()).unwrap();
        assert_eq!(
            kept.keep(one, 0, DAY),
            Some(Kept {
                until: day,
                gone: None
            })
        );
        assert!(kept.keep(two, 0, DAY).is_some());
        assert_eq!(kept.keep(one, day / 4, DAY), None, "it is fresh");
        assert!(kept.keep(one, day / 4 + 1, DAY).is_some(), "it is used");
        assert_eq!(
            (
                kept.take_expired(day - 1),
                kept.take_expired(day),
                kept.take_expired(day)
            ),
            (None, Some(name(4)), None)
        );
        assert_eq!(kept.all().collect::<Vec<_>>(), [&one]);
        assert!(kept.families_are_as_many_as_needed());
    }

    #[test]
    fn a_family_crowds_out_none_but_its_own_and_what_is_supposed_nothing_that_was_proven() {
        let mut kept = Successors::default();
        let other = succession(u64::MAX, 1, 1);
        kept.keep(other, 0, DAY).unwrap();
        for number in 0..100 {
            let gone = kept
                .keep(succession(10 + number, 2, 2), number, DAY)
                .unwrap()
                .gone;
            assert_eq!(
                gone,
                number
                    .checked_sub(MOST_OF_A_FAMILY as u64)
                    .map(|oldest| name(10 + oldest))
            );
        }
        assert_eq!(kept.len(), 1 + MOST_OF_A_FAMILY);
        for number in 0..2 * MOST as u64 {
            let stranger = 1_000_000 + number;
            kept.keep(
                succession(stranger << 24, stranger << 24, stranger),
                1_000 + number,
                DAY,
            );
        }
        assert_eq!(kept.len(), 1 + MOST_OF_A_FAMILY + MOST);
        assert!(kept.all().any(|one| *one == other));
        assert!(kept.families_are_as_many_as_needed());
    }

    #[test]
    fn a_bearer_that_is_proven_later_is_kept_once() {
        let mut kept = Successors::default();
        kept.keep(succession(2, 2, 1), 0, DAY).unwrap();
        kept.keep(succession(2, 1, 1), 0, DAY).unwrap();
        assert_eq!(kept.all().collect::<Vec<_>>(), [&succession(2, 1, 1)]);
    }

    impl Successors {
        fn families_are_as_many_as_needed(&self) -> bool {
            [&self.proven, &self.supposed].into_iter().all(|pool| {
                let of_families: usize = pool.families.values().map(BTreeSet::len).sum();
                of_families == pool.known.len() && pool.oldest.len() == pool.known.len()
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_family_is_active_from_its_event_on_as_long_as_the_event_may_be_remembered() {
        let families = ActiveFamilies::new(Instant::now(), DAY, false);
        assert!(!families.has_events(name(1), Instant::now()));
        families.mark(name(1), Instant::now());
        tokio::time::advance(DAY).await;
        assert!(
            families.has_events(name(1), Instant::now())
                && !families.has_events(name(2), Instant::now())
        );
        tokio::time::advance(2 * Duration::from_mins(1)).await;
        assert!(!families.has_events(name(1), Instant::now()));
        assert!(
            ActiveFamilies::new(Instant::now(), DAY, true).has_events(name(3), Instant::now()),
            "of an earlier process"
        );
    }
}
