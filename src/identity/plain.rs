//! What of a call's head every application reads alike.

use super::Caller;
use crate::template::Source;
use http::{HeaderName, HeaderValue, header};
use std::borrow::Cow;

/// The usual type of a body.
const JSON: &str = "application/json";

impl<'a> Caller<'a> {
    /// The type of the body, in lower case and without parameters; empty where none can be read.
    #[must_use]
    pub fn body_type(&self) -> Cow<'a, str> {
        let Some(line) = self.parts.headers.get(header::CONTENT_TYPE) else {
            return Cow::Borrowed("");
        };
        if line == JSON {
            return Cow::Borrowed(JSON);
        }
        let line = line.to_str().unwrap_or_default();
        let kind = line.split(';').next().unwrap_or_default().trim();
        if kind.bytes().any(|byte| byte.is_ascii_uppercase()) {
            kind.to_ascii_lowercase().into()
        } else {
            kind.into()
        }
    }

    /// Whether the body's text is UTF-8 by its type: no charset is named, or that one. JSON has no other
    /// (RFC 8259 §8.1, §11), but there are applications that go by the word.
    #[must_use]
    pub fn has_utf8_body(&self) -> bool {
        let line = self.parts.headers.get(header::CONTENT_TYPE);
        let Some(line) = line.filter(|line| *line != JSON) else {
            return true;
        };
        let is_utf8 = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        };
        line.to_str()
            .is_ok_and(|line| line.split(';').skip(1).all(is_utf8))
    }

    /// Whether every application reads this header, cookie or parameter as a template does. A header or
    /// a cookie is there once at most, in plain text, and a cookie needs no decoding, which some do and
    /// some don't. A parameter's escapes are UTF-8.
    #[must_use]
    pub fn has_one_reading(&self, source: Source, name: &str) -> bool {
        let headers = &self.parts.headers;
        match source {
            Source::Header => {
                let of_name = |(found, _): &(&HeaderName, &HeaderValue)| {
                    found.as_str().eq_ignore_ascii_case(name)
                };
                let mut lines = headers.iter().filter(of_name);
                lines.next().is_none_or(|(_, line)| line.to_str().is_ok()) && lines.next().is_none()
            }
            Source::Cookie => {
                let mut lines = headers.get_all(header::COOKIE).iter();
                let mut values = self.cookies().filter(|(found, _)| *found == name);
                let is_plain =
                    |value: &str| value.is_ascii() && !value.contains(['%', '+', '"', '\\']);
                // A line that isn't text may hold another one.
                values.next().is_none_or(|(_, value)| is_plain(value))
                    && values.next().is_none()
                    && lines.all(|line| std::str::from_utf8(line.as_bytes()).is_ok())
            }
            Source::Query => {
                let value = self.query(name);
                value.is_none_or(|value| !value.contains(char::REPLACEMENT_CHARACTER))
            }
            _ => true,
        }
    }
}
