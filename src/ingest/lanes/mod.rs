//! Lanes: what was accepted waits here until it is due.
//!
//! | module | holds |
//! |---|---|
//! | [`window`] | lanes, windows and their order, as a pure state machine |
//! | [`shard`] | the lock around it, and the task that keeps its clock |

pub mod shard;
pub mod window;
