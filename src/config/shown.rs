//! The configuration as the process has it, for an operator: the file with the variables laid over
//! it and the defaults filled in, without secrets.
//!
//! Secrets belong into variables and files, whose names are shown. Where one may stand in the file
//! all the same, [`REDACTED`] stands in its place:
//!
//! | where | what |
//! |---|---|
//! | a `headers` table | each value |
//! | `migration.salt` | the value |
//! | a batch's `envelope` | each text without a placeholder |
//! | any text that is a URL | its userinfo |
//! | `notify.url` | all but its scheme and host |
//! | any `path` or `url` | the values of its query |
//! | any member whose name says `key`, `token`, `secret`, `password`, … in a document | the value |

use super::key::{Absent, Key, Kind, Schema};
use super::sections::SCHEMAS;
use super::tree;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Stands in a secret's place.
const REDACTED: &str = "[redacted]";

/// Sections that are there whether the file has them or not.
const ALWAYS: [&str; 11] = [
    "server",
    "admin",
    "upstream",
    "identity",
    "journal",
    "delivery",
    "limits",
    "notify",
    "store",
    "migration",
    "shadow",
];

/// Members that hold documents with names of the application's own.
const DOCUMENTS: [&str; 5] = ["event", "body", "duplicate", "envelope", "claims"];

/// What a name of the application's own says of its value.
const SECRET_WORDS: [&str; 8] = [
    "key",
    "token",
    "secret",
    "password",
    "passwd",
    "authorization",
    "credential",
    "cookie",
];

/// The configuration of a file's text and the environment; `Null` if the text is no TOML.
#[must_use]
pub(super) fn show(text: &str, variables: &HashMap<String, String>) -> Value {
    let Ok(tree) = tree::read(text, variables) else {
        return Value::Null;
    };
    let mut shown = tree.node.json();
    if let Some(root) = shown.as_object_mut() {
        SCHEMAS.iter().for_each(|schema| fill_section(root, schema));
        redact_table(root, &mut Vec::new());
    }
    shown
}

fn fill_section(root: &mut Map<String, Value>, schema: &Schema) {
    let heading = schema.heading.trim_matches(['[', ']']);
    let (name, is_named) = match heading.split_once('.') {
        Some((name, _)) => (name, true),
        None => (heading, false),
    };
    if ALWAYS.contains(&name) {
        root.entry(name).or_insert_with(|| Map::new().into());
    }
    let fill = |value: &mut Value| {
        if let Some(table) = value.as_object_mut() {
            fill_keys(table, schema.keys);
        }
    };
    match root.get_mut(name) {
        Some(Value::Array(all)) => all.iter_mut().for_each(fill),
        Some(Value::Object(all)) if is_named => all.values_mut().for_each(fill),
        Some(section) => fill(section),
        None => {}
    }
}

fn fill_keys(table: &mut Map<String, Value>, keys: &[&Key]) {
    for key in keys {
        let default = match (&key.absent, &key.kind) {
            (Absent::Text(text), _) => Value::from(*text),
            (Absent::Value(value), _) => tree::parse_value(value).json(),
            // A table whose keys have defaults of their own.
            (Absent::Words(""), Kind::Table(_)) => Map::new().into(),
            (Absent::Words(_) | Absent::ValueIf(..), _) => Value::Null,
        };
        if !default.is_null() {
            table.entry(key.name).or_insert(default);
        }
        if let (Kind::Table(keys), Some(Value::Object(inner))) =
            (&key.kind, table.get_mut(key.name))
        {
            fill_keys(inner, keys);
        }
    }
}

fn redact_table(table: &mut Map<String, Value>, path: &mut Vec<String>) {
    for (name, value) in table {
        path.push(name.clone());
        redact(value, path);
        path.pop();
    }
}

/// `path`: the names of the members that the value stands in, lists left out.
fn redact(value: &mut Value, path: &mut Vec<String>) {
    match value {
        Value::Object(table) => redact_table(table, path),
        Value::Array(all) => all.iter_mut().for_each(|one| redact(one, path)),
        Value::String(text) if !text.is_empty() => {
            if is_secret(text, path) {
                REDACTED.clone_into(text);
            } else {
                if *path == ["notify", "url"] {
                    *text = hide_path(text);
                    return;
                }
                let last = path.last().map_or("", String::as_str);
                *text = redact_url(text, matches!(last, "path" | "url"));
            }
        }
        Value::Number(_) if is_secret("", path) => *value = REDACTED.into(),
        _ => {}
    }
}

fn is_secret(text: &str, path: &[String]) -> bool {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    let (last, above) = names.split_last().unwrap_or((&"", &[]));
    if names == ["migration", "salt"] || above.last() == Some(&"headers") {
        return true;
    }
    // The first name is the section's own.
    let within = above.get(1..).unwrap_or_default();
    let is_document = |name: &&str| DOCUMENTS.contains(name);
    if !within.iter().any(is_document) || text.starts_with('{') && text.ends_with('}') {
        return false;
    }
    let lower = last.to_ascii_lowercase();
    within.contains(&"envelope") || SECRET_WORDS.iter().any(|word| lower.contains(word))
}

/// The scheme and the host of a URL whose path may be a secret.
fn hide_path(text: &str) -> String {
    let place = text.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit('@').next()?;
        Some(format!("{scheme}://{host}/{REDACTED}"))
    });
    place.unwrap_or_else(|| REDACTED.to_owned())
}

/// A text without the userinfo of the URL that it is; `with_query`: nor the values of its query.
fn redact_url(text: &str, with_query: bool) -> String {
    let mut shown = text.to_owned();
    if let Some((scheme, rest)) = text.split_once("://") {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if let Some((_, host)) = authority.rsplit_once('@') {
            shown = format!("{scheme}://{REDACTED}@{host}{path}");
        }
    }
    let Some((path, query)) = shown.split_once('?').filter(|_| with_query) else {
        return shown;
    };
    let pairs: Vec<_> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((name, _)) => format!("{name}={REDACTED}"),
            None => pair.to_owned(),
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, variables: &[(&str, &str)]) -> Value {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        show(text, &variables.iter().map(owned).collect())
    }

    #[test]
    fn no_kind_of_secret_is_shown_and_what_stands_beside_it_is() {
        let text = r#"
[upstream]
url = "http://MARK:MARK@host:1"
[migration]
salt = "MARK"
[batch.a]
path = "/batch?apikey=MARK&version=MARK"
url = "https://user:MARK@host/path?token=MARK"
headers = { "x-plain" = "MARK", apikey = { env = "API_KEY" }, authorization = "Bearer MARK" }
envelope = { writeKey = "MARK", number = { apiKey = "{header.x-key}" }, events = "{events}" }
reply = { status = 200, body = { token = "MARK" } }
[[event]]
path = "/e"
batch = "a"
event = { type = "seen", accessToken = "MARK", list = [{ secret = "MARK", pin_token = 1234567 }], "..." = "{body.*}" }
ack = { headers = { x-session = "MARK" }, body = { password = "MARK", ok = true }, duplicate = { api_key = "MARK" } }
[[cache]]
path = "/c"
"#;
        let variables = [
            ("TIDEGATE__BATCH__A__HEADERS__X_LATE", "MARK"),
            ("TIDEGATE__SHADOW__URL", "http://MARK@shadow:2"),
            ("API_KEY", "MARK"),
            ("TIDEGATE_ADMIN_TOKEN", "MARK-of-a-token"),
        ];
        let shown = shown(text, &variables);
        let all = shown.to_string();
        assert!(
            !all.contains("MARK") && !all.contains("1234567"),
            "{shown:#}"
        );
        let at = |place: &str| shown.pointer(place).unwrap().clone();
        assert_eq!(at("/upstream/url"), "http://[redacted]@host:1");
        assert_eq!(at("/shadow/url"), "http://[redacted]@shadow:2");
        assert_eq!(
            at("/batch/a/path"),
            "/batch?apikey=[redacted]&version=[redacted]"
        );
        assert_eq!(at("/batch/a/headers/apikey/env"), "API_KEY");
        assert_eq!(at("/batch/a/envelope/events"), "{events}");
        assert_eq!(at("/batch/a/envelope/number/apiKey"), "{header.x-key}");
        assert_eq!(at("/event/0/event/type"), "seen");
        assert_eq!(at("/event/0/event/..."), "{body.*}");
        assert_eq!(at("/event/0/ack/body/ok"), true);
    }

    #[test]
    fn defaults_are_filled_in_and_variables_are_laid_over() {
        let text = "[upstream]\nurl = \"http://127.0.0.1:1\"\n[batch.a]\npath = \"/a\"\nwindow = \"7s\"\n[[event]]\npath = \"/e\"\nbatch = \"a\"\n";
        let shown = shown(text, &[("TIDEGATE__LIMITS__MAX_USERS", "7")]);
        let at = |place: &str| shown.pointer(place).cloned().unwrap_or_default();
        assert_eq!(at("/limits/max_users"), 7);
        assert_eq!(at("/admin/listen"), "127.0.0.1:9901");
        assert_eq!(at("/batch/a/window"), "7s");
        assert_eq!(at("/batch/a/flush_at"), 10);
        assert_eq!(at("/event/0/mode"), "coalesce");
        assert_eq!(at("/delivery/retry_server/cap"), "30s");
        assert_eq!(at("/identity/token/0"), "header:authorization");
        assert!(at("/cors").is_null() && at("/limits/events_per_user").is_null());
    }
}
