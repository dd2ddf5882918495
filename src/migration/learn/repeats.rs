//! Where an answer's values can come from: what of its call they repeat.

use super::leaves::{Steps, leaves_of, value_at};
use super::private::Private;
use super::routes::Call;
use crate::identity::{Kind, lists};
use crate::migration::words::{is_field_name, plain_name};
use serde_json::Value;

/// A place in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Body(Steps),
    /// The number of a list's elements.
    Length(Steps),
    Path(String),
    Query(String),
    Claim(String),
    Header(String),
}

impl Place {
    /// What stands there; JSON's `null` is nothing.
    pub(super) fn find(&self, call: &Call<'_>) -> Option<Value> {
        let pair = |pairs: &[(String, String)], name: &str| {
            let (_, value) = pairs.iter().find(|(known, _)| known == name)?;
            Some(Value::from(value.clone()))
        };
        match self {
            Self::Body(steps) => value_at(call.body.as_ref()?, steps).cloned(),
            Self::Length(steps) => {
                let list = value_at(call.body.as_ref()?, steps)?.as_array()?;
                Some(list.len().into())
            }
            Self::Path(name) => pair(&call.path, name),
            Self::Query(name) => pair(&call.exchange.query, name),
            Self::Claim(name) => call.claims.get(name).filter(|it| !it.is_null()).cloned(),
            Self::Header(name) => call.exchange.header(name).map(Value::from),
        }
    }

    /// The name of what stands there.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Body(steps) | Self::Length(steps) => steps.last().map_or("", |name| name),
            Self::Path(name) | Self::Query(name) | Self::Claim(name) | Self::Header(name) => name,
        }
    }

    /// As a template looks there, without braces.
    pub(super) fn template(&self) -> String {
        match self {
            Self::Body(steps) => format!("body.{}", steps.join(".")),
            Self::Length(steps) => format!("body.{}.length", steps.join(".")),
            Self::Path(name) => format!("path.{name}"),
            Self::Query(name) => format!("query.{name}"),
            Self::Claim(name) => format!("jwt.{name}"),
            Self::Header(name) => format!("header.{name}"),
        }
    }

    fn can_be_said(&self, private: &Private) -> bool {
        let is_field_name = |name: &str| is_field_name(name) && !private.names_user(name);
        match self {
            Self::Body(steps) | Self::Length(steps) => {
                !steps.is_empty() && steps.iter().all(|step| is_field_name(step))
            }
            Self::Path(name) | Self::Query(name) | Self::Claim(name) | Self::Header(name) => {
                is_field_name(name)
            }
        }
    }
}

/// All places of these calls that a template can name, each once; none that is named by a user.
pub(super) fn places_of(calls: &[Call<'_>], private: &Private) -> Vec<Place> {
    let mut places = Vec::new();
    let mut add = |place: Place| {
        if place.can_be_said(private) && places.len() < 400 && !places.contains(&place) {
            places.push(place);
        }
    };
    for call in calls {
        for (steps, value) in call.body.as_ref().map(leaves_of).unwrap_or_default() {
            if value.is_array() {
                add(Place::Length(steps.clone()));
            }
            for depth in 1..=steps.len() {
                add(Place::Body(steps.iter().take(depth).cloned().collect()));
            }
        }
        for (name, _) in &call.path {
            add(Place::Path(name.clone()));
        }
        for (name, _) in &call.exchange.query {
            add(Place::Query(name.clone()));
        }
        for name in call.claims.keys() {
            add(Place::Claim(name.clone()));
        }
        for (name, _) in &call.exchange.headers {
            let drawn = lists::header(name) == Kind::PerCall || plain_name(name).contains("csrf");
            if name.starts_with("x-") && !drawn {
                add(Place::Header(name.clone()));
            }
        }
    }
    places
}
