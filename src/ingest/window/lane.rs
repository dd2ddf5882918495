//! One lane: its queue, its open window, the batches that it forms.

use super::order::{Domain, Place};
use super::{Batch, Doubt, Entry, Form, LaneId, Rules};
use crate::event::{LaneKey, Outcome, Owner, Subject, Tag};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use tokio::time::Instant;
use uuid::Uuid;

/// One event on its way, with what it has been through.
#[derive(Debug)]
pub struct Queued<E> {
    /// The event.
    pub entry: E,
    /// Times it was named as failed, or left out of every list, or failed alone.
    pub failed: u32,
    /// When it entered its lane.
    pub since: Instant,
    /// Older events that it made needless. Their outcome comes with its own.
    pub covers: Option<Box<Covers<E>>>,
}

/// A pending event as a look shows it.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) seq: u64,
    pub(super) json: Bytes,
    /// Its tags, and those of what it covers.
    pub(super) tags: Vec<Tag>,
}

/// Events that a newer one of their subject made needless.
#[derive(Debug)]
pub struct Covers<E> {
    /// Oldest first; none of them covers anything itself.
    events: Vec<Queued<E>>,
    first_seq: u64,
    first: Instant,
}

impl<E: Entry> Queued<E> {
    pub(super) const fn new(entry: E, since: Instant) -> Self {
        Self { entry, failed: 0, since, covers: None }
    }

    pub(super) fn shown(&self) -> Shown {
        let covered = self.covers.iter().flat_map(|covers| &covers.events).flat_map(|older| older.entry.tags());
        let tags = self.entry.tags().iter().chain(covered).copied().collect();
        Shown { seq: self.entry.seq(), json: self.entry.shown(), tags }
    }

    /// Its own number, or that of the oldest event that it covers.
    pub(super) fn first_seq(&self) -> u64 {
        self.covers.as_ref().map_or_else(|| self.entry.seq(), |covers| covers.first_seq)
    }

    /// When it came, or the oldest event that it covers.
    pub(super) fn first_since(&self) -> Instant {
        self.covers.as_ref().map_or(self.since, |covers| covers.first)
    }

    /// Takes the place of an older event.
    fn absorb(&mut self, mut older: Self) {
        let (first_seq, first) = (older.first_seq(), older.first_since());
        let mut before = older.covers.take();
        match (&mut self.covers, &mut before) {
            // The usual case, and the cheap one: what the older one covered is covered on.
            (None, Some(covers)) => {
                covers.events.push(older);
                self.covers = before;
            }
            (None, None) => self.covers = Some(Box::new(Covers { events: vec![older], first_seq, first })),
            (Some(covers), _) => {
                covers.first_seq = covers.first_seq.min(first_seq);
                covers.first = covers.first.min(first);
                covers.events.extend(before.map(|covers| covers.events).unwrap_or_default());
                covers.events.push(older);
                covers.events.sort_by_key(|queued| queued.entry.seq());
            }
        }
    }

    /// The newest event that it covers, standing for the older ones: what goes in its stead when it dies of its own fault.
    pub(super) fn uncover(&mut self) -> Option<Self> {
        let mut events = self.covers.take()?.events;
        let mut newest = events.pop()?;
        events.into_iter().for_each(|older| newest.absorb(older));
        Some(newest)
    }

    /// It and what it covers, each with its outcome.
    pub(super) fn outcomes(self, outcome: Outcome) -> impl Iterator<Item = (E, Outcome, u32)> {
        let by = match &outcome {
            Outcome::Superseded { by } => by.clone(),
            _ => self.entry.id().clone(),
        };
        let needless = self.covers.map(|covers| covers.events).unwrap_or_default().into_iter();
        let needless =
            needless.map(move |queued| (queued.entry, Outcome::Superseded { by: by.clone() }, queued.failed));
        needless.chain(std::iter::once((self.entry, outcome, self.failed)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    /// `front`: the first event's own number; `first_seq`: the smallest that it stands for.
    InFlight {
        front: u64,
        first_seq: u64,
        since: Instant,
    },
    Waiting(Instant),
    Rejected(Instant),
}

/// Why a window is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    /// Its time is over, or it is full.
    Window,
    /// A priority event stands at its end.
    Priority,
    /// Somebody waits for what is in it: a read, a forwarded call, an operator, the end.
    Asked,
}

#[derive(Debug)]
pub(super) struct Lane<E> {
    pub(super) key: LaneKey,
    pub(super) owner: Owner,
    /// Whose order it keeps.
    pub(super) domain: Domain,
    /// Where the order has it.
    pub(super) listed: Option<Place>,
    /// Events in no batch, oldest first.
    pub(super) queue: VecDeque<Queued<E>>,
    /// How many at the front of `queue` are sealed.
    pub(super) due: usize,
    /// Serialized bytes of the open part.
    pub(super) open_bytes: usize,
    /// What a batch has around its events, bytes; the same for all of one credential.
    pub(super) envelope: usize,
    /// When the open window is sealed; set while it has an event.
    pub(super) deadline: Option<Instant>,
    /// Formed batches that are to be tried again, first one first.
    pub(super) again: VecDeque<Batch<E>>,
    pub(super) phase: Phase,
    /// The instant this lane is listed under in `timers`.
    pub(super) timer: Option<Instant>,
    /// Consecutive attempts without an answer; the schedule's index.
    pub(super) retries: u32,
    /// The upstream's last status.
    pub(super) status: Option<u16>,
    /// Its credential was refused by the last answer that says anything of it.
    pub(super) was_refused: bool,
    /// Somebody waits for events up to this number: they don't wait for company.
    pub(super) urgent: u64,
    /// A success of its principal in another group lets it try again, though a refusal holds it.
    pub(super) may_try_once: bool,
    /// What is on its way shows of itself, where somebody may look.
    pub(super) flying: Vec<Shown>,
    /// An event of it covers others: the first in the queue need not be the oldest.
    has_covers: bool,
}

/// What a forwarded call or an older event of a sibling lane lets pass: numbers up to this.
pub(super) type Limit = u64;

impl<E: Entry> Lane<E> {
    pub(super) fn new(key: LaneKey, owner: Owner, domain: Domain, envelope: usize) -> Self {
        Self {
            key,
            owner,
            domain,
            listed: None,
            queue: VecDeque::new(),
            due: 0,
            open_bytes: 0,
            envelope,
            deadline: None,
            again: VecDeque::new(),
            phase: Phase::Idle,
            timer: None,
            retries: 0,
            status: None,
            was_refused: false,
            urgent: 0,
            may_try_once: true,
            flying: Vec::new(),
            has_covers: false,
        }
    }

    /// No attempt of it is failing.
    pub(super) fn is_well(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::InFlight { .. }) && self.again.is_empty() && self.retries == 0
    }

    /// A refusal holds it.
    pub(super) const fn is_rejected(&self) -> bool {
        matches!(self.phase, Phase::Rejected(_))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.phase == Phase::Idle && self.queue.is_empty() && self.again.is_empty()
    }

    /// One more event in the open window; `true`: the window is full.
    pub(super) fn take_in(&mut self, rules: &Rules, entry: E, since: Instant, deadline: Instant) -> bool {
        self.open_bytes += entry.bytes() + 1;
        // P5: from the *first* event; later ones do not postpone it.
        self.deadline = Some(self.deadline.map_or(deadline, |first| first.min(deadline)));
        self.queue.push_back(Queued::new(entry, since));
        if rules.single_calls && rules.newest {
            self.absorb_open();
        }
        let too_many = self.queue.len() - self.due >= rules.flush_at;
        too_many || !rules.single_calls && self.open_bytes + self.envelope > rules.max_bytes
    }

    /// Seals the open window. `held`: a forwarded call stands between what is due and what is open.
    pub(super) fn seal(&mut self, rules: &Rules, why: Seal, held: bool) {
        match (rules.single_calls, rules.newest) {
            // While the lane fails, what waits since earlier windows is needless too, unless somebody counts on its going
            // first. A lane that moves sends what is due: else a state might be replaced again and again, and never go.
            (true, true) if !held && !self.is_well() => {
                let waited_for = |queued: &Queued<E>| queued.entry.seq() <= self.urgent;
                let from = self.queue.iter().take(self.due).take_while(|queued| waited_for(queued)).count();
                self.merge(from);
            }
            // Ruling 5: not what a priority event stands behind.
            (false, true) if why != Seal::Priority => self.merge(self.due),
            _ => {}
        }
        self.due = self.queue.len();
        self.open_bytes = 0;
        self.deadline = None;
    }

    /// The newest event takes the place of the open one of its subject, if there is one. No priority event stands between
    /// them: it would have sealed the window.
    fn absorb_open(&mut self) {
        let last = self.queue.len().saturating_sub(1);
        let subject = self.queue.get(last).and_then(|queued| queued.entry.subject());
        let same = |place: &usize| self.queue.get(*place).is_some_and(|queued| queued.entry.subject() == subject);
        let Some(place) = (self.due..last).rev().find(same).filter(|_| subject.is_some()) else { return };
        if let Some(older) = self.queue.remove(place)
            && let Some(newest) = self.queue.back_mut()
        {
            newest.absorb(older);
            self.has_covers = true;
        }
    }

    /// From this place on, or from behind the last priority event before the newest one, of each subject only the newest
    /// event stays, at its place. A priority event always stays.
    fn merge(&mut self, from: usize) {
        let last = self.queue.len().saturating_sub(1);
        let stays = |place: &usize| self.queue.get(*place).is_some_and(|queued| queued.entry.priority());
        let from = (from..last).rev().find(stays).map_or(from, |place| place + 1);
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

    /// Takes out what tells the state of this subject, up to this number, and is not on its way. A priority event stays.
    pub(super) fn take_replaced(&mut self, subject: Subject, upto: u64) -> Vec<Queued<E>> {
        let goes = |queued: &Queued<E>| {
            queued.entry.subject() == Some(subject) && queued.entry.seq() <= upto && !queued.entry.priority()
        };
        let mut gone = Vec::new();
        for batch in &mut self.again {
            let (out, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut batch.events).into_iter().partition(goes);
            batch.events = rest;
            gone.extend(out);
        }
        self.again.retain(|batch| !batch.events.is_empty());
        let (due, mut left) = (self.due, VecDeque::new());
        for (place, queued) in std::mem::take(&mut self.queue).into_iter().enumerate() {
            if goes(&queued) {
                match place < due {
                    true => self.due -= 1,
                    false => self.open_bytes = self.open_bytes.saturating_sub(queued.entry.bytes() + 1),
                }
                gone.push(queued);
            } else {
                left.push_back(queued);
            }
        }
        self.queue = left;
        if self.queue.len() == self.due {
            self.deadline = None;
        }
        gone
    }

    /// Pauses that are over. Waiting => Idle, Rejected => Idle: one more attempt, after which what is too old is given up.
    pub(super) fn resume(&mut self, now: Instant) {
        match self.phase {
            Phase::Waiting(until) | Phase::Rejected(until) if until <= now => self.phase = Phase::Idle,
            Phase::Idle | Phase::InFlight { .. } | Phase::Waiting(_) | Phase::Rejected(_) => {}
        }
    }

    /// What was not known of formed batches is known now.
    pub(super) fn turn_doubt(&mut self, from: Doubt, to: Doubt) {
        self.again.iter_mut().filter(|batch| batch.doubt == from).for_each(|batch| batch.doubt = to);
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        let pause = match self.phase {
            Phase::Waiting(until) | Phase::Rejected(until) => Some(until),
            Phase::Idle | Phase::InFlight { .. } => None,
        };
        self.deadline.into_iter().chain(pause).min()
    }

    /// Events that may be its oldest.
    fn waiting(&self) -> impl Iterator<Item = &Queued<E>> {
        let queued = if self.has_covers { self.queue.len() } else { 1 };
        self.again.iter().flat_map(|batch| batch.events.iter()).chain(self.queue.iter().take(queued))
    }

    /// What its pending events show of themselves.
    pub(super) fn shown(&self) -> impl Iterator<Item = Shown> {
        let again = self.again.iter().flat_map(|batch| batch.events.iter());
        let waiting = again.chain(&self.queue).map(Queued::shown);
        self.flying.iter().cloned().chain(waiting)
    }

    /// The smallest number that is not settled, covered events included.
    pub(super) fn first_seq(&self) -> Option<u64> {
        let flying = match self.phase {
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
        let flying = match self.phase {
            Phase::InFlight { front, .. } => Some(front),
            Phase::Idle | Phase::Waiting(_) | Phase::Rejected(_) => None,
        };
        let again = self.again.iter().flat_map(|batch| batch.events.iter().map(|queued| queued.entry.seq()));
        again.chain(flying).chain(self.queue.front().map(|queued| queued.entry.seq())).min()
    }

    /// When its oldest event came.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let flying = match self.phase {
            Phase::InFlight { since, .. } => Some(since),
            Phase::Idle | Phase::Waiting(_) | Phase::Rejected(_) => None,
        };
        self.waiting().map(Queued::first_since).chain(flying).min()
    }

    /// Whether an event fits no batch, not even alone.
    fn is_oversize(&self, rules: &Rules, queued: &Queued<E>) -> bool {
        !rules.single_calls && self.envelope + queued.entry.bytes() > rules.max_bytes
    }

    /// The event that is offered next, if it fits no batch and has no single call to go as.
    pub(super) fn take_oversize(&mut self, rules: &Rules) -> Option<Queued<E>> {
        if self.phase != Phase::Idle {
            return None;
        }
        let is_lost =
            |queued: &Queued<E>| self.is_oversize(rules, queued) && !(rules.single && queued.entry.has_single());
        if let Some(batch) = self.again.front() {
            let goes = batch.form == Form::Batch && batch.events.len() == 1 && batch.events.iter().all(is_lost);
            return if goes { self.again.pop_front()?.events.pop() } else { None };
        }
        if self.due == 0 || !self.queue.front().is_some_and(is_lost) {
            return None;
        }
        self.due -= 1;
        self.queue.pop_front()
    }

    /// In the place of what was offered next.
    pub(super) fn put_first(&mut self, id: LaneId, queued: Queued<E>) {
        if self.again.is_empty() {
            self.due += 1;
            self.queue.push_front(queued);
        } else {
            let piece = Batch::piece(id, &self.key, Form::Batch, vec![queued]);
            self.again.push_front(piece);
        }
    }

    pub(super) fn next_batch(&mut self, id: LaneId, rules: &Rules, limit: Limit) -> Option<Batch<E>> {
        // Its first event decides: it is tried again as it was, and a lane that was held meanwhile may have some between.
        let goes = |batch: &Batch<E>| batch.events.iter().any(|queued| queued.entry.seq() <= limit);
        if self.again.front().is_some_and(|batch| !goes(batch)) {
            return None;
        }
        if let Some(mut batch) = self.again.pop_front() {
            batch.urgent = batch.events.iter().any(|queued| queued.first_seq() <= self.urgent);
            if let [queued] = &*batch.events
                && self.is_oversize(rules, queued)
            {
                batch.form = Form::Single;
            }
            return Some(batch);
        }
        let is_single = rules.single_calls || self.queue.front().is_some_and(|queued| self.is_oversize(rules, queued));
        let (form, most) = if is_single { (Form::Single, 1) } else { (Form::Batch, rules.max_events) };
        let mut events: Vec<Queued<E>> = Vec::new();
        let mut bytes = self.envelope;
        while self.due > 0 && events.len() < most {
            let Some(next) = self.queue.front() else { break };
            let comma = usize::from(!events.is_empty());
            let fits = bytes + comma + next.entry.bytes() <= rules.max_bytes || events.is_empty();
            if !fits || next.entry.seq() > limit || repeats(&events, next, rules) || changes_hands(&events, next, rules)
            {
                break;
            }
            bytes += comma + next.entry.bytes();
            self.due -= 1;
            events.extend(self.queue.pop_front());
        }
        let first = events.iter().map(Queued::first_seq).min()?;
        Some(Batch { events, urgent: first <= self.urgent, ..Batch::of(id, &self.key, form) })
    }
}

/// Ruling 5: the batch ends before the event that would repeat a value.
fn repeats<E: Entry>(events: &[Queued<E>], next: &Queued<E>, rules: &Rules) -> bool {
    rules.distinct.iter().any(|field| {
        let value = next.entry.field(field);
        value.is_some() && events.iter().any(|queued| queued.entry.field(field) == value)
    })
}

/// In a shared group what goes with its own credential shares no batch with what goes under the service's.
fn changes_hands<E: Entry>(events: &[Queued<E>], next: &Queued<E>, rules: &Rules) -> bool {
    let first = events.first().filter(|_| rules.shared);
    first.is_some_and(|first| first.entry.is_for_service() != next.entry.is_for_service())
}

impl<E: Entry> Batch<E> {
    /// Of this lane, without events yet, under an id of its own.
    pub(super) fn of(lane: LaneId, key: &LaneKey, form: Form) -> Self {
        Self {
            id: Uuid::new_v4(),
            lane,
            key: key.clone(),
            form,
            status: None,
            events: Vec::new(),
            alone: false,
            was_refused: false,
            urgent: false,
            trouble: super::Trouble::default(),
            doubt: Doubt::None,
        }
    }

    /// A piece of a batch that was refused as a whole: it shares no batch with others.
    pub(super) fn piece(lane: LaneId, key: &LaneKey, form: Form, events: Vec<Queued<E>>) -> Self {
        Self { events, alone: true, ..Self::of(lane, key, form) }
    }

    /// On its way.
    pub(super) fn flight(&self) -> Option<Phase> {
        let front = self.events.iter().map(|queued| queued.entry.seq()).min()?;
        let first_seq = self.events.iter().map(Queued::first_seq).min()?;
        let since = self.events.iter().map(Queued::first_since).min()?;
        Some(Phase::InFlight { front, first_seq, since })
    }
}
