//! Tidegate: a reverse-proxy sidecar that turns many small calls into few batches.
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
//! A module imports only modules that stand in a group above its own; `tests/suite/layers.rs` keeps it so.
//! `docs/promises.md` lists what is promised, with the tests that prove it.

// Nouns.
pub mod body;
pub mod clock;
pub mod event;
pub mod json;

// What rules are written in, and what all that is read stands in.
pub mod memory;
pub mod template;

// Decisions and instruments, pure or nearly.
pub mod drain;
pub mod identity;
pub mod metrics;
pub mod notices;
pub mod peer;
pub mod rollout;
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
