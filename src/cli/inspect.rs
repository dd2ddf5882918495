//! Commands that look at what a sidecar holds: dead letters at its admin address, a journal's
//! directory on disk.

use super::admin_client::{AdminAddress, ask_for_long};
use crate::config::Config;
use crate::ingest::outcome::dead::Selection;
use crate::journal::directory::FORMAT_FILE;
use crate::journal::recover::{self, Opened};
use crate::journal::settings::{Durability, JournalSettings};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// What is done with dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// One line each.
    List,
    /// Whole.
    Show,
    /// Back into their windows.
    Replay,
    /// Forgotten.
    Drop,
}

/// Asks the admin address; whether all went well, and what to print. `credential`: the header lines
/// that a replay goes with.
///
/// # Errors
/// Nobody answers, or with an error.
pub async fn dead_letters(
    admin: &AdminAddress,
    action: Action,
    meant: &Selection,
    credential: Option<String>,
) -> anyhow::Result<(bool, String)> {
    let mut path = "/dead-letters".to_owned();
    if let Some(name) = &meant.name {
        write!(path, "/{}", utf8_percent_encode(name, NON_ALPHANUMERIC))?;
    }
    let method = match action {
        Action::List | Action::Show => Method::GET,
        Action::Replay => Method::POST,
        Action::Drop => Method::DELETE,
    };
    if action == Action::Replay {
        path.push_str("/replay");
    }
    let said = [("reason", &meant.reason), ("group", &meant.group)];
    let said = said
        .iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)));
    for (sign, (key, value)) in ["?", "&"].iter().zip(said) {
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        write!(path, "{sign}{key}={value}")?;
    }
    // A replay takes as long as its pace says.
    let found = ask_for_long(admin, method, &path, credential.unwrap_or_default()).await?;
    let good = found
        .get("kept")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty);
    let text = match action {
        Action::List => list(&found),
        Action::Show | Action::Replay | Action::Drop => {
            format!("{}\n", serde_json::to_string_pretty(&found)?)
        }
    };
    Ok((good, text))
}

fn list(letters: &Value) -> String {
    let letters = letters.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out = String::new();
    for letter in letters {
        let text = |name: &str| {
            letter
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned()
        };
        let age = crate::ingest::outcome::dead::age_ms(
            letter.get("died_at").and_then(Value::as_u64).unwrap_or(0),
            SystemTime::now(),
        );
        let age = humantime::format_duration(std::time::Duration::from_secs(age / 1000));
        let key = letter.get("key").map(Value::to_string).unwrap_or_default();
        let line = [
            &key,
            &text("group"),
            &text("user"),
            &text("reason"),
            &text("id"),
        ];
        let line: Vec<&str> = line.iter().map(|part| part.as_str()).collect();
        out.push_str(&format!("{}  {age} ago\n", line.join("  ")));
    }
    out.push_str(&format!(
        "{} dead letters; key, group, user, reason, event id, age\n",
        letters.len()
    ));
    out
}

fn open(path: PathBuf, mut key_files: Vec<PathBuf>) -> anyhow::Result<Opened> {
    let (durability, old_key_files) = (
        Durability::Disk,
        key_files.split_off(key_files.len().min(1)),
    );
    let key_file = key_files.pop();
    let settings = JournalSettings {
        path,
        durability,
        max_bytes: u64::MAX,
        min_free: 0,
        key_file,
        old_key_files,
    };
    Ok(recover::inspect(&settings)?)
}

/// Reads a directory; whether it was whole, and what to print.
///
/// # Errors
/// It can't be opened.
pub fn journal(
    path: PathBuf,
    key_files: Vec<PathBuf>,
    verify: bool,
) -> anyhow::Result<(bool, String)> {
    let opened = open(path, key_files)?;
    let mut groups: BTreeMap<Arc<str>, (u64, u64)> = BTreeMap::new();
    let (mut oldest, mut lost): (Option<SystemTime>, u64) = (None, 0);
    opened.each_event(&[], |stored| {
        let group = groups.entry(stored.group).or_default();
        *group = (group.0 + 1, group.1 + stored.event.json().len() as u64);
        oldest = oldest.into_iter().chain([stored.event.received_at]).min();
        lost += u64::from(!stored.has_credential);
    });
    let mut out = String::new();
    for finding in &opened.findings {
        writeln!(out, "damage: {finding}")?;
    }
    if lost > 0 {
        writeln!(
            out,
            "damage: the credentials of {lost} events are missing; they will be dead letters"
        )?;
    }
    let pending: u64 = groups.values().map(|(count, _)| count).sum();
    if verify {
        let (dead, successors) = (opened.dead(), opened.successors().len());
        writeln!(
            out,
            "{pending} pending events, {dead} dead letters, {successors} session successors: every \
             record was read"
        )?;
    } else {
        for (group, (count, bytes)) in &groups {
            writeln!(
                out,
                "group {group}: {count} pending events, {bytes} bytes of JSON"
            )?;
        }
        let age = oldest
            .and_then(|at| at.elapsed().ok())
            .map(|age| std::time::Duration::from_secs(age.as_secs()));
        let age = age.map_or("-".to_owned(), |age| {
            humantime::format_duration(age).to_string()
        });
        let sums = opened.sums();
        writeln!(
            out,
            "pending {pending}, oldest {age}; dead letters {}, dropped {}",
            opened.dead(),
            sums.dropped
        )?;
        writeln!(
            out,
            "settled since the directory was made: accepted {}, duplicate {}, superseded {}, dead \
             {}",
            sums.accepted, sums.duplicate, sums.superseded, sums.dead
        )?;
        writeln!(
            out,
            "settled ids remembered {}, session successors {}, credentials {}, {} bytes on disk",
            opened.remembered(),
            opened.successors().len(),
            opened.credentials(),
            opened.taken()
        )?;
    }
    Ok((
        opened.findings.is_empty() && lost == 0 && opened.bad() == 0,
        out,
    ))
}

/// Pending events whose group a configuration no longer has (ruling 7).
///
/// # Errors
/// The journal can't be opened.
pub fn groups(config: &Config) -> anyhow::Result<String> {
    let settings = &config.journal;
    if settings.durability == Durability::None || !settings.path.join(FORMAT_FILE).exists() {
        return Ok(format!(
            "journal: there is none in {}\n",
            settings.path.display()
        ));
    }
    let keys = settings
        .key_file
        .iter()
        .chain(&settings.old_key_files)
        .cloned()
        .collect();
    let opened = open(settings.path.clone(), keys)?;
    let names: Vec<Arc<str>> = config
        .groups
        .iter()
        .map(|group| Arc::clone(&group.name))
        .collect();
    let (mut here, mut gone): (u64, BTreeMap<Arc<str>, u64>) = (0, BTreeMap::new());
    opened.each_event(&names, |stored| match stored.has_group {
        true => here += 1,
        false => *gone.entry(stored.group).or_default() += 1,
    });
    let mut out = format!("journal: {here} pending events of configured groups\n");
    for (group, count) in gone {
        writeln!(
            out,
            "note: {count} pending events of group {group}, which is gone: they become dead letters \
             (group_removed)"
        )?;
    }
    Ok(out)
}
