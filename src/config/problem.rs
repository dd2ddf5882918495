//! What is wrong with a configuration: every problem is gathered, each with its place.

use std::cell::RefCell;
use std::fmt;

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
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

/// Where something stands that may turn out wrong later.
#[derive(Debug, Clone)]
pub(super) struct Position {
    /// The line or the variable, if it stands anywhere.
    pub(super) place: Option<Place>,
    /// Dotted path of the key.
    pub(super) key: String,
}

/// Gathers problems.
#[derive(Debug, Default)]
pub(super) struct Sink(RefCell<Vec<Problem>>);

impl Sink {
    /// Adds a problem.
    pub(super) fn add(&self, position: Position, text: impl Into<String>) {
        let Position { place, key } = position;
        self.0.borrow_mut().push(Problem {
            place,
            key,
            text: text.into(),
        });
    }

    /// All, in the order of the file; variables come last.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|problem| match &problem.place {
            None => (0, 0),
            Some(Place::Line(line)) => (0, *line),
            Some(Place::Variable(_)) => (1, 0),
        });
        problems
    }
}
