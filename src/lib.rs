//! Tidegate: a reverse-proxy sidecar that turns many small calls into few batches.

pub mod body;
pub mod clock;
pub mod event;
pub mod json;

pub mod drain;
pub mod identity;
pub mod metrics;
pub mod peer;
pub mod rollout;
pub mod route;
pub mod template;

pub mod cache;
pub mod journal;
pub mod server;
pub mod upstream;

pub mod admin;
pub mod config;
pub mod gateway;
pub mod ingest;
pub mod read;

pub mod app;

pub mod cli;
pub mod demo;
