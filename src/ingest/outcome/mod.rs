//! Outcomes: what is left to do when an event has its one.

pub mod dead;
pub(crate) mod lives;
pub mod replay;
pub mod settle;
