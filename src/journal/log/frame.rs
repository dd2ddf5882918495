//! Frames: what a segment is made of. Each can be told from noise by itself.
//!
//! ```text
//! "TG" kind flags │ body length, u32 │ number, u64 │ last synced number, u64 │ CRC-32, u32 │ body
//! ```
//!
//! All numbers are little-endian. The checksum covers everything but itself and begins with the
//! segment's salt, so that what a file held before it was this segment's is no frame of it. Numbers
//! grow by one from frame to frame; a copy keeps the number of what it is a copy of.

/// Bytes before the body.
pub const HEADER: usize = 28;

const MAGIC: [u8; 2] = *b"TG";
const CHECKSUM: std::ops::Range<usize> = 24..28;

/// What a frame is; the letter stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// The first frame of a segment; its number is that of the first frame after it.
    Head = b'H',
    /// An event; its number is its place in the order.
    Event = b'E',
    /// What the calls of one fingerprint share, credentials among it.
    Context = b'C',
    /// Events that have their outcomes.
    Settled = b'K',
    /// Ids of settled events that a reclaimed segment held.
    Seen = b'I',
    /// An event that became a dead letter, and its outcome.
    Letter = b'D',
    /// Dead letters that are gone.
    Dropped = b'G',
    /// The principal that the bearer of a renewed session counts as.
    Succession = b'N',
    /// That a principal is refused, or isn't any more.
    Refusal = b'R',
    /// Numbers that count as if they had never been given.
    Void = b'V',
    /// The ledger's sums.
    State = b'S',
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Head,
        Self::Event,
        Self::Context,
        Self::Settled,
        Self::Seen,
        Self::Letter,
        Self::Dropped,
        Self::Succession,
        Self::Refusal,
        Self::Void,
        Self::State,
    ];

    fn of(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == letter)
    }
}

/// What is particular about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// A copy of a frame of a reclaimed segment, under its number.
    pub const COPY: Self = Self(1);
    /// Its body is sealed.
    pub const SEALED: Self = Self(2);
    /// Its event's caller was known to be good, by calls of its group, when it was kept.
    pub const GOOD: Self = Self(4);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is so whether or not its body is sealed.
    #[must_use]
    pub const fn without_seal(self) -> Self {
        Self(self.0 & !Self::SEALED.0)
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// What is particular about it.
    pub flags: Flags,
    /// Its number.
    pub number: u64,
    /// The last number that was synced when it was written.
    pub synced: u64,
    /// What it holds.
    pub body: &'a [u8],
}

impl Frame<'_> {
    /// Its length with its header, bytes.
    #[must_use]
    pub const fn size(&self) -> usize {
        HEADER + self.body.len()
    }
}

/// Appends a frame to `out`, still without its checksum: see [`finish_all`]. `write` appends the
/// body.
pub fn push(
    out: &mut Vec<u8>,
    kind: Kind,
    flags: Flags,
    number: u64,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[kind as u8, flags.0]);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&[0; HEADER - 16]);
    write(out);
    let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}

/// Puts the last synced number and a segment's checksums into frames that were [`push`]ed.
pub fn finish_all(mut bytes: &mut [u8], salt: u32, synced: u64) {
    while let Some(size) = size_of_next(bytes) {
        let Some((frame, rest)) = std::mem::take(&mut bytes).split_at_mut_checked(size) else {
            return;
        };
        if let Some(place) = frame.get_mut(16..24) {
            place.copy_from_slice(&synced.to_le_bytes());
        }
        let sum = checksum(frame, salt);
        if let Some(place) = frame.get_mut(CHECKSUM) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        bytes = rest;
    }
}

/// Frames one after the other in bytes that were [`push`]ed; checksums aren't looked at.
pub fn each(bytes: &[u8]) -> impl Iterator<Item = (Frame<'_>, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (whole, after) = rest.split_at_checked(size_of_next(rest)?)?;
        rest = after;
        Some((read(whole)?, whole))
    })
}

/// The frame that `bytes` begin with, if it is whole and of the segment with this salt.
#[must_use]
pub fn open(bytes: &[u8], salt: u32) -> Option<Frame<'_>> {
    let whole = bytes.get(..size_of_next(bytes)?)?;
    let sum = u32::from_le_bytes(whole.get(CHECKSUM)?.try_into().ok()?);
    (checksum(whole, salt) == sum)
        .then(|| read(whole))
        .flatten()
}

/// Where the next whole frame begins, if there is one; what lies before it is none.
#[must_use]
pub fn find(bytes: &[u8], salt: u32) -> Option<usize> {
    memchr::memmem::find_iter(bytes, &MAGIC).find(|at| {
        bytes
            .get(*at..)
            .is_some_and(|rest| open(rest, salt).is_some())
    })
}

/// Every whole frame of the segment with this salt; what is none is passed over, the head among it.
pub fn each_whole(bytes: &[u8], salt: u32) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            if let Some(frame) = open(rest, salt) {
                rest = rest.get(frame.size()..)?;
                return Some(frame);
            }
            rest = rest.get(find(rest, salt)?..)?;
        }
    })
}

/// How long the frame says that it is with which `bytes` begin, if one does.
pub(super) fn size_of_next(bytes: &[u8]) -> Option<usize> {
    let [b'T', b'G', _, _, length @ ..] = bytes else {
        return None;
    };
    let length = u32::from_le_bytes(length.get(..4)?.try_into().ok()?);
    HEADER.checked_add(usize::try_from(length).ok()?)
}

fn read(whole: &[u8]) -> Option<Frame<'_>> {
    let (head, body) = whole.split_at_checked(HEADER)?;
    let [_, _, kind, flags, ..] = *head else {
        return None;
    };
    let number =
        |range: std::ops::Range<usize>| Some(u64::from_le_bytes(head.get(range)?.try_into().ok()?));
    Some(Frame {
        kind: Kind::of(kind)?,
        flags: Flags(flags),
        number: number(8..16)?,
        synced: number(16..24)?,
        body,
    })
}

fn checksum(whole: &[u8], salt: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(whole.get(2..CHECKSUM.start).unwrap_or_default());
    hasher.update(whole.get(HEADER..).unwrap_or_default());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(number: u64, body: &[u8], salt: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, Kind::Event, Flags::COPY, number, |out| {
            out.extend_from_slice(body)
        });
        finish_all(&mut bytes, salt, number / 2);
        bytes
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_whole_and_only_with_its_salt(
            number: u64, salt: u32, body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = frame(number, &body, salt);
            let found = open(&bytes, salt).unwrap();
            let wanted = Frame { kind: Kind::Event, flags: Flags::COPY, number, synced: number / 2, body: &body };
            prop_assert_eq!((found, found.size()), (wanted, bytes.len()));
            prop_assert_eq!(open(&bytes, salt ^ 1), None);
        }

        #[test]
        fn one_flipped_bit_is_seen(at in 0usize..60, bit in 0u8..8) {
            let mut bytes = frame(3, &[7; 32], 9);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(open(&bytes, 9), None);
        }

        #[test]
        fn the_next_whole_frame_is_found_in_noise(
            noise in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..60,
        ) {
            let whole = frame(77, &[1; 40], 5);
            let mut bytes = noise.clone();
            bytes.extend_from_slice(&whole[..cut]);
            bytes.extend_from_slice(b"TG");
            let start = bytes.len();
            bytes.extend_from_slice(&whole);
            prop_assert_eq!(find(&bytes, 5), Some(start));
            prop_assert_eq!(find(&bytes, 6), None);
        }
    }

    #[test]
    fn frames_are_read_one_after_the_other_before_and_after_they_are_finished() {
        let mut bytes = Vec::new();
        for number in 1..=3 {
            push(&mut bytes, Kind::Settled, Flags::default(), number, |out| {
                out.resize(out.len() + 5, 1)
            });
        }
        let numbers = |bytes: &[u8]| {
            each(bytes)
                .map(|(frame, _)| frame.number)
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(&bytes), [1, 2, 3]);
        assert_eq!(open(&bytes, 4), None);
        finish_all(&mut bytes, 4, 0);
        assert!(each(&bytes).all(|(_, whole)| open(whole, 4).is_some()));
        assert_eq!(numbers(&bytes), [1, 2, 3]);
    }
}
