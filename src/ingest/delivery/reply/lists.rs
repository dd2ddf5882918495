//! Which events of a batch the lists of a reply name, and what the reply says by itself.
//!
//! Each object on the way to a list is gone through once for all the lists that may stand in it. A
//! set of bits says which these are. An id is compared with that of the next event first, since
//! most replies name the events in the order in which they were sent. As in `JSON.parse` the last
//! one of several members of one name counts; an object with a name that can't be decoded says
//! nothing.

use super::ids::Ids;
use super::targets::{List, Target, Targets};
use super::{Asked, Reader, fate_of, id_of};
use crate::event::{Outcome, Reason};
use crate::ingest::lanes::window::Fate;
use crate::ingest::settings::{Places, Results};
use crate::json::{self, Object};
use std::borrow::Cow;
use std::collections::HashSet;

/// What a list says of an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mark {
    #[default]
    Absent,
    Named,
    /// It failed, and no retry can cure it.
    Fatal,
}

/// What one list says.
#[derive(Debug, Default)]
struct Named<'a> {
    stands: bool,
    /// One for each event, or none where no event is named.
    marks: Vec<Mark>,
    /// Ids that no event has.
    unknown: HashSet<Cow<'a, str>>,
}

impl Named<'_> {
    fn mark(&self, event: usize) -> Mark {
        self.marks.get(event).copied().unwrap_or_default()
    }
}

/// A reply begins like JSON, and can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable;

/// What a reply holds.
#[derive(Debug)]
pub(super) struct Scan<'a, 'i> {
    places: &'i [Places],
    reader: Reader<'i>,
    ids: Ids<'i>,
    named: Vec<Named<'a>>,
    top: Object<'a>,
}

impl<'a, 'i> Scan<'a, 'i> {
    /// Reads a body; one that doesn't begin like an object or a list says nothing.
    ///
    /// # Errors
    /// It begins so and is no JSON, is nested deeper than [`json::MAX_DEPTH`], or has a member at its
    /// top whose name is no text.
    pub(super) fn of(
        body: &'a [u8],
        asked: &'i Asked<'_>,
        reader: Reader<'i>,
    ) -> Result<Self, Unreadable> {
        let Results {
            places, in_order, ..
        } = reader.results;
        let places = if in_order.is_some() {
            &[]
        } else {
            places.as_slice()
        };
        let named = Target::all(places).map(|_| Named::default()).collect();
        let mut scan = Self {
            places,
            reader,
            ids: Ids::of(&asked.ids),
            named,
            top: Object::default(),
        };
        if !matches!(body.first(), Some(b'{' | b'[')) {
            return Ok(scan);
        }
        let text = json::text_of(body).map_err(|_| Unreadable)?;
        scan.read_top(text).map(|()| scan).ok_or(Unreadable)
    }

    /// `None`: it can't be read.
    fn read_top(&mut self, text: &'a str) -> Option<()> {
        let targets = Targets::of(
            Target::all(self.places).filter(|target| target.path(self.places).is_some()),
        );
        if text.starts_with('[') {
            self.read_entries(&json::elements(text).ok()?, targets, 0);
            return Some(());
        }
        self.top = Object::parse(text).ok()?;
        for (targets, step) in self.steps(targets, 0) {
            if let Some(value) = self.top.get(step) {
                self.read_value(value, targets, 1);
            }
        }
        Some(())
    }

    fn read_value(&mut self, raw: &'a str, targets: Targets, depth: usize) {
        if raw.starts_with('[') {
            if let Ok(entries) = json::elements(raw) {
                self.read_entries(&entries, targets, depth);
            }
        } else if raw.starts_with('{')
            && let steps = self.steps(targets, depth)
            && !steps.is_empty()
            && let Ok(object) = Object::parse(raw)
        {
            for (targets, step) in steps {
                if let Some(value) = object.get(step) {
                    self.read_value(value, targets, depth + 1);
                }
            }
        }
    }

    /// A list: one that was looked for, or one of whose entries holds some.
    fn read_entries(&mut self, entries: &[&'a str], targets: Targets, depth: usize) {
        let stands = |target: &Target| {
            target
                .path(self.places)
                .is_some_and(|path| path.len() == depth)
        };
        for target in Targets::of(targets.iter().filter(stands)).iter() {
            if let Some(named) = self.named.get_mut(target.0) {
                named.stands = true;
            }
            entries.iter().for_each(|entry| self.name(target, entry));
        }
        for (targets, step) in self.steps(targets, depth) {
            if let Some(entry) = step
                .parse::<usize>()
                .ok()
                .and_then(|place| entries.get(place))
            {
                self.read_value(entry, targets, depth + 1);
            }
        }
    }

    /// The next steps to these targets, and which of them are behind each.
    fn steps(&self, targets: Targets, depth: usize) -> Vec<(Targets, &'i str)> {
        let places = self.places;
        let mut steps: Vec<(Targets, &'i str)> = Vec::new();
        for target in targets.iter() {
            let Some(step) = target.path(places).and_then(|path| path.get(depth)) else {
                continue;
            };
            match steps.iter_mut().find(|(_, known)| **known == **step) {
                Some((targets, _)) => targets.add(target),
                None => steps.push((Targets::of([target].into_iter()), step)),
            }
        }
        steps
    }

    /// A list's entry.
    fn name(&mut self, target: Target, entry: &'a str) {
        let Some((id, event)) = id_of(entry, self.reader.results, |id| self.ids.find(id)) else {
            return;
        };
        let count = self.ids.len();
        let Some(named) = self.named.get_mut(target.0) else {
            return;
        };
        let Some(event) = event else {
            named.unknown.insert(id);
            return;
        };
        named.marks.resize(count, Mark::Absent);
        if let Some(mark) = named.marks.get_mut(event) {
            let is_fatal =
                target.list() == List::Failed && fate_of(entry, self.reader) != Fate::Again;
            *mark = if is_fatal { Mark::Fatal } else { Mark::Named };
        }
    }

    /// The lists of the first place where one stands: one fate for each event, and how many ids no
    /// event has.
    pub(super) fn fates(&self, missing: &Fate) -> Option<(Vec<Fate>, usize)> {
        let [failed, duplicates, accepted] = self.named.as_chunks().0.iter().find(|lists| {
            let [failed, duplicates, accepted] = lists;
            failed.stands || duplicates.stands || accepted.stands
        })?;
        let of_event = |event: usize| match failed.mark(event) {
            _ if accepted.mark(event) != Mark::Absent => Fate::Done(Outcome::Accepted),
            _ if duplicates.mark(event) != Mark::Absent => Fate::Done(Outcome::Duplicate),
            Mark::Absent => missing.clone(),
            Mark::Named => Fate::Again,
            Mark::Fatal => Fate::Done(Outcome::Dead(Reason::FailedPermanently)),
        };
        let unknown = || {
            [failed, duplicates, accepted]
                .into_iter()
                .flat_map(|named| &named.unknown)
        };
        let unknown = if unknown().next().is_none() {
            0
        } else {
            unknown().collect::<HashSet<_>>().len()
        };
        Some(((0..self.ids.len()).map(of_event).collect(), unknown))
    }

    /// The value of a member at the top.
    pub(super) fn said(&self, name: &str) -> Option<&'a str> {
        self.top.get(name)
    }
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;
