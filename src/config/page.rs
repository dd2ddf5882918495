//! The tables of `docs/configuration.md`: a line for every key that a section takes.

use super::key::{Key, Kind};
use super::sections;

/// A section's heading (`[name]`) and its table in Markdown, for each section in the page's order.
#[must_use]
pub fn tables() -> Vec<(&'static str, String)> {
    sections::SCHEMAS
        .iter()
        .map(|schema| (schema.heading, table(schema.keys)))
        .collect()
}

fn table(keys: &[&Key]) -> String {
    let mut out = "| key | type | default | |\n|---|---|---|---|\n".to_owned();
    add_rows(&mut out, "", keys);
    out
}

/// A row for each key, and below it one for each key of its table.
fn add_rows(out: &mut String, before: &str, keys: &[&Key]) {
    for key in keys {
        let name = format!("{before}{}", key.name);
        let cells = [
            format!("`{name}`"),
            key.kind.to_string(),
            key.absent.to_string(),
            key.about.trim().to_owned(),
        ];
        for cell in cells {
            let space = if cell.is_empty() { "" } else { " " };
            out.push_str(&format!("| {}{space}", cell.replace('|', "\\|")));
        }
        out.push_str("|\n");
        match key.kind {
            Kind::Table(inner) => add_rows(out, &format!("{name}."), inner),
            Kind::Members(member, _, inner) => add_rows(out, &format!("{name}.{member}."), inner),
            _ => {}
        }
    }
}
