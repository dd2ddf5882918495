//! Templates: text with `{source.path}` placeholders (design §4), compiled when the configuration
//! is read.
//!
//! `{body.a|body.b|'none'}` takes the first alternative that finds something; JSON literals
//! (`null`, `true`, `12`, `'text'`) always do. A JSON `null` that was found counts as nothing, an
//! empty string is a value. `{{` and `}}` stand for braces. As in JavaScript, `{body.list.length}`
//! is the number of an array's elements.

use crate::json;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// A path of field names or array indices.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path(pub Vec<Box<str>>);

impl Path {
    /// Of these steps.
    #[must_use]
    pub fn of(steps: &[&str]) -> Self {
        Self(steps.iter().map(|step| Box::from(*step)).collect())
    }

    /// A field's name, or a JSON Pointer (RFC 6901): `""` is the whole document, `/a/0` the first
    /// element of `a`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix('/') {
            Some(rest) => Self(
                rest.split('/')
                    .map(|step| step.replace("~1", "/").replace("~0", "~").into())
                    .collect(),
            ),
            None if text.is_empty() => Self(Vec::new()),
            None => Self::of(&[text]),
        }
    }
}

/// Where a placeholder looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The request's body.
    Body,
    /// The mapped event.
    Event,
    /// The query string.
    Query,
    /// Named segments of the route's path.
    Path,
    /// Request headers.
    Header,
    /// Request cookies.
    Cookie,
    /// Claims of the request's JWT.
    Jwt,
    /// The user.
    User,
    /// Unix milliseconds, a number.
    NowMs,
    /// ISO 8601.
    NowIso,
    /// A fresh UUID.
    Uuid,
    /// The request's id.
    RequestId,
    /// The lists of a client's batch; of a batch that goes out, its `id`.
    Batch,
    /// The events of a batch that goes out, as an array.
    Events,
}

const SOURCES: [(&str, Source); 14] = [
    ("body", Source::Body),
    ("event", Source::Event),
    ("query", Source::Query),
    ("path", Source::Path),
    ("header", Source::Header),
    ("cookie", Source::Cookie),
    ("jwt", Source::Jwt),
    ("user", Source::User),
    ("now.ms", Source::NowMs),
    ("now.iso", Source::NowIso),
    ("uuid", Source::Uuid),
    ("request_id", Source::RequestId),
    ("batch", Source::Batch),
    ("events", Source::Events),
];

impl Source {
    /// As a template names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        SOURCES
            .iter()
            .find(|(_, source)| *source == self)
            .map_or("", |(name, _)| name)
    }
}

/// What a placeholder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// Raw JSON.
    Json(&'a str),
    /// Text.
    Text(Cow<'a, str>),
    /// A count.
    Number(u64),
}

/// Whoever knows the values.
pub trait Lookup {
    /// The value at a path of a source.
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>>;
}

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
enum Alternative {
    Look(Source, Vec<Box<str>>),
    Literal(Box<str>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Placeholder(Vec<Alternative>);

impl Placeholder {
    fn parse(text: &str, at: usize, allowed: &[Source]) -> Result<Self, TemplateError> {
        alternatives(text)
            .into_iter()
            .map(|part| alternative(part.trim(), at, allowed))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    fn looks(&self, test: &dyn Fn(Source, &[Box<str>]) -> bool) -> bool {
        self.0
            .iter()
            .any(|one| matches!(one, Alternative::Look(source, path) if test(*source, path)))
    }

    fn can_resolve(&self, has: &dyn Fn(Source, &[Box<str>]) -> bool) -> bool {
        self.0.iter().any(|one| match one {
            Alternative::Literal(_) => true,
            Alternative::Look(source, path) => has(*source, path),
        })
    }

    fn resolve<'a>(&'a self, lookup: &'a impl Lookup) -> Option<Found<'a>> {
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

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Value(Placeholder),
}

/// A text template. The default one is the empty text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    source: Box<str>,
    pieces: Vec<Piece>,
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

/// Takes every member of the body that no other field of a mapping takes whole.
const REST: (&str, &str) = ("...", "{body.*}");

/// One field of a mapping.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name.
    pub name: Arc<str>,
    /// And as it is written.
    pub quoted: Quoted,
    /// What it holds.
    pub template: JsonTemplate,
    /// Its template may look at the clock, at chance or at the call's id, which differ from try to
    /// try of one event.
    pub draws: bool,
}

impl Field {
    fn new(name: &str, template: JsonTemplate) -> Self {
        let draws = template.looks(&|source, _| {
            matches!(
                source,
                Source::NowMs | Source::NowIso | Source::Uuid | Source::RequestId
            )
        });
        Self {
            name: Arc::from(name),
            quoted: Quoted::new(name),
            template,
            draws,
        }
    }
}

/// The `event = {…}` mapping of a route: named templates, in order.
#[derive(Debug, Clone)]
pub struct ObjectTemplate {
    fields: Vec<Field>,
    /// Members of the body that a field takes whole.
    members: Vec<Box<str>>,
    /// A field takes the body whole.
    whole: bool,
    /// What no field takes whole is taken along.
    rest: bool,
}

/// A mapping that can't be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// One of its templates.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Its rest.
    #[error("found {0}; \"...\" takes the rest of the body: \"...\" = \"{{body.*}}\"")]
    Rest(String),
}

impl ObjectTemplate {
    /// # Errors
    /// As for [`Template::parse`]; or the member `...` is something else than `{body.*}`.
    pub fn from_json(
        map: &serde_json::Map<String, Value>,
        allowed: &[Source],
    ) -> Result<Self, MappingError> {
        let (name, text) = REST;
        let rest = match map.get(name) {
            None => false,
            Some(value) if value.as_str() == Some(text) => true,
            Some(other) => return Err(MappingError::Rest(other.to_string())),
        };
        let member = |(name, one): (&String, &Value)| {
            Ok(Field::new(name, JsonTemplate::from_json(one, allowed)?))
        };
        let fields = map
            .iter()
            .filter(|(found, _)| *found != name)
            .map(member)
            .collect::<Result<Vec<_>, TemplateError>>()?;
        let (members, whole) = (
            std::cell::RefCell::new(Vec::new()),
            std::cell::Cell::new(false),
        );
        for Field { template, .. } in &fields {
            template.each_look(&|source, path| match path {
                _ if source != Source::Body => {}
                [] => whole.set(true),
                [member] => members.borrow_mut().push(member.clone()),
                // What else is in that member would be lost without a word.
                [_, ..] => {}
            });
        }
        Ok(Self {
            fields,
            members: members.into_inner(),
            whole: whole.get(),
            rest,
        })
    }

    /// The fields.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// What no field takes whole is taken along.
    #[must_use]
    pub const fn takes_rest(&self) -> bool {
        self.rest
    }

    /// Whether a member of the body is taken whole.
    #[must_use]
    pub fn names(&self, member: &str) -> bool {
        self.whole || self.members.iter().any(|known| **known == *member)
    }

    /// A field takes the body whole.
    #[must_use]
    pub const fn takes_all(&self) -> bool {
        self.whole
    }

    /// Shows every place that its fields look at.
    pub fn each_look(&self, see: &dyn Fn(Source, &[Box<str>])) {
        self.fields
            .iter()
            .for_each(|field| field.template.each_look(see));
    }

    /// Whether one of its looks, at a path of a source, passes this test.
    #[must_use]
    pub fn looks(&self, test: &dyn Fn(Source, &[Box<str>]) -> bool) -> bool {
        self.rest && test(Source::Body, &[])
            || self.fields.iter().any(|field| field.template.looks(test))
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
