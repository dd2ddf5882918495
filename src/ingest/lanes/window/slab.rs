//! A table of values under numbers that it gives, each used once.

use std::num::NonZeroU64;
use std::ops::Range;

/// The number of a value: its slot, and how many values the slot had before it. Never used twice (a
/// slot that has been used four billion times starts anew).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(NonZeroU64);

impl Key {
    fn new(slot: u32, turn: u32) -> Self {
        Self(NonZeroU64::MIN.saturating_add(u64::from(turn) << 32 | u64::from(slot)))
    }

    const fn parts(self) -> (u32, u32) {
        let number = self.0.get() - 1;
        (number as u32, (number >> 32) as u32)
    }
}

#[derive(Debug)]
struct Slot<T> {
    turn: u32,
    value: Option<Box<T>>,
}

/// Values, each in a box of its own, so that what is gone gives its memory back.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    /// Empty.
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Values that are there.
    pub const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Keeps a value.
    pub fn insert(&mut self, value: T) -> Key {
        let value = Some(Box::new(value));
        if let Some(place) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(place as usize)
        {
            slot.value = value;
            return Key::new(place, slot.turn);
        }
        let place = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { turn: 0, value });
        Key::new(place, 0)
    }

    /// The value.
    pub fn get(&self, key: Key) -> Option<&T> {
        let (place, turn) = key.parts();
        let slot = self
            .slots
            .get(place as usize)
            .filter(|slot| slot.turn == turn)?;
        slot.value.as_deref()
    }

    /// The value.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (place, turn) = key.parts();
        let slot = self
            .slots
            .get_mut(place as usize)
            .filter(|slot| slot.turn == turn)?;
        slot.value.as_deref_mut()
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: Key) -> Option<Box<T>> {
        let (place, turn) = key.parts();
        let slot = self
            .slots
            .get_mut(place as usize)
            .filter(|slot| slot.turn == turn)?;
        let value = slot.value.take()?;
        slot.turn = slot.turn.wrapping_add(1);
        self.free.push(place);
        Some(value)
    }

    /// Places of values, with and without one.
    pub const fn slots(&self) -> usize {
        self.slots.len()
    }

    /// All values.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.iter_in(0..self.slots())
    }

    /// The values in some of the places.
    pub fn iter_in(&self, places: Range<usize>) -> impl Iterator<Item = (Key, &T)> {
        self.slots
            .iter()
            .enumerate()
            .take(places.end)
            .skip(places.start)
            .filter_map(|(place, slot)| {
                let value = slot.value.as_deref()?;
                Some((
                    Key::new(u32::try_from(place).unwrap_or(u32::MAX), slot.turn),
                    value,
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_never_names_a_later_value_of_its_slot() {
        let mut slab = Slab::new();
        let (first, second) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(first).as_deref(), Some(&'a'));
        let third = slab.insert('c');
        assert!(
            slab.get(first).is_none()
                && slab.get_mut(first).is_none()
                && slab.remove(first).is_none()
        );
        assert_eq!(
            (slab.get(second), slab.get(third), slab.len()),
            (Some(&'b'), Some(&'c'), 2)
        );
        assert_eq!(slab.slots.len(), 2, "the slot is used again");
        assert_eq!(
            slab.iter()
                .map(|(key, value)| (key, *value))
                .collect::<Vec<_>>(),
            [(third, 'c'), (second, 'b')]
        );
    }
}
