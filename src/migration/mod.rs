//! The staged migration (docs/migration.md): from single calls to batches, route by route and user by
//! user, and back. It reads what the event path shows it; the event path doesn't know it.
//!
//! | file | holds |
//! |---|---|
//! | `modes` | what an operator changes while calls come |
//! | `kept_modes` | the file in which that outlives the process |
//! | `copy_queue` | where copies of calls wait for the thread that works on them |
//! | [`observe`] | what windows would have saved, from calls that are forwarded |
//! | [`shadow`] | copies of calls, batched beside |
//! | [`parity`] | whether batches do what single calls did, and whether acknowledgements are true |
//! | `learn` | what a configuration could be, from the calls of a session |
//! | `words` | what names and values look like |

mod copy_queue;
mod kept_modes;
pub mod learn;
mod mode_changes;
mod modes;
pub mod observe;
pub mod parity;
pub mod shadow;
mod words;

pub use kept_modes::KeptError;
pub use mode_changes::{Change, ModeError, Renewed, RouteMode, Wanted};
pub use modes::Modes;
