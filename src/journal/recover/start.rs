//! From what a start has found to a journal that takes events: recovered events go back to their
//! tails, and the journal's thread starts.

use super::super::{Disk, Journal, Level};
use super::opened::Opened;
use super::stored::{Names, Stored};
use crate::clock::Clock;
use crate::event::{Fingerprint, Outcome, Reason};
use crate::journal::commit::Committer;
use crate::journal::commit::queue::Settle;
use crate::journal::commit::shared::{Bounds, Shared};
use crate::journal::entry::{self, Journaled, Ticket};
use crate::journal::health::Health;
use crate::journal::log::files::Files;
use crate::journal::log::writer::{Depth, Origin, Writer};
use crate::journal::settings::{Durability, JournalSettings, LEAST_SEGMENT, Memory};
use crate::journal::successors::ActiveFamilies;
use crate::journal::tail::Tails;
use crate::journal::writer_thread::WriterThread;
use std::sync::Arc;
use tokio::time::Instant;

/// Where a recovered event goes.
#[derive(Debug)]
pub enum Placement<T> {
    /// Back into its window, by way of a shard's tail.
    Tail(usize, T),
    /// It is a dead letter now, as it is stored; others went for want of room.
    Dead(Reason, Vec<u8>, Vec<(u64, Fingerprint)>),
}

impl<F: Files> Opened<F> {
    /// Puts every pending event where `place` says and starts the journal's thread. The tails hold
    /// the events in order before a caller can append to them.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start<T: Ticket>(
        mut self,
        settings: &JournalSettings,
        groups: &[Arc<str>],
        tails: Tails<T>,
        (memory, clock): (Memory, Clock),
        place: impl FnMut(&Stored) -> Placement<T>,
    ) -> std::io::Result<Journal<T, F>> {
        let health = Arc::new(Health::new(clock.clone()));
        let active = ActiveFamilies::new(Instant::now(), memory.events, self.has_events());
        let newest = self.newest_written();
        health.note_unread(self.unread_files.len());
        let dead = self.place_pending(groups, &tails, (&health, &clock), place);
        self.sync_segments();
        let Self {
            files,
            vault,
            hold,
            index,
            origin,
            forgotten,
            unsynced,
            missing,
            unused,
            to_reclaim,
            refusals,
            ..
        } = self;
        let depth = if settings.durability == Durability::Disk {
            Depth::Disk
        } else {
            Depth::Process
        };
        let segment_size = settings.segment_size();
        let bounds = Bounds {
            depth,
            min_free: settings.min_free,
            max_seen: memory.max_seen,
            succession: memory.events,
            segment_size,
        };
        let mut writer = Writer::new(
            Arc::clone(&files),
            depth,
            Origin {
                segment_size,
                ..origin
            },
        );
        reuse_files((&*files, LEAST_SEGMENT), &mut writer, newest, &unused);
        let parts = (files, origin.epoch);
        let shards = tails.len();
        let shared = Arc::new(Shared::new(
            parts,
            vault,
            index,
            bounds,
            tails,
            Arc::clone(&health),
            writer,
        ));
        let committer = Committer::new(Arc::clone(&shared));
        committer.rewrite_unsynced(missing, &unsynced, origin.synced);
        committer.restate_refusals(&refusals);
        committer.settle_all(dead);
        committer.drop_letters(&forgotten, true);
        let mut thread = WriterThread::new(shared, hold, to_reclaim);
        // ORDER: before the first event, or one would be kept that leaves too little room.
        thread.look_at_the_disk();
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || thread.run())?;
        let level = Level::Disk(Disk {
            committer,
            groups: groups.to_vec(),
            shards,
            active,
        });
        Ok(Journal {
            level,
            health,
            max_bytes: settings.max_bytes,
        })
    }

    /// Hands every pending event to its tail; gives back those that are dead letters now.
    fn place_pending<T: Ticket>(
        &mut self,
        groups: &[Arc<str>],
        tails: &Tails<T>,
        (health, clock): (&Health, &Clock),
        mut place: impl FnMut(&Stored) -> Placement<T>,
    ) -> Vec<Settle> {
        let (now, wall) = (Instant::now(), clock.now());
        let mut dead = Vec::new();
        let mut names = Names::default();
        for (seq, event) in std::mem::take(&mut self.pending) {
            let Some(stored) = self.read_event(seq, &event, groups, &mut names) else {
                continue;
            };
            match place(&stored) {
                Placement::Tail(shard, mut ticket) => {
                    health.hold(entry::size(&stored.event));
                    let age = wall
                        .duration_since(stored.event.received_at)
                        .unwrap_or_default();
                    // A clock that began later than the event: as old as it can tell.
                    let since = now.checked_sub(age).unwrap_or(now);
                    ticket.kept();
                    let journaled = Journaled {
                        seq,
                        size: stored.size,
                        event: stored.event,
                        since,
                        ticket,
                    };
                    if let Some(tail) = tails.get(shard % tails.len().max(1)) {
                        drop(tail.take(Box::new(journaled)));
                    }
                }
                Placement::Dead(reason, letter, dropped) => dead.push(Settle {
                    seq,
                    size: stored.size,
                    credential: stored.event.lane.credential,
                    for_service: stored.for_service(),
                    outcome: Outcome::Dead(reason),
                    seen: None,
                    letter: Some(self.vault.draft(letter)),
                    dropped,
                }),
            }
        }
        dead
    }
}

/// Files that an earlier process made ahead of their use are ready for this one: on a full disk
/// there are no others. Those that are too old or too small are deleted; one that can't be is left
/// to the next start.
pub(super) fn reuse_files<F: Files>(
    (files, least): (&F, u64),
    writer: &mut Writer<F>,
    newest: Option<u64>,
    unused: &[u64],
) {
    for segment in unused {
        let is_new = newest.is_none_or(|newest| newest < *segment);
        let reopened = files
            .reopen(*segment)
            .ok()
            .filter(|(_, size)| is_new && *size >= least);
        if !reopened.is_some_and(|(file, size)| writer.offer_spare(*segment, size, file))
            && let Err(error) = files.delete(*segment)
        {
            tracing::debug!(%error, "an unused file of the journal can't be deleted");
        }
    }
}
