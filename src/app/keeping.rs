//! Where events are kept: the journal that the configuration asks for, or memory alone.

use super::takeover::open_when_free;
use crate::config::Config;
use crate::ingest::Keeping;
use crate::journal::directory::FORMAT_FILE;
use crate::journal::settings::{Durability, JournalSettings};
use std::time::Duration;

/// The journal that the configuration asks for, opened and looked through.
/// One that another process has is waited for so long.
pub(super) async fn keeping(config: &Config, patience: Duration) -> anyhow::Result<Keeping> {
    let settings = config.journal.clone();
    // A plain relay makes no directory; but one that has something is emptied, and so is one of
    // `durability = "none"`.
    let is_there = settings.path.join(FORMAT_FILE).exists();
    let needed = !config.groups.is_empty() && settings.durability != Durability::None;
    if !needed && !is_there {
        return in_memory(&settings);
    }
    let opened = open_when_free(&settings, patience).await?;
    let path = settings.path.display();
    for finding in &opened.findings {
        tracing::error!(journal = %path, "{finding}");
        eprintln!("journal {path}: {finding}");
    }
    if settings.durability == Durability::None {
        let (mut pending, letters) = (0_u64, opened.dead());
        opened.each_event(&[], |_| pending += 1);
        if pending == 0 && letters == 0 {
            return in_memory(&settings);
        }
        let what = format!(
            "{pending} pending events and {letters} dead letters of an earlier durability are in \
             it; durability is \"process\", not \"none\", until a start finds it empty"
        );
        tracing::warn!(journal = %path, "{what}");
        eprintln!("journal {path}: {what}");
        let settings = JournalSettings {
            durability: Durability::Process,
            ..settings
        };
        return Ok(Keeping::Disk(Box::new(opened), settings));
    }
    Ok(Keeping::Disk(Box::new(opened), settings))
}

fn in_memory(settings: &JournalSettings) -> anyhow::Result<Keeping> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| anyhow::anyhow!("the system gave no random numbers: {error}"))?;
    Ok(Keeping::Memory {
        max_bytes: settings.max_bytes,
        secret,
    })
}
