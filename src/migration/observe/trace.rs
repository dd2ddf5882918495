//! What is kept on paper of an event, and of a call that goes after its caller's events: keyed hashes
//! of who and what, sizes, times. Neither a body, nor an id, a user's name or a credential. Of fields
//! that a group's `distinct` names the hash of the value is kept, of those of `flush_on_change` the
//! number, since it is compared.

use crate::event::{EventId, GroupIndex, LaneKey, Owner, Subject, TokenLife, UserId};
use crate::ingest::Asker;
use crate::ingest::accept::watch::Observed;
use crate::ingest::lanes::window::{Entry, Rules};
use crate::template::Path;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use tokio::time::Instant;

/// The places in a group's events that its windows look at.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    places: Arc<[Path]>,
    /// How many of them, at the end, hold numbers that are compared.
    numbers: usize,
}

impl Watched {
    pub(super) fn of(rules: &Rules) -> Self {
        let change = rules.change.iter().map(|(path, _)| path);
        Self {
            places: rules.distinct.iter().chain(change).cloned().collect(),
            numbers: rules.change.len(),
        }
    }
}

/// An event on paper.
#[derive(Debug)]
pub(super) struct Trace {
    /// Its place in the order of all events; given when it is worked on.
    pub(super) seq: u64,
    /// When its call came.
    pub(super) at: Instant,
    /// Hash of its user.
    pub(super) user: u64,
    /// Its batches are asked of an application by https.
    pub(super) https: bool,
    id: EventId,
    lane: LaneKey,
    owner: Owner,
    token_life: Option<TokenLife>,
    bytes: usize,
    envelope: usize,
    priority: bool,
    has_single: bool,
    subject: Option<Subject>,
    places: Arc<[Path]>,
    values: Box<[Option<Box<[u8]>>]>,
}

impl Trace {
    /// Of an event that came now; none if its hashes can't be written as names, which doesn't
    /// happen.
    pub(super) fn of(
        observed: &Observed<'_>,
        watched: &Watched,
        hasher: &RandomState,
        at: Instant,
    ) -> Option<Self> {
        let event = observed.event;
        let user = hash_of(&event.lane.user, hasher);
        let id = hasher.hash_one(event.id());
        let first_number = watched.places.len().saturating_sub(watched.numbers);
        let read = |(place, path): (usize, &Path)| {
            let raw = observed.view.at(&path.0)?;
            let kept: Box<[u8]> = if place < first_number {
                hasher.hash_one(raw).to_le_bytes().into()
            } else {
                let number: f64 = serde_json::from_str(raw).ok()?;
                number.to_string().into_bytes().into()
            };
            Some(kept)
        };
        Some(Self {
            seq: 0,
            at,
            user,
            https: event.context.place().1,
            id: EventId::try_new(&format!("{id:x}")).ok()?,
            lane: LaneKey {
                group: event.lane.group,
                user: hidden(user)?,
                credential: event.lane.credential,
            },
            owner: event.owner(),
            token_life: event.token_life,
            bytes: event.json().len(),
            envelope: observed.envelope,
            priority: event.priority,
            has_single: event.has_single,
            subject: event
                .subject
                .and_then(|subject| Subject::from_number(hasher.hash_one(subject))),
            places: Arc::clone(&watched.places),
            values: watched.places.iter().enumerate().map(read).collect(),
        })
    }
}

/// A call on paper that goes after its caller's events.
#[derive(Debug)]
pub(super) struct Wait {
    /// When it came.
    pub(super) at: Instant,
    /// Whose events, the user a hash.
    pub(super) asker: Asker,
    /// In which groups.
    pub(super) groups: Box<[GroupIndex]>,
}

impl Wait {
    /// Of a call that came now; none if its user's hash can't be written as a name, which doesn't
    /// happen.
    pub(super) fn of(
        asker: &Asker,
        groups: &[GroupIndex],
        hasher: &RandomState,
        at: Instant,
    ) -> Option<Self> {
        let user = match &asker.user {
            Some(user) => Some(hidden(hash_of(user, hasher))?),
            None => None,
        };
        Some(Self {
            at,
            asker: Asker {
                user,
                ..asker.clone()
            },
            groups: groups.into(),
        })
    }
}

fn hash_of(user: &UserId, hasher: &RandomState) -> u64 {
    hasher.hash_one(user.as_str())
}

/// The name of a user on paper.
fn hidden(hash: u64) -> Option<UserId> {
    UserId::try_new(&format!("{hash:x}")).ok()
}

impl Entry for Arc<Trace> {
    fn seq(&self) -> u64 {
        self.seq
    }
    fn since(&self) -> Option<Instant> {
        Some(self.at)
    }
    fn expires(&self) -> Option<Instant> {
        self.at.checked_add(self.token_life?.as_duration())
    }
    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn event_id(&self) -> EventId {
        self.id.clone()
    }
    fn lane(&self) -> &LaneKey {
        &self.lane
    }
    fn owner(&self) -> Owner {
        self.owner
    }
    fn bytes(&self) -> usize {
        self.bytes
    }
    fn envelope(&self) -> usize {
        self.envelope
    }
    fn priority(&self) -> bool {
        self.priority
    }
    fn subject(&self) -> Option<Subject> {
        self.subject
    }
    fn field(&self, path: &Path) -> Option<&[u8]> {
        let place = self.places.iter().position(|one| one == path)?;
        self.values.get(place)?.as_deref()
    }
    fn has_single(&self) -> bool {
        self.has_single
    }
    // As what comes in while its group is shared; the rules of a run say whether it is.
    fn is_for_service(&self) -> bool {
        true
    }
}
