//! Dead letters that get another chance.

use super::dead::DeadLetter;
use crate::event::{Carried, GroupIndex, Reason};
use crate::ingest::Operations;
use crate::ingest::accept::shares::{Address, Holder};
use crate::journal::More;
use std::time::Duration;

/// Pace of a replay.
pub const REPLAYS_PER_SECOND: u32 = 50;

/// What became of dead letters that were to be replayed.
#[derive(Debug, Default, serde::Serialize)]
pub struct Replayed {
    /// Ids of those that are pending again.
    pub replayed: Vec<String>,
    /// Ids of those that are still dead, each with the reason.
    pub kept: Vec<(String, String)>,
}

impl Operations {
    /// Replays the dead letters of a key or an id, or all: oldest first, at most
    /// [`REPLAYS_PER_SECOND`].
    ///
    /// # Cancel safety
    /// A letter is replayed or still there, whenever the caller leaves.
    pub async fn replay(&self, name: Option<&str>) -> Replayed {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / REPLAYS_PER_SECOND);
        let mut done = Replayed::default();
        for letter in self.0.dead.find(name) {
            pace.tick().await;
            let id = letter.event.id.as_str().to_owned();
            let ingest = self.clone();
            // A letter that has left the pile comes back to it, or is pending, whoever waits for
            // the answer by then.
            let replayed = tokio::spawn(async move { ingest.replay_one(letter).await });
            match replayed
                .await
                .unwrap_or_else(|error| Err(error.to_string()))
            {
                Ok(()) => done.replayed.push(id),
                Err(why) => done.kept.push((id, why)),
            }
        }
        done
    }

    async fn replay_one(&self, letter: DeadLetter) -> Result<(), String> {
        let shared = &self.0;
        let DeadLetter {
            key,
            group,
            mut event,
            reason,
            ..
        } = letter;
        if letter.lost || reason == Reason::CredentialLost.as_str() {
            return Err("its credential is lost".to_owned());
        }
        // P3: the service doesn't speak for whom the application refused.
        if reason == Reason::CredentialRejected.as_str() {
            event.carried = Carried::mark_for_service(event.carried, false);
        }
        let index = shared.groups.iter().position(|one| one.name == group);
        let index = index.ok_or_else(|| format!("there is no group {group}"))?;
        event.lane.group = GroupIndex(index);
        // Its time to be given up begins anew.
        event.received_at = shared.clock.now();
        let keep = shared
            .groups
            .get(index)
            .map_or(Duration::ZERO, |group| group.max_age);
        let known = |_| "an event with its id came in the meantime".to_owned();
        let shard = self.shard_of(&event.lane.user);
        let holder = Holder {
            principal: event.owner.principal,
            address: Address::of_event(&event),
        };
        // The operator wants it, whatever strangers hold.
        let share = shared
            .reputation
            .adopt_share(holder, shared.reputation.shares().of_event(shard, &event));
        let admitted = shared
            .admitter
            .admit(shared.admitter.key(&event), &event, keep, share)
            .await
            .map_err(known)?;
        let (seen, beside) = (admitted.seen(), shared.contexts.bytes());
        let more = More {
            seen,
            replaces: Some(key),
            beside,
            succession: None,
        };
        // ORDER: it leaves the pile before the journal may say that it is pending; else a drop
        // could take it too.
        if !shared.dead.remove(key) {
            return Err("it was dropped or replayed by somebody else".to_owned());
        }
        shared.admitter.metrics.ledgers.revive();
        let back = event.clone();
        match shared.journal.append(shard, event, admitted, more).await {
            Ok(_) => Ok(()),
            Err(error) => {
                shared.admitter.metrics.ledgers.unrevive();
                let letter = DeadLetter {
                    event: back,
                    key,
                    group,
                    reason,
                    ..letter
                };
                let gone = shared.dead.bury(letter);
                shared.journal.drop_letters(&gone);
                Err(error.to_string())
            }
        }
    }
}
