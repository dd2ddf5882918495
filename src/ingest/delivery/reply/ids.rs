//! A batch's ids, looked up one after the other.

/// The events' ids, which are distinct.
#[derive(Debug)]
pub(super) struct Ids<'i> {
    ids: &'i [&'i str],
    /// The one after the last one that was found.
    next: usize,
    /// Their places by their texts; made when one is not the next one.
    sorted: Vec<usize>,
}

impl<'i> Ids<'i> {
    /// Of a batch, in its order.
    pub(super) const fn of(ids: &'i [&'i str]) -> Self {
        Self {
            ids,
            next: 0,
            sorted: Vec::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.ids.len()
    }

    /// Its place in the batch.
    pub(super) fn find(&mut self, id: &str) -> Option<usize> {
        let found = match self.ids.get(self.next) {
            Some(next) if *next == id => self.next,
            _ => self.search(id)?,
        };
        self.next = found + 1;
        Some(found)
    }

    fn search(&mut self, id: &str) -> Option<usize> {
        let ids = self.ids;
        let text = |place: &usize| ids.get(*place).copied().unwrap_or_default();
        if self.sorted.is_empty() {
            self.sorted.extend(0..ids.len());
            self.sorted.sort_unstable_by_key(text);
        }
        let place = self
            .sorted
            .binary_search_by(|place| text(place).cmp(id))
            .ok()?;
        self.sorted.get(place).copied()
    }
}
