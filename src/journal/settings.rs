//! The settings of the journal.

use std::path::PathBuf;
use std::time::Duration;

/// Bytes of a segment, where `max_bytes` allows it.
pub(super) const LARGEST_SEGMENT: u64 = 16 << 20;
/// The least bytes of one.
pub(super) const LEAST_SEGMENT: u64 = 256 << 10;
/// A segment is no more than this part of `max_bytes`.
const PART: u64 = 16;

/// `[journal]`.
#[derive(Debug, Clone)]
pub struct JournalSettings {
    /// Directory of the durable levels.
    pub path: PathBuf,
    /// What an acknowledged event survives (P1).
    pub durability: Durability,
    /// Pending events, bytes; at the cap calls are forwarded synchronously.
    pub max_bytes: u64,
    /// Bytes that must stay free on the directory's disk; below it calls are forwarded
    /// synchronously.
    pub min_free: u64,
    /// Seals records.
    pub key_file: Option<PathBuf>,
    /// Open what was sealed before.
    pub old_key_files: Vec<PathBuf>,
}

impl JournalSettings {
    /// Bytes of a segment.
    pub(super) fn segment_size(&self) -> u64 {
        (self.max_bytes / PART).clamp(LEAST_SEGMENT, LARGEST_SEGMENT)
    }
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

/// How long the journal remembers what was.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Settled ids remembered; the oldest are forgotten first.
    pub max_seen: usize,
    /// How long an event may be pending, and its id known after that.
    pub events: Duration,
}
