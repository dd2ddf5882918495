//! Pending events and dead letters as a start finds them.

use crate::event::{
    Carried, Context, Event, Fingerprint, GroupIndex, Keys, LaneKey, Principal, Subject, Tag,
    Texts, TokenLife, UserId,
};
use crate::journal::record::Record;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// What the event says, as the key of its id has it (`ingest/accept/seen.rs`): the second half.
fn content_of(seen: &[u8; 16]) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *seen;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// A pending event as it was found.
#[derive(Debug)]
pub struct Stored {
    /// Its number.
    pub seq: u64,
    /// What its frame takes, bytes; 0 of a letter's.
    pub size: u64,
    /// Its group's name.
    pub group: Arc<str>,
    /// The event, its lane under the group's number in this configuration; none: the group is gone.
    pub event: Event,
    /// The key of its id among the seen ones.
    pub seen: [u8; 16],
    /// Whether the configuration has its group.
    pub has_group: bool,
    /// Whether its credential was found.
    pub has_credential: bool,
    /// Whether its caller was known to be good when it was kept.
    pub good: bool,
}

impl Stored {
    /// Its principal, if it came in for its group's service credential.
    pub(super) fn for_service(&self) -> Option<Principal> {
        let is_for_service = self.has_credential && Carried::is_for_service(self.event.carried());
        is_for_service.then_some(self.event.owner().principal)
    }
}

/// A dead letter as it was found.
#[derive(Debug)]
pub struct StoredLetter {
    /// The event.
    pub stored: Stored,
    /// Why it died.
    pub reason: String,
    /// Times it failed by name.
    pub attempts: u32,
    /// The upstream's last status; 0: none.
    pub status: u16,
    /// Unix milliseconds.
    pub died_ms: u64,
    /// What the application said when it died, an excerpt.
    pub answer: Option<Box<str>>,
}

/// One name, one allocation.
#[derive(Default)]
pub(super) struct Names {
    /// With the tags of the user's last event, which most often are the next one's.
    users: HashMap<Box<str>, (UserId, Arc<[Tag]>)>,
    groups: HashMap<Box<str>, Arc<str>>,
}

/// Makes an event of its record. `groups`: names in the order of the configuration; none: its parts
/// are no event's.
pub(super) fn read_stored(
    (seq, size): (u64, u64),
    record: &Record<'_>,
    groups: &[Arc<str>],
    credentials: &HashMap<Fingerprint, Arc<Context>>,
    names: &mut Names,
) -> Option<Stored> {
    let (user, tags) = match names.users.get_mut(record.user) {
        Some(known) => {
            let (_, tags) = known;
            if !tags.iter().map(|tag| tag.0).eq(record.tags.iter().copied()) {
                *tags = record.tags.iter().map(|tag| Tag(*tag)).collect();
            }
            known.clone()
        }
        None => {
            let tags = record.tags.iter().map(|tag| Tag(*tag)).collect();
            let known = (UserId::try_new(record.user).ok()?, tags);
            names.users.insert(record.user.into(), known.clone());
            known
        }
    };
    let group = match names.groups.get(record.group) {
        Some(group) => group,
        None => names
            .groups
            .entry(record.group.into())
            .or_insert_with(|| record.group.into()),
    };
    let index = groups.iter().position(|name| **name == *record.group);
    let fingerprint = record.fingerprint();
    let found = credentials.get(&fingerprint);
    let context = found.map_or_else(
        || Arc::new(Context::bare(Keys::of(fingerprint))),
        Arc::clone,
    );
    let claimed = Carried::read_caller(record.carried.0).is_some_and(|(claimed, _)| claimed);
    let event = Event {
        texts: Texts::try_new(record.id, record.json.0, record.carried.0).ok()?,
        lane: LaneKey {
            group: GroupIndex(index.unwrap_or(usize::MAX)),
            user,
            credential: fingerprint,
        },
        context,
        claimed,
        has_single: record.has_single,
        tags,
        priority: record.priority,
        received_at: UNIX_EPOCH + Duration::from_millis(record.received_ms),
        token_life: record.token_life_ms.map(TokenLife::of_ms),
        subject: Subject::from_number(record.subject),
        content: content_of(&record.seen),
    };
    let (has_group, has_credential) = (index.is_some(), found.is_some());
    Some(Stored {
        seq,
        size,
        group: Arc::clone(group),
        event,
        seen: record.seen,
        has_group,
        has_credential,
        good: false,
    })
}
