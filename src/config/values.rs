//! The values of a section's keys, each in the type that it is read as: the file's, else the key's
//! default. A value that can't be read is a problem, and reads as the default.

use super::key::Key;
use super::section::{ENV, FILE, Reference, Section};
use super::tree::{self, Node};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

impl Section<'_> {
    /// Text.
    pub(super) fn text(&self, key: &'static Key) -> Option<String> {
        self.see(key, "text", |spot| spot.text().map(str::to_owned))
    }

    /// Text that is parsed.
    pub(super) fn parsed<T: FromStr>(&self, key: &'static Key, allowed: &str) -> Option<T> {
        self.see(key, allowed, |spot| spot.text()?.parse().ok())
    }

    /// Text that something else compiles; its error says what is allowed.
    pub(super) fn compiled<T, E: fmt::Display>(
        &self,
        key: &'static Key,
        compile: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let compiled = compile(&self.text(key)?);
        compiled
            .map_err(|error| self.wrong_key(key, error.to_string()))
            .ok()
    }

    /// A list of texts that something else compiles; those that are wrong are left out.
    pub(super) fn compiled_list<T, E: fmt::Display>(
        &self,
        key: &'static Key,
        compile: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let report = |text: &String, error: E| self.wrong_key(key, format!("{text:?}: {error}"));
        let texts = self.texts(key)?;
        let compiled = texts
            .iter()
            .filter_map(|text| compile(text).map_err(|error| report(text, error)).ok());
        Some(compiled.collect())
    }

    /// A secret that this table names: `env`, a variable, or `file`, a file's content; blank space
    /// around it is cut off.
    pub(super) fn secret(&self) -> Option<String> {
        match (self.text(&ENV), self.text(&FILE)) {
            (Some(name), None) => self.variable_of(&ENV, &name),
            (None, Some(path)) => self.content_of(&FILE, &path),
            _ => {
                self.wrong("exactly one of env (a variable's name) and file (a path) is needed");
                None
            }
        }
    }

    /// A name that another section must have; a missing one too. None where it is no text, which is
    /// reported.
    pub(super) fn reference(&self, key: &'static Key) -> Option<Reference> {
        let position = self.position(key);
        match (self.has(key), self.text(key)) {
            (true, None) => None,
            (_, name) => Some(Reference { name, position }),
        }
    }

    /// Names that another section must have.
    pub(super) fn references(&self, key: &'static Key) -> Vec<Reference> {
        let position = self.position(key);
        let names = self.texts(key).unwrap_or_default().into_iter();
        names
            .map(|name| Reference {
                name: Some(name),
                position: position.clone(),
            })
            .collect()
    }

    /// True or false, if given or by default.
    pub(super) fn maybe_flag(&self, key: &'static Key) -> Option<bool> {
        self.read(key, "true or false", |node| match node {
            Node::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// True or false.
    pub(super) fn flag(&self, key: &'static Key) -> bool {
        self.maybe_flag(key).unwrap_or_default()
    }

    /// A number.
    pub(super) fn float(&self, key: &'static Key) -> Option<f64> {
        self.read(key, "a number", |node| node.json().as_f64())
    }

    /// A whole number within the key's limits, if given or by default.
    pub(super) fn maybe_number(&self, key: &'static Key) -> Option<u64> {
        let (low, high) = key.limits();
        self.read(
            key,
            &format!("a whole number from {low} to {high}"),
            |node| match node {
                Node::Int(number) => u64::try_from(*number)
                    .ok()
                    .filter(|number| (low..=high).contains(number)),
                _ => None,
            },
        )
    }

    /// A whole number within the key's limits, which the type must have room for.
    pub(super) fn number<T: TryFrom<u64> + Default>(&self, key: &'static Key) -> T {
        self.maybe_number(key)
            .and_then(|number| number.try_into().ok())
            .unwrap_or_default()
    }

    /// A duration above zero.
    pub(super) fn duration(&self, key: &'static Key) -> Duration {
        self.maybe_duration(key).unwrap_or_default()
    }

    /// A duration above zero, if given or by default.
    pub(super) fn maybe_duration(&self, key: &'static Key) -> Option<Duration> {
        self.read(
            key,
            "a duration above zero such as \"500ms\", \"5s\", \"24h\", at most 100 years",
            tree::duration,
        )
    }

    /// A list of durations, at least one.
    pub(super) fn durations(&self, key: &'static Key) -> Vec<Duration> {
        let durations = self.read(
            key,
            "a list of durations such as [\"2s\", \"5s\"], each at most 100 years",
            |node| match node {
                Node::List(all) if !all.is_empty() => {
                    all.iter().map(|spot| tree::duration(&spot.node)).collect()
                }
                _ => None,
            },
        );
        durations.unwrap_or_default()
    }

    /// A size in bytes.
    pub(super) fn size(&self, key: &'static Key) -> u64 {
        let bytes = self.read(
            key,
            "a size above zero such as 512, \"64KiB\", \"1MiB\", \"1GiB\"",
            |node| match node {
                Node::Int(bytes) => u64::try_from(*bytes).ok().filter(|bytes| *bytes > 0),
                Node::Text(text) => tree::size(text).filter(|bytes| *bytes > 0),
                _ => None,
            },
        );
        bytes.unwrap_or_default()
    }

    /// A size in bytes, of something in memory.
    pub(super) fn memory_size(&self, key: &'static Key) -> usize {
        usize::try_from(self.size(key)).unwrap_or(usize::MAX)
    }

    /// A list of texts, if given or by default; a single text counts as a list of one.
    pub(super) fn texts(&self, key: &'static Key) -> Option<Vec<String>> {
        self.see(key, "a list of texts", |spot| match &spot.node {
            Node::List(all) => all
                .iter()
                .map(|spot| spot.text().map(str::to_owned))
                .collect(),
            _ => Some(vec![spot.text()?.to_owned()]),
        })
    }

    /// A list of texts in the type that they are needed in.
    pub(super) fn names<T: From<String>>(&self, key: &'static Key) -> Vec<T> {
        self.texts(key)
            .unwrap_or_default()
            .into_iter()
            .map(T::from)
            .collect()
    }

    /// What one of some words stands for, if one is given or by default.
    pub(super) fn maybe_choice<T: Copy>(
        &self,
        key: &'static Key,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let allowed = choices
            .iter()
            .map(|(word, _)| format!("{word:?}"))
            .collect::<Vec<_>>()
            .join(", ");
        self.see(key, &format!("one of {allowed}"), |spot| {
            let text = spot.text()?;
            choices
                .iter()
                .find(|(word, _)| *word == text)
                .map(|(_, value)| *value)
        })
    }

    /// What one of some words stands for; `otherwise` where there is none, or a wrong one, and no
    /// default.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static Key,
        choices: &[(&str, T)],
        otherwise: T,
    ) -> T {
        self.maybe_choice(key, choices).unwrap_or(otherwise)
    }
}
