//! Completions of shells and manual pages, made from the command line's own description.

use clap::Command;
use clap_complete::Shell;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Below the help of the command itself.
pub(super) const ENDING: &str = "\
Exit codes:
  0  fine
  1  the configuration or the input is wrong, or a report says no
  2  it failed at run time: nobody answers, an address is taken, a disk doesn't answer

Examples:
  tidegate demo                                      see it work, without a configuration
  tidegate check --config config.toml                what each route will do
  tidegate run --config config.toml                  serve
  tidegate explain --method POST --path /progress --body event.json
  tidegate dead-letters list --reason refused        what the application refused, and why
  TIDEGATE__SERVER__LISTEN=0.0.0.0:80 tidegate run   a variable for each key of the file

SIGTERM ends a sidecar cleanly, SIGHUP makes it read its file anew. RUST_LOG says what is logged.";

/// Below the help of the commands for dead letters.
pub(super) const OF_LETTERS: &str = "\
Examples:
  tidegate dead-letters list --group progress
  tidegate dead-letters show 4711
  tidegate dead-letters replay --reason refused --group progress
  tidegate dead-letters replay id:a1b2 --credential-file new-token.txt
  tidegate dead-letters drop --reason too_large";

/// What a shell completes this command's lines by.
pub(super) fn make_completions(mut command: Command, shell: Shell) -> Vec<u8> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut command, "tidegate", &mut out);
    out
}

/// Writes a page of the manual for each command into a directory, which it makes if need be; the
/// files' names.
///
/// # Errors
/// The directory can't be written.
pub(super) fn write_pages(command: Command, directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory)?;
    let mut left = vec![("tidegate".to_owned(), command)];
    let mut written = Vec::new();
    while let Some((name, command)) = left.pop() {
        let under = command.get_subcommands().filter(|one| !one.is_hide_set());
        left.extend(under.map(|one| (format!("{name}-{}", one.get_name()), one.clone())));
        let file = directory.join(format!("{name}.1"));
        let mut page = Vec::new();
        clap_mangen::Man::new(command.name(name)).render(&mut page)?;
        std::fs::File::create(&file)?.write_all(&page)?;
        written.push(file);
    }
    Ok(written)
}
