//! Accepting: from a call to an event that may be kept.
//!
//! | file | holds |
//! |---|---|
//! | [`call`] | a call, and what templates find in it |
//! | `mapping`, `draft` | the event as it is written, once |
//! | `checks` | what a group asks of an event |
//! | [`decode`] | one after the other |
//! | [`take`] | what may be kept, and its way into the journal |
//! | [`preview`] | what a forwarded call would be as an event |

pub mod call;
mod checks;
pub mod decode;
mod draft;
mod mapping;
pub mod preview;
pub mod take;
