//! Proposes a configuration from calls and their answers (docs/learn.md).
//!
//! [`propose`] is a pure function of the exchanges; they come from a HAR file ([`read_har`]), or
//! from what a running sidecar forwards ([`Recordings`]). What is proposed rests on evidence: what
//! can't be known is said, and a route of which something isn't known is proposed with `mode =
//! "off"`. No value of an exchange is in the proposal but names, paths, origins, statuses, and
//! constants of answers that no call sent.
//!
//! | file | finds |
//! |---|---|
//! | `har` | the exchanges of a file |
//! | `recording`, `record`, `slot`, `taken` | the exchanges that a sidecar forwards |
//! | `caller`, `by_caller` | which of them are one caller's, and what differs within those |
//! | `private` | values that must not be repeated |
//! | `routes` | calls of one method on paths of one shape |
//! | `verdict` | which of them are events, and why others are not |
//! | `batches` | batch endpoints |
//! | `mapping` | id, user and time of an event |
//! | `ack`, `repeats`, `made` | what answers have in common, repeat of the call, or make anew |
//! | `history` | what of answers is used later, what of calls is read back |
//! | `credential` | what must be there before Tidegate may answer |
//! | `reads` | what could be answered from memory |
//! | `survey` | what is found, put together |
//! | `draft`, `print`, `toml_text`, `listing` | the proposal |

mod ack;
mod batches;
mod by_caller;
mod caller;
mod credential;
mod draft;
mod exchange;
mod har;
mod history;
mod leaves;
mod listing;
mod made;
mod mapping;
mod print;
mod private;
mod reads;
mod record;
mod recording;
mod repeats;
mod routes;
mod slot;
mod survey;
mod taken;
mod toml_text;
mod verdict;

pub use exchange::{Content, Exchange};
pub use har::{HarError, read_har};
pub use record::{LARGEST_PLAIN, Unpack, Unpacked};
pub use recording::{BeginError, LONGEST, Progress, RecordingTask, Recordings};
pub use taken::{RecordedExchanges, RecordingFacts, TakenRecording};
pub use verdict::Reason;

/// What the one who asks knows.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The application's address, `http://HOST:PORT`.
    pub upstream: Option<String>,
    /// The application's host in the exchanges, `HOST` or `HOST:PORT` as their addresses have it, in
    /// lower case; `None`: the one that most calls that could be events went to.
    pub host: Option<String>,
    /// The exchanges are what a sidecar forwarded: of many callers, and all to one application.
    pub recorded: Option<RecordingFacts>,
}

/// A proposal.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// A whole configuration.
    pub toml: String,
    /// How many exchanges it rests on.
    pub exchanges: usize,
    /// Routes that are proposed.
    pub events: Vec<Proposed>,
    /// Other routes that are no plain reads, and why they aren't.
    pub not_proposed: Vec<NotProposed>,
    /// What can't be known.
    pub unknown: Vec<Unknown>,
}

/// A route that is proposed.
#[derive(Debug, Clone)]
pub struct Proposed {
    /// Method and path.
    pub route: String,
    /// How many exchanges it was seen in.
    pub exchanges: usize,
    /// Everything that it needs is known: `mode = "coalesce"`; else `"off"`.
    pub on: bool,
}

/// A route that is not proposed.
#[derive(Debug, Clone)]
pub struct NotProposed {
    /// Method and path; of another host its address.
    pub route: String,
    /// How many exchanges it was seen in.
    pub exchanges: usize,
    /// Why.
    pub reason: Reason,
}

/// Something that the exchanges don't tell.
#[derive(Debug, Clone)]
pub struct Unknown {
    /// Method and path; empty: of the whole.
    pub route: String,
    /// Which key of the configuration, or member.
    pub subject: String,
    /// Why.
    pub text: String,
}

/// Proposes a configuration from exchanges, in the order of their calls.
#[must_use]
pub fn propose(exchanges: &[Exchange], options: &Options) -> Proposal {
    survey::survey_exchanges(exchanges, options)
}
