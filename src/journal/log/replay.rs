//! Reading: one pass over all segments, in order. Nothing is written, and no room is needed.
//!
//! After bytes that are no frame the pass goes on at the next one that is whole. Numbers grow by
//! one, so what is missing is known; whether it may be missing is told by the last synced number
//! that every frame carries: what was synced and isn't found is damage, what was not may be gone
//! with the power.

use super::files::Files;
use super::frame::{self, Flags, Frame, Kind};
use super::live::Live;
use super::writer::{Begun, HEAD_SALT, Head, salt_of};
use std::io;

/// What a pass has found, beside the frames.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The segments that hold something, in order.
    pub segments: Vec<Begun>,
    /// Files that hold nothing: they were made ahead of their use.
    pub unused: Vec<u64>,
    /// What the newest readable head says.
    pub head: Option<Head>,
    /// The first number that is known to have been given in these segments.
    base: Option<u64>,
    /// The next number: every lower one may have been given.
    pub next: u64,
    /// The next segment's number.
    pub next_segment: u64,
    /// Everything up to this number was synced.
    pub synced: u64,
    /// Each segment that holds something, and the highest number in it.
    highest: Vec<(u64, u64)>,
    /// Numbers that were synced and are not found.
    pub damaged: Vec<Missing>,
    /// Numbers that were written, not synced, and are not found.
    pub lost: Vec<Missing>,
    /// Segments in which bytes are no frame.
    pub unreadable: Vec<u64>,
    /// Files that the disk can't read: what is missing may be in them.
    pub unread: Vec<u64>,
    /// Those that an earlier start could not read, and that are gone or empty now.
    pub gone: Vec<u64>,
    /// The first and the last number that this process leaves out: those of a file that can't be
    /// read, behind the last head that was. One that is given twice would end what is in that file.
    pub left_out: Option<(u64, u64)>,
    /// Those that earlier processes have left out: not all of them were given.
    left_out_before: Vec<(u64, u64)>,
}

/// What a start left out and could not read, as it is kept beside the log: the segment that says so
/// may be the next that can't be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeftOut {
    /// The first number that was left out.
    pub first: u64,
    /// The last one; 0: none was.
    pub last: u64,
    /// The files that could not be read then.
    pub unread: Vec<u64>,
}

/// Bytes of a file of which not even the size can be told: more than any has.
const MOST_BYTES: u64 = 1 << 30;

/// Numbers of groups that were refused, of which no frame is in a file, of which as many are supposed
/// for one that can't be read.
const MOST_VOID: u64 = 1 << 20;

/// More than the numbers that are given in a file of so many bytes.
const fn most_numbers(size: u64) -> u64 {
    size / frame::HEADER as u64 + MOST_VOID
}

/// The disk can't read a file now. What a file system calls that differs (`EIO`, `EUCLEAN`, `EBADMSG`,
/// `ESTALE`); what isn't the disk's is an error of the start.
fn is_disks(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    !matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::Interrupted
    ) && error
        .raw_os_error()
        .is_some_and(|number| !own.contains(&number))
}

impl Replayed {
    /// Segments that hold something that may not be synced, in order.
    #[must_use]
    pub fn unsynced(&self) -> Vec<u64> {
        self.highest
            .iter()
            .filter(|(_, highest)| *highest > self.synced)
            .map(|(segment, _)| *segment)
            .collect()
    }
}

/// Numbers that are missing: the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Missing {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl Missing {
    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last - self.first + 1
    }
}

/// A segment's file, and what its head says, if that is whole.
struct Segment {
    number: u64,
    bytes: Vec<u8>,
}

impl Segment {
    fn head(&self) -> Option<(Frame<'_>, Head)> {
        let frame = frame::open(&self.bytes, HEAD_SALT).filter(|frame| frame.kind == Kind::Head)?;
        Some((frame, Head::read(frame.body)?))
    }

    fn is_unused(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }
}

/// Shows every whole frame, heads included, with its segment's number: by segment, and in the order
/// in which they were written. `epoch`: the log's, if it is known from elsewhere; `known`: what
/// earlier starts left out. One that was
/// written again, since its first file could not be trusted, is shown once; copies are always
/// shown.
///
/// # Errors
/// The file system refuses; a disk that can't read is damage.
pub fn replay<F: Files>(
    files: &F,
    epoch: Option<[u8; 16]>,
    known: &LeftOut,
    mut visit: impl FnMut(u64, &Frame<'_>),
) -> io::Result<Replayed> {
    let numbers = files.list()?;
    let mut found = Replayed {
        next: 1,
        next_segment: 1,
        ..Replayed::default()
    };
    let mut given = Live::default();
    let mut epoch = epoch;
    let mut gaps = Vec::new();
    // Of the files that can't be read, since the last head that could: all, and those that hold no
    // number that was left out.
    let (mut behind, mut behind_known) = (0, 0);
    for number in &numbers {
        found.next_segment = number + 1;
        let segment = match files.read(*number) {
            Ok(bytes) => Segment {
                number: *number,
                bytes,
            },
            Err(error) if is_disks(&error) => {
                found.unread.push(*number);
                let most = most_numbers(files.size(*number).unwrap_or(MOST_BYTES));
                behind += most;
                behind_known += if known.unread.contains(number) {
                    0
                } else {
                    most
                };
                continue;
            }
            Err(error) => return Err(error),
        };
        if segment.is_unused() {
            found.unused.push(*number);
            continue;
        }
        let head = segment.head().map(|(_, head)| head);
        if let Some(head) = &head {
            (behind, behind_known) = (0, 0);
            found.left_out_before.extend(head.left_out);
        }
        let own = head.map(|head| head.epoch);
        epoch = epoch.or(own).or_else(|| find_epoch(files, &numbers));
        let is_newest = numbers.last() == Some(number);
        gaps.extend(read_segment(
            (&segment, is_newest),
            epoch,
            &mut found,
            &mut given,
            &mut visit,
        ));
    }
    let mut next = found.next + behind;
    if known.last > 0 {
        found.left_out_before.push((known.first, known.last));
        next = next.max(known.last + 1 + behind_known);
    }
    // One that is all zeros may be a file that was made ahead and never written.
    let is_empty = |number: &u64| files.size(*number).is_ok_and(|size| size == 0);
    let is_gone = |number: &&u64| !numbers.contains(number) || is_empty(number);
    found.gone = known.unread.iter().filter(is_gone).copied().collect();
    if next > found.next {
        found.left_out = Some((found.next, next - 1));
        found.next = next;
    }
    found.left_out_before.sort_unstable();
    found.left_out_before.dedup();
    let left_out: Vec<_> = (found.left_out_before.iter().chain(&found.left_out))
        .copied()
        .collect();
    let base = found.base.unwrap_or(found.next);
    for missing in missing(&given, base, found.next, &left_out) {
        // One stretch may be of both kinds.
        let Missing { first, last } = missing;
        if first <= found.synced {
            found.damaged.push(Missing {
                first,
                last: last.min(found.synced),
            });
        }
        if last > found.synced {
            found.lost.push(Missing {
                first: first.max(found.synced + 1),
                last,
            });
        }
    }
    // The power may go when a later write has reached the disk and an earlier one has not. What a copy
    // was of tells no number: where any that was synced is missing, a gap may be damage.
    let (synced, any_missing) = (found.synced, !found.damaged.is_empty());
    let damaged = gaps
        .iter()
        .filter(|gap| any_missing || synced > gap.after)
        .map(|gap| gap.segment);
    found.unreadable.extend(damaged);
    Ok(found)
}

/// Bytes of a segment that are no frame, before one.
#[derive(Debug, Clone, Copy)]
struct Gap {
    segment: u64,
    /// The last number in the segment before them.
    after: u64,
}

/// The log's epoch, of the first head that can be read.
fn find_epoch<F: Files>(files: &F, numbers: &[u64]) -> Option<[u8; 16]> {
    numbers.iter().find_map(|number| {
        let segment = Segment {
            number: *number,
            bytes: files.read(*number).ok()?,
        };
        segment.head().map(|(_, head)| head.epoch)
    })
}

fn read_segment(
    (segment, is_newest): (&Segment, bool),
    epoch: Option<[u8; 16]>,
    found: &mut Replayed,
    given: &mut Live,
    visit: &mut impl FnMut(u64, &Frame<'_>),
) -> Option<Gap> {
    let Segment { number, bytes } = segment;
    let head = segment.head();
    let mut at = 0;
    let (mut first, mut highest) = (None, 0);
    if let Some((frame, head)) = head {
        if found.base.is_none() {
            given.begin_at(frame.number);
        }
        found.base.get_or_insert(frame.number);
        visit(*number, &frame);
        (at, first) = (frame.size(), Some(frame.number));
        found.next = found.next.max(head.next).max(frame.synced + 1);
        found.synced = found.synced.max(frame.synced);
        found.head = Some(head);
    }
    let salt = salt_of(
        &head
            .map(|(_, head)| head.epoch)
            .or(epoch)
            .unwrap_or_default(),
        *number,
    );
    let is_readable = head.is_some();
    let mut gap = None;
    // A head says the next number; its segment's first frame has it.
    let mut given_last = first.map_or(0, |first| first.saturating_sub(1));
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(frame) = frame::open(rest, salt) else {
            let Some(next) = frame::find(rest, salt) else {
                break;
            };
            gap = gap.or(Some(Gap {
                segment: *number,
                after: given_last,
            }));
            at += next;
            continue;
        };
        // What was written again is seen once.
        let is_again = !frame.flags.has(Flags::COPY) && given.contains(frame.number);
        note(&frame, found, given);
        highest = highest.max(frame.number);
        first = first.or_else(|| (!frame.flags.has(Flags::COPY)).then_some(frame.number));
        if !frame.flags.has(Flags::COPY) {
            given_last = given_last.max(frame.number);
        }
        if !is_again {
            visit(*number, &frame);
        }
        at += frame.size();
    }
    // Of the newest, not even the first page need have reached the disk.
    let is_torn = is_newest && first.is_none();
    if !is_readable && !is_torn {
        found.unreadable.push(*number);
    }
    // Without a head and without a frame of its own it begins where the last one ended.
    let begun = Begun {
        segment: *number,
        first: first.unwrap_or(found.next),
        size: bytes.len() as u64,
    };
    found.segments.push(begun);
    found.highest.push((*number, highest));
    gap.filter(|_| is_readable)
}

fn note(frame: &Frame<'_>, found: &mut Replayed, given: &mut Live) {
    found.synced = found.synced.max(frame.synced);
    if frame.kind == Kind::Void
        && let Ok(void) = postcard::from_bytes::<Missing>(frame.body)
    {
        (void.first..=void.last).for_each(|number| given.insert(number));
        found.next = found.next.max(void.last + 1);
    }
    given.insert(frame.number);
    // Each of them was given, though nothing else may be left of it: no number is given twice.
    found.next = found.next.max(frame.number + 1).max(frame.synced + 1);
    if !frame.flags.has(Flags::COPY) {
        found.base.get_or_insert(frame.number);
    }
}

fn missing(given: &Live, base: u64, next: u64, left_out: &[(u64, u64)]) -> Vec<Missing> {
    let mut out: Vec<Missing> = Vec::new();
    let mut number = base;
    while number < next {
        let mut ranges = left_out.iter();
        let range = ranges.find(|(first, last)| (*first..=*last).contains(&number));
        if let Some((_, last)) = range {
            // They may be a million.
            number = last + 1;
            continue;
        }
        if !given.contains(number) {
            match out.last_mut().filter(|missing| missing.last + 1 == number) {
                Some(missing) => missing.last = number,
                None => out.push(Missing {
                    first: number,
                    last: number,
                }),
            }
        }
        number += 1;
    }
    out
}
