//! Erasing what is kept of one user.
//!
//! Pending events are given up: each becomes a dead letter with the reason `forgotten`, so that the
//! ledger balances at every moment (P2), and the letter is dropped at once, as all other letters of
//! the user are. What is on its way to the application has its outcome first.

use super::dead::Selection;
use crate::event::{IdError, UserId};
use crate::ingest::Operations;
use crate::ingest::lanes::window::{GivenUp, OfUser};
use std::time::Duration;
use tokio::time::Instant;

/// How long deliveries that are on their way are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether they are over.
const LOOK: Duration = Duration::from_millis(20);

/// What is kept of a user, or was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct KeptOfUser {
    /// Events that wait for their delivery.
    pub pending: u64,
    /// Batches on their way.
    pub in_flight: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Settled events whose lives are remembered.
    pub lives: u64,
}

impl Operations {
    /// What is kept of this user, on all hosts.
    #[must_use]
    pub fn count_user(&self, user: &UserId) -> KeptOfUser {
        let shared = &self.0;
        let mut pending = OfUser::default();
        for shard in &shared.shards {
            pending += shard.count_user(user);
        }
        KeptOfUser {
            pending: pending.waiting,
            in_flight: pending.in_flight,
            dead_letters: shared.dead.count_meant(&letters_of(user)) as u64,
            lives: shared.lives.count_user(user),
        }
    }

    /// Erases it; what was erased, with `in_flight` what is still on its way after ten seconds, and
    /// whether it is erased durably: a journal that can't be written has it at its next start.
    ///
    /// # Cancel safety
    /// What was begun goes on until it is done: this must be spawned.
    pub async fn forget_user(&self, user: &UserId) -> (KeptOfUser, bool) {
        let shared = &self.0;
        let until = Instant::now() + PATIENCE;
        let (mut erased, mut given_up, mut dropped) =
            (KeptOfUser::default(), GivenUp::default(), 0);
        loop {
            for shard in &shared.shards {
                given_up += shard.give_up_user(user);
            }
            // ORDER: settled before its letter is dropped; else that would be made afterwards.
            let is_settled = shared.shards.iter().all(|shard| shard.is_settled());
            dropped += self.drop_letters(&letters_of(user)).len() as u64;
            erased.lives += shared.lives.forget_user(user);
            let left = self.count_user(user);
            let is_done = left == KeptOfUser::default() && is_settled;
            if is_done || Instant::now() >= until {
                erased.pending = given_up.events;
                erased.dead_letters = dropped.saturating_sub(given_up.letters);
                erased.in_flight = left.in_flight;
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let is_durable = shared.journal.write_queued().await;
        (erased, is_durable)
    }

    /// The user of this name, spelled as events have it.
    ///
    /// # Errors
    /// No user has such a name.
    pub fn find_user_id(&self, name: &str) -> Result<UserId, IdError> {
        UserId::try_new(&self.0.identity.spelled(name.into()))
    }
}

fn letters_of(user: &UserId) -> Selection {
    Selection {
        user: Some(user.clone()),
        ..Selection::default()
    }
}
