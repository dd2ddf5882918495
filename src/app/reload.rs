//! Reading the configuration anew while the process runs. Modes and the rules of `[[cache]]` and
//! `[[write]]` change at once, and so do the certificate of the public listener and the admin
//! listener's token if their files have changed; of everything else the sections are named that
//! differ, and hold after a restart. A mode by which more calls are acknowledged waits with those of
//! them that it rests on.
//!
//! Rules wait too where something differs that says what they mean ([`RULES_GROUNDS`]).

use crate::admin::{Guard, Reloaded};
use crate::config::{self, Config};
use crate::migration::{Modes, Renewed};
use crate::route::LiveRoutes;
use crate::server::ServerTls;
use parking_lot::Mutex;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// Reads one file anew.
#[derive(Debug)]
pub(super) struct Reloader {
    path: PathBuf,
    /// The text that the process was started with: what differs from it needs a restart.
    started: String,
    parts: Parts,
    /// The text whose rules are in force. Locked while one is read: one after the other.
    applied: Mutex<String>,
}

/// What is changed.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) modes: Modes,
    pub(super) routes: Arc<LiveRoutes>,
    /// What `/config` shows.
    pub(super) shown: Option<Arc<Mutex<Value>>>,
    /// The groups of the start, in order.
    pub(super) groups: Vec<Arc<str>>,
    /// The public listener's certificate.
    pub(super) tls: Option<ServerTls>,
    /// Its token is read again too.
    pub(super) guard: Option<Arc<Guard>>,
}

/// Sections that say which calls are events, what shares a batch, and where it goes. While one of
/// them waits for the restart, no mode changes so that more calls are acknowledged: the file as a
/// whole says how.
const GROUNDS: [&str; 11] = [
    "batch",
    "cors",
    "delivery",
    "event",
    "identity",
    "journal",
    "limits",
    "migration",
    "server",
    "shadow",
    "upstream",
];

/// Sections that say for whom rules store answers, by which tags they become old, and of which
/// application they speak. Rules know groups by their places in the file.
const RULES_GROUNDS: [&str; 5] = ["batch", "event", "identity", "server", "upstream"];

/// Sections whose rules can be replaced.
const RULES: [&str; 2] = ["write", "cache"];

impl Reloader {
    /// Of this file, which had this text at the start.
    pub(super) fn new((path, started): (PathBuf, String), parts: Parts) -> Self {
        Self {
            path,
            applied: Mutex::new(started.clone()),
            started,
            parts,
        }
    }

    /// Blocks on the disk.
    ///
    /// # Errors
    /// Every problem of the file, or that of the token's file; nothing has changed.
    pub(super) fn reload(&self) -> Result<Reloaded, String> {
        let mut applied = self.applied.lock();
        let name = self.path.display().to_string();
        let read = config::read_text(&self.path).and_then(|text| {
            let config = config::parse(&text, &name, config::variables()?)?;
            Ok((config, text))
        });
        let (config, text) = match read {
            Ok(read) => read,
            Err(problems) => {
                tracing::error!(%problems, "the file is wrong; nothing has changed");
                return Err(problems.to_string());
            }
        };
        if let Some(guard) = &self.parts.guard {
            guard.renew().map_err(|error| {
                tracing::error!(%error, "the token can't be read; nothing has changed");
                error.to_string()
            })?;
        }
        if let Some(tls) = &self.parts.tls {
            tls.reload();
        }
        let mut needs_restart = config::differing_sections(&self.started, &text);
        let mut rules = config::differing_sections(&applied, &text);
        rules.retain(|section| RULES.contains(&&**section));
        if self.may_replace_rules(&config, &needs_restart) {
            needs_restart.retain(|section| !RULES.contains(&&**section));
            if !rules.is_empty() {
                self.parts.routes.replace(config.writes, config.caches);
                self.show_rules(&text);
            }
            *applied = text;
        } else {
            // Those that an earlier reload put in force, and this file hasn't, stay.
            rules.retain(|section| !needs_restart.contains(section));
            needs_restart.append(&mut rules);
        }
        let may_rise = !(needs_restart.iter()).any(|section| GROUNDS.contains(&&**section));
        let Renewed {
            changes,
            waiting,
            failed,
        } = self.parts.modes.reload(&config.events, may_rise);
        tracing::info!(
            changes = changes.len(),
            waiting = waiting.join(", "),
            rules = rules.join(", "),
            needs_restart = needs_restart.join(", "),
            "the file was read anew"
        );
        Ok(Reloaded {
            changes,
            waiting,
            rules,
            failed,
            needs_restart,
        })
    }

    fn show_rules(&self, text: &str) {
        let Some(shown) = &self.parts.shown else {
            return;
        };
        let mut new = config::show(text, config::variables().unwrap_or_default());
        let (Some(new), mut shown) = (new.as_object_mut(), shown.lock()) else {
            return;
        };
        let Some(shown) = shown.as_object_mut() else {
            return;
        };
        for section in RULES {
            match new.remove(section) {
                Some(rules) => drop(shown.insert(section.to_owned(), rules)),
                None => drop(shown.remove(section)),
            }
        }
    }

    /// Whether rules of this file mean what is in force: the same groups by the same places, and
    /// all else that they rest on.
    fn may_replace_rules(&self, config: &Config, differ: &[String]) -> bool {
        let names = config.groups.iter().map(|group| &group.name);
        let mut differ = differ.iter();
        names.eq(&self.parts.groups) && !differ.any(|one| RULES_GROUNDS.contains(&&**one))
    }
}
