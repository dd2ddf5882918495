//! The file as a tree that knows its lines, with the environment's variables laid over it.

use super::problem::{Place, Problem};
use std::collections::HashMap;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Prefix of the variables that override keys.
pub(super) const PREFIX: &str = "TIDEGATE__";

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    /// The value.
    pub(super) node: Node,
    /// Its place.
    pub(super) place: Place,
    /// What a variable held, letter by letter: for a key that wants text, `2024` is text.
    pub(super) raw: Option<Box<str>>,
}

impl Spot {
    pub(super) const fn new(node: Node, place: Place) -> Self {
        Self {
            node,
            place,
            raw: None,
        }
    }

    /// Text, or what a variable held.
    pub(super) fn text(&self) -> Option<&str> {
        match (&self.node, &self.raw) {
            (Node::Text(text), _) => Some(text),
            (Node::List(_) | Node::Table(_), _) => None,
            (_, raw) => raw.as_deref(),
        }
    }
}

/// A value.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A date or time.
    Date(String),
    /// A list.
    List(Vec<Spot>),
    /// A table, in the file's order.
    Table(Vec<(String, Spot)>),
}

impl Node {
    /// As an error names it.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Date(text) => format!("the date {text}"),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }

    /// As JSON, for templates and values to compare with.
    pub(super) fn json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) | Self::Date(text) => serde_json::Value::from(text.as_str()),
            Self::Int(number) => serde_json::Value::from(*number),
            Self::Float(number) => serde_json::Value::from(*number),
            Self::Bool(value) => serde_json::Value::from(*value),
            Self::List(all) => all.iter().map(|spot| spot.node.json()).collect(),
            Self::Table(all) => {
                let members = all
                    .iter()
                    .map(|(name, spot)| (name.clone(), spot.node.json()));
                serde_json::Value::Object(members.collect())
            }
        }
    }
}

/// Reads a file's text and lays the variables over it.
///
/// # Errors
/// It is no TOML, or a variable names nothing that could be.
pub(super) fn read(text: &str, variables: &HashMap<String, String>) -> Result<Spot, Vec<Problem>> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        vec![Problem {
            place: Some(Place::Line(line)),
            key: String::new(),
            text: error.message().to_owned(),
        }]
    })?;
    let mut root = Spot::new(node_of_table(text, table.get_ref()), Place::Line(1));
    let mut ours: Vec<_> = variables
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    for (name, value) in ours {
        let path: Vec<_> = name
            .trim_start_matches(PREFIX)
            .split("__")
            .map(str::to_lowercase)
            .collect();
        lay(&mut root, &path, name, value);
    }
    Ok(root)
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

fn node_of_table(text: &str, table: &DeTable<'_>) -> Node {
    let mut members: Vec<(usize, (String, Spot))> = Vec::new();
    for (name, value) in table {
        let start = name.span().start;
        let place = Place::Line(line_of(text, start));
        members.push((
            start,
            (
                name.get_ref().to_string(),
                Spot::new(node_of(text, value), place),
            ),
        ));
    }
    members.sort_by_key(|(start, _)| *start);
    Node::Table(members.into_iter().map(|(_, member)| member).collect())
}

fn node_of(text: &str, value: &Spanned<DeValue<'_>>) -> Node {
    match value.get_ref() {
        DeValue::String(found) => Node::Text(found.to_string()),
        DeValue::Integer(found) => {
            let digits = found.as_str();
            i64::from_str_radix(digits, found.radix())
                .map_or_else(|_| Node::Text(digits.to_owned()), Node::Int)
        }
        DeValue::Float(found) => found
            .as_str()
            .parse()
            .map_or_else(|_| Node::Text(found.as_str().to_owned()), Node::Float),
        DeValue::Boolean(found) => Node::Bool(*found),
        DeValue::Datetime(found) => Node::Date(found.to_string()),
        DeValue::Array(all) => Node::List(
            all.iter()
                .map(|one| {
                    Spot::new(
                        node_of(text, one),
                        Place::Line(line_of(text, one.span().start)),
                    )
                })
                .collect(),
        ),
        DeValue::Table(table) => node_of_table(text, table),
    }
}

/// Puts a variable's value at a path. Names match in any case, and `_` matches `-`; a number
/// indexes a list.
fn lay(spot: &mut Spot, path: &[String], variable: &str, value: &str) {
    let place = Place::Variable(variable.to_owned());
    let Some((first, rest)) = path.split_first() else {
        *spot = Spot {
            node: parse_value(value),
            place,
            raw: Some(value.into()),
        };
        return;
    };
    let same = |name: &str| name.to_lowercase().replace('-', "_") == *first;
    match &mut spot.node {
        Node::List(all) => {
            match first
                .parse::<usize>()
                .ok()
                .and_then(|index| all.get_mut(index))
            {
                Some(one) => lay(one, rest, variable, value),
                // An element that isn't there reads as no table, so the variable is named and not
                // dropped.
                None => all.push(Spot::new(Node::Text(value.to_owned()), place)),
            }
        }
        Node::Table(members) => {
            if let Some((_, member)) = members.iter_mut().find(|(name, _)| same(name)) {
                return lay(member, rest, variable, value);
            }
            let mut member = Spot::new(Node::Table(Vec::new()), place);
            lay(&mut member, rest, variable, value);
            members.push((first.clone(), member));
        }
        _ => {
            spot.node = Node::Table(Vec::new());
            lay(spot, path, variable, value);
        }
    }
}

/// A TOML value if it is one, else text.
pub(super) fn parse_value(value: &str) -> Node {
    let line = format!("v = {value}");
    let parsed = DeTable::parse(&line)
        .ok()
        .map(|table| node_of_table(&line, table.get_ref()));
    match parsed {
        Some(Node::Table(members)) if members.len() == 1 => members
            .into_iter()
            .next()
            .map_or_else(|| Node::Text(value.to_owned()), |(_, spot)| spot.node),
        _ => Node::Text(value.to_owned()),
    }
}

/// The longest duration, 100 years of 365 days: added to now, it is a time that a clock can tell.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

/// A duration above zero, at most [`LONGEST`].
pub(super) fn duration(node: &Node) -> Option<Duration> {
    match node {
        Node::Text(text) => humantime::parse_duration(text)
            .ok()
            .filter(|duration| !duration.is_zero() && *duration <= LONGEST),
        _ => None,
    }
}

/// A size in bytes, with or without a unit.
pub(super) fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
