//! Writing: groups of frames into the newest segment, and a new segment when one is full or can't
//! be trusted any more.
//!
//! **Constraints.** After a write or a sync that failed, what the file holds is unknown: it is
//! never written again. What was not synced in it is written once more into the next segment, under
//! the same numbers, before anything is said of it.

use super::files::{Files, SegmentFile};
use super::frame;
pub use super::segment::{Begun, Full, HEAD_SALT, Head, Sums, salt_of};
use super::spares::{SPARES, Spare, Spares};
use std::io;
use std::sync::Arc;

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The end of the process: it is with the operating system.
    Process,
    /// A power cut: it is on the disk (`fdatasync`).
    Disk,
}

#[derive(Debug)]
struct Current<File> {
    salt: u32,
    at: u64,
    size: u64,
    file: Arc<File>,
}

/// A group of frames to write.
#[derive(Debug)]
pub struct Group<'a> {
    /// The frames, as they were pushed.
    pub frames: &'a [u8],
    /// The first number that was given to them.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// The sums after them.
    pub sums: Sums,
    /// They must survive a power cut.
    pub sync: bool,
    /// There are events among them: the last file that is ready is kept for what makes room.
    pub has_events: bool,
}

/// Why a group was not written.
#[derive(Debug)]
pub enum WriteError {
    /// There was no room for another segment; nothing of the group was written.
    NoRoom(io::Error),
    /// What of it was written is unknown.
    Unknown(io::Error),
}

/// What a writer goes on from.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// The log's own, random.
    pub epoch: [u8; 16],
    /// The directory's secret.
    pub secret: [u8; 32],
    /// Bytes of a segment, unless a group is larger.
    pub segment_size: u64,
    /// The next segment's number.
    pub next_segment: u64,
    /// The last number that was given.
    pub last: u64,
    /// Everything up to this number survives a power cut, as far as its files say.
    pub synced: u64,
    /// The sums.
    pub sums: Sums,
    /// The first and the last number that were left out, if any were.
    pub left_out: Option<(u64, u64)>,
}

/// Writes groups, one after the other.
#[derive(Debug)]
pub struct Writer<F: Files> {
    files: Arc<F>,
    depth: Depth,
    epoch: [u8; 16],
    secret: [u8; 32],
    current: Option<Current<F::File>>,
    spares: Spares<F>,
    /// Frames that are not as safe as they must be: a group on its way, and at `disk` what was
    /// written since the last sync.
    waiting: Vec<u8>,
    first_waiting: u64,
    /// The sums before these.
    sums_before: Sums,
    /// The sums after everything written.
    sums: Sums,
    /// The last number that survives a power cut.
    synced: u64,
    last: u64,
    left_out: Option<(u64, u64)>,
    begun: Vec<Begun>,
    full: Vec<Full<F::File>>,
    given_up: u64,
}

/// Most bytes that wait for a sync before one is made that no caller waits for.
const MAX_UNSYNCED: usize = 1 << 20;
/// A head's frame is no longer than this, bytes.
pub const HEAD_ROOM: u64 = 256;

impl<F: Files> Writer<F> {
    /// A writer that begins a segment with its first group.
    #[must_use]
    pub fn new(files: Arc<F>, depth: Depth, origin: Origin) -> Self {
        let Origin {
            epoch,
            secret,
            segment_size,
            next_segment,
            last,
            synced,
            sums,
            left_out,
        } = origin;
        Self {
            spares: Spares::new(Arc::clone(&files), segment_size, next_segment),
            files,
            depth,
            epoch,
            secret,
            current: None,
            waiting: Vec::new(),
            first_waiting: last + 1,
            sums_before: sums,
            sums,
            synced,
            last,
            left_out,
            begun: Vec::new(),
            full: Vec::new(),
            given_up: 0,
        }
    }

    /// Segments that were begun since this was asked last.
    pub fn take_begun(&mut self) -> Vec<Begun> {
        std::mem::take(&mut self.begun)
    }

    /// Files that were filled since this was asked last.
    pub fn take_full(&mut self) -> Vec<Full<F::File>> {
        std::mem::take(&mut self.full)
    }

    /// The file that is written, and the last number in it.
    #[must_use]
    pub fn current(&self) -> Option<Full<F::File>> {
        let file = Arc::clone(&self.current.as_ref()?.file);
        Some(Full {
            file,
            last: self.last,
        })
    }

    /// Whether something was written that is not as safe as it must be yet.
    #[must_use]
    pub const fn has_unsynced(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Everything up to this number survives a power cut.
    pub fn set_synced(&mut self, number: u64) {
        self.synced = self.synced.max(number);
    }

    /// The number and the size of a file that should be made ahead, if one should: the number is
    /// given away with it.
    pub fn want_spare(&mut self) -> Option<(u64, u64)> {
        self.spares.want()
    }

    /// Whether a newer file than this one is in use already.
    pub fn is_late(&self, segment: u64) -> bool {
        self.spares.is_late(segment)
    }

    /// A file that was made for [`want_spare`](Self::want_spare); whether it can be used: a newer
    /// one may be in use already.
    pub fn offer_spare(&mut self, segment: u64, size: u64, file: F::File) -> bool {
        self.spares.offer(segment, size, file)
    }

    /// Writes a group: all of it is in one segment.
    ///
    /// # Errors
    /// There is no room, or the file system fails twice in a row.
    pub fn write(&mut self, group: &Group<'_>) -> Result<(), WriteError> {
        let begun = self.begun.len();
        let mut mark = self.waiting.len();
        self.waiting.extend_from_slice(group.frames);
        // What a file that was given up may have lost comes first.
        let is_behind = mark > 0 && self.current.is_none();
        let written = if is_behind {
            self.write_all_waiting(group)
        } else {
            self.write_new(&mut mark, group)
        };
        let written = written.or_else(|error| match error {
            WriteError::Unknown(error) if !is_behind => {
                tracing::warn!(%error, "a segment of the journal is given up; what is not safe in \
                    it is written again");
                self.give_up();
                self.write_all_waiting(group)
            }
            error => Err(error),
        });
        match written {
            Ok(is_synced) => {
                (self.last, self.sums) = (group.last.max(self.last), group.sums);
                if is_synced {
                    self.synced = self.last;
                }
                if is_synced || self.depth == Depth::Process {
                    self.waiting.clear();
                    self.note_sums(self.last + 1);
                }
                Ok(())
            }
            Err(error) => {
                if let WriteError::Unknown(_) = error {
                    self.give_up();
                    self.delete_begun(begun);
                }
                self.waiting.truncate(mark);
                Err(error)
            }
        }
    }

    /// Files that were begun for a group that failed hold nothing that isn't in memory or refused.
    /// They go if that is safe; else they stay, and are reclaimed later.
    fn delete_begun(&mut self, from: usize) {
        let gone = self
            .begun
            .iter()
            .skip(from)
            .try_for_each(|begun| self.files.delete(begun.segment));
        if gone.and_then(|()| self.files.sync_directory()).is_ok() {
            self.begun.truncate(from);
        }
    }

    /// The part of what waits that is new, at the end of the current segment or the beginning of
    /// the next.
    fn write_new(&mut self, mark: &mut usize, group: &Group<'_>) -> Result<bool, WriteError> {
        let size = group.frames.len() as u64;
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.at + size > current.size)
        {
            if *mark > 0 {
                // What stays behind in the full file must be safe there.
                self.sync().map_err(WriteError::Unknown)?;
                self.waiting.drain(..*mark);
                (*mark, self.synced) = (0, self.last);
                self.note_sums(group.first);
            }
            self.begin_segment(group.first, size, group.has_events)?;
        }
        self.write_from(*mark)
            .and_then(|()| self.sync_if(group))
            .map_err(WriteError::Unknown)
    }

    fn write_all_waiting(&mut self, group: &Group<'_>) -> Result<bool, WriteError> {
        let first = self.first_waiting.min(group.first);
        self.begin_segment(first, self.waiting.len() as u64, group.has_events)
            .map_err(|error| match error {
                // Some of it may be in the file that was given up.
                WriteError::NoRoom(error) | WriteError::Unknown(error) => {
                    WriteError::Unknown(error)
                }
            })?;
        self.write_from(0)
            .and_then(|()| self.sync_if(group))
            .map_err(WriteError::Unknown)
    }

    /// Writes what waits from this byte on into the current file.
    fn write_from(&mut self, from: usize) -> io::Result<()> {
        let Self {
            current: Some(current),
            waiting,
            synced,
            ..
        } = self
        else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let frames = waiting.get_mut(from..).unwrap_or_default();
        frame::finish_all(frames, current.salt, *synced);
        current.file.write_at(current.at, frames)?;
        current.at += frames.len() as u64;
        Ok(())
    }

    /// Whether it is synced now.
    fn sync_if(&self, group: &Group<'_>) -> io::Result<bool> {
        let syncs = group.sync || self.depth == Depth::Disk && self.waiting.len() > MAX_UNSYNCED;
        if syncs {
            self.sync()?;
        }
        Ok(syncs)
    }

    fn sync(&self) -> io::Result<()> {
        self.current
            .as_ref()
            .map_or(Ok(()), |current| current.file.sync())
    }

    const fn note_sums(&mut self, first: u64) {
        (self.first_waiting, self.sums_before) = (first, self.sums);
    }

    /// Begins a segment for so many bytes.
    fn begin_segment(&mut self, first: u64, size: u64, has_events: bool) -> Result<(), WriteError> {
        let wanted = if has_events { SPARES } else { 1 };
        self.spares
            .make_ready(wanted, size + HEAD_ROOM)
            .map_err(WriteError::NoRoom)?;
        let Some(Spare {
            segment,
            size,
            file,
        }) = self.spares.take()
        else {
            return Err(WriteError::NoRoom(io::ErrorKind::StorageFull.into()));
        };
        self.end_current(true);
        let head = Head {
            epoch: self.epoch,
            secret: self.secret,
            next: self.last + 1,
            sums: self.sums_before,
            left_out: self.left_out,
        };
        let bytes = head.frame(first, self.synced);
        let (salt, at, file) = (
            salt_of(&self.epoch, segment),
            bytes.len() as u64,
            Arc::new(file),
        );
        self.begun.push(Begun {
            segment,
            first,
            size,
        });
        self.current = Some(Current {
            salt,
            at,
            size,
            file,
        });
        let Some(current) = &self.current else {
            return Ok(());
        };
        current
            .file
            .write_at(0, &bytes)
            .map_err(WriteError::Unknown)
    }

    /// Nothing more is written. Files that are ready stay: the next start can shrink the log with
    /// them on a full disk.
    pub fn finish(&mut self) {
        self.end_current(true);
    }

    /// What the current file holds is unknown: it is written no more, and no sync of it is
    /// believed.
    pub fn give_up(&mut self) {
        self.end_current(false);
    }

    /// As [`give_up`](Self::give_up), if this file is the current one.
    pub fn give_up_file(&mut self, file: &Arc<F::File>) {
        let current = self.current.as_ref();
        if current.is_some_and(|current| Arc::ptr_eq(&current.file, file)) {
            self.give_up();
        }
    }

    /// Files that were given up so far.
    pub const fn given_up(&self) -> u64 {
        self.given_up
    }

    /// The current file is written no more. `is_whole`: everything that was written to it is there.
    fn end_current(&mut self, is_whole: bool) {
        if let Some(Current { file, at, .. }) = self.current.take() {
            // Room that was reserved and is not needed; the file system may keep it as well.
            drop(file.cut(at));
            if is_whole {
                self.full.push(Full {
                    file,
                    last: self.last,
                });
            } else {
                self.given_up += 1;
            }
        }
    }
}
