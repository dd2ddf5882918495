//! The mapping of a route: the named templates that an event is written by, and which members of
//! the body they take.

use super::document::{JsonTemplate, Quoted};
use super::placeholder::TemplateError;
use super::source::Source;
use serde_json::Value;
use std::sync::Arc;

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
    /// As for [`Template::parse`](super::Template::parse); or the member `...` is something else
    /// than `{body.*}`.
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
