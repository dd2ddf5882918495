//! What is wanted of modes, and what came of it.

use crate::rollout::{Mode, Setting};

/// What an operator wants of a route; what isn't said stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// A route's name, or a path: then all routes of it.
    pub route: String,
    /// What is done with its calls.
    pub mode: Option<Mode>,
    /// Percent, 0..=100.
    pub rollout: Option<u8>,
}

/// How a route stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMode {
    /// Its place among the `[[event]]` sections, from 0.
    pub place: usize,
    /// What it is known by.
    pub key: String,
    /// Its name, if it has one.
    pub name: Option<Box<str>>,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: Box<str>,
    /// How it stands.
    pub now: Setting,
    /// What the configuration says.
    pub configured: Setting,
    /// When it was set at run time (RFC 3339) and by what, where it was.
    pub set: Option<(String, String)>,
    /// How many users are always in, and never.
    pub exceptions: (usize, usize),
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The route.
    pub route: String,
    /// How it stood.
    pub was: Setting,
    /// How it stands.
    pub now: Setting,
}

/// What a configuration that was read anew has changed.
#[derive(Debug)]
pub struct Renewed {
    /// Modes that changed.
    pub changes: Vec<Change>,
    /// Routes whose new mode waits for the restart.
    pub waiting: Vec<String>,
    /// Why the changes won't outlive the process, if so.
    pub failed: Option<std::io::Error>,
}

/// A change that can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// No route has this name or path.
    #[error("found the route {found:?}; allowed are {}", .allowed.join(", "))]
    UnknownRoute {
        /// What was asked for.
        found: String,
        /// Names and paths that there are.
        allowed: Vec<String>,
    },
    /// Over 100.
    #[error("found the rollout {0}; allowed are 0 to 100")]
    Rollout(u8),
}
