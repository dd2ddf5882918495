//! Records as they lie on disk: framed so that each can be told from noise by itself.
//!
//! ```text
//! "TG" kind version │ body length, u32 │ CRC-32 of the rest, u32 │ number, u64 │ body
//! ```
//!
//! All numbers are little-endian. The engine has checksums of its own; these frames are for the day on which its files
//! are damaged: whatever frame is still whole can be found in the raw bytes ([`scan`]).

use crate::event::{Event, EventId, Fingerprint, Principal, Raw, Subject, Succession};
use serde::{Deserialize, Serialize};

/// Format of a directory; a newer one is refused. 1: contexts were headers of a credential only. Successions are of this
/// format: a version that doesn't know them passes over their frames in damaged files, leaves their table as it is, and
/// takes the bearer of a renewed session for another principal.
pub const FORMAT: u8 = 2;
/// Format of a frame.
const FRAME: u8 = 1;

const HEADER: usize = 20;

/// What a record is. The letter stands in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A pending event; its number is its place in the order.
    Event,
    /// A credential; numberless.
    Credential,
    /// Ids settled in one commit; its number is the commit's.
    Settled,
    /// A dead letter; its number is the event's.
    Dead,
    /// Whom the bearer of a renewed session counts as; numberless. Earlier versions of this format pass over it.
    Succession,
    /// The last record of every commit; its number is the commit's.
    State,
}

impl Kind {
    const fn letter(self) -> u8 {
        match self {
            Self::Event => b'E',
            Self::Credential => b'C',
            Self::Settled => b'K',
            Self::Dead => b'D',
            Self::Succession => b'N',
            Self::State => b'S',
        }
    }

    const fn of(letter: u8) -> Option<Self> {
        match letter {
            b'E' => Some(Self::Event),
            b'C' => Some(Self::Credential),
            b'K' => Some(Self::Settled),
            b'D' => Some(Self::Dead),
            b'N' => Some(Self::Succession),
            b'S' => Some(Self::State),
            _ => None,
        }
    }
}

/// A whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its number.
    pub number: u64,
    /// What it holds.
    pub body: &'a [u8],
    /// All of it, header included.
    pub whole: &'a [u8],
}

/// A frame around a body that serializes.
#[must_use]
pub fn frame(kind: Kind, number: u64, body: &impl Serialize) -> Vec<u8> {
    let mut bytes = draft(kind, body);
    finish(&mut bytes, number);
    bytes
}

/// A frame without its number, to be [`finish`]ed by who knows it.
#[must_use]
pub fn draft(kind: Kind, body: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    bytes.extend_from_slice(&[b'T', b'G', kind.letter(), FRAME]);
    bytes.resize(HEADER, 0);
    // Serializing into a growing vector has no way to fail; a frame without a body would not be read back.
    postcard::to_extend(body, bytes).unwrap_or_default()
}

/// Puts number, length and checksum into a draft.
pub fn finish(bytes: &mut [u8], number: u64) {
    let Some((head, body)) = bytes.split_at_mut_checked(HEADER) else { return };
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut put = |range: std::ops::Range<usize>, value: &[u8]| {
        if let Some(place) = head.get_mut(range) {
            place.copy_from_slice(value);
        }
    };
    put(4..8, &length.to_le_bytes());
    put(12..20, &number.to_le_bytes());
    let sum = checksum(head.get(2..3).unwrap_or_default(), number, body);
    if let Some(place) = head.get_mut(8..12) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

fn checksum(kind: &[u8], number: u64, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(kind);
    hasher.update(&number.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// The frame that `bytes` begin with, if it is whole.
#[must_use]
pub fn open(bytes: &[u8]) -> Option<Frame<'_>> {
    let (head, rest) = bytes.split_at_checked(HEADER)?;
    let [b'T', b'G', letter, FRAME, numbers @ ..] = head else { return None };
    let kind = Kind::of(*letter)?;
    let length = usize::try_from(u32::from_le_bytes(numbers.get(0..4)?.try_into().ok()?)).ok()?;
    let sum = u32::from_le_bytes(numbers.get(4..8)?.try_into().ok()?);
    let number = u64::from_le_bytes(numbers.get(8..16)?.try_into().ok()?);
    let (body, whole) = (rest.get(..length)?, bytes.get(..HEADER.checked_add(length)?)?);
    (checksum(&[*letter], number, body) == sum).then_some(Frame { kind, number, body, whole })
}

/// Every whole frame somewhere in `bytes`.
pub fn scan<'a>(bytes: &'a [u8]) -> impl Iterator<Item = Frame<'a>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        loop {
            let at = memchr::memmem::find(rest, b"TG")?;
            rest = rest.get(at..)?;
            let Some(found) = open(rest) else {
                rest = rest.get(2..)?;
                continue;
            };
            rest = rest.get(found.whole.len()..)?;
            return Some(found);
        }
    })
}

/// A pending event's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// The batch group's name: numbers change with the configuration, names don't (ruling 7).
    pub group: &'a str,
    /// The user.
    pub user: &'a str,
    /// Which credential.
    pub credential: [u8; 16],
    /// The key of its id among the seen ones.
    pub seen: [u8; 16],
    /// The event's id.
    pub id: &'a str,
    /// The event as it stands in the batch.
    #[serde(borrow)]
    pub json: Raw<'a>,
    /// What of its call travels with it, packed.
    #[serde(borrow)]
    pub carried: Raw<'a>,
    /// Whether it may be repeated as a single call.
    pub has_single: bool,
    /// Seals its window at once.
    pub priority: bool,
    /// Unix milliseconds.
    pub received_ms: u64,
    /// How long from then its token lives, milliseconds.
    pub token_life_ms: Option<u64>,
    /// Tags that it makes old.
    pub tags: Vec<u64>,
    /// What it tells the state of; 0: nothing. Records of earlier versions end before it.
    #[serde(deserialize_with = "or_none")]
    pub subject: u64,
}

/// The last field of a record, which earlier versions did not write.
fn or_none<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    // INVARIANT: nothing may follow it in any record, or bytes of the next field would be taken for it.
    Ok(u64::deserialize(from).unwrap_or(0))
}

impl<'a> Record<'a> {
    /// Of an event, under its group's name.
    #[must_use]
    pub fn of(event: &'a Event, group: &'a str, seen: [u8; 16]) -> Self {
        Self {
            group,
            user: event.lane.user.as_str(),
            credential: event.lane.credential.0,
            seen,
            id: event.id.as_str(),
            json: Raw(&event.json),
            carried: Raw(&event.carried),
            has_single: event.has_single,
            priority: event.priority,
            received_ms: crate::clock::millis(event.received_at),
            token_life_ms: event.token_life.map(|life| u64::try_from(life.as_millis()).unwrap_or(u64::MAX)),
            tags: event.tags.iter().map(|tag| tag.0).collect(),
            subject: event.subject.map_or(0, Subject::number),
        }
    }

    /// Whose lane it is in.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.credential)
    }

    /// Whether its parts are what events are made of, not only well-formed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        EventId::try_new(self.id).is_ok() && crate::event::UserId::try_new(self.user).is_ok()
    }
}

/// Ids settled in one commit, each with the Unix milliseconds at which it may be forgotten.
pub type SettledIds = Vec<([u8; 16], u64)>;

/// A succession's body: keyed hashes, and no value of any cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccessionRecord {
    bearer: [u8; 16],
    known: [u8; 16],
    first: [u8; 16],
    /// Unix milliseconds at which it may be forgotten.
    pub until_ms: u64,
}

impl SuccessionRecord {
    /// Of a succession.
    #[must_use]
    pub const fn of(succession: &Succession, until_ms: u64) -> Self {
        let Succession { bearer, known, first } = *succession;
        Self { bearer: bearer.0, known: known.0, first: first.0, until_ms }
    }

    /// What it says.
    #[must_use]
    pub const fn succession(&self) -> Succession {
        let [bearer, known, first] = [Principal(self.bearer), Principal(self.known), Principal(self.first)];
        Succession { bearer, known, first }
    }
}

/// The succession that a stored value is, if it is a whole one.
#[must_use]
pub fn open_succession(bytes: &[u8]) -> Option<SuccessionRecord> {
    let frame = open(bytes).filter(|frame| frame.kind == Kind::Succession)?;
    body(frame.body)
}

/// The end of every commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The next event's number; every lower one was given.
    pub next_seq: u64,
    /// Events taken by the upstream, since the directory was made.
    pub accepted: u64,
    /// Known already, here or there.
    pub duplicate: u64,
    /// Made needless.
    pub superseded: u64,
    /// Given up, and not replayed since.
    pub dead: u64,
    /// Dead letters dropped for want of room.
    pub dropped: u64,
}

/// A dead letter's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadRecord<'a> {
    /// Why.
    pub reason: &'a str,
    /// Times it failed by name.
    pub attempts: u32,
    /// The upstream's last status; 0: none.
    pub status: u16,
    /// Unix milliseconds.
    pub died_ms: u64,
    /// The event.
    #[serde(borrow)]
    pub event: Record<'a>,
}

/// A body, if it is one.
#[must_use]
pub fn body<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_comes_back_whole(
            group in "[a-z]{1,9}", user in ".{1,40}", id in ".{1,40}", number: u64, has_single: bool, priority: bool,
            json in proptest::collection::vec(any::<u8>(), 0..300), carried in proptest::collection::vec(any::<u8>(), 0..99),
            tags in proptest::collection::vec(any::<u64>(), 0..4), subject: u64,
        ) {
            let record = Record {
                group: &group, user: &user, credential: [7; 16], seen: [9; 16], id: &id, json: Raw(&json),
                carried: Raw(&carried), has_single, priority, received_ms: 5, token_life_ms: Some(number), tags,
                subject,
            };
            let bytes = frame(Kind::Event, number, &record);
            let found = open(&bytes).unwrap();
            prop_assert_eq!((found.kind, found.number, found.whole), (Kind::Event, number, &bytes[..]));
            prop_assert_eq!(body::<Record<'_>>(found.body).unwrap(), record);
        }

        #[test]
        fn a_record_of_an_earlier_version_comes_back_without_a_subject(user in ".{1,40}", tags in proptest::collection::vec(any::<u64>(), 0..4)) {
            let record = Record {
                group: "g", user: &user, credential: [7; 16], seen: [9; 16], id: "a", json: Raw(b"{}"), carried: Raw(b""),
                has_single: true, priority: false, received_ms: 5, token_life_ms: None, tags, subject: 0,
            };
            let mut bytes = postcard::to_allocvec(&record).unwrap();
            prop_assert_eq!(bytes.pop(), Some(0));
            prop_assert_eq!(body::<Record<'_>>(&bytes).unwrap(), record.clone());
            let letter = DeadRecord { reason: "r", attempts: 1, status: 0, died_ms: 9, event: record };
            let mut bytes = postcard::to_allocvec(&letter).unwrap();
            prop_assert_eq!(bytes.pop(), Some(0));
            prop_assert_eq!(body::<DeadRecord<'_>>(&bytes).unwrap(), letter);
        }

        #[test]
        fn one_flipped_bit_is_seen(at in 0usize..200, bit in 0u8..8) {
            let mut bytes = frame(Kind::State, 3, &State { next_seq: 1 << 40, accepted: 12, ..State::default() });
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(open(&bytes), None);
        }

        #[test]
        fn whole_frames_are_found_in_noise(noise in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..60) {
            let state = frame(Kind::State, 77, &State::default());
            let mut bytes = noise.clone();
            bytes.extend_from_slice(&state[..cut.min(state.len() - 1)]);
            bytes.extend_from_slice(b"TG");
            bytes.extend_from_slice(&state);
            bytes.extend_from_slice(&noise);
            bytes.extend_from_slice(&state);
            let found: Vec<_> = scan(&bytes).map(|frame| frame.number).collect();
            prop_assert_eq!(found, [77, 77]);
        }
    }
}
