//! What is read back of a context and an event that are kept: the Cookie line, named parts, the user
//! as it is shown.

use crate::event::{COUNTED, Context, Event, Raw};
use crate::identity::lists::{self, Kind};
use crate::template::Path;
use std::borrow::Cow;

/// A stored Cookie line with the context's cookies back in their places.
#[must_use]
pub fn cookie_line(stored: &[u8], context: &Context) -> Vec<u8> {
    let said = context.said();
    let mut counted = said.cookies.iter();
    let mut out = Vec::with_capacity(stored.len() + 64);
    for byte in stored {
        match *byte {
            COUNTED => out.extend_from_slice(
                counted
                    .next()
                    .map_or(b"".as_slice(), |pair| pair.as_bytes()),
            ),
            other => out.push(other),
        }
    }
    out
}

/// The user of an event as logs and operators see it: a short hash where the name is a key, a token
/// or a session of the event's own credential, as with `user = "{header.x-api-key}"`.
#[must_use]
pub fn shown_user(event: &Event) -> Cow<'_, str> {
    let user = event.lane.user.as_str();
    // Text may stand around a long value; a short one may be part of any name.
    let holds = |value: &str| {
        !value.is_empty() && (user == value || value.len() >= 8 && user.contains(value))
    };
    let secret = |name: &str| {
        let words = ["key", "token", "secret"];
        lists::header(name) == Kind::Principal || words.iter().any(|word| name.contains(word))
    };
    let said = event.context.said();
    let mut headers = said.headers.iter().filter(|(name, _)| secret(name));
    let mut cookies = said.cookies.iter().filter_map(|pair| pair.split_once('='));
    let text = |value: &Raw<'_>| std::str::from_utf8(value.0).is_ok_and(|text| holds(text.trim()));
    let is_secret = headers.any(|(_, value)| text(value))
        || cookies.any(|(name, value)| lists::cookie(name) == Kind::Principal && holds(value));
    if is_secret {
        Cow::Owned(format!(
            "hash:{:.8}",
            blake3::hash(user.as_bytes()).to_hex()
        ))
    } else {
        Cow::Borrowed(user)
    }
}

/// The `body:` or `query:` part of a context as a template finds it.
#[must_use]
pub fn named<'a>(context: &'a Context, part: &str, path: &[Box<str>]) -> Option<&'a str> {
    let wanted = |name: &str| {
        name.strip_prefix(part)
            .and_then(|name| name.strip_prefix(':'))
            .is_some_and(|name| Path::parse(name).0 == path)
    };
    let mut named = context.said().named.into_iter();
    named.find(|(name, _)| wanted(name)).map(|(_, raw)| raw)
}
