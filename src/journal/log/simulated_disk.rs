//! A disk in memory that tests can fill, break and cut the power of: what was synced stays, what
//! was only written may be lost, torn or reach the disk in another order.

use super::files::{Files, SegmentFile};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// What a file holds.
#[derive(Debug, Clone, Default)]
struct Content {
    /// Bytes that were reserved.
    size: u64,
    synced: Vec<u8>,
    /// Written before a sync that failed: it is read, and no sync brings it to the disk any more.
    unsyncable: Vec<(usize, Vec<u8>)>,
    /// Written since: where, and what.
    written: Vec<(usize, Vec<u8>)>,
}

impl Content {
    fn now(&self) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let pieces = self.unsyncable.iter().chain(&self.written);
        pieces.for_each(|(at, piece)| put(&mut bytes, *at, piece));
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.resize(bytes.len().max(at + piece.len()), 0);
    bytes[at..at + piece.len()].copy_from_slice(piece);
}

/// How the disk is.
#[derive(Debug, Default)]
pub struct DiskState {
    files: BTreeMap<u64, Content>,
    /// Files whose names would survive a power cut.
    named: BTreeSet<u64>,
    /// Deleted files that a power cut may bring back.
    deleted: BTreeMap<u64, Content>,
    /// Writes fail after this many of their bytes.
    pub writes_fail: Option<usize>,
    /// Syncs fail, and what they should have synced is lost with the power.
    pub syncs_fail: bool,
    /// Files can't be deleted.
    pub deletes_fail: bool,
    /// The disk can't read this file.
    pub unread: Option<u64>,
    /// Names of files can't be synced.
    pub names_fail: bool,
    /// No file can be made.
    pub full: bool,
    /// There is room for no larger file.
    pub largest: Option<u64>,
    /// A write that comes while a test holds this waits for it.
    pub gate: Arc<Mutex<()>>,
    /// It is full in the next process, too.
    pub stays_full: bool,
}

impl DiskState {
    /// Nothing fails any more.
    pub fn clear_faults(&mut self) {
        (self.writes_fail, self.syncs_fail, self.full) =
            (None, false, self.full && self.stays_full);
        (self.deletes_fail, self.names_fail) = (false, false);
    }
}

/// The disk; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk(pub Arc<Mutex<DiskState>>);

/// A file of it.
#[derive(Debug)]
pub struct SimulatedFile(SimulatedDisk, u64);

/// What becomes of each write that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It reached the disk.
    Kept,
    /// It did not.
    Lost,
    /// So many of its bytes.
    Torn(usize),
}

impl SimulatedDisk {
    /// The power goes. `fate`: of each write that was not synced, one after the other.
    pub fn cut_power(&self, mut fate: impl FnMut() -> Fate) {
        let mut disk = self.0.lock();
        let named = disk.named.clone();
        let deleted = std::mem::take(&mut disk.deleted);
        for (number, content) in deleted {
            if fate() == Fate::Kept {
                disk.files.entry(number).or_insert(content);
            }
        }
        disk.files.retain(|number, content| {
            content.unsyncable.clear();
            for (at, piece) in std::mem::take(&mut content.written) {
                match fate() {
                    Fate::Kept => put(&mut content.synced, at, &piece),
                    Fate::Torn(kept) => {
                        put(&mut content.synced, at, &piece[..kept % (piece.len() + 1)])
                    }
                    Fate::Lost => {}
                }
            }
            named.contains(number) || fate() == Fate::Kept
        });
        disk.named = disk.files.keys().copied().collect();
        disk.clear_faults();
    }

    /// The process is killed: what was written is with the operating system.
    pub fn kill(&self) {
        let mut disk = self.0.lock();
        disk.deleted.clear();
        disk.clear_faults();
    }

    /// Files that are there.
    pub fn count(&self) -> usize {
        self.0.lock().files.len()
    }

    /// Changes what a file holds.
    pub fn damage(&self, number: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.0.lock();
        let content = disk.files.get_mut(&number).unwrap();
        *content = Content {
            synced: content.now(),
            size: content.size,
            ..Content::default()
        };
        change(&mut content.synced);
    }
}

fn io_failure() -> io::Error {
    io::Error::other("input/output error")
}

impl Files for SimulatedDisk {
    type File = SimulatedFile;

    fn list(&self) -> io::Result<Vec<u64>> {
        Ok(self.0.lock().files.keys().copied().collect())
    }

    fn create(&self, number: u64, size: u64) -> io::Result<SimulatedFile> {
        let mut disk = self.0.lock();
        if disk.full || disk.largest.is_some_and(|largest| size > largest) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        assert!(!disk.files.contains_key(&number), "a file is made twice");
        disk.files.insert(
            number,
            Content {
                size,
                ..Content::default()
            },
        );
        disk.named.remove(&number);
        Ok(SimulatedFile(self.clone(), number))
    }

    fn reopen(&self, number: u64) -> io::Result<(SimulatedFile, u64)> {
        let size = self
            .0
            .lock()
            .files
            .get(&number)
            .map(|content| content.size)
            .ok_or(io::ErrorKind::NotFound)?;
        Ok((SimulatedFile(self.clone(), number), size))
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        let disk = self.0.lock();
        if disk.unread == Some(number) {
            return Err(rustix::io::Errno::IO.into());
        }
        disk.files
            .get(&number)
            .map(Content::now)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn size(&self, number: u64) -> io::Result<u64> {
        let disk = self.0.lock();
        let content = disk.files.get(&number).ok_or(io::ErrorKind::NotFound)?;
        Ok(content.size)
    }

    fn sync(&self, number: u64) -> io::Result<()> {
        SimulatedFile(self.clone(), number).sync()
    }

    fn delete(&self, number: u64) -> io::Result<()> {
        let mut disk = self.0.lock();
        if disk.deletes_fail {
            return Err(io_failure());
        }
        let content = disk.files.remove(&number).ok_or(io::ErrorKind::NotFound)?;
        disk.deleted.insert(number, content);
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut disk = self.0.lock();
        if disk.names_fail {
            return Err(io_failure());
        }
        disk.named = disk.files.keys().copied().collect();
        disk.deleted.clear();
        Ok(())
    }

    fn are_written_in_place(&self) -> bool {
        true
    }

    fn free(&self) -> io::Result<u64> {
        Ok(if self.0.lock().full { 0 } else { u64::MAX })
    }
}

impl SegmentFile for SimulatedFile {
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let gate = Arc::clone(&self.0.0.lock().gate);
        drop(gate.lock());
        let mut disk = self.0.0.lock();
        let fails = disk.writes_fail;
        let content = disk.files.get_mut(&self.1).ok_or_else(io_failure)?;
        assert!(
            at + bytes.len() as u64 <= content.size,
            "beyond what was reserved"
        );
        let kept = fails.map_or(bytes, |kept| &bytes[..kept % (bytes.len() + 1)]);
        content
            .written
            .push((usize::try_from(at).unwrap(), kept.to_vec()));
        fails.map_or(Ok(()), |_| Err(io_failure()))
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let disk = self.0.0.lock();
        if disk.unread == Some(self.1) {
            return Err(rustix::io::Errno::IO.into());
        }
        let now = disk.files.get(&self.1).ok_or_else(io_failure)?.now();
        let from = now.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        let found = from.len().min(into.len());
        into[..found].copy_from_slice(&from[..found]);
        Ok(found)
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.0.0.lock();
        let fails = disk.syncs_fail;
        let content = disk.files.get_mut(&self.1).ok_or_else(io_failure)?;
        if fails {
            let written = std::mem::take(&mut content.written);
            content.unsyncable.extend(written);
            return Err(io_failure());
        }
        for (at, piece) in std::mem::take(&mut content.written) {
            put(&mut content.synced, at, &piece);
            if !content.unsyncable.is_empty() {
                // It is read in place of what it was written over.
                content.unsyncable.push((at, piece));
            }
        }
        Ok(())
    }

    fn give_back(&self, _: u64) -> io::Result<()> {
        let disk = self.0.0.lock();
        if disk.files.contains_key(&self.1) {
            Err(io::ErrorKind::AlreadyExists.into())
        } else {
            Ok(())
        }
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let mut disk = self.0.0.lock();
        let content = disk.files.get_mut(&self.1).ok_or_else(io_failure)?;
        let length = usize::try_from(length).unwrap();
        content
            .written
            .iter_mut()
            .for_each(|(at, piece)| piece.truncate(length.saturating_sub(*at)));
        content.synced.truncate(length);
        Ok(())
    }
}
