//! What a window needs to know: of an event, and of its group.

use super::ENVELOPE_BYTES;
use crate::event::{EventId, GroupIndex, LaneKey, Owner, Subject, Tag};
use crate::template::Path;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// What a window needs to know of an event.
pub trait Entry: 'static {
    /// Place in the lane's order, from 1.
    fn seq(&self) -> u64;
    /// When it was kept, if it knows better than the clock that it is pushed by.
    fn since(&self) -> Option<Instant> {
        None
    }
    /// When its token expires.
    fn expires(&self) -> Option<Instant> {
        None
    }
    /// The event's id.
    fn id(&self) -> &str;
    /// The same, to be kept beside it.
    fn event_id(&self) -> EventId;
    /// Where it queues.
    fn lane(&self) -> &LaneKey;
    /// Whose it is.
    fn owner(&self) -> Owner;
    /// Serialized bytes.
    fn bytes(&self) -> usize;
    /// What a batch of its lane has around its events, bytes.
    fn envelope(&self) -> usize {
        ENVELOPE_BYTES
    }
    /// Seals at once.
    fn priority(&self) -> bool;
    /// What it tells the state of.
    fn subject(&self) -> Option<Subject> {
        None
    }
    /// Raw value at a place.
    fn field(&self, path: &Path) -> Option<&[u8]>;
    /// Whether its single call can be repeated.
    fn has_single(&self) -> bool;
    /// Whether it may go under its group's service credential.
    fn is_for_service(&self) -> bool {
        false
    }
    /// What a look at what is pending shows of it.
    fn shown(&self) -> Bytes {
        Bytes::new()
    }
    /// What it makes old.
    fn tags(&self) -> &[Tag] {
        &[]
    }
}

/// The limits of one group's windows.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Longest time from a window's first event to its seal.
    pub window: Duration,
    /// Seal at this many; where only the newest of each subject goes as a single call, at this many
    /// subjects.
    pub flush_at: usize,
    /// Most in a batch.
    pub max_events: usize,
    /// Most bytes in a batch, envelope included.
    pub max_bytes: usize,
    /// A batch never holds a value of these twice.
    pub distinct: Vec<Path>,
    /// In a window, the newest event of a subject makes the older ones needless (ruling 5).
    pub newest: bool,
    /// Each event goes out as a single call.
    pub single_calls: bool,
    /// Seals when one of these numbers has moved this far since the last one sent of the subject.
    pub change: Vec<(Path, f64)>,
    /// Groups that keep one order with this one.
    pub ordered: Vec<GroupIndex>,
    /// Groups whose windows a priority event of this one seals too.
    pub seals: Vec<GroupIndex>,
    /// Batches go under a service's credential, with other lanes' (`pack = "shared"`).
    pub shared: bool,
    /// Somebody may look at what is pending.
    pub shown: bool,
    /// A refused event may be repeated as a single call.
    pub single: bool,
    /// Tries of a failing event.
    pub max_attempts: u32,
    /// Age at which an event is given up.
    pub give_up_after: Duration,
    /// A window is sealed this long before its token expires.
    pub token_margin: Duration,
}
