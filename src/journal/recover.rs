//! What a start finds: a new directory, a clean one, one whose process was killed, a damaged one, or somebody else's.
//!
//! | found | done |
//! |---|---|
//! | a lock held by another process | refused |
//! | a newer format | refused |
//! | a torn last commit | cut off by the engine: nobody was told that it was kept |
//! | commits missing that the raw log files still show | the files go to `quarantine/`, whole records are taken over |
//! | files that the engine can't open or read | likewise, into new files |
//! | a record that is none | its bytes go to `quarantine/` |
//! | a session's successor that is none | likewise; no event goes with it |
//!
//! The engine cuts its log at the first bytes that make no sense, wherever they are, and says nothing of what stood
//! behind them. So the log files are looked at before it opens them: every commit ends with a numbered state, and a
//! number beyond the engine's own shows that commits are missing.

use super::commit::{Bounds, Committer, STATE_KEY, Standing, stored_credential};
use super::directory::{
    ENGINE, FORMAT_FILE, check_format, copy_below, copy_logs, files_below, known_format, lock, lock_as_it_is,
    make_private, quarantine, quarantine_place, refuse_others, salvage_marker,
};
use super::record::{self, DeadRecord, FORMAT, Kind, Record, SettledIds, State};
use super::salvage::Salvage;
use super::settings::{Durability, JournalSettings};
use super::store::{Change, Depth, Engine, Store, StoreError, Table};
use super::successors::{ActiveFamilies, Successors};
use super::vault::{Vault, VaultError};
use super::{Journal, Journaled, Level, Memory, Tails, Ticket, Vitals};
use crate::clock::Clock;
use crate::event::{
    Carried, Context, Event, EventId, Fingerprint, GroupIndex, Keys, LaneKey, Raw, Subject, Tag, UserId,
};
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::Instant;

const SECRET_KEY: &[u8] = b"secret";

/// Why a journal can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("journal {0} is in use by another process")]
    InUse(String),
    /// It was written by a newer version.
    #[error(
        "journal {path} has format {found}; this version knows formats up to {FORMAT}: run the version that wrote it"
    )]
    Newer {
        /// The directory.
        path: String,
        /// Its format.
        found: String,
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
    /// The engine.
    #[error("journal {path}: {source}")]
    Store {
        /// The directory.
        path: String,
        /// What it said.
        source: StoreError,
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
pub struct Opened<S> {
    store: S,
    vault: Vault,
    lock: Option<File>,
    standing: Standing,
    secret: [u8; 32],
    credentials: HashMap<Fingerprint, Arc<Context>>,
    settled: Vec<([u8; 16], u64)>,
    letters: Vec<(u64, Vec<u8>)>,
    forgotten: Vec<Change>,
    /// Records that were damaged.
    bad: u64,
    /// What an operator should know.
    pub findings: Vec<Finding>,
    path: PathBuf,
    /// It is a copy, which goes when everything else is closed.
    copy: Option<TempDir>,
}

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> OpenError {
    move |source| OpenError::Io { path: path.display().to_string(), source }
}

/// Opens the directory of `settings`, or makes it.
///
/// # Errors
/// It is somebody else's, newer, or can't be read or written. Damage is no error.
pub fn open(settings: &JournalSettings) -> Result<Opened<Engine>, OpenError> {
    let vault = Vault::new(settings.key_file.as_deref())?;
    let path = &settings.path;
    // ORDER: before anything of it is changed.
    refuse_others(path)?;
    make_private(path)?;
    let lock = lock(path)?;
    check_format(path)?;
    let mut findings = Vec::new();
    let store = open_engine(path, &mut findings)?;
    let mut opened = match examine(store, &vault, path, &mut findings) {
        // Blocks are only looked at when they are read, so damage may show as late as here.
        Err(OpenError::Store { source, .. }) => {
            let store = salvage_engine(path, &source, &mut findings)?;
            examine(store, &vault, path, &mut findings)?
        }
        other => other?,
    };
    (opened.lock, opened.vault, opened.findings) = (Some(lock), vault, findings);
    Ok(opened)
}

/// Looks at a directory that must be there, and changes nothing of it: what is opened is a copy in the system's place for
/// temporary files, which goes with the result.
///
/// # Errors
/// As for [`open`], and if there is none.
pub fn inspect(settings: &JournalSettings) -> Result<Opened<Engine>, OpenError> {
    let path = &settings.path;
    if !path.join(FORMAT_FILE).exists() {
        return Err(OpenError::Missing(path.display().to_string()));
    }
    let lock = lock_as_it_is(path)?;
    known_format(path)?;
    let copy = tempfile::tempdir().map_err(io(&std::env::temp_dir()))?;
    copy_below(path, copy.path())?;
    let mut opened = open(&JournalSettings { path: copy.path().to_owned(), ..settings.clone() })?;
    // Those of the copy go with it.
    opened.findings.iter_mut().for_each(|finding| finding.place = None);
    (opened.lock, opened.copy) = (lock, Some(copy));
    Ok(opened)
}

/// The engine, with whatever its files still hold.
fn open_engine(path: &Path, findings: &mut Vec<Finding>) -> Result<Engine, OpenError> {
    let engine = path.join(ENGINE);
    let failed = |source| OpenError::Store { path: engine.display().to_string(), source };
    let marker = salvage_marker(path);
    if let Ok(place) = std::fs::read_to_string(&marker)
        && Path::new(&place).exists()
    {
        // A start was taking records over and did not come to its end: once more, into what it made.
        let files = files_below(Path::new(&place)).map_err(io(Path::new(&place)))?;
        let salvage = Salvage::from_files(&files).map_err(io(Path::new(&place)))?;
        let mut store = try_open(&engine).map_err(failed)?;
        let taken = salvage.take_over(&mut store, 0).map_err(failed)?;
        drop(store);
        std::fs::remove_file(&marker).map_err(io(&marker))?;
        let what = format!("{taken} whole events of damaged files were taken over");
        findings.push(Finding { what, place: Some(place.into()) });
    }
    let copies = copy_logs(path, &engine)?;
    let store = match try_open(&engine) {
        Ok(mut store) => {
            let known = last_commit(&store).map_err(failed)?;
            let files = copies.as_deref().map(files_below).transpose().map_err(io(path))?.unwrap_or_default();
            let salvage = Salvage::from_files(&files).map_err(io(path))?;
            if salvage.last_commit > known.0 {
                let (first, last) = (known.0 + 1, salvage.last_commit);
                // ORDER: taken over before the copies leave their place; a start that breaks off does it again.
                let taken = salvage.take_over(&mut store, known.1.next_seq).map_err(failed)?;
                let place = Some(quarantine(path, copies.as_deref())?);
                let what = format!(
                    "commits {first} to {last} were missing behind damaged bytes of the log; {taken} whole events were taken \
                     over"
                );
                findings.push(Finding { what, place });
            }
            store
        }
        Err(error) => salvage_engine(path, &error, findings)?,
    };
    if let Some(copies) = copies.filter(|copies| copies.exists()) {
        std::fs::remove_dir_all(&copies).map_err(io(&copies))?;
    }
    Ok(store)
}

/// The engine panics on some kinds of damage; that is damage like any other.
fn try_open(path: &Path) -> Result<Engine, StoreError> {
    let path = path.to_owned();
    let opened = std::thread::Builder::new().name("journal-open".to_owned()).spawn(move || Engine::open(&path));
    let opened = opened.map_err(|error| StoreError(error.to_string()))?;
    opened.join().unwrap_or_else(|_| Err(StoreError("the engine gave up on its files".to_owned())))
}

/// Whole records of files that the engine can't open or read, in new files.
fn salvage_engine(path: &Path, error: &StoreError, findings: &mut Vec<Finding>) -> Result<Engine, OpenError> {
    let engine = path.join(ENGINE);
    let failed = |source| OpenError::Store { path: engine.display().to_string(), source };
    let marker = salvage_marker(path);
    // ORDER: the marker names the files before they are moved, and goes when what is in them is on disk again.
    let place = quarantine_place(path)?;
    std::fs::write(&marker, place.as_os_str().as_encoded_bytes()).map_err(io(&marker))?;
    std::fs::rename(&engine, &place).map_err(io(&engine))?;
    let files = files_below(&place).map_err(io(&place))?;
    let salvage = Salvage::from_files(&files).map_err(io(&place))?;
    let mut store = try_open(&engine).map_err(failed)?;
    let taken = salvage.take_over(&mut store, 0).map_err(failed)?;
    std::fs::remove_file(&marker).map_err(io(&marker))?;
    let what = format!("the files were damaged ({error}); {taken} whole events were taken over into new ones");
    findings.push(Finding { what, place: Some(place) });
    Ok(store)
}

fn last_commit(store: &impl Store) -> Result<(u64, State), StoreError> {
    let mut found = (0, State { next_seq: 1, ..State::default() });
    store.each(Table::Meta, &mut |key, value| {
        if key == STATE_KEY
            && let Some(frame) = record::open(value)
            && let Some(state) = record::body(frame.body)
        {
            found = (frame.number, state);
        }
        true
    })?;
    Ok(found)
}

/// Reads what the tables hold, puts damaged records away, and counts what needs a credential.
fn examine<S: Store>(
    mut store: S,
    vault: &Vault,
    path: &Path,
    findings: &mut Vec<Finding>,
) -> Result<Opened<S>, OpenError> {
    let failed = |source| OpenError::Store { path: path.display().to_string(), source };
    let (commit, state) = last_commit(&store).map_err(failed)?;
    let mut standing = Standing { state, commit, ..Standing::default() };
    let mut changes = Vec::new();
    let mut damaged: Vec<u8> = Vec::new();
    let mut bad = 0u64;
    let mut put_away = |table: Table, key: &[u8], value: &[u8], changes: &mut Vec<Change>| {
        bad += 1;
        damaged.extend_from_slice(value);
        changes.push(Change::Remove(table, key.to_vec()));
    };

    let mut credentials = HashMap::new();
    let mut wrong = None;
    let mut unsealed = Vec::new();
    let seen = store.each(Table::Credentials, &mut |key, value| {
        let stored = record::open(value).and_then(|frame| record::body::<([u8; 16], Raw<'_>)>(frame.body));
        let Some((fingerprint, sealed)) = stored else {
            put_away(Table::Credentials, key, value, &mut changes);
            return true;
        };
        let fingerprint = Fingerprint(fingerprint);
        match vault.open(fingerprint, sealed.0) {
            Ok(credential) => {
                if vault.seals() && !Vault::is_sealed(sealed.0) {
                    unsealed.push(fingerprint);
                }
                drop(credentials.insert(fingerprint, Arc::new(credential)));
            }
            Err(VaultError::Damaged) => put_away(Table::Credentials, key, value, &mut changes),
            // Going on without the key would give up every event that needs one of these.
            Err(error) => wrong = Some(error),
        }
        wrong.is_none()
    });
    seen.map_err(failed)?;
    if let Some(error) = wrong {
        return Err(error.into());
    }
    // A key was set since: what lies open is sealed now.
    for fingerprint in unsealed {
        if let Some(credential) = credentials.get(&fingerprint) {
            let frame = stored_credential(fingerprint, &vault.seal(credential)?);
            changes.push(Change::Put(Table::Credentials, fingerprint.0.to_vec(), frame));
        }
    }

    let seen = store.each(Table::Events, &mut |key, value| {
        match record::open(value).and_then(|frame| Some((frame.number, record::body::<Record<'_>>(frame.body)?))) {
            Some((seq, record)) if record.is_sound() && key == seq.to_be_bytes() => {
                *standing.credentials.entry(record.fingerprint()).or_default() += 1;
                standing.state.next_seq = standing.state.next_seq.max(seq + 1);
            }
            _ => put_away(Table::Events, key, value, &mut changes),
        }
        true
    });
    seen.map_err(failed)?;
    let mut letters = Vec::new();
    let seen = store.each(Table::Dead, &mut |key, value| {
        match record::open(value).and_then(|frame| Some((frame.number, record::body::<DeadRecord<'_>>(frame.body)?))) {
            Some((seq, letter)) if letter.event.is_sound() => {
                *standing.credentials.entry(letter.event.fingerprint()).or_default() += 1;
                letters.push((seq, value.to_vec()));
            }
            _ => put_away(Table::Dead, key, value, &mut changes),
        }
        true
    });
    seen.map_err(failed)?;
    let mut settled = Vec::new();
    let seen = store.each(Table::Settled, &mut |key, value| {
        match record::open(value).and_then(|frame| Some((frame.number, record::body::<SettledIds>(frame.body)?))) {
            Some((commit, ids)) => {
                let until = ids.iter().map(|(_, until)| *until).max().unwrap_or(0);
                standing.chunks.push_back((commit, until, ids.len()));
                settled.extend(ids);
            }
            None => put_away(Table::Settled, key, value, &mut changes),
        }
        true
    });
    seen.map_err(failed)?;
    let seen = store.each(Table::Successions, &mut |key, value| {
        match record::open_succession(value).filter(|found| key == found.succession().bearer.0) {
            Some(found) => {
                let gone = standing.successors.insert(found.succession(), found.until_ms);
                changes.extend(gone.map(|gone| Change::Remove(Table::Successions, gone.0.to_vec())));
            }
            None => put_away(Table::Successions, key, value, &mut changes),
        }
        true
    });
    seen.map_err(failed)?;
    let mut secret = None;
    let seen = store.each(Table::Meta, &mut |key, value| {
        if key == SECRET_KEY {
            secret = value.try_into().ok();
        }
        true
    });
    seen.map_err(failed)?;

    // Nobody needs these: their last event went with a commit that did not reach the disk.
    for orphan in credentials.keys().filter(|key| !standing.credentials.contains_key(key)) {
        changes.push(Change::Remove(Table::Credentials, orphan.0.to_vec()));
    }
    // What was lost must be stored anew with the next event that brings it.
    standing.credentials.retain(|fingerprint, _| credentials.contains_key(fingerprint));
    let secret = match secret {
        Some(secret) => secret,
        None => {
            let mut fresh = [0; 32];
            getrandom::fill(&mut fresh).map_err(VaultError::Random)?;
            changes.push(Change::Put(Table::Meta, SECRET_KEY.to_vec(), fresh.to_vec()));
            fresh
        }
    };
    if bad > 0 {
        let place = quarantine(path, None)?.join("records");
        std::fs::write(&place, &damaged).map_err(io(&place))?;
        findings.push(Finding { what: format!("{bad} damaged records were put away"), place: Some(place) });
    }
    if !changes.is_empty() {
        store.commit(changes, Depth::Disk).map_err(failed)?;
    }
    let (path, vault, findings, forgotten) = (path.to_owned(), Vault::default(), Vec::new(), Vec::new());
    Ok(Opened {
        store,
        vault,
        lock: None,
        standing,
        secret,
        credentials,
        settled,
        letters,
        forgotten,
        findings,
        path,
        bad,
        copy: None,
    })
}

/// One name, one allocation.
#[derive(Default)]
struct Names {
    users: HashMap<Box<str>, UserId>,
    groups: HashMap<Box<str>, Arc<str>>,
}

impl<S: Store> Opened<S> {
    /// The directory's secret: fingerprints and the keys of seen ids are made with it.
    #[must_use]
    pub const fn secret(&self) -> [u8; 32] {
        self.secret
    }

    /// The state of the last commit.
    #[must_use]
    pub const fn state(&self) -> State {
        self.standing.state
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that its files take.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.store.taken()
    }

    /// Records that were damaged, and put away.
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
        self.credentials.len()
    }

    /// Successors of sessions that are kept.
    #[must_use]
    pub const fn successors(&self) -> &Successors {
        &self.standing.successors
    }

    /// Whether events are pending or dead, or settled with an id that is remembered.
    fn has_events(&self) -> bool {
        !self.standing.credentials.is_empty() || !self.settled.is_empty()
    }

    /// The ids that were settled, each with the Unix milliseconds at which it may be forgotten, oldest first.
    #[must_use]
    pub fn settled(&self) -> &[([u8; 16], u64)] {
        &self.settled
    }

    /// Puts a shared context in the place of each that was found.
    pub fn share_contexts(&mut self, share: impl Fn(&Arc<Context>) -> Arc<Context>) {
        self.credentials.values_mut().for_each(|context| *context = share(context));
    }

    /// Dead letters, oldest first. `groups`: names in the order of the configuration.
    pub fn letters(&mut self, groups: &[Arc<str>]) -> Vec<StoredLetter> {
        let mut names = Names::default();
        let letters = std::mem::take(&mut self.letters);
        let read = letters.into_iter().filter_map(|(seq, bytes)| {
            let bytes = Bytes::from(bytes);
            let frame = record::open(&bytes)?;
            let letter: DeadRecord<'_> = record::body(frame.body)?;
            let stored = stored(seq, &bytes, &letter.event, groups, &self.credentials, &mut names)?;
            let (reason, attempts) = (letter.reason.to_owned(), letter.attempts);
            Some(StoredLetter { stored, reason, attempts, status: letter.status, died_ms: letter.died_ms })
        });
        read.collect()
    }

    /// Letters that went for want of room; their records go with the first commit.
    pub fn forget_letters(&mut self, letters: &[(u64, Fingerprint)]) {
        for (key, credential) in letters {
            self.standing.state.dropped += 1;
            self.forgotten.push(Change::Remove(Table::Dead, key.to_be_bytes().to_vec()));
            if let Some(count) = self.standing.credentials.get_mut(credential) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.standing.credentials.remove(credential);
                    self.forgotten.push(Change::Remove(Table::Credentials, credential.0.to_vec()));
                }
            }
        }
    }

    /// Shows every pending event in order. `groups`: names in the order of the configuration.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn each_event(&self, groups: &[Arc<str>], mut see: impl FnMut(Stored)) -> Result<(), StoreError> {
        let mut names = Names::default();
        self.store.each(Table::Events, &mut |_, value| {
            let bytes = Bytes::copy_from_slice(value);
            let found = record::open(&bytes).and_then(|frame| {
                let record: Record<'_> = record::body(frame.body)?;
                stored(frame.number, &bytes, &record, groups, &self.credentials, &mut names)
            });
            if let Some(found) = found {
                see(found);
            }
            true
        })
    }

    /// Puts every pending event where `place` says and starts the committer. The tails hold the events in order before
    /// anybody can append to them.
    ///
    /// # Errors
    /// The store can't be read or written.
    pub fn start<T: Ticket>(
        mut self,
        settings: &JournalSettings,
        groups: &[Arc<str>],
        shards: usize,
        (memory, clock): (Memory, Clock),
        mut place: impl FnMut(&Stored) -> Placement<T>,
    ) -> Result<(Journal<T>, Tails<T>), StoreError> {
        let vitals = Arc::new(Vitals::new(clock.clone()));
        let (tails, receivers): (Vec<_>, Vec<_>) = (0..shards.max(1)).map(|_| mpsc::unbounded_channel()).unzip();
        let mut changes = Vec::new();
        let (now, wall) = (Instant::now(), clock.now());
        let mut buried = 0;
        let mut gone = Vec::new();
        self.each_event(groups, |stored| match place(&stored) {
            Placement::Tail(shard, mut ticket) => {
                vitals.held.fetch_add(super::size(&stored.event), Ordering::Relaxed);
                let age = wall.duration_since(stored.event.received_at).unwrap_or_default();
                // A clock that began later than the event: as old as it can tell.
                let since = now.checked_sub(age).unwrap_or(now);
                ticket.kept();
                let journaled = Journaled { seq: stored.seq, event: stored.event, since, ticket };
                if let Some(tail) = tails.get(shard % tails.len()) {
                    drop(tail.send(journaled));
                }
            }
            Placement::Dead(letter, dropped) => {
                buried += 1;
                gone.extend(dropped);
                let key = stored.seq.to_be_bytes().to_vec();
                changes.push(Change::Remove(Table::Events, key.clone()));
                changes.push(Change::Put(Table::Dead, key, letter));
            }
        })?;
        self.forget_letters(&gone);
        changes.append(&mut self.forgotten);
        if !changes.is_empty() {
            self.standing.state.dead += buried;
            let state = record::frame(Kind::State, self.standing.commit, &self.standing.state);
            changes.push(Change::Put(Table::Meta, STATE_KEY.to_vec(), state));
            self.store.commit(changes, Depth::Disk)?;
        }
        let depth = if settings.durability == Durability::Disk { Depth::Disk } else { Depth::Process };
        let bounds =
            Bounds { depth, min_free: settings.min_free, max_seen: memory.max_seen, succession: memory.events };
        let active = ActiveFamilies::new(now, memory.events, self.has_events());
        let Self { store, vault, lock, standing, .. } = self;
        let committer = Committer::new(store, vault, standing, bounds, tails, Arc::clone(&vitals));
        let (inbox, messages) = mpsc::unbounded_channel();
        let fallen = Fallen(Arc::clone(&vitals));
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let _fallen = fallen;
            let closed = committer.run(messages);
            // ORDER: the directory is free before anybody hears that it is.
            drop(lock);
            let heard = closed.into_iter().filter_map(|answer| answer.send(()).ok()).count();
            tracing::debug!(heard, "the journal is closed");
        });
        thread.map_err(|error| StoreError(error.to_string()))?;
        let level = Level::Disk { inbox, groups: groups.to_vec(), shards: receivers.len(), active };
        Ok((Journal { level, vitals, max_bytes: settings.max_bytes }, receivers))
    }
}

/// Where a recovered event goes.
#[derive(Debug)]
pub enum Placement<T> {
    /// Back into its window, by way of a shard's tail.
    Tail(usize, T),
    /// It is a dead letter now, as the table holds it; others went for want of room.
    Dead(Vec<u8>, Vec<(u64, Fingerprint)>),
}

/// A committer that panicked poisons its journal: nobody waits for it in vain, and readiness says so.
struct Fallen(Arc<Vitals>);

impl Drop for Fallen {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set_poison("the committer panicked".to_owned());
        }
    }
}

fn stored(
    seq: u64,
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
    Some(Stored { seq, group: Arc::clone(group), event, seen: record.seen, has_group, has_credential })
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
