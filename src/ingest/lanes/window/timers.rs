//! When each lane is to be looked at, in buckets of a millisecond: what a timer costs goes by how
//! many milliseconds lie ahead that have one, not by how many lanes there are.

use super::LaneId;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Lanes that are due in the same millisecond.
#[derive(Debug)]
struct Bucket {
    /// None of them is due before.
    earliest: Instant,
    lanes: Vec<LaneId>,
}

/// Where a timer is, for its removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timer {
    /// When it is due.
    pub(super) at: Instant,
    /// Its place in its bucket.
    pub(super) place: u32,
}

/// The timers of all lanes, at most one each.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// What milliseconds are counted from, and those before it.
    origin: Option<(Instant, u64)>,
    buckets: BTreeMap<u64, Bucket>,
}

/// Milliseconds before the first timer that are told apart: a lane of an older start may have been
/// due long before.
const BEFORE: u64 = 1 << 40;

impl Timers {
    /// The millisecond that an instant lies in.
    fn tick(&mut self, at: Instant) -> u64 {
        let (origin, before) = *self.origin.get_or_insert((at, BEFORE));
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        match at.checked_duration_since(origin) {
            Some(after) => before.saturating_add(millis(after)),
            // Rounded so that what is earlier is in no later bucket.
            None => before
                .saturating_sub(millis(origin.saturating_duration_since(at)).saturating_add(1)),
        }
    }

    /// Files a timer.
    pub(super) fn insert(&mut self, at: Instant, lane: LaneId) -> Timer {
        let tick = self.tick(at);
        let bucket = self.buckets.entry(tick).or_insert_with(|| Bucket {
            earliest: at,
            lanes: Vec::new(),
        });
        bucket.earliest = bucket.earliest.min(at);
        bucket.lanes.push(lane);
        Timer {
            at,
            place: u32::try_from(bucket.lanes.len() - 1).unwrap_or(u32::MAX),
        }
    }

    /// Takes a timer out. The lane whose timer has its place now, if there is one.
    pub(super) fn remove(&mut self, timer: Timer) -> Option<LaneId> {
        let tick = self.tick(timer.at);
        let bucket = self.buckets.get_mut(&tick)?;
        let place = timer.place as usize;
        if place >= bucket.lanes.len() {
            return None;
        }
        bucket.lanes.swap_remove(place);
        let moved = bucket.lanes.get(place).copied();
        if bucket.lanes.is_empty() {
            self.buckets.remove(&tick);
        }
        moved
    }

    /// When the first one is due, to the millisecond if others of the same one were taken out.
    pub(super) fn first(&self) -> Option<Instant> {
        self.buckets
            .first_key_value()
            .map(|(_, bucket)| bucket.earliest)
    }

    /// The lanes whose timers are in the first millisecond in which one is due; they have none any
    /// more.
    pub(super) fn take(&mut self, now: Instant) -> Option<Vec<LaneId>> {
        let first = self.buckets.first_entry()?;
        if first.get().earliest > now {
            return None;
        }
        Some(first.remove().lanes)
    }

    /// Lanes with timers, by the millisecond of theirs.
    pub(super) fn lanes(&self) -> impl Iterator<Item = LaneId> {
        self.buckets
            .values()
            .flat_map(|bucket| bucket.lanes.iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::super::slab::Slab;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn timers_are_due_in_their_order_whatever_is_taken_out(
            steps in proptest::collection::vec((0u64..400, any::<Option<u8>>()), 1..200),
        ) {
            let (start, mut slab, mut timers) = (Instant::now() + Duration::from_secs(10), Slab::new(), Timers::default());
            let mut filed: BTreeMap<LaneId, Timer> = BTreeMap::new();
            for (tenths, gone) in steps {
                let lane = LaneId(slab.insert(()));
                // Around the first one, before and after it, several in one millisecond.
                let at = start + Duration::from_micros(tenths * 100) - Duration::from_millis(20);
                filed.insert(lane, timers.insert(at, lane));
                let gone = gone.and_then(|gone| filed.keys().nth(usize::from(gone) % filed.len()).copied());
                if let Some(gone) = gone {
                    let timer = filed.remove(&gone).unwrap();
                    if let Some(moved) = timers.remove(timer) {
                        filed.get_mut(&moved).unwrap().place = timer.place;
                    }
                }
                let first = filed.values().map(|timer| timer.at).min();
                let told = timers.first();
                prop_assert!(told.is_some() == first.is_some());
                let is_near = |(told, first): (Instant, Instant)| {
                    told <= first && first - told <= Duration::from_millis(1)
                };
                prop_assert!(told.zip(first).is_none_or(is_near));
            }
            let mut last = start - Duration::from_hours(1);
            while let Some(now) = timers.first() {
                for lane in timers.take(now).unwrap() {
                    let Timer { at, .. } = filed.remove(&lane).unwrap();
                    prop_assert!(at + Duration::from_millis(1) > last, "a bucket came too late");
                    last = last.max(at);
                }
            }
            prop_assert!(filed.is_empty());
        }
    }
}
