//! What a lane offers: its next batch within the limits (P6), or what fits none.

use super::lane::Lane;
use super::phase::Phase;
use super::{Batch, Entry, Form, LaneId, Queued, Rules};

/// What a forwarded call or an older event of a sibling lane lets pass: numbers up to this.
type Limit = u64;

impl<E: Entry> Lane<E> {
    /// Whether an event fits no batch, not even alone.
    fn is_oversize(rules: &Rules, queued: &Queued<E>) -> bool {
        !rules.single_calls && queued.entry.envelope() + queued.entry.bytes() > rules.max_bytes
    }

    /// The event that is offered next, if it fits no batch and has no single call to go as.
    pub(super) fn take_oversize(&mut self, rules: &Rules) -> Option<Queued<E>> {
        if self.phase() != Phase::Idle {
            return None;
        }
        let is_lost = |queued: &Queued<E>| {
            Self::is_oversize(rules, queued) && !(rules.single && queued.entry.has_single())
        };
        if let Some(batch) = self.tried.again.front() {
            let goes = batch.form == Form::Batch
                && batch.events.len() == 1
                && batch.events.iter().all(is_lost);
            return if goes {
                self.tried.again.pop_front()?.events.pop()
            } else {
                None
            };
        }
        if self.due == 0 || !self.queue.front().is_some_and(is_lost) {
            return None;
        }
        self.due -= 1;
        self.queue.pop_front()
    }

    /// In the place of what was offered next.
    pub(super) fn put_first(&mut self, id: LaneId, queued: Queued<E>) {
        if self.tried.again.is_empty() {
            self.due += 1;
            self.queue.push_front(queued);
        } else {
            let piece = Batch::piece(id, &self.key, Form::Batch, vec![queued]);
            self.tried.again.push_front(piece);
        }
    }

    pub(super) fn next_batch(
        &mut self,
        id: LaneId,
        rules: &Rules,
        limit: Limit,
    ) -> Option<Batch<E>> {
        // Its first event decides: it is tried again as it was, and a lane that was held meanwhile
        // may have some between.
        let goes = |batch: &Batch<E>| {
            batch
                .events
                .iter()
                .any(|queued| queued.entry.seq() <= limit)
        };
        if self.tried.again.front().is_some_and(|batch| !goes(batch)) {
            return None;
        }
        if let Some(mut batch) = self.tried.again.pop_front() {
            batch.awaited = batch
                .events
                .iter()
                .any(|queued| queued.first_seq() <= self.tried.awaited);
            if let [queued] = &*batch.events
                && Self::is_oversize(rules, queued)
            {
                batch.form = Form::Single;
            }
            return Some(batch);
        }
        let is_single = rules.single_calls
            || self
                .queue
                .front()
                .is_some_and(|queued| Self::is_oversize(rules, queued));
        let (form, most) = if is_single {
            (Form::Single, 1)
        } else {
            (Form::Batch, rules.max_events)
        };
        let mut events: Vec<Queued<E>> = Vec::new();
        let mut bytes = self.queue.front().map_or(0, |next| next.entry.envelope());
        while self.due > 0 && events.len() < most {
            let Some(next) = self.queue.front() else {
                break;
            };
            let comma = usize::from(!events.is_empty());
            let fits = bytes + comma + next.entry.bytes() <= rules.max_bytes || events.is_empty();
            if !fits
                || next.entry.seq() > limit
                || repeats(&events, next, rules)
                || changes_hands(&events, next, rules)
            {
                break;
            }
            bytes += comma + next.entry.bytes();
            self.due -= 1;
            events.extend(self.queue.pop_front());
        }
        let first = events.iter().map(Queued::first_seq).min()?;
        Some(Batch {
            events,
            awaited: first <= self.tried.awaited,
            ..Batch::of(id, &self.key, form)
        })
    }
}

/// Ruling 5: the batch ends before the event that would repeat a value.
pub(super) fn repeats<E: Entry>(events: &[Queued<E>], next: &Queued<E>, rules: &Rules) -> bool {
    rules.distinct.iter().any(|field| {
        let value = next.entry.field(field);
        value.is_some()
            && events
                .iter()
                .any(|queued| queued.entry.field(field) == value)
    })
}

/// In a shared group what goes with its own credential shares no batch with what goes under the
/// service's.
fn changes_hands<E: Entry>(events: &[Queued<E>], next: &Queued<E>, rules: &Rules) -> bool {
    let first = events.first().filter(|_| rules.shared);
    first.is_some_and(|first| first.entry.is_for_service() != next.entry.is_for_service())
}
