//! The reference upstream: a small server that answers like the application of the recorded
//! exchanges in its in-memory profile with CSRF on, and counts what it sees.
//!
//! Order of a call, as in the application: origin, body, `/api/auth`, CSRF, token, route. So a bad
//! origin is refused before CSRF, CSRF before a missing token, and unreadable JSON before both. A
//! service that has the service credential is no browser: CSRF doesn't concern it, and it speaks
//! for the users that its events name. Left out: WebSocket, SSE, uploads, the limit on failed
//! logins, the general per-address limit (loopback is exempt from it), the CSRF bypass header.

pub mod account;
mod analytics;
mod auth;
mod body;
mod call;
pub mod catalogue;
pub mod census;
mod progress;
mod reads;
mod reply;
mod routes;
mod session;
mod shared;
mod stamp;
mod store;
mod tokens;
mod upstream;

pub use shared::Options;
pub use stamp::now_iso;
pub use upstream::Upstream;

#[cfg(test)]
mod tests;
