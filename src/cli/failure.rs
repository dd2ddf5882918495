//! How a command ends that doesn't end well.

use super::admin_client::Refused;
use crate::config::Problems;
use std::fmt;
use std::process::ExitCode;

/// What ended a command other than well.
#[derive(Debug)]
pub(super) enum Failure {
    /// Configuration, input, or what was looked at: exit code 1.
    Input(String),
    /// Anything at run time: exit code 2.
    Runtime(anyhow::Error),
}

impl Failure {
    pub(super) fn code(&self) -> ExitCode {
        match self {
            Self::Input(_) => ExitCode::from(1),
            Self::Runtime(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(text) => f.write_str(text),
            Self::Runtime(error) => write!(f, "tidegate: {error:#}"),
        }
    }
}

/// What an operator asked for and isn't allowed is wrong input.
pub(super) fn input_if_refused(error: anyhow::Error) -> Failure {
    match error.downcast::<Refused>() {
        Ok(refused) => Failure::Input(refused.to_string()),
        Err(error) => Failure::Runtime(error),
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Input(problems.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}
