//! One call's head, and what templates find in it.

use super::Kind;
use super::head::{CookiePlace, Said};
use super::settings::{Part, Selection};
use crate::event::Tag;
use crate::peer::Peer;
use crate::template::{Found, Source};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

/// One call's head, looked at as often as needed and taken apart once.
pub struct Caller<'a> {
    pub(super) parts: &'a Parts,
    pub(super) peer: &'a Peer,
    pub(super) now: SystemTime,
    /// What the head says, which an earlier call of the connection may have found out.
    pub(super) said: Arc<Said>,
    /// That was of a call with the same head in everything.
    pub(super) is_same: bool,
    /// The number of its head among those that are remembered.
    pub(super) number: Option<u64>,
}

/// What a head says, as far as that is known: for a copy of the head, so that it needn't be found
/// out, or looked up, once more.
pub struct KnownHead {
    said: Arc<Said>,
    is_same: bool,
}

impl fmt::Debug for KnownHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownHead")
    }
}

impl<'a> Caller<'a> {
    /// The call of a copy of a head of which this is known. `now`: when the call came.
    #[must_use]
    pub fn of_copy(
        (parts, peer): (&'a Parts, &'a Peer),
        now: SystemTime,
        known: &KnownHead,
    ) -> Self {
        Self::new((parts, peer), now, Arc::clone(&known.said), known.is_same)
    }

    /// What is known of the head, for a copy of it.
    #[must_use]
    pub fn known_head(&self) -> KnownHead {
        KnownHead {
            said: Arc::clone(&self.said),
            is_same: self.is_same,
        }
    }

    /// What the places of its cookies take, as far as they were looked for, bytes: up to twenty times
    /// what the cookies do.
    #[must_use]
    pub fn cookie_places_size(&self) -> usize {
        self.said
            .cookies
            .get()
            .map_or(0, |places| size_of_val(&**places))
    }

    /// The request's head.
    #[must_use]
    pub const fn parts(&self) -> &'a Parts {
        self.parts
    }

    /// When it came, wall clock.
    #[must_use]
    pub const fn now(&self) -> SystemTime {
        self.now
    }

    /// Whom it comes from, and what it was asked of.
    #[must_use]
    pub const fn peer(&self) -> &'a Peer {
        self.peer
    }

    /// `is_same`: as `said` was found out, also in what each call has for itself.
    pub(super) const fn new(
        (parts, peer): (&'a Parts, &'a Peer),
        now: SystemTime,
        said: Arc<Said>,
        is_same: bool,
    ) -> Self {
        Self {
            parts,
            peer,
            now,
            said,
            is_same,
            number: None,
        }
    }

    /// The number of its head, if that is remembered: of all calls whose heads have one number, each
    /// came from the same client by the same host and scheme with the same headers, but for the
    /// length of a body.
    #[must_use]
    pub const fn head_number(&self) -> Option<u64> {
        self.number
    }

    /// Its cookies, each name and value.
    pub(super) fn cookies(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let pairs = self.cookie_bytes();
        pairs.filter_map(|(name, value)| Some((as_text(name)?, as_text(value)?)))
    }

    /// The same as bytes, each of which is text.
    fn cookie_bytes(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let headers = &self.parts.headers;
        let places = self.said.cookies.get_or_init(|| find_cookies(headers));
        let first = headers.get(header::COOKIE).filter(|_| !places.is_empty());
        places.iter().filter_map(move |place| {
            let line = match place.line {
                0 => first?,
                other => headers.get_all(header::COOKIE).iter().nth(other)?,
            };
            let part = |range: &Range<usize>| line.as_bytes().get(range.clone());
            part(&place.name).zip(part(&place.value))
        })
    }

    /// The headers, each with what it says of the caller.
    pub(super) fn kinds(
        &self,
        selection: &Selection,
    ) -> impl Iterator<Item = (Kind, &'a HeaderName, &'a HeaderValue)> {
        let of = || {
            self.parts
                .headers
                .iter()
                .map(|(name, _)| selection.header(name))
                .collect()
        };
        self.said
            .kinds
            .get_or_init(of)
            .iter()
            .zip(&self.parts.headers)
            .map(|(kind, (name, value))| (*kind, name, value))
    }

    /// A Cookie line that can't be read: what it holds can't be told apart cookie by cookie.
    pub(super) fn has_odd_cookies(&self) -> bool {
        let mut lines = self.parts.headers.get_all(header::COOKIE).iter();
        lines.any(|line| std::str::from_utf8(line.as_bytes()).is_err())
    }

    /// A cookie's value; with a repeated name the first one.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.cookie_bytes();
        let found = pairs.find(|(found, _)| *found == name.as_bytes());
        found.and_then(|(_, value)| as_text(value))
    }

    fn header(&self, name: &HeaderName) -> Option<&'a str> {
        self.parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    }

    pub(super) fn part(&self, part: &Part) -> Option<&'a str> {
        match part {
            Part::Header(name) => self.header(name),
            Part::Cookie(name) => self.cookie(name),
            Part::Body(_) | Part::Query(_) => None,
        }
    }

    /// Its Authorization is there and is something else than one Bearer token (RFC 6750 §2.1), as
    /// every application would read it: another scheme, other white space, several lines.
    pub(super) fn has_odd_authorization(&self) -> bool {
        let lines = self.parts.headers.get_all(header::AUTHORIZATION).iter();
        let mut lines = lines
            .map(HeaderValue::as_bytes)
            .filter(|line| !line.trim_ascii().is_empty());
        let Some(line) = lines.next() else {
            return false;
        };
        lines.next().is_some() || !is_bearer(line)
    }

    /// Its Authorization is a name and a password (RFC 7617).
    pub(super) fn has_basic_authorization(&self) -> bool {
        let mut lines = self.parts.headers.get_all(header::AUTHORIZATION).iter();
        lines.all(|line| behind_scheme(line.as_bytes(), b"Basic ").is_some())
    }

    /// What may be read as a token in a part: each of its values, and of Authorization those of the
    /// Bearer scheme.
    pub(super) fn tokens(&self, part: &Part) -> Vec<&'a str> {
        let bearer = |value: &'a str| {
            let (scheme, token) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        };
        let header = |name| {
            self.parts
                .headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
        };
        let found: Vec<_> = match part {
            Part::Header(name) if *name == header::AUTHORIZATION => {
                header(name).map(str::trim).filter_map(bearer).collect()
            }
            Part::Header(name) => header(name).map(str::trim).collect(),
            Part::Cookie(name) => self
                .cookies()
                .filter(|(found, _)| *found == &**name)
                .map(|(_, value)| value)
                .collect(),
            Part::Body(_) | Part::Query(_) => Vec::new(),
        };
        found
            .into_iter()
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// A part that is there once, and means the same however it is decoded.
    pub(super) fn sole(&self, part: &Part) -> Option<&'a str> {
        let (value, count) = match part {
            Part::Header(name) => (
                self.header(name),
                self.parts.headers.get_all(name).iter().count(),
            ),
            Part::Cookie(name) => (
                self.cookie(name),
                self.cookies()
                    .filter(|(found, _)| *found == &**name)
                    .count(),
            ),
            Part::Body(_) | Part::Query(_) => (None, 0),
        };
        value.filter(|value| count == 1 && !value.contains(['%', '"', '\\']))
    }

    /// A query parameter, percent-decoded; with a repeated name the first one.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        self.queries(name).next().map(percent_decoded)
    }

    /// Whether a query parameter is there more than once: which of them the application reads isn't
    /// known.
    #[must_use]
    pub fn repeats(&self, name: &str) -> bool {
        self.queries(name).nth(1).is_some()
    }

    /// Whether a template that looks here finds the first of several query parameters.
    #[must_use]
    pub fn is_repeated(&self, source: Source, path: &[Box<str>]) -> bool {
        source == Source::Query && path.first().is_some_and(|name| self.repeats(name))
    }

    /// The values of a query parameter, as they came.
    fn queries(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let query = self.parts.uri.query().unwrap_or_default();
        query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(move |(found, _)| percent_decoded(found) == name)
            .map(|(_, value)| value)
    }

    /// The tag of this name; those that this head's events touched last are remembered.
    #[must_use]
    pub fn tag(&self, name: &str) -> Tag {
        self.said.tags.lock().find(name, || Tag::new(name))
    }

    /// The tag of the address of this call, in the spelling that `name` gives it.
    #[must_use]
    pub fn own_tag(&self, name: impl FnOnce() -> String) -> Tag {
        // A head that is remembered is one of one host.
        let path = self.parts.uri.path();
        let mut last = self.said.own_tags.lock();
        last.find(path, || Tag::new(&name()))
    }

    /// A claim of the JWT, raw.
    #[must_use]
    pub fn claim(&self, path: &[Box<str>]) -> Option<&str> {
        self.said.token.as_ref()?.claims.at(path)
    }

    /// A well-formed JWT is there.
    #[must_use]
    pub fn has_jwt(&self) -> bool {
        self.said.token.is_some()
    }

    /// When the JWT expires, if it says so.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.said.token.as_ref()?.expires
    }

    /// A template's look into the call's head.
    #[must_use]
    pub fn look<'s>(&'s self, source: Source, path: &'s [Box<str>]) -> Option<Found<'s>> {
        match source {
            Source::Header => {
                // Compared one by one: a name that is looked up is taken apart and hashed first.
                let wanted = path.first()?;
                let mut headers = self.parts.headers.iter();
                let (_, value) =
                    headers.find(|(name, _)| name.as_str().eq_ignore_ascii_case(wanted))?;
                let text = value.to_str().ok()?;
                Some(Found::Text(Cow::Borrowed(text)))
            }
            Source::Cookie => self
                .cookie(path.first()?)
                .map(Cow::Borrowed)
                .map(Found::Text),
            Source::Query => self.query(path.first()?).map(Found::Text),
            Source::Jwt => self.claim(path).map(Found::Json),
            _ => None,
        }
    }
}

fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Where the cookies of a head lie. A line that is not UTF-8 hides the others' cookies from nobody
/// but the templates; the fingerprint then takes every line whole.
fn find_cookies(headers: &HeaderMap) -> Box<[CookiePlace]> {
    let lines = headers.get_all(header::COOKIE).iter().enumerate();
    let lines = lines.filter_map(|(place, line)| Some((place, as_text(line.as_bytes())?)));
    let pairs = lines.flat_map(|(place, line)| {
        let mut begin = 0;
        line.split(';').filter_map(move |pair| {
            let start = begin;
            begin += pair.len() + 1;
            let (name, value) = pair.split_once('=')?;
            let trimmed = |begin: usize, text: &str| {
                let begin = begin + text.len() - text.trim_start().len();
                begin..begin + text.trim().len()
            };
            Some(CookiePlace {
                line: place,
                name: trimmed(start, name),
                value: trimmed(start + name.len() + 1, value),
            })
        })
    });
    pairs.collect()
}

/// `application/x-www-form-urlencoded` decoding; malformed escapes stay as they are.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = |rest: &std::str::Bytes<'_>| {
            let mut rest = rest.clone();
            let (high, low) = (
                char::from(rest.next()?).to_digit(16)?,
                char::from(rest.next()?).to_digit(16)?,
            );
            u8::try_from(high * 16 + low).ok()
        };
        match byte {
            b'+' => out.push(b' '),
            b'%' => match escaped(&bytes) {
                Some(decoded) => {
                    out.push(decoded);
                    bytes.nth(1);
                }
                None => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// The Bearer scheme, one space, and a token without white space or a list's comma.
fn is_bearer(line: &[u8]) -> bool {
    // All of it is looked at, many bytes at once.
    let is_odd = |token: &[u8]| {
        token.iter().fold(false, |odd, byte| {
            odd | !byte.is_ascii_graphic() | (*byte == b',')
        })
    };
    behind_scheme(line, b"Bearer ").is_some_and(|token| !token.is_empty() && !is_odd(token))
}

/// What stands behind a scheme and its one space, in letters of any case.
pub(super) fn behind_scheme<'l>(line: &'l [u8], scheme: &[u8]) -> Option<&'l [u8]> {
    let (found, rest) = line.split_at_checked(scheme.len())?;
    found.eq_ignore_ascii_case(scheme).then_some(rest)
}
