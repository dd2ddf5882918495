//! One placeholder: its alternatives, how it is compiled, and what it finds.

use super::source::{Found, Lookup, SOURCES, Source};
use crate::json;
use serde_json::Value;

/// A template that can't be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its partner.
    #[error("at character {0}: a brace without its partner; write {{{{ or }}}} for a brace itself")]
    Brace(usize),
    /// An unknown source.
    #[error(
        "at character {at}: found {found:?}; allowed are {allowed}, and literals null, true, false, \
         numbers, 'text'"
    )]
    Source {
        /// Position, from 1.
        at: usize,
        /// Found.
        found: String,
        /// Allowed here.
        allowed: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Alternative {
    Look(Source, Vec<Box<str>>),
    Literal(Box<str>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placeholder(pub(super) Vec<Alternative>);

impl Placeholder {
    pub(super) fn parse(text: &str, at: usize, allowed: &[Source]) -> Result<Self, TemplateError> {
        alternatives(text)
            .into_iter()
            .map(|part| alternative(part.trim(), at, allowed))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    pub(super) fn looks(&self, test: &dyn Fn(Source, &[Box<str>]) -> bool) -> bool {
        self.0
            .iter()
            .any(|one| matches!(one, Alternative::Look(source, path) if test(*source, path)))
    }

    pub(super) fn can_resolve(&self, has: &dyn Fn(Source, &[Box<str>]) -> bool) -> bool {
        self.0.iter().any(|one| match one {
            Alternative::Literal(_) => true,
            Alternative::Look(source, path) => has(*source, path),
        })
    }

    pub(super) fn resolve<'a>(&'a self, lookup: &'a impl Lookup) -> Option<Found<'a>> {
        self.0.iter().find_map(|alternative| match alternative {
            Alternative::Literal(raw) => Some(Found::Json(raw)),
            Alternative::Look(source, path) => lookup
                .find(*source, path)
                .filter(|found| !matches!(found, Found::Json(raw) if json::is_null(raw))),
        })
    }
}

/// Splits at `|`, but not inside quotes.
fn alternatives(text: &str) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c: char| {
        quoted ^= c == '\'';
        c == '|' && !quoted
    })
    .collect()
}

fn alternative(text: &str, at: usize, allowed: &[Source]) -> Result<Alternative, TemplateError> {
    if let Some(inner) = text
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
    {
        let mut raw = String::new();
        json::write_string(&mut raw, inner);
        return Ok(Alternative::Literal(raw.into()));
    }
    let literal = serde_json::from_str::<Value>(text);
    if literal.is_ok_and(|value| value.is_null() || value.is_boolean() || value.is_number()) {
        return Ok(Alternative::Literal(text.into()));
    }
    let wrong = || TemplateError::Source {
        at,
        found: text.to_owned(),
        allowed: allowed
            .iter()
            .map(|source| source.name())
            .collect::<Vec<_>>()
            .join(", "),
    };
    let mut found = SOURCES.iter().filter_map(|(name, source)| {
        let rest = text.strip_prefix(name)?;
        (rest.is_empty() || rest.starts_with('.')).then_some((*source, rest))
    });
    let (source, rest) = found
        .rfind(|(source, _)| allowed.contains(source))
        .ok_or_else(wrong)?;
    let path: Vec<Box<str>> = rest.split('.').skip(1).map(Box::from).collect();
    let fits = match source {
        Source::NowMs
        | Source::NowIso
        | Source::Uuid
        | Source::RequestId
        | Source::User
        | Source::Events => path.is_empty(),
        Source::Body | Source::Event => true,
        Source::Header | Source::Cookie | Source::Query | Source::Path | Source::Batch => {
            path.len() == 1
        }
        Source::Jwt => !path.is_empty(),
    };
    if !fits || path.iter().any(|step| step.is_empty()) {
        return Err(wrong());
    }
    Ok(Alternative::Look(source, path))
}
