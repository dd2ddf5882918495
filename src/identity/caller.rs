//! One call's head, and what templates find in it.

use super::Kind;
use super::head::Said;
use super::settings::{Part, Selection};
use crate::peer::Peer;
use crate::template::{Found, Source};
use http::request::Parts;
use http::{HeaderName, HeaderValue, header};
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// One call's head, looked at as often as needed and taken apart once.
pub struct Caller<'a> {
    pub(super) parts: &'a Parts,
    pub(super) peer: &'a Peer,
    pub(super) now: SystemTime,
    cookies: OnceLock<Vec<(&'a str, &'a str)>>,
    /// What the head says, which an earlier call of the connection may have found out.
    pub(super) said: Arc<Said>,
    /// That was of a call with the same head in everything.
    pub(super) is_same: bool,
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
            cookies: OnceLock::new(),
            said,
            is_same,
        }
    }

    pub(super) fn cookies(&self) -> &[(&'a str, &'a str)] {
        self.cookies.get_or_init(|| {
            // A line that is not UTF-8 hides the others' cookies from nobody but the templates; the
            // fingerprint then takes every line whole.
            let lines = self.parts.headers.get_all(header::COOKIE).iter();
            let lines = lines.filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
            let pairs = lines
                .flat_map(|line| line.split(';'))
                .filter_map(|pair| pair.split_once('='));
            pairs
                .map(|(name, value)| (name.trim(), value.trim()))
                .collect()
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
        self.cookies()
            .iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| *value)
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
                .iter()
                .filter(|(found, _)| *found == &**name)
                .map(|(_, value)| *value)
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
                    .iter()
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
        let pairs = self
            .parts
            .uri
            .query()?
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .into_iter()
            .find(|(found, _)| percent_decoded(found) == name)
            .map(|(_, value)| percent_decoded(value))
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
            Source::Header => self
                .parts
                .headers
                .get(&**path.first()?)?
                .to_str()
                .ok()
                .map(Cow::Borrowed)
                .map(Found::Text),
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
    let Some((scheme, token)) = line.split_at_checked(b"Bearer ".len()) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"bearer ")
        && !token.is_empty()
        // All of it is looked at, many bytes at once.
        && !token.iter().fold(false, |odd, byte| odd | !byte.is_ascii_graphic() | (*byte == b','))
}
