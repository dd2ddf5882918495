//! What can be changed while the process runs: the rules in force, the modes of routes, and all that
//! a reload of the configuration's file replaces.

use super::reload::{self, Reloader};
use super::shared::Shared;
use crate::admin::{Guard, Reload};
use crate::config::{self, Config};
use crate::migration::Modes;
use crate::route::{LiveRoutes, Routes};
use parking_lot::Mutex;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) struct Control {
    pub(super) routes: Arc<LiveRoutes>,
    pub(super) modes: Modes,
    /// Who may use the admin listener.
    pub(super) guard: Option<Arc<Guard>>,
    /// What `/config` shows.
    pub(super) shown: Option<Arc<Mutex<Value>>>,
    /// Reads the file anew, where there is one.
    pub(super) reload: Option<Reload>,
}

impl Control {
    /// `file`: the configuration's, and its text. `directory`: of the journal, where what is set at
    /// run time is kept.
    ///
    /// # Errors
    /// The admin listener's token can't be read.
    pub(super) fn try_new(
        config: &Config,
        routes: Routes,
        file: Option<(PathBuf, String)>,
        directory: Option<PathBuf>,
        shared: &Shared,
    ) -> anyhow::Result<Self> {
        let modes = restore_modes(&routes, directory, shared);
        let routes = Arc::new(LiveRoutes::new(routes));
        let guard = config.admin.guard()?.map(Arc::new);
        let shown = file
            .as_ref()
            .map(|(_, text)| config::show(text, config::variables().unwrap_or_default()))
            .map(|shown| Arc::new(Mutex::new(shown)));
        let groups = config.groups.iter();
        let parts = reload::Parts {
            modes: modes.clone(),
            routes: Arc::clone(&routes),
            shown: shown.clone(),
            groups: groups.map(|group| Arc::clone(&group.name)).collect(),
            tls: config.server.tls.clone(),
            guard: guard.clone(),
        };
        let reload = file.map(|file| {
            let reloader = Reloader::new(file, parts);
            Arc::new(move || reloader.reload()) as Reload
        });
        Ok(Self {
            routes,
            modes,
            guard,
            shown,
            reload,
        })
    }
}

/// The modes of all routes, with what an earlier process was told of them.
fn restore_modes(routes: &Routes, directory: Option<PathBuf>, shared: &Shared) -> Modes {
    let (metrics, clock) = (Arc::clone(&shared.metrics), shared.clock.clone());
    let (modes, error) = Modes::restore(routes.events(), directory, metrics, clock);
    if let Some(error) = error {
        let what = format!(
            "all [[event]] routes are off, since what was set at run time can't be read: {error}"
        );
        tracing::error!("{what}");
        eprintln!("{what}");
    }
    modes
}
