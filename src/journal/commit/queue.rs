//! What waits to be written.

use super::index::{Kept, LogIndex};
use crate::event::{Fingerprint, Outcome, Principal, Succession};
use crate::journal::entry::{AppendError, Journaled};
use crate::journal::health::Health;
use crate::journal::log::frame::{self, Flags, Kind};
use crate::journal::log::replay::Missing;
use crate::journal::log::writer::Sums;
use crate::journal::record::{self, DroppedLetters, RefusalRecord, SettledEvent, SuccessionRecord};
use crate::journal::vault::Draft;
use std::time::Duration;
use tokio::sync::oneshot;

/// Room that a group's frames have from the start at most, bytes.
const MOST_AHEAD: usize = 64 << 10;

/// Where a caller waits: the event's number, or why it was not kept.
pub type Answer = oneshot::Sender<Result<u64, AppendError>>;

/// An event of the group that is on its way, and what is taken back if that fails.
#[derive(Debug)]
pub(super) struct Waiting<T> {
    pub(super) shard: usize,
    pub(super) journaled: Box<Journaled<T>>,
    pub(super) replaced: Option<Replaced>,
    pub(super) answer: Answer,
}

/// The dead letter that an event was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Replaced {
    pub(super) letter: u64,
    pub(super) kept: Kept,
    /// Its credential: while that isn't the event's, its context is still in use.
    pub(super) credential: Fingerprint,
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
    /// Its principal, if it was for its group's service credential.
    pub for_service: Option<Principal>,
    /// What became of it.
    pub outcome: Outcome,
    /// Its key among the seen ids, and the Unix milliseconds at which it may be forgotten; none: it
    /// is forgotten now.
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
    pub(in crate::journal) frames: Vec<u8>,
    /// The first number among the frames.
    pub(super) first: u64,
    pub(super) has_events: bool,
    pub(super) waiting: Vec<Waiting<T>>,
    pub(super) settled: Vec<SettledEvent>,
    /// Those that wait until everything before them is written.
    pub(super) fences: Vec<oneshot::Sender<bool>>,
    /// Numbers to declare void.
    pub(super) void: Vec<Missing>,
    /// Duplicates that were recognized before they came here, as far as the sums hold them.
    pub(super) repeats: u64,
    pub(super) leading: bool,
    /// The journal's thread knows that something waits.
    pub(super) is_woken: bool,
    /// A segment was begun, and the next one is not ready yet.
    pub(super) wants_spare: bool,
    /// Those that wait for the end.
    pub(super) closing: Vec<oneshot::Sender<()>>,
    pub(super) is_closed: bool,
    /// Nothing is written any more.
    pub(super) is_ended: bool,
    /// The copies that wait are of a segment that stays if they can't be written.
    pub(super) is_reclaiming: bool,
    /// A group was refused since a segment is being reclaimed: copies may have gone with it.
    pub(in crate::journal) has_refused: bool,
    /// The sums go with the next group.
    pub(super) owes_sums: bool,
}

/// A group on its way.
#[derive(Debug, Default)]
pub(super) struct TakenGroup<T> {
    pub(super) frames: Vec<u8>,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) sums: Sums,
    pub(super) has_events: bool,
    pub(super) waiting: Vec<Waiting<T>>,
    pub(super) fences: Vec<oneshot::Sender<bool>>,
    /// There is more than a file has room for: it is the beginning of what waits.
    pub(super) is_cut: bool,
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
            has_refused: false,
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
        frame::push(
            &mut self.frames,
            found.kind,
            found.flags,
            found.number,
            |out| out.extend_from_slice(found.body),
        );
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
        index.remove_event(Kept {
            number: settle.seq,
            size: settle.size,
        });
        let seq = settle.seq;
        match settle.letter {
            // The credential stays: a replay must go with it and with no other (P3).
            Some(Draft { flags, body }) => {
                let size = record::keyed_size(&body);
                let number = self.push(Kind::Letter, flags, |out| {
                    record::put_keyed(out, seq, &body)
                });
                self.index.insert_letter(seq, Kept { number, size });
            }
            None => {
                index.release_context_of(seq, settle.credential);
                index.seen += usize::from(settle.seen.is_some());
                self.settled
                    .push(SettledEvent::of(seq, &settle.outcome, settle.seen));
            }
        }
        self.end_for_service(settle.for_service);
        if !settle.dropped.is_empty() {
            self.drop_letters(&settle.dropped, true);
        }
    }

    pub(super) fn push_settled(&mut self) {
        if !self.settled.is_empty() {
            let settled = std::mem::take(&mut self.settled);
            self.push(Kind::Settled, Flags::default(), |out| {
                record::put(out, &settled)
            });
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
                .is_some_and(|used| used.number == frame.number),
            Kind::Letter => record::keyed(frame.body)
                .and_then(|(key, _)| index.letters.get(&key))
                .is_some_and(|kept| kept.number == frame.number),
            Kind::Succession => record::body::<SuccessionRecord>(frame.body)
                .and_then(|found| index.successions.get(&found.succession().bearer).copied())
                .is_some_and(|number| number == frame.number),
            Kind::Refusal => record::body::<RefusalRecord>(frame.body)
                .and_then(|found| index.refusals.number_of(found.principal()))
                .is_some_and(|number| number == frame.number),
            Kind::Head | Kind::Settled | Kind::Seen | Kind::Dropped | Kind::Void | Kind::State => {
                false
            }
        }
    }

    /// Keeps a session's successor from `now` (Unix milliseconds) on for its `life`, unless it is
    /// kept already.
    pub(super) fn push_succession(&mut self, succession: &Succession, now: u64, life: Duration) {
        let Some(kept) = self.index.successors.keep(*succession, now, life) else {
            return;
        };
        let record = SuccessionRecord::of(succession, kept.until);
        let number = self.push(Kind::Succession, Flags::default(), |out| {
            record::put(out, &record)
        });
        self.index.insert_succession(succession.bearer, number);
        if let Some(gone) = kept.gone {
            self.index.remove_succession(gone);
        }
    }

    /// An event is pending that is for the service.
    pub(super) fn begin_for_service(&mut self, principal: Principal, now: u64) {
        if self.index.refusals.add_event(principal) {
            self.push_refusal(principal, now);
        }
    }

    /// An event is pending no more. `for_service`: its principal, if it was for the service.
    pub(super) fn end_for_service(&mut self, for_service: Option<Principal>) {
        if let Some(over) =
            for_service.and_then(|principal| self.index.refusals.remove_event(principal))
        {
            self.push(Kind::Refusal, Flags::default(), |out| {
                record::put(out, &over)
            });
        }
    }

    /// Keeps what is known of a principal's refusal at `now`, Unix milliseconds; whether anything
    /// is to be written.
    pub(super) fn push_refusal(&mut self, principal: Principal, now: u64) -> bool {
        let Some(record) = self.index.refusals.find_change(principal, now) else {
            return false;
        };
        let number = self.push(Kind::Refusal, Flags::default(), |out| {
            record::put(out, &record)
        });
        self.index.refusals.insert(record, number);
        true
    }

    /// As [`push_refusal`](Self::push_refusal), of a principal of whom a start has found a record.
    pub(super) fn restate_refusal(&mut self, found: &RefusalRecord, now: u64) {
        let principal = found.principal();
        if self.index.refusals.has_events(principal) {
            self.push_refusal(principal, now);
        } else if found.stands() {
            let over = found.clone().over();
            self.push(Kind::Refusal, Flags::default(), |out| {
                record::put(out, &over)
            });
        }
    }

    /// Takes what waits, as a group; of more than `most` bytes the beginning, if nobody waits for that.
    /// None: nothing waits, or the log has ended, and no thread leads any more.
    pub(super) fn take_group(&mut self, health: &Health, most: usize) -> Option<TakenGroup<T>> {
        if self.is_ended {
            self.leading = false;
            return None;
        }
        self.is_woken = false;
        let repeats = health.repeats();
        self.index.sums.duplicate += repeats - self.repeats;
        let repeated = repeats != self.repeats;
        self.repeats = repeats;
        self.push_settled();
        while let Some(gone) = self.index.successors.take_expired(health.expiry_ms()) {
            self.index.remove_succession(gone);
        }
        if health.failure().is_none() {
            for principal in self.index.refusals.take_owed() {
                self.push_refusal(principal, health.now_ms());
            }
        }
        for missing in std::mem::take(&mut self.void) {
            self.push(Kind::Void, Flags::default(), |out| {
                record::put(out, &missing)
            });
        }
        // After a failure only what is written tells that the disk is well again.
        let is_probe = health.failure().is_some() && self.frames.is_empty();
        if std::mem::take(&mut self.owes_sums) || repeated || is_probe {
            self.push_sums();
        }
        if self.frames.is_empty() && self.fences.is_empty() {
            self.leading = false;
            return None;
        }
        if let Some(at) = self.find_cut(most) {
            return Some(self.cut_group(at));
        }
        // The next group most often takes as much.
        let next = Vec::with_capacity(self.frames.len().min(MOST_AHEAD));
        let frames = std::mem::replace(&mut self.frames, next);
        Some(TakenGroup {
            first: if frames.is_empty() {
                self.index.next
            } else {
                self.first
            },
            last: self.index.next - 1,
            frames,
            sums: self.index.sums,
            has_events: std::mem::take(&mut self.has_events),
            waiting: std::mem::take(&mut self.waiting),
            fences: std::mem::take(&mut self.fences),
            is_cut: false,
        })
    }

    pub(super) fn has_waiters(&self) -> bool {
        !self.waiting.is_empty() || !self.fences.is_empty()
    }

    pub(super) fn drop_letters(&mut self, letters: &[(u64, Fingerprint)], for_room: bool) {
        let mut gone = Vec::new();
        for (letter, credential) in letters {
            if self.index.remove_letter(*letter).is_some() {
                self.index.release_context_of(*letter, *credential);
                gone.push(*letter);
            }
        }
        if !gone.is_empty() {
            self.index.sums.dropped += if for_room { gone.len() as u64 } else { 0 };
            self.push_dropped(gone, for_room);
        }
    }

    /// Says that these letters are gone.
    pub(super) fn push_dropped(&mut self, letters: Vec<u64>, for_room: bool) {
        let gone = DroppedLetters { letters, for_room };
        self.push(Kind::Dropped, Flags::default(), |out| {
            record::put(out, &gone)
        });
    }

    pub(super) fn declare_void(&mut self, number: u64) {
        match self.void.last_mut().filter(|void| void.last + 1 == number) {
            Some(void) => void.last = number,
            None => self.void.push(Missing {
                first: number,
                last: number,
            }),
        }
    }

    /// How many of the oldest segments should go: dead frames take more room than those that are
    /// alive, and some to spare.
    pub fn count_loose(&self, segment_size: u64) -> u64 {
        let taken: u64 = self.index.segments.iter().map(|segment| segment.size).sum();
        let loose = taken.saturating_sub(2 * self.index.alive() + 3 * segment_size);
        if self.index.segments.len() > 1 {
            loose.div_ceil(segment_size)
        } else {
            0
        }
    }
}
