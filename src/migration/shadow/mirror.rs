//! Where the gateway puts copies: a bounded queue and a bounded memory. A call never waits for them;
//! what finds no room is shed and counted.

use super::stage::Copied;
use crate::copies::{copy_bytes, copy_headers, copy_uri, size_of};
use crate::ingest::accept::mirror::{Answered, Expecting, Mirror, Seen};
use crate::memory::{Lease, Memory};
use crate::migration::parity::{Report, Sheet};
use crate::rollout::{Mode, Switch};
use crate::route::EventRoute;
use http::Request;
use http::request::Parts;
use parking_lot::Mutex;
use prometheus::IntCounter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::OwnedPermit;
use tokio::time::Instant;

/// Calls and answers that wait to be worked on.
pub(super) const QUEUE: usize = 8_192;
/// What a copy takes beside its head and its body, bytes.
pub(super) const BESIDE: usize = 1 << 10;

/// Takes copies, and tells what was found; clones share everything.
#[derive(Debug, Clone)]
pub struct Shadow(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) routes: Vec<Route>,
    pub(super) queue: mpsc::Sender<Message>,
    pub(super) memory: Memory,
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
        let call = self.queue.clone().try_reserve_owned().ok()?;
        let answer = self.queue.clone().try_reserve_owned().ok()?;
        let mut lease = self.memory.unnamed().lease();
        lease.resize(bytes).ok()?;
        Some((call, answer, lease))
    }
}

/// A head without what belongs to its connection.
fn copy_head(parts: &Parts) -> Parts {
    let mut copy = Request::new(()).into_parts().0;
    copy.method = parts.method.clone();
    copy.uri = copy_uri(&parts.uri);
    copy.version = parts.version;
    copy.headers = copy_headers(&parts.headers);
    copy
}

impl Mirror for Shadow {
    fn copy_call(&self, candidates: &[&EventRoute], seen: Seen<'_>) -> Option<Box<dyn Expecting>> {
        let (_, route) = self.0.find(candidates)?;
        let target = seen.parts.uri.path_and_query();
        let target = target.map_or(0, |target| target.as_str().len());
        let beside = target + seen.request_id.len() + BESIDE;
        let bytes = seen.body.len() + size_of(&seen.parts.headers) + beside;
        let Some((call, answer, room)) = self.0.make_room(bytes) else {
            route.shed();
            return None;
        };
        route.calls.inc();
        let (ticket, at) = (self.0.next.fetch_add(1, Ordering::Relaxed), Instant::now());
        call.send(Message::Call {
            ticket,
            copied: Box::new(Copied {
                parts: copy_head(seen.parts),
                peer: seen.peer.clone(),
                body: copy_bytes(seen.body),
                request_id: seen.request_id.to_owned(),
            }),
            at,
            room,
        });
        Some(Box::new(Expected {
            ticket,
            at,
            room: Some(self.0.memory.unnamed().lease()),
            answer: Some(answer),
        }))
    }

    fn note_unread(&self, candidates: &[&EventRoute], reason: &'static str) {
        let Some((place, route)) = self.0.find(candidates) else {
            return;
        };
        route.calls.inc();
        let unread = Message::Unread {
            route: place,
            reason,
        };
        if self.0.queue.try_send(unread).is_err() {
            route.shed();
        }
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
