//! Mode `shadow` (docs/migration.md): calls are forwarded, and a copy of each goes through an event
//! path of its own, whose acknowledgements nobody hears.
//!
//! ```text
//! gateway ─ copy of the call ─► bounded queue ─► stage: decide, window, batch ─► shadow.url, or nobody
//!    │                               ▲              │ acknowledgement               │ outcome by event
//!    └► application ─ copy of its answer            └────────► pairs ◄──────────────┘
//!                                                              └► parity sheet
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `stage` | what decides a copy, which the gateway gives |
//! | `mirror` | where the gateway puts copies: bounded, and never waited for |
//! | `pairs` | what is known of a call until all of it is, pure |
//! | `notes` | what the event path tells of deliveries and outcomes |
//! | `states` | what the application and the shadow's target say of a user |
//! | `engine` | the task that works on all this |

mod engine;
mod mirror;
mod notes;
mod pairs;
mod settings;
mod stage;
mod states;

pub use engine::{Engine, GIVE_UP_AFTER, Setup};
pub use mirror::Shadow;
pub use settings::{ShadowSettings, StateSettings};
pub use stage::{Acknowledged, Decided, Rehearsed, Stage, Whose};
