//! The keys of a section: what may be written under each, what holds without it, and what it does.
//!
//! The cursor of `section.rs` and `values.rs` takes limits, words and defaults from here, and so
//! does the page that documents them (`page.rs`): what stands here is what is read, and what is
//! told.

use std::fmt;

/// A key.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name in the file.
    pub(super) name: &'static str,
    /// What may be written.
    pub(super) kind: Kind,
    /// What holds without it.
    pub(super) absent: Absent,
    /// What it does, in Markdown.
    pub(super) about: &'static str,
}

/// What may be written under a key.
#[derive(Debug)]
pub(super) enum Kind {
    /// `true` or `false`.
    Flag,
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// A duration above zero.
    Duration,
    /// A size in bytes above zero.
    Size,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A table with these keys.
    Table(&'static [&'static Key]),
    /// A table, described in Markdown, whose members have any name; one that is a table itself has
    /// these keys. In the page their name is the first word.
    Members(&'static str, &'static str, &'static [&'static Key]),
    /// Anything else, in Markdown.
    Said(&'static str),
}

/// What holds without a key.
#[derive(Debug)]
pub(super) enum Absent {
    /// This text.
    Text(&'static str),
    /// This TOML value.
    Value(&'static str),
    /// This TOML value, where what the first one says (Markdown) is so.
    ValueIf(&'static str, &'static str),
    /// What the words say (Markdown); the code that reads the key makes it.
    Words(&'static str),
}

impl Key {
    /// A key whose default is a text.
    pub(super) const fn text(name: &'static str, kind: Kind, default: &'static str) -> Self {
        Self {
            name,
            kind,
            absent: Absent::Text(default),
            about: "",
        }
    }

    /// A key whose default is a TOML value.
    pub(super) const fn with(name: &'static str, kind: Kind, default: &'static str) -> Self {
        Self {
            name,
            kind,
            absent: Absent::Value(default),
            about: "",
        }
    }

    /// A key whose default is a TOML value, in the case that the words name.
    pub(super) const fn with_if(
        name: &'static str,
        kind: Kind,
        words: &'static str,
        default: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            absent: Absent::ValueIf(words, default),
            about: "",
        }
    }

    /// A key without a default, or with one that only words can tell.
    pub(super) const fn without(name: &'static str, kind: Kind, words: &'static str) -> Self {
        Self {
            name,
            kind,
            absent: Absent::Words(words),
            about: "",
        }
    }

    /// The same key, with what it does.
    pub(super) const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// Least and greatest number; a key of another kind takes none.
    pub(super) const fn limits(&self) -> (u64, u64) {
        match self.kind {
            Kind::Number(low, high) => (low, high),
            _ => (1, 0),
        }
    }
}

/// A section of the file, as far as its keys go.
#[derive(Debug)]
pub(super) struct Schema {
    /// `[name]`, or `[[name]]`.
    pub(super) heading: &'static str,
    /// In the order in which they are documented.
    pub(super) keys: &'static [&'static Key],
}

/// Keys as constants, each under what it does. With a heading first, also the section's schema, in
/// which they stand in this order.
macro_rules! keys {
    ($($(#[doc = $about:literal])* $name:ident = $key:expr;)+) => {
        $(pub(in crate::config) const $name: Key = $key.about(concat!($($about),*));)+
    };
    ($heading:literal; $($(#[doc = $about:literal])* $name:ident = $key:expr;)+) => {
        keys! { $($(#[doc = $about])* $name = $key;)+ }
        /// The section's keys.
        pub(in crate::config) const SCHEMA: Schema = Schema { heading: $heading, keys: &[$(&$name),+] };
    };
}
pub(super) use keys;

/// As the page names it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Number(low, high) => write!(f, "{} to {}", grouped(*low), grouped(*high)),
            Self::Duration => f.write_str("duration"),
            Self::Size => f.write_str("size"),
            Self::OneOf(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                f.write_str(&words.join(", "))
            }
            Self::Table(keys) => {
                let names: Vec<_> = keys.iter().map(|key| key.name).collect();
                write!(f, "`{{ {} }}`", names.join(", "))
            }
            Self::Members(_, text, _) | Self::Said(text) => f.write_str(text),
        }
    }
}

/// As the page names it.
impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "`\"{text}\"`"),
            Self::Value(value) => write!(f, "`{value}`"),
            Self::ValueIf(words, value) => write!(f, "{words}: `{value}`"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// `1000000` as `1,000,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
