//! The configuration, from the file to a [`Config`], which can't be wrong.
//!
//! The file becomes a tree that knows its lines (`tree`), and each section of it a value
//! (`sections`, one file each, with the section's keys). What sections say of one another is put in
//! when all have been read (`links`, `credentials`). Every problem on the way is gathered
//! (`problem`), and all are reported at once. [`mod@print`] says what each route will do,
//! [`mod@page`] what each key does.

mod cache_losses;
mod connections;
mod credentials;
mod differences;
mod encryption;
mod event_losses;
mod heads;
mod key;
mod links;
mod losses;
mod note;
mod own_addresses;
pub mod page;
pub mod print;
mod problem;
mod readers;
mod section;
mod sections;
mod settings;
mod shadow_target;
mod shadows;
mod shown;
mod tree;
mod values;

pub use problem::{Place, Problem, Problems};
pub use settings::Config;

use section::{Reading, Section};
use std::path::Path;

/// Reads a file and the environment.
///
/// # Errors
/// Every problem there is.
pub fn load(
    path: &Path,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Config, Problems> {
    parse(&read_text(path)?, &path.display().to_string(), variables)
}

/// The environment's variables, without those that aren't UTF-8.
///
/// # Errors
/// One of these is Tidegate's.
pub fn variables() -> Result<std::vec::IntoIter<(String, String)>, Problems> {
    let (mut variables, mut problems) = (Vec::new(), Vec::new());
    for (name, value) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        match value.into_string() {
            Ok(value) => variables.push((name, value)),
            Err(value) if name.starts_with(tree::PREFIX) => problems.push(Problem {
                text: format!("found {value:?}; text in UTF-8 is allowed"),
                place: Some(Place::Variable(name)),
                key: String::new(),
            }),
            Err(_) => {}
        }
    }
    if problems.is_empty() {
        Ok(variables.into_iter())
    } else {
        let file = String::new();
        Err(Problems { file, problems })
    }
}

/// Reads a file's text.
///
/// # Errors
/// It can't be read.
pub fn read_text(path: &Path) -> Result<String, Problems> {
    std::fs::read_to_string(path).map_err(|error| Problems {
        file: path.display().to_string(),
        problems: vec![Problem {
            place: None,
            key: String::new(),
            text: format!("the file can't be read: {error}"),
        }],
    })
}

/// Reads a file's text and the environment.
///
/// # Errors
/// Every problem there is.
pub fn parse(
    text: &str,
    name: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Config, Problems> {
    read(text, variables).map_err(|problems| Problems {
        file: name.to_owned(),
        problems,
    })
}

/// The sections in which two texts of the file differ, but for modes, which change while the process
/// runs.
#[must_use]
pub fn differing_sections(old: &str, new: &str) -> Vec<String> {
    differences::sections(old, new)
}

/// What the process has of a file's text and the environment, for an operator: with defaults, and
/// without secrets.
#[must_use]
pub fn show(text: &str, variables: impl Iterator<Item = (String, String)>) -> serde_json::Value {
    shown::show(text, &variables.collect())
}

fn read(
    text: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Config, Vec<Problem>> {
    let reading = Reading {
        environment: variables.collect(),
        ..Reading::default()
    };
    let tree = tree::read(text, &reading.environment)?;
    let sections = sections::read(Section::new(Some(&tree), "", &reading));
    let config = links::link(sections, &reading.problems);
    let problems = reading.problems.into_problems();
    config.filter(|_| problems.is_empty()).ok_or(problems)
}
