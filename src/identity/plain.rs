//! What of a call's head every application reads alike.

use super::Caller;
use crate::template::Source;
use http::header;
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
        let line = line.to_str().unwrap_or_default();
        line.split(';').skip(1).all(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            !name.trim().eq_ignore_ascii_case("charset")
                || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    }

    /// Whether every application reads this header or cookie as a template does: it is there once at
    /// most, in plain text, and a cookie needs no decoding, which some do and some don't.
    #[must_use]
    pub fn has_one_reading(&self, source: Source, name: &str) -> bool {
        let headers = &self.parts.headers;
        match source {
            Source::Header => {
                let mut lines = headers.get_all(name).iter();
                lines.next().is_none_or(|line| line.to_str().is_ok()) && lines.next().is_none()
            }
            Source::Cookie => {
                let mut lines = headers.get_all(header::COOKIE).iter();
                let mut values = self.cookies().filter(|(found, _)| *found == name);
                let is_plain = |value: &str| !value.contains(['%', '+', '"', '\\']);
                lines.all(|line| line.to_str().is_ok())
                    && values.next().is_none_or(|(_, value)| is_plain(value))
                    && values.next().is_none()
            }
            _ => true,
        }
    }
}
