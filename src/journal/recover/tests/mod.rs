//! The journal on a simulated disk, against a model of what must be true of it.

use super::examine::examine;
use super::start::reuse_files;
use super::*;
use crate::clock::Clock;
use crate::event::{
    Carried, Context, Event, EventId, Fingerprint, GroupIndex, Keys, LaneKey, Outcome, Principal,
    Raw, Reason, Said, Subject, Succession, Tag, Texts, TokenLife, UserId,
};
use crate::journal::commit::leader::lead_if_free;
use crate::journal::commit::queue::Settle;
use crate::journal::commit::shared::{Bounds, Shared};
use crate::journal::commit::{Append, Committer};
use crate::journal::directory::{FORMAT_FILE, Hold, LOG, prepare_anew};
use crate::journal::health::Health;
use crate::journal::log::files::{Directory, Files};
use crate::journal::log::frame::{self, Flags, Kind};
use crate::journal::log::replay::LeftOut;
use crate::journal::log::simulated_disk::{Fate, SimulatedDisk};
use crate::journal::log::writer::{Depth, HEAD_SALT, Origin, Writer};
use crate::journal::reclaim::Reclaim;
use crate::journal::record::{
    self, DeadRecord, DroppedLetters, Record, RefusalRecord, SuccessionRecord,
};
use crate::journal::refusals::{Refusal, Refusals};
use crate::journal::settings::{Durability, JournalSettings};
use crate::journal::syncs::Syncs;
use crate::journal::tail::Tails;
use crate::journal::vault::{Vault, VaultError};
use crate::journal::writer_thread::WriterThread;
use crate::journal::{
    AppendError, End, Journal, Journaled, Level, Memory, More, OpenError, Ticket,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

mod directory_tests;
mod process_tests;
mod scenario_tests;
mod unread_tests;

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
    let token = format!("token-{who}");
    let said = Said {
        headers: vec![("authorization", Raw(token.as_bytes()))],
        ..Said::default()
    };
    Event {
        texts: Texts::new(
            &EventId::try_new(&format!("e{number}")).unwrap(),
            format!("{{\"n\":{number}}}"),
            Carried::mark_for_service(&Carried::bare(None).pack(), who > 0),
        ),
        lane: LaneKey {
            group: GroupIndex(0),
            user: UserId::try_new(&format!("u{who}")).unwrap(),
            credential: fingerprint,
        },
        context: Arc::new(Context::new(Keys::of(fingerprint), &said)),
        content: 0,
        claimed: false,
        has_single: false,
        tags: [Tag(3)].into(),
        priority: number.is_multiple_of(5),
        received_at: UNIX_EPOCH + Duration::from_millis(1_000 + number),
        token_life: number
            .is_multiple_of(2)
            .then_some(TokenLife::of_ms(number * 1_000)),
        subject: Subject::from_number(number % 3),
    }
}

/// The configuration's.
fn groups() -> [Arc<str>; 2] {
    ["progress".into(), "other".into()]
}

/// A bearer of its own, of a family of three.
fn succession(number: u64) -> Succession {
    let [bearer, first] =
        [number + 100, number / 3].map(|name| Principal(u128::from(name).to_le_bytes()));
    Succession {
        bearer,
        known: first,
        first,
    }
}

/// The principal of these events.
fn principal(who: u8) -> Principal {
    Keys::of(Fingerprint([who; 16])).principal
}

/// What a process knows of refusals.
#[derive(Debug, Clone, Default)]
struct Known(Arc<Mutex<BTreeMap<Principal, Refusal>>>);

impl Refusals for Known {
    fn refusal_of(&self, principal: Principal) -> Option<Refusal> {
        self.0.lock().get(&principal).cloned()
    }
}

/// Refused by 401, but in groups of these numbers.
fn refusal(lifted: &[usize]) -> Refusal {
    let lifted = lifted.iter().copied().map(GroupIndex).collect();
    Refusal {
        is_unknown: true,
        lifted,
        life: Duration::from_hours(1),
    }
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
    /// A caller is refused, but in so many groups; none: it was taken in all of them.
    Judge(u8, Option<usize>),
    /// What the journal's thread does now and then: files are made, synced, reclaimed.
    Chores,
    /// The same, but only so many steps of a segment that is reclaimed.
    Steps(u8),
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
    /// There is room for files of a segment's size, and for no larger ones.
    Tight(bool),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (1u8..6).prop_map(Action::Append),
        8 => (any::<u8>(), any::<bool>()).prop_map(|(which, dead)| Action::Settle(which, dead)),
        1 => any::<u8>().prop_map(Action::Replay),
        4 => (0u8..3, proptest::option::of(0usize..2)).prop_map(|(who, lifted)| Action::Judge(who, lifted)),
        2 => Just(Action::Chores),
        4 => (0u8..6).prop_map(Action::Steps),
        1 => Just(Action::Kill),
        1 => any::<u64>().prop_map(Action::CutPower),
        1 => proptest::option::of(any::<u8>()).prop_map(Action::WritesFail),
        1 => any::<bool>().prop_map(Action::SyncsFail),
        1 => any::<bool>().prop_map(Action::DeletesFail),
        1 => any::<bool>().prop_map(Action::NamesFail),
        1 => any::<bool>().prop_map(Action::Full),
        1 => any::<bool>().prop_map(Action::Tight),
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
    /// What is known of refusals.
    known: Known,
    /// Of whom the journal could not write what is known.
    unsure: BTreeSet<Principal>,
    /// Bearers whose events were kept.
    succeeded: BTreeSet<Principal>,
    /// Events that were kept, those that came back from a letter counted again.
    kept: u64,
    /// Letters that became events again.
    replayed: u64,
    /// Refused, and found by a later start: from there on pending like any other.
    returned: BTreeSet<String>,
    /// A sync failed in an earlier process: what the kernel still shows of it may go with the
    /// power, refused events and outcomes among it.
    tainted: bool,
    /// Events whose credentials went with the power.
    orphans: BTreeSet<u64>,
    /// Numbers that callers were told.
    told: BTreeSet<u64>,
    next: u64,
    last_seq: u64,
}

type Running = (
    Arc<Shared<SimulatedDisk, Note>>,
    WriterThread<SimulatedDisk, Note>,
    Heard,
);

/// Bytes of a segment.
const SEGMENT: u64 = 2_048;

/// A journal without its thread.
fn start_log(opened: Opened<SimulatedDisk>, depth: Depth) -> Running {
    let (tails, heard) = tail();
    let health = Arc::new(Health::new(Clock::default()));
    health.note_unread(opened.unread_files.len());
    let newest = opened.newest_written();
    let segment_size = SEGMENT;
    let bounds = Bounds {
        depth,
        min_free: 0,
        max_seen: 1_000,
        succession: Duration::from_hours(1),
        segment_size,
    };
    opened.sync_segments();
    let Opened {
        files,
        index,
        origin,
        unsynced,
        missing,
        unused,
        refusals,
        ..
    } = opened;
    let mut writer = Writer::new(
        Arc::clone(&files),
        depth,
        Origin {
            segment_size,
            ..origin
        },
    );
    reuse_files((&*files, segment_size), &mut writer, newest, &unused);
    let shared = Shared::new(
        (files, origin.epoch),
        Vault::default(),
        index,
        bounds,
        tails,
        health,
        writer,
    );
    let shared = Arc::new(shared);
    let committer = Committer::new(Arc::clone(&shared));
    committer.rewrite_unsynced(missing, &unsynced, origin.synced);
    committer.restate_refusals(&refusals);
    let mut thread = WriterThread::new(Arc::clone(&shared), Hold::default(), 0);
    thread.fills = depth == Depth::Disk;
    (shared, thread, heard)
}

fn look_through(disk: &SimulatedDisk) -> Opened<SimulatedDisk> {
    look_through_from(disk, &LeftOut::default())
}

/// `left_out`: as a process before this one has kept it beside the log.
fn look_through_from(disk: &SimulatedDisk, left_out: &LeftOut) -> Opened<SimulatedDisk> {
    let known = (None, left_out);
    examine(disk.clone(), Vault::default(), Path::new("/nowhere"), known).unwrap()
}

impl World {
    fn new(depth: Depth) -> Self {
        let (disk, known) = (SimulatedDisk::default(), Known::default());
        let mut opened = look_through(&disk);
        opened.ask_refusals(Arc::new(known.clone()), &groups());
        let (shared, thread, tail) = start_log(opened, depth);
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
            known,
            unsure: BTreeSet::new(),
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

    /// The next process.
    fn start(&mut self, opened: Opened<SimulatedDisk>) {
        (self.shared, self.thread, self.tail) = start_log(opened, self.depth);
        self.committer = Committer::new(Arc::clone(&self.shared));
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
                if let Some((key, number)) = self
                    .letters
                    .iter()
                    .nth(which)
                    .map(|(key, number)| (*key, *number))
                {
                    self.append(number, Some(key));
                }
            }
            Action::Judge(who, lifted) => self.judge(*who, *lifted),
            Action::Chores => {
                self.run(&Action::Steps(0));
                while self.thread.is_reclaiming() {
                    self.thread.go_on_reclaiming();
                }
                self.thread.go_on_filling();
            }
            Action::Steps(steps) => {
                lead_if_free(&self.shared);
                self.thread.do_chores();
                (0..*steps).for_each(|_| {
                    self.thread.go_on_reclaiming();
                    self.thread.go_on_filling();
                });
            }
            Action::Kill => {
                // What was settled may be settled again until it is written: here it is.
                lead_if_free(&self.shared);
                let is_well = self.shared.health.failure().is_none();
                self.disk.kill();
                self.restart_after(true, is_well);
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
            Action::Tight(tight) => self.disk.0.lock().largest = tight.then_some(SEGMENT),
        }
    }

    fn append(&mut self, number: u64, replaces: Option<u64>) {
        let who = (number % 3) as u8;
        self.append_of((number, who), replaces.map(|letter| (letter, who)));
    }

    /// `replaces`: a letter, and whose it was.
    fn append_of(&mut self, (number, who): (u64, u8), replaces: Option<(u64, u8)>) {
        let (event, ticket) = (event(number, who), Note::default());
        let draft = self
            .shared
            .draft(record::bytes(&Record::of(&event, "progress", seen(number))));
        let (answer, mut kept) = oneshot::channel();
        let succession = succession(number);
        let id = event.id().to_owned();
        self.ever.insert(id.clone());
        let append = Append {
            shard: 0,
            event,
            draft,
            ticket: ticket.clone(),
            replaces: replaces.map(|(letter, who)| (letter, Fingerprint([who; 16]))),
            succession: Some(succession),
            answer,
        };
        self.committer.append(append);
        lead_if_free(&self.shared);
        let kept = kept.try_recv().unwrap();
        assert_eq!(
            kept.is_ok(),
            ticket.0.0.load(Ordering::Relaxed),
            "the ticket and the answer agree"
        );
        match kept {
            Ok(seq) => {
                assert!(seq > self.last_seq, "a number is given again");
                self.last_seq = seq;
                self.told.insert(seq);
                let journaled = self
                    .tail
                    .try_recv()
                    .expect("it is in the tail before it is answered for");
                assert_eq!((journaled.seq, journaled.event().id()), (seq, id.as_str()));
                self.pending.push((
                    seq,
                    id.clone(),
                    journaled.event().lane.credential,
                    journaled.size,
                ));
                self.owed.insert(seq, id);
                self.succeeded.insert(succession.bearer);
                // What is known of its caller is in the same group, if it is the first one.
                if self.events_of(seq) == 1 {
                    self.unsure.remove(&principal((number % 3) as u8));
                }
                self.kept += 1;
                if let Some(key) = replaces {
                    self.letters.remove(&key.0).unwrap();
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
        assert!(
            self.tail.try_recv().is_err(),
            "nothing that was refused reaches the tail"
        );
    }

    fn settle(&mut self, which: u8, dead: bool) {
        if self.pending.is_empty() {
            return;
        }
        let (seq, id, credential, size) =
            self.pending.remove(usize::from(which) % self.pending.len());
        self.owed.remove(&seq);
        let number: u64 = id.trim_start_matches('e').parse().unwrap();
        let gone = event(number, (number % 3) as u8);
        let event = Record::of(&gone, "progress", seen(number));
        let letter = DeadRecord {
            reason: "refused",
            attempts: 1,
            status: 400,
            died_ms: 9,
            event,
        };
        let settle = Settle {
            seq,
            size,
            credential,
            for_service: (!number.is_multiple_of(3)).then(|| principal((number % 3) as u8)),
            outcome: if dead {
                Outcome::Dead(Reason::Refused)
            } else {
                Outcome::Accepted
            },
            seen: (!dead).then(|| (seen(number), u64::MAX)),
            letter: dead.then(|| self.shared.draft(record::bytes(&letter))),
            dropped: Vec::new(),
        };
        self.committer.settle_all(vec![settle]);
        if dead {
            self.letters.insert(seq, number);
        }
    }

    /// How many events are pending of the caller of this one.
    fn events_of(&self, seq: u64) -> usize {
        let of = |seq: u64| {
            self.pending
                .iter()
                .find(|one| one.0 == seq)
                .map(|one| one.2)
        };
        let caller = of(seq);
        self.pending
            .iter()
            .filter(|one| Some(one.2) == caller)
            .count()
    }

    /// What is known of a caller changes, and the journal hears of it.
    fn judge(&mut self, who: u8, lifted: Option<usize>) {
        let principal = principal(who);
        match lifted {
            Some(lifted) => drop(
                self.known
                    .0
                    .lock()
                    .insert(principal, refusal(&[1][..lifted])),
            ),
            None => drop(self.known.0.lock().remove(&principal)),
        }
        // While the disk fails it is owed: it goes with the first group after one that went well.
        let is_owed = self.shared.health.failure().is_some();
        self.committer.keep_refusal(principal);
        let mut written = self.committer.fence();
        lead_if_free(&self.shared);
        // Of a caller without such events nothing is written: should the power take the outcome of
        // its last one, what was heard since is not known.
        let has_events = self.shared.queue().index.refusals.has_events(principal);
        match written.try_recv() {
            Ok(true) if has_events && !is_owed => self.unsure.remove(&principal),
            _ => self.unsure.insert(principal),
        };
    }

    /// What a start finds of refusals is what was known. `is_exact`: no outcome and no success that
    /// was not synced is lost.
    fn check_refusals(&mut self, opened: &Opened<SimulatedDisk>, whole: bool, is_exact: bool) {
        let found: BTreeMap<Principal, Refusal> = opened.refusals(&groups()).collect();
        for who in 0..3 {
            let principal = principal(who);
            let is_pending = self
                .pending
                .iter()
                .any(|(.., credential, _)| *credential == Fingerprint([who; 16]));
            let found = found.get(&principal);
            assert!(
                found.is_none() || who > 0 && is_pending,
                "kept of a caller that has nothing for the service"
            );
            let is_sure = whole && !self.tainted;
            if !is_sure || self.unsure.contains(&principal) || who == 0 || !is_pending {
                continue;
            }
            let known = self.known.refusal_of(principal);
            let lifted = |refusal: &Refusal| refusal.lifted.clone();
            if known.is_some() || is_exact {
                assert_eq!(
                    found.map(lifted),
                    known.as_ref().map(lifted),
                    "of {who}: what was known is kept"
                );
            }
        }
        *self.known.0.lock() = found;
        self.unsure.clear();
    }

    /// A new process on the same disk. `whole`: nothing acknowledged may be missing.
    fn restart(&mut self, whole: bool) {
        self.restart_after(whole, false);
    }

    fn restart_after(&mut self, whole: bool, is_exact: bool) {
        let mut opened = look_through(&self.disk);
        assert_eq!(opened.bad(), 0);
        opened.ask_refusals(Arc::new(self.known.clone()), &groups());
        let groups = groups();
        let mut found = Vec::new();
        opened.each_event(&groups, |stored| found.push(stored));
        self.pending.clear();
        for stored in &found {
            let orphaned = !whole || self.orphans.contains(&stored.seq);
            assert!(
                stored.has_group && (stored.has_credential || orphaned),
                "an event without its credential"
            );
            if !stored.has_credential {
                self.orphans.insert(stored.seq);
            }
            let number: u64 = stored.event.id().trim_start_matches('e').parse().unwrap();
            let wanted = event(number, (number % 3) as u8);
            assert_eq!(
                (
                    stored.event.json(),
                    stored.event.token_life,
                    stored.event.subject,
                    stored.seen
                ),
                (
                    wanted.json(),
                    wanted.token_life,
                    wanted.subject,
                    seen(number)
                )
            );
            assert!(!stored.has_credential || stored.event.context == wanted.context);
            let credential = stored.event.lane.credential;
            self.pending.push((
                stored.seq,
                stored.event.id().to_owned(),
                credential,
                stored.size,
            ));
        }
        assert!(
            self.pending.is_sorted_by(|one, other| one.0 < other.0),
            "events come back in order, each once"
        );
        self.check_refusals(&opened, whole, is_exact);
        let back: BTreeMap<u64, String> = self
            .pending
            .iter()
            .map(|(seq, id, ..)| (*seq, id.clone()))
            .collect();
        let known: BTreeSet<_> = opened
            .successors()
            .all()
            .map(|succession| succession.bearer)
            .collect();
        let sums = opened.sums();
        let letters = opened.letters(&groups);
        if whole {
            let lost: Vec<_> = self
                .owed
                .iter()
                .filter(|(seq, _)| !back.contains_key(seq))
                .collect();
            assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
            let lost: Vec<_> = self.succeeded.difference(&known).collect();
            assert!(
                self.tainted || lost.is_empty(),
                "an event was kept and its bearer lost: {lost:?}"
            );
            let ghosts = back
                .iter()
                .filter(|(seq, _)| !self.was_kept(**seq))
                .map(|(_, id)| id);
            let ghosts: BTreeSet<_> = ghosts.cloned().collect();
            let unknown: Vec<_> = ghosts
                .difference(&self.doubtful)
                .filter(|id| !self.returned.contains(*id))
                .collect();
            assert!(unknown.is_empty(), "refused, and back: {unknown:?}");
            self.returned.extend(ghosts.iter().cloned());
            assert!(
                self.tainted || letters.len() as u64 == sums.dead,
                "{} letters, {sums:?}",
                letters.len()
            );
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
        self.letters = letters
            .iter()
            .map(|letter| (letter.stored.seq, number_of(&letter.stored.event)))
            .collect();
        self.replayed = 0;
        self.kept = sums.accepted + sums.dead + back.len() as u64;
        self.doubtful.clear();
        // What the power took may be given again.
        self.last_seq = if whole { self.last_seq } else { 0 };
        // A refused event that is back was promised to no caller.
        self.owed = back
            .into_iter()
            .filter(|(seq, _)| !whole || self.told.contains(seq))
            .collect();
        self.start(opened);
        // Every start writes what it found missing, so that the next one does not ask again.
        lead_if_free(&self.shared);
    }

    /// Its number was told to a caller.
    fn was_kept(&self, seq: u64) -> bool {
        self.told.contains(&seq)
    }
}

/// The ids of the events that are pending, as numbers.
fn numbers<F: Files>(opened: &Opened<F>) -> Vec<u64> {
    let mut found = Vec::new();
    opened.each_event(&groups(), |stored| found.push(number_of(&stored.event)));
    found
}

fn number_of(event: &Event) -> u64 {
    event.id().trim_start_matches('e').parse().unwrap()
}

/// So many cases, or as many as `TIDEGATE_JOURNAL_CASES` says.
fn cases(otherwise: u32) -> ProptestConfig {
    let cases = std::env::var("TIDEGATE_JOURNAL_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(otherwise),
        ..ProptestConfig::default()
    }
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
