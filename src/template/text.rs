//! A template for a text: pieces of plain text, and placeholders between them.

use super::placeholder::{Placeholder, TemplateError};
use super::source::{Found, Lookup, Source};
use crate::json;
use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(Box<str>),
    Value(Placeholder),
}

/// A text template. The default one is the empty text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    source: Box<str>,
    pub(super) pieces: Vec<Piece>,
}

impl Template {
    /// Compiles a template that may look into `allowed`.
    ///
    /// # Errors
    /// Braces that don't match, or a source that is unknown or not allowed here.
    pub fn parse(text: &str, allowed: &[Source]) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(index) = rest.find(['{', '}']) {
            let at = text.len() - rest.len() + index + 1;
            let (before, after) = rest.split_at(index);
            plain.push_str(before);
            if let Some(tail) = after
                .strip_prefix("{{")
                .or_else(|| after.strip_prefix("}}"))
            {
                plain.push_str(after.get(..1).unwrap_or_default());
                rest = tail;
                continue;
            }
            let inner = after.strip_prefix('{').ok_or(TemplateError::Brace(at))?;
            let end = closing(inner).ok_or(TemplateError::Brace(at))?;
            let (name, tail) = inner.split_at(end);
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(Piece::Value(Placeholder::parse(name, at, allowed)?));
            rest = tail.strip_prefix('}').unwrap_or(tail);
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Ok(Self {
            source: text.into(),
            pieces,
        })
    }

    /// The text, or `None` if a placeholder finds nothing, or something that is no scalar.
    #[must_use]
    pub fn render(&self, lookup: &impl Lookup) -> Option<String> {
        let mut out = String::with_capacity(self.source.len() + 16);
        self.render_into(lookup, &mut out)?;
        Some(out)
    }

    /// The text, borrowed where what was looked at holds it as it is; `None` as for
    /// [`render`](Self::render).
    #[must_use]
    pub fn text<'a>(&'a self, lookup: &'a impl Lookup) -> Option<Cow<'a, str>> {
        let [Piece::Value(placeholder)] = self.pieces.as_slice() else {
            return self.render(lookup).map(Cow::Owned);
        };
        match placeholder.resolve(lookup)? {
            Found::Text(text) => Some(text),
            Found::Json(raw) => scalar(raw),
            Found::Number(count) => Some(Cow::Owned(count.to_string())),
        }
    }

    /// Appends the text; `None` as for [`render`](Self::render), and then a part of it may be
    /// there.
    pub fn render_into(&self, lookup: &impl Lookup, out: &mut String) -> Option<()> {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Value(placeholder) => match placeholder.resolve(lookup)? {
                    Found::Text(text) => out.push_str(&text),
                    Found::Json(raw) => out.push_str(&scalar(raw)?),
                    Found::Number(count) => out.push_str(&count.to_string()),
                },
            }
        }
        Some(())
    }

    /// The text where it is always the same.
    #[must_use]
    pub fn constant(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether each of its placeholders finds something where `has` says which places hold
    /// something.
    #[must_use]
    pub fn can_render(&self, has: &dyn Fn(Source, &[Box<str>]) -> bool) -> bool {
        self.pieces.iter().all(|piece| match piece {
            Piece::Text(_) => true,
            Piece::Value(placeholder) => placeholder.can_resolve(has),
        })
    }

    /// Its text around the placeholders: one more piece than there are placeholders.
    #[must_use]
    pub fn frame(&self) -> Vec<&str> {
        let mut frame = vec![""];
        for piece in &self.pieces {
            match (piece, frame.last_mut()) {
                (Piece::Text(text), Some(last)) => *last = text,
                _ => frame.push(""),
            }
        }
        frame
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
        self.pieces.iter().any(|piece| match piece {
            Piece::Text(_) => false,
            Piece::Value(placeholder) => placeholder.looks(test),
        })
    }
}

/// The end of a placeholder: the next `}` that is not quoted.
fn closing(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.find(|c: char| {
        quoted ^= c == '\'';
        (c == '}' || c == '{') && !quoted
    })
    .filter(|index| text.get(*index..).is_some_and(|rest| rest.starts_with('}')))
}

fn scalar(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => json::string(raw),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(raw)),
    }
}
