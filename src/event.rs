//! The nouns of the house: what an event, a lane and an outcome are. No I/O, no async.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Longest accepted event id, in bytes.
pub const MAX_ID_BYTES: usize = 256;
/// Longest accepted user id, in bytes.
pub const MAX_USER_BYTES: usize = 256;

/// Why a string can't be an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// More than the limit, in bytes.
    #[error("has {0} bytes, {MAX_ID_BYTES} are allowed")]
    TooLong(usize),
    /// A control character, which no header could carry.
    #[error("holds a control character")]
    Control,
}

fn checked(text: &str) -> Result<Arc<str>, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong(text.len()));
    }
    if text.chars().any(char::is_control) {
        return Err(IdError::Control);
    }
    Ok(text.into())
}

/// The identifier of an event, unique for its user: 1 to 256 bytes, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Arc<str>);

impl EventId {
    /// # Errors
    /// Empty, over 256 bytes, or with a control character.
    pub fn try_new(text: &str) -> Result<Self, IdError> {
        checked(text).map(Self)
    }
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The user an event belongs to: 1 to 256 bytes, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

impl UserId {
    /// # Errors
    /// Empty, over 256 bytes, or with a control character.
    pub fn try_new(text: &str) -> Result<Self, IdError> {
        checked(text).map(Self)
    }
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which `[batch.…]` group, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupIndex(pub usize);

/// A keyed hash of everything that makes two calls "the same credential" (design ruling 10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Four bytes tell lanes apart in a log and say nothing about the credential.
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// One lane: events that keep their order and may share a batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LaneKey {
    /// The batch group.
    pub group: GroupIndex,
    /// The user.
    pub user: UserId,
    /// The credential, as its fingerprint.
    pub credential: Fingerprint,
}

/// The headers that an event's call was authenticated by. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// What the headers hash to.
    pub fingerprint: Fingerprint,
    /// The headers as they go to the upstream, values marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({:?})", self.fingerprint)
    }
}

impl Credential {
    /// Bytes that its headers take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    }
}

/// A name under which cached answers are invalidated, as its hash into the table of generations: 64 bits, unkeyed. A
/// collision only invalidates more than needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub u64);

impl Tag {
    /// The tag of this name, e.g. `progress:42`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let digest = blake3::hash(name.as_bytes());
        Self(digest.as_bytes().iter().take(8).fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte)))
    }
}

/// What an event tells the state of, as a hash of its group's `key` (or of its type and its `supersede` fields): of two
/// events of one lane and one subject, the newer can make the older needless. 64 bits, unkeyed: whoever makes two of
/// their own subjects collide loses an older state of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject(NonZeroU64);

impl Subject {
    /// Of these values, in their order; one that is absent differs from every one that is there.
    #[must_use]
    pub fn of<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for value in values {
            hasher.update(&value.map_or(0, |value| value.len() as u64 + 1).to_le_bytes());
            hasher.update(value.unwrap_or_default());
        }
        let mut short = [0; 8];
        hasher.finalize_xof().fill(&mut short);
        Self::from_number(u64::from_le_bytes(short)).unwrap_or(Self(NonZeroU64::MIN))
    }

    /// As the journal keeps it; 0 is none.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        NonZeroU64::new(number).map(Self)
    }

    /// For the journal.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0.get()
    }
}

/// Bytes that serialize in one piece and are read back without a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a>(pub &'a [u8]);

impl serde::Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Raw<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(from).map(Self)
    }
}

/// The single call of an event, as it can be repeated on its legacy route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Legacy<'a> {
    /// Its method.
    pub method: &'a str,
    /// Path with query.
    pub path: &'a str,
    /// The body, without its content coding.
    #[serde(borrow)]
    pub body: Raw<'a>,
}

/// What of its call travels with an event: headers that go with its batch, and the single call as it can be repeated on
/// its legacy route.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Carried<'a> {
    /// Names and values of the headers.
    #[serde(borrow)]
    pub headers: Vec<(&'a str, Raw<'a>)>,
    /// The single call.
    pub legacy: Option<Legacy<'a>>,
}

impl<'a> Carried<'a> {
    /// In the compact form that an event holds.
    #[must_use]
    pub fn pack(&self) -> Bytes {
        // Serializing into a growing vector has no way to fail; nothing carried is the safe answer all the same.
        postcard::to_allocvec(self).unwrap_or_default().into()
    }

    /// From the compact form; `None` if it is no such thing.
    #[must_use]
    pub fn unpack(packed: &'a [u8]) -> Option<Self> {
        postcard::from_bytes(packed).ok()
    }
}

/// One event, mapped and valid, ready to be kept. Small, since a million of them may be pending: what only its delivery
/// needs stays packed.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id, as the batch names it.
    pub id: EventId,
    /// Where it queues.
    pub lane: LaneKey,
    /// What it is sent with, and with nothing else (P3).
    pub credential: Arc<Credential>,
    /// The event as it stands in the batch: one serialized JSON object.
    pub json: Bytes,
    /// [`Carried`], packed.
    pub carried: Bytes,
    /// Whether the group may fall back to the single call.
    pub has_single: bool,
    /// Cached answers that this event makes old.
    pub tags: Arc<[Tag]>,
    /// Seals its window at once, with everything before it (`flush_on`).
    pub priority: bool,
    /// When it was received, wall clock.
    pub received_at: SystemTime,
    /// How long from then its token lives, if it says so.
    pub token_life: Option<Duration>,
    /// What it tells the state of, where its group wants to know.
    pub subject: Option<Subject>,
}

/// What finally became of an event. Each acknowledged event gets exactly one (P2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream took it.
    Accepted,
    /// The upstream had it already.
    Duplicate,
    /// A newer event of the same window made it needless.
    Superseded {
        /// The event that was sent in its place.
        by: EventId,
    },
    /// It went to the dead letters.
    Dead(Reason),
}

/// Why an event became a dead letter. The same word in log, metric, response and test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The upstream refused it alone with a 4xx.
    Refused,
    /// The upstream listed it under `failed` with a permanent reason.
    FailedPermanently,
    /// It failed `max_attempts` times.
    TooManyAttempts,
    /// 401 or 403 until `give_up_after`.
    CredentialRejected,
    /// The upstream could not be reached until `give_up_after`.
    GaveUp,
    /// Its group is no longer configured.
    GroupRemoved,
    /// Its credential was damaged in the journal; it is never sent with another one.
    CredentialLost,
}

impl Reason {
    /// The reason's one name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::FailedPermanently => "failed_permanently",
            Self::TooManyAttempts => "too_many_attempts",
            Self::CredentialRejected => "credential_rejected",
            Self::GaveUp => "gave_up",
            Self::GroupRemoved => "group_removed",
            Self::CredentialLost => "credential_lost",
        }
    }
}
