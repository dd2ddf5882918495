//! The file as a tree that knows its lines, and a cursor over it that gathers every problem instead of the first.
//!
//! A cursor remembers which keys it was asked for; those are the allowed ones, and what else stands in the file is an
//! unknown key. Environment variables are laid over the tree before anybody reads it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Prefix of the variables that override keys.
pub const PREFIX: &str = "TIDEGATE__";

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Spot {
    /// The value.
    pub node: Node,
    /// Its place.
    pub place: Place,
    /// What a variable held, letter by letter: for a key that wants text, `2024` is text.
    pub raw: Option<Box<str>>,
}

impl Spot {
    const fn new(node: Node, place: Place) -> Self {
        Self { node, place, raw: None }
    }

    fn text(&self) -> Option<&str> {
        match (&self.node, &self.raw) {
            (Node::Text(text), _) => Some(text),
            (Node::List(_) | Node::Table(_), _) => None,
            (_, raw) => raw.as_deref(),
        }
    }
}

/// A value.
#[derive(Debug, Clone)]
pub enum Node {
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
    fn kind(&self) -> String {
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
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) | Self::Date(text) => serde_json::Value::from(text.as_str()),
            Self::Int(number) => serde_json::Value::from(*number),
            Self::Float(number) => serde_json::Value::from(*number),
            Self::Bool(value) => serde_json::Value::from(*value),
            Self::List(all) => all.iter().map(|spot| spot.node.json()).collect(),
            Self::Table(all) => {
                let members = all.iter().map(|(name, spot)| (name.clone(), spot.node.json()));
                serde_json::Value::Object(members.collect())
            }
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Option<Place>,
    /// Dotted path of the key.
    pub key: String,
    /// What was found and what is allowed.
    pub text: String,
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file's name.
    pub file: String,
    /// In the order of the file.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match &problem.place {
                Some(Place::Line(line)) => write!(f, "{}:{line}: ", self.file)?,
                Some(Place::Variable(name)) => write!(f, "{name}: ")?,
                None => write!(f, "{}: ", self.file)?,
            }
            match problem.key.as_str() {
                "" => write!(f, "{}", problem.text)?,
                key => write!(f, "{key}: {}", problem.text)?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Reads a file's text and lays the variables over it.
///
/// # Errors
/// It is no TOML, or a variable names nothing that could be.
pub fn tree(text: &str, variables: impl Iterator<Item = (String, String)>) -> Result<Spot, Vec<Problem>> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        vec![Problem { place: Some(Place::Line(line)), key: String::new(), text: error.message().to_owned() }]
    })?;
    let mut root = Spot::new(node_of_table(text, table.get_ref()), Place::Line(1));
    let mut ours: Vec<_> = variables.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    for (name, value) in ours {
        let path: Vec<_> = name.trim_start_matches(PREFIX).split("__").map(str::to_lowercase).collect();
        lay(&mut root, &path, &name, &value);
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
        members.push((start, (name.get_ref().to_string(), Spot::new(node_of(text, value), place))));
    }
    members.sort_by_key(|(start, _)| *start);
    Node::Table(members.into_iter().map(|(_, member)| member).collect())
}

fn node_of(text: &str, value: &Spanned<DeValue<'_>>) -> Node {
    match value.get_ref() {
        DeValue::String(found) => Node::Text(found.to_string()),
        DeValue::Integer(found) => {
            let digits = found.as_str();
            i64::from_str_radix(digits, found.radix()).map_or_else(|_| Node::Text(digits.to_owned()), Node::Int)
        }
        DeValue::Float(found) => {
            found.as_str().parse().map_or_else(|_| Node::Text(found.as_str().to_owned()), Node::Float)
        }
        DeValue::Boolean(found) => Node::Bool(*found),
        DeValue::Datetime(found) => Node::Date(found.to_string()),
        DeValue::Array(all) => Node::List(
            all.iter().map(|one| Spot::new(node_of(text, one), Place::Line(line_of(text, one.span().start)))).collect(),
        ),
        DeValue::Table(table) => node_of_table(text, table),
    }
}

/// Puts a variable's value at a path. Names match in any case, and `_` matches `-`; a number indexes a list.
fn lay(spot: &mut Spot, path: &[String], variable: &str, value: &str) {
    let place = Place::Variable(variable.to_owned());
    let Some((first, rest)) = path.split_first() else {
        *spot = Spot { node: parse_value(value), place, raw: Some(value.into()) };
        return;
    };
    let same = |name: &str| name.to_lowercase().replace('-', "_") == *first;
    match &mut spot.node {
        Node::List(all) => {
            match first.parse::<usize>().ok().and_then(|index| all.get_mut(index)) {
                Some(one) => lay(one, rest, variable, value),
                // An element that isn't there reads as no table, so the variable is named and not dropped.
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
fn parse_value(value: &str) -> Node {
    let line = format!("v = {value}");
    let parsed = DeTable::parse(&line).ok().map(|table| node_of_table(&line, table.get_ref()));
    match parsed {
        Some(Node::Table(members)) if members.len() == 1 => {
            members.into_iter().next().map_or_else(|| Node::Text(value.to_owned()), |(_, spot)| spot.node)
        }
        _ => Node::Text(value.to_owned()),
    }
}

/// Variables by name, for secrets that the file only names.
pub type Environment = HashMap<String, String>;

/// Gathers problems; knows the environment.
#[derive(Debug, Default)]
pub struct Sink {
    problems: RefCell<Vec<Problem>>,
    environment: Environment,
}

impl Sink {
    /// No problem yet.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        Self { problems: RefCell::default(), environment }
    }

    /// One more.
    pub fn add(&self, place: Option<Place>, key: &str, text: impl Into<String>) {
        self.problems.borrow_mut().push(Problem { place, key: key.to_owned(), text: text.into() });
    }

    /// All, in the order of the file; variables come last.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| match &problem.place {
            None => (0, 0),
            Some(Place::Line(line)) => (0, *line),
            Some(Place::Variable(_)) => (1, 0),
        });
        problems
    }
}

/// A cursor on one table.
pub struct Section<'a> {
    members: &'a [(String, Spot)],
    path: String,
    place: Option<Place>,
    sink: &'a Sink,
    asked: RefCell<BTreeSet<&'static str>>,
    /// Keys of earlier versions that were reported.
    gone: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Section<'a> {
    /// A cursor on a table; anything else is a problem and reads as empty.
    pub fn new(spot: Option<&'a Spot>, path: &str, sink: &'a Sink) -> Self {
        let (members, place): (&[_], _) = match spot {
            None => (&[], None),
            Some(Spot { node: Node::Table(members), place, .. }) => (members, Some(place.clone())),
            Some(other) => {
                sink.add(Some(other.place.clone()), path, format!("found {}; a table is allowed", other.node.kind()));
                (&[], Some(other.place.clone()))
            }
        };
        Self { members, path: path.to_owned(), place, sink, asked: RefCell::default(), gone: RefCell::default() }
    }

    /// The dotted path of a key of this table.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Something is wrong with this table as a whole.
    pub fn wrong(&self, text: impl Into<String>) {
        self.sink.add(self.place.clone(), &self.path, text);
    }

    /// Something is wrong with a key.
    pub fn wrong_key(&self, key: &str, text: impl Into<String>) {
        let place = self.members.iter().find(|(name, _)| name == key).map(|(_, spot)| spot.place.clone());
        self.sink.add(place.or_else(|| self.place.clone()), &self.path_of(key), text);
    }

    /// The value of a key.
    pub fn get(&self, key: &'static str) -> Option<&'a Spot> {
        self.asked.borrow_mut().insert(key);
        self.members.iter().find(|(name, _)| name == key).map(|(_, spot)| spot)
    }

    /// A key of an earlier version is an error that says what took its place.
    pub fn refuse_gone(&self, key: &'static str, instead: &str) {
        if self.members.iter().any(|(name, _)| name == key) {
            self.gone.borrow_mut().insert(key);
            self.wrong_key(key, instead);
        }
    }

    /// A table under this one.
    pub fn section(&self, key: &'static str) -> Section<'a> {
        Section::new(self.get(key), &self.path_of(key), self.sink)
    }

    /// Every member, as a named section (`[batch.NAME]`).
    pub fn named_sections(&self) -> Vec<(&'a str, Section<'a>)> {
        self.members
            .iter()
            .map(|(name, spot)| (name.as_str(), Section::new(Some(spot), &self.path_of(name), self.sink)))
            .collect()
    }

    /// Every member as it stands; its name is any.
    pub fn members(&self) -> impl Iterator<Item = (&'a str, &'a Spot)> {
        self.members.iter().map(|(name, spot)| (name.as_str(), spot))
    }

    /// A table among the members.
    pub fn member(&self, name: &str, spot: &'a Spot) -> Section<'a> {
        Section::new(Some(spot), &self.path_of(name), self.sink)
    }

    /// A list of tables (`[[event]]`).
    pub fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        match self.get(key) {
            None => Vec::new(),
            Some(Spot { node: Node::List(all), .. }) => {
                let path = |index| format!("{}[{index}]", self.path_of(key));
                all.iter().enumerate().map(|(index, spot)| Section::new(Some(spot), &path(index), self.sink)).collect()
            }
            Some(_) => {
                self.expected(key, &format!("[[{key}]] tables"));
                Vec::new()
            }
        }
    }

    fn expected(&self, key: &'static str, allowed: &str) {
        let found = self.get(key).map(|spot| spot.node.kind()).unwrap_or_default();
        self.wrong_key(key, format!("found {found}; allowed is {allowed}"));
    }

    fn read<T>(&self, key: &'static str, allowed: &str, read: impl Fn(&Node) -> Option<T>) -> Option<T> {
        self.see(key, allowed, |spot| read(&spot.node))
    }

    fn see<T>(&self, key: &'static str, allowed: &str, see: impl Fn(&Spot) -> Option<T>) -> Option<T> {
        let value = see(self.get(key)?);
        if value.is_none() {
            self.expected(key, allowed);
        }
        value
    }

    /// Text.
    pub fn text(&self, key: &'static str) -> Option<String> {
        self.see(key, "text", |spot| spot.text().map(str::to_owned))
    }

    /// Text that is parsed; its error says what is allowed.
    pub fn parsed<T: FromStr>(&self, key: &'static str, allowed: &str) -> Option<T> {
        self.see(key, allowed, |spot| spot.text()?.parse().ok())
    }

    /// Text that something else compiles.
    pub fn compiled<T, E: fmt::Display>(&self, key: &'static str, compile: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        match compile(&self.text(key)?) {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong_key(key, error.to_string());
                None
            }
        }
    }

    /// A list of texts that something else compiles.
    pub fn compiled_list<T, E: fmt::Display>(
        &self,
        key: &'static str,
        compile: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let mut out = Vec::new();
        for text in self.texts(key)? {
            match compile(&text) {
                Ok(value) => out.push(value),
                Err(error) => self.wrong_key(key, format!("{text:?}: {error}")),
            }
        }
        Some(out)
    }

    /// A secret that this table names: `env`, a variable, or `file`, a file's content; blank space around it is cut off.
    pub fn secret(&self) -> Option<String> {
        let found = match (self.text("env"), self.text("file")) {
            (Some(name), None) => match self.sink.environment.get(&name) {
                Some(value) => Some(value.clone()),
                None => {
                    self.wrong_key("env", format!("the environment has no variable {name}"));
                    None
                }
            },
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) => Some(text),
                Err(error) => {
                    self.wrong_key("file", format!("{path} can't be read: {error}"));
                    None
                }
            },
            _ => {
                self.wrong("exactly one of env (a variable's name) and file (a path) is needed");
                None
            }
        };
        found.map(|text| text.trim().to_owned())
    }

    /// True or false.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        self.read(key, "true or false", |node| match node {
            Node::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// A number.
    pub fn float(&self, key: &'static str) -> Option<f64> {
        self.read(key, "a number", |node| node.json().as_f64())
    }

    /// A whole number within bounds.
    pub fn number(&self, key: &'static str, low: u64, high: u64) -> Option<u64> {
        self.read(key, &format!("a whole number from {low} to {high}"), |node| match node {
            Node::Int(number) => u64::try_from(*number).ok().filter(|number| (low..=high).contains(number)),
            _ => None,
        })
    }

    /// A whole number within bounds, as a size in memory.
    pub fn count(&self, key: &'static str, low: u64, high: u64, default: usize) -> usize {
        self.number(key, low, high).and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    }

    /// A duration above zero.
    pub fn duration(&self, key: &'static str, default: Duration) -> Duration {
        self.maybe_duration(key).unwrap_or(default)
    }

    /// A duration above zero, if given.
    pub fn maybe_duration(&self, key: &'static str) -> Option<Duration> {
        self.read(key, "a duration above zero such as \"500ms\", \"5s\", \"24h\"", duration)
    }

    /// A list of durations.
    pub fn durations(&self, key: &'static str) -> Option<Vec<Duration>> {
        self.read(key, "a list of durations such as [\"2s\", \"5s\"]", |node| match node {
            Node::List(all) if !all.is_empty() => all.iter().map(|spot| duration(&spot.node)).collect(),
            _ => None,
        })
    }

    /// A size in bytes.
    pub fn size(&self, key: &'static str, default: u64) -> u64 {
        self.read(key, "a size above zero such as 512, \"64KiB\", \"1MiB\", \"1GiB\"", |node| match node {
            Node::Int(bytes) => u64::try_from(*bytes).ok().filter(|bytes| *bytes > 0),
            Node::Text(text) => size(text).filter(|bytes| *bytes > 0),
            _ => None,
        })
        .unwrap_or(default)
    }

    /// A list of texts; a single text counts as a list of one.
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        self.see(key, "a list of texts", |spot| match &spot.node {
            Node::List(all) => all.iter().map(|spot| spot.text().map(str::to_owned)).collect(),
            _ => Some(vec![spot.text()?.to_owned()]),
        })
    }

    /// One of some words.
    pub fn choice<T: Copy>(&self, key: &'static str, choices: &[(&str, T)], default: T) -> T {
        let allowed = choices.iter().map(|(name, _)| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        let chosen = self.see(key, &format!("one of {allowed}"), |spot| {
            let text = spot.text()?;
            choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
        });
        chosen.unwrap_or(default)
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self) {
        let asked = self.asked.borrow();
        for (name, spot) in self.members {
            if asked.contains(name.as_str()) || self.gone.borrow().contains(name.as_str()) {
                continue;
            }
            let near = asked.iter().map(|known| (strsim::damerau_levenshtein(known, name), *known));
            let near = near.filter(|(distance, known)| *distance <= 2.max(known.len() / 3)).min();
            let advice = match near {
                Some((_, known)) => format!("unknown key; did you mean {known:?}?"),
                None => format!("unknown key; allowed are {}", asked.iter().copied().collect::<Vec<_>>().join(", ")),
            };
            self.sink.add(Some(spot.place.clone()), &self.path_of(name), advice);
        }
    }
}

fn duration(node: &Node) -> Option<Duration> {
    match node {
        Node::Text(text) => humantime::parse_duration(text).ok().filter(|duration| !duration.is_zero()),
        _ => None,
    }
}

fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
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
