//! How a command ends that doesn't end well.

use super::admin_client::Refused;
use crate::config::Problems;
use crate::journal::OpenError;
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

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Input(problems.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    /// What an operator asked for and isn't there, or isn't allowed, is wrong input.
    fn from(error: anyhow::Error) -> Self {
        let is_missing = matches!(error.downcast_ref(), Some(OpenError::Missing(_)));
        if is_missing || error.is::<Refused>() {
            Self::Input(format!("{error:#}"))
        } else {
            Self::Runtime(error)
        }
    }
}
