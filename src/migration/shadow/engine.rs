//! The task that works on copies: one after the other, in the order in which they came.

use super::mirror::{Message, QUEUE, Route, Shadow, Shared};
use super::notes::{Note, Notes};
use super::pairs::Pairs;
use super::settings::ShadowSettings;
use super::stage::{Decided, Rehearsed, Stage, Whose};
use super::states::States;
use crate::clock::{Clock, iso};
use crate::event::GroupIndex;
use crate::ingest::accept::copied::{BESIDE, Copied};
use crate::ingest::accept::mirror::Answered;
use crate::ingest::delivery::outcomes::Outcomes;
use crate::ingest::settings::{Group, Pack};
use crate::memory::Lease;
use crate::metrics::Metrics;
use crate::migration::copy_queue::CopyQueue;
use crate::migration::modes::route_names;
use crate::migration::parity::{Rules, Sends, Sheet, Told};
use crate::route::EventRoute;
use crate::upstream::Upstream;
use http::header::CONTENT_ENCODING;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Callers of calls without an answer yet that are remembered.
const MOST_CALLERS: usize = QUEUE;

/// How often calls whose outcome doesn't come are given up.
const SWEEP: Duration = Duration::from_secs(5);
/// An event that the target doesn't answer for is given up after so long.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// And its call after this and its longest window.
const LATE: Duration = Duration::from_secs(120);

/// What is made of a call that the stage itself has no room for.
const NO_ROOM: [&str; 3] = ["not_kept", "no_room", "busy"];

/// What a shadow is made of.
pub struct Setup<'a> {
    /// `[shadow]`.
    pub settings: ShadowSettings,
    /// All `[[event]]` routes.
    pub events: &'a [EventRoute],
    /// The groups.
    pub groups: &'a [Group],
    /// Instruments.
    pub metrics: &'a Metrics,
    /// Wall clock.
    pub clock: Clock,
    /// The way to the application, and to the target: for states.
    pub both: Option<(Upstream, Upstream)>,
}

/// Works on copies; to be run by `app`.
pub struct Engine {
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Message>,
    notes: mpsc::UnboundedReceiver<Note>,
    told: Arc<Notes>,
    groups: Vec<GroupIndex>,
    pairs: Pairs,
    /// Whose calls wait for their answers.
    callers: HashMap<u64, Whose>,
    /// Copies that wait for their answers: where the target is the application, an event must not be
    /// written that its call didn't write.
    waiting: HashMap<u64, (Copied, Instant, Lease)>,
    waits: bool,
    /// A call that is open for longer says nothing.
    longest: Duration,
    /// A task of the stage has ended.
    ended: CancellationToken,
    /// Calls out, by group.
    batches: Vec<u64>,
    states: Option<States>,
}

impl Engine {
    /// A shadow and its task; nothing is worked on until that runs.
    #[must_use]
    pub fn new(setup: Setup<'_>) -> (Shadow, Self) {
        let Setup {
            settings,
            events,
            groups,
            metrics,
            clock,
            both,
        } = setup;
        let names = route_names(events);
        let group_of = |route: &EventRoute| {
            let group = groups.get(route.group.0);
            group.map_or_else(String::new, |group| group.name.to_string())
        };
        let rows = names.iter().cloned().zip(events.iter().map(group_of));
        let sends = settings
            .url
            .as_ref()
            .map_or(Sends::Nowhere, |url| Sends::To(url.to_string()));
        let rules = Rules {
            min_events: settings.min_events,
            max_rate: settings.max_rate,
            ignore: settings.ignore.clone(),
            target_holds_singles: settings.is_application,
        };
        let mut sheet = Sheet::new(rules, rows.collect(), sends);
        for path in &settings.states.paths {
            sheet.expect_state(path.source());
        }
        let route = |(route, name): (&EventRoute, &String)| Route {
            switch: Arc::clone(&route.switch),
            calls: metrics.shadow_calls.with_label_values(&[name.as_str()]),
            shed: metrics.shadow_shed.with_label_values(&[name.as_str()]),
            not_told: AtomicU64::new(0),
        };
        let (queue, inbox) = CopyQueue::new(QUEUE, settings.max_bytes as u64 / 2);
        let (notes, heard) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            routes: events.iter().zip(&names).map(route).collect(),
            queue,
            next: AtomicU64::new(0),
            sheet: Mutex::new(sheet),
            since: iso(clock.now()),
            began: Instant::now(),
        });
        let engine = Self {
            shared: Arc::clone(&shared),
            inbox,
            notes: heard,
            told: Arc::new(Notes {
                queue: notes,
                is_dry: settings.url.is_none(),
                kept: Mutex::default(),
            }),
            waiting: HashMap::new(),
            waits: settings.is_application,
            longest: longest_window(groups) + GIVE_UP_AFTER + LATE,
            ended: CancellationToken::new(),
            groups: events.iter().map(|route| route.group).collect(),
            pairs: Pairs::default(),
            callers: HashMap::new(),
            batches: vec![0; groups.len()],
            states: States::new(settings.states, both),
        };
        (Shadow(shared), engine)
    }

    /// Who is told of the stage's deliveries and outcomes.
    #[must_use]
    pub fn outcomes(&self) -> Arc<dyn Outcomes> {
        Arc::clone(&self.told) as Arc<dyn Outcomes>
    }

    /// To be cancelled when a task of the stage ends.
    #[must_use]
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Works as long as it is polled. The stage is built when the first copy comes.
    pub async fn run<S: Stage, E: std::fmt::Display>(
        mut self,
        build: impl FnOnce() -> Result<S, E>,
    ) {
        let Some(first) = self.inbox.recv().await else {
            return;
        };
        let stage = match build() {
            Ok(stage) => stage,
            Err(error) => {
                tracing::error!(%error, "mode shadow doesn't work: all its copies are shed");
                return;
            }
        };
        self.work(&stage, first).await;
        let mut sweep = tokio::time::interval(SWEEP);
        let ended = self.ended.clone();
        loop {
            tokio::select! {
                // ORDER: what a delivery said comes before what it settled, and both before new
                // calls, so that no queue grows.
                biased;
                () = ended.cancelled() => {
                    tracing::error!("mode shadow works no more until a restart: a task of it ended");
                    return;
                }
                _ = sweep.tick() => self.sweep(),
                Some(note) = self.notes.recv() => self.take_note(note),
                Some(message) = self.inbox.recv() => self.work(&stage, message).await,
                () = States::wait(self.states.as_ref()) => self.check_states(),
            }
        }
    }

    /// Begins to look at the states of a caller, if one is quiet.
    fn check_states(&mut self) {
        let states = self.states.as_mut();
        let check = states.and_then(|states| states.check_next(Instant::now()));
        if let Some(check) = check {
            let told = self.told.queue.clone();
            // Nobody listens any more at the end of the process.
            tokio::spawn(async move { drop(told.send(Note::States(check.run().await))) });
        }
    }

    async fn work<S: Stage>(&mut self, stage: &S, message: Message) {
        match message {
            Message::Call {
                ticket,
                copied,
                at,
                room,
            } if self.waits => drop(self.waiting.insert(ticket, (*copied, at, room))),
            Message::Call {
                ticket,
                copied,
                at,
                room,
            } => self.decide(stage, (ticket, &copied), (at, room)).await,
            Message::Answer {
                ticket,
                answered,
                took,
                room,
            } => {
                self.take_answer(stage, ticket, answered, (took, room))
                    .await
            }
            Message::Unread { route, reason } => {
                self.stop_states("a call could not be looked at");
                let mut sheet = self.shared.sheet.lock();
                sheet.note_call(route);
                sheet.note_declined(route, reason);
            }
        }
    }

    async fn decide<S: Stage>(
        &mut self,
        stage: &S,
        (ticket, copied): (u64, &Copied),
        (at, room): (Instant, Lease),
    ) {
        let Some(Rehearsed {
            route,
            whose,
            decided,
        }) = stage.decide(copied).await
        else {
            return;
        };
        if let Some(states) = &mut self.states {
            states.see_call(&whose, copied, at, &decided);
        }
        let kept = self.told.kept.lock().take();
        if self.callers.len() < MOST_CALLERS {
            self.callers.insert(ticket, whose);
        }
        match decided {
            Decided::NotDrawn => {}
            Decided::Declined(reason) => self.note(|sheet| {
                sheet.note_call(route);
                if NO_ROOM.contains(&reason) {
                    sheet.note_shed(route);
                } else {
                    sheet.note_declined(route, reason);
                }
            }),
            Decided::Acknowledged(acknowledged) => {
                let key = kept.filter(|_| !acknowledged.is_repetition);
                let call = (ticket, route);
                let is_open = self.pairs.open(call, key, acknowledged, (at, room));
                self.note(|sheet| {
                    sheet.note_call(route);
                    if !is_open {
                        sheet.note_shed(route);
                    }
                });
            }
        }
    }

    fn note(&self, note: impl FnOnce(&mut Sheet)) {
        note(&mut self.shared.sheet.lock());
    }

    async fn take_answer<S: Stage>(
        &mut self,
        stage: &S,
        ticket: u64,
        answered: Option<Box<Answered>>,
        (took, mut room): (Duration, Option<Lease>),
    ) {
        if let Some((copied, at, held)) = self.waiting.remove(&ticket)
            && let Some(status) = answered.as_ref().map(|answered| answered.status)
        {
            if let Some(route) = stage.find_route(&copied).await {
                self.note(|sheet| sheet.note_answer(route, status.as_u16()));
            }
            if status.is_success() {
                self.decide(stage, (ticket, &copied), (at, held)).await;
            }
        }
        let whose = self.callers.remove(&ticket);
        if let (Some(whose), Some(answered)) = (&whose, &answered) {
            stage.learn(whose, answered.status).await;
        }
        if let (Some(whose), Some(states)) = (&whose, &mut self.states)
            && !answered
                .as_ref()
                .is_some_and(|answered| answered.status.is_success())
        {
            states.spoil(whose.principal);
        }
        let Some(answered) = answered else {
            if let Some(route) = self.pairs.forget(ticket) {
                self.note(|sheet| sheet.note_gone(route));
            }
            return;
        };
        let mut told = told_of(stage, *answered);
        let has_room = |room: &mut Lease| room.stretch(told.body.len() + BESIDE).is_ok();
        if !room.as_mut().is_some_and(has_room) {
            told.body.clear();
            told.is_whole = false;
        }
        if let Some((route, compared)) = self.pairs.answer(ticket, told, (took, room)) {
            self.note(|sheet| sheet.take(route, &compared));
        }
    }

    fn take_note(&mut self, note: Note) {
        match note {
            Note::Delivered {
                events,
                took,
                broken,
                is_answered,
            } => {
                let group = events.first().map(|first| first.lane.group);
                self.pairs.deliver(&events, took, broken.as_deref());
                if is_answered && let Some(group) = group {
                    self.count_batch(group);
                }
            }
            Note::Settled(key, batched) => {
                if let Some(states) = &mut self.states {
                    states.see_outcome(key.principal, &batched);
                }
                if let Some((route, compared)) = self.pairs.settle(&key, batched, Instant::now()) {
                    self.note(|sheet| sheet.take(route, &compared));
                }
            }
            Note::States(checked) => {
                let found = self.states.as_mut().map(|states| states.end_check(checked));
                for (path, found) in found.into_iter().flatten() {
                    self.note(|sheet| match &found {
                        Some(found) => sheet.take_state(&path, found),
                        None => sheet.note_failed_look(&path),
                    });
                }
            }
        }
    }

    fn sweep(&mut self) {
        for route in self.pairs.sweep(Instant::now(), self.longest) {
            self.note(|sheet| sheet.note_late(route));
        }
        if self.shared.has_shed() {
            self.stop_states("a call was shed");
        }
    }

    /// Whoever it was, the target lacks an event of it.
    fn stop_states(&mut self, why: &str) {
        if self.states.take().is_some() {
            tracing::warn!("states are compared no more until a restart: {why}");
        }
    }

    fn count_batch(&mut self, group: GroupIndex) {
        let Some(batches) = self.batches.get_mut(group.0) else {
            return;
        };
        *batches += 1;
        let mut sheet = self.shared.sheet.lock();
        for (route, of) in self.groups.iter().enumerate() {
            if *of == group {
                sheet.note_batches(route, *batches);
            }
        }
    }
}

fn longest_window(groups: &[Group]) -> Duration {
    let longest = |group: &Group| match &group.pack {
        Pack::Shared { wait, .. } => group.window + *wait,
        Pack::User => group.window,
    };
    groups.iter().map(longest).max().unwrap_or_default()
}

fn told_of<S: Stage>(stage: &S, mut answered: Answered) -> Told {
    let plain = stage.unpack(&answered.headers, &answered.body);
    if plain.is_some() {
        answered.headers.remove(CONTENT_ENCODING);
    }
    Told {
        status: answered.status.as_u16(),
        is_whole: answered.is_whole && plain.is_some(),
        body: plain.unwrap_or_default(),
        headers: answered.headers,
    }
}
