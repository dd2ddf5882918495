//! The newest values of a kind: at the bound the oldest goes.

use std::collections::VecDeque;

/// At most so many values, each with its number from 0 on. Room for all is taken at the first one.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    values: VecDeque<T>,
    most: usize,
    pushed: u64,
}

impl<T> Ring<T> {
    /// Empty; it takes no memory yet.
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            values: VecDeque::new(),
            most,
            pushed: 0,
        }
    }

    /// One more, the newest; its number.
    pub(crate) fn push(&mut self, value: T) -> u64 {
        if self.values.capacity() == 0 {
            self.values.reserve_exact(self.most);
        }
        if self.values.len() >= self.most {
            self.values.pop_front();
        }
        self.values.push_back(value);
        self.pushed += 1;
        self.pushed - 1
    }

    /// The number of the next one.
    pub(crate) const fn next(&self) -> u64 {
        self.pushed
    }

    /// Those that are there, oldest first, each with its number.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &T)> {
        let first = self.pushed - self.values.len() as u64;
        self.values
            .iter()
            .enumerate()
            .map(move |(place, value)| (first + place as u64, value))
    }

    /// Those that are there, oldest first, to be changed.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_there_under_their_numbers() {
        let mut ring = Ring::new(3);
        assert_eq!(ring.iter().count(), 0);
        for value in 'a'..='e' {
            ring.push(value);
        }
        let all: Vec<_> = ring
            .iter()
            .map(|(number, value)| (number, *value))
            .collect();
        assert_eq!(all, [(2, 'c'), (3, 'd'), (4, 'e')]);
        assert_eq!(ring.next(), 5);
    }
}
