//! A file that is made ahead of its use is filled with zeros where groups are synced one by one.
//!
//! Room that was only reserved costs every sync twice: the file system notes for each group that
//! what was reserved is written now, and waits for the note as well as for the data. PostgreSQL
//! fills its log's files for this reason (`wal_init_zero`). It goes in steps, each of which is
//! short: the thread that fills writes groups between them, for which callers wait.

use super::log::files::SegmentFile;
use std::io;

/// Bytes that are filled in a step.
const FILLED_AT_ONCE: usize = 256 << 10;
static ZEROS: [u8; FILLED_AT_ONCE] = [0; FILLED_AT_ONCE];

/// A file that is being filled; nothing else writes to it yet.
#[derive(Debug)]
pub struct Fill<File> {
    /// Its number among the segments.
    pub segment: u64,
    /// Bytes that it has room for.
    pub size: u64,
    /// The file.
    pub file: File,
    at: u64,
}

impl<File: SegmentFile> Fill<File> {
    /// Of a file that was made for so many bytes.
    pub const fn new(segment: u64, size: u64, file: File) -> Self {
        Self {
            segment,
            size,
            file,
            at: 0,
        }
    }

    /// One step; whether there is another one.
    ///
    /// # Errors
    /// The file system refuses: the file must not be used.
    pub fn step(&mut self) -> io::Result<bool> {
        let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
        let zeros = ZEROS.get(..left).unwrap_or(&ZEROS);
        self.file.write_at(self.at, zeros)?;
        self.file.sync()?;
        self.at += zeros.len() as u64;
        Ok(self.at < self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::files::Files as _;
    use super::super::log::simulated_disk::{Fate, SimulatedDisk};
    use super::*;

    #[test]
    fn a_file_is_filled_to_its_end_and_synced_or_not_to_be_used() {
        let (disk, size) = (SimulatedDisk::default(), (FILLED_AT_ONCE * 2 + 5) as u64);
        let mut fill = Fill::new(3, size, disk.create(3, size).unwrap());
        disk.sync_directory().unwrap();
        assert!(fill.step().unwrap() && fill.step().unwrap());
        assert!(!fill.step().unwrap());
        disk.cut_power(|| Fate::Lost);
        assert_eq!(disk.read(3).unwrap(), vec![0; FILLED_AT_ONCE * 2 + 5]);
        for is_write in [true, false] {
            let mut fill = Fill::new(3, size, disk.reopen(3).unwrap().0);
            disk.0.lock().writes_fail = is_write.then_some(1);
            disk.0.lock().syncs_fail = !is_write;
            fill.step().unwrap_err();
        }
    }
}
