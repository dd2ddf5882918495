//! Frames of earlier segments that are written once more, under their numbers: copies of what is
//! alive in a segment that is reclaimed, and after a start what an earlier process may not have
//! synced.

use super::queue::Queue;
use crate::journal::log::frame::{self, Frame, Kind};
use crate::journal::record;
use crate::journal::vault::Vault;

/// Queues a frame of an earlier segment as it was, under its number, but sealed as it would be
/// today.
pub fn push_again<T>(queue: &mut Queue<T>, vault: &Vault, found: &Frame<'_>) {
    match vault.sealed_anew(found) {
        Some((sealed, body)) => {
            queue.push_again(&Frame {
                flags: sealed.with(found.flags.without_seal()),
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
        } else if frame.number > synced
            && frame.kind == Kind::Event
            && let Some((letter, _)) = record::keyed(frame.body)
            && letter > 0
            && !queue.index.letters.contains_key(&letter)
        {
            // The letter that it was goes again as well; what ended it must, too.
            queue.push_dropped(vec![letter], false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::commit::index::LogIndex;
    use crate::journal::log::frame::Flags;
    use crate::journal::record;

    #[test]
    fn a_frame_that_is_sealed_anew_keeps_what_else_is_said_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("key");
        std::fs::write(&key, [7; 32]).unwrap();
        let (mut body, mut queue) = (Vec::new(), Queue::<()>::new(LogIndex::default()));
        record::put_keyed(&mut body, 0, b"a record");
        let found = Frame {
            kind: frame::Kind::Event,
            flags: Flags::GOOD.with(Flags::COPY),
            number: 5,
            synced: 0,
            body: &body,
        };
        push_again(&mut queue, &Vault::new(None, &[]).unwrap(), &found);
        push_again(&mut queue, &Vault::new(Some(&key), &[]).unwrap(), &found);
        let flags: Vec<_> = frame::each(&queue.frames)
            .map(|(again, _)| again.flags)
            .collect();
        assert_eq!(flags, [found.flags, found.flags.with(Flags::SEALED)]);
        // Taken off again, where nothing is sealed any more.
        let sealed = frame::each(&queue.frames).nth(1).unwrap().1.to_vec();
        let (sealed, _) = frame::each(&sealed).next().unwrap();
        let vault = Vault::new(None, &[key]).unwrap();
        let mut queue = Queue::<()>::new(LogIndex::default());
        push_again(&mut queue, &vault, &sealed);
        let (plain, _) = frame::each(&queue.frames).next().unwrap();
        assert_eq!((plain.flags, plain.body), (found.flags, &*body));
    }
}
