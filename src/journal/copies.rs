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

/// Bytes of copies that go in one group.
const COPIED_AT_ONCE: usize = 256 << 10;
/// Bytes that are looked at in one go, while no caller can append.
const LOOKED_AT_AT_ONCE: usize = 1 << 20;
/// Ids in one frame.
const IDS_AT_ONCE: usize = 4096;

/// Copies what is alive in a segment whose file holds these bytes; afterwards the copies are as
/// safe as the level promises.
///
/// # Errors
/// The journal can't be written, or a group was refused since the segment is being reclaimed: another
/// thread may have taken copies before the fence that was set behind them, and a letter that was
/// replaced may be there again.
pub fn copy_alive<F: Files, T: Ticket>(
    shared: &Shared<F, T>,
    bytes: &[u8],
    segment: u64,
) -> io::Result<()> {
    let mut frames = frame::each_whole(bytes, salt_of(&shared.epoch, segment)).peekable();
    let mut ids = Vec::new();
    let now = shared.health.now_ms();
    while frames.peek().is_some() {
        let (mut copied, mut looked) = (0, 0);
        let mut queue = shared.queue();
        while copied < COPIED_AT_ONCE
            && looked < LOOKED_AT_AT_ONCE
            && let Some(frame) = frames.next()
        {
            if queue.is_alive(&frame) {
                let flags = frame.flags.with(Flags::COPY);
                push_again(&mut queue, shared.vault(), &Frame { flags, ..frame });
                copied += frame.size();
            }
            ids.extend(ids_of(&frame));
            looked += frame.size();
        }
        drop(queue);
        write_waiting(shared)?;
    }
    copy_ids(shared, ids, now)?;
    // All groups from before the last fence have ended.
    if shared.queue().has_refused {
        return Err(io::Error::other("a group was refused meanwhile"));
    }
    Ok(())
}

/// Ids that are still to be known, the newest ones if there are too many.
fn copy_ids<F: Files, T: Ticket>(
    shared: &Shared<F, T>,
    mut ids: SettledIds,
    now: u64,
) -> io::Result<()> {
    let found = ids.len();
    ids.retain(|(_, until)| *until > now);
    let mut queue = shared.queue();
    let spare = queue
        .index
        .seen
        .saturating_sub(shared.bounds.max_seen)
        .saturating_sub(found - ids.len());
    ids.sort_unstable_by_key(|(_, until)| *until);
    ids.drain(..spare.min(ids.len()));
    queue.index.seen = queue.index.seen.saturating_sub(found - ids.len());
    for chunk in ids.chunks(IDS_AT_ONCE) {
        queue.push(Kind::Seen, Flags::default(), |out| record::put(out, &chunk));
    }
    drop(queue);
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
