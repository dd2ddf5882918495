//! A representation of which only some bytes are stored (RFC 9111 §3.3, §3.4; RFC 9110 §14,
//! §15.3.7).
//!
//! Bytes of different answers are put together only if all of them carry the same strong entity
//! tag; a part without one is not kept at all. Whatever is odd about a part (another unit, no
//! length, more or fewer bytes than it says, bytes that differ from those already there) means that
//! nothing is kept of it.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use std::ops::Range;

/// Pieces kept of one representation; a new part beyond that starts anew.
const MAX_PIECES: usize = 16;

/// Some bytes of a representation whose length is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    total: usize,
    // INVARIANT: in order, none empty, with a gap between any two of them, none beyond `total`.
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    start: usize,
    bytes: Bytes,
}

impl Piece {
    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }
}

/// What a 206 says that it holds: `bytes 2-4/10`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRange {
    /// Which bytes.
    pub range: Range<usize>,
    /// Of how many.
    pub total: usize,
}

impl ContentRange {
    /// Of a response with one part; `None` if it can't be read, or the length is not given.
    #[must_use]
    pub fn of(response: &HeaderMap) -> Option<Self> {
        let mut lines = response.get_all(header::CONTENT_RANGE).iter();
        let line = lines
            .next()
            .filter(|_| lines.next().is_none())?
            .to_str()
            .ok()?;
        let (unit, rest) = line.trim().split_once(' ')?;
        let (range, total) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, total) = (number(first)?, number(last)?, number(total)?);
        let is_valid = unit.eq_ignore_ascii_case("bytes") && first <= last && last < total;
        is_valid.then(|| Self {
            range: first..last + 1,
            total,
        })
    }
}

fn number(text: &str) -> Option<usize> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// The one strong entity tag of a message (RFC 9110 §8.8.3).
#[must_use]
pub fn strong_tag(headers: &HeaderMap) -> Option<&[u8]> {
    let mut lines = headers.get_all(header::ETAG).iter();
    let tag = lines
        .next()
        .filter(|_| lines.next().is_none())?
        .as_bytes()
        .trim_ascii();
    let inside = tag.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (!inside.contains(&b'"')).then_some(tag)
}

/// Whether a 206 is a part that can be kept.
#[must_use]
pub fn is_keepable(response: &HeaderMap) -> bool {
    strong_tag(response).is_some() && ContentRange::of(response).is_some()
}

/// Whether bytes under these two heads are of one representation (RFC 9111 §3.4).
#[must_use]
pub fn is_same(one: &HeaderMap, other: &HeaderMap) -> bool {
    let coding = |headers: &HeaderMap| headers.get(header::CONTENT_ENCODING).cloned();
    strong_tag(one).is_some()
        && strong_tag(one) == strong_tag(other)
        && coding(one) == coding(other)
}

impl Parts {
    /// One part, if it has the bytes that it says.
    #[must_use]
    pub fn new(shown: &ContentRange, bytes: Bytes) -> Option<Self> {
        let is_whole =
            !bytes.is_empty() && bytes.len() == shown.range.len() && shown.range.end <= shown.total;
        is_whole.then(|| Self {
            total: shown.total,
            pieces: vec![Piece {
                start: shown.range.start,
                bytes,
            }],
        })
    }

    /// Length of the representation, bytes.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.total
    }

    /// Bytes that are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// Never: there is at least one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// These bytes, if all of them are there.
    #[must_use]
    pub fn get(&self, range: &Range<usize>) -> Option<Bytes> {
        let piece = self
            .pieces
            .iter()
            .find(|piece| piece.start <= range.start && range.end <= piece.end())?;
        Some(
            piece
                .bytes
                .slice(range.start - piece.start..range.end - piece.start),
        )
    }

    /// The representation, if nothing is missing.
    #[must_use]
    pub fn whole(&self) -> Option<Bytes> {
        self.get(&(0..self.total))
    }

    /// What is missing, if that is in one place: the bytes before it, its range, the bytes after
    /// it.
    #[must_use]
    pub fn gap(&self) -> Option<(Bytes, Range<usize>, Bytes)> {
        let (first, last) = (self.pieces.first()?, self.pieces.last()?);
        match self.pieces.as_slice() {
            [only] if only.start == 0 && only.end() < self.total => {
                Some((only.bytes.clone(), only.end()..self.total, Bytes::new()))
            }
            [only] if only.start > 0 && only.end() == self.total => {
                Some((Bytes::new(), 0..only.start, only.bytes.clone()))
            }
            [_, _] if first.start == 0 && last.end() == self.total => Some((
                first.bytes.clone(),
                first.end()..last.start,
                last.bytes.clone(),
            )),
            _ => None,
        }
    }

    /// The whole representation, if these bytes are of it.
    #[must_use]
    pub fn join_whole(&self, whole: &Bytes) -> Option<Self> {
        let whole = Self::new(
            &ContentRange {
                range: 0..whole.len(),
                total: whole.len(),
            },
            whole.clone(),
        )?;
        whole.join(self)
    }

    /// Both together, if they agree on the length and on every byte that both have, and are few
    /// enough pieces.
    #[must_use]
    pub fn join(&self, other: &Self) -> Option<Self> {
        if self.total != other.total {
            return None;
        }
        let mut all: Vec<&Piece> = self.pieces.iter().chain(&other.pieces).collect();
        all.sort_by_key(|piece| piece.start);
        let mut pieces: Vec<Piece> = Vec::new();
        for piece in all {
            match pieces.last_mut().filter(|last| piece.start <= last.end()) {
                Some(last) => last.bytes = extended(last, piece)?,
                None => pieces.push(piece.clone()),
            }
        }
        (pieces.len() <= MAX_PIECES).then_some(Self {
            total: self.total,
            pieces,
        })
    }
}

/// A piece with one that begins in it or right behind it.
fn extended(first: &Piece, second: &Piece) -> Option<Bytes> {
    let offset = second.start.checked_sub(first.start)?;
    let shared = first.bytes.get(offset..)?;
    let overlap = shared.len().min(second.bytes.len());
    if shared.get(..overlap) != second.bytes.get(..overlap) {
        return None;
    }
    let more = second.bytes.get(overlap..)?;
    if more.is_empty() {
        return Some(first.bytes.clone());
    }
    let mut joined = BytesMut::with_capacity(first.bytes.len() + more.len());
    joined.extend_from_slice(&first.bytes);
    joined.extend_from_slice(more);
    Some(joined.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &[u8] = b"0123456789";

    fn part(range: Range<usize>) -> Parts {
        let bytes = Bytes::from_static(&WHOLE[range.clone()]);
        Parts::new(
            &ContentRange {
                range,
                total: WHOLE.len(),
            },
            bytes,
        )
        .unwrap()
    }

    #[test]
    fn parts_that_touch_or_overlap_become_one_and_others_leave_a_gap() {
        assert_eq!(
            part(0..3).join(&part(3..10)).unwrap().whole().unwrap(),
            WHOLE
        );
        assert_eq!(
            part(4..10).join(&part(0..6)).unwrap().whole().unwrap(),
            WHOLE
        );
        let apart = part(7..10).join(&part(0..3)).unwrap();
        assert_eq!(
            (
                apart.whole(),
                apart.get(&(2..4)),
                apart.get(&(1..3)).unwrap().as_ref()
            ),
            (None, None, &b"12"[..])
        );
        let (before, gap, after) = apart.gap().unwrap();
        assert_eq!((&*before, gap, &*after), (&b"012"[..], 3..7, &b"789"[..]));
        assert_eq!(part(2..3).gap(), None, "two gaps");
    }

    #[test]
    fn parts_that_contradict_one_another_are_not_joined() {
        let other = Parts::new(
            &ContentRange {
                range: 2..5,
                total: 10,
            },
            Bytes::from_static(b"2x4"),
        )
        .unwrap();
        assert_eq!(part(0..4).join(&other), None);
        let longer = Parts::new(
            &ContentRange {
                range: 4..6,
                total: 11,
            },
            Bytes::from_static(b"45"),
        )
        .unwrap();
        assert_eq!(part(0..4).join(&longer), None);
        assert_eq!(
            Parts::new(
                &ContentRange {
                    range: 4..10,
                    total: 10
                },
                Bytes::from_static(b"45678")
            ),
            None
        );
    }

    #[test]
    fn pieces_are_bounded() {
        let bytes = [7; 100];
        let one = |start: usize| {
            let shown = ContentRange {
                range: start..start + 1,
                total: 100,
            };
            Parts::new(&shown, Bytes::copy_from_slice(&bytes[start..=start])).unwrap()
        };
        let mut all = one(0);
        for index in 1..MAX_PIECES {
            all = all.join(&one(index * 2)).unwrap();
        }
        assert_eq!(all.join(&one(99)), None);
        assert_eq!(
            all.join(&one(1)).unwrap().len(),
            MAX_PIECES + 1,
            "one that fills a gap is no further piece"
        );
    }

    proptest! {
        #[test]
        fn whatever_order_parts_come_in_each_byte_is_the_representations(
            ranges in prop::collection::vec((0_usize..10, 1_usize..5), 1..12),
        ) {
            let mut all: Option<Parts> = None;
            let mut there = [false; 10];
            for (start, length) in ranges {
                let range = start..(start + length).min(10);
                there[range.clone()].fill(true);
                let part = part(range);
                all = Some(all.map_or(part.clone(), |all| all.join(&part).unwrap()));
            }
            let all = all.unwrap();
            prop_assert_eq!(all.len(), there.iter().filter(|there| **there).count());
            for (index, there) in there.iter().enumerate() {
                let found = all.get(&(index..index + 1));
                prop_assert_eq!(found.as_deref(), there.then(|| &WHOLE[index..=index]));
            }
        }
    }
}
