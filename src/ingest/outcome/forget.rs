//! Erasing what is kept of one user.
//!
//! Pending events are given up: each becomes a dead letter with the reason `forgotten`, so that the
//! ledger balances at every moment (P2), and the letter is dropped at once, as all other letters of
//! the user are. What is on its way to the application has its outcome first.

use crate::event::UserId;
use crate::ingest::Operations;
use crate::ingest::lanes::window::OfUser;
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
            dead_letters: shared.dead.find_user(user).len() as u64,
            lives: shared.lives.count_user(user),
        }
    }

    /// Erases it; what was erased, and with `in_flight` what is still on its way after ten seconds.
    ///
    /// # Cancel safety
    /// What was begun goes on until it is done: this must be spawned.
    pub async fn forget_user(&self, user: &UserId) -> KeptOfUser {
        let shared = &self.0;
        let until = Instant::now() + PATIENCE;
        let mut erased = KeptOfUser::default();
        // Letters that this makes are no letters that were there.
        let mut made = 0;
        loop {
            let mut pending = OfUser::default();
            for shard in &shared.shards {
                pending += shard.forget_user(user);
            }
            erased.pending += pending.waiting;
            made += pending.waiting;
            let dropped = self.drop_letters_of(user);
            let of_these = made.min(dropped);
            made -= of_these;
            erased.dead_letters += dropped - of_these;
            erased.lives += shared.lives.forget_user(user);
            erased.in_flight = pending.in_flight;
            let is_done = pending == OfUser::default() && made == 0;
            if is_done || Instant::now() >= until {
                return erased;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn drop_letters_of(&self, user: &UserId) -> u64 {
        let letters = self.0.dead.find_user(user).into_iter();
        let letters = letters.filter(|letter| self.0.dead.remove(letter.key));
        let gone: Vec<_> = letters
            .map(|letter| (letter.key, letter.event.lane.credential))
            .collect();
        self.0.journal.drop_letters(&gone);
        gone.len() as u64
    }
}
