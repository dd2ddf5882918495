//! The cache: generations per tag ([`tags`]), what may be stored ([`policy`]) and what is stored ([`store`]).

pub mod policy;
pub mod settings;
pub mod store;
pub mod tags;
