//! Modes that were set while the process ran, in the journal's directory.
//!
//! One JSON document, replaced as a whole: written beside, synced, renamed, and the directory
//! synced, so that a kill or a power cut leaves the old one or the new one.

use crate::rollout::{Mode, Setting};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Its name in the journal's directory.
const FILE: &str = "modes.json";
const NEW: &str = "modes.json.new";
const VERSION: u64 = 1;

/// What was set for a route, and what the configuration said then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// Which route: see [`modes`](super::modes).
    pub(super) route: String,
    pub(super) set: Setting,
    pub(super) configured: Setting,
    /// When, RFC 3339.
    pub(super) at: String,
    /// By what.
    pub(super) by: String,
}

/// The file can't be read, or holds something else.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It can't be read.
    #[error("{path}: {error}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It holds something else.
    #[error("{path}: found {found}; modes that were set at run time are allowed", path = .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
}

/// What the directory holds; nothing where there is no file.
///
/// # Errors
/// There is one that can't be read.
pub(super) fn read(directory: &Path) -> Result<Vec<Kept>, KeptError> {
    let path = directory.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(KeptError::Io { path, error }),
    };
    let value = serde_json::from_str::<Value>(&text).ok();
    let routes = value.as_ref().and_then(|value| {
        let known = value.get("version")?.as_u64() == Some(VERSION);
        value.get("routes")?.as_array().filter(|_| known)
    });
    let kept = routes.and_then(|routes| routes.iter().map(parse).collect::<Option<Vec<_>>>());
    kept.ok_or_else(|| KeptError::Damaged {
        path,
        found: format!("{:?}", text.chars().take(60).collect::<String>()),
    })
}

/// Replaces what the directory holds.
///
/// # Errors
/// The file system refuses; what was there is there still.
pub(super) fn write(directory: &Path, kept: &[Kept]) -> std::io::Result<()> {
    let routes: Vec<_> = kept.iter().map(show).collect();
    let text = format!("{:#}\n", json!({ "version": VERSION, "routes": routes }));
    let new = directory.join(NEW);
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    // ORDER: whole on the disk before it has the name that is read.
    file.sync_all()?;
    std::fs::rename(&new, directory.join(FILE))?;
    File::open(directory)?.sync_all()
}

fn show_setting(setting: Setting) -> Value {
    json!({ "mode": setting.mode.as_str(), "rollout": setting.rollout })
}

fn show(kept: &Kept) -> Value {
    let Kept {
        route,
        set,
        configured,
        at,
        by,
    } = kept;
    json!({
        "route": route, "set": show_setting(*set), "configured": show_setting(*configured), "at": at, "by": by,
    })
}

fn parse_setting(value: &Value) -> Option<Setting> {
    let rollout = value.get("rollout")?.as_u64()?;
    Some(Setting {
        mode: Mode::of(value.get("mode")?.as_str()?)?,
        rollout: u8::try_from(rollout).ok().filter(|share| *share <= 100)?,
    })
}

fn parse(value: &Value) -> Option<Kept> {
    let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
    Some(Kept {
        route: text("route")?,
        set: parse_setting(value.get("set")?)?,
        configured: parse_setting(value.get("configured")?)?,
        at: text("at")?,
        by: text("by")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(route: &str) -> Kept {
        let setting = |mode, rollout| Setting { mode, rollout };
        Kept {
            route: route.to_owned(),
            set: setting(Mode::Coalesce, 10),
            configured: setting(Mode::Off, 100),
            at: "2026-11-26T16:00:00Z".to_owned(),
            by: "the admin listener".to_owned(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_the_next_writing_replaces_it() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap(), []);
        for routes in [vec![kept("a"), kept("b")], vec![], vec![kept("c")]] {
            write(directory.path(), &routes).unwrap();
            assert_eq!(read(directory.path()).unwrap(), routes);
        }
    }

    #[test]
    fn what_is_no_such_document_is_an_error_that_shows_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        for text in [
            "",
            "{}",
            r#"{"version":2,"routes":[]}"#,
            r#"{"version":1,"routes":[{}]}"#,
        ] {
            std::fs::write(&file, text).unwrap();
            let error = read(directory.path()).unwrap_err().to_string();
            assert!(error.contains(&format!("found {text:?}")), "{error}");
        }
    }
}
