//! What frames hold. Numbers are little-endian or in postcard's variable length.
//!
//! | frame | body |
//! |---|---|
//! | event | the dead letter that it replaces or 0, u64; [`Record`] |
//! | context | its fingerprint, 16 bytes; the context, sealed or not ([`vault`](super::vault)) |
//! | settled | [`SettledEvent`]s |
//! | seen | [`SettledIds`] |
//! | letter | its event's number, u64; [`DeadRecord`] |
//! | dropped | [`DroppedLetters`] |
//! | succession | [`SuccessionRecord`] |
//! | refusal | [`RefusalRecord`] |
//! | void | [`Missing`](super::log::replay::Missing) |
//! | state | [`Sums`](super::log::writer::Sums) |

use super::log::frame;
use crate::event::{
    Carried, Event, EventId, Fingerprint, Outcome, Principal, Raw, Subject, Succession, TokenLife,
    UserId,
};
use serde::{Deserialize, Serialize};

/// Format of a directory. 3: the log is the project's own; directories of earlier formats are
/// drained by the versions that wrote them.
pub const FORMAT: u8 = 3;

/// Appends a body that serializes.
pub fn put(out: &mut Vec<u8>, body: &impl Serialize) {
    // Serializing into a growing vector has no way to fail.
    *out = postcard::to_extend(body, std::mem::take(out)).unwrap_or_default();
}

/// A body that serializes.
#[must_use]
pub fn bytes(body: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    put(&mut out, body);
    out
}

/// Appends a body behind a number of its own.
pub fn put_keyed(out: &mut Vec<u8>, key: u64, body: &[u8]) {
    out.extend_from_slice(&key.to_le_bytes());
    out.extend_from_slice(body);
}

/// Bytes of a frame of such a body.
#[must_use]
pub const fn keyed_size(body: &[u8]) -> u64 {
    (frame::HEADER + 8 + body.len()) as u64
}

/// The number and the rest of such a body.
#[must_use]
pub fn keyed(body: &[u8]) -> Option<(u64, &[u8])> {
    let (key, rest) = body.split_first_chunk()?;
    Some((u64::from_le_bytes(*key), rest))
}

/// Appends a context.
pub fn put_context(out: &mut Vec<u8>, fingerprint: Fingerprint, sealed: &[u8]) {
    out.extend_from_slice(&fingerprint.0);
    out.extend_from_slice(sealed);
}

/// Bytes of its frame.
#[must_use]
pub const fn context_size(sealed: &[u8]) -> u64 {
    (frame::HEADER + size_of::<Fingerprint>() + sealed.len()) as u64
}

/// Its fingerprint and what is stored of it.
#[must_use]
pub fn context(body: &[u8]) -> Option<(Fingerprint, &[u8])> {
    let (fingerprint, rest) = body.split_first_chunk()?;
    Some((Fingerprint(*fingerprint), rest))
}

/// An event that has its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledEvent {
    /// Its number.
    pub seq: u64,
    /// What became of it; dead letters have frames of their own.
    pub outcome: SettledAs,
    /// Its key among the seen ids, and the Unix milliseconds at which it may be forgotten.
    pub seen: Option<([u8; 16], u64)>,
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SettledAs {
    /// The upstream took it.
    Accepted,
    /// It had it.
    Duplicate,
    /// A newer one made it needless.
    Superseded,
    /// It is dead, and there is no letter of it.
    Dead,
}

impl SettledEvent {
    /// Of an outcome.
    #[must_use]
    pub const fn of(seq: u64, outcome: &Outcome, seen: Option<([u8; 16], u64)>) -> Self {
        let outcome = match outcome {
            Outcome::Accepted => SettledAs::Accepted,
            Outcome::Duplicate => SettledAs::Duplicate,
            Outcome::Superseded { .. } => SettledAs::Superseded,
            Outcome::Dead(_) => SettledAs::Dead,
        };
        Self { seq, outcome, seen }
    }
}

/// Dead letters that are gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedLetters {
    /// The numbers of their events.
    pub letters: Vec<u64>,
    /// There was no room for them; else an operator wanted it.
    pub for_room: bool,
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
    /// What it tells the state of; 0: nothing.
    pub subject: u64,
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
            id: event.id(),
            json: Raw(event.json()),
            carried: Raw(event.carried()),
            has_single: event.has_single,
            priority: event.priority,
            received_ms: crate::clock::millis(event.received_at),
            token_life_ms: event.token_life.map(TokenLife::as_ms),
            tags: event.tags.iter().map(|tag| tag.0).collect(),
            subject: event.subject.map_or(0, Subject::number),
        }
    }

    /// Whose lane it is in.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.credential)
    }

    /// Whether its event came in for its group's service credential.
    #[must_use]
    pub fn is_for_service(&self) -> bool {
        Carried::is_for_service(self.carried.0)
    }

    /// Whether its parts are what events are made of, not only well-formed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        EventId::can_be(self.id) && UserId::can_be(self.user)
    }
}

/// Ids of settled events, each with the Unix milliseconds at which it may be forgotten.
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
        let Succession {
            bearer,
            known,
            first,
        } = *succession;
        Self {
            bearer: bearer.0,
            known: known.0,
            first: first.0,
            until_ms,
        }
    }

    /// What it says.
    #[must_use]
    pub const fn succession(&self) -> Succession {
        let [bearer, known, first] = [
            Principal(self.bearer),
            Principal(self.known),
            Principal(self.first),
        ];
        Succession {
            bearer,
            known,
            first,
        }
    }
}

/// A refusal's body: what is known of a principal from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalRecord {
    principal: [u8; 16],
    /// Unix milliseconds at which it may be forgotten; 0: it is lifted.
    pub until_ms: u64,
    /// By what says that the application doesn't know who calls.
    pub is_unknown: bool,
    /// The names of the groups in which a success has lifted it.
    pub lifted: Vec<String>,
    /// None of its events that are for the service was pending: it says nothing of later ones.
    pub is_over: bool,
}

impl RefusalRecord {
    /// That this principal is refused until then, in Unix milliseconds, but for groups of these
    /// names.
    #[must_use]
    pub const fn new(
        principal: Principal,
        until_ms: u64,
        is_unknown: bool,
        lifted: Vec<String>,
    ) -> Self {
        Self {
            principal: principal.0,
            until_ms,
            is_unknown,
            lifted,
            is_over: false,
        }
    }

    /// That it is refused in no group.
    #[must_use]
    pub const fn lifted(principal: Principal) -> Self {
        Self::new(principal, 0, false, Vec::new())
    }

    /// The same, for what came before it only.
    #[must_use]
    pub fn over(self) -> Self {
        Self {
            is_over: true,
            ..self
        }
    }

    /// Who.
    #[must_use]
    pub const fn principal(&self) -> Principal {
        Principal(self.principal)
    }

    /// It says that the principal is refused, for later events too.
    #[must_use]
    pub const fn stands(&self) -> bool {
        self.until_ms > 0 && !self.is_over
    }
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

/// A letter's body, and behind it an excerpt of the application's answer, if there is one. Earlier
/// versions read over that, and their letters end before it.
#[must_use]
pub fn letter_bytes(letter: &DeadRecord<'_>, answer: Option<&str>) -> Vec<u8> {
    let mut stored = bytes(letter);
    if let Some(answer) = answer {
        stored.extend(bytes(&answer));
    }
    stored
}

/// What [`letter_bytes`] wrote, or an earlier version did.
#[must_use]
pub fn letter_body(bytes: &[u8]) -> Option<(DeadRecord<'_>, Option<&str>)> {
    let (letter, rest) = postcard::take_from_bytes(bytes).ok()?;
    Some((letter, body(rest)))
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
            let mut stored = Vec::new();
            put_keyed(&mut stored, number, &bytes(&record));
            prop_assert_eq!(frame::HEADER + stored.len(), usize::try_from(keyed_size(&bytes(&record))).unwrap());
            let (key, rest) = keyed(&stored).unwrap();
            prop_assert_eq!((key, body::<Record<'_>>(rest).unwrap()), (number, record.clone()));
            let letter = DeadRecord { reason: "r", attempts: 1, status: 0, died_ms: 9, event: record };
            let stored = bytes(&letter);
            prop_assert_eq!(letter_body(&stored).unwrap(), (letter.clone(), None));
            for answer in ["", "{\"error\": 1}"] {
                let stored = letter_bytes(&letter, Some(answer));
                prop_assert_eq!(letter_body(&stored).unwrap(), (letter.clone(), Some(answer)));
                prop_assert_eq!(body::<DeadRecord<'_>>(&stored).unwrap(), letter.clone(), "an earlier version");
            }
        }
    }
}
