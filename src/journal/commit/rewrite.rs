//! Frames of earlier segments that are written once more, under their numbers: copies of what is
//! alive in a segment that is reclaimed, and after a start what an earlier process may not have
//! synced.

use super::queue::Queue;
use crate::journal::log::frame::{self, Flags, Frame, Kind};
use crate::journal::vault::Vault;

/// Queues a frame of an earlier segment as it was, under its number, but sealed as it would be
/// today.
pub fn push_again<T>(queue: &mut Queue<T>, vault: &Vault, found: &Frame<'_>) {
    match vault.sealed_anew(found) {
        Some((sealed, body)) => {
            let copy = if found.flags.has(Flags::COPY) {
                Flags::COPY
            } else {
                Flags::default()
            };
            queue.push_again(&Frame {
                flags: sealed.with(copy),
                body: &body,
                ..*found
            });
        }
        None => queue.push_again(found),
    }
}

/// Queues what a segment (`bytes`, with its `salt`) holds beyond the number `synced`, outcomes as
/// well as pending events: for all that is known it was not synced. After a sync that failed the
/// kernel shows it until the power goes, and no later sync brings it to the disk.
pub(super) fn push_unsynced<T>(
    queue: &mut Queue<T>,
    vault: &Vault,
    bytes: &[u8],
    salt: u32,
    synced: u64,
) {
    for frame in frame::each_whole(bytes, salt) {
        let matters = match frame.kind {
            Kind::Head => false,
            // One that was refused stays away, even if the power takes the frame that says so.
            Kind::Event => queue.is_alive(&frame),
            _ => true,
        };
        if frame.number > synced && matters {
            push_again(queue, vault, &frame);
        }
    }
}
