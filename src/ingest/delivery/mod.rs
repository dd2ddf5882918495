//! Delivery: from a sealed batch to its verdict.
//!
//! | file | does |
//! |---|---|
//! | [`dispatcher`] | the queue: company ([`pack`]), fair [`turns`], `workers` that carry the requests |
//! | `admission` | whether a load may go now: its credential, its group's [`gate`] |
//! | [`contract`], [`request`] | the call that carries it |
//! | `attempt` | request, `exchange` (what the wire said), verdict |
//! | `dry_run`, [`outcomes`] | without an application: what a batch must keep; who is told of all this |
//! | [`reply`] | what that means for each event, pure |
//! | `verdict`, `failure` | what follows for each batch, with [`retry`] and [`known`] |

mod admission;
mod attempt;
pub mod contract;
pub mod deliverer;
pub mod dispatcher;
mod dry_run;
mod exchange;
mod failure;
pub mod gate;
pub mod known;
pub mod load;
pub mod outcomes;
pub mod pack;
pub mod reply;
pub mod request;
pub mod retry;
pub mod turns;
mod verdict;
mod workers;

pub use deliverer::Parts;
pub use dispatcher::Dispatcher;
