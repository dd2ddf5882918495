//! How the last events ended that were settled: for an operator who asks for one of them.
//!
//! An event that is pending is known by its lane, and a dead letter by its pile; neither is here.
//! Nothing is copied: what an event leaves behind moves into a ring when its batch is settled.

use crate::clock::millis;
use crate::event::{Context, Event, EventId, GroupIndex, Outcome, UserId};
use crate::identity::keys;
use crate::ingest::accept::admit::Admitted;
use crate::ingest::lanes::shard::Kept;
use crate::ingest::lanes::window::Settled;
use crate::ingest::ring::Ring;
use parking_lot::{Mutex, MutexGuard};
use std::borrow::Cow;
use std::sync::Arc;

/// Ends that are remembered.
pub(crate) const MOST: usize = 10_000;

/// How an event ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The application took it.
    Accepted,
    /// The application had it already.
    Duplicate,
    /// This newer event was sent in its place.
    Superseded(EventId),
}

/// What is left of an event that was settled.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) id: EventId,
    /// As operators see it: not where it is a secret.
    pub(crate) user: UserId,
    pub(crate) group: GroupIndex,
    /// Its number in the journal.
    pub(crate) seq: u64,
    /// Its key among the seen ids.
    pub(crate) seen: [u8; 16],
    /// Unix milliseconds.
    pub(crate) received_ms: u64,
    /// Unix milliseconds.
    pub(crate) settled_ms: u64,
    pub(crate) ending: Ending,
    /// Times it was named as failed.
    pub(crate) failed: u32,
    /// The application's last status for its lane.
    pub(crate) status: Option<u16>,
}

/// The last ends.
#[derive(Debug)]
pub(crate) struct Lives {
    // Held for the pushes of one settled batch, and for an operator's look.
    ended: Mutex<Ring<Ended>>,
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            ended: Mutex::new(Ring::new(MOST)),
        }
    }
}

impl Lives {
    /// Begins to note the ends of one settled batch.
    pub(super) fn begin(&self) -> Noting<'_> {
        Noting {
            ended: self.ended.lock(),
            last: None,
        }
    }

    /// Those of this id, newest first, at most so many.
    pub(crate) fn find(&self, id: &str, most: usize) -> Vec<Ended> {
        let ended = self.ended.lock();
        let all = ended.iter().rev().map(|(_, one)| one);
        let found = all.filter(|one| one.id.as_str() == id);
        found.take(most).cloned().collect()
    }
}

/// What stands in place of a user that is forgotten.
const FORGOTTEN: &str = "[forgotten]";

impl Lives {
    /// How many are this user's.
    pub(crate) fn count_user(&self, user: &UserId) -> u64 {
        let ended = self.ended.lock();
        ended.iter().filter(|(_, one)| one.user == *user).count() as u64
    }

    /// Takes the ids and the user out of them; how many there were.
    pub(crate) fn forget_user(&self, user: &UserId) -> u64 {
        let (Ok(nobody), Ok(nothing)) = (UserId::try_new(FORGOTTEN), EventId::try_new(FORGOTTEN))
        else {
            return 0;
        };
        let mut count = 0;
        for one in self.ended.lock().values_mut() {
            if one.user == *user {
                one.user = nobody.clone();
                one.id = nothing.clone();
                count += 1;
            }
        }
        count
    }
}

/// While it lives, ends are noted.
pub(super) struct Noting<'a> {
    ended: MutexGuard<'a, Ring<Ended>>,
    /// Events that are settled together mostly are one user's.
    last: Option<LastUser>,
}

/// Whether the user of the event before is a secret.
struct LastUser {
    context: Arc<Context>,
    user: UserId,
    /// What is shown of it, if it is one.
    hash: Option<UserId>,
}

impl Noting<'_> {
    /// What is shown of an event's user, if it is a secret.
    fn hash_secret_user(&mut self, event: &Event) -> Option<UserId> {
        if let Some(last) = &self.last
            && Arc::ptr_eq(&last.context, &event.context)
            && last.user == event.lane.user
        {
            return last.hash.clone();
        }
        let hash = match keys::shown_user(event) {
            Cow::Borrowed(_) => None,
            Cow::Owned(hash) => UserId::try_new(&hash).ok(),
        };
        self.last = Some(LastUser {
            context: Arc::clone(&event.context),
            user: event.lane.user.clone(),
            hash: hash.clone(),
        });
        hash
    }

    /// Notes how an event ended, unless it is a dead letter, which its pile knows; what is left is
    /// its obligation and its outcome. `now`: Unix milliseconds.
    pub(super) fn take_obligation(
        &mut self,
        settled: Settled<Kept>,
        now: u64,
    ) -> (Admitted, Outcome) {
        let Settled {
            entry,
            outcome,
            failed,
            status,
            answer: _,
        } = settled;
        let (seq, event, ticket) = (*entry).into_parts();
        let ending = match &outcome {
            Outcome::Accepted => Some(Ending::Accepted),
            Outcome::Duplicate => Some(Ending::Duplicate),
            Outcome::Superseded { by } => Some(Ending::Superseded(by.clone())),
            Outcome::Dead(_) => None,
        };
        if let Some(ending) = ending {
            let hash = self.hash_secret_user(&event);
            self.ended.push(Ended {
                id: event.texts.event_id(),
                user: hash.unwrap_or(event.lane.user),
                group: event.lane.group,
                seq,
                seen: ticket.seen(),
                received_ms: millis(event.received_at),
                settled_ms: now,
                ending,
                failed,
                status,
            });
        }
        (ticket, outcome)
    }
}
