//! Synthetic learners. Each plays lessons, tells every step, looks at the dashboard, and remembers
//! what it was promised.
//!
//! It does what the recorded front end does where that matters to a proxy: one call after the
//! other, a new request id for each but the same one on the try after a refreshed token, a
//! client-made event id that stays the same on every try, 429 and 5xx answered by patience. A write
//! counts as promised on 2xx and on nothing else.

mod addresses;
mod cache_status;
mod caller;
mod learner;
mod lesson;
pub mod rhythm;
pub mod session;
mod setup;
mod snapshot;
pub mod tally;

pub use learner::run;
pub use setup::Setup;
