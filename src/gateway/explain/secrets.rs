//! What a call says in confidence, so that no explanation repeats it: a mapping may put a header's or
//! a cookie's value into an event, an id or an acknowledgement.

use crate::identity::{Identity, Kind, Part};
use crate::json::Object;
use http::request::Parts;
use http::{HeaderName, HeaderValue, header};
use serde_json::Value;

/// From this length on, in bytes, a value is hidden in the midst of other text too.
const LONG: usize = 6;
/// Words in names of headers that hold secrets, whatever is known of the header.
const WORDS: [&str; 8] = [
    "key", "token", "secret", "auth", "session", "csrf", "xsrf", "password",
];

/// Values that are not repeated, each with its name.
#[derive(Debug, Default)]
pub(super) struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Those of a call.
    pub(super) fn of(identity: &Identity, parts: &Parts, body: Option<&Object<'_>>) -> Self {
        let mut secrets = Self::default();
        let selection = &identity.settings().selection;
        for (name, value) in &parts.headers {
            let kind = selection.header(name);
            if *name == header::COOKIE {
                secrets.add_cookies(value);
            } else if is_secret(name, kind) {
                let label = format!("header:{name}");
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                // A scheme before a token says nothing.
                for piece in text.split_whitespace().skip(1) {
                    secrets.add(&label, piece);
                }
                secrets.add(&label, &text);
            }
        }
        for part in &selection.named {
            let value = match part {
                Part::Body(path) => body.and_then(|body| body.at(&path.0)).map(str::to_owned),
                Part::Query(name) => query_value(parts, name),
                Part::Header(_) | Part::Cookie(_) => None,
            };
            let text = value.map(|raw| {
                let text = serde_json::from_str::<String>(&raw);
                text.unwrap_or(raw)
            });
            if let Some(text) = text {
                secrets.add(&part.to_string(), &text);
            }
        }
        // The longest first: a part of one may be another one.
        secrets
            .0
            .sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        secrets
    }

    fn add(&mut self, name: &str, value: &str) {
        let value = value.trim();
        if !value.is_empty() {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    fn add_cookies(&mut self, line: &HeaderValue) {
        let line = String::from_utf8_lossy(line.as_bytes()).into_owned();
        for piece in line.split(';') {
            match piece.split_once('=') {
                Some((name, value)) => self.add(&format!("cookie:{}", name.trim()), value),
                None => self.add("cookie", piece),
            }
        }
    }

    /// A text without them: `<header:authorization>` stands where one was.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.0 {
            if text == *value {
                return format!("<{name}>");
            }
            if value.len() >= LONG && text.contains(value) {
                text = text.replace(value, &format!("<{name}>"));
            }
        }
        text
    }

    /// A JSON text without them.
    pub(super) fn hide_in_json(&self, raw: &str) -> String {
        let Ok(before) = serde_json::from_str::<Value>(raw) else {
            return self.hide(raw);
        };
        let mut after = before.clone();
        self.hide_in_value(&mut after);
        if after == before {
            raw.to_owned()
        } else {
            after.to_string()
        }
    }

    fn hide_in_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.hide(text),
            Value::Number(number) => {
                let text = number.to_string();
                let hidden = self.hide(&text);
                if hidden != text {
                    *value = Value::String(hidden);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_in_value(item)),
            Value::Object(members) => members
                .iter_mut()
                .for_each(|(_, item)| self.hide_in_value(item)),
            Value::Null | Value::Bool(_) => {}
        }
    }
}

/// Headers that say who calls, and those of which nothing is known.
fn is_secret(name: &HeaderName, kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Principal | Kind::Rolling | Kind::Scope | Kind::Proof
    ) || WORDS.iter().any(|word| name.as_str().contains(word))
}

fn query_value(parts: &Parts, name: &str) -> Option<String> {
    let pairs = parts.uri.query()?.split('&');
    let mut pairs = pairs.filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(found, _)| *found == name)?;
    let value = percent_encoding::percent_decode_str(value);
    Some(value.decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_wherever_it_stands_and_a_short_one_where_it_stands_alone() {
        let mut secrets = Secrets::default();
        secrets.add("header:authorization", "Bearer abcdefgh");
        secrets.add("header:authorization", "abcdefgh");
        secrets.add("cookie:org", "7");
        assert_eq!(secrets.hide("Bearer abcdefgh"), "<header:authorization>");
        assert_eq!(secrets.hide("x-abcdefgh-y"), "x-<header:authorization>-y");
        assert_eq!(secrets.hide("17 of 70"), "17 of 70");
        assert_eq!(
            secrets.hide_in_json(r#"{"a":["abcdefgh",7],"b":17}"#),
            r#"{"a":["<header:authorization>","<cookie:org>"],"b":17}"#
        );
    }
}
