//! What the journal can be told.

use std::path::PathBuf;

/// `[journal]`.
#[derive(Debug, Clone)]
pub struct JournalSettings {
    /// Directory of the durable levels.
    pub path: PathBuf,
    /// What an acknowledged event survives (P1).
    pub durability: Durability,
    /// Pending events, bytes; at the cap calls are forwarded synchronously.
    pub max_bytes: u64,
    /// Bytes that must stay free on the directory's disk; below it calls are forwarded synchronously.
    pub min_free: u64,
    /// Seals records.
    pub key_file: Option<PathBuf>,
    /// Open what was sealed before.
    pub old_key_files: Vec<PathBuf>,
}

/// What an acknowledged event survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power cut.
    Disk,
    /// A `kill -9`.
    Process,
    /// Nothing: pending events live in memory.
    None,
}

impl Durability {
    /// The level's one name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Process => "process",
            Self::None => "none",
        }
    }
}
