//! The response cache: what may be stored ([`policy`]), where it is ([`store`]), how it gets there
//! ([`fill`]), and what makes it old ([`tags`]).

pub mod fill;
mod moves;
pub mod policy;
pub mod settings;
pub mod store;
pub mod tags;
