//! Settlement: each event's one outcome, told to everybody whom it concerns.

use super::dead::{DeadLetter, DeadLetters};
use super::lives::Lives;
use crate::clock::{Clock, millis};
use crate::event::{Event, Outcome, Reason, View};
use crate::identity::{Caller, Identity, keys};
use crate::ingest::accept::admit::Admitted;
use crate::ingest::delivery::contract;
use crate::ingest::delivery::outcomes::Outcomes;
use crate::ingest::lanes::shard::{Kept, Settle};
use crate::ingest::lanes::window::Settled;
use crate::ingest::settings::Group;
use crate::journal::{End, Journal};
use crate::json::Object;
use crate::notices::Notices;
use crate::template::{Found, Lookup, Source};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Gives each event its outcome.
#[derive(Debug)]
pub struct Settler(Parts);

/// What a settler is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where events are kept.
    pub journal: Arc<Journal<Admitted>>,
    /// The dead letters.
    pub dead: Arc<DeadLetters>,
    /// How the last events ended.
    pub(crate) lives: Arc<Lives>,
    /// The groups, in the order of the configuration.
    pub groups: Vec<Group>,
    /// Who is who.
    pub identity: Arc<Identity>,
    /// Who hears of what was invalidated.
    pub notices: Arc<Notices>,
    /// Wall clock.
    pub clock: Clock,
    /// Who is told of outcomes.
    pub outcomes: Option<Arc<dyn Outcomes>>,
}

impl Settler {
    /// A settler.
    #[must_use]
    pub const fn new(parts: Parts) -> Self {
        Self(parts)
    }
}

impl Settle for Settler {
    /// The end of these events: dead letter of each that is one, journal, tags, seen ids, ledger.
    fn settle_batch(&self, batch: Vec<Settled<Kept>>) {
        let now = millis(self.0.clock.now());
        if let Some(outcomes) = &self.0.outcomes {
            for settled in &batch {
                outcomes.note_outcome(settled.entry.event(), &settled.outcome);
            }
        }
        let mut letters = Vec::new();
        self.0.journal.settle_all(
            batch
                .iter()
                .map(|settled| (&*settled.entry, self.end(settled, now, &mut letters))),
        );
        // ORDER: when the journal knows them, so that one that is dropped at once is dropped there.
        let gone: Vec<_> = letters
            .into_iter()
            .flat_map(|letter| self.0.dead.bury(letter))
            .collect();
        if !gone.is_empty() {
            self.0.journal.expire_letters(&gone);
        }
        let notices = self.notices(&batch);
        // ORDER: old before anybody hears of it and asks anew.
        let mut lives = self.0.lives.begin();
        let obligations = batch
            .into_iter()
            .map(|settled| lives.take_obligation(settled, now))
            .collect();
        drop(lives);
        Admitted::settle_all(obligations);
        for (caller, names) in notices {
            self.0.notices.publish(caller, names.into_iter().collect());
        }
    }
}

impl Settler {
    /// What the journal needs to know. `now`: Unix milliseconds. A dead letter is put to `letters`.
    fn end(&self, settled: &Settled<Kept>, now: u64, letters: &mut Vec<DeadLetter>) -> End {
        let letter = match &settled.outcome {
            Outcome::Dead(reason) => Some(self.letter(settled, *reason)),
            _ => None,
        };
        let stored = letter.as_ref().map(DeadLetter::stored);
        letters.extend(letter);
        let until = |keep: Duration| {
            now.saturating_add(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX))
        };
        let ticket = &settled.entry.ticket;
        let seen = ticket
            .keep(&settled.outcome)
            .map(|keep| (ticket.seen(), until(keep)));
        End {
            outcome: settled.outcome.clone(),
            seen,
            letter: stored,
        }
    }

    /// The names of these events' tags, for each caller who hears of them.
    fn notices(&self, batch: &[Settled<Kept>]) -> BTreeMap<View, BTreeSet<String>> {
        let mut notices = BTreeMap::<_, BTreeSet<_>>::new();
        // Of what was superseded, what replaced it is told. A dead letter's client believed it, and
        // asks anew.
        let told = batch
            .iter()
            .filter(|settled| !matches!(settled.outcome, Outcome::Superseded { .. }));
        for event in told.map(|settled| settled.entry.event()) {
            let names = self.names(event);
            if !names.is_empty() {
                notices.entry(event.owner().view).or_default().extend(names);
            }
        }
        notices
    }

    /// The names of an event's tags, if somebody wants to hear them.
    fn names(&self, event: &Event) -> Vec<String> {
        if !self.0.notices.is_heard(event.owner().view) {
            return Vec::new();
        }
        let head = contract::Head::of(&event.context);
        let caller = head.caller(&self.0.identity, event.received_at);
        let scope = EventScope { caller, event };
        let templates = self
            .0
            .groups
            .get(event.lane.group.0)
            .map(|group| &group.invalidates);
        // Of a tag that looks at more than the event and its credential, the name is not known any
        // more.
        templates
            .into_iter()
            .flatten()
            .filter_map(|tag| tag.render(&scope))
            .collect()
    }

    fn letter(&self, settled: &Settled<Kept>, reason: Reason) -> DeadLetter {
        let event = settled.entry.event();
        let group = self
            .0
            .groups
            .get(event.lane.group.0)
            .map_or_else(|| "?".into(), |group| Arc::clone(&group.name));
        tracing::warn!(
            group = %group, id = event.id(), user = &*keys::shown_user(event), reason = reason.as_str(),
            attempts = settled.failed, status = settled.status, "event became a dead letter"
        );
        DeadLetter {
            key: settled.entry.seq(),
            group,
            event: event.clone(),
            seen: settled.entry.ticket.seen(),
            reason: reason.as_str().into(),
            attempts: settled.failed,
            status: settled.status.unwrap_or(0),
            died_ms: millis(self.0.clock.now()),
            lost: false,
            answer: settled
                .answer
                .as_ref()
                .map(|answer| cut_excerpt(answer, event.id())),
        }
    }
}

/// What a letter shows of the application's answer, at most so many characters.
const MAX_EXCERPT: usize = 512;

/// The part of an answer that speaks of this id, or its beginning, as text on one line.
fn cut_excerpt(answer: &[u8], id: &str) -> Box<str> {
    let text = String::from_utf8_lossy(answer);
    let text: String = text
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect();
    let length = text.chars().count();
    if length <= MAX_EXCERPT {
        return text.into();
    }
    let named = text
        .find(id)
        .and_then(|at| text.get(..at))
        .map_or(0, |before| before.chars().count());
    let from = named
        .saturating_sub(MAX_EXCERPT / 4)
        .min(length - MAX_EXCERPT);
    text.chars().skip(from).take(MAX_EXCERPT).collect()
}

/// What is left of a call when its event is settled.
struct EventScope<'a> {
    caller: Caller<'a>,
    event: &'a Event,
}

impl Lookup for EventScope<'_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        match source {
            Source::User => Some(Found::Text(Cow::Borrowed(self.event.lane.user.as_str()))),
            Source::Event => {
                let text = std::str::from_utf8(self.event.json()).ok()?;
                Object::parse(text).ok()?.at(path).map(Found::Json)
            }
            Source::Header | Source::Cookie | Source::Jwt => self.caller.look(source, path),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_the_whole_answer_or_the_part_that_names_the_id() {
        assert_eq!(&*cut_excerpt(b"{\n\"a\": 1}", "a"), "{ \"a\": 1}");
        assert_eq!(&*cut_excerpt(b"\xff\x00", "a"), "\u{fffd} ");
        let long = |before: usize, after: usize| {
            format!("{}<one>{}", "\u{e9}".repeat(before), "z".repeat(after))
        };
        for (before, after) in [(0, 2_000), (700, 2_000), (2_000, 0), (2_000, 3)] {
            let excerpt = cut_excerpt(long(before, after).as_bytes(), "<one>");
            assert_eq!(excerpt.chars().count(), MAX_EXCERPT);
            assert!(excerpt.contains("<one>"), "{before} {after}: {excerpt}");
        }
        let excerpt = cut_excerpt(long(600, 600).as_bytes(), "another");
        assert!(excerpt.chars().all(|one| one == '\u{e9}'), "its beginning");
    }
}
