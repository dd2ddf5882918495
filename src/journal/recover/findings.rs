//! What an operator should know about a start.

use crate::journal::log::replay::{Missing, Replayed};
use std::path::PathBuf;

/// Something an operator should know about a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub(super) what: String,
    /// Where damaged files are now.
    pub(super) place: Option<PathBuf>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.what)?;
        self.place
            .iter()
            .try_for_each(|place| write!(f, "; the damaged files are in {}", place.display()))
    }
}

/// What a pass over the log has found wrong. `bad`: frames whose bodies can't be read.
pub(super) fn describe_damage(replayed: &Replayed, bad: u64) -> Vec<Finding> {
    let count = |missing: &[Missing]| missing.iter().map(Missing::count).sum::<u64>();
    let (damaged, lost) = (count(&replayed.damaged), count(&replayed.lost));
    let mut findings = Vec::new();
    let mut add = |what: String| findings.push(Finding { what, place: None });
    if !replayed.unreadable.is_empty() || damaged > 0 {
        let files = replayed.unreadable.len();
        add(format!(
            "{files} files of the log are damaged; {damaged} records that were safe in them are \
             missing"
        ));
    }
    if lost > 0 {
        add(format!(
            "{lost} records that were not synced yet are missing: the power went, or the disk lost \
             them"
        ));
    }
    if bad > 0 {
        add(format!("{bad} records can't be read, and are passed over"));
    }
    if !replayed.unread.is_empty() {
        add(format!(
            "{} files of the log can't be read now; what is in them is not given up",
            replayed.unread.len()
        ));
    }
    if !replayed.gone.is_empty() {
        add(format!(
            "{} files of the log that an earlier start could not read are gone or empty now: what was \
             in them is lost",
            replayed.gone.len()
        ));
    }
    findings
}
