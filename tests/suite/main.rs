//! Integration tests: the promises, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on fails, which is what a panic says"
)]

mod caching;
mod config;
mod crash;
mod delivery;
mod durable;
mod input;
mod layers;
mod own_writes;
mod reads;
mod relay;
mod replay;
mod support;
