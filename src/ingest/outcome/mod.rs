//! Outcomes: what is left to do when an event has its one.

pub mod dead;
pub mod replay;
pub mod settle;
