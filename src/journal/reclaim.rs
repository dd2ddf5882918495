//! Reclaiming takes the oldest segment: what is alive in it is copied to the end of the log, under
//! its number; when the copies are on the disk the file is deleted. So what settles an event always
//! lies behind all its frames, and outlives them.
//!
//! It goes in steps, each of which is short: the thread that reclaims writes groups between them, for
//! which callers wait.
//!
//! ```text
//! copying ── all frames were looked at ──► remembering ── all ids are written, and on the disk ──►
//! freeing ── its room is given back ──► done
//! ```

use super::commit::leader::write_waiting;
use super::commit::rewrite::push_again;
use super::commit::shared::Shared;
use super::entry::Ticket;
use super::log::files::{Files, SegmentFile as _};
use super::log::frame::{Flags, Frame, Kind};
use super::log::live::Live;
use super::log::pieces::Pieces;
use super::log::writer::{Begun, salt_of};
use super::record::{self, SettledEvent, SettledIds};
use super::syncs::Syncs;
use std::io;

/// Bytes of copies that wait at most for a group to go with.
const COPIED_AT_ONCE: usize = 256 << 10;
/// Ids in one frame.
const IDS_AT_ONCE: usize = 4096;
/// A segment is read in so many pieces, unless they would be too long or too short.
const PIECES: u64 = 128;
/// Bytes of a piece, unless that is more than an eighth of the segment.
const LEAST_PIECE: u64 = 16 << 10;
/// Bytes of a piece.
const LARGEST_PIECE: u64 = 128 << 10;
/// Bytes that are given back at once: a file system takes milliseconds for a whole segment.
const FREED_AT_ONCE: u64 = 1 << 20;

/// A segment that is being reclaimed.
#[derive(Debug)]
pub struct Reclaim<F: Files> {
    segment: u64,
    /// The number that it begins with.
    first: u64,
    /// The number that the segment behind it begins with.
    next: u64,
    /// Events that were copied.
    events: Live,
    /// When it began, Unix milliseconds.
    now: u64,
    /// Files that were lost before it began.
    lost: u64,
    /// Ids in it that are still to be known, those first that are forgotten first.
    ids: SettledIds,
    /// How many of them were written.
    written: usize,
    /// Bytes of copies since the last ones were waited for.
    copied: usize,
    /// Ids in it, those that are forgotten counted.
    found: usize,
    /// Ids in it that are forgotten.
    forgotten: usize,
    stage: Stage<F::File>,
}

/// How far it is.
#[derive(Debug)]
enum Stage<File> {
    /// What is alive in it is copied.
    Copying(Pieces<File>),
    /// Its ids are; so many bytes are in its file, if it has one.
    Remembering(Option<(File, u64)>),
    /// It is deleted, and so many bytes are still to be given back.
    Freeing(File, u64),
}

impl<F: Files> Reclaim<F> {
    /// The oldest segment's, if there is one.
    ///
    /// # Errors
    /// It can't be opened, or the journal can't be written.
    pub fn begin<T: Ticket>(shared: &Shared<F, T>, syncs: &Syncs<F>) -> io::Result<Option<Self>> {
        // ORDER: what a start has to write again is written before anything counts as a copy that
        // can be made anew.
        write_waiting(shared)?;
        let Some((oldest, next)) = oldest_of(shared) else {
            return Ok(None);
        };
        let stage = match shared.files.reopen(oldest.segment) {
            Ok((file, size)) => {
                let salt = salt_of(&shared.epoch, oldest.segment);
                let piece = piece_of(shared.bounds.segment_size);
                Stage::Copying(Pieces::new(file, size, salt, piece))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Stage::Remembering(None),
            Err(error) => return Err(error),
        };
        shared.set_reclaiming(true);
        // The next number outlives all segments: there is always one, even if nothing is alive.
        shared.queue().push_sums();
        Ok(Some(Self {
            segment: oldest.segment,
            first: oldest.first,
            next,
            events: Live::default(),
            now: shared.health.expiry_ms(),
            lost: syncs.count_lost(shared),
            ids: Vec::new(),
            written: 0,
            copied: 0,
            found: 0,
            forgotten: 0,
            stage,
        }))
    }

    /// One step; whether there is another one.
    ///
    /// # Errors
    /// The file can't be read or deleted, a pending event in it is not whole, the journal can't be
    /// written, or a group was refused since it began: copies may have been in it, and a letter that
    /// was replaced may be there again. Then the segment stays, and is to be reclaimed from the
    /// beginning.
    pub fn step<T: Ticket>(
        &mut self,
        shared: &Shared<F, T>,
        syncs: &mut Syncs<F>,
    ) -> io::Result<bool> {
        match &mut self.stage {
            Stage::Copying(pieces) => {
                may_go_on(shared)?;
                let more = pieces.look(|frame| match ids_of(frame) {
                    Some(ids) => {
                        self.found += ids.len();
                        let known = ids.into_iter().filter(|(_, until)| *until > self.now);
                        self.ids.extend(known);
                    }
                    None => {
                        let copied = copy_if_alive(shared, frame);
                        self.copied += copied;
                        if copied > 0 && frame.kind == Kind::Event {
                            self.events.insert(frame.number);
                        }
                    }
                })?;
                if !more {
                    self.check_events(shared)?;
                    self.forget_ids(shared);
                    let stage = std::mem::replace(&mut self.stage, Stage::Remembering(None));
                    if let Stage::Copying(pieces) = stage {
                        self.stage = Stage::Remembering(Some(pieces.into_file()));
                    }
                }
                self.write_copies(shared)?;
                Ok(true)
            }
            Stage::Remembering(_) if self.written < self.ids.len() => {
                self.write_ids(shared);
                self.write_copies(shared)?;
                Ok(true)
            }
            Stage::Remembering(file) => {
                let file = file.take();
                self.delete(shared, syncs)?;
                let has_room = file.is_some();
                if let Some((file, size)) = file {
                    self.stage = Stage::Freeing(file, size);
                }
                Ok(has_room)
            }
            Stage::Freeing(file, size) => {
                *size = size.saturating_sub(FREED_AT_ONCE);
                // What is left goes with the last handle or the last name in any case.
                Ok(file.give_back(*size).is_ok() && *size > 0)
            }
        }
    }

    /// Of a file that the disk has damaged meanwhile what is pending may not be whole: it stays until
    /// that is delivered.
    fn check_events<T: Ticket>(&self, shared: &Shared<F, T>) -> io::Result<()> {
        let queue = shared.queue();
        let is_missed =
            |number: &u64| queue.index.events.contains(*number) && !self.events.contains(*number);
        match (self.first..self.next).filter(is_missed).count() {
            0 => Ok(()),
            missed => Err(io::Error::other(format!(
                "{missed} pending events can't be read in the segment {}; it stays until they are \
                 delivered",
                self.segment
            ))),
        }
    }

    /// The newest ids stay if there are too many.
    fn forget_ids<T: Ticket>(&mut self, shared: &Shared<F, T>) {
        let seen = shared.queue().index.seen;
        let too_many = seen
            .saturating_sub(shared.bounds.max_seen)
            .saturating_sub(self.found - self.ids.len());
        // Mostly in this order already.
        self.ids.sort_by_key(|(_, until)| *until);
        self.ids.drain(..too_many.min(self.ids.len()));
        self.forgotten = self.found - self.ids.len();
    }

    /// Not with the next group of events if it would grow too large.
    fn write_copies<T: Ticket>(&mut self, shared: &Shared<F, T>) -> io::Result<()> {
        if self.copied >= COPIED_AT_ONCE {
            self.copied = 0;
            write_waiting(shared)?;
        }
        Ok(())
    }

    fn write_ids<T: Ticket>(&mut self, shared: &Shared<F, T>) {
        let rest = self.ids.get(self.written..).unwrap_or_default();
        if let Some(next) = rest.chunks(IDS_AT_ONCE).next() {
            let mut body = Vec::new();
            record::put(&mut body, &next);
            self.written += next.len();
            self.copied += body.len();
            let mut queue = shared.queue();
            queue.push(Kind::Seen, Flags::default(), |out| out.append(&mut body));
        }
    }

    fn delete<T: Ticket>(&self, shared: &Shared<F, T>, syncs: &mut Syncs<F>) -> io::Result<()> {
        write_waiting(shared)?;
        // All groups from before that have ended.
        may_go_on(shared)?;
        // ORDER: the copies are on the disk before what they are copies of goes.
        syncs.sync_written(shared)?;
        if syncs.count_lost(shared) > self.lost {
            return Err(io::Error::other("a file was lost meanwhile"));
        }
        // ORDER: it is gone for good before the next one may go, which may hold what settles the
        // events of this one.
        shared
            .files
            .delete(self.segment)
            .or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        // Now, since another attempt finds no ids in it.
        shared.queue().index.forget_seen(self.forgotten);
        shared.files.sync_directory()?;
        let mut queue = shared.queue();
        queue.index.segments.pop_front();
        queue.index.events.begin_at(self.next);
        drop(queue);
        shared.set_reclaiming(false);
        Ok(())
    }
}

/// Not after a refused group: copies may have been in it.
fn may_go_on<F: Files, T: Ticket>(shared: &Shared<F, T>) -> io::Result<()> {
    if shared.queue().has_refused {
        return Err(io::Error::other("a group was refused meanwhile"));
    }
    Ok(())
}

/// Bytes that are read at once of segments of this size.
fn piece_of(segment_size: u64) -> usize {
    let least = LEAST_PIECE.min(segment_size / 8);
    let piece = (segment_size / PIECES).max(least).min(LARGEST_PIECE);
    usize::try_from(piece).unwrap_or(usize::MAX)
}

/// The oldest segment, and the number that the next one begins with.
fn oldest_of<F: Files, T: Ticket>(shared: &Shared<F, T>) -> Option<(Begun, u64)> {
    let queue = shared.queue();
    let mut segments = queue.index.segments.iter();
    let oldest = *segments.next()?;
    let next = segments.next().map_or(queue.index.next, |next| next.first);
    Some((oldest, next))
}

/// How many bytes were copied.
fn copy_if_alive<F: Files, T: Ticket>(shared: &Shared<F, T>, frame: &Frame<'_>) -> usize {
    let mut queue = shared.queue();
    if !queue.is_alive(frame) {
        return 0;
    }
    let flags = frame.flags.with(Flags::COPY);
    push_again(&mut queue, shared.vault(), &Frame { flags, ..*frame });
    frame.size()
}

/// None: it is of a kind that has none.
fn ids_of(frame: &Frame<'_>) -> Option<SettledIds> {
    match frame.kind {
        Kind::Settled => {
            let settled: Vec<SettledEvent> = record::body(frame.body).unwrap_or_default();
            Some(settled.into_iter().filter_map(|one| one.seen).collect())
        }
        Kind::Seen => Some(record::body(frame.body).unwrap_or_default()),
        _ => None,
    }
}
