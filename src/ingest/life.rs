//! The life of one event, as far as it is known: gathered when an operator asks for it, from the
//! lanes, the dead letters, and what is remembered of settled events.

use super::Shared;
use super::lanes::shard::Kept;
use super::lanes::window::{Form, Found, Trace, TracedAttempt};
use super::outcome::dead::DeadLetter;
use super::outcome::lives::{Ended, Ending};
use crate::clock::millis;
use crate::event::{Carried, GroupIndex, Owner, UserId};
use crate::identity::keys;
use crate::ingest::Operations;
use serde::Serialize;
use tokio::time::Instant;

/// Most events of one id that are shown.
const MOST: usize = 100;

/// The life of an event. Times are Unix milliseconds. Nothing of its body, nor of its credential.
#[derive(Debug, Serialize)]
pub(crate) struct Life {
    id: String,
    /// `pending`, `settled` or `dead_letter`.
    state: &'static str,
    group: String,
    /// None while its batch is on its way, and where it is a secret only a hash.
    user: Option<String>,
    /// The path of its call, without a query, while that is kept.
    route: Option<String>,
    received_at: Option<u64>,
    window: Option<Window>,
    attempts: Vec<Attempt>,
    /// What it waits for, of a pending event.
    waits_for: Option<&'static str>,
    /// Until when at the latest, if that is known.
    waits_until: Option<u64>,
    /// `accepted`, `duplicate`, `superseded` or `dead`; none yet of a pending event.
    outcome: Option<&'static str>,
    /// Of a superseded event, and of one that will be: the event in its place.
    superseded_by: Option<String>,
    /// Why it is a dead letter.
    reason: Option<String>,
    /// The key of its dead letter.
    dead_letter: Option<u64>,
    ended_at: Option<u64>,
    /// Times that the application named it as failed.
    failed: Option<u32>,
    /// The application's last status for its lane.
    status: Option<u16>,
    /// Times that its client sent it again, as far as that is remembered.
    repetitions: u64,
}

#[derive(Debug, Serialize)]
struct Window {
    opened_at: u64,
    /// None while it is open.
    sealed_by: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Attempt {
    batch: String,
    form: &'static str,
    events: u32,
    at: u64,
    verdict: &'static str,
    status: Option<u16>,
}

/// Tells wall-clock times of the moment of an answer.
struct Times {
    now: Instant,
    now_ms: u64,
}

impl Times {
    fn tell(&self, at: Instant) -> u64 {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        if at > self.now {
            self.now_ms.saturating_add(ms(at - self.now))
        } else {
            self.now_ms.saturating_sub(ms(self.now - at))
        }
    }

    fn tell_attempt(&self, attempt: &TracedAttempt) -> Attempt {
        Attempt {
            batch: attempt.batch.to_string(),
            form: match attempt.form {
                Form::Batch => "batch",
                Form::Single => "single",
            },
            events: attempt.events,
            at: self.tell(attempt.at),
            verdict: attempt.verdict,
            status: attempt.status,
        }
    }

    fn add_trace(&self, life: &mut Life, trace: &Trace) {
        if let Some(window) = trace.window {
            life.window = Some(Window {
                opened_at: self.tell(window.opened),
                sealed_by: Some(window.cause),
            });
        }
        let attempts = trace.attempts.iter();
        life.attempts = attempts.map(|one| self.tell_attempt(one)).collect();
    }
}

impl Life {
    fn new(id: &str, state: &'static str, group: &str) -> Self {
        Self {
            id: id.to_owned(),
            state,
            group: group.to_owned(),
            user: None,
            route: None,
            received_at: None,
            window: None,
            attempts: Vec::new(),
            waits_for: None,
            waits_until: None,
            outcome: None,
            superseded_by: None,
            reason: None,
            dead_letter: None,
            ended_at: None,
            failed: None,
            status: None,
            repetitions: 0,
        }
    }
}

impl Operations {
    /// The lives of the events of this id, pending ones first; at most 100. It looks at every
    /// pending event.
    #[must_use]
    pub(crate) fn find_event(&self, id: &str) -> Vec<Life> {
        let shared = &self.0;
        let times = Times {
            now: Instant::now(),
            now_ms: millis(shared.clock.now()),
        };
        let mut lives = pending(shared, &times, id);
        let letters = shared.dead.find_id(id, MOST);
        lives.extend(letters.iter().map(|letter| dead(shared, &times, letter)));
        let ended = shared.lives.find(id, MOST);
        lives.extend(ended.iter().map(|one| settled(shared, &times, one)));
        lives.truncate(MOST);
        lives
    }
}

fn group_name(shared: &Shared, group: GroupIndex) -> &str {
    shared.group(group).map_or("?", |group| &group.name)
}

fn pending(shared: &Shared, times: &Times, id: &str) -> Vec<Life> {
    let mut lives = Vec::new();
    let mut found: Vec<(GroupIndex, Owner, UserId)> = Vec::new();
    let mut flights = Vec::new();
    for shard in &shared.shards {
        let most = MOST.saturating_sub(lives.len());
        shard.find(
            id,
            most,
            |one| {
                let event = one.entry.event();
                found.push((event.lane.group, event.owner(), event.lane.user.clone()));
                lives.push(waiting(shared, times, one));
            },
            |flight| flights.push((flight.key.clone(), *flight.owner)),
        );
    }
    for (key, owner) in flights {
        let is_found = |(group, other, user): &(GroupIndex, Owner, UserId)| {
            *group == key.group && other.principal == owner.principal && *user == key.user
        };
        let name = group_name(shared, key.group);
        let seen = &shared.admitter.seen;
        let is_pending = || seen.is_pending(name, owner.principal, &key.user, id);
        if !found.iter().any(is_found) && is_pending() {
            let mut life = Life::new(id, "pending", name);
            life.waits_for = Some("delivery");
            found.push((key.group, owner, key.user));
            lives.push(life);
        }
    }
    lives
}

fn waiting(shared: &Shared, times: &Times, found: Found<'_, Kept>) -> Life {
    let event = found.entry.event();
    let mut life = Life::new(event.id(), "pending", group_name(shared, event.lane.group));
    times.add_trace(&mut life, &found.trace);
    life.user = Some(keys::shown_user(event).into_owned());
    let legacy = Carried::unpack(event.carried()).and_then(|carried| carried.legacy);
    life.route = legacy.map(|call| call.path.split('?').next().unwrap_or_default().to_owned());
    life.received_at = Some(millis(event.received_at));
    life.waits_for = Some(found.wait.as_str());
    life.waits_until = found.wait.until().map(|at| times.tell(at));
    life.superseded_by = found.covered_by.map(str::to_owned);
    life.failed = Some(found.failed);
    life.status = found.status;
    life.repetitions = shared.admitter.count_repetitions(found.entry.ticket.seen());
    life
}

fn dead(shared: &Shared, times: &Times, letter: &DeadLetter) -> Life {
    let shown = letter.show();
    let mut life = Life::new(&shown.id, "dead_letter", &shown.group);
    times.add_trace(&mut life, &trace(shared, letter.key));
    life.user = Some(shown.user);
    life.route = shown.route;
    life.received_at = Some(shown.received_at);
    life.outcome = Some("dead");
    life.reason = Some(shown.reason);
    life.dead_letter = Some(letter.key);
    life.ended_at = Some(shown.died_at);
    life.failed = Some(shown.attempts);
    life.status = shown.status;
    life.repetitions = shared.admitter.count_repetitions(letter.seen);
    life
}

fn settled(shared: &Shared, times: &Times, ended: &Ended) -> Life {
    let mut life = Life::new(
        ended.id.as_str(),
        "settled",
        group_name(shared, ended.group),
    );
    times.add_trace(&mut life, &trace(shared, ended.seq));
    life.user = Some(ended.user.as_str().to_owned());
    life.received_at = Some(ended.received_ms);
    (life.outcome, life.superseded_by) = match &ended.ending {
        Ending::Accepted => (Some("accepted"), None),
        Ending::Duplicate => (Some("duplicate"), None),
        Ending::Superseded(by) => (Some("superseded"), Some(by.as_str().to_owned())),
    };
    life.ended_at = Some(ended.settled_ms);
    life.failed = Some(ended.failed);
    life.status = ended.status;
    life.repetitions = shared.admitter.count_repetitions(ended.seen);
    life
}

/// What the shards remember of a number. One of them does, if any.
fn trace(shared: &Shared, seq: u64) -> Trace {
    let traces = shared.shards.iter().map(|shard| shard.trace(seq));
    let is_known = |trace: &Trace| !trace.attempts.is_empty() || trace.window.is_some();
    traces.into_iter().find(is_known).unwrap_or_default()
}
