//! One lane: its queue, its open window, the batches that are to be tried again.

use super::domains::Place;
use super::open::{Seal, Window};
use super::order::Seat;
use super::phase::Phase;
use super::queued::{Queued, Shown};
use super::timers::Timer;
use super::{Batch, Doubt, Entry, Rules};
use crate::event::{LaneKey, Owner, Subject};
use std::collections::{HashMap, VecDeque};
use std::ops::{Deref, DerefMut};
use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Lane<E> {
    pub(super) key: LaneKey,
    pub(super) owner: Owner,
    /// Where it is in the order.
    pub(super) seat: Seat,
    /// Where the order has it.
    pub(super) listed: Option<Place>,
    /// Events in no batch, oldest first.
    pub(super) queue: VecDeque<Queued<E>>,
    /// How many at the front of `queue` are sealed.
    pub(super) due: usize,
    /// What of `queue` is open.
    pub(super) window: Window,
    /// What its attempts have made of it.
    pub(super) tried: Lazy<Tried<E>>,
    /// Its timer, while it has to be looked at some time.
    pub(super) timer: Option<Timer>,
    /// Its pause is one of its group's gate, not of an attempt of its own that failed.
    pub(super) was_deferred: bool,
    /// Its credential was refused by the last answer that says anything of it.
    pub(super) was_refused: bool,
    /// A success of its principal in another group lets it try again, though a refusal holds it.
    pub(super) may_try_once: bool,
    /// An event of it covers others: the first in the queue need not be the oldest.
    has_covers: bool,
}

/// What a lane has once it had an attempt, or somebody waited for it: most lanes wait for their
/// first.
#[derive(Debug)]
pub(super) struct Tried<E> {
    /// Formed batches that are to be tried again, first one first.
    pub(super) again: VecDeque<Batch<E>>,
    phase: Phase,
    /// Somebody waits for events up to this number: they don't wait for company.
    pub(super) awaited: u64,
    /// What is on its way shows of itself, where somebody may look.
    pub(super) flying: Vec<Shown>,
    /// Consecutive attempts without an answer; the schedule's index.
    pub(super) retries: u32,
    /// Events in the batch that is on its way, those that they stand for included.
    pub(super) in_flight: u32,
    /// The upstream's last status.
    pub(super) status: Option<u16>,
}

impl<E> Tried<E> {
    const fn new() -> Self {
        Self {
            again: VecDeque::new(),
            phase: Phase::Idle,
            awaited: 0,
            flying: Vec::new(),
            retries: 0,
            in_flight: 0,
            status: None,
        }
    }
}

impl<E: 'static> Tried<E> {
    const NOTHING: &'static Self = &Self::new();
}

/// Takes memory when it is changed for the first time.
#[derive(Debug)]
pub(super) struct Lazy<T>(Option<Box<T>>);

impl<E: 'static> Deref for Lazy<Tried<E>> {
    type Target = Tried<E>;

    fn deref(&self) -> &Tried<E> {
        self.0.as_deref().unwrap_or(Tried::NOTHING)
    }
}

impl<E: 'static> DerefMut for Lazy<Tried<E>> {
    fn deref_mut(&mut self) -> &mut Tried<E> {
        self.0.get_or_insert_with(|| Box::new(Tried::new()))
    }
}

/// The application's status that says: later.
const LIMITED: u16 = 429;

impl<E: Entry> Lane<E> {
    pub(super) fn new(key: LaneKey, owner: Owner, seat: Seat) -> Self {
        Self {
            key,
            owner,
            seat,
            listed: None,
            // Most lanes have one event or few.
            queue: VecDeque::with_capacity(1),
            due: 0,
            window: Window::default(),
            tried: Lazy(None),
            timer: None,
            was_deferred: false,
            was_refused: false,
            may_try_once: true,
            has_covers: false,
        }
    }

    /// No attempt of it is failing.
    pub(super) fn is_well(&self) -> bool {
        matches!(self.tried.phase, Phase::Idle | Phase::InFlight { .. })
            && self.tried.again.is_empty()
            && self.tried.retries == 0
    }

    /// A refusal holds it.
    pub(super) fn is_rejected(&self) -> bool {
        matches!(self.tried.phase, Phase::Rejected(_))
    }

    /// Nothing of it waits or is on its way. Whatever it was waiting for: what comes next begins
    /// anew.
    pub(super) fn is_empty(&self) -> bool {
        let is_on_its_way = matches!(self.tried.phase, Phase::InFlight { .. });
        !is_on_its_way && self.queue.is_empty() && self.tried.again.is_empty()
    }

    /// One more event in the open window; why that is full, if it is.
    pub(super) fn take_in(
        &mut self,
        rules: &Rules,
        entry: E,
        since: Instant,
        deadline: Instant,
    ) -> Option<Seal> {
        self.window.take_in(entry.bytes(), deadline);
        let envelope = entry.envelope();
        self.queue.push_back(Queued::new(entry, since));
        if rules.single_calls && rules.newest {
            self.absorb_open();
        }
        let too_many = self.queue.len() - self.due >= rules.flush_at;
        if too_many {
            return Some(Seal::Count);
        }
        let too_large = self.window.bytes + envelope > rules.max_bytes;
        (!rules.single_calls && too_large).then_some(Seal::Bytes)
    }

    /// Seals the open window. `held`: a forwarded call stands between what is due and what is open.
    pub(super) fn seal(&mut self, rules: &Rules, why: Seal, held: bool) {
        match (rules.single_calls, rules.newest) {
            // While the lane fails, what waits since earlier windows is needless too, unless
            // somebody counts on its going first. A lane that moves sends what is due: else a state
            // might be replaced again and again, and never go.
            (true, true) if !held && !self.is_well() => {
                let waited_for = |queued: &Queued<E>| queued.entry.seq() <= self.tried.awaited;
                let from = self
                    .queue
                    .iter()
                    .take(self.due)
                    .take_while(|queued| waited_for(queued))
                    .count();
                self.merge(from);
            }
            // Ruling 5: not what a priority event stands behind.
            (false, true) if why != Seal::Priority => self.merge(self.due),
            _ => {}
        }
        self.due = self.queue.len();
        self.window.close();
    }

    /// The newest event takes the place of the open one of its subject, if there is one. No
    /// priority event stands between them: it would have sealed the window.
    fn absorb_open(&mut self) {
        let last = self.queue.len().saturating_sub(1);
        let subject = self
            .queue
            .get(last)
            .and_then(|queued| queued.entry.subject());
        let same = |place: &usize| {
            self.queue
                .get(*place)
                .is_some_and(|queued| queued.entry.subject() == subject)
        };
        let Some(place) = (self.due..last)
            .rev()
            .find(same)
            .filter(|_| subject.is_some())
        else {
            return;
        };
        if let Some(older) = self.queue.remove(place)
            && let Some(newest) = self.queue.back_mut()
        {
            newest.absorb(older);
            self.has_covers = true;
        }
    }

    /// From this place on, or from behind the last priority event before the newest one, of each
    /// subject only the newest event stays, at its place. A priority event always stays.
    fn merge(&mut self, from: usize) {
        let last = self.queue.len().saturating_sub(1);
        let stays = |place: &usize| {
            self.queue
                .get(*place)
                .is_some_and(|queued| queued.entry.priority())
        };
        let from = (from..last)
            .rev()
            .find(stays)
            .map_or(from, |place| place + 1);
        if self.queue.len().saturating_sub(from) < 2 {
            return;
        }
        let mut newest: HashMap<Subject, Queued<E>> = HashMap::new();
        let mut kept = Vec::new();
        for queued in self.queue.split_off(from).into_iter().rev() {
            let Some(subject) = queued.entry.subject() else {
                kept.push(queued);
                continue;
            };
            match newest.get_mut(&subject) {
                Some(newer) => {
                    newer.absorb(queued);
                    self.has_covers = true;
                }
                None => drop(newest.insert(subject, queued)),
            }
        }
        kept.extend(newest.into_values());
        kept.sort_by_key(|queued| queued.entry.seq());
        self.queue.extend(kept);
    }

    /// Takes out what tells the state of this subject, up to this number, and is not on its way. A
    /// priority event stays.
    pub(super) fn take_replaced(&mut self, subject: Subject, upto: u64) -> Vec<Queued<E>> {
        let goes = |queued: &Queued<E>| {
            queued.entry.subject() == Some(subject)
                && queued.entry.seq() <= upto
                && !queued.entry.priority()
        };
        let mut gone = Vec::new();
        for batch in &mut self.tried.again {
            let (out, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut batch.events)
                .into_iter()
                .partition(goes);
            batch.events = rest;
            gone.extend(out);
        }
        self.tried.again.retain(|batch| !batch.events.is_empty());
        let (due, mut left) = (self.due, VecDeque::new());
        for (place, queued) in std::mem::take(&mut self.queue).into_iter().enumerate() {
            if goes(&queued) {
                match place < due {
                    true => self.due -= 1,
                    false => self.window.let_out(queued.entry.bytes()),
                }
                gone.push(queued);
            } else {
                left.push_back(queued);
            }
        }
        self.queue = left;
        if self.queue.len() == self.due {
            self.window.close();
        }
        gone
    }

    /// A pause that is over ends: one more attempt, after which what is too old is given up.
    pub(super) fn resume(&mut self, now: Instant) {
        match self.tried.phase {
            Phase::Waiting(until) | Phase::Rejected(until) if until <= now => {
                self.set_phase(Phase::Idle)
            }
            Phase::Idle | Phase::InFlight { .. } | Phase::Waiting(_) | Phase::Rejected(_) => {}
        }
    }

    /// What it is doing.
    pub(super) fn phase(&self) -> Phase {
        self.tried.phase
    }

    /// The one place where a phase is written.
    pub(super) fn set_phase(&mut self, next: Phase) {
        let phase = self.phase();
        debug_assert!(phase.may_become(next), "{phase:?} => {next:?}");
        if phase != next {
            self.tried.phase = next;
        }
    }

    /// It waits for a pause between two attempts to end.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.tried.phase, Phase::Waiting(_))
    }

    /// When its pause between two attempts ends, if it waits for that.
    pub(super) fn pauses_until(&self) -> Option<Instant> {
        match self.tried.phase {
            Phase::Waiting(until) => Some(until),
            Phase::Idle | Phase::InFlight { .. } | Phase::Rejected(_) => None,
        }
    }

    /// Its pause is one of a rate limit, or of its group's gate or circuit.
    pub(super) fn waits_for_gate(&self) -> bool {
        self.is_waiting() && (self.was_deferred || self.tried.status == Some(LIMITED))
    }

    /// It has something to offer, and nothing of its own holds it.
    pub(super) fn may_offer(&self) -> bool {
        self.tried.phase == Phase::Idle && (self.due > 0 || !self.tried.again.is_empty())
    }

    /// What was not known of formed batches is known now.
    pub(super) fn turn_doubt(&mut self, from: Doubt, to: Doubt) {
        self.tried
            .again
            .iter_mut()
            .filter(|batch| batch.doubt == from)
            .for_each(|batch| batch.doubt = to);
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        let pause = match self.tried.phase {
            Phase::Waiting(until) | Phase::Rejected(until) => Some(until),
            Phase::Idle | Phase::InFlight { .. } => None,
        };
        self.window.deadline.into_iter().chain(pause).min()
    }

    /// Events that may be its oldest.
    fn waiting(&self) -> impl Iterator<Item = &Queued<E>> {
        let queued = if self.has_covers { self.queue.len() } else { 1 };
        self.tried
            .again
            .iter()
            .flat_map(|batch| batch.events.iter())
            .chain(self.queue.iter().take(queued))
    }

    /// Its events without an outcome, those that newer ones stand for included.
    pub(super) fn count_events(&self) -> usize {
        let formed = self.tried.again.iter().map(|batch| batch.events.len());
        let mut waiting = formed.sum::<usize>() + self.queue.len();
        if self.has_covers {
            let again = self
                .tried
                .again
                .iter()
                .flat_map(|batch| batch.events.iter());
            waiting = again.chain(&self.queue).map(Queued::count).sum();
        }
        self.tried.in_flight as usize + waiting
    }

    /// What its pending events show of themselves.
    pub(super) fn shown(&self) -> impl Iterator<Item = Shown> {
        let again = self
            .tried
            .again
            .iter()
            .flat_map(|batch| batch.events.iter());
        let waiting = again.chain(&self.queue).map(Queued::shown);
        self.tried.flying.iter().cloned().chain(waiting)
    }

    /// The smallest number that is not settled, covered events included.
    pub(super) fn first_seq(&self) -> Option<u64> {
        let flying = match self.tried.phase {
            Phase::InFlight { first_seq, .. } => Some(first_seq),
            Phase::Idle | Phase::Waiting(_) | Phase::Rejected(_) => None,
        };
        self.waiting().map(Queued::first_seq).chain(flying).min()
    }

    /// The number of its newest event that is in no batch.
    pub(super) fn last_seq(&self) -> Option<u64> {
        self.queue.back().map(|queued| queued.entry.seq())
    }

    /// The number of the event that is offered next, or is on its way.
    pub(super) fn front(&self) -> Option<u64> {
        let flying = match self.tried.phase {
            Phase::InFlight { front, .. } => Some(front),
            Phase::Idle | Phase::Waiting(_) | Phase::Rejected(_) => None,
        };
        let again = self
            .tried
            .again
            .iter()
            .flat_map(|batch| batch.events.iter().map(|queued| queued.entry.seq()));
        again
            .chain(flying)
            .chain(self.queue.front().map(|queued| queued.entry.seq()))
            .min()
    }

    /// When its oldest event came.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let flying = match self.tried.phase {
            Phase::InFlight { since, .. } => Some(since),
            Phase::Idle | Phase::Waiting(_) | Phase::Rejected(_) => None,
        };
        self.waiting().map(Queued::first_since).chain(flying).min()
    }
}
