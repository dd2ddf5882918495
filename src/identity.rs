//! Who calls: the credential's fingerprint, the user, and whether Tidegate may answer at all (design §4 `[identity]`,
//! ruling 10).

use crate::event::{Credential, Fingerprint};
use crate::json::Object;
use crate::template::{Found, Source, Template};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A header or a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// `header:NAME`.
    Header(HeaderName),
    /// `cookie:NAME`.
    Cookie(Box<str>),
}

/// A part that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {0:?}; allowed are \"header:NAME\" and \"cookie:NAME\"")]
pub struct PartError(String);

impl Part {
    /// # Errors
    /// Neither `header:NAME` nor `cookie:NAME`.
    pub fn parse(text: &str) -> Result<Self, PartError> {
        let wrong = || PartError(text.to_owned());
        match text.split_once(':') {
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| wrong()),
            Some(("cookie", name)) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Self::Cookie(name.into()))
            }
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Part(part) => part.fmt(f),
            Self::Jwt => f.write_str("a JWT"),
        }
    }
}

/// What a call must have to be answered by Tidegate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// This header or cookie, not empty.
    Part(Part),
    /// A well-formed JSON Web Token.
    Jwt,
}

/// A part that makes a call the application's to judge, unless another is there too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbid {
    /// This header or cookie, not empty.
    pub part: Part,
    /// With this one it may stand.
    pub unless: Option<Part>,
}

impl Forbid {
    /// `header:a`, or `header:a unless header:b`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self, PartError> {
        let (part, unless) = text.split_once(" unless ").map_or((text, None), |(part, unless)| (part, Some(unless)));
        Ok(Self { part: Part::parse(part.trim())?, unless: unless.map(|one| Part::parse(one.trim())).transpose()? })
    }
}

/// Whether an unknown credential's calls are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// At once; a bad credential shows with its first batch.
    Optimistic,
    /// Only after a call of it has succeeded at the application.
    Proven,
}

/// `[cors]`.
#[derive(Debug, Clone)]
pub struct Cors {
    /// Allowed origins, lower case.
    pub origins: Vec<Box<str>>,
    /// `Access-Control-Allow-Credentials`.
    pub credentials: bool,
    /// `Access-Control-Expose-Headers`.
    pub expose: Vec<Box<str>>,
}

/// `[identity]` and `[cors]`.
#[derive(Debug, Clone)]
pub struct IdentitySettings {
    /// What makes two calls the same credential.
    pub credentials: Vec<Part>,
    /// Who the user is.
    pub user: Template,
    /// Each entry: alternatives of which one must be there.
    pub require: Vec<Vec<Need>>,
    /// Calls with one of these are the application's to judge.
    pub forbid: Vec<Forbid>,
    /// Must be equal on unsafe methods.
    pub double_submit: Option<(Part, Part)>,
    /// Where a JWT is looked for. A Bearer scheme wins even if its token is bad; another scheme is ignored.
    pub token: Vec<Part>,
    /// Unknown credentials.
    pub admit: Admit,
    /// How long a proof lasts.
    pub proof_ttl: Duration,
    /// Allowed origins; `None`: any, and no CORS headers are set.
    pub cors: Option<Cors>,
}

/// Why Tidegate may not answer a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnswerable {
    /// Something of `require` is missing.
    Requirement,
    /// The `double_submit` pair is missing or differs.
    DoubleSubmit,
    /// Its origin is not among `[cors]`.
    Origin,
    /// Its JWT has expired.
    ExpiredToken,
    /// A Cookie line is not UTF-8.
    OddCookies,
    /// It has something of `forbid`.
    Forbidden,
}

impl NotAnswerable {
    /// The reason's one name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requirement => "requirement",
            Self::DoubleSubmit => "double_submit",
            Self::Origin => "origin",
            Self::ExpiredToken => "expired_token",
            Self::OddCookies => "odd_cookies",
            Self::Forbidden => "forbidden",
        }
    }
}

/// Reads callers as the settings say.
pub struct Identity {
    settings: IdentitySettings,
    key: [u8; 32],
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// One call's head, looked at as often as needed and taken apart once.
pub struct Caller<'a> {
    parts: &'a Parts,
    now: SystemTime,
    cookies: OnceLock<Vec<(&'a str, &'a str)>>,
    token: Option<Token>,
}

/// The claims of a JSON Web Token (RFC 7519), unverified.
struct Token {
    claims: String,
    expires: Option<SystemTime>,
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (head, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || signature.is_empty() {
            return None;
        }
        Object::parse(&decode(head)?).ok()?;
        let claims = decode(claims)?;
        let expires = Object::parse(&claims).ok()?.get("exp").map(|raw| raw.parse::<f64>().unwrap_or(f64::NAN));
        let expires = expires.map(|seconds| {
            // A time before 1970, or beyond all clocks, is clamped: the former has passed, the latter has not. What is no
            // number has passed: the application shall judge it.
            let seconds = if seconds.is_nan() { 0.0 } else { seconds.clamp(0.0, 1e11) };
            UNIX_EPOCH + Duration::from_secs_f64(seconds)
        });
        Some(Self { claims, expires })
    }
}

fn decode(part: &str) -> Option<String> {
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

impl<'a> Caller<'a> {
    /// The request's head.
    #[must_use]
    pub const fn parts(&self) -> &'a Parts {
        self.parts
    }

    fn cookies(&self) -> &[(&'a str, &'a str)] {
        self.cookies.get_or_init(|| {
            // A line that is not UTF-8 hides the others' cookies from nobody but the templates; the fingerprint then
            // takes every line whole.
            let lines = self.parts.headers.get_all(header::COOKIE).iter();
            let lines = lines.filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
            let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
            pairs.map(|(name, value)| (name.trim(), value.trim())).collect()
        })
    }

    /// A Cookie line that can't be read: what it holds can't be told apart cookie by cookie.
    fn has_odd_cookies(&self) -> bool {
        let mut lines = self.parts.headers.get_all(header::COOKIE).iter();
        lines.any(|line| std::str::from_utf8(line.as_bytes()).is_err())
    }

    /// A cookie's value; with a repeated name the first one.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.cookies().iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    fn header(&self, name: &HeaderName) -> Option<&'a str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn part(&self, part: &Part) -> Option<&'a str> {
        match part {
            Part::Header(name) => self.header(name),
            Part::Cookie(name) => self.cookie(name),
        }
    }

    /// A part that is there once, and means the same however it is decoded.
    fn sole(&self, part: &Part) -> Option<&'a str> {
        let (value, count) = match part {
            Part::Header(name) => (self.header(name), self.parts.headers.get_all(name).iter().count()),
            Part::Cookie(name) => {
                (self.cookie(name), self.cookies().iter().filter(|(found, _)| *found == &**name).count())
            }
        };
        value.filter(|value| count == 1 && !value.contains(['%', '"', '\\']))
    }

    /// A query parameter, percent-decoded; with a repeated name the first one.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        let pairs = self.parts.uri.query()?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(found, _)| percent_decoded(found) == name).map(|(_, value)| percent_decoded(value))
    }

    /// A claim of the JWT, raw.
    #[must_use]
    pub fn claim(&self, path: &[Box<str>]) -> Option<&str> {
        Object::parse(&self.token.as_ref()?.claims).ok()?.at(path)
    }

    /// A well-formed JWT is there.
    #[must_use]
    pub const fn has_jwt(&self) -> bool {
        self.token.is_some()
    }

    /// When the JWT expires, if it says so.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.token.as_ref()?.expires
    }

    /// A template's look into the call's head.
    #[must_use]
    pub fn look<'s>(&'s self, source: Source, path: &'s [Box<str>]) -> Option<Found<'s>> {
        match source {
            Source::Header => {
                self.parts.headers.get(&**path.first()?)?.to_str().ok().map(Cow::Borrowed).map(Found::Text)
            }
            Source::Cookie => self.cookie(path.first()?).map(Cow::Borrowed).map(Found::Text),
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
            let (high, low) = (char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?);
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

fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

impl Identity {
    /// `key`: made on first start, stays with the data directory.
    #[must_use]
    pub const fn new(settings: IdentitySettings, key: [u8; 32]) -> Self {
        Self { settings, key }
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &IdentitySettings {
        &self.settings
    }

    /// A call's head at a time of day.
    #[must_use]
    pub fn caller<'a>(&self, parts: &'a Parts, now: SystemTime) -> Caller<'a> {
        let mut caller = Caller { parts, now, cookies: OnceLock::new(), token: None };
        caller.token = self.token(&caller);
        caller
    }

    fn token(&self, caller: &Caller<'_>) -> Option<Token> {
        for part in &self.settings.token {
            let Some(value) = caller.part(part).map(str::trim).filter(|value| !value.is_empty()) else { continue };
            if *part != Part::Header(header::AUTHORIZATION) {
                return Token::parse(value);
            }
            match value.split_once(' ') {
                // A bad bearer token is not rescued by a good cookie; another scheme is none of ours.
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => return Token::parse(token.trim()),
                _ => {}
            }
        }
        None
    }

    /// A keyed hash of every listed part. An absent part differs from an empty one, every line of a repeated header
    /// counts, and lengths are written before values, so that no two lists look alike.
    #[must_use]
    pub fn fingerprint(&self, caller: &Caller<'_>) -> Fingerprint {
        // Gathered and hashed at once: a hasher that takes pieces costs several times as much on so little.
        let mut text = Vec::with_capacity(512);
        let mut line = |value: &[u8]| {
            text.extend_from_slice(&(value.len() as u64 + 1).to_le_bytes());
            text.extend_from_slice(value);
        };
        for (part, number) in self.settings.credentials.iter().zip(1u64..) {
            match part {
                Part::Header(name) => {
                    caller.parts.headers.get_all(name).iter().for_each(|value| line(value.as_bytes()));
                }
                Part::Cookie(_) if caller.has_odd_cookies() => {
                    let lines = caller.parts.headers.get_all(header::COOKIE);
                    lines.iter().for_each(|value| line(value.as_bytes()));
                }
                Part::Cookie(name) => {
                    caller
                        .cookies()
                        .iter()
                        .filter(|(found, _)| *found == &**name)
                        .for_each(|(_, value)| line(value.as_bytes()));
                }
            }
            // A length of zero can't come from a value: it ends the part, and its number says which.
            line_end(&mut line, number);
        }
        let mut short = [0; 16];
        blake3::keyed_hash(&self.key, &text).as_bytes().iter().zip(&mut short).for_each(|(from, to)| *to = *from);
        Fingerprint(short)
    }

    /// The listed parts as headers for a batch: every line of a listed header, and one Cookie line of the listed
    /// cookies (or all Cookie lines, if `header:cookie` is listed).
    #[must_use]
    pub fn credential(&self, caller: &Caller<'_>) -> Credential {
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
        let mut cookies = String::new();
        let whole = self.settings.credentials.contains(&Part::Header(header::COOKIE));
        for part in &self.settings.credentials {
            match part {
                Part::Header(name) => {
                    for value in caller.parts.headers.get_all(name) {
                        headers.push((name.clone(), sensitive(detached(value))));
                    }
                }
                Part::Cookie(_) if whole => {}
                Part::Cookie(name) => {
                    for (_, value) in caller.cookies().iter().filter(|(found, _)| *found == &**name) {
                        let gap = if cookies.is_empty() { "" } else { "; " };
                        cookies.push_str(&format!("{gap}{name}={value}"));
                    }
                }
            }
        }
        if !cookies.is_empty()
            && let Ok(value) = HeaderValue::try_from(cookies)
        {
            headers.push((header::COOKIE, sensitive(value)));
        }
        Credential { fingerprint: self.fingerprint(caller), headers }
    }

    /// Whether Tidegate may answer this call itself; if not, the application gives its own verdict.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn answerable(&self, caller: &Caller<'_>) -> Result<(), NotAnswerable> {
        let settings = &self.settings;
        let there = |need: &Need| match need {
            Need::Part(part) => caller.part(part).is_some_and(|value| !value.is_empty()),
            Need::Jwt => caller.has_jwt(),
        };
        if let Some(cors) = &settings.cors
            && caller.parts.headers.contains_key(header::ORIGIN)
            && allowed_origin(cors, &caller.parts.headers).is_none()
        {
            return Err(NotAnswerable::Origin);
        }
        if caller.has_odd_cookies() {
            return Err(NotAnswerable::OddCookies);
        }
        if !settings.require.iter().all(|any| any.iter().any(there)) {
            return Err(NotAnswerable::Requirement);
        }
        let present = |part: &Part| caller.part(part).is_some_and(|value| !value.is_empty());
        let forbidden = |rule: &Forbid| present(&rule.part) && !rule.unless.as_ref().is_some_and(present);
        if settings.forbid.iter().any(forbidden) {
            return Err(NotAnswerable::Forbidden);
        }
        if let Some((first, second)) = &settings.double_submit
            && is_unsafe(&caller.parts.method)
        {
            let (first, second) = (caller.sole(first), caller.sole(second));
            if first.is_none_or(str::is_empty) || first != second {
                return Err(NotAnswerable::DoubleSubmit);
            }
        }
        if caller.expires_at().is_some_and(|at| at <= caller.now) {
            return Err(NotAnswerable::ExpiredToken);
        }
        Ok(())
    }

    /// Whether the fingerprint holds something that only this caller has: an Authorization, a cookie. An Origin, say, is
    /// shared by all who come from one page. An Authorization that isn't part of the fingerprint makes it nobody's own.
    #[must_use]
    pub fn is_personal(&self, caller: &Caller<'_>) -> bool {
        let parts = &self.settings.credentials;
        let authorization = Part::Header(header::AUTHORIZATION);
        if caller.parts.headers.contains_key(header::AUTHORIZATION) && !parts.contains(&authorization) {
            return false;
        }
        parts.iter().any(|part| {
            let own =
                matches!(part, Part::Cookie(_)) || *part == authorization || *part == Part::Header(header::COOKIE);
            own && caller.part(part).is_some_and(|value| !value.trim().is_empty())
        })
    }

    /// The CORS headers of an answer of ours to this request.
    #[must_use]
    pub fn cors_headers(&self, parts: &Parts) -> Vec<(HeaderName, HeaderValue)> {
        let Some(cors) = &self.settings.cors else { return Vec::new() };
        let mut headers = vec![(header::VARY, HeaderValue::from_static("Origin"))];
        if cors.credentials {
            headers.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        if let Ok(expose) = HeaderValue::try_from(cors.expose.join(", "))
            && !cors.expose.is_empty()
        {
            headers.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, expose));
        }
        if let Some(Ok(origin)) = allowed_origin(cors, &parts.headers).map(HeaderValue::try_from) {
            headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin));
        }
        headers
    }
}

fn line_end(line: &mut impl FnMut(&[u8]), number: u64) {
    match number {
        1 => line(b"\0end 1\0"),
        2 => line(b"\0end 2\0"),
        3 => line(b"\0end 3\0"),
        4 => line(b"\0end 4\0"),
        more => line(format!("\0end {more}\0").as_bytes()),
    }
}

/// The request's one origin, lower-cased, if it is allowed.
fn allowed_origin(cors: &Cors, headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(header::ORIGIN).iter();
    let origin = lines.next()?.to_str().ok()?.to_ascii_lowercase();
    (lines.next().is_none() && cors.origins.iter().any(|allowed| **allowed == *origin)).then_some(origin)
}

/// A copy with memory of its own. A value as it came is a slice of its connection's read buffer: kept in a pending
/// event, it would pin kilobytes, and make every request of the connection allocate a new buffer.
#[must_use]
pub fn detached(value: &HeaderValue) -> HeaderValue {
    HeaderValue::from_bytes(value.as_bytes()).unwrap_or_else(|_| value.clone())
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
