use super::super::commit::{Append, Message, Settle};
use super::super::store::TABLES;
use super::super::{AppendError, End, More};
use super::*;
use crate::event::{Carried, Outcome, Principal, Reason, Succession};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use tokio::sync::oneshot;

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// A disk in memory: what was synced stays, what was only written may go with the power.
#[derive(Default)]
struct Platters {
    synced: Rows,
    written: Vec<Vec<Change>>,
    fails: bool,
    full: bool,
}

#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Platters>>);

fn apply(rows: &mut Rows, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Put(table, key, value) => drop(rows.insert((*table, key.clone()), value.clone())),
            Change::Remove(table, key) => drop(rows.remove(&(*table, key.clone()))),
        }
    }
}

impl Disk {
    /// The power goes: of what was not synced, only the first `kept` commits had reached the platters.
    fn cut_power(&self, kept: usize) {
        let mut platters = self.0.lock();
        let written = std::mem::take(&mut platters.written);
        written.iter().take(kept).for_each(|changes| apply(&mut platters.synced, changes));
        (platters.fails, platters.full) = (false, false);
    }

    /// The process is killed: what was written is with the operating system.
    fn kill(&self) {
        self.cut_power(usize::MAX);
    }
}

impl Store for Disk {
    fn commit(&mut self, changes: Vec<Change>, depth: Depth) -> Result<(), StoreError> {
        let mut keys = BTreeSet::new();
        for change in &changes {
            let (Change::Put(table, key, _) | Change::Remove(table, key)) = change;
            assert!(keys.insert((*table, key.clone())), "a key changes twice in one commit");
        }
        let mut platters = self.0.lock();
        platters.written.push(changes);
        if platters.fails {
            // Written or not: nobody knows.
            return Err(StoreError("input/output error".to_owned()));
        }
        if depth == Depth::Disk {
            let written = std::mem::take(&mut platters.written);
            written.iter().for_each(|changes| apply(&mut platters.synced, changes));
        }
        Ok(())
    }

    fn each(&self, table: Table, see: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let platters = self.0.lock();
        let mut rows = platters.synced.clone();
        platters.written.iter().for_each(|changes| apply(&mut rows, changes));
        for ((_, key), value) in rows.iter().filter(|((found, _), _)| *found == table) {
            if !see(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn free(&self) -> Result<u64, StoreError> {
        Ok(if self.0.lock().full { 5 } else { 500 })
    }

    fn taken(&self) -> u64 {
        0
    }
}

/// A ticket that remembers whether its event was kept.
#[derive(Debug, Clone, Default)]
struct Note(Arc<AtomicNote>);

#[derive(Debug, Default)]
struct AtomicNote(std::sync::atomic::AtomicBool);

impl Ticket for Note {
    fn kept(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
    fn taken_back(&mut self) {}
}

fn event(number: u64, who: u8) -> Event {
    let fingerprint = Fingerprint([who; 16]);
    let headers = vec![(http::header::AUTHORIZATION, format!("token-{who}").parse().unwrap())];
    Event {
        id: EventId::try_new(&format!("e{number}")).unwrap(),
        lane: LaneKey {
            group: GroupIndex(0),
            user: UserId::try_new(&format!("u{who}")).unwrap(),
            credential: fingerprint,
        },
        owner: Context::bare(Keys::of(fingerprint)).owner(false),
        context: Arc::new(Context { headers, ..Context::bare(Keys::of(fingerprint)) }),
        content: 0,
        json: format!("{{\"n\":{number}}}").into(),
        carried: Carried::bare(None).pack(),
        has_single: false,
        tags: [Tag(3)].into(),
        priority: number.is_multiple_of(5),
        received_at: UNIX_EPOCH + Duration::from_millis(1_000 + number),
        token_life: number.is_multiple_of(2).then_some(Duration::from_secs(number)),
        subject: Subject::from_number(number % 3),
    }
}

/// A bearer of its own, of a family of three.
fn succession(number: u64) -> Succession {
    let [bearer, first] = [number + 100, number / 3].map(|name| Principal(u128::from(name).to_le_bytes()));
    Succession { bearer, known: first, first }
}

fn seen(number: u64) -> [u8; 16] {
    (u128::from(number) + 1).to_le_bytes()
}

#[derive(Debug, Clone)]
enum Action {
    /// So many events in one commit.
    Append(u8),
    /// The n-th pending event has its outcome, in a commit of its own.
    Settle(u8, bool),
    Kill,
    CutPower(u8),
    DiskFails,
    DiskFull(bool),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (1u8..6).prop_map(Action::Append),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(which, dead)| Action::Settle(which, dead)),
        1 => Just(Action::Kill),
        1 => any::<u8>().prop_map(Action::CutPower),
        1 => Just(Action::DiskFails),
        1 => any::<bool>().prop_map(Action::DiskFull),
    ]
}

/// The journal beside what must be true of it.
struct World {
    disk: Disk,
    depth: Depth,
    committer: Committer<Disk, Note>,
    tail: mpsc::UnboundedReceiver<Journaled<Note>>,
    vitals: Arc<Vitals>,
    /// Acknowledged and without an outcome, by id.
    owed: BTreeSet<String>,
    /// In memory, on their way.
    pending: Vec<(u64, String, Fingerprint)>,
    ever: BTreeSet<String>,
    /// Bearers whose events were kept.
    succeeded: BTreeSet<Principal>,
    next: u64,
}

fn committer(
    disk: &Disk,
    depth: Depth,
    standing: Standing,
) -> (Committer<Disk, Note>, mpsc::UnboundedReceiver<Journaled<Note>>, Arc<Vitals>) {
    let (tail, receiver) = mpsc::unbounded_channel();
    let vitals = Arc::new(Vitals::new(Clock::default()));
    let bounds = Bounds { depth, min_free: 100, max_seen: 8, succession: Duration::from_hours(1) };
    let made = Committer::new(disk.clone(), Vault::default(), standing, bounds, vec![tail], Arc::clone(&vitals));
    (made, receiver, vitals)
}

impl World {
    fn new(depth: Depth) -> Self {
        let disk = Disk::default();
        let opened = examine(disk.clone(), &Vault::default(), Path::new("/nowhere"), &mut Vec::new()).unwrap();
        let (committer, tail, vitals) = committer(&disk, depth, opened.standing);
        Self {
            disk,
            depth,
            committer,
            tail,
            vitals,
            owed: BTreeSet::new(),
            pending: Vec::new(),
            ever: BTreeSet::new(),
            succeeded: BTreeSet::new(),
            next: 0,
        }
    }

    fn run(&mut self, action: &Action) {
        match action {
            Action::Append(count) => self.append(*count),
            Action::Settle(which, dead) => self.settle(*which, *dead),
            Action::Kill => {
                self.disk.kill();
                self.restart(true);
            }
            Action::CutPower(kept) => {
                self.disk.cut_power(usize::from(*kept) % 8);
                self.restart(self.depth == Depth::Disk);
            }
            Action::DiskFails => self.disk.0.lock().fails = true,
            Action::DiskFull(full) => self.disk.0.lock().full = *full,
        }
    }

    fn append(&mut self, count: u8) {
        let (mut messages, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..count {
            self.next += 1;
            let (event, ticket) = (event(self.next, (self.next % 3) as u8), Note::default());
            let draft = super::super::commit::draft(&event, "progress", seen(self.next));
            let (answer, kept) = oneshot::channel();
            let succession = succession(self.next);
            answers.push((event.id.as_str().to_owned(), succession.bearer, ticket.clone(), kept));
            self.ever.insert(event.id.as_str().to_owned());
            let append =
                Append { shard: 0, event, draft, ticket, replaces: None, succession: Some(succession), answer };
            messages.push(Message::Append(Box::new(append)));
        }
        drop(self.committer.take(messages.into_iter()));
        let (full, poisoned) = (self.disk.0.lock().full, self.vitals.poison().is_some());
        for (id, bearer, ticket, mut kept) in answers {
            let kept = kept.try_recv().unwrap();
            assert_eq!(kept.is_ok(), ticket.0.0.load(Ordering::Relaxed), "the ticket and the answer agree");
            assert_eq!(kept.is_ok(), !full && !poisoned, "{kept:?}");
            if kept.is_ok() {
                self.owed.insert(id);
                self.succeeded.insert(bearer);
            }
        }
        let mut last = self.pending.last().map_or(0, |(seq, ..)| *seq);
        while let Ok(journaled) = self.tail.try_recv() {
            assert!(journaled.seq > last, "the tail is in order");
            last = journaled.seq;
            let event = journaled.event();
            self.pending.push((journaled.seq, event.id.as_str().to_owned(), event.lane.credential));
        }
    }

    fn settle(&mut self, which: u8, dead: bool) {
        if self.pending.is_empty() {
            return;
        }
        let (seq, id, credential) = self.pending.remove(usize::from(which) % self.pending.len());
        self.owed.remove(&id);
        let number: u64 = id.trim_start_matches('e').parse().unwrap();
        let gone = event(number, (number % 3) as u8);
        let record = Record::of(&gone, "progress", seen(number));
        let letter = DeadRecord { reason: "refused", attempts: 1, status: 400, died_ms: 9, event: record };
        let settle = Settle {
            seq,
            credential,
            outcome: if dead { Outcome::Dead(Reason::Refused) } else { Outcome::Accepted },
            seen: (!dead).then(|| (seen(number), u64::MAX)),
            letter: dead.then(|| super::super::commit::stored_letter(seq, &letter)),
            dropped: Vec::new(),
        };
        drop(self.committer.take(std::iter::once(Message::Settle(Box::new(settle)))));
    }

    /// A new process on the same disk. `whole`: nothing acknowledged may be missing.
    fn restart(&mut self, whole: bool) {
        let mut findings = Vec::new();
        let mut opened = examine(self.disk.clone(), &Vault::default(), Path::new("/nowhere"), &mut findings).unwrap();
        assert!(findings.is_empty() && opened.bad() == 0, "{findings:?}");
        self.pending.clear();
        let groups: [Arc<str>; 1] = ["progress".into()];
        let mut found = Vec::new();
        opened.each_event(&groups, |stored| found.push(stored)).unwrap();
        for stored in &found {
            assert!(stored.has_group && stored.has_credential, "an event without its credential");
            let number: u64 = stored.event.id.as_str().trim_start_matches('e').parse().unwrap();
            let wanted = event(number, (number % 3) as u8);
            assert_eq!(
                (&stored.event.json, &stored.event.context, stored.event.token_life, stored.event.subject, stored.seen),
                (&wanted.json, &wanted.context, wanted.token_life, wanted.subject, seen(number))
            );
            self.pending.push((stored.seq, stored.event.id.as_str().to_owned(), stored.event.lane.credential));
        }
        assert!(self.pending.is_sorted(), "events come back in order");
        let back: BTreeSet<String> = self.pending.iter().map(|(_, id, _)| id.clone()).collect();
        if whole {
            let lost: Vec<_> = self.owed.difference(&back).collect();
            assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        }
        assert!(back.is_subset(&self.ever));
        let known: BTreeSet<_> = opened.successors().all().map(|succession| succession.bearer).collect();
        if whole {
            let lost: Vec<_> = self.succeeded.difference(&known).collect();
            assert!(lost.is_empty(), "an event was kept and its bearer lost: {lost:?}");
        }
        self.succeeded = known;
        let letters = opened.letters(&groups);
        let state = opened.state();
        assert_eq!(letters.len() as u64, state.dead);
        assert_eq!(
            state.accepted + state.duplicate + state.superseded + state.dead + back.len() as u64,
            state.next_seq - 1,
            "every number that was given is an outcome or pending (P2)"
        );
        assert!(opened.settled().len() <= 8 + 5, "settled ids are bounded");
        self.owed = back;
        let (committer, tail, vitals) = committer(&self.disk, self.depth, opened.standing);
        (self.committer, self.tail, self.vitals) = (committer, tail, vitals);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn at_disk_nothing_acknowledged_is_lost_to_a_kill_or_a_power_cut(actions in proptest::collection::vec(action(), 1..60)) {
        let mut world = World::new(Depth::Disk);
        actions.iter().for_each(|action| world.run(action));
        world.run(&Action::CutPower(0));
    }

    #[test]
    fn at_process_nothing_acknowledged_is_lost_to_a_kill(actions in proptest::collection::vec(action(), 1..60)) {
        let mut world = World::new(Depth::Process);
        actions.iter().for_each(|action| world.run(action));
        world.run(&Action::Kill);
    }
}

/// A journal on a disk in memory, as a process has it: with its committer's thread.
fn running(disk: &Disk, clock: &Clock, max_bytes: u64) -> (Journal<Note>, Tails<Note>) {
    let opened = examine(disk.clone(), &Vault::default(), Path::new("/nowhere"), &mut Vec::new()).unwrap();
    let settings = JournalSettings { max_bytes, min_free: 100, ..settings(Path::new("/nowhere")) };
    let memory = Memory { max_seen: 8, events: Duration::from_hours(1) };
    opened
        .start(&settings, &["progress".into()], 1, (memory, clock.clone()), |_| Placement::Tail(0, Note::default()))
        .unwrap()
}

async fn append_one(journal: &Journal<Note>, number: u64) -> (Result<u64, AppendError>, Note) {
    let ticket = Note::default();
    let more = More { seen: seen(number), replaces: None, beside: 0, succession: None };
    (journal.append(0, event(number, 1), ticket.clone(), more).await, ticket)
}

#[tokio::test]
async fn a_journal_that_says_no_holds_no_bytes_for_it_and_keeps_no_ticket() {
    let on_disk = || {
        let disk = Disk::default();
        let (journal, tails) = running(&disk, &Clock::default(), 1 << 20);
        (disk, journal, tails)
    };
    let no = |(kept, ticket): (Result<u64, AppendError>, Note), journal: &Journal<Note>| {
        assert_eq!((journal.held(), Arc::strong_count(&ticket.0)), (0, 1), "{kept:?}");
        kept.unwrap_err()
    };
    // No room by `max_bytes`, in memory and on disk.
    let (journal, _tails) = Journal::in_memory(1, 10);
    assert!(matches!(no(append_one(&journal, 1).await, &journal), AppendError::Full { held: 0, max: 10 }));
    let (journal, _tails) = running(&Disk::default(), &Clock::default(), 10);
    assert!(matches!(no(append_one(&journal, 1).await, &journal), AppendError::Full { held: 0, max: 10 }));
    // The disk is nearly full, and well again.
    let (disk, journal, mut tails) = on_disk();
    disk.0.lock().full = true;
    assert_eq!(no(append_one(&journal, 1).await, &journal), AppendError::DiskFull);
    disk.0.lock().full = false;
    let (kept, _ticket) = append_one(&journal, 2).await;
    assert_eq!(kept, Ok(1));
    let size = super::super::size(&event(2, 1));
    assert_eq!(journal.held(), size, "what is kept is held");
    // A write fails: this one, and all after it. What was kept before stays.
    disk.0.lock().fails = true;
    for number in 3..5 {
        let (kept, ticket) = append_one(&journal, number).await;
        assert_eq!((kept, journal.held(), Arc::strong_count(&ticket.0)), (Err(AppendError::Poisoned), size, 1));
    }
    let journaled = tails[0].try_recv().unwrap();
    journal.settle(&journaled, End { outcome: Outcome::Accepted, seen: None, letter: None, dropped: Vec::new() });
    assert_eq!(journal.held(), 0);
    // The windows have stopped.
    let (_disk, journal, tails) = on_disk();
    drop(tails);
    assert_eq!(no(append_one(&journal, 1).await, &journal), AppendError::Closed);
    let (journal, tails) = Journal::in_memory(1, 1 << 20);
    drop(tails);
    assert_eq!(no(append_one(&journal, 1).await, &journal), AppendError::Closed);
    // The journal is closed.
    let (_disk, journal, _tails) = on_disk();
    journal.close().await;
    assert_eq!(no(append_one(&journal, 1).await, &journal), AppendError::Closed);
}

#[tokio::test]
async fn an_event_that_a_start_finds_has_waited_since_it_was_received() {
    let disk = Disk::default();
    let (journal, _tails) = running(&disk, &Clock::default(), 1 << 20);
    assert_eq!(append_one(&journal, 1).await.0, Ok(1));
    journal.close().await;
    disk.kill();
    let received = event(1, 1).received_at;
    for age in [0, 50, 400].map(Duration::from_secs) {
        let before = Instant::now();
        let (_journal, mut tails) = running(&disk, &Clock::from_fn(move || received + age), 1 << 20);
        let (since, after) = (tails[0].try_recv().unwrap().since(), Instant::now());
        assert!((before..=after).contains(&(since + age)), "{age:?}");
    }
}

// ---- the engine's own files ----------------------------------------------------------------------------------------

fn settings(path: &Path) -> JournalSettings {
    let path = path.to_owned();
    JournalSettings { path, durability: Durability::Disk, max_bytes: 1 << 30, min_free: 0, key_file: None }
}

/// A journal with so many pending events, each from a commit of its own, its process gone without a word.
fn filled(directory: &Path, events: u64) {
    let opened = open(&settings(directory)).unwrap();
    let (tail, _receiver) = mpsc::unbounded_channel();
    let bounds = Bounds { depth: Depth::Disk, min_free: 0, max_seen: 8, succession: Duration::from_hours(1) };
    let Opened { store, standing, lock, .. } = opened;
    let vitals = Arc::new(Vitals::default());
    let mut committer: Committer<_, Note> =
        Committer::new(store, Vault::default(), standing, bounds, vec![tail], vitals);
    for number in 1..=events {
        let event = event(number, (number % 3) as u8);
        let draft = super::super::commit::draft(&event, "progress", seen(number));
        let (answer, mut kept) = oneshot::channel();
        let (ticket, succession) = (Note::default(), Some(succession(number)));
        let append = Append { shard: 0, event, draft, ticket, replaces: None, succession, answer };
        drop(committer.take(std::iter::once(Message::Append(Box::new(append)))));
        assert_eq!(kept.try_recv().unwrap(), Ok(number));
    }
    drop((committer, lock));
}

fn numbers(opened: &Opened<Engine>) -> Vec<u64> {
    let mut found = Vec::new();
    opened.each_event(&["progress".into()], |stored| found.push(stored.seq)).unwrap();
    found
}

fn log(directory: &Path) -> PathBuf {
    files_below(&directory.join(ENGINE))
        .unwrap()
        .into_iter()
        .find(|file| file.extension().is_some_and(|end| end == "jnl"))
        .unwrap()
}

/// Offset in the log of the first byte of the frame of an event, and of the end of all that was written.
fn offsets(file: &Path, number: u64) -> (u64, u64) {
    let bytes = std::fs::read(file).unwrap();
    let at = |wanted: &[u8]| bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    let frame = record::scan(&bytes).find(|frame| frame.kind == Kind::Event && frame.number == number).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (at(frame.whole) as u64, end as u64)
}

fn flip(file: &Path, at: u64) {
    let mut file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 0x40]).unwrap();
}

#[test]
fn a_process_that_is_gone_leaves_everything_behind() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 20);
    let opened = open(&settings(directory.path())).unwrap();
    assert_eq!(numbers(&opened), (1..=20).collect::<Vec<_>>());
    assert_eq!((opened.findings.as_slice(), opened.bad(), opened.credentials()), (&[][..], 0, 3));
    let secret = opened.secret();
    drop(opened);
    assert_eq!(open(&settings(directory.path())).unwrap().secret(), secret, "fingerprints stay comparable");
}

#[test]
fn a_torn_tail_is_cut_wherever_it_was_torn() {
    for back in [1u64, 9, 40, 200, 700] {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path(), 20);
        let file = log(directory.path());
        let (_, end) = offsets(&file, 1);
        File::options().write(true).open(&file).unwrap().set_len(end - back).unwrap();
        let opened = open(&settings(directory.path())).unwrap();
        let found = numbers(&opened);
        assert!(found.len() >= 15 && found == (1..=found.len() as u64).collect::<Vec<_>>(), "{back}: {found:?}");
    }
}

#[test]
fn damage_in_the_middle_is_quarantined_and_what_is_whole_comes_back() {
    // In the event's record and in the commit's count (the engine's checks fail); in the tags of commit and item, where
    // the engine sees an end and would silently cut off everything that follows.
    for before in [32i64, -40, -42, -29] {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path(), 20);
        let file = log(directory.path());
        let (at, _) = offsets(&file, 10);
        flip(&file, at.checked_add_signed(before).unwrap());
        let opened = open(&settings(directory.path())).unwrap();
        let found = numbers(&opened);
        let wanted: Vec<u64> = (1..=20).filter(|number| found.contains(&10) || *number != 10).collect();
        assert_eq!(found, wanted, "{before}");
        assert_eq!(opened.findings.len(), 1, "{before}");
        let text = &opened.findings[0].to_string();
        assert!(text.contains("whole events were taken over") && text.contains("quarantine"), "{text}");
        assert!(directory.path().join("quarantine").exists());
        drop(opened);
        let again = open(&settings(directory.path())).unwrap();
        assert_eq!((numbers(&again), again.findings.len()), (wanted, 0), "no crash loop");
    }
}

#[test]
fn files_that_are_not_the_engines_any_more_are_no_crash_loop() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 5);
    for file in files_below(&directory.path().join(ENGINE)).unwrap() {
        if file.extension().is_none_or(|end| end != "jnl") {
            std::fs::write(file, b"nonsense").unwrap();
        }
    }
    let opened = open(&settings(directory.path())).unwrap();
    assert_eq!(numbers(&opened), [1, 2, 3, 4, 5]);
    assert_eq!(opened.findings.len(), 1);
}

#[test]
fn a_start_that_breaks_off_while_it_salvages_is_not_the_last_to_try() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 5);
    // As it was left: the damaged files moved away and named, the new ones not even made.
    let place = quarantine(directory.path(), Some(&directory.path().join(ENGINE))).unwrap();
    std::fs::write(salvage_marker(directory.path()), place.to_str().unwrap()).unwrap();
    let opened = open(&settings(directory.path())).unwrap();
    assert_eq!((numbers(&opened), opened.findings.len()), (vec![1, 2, 3, 4, 5], 1));
    drop(opened);
    assert_eq!(open(&settings(directory.path())).unwrap().findings.len(), 0);

    // And one that had copied the log, opened it, and not yet looked at what was cut off.
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 9);
    let file = log(directory.path());
    let (at, _) = offsets(&file, 4);
    flip(&file, at - 29);
    copy_logs(directory.path(), &directory.path().join(ENGINE)).unwrap();
    drop(try_open(&directory.path().join(ENGINE)).unwrap());
    let opened = open(&settings(directory.path())).unwrap();
    assert_eq!((numbers(&opened), opened.findings.len()), ((1..=9).collect(), 1));
}

#[test]
fn a_lost_credential_is_stored_anew_with_the_next_event_that_brings_it() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3);
    let mut opened = open(&settings(directory.path())).unwrap();
    let gone = Change::Put(Table::Credentials, vec![1; 16], b"no record".to_vec());
    opened.store.commit(vec![gone], Depth::Disk).unwrap();
    drop(opened);
    let opened = open(&settings(directory.path())).unwrap();
    let mut without = Vec::new();
    opened
        .each_event(&["progress".into()], |stored| without.extend((!stored.has_credential).then_some(stored.seq)))
        .unwrap();
    assert_eq!(without, [1]);
    assert!(!opened.standing.credentials.contains_key(&Fingerprint([1; 16])));
}

#[test]
fn a_record_that_is_none_is_put_away() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3);
    let mut opened = open(&settings(directory.path())).unwrap();
    let bad = Change::Put(Table::Events, 2u64.to_be_bytes().to_vec(), b"no record".to_vec());
    opened.store.commit(vec![bad], Depth::Disk).unwrap();
    drop(opened);
    let opened = open(&settings(directory.path())).unwrap();
    assert_eq!((numbers(&opened), opened.bad()), (vec![1, 3], 1));
    assert!(opened.findings[0].to_string().contains("1 damaged records were put away"), "{:?}", opened.findings);
}

fn bearers(opened: &Opened<Engine>) -> BTreeSet<Principal> {
    opened.successors().all().map(|succession| succession.bearer).collect()
}

fn bearers_of(numbers: impl IntoIterator<Item = u64>) -> BTreeSet<Principal> {
    numbers.into_iter().map(|number| succession(number).bearer).collect()
}

#[test]
fn a_successor_that_is_damaged_or_of_a_kind_that_nobody_knows_costs_no_event() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 4);
    let mut opened = open(&settings(directory.path())).unwrap();
    assert_eq!((bearers(&opened), opened.bad()), (bearers_of(1..=4), 0));
    let key = |number| succession(number).bearer.0.to_vec();
    let mut unknown = record::frame(Kind::Succession, 0, &record::SuccessionRecord::of(&succession(2), u64::MAX));
    unknown[2] = b'?';
    let bad = [
        Change::Put(Table::Successions, key(1), b"no record".to_vec()),
        Change::Put(Table::Successions, key(2), unknown),
        // Another bearer's.
        Change::Put(
            Table::Successions,
            key(3),
            record::frame(Kind::Succession, 0, &record::SuccessionRecord::of(&succession(4), u64::MAX)),
        ),
    ];
    opened.store.commit(bad.into(), Depth::Disk).unwrap();
    drop(opened);
    let opened = open(&settings(directory.path())).unwrap();
    assert_eq!((numbers(&opened), bearers(&opened), opened.bad()), (vec![1, 2, 3, 4], bearers_of([4]), 3));
    drop(opened);
    let again = open(&settings(directory.path())).unwrap();
    assert_eq!((numbers(&again), bearers(&again), again.bad()), (vec![1, 2, 3, 4], bearers_of([4]), 0));
}

#[test]
fn successors_are_taken_over_out_of_damaged_files_and_those_that_can_not_be_read_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 9);
    let file = log(directory.path());
    let bytes = std::fs::read(&file).unwrap();
    let damaged = record::scan(&bytes).filter(|frame| frame.kind == Kind::Succession).nth(4).unwrap().whole.to_vec();
    let at = bytes.windows(damaged.len()).position(|window| window == damaged).unwrap();
    flip(&file, at as u64 + 30);
    let opened = open(&settings(directory.path())).unwrap();
    assert_eq!(numbers(&opened), (1..=9).collect::<Vec<_>>());
    assert_eq!((bearers(&opened), opened.findings.len()), (bearers_of((1..=9).filter(|number| *number != 5)), 1));
}

#[test]
fn a_directory_of_an_earlier_version_has_no_successors_and_an_expired_one_goes_with_a_commit() {
    let disk = Disk::default();
    let opened = examine(disk.clone(), &Vault::default(), Path::new("/nowhere"), &mut Vec::new()).unwrap();
    assert!(opened.successors().is_empty() && !opened.has_events());
    let old = record::frame(Kind::Succession, 0, &record::SuccessionRecord::of(&succession(1), 1));
    let put = Change::Put(Table::Successions, succession(1).bearer.0.to_vec(), old);
    disk.clone().commit(vec![put], Depth::Disk).unwrap();
    let opened = examine(disk.clone(), &Vault::default(), Path::new("/nowhere"), &mut Vec::new()).unwrap();
    assert_eq!(opened.successors().len(), 1);
    let (mut committer, _tail, _) = committer(&disk, Depth::Disk, opened.standing);
    drop(committer.take(std::iter::empty()));
    let opened = examine(disk, &Vault::default(), Path::new("/nowhere"), &mut Vec::new()).unwrap();
    assert!(opened.successors().is_empty());
}

#[test]
fn a_successor_is_kept_as_deep_as_an_event_before_whoever_waits_hears_of_it() {
    let disk = Disk::default();
    let opened = examine(disk.clone(), &Vault::default(), Path::new("/nowhere"), &mut Vec::new()).unwrap();
    let (mut committer, _tail, _) = committer(&disk, Depth::Disk, opened.standing);
    let (answer, mut kept) = oneshot::channel();
    drop(committer.take(std::iter::once(Message::Succeed(succession(1), answer))));
    assert_eq!(kept.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    disk.cut_power(0);
    let opened = examine(disk, &Vault::default(), Path::new("/nowhere"), &mut Vec::new()).unwrap();
    assert_eq!(opened.successors().all().collect::<Vec<_>>(), [&succession(1)]);
}

#[test]
fn a_damaged_block_on_disk_is_salvaged_too() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 50);
    let opened = open(&settings(directory.path())).unwrap();
    // Out of memory, into a table file.
    for table in TABLES {
        opened.store.flush(table);
    }
    drop(opened);
    let keyspaces = directory.path().join(ENGINE).join("keyspaces");
    let holds =
        |file: &PathBuf| std::fs::read(file).unwrap().windows(9).any(|window| window.starts_with(b"{\"n\":25}"));
    let file = files_below(&keyspaces).unwrap().into_iter().find(holds).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(8).position(|window| window == b"{\"n\":25}").unwrap();
    flip(&file, at as u64);
    // The log still has them; it goes, as it would once the table is written.
    let opened = open(&settings(directory.path())).unwrap();
    let found = numbers(&opened);
    assert!(found.iter().filter(|number| **number != 25).count() == 49, "{found:?}");
    assert_eq!(opened.findings.len(), 1, "{:?}", opened.findings);
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
                bytes[at.index(length)..].iter_mut().zip(with).for_each(|(byte, new)| *byte = *new);
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
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_of_its_files_invents_an_event_or_keeps_a_journal_from_opening(
        damages in proptest::collection::vec((any::<proptest::sample::Index>(), damage()), 1..5),
    ) {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path(), 12);
        for (file, damage) in &damages {
            let files = files_below(&directory.path().join(ENGINE)).unwrap();
            if !files.is_empty() {
                damage.apply(&files[file.index(files.len())]);
            }
        }
        let look = || {
            let opened = open(&settings(directory.path())).unwrap();
            let mut found = Vec::new();
            opened.each_event(&["progress".into()], |stored| found.push((stored.seq, stored.event.json.clone()))).unwrap();
            found
        };
        let found = look();
        prop_assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, each once");
        for (number, json) in &found {
            prop_assert!((1..=12).contains(number));
            prop_assert_eq!(json, &event(*number, (number % 3) as u8).json);
        }
        prop_assert_eq!(look(), found, "what a start has found, the next one finds");
    }
}
