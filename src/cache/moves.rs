//! When each tag moved last (design §7).
//!
//! A table of fixed size: a tag that moves gets a place in the bucket that its hash says. Where all
//! places of a bucket are taken, the tag whose last move is the oldest leaves, and the bucket keeps
//! the time of that move. So of a tag with a place it is known exactly whether it has moved since
//! some moment; of one without, that it hasn't since the newest move that the bucket forgot. What
//! was looked at before that counts as moved: never less has moved than is said.
//!
//! Time is a number that each move makes larger.

use crate::event::Tag;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const BUCKETS: usize = 1 << 14;
/// In each bucket.
const PLACES: usize = 8;

/// How often a tag has moved since a moment, as far as that is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Not at all.
    Not,
    /// Once.
    Once,
    /// More than once, or it isn't known.
    Often,
}

/// A tag at some moment.
#[derive(Debug, Clone, Copy)]
pub struct Generation {
    pub tag: Tag,
    /// The time.
    pub at: u64,
    /// When the tag moved last, or a later time: at two moments of a tag the same only if it hasn't
    /// moved between them.
    last: u64,
}

impl Generation {
    /// Whether this is the same tag, which hasn't moved from one to the other.
    pub const fn is_unmoved_from(&self, other: &Self) -> bool {
        self.tag.0 == other.tag.0 && self.last == other.last
    }
}

/// Every tag's last moves.
#[derive(Debug)]
pub struct Moves {
    /// Plain locks, held for a look at one bucket.
    buckets: Box<[Mutex<Bucket>]>,
    /// The time of the newest move.
    now: AtomicU64,
}

#[derive(Debug, Default)]
struct Bucket {
    places: [Place; PLACES],
    /// The newest move that was forgotten.
    forgotten: u64,
}

/// A tag's; free while its last move is none.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    tag: u64,
    last: u64,
    /// The move before it, or a later time.
    before: u64,
}

impl Moves {
    /// Nothing has moved.
    pub fn new() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| Mutex::default()).collect(),
            now: AtomicU64::new(0),
        }
    }

    /// All tags move.
    pub fn advance_all(&self) {
        for bucket in &self.buckets {
            let mut bucket = bucket.lock();
            // ORDER: as in `advance`.
            let forgotten = self.draw(1);
            *bucket = Bucket {
                forgotten,
                ..Bucket::default()
            };
        }
    }

    /// A tag moves so many times. `hash`: its keyed hash.
    pub fn advance(&self, tag: Tag, hash: u64, times: u32) {
        let Some(bucket) = self.bucket(hash) else {
            return;
        };
        if times == 0 {
            return;
        }
        let mut bucket = bucket.lock();
        // ORDER: under the lock, so that who looks afterwards finds no earlier time than this.
        let last = self.draw(times.into());
        if let Some(place) = bucket.take_place(tag) {
            place.before = if times == 1 { place.last } else { last - 1 };
            place.last = last;
        }
    }

    /// A tag at this moment, and how often it has moved since another one.
    pub fn look(&self, tag: Tag, hash: u64, since: u64) -> (Generation, Moved) {
        let Some(bucket) = self.bucket(hash) else {
            let (at, last) = (0, 0);
            return (Generation { tag, at, last }, Moved::Often);
        };
        let bucket = bucket.lock();
        let at = self.now.load(Ordering::SeqCst);
        let (last, before) = match bucket.find(tag) {
            Some(place) => (place.last, place.before),
            None => (bucket.forgotten, bucket.forgotten),
        };
        let moved = if before > since {
            Moved::Often
        } else if last > since {
            Moved::Once
        } else {
            Moved::Not
        };
        (Generation { tag, at, last }, moved)
    }

    /// Moves so far.
    pub fn count(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn draw(&self, times: u64) -> u64 {
        self.now.fetch_add(times, Ordering::SeqCst) + times
    }

    fn bucket(&self, hash: u64) -> Option<&Mutex<Bucket>> {
        let number = usize::try_from(hash % BUCKETS as u64).unwrap_or(0);
        self.buckets.get(number)
    }
}

impl Bucket {
    fn find(&self, tag: Tag) -> Option<&Place> {
        self.places.iter().find(|place| place.is_of(tag))
    }

    /// A tag's place, which it is given if it has none. It may have had one before: its last move
    /// is no newer than the newest that was forgotten, which is what a new place says.
    fn take_place(&mut self, tag: Tag) -> Option<&mut Place> {
        let known = self.places.iter().position(|place| place.is_of(tag));
        if let Some(known) = known {
            return self.places.get_mut(known);
        }
        let oldest = self.places.iter_mut().min_by_key(|place| place.last)?;
        self.forgotten = self.forgotten.max(oldest.last);
        *oldest = Place {
            tag: tag.0,
            last: self.forgotten,
            before: self.forgotten,
        };
        Some(oldest)
    }
}

impl Place {
    const fn is_of(&self, tag: Tag) -> bool {
        self.tag == tag.0 && self.last > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    /// Of one bucket, so that places are short.
    const HASH: u64 = 5;

    #[test]
    fn a_tag_has_moved_as_often_as_it_did_since_each_moment() {
        let (moves, [one, other]) = (Moves::new(), [Tag(1), Tag(2)]);
        let at = |tag| moves.look(tag, HASH, 0).0.at;
        let start = at(one);
        let since = |tag, since| moves.look(tag, HASH, since).1;
        assert_eq!(since(one, start), Moved::Not);
        moves.advance(one, HASH, 1);
        let first = at(one);
        assert_eq!(
            [since(one, start), since(one, first), since(other, start)],
            [Moved::Once, Moved::Not, Moved::Not]
        );
        moves.advance(one, HASH, 1);
        assert_eq!(
            [since(one, start), since(one, first)],
            [Moved::Often, Moved::Once]
        );
        moves.advance(other, HASH, 3);
        assert_eq!(since(other, first), Moved::Often, "three times together");
        let late = at(one);
        moves.advance_all();
        assert_eq!(
            [since(one, late), since(Tag(3), late)],
            [Moved::Often, Moved::Often]
        );
        let last = at(one);
        assert_eq!(
            [since(one, last), since(Tag(3), last)],
            [Moved::Not, Moved::Not]
        );
        assert_eq!(moves.count(), 5 + BUCKETS as u64);
    }

    #[test]
    fn what_has_no_place_counts_as_moved_since_the_newest_move_that_was_forgotten_only() {
        let moves = Moves::new();
        for tag in 0..PLACES as u64 {
            moves.advance(Tag(tag), HASH, 1);
        }
        let quiet = Tag(1_000);
        let (full, moved) = moves.look(quiet, HASH, 0);
        let full = full.at;
        assert_eq!(moved, Moved::Not, "nothing is forgotten yet");
        moves.advance(Tag(100), HASH, 1);
        assert_eq!(moves.look(quiet, HASH, 0).1, Moved::Often);
        assert_eq!(
            moves.look(quiet, HASH, full).1,
            Moved::Not,
            "the move that was forgotten is older than that"
        );
        assert_eq!(moves.look(Tag(0), HASH, full).1, Moved::Not, "whose it was");
        moves.advance(Tag(0), HASH, 1);
        assert_eq!(moves.look(Tag(0), HASH, full).1, Moved::Once);
        assert_eq!(
            moves.look(quiet, HASH + 1, 0).1,
            Moved::Not,
            "another bucket"
        );
    }

    /// P7, beside another thread: a generation that was taken before a move is older than the move,
    /// and one that was taken after it is that of the moved tag.
    #[test]
    fn a_look_beside_a_move_sees_it_or_is_older() {
        let moves = Moves::new();
        for tag in (0..3_000).map(Tag) {
            let seen = std::thread::scope(|scope| {
                let looking = scope.spawn(|| {
                    let looks = (0..20).map(|_| moves.look(tag, HASH, 0).0);
                    looks.collect::<Vec<_>>()
                });
                moves.advance(tag, HASH, 1);
                looking.join().unwrap()
            });
            let (end, _) = moves.look(tag, HASH, 0);
            for generation in seen {
                let moved = moves.look(tag, HASH, generation.at).1;
                let is_same = end.is_unmoved_from(&generation);
                assert_eq!(moved == Moved::Not, is_same, "{generation:?} {end:?}");
            }
        }
    }

    proptest! {
        /// Beside a list of all moves. P7: never less often than it did.
        #[test]
        fn no_tag_seems_to_have_moved_less_often_than_it_did(
            steps in proptest::collection::vec((0_u64..31, 0_u32..4, any::<bool>()), 1..200),
        ) {
            let moves = Moves::new();
            let mut count: HashMap<u64, u64> = HashMap::new();
            let mut looked: Vec<(Generation, u64)> = Vec::new();
            for (tag, times, looks) in steps {
                if tag == 30 {
                    moves.advance_all();
                    (0..30).for_each(|tag| *count.entry(tag).or_default() += 1);
                } else {
                    moves.advance(Tag(tag), HASH, times);
                    *count.entry(tag).or_default() += u64::from(times);
                }
                if looks {
                    let other = (tag * 7) % 30;
                    let (generation, _) = moves.look(Tag(other), HASH, 0);
                    looked.push((generation, count.get(&other).copied().unwrap_or(0)));
                }
                for (generation, then) in &looked {
                    let truly = count.get(&generation.tag.0).copied().unwrap_or(0) - then;
                    let (now, moved) = moves.look(generation.tag, HASH, generation.at);
                    prop_assert!(truly == 0 || !now.is_unmoved_from(generation));
                    match moved {
                        Moved::Not => prop_assert_eq!(truly, 0),
                        Moved::Once => prop_assert_eq!(truly, 1),
                        Moved::Often => {}
                    }
                }
            }
        }
    }
}
