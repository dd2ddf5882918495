//! What a configuration says once it is proven.

use crate::admin::AdminSettings;
use crate::cache::settings::CacheSettings;
use crate::event::GroupIndex;
use crate::identity::IdentitySettings;
use crate::ingest::settings::{Delivery, Group, Limits, Pack, Shape, Target};
use crate::journal::settings::JournalSettings;
use crate::logging::LogSettings;
use crate::migration::shadow::ShadowSettings;
use crate::route::{CacheRoute, EventRoute, PreviewRoute, Routes, WriteRoute};
use crate::server::ServerSettings;
use crate::spans::TraceSettings;
use crate::upstream::UpstreamSettings;
use crate::webhook::NotifySettings;
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
    /// `[log]`.
    pub log: LogSettings,
    /// `[notify]`, if it has a url.
    pub notify: Option<NotifySettings>,
    /// `[trace]`; `None`: no span is recorded.
    pub trace: Option<TraceSettings>,
    /// `[store]`.
    pub cache: CacheSettings,
    /// `[batch.…]`, in the file's order.
    pub groups: Vec<Group>,
    /// `[shadow]`.
    pub shadow: ShadowSettings,
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

impl Config {
    /// The rules, ready to be matched. A batch path belongs to the first group that names it.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let mut batches: Vec<(Arc<str>, GroupIndex)> = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            let Shape::Batch(Target::Path(path)) = &group.shape else {
                continue;
            };
            let path: Arc<str> = path.split('?').next().unwrap_or_default().into();
            if !batches.iter().any(|(known, _)| *known == path) {
                batches.push((path, GroupIndex(index)));
            }
        }
        let (events, writes, caches) = (
            self.events.iter().map(EventRoute::afresh).collect(),
            self.writes.clone(),
            self.caches.clone(),
        );
        Routes::new(events, batches, writes, caches, self.relaxed_paths)
            .with_preview(self.preview.clone())
    }

    /// Runs the whole clock `factor` times faster: windows, retries, freshness, limits. For
    /// simulations.
    pub fn speed_up(&mut self, factor: u32) {
        let factor = factor.max(1);
        let faster = |duration: &mut Duration| {
            *duration = (*duration / factor).max(Duration::from_micros(1))
        };
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
        self.caches
            .iter_mut()
            .filter_map(|route| route.ttl.as_mut())
            .for_each(faster);
        if let Some(rate) = &mut self.limits.events_per_user {
            faster(&mut rate.per);
        }
    }
}
