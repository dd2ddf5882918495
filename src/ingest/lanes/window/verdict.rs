//! What an attempt met, and what follows for its lane.

use super::phase::Phase;
use super::pieces::may_be_single;
use super::{Batch, Doubt, Entry, Fate, Form, LaneId, Lanes, Queued, Rules, Trouble, Verdict};
use crate::event::{EventId, Outcome, Owner, Reason};
use crate::ingest::accept::reputation::Grounds;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An event that fails alone while others of its group pass is given up after this part of
/// `give_up_after`: it has patience by time, and what stands behind it in its lane is still young
/// then.
const AT_FAULT: u32 = 24;

impl<E: Entry> Lanes<E> {
    /// As [`verdict`](Self::verdict), with what the application said: whoever dies of it died of
    /// this answer.
    pub fn verdict_of(
        &mut self,
        now: Instant,
        (batch, answer): (Batch<E>, Option<Bytes>),
        verdict: Verdict,
        pause: Duration,
    ) {
        self.answer = answer;
        self.verdict(now, batch, verdict, pause);
        self.answer = None;
    }

    /// An attempt is over. `pause` is how long a lane with failed events waits.
    pub fn verdict(
        &mut self,
        now: Instant,
        mut batch: Batch<E>,
        verdict: Verdict,
        pause: Duration,
    ) {
        let (id, key) = (batch.lane, batch.key.clone());
        let all = Arc::clone(&self.rules);
        let Some(rules) = all.get(batch.key.group.0) else {
            return;
        };
        self.trail.note_attempt(now, &batch, &verdict);
        let owner = self.lane(id).map(|lane| lane.owner);
        let mut others = match owner.filter(|_| verdict == Verdict::Rejected) {
            Some(owner) => self.note_refusal(&owner),
            None => Vec::new(),
        };
        let began = self.began.unwrap_or(now);
        let Some(lane) = self.lane_mut(id) else {
            return;
        };
        lane.set_phase(Phase::Idle);
        lane.tried.flying = Vec::new();
        lane.tried.in_flight = 0;
        lane.was_deferred = matches!(verdict, Verdict::Deferred { .. });
        lane.tried.status = batch.status.or(lane.tried.status);
        match verdict {
            Verdict::Rejected => lane.was_refused = true,
            Verdict::Answered(_)
            | Verdict::Forbidden
            | Verdict::Refused { .. }
            | Verdict::TooLarge => {
                lane.was_refused = false;
            }
            _ => {}
        }
        match verdict {
            Verdict::Retry { .. } | Verdict::Persistent { .. } => {
                lane.tried.retries = lane.tried.retries.saturating_add(1)
            }
            Verdict::Deferred { .. } | Verdict::OldestAlone => {}
            // Counted where no single call is left.
            Verdict::Singles { .. } => {}
            _ => lane.tried.retries = 0,
        }
        match verdict {
            Verdict::Answered(fates) => {
                lane.may_try_once = true;
                if batch.doubt == Doubt::Credential {
                    lane.turn_doubt(Doubt::Credential, Doubt::Event);
                }
                if let Some(owner) = owner.filter(|_| !(rules.shared && batch.is_for_service())) {
                    self.standing
                        .note(owner.principal, key.group, Grounds::CALL);
                }
                self.answered(now, rules, batch, fates, pause);
            }
            Verdict::Retry { pause } | Verdict::Deferred { pause } => self.wait(now + pause, batch),
            Verdict::Rejected => {
                batch.trouble = Trouble::default();
                if batch.form == Form::Single {
                    batch.doubt = Doubt::Credential;
                }
                let first = batch
                    .events
                    .iter()
                    .map(|queued| queued.since)
                    .min()
                    .unwrap_or(now);
                // Patience is counted while the process is up and tries (ruling 8): what a start
                // brought back is as old as that start, whatever the wall clock says of it.
                lane.set_phase(Phase::Rejected(first.max(began) + rules.give_up_after));
                lane.tried.again.push_front(batch);
                lane.turn_doubt(Doubt::Event, Doubt::Credential);
                lane.turn_doubt(Doubt::EventOnceMore, Doubt::Credential);
            }
            Verdict::Forbidden => self.forbidden(now + pause, rules, batch),
            Verdict::Refused { named } => self.refused(rules, batch, &named),
            Verdict::Persistent { pause } => self.persistent(now, rules, batch, pause),
            Verdict::TooLarge => self.too_large(rules, batch),
            Verdict::Singles { pause } => self.as_singles(now + pause, rules, batch),
            Verdict::OldestAlone => {
                let doubt = batch.doubt;
                self.oldest_alone(rules, batch, doubt);
            }
        }
        self.give_up(now, id, rules);
        self.answer = None;
        self.advance_with(id);
        others.retain(|other| *other != id);
        others
            .into_iter()
            .for_each(|other| self.advance_with(other));
    }

    /// A batch of this lane's principal was refused for its sake. The principal's lanes, if that
    /// changes what they wait for and who waits for them.
    fn note_refusal(&mut self, owner: &Owner) -> Vec<LaneId> {
        let was_good = self
            .standing
            .note_refusal(owner.principal, self.rules.len());
        if was_good {
            self.order.lanes_of_principal(owner.principal).collect()
        } else {
            Vec::new()
        }
    }

    pub(super) fn wait(&mut self, until: Instant, batch: Batch<E>) {
        let Some(lane) = self.lane_mut(batch.lane) else {
            return;
        };
        lane.set_phase(Phase::Waiting(until));
        lane.tried.again.push_front(batch);
    }

    fn answered(
        &mut self,
        now: Instant,
        rules: &Rules,
        batch: Batch<E>,
        fates: Vec<Fate>,
        pause: Duration,
    ) {
        let Batch {
            lane: id,
            key,
            form,
            status,
            events,
            ..
        } = batch;
        let mut back = Vec::new();
        self.settled.reserve(events.len());
        // INVARIANT: one fate per event; an event without one is tried again, never dropped.
        let fates = fates.into_iter().chain(std::iter::repeat(Fate::Again));
        for (mut queued, fate) in events.into_iter().zip(fates) {
            match fate {
                Fate::Done(Outcome::Dead(reason)) => back.extend(self.bury(queued, reason, status)),
                Fate::Done(outcome) => self.settle(queued, outcome, status),
                Fate::Again => {
                    queued.failed += 1;
                    if queued.failed >= rules.max_attempts {
                        back.extend(self.bury(queued, Reason::TooManyAttempts, status));
                    } else {
                        back.push(queued);
                    }
                }
            }
        }
        let Some(lane) = self.lane_mut(id).filter(|_| !back.is_empty()) else {
            return;
        };
        lane.set_phase(Phase::Waiting(now + pause));
        // P4: the refused ones lead the next batch, in their order; not behind what else is left of
        // a batch that was split.
        if form == Form::Single || !lane.tried.again.is_empty() {
            return self.in_pieces(
                rules,
                id,
                &key,
                back.into_iter().map(|queued| (form, queued)).collect(),
                Doubt::None,
            );
        }
        // An heir is older than the event in whose place it stood.
        back.sort_by_key(|queued| queued.entry.seq());
        lane.due += back.len();
        for queued in back.into_iter().rev() {
            lane.queue.push_front(queued);
        }
    }

    fn refused(&mut self, rules: &Rules, batch: Batch<E>, named: &[EventId]) {
        if batch.events.len() == 1 {
            return self.refused_alone(rules, batch, Reason::Refused);
        }
        let is_named = |queued: &Queued<E>| named.iter().any(|id| id.as_str() == queued.entry.id());
        if !batch.events.iter().any(is_named) {
            return self.halve(batch);
        }
        let Batch {
            lane: id,
            key,
            status,
            events,
            ..
        } = batch;
        let mut left = Vec::new();
        for queued in events {
            let offends = is_named(&queued);
            match offends && rules.single && queued.entry.has_single() {
                true => left.push((Form::Single, queued)),
                false if offends => {
                    left.extend(
                        self.bury(queued, Reason::Refused, status)
                            .map(|heir| (Form::Batch, heir)),
                    );
                }
                false => left.push((Form::Batch, queued)),
            }
        }
        self.in_pieces(rules, id, &key, left, Doubt::None);
    }

    /// An event that failed alone: its single call is left, or it dies.
    fn refused_alone(&mut self, rules: &Rules, batch: Batch<E>, reason: Reason) {
        if may_be_single(rules, &batch) {
            return self.single_call(batch);
        }
        let Batch {
            lane: id,
            key,
            status,
            events,
            ..
        } = batch;
        let heirs: Vec<_> = events
            .into_iter()
            .filter_map(|queued| self.bury(queued, reason, status))
            .collect();
        let form = if rules.single_calls {
            Form::Single
        } else {
            Form::Batch
        };
        if let Some(lane) = self.lane_mut(id).filter(|_| !heirs.is_empty()) {
            lane.tried
                .again
                .push_front(Batch::piece(id, &key, form, heirs));
        }
    }

    fn too_large(&mut self, rules: &Rules, batch: Batch<E>) {
        if batch.events.len() == 1 {
            return self.refused_alone(rules, batch, Reason::Refused);
        }
        self.halve(batch);
    }

    /// It fails while others of its group pass: the fault is looked for in halves; an event that
    /// fails alone is tried as the single call it was, and given up in time.
    fn persistent(&mut self, now: Instant, rules: &Rules, mut batch: Batch<E>, pause: Duration) {
        if batch.events.len() > 1 {
            return self.halve(batch);
        }
        if may_be_single(rules, &batch) {
            return self.single_call(batch);
        }
        let trouble = &mut batch.trouble;
        let since = *trouble.alone_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= rules.give_up_after / AT_FAULT {
            if trouble.is_last_chance {
                return self.refused_alone(rules, batch, Reason::GaveUp);
            }
            // The time may have passed in silence: it must be found at fault anew.
            trouble.is_last_chance = true;
            (trouble.strikes, trouble.refusals) = (0, 0);
        }
        self.wait(now + pause, batch);
    }

    /// 403, and nothing says so far that it is the credential's.
    fn forbidden(&mut self, again: Instant, rules: &Rules, mut batch: Batch<E>) {
        match batch.doubt {
            Doubt::None | Doubt::Path | Doubt::Credential => {
                self.oldest_alone(rules, batch, Doubt::Credential)
            }
            Doubt::Event | Doubt::EventOnceMore if batch.events.len() > 1 => self.halve(batch),
            Doubt::Event if may_be_single(rules, &batch) => self.single_call(batch),
            Doubt::Event => {
                batch.doubt = Doubt::EventOnceMore;
                self.wait(again, batch);
            }
            Doubt::EventOnceMore => {
                if let Some(lane) = self.lane_mut(batch.lane) {
                    lane.turn_doubt(Doubt::Event, Doubt::Credential);
                }
                self.refused_alone(rules, batch, Reason::Refused);
            }
        }
    }
}
