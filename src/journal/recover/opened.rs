//! What a start has found in a journal: its opener reads that before the journal takes events.

use super::findings::Finding;
use super::reading::FoundFrame;
use super::stored::{Names, Stored, StoredLetter, read_stored};
use crate::event::{Context, Fingerprint, GroupIndex, Principal};
use crate::journal::commit::index::LogIndex;
use crate::journal::directory::Hold;
use crate::journal::log::files::{Directory, Files};
use crate::journal::log::replay::{LeftOut, Missing};
use crate::journal::log::writer::{Origin, Sums};
use crate::journal::record::{self, Record, RefusalRecord, SettledIds};
use crate::journal::refusals::{Refusal, Refusals};
use crate::journal::successors::Successors;
use crate::journal::vault::Vault;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A journal that was opened and looked through, before it takes events.
pub struct Opened<F: Files = Directory> {
    pub(super) files: Arc<F>,
    pub(super) vault: Vault,
    pub(super) hold: Hold,
    pub(super) index: LogIndex,
    pub(super) origin: Origin,
    /// Files that can't be read.
    pub(super) unread_files: Vec<u64>,
    pub(super) pending: BTreeMap<u64, FoundFrame>,
    pub(super) letters: BTreeMap<u64, FoundFrame>,
    pub(super) contexts: HashMap<Fingerprint, Arc<Context>>,
    pub(super) settled: SettledIds,
    /// Records of refusals that are not lifted, one of a principal.
    pub(super) refusals: Vec<RefusalRecord>,
    /// Letters that went for want of room.
    pub(super) forgotten: Vec<(u64, Fingerprint)>,
    /// Segments that hold something that may not be synced.
    pub(super) unsynced: Vec<u64>,
    /// Numbers that are gone for good.
    pub(super) missing: Vec<Missing>,
    /// Files that hold nothing.
    pub(super) unused: Vec<u64>,
    pub(super) damaged_files: Vec<u64>,
    /// How many of the oldest segments are damaged, or hold records that should be sealed
    /// otherwise.
    pub(super) to_reclaim: usize,
    pub(super) bad: u64,
    /// What an operator should know.
    pub findings: Vec<Finding>,
    pub(super) path: PathBuf,
}

impl<F: Files> Opened<F> {
    /// The directory's secret: fingerprints and the keys of seen ids are made with it.
    #[must_use]
    pub const fn secret(&self) -> [u8; 32] {
        self.origin.secret
    }

    /// The ledger's sums.
    #[must_use]
    pub const fn sums(&self) -> Sums {
        self.index.sums
    }

    /// What is to be kept beside the log, where this was `known` of earlier starts.
    #[must_use]
    pub(super) fn left_out(&self, known: &LeftOut) -> LeftOut {
        let unread = self.unread_files.clone();
        match self.origin.left_out {
            Some((first, last)) => LeftOut {
                first,
                last,
                unread,
            },
            None => LeftOut {
                unread,
                ..known.clone()
            },
        }
    }

    /// The newest file that may hold something. One that can't be read counts: what is written before it
    /// would be read before it, too, and its numbers were given after.
    pub(super) fn newest_written(&self) -> Option<u64> {
        let newest = self.index.segments.back().map(|segment| segment.segment);
        newest.max(self.unread_files.iter().copied().max())
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that its files take.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.index.segments.iter().map(|segment| segment.size).sum()
    }

    /// Records that could not be read, and are passed over.
    #[must_use]
    pub const fn bad(&self) -> u64 {
        self.bad
    }

    /// Settled ids that are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.settled.len()
    }

    /// Dead letters.
    #[must_use]
    pub fn dead(&self) -> usize {
        self.letters.len()
    }

    /// Credentials that pending events and dead letters need.
    #[must_use]
    pub fn credentials(&self) -> usize {
        self.contexts.len()
    }

    /// Successors of sessions that are kept.
    #[must_use]
    pub const fn successors(&self) -> &Successors {
        &self.index.successors
    }

    /// The refusals of principals that have pending events for the service, however long ago they
    /// were: the time of such an event begins anew, and so does theirs (P3). `groups`: names in the
    /// order of the configuration.
    pub fn refusals(&self, groups: &[Arc<str>]) -> impl Iterator<Item = (Principal, Refusal)> {
        let standing = self.refusals.iter();
        let standing = standing.filter(|record| self.index.refusals.has_events(record.principal()));
        standing.map(move |record| {
            let index = |name: &String| {
                groups
                    .iter()
                    .position(|group| **group == **name)
                    .map(GroupIndex)
            };
            let lifted = record.lifted.iter().filter_map(index).collect();
            (
                record.principal(),
                Refusal {
                    is_unknown: record.is_unknown,
                    lifted,
                    life: Duration::MAX,
                },
            )
        })
    }

    /// Whom the journal asks for the refusals that it keeps. `groups`: names in the order of the
    /// configuration.
    pub fn ask_refusals(&mut self, source: Arc<dyn Refusals>, groups: &[Arc<str>]) {
        self.index.refusals.ask(source, groups);
    }

    /// Whether events are pending or dead, or settled with an id that is remembered.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.pending.is_empty() || !self.letters.is_empty() || !self.settled.is_empty()
    }

    /// The ids that were settled, each with the Unix milliseconds at which it may be forgotten, in
    /// the order in which they were written.
    #[must_use]
    pub fn settled(&self) -> &[([u8; 16], u64)] {
        &self.settled
    }

    /// Puts the ids of settled events in the order in which they expire if there are more than `most`: the
    /// log has those that were written again behind newer ones, and the first of them are forgotten.
    pub fn order_settled(&mut self, most: usize) {
        if self.settled.len() > most {
            self.settled.sort_unstable_by_key(|(_, until)| *until);
        }
    }

    /// Puts a shared context in the place of each that was found.
    pub fn share_contexts(&mut self, share: impl Fn(&Arc<Context>) -> Arc<Context>) {
        self.contexts
            .values_mut()
            .for_each(|context| *context = share(context));
    }

    /// Dead letters, oldest first. `groups`: names in the order of the configuration.
    pub fn letters(&mut self, groups: &[Arc<str>]) -> Vec<StoredLetter> {
        let mut names = Names::default();
        let letters = std::mem::take(&mut self.letters);
        let read = letters
            .into_iter()
            .filter_map(|(seq, FoundFrame { record, .. })| {
                let (letter, answer) = record::letter_body(&record)?;
                let answer = answer.map(Into::into);
                let stored =
                    read_stored((seq, 0), &letter.event, groups, &self.contexts, &mut names)?;
                let (reason, attempts) = (letter.reason.to_owned(), letter.attempts);
                Some(StoredLetter {
                    stored,
                    reason,
                    attempts,
                    status: letter.status,
                    died_ms: letter.died_ms,
                    answer,
                })
            });
        read.collect()
    }

    /// Letters that went for want of room.
    pub fn forget_letters(&mut self, letters: &[(u64, Fingerprint)]) {
        self.forgotten.extend_from_slice(letters);
    }

    /// Shows every pending event in order. `groups`: names in the order of the configuration.
    pub fn each_event(&self, groups: &[Arc<str>], mut visit: impl FnMut(Stored)) {
        let mut names = Names::default();
        for (seq, event) in &self.pending {
            self.read_event(*seq, event, groups, &mut names)
                .into_iter()
                .for_each(&mut visit);
        }
    }

    pub(super) fn read_event(
        &self,
        seq: u64,
        event: &FoundFrame,
        groups: &[Arc<str>],
        names: &mut Names,
    ) -> Option<Stored> {
        let record: Record<'_> = record::body(&event.record)?;
        let numbers = (seq, event.kept.size);
        let stored = read_stored(numbers, &record, groups, &self.contexts, names)?;
        Some(Stored {
            good: event.good,
            ..stored
        })
    }

    /// Syncs what was found before anything builds on it: the sums of the next segment count what
    /// was settled here.
    pub(super) fn sync_segments(&self) {
        let segments = self.index.segments.iter();
        let mut synced: Vec<_> = segments
            .map(|segment| self.files.sync(segment.segment))
            .collect();
        // Whatever became of those: the names of files that are ready are in it, too.
        synced.push(self.files.sync_directory());
        for error in synced.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "what the journal holds can't be synced");
        }
    }
}
