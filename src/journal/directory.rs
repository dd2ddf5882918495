//! The journal's directory: whose it is, of which format, and where damaged files go.

use super::record::FORMAT;
use super::recover::{OpenError, io};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Marks a directory and its format.
pub const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";
const QUARANTINE: &str = "quarantine";

/// Makes the directory, or makes it its owner's alone.
///
/// # Errors
/// The file system refuses.
pub fn make_private(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path).map_err(io(path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(io(path))
}

/// Takes the directory for this process, as long as the file is open.
///
/// # Errors
/// Another process has it.
pub fn lock(path: &Path) -> Result<File, OpenError> {
    let file_path = path.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&file_path).map_err(io(&file_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.display().to_string())),
        Err(std::fs::TryLockError::Error(error)) => Err(io(&file_path)(error)),
    }
}

/// Refuses a newer format, and marks a new directory with this one.
///
/// # Errors
/// It is newer, or can't be read or written.
pub fn check_format(path: &Path) -> Result<(), OpenError> {
    let file = path.join(FORMAT_FILE);
    match std::fs::read_to_string(&file) {
        // A file that was made and not yet written when the power went.
        Ok(text) if text.trim().is_empty() => mark_format(path, &file),
        Ok(text) => match text.trim().strip_prefix("tidegate journal ").and_then(|found| found.parse::<u8>().ok()) {
            Some(FORMAT) => Ok(()),
            // ORDER: marked before anything of this format is written, so that an earlier version never misreads it.
            Some(found) if found < FORMAT => mark_format(path, &file),
            _ => Err(OpenError::Newer { path: path.display().to_string(), found: format!("{:?}", text.trim()) }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => mark_format(path, &file),
        Err(error) => Err(io(&file)(error)),
    }
}

fn mark_format(path: &Path, file: &Path) -> Result<(), OpenError> {
    let mut new = File::create(file).map_err(io(file))?;
    writeln!(new, "tidegate journal {FORMAT}").and_then(|()| new.sync_all()).map_err(io(file))?;
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io(path))
}

/// Names the place of damaged files whose records are still to be taken over: a start that ends before that is done
/// must not be the last to look at them.
#[must_use]
pub fn salvage_marker(path: &Path) -> PathBuf {
    path.join("SALVAGE")
}

/// Copies of the log files, as they are before the engine cuts them. Copies that are there already are of a start that
/// did not come to its end: they are older, and stay.
///
/// # Errors
/// The file system refuses.
pub fn copy_logs(path: &Path, engine: &Path) -> Result<Option<PathBuf>, OpenError> {
    let copies = path.join("before");
    let Ok(entries) = std::fs::read_dir(engine) else { return Ok(None) };
    std::fs::create_dir_all(&copies).map_err(io(&copies))?;
    for entry in entries.flatten() {
        let (file, copy) = (entry.path(), copies.join(entry.file_name()));
        if file.extension().is_some_and(|extension| extension == "jnl") && !copy.exists() {
            // Half a copy must never look like a whole one.
            let half = copies.join("half");
            std::fs::copy(&file, &half).and_then(|_| std::fs::rename(&half, &copy)).map_err(io(&file))?;
        }
    }
    Ok(Some(copies))
}

/// Every file below a directory.
///
/// # Errors
/// The file system refuses.
pub fn files_below(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => files.extend(files_below(&entry.path())?),
            false => files.push(entry.path()),
        }
    }
    Ok(files)
}

/// Moves a directory out of the way, under a name that tells when; or makes an empty one of that name.
///
/// # Errors
/// The file system refuses.
pub fn quarantine(path: &Path, what: Option<&Path>) -> Result<PathBuf, OpenError> {
    let place = quarantine_place(path)?;
    match what {
        Some(what) => std::fs::rename(what, &place).map_err(io(what))?,
        None => std::fs::create_dir_all(&place).map_err(io(&place))?,
    }
    Ok(place)
}

/// Where damaged files would go now.
///
/// # Errors
/// The file system refuses.
pub fn quarantine_place(path: &Path) -> Result<PathBuf, OpenError> {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let parent = path.join(QUARANTINE);
    std::fs::create_dir_all(&parent).map_err(io(&parent))?;
    Ok(parent.join(stamp.to_string()))
}
