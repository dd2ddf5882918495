//! The journal's thread: it writes what no caller waits for and what must be synced, keeps files
//! ready, looks at the room that is left, and reclaims segments.

use super::commit::leader::{lead_if_free, write_waiting};
use super::commit::shared::Shared;
use super::directory::Hold;
use super::entry::Ticket;
use super::fill::Fill;
use super::log::files::Files;
use super::log::writer::Depth;
use super::reclaim::Reclaim;
use super::syncs::Syncs;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often the room that is left is looked at.
const CHORES: Duration = Duration::from_millis(200);
/// Longest pause between two attempts to write after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Longest pause between two attempts to reclaim a segment.
const LONGEST_RECLAIM_PAUSE: Duration = Duration::from_hours(1);
/// After steps that reclaim or fill, a pause of so many times what they took.
const PAUSE_PER_STEP: u32 = 8;
/// Steps that reclaim go on for no longer, but for the last of them.
const LONGEST_TURN: Duration = Duration::from_millis(10);
/// That pause is no longer.
const LONGEST_STEP_PAUSE: Duration = Duration::from_secs(1);

/// The thread's own state.
pub struct WriterThread<F: Files, T: Ticket> {
    shared: Arc<Shared<F, T>>,
    hold: Hold,
    syncs: Syncs<F>,
    reclaim: Option<Reclaim<F>>,
    /// What was reserved is filled, too.
    pub(super) fills: bool,
    /// Not before: a file could not be filled.
    fills_from: Instant,
    fill: Option<Fill<F::File>>,
    next_fill: Instant,
    /// So many of the oldest segments are reclaimed at once.
    to_reclaim: usize,
    next_chores: Instant,
    next_reclaim: Instant,
    /// After a segment that can't be reclaimed.
    reclaim_pause: Duration,
    pause: Duration,
}

impl<F: Files, T: Ticket> WriterThread<F, T> {
    /// `hold` keeps the directory as long as it runs. `to_reclaim`: so many of the oldest segments
    /// are reclaimed at once, since they are damaged or what is in them should be sealed otherwise.
    pub fn new(shared: Arc<Shared<F, T>>, hold: Hold, to_reclaim: usize) -> Self {
        Self {
            shared,
            hold,
            syncs: Syncs::new(),
            reclaim: None,
            fills: false,
            fills_from: Instant::now(),
            fill: None,
            next_fill: Instant::now(),
            to_reclaim,
            next_chores: Instant::now(),
            next_reclaim: Instant::now(),
            reclaim_pause: LONGEST_PAUSE,
            pause: CHORES,
        }
    }

    /// Runs until the journal is closed, or no caller is left that could bring it anything.
    pub fn run(mut self) {
        let _guard = PanicGuard(Arc::clone(&self.shared));
        // The files that a start makes are used as they are: it takes no longer than it must.
        self.fills =
            self.shared.bounds.depth == Depth::Disk && self.shared.files.are_written_in_place();
        loop {
            let steps = [
                self.reclaim.is_some().then_some(self.next_reclaim),
                self.fill.is_some().then_some(self.next_fill),
            ];
            let next = steps.into_iter().flatten().fold(self.next_chores, Ord::min);
            self.shared
                .wait_for_work(next.saturating_duration_since(Instant::now()));
            if self.shared.is_closing() {
                break;
            }
            let is_due = Instant::now() >= self.next_chores;
            if self.shared.take_spare_request() && !is_due {
                self.look_at_the_disk();
            }
            if is_due || self.shared.health.takes_events() {
                lead_if_free(&self.shared);
            }
            if is_due {
                self.do_chores();
            }
            if self.reclaim.is_some() && Instant::now() >= self.next_reclaim {
                self.reclaim_some();
            }
            if Instant::now() >= self.next_fill {
                self.go_on_filling();
            }
        }
        self.end();
    }

    /// What has to be done now and then.
    pub(super) fn do_chores(&mut self) {
        self.look_at_the_disk();
        self.syncs.sync_full_files(&self.shared);
        let fails = self.shared.health.failure().is_some();
        self.pause = if fails {
            (self.pause * 2).min(LONGEST_PAUSE)
        } else {
            CHORES
        };
        self.next_chores = Instant::now() + self.pause;
        if !fails && self.reclaim.is_none() && Instant::now() >= self.next_reclaim {
            self.begin_reclaiming();
        }
    }

    fn begin_reclaiming(&mut self) {
        let may_go = self.shared.health.unread() == 0;
        if may_go && (self.to_reclaim > 0 || self.count_loose() > 0) {
            let begun = Reclaim::begin(&self.shared, &self.syncs);
            self.reclaim = self.note_failure(begun, LONGEST_PAUSE).flatten();
        }
    }

    /// Steps of what was begun, the more at once, and the shorter the pause after them, the more
    /// there is to reclaim: calls have the processor and the disk, too, but must not outrun it.
    fn reclaim_some(&mut self) {
        let loose = self.count_loose().min(8);
        let began = Instant::now();
        for _ in 0..1 << loose {
            self.go_on_reclaiming();
            if began.elapsed() > LONGEST_TURN {
                break;
            }
        }
        let pause = (began.elapsed() * PAUSE_PER_STEP / (1 << loose)).min(LONGEST_STEP_PAUSE);
        // One that failed has its own.
        self.next_reclaim = self.next_reclaim.max(Instant::now() + pause);
        if self.reclaim.is_none() {
            // One after the other, as long as there is one to reclaim.
            self.next_chores = self.next_chores.min(self.next_reclaim);
        }
    }

    /// A step of what was begun.
    pub(super) fn go_on_reclaiming(&mut self) {
        let Some(mut reclaim) = self.reclaim.take() else {
            return;
        };
        let more = reclaim.step(&self.shared, &mut self.syncs);
        // A group that was refused meanwhile says nothing of the segment.
        let has_refused = self.shared.queue().has_refused;
        let pause = if has_refused {
            LONGEST_PAUSE
        } else {
            self.reclaim_pause
        };
        match self.note_failure(more, pause) {
            Some(true) => self.reclaim = Some(reclaim),
            Some(false) => {
                self.to_reclaim = self.to_reclaim.saturating_sub(1);
                self.reclaim_pause = LONGEST_PAUSE;
            }
            None if has_refused => {}
            // Each attempt may leave copies behind.
            None => self.reclaim_pause = (self.reclaim_pause * 2).min(LONGEST_RECLAIM_PAUSE),
        }
    }

    fn count_loose(&self) -> u64 {
        let segment_size = self.shared.bounds.segment_size;
        self.shared.queue().count_loose(segment_size)
    }

    /// What was begun is given up if it failed, and tried again after a pause.
    fn note_failure<R>(&mut self, result: io::Result<R>, pause: Duration) -> Option<R> {
        result
            .inspect_err(|error| {
                tracing::warn!(%error, "a segment of the journal can't be reclaimed now");
                self.shared.set_reclaiming(false);
                self.next_reclaim = Instant::now() + pause;
            })
            .ok()
    }

    /// How long after a segment that can't be reclaimed the next attempt is made.
    #[cfg(test)]
    pub(super) const fn reclaim_pause(&self) -> Duration {
        self.reclaim_pause
    }

    /// Whether a segment is being reclaimed.
    #[cfg(test)]
    pub(super) const fn is_reclaiming(&self) -> bool {
        self.reclaim.is_some()
    }

    /// Files are made ahead of their use, where no caller waits for it.
    pub(super) fn look_at_the_disk(&mut self) {
        let made = self.make_spares();
        let low = match self.shared.files.free() {
            Ok(free) => free < self.shared.bounds.min_free,
            // A file system that does not say has to speak by failing.
            Err(_) => false,
        };
        let why = made.err().map(|error| error.to_string());
        self.shared.health.set_low(
            low || why.is_some(),
            why.as_deref().unwrap_or("journal.min_free"),
        );
    }

    fn make_spares(&mut self) -> io::Result<()> {
        while self.fill.is_none() {
            let Some((segment, size)) = self.shared.writer().want_spare() else {
                break;
            };
            let file = self.shared.files.create(segment, size)?;
            // ORDER: its name is on the disk before anything may be written to it.
            let named = self.shared.files.sync_directory();
            if named.is_ok() && self.fills && Instant::now() >= self.fills_from {
                self.fill = Some(Fill::new(segment, size, file));
            } else {
                let is_used = named.is_ok() && self.offer_spare(segment, size, file);
                if !is_used {
                    self.shared.files.delete(segment)?;
                }
                named?;
            }
        }
        Ok(())
    }

    /// A step of the file that is being filled, if one is.
    pub(super) fn go_on_filling(&mut self) {
        let Some(mut fill) = self.fill.take() else {
            return;
        };
        let began = Instant::now();
        // Where the disk is nearly full it is needed as it is.
        let is_needed = self.shared.health.is_low();
        let more = if is_needed || self.shared.writer().is_late(fill.segment) {
            Ok(false)
        } else {
            fill.step()
        };
        let pause = (began.elapsed() * PAUSE_PER_STEP).min(LONGEST_STEP_PAUSE);
        self.next_fill = Instant::now() + pause;
        if matches!(more, Ok(true)) {
            self.fill = Some(fill);
            return;
        }
        let Fill {
            segment,
            size,
            file,
            ..
        } = fill;
        if let Err(error) = &more {
            tracing::warn!(%error, "a file for the journal can't be filled");
            self.fills_from = Instant::now() + LONGEST_PAUSE;
        }
        let is_used = more.is_ok() && self.offer_spare(segment, size, file);
        if !is_used && let Err(error) = self.shared.files.delete(segment) {
            tracing::debug!(%error, "a file that was made ahead can't be deleted");
        }
    }

    fn offer_spare(&self, segment: u64, size: u64, file: F::File) -> bool {
        self.shared.writer().offer_spare(segment, size, file)
    }

    /// The last group, to the disk at every level, and then the directory is free.
    fn end(mut self) {
        let written =
            write_waiting(&self.shared).and_then(|()| self.syncs.sync_written(&self.shared));
        // ORDER: no thread writes once another process may.
        self.shared.set_ended();
        self.shared.writer().finish();
        if let Err(error) = written {
            tracing::error!(%error, "the journal ended before its last group was on the disk");
        }
        let closing = self.shared.take_closing();
        // ORDER: the directory is free before a caller hears that it is.
        self.hold.end();
        let heard = closing
            .into_iter()
            .filter_map(|answer| answer.send(()).ok())
            .count();
        tracing::debug!(heard, "the journal is closed");
    }
}

/// Should the thread panic: no caller waits in vain, and readiness says so.
struct PanicGuard<F: Files, T: Ticket>(Arc<Shared<F, T>>);

impl<F: Files, T: Ticket> Drop for PanicGuard<F, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end_after_panic();
        }
    }
}
