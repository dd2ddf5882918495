//! The journal's directory: whose it is, of which format, and where damaged files go.

use super::error::{OpenError, io_error_at};
use super::log::replay::LeftOut;
use super::record::FORMAT;
use parking_lot::Mutex;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Marks a directory and its format.
pub const FORMAT_FILE: &str = "FORMAT";
/// Where the log has its files.
pub const LOG: &str = "log";
const LOCK_FILE: &str = "LOCK";
const QUARANTINE: &str = "quarantine";
/// Holds the log's epoch and the directory's secret, which its segments hold too: one damaged byte
/// must not cost them.
const ORIGIN: &str = "ORIGIN";
const NEW_ORIGIN: &str = "ORIGIN.new";
/// Holds what starts left out since they could not read it ([`LeftOut`]).
const LEFT_OUT: &str = "LEFT_OUT";
const NEW_LEFT_OUT: &str = "LEFT_OUT.new";
/// What the format's mark is called until it is whole.
const NEW_FORMAT: &str = "FORMAT.new";
/// Directories that may have been made for one that lies in them, and the one above: no more are synced.
const MADE_AT_ONCE: usize = 5;

/// Makes everything that a log needs but its files, and takes the directory for this process.
///
/// # Errors
/// It is of another format, another process has it, or the file system refuses.
pub fn prepare(path: &Path, hold: &Hold) -> Result<(), OpenError> {
    make_private(path)?;
    let lock = lock(path)?;
    check_format(path)?;
    let log = path.join(LOG);
    let is_empty = has_no_log(path);
    std::fs::create_dir_all(&log).map_err(io_error_at(&log))?;
    if is_empty {
        sync_names(&log)?;
    }
    *hold.0.lock() = Some(lock);
    Ok(())
}

/// Nothing was ever written there.
#[must_use]
pub fn has_no_log(path: &Path) -> bool {
    match std::fs::read_dir(path.join(LOG)) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// As [`prepare`], by a process that has looked at no log there.
///
/// # Errors
/// As for [`prepare`]; or another process has written one meanwhile.
pub fn prepare_anew(path: &Path, hold: &Hold) -> std::io::Result<()> {
    prepare(path, hold).map_err(std::io::Error::other)?;
    if !has_no_log(path) {
        hold.end();
        let what = "another process has begun a journal there: only a restart can take it over";
        return Err(std::io::Error::other(what));
    }
    Ok(())
}

/// The names in this directory stay after a power cut, and its own and that of the one it lies in, if
/// those that hold them may be read.
///
/// # Errors
/// The file system refuses the first.
pub fn sync_names(path: &Path) -> Result<(), OpenError> {
    let sync = |path: &Path| File::open(path).and_then(|directory| directory.sync_all());
    sync(path).map_err(io_error_at(path))?;
    for above in path.ancestors().skip(1).take(MADE_AT_ONCE - 1) {
        // A relative path ends with no name.
        let is_here = above.as_os_str().is_empty();
        if let Err(error) = sync(if is_here { Path::new(".") } else { above }) {
            tracing::debug!(%error, path = %above.display(), "a directory can't be synced");
        }
    }
    Ok(())
}

/// Makes the directory, or makes it its owner's alone.
///
/// # Errors
/// The file system refuses.
pub fn make_private(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path).map_err(io_error_at(path))?;
    let found = std::fs::metadata(path).map_err(io_error_at(path))?;
    if found.permissions().mode() & 0o7777 == 0o700 {
        return Ok(());
    }
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(path, mode).map_err(io_error_at(path))
}

/// Refuses a directory that holds something and was never a journal's: its mode and its files
/// belong to other programs.
///
/// # Errors
/// It is one, or can't be read.
pub fn refuse_others(path: &Path) -> Result<(), OpenError> {
    // A volume of its own may begin with `lost+found`; the others are of a start that was cut off
    // before its mark was whole.
    const OURS: [&str; 12] = [
        LOCK_FILE,
        FORMAT_FILE,
        NEW_FORMAT,
        ORIGIN,
        NEW_ORIGIN,
        LEFT_OUT,
        NEW_LEFT_OUT,
        LOG,
        QUARANTINE,
        "modes.json",
        "modes.json.new",
        "lost+found",
    ];
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(io_error_at(path))?,
    };
    let marked = std::fs::read_to_string(path.join(FORMAT_FILE));
    if marked.is_ok_and(|text| text.starts_with("tidegate journal ")) {
        return Ok(());
    }
    for entry in entries {
        let name = entry.map_err(io_error_at(path))?.file_name();
        if !OURS.iter().any(|own| name == *own) {
            let (path, found) = (
                path.display().to_string(),
                name.to_string_lossy().into_owned(),
            );
            return Err(OpenError::Others { path, found });
        }
    }
    Ok(())
}

/// Holds a directory until it is dropped. It is unlocked then and not only closed (flock(2)): a child
/// that this process is about to start has the open file too, for a moment.
#[derive(Debug)]
pub struct DirectoryLock(File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the journal's directory is free once its lock is closed");
        }
    }
}

/// The hold on a directory, which a process may get later than it started.
#[derive(Debug, Clone, Default)]
pub struct Hold(Arc<Mutex<Option<DirectoryLock>>>);

impl Hold {
    /// On a directory that is locked.
    #[must_use]
    pub fn of(lock: DirectoryLock) -> Self {
        Self(Arc::new(Mutex::new(Some(lock))))
    }

    /// This process has it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Another process may have the directory.
    pub fn end(&self) {
        drop(self.0.lock().take());
    }
}

/// Takes the directory for this process.
///
/// # Errors
/// Another process has it.
pub fn lock(path: &Path) -> Result<DirectoryLock, OpenError> {
    let file_path = path.join(LOCK_FILE);
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    let file = match options.open(&file_path) {
        // A start on a disk that became read-only forwards, and what is pending is sent (ruling 19).
        Err(error) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
            File::open(&file_path).map_err(|_| error)
        }
        opened => opened,
    };
    try_lock(file.map_err(io_error_at(&file_path))?, path)
}

/// Makes sure that no process has the directory; writes nothing.
///
/// # Errors
/// Another process has it.
pub fn lock_as_it_is(path: &Path) -> Result<Option<DirectoryLock>, OpenError> {
    match File::open(path.join(LOCK_FILE)) {
        Ok(file) => try_lock(file, path).map(Some),
        // A copy of a directory may lack it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error_at(path)(error)),
    }
}

fn try_lock(file: File, path: &Path) -> Result<DirectoryLock, OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(DirectoryLock(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.display().to_string())),
        Err(std::fs::TryLockError::Error(error)) => Err(io_error_at(&path.join(LOCK_FILE))(error)),
    }
}

/// Refuses another format, and marks a new directory with this one.
///
/// # Errors
/// It is another one, or can't be read or written.
pub fn check_format(path: &Path) -> Result<(), OpenError> {
    // ORDER: marked before anything of this format is written, so that another version never
    // misreads it.
    if known_format(path)? {
        Ok(())
    } else {
        mark_format(path, &path.join(FORMAT_FILE))
    }
}

/// Whether the directory is marked with this format; else it has no mark yet.
///
/// # Errors
/// It is of another format, or can't be read.
pub fn known_format(path: &Path) -> Result<bool, OpenError> {
    let file = path.join(FORMAT_FILE);
    let shown = || path.display().to_string();
    match std::fs::read_to_string(&file) {
        // A file that was made and not yet written when the power went.
        Ok(text) if text.trim().is_empty() => Ok(false),
        Ok(text) => match text
            .trim()
            .strip_prefix("tidegate journal ")
            .and_then(|found| found.parse::<u8>().ok())
        {
            Some(FORMAT) => Ok(true),
            Some(found) if found < FORMAT => Err(OpenError::Earlier {
                path: shown(),
                found,
            }),
            _ => Err(OpenError::Newer {
                path: shown(),
                found: format!("{:?}", text.trim()),
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error_at(&file)(error)),
    }
}

fn mark_format(path: &Path, file: &Path) -> Result<(), OpenError> {
    write_whole(
        path,
        NEW_FORMAT,
        file,
        format!("tidegate journal {FORMAT}\n").as_bytes(),
    )
}

/// A file that is whole or not there, also after a power cut.
fn write_whole(path: &Path, new_name: &str, file: &Path, bytes: &[u8]) -> Result<(), OpenError> {
    let new_path = path.join(new_name);
    let mut new = File::create(&new_path).map_err(io_error_at(&new_path))?;
    new.write_all(bytes)
        .and_then(|()| new.sync_all())
        .map_err(io_error_at(&new_path))?;
    // ORDER: whole before it stands in the old one's place.
    std::fs::rename(&new_path, file).map_err(io_error_at(file))?;
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error_at(path))
}

/// The log's epoch and the directory's secret, if they were kept; what is damaged is none.
#[must_use]
pub fn known_origin(path: &Path) -> Option<([u8; 16], [u8; 32])> {
    let bytes = std::fs::read(path.join(ORIGIN)).ok()?;
    let (both, sum) = bytes.split_at_checked(48)?;
    let sum = u32::from_le_bytes(sum.try_into().ok()?);
    let (epoch, secret) = both.split_at(16);
    (crc32fast::hash(both) == sum).then_some((epoch.try_into().ok()?, secret.try_into().ok()?))
}

/// Keeps them. On a full or read-only disk that was done by an earlier start, or the segments hold them.
///
/// # Errors
/// The file system refuses, for another reason than these.
pub fn keep_origin(path: &Path, origin: &([u8; 16], [u8; 32])) -> Result<(), OpenError> {
    if known_origin(path).as_ref() == Some(origin) {
        return Ok(());
    }
    let mut bytes = [&origin.0[..], &origin.1].concat();
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    match write_whole(path, NEW_ORIGIN, &path.join(ORIGIN), &bytes) {
        Err(error) if error.is_want_of_room() => Ok(()),
        kept => kept,
    }
}

/// What earlier starts left out; what is damaged is nothing.
#[must_use]
pub fn known_left_out(path: &Path) -> LeftOut {
    let text = std::fs::read(path.join(LEFT_OUT)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Keeps it.
///
/// # Errors
/// The file system refuses.
pub fn keep_left_out(path: &Path, left_out: &LeftOut) -> Result<(), OpenError> {
    let text = serde_json::to_vec(left_out).unwrap_or_default();
    write_whole(path, NEW_LEFT_OUT, &path.join(LEFT_OUT), &text)
}

/// Makes a directory for damaged files, named by the Unix milliseconds of now.
///
/// # Errors
/// The file system refuses.
pub fn quarantine(path: &Path) -> Result<PathBuf, OpenError> {
    let stamp = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let place = path.join(QUARANTINE).join(stamp.to_string());
    std::fs::create_dir_all(&place).map_err(io_error_at(&place))?;
    Ok(place)
}

/// How many starts put damaged files aside that are still there.
#[must_use]
pub fn count_quarantined(path: &Path) -> u64 {
    std::fs::read_dir(path.join(QUARANTINE)).map_or(0, |entries| entries.count() as u64)
}

/// Bytes that a directory's files take on disk.
#[must_use]
pub fn size_of(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size_of(&entry.path()),
        // Blocks of 512 bytes: files are long before they are full.
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
