//! A journal as a process has it: with its thread, on a simulated disk.

use super::*;

/// A journal on a disk in memory, as a process has it: with its thread.
fn running(
    disk: &SimulatedDisk,
    clock: &Clock,
    max_bytes: u64,
) -> (Journal<Note, SimulatedDisk>, Heard) {
    let settings = JournalSettings {
        max_bytes,
        min_free: 100,
        ..settings(Path::new("/nowhere"))
    };
    let memory = Memory {
        max_seen: 8,
        events: Duration::from_hours(1),
    };
    let (tails, heard) = tail();
    let place = |_: &Stored| Placement::Tail(0, Note::default());
    let journal = look_through(disk).start(
        &settings,
        &["progress".into()],
        tails,
        (memory, clock.clone()),
        place,
    );
    (journal.unwrap(), heard)
}

/// A journal in memory.
fn in_memory(max_bytes: u64) -> (Journal<Note>, Heard) {
    let (tails, heard) = tail();
    (Journal::in_memory(tails, max_bytes), heard)
}

async fn append_one<F: Files>(
    journal: &Journal<Note, F>,
    number: u64,
) -> (Result<u64, AppendError>, Note) {
    let ticket = Note::default();
    let more = More {
        seen: seen(number),
        replaces: None,
        beside: 0,
        succession: None,
        good: false,
    };
    (
        journal
            .append(0, event(number, 1), ticket.clone(), more)
            .await,
        ticket,
    )
}

fn no<F: Files>(
    (kept, ticket): (Result<u64, AppendError>, Note),
    journal: &Journal<Note, F>,
) -> AppendError {
    assert_eq!(
        (journal.held(), Arc::strong_count(&ticket.0)),
        (0, 1),
        "{kept:?}"
    );
    kept.unwrap_err()
}

/// Appended when the journal has seen that its disk is well again.
async fn append_in_time<F: Files>(journal: &Journal<Note, F>, number: u64) -> u64 {
    for _ in 0..10_000 {
        if let (Ok(seq), _) = append_one(journal, number).await {
            return seq;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!(
        "the disk is well, and nothing is kept: {:?}",
        journal.health()
    );
}

#[tokio::test]
async fn a_journal_that_says_no_holds_no_bytes_for_it_and_keeps_no_ticket() {
    // No room by `max_bytes`, in memory and on disk.
    let (journal, _heard) = in_memory(10);
    assert!(matches!(
        no(append_one(&journal, 1).await, &journal),
        AppendError::Full { held: 0, max: 10 }
    ));
    let (journal, _heard) = running(&SimulatedDisk::default(), &Clock::default(), 10);
    assert!(matches!(
        no(append_one(&journal, 1).await, &journal),
        AppendError::Full { held: 0, max: 10 }
    ));
    // The disk fails.
    let disk = SimulatedDisk::default();
    let (journal, _heard) = running(&disk, &Clock::default(), 1 << 20);
    disk.0.lock().writes_fail = Some(7);
    for number in 1..3 {
        assert_eq!(
            no(append_one(&journal, number).await, &journal),
            AppendError::Failing
        );
    }
    assert!(journal.health().failure().is_some());
    // The windows have stopped.
    let (journal, heard) = running(&SimulatedDisk::default(), &Clock::default(), 1 << 20);
    drop(heard);
    assert_eq!(
        no(append_one(&journal, 1).await, &journal),
        AppendError::Closed
    );
    let (journal, heard) = in_memory(1 << 20);
    drop(heard);
    assert_eq!(
        no(append_one(&journal, 1).await, &journal),
        AppendError::Closed
    );
    // The journal is closed.
    let (journal, _heard) = running(&SimulatedDisk::default(), &Clock::default(), 1 << 20);
    journal.close().await;
    assert_eq!(
        no(append_one(&journal, 1).await, &journal),
        AppendError::Closed
    );
}

#[tokio::test]
async fn a_start_on_a_full_disk_brings_back_what_is_there_and_refuses_until_there_is_room() {
    let disk = SimulatedDisk::default();
    let (journal, _heard) = running(&disk, &Clock::default(), 1 << 20);
    let kept = append_in_time(&journal, 1).await;
    journal.close().await;
    disk.0.lock().full = true;
    let (journal, mut heard) = running(&disk, &Clock::default(), 1 << 20);
    let journaled = heard.try_recv().unwrap();
    assert_eq!(journaled.seq, kept);
    let held = journal.held();
    let (refused, ticket) = append_one(&journal, 2).await;
    assert_eq!(
        (refused, journal.held(), Arc::strong_count(&ticket.0)),
        (Err(AppendError::DiskFull), held, 1)
    );
    // It is delivered, and its settlement waits for room.
    let end = End {
        outcome: Outcome::Accepted,
        seen: None,
        letter: None,
    };
    journal.settle_all([(&*journaled, end)].into_iter());
    assert_eq!((journal.held(), journal.health().is_low()), (0, true));
    disk.0.lock().full = false;
    append_in_time(&journal, 3).await;
    assert!(!journal.health().is_low());
    journal.close().await;
    disk.kill();
    let opened = look_through(&disk);
    let mut ids = Vec::new();
    opened.each_event(&["progress".into()], |stored| {
        ids.push(stored.event.id().to_owned())
    });
    assert_eq!((ids, opened.sums().accepted), (vec!["e3".to_owned()], 1));
}

/// A first start on a full disk.
#[tokio::test]
async fn a_directory_that_cannot_be_made_yet_is_made_when_it_can_and_no_event_is_taken_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    let is_full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let (full, hold, at) = (Arc::clone(&is_full), Hold::default(), path.clone());
    let make = {
        let hold = hold.clone();
        move || match full.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => prepare_anew(&at, &hold),
        }
    };
    let files = Directory::made_later(path.join(LOG), make);
    let known = (None, &LeftOut::default());
    let mut opened = examine(files, Vault::default(), &path, known).unwrap();
    opened.hold = hold;
    let settings = settings(&path);
    let memory = Memory {
        max_seen: 8,
        events: Duration::from_hours(1),
    };
    let (tails, _heard) = tail();
    let place = |_: &Stored| Placement::Tail(0, Note::default());
    let groups = ["progress".into()];
    let started = opened.start(&settings, &groups, tails, (memory, Clock::default()), place);
    let journal = started.unwrap();
    let (refused, _) = append_one(&journal, 1).await;
    assert_eq!(refused, Err(AppendError::DiskFull));
    assert!(journal.health().is_low() && !path.exists());
    is_full.store(false, std::sync::atomic::Ordering::SeqCst);
    append_in_time(&journal, 2).await;
    assert!(open(&settings).is_err(), "it is this process's");
    journal.close().await;
    let opened = open(&settings).unwrap();
    assert_eq!(numbers(&opened).len(), 1);
    drop(opened);
    // Another process was faster.
    let late = prepare_anew(&path, &Hold::default());
    assert!(late.unwrap_err().to_string().contains("restart"));
}

#[tokio::test]
async fn a_failed_write_is_over_when_the_disk_is_well_again_and_nothing_that_was_refused_comes_back()
 {
    for fails in [true, false] {
        let disk = SimulatedDisk::default();
        let (journal, mut heard) = running(&disk, &Clock::default(), 1 << 20);
        append_in_time(&journal, 1).await;
        if fails {
            disk.0.lock().writes_fail = Some(5_000);
        } else {
            disk.0.lock().syncs_fail = true;
        }
        assert_eq!(append_one(&journal, 2).await.0, Err(AppendError::Failing));
        assert!(journal.health().failure().is_some());
        assert!(!journal.write_queued().await, "nothing is erased for good");
        let journaled = heard.try_recv().unwrap();
        let end = End {
            outcome: Outcome::Accepted,
            seen: None,
            letter: None,
        };
        journal.settle_all([(&*journaled, end)].into_iter());
        (disk.0.lock().writes_fail, disk.0.lock().syncs_fail) = (None, false);
        append_in_time(&journal, 3).await;
        assert_eq!(journal.health().failure(), None);
        assert!(journal.write_queued().await);
        disk.cut_power(|| Fate::Kept);
        let opened = look_through(&disk);
        let mut ids = Vec::new();
        opened.each_event(&["progress".into()], |stored| {
            ids.push(stored.event.id().to_owned())
        });
        assert_eq!((ids, opened.sums().accepted), (vec!["e3".to_owned()], 1));
    }
}

#[tokio::test]
async fn an_event_that_a_start_finds_has_waited_since_it_was_received() {
    let disk = SimulatedDisk::default();
    let (journal, _heard) = running(&disk, &Clock::default(), 1 << 20);
    append_in_time(&journal, 1).await;
    journal.close().await;
    disk.kill();
    let received = event(1, 1).received_at;
    for age in [0, 50, 400].map(Duration::from_secs) {
        let before = Instant::now();
        let (journal, mut heard) = running(&disk, &Clock::from_fn(move || received + age), 1 << 20);
        let (since, after) = (heard.try_recv().unwrap().since(), Instant::now());
        assert!((before..=after).contains(&(since + age)), "{age:?}");
        journal.close().await;
    }
}

#[tokio::test]
async fn a_journal_that_has_ended_answers_everybody_and_writes_nothing() {
    for crashed in [false, true] {
        let disk = SimulatedDisk::default();
        let (journal, _heard) = running(&disk, &Clock::default(), 1 << 20);
        append_in_time(&journal, 1).await;
        let Level::Disk(kept) = &journal.level else {
            panic!("it is in memory")
        };
        if crashed {
            kept.committer.shared().end_after_panic();
        } else {
            journal.close().await;
        }
        let before = disk.list().unwrap();
        let over = tokio::time::timeout(Duration::from_mins(1), async {
            journal.close().await;
            journal.succeed(succession(7)).await;
            append_one(&journal, 2).await.0
        });
        let refused = over.await.expect("a caller waits for ever").unwrap_err();
        assert!(
            matches!(refused, AppendError::Closed | AppendError::Failing),
            "{refused}"
        );
        assert_eq!(disk.list().unwrap(), before);
    }
}
