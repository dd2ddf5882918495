//! The sections of `config.toml`, a file for each: its keys, its check, and the value that it
//! becomes.
//!
//! A section knows nothing of the others; what one says of another stands in its value as a
//! [`Reference`] or is left open, and `links.rs` puts it in.
//!
//! [`Reference`]: super::section::Reference

mod admin;
pub(super) mod batch;
mod cache;
mod cors;
mod delivery;
pub(super) mod event;
mod identity;
mod journal;
mod limits;
mod log;
mod migration;
mod notify;
pub(super) mod preview;
mod relay;
mod server;
pub(super) mod shadow;
mod store;
mod trace;
pub(super) mod upstream;
mod write;

use super::key::Schema;
use super::problem::Position;
use super::section::Section;
use crate::admin::AdminSettings;
use crate::cache::settings::CacheSettings;
use crate::identity::{Cors, IdentitySettings};
use crate::ingest::settings::{Delivery, Limits};
use crate::journal::settings::JournalSettings;
use crate::logging::LogSettings;
use crate::rollout::Sampling;
use crate::route::WriteRoute;
use crate::spans::TraceSettings;
use crate::upstream::RelayRule;
use crate::webhook::NotifySettings;
use batch::Batch;
use cache::Cache;
use event::Event;
use preview::Preview;
use server::Server;
use shadow::Shadow;
use upstream::Upstream;

/// What the sections say, each by itself. `None` stands for what is wrong, and was reported.
pub(super) struct Sections {
    /// `[server]`.
    pub(super) server: Server,
    /// `[admin]`.
    pub(super) admin: (AdminSettings, Position),
    /// `[upstream]`.
    pub(super) upstream: Upstream,
    /// `[[relay]]`.
    pub(super) relays: Vec<RelayRule>,
    /// `[identity]`.
    pub(super) identity: IdentitySettings,
    /// `[cors]`.
    pub(super) cors: Option<Cors>,
    /// `[journal]`.
    pub(super) journal: JournalSettings,
    /// `[delivery]`.
    pub(super) delivery: Delivery,
    /// `[limits]`.
    pub(super) limits: Limits,
    /// `[log]`.
    pub(super) log: LogSettings,
    /// `[notify]`.
    pub(super) notify: Option<NotifySettings>,
    /// `[migration]`.
    pub(super) sampling: Sampling,
    /// `[shadow]`.
    pub(super) shadow: Shadow,
    /// `[store]`.
    pub(super) store: CacheSettings,
    /// `[batch.NAME]`, by name.
    pub(super) batches: Vec<(String, Batch)>,
    /// `[[event]]`.
    pub(super) events: Vec<Event>,
    /// `[[write]]`.
    pub(super) writes: Vec<Option<WriteRoute>>,
    /// `[[cache]]`.
    pub(super) caches: Vec<Option<Cache>>,
    /// `[preview]`.
    pub(super) preview: Option<Preview>,
    /// `[trace]`.
    pub(super) trace: Option<TraceSettings>,
}

/// The keys of all sections, in the order in which they are documented.
pub(super) const SCHEMAS: [&Schema; 20] = [
    &server::SCHEMA,
    &admin::SCHEMA,
    &log::SCHEMA,
    &notify::SCHEMA,
    &upstream::SCHEMA,
    &relay::SCHEMA,
    &identity::SCHEMA,
    &cors::SCHEMA,
    &journal::SCHEMA,
    &delivery::SCHEMA,
    &limits::SCHEMA,
    &store::SCHEMA,
    &batch::SCHEMA,
    &event::SCHEMA,
    &migration::SCHEMA,
    &shadow::SCHEMA,
    &write::SCHEMA,
    &cache::SCHEMA,
    &preview::SCHEMA,
    &trace::SCHEMA,
];

/// Reads all sections of a file.
pub(super) fn read(root: Section<'_>) -> Sections {
    let batch = root.top("batch");
    let batches = batch.named_sections().into_iter();
    let sections = Sections {
        server: server::read(root.top("server")),
        admin: admin::read(root.top("admin")),
        log: log::read(root.top("log")),
        notify: notify::read(root.top("notify")),
        upstream: upstream::read(root.top("upstream")),
        relays: root
            .tops("relay")
            .into_iter()
            .filter_map(relay::read)
            .collect(),
        identity: identity::read(root.top("identity")),
        cors: cors::read(root.top("cors")),
        journal: journal::read(root.top("journal")),
        delivery: delivery::read(root.top("delivery")),
        limits: limits::read(root.top("limits")),
        sampling: migration::read(root.top("migration")),
        shadow: shadow::read(root.top("shadow")),
        store: store::read(root.top("store")),
        batches: batches
            .map(|(name, section)| (name.to_owned(), batch::read(name, section)))
            .collect(),
        events: root.tops("event").into_iter().map(event::read).collect(),
        writes: root.tops("write").into_iter().map(write::read).collect(),
        caches: root.tops("cache").into_iter().map(cache::read).collect(),
        preview: root.maybe_top("preview").map(preview::read),
        trace: root.maybe_top("trace").and_then(trace::read),
    };
    root.finish();
    sections
}
