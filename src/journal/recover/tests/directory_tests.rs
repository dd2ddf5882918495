//! Files of a real directory: torn, damaged, sealed, of another format.

use super::*;

/// A journal with so many pending events, each in a group of its own, its process gone without a
/// word.
fn filled(directory: &Path, events: u64) {
    let opened = open(&settings(directory)).unwrap();
    let (tails, _heard) = tail();
    let (depth, segment_size) = (Depth::Disk, 1 << 20);
    let bounds = Bounds {
        depth,
        min_free: 0,
        max_seen: 8,
        succession: Duration::from_hours(1),
        segment_size,
    };
    let Opened {
        files,
        index,
        origin,
        hold,
        ..
    } = opened;
    let writer = Writer::new(
        Arc::clone(&files),
        depth,
        Origin {
            segment_size,
            ..origin
        },
    );
    let parts = (files, origin.epoch);
    let shared = Arc::new(Shared::new(
        parts,
        Vault::default(),
        index,
        bounds,
        tails,
        Arc::default(),
        writer,
    ));
    let committer: Committer<_, Note> = Committer::new(Arc::clone(&shared));
    for number in 1..=events {
        let event = event(number, (number % 3) as u8);
        let draft = shared.draft(record::bytes(&Record::of(&event, "progress", seen(number))));
        let (answer, mut kept) = oneshot::channel();
        let (ticket, succession) = (Note::default(), Some(succession(number)));
        committer.append(Append {
            shard: 0,
            event,
            draft,
            ticket,
            replaces: None,
            succession,
            answer,
        });
        lead_if_free(&shared);
        assert!(kept.try_recv().unwrap().is_ok());
    }
    hold.end();
}

/// The files of the log.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join(LOG)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Where in the log's first file the frames of a kind begin, and how long they are.
fn places(directory: &Path, kind: Kind) -> Vec<(usize, usize)> {
    let bytes = std::fs::read(&files(directory)[0]).unwrap();
    let mut at = 0;
    let each = frame::each(&bytes).map(|(frame, whole)| {
        at += whole.len();
        (frame.kind, at - whole.len(), whole.len())
    });
    each.filter(|(found, ..)| *found == kind)
        .map(|(_, at, size)| (at, size))
        .collect()
}

fn flip(directory: &Path, at: usize) {
    let file = &files(directory)[0];
    let mut bytes = std::fs::read(file).unwrap();
    bytes[at] ^= 0x40;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_process_that_is_gone_leaves_everything_behind() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 20);
    let opened = open(&settings(directory.path())).unwrap();
    assert_eq!(numbers(&opened), (1..=20).collect::<Vec<_>>());
    assert_eq!(
        (
            opened.findings.as_slice(),
            opened.bad(),
            opened.credentials()
        ),
        (&[][..], 0, 3)
    );
    let secret = opened.secret();
    drop(opened);
    assert_eq!(
        open(&settings(directory.path())).unwrap().secret(),
        secret,
        "fingerprints stay comparable"
    );
}

#[test]
fn a_torn_end_is_passed_over_wherever_it_was_torn() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 6);
    let (at, size) = *places(directory.path(), Kind::Event).last().unwrap();
    let whole = std::fs::read(&files(directory.path())[0]).unwrap();
    for kept in 0..=size {
        std::fs::write(&files(directory.path())[0], &whole[..at + kept]).unwrap();
        let opened = open(&settings(directory.path())).unwrap();
        let last = if kept == size { 6 } else { 5 };
        assert_eq!(
            (numbers(&opened), opened.findings.len()),
            ((1..=last).collect(), 0),
            "{kept}"
        );
    }
}

#[test]
fn damage_in_the_middle_is_told_the_file_is_kept_and_what_is_whole_comes_back() {
    // In each part of an event's frame.
    for inside in [0, 2, 5, 9, 17, 25, 30, 60] {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path(), 20);
        flip(
            directory.path(),
            places(directory.path(), Kind::Event)[9].0 + inside,
        );
        let opened = open(&settings(directory.path())).unwrap();
        let wanted: Vec<u64> = (1..=20).filter(|number| *number != 10).collect();
        assert_eq!(
            (numbers(&opened), opened.bad()),
            (wanted.clone(), 0),
            "{inside}"
        );
        assert_eq!(opened.findings.len(), 1, "{inside}");
        let text = &opened.findings[0].to_string();
        let parts = [
            "1 files of the log are damaged; 1 records that were safe in them are missing",
            "quarantine",
        ];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        let kept = std::fs::read_dir(directory.path().join("quarantine"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        assert_eq!(std::fs::read_dir(kept).unwrap().count(), 1);
        drop(opened);
        assert_eq!(
            numbers(&open(&settings(directory.path())).unwrap()),
            wanted,
            "no crash loop"
        );
    }
}

#[test]
fn a_head_that_is_damaged_costs_no_event() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 4);
    // A second segment knows the epoch.
    filled(directory.path(), 4);
    for at in 0..places(directory.path(), Kind::Head)[0].1 {
        flip(directory.path(), at);
        let opened = open(&settings(directory.path())).unwrap();
        assert_eq!(
            (numbers(&opened), opened.findings.len()),
            (vec![1, 2, 3, 4, 1, 2, 3, 4], 1),
            "{at}"
        );
        drop(opened);
        flip(directory.path(), at);
    }
}

#[test]
fn a_lost_credential_is_stored_anew_with_the_next_event_that_brings_it() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3);
    flip(
        directory.path(),
        places(directory.path(), Kind::Context)[0].0 + 40,
    );
    let opened = open(&settings(directory.path())).unwrap();
    let mut without = Vec::new();
    let see =
        |stored: Stored| without.extend((!stored.has_credential).then(|| number_of(&stored.event)));
    opened.each_event(&["progress".into()], see);
    assert_eq!(without, [1]);
    assert!(!opened.index.contexts.contains_key(&Fingerprint([1; 16])));
}

#[test]
fn a_successor_that_is_damaged_costs_no_event() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 9);
    flip(
        directory.path(),
        places(directory.path(), Kind::Succession)[4].0 + 30,
    );
    let opened = open(&settings(directory.path())).unwrap();
    assert_eq!(numbers(&opened), (1..=9).collect::<Vec<_>>());
    let found: BTreeSet<_> = opened
        .successors()
        .all()
        .map(|succession| succession.bearer)
        .collect();
    let wanted = (1..=9)
        .filter(|number| *number != 5)
        .map(|number| succession(number).bearer);
    assert_eq!((found, opened.findings.len()), (wanted.collect(), 1));
}

#[test]
fn one_damaged_byte_of_the_only_head_costs_neither_an_event_nor_the_secret() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 4);
    let secret = open(&settings(directory.path())).unwrap().secret();
    for at in 0..places(directory.path(), Kind::Head)[0].1 {
        flip(directory.path(), at);
        let opened = open(&settings(directory.path())).unwrap();
        assert_eq!(
            (numbers(&opened), opened.secret()),
            (vec![1, 2, 3, 4], secret),
            "{at}"
        );
        drop(opened);
        flip(directory.path(), at);
    }
}

/// These settings with a new key; the key of before is an older one.
fn with_key(directory: &Path, key: u8, settings: JournalSettings) -> JournalSettings {
    let path = directory.join(key.to_string());
    std::fs::write(&path, [key; 32]).unwrap();
    let old_key_files = settings
        .key_file
        .into_iter()
        .chain(settings.old_key_files)
        .collect();
    JournalSettings {
        key_file: Some(path),
        old_key_files,
        ..settings
    }
}

#[tokio::test]
async fn with_a_key_nothing_of_an_event_lies_open_and_a_new_key_seals_anew_what_an_older_one_did() {
    let (directory, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plain = settings(directory.path());
    filled(directory.path(), 5);
    let lies_open = |wanted: &[u8]| {
        let mut all = files(directory.path())
            .into_iter()
            .map(|file| std::fs::read(file).unwrap());
        all.any(|bytes| memchr::memmem::find(&bytes, wanted).is_some())
    };
    assert!(lies_open(b"{\"n\":3}") && lies_open(b"token-1"));
    let first = with_key(keys.path(), 1, plain.clone());
    let second = with_key(keys.path(), 2, first.clone());
    for settings in [&first, &second] {
        let opened = open(settings).unwrap();
        assert_eq!(numbers(&opened), [1, 2, 3, 4, 5]);
        let holds_something =
            |file: &PathBuf| std::fs::read(file).unwrap().iter().any(|byte| *byte != 0);
        let before: Vec<_> = files(directory.path())
            .into_iter()
            .filter(holds_something)
            .collect();
        let memory = Memory {
            max_seen: 8,
            events: Duration::from_hours(1),
        };
        let place = |_: &Stored| Placement::Tail(0, Note::default());
        let (tails, _heard) = tail();
        let journal = opened
            .start(
                settings,
                &["progress".into()],
                tails,
                (memory, Clock::default()),
                place,
            )
            .unwrap();
        // The files that it found are gone when everything in them is sealed as it is today.
        for _ in 0..10_000 {
            if !before.iter().any(|file| file.exists()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        journal.close().await;
        assert!(!lies_open(b"{\"n\":3}") && !lies_open(b"token-1"));
    }
    let only_second = JournalSettings {
        old_key_files: Vec::new(),
        ..second
    };
    assert_eq!(numbers(&open(&only_second).unwrap()), [1, 2, 3, 4, 5]);
    assert!(matches!(
        open(&first),
        Err(OpenError::Vault(VaultError::KeyWrong))
    ));
    assert!(matches!(
        open(&plain),
        Err(OpenError::Vault(VaultError::KeyMissing))
    ));
}

#[test]
fn a_directory_of_another_format_is_refused_with_the_way_out() {
    for (format, words) in [
        ("2", "stop it when nothing is pending"),
        ("9", "run the version that wrote it"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(
            directory.path().join(FORMAT_FILE),
            format!("tidegate journal {format}\n"),
        )
        .unwrap();
        for opened in [
            open(&settings(directory.path())),
            inspect(&settings(directory.path())),
        ] {
            let error = opened.err().unwrap().to_string();
            assert!(error.contains(words) && error.contains(format), "{error}");
        }
    }
}

/// What is done to a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(proptest::sample::Index),
    Overwrite(proptest::sample::Index, Vec<u8>),
    Cut(proptest::sample::Index),
    Append(Vec<u8>),
    Delete,
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || proptest::collection::vec(any::<u8>(), 1..64);
    prop_oneof![
        4 => any::<proptest::sample::Index>().prop_map(Damage::Flip),
        3 => (any::<proptest::sample::Index>(), bytes()).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
        2 => any::<proptest::sample::Index>().prop_map(Damage::Cut),
        1 => bytes().prop_map(Damage::Append),
        1 => Just(Damage::Delete),
    ]
}

impl Damage {
    fn apply(&self, file: &Path) {
        let mut bytes = std::fs::read(file).unwrap();
        let length = bytes.len();
        match self {
            Self::Flip(at) if length > 0 => bytes[at.index(length)] ^= 0x10,
            Self::Overwrite(at, with) if length > 0 => {
                bytes[at.index(length)..]
                    .iter_mut()
                    .zip(with)
                    .for_each(|(byte, new)| *byte = *new);
            }
            Self::Cut(at) if length > 0 => bytes.truncate(at.index(length)),
            Self::Append(more) => bytes.extend_from_slice(more),
            Self::Delete => return std::fs::remove_file(file).unwrap(),
            Self::Flip(_) | Self::Overwrite(..) | Self::Cut(_) => {}
        }
        std::fs::write(file, bytes).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_of_its_files_invents_an_event_or_keeps_a_journal_from_opening(
        damages in proptest::collection::vec((any::<proptest::sample::Index>(), damage()), 1..5),
    ) {
        let directory = tempfile::tempdir().unwrap();
        (0..3).for_each(|_| filled(directory.path(), 4));
        // What was reserved and is not written yet is zeros.
        for file in files(directory.path()) {
            let bytes = std::fs::read(&file).unwrap();
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 200);
            std::fs::write(&file, &bytes[..end.min(bytes.len())]).unwrap();
        }
        for (file, damage) in &damages {
            let files = files(directory.path());
            if !files.is_empty() {
                damage.apply(&files[file.index(files.len())]);
            }
        }
        let look = || {
            let opened = open(&settings(directory.path())).unwrap();
            let mut found = Vec::new();
            let see = |stored: Stored| found.push((stored.seq, number_of(&stored.event), stored.event.json().to_vec()));
            opened.each_event(&["progress".into()], see);
            found
        };
        let found = look();
        prop_assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, each once");
        for (_, number, json) in &found {
            prop_assert!((1..=4).contains(number));
            let wanted = event(*number, (number % 3) as u8);
            prop_assert_eq!(json, wanted.json());
        }
        prop_assert_eq!(look(), found, "what a start has found, the next one finds");
    }
}
