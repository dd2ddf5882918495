//! The journal: append until durable, tail into the windows, settle (design §2, §12).
//!
//! **Constraints.** An event is acknowledged only after `append` has returned `Ok` (P1). Events of one lane reach the
//! tail in the order of their sequence numbers (P4). What is not settled is bounded by `max_bytes` (P10).
//!
//! **Operation.** A journal has one tail per shard; a lane always goes to the same shard. `append` numbers the event
//! and hands it to the tail in one step, so that no later event of the lane can come before it. `settle` gives the
//! space back.
//!
//! **Levels.** This module holds the one level that lives in memory, `none`: an acknowledged event survives neither a
//! kill nor a power cut. A durable level keeps the same three verbs.

pub mod settings;

use crate::event::Event;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Bytes that a pending event takes beside its JSON, estimated: lane, headers, maps. Counted so that many tiny events
/// meet the cap too.
const OVERHEAD: u64 = 512;

/// An event that is as durable as the level promises. Only a journal makes one.
#[derive(Debug)]
pub struct Journaled<T> {
    seq: u64,
    event: Event,
    /// What the caller sent along: the obligation to settle.
    pub ticket: T,
}

impl<T> Journaled<T> {
    /// Its place in the order of its lane.
    pub const fn seq(&self) -> u64 {
        self.seq
    }
    /// The event.
    pub const fn event(&self) -> &Event {
        &self.event
    }
}

/// Why an event could not be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// `journal.max_bytes` is reached.
    #[error("the journal holds {held} of {max} bytes")]
    Full {
        /// Bytes held.
        held: u64,
        /// Bytes allowed.
        max: u64,
    },
    /// The windows have stopped.
    #[error("the journal is closed")]
    Closed,
}

/// An event that could not be kept, given back with its obligation.
#[derive(Debug)]
pub struct NotKept<T> {
    /// Why.
    pub error: AppendError,
    /// The obligation, undone by the caller.
    pub ticket: T,
}

#[derive(Debug)]
struct Shard<T> {
    // A mutex and not an atomic: numbering and handing over must be one step, or a lane's order is lost.
    next: Mutex<u64>,
    tail: mpsc::UnboundedSender<Journaled<T>>,
}

/// The journal in memory.
#[derive(Debug)]
pub struct Journal<T> {
    shards: Vec<Shard<T>>,
    held: AtomicU64,
    max_bytes: u64,
}

impl<T> Journal<T> {
    /// A journal with `shards` tails (at least one).
    #[must_use]
    pub fn in_memory(shards: usize, max_bytes: u64) -> (Self, Vec<mpsc::UnboundedReceiver<Journaled<T>>>) {
        let (shards, tails) = (0..shards.max(1))
            .map(|_| {
                // Unbounded in type, bounded by `max_bytes`: what is in the channel is held.
                let (tail, receiver) = mpsc::unbounded_channel();
                (Shard { next: Mutex::new(1), tail }, receiver)
            })
            .unzip();
        (Self { shards, held: AtomicU64::new(0), max_bytes }, tails)
    }

    /// Number of tails.
    #[must_use]
    pub const fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Bytes not yet settled.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Keeps the event; afterwards it may be acknowledged.
    ///
    /// # Errors
    /// The event and its obligation come back if there is no room or the windows have stopped.
    ///
    /// # Cancel safety
    /// Once polled, the event is kept or given back whether or not the caller stays (ruling 2).
    #[expect(clippy::unused_async, reason = "a durable level waits here; callers must be ready for it")]
    pub async fn append(&self, shard: usize, event: Event, ticket: T) -> Result<u64, NotKept<T>> {
        let size = size(&event);
        let held = self.held.fetch_add(size, Ordering::Relaxed);
        if held + size > self.max_bytes {
            self.held.fetch_sub(size, Ordering::Relaxed);
            return Err(NotKept { error: AppendError::Full { held, max: self.max_bytes }, ticket });
        }
        let closed = NotKept { error: AppendError::Closed, ticket };
        let Some(shard) = self.shards.get(shard % self.shards.len()) else { return Err(closed) };
        let mut next = shard.next.lock();
        let seq = *next;
        // ORDER: under the lock, so that the tail sees the numbers of a lane in order.
        match shard.tail.send(Journaled { seq, event, ticket: closed.ticket }) {
            Ok(()) => {
                *next += 1;
                Ok(seq)
            }
            Err(mpsc::error::SendError(back)) => {
                self.held.fetch_sub(size, Ordering::Relaxed);
                Err(NotKept { error: AppendError::Closed, ticket: back.ticket })
            }
        }
    }

    /// The event has its outcome; its space is free again.
    pub fn settle(&self, event: &Event) {
        self.held.fetch_sub(size(event), Ordering::Relaxed);
    }
}

fn size(event: &Event) -> u64 {
    (event.json.len() + event.carried.len()) as u64 + OVERHEAD
}
