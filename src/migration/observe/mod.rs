//! Mode `observe` (docs/observe.md): calls are forwarded, and what windows would have made of them
//! is worked out on paper.
//!
//! ```text
//! acceptor ─ copy of the call ─► bounded queue ─► decode, check ─► sheet ─► one run per arrangement
//!    │                             │ full: shed,     hashes and     │ lanes, packers: the live code
//!    └► forwarded                  └ counted         sizes only     └► report, recommendation
//! ```
//!
//! Reads and forwarded calls that go after their caller's events are shown too: live they end its
//! windows, so they do on paper.
//!
//! | file | holds |
//! |---|---|
//! | `arrangement` | the windows, counts, packings and keeps that are tried |
//! | `trace` | what is kept of an event, and of a call that goes after events: hashes, sizes, times |
//! | `sample` | whose events are worked on where there are too many |
//! | `paper` | one arrangement's lanes and packers, with a clock that is an argument |
//! | `tally` | what left them, and when |
//! | `sheet` | all runs and counts, and what is reported of them |
//! | `advice` | which arrangement is recommended |
//! | `observer` | what the event path shows calls to, and its task |
//! | `report` | what is told, as it stands in JSON |

mod advice;
mod arrangement;
mod observer;
mod paper;
mod report;
mod sample;
mod sheet;
mod tally;
mod trace;

pub use observer::{Observer, ObserverTask, Setup};
pub use report::{Advice, Figures, GroupReport, Minute, Report, RouteReport, Split};

#[cfg(test)]
mod copies_tests;
#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod tests;
