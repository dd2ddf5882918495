//! Opening a directory: to run on it, or to look at it only.

use super::examine::examine;
use super::findings::Finding;
use super::opened::Opened;
use crate::journal::directory::{
    FORMAT_FILE, Hold, LOG, has_no_log, keep_left_out, keep_origin, known_format, known_left_out,
    known_origin, lock_as_it_is, prepare, prepare_anew, quarantine, refuse_others, sync_names,
};
use crate::journal::error::{OpenError, io_error_at};
use crate::journal::log::files::Directory;
use crate::journal::settings::JournalSettings;
use crate::journal::vault::Vault;
use std::path::{Path, PathBuf};

/// Opens the directory of `settings`, or makes it.
///
/// # Errors
/// It was never a journal's, is of another format, or can't be read or written. Damage is no error.
pub fn open(settings: &JournalSettings) -> Result<Opened, OpenError> {
    let vault = Vault::new(settings.key_file.as_deref(), &settings.old_key_files)?;
    let path = &settings.path;
    // ORDER: before anything of it is changed.
    refuse_others(path)?;
    let hold = Hold::default();
    let files = match prepare(path, &hold) {
        Ok(()) => Directory::new(path.join(LOG)),
        // Ruling 19: a first start on a full disk forwards, until the directory can be made.
        Err(error) if error.is_want_of_room() && has_no_log(path) => {
            known_format(path)?;
            tracing::warn!(%error, "the journal's directory can't be made yet");
            let (later, hold) = (path.clone(), hold.clone());
            Directory::made_later(path.join(LOG), move || prepare_anew(&later, &hold))
        }
        Err(error) => return Err(error),
    };
    let known = known_left_out(path);
    let mut opened = examine(files, vault, path, (known_origin(path), &known))?;
    opened.hold = hold;
    // Without a directory its segments hold it, and the next start keeps it.
    if opened.hold.is_held() {
        keep_origin(path, &(opened.origin.epoch, opened.origin.secret))?;
    }
    let left_out = opened.left_out(&known);
    if left_out != known
        && let Err(error) = keep_left_out(path, &left_out)
    {
        // It matters only if the file that this process writes can't be read either.
        tracing::warn!(%error, "what this start could not read can't be kept");
    }
    let damaged: Vec<u64> = std::mem::take(&mut opened.damaged_files);
    if !damaged.is_empty() {
        match keep_damaged(&opened.files, path, &damaged) {
            Ok(place) => opened
                .findings
                .iter_mut()
                .for_each(|finding| finding.place = Some(place.clone())),
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
            kept => kept.map_err(io_error_at(&file))?,
        }
    }
    // ORDER: the other names are on the disk before a segment may go.
    sync_names(&place)?;
    Ok(place)
}

/// Whether a start could use the keys and the directory, as far as that shows without reading its
/// records; changes nothing. A directory that isn't there yet is no error; `false`: another process
/// has it.
///
/// # Errors
/// As for [`open`].
pub fn look_ahead(settings: &JournalSettings) -> Result<bool, OpenError> {
    Vault::new(settings.key_file.as_deref(), &settings.old_key_files)?;
    refuse_others(&settings.path)?;
    known_format(&settings.path)?;
    match lock_as_it_is(&settings.path) {
        Err(OpenError::InUse(_)) => Ok(false),
        free => free.map(|_| true),
    }
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
    let hold = lock_as_it_is(path)?.map_or_else(Hold::default, Hold::of);
    known_format(path)?;
    let mut opened = examine(
        Directory::new(path.join(LOG)),
        vault,
        path,
        (known_origin(path), &known_left_out(path)),
    )?;
    opened.hold = hold;
    Ok(opened)
}
