//! The configuration: [`raw`] mirrors the file, [`Config`] can't be wrong, [`check`] is the one way from the first to
//! the second and reports every problem at once. [`mod@print`] says what each route will do.

pub mod check;
mod group;
mod identity;
mod losses;
pub mod print;
pub mod raw;
mod server;
mod shadows;

pub use raw::{Problem, Problems};

use crate::admin::AdminSettings;
use crate::cache::settings::CacheSettings;
use crate::event::GroupIndex;
use crate::identity::IdentitySettings;
use crate::ingest::settings::{Delivery, Group, Limits, Pack, Shape, Target};
use crate::journal::settings::JournalSettings;
use crate::route::{CacheRoute, EventRoute, PreviewRoute, Routes, WriteRoute};
use crate::server::ServerSettings;
use crate::upstream::UpstreamSettings;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A configuration that was proven.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`.
    pub server: ServerSettings,
    /// `[admin]`.
    pub admin: AdminSettings,
    /// `[upstream]`.
    pub upstream: UpstreamSettings,
    /// `[identity]` and `[cors]`.
    pub identity: IdentitySettings,
    /// `[journal]`.
    pub journal: JournalSettings,
    /// `[delivery]`.
    pub delivery: Delivery,
    /// `[limits]`.
    pub limits: Limits,
    /// `[store]`.
    pub cache: CacheSettings,
    /// `[batch.…]`, in the file's order.
    pub groups: Vec<Group>,
    /// `[[event]]`.
    pub events: Vec<EventRoute>,
    /// `[[write]]`.
    pub writes: Vec<WriteRoute>,
    /// `[[cache]]`.
    pub caches: Vec<CacheRoute>,
    /// `[preview]`.
    pub preview: Option<PreviewRoute>,
    /// `upstream.paths = "relaxed"`.
    pub relaxed_paths: bool,
    /// `server.explain`.
    pub explain: bool,
}

/// Reads a file and the environment.
///
/// # Errors
/// Every problem there is.
pub fn load(path: &Path, variables: impl Iterator<Item = (String, String)>) -> Result<Config, Problems> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, &name, variables),
        Err(error) => {
            let text = format!("the file can't be read: {error}");
            Err(Problems { file: name, problems: vec![Problem { place: None, key: String::new(), text }] })
        }
    }
}

/// Reads a file's text and the environment.
///
/// # Errors
/// Every problem there is.
pub fn parse(text: &str, name: &str, variables: impl Iterator<Item = (String, String)>) -> Result<Config, Problems> {
    let variables: raw::Environment = variables.collect();
    let ours = variables.iter().map(|(name, value)| (name.clone(), value.clone()));
    let found = raw::tree(text, ours).and_then(|tree| check::check(&tree, variables.clone()));
    found.map_err(|problems| Problems { file: name.to_owned(), problems })
}

impl Config {
    /// The rules, ready to be matched. A batch path belongs to the first group that names it.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let mut batches: Vec<(Arc<str>, GroupIndex)> = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            let Shape::Batch(Target::Path(path)) = &group.shape else { continue };
            let path: Arc<str> = path.split('?').next().unwrap_or_default().into();
            if !batches.iter().any(|(known, _)| *known == path) {
                batches.push((path, GroupIndex(index)));
            }
        }
        let (events, writes, caches) = (self.events.clone(), self.writes.clone(), self.caches.clone());
        Routes::new(events, batches, writes, caches, self.relaxed_paths).with_preview(self.preview.clone())
    }

    /// Runs the whole clock `factor` times faster: windows, retries, freshness, limits. For simulations.
    pub fn speed_up(&mut self, factor: u32) {
        let factor = factor.max(1);
        let faster = |duration: &mut Duration| *duration = (*duration / factor).max(Duration::from_micros(1));
        for group in &mut self.groups {
            faster(&mut group.window);
            if let Pack::Shared { wait, .. } = &mut group.pack {
                faster(wait);
            }
        }
        let delivery = &mut self.delivery;
        delivery.retry_network.iter_mut().for_each(faster);
        for pause in [
            &mut delivery.retry_server.base,
            &mut delivery.retry_server.cap,
            &mut delivery.retry_limited.base,
            &mut delivery.retry_limited.jitter,
            &mut delivery.give_up_after,
            &mut delivery.token_margin,
        ] {
            faster(pause);
        }
        self.caches.iter_mut().filter_map(|route| route.ttl.as_mut()).for_each(faster);
        if let Some(rate) = &mut self.limits.events_per_user {
            faster(&mut rate.per);
        }
    }
}
