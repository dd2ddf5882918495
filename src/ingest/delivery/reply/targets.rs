//! The lists that a reply may hold, as sets of bits.

use crate::ingest::settings::Places;

/// Lists of one place, in the order in which the later one wins: an id that stands in two was taken
/// by one of them.
pub(super) const LISTS: [List; 3] = [List::Failed, List::Duplicates, List::Accepted];
/// Places that are looked for; a group has two at most.
const MOST_PLACES: usize = u64::BITS as usize / LISTS.len();

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Failed,
    Duplicates,
    Accepted,
}

/// A list to look for, by its place and kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target(pub(super) usize);

impl Target {
    pub(super) fn all(places: &[Places]) -> impl Iterator<Item = Self> {
        (0..places.len().min(MOST_PLACES) * LISTS.len()).map(Self)
    }

    pub(super) fn list(self) -> List {
        LISTS
            .get(self.0 % LISTS.len())
            .copied()
            .unwrap_or(List::Accepted)
    }

    pub(super) fn path(self, places: &[Places]) -> Option<&[Box<str>]> {
        let place = places.get(self.0 / LISTS.len())?;
        let path = match self.list() {
            List::Failed => &place.failed,
            List::Duplicates => &place.duplicates,
            List::Accepted => &place.accepted,
        };
        path.as_ref().map(|path| &*path.0)
    }
}

/// Targets, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Targets(u64);

impl Targets {
    pub(super) fn of(targets: impl Iterator<Item = Target>) -> Self {
        let mut all = Self(0);
        targets.for_each(|target| all.add(target));
        all
    }

    pub(super) const fn add(&mut self, target: Target) {
        self.0 |= 1 << target.0;
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Target> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            let next = (bits != 0).then(|| Target(bits.trailing_zeros() as usize))?;
            bits &= bits - 1;
            Some(next)
        })
    }
}
