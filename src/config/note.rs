//! A sentence of `tidegate check` about what a configuration does.
//!
//! A loud one is about something that an operator hardly means; the others say what to expect.

use crate::route::EventRoute;

/// One sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// It is hardly meant.
    pub(super) loud: bool,
    /// What it says.
    pub(super) text: String,
}

pub(super) fn loud(text: String) -> Note {
    Note { loud: true, text }
}

pub(super) fn quiet(text: String) -> Note {
    Note { loud: false, text }
}

/// As it stands in the notes.
pub(super) fn name_of(route: &EventRoute) -> String {
    format!("{} {}", route.method, route.path.source())
}
