//! Copies of what is alive in a segment, at the end of the log and under the same numbers: the
//! segment can go afterwards.

use super::commit::leader::{fence, lead_if_free};
use super::commit::rewrite::push_again;
use super::commit::shared::Shared;
use super::entry::Ticket;
use super::log::files::Files;
use super::log::frame::{self, Flags, Frame, Kind};
use super::log::writer::salt_of;
use super::record::{self, SettledEvent, SettledIds};
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes that are looked at in one go; what of them is alive goes in one group.
const LOOKED_AT_AT_ONCE: usize = 256 << 10;
/// After each look there is a pause so many times as long, so that calls have most of a processor
/// that they share with this.
const PAUSES: u32 = 3;
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// Ids in one frame, which goes in a group of its own.
const IDS_AT_ONCE: usize = 4096;

/// Copies what is alive in a segment whose file holds these bytes; afterwards the copies are as
/// safe as the level promises.
///
/// # Errors
/// The journal can't be written.
pub fn copy_alive<F: Files, T: Ticket>(
    shared: &Shared<F, T>,
    bytes: &[u8],
    segment: u64,
) -> io::Result<()> {
    let mut frames = frame::each_whole(bytes, salt_of(&shared.epoch, segment)).peekable();
    let mut ids = Vec::new();
    let now = shared.health.now_ms();
    while frames.peek().is_some() {
        let began = Instant::now();
        // Proven before the queue is locked: no caller can append meanwhile.
        let (mut found, mut looked) = (Vec::new(), 0);
        while looked < LOOKED_AT_AT_ONCE
            && let Some(frame) = frames.next()
        {
            ids.extend(ids_of(&frame));
            looked += frame.size();
            found.push(frame);
        }
        let mut queue = shared.queue();
        let mut has_copies = false;
        for frame in found {
            if queue.is_alive(&frame) {
                let flags = frame.flags.with(Flags::COPY);
                push_again(&mut queue, shared.vault(), &Frame { flags, ..frame });
                has_copies = true;
            }
        }
        drop(queue);
        if has_copies {
            write_waiting(shared)?;
        }
        if has_time(shared) {
            std::thread::sleep((began.elapsed() * PAUSES).min(LONGEST_PAUSE));
        }
    }
    copy_ids(shared, ids, now)
}

/// Nobody waits for the room, and the log doesn't grow faster than it is reclaimed.
fn has_time<F: Files, T: Ticket>(shared: &Shared<F, T>) -> bool {
    let is_behind = || shared.queue().is_loose(2 * shared.bounds.segment_size);
    shared.health.takes_events() && !shared.is_closing() && !is_behind()
}

/// Ids that are still to be known, the newest ones if there are too many.
fn copy_ids<F: Files, T: Ticket>(
    shared: &Shared<F, T>,
    mut ids: SettledIds,
    now: u64,
) -> io::Result<()> {
    let found = ids.len();
    ids.retain(|(_, until)| *until > now);
    let seen = shared.queue().index.seen;
    let spare = seen
        .saturating_sub(shared.bounds.max_seen)
        .saturating_sub(found - ids.len());
    ids.sort_unstable_by_key(|(_, until)| *until);
    ids.drain(..spare.min(ids.len()));
    let gone = found - ids.len();
    {
        let seen = &mut shared.queue().index.seen;
        *seen = seen.saturating_sub(gone);
    }
    for chunk in ids.chunks(IDS_AT_ONCE) {
        let write = |out: &mut Vec<u8>| record::put(out, &chunk);
        shared.queue().push(Kind::Seen, Flags::default(), write);
        write_waiting(shared)?;
    }
    write_waiting(shared)
}

/// Waits until everything that is queued is as safe as the level promises.
///
/// # Errors
/// The journal can't be written.
pub fn write_waiting<F: Files, T: Ticket>(shared: &Shared<F, T>) -> io::Result<()> {
    let mut passed = fence(shared);
    loop {
        lead_if_free(shared);
        match passed.try_recv() {
            Ok(true) => return Ok(()),
            // Another thread leads, and will have written it soon.
            Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {
                std::thread::sleep(Duration::from_micros(100))
            }
            Ok(false) | Err(_) => return Err(io::Error::other("the journal can't be written")),
        }
    }
}

fn ids_of(frame: &Frame<'_>) -> SettledIds {
    match frame.kind {
        Kind::Settled => {
            let settled: Vec<SettledEvent> = record::body(frame.body).unwrap_or_default();
            settled
                .into_iter()
                .filter_map(|settled| settled.seen)
                .collect()
        }
        Kind::Seen => record::body(frame.body).unwrap_or_default(),
        _ => SettledIds::new(),
    }
}
