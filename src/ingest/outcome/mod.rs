//! Outcomes: what is left to do when an event has its one.

pub mod dead;
pub mod forget;
pub(crate) mod lives;
pub mod new_credential;
pub mod replay;
pub mod settle;
