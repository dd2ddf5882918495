//! What `run` would trip over and the file alone doesn't show: keys, the journal's directory,
//! addresses that are taken. It changes nothing.

use crate::admin::Token;
use crate::config::Config;
use crate::journal::directory::FORMAT_FILE;
use crate::journal::recover;
use crate::journal::settings::{Durability, JournalSettings};
use rustix::fs::{Access, access};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// `run` would end with these.
    pub(super) problems: Vec<String>,
    /// What is hardly meant, and what it would end with if it were started now, which may be the
    /// doing of a sidecar that runs.
    pub(super) warnings: Vec<String>,
}

/// Looks at what a start with this configuration would need.
pub(super) fn look(config: &Config) -> Findings {
    let mut findings = Findings::default();
    let journal = &config.journal;
    let is_needed = !config.groups.is_empty() && journal.durability != Durability::None;
    if is_needed || journal.path.join(FORMAT_FILE).exists() {
        findings.look_at_journal(journal);
    }
    if let Some(path) = config
        .admin
        .token_file
        .as_deref()
        .filter(|path| Token::is_shared(path))
    {
        findings.warnings.push(format!(
            "others than its owner may read or write admin.token_file {}; allowed is mode 0600",
            path.display()
        ));
    }
    if let Some(listen) = config.server.listen.tcp() {
        findings.look_at_address("server.listen", listen);
    }
    findings.look_at_address("admin.listen", config.admin.listen);
    findings
}

impl Findings {
    fn look_at_journal(&mut self, settings: &JournalSettings) {
        let path = &settings.path;
        match recover::look_ahead(settings) {
            Ok(true) => {}
            Ok(false) => self.warnings.push(format!(
                "journal {} is in use by another process; is this a sidecar that runs already?",
                path.display()
            )),
            Err(error) => self.problems.push(error.to_string()),
        }
        if path.exists() {
            self.look_whether_writable(path, path);
            return self.look_whose_it_is(path);
        }
        let above = path.ancestors().skip(1).find(|above| above.exists());
        // The first ancestor of a relative path is empty.
        let above = above.filter(|above| !above.as_os_str().is_empty());
        self.look_whether_writable(path, above.unwrap_or(Path::new(".")));
    }

    fn look_whether_writable(&mut self, journal: &Path, there: &Path) {
        if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
            let (journal, there) = (journal.display(), there.display());
            self.problems.push(format!(
                "journal.path {journal}: {there} can't be written by this user: {error}"
            ));
        }
    }

    /// A start makes the directory its owner's alone.
    fn look_whose_it_is(&mut self, path: &Path) {
        use std::os::unix::fs::MetadataExt as _;
        let us = rustix::process::geteuid();
        if let Ok(found) = std::fs::metadata(path)
            && found.uid() != us.as_raw()
            && !us.is_root()
        {
            self.problems.push(format!(
                "journal.path {}: it belongs to the user {}, and this is the user {}",
                path.display(),
                found.uid(),
                us.as_raw()
            ));
        }
    }

    fn look_at_address(&mut self, key: &str, listen: SocketAddr) {
        match TcpListener::bind(listen) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::AddrInUse => self.warnings.push(format!(
                "{key} {listen} is taken; is this a sidecar that runs already?"
            )),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.warnings.push(format!(
                    "{key} {listen} can't be opened by this user: {error}; well where the service \
                 manager passes the listener on"
                ))
            }
            Err(error) => self
                .problems
                .push(format!("{key} {listen} can't be opened: {error}")),
        }
    }
}
