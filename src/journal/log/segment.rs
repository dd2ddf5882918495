//! What a segment says of itself in its first frame, and what is said of one while it is written.

use super::frame::{self, Flags, Kind};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The ledger's sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Events taken by the upstream, since the directory was made.
    pub accepted: u64,
    /// Known already, here or there.
    pub duplicate: u64,
    /// Made needless.
    pub superseded: u64,
    /// Given up, and not replayed since.
    pub dead: u64,
    /// Dead letters dropped for want of room.
    pub dropped: u64,
}

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The log's own, random.
    pub epoch: [u8; 16],
    /// The directory's secret.
    pub secret: [u8; 32],
    /// The number that would have been given next when it was begun: every lower one was given
    /// before it.
    pub next: u64,
    /// The sums before its first frame.
    pub sums: Sums,
}

impl Head {
    /// The first frame of a segment.
    pub(super) fn frame(&self, first: u64, synced: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::push(&mut bytes, Kind::Head, Flags::default(), first, |out| {
            // Serializing into a growing vector has no way to fail.
            *out = postcard::to_extend(self, std::mem::take(out)).unwrap_or_default();
        });
        frame::finish_all(&mut bytes, HEAD_SALT, synced);
        bytes
    }
}

/// Salt of all heads.
pub const HEAD_SALT: u32 = 0;

/// A segment's salt; a head is read without knowing the epoch.
#[must_use]
pub fn salt_of(epoch: &[u8; 16], segment: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(epoch);
    hasher.update(&segment.to_le_bytes());
    hasher.finalize()
}

/// A segment that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Its number among the segments.
    pub segment: u64,
    /// The number of its first frame.
    pub first: u64,
    /// Bytes that its file takes.
    pub size: u64,
}

/// A file that is full, and what its sync makes safe.
#[derive(Debug)]
pub struct Full<File> {
    /// The file.
    pub file: Arc<File>,
    /// The last number in it.
    pub last: u64,
}
