//! Who takes part in a staged migration (docs/migration.md). What the configuration says is where a
//! route begins; its [`Switch`] is where it stands.

mod share;
mod switch;

pub use share::Draw;
pub use switch::{Decided, Exceptions, Held, Mode, Sampling, Setting, Switch};
