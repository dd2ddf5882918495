//! How the application behaves, and what all its handlers share.

use super::census::Census;
use super::store::Store;
use super::tokens::Tokens;
use parking_lot::Mutex;
use std::time::Duration;

/// How the upstream behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Factor by which its rate limit is raised, for learners on a faster clock.
    pub speed: u32,
    /// Life of an access token.
    pub token_life: Duration,
    /// Allowed origins, lower case.
    pub origins: Vec<Box<str>>,
    /// Whether it takes a real server's time to answer.
    pub latency: bool,
    /// The token of a trusted service.
    pub service_token: Option<String>,
}

/// What all handlers share.
pub struct Shared {
    /// How it behaves.
    pub options: Options,
    /// Its tokens.
    pub tokens: Tokens,
    /// Its counts.
    pub census: Census,
    /// A plain lock: handlers hold it for one batch at most, never across a wait.
    pub store: Mutex<Store>,
}
