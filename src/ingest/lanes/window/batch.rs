//! A batch on its way, what it may meet, and what becomes of its events.

use super::phase::Phase;
use super::slab::Key;
use super::{Entry, Queued};
use crate::event::{EventId, LaneKey, Outcome};
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How a batch goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As a batch call.
    Batch,
    /// One event, as the single call it came in.
    Single,
}

/// What a batch's failures have said so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Those before each of which more of the group was taken than failed, since the one before it.
    /// They are counted anew after one before which as much failed, or more.
    pub strikes: u16,
    /// Of these, the times that the application refused it. Only they make a refusal the batch's own:
    /// an error says nothing of what is in it.
    pub refusals: u16,
    /// In a row, between which nobody else of the group tried anything.
    pub lonely: u32,
    /// Requests of the group that had passed and that had failed at the last one: of the service and
    /// good principals, and of strangers.
    pub since: Option<[(u32, u32); 2]>,
    /// Since when it is an event alone that is believed to be at fault itself.
    pub alone_since: Option<Instant>,
    /// That has lasted long enough; it is given up if it is found at fault once more.
    pub is_last_chance: bool,
}

/// What is not known of a batch's refusal yet, or was found out.
///
/// ```text
/// any -> Credential         403: its oldest event goes alone, the rest after it
/// any -> Credential         it was rejected (401, or 403 alone)
/// Credential -> Event       the one alone was taken, or another call of the credential was: a 403 is an event's
/// Event -> EventOnceMore    an event alone met 403; it has one more try, since credentials fail for moments, too
/// Event -> Credential       the event died of it: what comes next must show anew whose the refusals are
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing.
    #[default]
    None,
    /// Its batch path was not there, or not heard of: the way may be broken.
    Path,
    /// It was 403, and may be the credential's.
    Credential,
    /// It was 403, and the credential has passed since.
    Event,
    /// As [`Event`](Self::Event), and it met 403 alone since then.
    EventOnceMore,
}

/// Events of one lane on their way out together.
#[derive(Debug)]
pub struct Batch<E> {
    /// The same on every retry of the same events.
    pub id: Uuid,
    /// The lane's number, for the verdict.
    pub lane: LaneId,
    /// The lane.
    pub key: LaneKey,
    /// Batch or single call.
    pub form: Form,
    /// The upstream's status for its last attempt.
    pub status: Option<u16>,
    /// Never empty; in the lane's order.
    pub events: Vec<Queued<E>>,
    /// It was part of something that was refused, and shares no request with other lanes.
    pub alone: bool,
    /// Its credential was refused by the last answer that says anything of it: until it is taken,
    /// no other one speaks for it.
    pub was_refused: bool,
    /// Somebody waits for it.
    pub awaited: bool,
    /// Failures in a row.
    pub trouble: Trouble,
    /// What is not known of its refusal.
    pub doubt: Doubt,
}

impl<E: Entry> Batch<E> {
    /// Of this lane, without events yet, under an id of its own.
    pub(super) fn of(lane: LaneId, key: &LaneKey, form: Form) -> Self {
        Self {
            id: Uuid::new_v4(),
            lane,
            key: key.clone(),
            form,
            status: None,
            events: Vec::new(),
            alone: false,
            was_refused: false,
            awaited: false,
            trouble: Trouble::default(),
            doubt: Doubt::None,
        }
    }

    /// A piece of a batch that was refused as a whole: it shares no batch with others.
    pub(super) fn piece(lane: LaneId, key: &LaneKey, form: Form, events: Vec<Queued<E>>) -> Self {
        Self {
            events,
            alone: true,
            ..Self::of(lane, key, form)
        }
    }

    /// On its way.
    pub(super) fn flight(&self) -> Option<Phase> {
        let front = self.events.iter().map(|queued| queued.entry.seq()).min()?;
        let first_seq = self.events.iter().map(Queued::first_seq).min()?;
        let since = self.events.iter().map(Queued::first_since).min()?;
        Some(Phase::InFlight {
            front,
            first_seq,
            since,
        })
    }

    /// Its oldest event can go as its single call; `fallback`: its group lets events do so.
    #[must_use]
    pub fn has_oldest_single(&self, fallback: bool) -> bool {
        let has_single = |queued: &Queued<E>| queued.entry.has_single();
        fallback && self.form == Form::Batch && self.events.first().is_some_and(has_single)
    }

    /// One of its events can.
    #[must_use]
    pub fn has_singles(&self, fallback: bool) -> bool {
        fallback
            && self.form == Form::Batch
            && self.events.iter().any(|queued| queued.entry.has_single())
    }

    /// It may go under its group's service credential.
    #[must_use]
    pub fn is_for_service(&self) -> bool {
        self.form == Form::Batch
            && !self.was_refused
            && self
                .events
                .iter()
                .all(|queued| queued.entry.is_for_service())
    }

    /// Whether a 403 of it speaks against its credential: it is one event alone, and nothing of the
    /// credential was taken since it was doubted.
    #[must_use]
    pub fn blames_credential(&self, fallback: bool) -> bool {
        let cleared = matches!(self.doubt, Doubt::Event | Doubt::EventOnceMore);
        self.events.len() == 1 && !self.has_oldest_single(fallback) && !cleared
    }
}

/// A lane's number; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub(super) Key);

/// What the upstream's reply makes of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It has its outcome.
    Done(Outcome),
    /// It leads the next batch after a pause.
    Again,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream spoke of every event; one fate each, in order.
    Answered(Vec<Fate>),
    /// Kept as it is; again after `pause`.
    Retry {
        /// How long the lane waits.
        pause: Duration,
    },
    /// Nothing was tried, or nothing was found to be wrong with it; again after `pause`.
    Deferred {
        /// How long the lane waits.
        pause: Duration,
    },
    /// 401, or a 403 that is the credential's ([`Batch::blames_credential`]).
    Rejected,
    /// Another 403: whose it is will be looked for.
    Forbidden,
    /// A 4xx for all; the ids it names, if any.
    Refused {
        /// Offending events.
        named: Vec<EventId>,
    },
    /// It failed again and again while others of its group passed: something in it is at fault.
    Persistent {
        /// How long the lane waits if it is one event already.
        pause: Duration,
    },
    /// 413.
    TooLarge,
    /// It goes on as the single calls of its events, in order; again after `pause` if there is
    /// none.
    Singles {
        /// How long the lane waits.
        pause: Duration,
    },
    /// Its oldest event goes first, as its single call.
    OldestAlone,
}

impl Verdict {
    /// Whether every event was taken.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        let is_taken =
            |fate: &Fate| matches!(fate, Fate::Done(Outcome::Accepted | Outcome::Duplicate));
        matches!(self, Self::Answered(fates) if fates.iter().all(is_taken))
    }

    /// The word that is shown.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::Retry { .. } => "retry",
            Self::Deferred { .. } => "deferred",
            Self::Rejected => "rejected",
            Self::Forbidden => "forbidden",
            Self::Refused { .. } => "refused",
            Self::Persistent { .. } => "persistent",
            Self::TooLarge => "too_large",
            Self::Singles { .. } => "singles",
            Self::OldestAlone => "oldest_alone",
        }
    }
}

/// An event that has its outcome; the caller settles it.
#[derive(Debug)]
pub struct Settled<E> {
    /// The event.
    pub entry: E,
    /// Its outcome.
    pub outcome: Outcome,
    /// Times it failed by name.
    pub failed: u32,
    /// The upstream's last status for its lane.
    pub status: Option<u16>,
    /// What the application said when it became a dead letter.
    pub answer: Option<Bytes>,
}
