//! The files that segments lie in: those of a directory, behind a small trait. Tests have a disk in
//! memory that loses what was not synced.

use parking_lot::Mutex;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The log's files, by the numbers of their segments.
pub trait Files: Send + Sync + 'static {
    /// One that is open for writing.
    type File: SegmentFile;

    /// The numbers of those that are there, in order.
    ///
    /// # Errors
    /// The file system refuses.
    fn list(&self) -> io::Result<Vec<u64>>;

    /// Makes one with room for `size` bytes, which read as zeros. There is none of this number yet.
    ///
    /// # Errors
    /// There is no room, or the file system refuses; then there is no such file.
    fn create(&self, number: u64, size: u64) -> io::Result<Self::File>;

    /// Opens one that is there; with it, how many bytes it has room for.
    ///
    /// # Errors
    /// It isn't there, or the file system refuses.
    fn reopen(&self, number: u64) -> io::Result<(Self::File, u64)>;

    /// All bytes of one.
    ///
    /// # Errors
    /// It isn't there, or can't be read.
    fn read(&self, number: u64) -> io::Result<Vec<u8>>;

    /// How many bytes one has room for.
    ///
    /// # Errors
    /// It isn't there, or the file system refuses.
    fn size(&self, number: u64) -> io::Result<u64>;

    /// Everything in one that is there survives a power cut.
    ///
    /// # Errors
    /// The file system refuses.
    fn sync(&self, number: u64) -> io::Result<()>;

    /// Deletes one.
    ///
    /// # Errors
    /// The file system refuses.
    fn delete(&self, number: u64) -> io::Result<()>;

    /// What was created and deleted stays so after a power cut.
    ///
    /// # Errors
    /// The file system refuses.
    fn sync_directory(&self) -> io::Result<()>;

    /// Whether what is written to a file takes the room that is there: it helps then to fill a file
    /// before its use, and on a file system that writes anew elsewhere it doesn't.
    fn are_written_in_place(&self) -> bool;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// The file system doesn't say.
    fn free(&self) -> io::Result<u64>;
}

/// A file that is written from its beginning to its end.
pub trait SegmentFile: Send + Sync + 'static {
    /// Writes all bytes at a place; afterwards they survive the end of the process.
    ///
    /// # Errors
    /// What the file holds there is unknown.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Reads from a place on; how many bytes, fewer than there is room for only where it ends.
    ///
    /// # Errors
    /// It can't be read.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Everything written survives a power cut.
    ///
    /// # Errors
    /// What survives is unknown, and a second call does not tell (Rebello et al., "Can Applications
    /// Recover from fsync Failures?", 2020).
    fn sync(&self) -> io::Result<()>;

    /// Cuts it off after so many bytes: what was preallocated and not used is given back.
    ///
    /// # Errors
    /// The file system refuses.
    fn cut(&self, length: u64) -> io::Result<()>;

    /// As [`cut`](Self::cut), of a file that was deleted.
    ///
    /// # Errors
    /// It has another name, under which it is to stay as it is: that in the quarantine of what was
    /// damaged, or an operator's. Or the file system refuses.
    fn give_back(&self, length: u64) -> io::Result<()>;
}

/// ext2 to ext4, and XFS (`statfs(2)`).
const IN_PLACE: [i64; 2] = [0xef53, 0x5846_5342];

/// What makes a directory.
type Make = Box<dyn Fn() -> io::Result<()> + Send>;

/// Files of a directory.
pub struct Directory {
    path: PathBuf,
    /// What makes it, while it isn't there.
    make: Mutex<Option<Make>>,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.path).finish()
    }
}

impl Directory {
    /// Of this directory, which must be there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let make = Mutex::default();
        Self { path, make }
    }

    /// Of one that isn't there yet: `make` is tried before each file, until it is made.
    #[must_use]
    pub fn made_later(path: PathBuf, make: impl Fn() -> io::Result<()> + Send + 'static) -> Self {
        let make: Make = Box::new(make);
        Self {
            path,
            make: Mutex::new(Some(make)),
        }
    }

    /// Where a segment lies.
    #[must_use]
    pub fn path_of(&self, number: u64) -> PathBuf {
        self.path.join(format!("{number:016x}.log"))
    }

    fn number_of(path: &Path) -> Option<u64> {
        let digits = path.file_name()?.to_str()?.strip_suffix(".log")?;
        (digits.len() == 16)
            .then(|| u64::from_str_radix(digits, 16).ok())
            .flatten()
    }
}

impl Files for Directory {
    type File = File;

    fn list(&self) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        if self.make.lock().is_some() {
            return Ok(numbers);
        }
        for entry in std::fs::read_dir(&self.path)? {
            numbers.extend(Self::number_of(&entry?.path()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn create(&self, number: u64, size: u64) -> io::Result<File> {
        let mut unmade = self.make.lock();
        if let Some(make) = unmade.as_ref() {
            make()?;
            *unmade = None;
        }
        drop(unmade);
        let path = self.path_of(number);
        let file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)?;
        let reserve = || rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size);
        match rustix::io::retry_on_intr(reserve) {
            // A file system that can't reserve room says so when it is written.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(file),
            Err(error) => {
                drop(std::fs::remove_file(&path));
                Err(error.into())
            }
        }
    }

    fn reopen(&self, number: u64) -> io::Result<(File, u64)> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(self.path_of(number))?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    fn read(&self, number: u64) -> io::Result<Vec<u8>> {
        std::fs::read(self.path_of(number))
    }

    fn size(&self, number: u64) -> io::Result<u64> {
        Ok(std::fs::metadata(self.path_of(number))?.len())
    }

    fn sync(&self, number: u64) -> io::Result<()> {
        File::open(self.path_of(number))?.sync_data()
    }

    fn delete(&self, number: u64) -> io::Result<()> {
        std::fs::remove_file(self.path_of(number))
    }

    fn sync_directory(&self) -> io::Result<()> {
        if self.make.lock().is_some() {
            return Ok(());
        }
        File::open(&self.path)?.sync_all()
    }

    fn are_written_in_place(&self) -> bool {
        rustix::fs::statfs(&self.path).is_ok_and(|found| IN_PLACE.contains(&found.f_type))
    }

    fn free(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

impl SegmentFile for File {
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, at)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut found = 0;
        while let Some(left) = into.get_mut(found..).filter(|left| !left.is_empty()) {
            match std::os::unix::fs::FileExt::read_at(self, left, at + found as u64) {
                Ok(0) => break,
                Ok(more) => found += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn give_back(&self, length: u64) -> io::Result<()> {
        if self.metadata()?.nlink() > 0 {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.set_len(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_without_another_name_gives_its_room_back() {
        let directory = tempfile::tempdir().unwrap();
        let files = Directory::new(directory.path().to_owned());
        let kept = directory.path().join("kept");
        for number in [1, 2] {
            let file = files.create(number, 100).unwrap();
            file.write_at(0, b"what was acknowledged").unwrap();
            if number == 1 {
                std::fs::hard_link(files.path_of(1), &kept).unwrap();
            }
            assert!(file.give_back(0).is_err(), "it isn't deleted");
            files.delete(number).unwrap();
            assert_eq!(file.give_back(0).is_ok(), number == 2);
            let left = if number == 1 { 100 } else { 0 };
            assert_eq!(file.metadata().unwrap().len(), left);
        }
        assert!(std::fs::read(&kept).unwrap().starts_with(b"what was"));
    }
}
