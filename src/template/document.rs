//! A template for a JSON document: its values keep their types, and what finds nothing is left out.

use super::placeholder::{Alternative, Placeholder, TemplateError};
use super::source::{Found, Lookup, Source};
use super::text::{Piece, Template};
use crate::json;
use serde_json::Value;

/// A member's name as it is written: quoted, with its colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted(Box<str>);

impl Quoted {
    /// Of a name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut out = String::with_capacity(name.len() + 3);
        json::write_string(&mut out, name);
        out.push(':');
        Self(out.into())
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A template for a JSON document.
#[derive(Debug, Clone)]
pub enum JsonTemplate {
    /// Always the same, raw.
    Literal(Box<str>),
    /// One whole placeholder: the value keeps its JSON type, and is left out when nothing matches.
    Whole(WholePlaceholder),
    /// Text around placeholders: a string, left out when one of them finds nothing.
    Text(Template),
    /// An array; elements that find nothing are left out.
    Array(Vec<JsonTemplate>),
    /// An object, each name as it is written; members that find nothing are left out.
    Object(Vec<(Quoted, JsonTemplate)>),
}

/// A placeholder that stands for a whole value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholePlaceholder(Placeholder);

impl JsonTemplate {
    /// Compiles a document whose strings are templates.
    ///
    /// # Errors
    /// As for [`Template::parse`].
    pub fn from_json(value: &Value, allowed: &[Source]) -> Result<Self, TemplateError> {
        Ok(match value {
            Value::String(text) => Self::from_text(text, allowed)?,
            Value::Array(all) => Self::Array(
                all.iter()
                    .map(|one| Self::from_json(one, allowed))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(map) => {
                let member = |(name, one): (&String, &Value)| {
                    Ok((Quoted::new(name), Self::from_json(one, allowed)?))
                };
                Self::Object(map.iter().map(member).collect::<Result<_, _>>()?)
            }
            other => Self::Literal(other.to_string().into()),
        })
    }

    fn from_text(text: &str, allowed: &[Source]) -> Result<Self, TemplateError> {
        let template = Template::parse(text, allowed)?;
        Ok(match template.pieces.as_slice() {
            [Piece::Value(placeholder)] => Self::Whole(WholePlaceholder(placeholder.clone())),
            [] | [Piece::Text(_)] => {
                let mut raw = String::new();
                let plain = template.pieces.first();
                json::write_string(
                    &mut raw,
                    plain.map_or("", |piece| {
                        if let Piece::Text(text) = piece {
                            text
                        } else {
                            ""
                        }
                    }),
                );
                Self::Literal(raw.into())
            }
            _ => Self::Text(template),
        })
    }

    /// How often one whole placeholder looks into this source and nowhere else.
    #[must_use]
    pub fn wholes(&self, source: Source) -> usize {
        match self {
            Self::Whole(WholePlaceholder(Placeholder(all))) => usize::from(
                matches!(all.as_slice(), [Alternative::Look(found, _)] if *found == source),
            ),
            Self::Array(all) => all.iter().map(|one| one.wholes(source)).sum(),
            Self::Object(members) => members.iter().map(|(_, one)| one.wholes(source)).sum(),
            Self::Literal(_) | Self::Text(_) => 0,
        }
    }

    /// How many of its parts look into a source.
    #[must_use]
    pub fn count(&self, source: Source) -> usize {
        match self {
            Self::Array(all) => all.iter().map(|one| one.count(source)).sum(),
            Self::Object(members) => members.iter().map(|(_, one)| one.count(source)).sum(),
            part => usize::from(part.uses(source)),
        }
    }

    /// Writes the document; `false`: it finds nothing, and nothing was written.
    pub fn write(&self, lookup: &impl Lookup, out: &mut String) -> bool {
        match self {
            Self::Literal(raw) => out.push_str(raw),
            Self::Whole(WholePlaceholder(placeholder)) => match placeholder.resolve(lookup) {
                None => return false,
                Some(Found::Json(raw)) => out.push_str(raw),
                Some(Found::Text(text)) => json::write_string(out, &text),
                Some(Found::Number(count)) => out.push_str(&count.to_string()),
            },
            Self::Text(template) => match template.render(lookup) {
                None => return false,
                Some(text) => json::write_string(out, &text),
            },
            Self::Array(all) => {
                out.push('[');
                let mut first = true;
                for one in all {
                    first &= !separated(first, out, |out| one.write(lookup, out));
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                let mut first = true;
                for (name, one) in members {
                    first &= !separated(first, out, |out| {
                        out.push_str(name.as_str());
                        one.write(lookup, out)
                    });
                }
                out.push('}');
            }
        }
        true
    }

    /// Whether it looks into a source.
    #[must_use]
    pub fn uses(&self, source: Source) -> bool {
        self.looks(&|found, _| found == source)
    }

    /// Shows every place that it looks at.
    pub fn each_look(&self, see: &dyn Fn(Source, &[Box<str>])) {
        let _passes = self.looks(&|source, path| {
            see(source, path);
            false
        });
    }

    /// Whether one of its looks, at a path of a source, passes this test.
    #[must_use]
    pub fn looks(&self, test: &dyn Fn(Source, &[Box<str>]) -> bool) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Whole(WholePlaceholder(placeholder)) => placeholder.looks(test),
            Self::Text(template) => template.looks(test),
            Self::Array(all) => all.iter().any(|one| one.looks(test)),
            Self::Object(members) => members.iter().any(|(_, one)| one.looks(test)),
        }
    }
}

/// Writes a comma where one is due, then the item; takes both back if the item finds nothing.
fn separated(first: bool, out: &mut String, write: impl FnOnce(&mut String) -> bool) -> bool {
    let before = out.len();
    if !first {
        out.push(',');
    }
    let written = write(out);
    if !written {
        out.truncate(before);
    }
    written
}
