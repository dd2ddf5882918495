//! Why a journal can't be opened.

use super::record::FORMAT;
use super::vault::VaultError;
use std::path::Path;

/// Why a journal can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("journal {0} is in use by another process")]
    InUse(String),
    /// It was written by a newer version.
    #[error(
        "journal {path} has format {found}; this version knows format {FORMAT}: run the version \
         that wrote it"
    )]
    Newer {
        /// The directory.
        path: String,
        /// Its format.
        found: String,
    },
    /// It was written by an earlier version.
    #[error(
        "journal {path} has format {found} of an earlier version; this version reads format \
         {FORMAT} only: start the earlier version once more and stop it when nothing is pending \
         (tidegate journal stats), then name an empty directory (journal.path) or remove this one"
    )]
    Earlier {
        /// The directory.
        path: String,
        /// Its format.
        found: u8,
    },
    /// It holds something, and was never a journal's.
    #[error(
        "{path} holds {found:?} and is no journal of tidegate: name an empty directory or one that \
         does not exist yet (journal.path)"
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

impl OpenError {
    /// The disk is full or read-only, which may end (ruling 19).
    #[must_use]
    pub fn is_want_of_room(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let Self::Io { source, .. } = self else {
            return false;
        };
        matches!(
            source.kind(),
            StorageFull | ReadOnlyFilesystem | QuotaExceeded
        )
    }
}

/// Names the path in what the file system said.
pub(super) fn io_error_at(path: &Path) -> impl Fn(std::io::Error) -> OpenError {
    move |source| OpenError::Io {
        path: path.display().to_string(),
        source,
    }
}
