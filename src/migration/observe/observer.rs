//! What the event path shows calls to, and the task that works on them.
//!
//! A call never waits for it: what it says is put into a bounded queue, and where that is full it is
//! shed and counted. The task works on a few at a time and lets others run between; if it fails, the
//! queue closes, and everything is shed.

use super::paper::Plan;
use super::report::{Report, Split};
use super::sheet::{Beside, Sheet};
use super::trace::{Trace, Watched};
use crate::clock::{Clock, iso};
use crate::identity::Identity;
use crate::ingest::accept::admit::SeenKey;
use crate::ingest::accept::watch::{Observed, Watch};
use crate::ingest::delivery::dispatcher::room_of;
use crate::ingest::settings::{Delivery, Group, Pack};
use crate::ingest::window_rules;
use crate::metrics::Metrics;
use crate::migration::modes::route_names;
use crate::rollout::Switch;
use crate::route::EventRoute;
use parking_lot::Mutex;
use prometheus::IntCounter;
use std::hash::RandomState;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Calls that wait to be worked on; more are shed.
const QUEUE: usize = 4_096;
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
    queue: mpsc::Sender<Message>,
    hasher: RandomState,
    metrics: Arc<Metrics>,
    clock: Clock,
    plan: Arc<Plan>,
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
    /// By which a route is known: all its clones share it.
    switch: Arc<Switch>,
    name: String,
    events: IntCounter,
}

/// What the task hears of a call.
#[derive(Debug)]
enum Message {
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
            switch: Arc::clone(&route.switch),
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
        let (queue, inbox) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            routes,
            watched: plan.rules.iter().map(Watched::of).collect(),
            queue,
            hasher: RandomState::new(),
            metrics,
            clock,
            plan,
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
    fn place_of(&self, route: &EventRoute) -> Option<usize> {
        let is_it = |one: &Route| Arc::ptr_eq(&one.switch, &route.switch);
        self.routes.iter().position(is_it)
    }

    /// Puts what `make` makes into the queue, or counts that there was no room.
    fn tell(&self, make: impl FnOnce() -> Option<Message>) {
        match self.queue.try_reserve() {
            Ok(place) => {
                if let Some(message) = make() {
                    place.send(message);
                }
            }
            Err(_) => self.metrics.observe_shed.inc(),
        }
    }
}

impl Watch for Observer {
    fn see_event(&self, route: &EventRoute, observed: &Observed<'_>) {
        let shared = &self.0;
        let Some(place) = shared.place_of(route) else {
            return;
        };
        if let Some(route) = shared.routes.get(place) {
            route.events.inc();
        }
        shared.tell(|| {
            let watched = shared.watched.get(observed.event.lane.group.0)?;
            let trace = Trace::of(observed, watched, &shared.hasher, Instant::now())?;
            Some(Message::Event {
                route: place,
                trace: Box::new(trace),
                key: observed.key,
            })
        });
    }

    fn see_declined(&self, route: &EventRoute, reason: &'static str) {
        let shared = &self.0;
        let Some(place) = shared.place_of(route) else {
            return;
        };
        if let Some(Route { name, .. }) = shared.routes.get(place) {
            let counter = &shared.metrics.observe_declined;
            counter.with_label_values(&[&**name, reason]).inc();
        }
        shared.tell(|| {
            Some(Message::Declined {
                route: place,
                reason,
                at: Instant::now(),
            })
        });
    }
}

impl ObserverTask {
    /// Works as long as it is polled.
    pub async fn run(mut self) {
        let mut messages = Vec::with_capacity(AT_ONCE);
        while self.inbox.recv_many(&mut messages, AT_ONCE).await > 0 {
            self.shared.work(messages.drain(..));
            // Others run before the next few.
            tokio::task::yield_now().await;
        }
    }
}

impl Shared {
    fn work(&self, messages: impl Iterator<Item = Message>) {
        let mut started = self.sheet.lock();
        let Started { sheet, .. } = started.get_or_insert_with(|| Started {
            sheet: Sheet::new(&self.plan, Instant::now()),
            since: self.clock.now(),
        });
        for message in messages {
            match message {
                Message::Event { route, trace, key } => sheet.take_event(route, *trace, key),
                Message::Declined { route, reason, at } => sheet.take_declined(route, reason, at),
            }
        }
    }
}
