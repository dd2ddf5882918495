//! What is written down of calls and deliveries, apart from the log of the process: the access log
//! (`[log] access`), off by default.
//!
//! Constraints: a call never waits for a line, and pays nothing while the access log is off. What is
//! known of a call on its way is gathered in a `CallNote` among its extensions; its line is handed
//! to a bounded queue (`queue.rs`) and written by a thread of its own. A line that finds the
//! queue full is lost, counted, and the count is written as a line. No line holds a query, a header's
//! or a cookie's value, a body or a user.

mod access;
mod line;
mod note;
mod queue;
mod settings;

pub use access::AccessLog;
pub(crate) use access::watch_body;
pub(crate) use line::{CallLine, DeliveryLine, short_method};
pub(crate) use note::CallNote;
pub use settings::{Format, LogSettings};
