//! What a start finds: a new directory, a clean one, one whose process was killed, a damaged one, or somebody else's.
//!
//! | found | done |
//! |---|---|
//! | a lock held by another process | refused |
//! | another format | refused |
//! | a torn end | passed over: nobody was told that it was kept |
//! | bytes that are no frame, numbers that are missing | told; the file is kept in `quarantine/`; what is whole comes back |
//! | a frame whose body is none | told, and counted |
//! | a credential that is missing | its events become dead letters |
//!
//! Nothing is written before the journal takes events, and no room is used: a start on a full disk reads what is there.

use super::commit::{Bounds, Committer};
use super::directory::{
    FORMAT_FILE, LOG, check_format, keep_origin, known_format, known_origin, lock, lock_as_it_is, make_private,
    quarantine, refuse_others,
};
use super::health::Health;
use super::log::files::{Directory, Files};
use super::log::frame::Frame;
use super::log::replay::{Missing, replay};
use super::log::writer::{Begun, Depth, Origin, Sums, Writer};
use super::queue::{Kept, LogIndex, Settle};
use super::reading::{FoundFrame, Reading};
use super::record::{self, DeadRecord, FORMAT, Record, SettledIds};
use super::settings::{Durability, JournalSettings};
use super::successors::{ActiveFamilies, Successors};
use super::tail::Tails;
use super::vault::{Vault, VaultError};
use super::writer_thread::WriterThread;
use super::{Disk, Journal, Journaled, Level, Memory, Ticket};
use crate::clock::Clock;
use crate::event::{
    Carried, Context, Event, EventId, Fingerprint, GroupIndex, Keys, LaneKey, Outcome, Reason, Subject, Tag, UserId,
};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::time::Instant;

/// Bytes of a segment, where `max_bytes` allows it.
const SEGMENT: u64 = 16 << 20;
/// The least.
const LEAST_SEGMENT: u64 = 256 << 10;
/// A segment is no more than this part of `max_bytes`.
const PART: u64 = 16;

/// Why a journal can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("journal {0} is in use by another process")]
    InUse(String),
    /// It was written by a newer version.
    #[error("journal {path} has format {found}; this version knows format {FORMAT}: run the version that wrote it")]
    Newer {
        /// The directory.
        path: String,
        /// Its format.
        found: String,
    },
    /// It was written by an earlier version.
    #[error(
        "journal {path} has format {found} of an earlier version; this version reads format {FORMAT} only: start the \
         earlier version once more and stop it when nothing is pending (tidegate journal stats), then name an empty \
         directory (journal.path) or remove this one"
    )]
    Earlier {
        /// The directory.
        path: String,
        /// Its format.
        found: u8,
    },
    /// It holds something, and was never a journal's.
    #[error(
        "{path} holds {found:?} and is no journal of tidegate: name an empty directory or one that does not exist yet \
         (journal.path)"
    )]
    Others {
        /// The directory.
        path: String,
        /// Something in it.
        found: String,
    },
    /// There is none.
    #[error("there is no journal in {0}")]
    Missing(String),
    /// The file system.
    #[error("journal {path}: {source}")]
    Io {
        /// The file or directory.
        path: String,
        /// What it said.
        source: std::io::Error,
    },
    /// Credentials.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Something an operator should know about a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    what: String,
    /// Where damaged files are now.
    place: Option<PathBuf>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.what)?;
        self.place.iter().try_for_each(|place| write!(f, "; the damaged files are in {}", place.display()))
    }
}

/// A pending event as it was found.
#[derive(Debug)]
pub struct Stored {
    /// Its number.
    pub seq: u64,
    /// What its frame takes, bytes; 0 of a letter's.
    pub size: u64,
    /// Its group's name.
    pub group: Arc<str>,
    /// The event, its lane under the group's number in this configuration; none: the group is gone.
    pub event: Event,
    /// The key of its id among the seen ones.
    pub seen: [u8; 16],
    /// Whether the configuration has its group.
    pub has_group: bool,
    /// Whether its credential was found.
    pub has_credential: bool,
}

/// A dead letter as it was found.
#[derive(Debug)]
pub struct StoredLetter {
    /// The event.
    pub stored: Stored,
    /// Why it died.
    pub reason: String,
    /// Times it failed by name.
    pub attempts: u32,
    /// The upstream's last status; 0: none.
    pub status: u16,
    /// Unix milliseconds.
    pub died_ms: u64,
}

/// A journal that was opened and looked through, before it takes events.
pub struct Opened<F: Files = Directory> {
    files: Arc<F>,
    vault: Vault,
    lock: Option<File>,
    index: LogIndex,
    origin: Origin,
    pending: BTreeMap<u64, FoundFrame>,
    letters: BTreeMap<u64, FoundFrame>,
    contexts: HashMap<Fingerprint, Arc<Context>>,
    settled: SettledIds,
    /// Letters that went for want of room.
    forgotten: Vec<(u64, Fingerprint)>,
    /// Segments that hold something that may not be synced.
    unsynced: Vec<u64>,
    /// Numbers that are gone for good.
    missing: Vec<Missing>,
    /// Files that hold nothing.
    unused: Vec<u64>,
    damaged_files: Vec<u64>,
    /// How many of the oldest segments are damaged, or hold records that should be sealed otherwise.
    to_reclaim: usize,
    bad: u64,
    /// What an operator should know.
    pub findings: Vec<Finding>,
    path: PathBuf,
}

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> OpenError {
    move |source| OpenError::Io { path: path.display().to_string(), source }
}

/// Opens the directory of `settings`, or makes it.
///
/// # Errors
/// It is somebody else's, of another format, or can't be read or written. Damage is no error.
pub fn open(settings: &JournalSettings) -> Result<Opened, OpenError> {
    let vault = Vault::new(settings.key_file.as_deref(), &settings.old_key_files)?;
    let path = &settings.path;
    // ORDER: before anything of it is changed.
    refuse_others(path)?;
    make_private(path)?;
    let lock = lock(path)?;
    check_format(path)?;
    let log = path.join(LOG);
    std::fs::create_dir_all(&log).map_err(io(&log))?;
    let files = Directory::new(log);
    let mut opened = examine(files, vault, path, known_origin(path))?;
    opened.lock = Some(lock);
    keep_origin(path, &(opened.origin.epoch, opened.origin.secret))?;
    let damaged: Vec<u64> = std::mem::take(&mut opened.damaged_files);
    if !damaged.is_empty() {
        match keep_damaged(&opened.files, path, &damaged) {
            Ok(place) => opened.findings.iter_mut().for_each(|finding| finding.place = Some(place.clone())),
            Err(error) => {
                // They stay where they are, and are not reclaimed in a hurry.
                opened.to_reclaim = 0;
                let what = format!("the damaged files can't be kept in quarantine ({error})");
                opened.findings.push(Finding { what, place: None });
            }
        }
    }
    Ok(opened)
}

/// Names only: the files stay where they are until they are reclaimed, and need no room.
fn keep_damaged(files: &Directory, path: &Path, damaged: &[u64]) -> Result<PathBuf, OpenError> {
    let place = quarantine(path)?;
    for segment in damaged {
        let file = files.path_of(*segment);
        let name = file.file_name().unwrap_or_default();
        match std::fs::hard_link(&file, place.join(name)) {
            // A start a millisecond ago has kept it.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            kept => kept.map_err(io(&file))?,
        }
    }
    Ok(place)
}

/// Looks at a directory that must be there, and changes nothing of it.
///
/// # Errors
/// As for [`open`], and if there is none.
pub fn inspect(settings: &JournalSettings) -> Result<Opened, OpenError> {
    let path = &settings.path;
    if !path.join(FORMAT_FILE).exists() {
        return Err(OpenError::Missing(path.display().to_string()));
    }
    let vault = Vault::new(settings.key_file.as_deref(), &settings.old_key_files)?;
    let lock = lock_as_it_is(path)?;
    known_format(path)?;
    let mut opened = examine(Directory::new(path.join(LOG)), vault, path, known_origin(path))?;
    opened.lock = lock;
    Ok(opened)
}

/// A new log's epoch and secret.
fn fresh_origin() -> Result<([u8; 16], [u8; 32]), OpenError> {
    let (mut epoch, mut secret) = ([0; 16], [0; 32]);
    getrandom::fill(&mut epoch).map_err(VaultError::Random)?;
    getrandom::fill(&mut secret).map_err(VaultError::Random)?;
    Ok((epoch, secret))
}

/// Reads the log, and tells what in it is alive.
fn examine<F: Files>(
    files: F,
    vault: Vault,
    path: &Path,
    known: Option<([u8; 16], [u8; 32])>,
) -> Result<Opened<F>, OpenError> {
    let mut reading = Reading::new(&vault);
    let mut unreadable = Vec::new();
    let visit = |segment, frame: &Frame<'_>| {
        if !reading.read_frame(frame) {
            unreadable.push(segment);
        }
    };
    let mut replayed = replay(&files, known.map(|(epoch, _)| epoch), visit).map_err(io(path))?;
    // A record that can't be read may be read by somebody who knows more: its file is kept.
    replayed.unreadable.extend(unreadable);
    replayed.unreadable.sort_unstable();
    replayed.unreadable.dedup();
    let Reading { sums, pending, letters, contexts: found, settled, successions, bad, is_open, wrong_key, .. } =
        reading;
    if let Some(error) = wrong_key {
        return Err(error.into());
    }
    let mut index = LogIndex::default();
    (index.sums, index.next, index.seen) = (sums, replayed.next, settled.len());
    index.segments = replayed.segments.iter().copied().collect();
    index.events.begin_at(index.segments.front().map_or(replayed.next, |segment| segment.first));
    let mut contexts = HashMap::new();
    let mut needs = |fingerprint: Fingerprint, index: &mut LogIndex| {
        let Some((kept, context)) = found.get(&fingerprint) else { return };
        contexts.entry(fingerprint).or_insert_with(|| Arc::clone(context));
        if !index.retain_context(fingerprint) {
            index.insert_context(fingerprint, *kept);
            index.retain_context(fingerprint);
        }
    };
    for (number, event) in &pending {
        index.insert_event(Kept { number: *number, size: event.kept.size });
        if let Some(record) = record::body::<Record<'_>>(&event.record) {
            needs(record.fingerprint(), &mut index);
        }
    }
    for (key, letter) in &letters {
        index.insert_letter(*key, letter.kept);
        if let Some(record) = record::body::<DeadRecord<'_>>(&letter.record) {
            needs(record.event.fingerprint(), &mut index);
        }
    }
    for (record, number) in successions {
        let succession = record.succession();
        if let Some(gone) = index.successors.insert(succession, record.until_ms) {
            index.remove_succession(gone);
        }
        index.insert_succession(succession.bearer, number);
    }
    let (epoch, secret) = match (replayed.head, known) {
        (Some(head), _) => (head.epoch, head.secret),
        (None, Some(known)) => known,
        (None, None) => fresh_origin()?,
    };
    let origin = Origin {
        epoch,
        secret,
        segment_size: SEGMENT,
        next_segment: replayed.next_segment,
        last: replayed.next - 1,
        synced: replayed.synced,
        sums,
    };
    let count = |missing: &[Missing]| missing.iter().map(Missing::count).sum::<u64>();
    let (damaged, lost) = (count(&replayed.damaged), count(&replayed.lost));
    let mut findings = Vec::new();
    let mut tell = |what: String| findings.push(Finding { what, place: None });
    if !replayed.unreadable.is_empty() || damaged > 0 {
        let files = replayed.unreadable.len();
        tell(format!("{files} files of the log are damaged; {damaged} records that were safe in them are missing"));
    }
    if lost > 0 {
        tell(format!("{lost} records that were not synced yet are missing: the power went, or the disk lost them"));
    }
    if bad > 0 {
        tell(format!("{bad} records can't be read, and are passed over"));
    }
    if !replayed.unread.is_empty() {
        tell(format!("{} files of the log can't be read now; what is in them is not given up", replayed.unread.len()));
    }
    let missing = replayed.damaged.iter().chain(&replayed.lost).copied();
    let missing = if replayed.unread.is_empty() { missing.collect() } else { Vec::new() };
    // Those that are damaged go as well, and all before them: what is whole in them is copied.
    let is_damaged = |segment: &Begun| replayed.unreadable.contains(&segment.segment);
    let damaged = index.segments.iter().rposition(is_damaged).map_or(0, |last| last + 1);
    let to_reclaim = if is_open { index.segments.len() } else { damaged };
    Ok(Opened {
        files: Arc::new(files),
        vault,
        lock: None,
        index,
        origin,
        pending,
        letters,
        contexts,
        settled,
        forgotten: Vec::new(),
        unsynced: replayed.unsynced(),
        missing,
        unused: replayed.unused,
        damaged_files: replayed.unreadable,
        to_reclaim,
        bad,
        findings,
        path: path.to_owned(),
    })
}

/// One name, one allocation.
#[derive(Default)]
struct Names {
    users: HashMap<Box<str>, UserId>,
    groups: HashMap<Box<str>, Arc<str>>,
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

    /// Whether events are pending or dead, or settled with an id that is remembered.
    fn has_events(&self) -> bool {
        !self.pending.is_empty() || !self.letters.is_empty() || !self.settled.is_empty()
    }

    /// The ids that were settled, each with the Unix milliseconds at which it may be forgotten, in the order in which they
    /// were written.
    #[must_use]
    pub fn settled(&self) -> &[([u8; 16], u64)] {
        &self.settled
    }

    /// Puts a shared context in the place of each that was found.
    pub fn share_contexts(&mut self, share: impl Fn(&Arc<Context>) -> Arc<Context>) {
        self.contexts.values_mut().for_each(|context| *context = share(context));
    }

    /// Dead letters, oldest first. `groups`: names in the order of the configuration.
    pub fn letters(&mut self, groups: &[Arc<str>]) -> Vec<StoredLetter> {
        let mut names = Names::default();
        let letters = std::mem::take(&mut self.letters);
        let read = letters.into_iter().filter_map(|(seq, FoundFrame { record, .. })| {
            let letter: DeadRecord<'_> = record::body(&record)?;
            let stored = stored((seq, 0), &record, &letter.event, groups, &self.contexts, &mut names)?;
            let (reason, attempts) = (letter.reason.to_owned(), letter.attempts);
            Some(StoredLetter { stored, reason, attempts, status: letter.status, died_ms: letter.died_ms })
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
            self.show(*seq, event, groups, &mut names).into_iter().for_each(&mut visit);
        }
    }

    fn show(&self, seq: u64, event: &FoundFrame, groups: &[Arc<str>], names: &mut Names) -> Option<Stored> {
        let record: Record<'_> = record::body(&event.record)?;
        stored((seq, event.kept.size), &event.record, &record, groups, &self.contexts, names)
    }

    /// What was found is made safe before anything builds on it: the sums of the next segment count what was settled here.
    fn make_safe(&self) {
        let synced = self.index.segments.iter().try_for_each(|segment| self.files.sync(segment.segment));
        if let Err(error) = synced.and_then(|()| self.files.sync_directory()) {
            tracing::warn!(%error, "what the journal holds can't be synced");
        }
    }

    /// Puts every pending event where `place` says and starts the journal's thread. The tails hold the events in order
    /// before anybody can append to them.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start<T: Ticket>(
        mut self,
        settings: &JournalSettings,
        groups: &[Arc<str>],
        tails: Tails<T>,
        (memory, clock): (Memory, Clock),
        mut place: impl FnMut(&Stored) -> Placement<T>,
    ) -> std::io::Result<Journal<T, F>> {
        let health = Arc::new(Health::new(clock.clone()));
        let (now, wall) = (Instant::now(), clock.now());
        let active = ActiveFamilies::new(now, memory.events, self.has_events());
        let mut dead = Vec::new();
        let mut names = Names::default();
        for (seq, event) in std::mem::take(&mut self.pending) {
            let Some(stored) = self.show(seq, &event, groups, &mut names) else { continue };
            match place(&stored) {
                Placement::Tail(shard, mut ticket) => {
                    health.hold(super::size(&stored.event));
                    let age = wall.duration_since(stored.event.received_at).unwrap_or_default();
                    // A clock that began later than the event: as old as it can tell.
                    let since = now.checked_sub(age).unwrap_or(now);
                    ticket.kept();
                    let journaled = Journaled { seq, size: stored.size, event: stored.event, since, ticket };
                    if let Some(tail) = tails.get(shard % tails.len().max(1)) {
                        drop(tail.take(Box::new(journaled)));
                    }
                }
                Placement::Dead(reason, letter, dropped) => dead.push(Settle {
                    seq,
                    size: stored.size,
                    credential: stored.event.lane.credential,
                    outcome: Outcome::Dead(reason),
                    seen: None,
                    letter: Some(self.vault.draft(letter)),
                    dropped,
                }),
            }
        }
        self.make_safe();
        let Self { files, vault, lock, index, origin, forgotten, unsynced, missing, unused, to_reclaim, .. } = self;
        let depth = if settings.durability == Durability::Disk { Depth::Disk } else { Depth::Process };
        let segment_size = (settings.max_bytes / PART).clamp(LEAST_SEGMENT, SEGMENT);
        let bounds = Bounds {
            depth,
            min_free: settings.min_free,
            max_seen: memory.max_seen,
            succession: memory.events,
            segment_size,
        };
        let mut writer = Writer::new(Arc::clone(&files), depth, Origin { segment_size, ..origin });
        let newest = index.segments.back().map(|segment| segment.segment);
        reuse_files((&*files, LEAST_SEGMENT), &mut writer, newest, &unused);
        let parts = (files, origin.epoch);
        let shards = tails.len();
        let committer = Committer::new(parts, vault, index, bounds, tails, Arc::clone(&health), writer);
        committer.take_up(missing, &unsynced, origin.synced)?;
        committer.settle_all(dead);
        committer.drop_letters(&forgotten, true);
        let committer = Arc::new(committer);
        let thread = WriterThread::new(Arc::clone(&committer), lock, to_reclaim);
        // ORDER: before the first event, or one would be kept that leaves too little room.
        thread.look_at_the_disk();
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || thread.run())?;
        let level = Level::Disk(Disk { committer, groups: groups.to_vec(), shards, active });
        Ok(Journal { level, health, max_bytes: settings.max_bytes })
    }
}

/// Files that an earlier process made ahead of their use are ready for this one: on a full disk there are no others. Those
/// that are too old or too small are deleted; they are in nobody's way if that fails.
fn reuse_files<F: Files>((files, least): (&F, u64), writer: &mut Writer<F>, newest: Option<u64>, unused: &[u64]) {
    for segment in unused {
        let is_new = newest.is_none_or(|newest| newest < *segment);
        let reopened = files.reopen(*segment).ok().filter(|(_, size)| is_new && *size >= least);
        if !reopened.is_some_and(|(file, size)| writer.offer_spare(*segment, size, file))
            && let Err(error) = files.delete(*segment)
        {
            tracing::debug!(%error, "an unused file of the journal can't be deleted");
        }
    }
}

/// Where a recovered event goes.
#[derive(Debug)]
pub enum Placement<T> {
    /// Back into its window, by way of a shard's tail.
    Tail(usize, T),
    /// It is a dead letter now, as it is stored; others went for want of room.
    Dead(Reason, Vec<u8>, Vec<(u64, Fingerprint)>),
}

fn stored(
    (seq, size): (u64, u64),
    bytes: &Bytes,
    record: &Record<'_>,
    groups: &[Arc<str>],
    credentials: &HashMap<Fingerprint, Arc<Context>>,
    names: &mut Names,
) -> Option<Stored> {
    let user = match names.users.get(record.user) {
        Some(user) => user.clone(),
        None => {
            let user = UserId::try_new(record.user).ok()?;
            names.users.insert(record.user.into(), user.clone());
            user
        }
    };
    let group = match names.groups.get(record.group) {
        Some(group) => group,
        None => names.groups.entry(record.group.into()).or_insert_with(|| record.group.into()),
    };
    let index = groups.iter().position(|name| **name == *record.group);
    let fingerprint = record.fingerprint();
    let found = credentials.get(&fingerprint);
    let context = found.map_or_else(|| Arc::new(Context::bare(Keys::of(fingerprint))), Arc::clone);
    let claimed = Carried::unpack(record.carried.0).is_some_and(|carried| carried.claimed);
    let event = Event {
        id: EventId::try_new(record.id).ok()?,
        lane: LaneKey { group: GroupIndex(index.unwrap_or(usize::MAX)), user, credential: fingerprint },
        owner: context.owner(claimed),
        context,
        json: bytes.slice_ref(record.json.0),
        carried: bytes.slice_ref(record.carried.0),
        has_single: record.has_single,
        tags: record.tags.iter().map(|tag| Tag(*tag)).collect(),
        priority: record.priority,
        received_at: UNIX_EPOCH + Duration::from_millis(record.received_ms),
        token_life: record.token_life_ms.map(Duration::from_millis),
        subject: Subject::from_number(record.subject),
        // Its part of the seen key is in the record.
        content: 0,
    };
    let (has_group, has_credential) = (index.is_some(), found.is_some());
    Some(Stored { seq, size, group: Arc::clone(group), event, seen: record.seen, has_group, has_credential })
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
