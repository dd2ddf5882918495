//! An event as it stands in a batch, while it is written: one JSON object, and where its members
//! lie.

use crate::json;
use crate::template::Quoted;
use std::ops::Range;

/// A member of an event: its name, where it begins, and where its raw value lies.
#[derive(Debug, Clone)]
pub(super) struct Member<'a> {
    name: &'a str,
    begin: usize,
    value: Range<usize>,
    /// It differs from try to try of one event.
    drawn: bool,
}

/// An event to look into; by default one without members.
#[derive(Debug, Clone, Copy, Default)]
pub struct View<'a> {
    json: &'a str,
    members: &'a [Member<'a>],
}

impl<'a> View<'a> {
    pub(super) const fn new(json: &'a str, members: &'a [Member<'a>]) -> Self {
        Self { json, members }
    }

    /// The raw value of a member; of a repeated name the last one.
    #[must_use]
    pub fn raw(self, name: &str) -> Option<&'a str> {
        let member = self
            .members
            .iter()
            .rev()
            .find(|member| member.name == name)?;
        self.json.get(member.value.clone())
    }

    /// The raw value at a path.
    #[must_use]
    pub fn at(self, path: &[Box<str>]) -> Option<&'a str> {
        let (first, rest) = path.split_first()?;
        json::at(self.raw(first)?, rest)
    }
}

/// An event that is being written. Names are those of the mapping, of the group, and of the call's
/// body.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    json: String,
    members: Vec<Member<'a>>,
}

impl<'a> Draft<'a> {
    /// Nothing yet; `bytes` are expected.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self {
            json: String::with_capacity(bytes),
            members: Vec::with_capacity(12),
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            json: &self.json,
            members: &self.members,
        }
    }

    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.view().raw(name)
    }

    /// A member differs from try to try of one event.
    pub(super) fn is_drawn(&self, name: &str) -> bool {
        let mut members = self.members.iter().rev();
        members.any(|member| member.drawn && member.name == name)
    }

    /// The raw values of its members.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        let values = self.members.iter();
        values.filter_map(|member| self.json.get(member.value.clone()))
    }

    /// How many members it has.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether one of the first members has this name.
    pub(super) fn has_among_first(&self, count: usize, name: &str) -> bool {
        self.members
            .iter()
            .take(count)
            .any(|member| member.name == name)
    }

    /// Writes a member; `write`: its raw value, `false` if there is none, and then nothing is
    /// written.
    pub(super) fn write_member(
        &mut self,
        name: &'a str,
        quoted: &Quoted,
        write: impl FnOnce(&mut String) -> bool,
    ) -> bool {
        let before = self.json.len();
        self.json.push(if before == 0 { '{' } else { ',' });
        let begin = self.json.len();
        self.json.push_str(quoted.as_str());
        let value = self.json.len();
        let written = write(&mut self.json);
        if written {
            self.members.push(Member {
                name,
                begin,
                value: value..self.json.len(),
                drawn: false,
            });
        } else {
            self.json.truncate(before);
        }
        written
    }

    pub(super) fn push(&mut self, name: &'a str, raw: &str) {
        self.push_with(name, |out| out.push_str(raw));
    }

    pub(super) fn push_text(&mut self, name: &'a str, text: &str) {
        self.push_with(name, |out| json::write_string(out, text));
    }

    fn push_with(&mut self, name: &'a str, write: impl FnOnce(&mut String)) {
        self.json.push(if self.json.is_empty() { '{' } else { ',' });
        let begin = self.json.len();
        json::write_string(&mut self.json, name);
        self.json.push(':');
        let value = self.json.len();
        write(&mut self.json);
        self.members.push(Member {
            name,
            begin,
            value: value..self.json.len(),
            drawn: false,
        });
    }

    /// Shows what `write` writes, without keeping it.
    pub(super) fn look_at_unwritten(
        &mut self,
        write: impl FnOnce(&mut String),
        look: impl FnOnce(&str),
    ) {
        let end = self.json.len();
        write(&mut self.json);
        look(self.json.get(end..).unwrap_or_default());
        self.json.truncate(end);
    }

    /// The member that was written last differs from try to try of one event.
    pub(super) fn mark_last_drawn(&mut self) {
        if let Some(member) = self.members.last_mut() {
            member.drawn = true;
        }
    }

    /// What the event says, member by member as it is written, but for those that are drawn and
    /// those of these names.
    pub(super) fn said(&self, is_left_out: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
        let members = self
            .members
            .iter()
            .filter(move |member| !member.drawn && !is_left_out(member.name));
        members.filter_map(|member| self.json.get(member.begin..member.value.end))
    }

    /// The raw value of the member that was written last.
    pub(super) fn last(&self) -> &str {
        self.members
            .last()
            .and_then(|member| self.json.get(member.value.clone()))
            .unwrap_or_default()
    }

    /// Puts another raw value in the place of the last one.
    pub(super) fn replace_last(&mut self, raw: &str) {
        if let Some(member) = self.members.last_mut() {
            self.json.truncate(member.value.start);
            self.json.push_str(raw);
            member.value.end = self.json.len();
        }
    }

    /// Takes a member out again.
    pub(super) fn remove(&mut self, name: &str) {
        let members = std::mem::take(&mut self.members);
        let json = std::mem::take(&mut self.json);
        for member in members.into_iter().filter(|member| member.name != name) {
            if let Some(raw) = json.get(member.value) {
                self.push(member.name, raw);
            }
        }
    }

    /// The object, and where its members lie.
    pub(super) fn finish(mut self) -> (String, Vec<Member<'a>>) {
        if self.json.is_empty() {
            self.json.push('{');
        }
        self.json.push('}');
        (self.json, self.members)
    }
}
