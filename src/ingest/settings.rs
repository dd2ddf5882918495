//! What the event path can be told. Plain values; the configuration makes them, nobody parses here.

use crate::event::GroupIndex;
use crate::template::{JsonTemplate, Path, Source, Template, TemplateError};
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// A `[batch.NAME]` group.
#[derive(Debug, Clone)]
pub struct Group {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// How events go out, and where to.
    pub shape: Shape,
    /// Longest time from a window's first event to its seal.
    pub window: Duration,
    /// Seal at this many events.
    pub flush_at: usize,
    /// Most events in a batch (P6).
    pub max_events: usize,
    /// Most bytes in a batch body as serialized, envelope included (P6).
    pub max_bytes: usize,
    /// Oldest acceptable event, by its `time_field`.
    pub max_age: Duration,
    /// Field that holds the event's id; `clientEventId`.
    pub id_field: Arc<str>,
    /// Field that holds the event's time (Unix ms or ISO 8601); `timestamp`. Absent in an event:
    /// not checked.
    pub time_field: Arc<str>,
    /// An event for which one of these holds seals its window at once.
    pub flush_on: Vec<(Path, Condition)>,
    /// An event whose number at one of these places differs by this much from the last one sent of
    /// its subject seals its window at once; nothing sent counts as 0.
    pub flush_on_change: Vec<(Path, f64)>,
    /// A priority event of these groups seals this group's window of the same user and credential
    /// too; likewise the next event that comes within a window after it.
    pub flush_with: Vec<GroupIndex>,
    /// Groups with which it keeps one order: no event of a user and credential is offered before an
    /// older one of these.
    pub order_with: Vec<GroupIndex>,
    /// What an event tells the state of.
    pub key: Vec<KeyPart>,
    /// What becomes of older events of the same key (ruling 5).
    pub keep: Keep,
    /// Whose events may share a batch.
    pub pack: Pack,
    /// Pending events can be looked at (`[preview]`).
    pub shown: bool,
    /// What a batch body has around its events.
    pub envelope: Envelope,
    /// Headers of every batch, beside the credential.
    pub headers: Vec<(HeaderName, HeaderText)>,
    /// Where a reply speaks of single events.
    pub results: Results,
    /// What makes a 2xx a success; without it any 2xx is one that doesn't say otherwise.
    pub success: Option<Success>,
    /// Each entry: alternatives of which one must be present, not null, not "".
    pub require: Vec<Vec<Arc<str>>>,
    /// Fields lower-cased.
    pub lowercase: Vec<Arc<str>>,
    /// Numbers rounded and clamped to 0..=100; anything else makes the call go to the application.
    pub percent: Vec<Arc<str>>,
    /// Fields that, if present, must equal the user that the token names; else the application
    /// judges.
    pub same_user: Vec<Arc<str>>,
    /// Tags that an event makes old; templates over `user` and `event`.
    pub invalidates: Vec<Template>,
    /// A batch never holds one value of these fields twice; it is cut before the repetition (ruling
    /// 5).
    pub distinct: Vec<Path>,
    /// What becomes of an event that no batch takes.
    pub fallback: Fallback,
    /// What becomes of an event without an id.
    pub missing_id: MissingId,
    /// Reasons for which Tidegate refuses a call itself, instead of forwarding it
    /// ([`crate::ingest::accept::refusal::REFUSABLE`]).
    pub refuse: Vec<Box<str>>,
    /// Fields that differ from try to try of one event (ruling 21).
    pub volatile: Vec<Arc<str>>,
    /// Names under which elements of a client's own batch may carry a field: (found, canonical).
    pub aliases: Vec<(Arc<str>, Arc<str>)>,
    /// What a client's own batch meets.
    pub client_batches: ClientBatches,
    /// The answer to a client's own batch; sources `batch` (accepted, duplicates, failed, received)
    /// and `request_id`.
    pub reply: Reply,
    /// `failed` reasons that no retry can cure.
    pub permanent: Vec<Arc<str>>,
    /// Tries of one event that keeps failing, then dead letter.
    pub max_attempts: u32,
}

impl Group {
    /// Its events go out as single calls.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.shape == Shape::Single
    }

    /// Its batches go under a service's credential, not their events'.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.pack, Pack::Shared { .. })
    }
}

/// How a group's events go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// As batches.
    Batch(Target),
    /// Each as the single call that it is, on its own route.
    Single,
}

/// Which events of a window are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// All.
    All,
    /// Of each key the newest, and every priority event.
    Newest,
}

/// A part of what an event tells the state of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    /// Places in the event, of which the first that holds something counts; and as they were
    /// written.
    Places(Vec<Path>, Box<str>),
    /// A template over `body`, `event`, `path`, `query`, `header`, `cookie`, `jwt` and `user`.
    Template(Template),
}

impl KeyPart {
    /// `a`, `a|/b/c`, or a text with placeholders.
    ///
    /// # Errors
    /// A placeholder looks into what is not allowed, or a name is empty.
    pub fn parse(text: &str, allowed: &[Source]) -> Result<Self, KeyError> {
        if text.contains(['{', '}']) {
            return Ok(Self::Template(Template::parse(text, allowed)?));
        }
        let names: Vec<_> = text.split('|').map(str::trim).collect();
        if names.iter().any(|name| name.is_empty()) {
            return Err(KeyError::Empty);
        }
        Ok(Self::Places(
            names.into_iter().map(Path::parse).collect(),
            text.into(),
        ))
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        match self {
            Self::Places(_, source) => source,
            Self::Template(template) => template.source(),
        }
    }
}

/// A part of a key that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A name is empty.
    #[error(
        "a name is empty; allowed are places in the event such as \"lessonId\", \
         \"lessonId|courseId\" or \"/a/b\""
    )]
    Empty,
    /// Its template.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// What gives an event priority.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The value there (raw JSON compared as values) is one of these.
    Among(Vec<serde_json::Value>),
    /// The number there is at least this.
    AtLeast(f64),
    /// Something is there that is neither null nor "".
    Set,
}

/// Whose events may share a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pack {
    /// One user's, of one credential.
    User,
    /// Sealed windows of different users share batches (design §6); the application must trust the
    /// events' user ids.
    Shared {
        /// Longest wait of a sealed window for others to share a batch with.
        wait: Duration,
        /// Sent in place of the events' own credentials.
        credential: (HeaderName, HeaderValue),
    },
}

/// What a batch body has around its events.
#[derive(Debug, Clone)]
pub enum Envelope {
    /// `{"events":[…]}`.
    Plain,
    /// A document that holds `{events}`; beside it sources `header`, `cookie`, `jwt`, `user`,
    /// `now`, `uuid`, `batch.id`.
    Document(JsonTemplate),
}

/// The text of a header.
#[derive(Debug, Clone)]
pub enum HeaderText {
    /// Always the same; marked sensitive if it came from the environment.
    Fixed(HeaderValue),
    /// Of the credential of the batch's events; left out if it finds nothing.
    Rendered(Template),
}

/// What makes a 2xx a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    /// Where in the body.
    pub place: Path,
    /// What must stand there: one of these.
    pub values: Vec<serde_json::Value>,
}

/// Where a reply speaks of single events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    /// Tried in order; the first one with a list counts.
    pub places: Vec<Places>,
    /// In place of these: one entry per event, in the order of the batch.
    pub in_order: Option<InOrder>,
    /// Names of the id in a list's objects.
    pub id: Vec<Arc<str>>,
    /// Names of the reason in `failed`'s objects.
    pub reason: Vec<Arc<str>>,
    /// What an id in no list means.
    pub missing: Missing,
    /// A 2xx without any of the lists is no answer; else it means that all were taken.
    pub needed: bool,
}

/// Where the lists of a reply stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// Ids that were taken.
    pub accepted: Option<Path>,
    /// Ids that were there already.
    pub duplicates: Option<Path>,
    /// Ids that were refused, with reasons.
    pub failed: Option<Path>,
}

/// A list with one entry per event, in the order of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InOrder {
    /// Where the list stands.
    pub list: Path,
    /// Where in an entry its status stands; without a step, the entry itself.
    pub status: Path,
    /// Values of the status that mean: taken.
    pub accepted: Vec<serde_json::Value>,
    /// Values of the status that mean: there already.
    pub duplicate: Vec<serde_json::Value>,
}

/// What an id in no list of a reply means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Nobody said that it was taken: it is sent again.
    Retry,
    /// It was there already (an upsert that ignores duplicates and returns the rows that it made).
    Duplicate,
    /// It was taken (a reply that names what it refused, and nothing else).
    Accepted,
}

impl Default for Results {
    /// `accepted`, `duplicates` and `failed`, at the top or under `data`.
    fn default() -> Self {
        let places = |before: &[&str]| {
            let place = |name: &str| Some(Path::of(&[before, &[name]].concat()));
            Places {
                accepted: place("accepted"),
                duplicates: place("duplicates"),
                failed: place("failed"),
            }
        };
        Self {
            places: vec![places(&[]), places(&["data"])],
            in_order: None,
            id: vec!["id".into(), "clientEventId".into()],
            reason: vec!["reason".into()],
            missing: Missing::Retry,
            needed: false,
        }
    }
}

/// Where a group's batches go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A path on `[upstream]`.
    Path(Arc<str>),
    /// An absolute http URL.
    Url(http::Uri),
}

/// The shape of an answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status, 2xx.
    pub status: http::StatusCode,
    /// Body.
    pub body: JsonTemplate,
}

/// For an event that fails alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Repeat the single call on its legacy route, then dead letter.
    Single,
    /// Dead letter at once.
    DeadLetter,
}

/// For an event without an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingId {
    /// A fresh UUID.
    Generate,
    /// A hash of the whole call: method, target, principal, user and body. A repeated call is a
    /// duplicate.
    Hash,
    /// None: the call is declined, and so is one whose mapping draws one. Of a stage whose target has
    /// the single calls.
    Never,
}

/// For a POST to the batch path itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientBatches {
    /// Taken apart, deduplicated, kept event by event.
    TakeApart,
    /// Forwarded, after the user's lanes.
    Forward,
}

/// `[delivery]`.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Until the whole reply of one attempt is there.
    pub timeout: Duration,
    /// Batches in flight at once, over all lanes.
    pub max_in_flight: usize,
    /// Pauses after network errors; the last one repeats. Never empty.
    pub retry_network: Vec<Duration>,
    /// 5xx and failed events: exponential, full jitter.
    pub retry_server: Backoff,
    /// 429: `base` plus up to `jitter`, or a longer Retry-After.
    pub retry_limited: Limited,
    /// Consecutive 5xx after which the group's circuit opens.
    pub escalate_after: u32,
    /// Age at which an event that can't be delivered becomes a dead letter.
    pub give_up_after: Duration,
    /// A window is sealed this long before the token of its events expires.
    pub token_margin: Duration,
    /// How long a read waits for its user's lanes (P7).
    pub barrier: Duration,
}

/// Exponential back-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// First ceiling.
    pub base: Duration,
    /// Last ceiling.
    pub cap: Duration,
}

/// Pause after a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// At least this.
    pub base: Duration,
    /// Plus up to this.
    pub jitter: Duration,
}

/// `[limits]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Token bucket per user; none: unlimited.
    pub events_per_user: Option<Rate>,
    /// Users whose buckets are remembered; beyond it new users' calls are forwarded.
    pub max_users: usize,
    /// Lanes with events; at the cap the oldest open window is sealed.
    pub max_lanes: usize,
    /// Seen ids remembered; the oldest settled are forgotten first.
    pub max_seen: usize,
    /// Events of one user of a principal pending in one group; more are forwarded, so that one
    /// caller can't fill the journal.
    pub max_lane_events: usize,
    /// Dead letters kept; beyond it some are dropped, and counted.
    pub max_dead_letters: usize,
    /// Older dead letters are dropped, and counted.
    pub dead_letter_age: Duration,
    /// Largest body of an event call, unpacked; a larger one is forwarded as it comes.
    pub max_body: usize,
    /// Bytes that the contexts of one principal's pending events may take (ruling 25).
    pub max_context_bytes: usize,
    /// Bytes that bodies in memory may take, all calls together.
    pub max_body_memory: u64,
}

/// `rate` events per `per`, with a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Events.
    pub rate: u32,
    /// Per this.
    pub per: Duration,
    /// At once.
    pub burst: u32,
}
