//! The refusal of a group that could not be written: what it would have changed is taken back.
//!
//! Its events and their numbers are given up, and declared void by the first group that can be
//! written again. All other frames wait for that group, in front of what has come meanwhile.

use super::index::Kept;
use super::queue::{Queue, Waiting};
use crate::journal::log::frame::{self, Flags, Kind};

/// Takes a group back whose frames could not be written, with the events that waited for it.
pub(super) fn take_back_group<T>(queue: &mut Queue<T>, frames: &[u8], waiting: &[Waiting<T>]) {
    queue.has_refused = true;
    take_back_events(queue, waiting);
    requeue_frames(queue, frames);
}

fn take_back_events<T>(queue: &mut Queue<T>, waiting: &[Waiting<T>]) {
    for Waiting {
        journaled,
        replaced,
        ..
    } in waiting
    {
        let index = &mut queue.index;
        index.remove_event(Kept {
            number: journaled.seq(),
            size: journaled.size,
        });
        let for_service = journaled.for_service();
        let credential = journaled.event().lane.credential;
        if let Some(replaced) = replaced {
            index.insert_letter(replaced.letter, replaced.kept);
            index.sums.dead += 1;
        }
        // A context of both is used by the letter that is there again, in place of the event.
        if replaced.is_none_or(|replaced| replaced.credential != credential) {
            index.release_context(credential);
        }
        queue.end_for_service(for_service);
    }
}

fn requeue_frames<T>(queue: &mut Queue<T>, frames: &[u8]) {
    let mut kept = Vec::new();
    let mut first = None;
    for (frame, whole) in frame::each(frames) {
        let is_copy = frame.flags.has(Flags::COPY);
        let is_of_before = frame.number < queue.own;
        match frame.kind {
            // The segment that they come from stays, and they are copied anew.
            _ if is_copy && queue.is_reclaiming => {}
            // An earlier process has told of it.
            _ if is_of_before => kept.extend_from_slice(whole),
            Kind::Event if !is_copy => queue.declare_void(frame.number),
            // It counts what was taken back.
            Kind::State => {
                queue.declare_void(frame.number);
                queue.owes_sums = true;
            }
            // As for copies.
            Kind::Seen => queue.declare_void(frame.number),
            _ => {
                first = first.or_else(|| (!is_copy).then_some(frame.number));
                kept.extend_from_slice(whole);
            }
        }
    }
    if !kept.is_empty() {
        if queue.frames.is_empty() {
            queue.first = queue.index.next;
        }
        kept.append(&mut queue.frames);
        queue.first = first.unwrap_or(queue.first);
        queue.frames = kept;
    }
}
