//! The nouns of the house: what an event, a lane and an outcome are. No I/O, no async.

mod carried;
mod context;
mod ids;
mod keys;
mod raw;
mod subject;
mod tag;
mod texts;
mod token_life;

pub use carried::{COUNTED, Carried, Legacy};
pub use context::{Charge, Context, Said};
pub use ids::{EventId, GroupIndex, IdError, MAX_ID_BYTES, MAX_USER_BYTES, ReadIndex, UserId};
pub use keys::{
    Fingerprint, Keys, LaneKey, Owner, Principal, Realm, Succession, View, first_eight,
};
pub use raw::Raw;
pub use subject::Subject;
pub use tag::Tag;
pub use texts::Texts;
pub use token_life::TokenLife;

use std::sync::Arc;
use std::time::SystemTime;

/// One event, mapped and valid, ready to be kept. Small, since a million of them may be pending:
/// what only its delivery needs stays packed.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id, as the batch names it; the event as it stands in the batch; [`Carried`], packed.
    pub texts: Texts,
    /// Where it queues.
    pub lane: LaneKey,
    /// What it is sent with, and with nothing else (P3).
    pub context: Arc<Context>,
    /// The user's name is a claim of the caller's token.
    pub claimed: bool,
    /// Whether the group may fall back to the single call.
    pub has_single: bool,
    /// Cached answers that this event makes old.
    pub tags: Arc<[Tag]>,
    /// Seals its window at once, with everything before it (`flush_on`).
    pub priority: bool,
    /// When it was received, wall clock.
    pub received_at: SystemTime,
    /// How long from then its token lives, if it says so.
    pub token_life: Option<TokenLife>,
    /// What it tells the state of, where its group wants to know.
    pub subject: Option<Subject>,
    /// A keyed hash of what it says, without what only this try of it says (ruling 21).
    pub content: u64,
}

impl Event {
    /// Its id, as the batch names it.
    #[must_use]
    pub fn id(&self) -> &str {
        self.texts.id()
    }

    /// The event as it stands in the batch: one serialized JSON object.
    #[must_use]
    pub fn json(&self) -> &[u8] {
        self.texts.json()
    }

    /// [`Carried`], packed.
    #[must_use]
    pub fn carried(&self) -> &[u8] {
        self.texts.carried()
    }

    /// Whose it is.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.context.owner(self.claimed)
    }
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
