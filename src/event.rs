//! The nouns of the house: what an event, a lane and an outcome are. No I/O, no async.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};
use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
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

/// The first eight bytes of a hash as a number.
#[must_use]
pub fn first_eight(hash: &[u8]) -> u64 {
    let short = |hash: &[u8]| {
        hash.iter()
            .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    };
    hash.first_chunk()
        .map_or_else(|| short(hash), |first| u64::from_be_bytes(*first))
}

/// Which `[batch.…]` group, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupIndex(pub usize);

/// Which `[[cache]]` route, by its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReadIndex(pub usize);

/// A keyed hash of everything that makes two calls "the same credential" (design ruling 10).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 16]);

/// Half of it tells any two of them apart.
impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(first_eight(&self.0));
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Four bytes tell lanes apart in a log and say nothing about the credential.
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
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

/// Who calls: a keyed hash of the host and of the recognised tokens, session cookies and keys.
/// Standing, order, barriers and limits go by it (design §4 `[identity]`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Principal(pub [u8; 16]);

/// Half of it tells any two of them apart.
impl Hash for Principal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(first_eight(&self.0));
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Whom the bearer of a renewed session counts as (ruling 24). Of a bearer that succeeded no other
/// principal all three are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Succession {
    /// The principal that its own tokens, cookies and keys make.
    pub bearer: Principal,
    /// The first of its family, as far back as each was known to be good when it was succeeded.
    pub known: Principal,
    /// The first of its family: its name in standing, order, barriers, limits and seen ids.
    pub first: Principal,
}

/// What is stored and shown for a caller goes by this: the fingerprint less the conditions that
/// differ between a caller's reads and writes (P8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct View(pub [u8; 16]);

/// Half of it tells any two of them apart.
impl Hash for View {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(first_eight(&self.0));
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .take(4)
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The host that was asked, as a hash: users of two hosts are two users (ruling 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Realm(pub u64);

/// The three keys of a caller, each narrower than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Keys {
    /// Everything that an application could judge the call by.
    pub fingerprint: Fingerprint,
    /// Less the conditions.
    pub view: View,
    /// The recognised tokens, session cookies and keys.
    pub principal: Principal,
    /// The host.
    pub realm: Realm,
    /// No token, session cookie or key is there: the principal stands for the client's address.
    pub nameless: bool,
}

/// Whose events a lane holds, as far as order and barriers go (rulings 15 and 17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner {
    /// Who called.
    pub principal: Principal,
    /// Of which host.
    pub realm: Realm,
    /// What the events are shown by.
    pub view: View,
    /// The user's name is a claim of the principal's own token: only then can other principals have
    /// the same user.
    pub claimed: bool,
}

/// What all calls of one fingerprint share (P13): kept once, in memory and in the journal. Never
/// printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Context {
    /// Its keys.
    pub keys: Keys,
    /// The host that was asked, with its port; none: the upstream's own.
    pub host: Option<Arc<str>>,
    /// The call was encrypted.
    pub https: bool,
    /// The headers that count, but for Cookie, as they came; values marked sensitive.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The cookies that count, each as `name=value`, in their order.
    pub cookies: Vec<Box<str>>,
    /// Members of the body and parameters of the query that count: `body:NAME` or `query:NAME`, and
    /// raw JSON.
    pub named: Vec<(Box<str>, Box<str>)>,
    /// What it takes of a bound while it lives.
    pub charge: Charge,
}

/// What is counted somewhere as long as this lives.
#[derive(Default)]
pub struct Charge(
    #[expect(dead_code, reason = "held, never looked at")] Option<Box<dyn Any + Send + Sync>>,
);

impl Charge {
    /// Holds what gives something back when it is dropped.
    #[must_use]
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(held)))
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Charge")
    }
}

/// A copy is counted nowhere.
impl Clone for Charge {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// It is no part of what a context is.
impl PartialEq for Charge {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Charge {}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({:?})", self.keys.fingerprint)
    }
}

/// Bytes of bookkeeping of one header or cookie in memory, estimated.
const ENTRY_BYTES: usize = 64;

impl Context {
    /// Nothing but keys.
    #[must_use]
    pub fn bare(keys: Keys) -> Self {
        let (headers, cookies, named, charge) =
            (Vec::new(), Vec::new(), Vec::new(), Charge::default());
        Self {
            keys,
            host: None,
            https: false,
            headers,
            cookies,
            named,
            charge,
        }
    }

    /// Whose events of this context are.
    #[must_use]
    pub const fn owner(&self, claimed: bool) -> Owner {
        let Keys {
            principal,
            realm,
            view,
            ..
        } = self.keys;
        Owner {
            principal,
            realm,
            view,
            claimed,
        }
    }

    /// Bytes that it takes in memory, estimated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + ENTRY_BYTES);
        let cookies = self.cookies.iter().map(|pair| pair.len() + ENTRY_BYTES);
        let named = self
            .named
            .iter()
            .map(|(name, raw)| name.len() + raw.len() + ENTRY_BYTES);
        headers.chain(cookies).chain(named).sum::<usize>() + 4 * ENTRY_BYTES
    }
}

impl Keys {
    /// Keys of a caller of whom a fingerprint is all that is known.
    #[must_use]
    pub const fn of(fingerprint: Fingerprint) -> Self {
        let (view, principal) = (View(fingerprint.0), Principal(fingerprint.0));
        Self {
            fingerprint,
            view,
            principal,
            realm: Realm(0),
            nameless: false,
        }
    }
}

/// A name under which cached answers are invalidated, as its hash: 64 bits, unkeyed, without regard
/// to case. A group may put in lower case what a read's address names as it likes. A collision only
/// invalidates more than needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub u64);

impl Tag {
    /// The tag of this name, e.g. `progress:42`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let digest = blake3::hash(without_case(name).as_bytes());
        Self(first_eight(digest.as_bytes()))
    }

    /// A tag of this name for what callers share.
    #[must_use]
    pub fn shared(name: &str) -> Self {
        Self(!Self::new(name).0)
    }

    /// [`own`](Self::own) and [`shared`](Self::shared) of one name.
    #[must_use]
    pub fn own_and_shared(name: &str, principal: Principal) -> [Self; 2] {
        let Self(number) = Self::new(name);
        [Self(number ^ first_eight(&principal.0)), Self(!number)]
    }

    /// One principal's own tag, as another's.
    #[must_use]
    pub fn handed(self, from: Principal, to: Principal) -> Self {
        Self(self.0 ^ first_eight(&from.0) ^ first_eight(&to.0))
    }

    /// A tag of this name that is one principal's own.
    #[must_use]
    pub fn own(name: &str, principal: Principal) -> Self {
        // A keyed hash, so its first bytes serve.
        Self(Self::new(name).0 ^ first_eight(&principal.0))
    }
}

/// A text in which letters that differ in their case are the same: each in upper case and then in
/// lower case, so that letters with two lower cases (the final sigma) have one.
fn without_case(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        return Cow::Owned(
            text.chars()
                .flat_map(char::to_uppercase)
                .flat_map(char::to_lowercase)
                .collect(),
        );
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    Cow::Borrowed(text)
}

/// What an event tells the state of, as a hash of its group's `key`: of two events of one lane and
/// one subject, the newer can make the older needless. 64 bits, unkeyed: whoever makes two of their
/// own subjects collide loses an older state of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subject(NonZeroU64);

impl Subject {
    /// Of these values, in their order; one that is absent differs from every one that is there.
    #[must_use]
    pub fn of<'a>(values: impl Iterator<Item = Option<&'a [u8]>>) -> Self {
        let mut hasher = blake3::Hasher::new();
        for value in values {
            hasher.update(
                &value
                    .map_or(0, |value| value.len() as u64 + 1)
                    .to_le_bytes(),
            );
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

/// The single call of an event, as it can be repeated on its legacy route: byte for byte as it came
/// (P13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Legacy<'a> {
    /// Its method.
    pub method: &'a str,
    /// Path with query.
    pub path: &'a str,
    /// The body, as it came.
    #[serde(borrow)]
    pub body: Raw<'a>,
}

/// What of its call travels with an event beside its [`Context`]: the remainder of its headers, and
/// the single call as it can be repeated.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Carried<'a> {
    /// The user's name is a claim of the caller's token.
    pub claimed: bool,
    /// The address at the other end of the client's connection.
    pub from: IpAddr,
    /// The client's address as it is believed.
    pub client: IpAddr,
    /// The headers that are not in the context, names and values, as they came.
    #[serde(borrow)]
    pub headers: Vec<(&'a str, Raw<'a>)>,
    /// The Cookie line with [`COUNTED`] in the place of each cookie of the context; empty: there
    /// was none.
    pub cookie: Raw<'a>,
    /// The single call, where the group may fall back to it.
    pub legacy: Option<Legacy<'a>>,
}

/// Stands in a stored Cookie line for the next cookie of the context. No header can hold it (RFC
/// 9110 §5.5).
pub const COUNTED: u8 = 1;

/// Begins what this version packs; what an earlier one packed began with the number of its headers,
/// which was small.
const PACKED: u8 = 0xff;
/// Begins it where the event may go under its group's service credential.
const PACKED_FOR_SERVICE: u8 = 0xfe;

/// What [`Carried`] begins with; only where it ends is of interest.
#[derive(serde::Deserialize)]
#[expect(dead_code, reason = "skipped, never looked at")]
struct Beside<'a> {
    claimed: bool,
    from: IpAddr,
    client: IpAddr,
    #[serde(borrow)]
    headers: Vec<(&'a str, Raw<'a>)>,
    cookie: Raw<'a>,
}

/// As earlier versions packed it.
#[derive(serde::Deserialize)]
struct EarlierCarried<'a> {
    #[serde(borrow)]
    headers: Vec<(&'a str, Raw<'a>)>,
    legacy: Option<Legacy<'a>>,
}

impl<'a> Carried<'a> {
    /// A single call and nothing else.
    #[must_use]
    pub const fn bare(legacy: Option<Legacy<'a>>) -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            claimed: false,
            from: nowhere,
            client: nowhere,
            headers: Vec::new(),
            cookie: Raw(b""),
            legacy,
        }
    }

    /// Bytes that it takes packed, estimated from above.
    fn bytes(&self) -> usize {
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.0.len() + 4)
            .sum::<usize>();
        let legacy = self.legacy.map_or(0, |call| {
            call.method.len() + call.path.len() + call.body.0.len()
        });
        headers + self.cookie.0.len() + legacy + ENTRY_BYTES
    }

    /// All but the single call and what is known late, in the compact form: what calls with one
    /// head have in common.
    #[must_use]
    pub fn pack_head(&self) -> Box<[u8]> {
        let mut packed = Vec::from(
            Self {
                legacy: None,
                ..self.clone()
            }
            .pack(),
        );
        // The mark of a single call that isn't there.
        packed.pop();
        packed.into()
    }

    /// The compact form of a head and a single call. `claimed`: as in the field; `for_service`: as
    /// in [`mark_for_service`](Self::mark_for_service).
    #[must_use]
    pub fn pack_with_head(
        head: &[u8],
        (claimed, for_service): (bool, bool),
        legacy: Option<Legacy<'_>>,
    ) -> Bytes {
        let more = legacy.map_or(0, |call| {
            call.method.len() + call.path.len() + call.body.0.len() + 16
        });
        let mut out = Vec::with_capacity(head.len() + more + 1);
        out.extend_from_slice(head);
        if let [mark, was_claimed, ..] = out.as_mut_slice() {
            *mark = if for_service {
                PACKED_FOR_SERVICE
            } else {
                PACKED
            };
            *was_claimed = u8::from(claimed);
        }
        // Serializing into a growing vector has no way to fail; nothing carried is the safe answer
        // all the same.
        let packed = postcard::to_extend(&legacy, out).unwrap_or_default();
        packed.into_boxed_slice().into()
    }

    /// In the compact form that an event holds.
    #[must_use]
    pub fn pack(&self) -> Bytes {
        // Serializing into a growing vector has no way to fail; nothing carried is the safe answer
        // all the same.
        let mut out = Vec::with_capacity(self.bytes());
        out.push(PACKED);
        postcard::to_extend(self, out).unwrap_or_default().into()
    }

    /// The compact form with the mark that the event may go under its group's service credential,
    /// or without it. Without it, as earlier versions packed everything, it goes with its own
    /// credential, whatever its group says by then (P3).
    #[must_use]
    pub fn mark_for_service(packed: Bytes, marked: bool) -> Bytes {
        let Some(before) = packed
            .first()
            .copied()
            .filter(|first| *first >= PACKED_FOR_SERVICE)
        else {
            return packed;
        };
        let mark = if marked { PACKED_FOR_SERVICE } else { PACKED };
        if before == mark {
            return packed;
        }
        let mut packed = BytesMut::from(packed);
        if let Some(first) = packed.first_mut() {
            *first = mark;
        }
        packed.freeze()
    }

    /// Whether a compact form has the mark.
    #[must_use]
    pub fn is_for_service(packed: &[u8]) -> bool {
        packed.first() == Some(&PACKED_FOR_SERVICE)
    }

    /// The part of a compact form that says what travels beside the single call; `None` for an
    /// earlier version's.
    #[must_use]
    pub fn beside(packed: &'a [u8]) -> Option<&'a [u8]> {
        let (&(PACKED | PACKED_FOR_SERVICE), packed) = packed.split_first()? else {
            return None;
        };
        let (Beside { .. }, single) = postcard::take_from_bytes(packed).ok()?;
        packed.get(..packed.len().checked_sub(single.len())?)
    }

    /// Whether a compact form says this of what travels beside the single call.
    #[must_use]
    pub fn says_beside(packed: &[u8], beside: &[u8]) -> bool {
        // Each field says where it ends, so what begins alike is alike.
        matches!(packed.split_first(), Some((&(PACKED | PACKED_FOR_SERVICE), packed)) if packed.starts_with(beside))
    }

    /// From the compact form, of this version or an earlier one; `None` if it is no such thing.
    #[must_use]
    pub fn unpack(packed: &'a [u8]) -> Option<Self> {
        if let Some((&(PACKED | PACKED_FOR_SERVICE), packed)) = packed.split_first() {
            return postcard::from_bytes(packed).ok();
        }
        let EarlierCarried {
            mut headers,
            legacy,
        } = postcard::from_bytes(packed).ok()?;
        // An earlier version read JSON only, and sent it as that.
        headers.push(("content-type", Raw(b"application/json")));
        Some(Self {
            headers,
            ..Self::bare(legacy)
        })
    }
}

/// One event, mapped and valid, ready to be kept. Small, since a million of them may be pending:
/// what only its delivery needs stays packed.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id, as the batch names it.
    pub id: EventId,
    /// Where it queues.
    pub lane: LaneKey,
    /// What it is sent with, and with nothing else (P3).
    pub context: Arc<Context>,
    /// The event as it stands in the batch: one serialized JSON object.
    pub json: Bytes,
    /// [`Carried`], packed.
    pub carried: Bytes,
    /// Whose it is.
    pub owner: Owner,
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
    /// A keyed hash of what it says, without what only this try of it says (ruling 21).
    pub content: u64,
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
    /// It is larger than its group's batches may be by now, and has no single call to go as.
    TooLarge,
    /// An operator had everything erased that was kept of its user.
    Forgotten,
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
            Self::TooLarge => "too_large",
            Self::Forgotten => "forgotten",
        }
    }
}
