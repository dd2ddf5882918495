//! What two texts of the file differ in, but for what changes while the process runs.

use toml::{Table, Value};

/// Keys of an `[[event]]` that change while the process runs.
const LIVE: [&str; 4] = ["mode", "rollout", "allow", "deny"];

/// The sections that differ, in the new file's order and those that are gone after them. Texts that
/// can't be read have none.
pub(super) fn sections(old: &str, new: &str) -> Vec<String> {
    let [old, new] = [old, new].map(|text| text.parse::<Table>().unwrap_or_default());
    let mut out: Vec<String> = Vec::new();
    for (name, value) in &new {
        if old.get(name).map(|old| fixed(name, old)) != Some(fixed(name, value)) {
            out.push(name.clone());
        }
    }
    out.extend(old.keys().filter(|name| !new.contains_key(*name)).cloned());
    out
}

/// A section without what changes while the process runs.
fn fixed(name: &str, value: &Value) -> Value {
    let mut value = value.clone();
    if name == "event" {
        let routes = value.as_array_mut().into_iter().flatten();
        for route in routes.filter_map(Value::as_table_mut) {
            for key in LIVE {
                route.remove(key);
            }
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_named_and_modes_are_no_difference() {
        let old = "[server]\nlisten = \"127.0.0.1:1\"\n[limits]\nmax_users = 7\n[[event]]\npath = \
                   \"/a\"\nmode = \"off\"\n";
        for (new, differs) in [
            (old.to_owned(), vec![]),
            (old.replace("\"off\"", "\"coalesce\"\nrollout = 10"), vec![]),
            (old.replace("/a", "/b"), vec!["event"]),
            (old.replace("max_users = 7", ""), vec!["limits"]),
            (old.replace("[limits]\nmax_users = 7\n", ""), vec!["limits"]),
            (format!("[admin]\n{old}"), vec!["admin"]),
        ] {
            assert_eq!(sections(old, &new), differs, "{new}");
        }
    }
}
