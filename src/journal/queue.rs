//! What waits to be written, and what the log holds when it is.

use super::log::frame::{self, Flags, Kind};
use super::log::live::Live;
use super::log::replay::Missing;
use super::log::writer::{Begun, Sums};
use super::record::{self, DroppedLetters, SettledEvent, SuccessionRecord};
use super::successors::Successors;
use super::vault::Draft;
use super::{AppendError, Journaled};
use crate::event::{Fingerprint, Outcome, Principal};
use std::collections::{HashMap, VecDeque};
use tokio::sync::oneshot;

/// What a remembered id counts, bytes on disk.
const SEEN_SIZE: u64 = 32;
/// What a succession counts, bytes on disk.
const SUCCESSION_SIZE: u64 = 128;

/// Where a caller waits: the event's number, or why it was not kept.
pub type Answer = oneshot::Sender<Result<u64, AppendError>>;

/// An event of the group that is on its way, and what is taken back if that fails.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) shard: usize,
    pub(super) journaled: Box<Journaled<T>>,
    pub(super) replaced: Option<(u64, Kept)>,
    pub(super) answer: Answer,
}

/// A frame that is alive until something says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its number.
    pub number: u64,
    /// Bytes.
    pub size: u64,
}

/// A context, and how many events and dead letters need it.
#[derive(Debug, Clone, Copy)]
pub struct UsedContext {
    /// Its frame.
    pub kept: Kept,
    /// How many do.
    pub count: u64,
}

/// What the log holds, as far as it is alive.
#[derive(Debug, Default)]
pub struct LogIndex {
    /// The sums.
    pub sums: Sums,
    /// The next number.
    pub next: u64,
    /// Pending events.
    pub events: Live,
    /// What all frames that are alive take, bytes, ids left out.
    bytes: u64,
    /// Contexts.
    pub contexts: HashMap<Fingerprint, UsedContext>,
    /// Dead letters, by the numbers of their events.
    pub letters: HashMap<u64, Kept>,
    /// Successors of sessions.
    pub successors: Successors,
    /// The frames of these.
    pub successions: HashMap<Principal, u64>,
    /// Ids of settled events that are remembered.
    pub seen: usize,
    /// The segments, oldest first.
    pub segments: VecDeque<Begun>,
}

impl LogIndex {
    /// What of the files is alive, bytes, estimated from above.
    const fn alive(&self) -> u64 {
        self.bytes + self.seen as u64 * SEEN_SIZE
    }

    /// An event is pending.
    pub fn insert_event(&mut self, kept: Kept) {
        self.events.insert(kept.number);
        self.bytes += kept.size;
    }

    /// An event is pending no more.
    pub fn remove_event(&mut self, kept: Kept) {
        if self.events.remove(kept.number) {
            self.bytes = self.bytes.saturating_sub(kept.size);
        }
    }

    /// An event is a dead letter.
    pub fn insert_letter(&mut self, key: u64, kept: Kept) {
        self.letters.insert(key, kept);
        self.bytes += kept.size;
    }

    /// A dead letter is gone, if it was there.
    pub fn remove_letter(&mut self, key: u64) -> Option<Kept> {
        let kept = self.letters.remove(&key)?;
        self.bytes = self.bytes.saturating_sub(kept.size);
        Some(kept)
    }

    /// One more needs a context that is known; whether it is.
    pub fn retain_context(&mut self, credential: Fingerprint) -> bool {
        let used = self.contexts.get_mut(&credential);
        used.map(|used| used.count += 1).is_some()
    }

    /// A context is known, and nobody needs it yet.
    pub fn insert_context(&mut self, credential: Fingerprint, kept: Kept) {
        self.contexts.insert(credential, UsedContext { kept, count: 0 });
        self.bytes += kept.size;
    }

    /// One fewer needs this context.
    pub fn release_context(&mut self, credential: Fingerprint) {
        let Some(used) = self.contexts.get_mut(&credential) else { return };
        used.count = used.count.saturating_sub(1);
        if used.count == 0 {
            self.bytes = self.bytes.saturating_sub(used.kept.size);
            self.contexts.remove(&credential);
        }
    }

    /// The newest successor of a session.
    pub fn insert_succession(&mut self, bearer: Principal, number: u64) {
        if self.successions.insert(bearer, number).is_none() {
            self.bytes += SUCCESSION_SIZE;
        }
    }

    /// It is forgotten.
    pub fn remove_succession(&mut self, bearer: Principal) {
        if self.successions.remove(&bearer).is_some() {
            self.bytes = self.bytes.saturating_sub(SUCCESSION_SIZE);
        }
    }
}

/// An event that has its outcome.
#[derive(Debug)]
pub struct Settle {
    /// Its number.
    pub seq: u64,
    /// What its frame takes, bytes.
    pub size: u64,
    /// Its credential.
    pub credential: Fingerprint,
    /// What became of it.
    pub outcome: Outcome,
    /// Its key among the seen ids, and the Unix milliseconds at which it may be forgotten; none: it is forgotten now.
    pub seen: Option<([u8; 16], u64)>,
    /// The dead letter, if it became one.
    pub letter: Option<Draft>,
    /// Dead letters that went for want of room, with their credentials.
    pub dropped: Vec<(u64, Fingerprint)>,
}

/// What waits to be written.
#[derive(Debug)]
pub struct Queue<T> {
    /// What the log holds when everything that waits is written.
    pub index: LogIndex,
    /// The first number that this process gives.
    pub(super) own: u64,
    pub(super) frames: Vec<u8>,
    /// The first number among the frames.
    pub(super) first: u64,
    pub(super) has_events: bool,
    pub(super) waiting: Vec<Waiting<T>>,
    pub(super) settled: Vec<SettledEvent>,
    /// Who waits until everything before it is written.
    pub(super) fences: Vec<oneshot::Sender<bool>>,
    /// Numbers to declare void.
    pub(super) void: Vec<Missing>,
    /// Door duplicates that the sums hold already.
    pub(super) repeats: u64,
    pub(super) leading: bool,
    /// The journal's thread knows that something waits.
    pub(super) is_woken: bool,
    /// A segment was begun, and the next one is not ready yet.
    pub(super) wants_spare: bool,
    /// Who waits for the end.
    pub(super) closing: Vec<oneshot::Sender<()>>,
    pub(super) is_closed: bool,
    /// Nothing is written any more.
    pub(super) is_ended: bool,
    /// The copies that wait are of a segment that stays if they can't be written.
    pub(super) is_reclaiming: bool,
    /// The sums go with the next group.
    pub(super) owes_sums: bool,
}

/// A group on its way.
#[derive(Debug, Default)]
pub(super) struct Taken<T> {
    pub(super) frames: Vec<u8>,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) sums: Sums,
    pub(super) has_events: bool,
    pub(super) waiting: Vec<Waiting<T>>,
    pub(super) fences: Vec<oneshot::Sender<bool>>,
}

impl<T> Queue<T> {
    /// Nothing waits.
    pub(super) fn new(index: LogIndex) -> Self {
        Self {
            own: index.next,
            index,
            frames: Vec::new(),
            first: 0,
            has_events: false,
            waiting: Vec::new(),
            settled: Vec::new(),
            fences: Vec::new(),
            void: Vec::new(),
            repeats: 0,
            leading: false,
            is_woken: false,
            wants_spare: false,
            closing: Vec::new(),
            is_closed: false,
            is_ended: false,
            is_reclaiming: false,
            owes_sums: false,
        }
    }

    /// Numbers a frame and lets it wait.
    pub fn push(&mut self, kind: Kind, flags: Flags, write: impl FnOnce(&mut Vec<u8>)) -> u64 {
        let number = self.index.next;
        self.index.next += 1;
        if self.frames.is_empty() {
            self.first = number;
        }
        frame::push(&mut self.frames, kind, flags, number, write);
        number
    }

    /// Lets a frame wait to be written again, under the number that it has.
    pub fn push_again(&mut self, found: &frame::Frame<'_>) {
        if self.frames.is_empty() {
            self.first = self.index.next;
        }
        frame::push(&mut self.frames, found.kind, found.flags, found.number, |out| out.extend_from_slice(found.body));
    }

    /// Lets an event's outcome wait; its space is free again.
    pub(super) fn push_settle(&mut self, settle: Settle) {
        let index = &mut self.index;
        let outcome = match settle.outcome {
            Outcome::Accepted => &mut index.sums.accepted,
            Outcome::Duplicate => &mut index.sums.duplicate,
            Outcome::Superseded { .. } => &mut index.sums.superseded,
            Outcome::Dead(_) => &mut index.sums.dead,
        };
        *outcome += 1;
        index.remove_event(Kept { number: settle.seq, size: settle.size });
        let seq = settle.seq;
        match settle.letter {
            // The credential stays: a replay must go with it and with no other (P3).
            Some(Draft { flags, body }) => {
                let size = record::keyed_size(&body);
                let number = self.push(Kind::Letter, flags, |out| record::put_keyed(out, seq, &body));
                self.index.insert_letter(seq, Kept { number, size });
            }
            None => {
                index.release_context(settle.credential);
                index.seen += usize::from(settle.seen.is_some());
                self.settled.push(SettledEvent::of(seq, &settle.outcome, settle.seen));
            }
        }
        if !settle.dropped.is_empty() {
            self.drop_letters(&settle.dropped, true);
        }
    }

    pub(super) fn push_settled(&mut self) {
        if !self.settled.is_empty() {
            let settled = std::mem::take(&mut self.settled);
            self.push(Kind::Settled, Flags::default(), |out| record::put(out, &settled));
        }
    }

    /// Lets the sums wait.
    pub fn push_sums(&mut self) {
        // ORDER: what they count comes before them.
        self.push_settled();
        let sums = self.index.sums;
        self.push(Kind::State, Flags::default(), |out| record::put(out, &sums));
    }

    /// Whether a frame says something that nothing behind it has ended.
    pub fn is_alive(&self, frame: &frame::Frame<'_>) -> bool {
        let index = &self.index;
        match frame.kind {
            Kind::Event => index.events.contains(frame.number),
            Kind::Context => record::context(frame.body)
                .and_then(|(fingerprint, _)| index.contexts.get(&fingerprint))
                .is_some_and(|used| used.kept.number == frame.number),
            Kind::Letter => record::keyed(frame.body)
                .and_then(|(key, _)| index.letters.get(&key))
                .is_some_and(|kept| kept.number == frame.number),
            Kind::Succession => record::body::<SuccessionRecord>(frame.body)
                .and_then(|found| index.successions.get(&found.succession().bearer).copied())
                .is_some_and(|number| number == frame.number),
            Kind::Head | Kind::Settled | Kind::Seen | Kind::Dropped | Kind::Void | Kind::State => false,
        }
    }

    pub(super) fn has_waiters(&self) -> bool {
        !self.waiting.is_empty() || !self.fences.is_empty()
    }

    pub(super) fn drop_letters(&mut self, letters: &[(u64, Fingerprint)], for_room: bool) {
        let mut gone = Vec::new();
        for (letter, credential) in letters {
            if self.index.remove_letter(*letter).is_some() {
                self.index.release_context(*credential);
                gone.push(*letter);
            }
        }
        if !gone.is_empty() {
            self.index.sums.dropped += if for_room { gone.len() as u64 } else { 0 };
            let gone = DroppedLetters { letters: gone, for_room };
            self.push(Kind::Dropped, Flags::default(), |out| record::put(out, &gone));
        }
    }

    pub(super) fn declare_void(&mut self, number: u64) {
        match self.void.last_mut().filter(|void| void.last + 1 == number) {
            Some(void) => void.last = number,
            None => self.void.push(Missing { first: number, last: number }),
        }
    }

    /// Whether the oldest segment should go: dead frames take more room than those that are alive, and some to spare.
    pub fn is_loose(&self, segment_size: u64) -> bool {
        let taken: u64 = self.index.segments.iter().map(|segment| segment.size).sum();
        self.index.segments.len() > 1 && taken > 2 * self.index.alive() + 3 * segment_size
    }
}
