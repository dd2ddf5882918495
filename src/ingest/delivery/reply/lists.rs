//! One pass over a reply that is JSON: which events its lists name, and what it says by itself.
//!
//! The pass looks for all lists of a group's [`Results`] at once. A set of bits says which of them may still stand below
//! the value that is read; a value that none of them can be in is skipped. An id is compared with that of the next event
//! first, since most replies name the events in the order in which they were sent.
//!
//! As in `JSON.parse` the last one of several members of one name counts, so a member forgets what an earlier one of its
//! name has said. An object with a name that can't be decoded says nothing.

use super::ids::Ids;
use super::targets::{List, Target, Targets};
use super::{Asked, Reader, fate_of, id_of};
use crate::event::{Outcome, Reason};
use crate::ingest::settings::{Places, Results};
use crate::ingest::window::Fate;
use crate::json;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Members at the top by which a reply speaks of the whole batch.
const NAMES: [&str; 4] = ["ok", "success", "error", "errors"];

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

/// The JSON of a reply breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BrokenOff;

/// What a reply holds.
#[derive(Debug)]
pub(super) struct Scan<'a, 'i> {
    places: &'i [Places],
    reader: Reader<'i>,
    ids: Ids<'i>,
    named: Vec<Named<'a>>,
    /// Values of the [`NAMES`] at the top.
    says: [Option<&'a str>; NAMES.len()],
    /// Each value is skipped before it is read: numbers are not what a parser may refuse then.
    is_careful: bool,
}

impl<'a, 'i> Scan<'a, 'i> {
    /// Reads a body; one that doesn't begin like an object or a list says nothing, as one does that is nested deeper than
    /// [`json::MAX_DEPTH`].
    ///
    /// # Errors
    /// It begins so and is no JSON.
    pub(super) fn of(body: &'a [u8], asked: &'i Asked<'_>, reader: Reader<'i>) -> Result<Self, BrokenOff> {
        let Results { places, in_order, .. } = reader.results;
        let places = if in_order.is_some() { &[] } else { places.as_slice() };
        let scan = || Self {
            places,
            reader,
            ids: Ids::of(&asked.ids),
            named: Target::all(places).map(|_| Named::default()).collect(),
            says: Default::default(),
            is_careful: false,
        };
        if !matches!(body.first(), Some(b'{' | b'[')) {
            return Ok(scan());
        }
        let text = json::text_of(body).map_err(|_| BrokenOff)?;
        if json::is_too_deep(text) {
            serde_json::from_str::<IgnoredAny>(text).map_err(|_| BrokenOff)?;
            return Ok(scan());
        }
        let mut found = scan();
        if found.read(text).is_err() {
            found = Self { is_careful: true, ..scan() };
            found.read(text).map_err(|_| BrokenOff)?;
        }
        Ok(found)
    }

    fn read(&mut self, text: &'a str) -> Result<(), serde_json::Error> {
        let targets = Targets::of(Target::all(self.places).filter(|target| target.path(self.places).is_some()));
        self.read_below(text, targets, 0)
    }

    fn read_below(&mut self, text: &'a str, targets: Targets, depth: usize) -> Result<(), serde_json::Error> {
        let mut parser = serde_json::Deserializer::from_str(text);
        Below { scan: self, targets, depth }.deserialize(&mut parser)?;
        parser.end()
    }

    /// Those of the targets that stand at this value themselves.
    fn ended(&self, targets: Targets, depth: usize) -> Targets {
        let ends = |target: &Target| target.path(self.places).is_some_and(|path| path.len() == depth);
        Targets::of(targets.iter().filter(ends))
    }

    /// Those of the targets whose next step this is.
    fn below(&self, targets: Targets, depth: usize, is_step: impl Fn(&str) -> bool) -> Targets {
        let next = |target: Target| target.path(self.places).and_then(|path| path.get(depth));
        Targets::of(targets.iter().filter(|target| next(*target).is_some_and(|step| is_step(step))))
    }

    fn forget(&mut self, targets: Targets) {
        for target in targets.iter() {
            if let Some(named) = self.named.get_mut(target.0).filter(|named| named.stands) {
                *named = Named::default();
            }
        }
    }

    /// A value that stands for several targets, or for one and for others below it, or that is read carefully.
    fn read_raw(&mut self, raw: &'a str, targets: Targets, depth: usize) -> Result<(), serde_json::Error> {
        let ended = self.ended(targets, depth);
        let parse = |found: Found<'_, 'a, 'i>| serde_json::Deserializer::from_str(raw).deserialize_any(found);
        if raw.starts_with('[') {
            for target in ended.iter() {
                parse(Found { scan: self, targets: Targets::NONE, depth, list: Some(target) })?;
            }
        }
        let below = targets.without(ended);
        let says = depth == 0 && raw.starts_with('{');
        if says || !below.is_empty() && raw.starts_with(['[', '{']) {
            parse(Found { scan: self, targets: below, depth, list: None })?;
        }
        Ok(())
    }

    /// A list's entry.
    fn name(&mut self, target: Target, entry: &'a str) {
        let Some(id) = id_of(entry, self.reader.results) else { return };
        let event = self.ids.find(&id);
        let count = self.ids.len();
        let Some(named) = self.named.get_mut(target.0) else { return };
        let Some(event) = event else {
            named.unknown.insert(id);
            return;
        };
        named.marks.resize(count, Mark::Absent);
        if let Some(mark) = named.marks.get_mut(event) {
            let is_fatal = target.list() == List::Failed && fate_of(entry, self.reader) != Fate::Again;
            *mark = if is_fatal { Mark::Fatal } else { Mark::Named };
        }
    }

    /// The lists of the first place where one stands: one fate for each event, and how many ids no event has.
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
        let unknown = || [failed, duplicates, accepted].into_iter().flat_map(|named| &named.unknown);
        let unknown = if unknown().next().is_none() { 0 } else { unknown().collect::<HashSet<_>>().len() };
        Some(((0..self.ids.len()).map(of_event).collect(), unknown))
    }

    /// The value of one of the [`NAMES`] at the top.
    pub(super) fn said(&self, name: &str) -> Option<&'a str> {
        let place = NAMES.iter().position(|known| *known == name)?;
        *self.says.get(place)?
    }
}

/// A value in or below which these targets may stand.
struct Below<'s, 'a, 'i> {
    scan: &'s mut Scan<'a, 'i>,
    targets: Targets,
    depth: usize,
}

impl<'a> DeserializeSeed<'a> for Below<'_, 'a, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, value: D) -> Result<(), D::Error> {
        let Self { scan, targets, depth } = self;
        // The top is looked into for what it says by itself.
        if targets.is_empty() && depth > 0 {
            return value.deserialize_ignored_any(IgnoredAny).map(drop);
        }
        let ended = scan.ended(targets, depth);
        let below = targets.without(ended);
        match (ended.only(), ended.is_empty(), below.is_empty()) {
            (list, true, _) | (list @ Some(_), _, true) if !scan.is_careful => {
                value.deserialize_any(Found { scan, targets: below, depth, list })
            }
            _ => {
                let raw = <&'a RawValue as serde::Deserialize>::deserialize(value)?.get();
                scan.read_raw(raw, targets, depth).map_err(serde::de::Error::custom)
            }
        }
    }
}

/// What a value turned out to be: `list`, if it is one, or what holds targets.
struct Found<'s, 'a, 'i> {
    scan: &'s mut Scan<'a, 'i>,
    targets: Targets,
    depth: usize,
    list: Option<Target>,
}

impl<'a> Found<'_, 'a, '_> {
    fn visit_list<A: SeqAccess<'a>>(self, target: Target, mut entries: A) -> Result<(), A::Error> {
        if let Some(named) = self.scan.named.get_mut(target.0) {
            named.stands = true;
        }
        while let Some(entry) = entries.next_element::<&'a RawValue>()? {
            self.scan.name(target, entry.get());
        }
        Ok(())
    }

    /// A member whose name can be read.
    fn visit_member<A: MapAccess<'a>>(&mut self, name: &str, members: &mut A) -> Result<(), A::Error> {
        let Self { scan, targets, depth, .. } = self;
        let depth = *depth;
        let below = scan.below(*targets, depth, |step| step == name);
        // ORDER: before the member is read, whose lists count from here on.
        scan.forget(below);
        let said = if depth == 0 { NAMES.iter().position(|known| *known == name) } else { None };
        let Some(said) = said.and_then(|place| scan.says.get_mut(place)) else {
            return members.next_value_seed(Below { scan, targets: below, depth: depth + 1 });
        };
        let raw = members.next_value::<&'a RawValue>()?.get();
        *said = Some(raw);
        scan.read_raw(raw, below, depth + 1).map_err(serde::de::Error::custom)
    }
}

impl<'a> Visitor<'a> for Found<'_, 'a, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut is_readable = true;
        while let Some(name) = members.next_key::<&'a RawValue>()? {
            match json::string(name.get()) {
                Some(name) => self.visit_member(&name, &mut members)?,
                None => {
                    is_readable = false;
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        if !is_readable {
            self.scan.forget(self.targets);
            if self.depth == 0 {
                self.scan.says = Default::default();
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut entries: A) -> Result<(), A::Error> {
        if let Some(target) = self.list {
            return self.visit_list(target, entries);
        }
        let Self { scan, targets, depth, .. } = self;
        for place in 0.. {
            let targets = scan.below(targets, depth, |step| step.parse() == Ok(place));
            if entries.next_element_seed(Below { scan, targets, depth: depth + 1 })?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;
