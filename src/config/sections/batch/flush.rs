//! `flush_on` and `flush_on_change`: events that seal their window at once.

use super::keys::{FLUSH_ON, FLUSH_ON_CHANGE, condition};
use crate::config::readers::values_of;
use crate::config::section::Section;
use crate::config::tree::{Node, Spot};
use crate::ingest::settings::Condition;
use crate::template::Path;

/// `flush_on`: a place and the values that seal, or `{ at_least = 100 }`, or `{ set = true }`.
pub(super) fn read_conditions(section: &Section<'_>) -> Vec<(Path, Condition)> {
    let table = section.section(&FLUSH_ON);
    let condition = |(name, spot)| Some((Path::parse(name), read_condition(&table, name, spot)?));
    table.members().filter_map(condition).collect()
}

fn read_condition(table: &Section<'_>, name: &str, spot: &Spot) -> Option<Condition> {
    if !matches!(spot.node, Node::Table(_)) {
        return Some(Condition::Among(values_of(spot)));
    }
    let inner = table.member(name, spot);
    let (least, set) = (
        inner.float(&condition::AT_LEAST),
        inner.maybe_flag(&condition::SET),
    );
    let found = match (least, set) {
        (Some(least), None) => Some(Condition::AtLeast(least)),
        (None, Some(true)) => Some(Condition::Set),
        _ => {
            inner.wrong("a list of values, { at_least = 100 } or { set = true } is allowed");
            None
        }
    };
    inner.finish();
    found
}

/// `flush_on_change`: a place and a step above zero.
pub(super) fn read_changes(section: &Section<'_>) -> Vec<(Path, f64)> {
    let table = section.section(&FLUSH_ON_CHANGE);
    let mut out = Vec::new();
    for (name, spot) in table.members() {
        match spot.node.json().as_f64().filter(|step| *step > 0.0) {
            Some(step) => out.push((Path::parse(name), step)),
            None => table.wrong(format!(
                "{name}: found {}; a number above zero is allowed",
                spot.node.json()
            )),
        }
    }
    out
}
