//! Files that are made ahead of their use: a segment begins without waiting for one, and a full disk
//! has room for what makes room.

use super::files::Files;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// Files that are kept ready: one for the next group of events, one for what makes room.
pub(super) const SPARES: usize = 2;

/// A file that was made ahead of its use.
#[derive(Debug)]
pub(super) struct Spare<File> {
    pub(super) segment: u64,
    /// Bytes that it has room for.
    pub(super) size: u64,
    pub(super) file: File,
}

/// The files that are ready, and the numbers of those to come.
#[derive(Debug)]
pub(super) struct Spares<F: Files> {
    files: Arc<F>,
    segment_size: u64,
    /// In the order of their numbers.
    ready: VecDeque<Spare<F::File>>,
    /// The number of the next one that is made.
    next_segment: u64,
    /// The newest that was written.
    last_used: Option<u64>,
}

impl<F: Files> Spares<F> {
    /// None is ready.
    pub(super) const fn new(files: Arc<F>, segment_size: u64, next_segment: u64) -> Self {
        Self {
            files,
            segment_size,
            ready: VecDeque::new(),
            next_segment,
            last_used: None,
        }
    }

    /// The first one, to be written now.
    pub(super) fn take(&mut self) -> Option<Spare<F::File>> {
        let spare = self.ready.pop_front()?;
        self.last_used = Some(spare.segment);
        Some(spare)
    }

    /// The number and the size of a file that should be made ahead, if one should: the number is
    /// given away with it.
    pub(super) fn want(&mut self) -> Option<(u64, u64)> {
        let wants = self.ready.len() < SPARES;
        wants.then(|| (self.take_number(), self.segment_size))
    }

    const fn take_number(&mut self) -> u64 {
        self.next_segment += 1;
        self.next_segment - 1
    }

    /// A file that was made for [`want`](Self::want); whether it can be used: a newer one may be in
    /// use already.
    pub(super) fn offer(&mut self, segment: u64, size: u64, file: F::File) -> bool {
        let is_late = self.is_late(segment);
        if !is_late {
            let place = self.ready.partition_point(|spare| spare.segment < segment);
            self.ready.insert(
                place,
                Spare {
                    segment,
                    size,
                    file,
                },
            );
        }
        !is_late
    }

    /// Whether a newer file than this one is in use already.
    pub(super) fn is_late(&self, segment: u64) -> bool {
        self.last_used.is_some_and(|used| used > segment)
    }

    fn make(&mut self, size: u64) -> io::Result<()> {
        let segment = self.take_number();
        let file = self.files.create(segment, size)?;
        self.ready.push_back(Spare {
            segment,
            size,
            file,
        });
        Ok(())
    }

    /// So many files are ready, the first of them large enough. After an error none is ready that
    /// was made here: a file whose name is not on the disk must not be written.
    pub(super) fn make_ready(&mut self, wanted: usize, fits: u64) -> io::Result<()> {
        let is_small = self.ready.front().is_some_and(|spare| spare.size < fits);
        if !is_small && self.ready.len() >= wanted {
            return Ok(());
        }
        if is_small {
            return self.make_large(wanted, fits);
        }
        let before = self.ready.len();
        let made = (|| {
            while self.ready.len() < wanted {
                let size = if self.ready.is_empty() {
                    fits.max(self.segment_size)
                } else {
                    self.segment_size
                };
                self.make(size)?;
            }
            self.files.sync_directory()
        })();
        made.inspect_err(|_| self.drop_from(before))
    }

    /// So many, the first of which fits, in the place of all that are ready. ORDER: these go when the
    /// new ones are there: on a disk that is nearly full they are the room in which the log can shrink.
    fn make_large(&mut self, wanted: usize, fits: u64) -> io::Result<()> {
        let before = self.ready.len();
        let made = (|| {
            self.make(fits.max(self.segment_size))?;
            for _ in 1..wanted {
                self.make(self.segment_size)?;
            }
            self.files.sync_directory()
        })();
        made.inspect_err(|_| self.drop_from(before))?;
        let large = self.ready.split_off(before);
        self.drop_from(0);
        self.ready = large;
        Ok(())
    }

    /// Files that were never written go, but for so many; a start deletes what can't be deleted now.
    fn drop_from(&mut self, kept: usize) {
        for spare in self.ready.split_off(kept) {
            drop(spare.file);
            if let Err(error) = self.files.delete(spare.segment) {
                tracing::debug!(%error, "a file that was made ahead can't be deleted");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulated_disk::SimulatedDisk;
    use super::*;

    #[test]
    fn on_a_full_disk_small_files_stay_where_no_larger_one_can_be_made() {
        let disk = SimulatedDisk::default();
        let mut spares = Spares::new(Arc::new(disk.clone()), 100, 1);
        spares.make_ready(SPARES, 50).unwrap();
        disk.0.lock().full = true;
        spares.make_ready(SPARES, 500).unwrap_err();
        assert_eq!(spares.ready.len(), SPARES, "what makes room can be written");
        disk.0.lock().full = false;
        spares.make_ready(SPARES, 500).unwrap();
        let large = spares.take().unwrap();
        assert!(large.size >= 500, "{}", large.size);
        let reserve = spares.take().unwrap();
        let numbers = [large.segment, reserve.segment];
        assert_eq!(disk.list().unwrap(), numbers, "the small ones are gone");
    }

    #[test]
    fn on_a_full_disk_the_file_stays_that_is_ready() {
        let disk = SimulatedDisk::default();
        let mut spares = Spares::new(Arc::new(disk.clone()), 100, 1);
        spares.make_ready(1, 50).unwrap();
        disk.0.lock().full = true;
        spares.make_ready(SPARES, 50).unwrap_err();
        spares.make_ready(1, 50).unwrap();
        assert_eq!(spares.take().unwrap().segment, 1);
        disk.0.lock().clear_faults();
        disk.0.lock().full = false;
        disk.0.lock().names_fail = true;
        spares.make_ready(1, 50).unwrap_err();
        assert!(spares.take().is_none(), "its name isn't on the disk");
    }
}
