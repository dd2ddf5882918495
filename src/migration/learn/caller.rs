//! Who makes a call, as far as it shows: by the credentials that it carries, else by its address.

use super::exchange::Exchange;
use crate::identity::{Kind, lists};
use crate::migration::words::is_field_name;

/// What the calls of one caller have in common, and no other caller's calls have. Never shown.
pub(super) fn caller_of(call: &Exchange) -> String {
    let keys = call
        .headers
        .iter()
        .filter(|(name, _)| lists::header(name) == Kind::Principal)
        .map(|(name, value)| (&**name, &**value));
    let sessions = call
        .cookies()
        .filter(|(name, value)| is_session(name, value));
    let mut parts: Vec<_> = keys
        .chain(sessions)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if parts.is_empty() {
        return call.client.clone();
    }
    parts.sort();
    parts.join("\n")
}

/// By its name or its length a session or a token.
pub(super) fn is_session(name: &str, value: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    is_field_name(&name.replace('.', "_"))
        && !name.contains('.')
        && lists::cookie(name) == Kind::Principal
        && (["sess", "sid", "auth", "token", "jwt"]
            .iter()
            .any(|word| lower.contains(word))
            || value.len() >= 24)
}
