//! What goes on of a batch that was not taken as a whole: halves, runs of events, single calls. All
//! of it goes to the front of the lane, in the order of the events.

use super::offer::repeats;
use super::{Batch, Doubt, Entry, Form, LaneId, Lanes, Queued, Rules, Trouble};
use crate::event::LaneKey;
use tokio::time::Instant;

impl<E: Entry> Lanes<E> {
    /// To the front of the lane, in the order of the events, in pieces that are as large as they
    /// may be.
    pub(super) fn in_pieces(
        &mut self,
        rules: &Rules,
        id: LaneId,
        key: &LaneKey,
        mut left: Vec<(Form, Queued<E>)>,
        doubt: Doubt,
    ) {
        let Some(lane) = self.lane_mut(id) else {
            return;
        };
        // P4: an offender that has a single call left keeps its place: what was before it goes
        // before it. An heir is older than the event in whose place it stood, and may be larger
        // (P6).
        left.sort_by_key(|(_, queued)| queued.entry.seq());
        let mut runs: Vec<Batch<E>> = Vec::new();
        for (form, queued) in left {
            let fits = |run: &&mut Batch<E>| {
                let bytes: usize = run.events.iter().map(|other| other.entry.bytes() + 1).sum();
                let both = form == Form::Batch && run.form == Form::Batch;
                let mark = queued.entry.is_for_service();
                both && run.is_for_service() == mark
                    && !repeats(&run.events, &queued, rules)
                    && run.events.len() < rules.max_events
                    && queued.entry.envelope() + bytes + queued.entry.bytes() <= rules.max_bytes
            };
            match runs.last_mut().filter(fits) {
                Some(run) => run.events.push(queued),
                None => runs.push(Batch {
                    doubt,
                    ..Batch::piece(id, key, form, vec![queued])
                }),
            }
        }
        runs.into_iter()
            .rev()
            .for_each(|run| lane.tried.again.push_front(run));
    }

    /// Once more, as the single call that it was.
    pub(super) fn single_call(&mut self, batch: Batch<E>) {
        let Batch {
            lane: id,
            key,
            events,
            trouble,
            doubt,
            ..
        } = batch;
        if let Some(lane) = self.lane_mut(id) {
            let trouble = Trouble {
                strikes: 0,
                refusals: 0,
                lonely: 0,
                ..trouble
            };
            lane.tried.again.push_front(Batch {
                trouble,
                doubt,
                ..Batch::piece(id, &key, Form::Single, events)
            });
        }
    }

    /// The oldest event as its single call, if it has one; the rest after it.
    pub(super) fn oldest_alone(&mut self, rules: &Rules, batch: Batch<E>, doubt: Doubt) {
        let form = if batch.has_oldest_single(rules.single) {
            Form::Single
        } else {
            batch.form
        };
        let Batch {
            lane: id,
            key,
            form: whole,
            mut events,
            ..
        } = batch;
        let rest = events.split_off(events.len().min(1));
        let Some(lane) = self.lane_mut(id) else {
            return;
        };
        for (form, events) in [(whole, rest), (form, events)] {
            if !events.is_empty() {
                lane.tried.again.push_front(Batch {
                    doubt,
                    ..Batch::piece(id, &key, form, events)
                });
            }
        }
    }

    /// Both halves to the front of the lane, each as a batch of its own.
    pub(super) fn halve(&mut self, batch: Batch<E>) {
        let Batch {
            lane: id,
            key,
            mut events,
            trouble,
            doubt,
            ..
        } = batch;
        // What passed since the whole failed speaks against a piece that goes on failing.
        let trouble = Trouble {
            strikes: 0,
            refusals: 0,
            lonely: 0,
            ..trouble
        };
        let second = events.split_off(events.len() / 2);
        let Some(lane) = self.lane_mut(id) else {
            return;
        };
        for half in [second, events] {
            if !half.is_empty() {
                lane.tried.again.push_front(Batch {
                    trouble,
                    doubt,
                    ..Batch::piece(id, &key, Form::Batch, half)
                });
            }
        }
    }

    /// The single calls of its events, in order; what has none stays a batch.
    pub(super) fn as_singles(&mut self, again: Instant, rules: &Rules, batch: Batch<E>) {
        if !batch.has_singles(rules.single) {
            // Taken or not, nobody knows; and a wrong path in the configuration is no reason to
            // bury everything.
            if let Some(lane) = self.lane_mut(batch.lane) {
                lane.tried.retries = lane.tried.retries.saturating_add(1);
            }
            return self.wait(again, batch);
        }
        let Batch {
            lane: id,
            key,
            events,
            ..
        } = batch;
        let form = |queued: &Queued<E>| {
            if queued.entry.has_single() {
                Form::Single
            } else {
                Form::Batch
            }
        };
        let left = events
            .into_iter()
            .map(|queued| (form(&queued), queued))
            .collect();
        self.in_pieces(rules, id, &key, left, Doubt::Path);
    }
}

/// It was tried as a batch, and its single calls are left.
pub(super) fn may_be_single<E: Entry>(rules: &Rules, batch: &Batch<E>) -> bool {
    rules.single
        && batch.form == Form::Batch
        && batch.events.iter().all(|queued| queued.entry.has_single())
}
