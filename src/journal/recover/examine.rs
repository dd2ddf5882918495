//! One look at a log: what is alive in it, what is wrong with it, and what the next process goes on
//! from.

use super::findings::describe_damage;
use super::opened::Opened;
use super::reading::Reading;
use crate::event::{Context, Fingerprint, Principal};
use crate::journal::commit::index::{Kept, LogIndex};
use crate::journal::directory::Hold;
use crate::journal::error::{OpenError, io_error_at};
use crate::journal::log::files::Files;
use crate::journal::log::frame::Frame;
use crate::journal::log::replay::{LeftOut, Replayed, replay};
use crate::journal::log::writer::{Begun, Origin};
use crate::journal::record::RefusalRecord;
use crate::journal::settings::LARGEST_SEGMENT;
use crate::journal::vault::{Vault, VaultError};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Contexts by their fingerprints.
type Contexts = HashMap<Fingerprint, Arc<Context>>;

/// Reads the log, and tells what in it is alive. `known`: its epoch and the directory's secret, if
/// they are known from elsewhere, and what earlier starts left out.
///
/// # Errors
/// The file system refuses, or a record can't be opened with the keys.
pub(super) fn examine<F: Files>(
    files: F,
    vault: Vault,
    path: &Path,
    (known, left_out): (Option<([u8; 16], [u8; 32])>, &LeftOut),
) -> Result<Opened<F>, OpenError> {
    let mut reading = Reading::new(&vault);
    let mut unreadable = Vec::new();
    let visit = |segment, frame: &Frame<'_>| {
        if !reading.read_frame(frame) {
            unreadable.push(segment);
        }
    };
    let mut replayed = replay(&files, known.map(|(epoch, _)| epoch), left_out, visit)
        .map_err(io_error_at(path))?;
    // A record that can't be read here may be read by other means: its file is kept.
    replayed.unreadable.extend(unreadable);
    replayed.unreadable.sort_unstable();
    replayed.unreadable.dedup();
    if let Some(error) = reading.wrong_key.take() {
        return Err(error.into());
    }
    let (mut index, contexts) = build_index(&reading, &replayed);
    let refusals = find_refusals(&reading, &mut index);
    let Reading {
        sums,
        pending,
        letters,
        settled,
        bad,
        is_open,
        ..
    } = reading;
    let (epoch, secret) = match (replayed.head, known) {
        (Some(head), _) => (head.epoch, head.secret),
        (None, Some(known)) => known,
        (None, None) => fresh_origin()?,
    };
    let origin = Origin {
        epoch,
        secret,
        segment_size: LARGEST_SEGMENT,
        next_segment: replayed.next_segment,
        last: replayed.next - 1,
        synced: replayed.synced,
        sums,
        left_out: replayed.left_out,
    };
    let findings = describe_damage(&replayed, bad);
    let missing = replayed.damaged.iter().chain(&replayed.lost).copied();
    let missing = if replayed.unread.is_empty() {
        missing.collect()
    } else {
        Vec::new()
    };
    // Those that are damaged go as well, and all before them: what is whole in them is copied.
    let is_damaged = |segment: &Begun| replayed.unreadable.contains(&segment.segment);
    let damaged = index
        .segments
        .iter()
        .rposition(is_damaged)
        .map_or(0, |last| last + 1);
    let to_reclaim = if is_open {
        index.segments.len()
    } else {
        damaged
    };
    Ok(Opened {
        files: Arc::new(files),
        vault,
        hold: Hold::default(),
        index,
        origin,
        pending,
        letters,
        contexts,
        settled,
        refusals,
        forgotten: Vec::new(),
        unsynced: replayed.unsynced(),
        missing,
        unused: replayed.unused,
        unread_files: replayed.unread,
        damaged_files: replayed.unreadable,
        to_reclaim,
        bad,
        findings,
        path: path.to_owned(),
    })
}

/// The index of what was found, and the contexts that are used.
fn build_index(reading: &Reading<'_>, replayed: &Replayed) -> (LogIndex, Contexts) {
    let mut index = LogIndex::default();
    (index.sums, index.next, index.seen) = (reading.sums, replayed.next, reading.settled.len());
    index.segments = replayed.segments.iter().copied().collect();
    index.events.begin_at(
        index
            .segments
            .front()
            .map_or(replayed.next, |segment| segment.first),
    );
    let mut contexts = Contexts::new();
    let mut retain_context = |number: u64, fingerprint: Fingerprint, index: &mut LogIndex| {
        let Some((kept, context)) = reading.contexts.get(&fingerprint) else {
            index.without_context.insert(number);
            return;
        };
        contexts
            .entry(fingerprint)
            .or_insert_with(|| Arc::clone(context));
        if !index.retain_context(fingerprint) {
            index.insert_context(fingerprint, *kept);
            index.retain_context(fingerprint);
        }
    };
    for (number, event) in &reading.pending {
        index.insert_event(Kept {
            number: *number,
            size: event.kept.size,
        });
        retain_context(*number, event.credential, &mut index);
    }
    for (key, letter) in &reading.letters {
        index.insert_letter(*key, letter.kept);
        retain_context(*key, letter.credential, &mut index);
    }
    for (record, number) in &reading.successions {
        let succession = record.succession();
        if let Some(gone) = index.successors.insert(succession, record.until_ms) {
            index.remove_succession(gone);
        }
        index.insert_succession(succession.bearer, *number);
    }
    (index, contexts)
}

/// Counts who has pending events that are for the service, and gives back the newest record of each
/// principal that is not lifted. One that is over speaks for events from before it only.
fn find_refusals(reading: &Reading<'_>, index: &mut LogIndex) -> Vec<RefusalRecord> {
    let mut oldest: HashMap<Principal, u64> = HashMap::new();
    for (number, event) in &reading.pending {
        if event.for_service
            && let Some((_, context)) = reading.contexts.get(&event.credential)
        {
            let principal = context.keys.principal;
            index.refusals.add_event(principal);
            oldest.entry(principal).or_insert(*number);
        }
    }
    let mut found = Vec::new();
    for (record, number) in reading.refusals.values() {
        let is_of_older = oldest
            .get(&record.principal())
            .is_some_and(|oldest| oldest < number);
        if record.until_ms > 0 && (!record.is_over || is_of_older) {
            index.refusals.insert(record.clone(), *number);
            found.push(record.clone());
        }
    }
    found
}

/// A new log's epoch and secret.
fn fresh_origin() -> Result<([u8; 16], [u8; 32]), OpenError> {
    let (mut epoch, mut secret) = ([0; 16], [0; 32]);
    getrandom::fill(&mut epoch).map_err(VaultError::Random)?;
    getrandom::fill(&mut secret).map_err(VaultError::Random)?;
    Ok((epoch, secret))
}
