//! TOML as text: lines with a note behind each.

use serde_json::Value;

/// The text that grows.
pub(super) struct Out(pub(super) String);

impl Out {
    /// On one line, whatever the session holds.
    pub(super) fn comment(&mut self, text: &str) {
        let text = text.replace(char::is_control, " ");
        self.0.push_str(&format!("# {text}\n"));
    }

    pub(super) fn gap(&mut self) {
        self.0.push('\n');
    }

    pub(super) fn header(&mut self, header: &str) {
        self.0.push_str(&format!("{header}\n"));
    }

    pub(super) fn section(&mut self, header: &str) {
        self.gap();
        self.header(header);
    }

    pub(super) fn line(&mut self, key: &str, value: &str, note: &str) {
        let note = note.replace(char::is_control, " ");
        self.0.push_str(&format!("{key} = {value}  # {note}\n"));
    }
}

/// A text as TOML: what JSON escapes TOML escapes alike.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text.replace('\u{7f}', "")).to_string()
}

pub(super) fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

pub(super) fn written(value: &Value) -> String {
    match value {
        Value::Null => "\"{null}\"".to_owned(),
        Value::String(text) => quoted(text),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(all) => {
            format!(
                "[{}]",
                all.iter().map(written).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| format!("{} = {}", key(name), written(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
    }
}
