//! RFC 9111 for a shared cache, as pure functions over heads: no clock, no store, no socket.
//!
//! - *What may be kept* ([`storable`]) gives [`Terms`](freshness::Terms), all that is asked of a
//!   stored response later.
//! - *What a request allows* ([`reuse`]) weighs the terms, the response's age and the request's own
//!   wishes.
//! - *What is asked again* ([`validate`]), *what a client knows already* ([`precondition`]), *what
//!   part it wants* ([`range`]), *which variant is whose* ([`vary`]), *what a write makes old*
//!   ([`invalidate`]).
//!
//! Whatever can't be read counts against reuse: an open quote is `no-store`, two different ages of
//! freshness are none.

pub mod control;
pub mod dates;
pub mod fields;
pub mod freshness;
pub mod invalidate;
pub mod languages;
pub mod parts;
pub mod precondition;
pub mod range;
pub mod reuse;
pub mod storable;
pub mod validate;
pub mod vary;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod table_tests;
