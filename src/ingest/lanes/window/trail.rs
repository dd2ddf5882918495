//! What became of windows and batches, as far back as there is room: for an operator who asks for
//! one event.
//!
//! A window is noted when it is sealed, an attempt when its verdict comes, each with a push into a
//! ring; nothing is noted when an event comes. An event is found by its number.

use super::batch::{Batch, Form, LaneId, Verdict};
use super::lane::Lane;
use super::open::Seal;
use super::{Entry, Queued};
use crate::ingest::ring::Ring;
use tokio::time::Instant;
use uuid::Uuid;

/// Windows and attempts of one shard that are remembered, of each.
const MOST: usize = 2_048;
/// Events of these attempts that are remembered.
const MOST_EVENTS: usize = 8_192;

/// A window that was sealed.
#[derive(Debug, Clone, Copy)]
struct SealedWindow {
    lane: LaneId,
    first: u64,
    last: u64,
    opened: Instant,
    cause: Seal,
}

/// An attempt that is over.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    lane: LaneId,
    batch: Uuid,
    form: Form,
    at: Instant,
    verdict: &'static str,
    status: Option<u16>,
    events: u32,
    /// The number of its first event among `events`.
    from: u64,
}

/// What is remembered of one event's way.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Its window, if that was sealed.
    pub window: Option<TracedWindow>,
    /// The attempts to deliver it, oldest first.
    pub attempts: Vec<TracedAttempt>,
}

/// The window that an event was in.
#[derive(Debug, Clone, Copy)]
pub struct TracedWindow {
    /// When its first event came.
    pub opened: Instant,
    /// Why it was sealed.
    pub cause: &'static str,
}

/// An attempt to deliver an event, alone or with others.
#[derive(Debug, Clone, Copy)]
pub struct TracedAttempt {
    /// The batch; the same on each retry of the same events.
    pub batch: Uuid,
    /// As a batch call or a single call.
    pub form: Form,
    /// When its verdict came.
    pub at: Instant,
    /// What it meant for the batch.
    pub verdict: &'static str,
    /// The application's status, the last one that there was.
    pub status: Option<u16>,
    /// Events that it tried.
    pub events: u32,
}

/// What is remembered.
#[derive(Debug)]
pub(super) struct Trail {
    windows: Ring<SealedWindow>,
    attempts: Ring<Attempt>,
    /// The numbers of the attempts' events.
    events: Ring<u64>,
}

impl Trail {
    pub(super) const fn new() -> Self {
        Self {
            windows: Ring::new(MOST),
            attempts: Ring::new(MOST),
            events: Ring::new(MOST_EVENTS),
        }
    }

    /// A lane's window is about to be sealed; one without events is none.
    pub(super) fn note_seal<E: Entry>(&mut self, id: LaneId, lane: &Lane<E>, cause: Seal) {
        let open = lane.queue.range(lane.due.min(lane.queue.len())..);
        let Some(first) = open.clone().next() else {
            return;
        };
        self.windows.push(SealedWindow {
            lane: id,
            first: first.first_seq(),
            last: open.last().map_or(0, |last| last.entry.seq()),
            opened: first.first_since(),
            cause,
        });
    }

    /// A batch's attempt is over. Where nothing was tried there was none.
    pub(super) fn note_attempt<E: Entry>(
        &mut self,
        now: Instant,
        batch: &Batch<E>,
        verdict: &Verdict,
    ) {
        if matches!(verdict, Verdict::Deferred { .. }) {
            return;
        }
        let from = self.events.next();
        let numbers = batch.events.iter().map(|queued| queued.entry.seq());
        let mut events = 0;
        for number in numbers {
            self.events.push(number);
            events += 1;
        }
        self.attempts.push(Attempt {
            lane: batch.lane,
            batch: batch.id,
            form: batch.form,
            at: now,
            verdict: verdict.as_str(),
            status: batch.status,
            events,
            from,
        });
    }

    /// What is remembered of the event of this number; `lane`: its lane, if it is pending.
    pub(super) fn trace(&self, seq: u64, lane: Option<LaneId>) -> Trace {
        let places = self.events.iter().filter(|(_, number)| **number == seq);
        let mut places = places.map(|(place, _)| place).peekable();
        let mut found: Vec<&Attempt> = Vec::new();
        if places.peek().is_some() {
            let places: Vec<_> = places.collect();
            let holds = |attempt: &&Attempt| {
                let all = attempt.from..attempt.from + u64::from(attempt.events);
                places.iter().any(|place| all.contains(place))
            };
            found = self
                .attempts
                .iter()
                .map(|(_, one)| one)
                .filter(holds)
                .collect();
        }
        let lane = lane.or_else(|| found.first().map(|attempt| attempt.lane));
        let is_its = |window: &&SealedWindow| {
            Some(window.lane) == lane && (window.first..=window.last).contains(&seq)
        };
        let mut windows = self.windows.iter().map(|(_, one)| one);
        Trace {
            window: windows.find(is_its).map(|window| TracedWindow {
                opened: window.opened,
                cause: window.cause.as_str(),
            }),
            attempts: found.into_iter().map(Attempt::show).collect(),
        }
    }
}

impl Attempt {
    const fn show(&self) -> TracedAttempt {
        TracedAttempt {
            batch: self.batch,
            form: self.form,
            at: self.at,
            verdict: self.verdict,
            status: self.status,
            events: self.events,
        }
    }
}

/// Events that a lane has in its hands: those of formed batches, those in its queue, and what they
/// cover.
pub(super) fn held<E: Entry>(lane: &Lane<E>) -> impl Iterator<Item = (&Queued<E>, bool)> {
    let again = lane
        .tried
        .again
        .iter()
        .flat_map(|batch| batch.events.iter());
    let queue = lane.queue.iter().enumerate();
    again
        .map(|queued| (queued, false))
        .chain(queue.map(|(place, queued)| (queued, place >= lane.due)))
}
