//! Where the gateway puts copies: a bounded queue and a bounded memory. A call never waits for them;
//! what finds no room is shed and counted.

use crate::copies::{copy_headers, size_of};
use crate::ingest::accept::copied::{Copied, Seen};
use crate::ingest::accept::mirror::{Answered, Expecting, Mirror};
use crate::memory::Lease;
use crate::migration::copy_queue::CopyQueue;
use crate::migration::parity::{Report, Sheet};
use crate::rollout::{Mode, Switch};
use crate::route::EventRoute;
use parking_lot::Mutex;
use prometheus::IntCounter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::OwnedPermit;
use tokio::time::Instant;

/// Calls and answers that wait to be worked on.
pub(super) const QUEUE: usize = 8_192;

/// Takes copies, and tells what was found; clones share everything.
#[derive(Debug, Clone)]
pub struct Shadow(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) routes: Vec<Route>,
    pub(super) queue: CopyQueue<Message>,
    pub(super) next: AtomicU64,
    // Locked by the engine for one call at a time, and for a report; never by a call.
    pub(super) sheet: Mutex<Sheet>,
    pub(super) since: String,
    pub(super) began: Instant,
}

/// An `[[event]]` route.
#[derive(Debug)]
pub(super) struct Route {
    /// By which a route is known: all its clones share it.
    pub(super) switch: Arc<Switch>,
    pub(super) calls: IntCounter,
    pub(super) shed: IntCounter,
    /// Shed, and not in the sheet yet.
    pub(super) not_told: AtomicU64,
}

impl Route {
    fn shed(&self) {
        self.shed.inc();
        self.not_told.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the engine hears of a call.
#[derive(Debug)]
pub(super) enum Message {
    /// It came.
    Call {
        ticket: u64,
        copied: Box<Copied>,
        at: Instant,
        room: Lease,
    },
    /// It was answered; none: its client went away before that.
    Answer {
        ticket: u64,
        answered: Option<Box<Answered>>,
        took: Duration,
        room: Option<Lease>,
    },
    /// A call that can't be looked at.
    Unread { route: usize, reason: &'static str },
}

impl Shadow {
    /// What was found by now.
    #[must_use]
    pub fn report(&self) -> Report {
        let shared = &self.0;
        let mut sheet = shared.sheet.lock();
        for (place, route) in shared.routes.iter().enumerate() {
            for _ in 0..route.not_told.swap(0, Ordering::Relaxed) {
                sheet.note_call(place);
                sheet.note_shed(place);
            }
        }
        sheet.report(shared.since.clone(), shared.began.elapsed().as_secs())
    }
}

impl Shared {
    /// The first of these routes whose calls are copied.
    fn find(&self, candidates: &[&EventRoute]) -> Option<(usize, &Route)> {
        let is_shadowed = |route: &&&EventRoute| route.switch.setting().mode == Mode::Shadow;
        let wanted = candidates.iter().find(is_shadowed)?;
        let is_it = |route: &Route| Arc::ptr_eq(&route.switch, &wanted.switch);
        let place = self.routes.iter().position(is_it)?;
        Some((place, self.routes.get(place)?))
    }

    /// Whether something was ever shed.
    pub(super) fn has_shed(&self) -> bool {
        self.routes.iter().any(|route| route.shed.get() > 0)
    }

    /// Room for a copy and for what is said of it: in the queue and in memory.
    fn make_room(
        &self,
        bytes: usize,
    ) -> Option<(OwnedPermit<Message>, OwnedPermit<Message>, Lease)> {
        let (call, answer) = (self.queue.take_place()?, self.queue.take_place()?);
        Some((call, answer, self.queue.take_room(bytes)?))
    }
}

impl Mirror for Shadow {
    fn copy_call(&self, candidates: &[&EventRoute], seen: Seen<'_>) -> Option<Box<dyn Expecting>> {
        let (_, route) = self.0.find(candidates)?;
        let Some((call, answer, room)) = self.0.make_room(seen.size()) else {
            route.shed();
            return None;
        };
        route.calls.inc();
        let (ticket, at) = (self.0.next.fetch_add(1, Ordering::Relaxed), Instant::now());
        call.send(Message::Call {
            ticket,
            copied: Box::new(seen.copy()),
            at,
            room,
        });
        Some(Box::new(Expected {
            ticket,
            at,
            room: Some(self.0.queue.lease()),
            answer: Some(answer),
        }))
    }

    fn note_unread(&self, candidates: &[&EventRoute], reason: &'static str) {
        let Some((place, route)) = self.0.find(candidates) else {
            return;
        };
        route.calls.inc();
        let Some(queued) = self.0.queue.take_place() else {
            return route.shed();
        };
        queued.send(Message::Unread {
            route: place,
            reason,
        });
    }
}

/// A copied call without an answer yet.
struct Expected {
    ticket: u64,
    at: Instant,
    /// What the copy of its answer takes.
    room: Option<Lease>,
    answer: Option<OwnedPermit<Message>>,
}

impl Expected {
    fn tell(&mut self, answered: Option<Box<Answered>>, room: Option<Lease>) {
        if let Some(answer) = self.answer.take() {
            answer.send(Message::Answer {
                ticket: self.ticket,
                answered,
                took: self.at.elapsed(),
                room,
            });
        }
    }
}

impl Expecting for Expected {
    fn make_room(&mut self, bytes: usize) -> bool {
        self.room
            .as_mut()
            .is_some_and(|room| room.resize(bytes).is_ok())
    }

    fn take_answer(mut self: Box<Self>, mut answered: Answered) {
        answered.headers = copy_headers(&answered.headers);
        let bytes = answered.body.len() + size_of(&answered.headers);
        if !self.make_room(bytes) {
            answered.body.clear();
            answered.is_whole = false;
        }
        let room = self.room.take();
        self.tell(Some(Box::new(answered)), room);
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.tell(None, None);
    }
}
