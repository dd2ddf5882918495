//! Tidegate: a reverse-proxy sidecar that turns many small calls into few batches.

pub mod body;
pub mod clock;
pub mod event;
