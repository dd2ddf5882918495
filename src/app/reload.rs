//! Reading the configuration anew while the process runs. Modes change at once, and so does the
//! certificate of the public listener if its files have changed; of everything else the sections are
//! named that differ, and hold after a restart.

use crate::admin::{Guard, Reloaded};
use crate::config;
use crate::migration::Modes;
use crate::server::ServerTls;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;

/// Reads one file anew.
#[derive(Debug)]
pub(super) struct Reloader {
    path: PathBuf,
    /// The text that the process was started with: what differs from it needs a restart.
    started: String,
    modes: Modes,
    /// The public listener's certificate.
    tls: Option<ServerTls>,
    /// Its token is read again too.
    guard: Option<Arc<Guard>>,
    /// One after the other.
    turn: Mutex<()>,
}

impl Reloader {
    /// Of this file, which had this text at the start.
    pub(super) fn new(
        (path, started): (PathBuf, String),
        modes: Modes,
        tls: Option<ServerTls>,
        guard: Option<Arc<Guard>>,
    ) -> Self {
        Self {
            path,
            started,
            modes,
            tls,
            guard,
            turn: Mutex::new(()),
        }
    }

    /// Blocks on the disk.
    ///
    /// # Errors
    /// Every problem of the file, or that of the token's file; nothing has changed.
    pub(super) fn reload(&self) -> Result<Reloaded, String> {
        let _turn = self.turn.lock();
        let name = self.path.display().to_string();
        let read = config::read_text(&self.path).and_then(|text| {
            let config = config::parse(&text, &name, std::env::vars())?;
            Ok((config, text))
        });
        let (config, text) = match read {
            Ok(read) => read,
            Err(problems) => {
                tracing::error!(%problems, "the file is wrong; nothing has changed");
                return Err(problems.to_string());
            }
        };
        if let Some(guard) = &self.guard {
            guard.renew().map_err(|error| {
                tracing::error!(%error, "the token can't be read; nothing has changed");
                error.to_string()
            })?;
        }
        if let Some(tls) = &self.tls {
            tls.reload();
        }
        let needs_restart = config::differing_sections(&self.started, &text);
        let (changes, failed) = self.modes.reload(&config.events);
        tracing::info!(
            changes = changes.len(),
            needs_restart = needs_restart.join(", "),
            "the file was read anew"
        );
        Ok(Reloaded {
            changes,
            failed,
            needs_restart,
        })
    }
}
