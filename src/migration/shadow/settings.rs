//! What `[shadow]` says.

use crate::template::{Path, Template};
use http::Uri;
use std::time::Duration;

/// `[shadow]`.
#[derive(Debug, Clone)]
pub struct ShadowSettings {
    /// Where batches are sent, `http://HOST:PORT`; none: nobody is asked (dry run).
    pub url: Option<Uri>,
    /// That is the application itself, which has the single calls already.
    pub is_application: bool,
    /// It has the address of the application, and is told from it by its name.
    pub shares_address: bool,
    /// The client's Host is kept; else it is the target's authority.
    pub preserve_host: bool,
    /// What copies and the events of batches may take in memory, bytes.
    pub max_bytes: usize,
    /// Places in answers that aren't compared.
    pub ignore: Vec<Path>,
    /// Fewest events that a verdict is given for.
    pub min_events: u64,
    /// Largest rate of disagreement that is a go, 0 to 1.
    pub max_rate: f64,
    /// Which states are compared.
    pub states: StateSettings,
}

/// States that are asked for at the application and at the shadow's target.
#[derive(Debug, Clone)]
pub struct StateSettings {
    /// Paths to GET, over `user`; none: no states are compared.
    pub paths: Vec<Template>,
    /// Places in them that aren't compared.
    pub ignore: Vec<Path>,
    /// Users that are looked at at a time.
    pub users: usize,
    /// How long a user must have been quiet.
    pub quiet: Duration,
}
