//! Integration tests: the promises, over real sockets.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that can't go on fails, which is what a panic says"
)]

mod adapters;
mod admin_listener;
mod admin_settings;
mod admin_token;
mod cache_keys;
mod cache_parts;
mod caching;
mod changes;
mod chaos;
mod check;
mod collapse;
mod comparison;
mod compat_kinds;
mod config;
mod configuration;
mod conformance;
mod connections;
mod contexts;
mod crash;
mod dashboard;
mod dead_letters;
mod decoders;
mod delivery;
mod delivery_answers;
mod directory;
mod durable;
mod early_answers;
mod explain;
mod forget;
mod fuzz;
mod handover;
mod hops;
mod identities;
mod ids;
mod input;
mod known_reads;
mod layers;
mod learn;
mod learn_live;
mod limits;
mod lives;
mod logs;
mod losses;
mod manual;
mod memory;
mod modes;
mod observe;
mod operations;
mod order;
#[cfg(feature = "otlp")]
mod otlp;
mod own;
mod own_reads;
mod own_writes;
mod packing;
mod parity;
mod reads;
mod reference;
mod refusals;
mod refused;
mod refused_restart;
mod relay;
mod reload;
mod replay;
mod replies;
mod sessions;
mod shadow;
mod shares;
mod standing;
mod stop;
mod strangers;
mod streams;
mod support;
mod tls;
mod tls_reload;
mod tls_upstream;
mod turns;
mod understanding;
mod unix_sockets;
mod upstream_limit;
mod webhook;
