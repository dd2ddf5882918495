//! Accepting: from a call to an event that may be kept.
//!
//! | file | holds |
//! |---|---|
//! | `call` | a call, and what templates find in it |
//! | `mapping`, `draft` | the event as it is written, once |
//! | `checks` | what a group asks of an event |
//! | `decode` | one after the other |
//! | `arrival` | a decoded event on its way |
//! | `ack` | what a client hears |
//! | `look` | what is looked at of an event before anything is taken for it |
//! | `take` | what may be kept, and its way into the journal |
//! | `client_batch` | a batch that a client made itself |
//! | `seen` | ids that were seen |
//! | `admit` | the obligation that an event is |
//! | `buckets` | rates |
//! | `reputation`, `shares`, `contexts`, `changes` | what is known of callers, what they hold, what their calls share, what makes them differ |
//! | [`refusal`] | why a call is forwarded or refused |
//! | `mirror` | where copies of calls in mode `shadow` go |
//! | `copied` | a call as it came, and a copy of it |
//! | `watch`, `show` | what an observer is shown of calls in mode `observe`, and by what |
//! | `repetitions` | which events came again |
//! | `preview` | what a forwarded call would be as an event |

pub(crate) mod ack;
pub(crate) mod admit;
mod arrival;
pub(crate) mod buckets;
pub(crate) mod call;
pub(crate) mod changes;
mod checks;
pub(crate) mod client_batch;
pub(crate) mod contexts;
pub mod copied;
pub(crate) mod decode;
pub(crate) mod draft;
mod look;
mod mapping;
pub mod mirror;
pub(crate) mod preview;
pub mod refusal;
pub(crate) mod repetitions;
pub(crate) mod reputation;
pub(crate) mod seen;
pub(crate) mod shares;
mod show;
pub(crate) mod take;
pub(crate) mod watch;
