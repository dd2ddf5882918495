//! The journal's directory: whose it is, of which format, and where damaged files go.

use super::record::FORMAT;
use super::recover::{OpenError, io};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Marks a directory and its format.
pub const FORMAT_FILE: &str = "FORMAT";
/// Where the engine has its files.
pub const ENGINE: &str = "engine";
const LOCK_FILE: &str = "LOCK";
const QUARANTINE: &str = "quarantine";
/// What the format's mark is called until it is whole.
const NEW_FORMAT: &str = "FORMAT.new";
const COPIES: &str = "before";
const SALVAGE: &str = "SALVAGE";

/// Makes the directory, or makes it its owner's alone.
///
/// # Errors
/// The file system refuses.
pub fn make_private(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path).map_err(io(path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(io(path))
}

/// Refuses a directory that holds something and was never a journal's: its mode and its files are somebody else's.
///
/// # Errors
/// It is one, or can't be read.
pub fn refuse_others(path: &Path) -> Result<(), OpenError> {
    // A volume of its own may begin with `lost+found`; the others are of a start that was cut off before its mark was whole.
    const OURS: [&str; 8] = [LOCK_FILE, FORMAT_FILE, NEW_FORMAT, ENGINE, QUARANTINE, COPIES, SALVAGE, "lost+found"];
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(io(path))?,
    };
    let marked = std::fs::read_to_string(path.join(FORMAT_FILE));
    if marked.is_ok_and(|text| text.starts_with("tidegate journal ")) {
        return Ok(());
    }
    for entry in entries {
        let name = entry.map_err(io(path))?.file_name();
        if !OURS.iter().any(|own| name == *own) {
            let (path, found) = (path.display().to_string(), name.to_string_lossy().into_owned());
            return Err(OpenError::Others { path, found });
        }
    }
    Ok(())
}

/// Takes the directory for this process, as long as the file is open.
///
/// # Errors
/// Another process has it.
pub fn lock(path: &Path) -> Result<File, OpenError> {
    let file_path = path.join(LOCK_FILE);
    let file = File::options().create(true).truncate(false).write(true).open(&file_path).map_err(io(&file_path))?;
    try_lock(file, path)
}

/// Makes sure that no process has the directory, as long as the file is open; writes nothing.
///
/// # Errors
/// Another process has it.
pub fn lock_as_it_is(path: &Path) -> Result<Option<File>, OpenError> {
    match File::open(path.join(LOCK_FILE)) {
        Ok(file) => try_lock(file, path).map(Some),
        // A copy of a directory may lack it.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(path)(error)),
    }
}

fn try_lock(file: File, path: &Path) -> Result<File, OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(path.display().to_string())),
        Err(std::fs::TryLockError::Error(error)) => Err(io(&path.join(LOCK_FILE))(error)),
    }
}

/// Refuses a newer format, and marks a new directory with this one.
///
/// # Errors
/// It is newer, or can't be read or written.
pub fn check_format(path: &Path) -> Result<(), OpenError> {
    match known_format(path)? {
        Some(FORMAT) => Ok(()),
        // ORDER: marked before anything of this format is written, so that an earlier version never misreads it.
        _ => mark_format(path, &path.join(FORMAT_FILE)),
    }
}

/// The format of a directory; none: it has no mark yet.
///
/// # Errors
/// It is newer, or can't be read.
pub fn known_format(path: &Path) -> Result<Option<u8>, OpenError> {
    let file = path.join(FORMAT_FILE);
    match std::fs::read_to_string(&file) {
        // A file that was made and not yet written when the power went.
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => match text.trim().strip_prefix("tidegate journal ").and_then(|found| found.parse::<u8>().ok()) {
            Some(found) if found <= FORMAT => Ok(Some(found)),
            _ => Err(OpenError::Newer { path: path.display().to_string(), found: format!("{:?}", text.trim()) }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(&file)(error)),
    }
}

/// Copies every file below a directory, links as what they lead to; quarantined files stay where they are.
///
/// # Errors
/// The file system refuses.
pub fn copy_below(from: &Path, to: &Path) -> Result<(), OpenError> {
    for entry in std::fs::read_dir(from).map_err(io(from))? {
        let entry = entry.map_err(io(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            if entry.file_name() != QUARANTINE {
                std::fs::create_dir(&target).map_err(io(&target))?;
                copy_below(&source, &target)?;
            }
        } else {
            let mut copy = File::create(&target).map_err(io(&target))?;
            let mut file = File::open(&source).map_err(io(&source))?;
            std::io::copy(&mut file, &mut copy).map_err(io(&source))?;
        }
    }
    Ok(())
}

fn mark_format(path: &Path, file: &Path) -> Result<(), OpenError> {
    let new_path = path.join(NEW_FORMAT);
    let mut new = File::create(&new_path).map_err(io(&new_path))?;
    writeln!(new, "tidegate journal {FORMAT}").and_then(|()| new.sync_all()).map_err(io(&new_path))?;
    // ORDER: whole before it stands in the old one's place.
    std::fs::rename(&new_path, file).map_err(io(file))?;
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io(path))
}

/// Names the place of damaged files whose records are still to be taken over: a start that ends before that is done
/// must not be the last to look at them.
#[must_use]
pub fn salvage_marker(path: &Path) -> PathBuf {
    path.join(SALVAGE)
}

/// Copies of the log files, as they are before the engine cuts them. Copies that are there already are of a start that
/// did not come to its end: they are older, and stay.
///
/// # Errors
/// The file system refuses.
pub fn copy_logs(path: &Path, engine: &Path) -> Result<Option<PathBuf>, OpenError> {
    let copies = path.join(COPIES);
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
