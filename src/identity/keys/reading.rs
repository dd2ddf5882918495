//! What a call has of each kind: headers, cookies and named parts that enter its keys, and the rest,
//! which travels with each event by itself.

use super::recognised;
use crate::event::{COUNTED, Carried, Context, Keys, Raw, Said};
use crate::identity::lists::Kind;
use crate::identity::{Caller, Identity, Part, Selection};
use crate::json::Object;
use http::{HeaderName, HeaderValue, header};

/// What a caller's call has of each kind.
#[derive(Debug)]
pub struct Reading<'a> {
    /// The headers that count, sorted by name.
    pub(super) counted: Vec<(Kind, &'a HeaderName, &'a HeaderValue)>,
    /// The other ones, as they came; without Host, Cookie and the body's length.
    remainder: Vec<(&'a HeaderName, &'a HeaderValue)>,
    /// All cookies, as they came.
    pub(super) cookies: Vec<(Kind, &'a [u8])>,
    /// The Cookie line with a mark in the place of each of those that count.
    cookie: Vec<u8>,
    /// `body:` and `query:` parts, raw JSON.
    pub(super) named: Vec<(Box<str>, Box<str>)>,
}

impl Identity {
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
        let Cookies { mut pieces, line } = cookies(selection, caller);
        let named = self.named(caller, body);
        recognised::sort_cookies(&self.settings, &kinds, &mut pieces);
        Reading {
            counted: kinds,
            remainder,
            cookies: pieces,
            cookie: line,
            named,
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
}

impl<'a> Reading<'a> {
    /// The headers that count, sorted by name.
    pub fn headers(&self) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
        self.counted.iter().map(|(_, name, value)| (*name, *value))
    }

    /// The cookies that count, as they came.
    pub fn cookies(&self) -> impl Iterator<Item = (Kind, &'a [u8])> {
        let cookies = self.cookies.iter().copied();
        cookies.filter(|(kind, _)| kind.counts())
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
        let headers = self.headers();
        let cookies = self.cookies();
        let said = Said {
            host: caller.peer.host.as_deref(),
            https: caller.peer.https,
            headers: headers
                .map(|(name, value)| (name.as_str(), Raw(value.as_bytes())))
                .collect(),
            cookies: cookies
                .filter_map(|(_, pair)| std::str::from_utf8(pair).ok())
                .collect(),
            named: self
                .named
                .iter()
                .map(|(name, raw)| (&**name, &**raw))
                .collect(),
        };
        Context::new(keys, &said)
    }

    /// What travels with an event beside its context, packed, without the single call.
    pub(super) fn pack_head(&self, caller: &Caller<'_>) -> Box<[u8]> {
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

pub(super) struct Cookies<'a> {
    /// Every cookie, with its kind.
    pub(super) pieces: Vec<(Kind, &'a [u8])>,
    /// The line with a mark for each that counts.
    line: Vec<u8>,
}

/// Takes the Cookie lines apart. What can't be read counts as a whole.
pub(super) fn cookies<'a>(selection: &Selection, caller: &Caller<'a>) -> Cookies<'a> {
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
            // As it is read (RFC 6265 §5.2): without blank space around it.
            let name = pair.split('=').next().unwrap_or_default().trim_end();
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
