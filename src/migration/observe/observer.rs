//! What the event path shows calls to, and the task that works on them.
//!
//! A call never waits for it: a copy of it, or what it says, is put into a bounded queue, and where
//! that or the copies' memory is full it is shed and counted. The task works on a few at a time and
//! lets others run between; if it fails, the queue closes, and everything is shed.

use super::paper::Plan;
use super::report::{Report, Split};
use super::sheet::{Beside, Sheet};
use super::trace::{Trace, Wait, Watched};
use crate::clock::{Clock, iso};
use crate::event::GroupIndex;
use crate::identity::Identity;
use crate::ingest::Asker;
use crate::ingest::accept::seen::SeenKey;
use crate::ingest::accept::watch::{Decide, Observed, Undecoded, UndecodedCopy, Watch};
use crate::ingest::delivery::dispatcher::room_of;
use crate::ingest::settings::{Delivery, Group, Pack};
use crate::ingest::window_rules;
use crate::memory::Lease;
use crate::metrics::Metrics;
use crate::migration::copy_queue::CopyQueue;
use crate::migration::modes::route_names;
use crate::rollout::Mode;
use crate::route::EventRoute;
use parking_lot::Mutex;
use prometheus::IntCounter;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Calls that wait to be worked on; more are shed.
const QUEUE: usize = 4_096;
/// What copies of calls take that wait, bytes; more are shed.
const MEMORY: u64 = 16 << 20;
/// Calls that are worked on at a time.
const AT_ONCE: usize = 16;
/// The default of `pack_wait`, for groups that are not shared.
const PACK_WAIT: Duration = Duration::from_secs(1);

/// What an observer is made of.
pub struct Setup<'a> {
    /// All `[[event]]` routes.
    pub events: &'a [EventRoute],
    /// The groups.
    pub groups: &'a [Group],
    /// `[delivery]`.
    pub delivery: &'a Delivery,
    /// Who is who.
    pub identity: &'a Identity,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// Wall clock.
    pub clock: Clock,
}

/// Watches calls, and tells what was seen; clones share everything.
#[derive(Debug, Clone)]
pub struct Observer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    routes: Vec<Route>,
    watched: Vec<Watched>,
    queue: CopyQueue<Message>,
    hasher: RandomState,
    metrics: Arc<Metrics>,
    clock: Clock,
    plan: Arc<Plan>,
    /// A call that may be an event was shown.
    has_events: AtomicBool,
    // Locked by the task for a few calls, and for a report; never by a call.
    sheet: Mutex<Option<Started>>,
}

/// The sheet, from the first observed call on.
#[derive(Debug)]
struct Started {
    sheet: Sheet,
    since: SystemTime,
}

#[derive(Debug)]
struct Route {
    /// Known by its switch: all its clones share that.
    rule: EventRoute,
    name: String,
    events: IntCounter,
}

/// What the task hears of a call.
#[derive(Debug)]
enum Message {
    /// It was decided.
    Decided(Decided),
    /// It was not.
    Undecoded {
        route: usize,
        copy: Box<UndecodedCopy>,
        at: Instant,
        /// What the copy takes.
        room: Lease,
    },
}

/// What would have become of a call in mode `coalesce`.
#[derive(Debug)]
enum Decided {
    Event {
        route: usize,
        trace: Box<Trace>,
        key: SeenKey,
    },
    Declined {
        route: usize,
        reason: &'static str,
        at: Instant,
    },
    /// A call that would have gone after its caller's events.
    Wait(Wait),
}

impl Decided {
    /// When its call came.
    fn came(&self) -> Instant {
        match self {
            Self::Event { trace, .. } => trace.at,
            Self::Declined { at, .. } => *at,
            Self::Wait(wait) => wait.at,
        }
    }
}

/// The observer's task, to be run by `app`.
#[derive(Debug)]
pub struct ObserverTask {
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Message>,
}

impl Observer {
    /// An observer and its task; nothing is worked on until that runs.
    #[must_use]
    pub fn new(setup: Setup<'_>) -> (Self, ObserverTask) {
        let Setup {
            events,
            groups,
            delivery,
            identity,
            metrics,
            clock,
        } = setup;
        let names = route_names(events);
        let route = |(route, name): (&EventRoute, &String)| Route {
            rule: route.clone(),
            events: metrics.observed_events.with_label_values(&[name.as_str()]),
            name: name.clone(),
        };
        let routes = events.iter().zip(&names).map(route).collect();
        let rules = window_rules(groups, delivery);
        let room = |group: &Group| {
            let wait = match &group.pack {
                Pack::Shared { wait, .. } => *wait,
                Pack::User => PACK_WAIT,
            };
            room_of(group, wait, identity, clock.now())
        };
        let of = names
            .into_iter()
            .zip(events.iter().map(|route| route.group.0));
        let plan = Arc::new(Plan {
            groups: groups.to_vec(),
            rooms: groups.iter().map(room).collect(),
            routes: of.collect(),
            rules,
        });
        let (queue, inbox) = CopyQueue::new(QUEUE, MEMORY);
        let shared = Arc::new(Shared {
            routes,
            watched: plan.rules.iter().map(Watched::of).collect(),
            queue,
            hasher: RandomState::new(),
            metrics,
            clock,
            plan,
            has_events: AtomicBool::new(false),
            sheet: Mutex::new(None),
        });
        let task = ObserverTask {
            shared: Arc::clone(&shared),
            inbox,
        };
        (Self(shared), task)
    }

    /// What was observed by now. It takes as long as the sums of some hundred counts; it waits for
    /// the task while that works on a few calls.
    #[must_use]
    pub fn report(&self) -> Report {
        let shared = &self.0;
        let splits = shared.metrics.changed_part_counts().into_iter();
        let splits = splits.map(|(part, calls)| Split { part, calls });
        let beside = |since| Beside {
            since: iso(since),
            shed: shared.metrics.observe_shed.get(),
            splits: splits.collect(),
        };
        let now = Instant::now();
        match &mut *shared.sheet.lock() {
            Some(started) => started.sheet.report(now, beside(started.since)),
            None => Sheet::new(&shared.plan, now).report(now, beside(shared.clock.now())),
        }
    }
}

impl Shared {
    /// A route of these groups is in mode `observe`.
    fn is_observed(&self, groups: &[GroupIndex]) -> bool {
        self.routes.iter().any(|Route { rule, .. }| {
            groups.contains(&rule.group) && rule.switch.setting().mode == Mode::Observe
        })
    }

    fn place_of(&self, route: &EventRoute) -> Option<usize> {
        let is_it = |one: &Route| Arc::ptr_eq(&one.rule.switch, &route.switch);
        self.routes.iter().position(is_it)
    }

    /// Puts what `decide` makes into the queue, or counts that there was no room.
    fn tell(&self, decide: impl FnOnce() -> Option<Decided>) {
        let Some(queued) = self.queue.take_place() else {
            return self.metrics.observe_shed.inc();
        };
        if let Some(decided) = decide() {
            queued.send(Message::Decided(decided));
        }
    }

    /// An event of a call that came at `at`; none: its trace can't be written.
    fn trace(&self, route: usize, observed: &Observed<'_>, at: Instant) -> Option<Decided> {
        let watched = self.watched.get(observed.event.lane.group.0)?;
        let trace = Trace::of(observed, watched, &self.hasher, at)?;
        Some(Decided::Event {
            route,
            trace: Box::new(trace),
            key: observed.key,
        })
    }

    fn count_event(&self, route: usize) {
        if let Some(route) = self.routes.get(route) {
            route.events.inc();
        }
    }

    fn count_declined(&self, route: usize, reason: &'static str) {
        if let Some(Route { name, .. }) = self.routes.get(route) {
            let counter = &self.metrics.observe_declined;
            counter.with_label_values(&[&**name, reason]).inc();
        }
    }
}

impl Watch for Observer {
    fn see_event(&self, route: &EventRoute, observed: &Observed<'_>) {
        let shared = &self.0;
        let Some(route) = shared.place_of(route) else {
            return;
        };
        shared.has_events.store(true, Ordering::Relaxed);
        shared.count_event(route);
        shared.tell(|| shared.trace(route, observed, Instant::now()));
    }

    fn see_declined(&self, route: &EventRoute, reason: &'static str) {
        let shared = &self.0;
        let Some(route) = shared.place_of(route) else {
            return;
        };
        shared.count_declined(route, reason);
        let at = Instant::now();
        shared.tell(|| Some(Decided::Declined { route, reason, at }));
    }

    fn see_undecoded(&self, route: &EventRoute, undecoded: &Undecoded<'_, '_>) {
        let shared = &self.0;
        let Some(route) = shared.place_of(route) else {
            return;
        };
        // ORDER: when its call is shown, not when the copy is decided: a call after it may wait for it.
        shared.has_events.store(true, Ordering::Relaxed);
        let queued = shared.queue.take_place();
        let (Some(queued), Some(room)) = (queued, shared.queue.take_room(undecoded.size())) else {
            return shared.metrics.observe_shed.inc();
        };
        queued.send(Message::Undecoded {
            route,
            copy: Box::new(undecoded.copy()),
            at: Instant::now(),
            room,
        });
    }

    fn wants_waits(&self, groups: &[GroupIndex]) -> bool {
        // Until a call was shown there is nothing on paper to go after.
        self.0.has_events.load(Ordering::Relaxed) && self.0.is_observed(groups)
    }

    fn see_wait(&self, asker: &Asker, groups: &[GroupIndex]) {
        let shared = &self.0;
        // Half of the queue is for calls that may be events, however many reads come.
        if shared.queue.is_half_full() {
            return;
        }
        // No room after all: it isn't counted as shed, since it is no call of an observed route.
        let Some(queued) = shared.queue.take_place() else {
            return;
        };
        let wait = Wait::of(asker, groups, &shared.hasher, Instant::now());
        if let Some(wait) = wait {
            queued.send(Message::Decided(Decided::Wait(wait)));
        }
    }
}

impl ObserverTask {
    /// Works as long as it is polled. `decide`: decides copies of calls.
    pub async fn run(mut self, decide: impl Decide) {
        let mut messages = Vec::with_capacity(AT_ONCE);
        let mut decided = Vec::with_capacity(AT_ONCE);
        while self.inbox.recv_many(&mut messages, AT_ONCE).await > 0 {
            let found = messages.drain(..);
            decided.extend(found.filter_map(|message| self.shared.decide(&decide, message)));
            self.shared.work(decided.drain(..));
            // Others run before the next few.
            tokio::task::yield_now().await;
        }
    }
}

impl Shared {
    fn decide(&self, decide: &impl Decide, message: Message) -> Option<Decided> {
        let (route, copy, at, _room) = match message {
            Message::Decided(decided) => return Some(decided),
            Message::Undecoded {
                route,
                copy,
                at,
                room,
            } => (route, copy, at, room),
        };
        let rule = &self.routes.get(route)?.rule;
        decide.decide_copy(rule, &copy, |found| match found {
            Ok(observed) => {
                self.count_event(route);
                self.trace(route, &observed, at)
            }
            Err(reason) => {
                self.count_declined(route, reason);
                Some(Decided::Declined { route, reason, at })
            }
        })
    }

    fn work(&self, decided: impl Iterator<Item = Decided>) {
        let mut decided = decided.peekable();
        let Some(first) = decided.peek().map(Decided::came) else {
            return;
        };
        let mut started = self.sheet.lock();
        let Started { sheet, .. } = started.get_or_insert_with(|| Started {
            sheet: Sheet::new(&self.plan, first),
            since: self.clock.now() - first.elapsed(),
        });
        for one in decided {
            match one {
                Decided::Event { route, trace, key } => sheet.take_event(route, *trace, key),
                Decided::Declined { route, reason, at } => sheet.take_declined(route, reason, at),
                Decided::Wait(wait) => sheet.take_wait(&wait),
            }
        }
    }
}
