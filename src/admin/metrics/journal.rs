//! The journal: whether it takes events, what it holds, and how long it takes.

use crate::admin::setup::Setup;
use crate::journal::directory::{count_quarantined, size_of};
use crate::metrics::{Scrape, float};
use std::path::Path;

pub(super) fn read(setup: &Setup, scrape: &mut Scrape) {
    let journal = setup.operations.journal_health();
    let switch = |is_on: bool| f64::from(u8::from(is_on));
    scrape.gauge(
        "tidegate_journal_failing",
        "1: the journal can't be written, and events are forwarded",
        switch(journal.failure().is_some()),
    );
    scrape.gauge(
        "tidegate_journal_disk_low",
        "1: the journal's disk is nearly full",
        switch(journal.is_low()),
    );
    scrape.gauge(
        "tidegate_journal_unread_files",
        "Files of the log that the disk could not read at the start: nothing is reclaimed meanwhile",
        float(journal.unread()),
    );
    let (commits, events) = journal.counts();
    scrape.counter(
        "tidegate_journal_commits_total",
        "Groups of events that were written together",
        float(commits),
    );
    scrape.counter(
        "tidegate_journal_events_total",
        "Events in these groups",
        float(events),
    );
    scrape.latencies(
        "tidegate_journal_sync_seconds",
        "Time to write a group of events and sync it; nothing unless durability is disk",
        &journal.syncs,
    );
    if let Some(path) = &setup.journal {
        read_directory(path, scrape);
    }
}

fn read_directory(path: &Path, scrape: &mut Scrape) {
    scrape.gauge(
        "tidegate_journal_bytes",
        "Bytes that the journal's directory takes on its disk",
        float(size_of(path)),
    );
    if let Ok(disk) = rustix::fs::statvfs(path) {
        scrape.gauge(
            "tidegate_journal_disk_free_bytes",
            "Bytes that are free on the journal's disk",
            float(disk.f_bavail.saturating_mul(disk.f_frsize)),
        );
    }
    scrape.gauge(
        "tidegate_journal_quarantined",
        "Starts whose damaged files are kept in quarantine/",
        float(count_quarantined(path)),
    );
}
