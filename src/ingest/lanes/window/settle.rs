//! How events leave their lane with an outcome: settled, dead of their own fault, or given up since
//! they are too old.

use super::phase::Phase;
use super::{Entry, LaneId, Lanes, Queued, Rules, Settled};
use crate::event::{Outcome, Reason};
use tokio::time::Instant;

impl<E: Entry> Lanes<E> {
    /// An event's outcome, and that of what it covers.
    pub(super) fn settle(&mut self, queued: Queued<E>, outcome: Outcome, status: Option<u16>) {
        let all = queued.outcomes(outcome);
        let answer = &self.answer;
        self.settled.extend(all.map(|(entry, outcome, failed)| {
            let died = matches!(outcome, Outcome::Dead(_));
            Settled {
                entry,
                outcome,
                failed,
                status,
                answer: answer.clone().filter(|_| died),
            }
        }));
    }

    /// An event dies of its own fault. What it covered need not share that fault: the newest of it
    /// goes in its stead. But where nobody is to take it (404, 405, 410, 501), nobody would take
    /// that either.
    pub(super) fn bury(
        &mut self,
        mut queued: Queued<E>,
        reason: Reason,
        status: Option<u16>,
    ) -> Option<Queued<E>> {
        let nobody = matches!(status, Some(404 | 405 | 410 | 501));
        let heir = if nobody { None } else { queued.uncover() };
        self.settle(queued, Outcome::Dead(reason), status);
        heir
    }

    pub(super) fn give_up(&mut self, now: Instant, id: LaneId, rules: &Rules) {
        let began = self.began.unwrap_or(now);
        let Some(lane) = self.lane_mut(id) else {
            return;
        };
        let reason = match lane.phase() {
            Phase::Rejected(_) => Reason::CredentialRejected,
            // It was let go once more and didn't get an answer: the refusal is all that is known.
            Phase::Waiting(_) if lane.was_refused => Reason::CredentialRejected,
            Phase::Waiting(_) => Reason::GaveUp,
            Phase::Idle | Phase::InFlight { .. } => return,
        };
        let is_old = |queued: &Queued<E>| {
            now.saturating_duration_since(queued.since.max(began)) >= rules.give_up_after
        };
        let mut given_up = Vec::new();
        for batch in &mut lane.tried.again {
            let (old, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut batch.events)
                .into_iter()
                .partition(is_old);
            if !old.is_empty() {
                batch.id = uuid::Uuid::new_v4();
            }
            batch.events = rest;
            given_up.extend(old);
        }
        lane.tried.again.retain(|batch| !batch.events.is_empty());
        while let Some(queued) = lane.queue.pop_front_if(|queued| is_old(queued)) {
            if lane.due > 0 {
                lane.due -= 1;
            } else {
                lane.window.let_out(queued.entry.bytes());
            }
            given_up.push(queued);
        }
        if lane.queue.len() == lane.due {
            lane.window.close();
        }
        let status = lane.tried.status;
        given_up
            .into_iter()
            .for_each(|queued| self.settle(queued, Outcome::Dead(reason), status));
    }
}
