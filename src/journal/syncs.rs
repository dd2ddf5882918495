//! Syncs that no caller waits for: of files that are full, and of everything that was written.

use super::commit::shared::Shared;
use super::entry::Ticket;
use super::log::files::{Files, SegmentFile as _};
use super::log::writer::Full;
use std::io;

/// What of the log is still to be synced.
#[derive(Debug)]
pub struct Syncs<F: Files> {
    full: Vec<Full<F::File>>,
    /// A file could not be synced, and is not asked again: at `process` nothing counts as synced
    /// any more.
    is_behind: bool,
    /// Files that could not be synced.
    failed: u64,
}

impl<F: Files> Syncs<F> {
    /// Nothing is.
    pub const fn new() -> Self {
        Self {
            full: Vec::new(),
            is_behind: false,
            failed: 0,
        }
    }

    /// Files of which it is unknown what they hold: that could not be synced, or were given up. What
    /// was written while the number stayed the same is on the disk after a sync of everything.
    pub fn count_lost<T: Ticket>(&self, shared: &Shared<F, T>) -> u64 {
        self.failed + shared.writer().given_up()
    }

    fn note_failure(&mut self) {
        // Nothing after it may count as synced.
        self.is_behind = true;
        self.failed += 1;
    }

    /// Files that are full are synced once, so that damage in them can be told from what the power
    /// took.
    pub fn sync_full_files<T: Ticket>(&mut self, shared: &Shared<F, T>) {
        self.full.append(&mut shared.writer().take_full());
        for Full { file, last } in std::mem::take(&mut self.full) {
            match file.sync() {
                Ok(()) if !self.is_behind => shared.writer().set_synced(last),
                Ok(()) => {}
                Err(error) => {
                    tracing::warn!(%error, "a full segment of the journal can't be synced");
                    self.note_failure();
                }
            }
        }
    }

    /// Everything that was written survives a power cut.
    ///
    /// # Errors
    /// The file system refuses; what survives is unknown.
    pub fn sync_written<T: Ticket>(&mut self, shared: &Shared<F, T>) -> io::Result<()> {
        let current = {
            let mut writer = shared.writer();
            self.full.append(&mut writer.take_full());
            writer.current()
        };
        for Full { file, .. } in std::mem::take(&mut self.full) {
            file.sync().inspect_err(|_| self.note_failure())?;
        }
        if let Some(current) = current {
            current.file.sync().inspect_err(|_| {
                // What it holds after that is unknown. Another thread may write to the next one by
                // now.
                shared.writer().give_up_file(&current.file);
                self.note_failure();
            })?;
            if !self.is_behind {
                shared.writer().set_synced(current.last);
            }
        }
        Ok(())
    }
}
