//! What the committer writes to: six tables, changed by atomic commits. One store is the embedded engine, the other a
//! disk in memory that tests can pull the plug of.

use fjall::config::CompressionPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::{Path, PathBuf};

/// A table; its name is its keyspace's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Pending events by their number, big-endian.
    Events,
    /// Credentials by their fingerprint.
    Credentials,
    /// Settled ids by their commit, big-endian.
    Settled,
    /// Dead letters by their event's number, big-endian.
    Dead,
    /// Successors of sessions by their bearer. Earlier versions have no such table and leave it as it is.
    Successions,
    /// The state, and the directory's secret.
    Meta,
}

/// All tables.
pub const TABLES: [Table; 6] =
    [Table::Events, Table::Credentials, Table::Settled, Table::Dead, Table::Successions, Table::Meta];

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Credentials => "credentials",
            Self::Settled => "settled",
            Self::Dead => "dead",
            Self::Successions => "successions",
            Self::Meta => "meta",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A value for a key.
    Put(Table, Vec<u8>, Vec<u8>),
    /// A key is gone.
    Remove(Table, Vec<u8>),
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The end of the process: it is with the operating system.
    Process,
    /// A power cut: it is on the disk (`fdatasync`).
    Disk,
}

/// A store failed. After a failed commit nobody knows what it holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Tables that change by atomic commits.
pub trait Store: Send + 'static {
    /// All changes or none, in their order.
    ///
    /// # Errors
    /// The store can't write; it must not be written to again.
    fn commit(&mut self, changes: Vec<Change>, depth: Depth) -> Result<(), StoreError>;

    /// Shows a table in the order of its keys, until `see` says stop (`false`).
    ///
    /// # Errors
    /// The store can't read.
    fn each(&self, table: Table, see: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError>;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// The file system doesn't say.
    fn free(&self) -> Result<u64, StoreError>;

    /// Bytes that its files take.
    fn taken(&self) -> u64;
}

/// The embedded engine, [`fjall`].
pub struct Engine {
    database: Database,
    tables: [Keyspace; 6],
    path: PathBuf,
}

/// Events wait in memory tables of this size until they are written out in order.
const MEMTABLE: u64 = 16 << 20;
/// Most bytes of the engine's own log files; the least that it allows.
const LOGS: u64 = 64 << 20;

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError(error.to_string())
}

impl Engine {
    /// Opens or creates the engine's files in a directory.
    ///
    /// # Errors
    /// They are damaged, or can't be read or written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = Database::builder(path)
            .max_journaling_size(LOGS)
            .cache_size(8 << 20)
            .worker_threads(2)
            .journal_compression(fjall::CompressionType::None)
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE)
                .data_block_compression_policy(CompressionPolicy::disabled())
        };
        let open = |table: Table| database.keyspace(table.name(), options).map_err(failed);
        let [events, credentials, settled, dead, successions, meta] = TABLES;
        let (events, credentials) = (open(events)?, open(credentials)?);
        let tables = [events, credentials, open(settled)?, open(dead)?, open(successions)?, open(meta)?];
        Ok(Self { database, tables, path: path.to_owned() })
    }

    /// Writes a memory table out.
    #[cfg(test)]
    pub(super) fn flush(&self, table: Table) {
        if let Err(error) = self.table(table).rotate_memtable_and_wait() {
            panic!("{error}");
        }
    }

    fn table(&self, table: Table) -> &Keyspace {
        let [events, credentials, settled, dead, successions, meta] = &self.tables;
        match table {
            Table::Events => events,
            Table::Credentials => credentials,
            Table::Settled => settled,
            Table::Dead => dead,
            Table::Successions => successions,
            Table::Meta => meta,
        }
    }
}

impl Store for Engine {
    fn commit(&mut self, changes: Vec<Change>, depth: Depth) -> Result<(), StoreError> {
        let mode = match depth {
            Depth::Process => PersistMode::Buffer,
            Depth::Disk => PersistMode::SyncData,
        };
        let mut batch = self.database.batch().durability(Some(mode));
        for change in changes {
            match change {
                Change::Put(table, key, value) => batch.insert(self.table(table), key, value),
                Change::Remove(table, key) => batch.remove(self.table(table), key),
            }
        }
        batch.commit().map_err(failed)
    }

    fn each(&self, table: Table, see: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        for pair in self.table(table).iter() {
            let (key, value) = pair.into_inner().map_err(failed)?;
            if !see(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn free(&self) -> Result<u64, StoreError> {
        let found = rustix::fs::statvfs(&self.path).map_err(failed)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn taken(&self) -> u64 {
        size_of(&self.path)
    }
}

/// Bytes that a directory's files take on disk.
#[must_use]
pub fn size_of(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        // Blocks of 512 bytes: log files are long before they are full.
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
