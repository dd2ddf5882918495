use super::examine::examine;
use super::start::reuse_files;
use super::*;
use crate::clock::Clock;
use crate::event::{
    Carried, Context, Event, EventId, Fingerprint, GroupIndex, Keys, LaneKey, Outcome, Principal, Reason, Subject,
    Succession, Tag, UserId,
};
use crate::journal::commit::leader::lead_if_free;
use crate::journal::commit::queue::Settle;
use crate::journal::commit::shared::{Bounds, Shared};
use crate::journal::commit::{Append, Committer};
use crate::journal::directory::{FORMAT_FILE, LOG};
use crate::journal::health::Health;
use crate::journal::log::files::Files;
use crate::journal::log::frame::{self, Flags, Kind};
use crate::journal::log::simulated_disk::{Fate, SimulatedDisk};
use crate::journal::log::writer::{Depth, Origin, Writer};
use crate::journal::record::{self, DeadRecord, Record, SuccessionRecord};
use crate::journal::settings::{Durability, JournalSettings};
use crate::journal::tail::Tails;
use crate::journal::vault::{Vault, VaultError};
use crate::journal::writer_thread::WriterThread;
use crate::journal::{AppendError, End, Journal, Journaled, Level, Memory, More, OpenError, Ticket};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

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
    /// So many events, one after the other.
    Append(u8),
    /// The n-th pending event has its outcome.
    Settle(u8, bool),
    /// The n-th dead letter becomes an event again.
    Replay(u8),
    /// What the journal's thread does now and then: files are made, synced, reclaimed.
    Chores,
    Kill,
    /// The power goes, and takes what these bits say of what was not synced.
    CutPower(u64),
    /// Writes fail after so many bytes; none: they don't.
    WritesFail(Option<u8>),
    SyncsFail(bool),
    /// Files can't be deleted.
    DeletesFail(bool),
    /// Names of files can't be synced.
    NamesFail(bool),
    Full(bool),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (1u8..6).prop_map(Action::Append),
        8 => (any::<u8>(), any::<bool>()).prop_map(|(which, dead)| Action::Settle(which, dead)),
        1 => any::<u8>().prop_map(Action::Replay),
        4 => Just(Action::Chores),
        1 => Just(Action::Kill),
        1 => any::<u64>().prop_map(Action::CutPower),
        1 => proptest::option::of(any::<u8>()).prop_map(Action::WritesFail),
        1 => any::<bool>().prop_map(Action::SyncsFail),
        1 => any::<bool>().prop_map(Action::DeletesFail),
        1 => any::<bool>().prop_map(Action::NamesFail),
        1 => any::<bool>().prop_map(Action::Full),
    ]
}

/// What went to a tail.
type Heard = mpsc::UnboundedReceiver<Box<Journaled<Note>>>;

fn tail() -> (Tails<Note>, Heard) {
    let (tail, heard) = mpsc::unbounded_channel();
    (vec![Arc::new(tail)], heard)
}

/// The journal beside what must be true of it.
struct World {
    disk: SimulatedDisk,
    depth: Depth,
    shared: Arc<Shared<SimulatedDisk, Note>>,
    committer: Committer<SimulatedDisk, Note>,
    thread: WriterThread<SimulatedDisk, Note>,
    tail: Heard,
    /// Acknowledged and without an outcome, by number.
    owed: BTreeMap<u64, String>,
    /// In memory, on their way.
    pending: Vec<(u64, String, Fingerprint, u64)>,
    /// Dead letters, by their events' numbers: the event's own.
    letters: BTreeMap<u64, u64>,
    /// Refused while the disk failed, and not declared void yet, for all that is known.
    doubtful: BTreeSet<String>,
    ever: BTreeSet<String>,
    /// Bearers whose events were kept.
    succeeded: BTreeSet<Principal>,
    /// Events that were kept, those that came back from a letter counted again.
    kept: u64,
    /// Letters that became events again.
    replayed: u64,
    /// Refused, and found by a later start: from there on pending like any other.
    returned: BTreeSet<String>,
    /// A sync failed in an earlier process: what the kernel still shows of it may go with the power, refused events and
    /// outcomes among it.
    tainted: bool,
    /// Events whose credentials went with the power.
    orphans: BTreeSet<u64>,
    /// Numbers that callers were told.
    told: BTreeSet<u64>,
    next: u64,
    last_seq: u64,
}

type Running = (Arc<Shared<SimulatedDisk, Note>>, WriterThread<SimulatedDisk, Note>, Heard);

/// A journal without its thread.
fn start_log(opened: Opened<SimulatedDisk>, depth: Depth) -> Running {
    let (tails, heard) = tail();
    let health = Arc::new(Health::new(Clock::default()));
    let segment_size = 2_048;
    let bounds = Bounds { depth, min_free: 0, max_seen: 1_000, succession: Duration::from_hours(1), segment_size };
    opened.sync_segments();
    let Opened { files, index, origin, unsynced, missing, unused, .. } = opened;
    let mut writer = Writer::new(Arc::clone(&files), depth, Origin { segment_size, ..origin });
    let newest = index.segments.back().map(|segment| segment.segment);
    reuse_files((&*files, segment_size), &mut writer, newest, &unused);
    let shared = Shared::new((files, origin.epoch), Vault::default(), index, bounds, tails, health, writer);
    let shared = Arc::new(shared);
    Committer::new(Arc::clone(&shared)).rewrite_unsynced(missing, &unsynced, origin.synced).unwrap();
    (Arc::clone(&shared), WriterThread::new(shared, None, 0), heard)
}

fn look_through(disk: &SimulatedDisk) -> Opened<SimulatedDisk> {
    examine(disk.clone(), Vault::default(), Path::new("/nowhere"), None).unwrap()
}

impl World {
    fn new(depth: Depth) -> Self {
        let disk = SimulatedDisk::default();
        let (shared, thread, tail) = start_log(look_through(&disk), depth);
        Self {
            disk,
            depth,
            committer: Committer::new(Arc::clone(&shared)),
            shared,
            thread,
            tail,
            owed: BTreeMap::new(),
            pending: Vec::new(),
            letters: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            ever: BTreeSet::new(),
            succeeded: BTreeSet::new(),
            kept: 0,
            replayed: 0,
            returned: BTreeSet::new(),
            tainted: false,
            orphans: BTreeSet::new(),
            told: BTreeSet::new(),
            next: 0,
            last_seq: 0,
        }
    }

    fn run(&mut self, action: &Action) {
        match action {
            Action::Append(count) => (0..*count).for_each(|_| {
                self.next += 1;
                self.append(self.next, None);
            }),
            Action::Settle(which, dead) => self.settle(*which, *dead),
            Action::Replay(which) => {
                let which = usize::from(*which) % self.letters.len().max(1);
                if let Some((key, number)) = self.letters.iter().nth(which).map(|(key, number)| (*key, *number)) {
                    self.append(number, Some(key));
                }
            }
            Action::Chores => {
                lead_if_free(&self.shared);
                self.thread.do_chores();
            }
            Action::Kill => {
                // What was settled may be settled again until it is written: here it is.
                lead_if_free(&self.shared);
                self.disk.kill();
                self.restart(true);
            }
            Action::CutPower(bits) => {
                let mut bits = *bits;
                self.disk.cut_power(|| {
                    bits = bits.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                    match bits % 3 {
                        0 => Fate::Kept,
                        1 => Fate::Lost,
                        _ => Fate::Torn((bits >> 8) as usize),
                    }
                });
                self.restart(self.depth == Depth::Disk);
            }
            Action::WritesFail(kept) => self.disk.0.lock().writes_fail = kept.map(usize::from),
            Action::SyncsFail(fail) => {
                self.disk.0.lock().syncs_fail = *fail;
                self.tainted |= *fail;
            }
            Action::DeletesFail(fail) => self.disk.0.lock().deletes_fail = *fail,
            Action::NamesFail(fail) => self.disk.0.lock().names_fail = *fail,
            Action::Full(full) => self.disk.0.lock().full = *full,
        }
    }

    fn append(&mut self, number: u64, replaces: Option<u64>) {
        let (event, ticket) = (event(number, (number % 3) as u8), Note::default());
        let draft = self.shared.draft(record::bytes(&Record::of(&event, "progress", seen(number))));
        let (answer, mut kept) = oneshot::channel();
        let succession = succession(number);
        let id = event.id.as_str().to_owned();
        self.ever.insert(id.clone());
        let append =
            Append { shard: 0, event, draft, ticket: ticket.clone(), replaces, succession: Some(succession), answer };
        self.committer.append(append);
        lead_if_free(&self.shared);
        let kept = kept.try_recv().unwrap();
        assert_eq!(kept.is_ok(), ticket.0.0.load(Ordering::Relaxed), "the ticket and the answer agree");
        match kept {
            Ok(seq) => {
                assert!(seq > self.last_seq, "a number is given again");
                self.last_seq = seq;
                self.told.insert(seq);
                let journaled = self.tail.try_recv().expect("it is in the tail before it is answered for");
                assert_eq!((journaled.seq, journaled.event().id.as_str()), (seq, id.as_str()));
                self.pending.push((seq, id.clone(), journaled.event().lane.credential, journaled.size));
                self.owed.insert(seq, id);
                self.succeeded.insert(succession.bearer);
                self.kept += 1;
                if let Some(key) = replaces {
                    self.letters.remove(&key).unwrap();
                    self.replayed += 1;
                }
                // Whatever was refused before is void, as deep as this one is.
                self.doubtful.clear();
            }
            Err(AppendError::DiskFull) => {}
            Err(_) => {
                self.doubtful.insert(id);
            }
        }
        assert!(self.tail.try_recv().is_err(), "nothing that was refused reaches the tail");
    }

    fn settle(&mut self, which: u8, dead: bool) {
        if self.pending.is_empty() {
            return;
        }
        let (seq, id, credential, size) = self.pending.remove(usize::from(which) % self.pending.len());
        self.owed.remove(&seq);
        let number: u64 = id.trim_start_matches('e').parse().unwrap();
        let gone = event(number, (number % 3) as u8);
        let event = Record::of(&gone, "progress", seen(number));
        let letter = DeadRecord { reason: "refused", attempts: 1, status: 400, died_ms: 9, event };
        let settle = Settle {
            seq,
            size,
            credential,
            outcome: if dead { Outcome::Dead(Reason::Refused) } else { Outcome::Accepted },
            seen: (!dead).then(|| (seen(number), u64::MAX)),
            letter: dead.then(|| self.shared.draft(record::bytes(&letter))),
            dropped: Vec::new(),
        };
        self.committer.settle_all(vec![settle]);
        if dead {
            self.letters.insert(seq, number);
        }
    }

    /// A new process on the same disk. `whole`: nothing acknowledged may be missing.
    fn restart(&mut self, whole: bool) {
        let mut opened = look_through(&self.disk);
        assert_eq!(opened.bad(), 0);
        let groups: [Arc<str>; 1] = ["progress".into()];
        let mut found = Vec::new();
        opened.each_event(&groups, |stored| found.push(stored));
        self.pending.clear();
        for stored in &found {
            let orphaned = !whole || self.orphans.contains(&stored.seq);
            assert!(stored.has_group && (stored.has_credential || orphaned), "an event without its credential");
            if !stored.has_credential {
                self.orphans.insert(stored.seq);
            }
            let number: u64 = stored.event.id.as_str().trim_start_matches('e').parse().unwrap();
            let wanted = event(number, (number % 3) as u8);
            assert_eq!(
                (&stored.event.json, stored.event.token_life, stored.event.subject, stored.seen),
                (&wanted.json, wanted.token_life, wanted.subject, seen(number))
            );
            assert!(!stored.has_credential || stored.event.context == wanted.context);
            let credential = stored.event.lane.credential;
            self.pending.push((stored.seq, stored.event.id.as_str().to_owned(), credential, stored.size));
        }
        assert!(self.pending.is_sorted_by(|one, other| one.0 < other.0), "events come back in order, each once");
        let back: BTreeMap<u64, String> = self.pending.iter().map(|(seq, id, ..)| (*seq, id.clone())).collect();
        let known: BTreeSet<_> = opened.successors().all().map(|succession| succession.bearer).collect();
        let sums = opened.sums();
        let letters = opened.letters(&groups);
        if whole {
            let lost: Vec<_> = self.owed.iter().filter(|(seq, _)| !back.contains_key(seq)).collect();
            assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
            let lost: Vec<_> = self.succeeded.difference(&known).collect();
            assert!(self.tainted || lost.is_empty(), "an event was kept and its bearer lost: {lost:?}");
            let ghosts = back.iter().filter(|(seq, _)| !self.was_kept(**seq)).map(|(_, id)| id);
            let ghosts: BTreeSet<_> = ghosts.cloned().collect();
            let unknown: Vec<_> = ghosts.difference(&self.doubtful).filter(|id| !self.returned.contains(*id)).collect();
            assert!(unknown.is_empty(), "refused, and back: {unknown:?}");
            self.returned.extend(ghosts.iter().cloned());
            assert!(self.tainted || letters.len() as u64 == sums.dead, "{} letters, {sums:?}", letters.len());
            self.kept += ghosts.len() as u64;
            let found = sums.accepted + sums.dead + back.len() as u64 + self.replayed;
            assert!(
                self.tainted || found == self.kept,
                "every event that was kept has one outcome, or is pending (P2)"
            );
        }
        assert!(back.values().all(|id| self.ever.contains(id)));
        // The power took what it liked.
        self.tainted |= !whole;
        self.succeeded = known;
        self.letters = letters.iter().map(|letter| (letter.stored.seq, number_of(&letter.stored.event))).collect();
        self.replayed = 0;
        self.kept = sums.accepted + sums.dead + back.len() as u64;
        self.doubtful.clear();
        // What the power took may be given again.
        self.last_seq = if whole { self.last_seq } else { 0 };
        // A refused event that is back was promised to no caller.
        self.owed = back.into_iter().filter(|(seq, _)| !whole || self.told.contains(seq)).collect();
        (self.shared, self.thread, self.tail) = start_log(opened, self.depth);
        self.committer = Committer::new(Arc::clone(&self.shared));
        // Every start writes what it found missing, so that the next one does not ask again.
        lead_if_free(&self.shared);
    }

    /// Its number was told to a caller.
    fn was_kept(&self, seq: u64) -> bool {
        self.told.contains(&seq)
    }
}

fn number_of(event: &Event) -> u64 {
    event.id.as_str().trim_start_matches('e').parse().unwrap()
}

/// So many cases, or as many as `TIDEGATE_JOURNAL_CASES` says.
fn cases(otherwise: u32) -> ProptestConfig {
    let cases = std::env::var("TIDEGATE_JOURNAL_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: cases.unwrap_or(otherwise), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn at_disk_nothing_acknowledged_is_lost_to_a_kill_or_a_power_cut(
        actions in proptest::collection::vec(action(), 1..80), last: u64,
    ) {
        let mut world = World::new(Depth::Disk);
        actions.iter().for_each(|action| world.run(action));
        world.run(&Action::CutPower(last));
    }

    #[test]
    fn at_process_nothing_acknowledged_is_lost_to_a_kill(actions in proptest::collection::vec(action(), 1..80)) {
        let mut world = World::new(Depth::Process);
        actions.iter().for_each(|action| world.run(action));
        world.run(&Action::Kill);
    }
}

/// A journal on a disk in memory, as a process has it: with its thread.
fn running(disk: &SimulatedDisk, clock: &Clock, max_bytes: u64) -> (Journal<Note, SimulatedDisk>, Heard) {
    let settings = JournalSettings { max_bytes, min_free: 100, ..settings(Path::new("/nowhere")) };
    let memory = Memory { max_seen: 8, events: Duration::from_hours(1) };
    let (tails, heard) = tail();
    let place = |_: &Stored| Placement::Tail(0, Note::default());
    let journal = look_through(disk).start(&settings, &["progress".into()], tails, (memory, clock.clone()), place);
    (journal.unwrap(), heard)
}

/// A journal in memory.
fn in_memory(max_bytes: u64) -> (Journal<Note>, Heard) {
    let (tails, heard) = tail();
    (Journal::in_memory(tails, max_bytes), heard)
}

async fn append_one<F: Files>(journal: &Journal<Note, F>, number: u64) -> (Result<u64, AppendError>, Note) {
    let ticket = Note::default();
    let more = More { seen: seen(number), replaces: None, beside: 0, succession: None };
    (journal.append(0, event(number, 1), ticket.clone(), more).await, ticket)
}

fn no<F: Files>((kept, ticket): (Result<u64, AppendError>, Note), journal: &Journal<Note, F>) -> AppendError {
    assert_eq!((journal.held(), Arc::strong_count(&ticket.0)), (0, 1), "{kept:?}");
    kept.unwrap_err()
}

/// Appended when the journal has seen that its disk is well again.
async fn append_in_time(journal: &Journal<Note, SimulatedDisk>, number: u64) -> u64 {
    for _ in 0..10_000 {
        if let (Ok(seq), _) = append_one(journal, number).await {
            return seq;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the disk is well, and nothing is kept: {:?}", journal.health());
}

#[tokio::test]
async fn a_journal_that_says_no_holds_no_bytes_for_it_and_keeps_no_ticket() {
    // No room by `max_bytes`, in memory and on disk.
    let (journal, _heard) = in_memory(10);
    assert!(matches!(no(append_one(&journal, 1).await, &journal), AppendError::Full { held: 0, max: 10 }));
    let (journal, _heard) = running(&SimulatedDisk::default(), &Clock::default(), 10);
    assert!(matches!(no(append_one(&journal, 1).await, &journal), AppendError::Full { held: 0, max: 10 }));
    // The disk fails.
    let disk = SimulatedDisk::default();
    let (journal, _heard) = running(&disk, &Clock::default(), 1 << 20);
    disk.0.lock().writes_fail = Some(7);
    for number in 1..3 {
        assert_eq!(no(append_one(&journal, number).await, &journal), AppendError::Failing);
    }
    assert!(journal.health().failure().is_some());
    // The windows have stopped.
    let (journal, heard) = running(&SimulatedDisk::default(), &Clock::default(), 1 << 20);
    drop(heard);
    assert_eq!(no(append_one(&journal, 1).await, &journal), AppendError::Closed);
    let (journal, heard) = in_memory(1 << 20);
    drop(heard);
    assert_eq!(no(append_one(&journal, 1).await, &journal), AppendError::Closed);
    // The journal is closed.
    let (journal, _heard) = running(&SimulatedDisk::default(), &Clock::default(), 1 << 20);
    journal.close().await;
    assert_eq!(no(append_one(&journal, 1).await, &journal), AppendError::Closed);
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
    assert_eq!((refused, journal.held(), Arc::strong_count(&ticket.0)), (Err(AppendError::DiskFull), held, 1));
    // It is delivered, and its settlement waits for room.
    let end = End { outcome: Outcome::Accepted, seen: None, letter: None, dropped: Vec::new() };
    journal.settle_all([(&*journaled, end)].into_iter());
    assert_eq!((journal.held(), journal.health().is_low()), (0, true));
    disk.0.lock().full = false;
    append_in_time(&journal, 3).await;
    assert!(!journal.health().is_low());
    journal.close().await;
    disk.kill();
    let opened = look_through(&disk);
    let mut ids = Vec::new();
    opened.each_event(&["progress".into()], |stored| ids.push(stored.event.id.as_str().to_owned()));
    assert_eq!((ids, opened.sums().accepted), (vec!["e3".to_owned()], 1));
}

#[tokio::test]
async fn a_failed_write_is_over_when_the_disk_is_well_again_and_nothing_that_was_refused_comes_back() {
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
        let journaled = heard.try_recv().unwrap();
        let end = End { outcome: Outcome::Accepted, seen: None, letter: None, dropped: Vec::new() };
        journal.settle_all([(&*journaled, end)].into_iter());
        (disk.0.lock().writes_fail, disk.0.lock().syncs_fail) = (None, false);
        append_in_time(&journal, 3).await;
        assert_eq!(journal.health().failure(), None);
        disk.cut_power(|| Fate::Kept);
        let opened = look_through(&disk);
        let mut ids = Vec::new();
        opened.each_event(&["progress".into()], |stored| ids.push(stored.event.id.as_str().to_owned()));
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

// ---- files of a directory --------------------------------------------------------------------------------------------

fn settings(path: &Path) -> JournalSettings {
    JournalSettings {
        path: path.to_owned(),
        durability: Durability::Disk,
        max_bytes: 1 << 30,
        min_free: 0,
        key_file: None,
        old_key_files: Vec::new(),
    }
}

/// A journal with so many pending events, each in a group of its own, its process gone without a word.
fn filled(directory: &Path, events: u64) {
    let opened = open(&settings(directory)).unwrap();
    let (tails, _heard) = tail();
    let (depth, segment_size) = (Depth::Disk, 1 << 20);
    let bounds = Bounds { depth, min_free: 0, max_seen: 8, succession: Duration::from_hours(1), segment_size };
    let Opened { files, index, origin, lock, .. } = opened;
    let writer = Writer::new(Arc::clone(&files), depth, Origin { segment_size, ..origin });
    let parts = (files, origin.epoch);
    let shared = Arc::new(Shared::new(parts, Vault::default(), index, bounds, tails, Arc::default(), writer));
    let committer: Committer<_, Note> = Committer::new(Arc::clone(&shared));
    for number in 1..=events {
        let event = event(number, (number % 3) as u8);
        let draft = shared.draft(record::bytes(&Record::of(&event, "progress", seen(number))));
        let (answer, mut kept) = oneshot::channel();
        let (ticket, succession) = (Note::default(), Some(succession(number)));
        committer.append(Append { shard: 0, event, draft, ticket, replaces: None, succession, answer });
        lead_if_free(&shared);
        assert!(kept.try_recv().unwrap().is_ok());
    }
    drop(lock);
}

/// The ids of the events that are pending, as numbers.
fn numbers(opened: &Opened) -> Vec<u64> {
    let mut found = Vec::new();
    opened.each_event(&["progress".into()], |stored| found.push(number_of(&stored.event)));
    found
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
    each.filter(|(found, ..)| *found == kind).map(|(_, at, size)| (at, size)).collect()
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
    assert_eq!((opened.findings.as_slice(), opened.bad(), opened.credentials()), (&[][..], 0, 3));
    let secret = opened.secret();
    drop(opened);
    assert_eq!(open(&settings(directory.path())).unwrap().secret(), secret, "fingerprints stay comparable");
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
        assert_eq!((numbers(&opened), opened.findings.len()), ((1..=last).collect(), 0), "{kept}");
    }
}

#[test]
fn damage_in_the_middle_is_told_the_file_is_kept_and_what_is_whole_comes_back() {
    // In each part of an event's frame.
    for inside in [0, 2, 5, 9, 17, 25, 30, 60] {
        let directory = tempfile::tempdir().unwrap();
        filled(directory.path(), 20);
        flip(directory.path(), places(directory.path(), Kind::Event)[9].0 + inside);
        let opened = open(&settings(directory.path())).unwrap();
        let wanted: Vec<u64> = (1..=20).filter(|number| *number != 10).collect();
        assert_eq!((numbers(&opened), opened.bad()), (wanted.clone(), 0), "{inside}");
        assert_eq!(opened.findings.len(), 1, "{inside}");
        let text = &opened.findings[0].to_string();
        let parts = ["1 files of the log are damaged; 1 records that were safe in them are missing", "quarantine"];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        let kept = std::fs::read_dir(directory.path().join("quarantine")).unwrap().next().unwrap().unwrap().path();
        assert_eq!(std::fs::read_dir(kept).unwrap().count(), 1);
        drop(opened);
        assert_eq!(numbers(&open(&settings(directory.path())).unwrap()), wanted, "no crash loop");
    }
}

#[test]
fn what_was_missing_once_is_not_asked_for_again() {
    let mut world = World::new(Depth::Disk);
    (0..5).for_each(|_| world.run(&Action::Append(1)));
    let wanted = b"{\"n\":3}";
    let find = |bytes: &[u8]| bytes.windows(wanted.len()).position(|window| window == wanted);
    let numbers = world.disk.list().unwrap();
    let hit = numbers.iter().find(|number| find(&world.disk.read(**number).unwrap()).is_some()).unwrap();
    world.disk.damage(*hit, |bytes| {
        let at = find(bytes).unwrap();
        bytes[at] ^= 1;
    });
    let opened = look_through(&world.disk);
    assert_eq!((opened.pending.len(), opened.missing.len()), (4, 1));
    let (later, ..) = start_log(opened, Depth::Disk);
    lead_if_free(&later);
    let again = look_through(&world.disk);
    assert_eq!((again.pending.len(), again.missing.len()), (4, 0));
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
        assert_eq!((numbers(&opened), opened.findings.len()), (vec![1, 2, 3, 4, 1, 2, 3, 4], 1), "{at}");
        drop(opened);
        flip(directory.path(), at);
    }
}

#[test]
fn a_lost_credential_is_stored_anew_with_the_next_event_that_brings_it() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 3);
    flip(directory.path(), places(directory.path(), Kind::Context)[0].0 + 40);
    let opened = open(&settings(directory.path())).unwrap();
    let mut without = Vec::new();
    let see = |stored: Stored| without.extend((!stored.has_credential).then(|| number_of(&stored.event)));
    opened.each_event(&["progress".into()], see);
    assert_eq!(without, [1]);
    assert!(!opened.index.contexts.contains_key(&Fingerprint([1; 16])));
}

#[test]
fn a_successor_that_is_damaged_costs_no_event() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 9);
    flip(directory.path(), places(directory.path(), Kind::Succession)[4].0 + 30);
    let opened = open(&settings(directory.path())).unwrap();
    assert_eq!(numbers(&opened), (1..=9).collect::<Vec<_>>());
    let found: BTreeSet<_> = opened.successors().all().map(|succession| succession.bearer).collect();
    let wanted = (1..=9).filter(|number| *number != 5).map(|number| succession(number).bearer);
    assert_eq!((found, opened.findings.len()), (wanted.collect(), 1));
}

#[test]
fn a_successor_is_kept_as_deep_as_an_event_before_whoever_waits_hears_of_it() {
    let disk = SimulatedDisk::default();
    let (shared, ..) = start_log(look_through(&disk), Depth::Disk);
    let mut kept = Committer::new(Arc::clone(&shared)).keep_succession(&succession(1));
    lead_if_free(&shared);
    assert_eq!(kept.try_recv(), Ok(true));
    disk.cut_power(|| Fate::Lost);
    assert_eq!(look_through(&disk).successors().all().collect::<Vec<_>>(), [&succession(1)]);
}

#[test]
fn an_expired_successor_is_forgotten() {
    let disk = SimulatedDisk::default();
    let (first, ..) = start_log(look_through(&disk), Depth::Disk);
    let record = SuccessionRecord::of(&succession(1), 1);
    first.queue().push(Kind::Succession, Flags::default(), |out| record::put(out, &record));
    lead_if_free(&first);
    let opened = look_through(&disk);
    assert_eq!(opened.successors().len(), 1);
    let (later, ..) = start_log(opened, Depth::Disk);
    later.queue().push_sums();
    lead_if_free(&later);
    assert!(later.queue().index.successors.is_empty());
}

#[test]
fn segments_go_when_what_is_in_them_is_settled_and_ids_and_numbers_outlive_them() {
    let mut world = World::new(Depth::Process);
    world.run(&Action::Append(1));
    let stuck = world.pending[0].0;
    for _ in 0..400 {
        world.run(&Action::Append(1));
        world.settle(1, false);
        world.run(&Action::Chores);
        assert!(world.disk.count() < 70, "files pile up");
    }
    world.run(&Action::Kill);
    assert_eq!(world.pending.iter().map(|(seq, ..)| *seq).collect::<Vec<_>>(), [stuck], "it keeps its number");
    let opened = look_through(&world.disk);
    assert_eq!(opened.settled().iter().map(|(id, _)| *id).collect::<BTreeSet<_>>().len(), 400);
    assert!(opened.origin.last > 400 && opened.findings.is_empty());
}

#[test]
fn a_disk_that_fails_now_and_then_loses_nothing_while_segments_are_reclaimed() {
    let mut world = World::new(Depth::Disk);
    for round in 0..60 {
        world.run(&Action::Append(3));
        world.settle(0, false);
        world.settle(0, false);
        world.run(&Action::SyncsFail(round % 3 == 0));
        world.run(&Action::Chores);
        world.run(&Action::SyncsFail(false));
    }
    world.run(&Action::CutPower(1));
}

#[test]
fn a_group_that_is_larger_than_a_ready_file_is_never_written_to_one_that_is_gone() {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::Chores);
    world.run(&Action::Full(true));
    let large = vec![b'x'; 5_000];
    world.shared.queue().push(Kind::Succession, Flags::default(), |out| out.extend_from_slice(&large));
    world.run(&Action::Append(1));
    world.run(&Action::Full(false));
    world.run(&Action::Chores);
    world.run(&Action::Append(3));
    world.run(&Action::Kill);
    assert_eq!(world.pending.len(), 3);
}

#[test]
fn a_letter_whose_replay_was_refused_is_there_after_a_start_and_counted() {
    for copied in [false, true] {
        let mut world = World::new(Depth::Disk);
        world.run(&Action::Append(1));
        world.run(&Action::Settle(0, true));
        lead_if_free(&world.shared);
        world.run(&Action::SyncsFail(true));
        world.run(&Action::Replay(0));
        world.run(&Action::SyncsFail(false));
        world.run(&Action::Append(1));
        for _ in 0..if copied { 40 } else { 0 } {
            world.run(&Action::Append(1));
            world.settle(1, false);
            world.run(&Action::Chores);
        }
        lead_if_free(&world.shared);
        let mut opened = look_through(&world.disk);
        let sums = opened.sums();
        let letters = opened.letters(&["progress".into()]);
        assert_eq!((letters.len(), sums.dead), (1, 1), "{copied}");
        assert_eq!(number_of(&letters[0].stored.event), 1);
    }
}

#[test]
fn a_segment_that_cannot_be_deleted_holds_up_those_behind_it() {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::DeletesFail(true));
    for _ in 0..60 {
        world.run(&Action::Append(1));
        world.settle(0, false);
        world.run(&Action::Chores);
    }
    world.run(&Action::Kill);
    assert!(world.pending.is_empty(), "what was settled is back");
    assert!(look_through(&world.disk).findings.is_empty());
}

#[test]
fn what_two_processes_could_not_sync_the_third_writes_again_and_nothing_that_was_refused_comes_back() {
    use Action::{Append, CutPower, DeletesFail, Kill, SyncsFail};
    let fails = || [SyncsFail(true), Append(1)];
    let twice = [&[Append(1)][..], &fails(), &[Kill], &fails(), &[Kill, Append(2), CutPower(0)]].concat();
    let torn = |bits| [&[Append(16), Kill], &fails()[..], &[DeletesFail(true), Kill, CutPower(bits)]].concat();
    for actions in [twice].into_iter().chain((0..200).map(|seed: u64| torn(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)))) {
        let mut world = World::new(Depth::Disk);
        actions.iter().for_each(|action| world.run(action));
        assert!(world.orphans.is_empty());
    }
}

/// The kernel shows what a sync that failed should have made safe, until the power goes. What settles an event there is
/// written again as well: else its context goes with a segment that looks dead, and the event comes back without it.
#[test]
fn an_outcome_that_was_not_synced_is_written_again_before_anything_builds_on_it() {
    let mut world = World::new(Depth::Disk);
    let segments = |world: &World| world.shared.queue().index.segments.clone();
    let others = |world: &mut World| {
        world.next += if world.next % 3 == 0 { 2 } else { 1 };
        world.append(world.next, None);
    };
    // In the first segment a context; in the second the one event that needs it.
    world.run(&Action::Append(1));
    while segments(&world).len() < 2 || !world.next.is_multiple_of(3) {
        others(&mut world);
    }
    world.run(&Action::Append(1));
    while world.pending.len() > 1 {
        world.settle(0, false);
    }
    others(&mut world);
    world.run(&Action::SyncsFail(true));
    world.settle(0, false);
    others(&mut world);
    world.run(&Action::Kill);
    let oldest = segments(&world)[0];
    while segments(&world)[0] == oldest {
        others(&mut world);
        world.settle(0, false);
        world.run(&Action::Chores);
    }
    world.run(&Action::CutPower(0));
    assert!(world.orphans.is_empty());
}

#[test]
fn an_event_is_never_acknowledged_in_a_file_whose_name_is_not_on_the_disk() {
    let mut world = World::new(Depth::Disk);
    world.run(&Action::NamesFail(true));
    world.run(&Action::Chores);
    world.run(&Action::Append(2));
    assert!(world.owed.is_empty());
    world.run(&Action::NamesFail(false));
    world.run(&Action::Chores);
    world.run(&Action::Append(2));
    assert_eq!(world.owed.len(), 2);
    world.run(&Action::CutPower(1));
    assert_eq!(world.pending.len(), 2);
}

#[test]
fn an_outage_of_the_disk_piles_up_neither_files_nor_numbers() {
    let mut world = World::new(Depth::Process);
    world.run(&Action::Append(2));
    world.run(&Action::WritesFail(Some(9)));
    world.run(&Action::Append(1));
    world.settle(0, false);
    let next = world.shared.queue().index.next;
    for _ in 0..500 {
        lead_if_free(&world.shared);
    }
    assert!(world.disk.count() < 10, "{} files", world.disk.count());
    assert!(world.shared.queue().index.next < next + 10);
    world.run(&Action::WritesFail(None));
    world.run(&Action::Kill);
    assert_eq!(world.pending.len(), 1);
}

#[tokio::test]
async fn a_journal_that_has_ended_answers_everybody_and_writes_nothing() {
    for crashed in [false, true] {
        let disk = SimulatedDisk::default();
        let (journal, _heard) = running(&disk, &Clock::default(), 1 << 20);
        append_in_time(&journal, 1).await;
        let Level::Disk(kept) = &journal.level else { panic!("it is in memory") };
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
        assert!(matches!(refused, AppendError::Closed | AppendError::Failing), "{refused}");
        assert_eq!(disk.list().unwrap(), before);
    }
}

#[test]
fn one_damaged_byte_of_the_only_head_costs_neither_an_event_nor_the_secret() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), 4);
    let secret = open(&settings(directory.path())).unwrap().secret();
    for at in 0..places(directory.path(), Kind::Head)[0].1 {
        flip(directory.path(), at);
        let opened = open(&settings(directory.path())).unwrap();
        assert_eq!((numbers(&opened), opened.secret()), (vec![1, 2, 3, 4], secret), "{at}");
        drop(opened);
        flip(directory.path(), at);
    }
}

#[test]
fn a_full_disk_leaves_the_next_start_the_files_that_are_ready() {
    let mut world = World::new(Depth::Disk);
    for _ in 0..12 {
        world.run(&Action::Append(1));
    }
    world.run(&Action::Chores);
    world.run(&Action::Full(true));
    world.disk.0.lock().stays_full = true;
    world.run(&Action::Kill);
    for _ in 0..12 {
        world.settle(0, false);
    }
    lead_if_free(&world.shared);
    assert!(!world.shared.health.is_low(), "the outcomes found room");
    let opened = look_through(&world.disk);
    assert_eq!((opened.pending.len(), opened.sums().accepted), (0, 12));
}

/// These settings with a new key; the key of before is an older one.
fn with_key(directory: &Path, key: u8, settings: JournalSettings) -> JournalSettings {
    let path = directory.join(key.to_string());
    std::fs::write(&path, [key; 32]).unwrap();
    let old_key_files = settings.key_file.into_iter().chain(settings.old_key_files).collect();
    JournalSettings { key_file: Some(path), old_key_files, ..settings }
}

#[tokio::test]
async fn with_a_key_nothing_of_an_event_lies_open_and_a_new_key_seals_anew_what_an_older_one_did() {
    let (directory, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plain = settings(directory.path());
    filled(directory.path(), 5);
    let lies_open = |wanted: &[u8]| {
        let mut all = files(directory.path()).into_iter().map(|file| std::fs::read(file).unwrap());
        all.any(|bytes| memchr::memmem::find(&bytes, wanted).is_some())
    };
    assert!(lies_open(b"{\"n\":3}") && lies_open(b"token-1"));
    let first = with_key(keys.path(), 1, plain.clone());
    let second = with_key(keys.path(), 2, first.clone());
    for settings in [&first, &second] {
        let opened = open(settings).unwrap();
        assert_eq!(numbers(&opened), [1, 2, 3, 4, 5]);
        let holds_something = |file: &PathBuf| std::fs::read(file).unwrap().iter().any(|byte| *byte != 0);
        let before: Vec<_> = files(directory.path()).into_iter().filter(holds_something).collect();
        let memory = Memory { max_seen: 8, events: Duration::from_hours(1) };
        let place = |_: &Stored| Placement::Tail(0, Note::default());
        let (tails, _heard) = tail();
        let journal = opened.start(settings, &["progress".into()], tails, (memory, Clock::default()), place).unwrap();
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
    let only_second = JournalSettings { old_key_files: Vec::new(), ..second };
    assert_eq!(numbers(&open(&only_second).unwrap()), [1, 2, 3, 4, 5]);
    assert!(matches!(open(&first), Err(OpenError::Vault(VaultError::KeyWrong))));
    assert!(matches!(open(&plain), Err(OpenError::Vault(VaultError::KeyMissing))));
}

#[test]
fn a_directory_of_another_format_is_refused_with_the_way_out() {
    for (format, words) in [("2", "stop it when nothing is pending"), ("9", "run the version that wrote it")] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FORMAT_FILE), format!("tidegate journal {format}\n")).unwrap();
        for opened in [open(&settings(directory.path())), inspect(&settings(directory.path()))] {
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
            let see = |stored: Stored| found.push((stored.seq, number_of(&stored.event), stored.event.json.clone()));
            opened.each_event(&["progress".into()], see);
            found
        };
        let found = look();
        prop_assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, each once");
        for (_, number, json) in &found {
            prop_assert!((1..=4).contains(number));
            prop_assert_eq!(json, &event(*number, (number % 3) as u8).json);
        }
        prop_assert_eq!(look(), found, "what a start has found, the next one finds");
    }
}
