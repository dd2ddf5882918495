//! Tidegate: a reverse-proxy sidecar that turns many small calls into few batches.
//!
//! # The words
//!
//! One word for a thing, in code, configuration, logs, metrics and docs.
//!
//! | word | what it is |
//! |---|---|
//! | *call* | one HTTP request of a client |
//! | *event* | what an event call says, as its batch will say it; it ends with exactly one outcome |
//! | *group* | a `[batch.NAME]`: events that share an endpoint, windows and limits |
//! | *credential* | what a call is authorized by; its keyed hashes are the *fingerprint* (all of it), the *view* (what it may see) and the *principal* (who calls) |
//! | *lane* | the queue of one user and one fingerprint in one group |
//! | *window* | the open end of a lane: from its first event until it is sealed |
//! | *seal* | to close a window; what was in it is *due* |
//! | *batch* | due events of a lane that go out together |
//! | *delivery* | to bring a batch to the application, in as many attempts as it takes |
//! | *exchange* | what the wire said of one attempt |
//! | *verdict* | what an exchange means for a batch |
//! | *outcome* | what became of an event: accepted, duplicate, superseded, or a dead letter |
//! | *dead letter* | an event that no attempt will bring, kept for an operator |
//! | *barrier* | the wait of a read for its user's pending events |
//! | *hold* | the place of a forwarded call in the order: what is before it goes first, what comes later waits |
//! | *tag*, *generation* | a name that stored answers are made old by, and when that was done last |
//! | *span* | what a trace says of one call, exchange or batch |
//! | *recording* | copies of forwarded calls and their answers, for `tidegate learn` |
//! | *forward* | to let the application answer a call, which is no error |
//! | *refuse* | to answer a call with an error of Tidegate's own |
//!
//! # The flow
//!
//! ```text
//! listener ─ match route ─┬─ event   ─ decode ─ identify ─ admit ─ journal ─ ack
//!                         │                                          │
//!                         │                     windows ◄────────────┘
//!                         │                        │ seal (time, count, bytes, priority)
//!                         │                     deliver ─ settle ─ invalidate
//!                         ├─ read    ─ barrier ─ cache ─ forward ─ store
//!                         └─ other   ─ forward
//! ```
//!
//! # The ranks
//!
//! A module imports only modules that stand in a group above its own; `tests/suite/layers.rs` keeps
//! it so. `docs/design.md` says what is promised and rules where promises meet, `docs/promises.md`
//! names the tests.

// Nouns.
pub mod body;
pub mod clock;
mod coding;
pub mod event;
pub mod json;
pub mod keyed;
pub mod tls;
pub mod version;

// What rules are written in, and what all that is read stands in.
pub mod memory;
pub mod rollout;
pub mod spans;
pub mod template;

// Decisions and instruments, pure or nearly.
pub mod copies;
pub mod drain;
pub mod identity;
pub mod logging;
pub mod metrics;
pub mod notices;
pub mod peer;
pub mod recorder;
pub mod route;

// Engines, strangers to one another.
pub mod cache;
pub mod journal;
pub mod server;
pub mod upstream;

// The event path.
pub mod ingest;

// The read path.
pub mod read;

// What is fetched and told beside calls: the keys of tokens, and what an operator should know.
mod token_keys;
pub mod webhook;

// The staged migration: it reads what the event path shows it.
pub mod migration;

// The HTTP surfaces.
pub mod admin;
pub mod gateway;

// The configuration, which knows every module's settings.
pub mod config;

// Builds, starts and stops all parts.
pub mod app;

// The process.
pub mod cli;
pub mod demo;
