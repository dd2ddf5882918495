//! The keys of a caller, and what of its call enters them (design §4 `[identity]`, P3, P8).
//!
//! ```text
//! principal   = H(host, tokens, session cookies and keys)     or H(host, client address) where there are none
//! view        = H(principal, its parts, whatever nothing is known of)
//! fingerprint = H(view, the conditions, scheme, client address)
//! stored      = view, or H(view, the cookies that roll) where there are some
//! ```
//!
//! Each key is made of the one before it, so that every byte is hashed once. Parts are sorted by
//! name: two calls that differ in the order of their headers are the same.

use super::{Caller, Identity, Part, Selection};
use crate::event::{
    COUNTED, Carried, Charge, Context, Event, Fingerprint, Keys, Legacy, Principal, Raw, Realm,
    View,
};
use crate::identity::lists::{self, Kind};
use crate::json::Object;
use crate::template::Path;
use http::{HeaderName, HeaderValue, header};
use siphasher::sip128::SipHasher13;
use std::borrow::Cow;

/// The keys of a caller, and the principal without its predecessors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerKeys {
    /// The keys.
    pub keys: Keys,
    /// Who would call if no session had succeeded another one.
    pub(super) bearer: Principal,
}

/// What a caller's call has of each kind.
#[derive(Debug)]
pub struct Reading<'a> {
    /// The headers that count, sorted by name.
    counted: Vec<(Kind, &'a HeaderName, &'a HeaderValue)>,
    /// The other ones, as they came; without Host, Cookie and the body's length.
    remainder: Vec<(&'a HeaderName, &'a HeaderValue)>,
    /// All cookies, as they came.
    cookies: Vec<(Kind, &'a [u8])>,
    /// The Cookie line with a mark in the place of each of those that count.
    cookie: Vec<u8>,
    /// `body:` and `query:` parts, raw JSON.
    named: Vec<(Box<str>, Box<str>)>,
}

/// A call's head is too large to travel with its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLargeHead;

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
    /// The keys of a caller. `body`: where the call's body is known, for `body:` parts.
    #[must_use]
    pub fn keys(&self, caller: &Caller<'_>, body: Option<&Object<'_>>) -> Keys {
        self.caller_keys(caller, body).keys
    }

    /// The keys of a caller; where its connection remembers them, they are not made again.
    #[must_use]
    pub fn caller_keys(&self, caller: &Caller<'_>, body: Option<&Object<'_>>) -> CallerKeys {
        let make = || {
            let Reading {
                counted,
                cookies,
                named,
                ..
            } = self.read(caller, body);
            self.hash(caller, &counted, &cookies, &named)
        };
        if !self.settings.selection.named.is_empty() {
            return make();
        }
        // ORDER: before what it stands for is looked at.
        let version = self.families.version();
        if let Some((known, keys)) = *caller.said.keys.lock()
            && known == version
        {
            return keys;
        }
        let keys = make();
        *caller.said.keys.lock() = Some((version, keys));
        keys
    }

    /// What of a call enters its keys, and what doesn't.
    #[must_use]
    pub fn read<'a>(&self, caller: &Caller<'a>, body: Option<&Object<'_>>) -> Reading<'a> {
        let selection = &self.settings.selection;
        let mut kinds: Vec<(Kind, &'a HeaderName, &'a HeaderValue)> = Vec::with_capacity(24);
        let mut remainder = Vec::with_capacity(24);
        for (kind, name, value) in caller.kinds(selection) {
            match kind {
                kind if kind.counts() => kinds.push((kind, name, value)),
                _ if matches!(
                    *name,
                    header::COOKIE | header::CONTENT_LENGTH | header::EXPECT
                ) => {}
                _ if *name == header::HOST && !has_other_host(caller) => {}
                _ => remainder.push((name, value)),
            }
        }
        kinds.sort_by(|(_, one, _), (_, other, _)| one.as_str().cmp(other.as_str()));
        let Cookies { pieces, line } = cookies(selection, caller);
        Reading {
            counted: kinds,
            remainder,
            cookies: pieces,
            cookie: line,
            named: self.named(caller, body),
        }
    }

    fn named(&self, caller: &Caller<'_>, body: Option<&Object<'_>>) -> Vec<(Box<str>, Box<str>)> {
        let mut out = Vec::new();
        for part in &self.settings.selection.named {
            let raw = match part {
                Part::Body(path) => body.and_then(|body| body.at(&path.0)).map(Box::from),
                Part::Query(name) => caller
                    .query(name)
                    .map(|text| serde_json::Value::from(&*text).to_string().into()),
                Part::Header(_) | Part::Cookie(_) => None,
            };
            out.extend(raw.map(|raw| (part.to_string().into(), raw)));
        }
        out
    }

    fn hash(
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

    /// What travels with an event of this call beside its context, packed. `claimed`: its user's
    /// name is a claim of the caller's token.
    ///
    /// # Errors
    /// Without the single call it would be larger than `most` bytes.
    pub fn carry(
        &self,
        caller: &Caller<'_>,
        (claimed, for_service): (bool, bool),
        legacy: Option<Legacy<'_>>,
        most: usize,
    ) -> Result<bytes::Bytes, TooLargeHead> {
        let pack = || self.read(caller, None).pack_head(caller);
        let packed;
        let head = if caller.is_same {
            caller.said.carried.get_or_init(pack)
        } else {
            packed = pack();
            &packed
        };
        if head.len() > most {
            return Err(TooLargeHead);
        }
        Ok(Carried::pack_with_head(
            head,
            (claimed, for_service),
            legacy,
        ))
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

    /// The realm of a host.
    #[must_use]
    pub fn realm(&self, host: &str) -> Realm {
        // Unkeyed and short: whoever makes two hosts collide must own both names.
        Realm(host.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

/// `Host` isn't the peer's, letter for letter.
fn has_other_host(caller: &Caller<'_>) -> bool {
    let named = caller
        .parts
        .headers
        .get(header::HOST)
        .map(HeaderValue::as_bytes);
    named.is_some_and(|named| {
        !named.is_empty() && Some(named) != caller.peer.host.as_deref().map(str::as_bytes)
    })
}

/// Whether no header, cookie or named part of a call says who calls.
fn is_nameless(
    headers: &[(Kind, &HeaderName, &HeaderValue)],
    cookies: &[(Kind, &[u8])],
    named: &[(Box<str>, Box<str>)],
) -> bool {
    let mut headers = headers.iter().filter(|(kind, ..)| is_of_caller(*kind));
    let mut cookies = cookies.iter().filter(|(kind, _)| is_of_caller(*kind));
    let is_empty = |raw: &str| raw.is_empty() || raw == "\"\"" || raw == "null";
    let value = |pair: &[u8]| {
        pair.split(|byte| *byte == b'=')
            .nth(1)
            .is_none_or(|value| !value.is_empty())
    };
    named.iter().all(|(_, raw)| is_empty(raw))
        && !headers.any(|(_, name, value)| names_someone(name, value.as_bytes()))
        && !cookies.any(|(_, pair)| value(pair))
}

const fn is_of_caller(kind: Kind) -> bool {
    matches!(kind, Kind::Principal | Kind::Rolling)
}

/// Whether a credential's header holds one: a scheme alone is none (RFC 9110 §11.4).
fn names_someone(name: &HeaderName, value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let is_scheme = *name == header::AUTHORIZATION && !value.contains(&b' ');
    let is_known = |scheme: &&str| value.eq_ignore_ascii_case(scheme.as_bytes());
    let is_bare = is_scheme
        && ["basic", "bearer", "digest", "negotiate", "token"]
            .iter()
            .any(is_known);
    !value.is_empty() && !is_bare
}

struct Cookies<'a> {
    /// Every cookie, with its kind.
    pieces: Vec<(Kind, &'a [u8])>,
    /// The line with a mark for each that counts.
    line: Vec<u8>,
}

/// Takes the Cookie lines apart. What can't be read counts as a whole.
fn cookies<'a>(selection: &Selection, caller: &Caller<'a>) -> Cookies<'a> {
    let lines = caller.parts.headers.get_all(header::COOKIE);
    let bytes = lines.iter().map(HeaderValue::len).sum();
    let (mut pieces, mut out) = (
        Vec::with_capacity(if bytes == 0 { 0 } else { 16 }),
        Vec::with_capacity(bytes),
    );
    for value in lines {
        if !out.is_empty() {
            out.extend_from_slice(b"; ");
        }
        let Ok(line) = std::str::from_utf8(value.as_bytes()) else {
            // Such a call is never answered for, so no context needs it back.
            out.extend_from_slice(value.as_bytes());
            pieces.push((Kind::Principal, value.as_bytes()));
            continue;
        };
        for (place, piece) in line.split(';').enumerate() {
            if place > 0 {
                out.push(b';');
            }
            let pair = piece.trim();
            let name = pair.split('=').next().unwrap_or_default();
            let kind = if pair.is_empty() {
                Kind::Passing
            } else {
                selection.cookie(name)
            };
            pieces.push((kind, pair.as_bytes()));
            if !kind.counts() {
                out.extend_from_slice(piece.as_bytes());
                continue;
            }
            let (before, after) = (piece.trim_start().len(), piece.trim_end().len());
            out.extend_from_slice(
                piece
                    .get(..piece.len() - before)
                    .unwrap_or_default()
                    .as_bytes(),
            );
            out.push(COUNTED);
            out.extend_from_slice(piece.get(after..).unwrap_or_default().as_bytes());
        }
    }
    Cookies { pieces, line: out }
}

impl<'a> Reading<'a> {
    /// The headers that count, sorted by name.
    pub fn headers(&self) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        self.counted.iter().map(|(_, name, value)| (*name, *value))
    }

    /// The cookies that count, as they came.
    pub fn cookies(&self) -> impl Iterator<Item = &'a [u8]> {
        self.cookies
            .iter()
            .filter(|(kind, _)| kind.counts())
            .map(|(_, pair)| *pair)
    }

    /// Every part that says something of the caller, as `header:NAME`, `cookie:NAME` and so on, with
    /// what it says. A cookie without a name, and a line that is no text, have a name that says so:
    /// what they hold may be a secret.
    pub(crate) fn parts(&self) -> Vec<(Kind, String)> {
        let headers = self.counted.iter();
        let headers = headers.map(|(kind, name, _)| (*kind, format!("header:{name}")));
        let cookie = |(kind, pair): &(Kind, &[u8])| {
            let text = std::str::from_utf8(pair).ok();
            let name = match text.map(|text| text.split_once('=')) {
                Some(Some((name, _))) => format!("cookie:{name}"),
                Some(None) => "a cookie without a name".to_owned(),
                None => "a Cookie line that is no text".to_owned(),
            };
            (*kind, name)
        };
        let tells = |(kind, _): &&(Kind, &[u8])| kind.counts() || *kind == Kind::Rolling;
        let cookies = self.cookies.iter().filter(tells).map(cookie);
        let named = self.named.iter();
        let named = named.map(|(name, _)| (Kind::Principal, name.to_string()));
        headers.chain(cookies).chain(named).collect()
    }

    /// `body:` and `query:` parts, by name, raw JSON.
    #[must_use]
    pub fn named(&self) -> &[(Box<str>, Box<str>)] {
        &self.named
    }

    /// What calls of this fingerprint share.
    #[must_use]
    pub fn context(&self, caller: &Caller<'_>, keys: Keys) -> Context {
        let headers = self
            .headers()
            .map(|(name, value)| (name.clone(), sensitive(detached(value))));
        Context {
            keys,
            host: caller.peer.host.clone(),
            https: caller.peer.https,
            headers: headers.collect(),
            cookies: self
                .cookies()
                .filter_map(|pair| std::str::from_utf8(pair).ok().map(Box::from))
                .collect(),
            named: self.named.clone(),
            charge: Charge::default(),
        }
    }

    /// What travels with an event beside its context, packed, without the single call.
    fn pack_head(&self, caller: &Caller<'_>) -> Box<[u8]> {
        let headers = self
            .remainder
            .iter()
            .map(|(name, value)| (name.as_str(), Raw(value.as_bytes())));
        let carried = Carried {
            claimed: false,
            from: caller.peer.connection.address.ip().to_canonical(),
            client: caller.peer.client,
            headers: headers.collect(),
            cookie: Raw(&self.cookie),
            legacy: None,
        };
        carried.pack_head()
    }
}

/// A stored Cookie line with the context's cookies back in their places.
#[must_use]
pub fn cookie_line(stored: &[u8], context: &Context) -> Vec<u8> {
    let mut counted = context.cookies.iter();
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

/// A copy with memory of its own. A value as it came is a slice of its connection's read buffer:
/// kept in a pending event, it would pin kilobytes, and make every request of the connection
/// allocate a new buffer.
#[must_use]
pub fn detached(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

/// A value that is never printed.
#[must_use]
pub fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
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
    let secret = |name: &HeaderName| {
        let words = ["key", "token", "secret"];
        lists::header(name.as_str()) == Kind::Principal
            || words.iter().any(|word| name.as_str().contains(word))
    };
    let mut headers = event
        .context
        .headers
        .iter()
        .filter(|(name, _)| secret(name));
    let mut cookies = event
        .context
        .cookies
        .iter()
        .filter_map(|pair| pair.split_once('='));
    let is_secret = headers.any(|(_, value)| value.to_str().is_ok_and(|value| holds(value.trim())))
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
    context
        .named
        .iter()
        .find(|(name, _)| wanted(name))
        .map(|(_, raw)| &**raw)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
