//! A cursor over one table of the file that gathers every problem instead of the first.
//!
//! A cursor remembers which keys it was asked for; those are the allowed ones, and what else stands
//! in the file is an unknown key. A key that isn't there reads as its default.

use super::key::{Absent, Key, Kind};
use super::problem::{Place, Position, Sink};
use super::tree::{self, Node, Spot};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

/// Variables by name, for secrets that the file only names.
pub(super) type Environment = HashMap<String, String>;

/// What all cursors of a file share.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// What is wrong so far.
    pub(super) problems: Sink,
    /// The process's variables.
    pub(super) environment: Environment,
}

/// A name that another section must have.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    /// The name; none where the key is missing.
    pub(super) name: Option<String>,
    /// Where it stands, or should.
    pub(super) position: Position,
}

/// The variable that a secret is in.
pub(super) const ENV: Key = Key::without("env", Kind::Said("name of a variable"), "this or `file`");
/// The file that a secret is in.
pub(super) const FILE: Key = Key::without("file", Kind::Said("file"), "this or `env`");

/// A cursor on one table.
pub(super) struct Section<'a> {
    members: &'a [(String, Spot)],
    path: String,
    place: Option<Place>,
    reading: &'a Reading,
    asked: RefCell<BTreeSet<&'static str>>,
    /// Keys of earlier versions that were reported.
    gone: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    /// A cursor on a table; anything else is a problem and reads as empty.
    pub(super) fn new(spot: Option<&'a Spot>, path: &str, reading: &'a Reading) -> Self {
        let (members, place): (&[_], _) = match spot {
            None => (&[], None),
            Some(Spot {
                node: Node::Table(members),
                place,
                ..
            }) => (members, Some(place.clone())),
            Some(other) => {
                let position = Position {
                    place: Some(other.place.clone()),
                    key: path.to_owned(),
                };
                reading.problems.add(
                    position,
                    format!("found {}; a table is allowed", other.node.kind()),
                );
                (&[], Some(other.place.clone()))
            }
        };
        Self {
            members,
            path: path.to_owned(),
            place,
            reading,
            asked: RefCell::default(),
            gone: RefCell::default(),
        }
    }

    /// The dotted path of a key of this table.
    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn member_named(&self, name: &str) -> Option<&'a Spot> {
        self.members
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, spot)| spot)
    }

    /// Something is wrong with this table as a whole.
    pub(super) fn wrong(&self, text: impl Into<String>) {
        self.reading.problems.add(
            Position {
                place: self.place.clone(),
                key: self.path.clone(),
            },
            text,
        );
    }

    /// Something is wrong with a key.
    pub(super) fn wrong_key(&self, key: &Key, text: impl Into<String>) {
        self.reading.problems.add(self.position(key), text);
    }

    /// Where a key stands; where it is missing, its table.
    pub(super) fn position(&self, key: &Key) -> Position {
        self.position_named(key.name)
    }

    fn position_named(&self, name: &str) -> Position {
        let place = self.member_named(name).map(|spot| spot.place.clone());
        Position {
            place: place.or_else(|| self.place.clone()),
            key: self.path_of(name),
        }
    }

    /// The value of a key, as it stands in the file.
    pub(super) fn get(&self, key: &'static Key) -> Option<&'a Spot> {
        self.asked.borrow_mut().insert(key.name);
        self.member_named(key.name)
    }

    /// Whether the file has a key.
    pub(super) fn has(&self, key: &'static Key) -> bool {
        self.get(key).is_some()
    }

    /// The value of a key: the file's, else its default.
    pub(super) fn get_or_default(&self, key: &'static Key) -> Option<Cow<'a, Spot>> {
        self.get(key)
            .map(Cow::Borrowed)
            .or_else(|| default_of(key).map(Cow::Owned))
    }

    /// A key of an earlier version is an error that says what took its place.
    pub(super) fn refuse_gone(&self, name: &'static str, instead: &str) {
        if self.member_named(name).is_some() {
            self.gone.borrow_mut().insert(name);
            self.reading
                .problems
                .add(self.position_named(name), instead);
        }
    }

    /// A table under this one.
    pub(super) fn section(&self, key: &'static Key) -> Section<'a> {
        Section::new(self.get(key), &self.path_of(key.name), self.reading)
    }

    /// A top-level section: `[name]`.
    pub(super) fn top(&self, name: &'static str) -> Section<'a> {
        self.maybe_top(name)
            .unwrap_or_else(|| Section::new(None, &self.path_of(name), self.reading))
    }

    /// A top-level section, if the file has it.
    pub(super) fn maybe_top(&self, name: &'static str) -> Option<Section<'a>> {
        self.asked.borrow_mut().insert(name);
        Some(Section::new(
            Some(self.member_named(name)?),
            &self.path_of(name),
            self.reading,
        ))
    }

    /// A top-level list of tables: `[[name]]`.
    pub(super) fn tops(&self, name: &'static str) -> Vec<Section<'a>> {
        self.asked.borrow_mut().insert(name);
        match self.member_named(name) {
            None => Vec::new(),
            Some(Spot {
                node: Node::List(all),
                ..
            }) => {
                let path = |index| format!("{}[{index}]", self.path_of(name));
                let cursor = |(index, spot)| Section::new(Some(spot), &path(index), self.reading);
                all.iter().enumerate().map(cursor).collect()
            }
            Some(spot) => {
                let text = format!("found {}; allowed is [[{name}]] tables", spot.node.kind());
                self.reading.problems.add(self.position_named(name), text);
                Vec::new()
            }
        }
    }

    /// Every member, as a named section (`[batch.NAME]`).
    pub(super) fn named_sections(&self) -> Vec<(&'a str, Section<'a>)> {
        self.members()
            .map(|(name, spot)| (name, self.member(name, spot)))
            .collect()
    }

    /// Every member as it stands; its name is any.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'a str, &'a Spot)> {
        self.members
            .iter()
            .map(|(name, spot)| (name.as_str(), spot))
    }

    /// A table among the members.
    pub(super) fn member(&self, name: &str, spot: &'a Spot) -> Section<'a> {
        Section::new(Some(spot), &self.path_of(name), self.reading)
    }

    fn report_unexpected(&self, key: &'static Key, allowed: &str) {
        let found = self
            .get(key)
            .map(|spot| spot.node.kind())
            .unwrap_or_default();
        self.wrong_key(key, format!("found {found}; allowed is {allowed}"));
    }

    pub(super) fn read<T>(
        &self,
        key: &'static Key,
        allowed: &str,
        read: impl Fn(&Node) -> Option<T>,
    ) -> Option<T> {
        self.see(key, allowed, |spot| read(&spot.node))
    }

    /// What `see` makes of a key's value; of its default where there is none, or a wrong one, which
    /// is reported.
    pub(super) fn see<T>(
        &self,
        key: &'static Key,
        allowed: &str,
        see: impl Fn(&Spot) -> Option<T>,
    ) -> Option<T> {
        if let Some(spot) = self.get(key) {
            let value = see(spot);
            if value.is_some() {
                return value;
            }
            self.report_unexpected(key, allowed);
        }
        see(&default_of(key)?)
    }

    /// The variable of the process that a key of the table names; blank space around its value is
    /// cut off.
    pub(super) fn variable_of(&self, key: &Key, name: &str) -> Option<String> {
        let value = self.reading.environment.get(name);
        if value.is_none() {
            self.wrong_key(key, format!("the environment has no variable {name}"));
        }
        value.map(|text| text.trim().to_owned())
    }

    /// The content of the file that a key of the table names, likewise.
    pub(super) fn content_of(&self, key: &Key, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| self.wrong_key(key, format!("{path} can't be read: {error}")));
        text.ok().map(|text| text.trim().to_owned())
    }

    /// Reports the keys that were never asked for.
    pub(super) fn finish(self) {
        let asked = self.asked.borrow();
        for (name, spot) in self.members {
            if asked.contains(name.as_str()) || self.gone.borrow().contains(name.as_str()) {
                continue;
            }
            let near = asked
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, name), *known));
            let near = near
                .filter(|(distance, known)| *distance <= 2.max(known.len() / 3))
                .min();
            let advice = match near {
                Some((_, known)) => format!("unknown key; did you mean {known:?}?"),
                None => format!(
                    "unknown key; allowed are {}",
                    asked.iter().copied().collect::<Vec<_>>().join(", ")
                ),
            };
            let position = Position {
                place: Some(spot.place.clone()),
                key: self.path_of(name),
            };
            self.reading.problems.add(position, advice);
        }
    }
}

fn default_of(key: &Key) -> Option<Spot> {
    let node = match key.absent {
        Absent::Text(text) => Node::Text(text.to_owned()),
        Absent::Value(value) | Absent::ValueIf(_, value) => tree::parse_value(value),
        Absent::Words(_) => return None,
    };
    Some(Spot::new(node, Place::Line(1)))
}
