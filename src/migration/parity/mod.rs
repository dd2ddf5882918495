//! The parity report (docs/parity.md): whether batches do what single calls did, and whether
//! acknowledgements say what the application says. A pure function of what it is shown: no clock, no
//! socket, no lock.
//!
//! ```text
//! Compared ─ outcomes ─┬─ answers ─ pairs, shapes, learned places ─┐
//!                      └─ order, fields, contract ─────────────────┴─► findings ─► sheet ─► verdict
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `compared` | what is shown of an event |
//! | `kind` | the kinds of disagreement |
//! | `pairs` | what two documents have at the same places |
//! | `shape` | what a value looks like, and how it is told without being shown |
//! | `learned` | which places of answers no acknowledgement can know |
//! | `header` | which headers of an answer a client depends on |
//! | `answers` | an acknowledgement against the application's answer |
//! | `outcomes` | all that one event has to say |
//! | `state` | two applications' states after the same events |
//! | `bounds` | what a count of disagreements says of their rate |
//! | `tally` | counts and durations with a bound |
//! | `verdict` | go, no go or not yet |
//! | `route_sheet` | what came over one route |
//! | `sheet` | all of it |
//! | `report` | what is told, as it stands in JSON |

mod answers;
mod bounds;
mod compared;
mod header;
mod kind;
mod learned;
mod outcomes;
mod pairs;
mod report;
mod route_sheet;
mod shape;
mod sheet;
mod state;
mod tally;
mod verdict;

pub use compared::{Batched, Compared, Rules, Sends, Told};
pub use header::LEFT_OUT;
pub use kind::Kind;
pub use report::{
    Decision, Durations, Example, GroupReport, KindReport, LeftOut, Report, RouteReport,
    StateReport, Verdict,
};
pub use sheet::Sheet;
pub use state::{StateDifference, StateFinding, compare_states};

#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod seeded_tests;
#[cfg(test)]
mod state_tests;
