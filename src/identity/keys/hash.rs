//! How the keys of a caller are hashed from what its call has of each kind.

use super::reading::cookies;
use super::recognised::{is_placeholder, names_someone, tells_caller};
use crate::event::{Fingerprint, Keys, Principal, View};
use crate::identity::lists::Kind;
use crate::identity::{Caller, Identity};
use http::{HeaderName, HeaderValue, header};
use siphasher::sip128::SipHasher13;

/// The keys of a caller, and the principal without its predecessors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerKeys {
    /// The keys.
    pub keys: Keys,
    /// Who would call if no session had succeeded another one.
    pub(in crate::identity) bearer: Principal,
}

/// Gathers what is hashed: lengths are written before values, so that no two lists look alike.
struct Text(Vec<u8>);

impl Text {
    fn part(&mut self, name: &[u8], value: &[u8]) {
        for bytes in [name, value] {
            self.0
                .extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
            self.0.extend_from_slice(bytes);
        }
    }

    /// SipHash-1-3 with 128 bits (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012).
    fn hash(&self, key: &[u8; 16]) -> [u8; 16] {
        SipHasher13::new_with_key(key).hash(&self.0).as_bytes()
    }
}

impl Identity {
    pub(super) fn hash(
        &self,
        caller: &Caller<'_>,
        headers: &[(Kind, &HeaderName, &HeaderValue)],
        cookies: &[(Kind, &[u8])],
        named: &[(Box<str>, Box<str>)],
    ) -> CallerKeys {
        let host = caller.peer.host.as_deref().unwrap_or_default();
        let mut text = Text(Vec::with_capacity(1024));
        text.part(b"host", host.as_bytes());
        // Behind a proxy that names the host beside `Host`, nobody knows which of the two the
        // application goes by.
        let line = caller
            .parts
            .headers
            .get(header::HOST)
            .map(HeaderValue::as_bytes);
        let line = line
            .filter(|line| !line.is_empty() && *line != host.as_bytes())
            .map(<[u8]>::to_ascii_lowercase);
        if let Some(line) = line.filter(|line| line != host.as_bytes()) {
            text.part(b"named host", &line);
        }
        let begin = text.0.len();
        let of = |text: &mut Text, wanted: Kind| {
            for (_, name, value) in headers.iter().filter(|(kind, ..)| *kind == wanted) {
                text.part(name.as_str().as_bytes(), value.as_bytes());
            }
            for (_, pair) in cookies.iter().filter(|(kind, _)| *kind == wanted) {
                text.part(b"cookie", pair);
            }
        };
        of(&mut text, Kind::Principal);
        for (name, raw) in named {
            text.part(name.as_bytes(), raw.as_bytes());
        }
        // What the principal has that doesn't roll.
        let own = text.0.get(begin..).unwrap_or_default().to_vec();
        of(&mut text, Kind::Rolling);
        let nameless = is_nameless(headers, cookies, named);
        if nameless {
            text.part(b"client address", caller.peer.client.to_string().as_bytes());
        }
        let itself = Principal(text.hash(&self.key));
        let principal = self.families.canonical(itself);
        text.0.clear();
        // P3: who is only supposed to be the same shares no batch with it.
        text.part(b"principal", &self.families.known(itself).0);
        text.0.extend_from_slice(&own);
        of(&mut text, Kind::Scope);
        let view = View(text.hash(&self.key));
        text.0.clear();
        text.part(b"view", &view.0);
        of(&mut text, Kind::Condition);
        text.part(
            b"scheme",
            if caller.peer.https { b"https" } else { b"http" },
        );
        if self.settings.selection.by_default {
            text.part(b"client address", caller.peer.client.to_string().as_bytes());
        }
        let fingerprint = Fingerprint(text.hash(&self.key));
        let keys = Keys {
            fingerprint,
            view,
            principal,
            realm: self.realm(host),
            nameless,
        };
        CallerKeys {
            keys,
            bearer: itself,
        }
    }

    /// A token alone.
    pub(in crate::identity) fn hash_token(&self, token: &str) -> Principal {
        let mut text = Text(Vec::with_capacity(token.len() + 16));
        text.part(b"token", token.as_bytes());
        Principal(text.hash(&self.key))
    }

    /// What a caller's stored answers are keyed by. P8: what a bearer of one value of a cookie was
    /// shown is never shown to a bearer of another, whoever succeeded whom.
    #[must_use]
    pub fn stored_view(&self, caller: &Caller<'_>, keys: &Keys) -> View {
        let selection = &self.settings.selection;
        if !selection
            .cookies
            .iter()
            .any(|(_, kind)| *kind == Kind::Rolling)
        {
            return keys.view;
        }
        let mut text = Text(Vec::with_capacity(256));
        text.part(b"view", &keys.view.0);
        let begin = text.0.len();
        for (_, pair) in cookies(selection, caller)
            .pieces
            .iter()
            .filter(|(kind, _)| *kind == Kind::Rolling)
        {
            text.part(b"cookie", pair);
        }
        if text.0.len() == begin {
            keys.view
        } else {
            View(text.hash(&self.key))
        }
    }
}

/// Whether no header, cookie or named part of a call says who calls.
fn is_nameless(
    headers: &[(Kind, &HeaderName, &HeaderValue)],
    cookies: &[(Kind, &[u8])],
    named: &[(Box<str>, Box<str>)],
) -> bool {
    let mut headers = headers.iter().filter(|(kind, ..)| is_of_caller(*kind));
    let mut cookies = cookies.iter().filter(|(kind, _)| is_of_caller(*kind));
    let value = |pair: &[u8]| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=').skip(1);
        parts.next().is_none_or(|value| !is_placeholder(value))
    };
    !tells_caller(named)
        && !headers.any(|(_, name, value)| names_someone(name, value.as_bytes()))
        && !cookies.any(|(_, pair)| value(pair))
}

const fn is_of_caller(kind: Kind) -> bool {
    matches!(kind, Kind::Principal | Kind::Rolling)
}
