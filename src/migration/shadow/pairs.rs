//! What is known of a copied call until all of it is: the acknowledgement, the application's answer,
//! the batch's word. Pure: `now` is passed in. Bounded: what there is no room for is given up, and
//! counted.

use super::stage::Acknowledged;
use crate::event::{Event, EventId, LaneKey, Principal};
use crate::memory::Lease;
use crate::migration::parity::{Batched, Compared, Told};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Calls that are open at a time.
const MOST: usize = 32_768;
/// Lanes whose order is followed at a time.
const MOST_LANES: usize = 16_384;

/// By which an event is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct EventKey {
    pub(super) lane: LaneKey,
    pub(super) principal: Principal,
    pub(super) id: EventId,
}

impl EventKey {
    pub(super) fn of(event: &Event) -> Self {
        Self {
            lane: event.lane.clone(),
            principal: event.owner().principal,
            id: event.texts.event_id(),
        }
    }
}

/// Number of a copied call.
pub(super) type Ticket = u64;

/// Number of an acknowledged one, in the order in which they were.
type Order = u64;

/// The open calls.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    open: HashMap<Ticket, Open>,
    by_event: HashMap<EventKey, Ticket>,
    /// The newest event that was offered, by lane.
    offered: HashMap<LaneKey, Order>,
    next: Order,
}

#[derive(Debug)]
struct Open {
    route: usize,
    order: Order,
    at: Instant,
    acknowledged: Acknowledged,
    /// None for a repetition, which no batch holds.
    key: Option<EventKey>,
    single: Option<(Told, Duration)>,
    batched: Option<(Batched, Instant)>,
    batch_took: Option<Duration>,
    broken: Option<Box<str>>,
    is_offered: bool,
    is_out_of_order: bool,
    /// What it takes of the memory, and what its answer takes.
    _room: Lease,
    answer_room: Option<Lease>,
}

impl Pairs {
    /// A call that would be acknowledged; `key`: of its event, none for a repetition. `false`: there
    /// is no room for it.
    pub(super) fn open(
        &mut self,
        (ticket, route): (Ticket, usize),
        key: Option<EventKey>,
        acknowledged: Acknowledged,
        (at, room): (Instant, Lease),
    ) -> bool {
        if self.open.len() >= MOST {
            return false;
        }
        if let Some(key) = &key {
            self.by_event.insert(key.clone(), ticket);
        }
        self.next += 1;
        self.open.insert(
            ticket,
            Open {
                route,
                order: self.next,
                at,
                acknowledged,
                key,
                single: None,
                batched: None,
                batch_took: None,
                broken: None,
                is_offered: false,
                is_out_of_order: false,
                _room: room,
                answer_room: None,
            },
        );
        true
    }

    /// The application's answer. What is known of the call, if that was the last of it.
    pub(super) fn answer(
        &mut self,
        ticket: Ticket,
        told: Told,
        (took, room): (Duration, Option<Lease>),
    ) -> Option<(usize, Compared)> {
        let open = self.open.get_mut(&ticket)?;
        open.single = Some((told, took));
        open.answer_room = room;
        self.finish(ticket)
    }

    /// A delivery of these events has ended. `broken`: how it breaks the contract.
    pub(super) fn deliver(&mut self, events: &[EventKey], took: Duration, broken: Option<&str>) {
        for key in events {
            let lane = &key.lane;
            let Some(ticket) = self.by_event.get(key).copied() else {
                continue;
            };
            let Some(open) = self.open.get_mut(&ticket) else {
                continue;
            };
            open.batch_took = Some(took);
            open.broken = open.broken.take().or(broken.map(Into::into));
            if std::mem::replace(&mut open.is_offered, true) {
                continue;
            }
            if self.offered.len() >= MOST_LANES && !self.offered.contains_key(lane) {
                self.offered.clear();
            }
            let newest = self.offered.entry(lane.clone()).or_insert(open.order);
            open.is_out_of_order = open.order < *newest;
            *newest = open.order.max(*newest);
        }
    }

    /// An event has its outcome. What is known of its call, if that was the last of it.
    pub(super) fn settle(
        &mut self,
        key: &EventKey,
        batched: Batched,
        now: Instant,
    ) -> Option<(usize, Compared)> {
        let ticket = self.by_event.remove(key)?;
        let open = self.open.get_mut(&ticket)?;
        // Whatever became of its pieces afterwards.
        let batched = open.broken.take().map_or(batched, Batched::Broken);
        open.batched = Some((batched, now));
        self.finish(ticket)
    }

    /// Nothing of a call is compared; its route, if it was open.
    pub(super) fn forget(&mut self, ticket: Ticket) -> Option<usize> {
        let open = self.open.remove(&ticket)?;
        // The same id may have been kept again since, for another call.
        if let Some(key) = open.key
            && self.by_event.get(&key) == Some(&ticket)
        {
            self.by_event.remove(&key);
        }
        Some(open.route)
    }

    /// Gives up calls that are open for so long that the rest of them doesn't come; their routes.
    pub(super) fn sweep(&mut self, now: Instant, longest: Duration) -> Vec<usize> {
        let is_late = |open: &Open| now.saturating_duration_since(open.at) >= longest;
        let late: Vec<_> = self
            .open
            .iter()
            .filter(|(_, open)| is_late(open))
            .map(|(ticket, _)| *ticket)
            .collect();
        late.into_iter()
            .filter_map(|ticket| self.forget(ticket))
            .collect()
    }

    fn finish(&mut self, ticket: Ticket) -> Option<(usize, Compared)> {
        let open = self.open.get(&ticket)?;
        let is_over = open.single.is_some() && (open.key.is_none() || open.batched.is_some());
        if !is_over {
            return None;
        }
        let open = self.open.remove(&ticket)?;
        let (single, single_took) = open.single?;
        let (batched, settled) = open.batched.unzip();
        let compared = Compared {
            event: open.acknowledged.event.as_str().into(),
            single,
            single_took,
            predicted: open.acknowledged.predicted,
            is_repetition: open.key.is_none(),
            batched,
            batch_took: open.batch_took,
            waited: settled.map(|settled| settled.saturating_duration_since(open.at)),
            missed: open.acknowledged.missed,
            is_out_of_order: open.is_out_of_order,
        };
        Some((open.route, compared))
    }
}

#[cfg(test)]
#[path = "pairs_tests.rs"]
mod tests;
