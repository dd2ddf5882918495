//! The journal: append until durable, tail into the windows, settle (design §2, §12).
//!
//! **Constraints.** An event is acknowledged only after `append` has returned `Ok` (P1). Events of
//! one lane reach the tail in the order of their sequence numbers (P4). What is not settled is
//! bounded by `max_bytes` (P10).
//!
//! **Operation.** A journal has one tail per shard; a lane always goes to the same shard. `append`
//! numbers the event and hands it to the tail in one step, so that no later event of the lane can
//! come before it. `settle` gives the space back.
//!
//! **Levels.** `none` lives in memory. `process` and `disk` are kept in a segmented log (`log/`),
//! by the threads that bring events (`commit/`) and a thread of the journal's own
//! (`writer_thread.rs`); [`recover`] brings back what a start finds.
//!
//! ```text
//! append ─► queue ─► one write (at disk: and one sync) for all that waits ─► tail ─► answer
//! settle ─► queue ─► with the next write, never synced for its own sake (ruling 3)
//! ```

mod commit;
pub mod directory;
mod entry;
mod error;
mod fill;
pub(crate) mod health;
mod log;
mod reclaim;
pub(crate) mod record;
pub mod recover;
pub(crate) mod refusals;
pub mod settings;
mod successors;
mod syncs;
pub(crate) mod tail;
mod vault;
mod writer_thread;

pub use entry::{AppendError, End, Journaled, More, Ticket, size};
pub use error::OpenError;
pub use settings::Memory;

use crate::event::{Event, Fingerprint, Principal, Succession};
use commit::queue::Settle;
use commit::{Append, Committer};
use health::Health;
use log::files::{Directory, Files};
use log::frame::Flags;
use parking_lot::Mutex;
use refusals::KeepRefusals;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use successors::ActiveFamilies;
use tail::{Tail, Tails};
use tokio::sync::oneshot;
use tokio::time::Instant;

// A mutex around a tail that needs none: numbering and handing over must be one step, or a lane's
// order is lost.
type Numbered<T> = Mutex<Arc<dyn Tail<T>>>;

/// A journal that is kept in files.
struct Disk<T: Ticket, F: Files> {
    committer: Committer<F, T>,
    groups: Vec<Arc<str>>,
    shards: usize,
    active: ActiveFamilies,
}

impl<T: Ticket, F: Files> Drop for Disk<T, F> {
    fn drop(&mut self) {
        self.committer.abandon();
    }
}

enum Level<T: Ticket, F: Files> {
    Memory {
        tails: Vec<Numbered<T>>,
        last: AtomicU64,
    },
    Disk(Disk<T, F>),
}

/// A journal of any level.
pub struct Journal<T: Ticket, F: Files = Directory> {
    level: Level<T, F>,
    health: Arc<Health>,
    max_bytes: u64,
}

impl<T: Ticket, F: Files> std::fmt::Debug for Journal<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

impl<T: Ticket> Journal<T> {
    /// A journal in memory.
    #[must_use]
    pub fn in_memory(tails: Tails<T>, max_bytes: u64) -> Self {
        let tails = tails.into_iter().map(Mutex::new).collect();
        Self {
            level: Level::Memory {
                tails,
                last: AtomicU64::new(0),
            },
            health: Arc::default(),
            max_bytes,
        }
    }
}

impl<T: Ticket, F: Files> Journal<T, F> {
    /// Number of tails.
    #[must_use]
    pub const fn shards(&self) -> usize {
        match &self.level {
            Level::Memory { tails, .. } => tails.len(),
            Level::Disk(disk) => disk.shards,
        }
    }

    /// How it is.
    #[must_use]
    pub const fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Bytes not yet settled.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.health.held()
    }

    /// A duplicate was recognized before it came here; the sums on disk count it with the next
    /// group.
    pub fn repeat(&self) {
        self.health.repeat();
    }

    /// Keeps the event; afterwards it may be acknowledged.
    ///
    /// # Errors
    /// There is no room, the disk fails, or the windows have stopped; the ticket is dropped.
    ///
    /// # Cancel safety
    /// Once polled, the event is kept or dropped whether or not the caller stays (ruling 2).
    pub async fn append(
        &self,
        shard: usize,
        event: Event,
        ticket: T,
        more: More,
    ) -> Result<u64, AppendError> {
        let size = size(&event);
        let held = self.health.hold(size);
        if held + size + more.beside > self.max_bytes {
            self.health.release(&event);
            return Err(AppendError::Full {
                held,
                max: self.max_bytes,
            });
        }
        let shard = shard % self.shards().max(1);
        match &self.level {
            Level::Memory { tails, last } => self.hand_over(tails.get(shard), last, event, ticket),
            Level::Disk(Disk {
                committer,
                groups,
                active,
                ..
            }) => {
                // ORDER: before the event is kept, so that a session that is renewed meanwhile is
                // seen to have one.
                active.mark(event.owner().principal, Instant::now());
                let group = groups.get(event.lane.group.0).map_or("", |group| group);
                let mut body = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
                record::put(&mut body, &record::Record::of(&event, group, more.seen));
                let mut draft = committer.shared().draft(body);
                if more.good {
                    draft.flags = draft.flags.with(Flags::GOOD);
                }
                let (answer, kept) = oneshot::channel();
                let More {
                    replaces,
                    succession,
                    ..
                } = more;
                committer.append(Append {
                    shard,
                    event,
                    draft,
                    ticket,
                    replaces,
                    succession,
                    answer,
                });
                // A journal that ends without an answer has dropped the ticket.
                kept.await.unwrap_or(Err(AppendError::Closed))
            }
        }
    }

    fn hand_over(
        &self,
        tail: Option<&Numbered<T>>,
        last: &AtomicU64,
        event: Event,
        mut ticket: T,
    ) -> Result<u64, AppendError> {
        let Some(tail) = tail.map(Mutex::lock).filter(|tail| !tail.is_closed()) else {
            self.health.release(&event);
            return Err(AppendError::Closed);
        };
        // ORDER: under the lock, so that the tail sees the numbers of a lane in order.
        let seq = last.fetch_add(1, Ordering::Relaxed) + 1;
        ticket.kept();
        let kept = Box::new(Journaled {
            seq,
            size: 0,
            event,
            ticket,
            since: Instant::now(),
        });
        let Some(mut back) = tail.take(kept) else {
            return Ok(seq);
        };
        back.ticket.taken_back();
        self.health.release(&back.event);
        Err(AppendError::Closed)
    }

    /// These events have their outcomes; their space is free again.
    pub fn settle_all<'a>(&self, settled: impl Iterator<Item = (&'a Journaled<T>, End)>)
    where
        T: 'a,
    {
        let Level::Disk(Disk { committer, .. }) = &self.level else {
            return settled.for_each(|(journaled, _)| self.health.release(&journaled.event));
        };
        let settle = |(journaled, end): (&Journaled<T>, End)| {
            self.health.release(&journaled.event);
            let End {
                outcome,
                seen,
                letter,
            } = end;
            let (seq, size, credential) = (
                journaled.seq,
                journaled.size,
                journaled.event.lane.credential,
            );
            let for_service = journaled.for_service();
            let letter = letter.map(|letter| committer.shared().draft(letter));
            Settle {
                seq,
                size,
                credential,
                for_service,
                outcome,
                seen,
                letter,
                dropped: Vec::new(),
            }
        };
        committer.settle_all(settled.map(settle).collect());
    }

    /// Keeps a session's successor if an event of its family may be remembered; afterwards it is as
    /// durable as an event. A journal that can't keep it says nothing: it takes no events either.
    pub async fn succeed(&self, succession: Succession) {
        let Level::Disk(Disk {
            committer, active, ..
        }) = &self.level
        else {
            return;
        };
        if !active.has_events(succession.first, Instant::now()) || self.health.failure().is_some() {
            return;
        }
        let kept = committer.keep_succession(&succession);
        // It ends without a word when nothing is kept any more.
        drop(kept.await);
    }

    /// Waits until what was queued so far is as durable as an event; `false`: the journal can't be
    /// written, and a restart may bring back what was ended.
    pub async fn write_queued(&self) -> bool {
        let Level::Disk(Disk { committer, .. }) = &self.level else {
            return true;
        };
        // It ends without a word when nothing is kept any more.
        self.health.failure().is_none() && committer.fence().await.unwrap_or(false)
    }

    /// Dead letters that an operator dropped, with their credentials.
    pub fn drop_letters(&self, letters: &[(u64, Fingerprint)]) {
        if let Level::Disk(Disk { committer, .. }) = &self.level {
            committer.drop_letters(letters, false);
        }
    }

    /// Dead letters that went by themselves, with their credentials: they count as dropped.
    pub fn expire_letters(&self, letters: &[(u64, Fingerprint)]) {
        if let Level::Disk(Disk { committer, .. }) = &self.level {
            committer.drop_letters(letters, true);
        }
    }

    /// Everything that was sent is on the disk, and nothing more will be.
    pub async fn close(&self) {
        if let Level::Disk(Disk { committer, .. }) = &self.level
            && committer.close().await.is_err()
        {
            tracing::error!("the journal ended before its last group was on the disk");
        }
    }
}

impl<T: Ticket, F: Files> KeepRefusals for Journal<T, F> {
    fn keep_refusal(&self, principal: Principal) -> bool {
        match &self.level {
            Level::Memory { .. } => false,
            Level::Disk(disk) => disk.committer.keep_refusal(principal),
        }
    }
}
