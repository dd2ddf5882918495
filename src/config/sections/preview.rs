//! `[preview]`: where a caller may look at its own pending events.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::problem::Position;
use crate::config::readers::{read_lists, read_path};
use crate::config::section::{Reference, Section};
use crate::route::Pattern;
use crate::template::Path;
use serde_json::Value;

keys! {
    "[preview]";
    /// a caller's own pending events, GET
    PATH = Key::without("path", Said("path"), "needed");
    /// whose
    BATCH = Key::without("batch", Said("list of groups"), "needed");
    /// parameters of the query, and where an event has what they name
    FILTER = Key::with("filter", Said("table of lists of places"), "{}");
}

/// What the section says.
pub(in crate::config) struct Preview {
    /// The path; `None` where it is wrong.
    pub(in crate::config) path: Option<Pattern>,
    /// Whose events are shown.
    pub(in crate::config) batches: Vec<Reference>,
    /// Where those names stand.
    pub(in crate::config) batch: Position,
    /// Query parameters, and where an event may have what they name.
    pub(in crate::config) filter: Vec<(Box<str>, Vec<Path>)>,
}

pub(super) fn read(section: Section<'_>) -> Preview {
    let path = read_path(&section, &PATH);
    let batches = section.references(&BATCH);
    let filter = read_lists(&section, &FILTER).into_iter();
    let filter = filter
        .map(|(name, places)| (name.as_str().into(), read_places(&section, &name, &places)))
        .collect();
    let batch = section.position(&BATCH);
    section.finish();
    Preview {
        path,
        batches,
        batch,
        filter,
    }
}

fn read_places(section: &Section<'_>, name: &str, places: &[Value]) -> Vec<Path> {
    let mut out = Vec::new();
    for place in places {
        match place.as_str() {
            Some(place) => out.push(Path::parse(place)),
            None => {
                let text =
                    format!("{name}: found {place}; a list of fields or JSON Pointers is allowed");
                section.wrong_key(&FILTER, text);
            }
        }
    }
    out
}
