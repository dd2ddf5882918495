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
    /// The first and the last number that the process left out at its start: they may be in a file
    /// that could not be read.
    pub left_out: Option<(u64, u64)>,
}

impl Head {
    /// What the first frame of a segment says. An earlier binary's ends with the sums, where this one's
    /// has a zero if no number was left out; what is behind that is passed over, there as here.
    pub fn read(body: &[u8]) -> Option<Self> {
        postcard::from_bytes(&[body, &[0]].concat()).ok()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    /// In a head of its own, and in one that an earlier or a later binary wrote.
    #[test]
    fn heads_of_other_binaries_are_read() {
        #[derive(Serialize)]
        struct Earlier {
            epoch: [u8; 16],
            secret: [u8; 32],
            next: u64,
            sums: Sums,
        }
        let head = Head {
            epoch: [1; 16],
            secret: [2; 32],
            next: 300,
            sums: Sums {
                accepted: 7,
                ..Sums::default()
            },
            left_out: Some((200, 290)),
        };
        let written = postcard::to_allocvec(&head).unwrap();
        assert_eq!(Head::read(&written), Some(head));
        let earlier = Earlier {
            epoch: head.epoch,
            secret: head.secret,
            next: head.next,
            sums: head.sums,
        };
        let left_out = None;
        let earlier = postcard::to_allocvec(&earlier).unwrap();
        assert_eq!(Head::read(&earlier), Some(Head { left_out, ..head }));
        assert!(written.starts_with(&earlier), "the earlier binary reads it");
        assert_eq!(Head::read(&[written, vec![1, 2]].concat()), Some(head));
        assert_eq!(Head::read(&earlier[..earlier.len() - 1]), None);
    }
}
