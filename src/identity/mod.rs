//! Who calls: the caller's keys ([`keys`]), the user, and whether Tidegate may answer at all (design §4 `[identity]`,
//! rulings 10, 15 to 17 and 22 to 24).

mod families;
pub mod keys;
pub mod lists;

pub use families::Families;
pub use keys::Reading;
pub use lists::Kind;

use crate::event::{Context, Principal, Succession, UserId};
use crate::json::Object;
use crate::peer::Peer;
use crate::template::{Found, Lookup, Path, Source, Template};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A place of a call where something of its caller stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// `header:NAME`.
    Header(HeaderName),
    /// `cookie:NAME`.
    Cookie(Box<str>),
    /// `body:NAME`: a member of the body, or a JSON Pointer into it.
    Body(Path),
    /// `query:NAME`: a parameter of the query.
    Query(Box<str>),
}

/// A part that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "found {0:?}; allowed are \"header:NAME\", \"cookie:NAME\", and in credentials \"body:NAME\" and \"query:NAME\""
)]
pub struct PartError(String);

impl Part {
    /// `header:NAME` or `cookie:NAME`.
    ///
    /// # Errors
    /// It is neither.
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

    /// Any part: what [`parse`](Self::parse) takes, and `body:NAME` and `query:NAME`.
    ///
    /// # Errors
    /// It is none of them.
    pub fn parse_any(text: &str) -> Result<Self, PartError> {
        match text.split_once(':') {
            Some(("body", name)) if !name.is_empty() => Ok(Self::Body(Path::parse(name))),
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.into())),
            _ => Self::parse(text),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Body(path) => match path.0.as_slice() {
                [name] if !name.contains('/') => write!(f, "body:{name}"),
                steps => {
                    let steps = steps.iter().map(|step| step.replace('~', "~0").replace('/', "~1"));
                    write!(f, "body:/{}", steps.collect::<Vec<_>>().join("/"))
                }
            },
            Self::Query(name) => write!(f, "query:{name}"),
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

/// Which parts of a call say something of its caller, and what (design §4).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// By the built-in lists; else only what is listed counts.
    pub by_default: bool,
    /// Headers whose kind was configured, or that are listed.
    pub headers: Vec<(HeaderName, Kind)>,
    /// Cookies, likewise.
    pub cookies: Vec<(Box<str>, Kind)>,
    /// `header:cookie` is listed: every cookie counts as the built-in list says.
    pub all_cookies: bool,
    /// `body:` and `query:` parts.
    pub named: Vec<Part>,
}

impl Selection {
    /// What a header says of its caller.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Kind {
        if let Some((_, kind)) = self.headers.iter().find(|(known, _)| known == name) {
            return *kind;
        }
        match lists::header(name.as_str()) {
            kind if kind.counts() && !self.by_default => Kind::Passing,
            kind => kind,
        }
    }

    /// What a cookie says of its caller.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Kind {
        if let Some((_, kind)) = self.cookies.iter().find(|(known, _)| **known == *name) {
            return *kind;
        }
        match lists::cookie(name) {
            kind if kind.counts() && !self.by_default && !self.all_cookies => Kind::Passing,
            kind => kind,
        }
    }

    /// The operator says that this header says nothing: its latest value travels.
    #[must_use]
    pub fn ignores_header(&self, name: &HeaderName) -> bool {
        self.headers.iter().any(|(known, kind)| known == name && *kind == Kind::Passing)
    }

    /// The operator says that this cookie says nothing.
    #[must_use]
    pub fn ignores_cookie(&self, name: &str) -> bool {
        self.cookies.iter().any(|(known, kind)| **known == *name && *kind == Kind::Passing)
    }

    /// Whether this part is the same for all calls of one fingerprint.
    #[must_use]
    pub fn counts(&self, part: &Part) -> bool {
        match part {
            Part::Header(name) if *name == header::COOKIE => self.by_default || self.all_cookies,
            Part::Header(name) => self.header(name).counts(),
            Part::Cookie(name) => self.cookie(name).counts(),
            named => self.named.contains(named),
        }
    }

    /// By the built-in lists.
    #[must_use]
    pub fn built_in() -> Self {
        Self { by_default: true, ..Self::default() }
    }

    /// Of these parts only. Each has the kind that the built-in list gives it, and one that the list knows nothing of is a
    /// scope.
    #[must_use]
    pub fn listed(parts: &[Part]) -> Self {
        let mut out = Self::default();
        for part in parts {
            match part {
                Part::Header(name) if *name == header::COOKIE => out.all_cookies = true,
                Part::Header(name) => {
                    let kind = Some(lists::header(name.as_str())).filter(|kind| kind.counts());
                    out.headers.push((name.clone(), kind.unwrap_or(Kind::Scope)));
                }
                Part::Cookie(name) => {
                    let kind = Some(lists::cookie(name)).filter(|kind| kind.counts());
                    out.cookies.push((name.clone(), kind.unwrap_or(Kind::Principal)));
                }
                named => out.named.push(named.clone()),
            }
        }
        out
    }

    /// Gives a part another kind. `body:` and `query:` parts say who calls, whatever is said of them.
    pub fn set(&mut self, part: &Part, kind: Kind) {
        match part {
            Part::Header(name) => {
                self.headers.retain(|(known, _)| known != name);
                self.headers.push((name.clone(), kind));
            }
            Part::Cookie(name) => {
                self.cookies.retain(|(known, _)| known != name);
                self.cookies.push((name.clone(), kind));
            }
            named if !self.named.contains(named) => self.named.push(named.clone()),
            _ => {}
        }
    }
}

/// `[identity]` and `[cors]`.
#[derive(Debug, Clone)]
pub struct IdentitySettings {
    /// What makes two calls the same credential.
    pub selection: Selection,
    /// Claims that, where a token has them, must have one of these values for Tidegate to answer.
    pub claims: Vec<(Box<str>, Vec<serde_json::Value>)>,
    /// One call of a principal is forwarded so often, for sessions that live by answers (ruling 24).
    pub refresh: Option<Duration>,
    /// Who the user is.
    pub user: Template,
    /// Users are put in lower case, since a group does so with the field that names them.
    pub lowercase_user: bool,
    /// Each entry: alternatives of which one must be there.
    pub require: Vec<Vec<Need>>,
    /// Calls with one of these are the application's to judge.
    pub forbid: Vec<Forbid>,
    /// Must be equal on unsafe methods.
    pub double_submit: Option<(Part, Part)>,
    /// Where a JWT is looked for; Authorization counts with the Bearer scheme only. Where two are found that differ, or one
    /// beside an Authorization of another form, the application judges.
    pub token: Vec<Part>,
    /// Unknown credentials.
    pub admit: Admit,
    /// How long a proof lasts.
    pub proof_ttl: Duration,
    /// Allowed origins; `None`: any, and no CORS headers are set.
    pub cors: Option<Cors>,
}

/// What the cookies of an answer are to the session of the caller that it is relayed to (ruling 24).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Nothing: they renew no cookie that the caller is known by, or make another user of it.
    None,
    /// They renew it under the name that it has.
    SameName,
    /// They renew it, and its bearer is another principal from now on.
    Successor(Succession),
}

/// Why Tidegate may not answer a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnswerable {
    /// Something of `require` is missing.
    Requirement,
    /// The `double_submit` pair is missing or differs.
    DoubleSubmit,
    /// It comes from another origin, and `[cors]` doesn't allow that one.
    Origin,
    /// It has several Authorization lines, or several tokens that differ, of which an application may read any; or a token
    /// beside an Authorization of another form.
    SeveralTokens,
    /// Its JWT isn't valid yet (`nbf`, RFC 7519 §4.1.5).
    EarlyToken,
    /// A claim of its JWT has another value than `identity.claims` allows.
    Claim,
    /// It proves itself, and no batch could carry its proof (ruling 22).
    Proof,
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
            Self::SeveralTokens => "several_tokens",
            Self::EarlyToken => "early_token",
            Self::Claim => "claim",
            Self::Proof => "proof",
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
    families: Families,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// One call's head, looked at as often as needed and taken apart once.
pub struct Caller<'a> {
    parts: &'a Parts,
    peer: &'a Peer,
    now: SystemTime,
    cookies: OnceLock<Vec<(&'a str, &'a str)>>,
    /// What each header says of the caller, in the order of the map: asked for twice.
    kinds: OnceLock<Vec<Kind>>,
    token: Option<Token>,
    /// It has several tokens, of which an application may read any: it claims nothing.
    has_several_tokens: bool,
}

/// The claims of a JSON Web Token (RFC 7519), unverified.
struct Token {
    claims: String,
    expires: Option<SystemTime>,
    begins: Option<SystemTime>,
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
        let object = Object::parse(&claims).ok()?;
        // A time before 1970, or beyond all clocks, is clamped: the former has passed, the latter has not. What is no
        // number makes the token one that the application shall judge: it has ended, and has not begun.
        let time = |name: &str, wrong: f64| {
            let seconds = object.get(name).map(|raw| raw.parse::<f64>().unwrap_or(f64::NAN))?;
            let seconds = if seconds.is_nan() { wrong } else { seconds.clamp(0.0, 1e11) };
            Some(UNIX_EPOCH + Duration::from_secs_f64(seconds))
        };
        let (expires, begins) = (time("exp", 0.0), time("nbf", 1e11));
        Some(Self { claims, expires, begins })
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

    /// Whom it comes from, and what it was asked of.
    #[must_use]
    pub const fn peer(&self) -> &'a Peer {
        self.peer
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

    /// The headers, each with what it says of the caller.
    fn kinds(&self, selection: &Selection) -> impl Iterator<Item = (Kind, &'a HeaderName, &'a HeaderValue)> {
        let of = || self.parts.headers.iter().map(|(name, _)| selection.header(name)).collect();
        self.kinds.get_or_init(of).iter().zip(&self.parts.headers).map(|(kind, (name, value))| (*kind, name, value))
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
            Part::Body(_) | Part::Query(_) => None,
        }
    }

    /// Its Authorization is there and is something else than one Bearer token (RFC 6750 §2.1), as every application would
    /// read it: another scheme, other white space, several lines.
    fn has_odd_authorization(&self) -> bool {
        let lines = self.parts.headers.get_all(header::AUTHORIZATION).iter();
        let mut lines = lines.map(HeaderValue::as_bytes).filter(|line| !line.trim_ascii().is_empty());
        let Some(line) = lines.next() else { return false };
        lines.next().is_some() || !is_bearer(line)
    }

    /// What may be read as a token in a part: each of its values, and of Authorization those of the Bearer scheme.
    fn tokens(&self, part: &Part) -> Vec<&'a str> {
        let bearer = |value: &'a str| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        };
        let header = |name| self.parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let found: Vec<_> = match part {
            Part::Header(name) if *name == header::AUTHORIZATION => {
                header(name).map(str::trim).filter_map(bearer).collect()
            }
            Part::Header(name) => header(name).map(str::trim).collect(),
            Part::Cookie(name) => {
                self.cookies().iter().filter(|(found, _)| *found == &**name).map(|(_, value)| *value).collect()
            }
            Part::Body(_) | Part::Query(_) => Vec::new(),
        };
        found.into_iter().filter(|value| !value.is_empty()).collect()
    }

    /// A part that is there once, and means the same however it is decoded.
    fn sole(&self, part: &Part) -> Option<&'a str> {
        let (value, count) = match part {
            Part::Header(name) => (self.header(name), self.parts.headers.get_all(name).iter().count()),
            Part::Cookie(name) => {
                (self.cookie(name), self.cookies().iter().filter(|(found, _)| *found == &**name).count())
            }
            Part::Body(_) | Part::Query(_) => (None, 0),
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

/// The Bearer scheme, one space, and a token without white space or a list's comma.
fn is_bearer(line: &[u8]) -> bool {
    let Some((scheme, token)) = line.split_at_checked(b"Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"bearer ")
        && !token.is_empty()
        && token.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
}

fn is_unsafe(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

impl Identity {
    /// `key`: made on first start, stays with the data directory. `most`: principals whose successors are remembered.
    #[must_use]
    pub fn new(settings: IdentitySettings, key: [u8; 32], most: u64) -> Self {
        Self { settings, key, families: Families::new(most) }
    }

    /// The settings.
    #[must_use]
    pub const fn settings(&self) -> &IdentitySettings {
        &self.settings
    }

    /// A call's head at a time of day.
    #[must_use]
    pub fn caller<'a>(&self, parts: &'a Parts, peer: &'a Peer, now: SystemTime) -> Caller<'a> {
        let (cookies, kinds) = (OnceLock::new(), OnceLock::new());
        let mut caller = Caller { parts, peer, now, cookies, kinds, token: None, has_several_tokens: false };
        let mut found = self.settings.token.iter().flat_map(|part| caller.tokens(part));
        let first = found.next();
        // Which of them the application reads is not known: none speaks for the caller (ruling 16). Nor is it known what
        // the application makes of an Authorization that is no Bearer token, where a token stands elsewhere too.
        let judged = self.settings.token.contains(&Part::Header(header::AUTHORIZATION));
        let differ =
            first.is_some_and(|first| found.any(|other| other != first) || judged && caller.has_odd_authorization());
        let token = first.filter(|_| !differ).and_then(Token::parse);
        drop(found);
        (caller.token, caller.has_several_tokens) = (token, differ);
        caller
    }

    /// The user of a call, as its events have it.
    #[must_use]
    pub fn user(&self, scope: &impl Lookup) -> Option<UserId> {
        self.user_by(&self.settings.user, scope)
    }

    /// The user that this template names.
    #[must_use]
    pub fn user_by(&self, template: &Template, scope: &impl Lookup) -> Option<UserId> {
        template.render(scope).and_then(|text| UserId::try_new(&self.spelled(text)).ok())
    }

    /// A user's name as events have it.
    #[must_use]
    pub fn spelled(&self, name: String) -> String {
        if self.settings.lowercase_user { name.to_lowercase() } else { name }
    }

    fn user_text(&self, scope: &impl Lookup) -> Option<String> {
        self.settings.user.render(scope).map(|name| self.spelled(name))
    }

    /// The user that a caller's own token names, if `identity.user` looks into it.
    #[must_use]
    pub fn claimed(&self, caller: &Caller<'_>) -> Option<String> {
        caller.token.as_ref()?;
        self.user_text(&OfToken(caller))
    }

    /// The user that the address of a call names (its query or path), whatever its token says: an administrator's read of
    /// a user is about that user (ruling 17).
    #[must_use]
    pub fn named_in(&self, scope: &impl Lookup) -> Option<String> {
        self.user_text(&OfAddress(scope))
    }

    /// The user that an event itself names.
    #[must_use]
    pub fn named_by_event(&self, scope: &impl Lookup) -> Option<String> {
        self.user_text(&OfEvent(scope))
    }

    /// An answer that is relayed to this caller sets cookies: whoever comes back with them is the same principal
    /// (ruling 24). `good`: the principal is known to be good.
    pub fn renew<'h>(&self, caller: &Caller<'_>, set: impl Iterator<Item = &'h HeaderValue>, good: bool) -> Renewal {
        let now = self.read(caller, None);
        if now.keys.nameless {
            return Renewal::None;
        }
        // A cookie that it didn't have before begins a session and renews none: what many callers share until they sign in
        // (a consent, say) must not make one principal of them.
        let set: Vec<_> = self.sessions(set).filter(|(name, _)| caller.cookie(name).is_some()).collect();
        if set.is_empty() {
            return Renewal::None;
        }
        let others = caller.cookies().iter().filter(|(name, _)| set.iter().all(|(new, _)| new != name));
        let pairs = others.copied().chain(set.iter().copied()).map(|(name, value)| format!("{name}={value}"));
        let Ok(line) = HeaderValue::try_from(pairs.collect::<Vec<_>>().join("; ")) else { return Renewal::None };
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.headers = caller.parts.headers.clone();
        parts.headers.insert(header::COOKIE, line);
        let renewed = self.caller(&parts, caller.peer, caller.now);
        let next = self.read(&renewed, None);
        // A token that names another user is no renewal: another one has signed in.
        if self.claimed(&renewed) != self.claimed(caller) {
            return Renewal::None;
        }
        if next.keys.principal == now.keys.principal {
            return Renewal::SameName;
        }
        Renewal::Successor(self.families.succeed(next.principal, now.principal, good))
    }

    /// Whom the bearer that was read counts as; `None`: it succeeded no other principal.
    #[must_use]
    pub fn succession(&self, reading: &Reading<'_>) -> Option<Succession> {
        let bearer = reading.principal;
        (reading.keys.principal != bearer || self.families.known(bearer) != bearer)
            .then(|| self.families.succession(bearer))
    }

    /// A journal kept whom this bearer counts as.
    pub fn restore(&self, succession: &Succession) {
        self.families.restore(succession);
    }

    /// Whether an answer with these Set-Cookie lines renews what its caller is known by.
    pub fn is_renewal<'h>(&self, set: impl Iterator<Item = &'h HeaderValue>) -> bool {
        self.sessions(set).next().is_some()
    }

    /// Whether a call had a cookie that may be renewed: one of its context, or one that rolls and travels beside it.
    #[must_use]
    pub fn has_session(&self, context: &Context, carried: &[u8]) -> bool {
        let line = std::str::from_utf8(carried).unwrap_or_default();
        let names = line.split(';').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name.trim());
        let mut kinds = names.map(|name| self.settings.selection.cookie(name));
        !context.cookies.is_empty() || kinds.any(|kind| kind == Kind::Rolling)
    }

    /// Cookies that are set and tell who calls.
    fn sessions<'h>(&self, set: impl Iterator<Item = &'h HeaderValue>) -> impl Iterator<Item = (&'h str, &'h str)> {
        let tells = |name: &str| matches!(self.settings.selection.cookie(name), Kind::Principal | Kind::Rolling);
        set.filter_map(families::kept_cookie).filter(move |(name, _)| tells(name))
    }

    /// The head that a context makes, for templates that look at what all its calls share.
    #[must_use]
    pub fn head_of(context: &Context) -> Parts {
        let (mut parts, ()) = Request::new(()).into_parts();
        for (name, value) in &context.headers {
            parts.headers.append(name, value.clone());
        }
        if !context.cookies.is_empty()
            && let Ok(line) = HeaderValue::try_from(context.cookies.join("; "))
        {
            parts.headers.insert(header::COOKIE, line);
        }
        parts
    }

    /// Whether Tidegate may answer this call itself; if not, the application gives its own verdict.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn answerable(&self, caller: &Caller<'_>) -> Result<(), NotAnswerable> {
        if !self.is_allowed_origin(caller) {
            return Err(NotAnswerable::Origin);
        }
        self.readable(caller)
    }

    /// Whether Tidegate may answer this call with what the application said to such a call before: a page of another
    /// origin is told apart by the key of the stored answer.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn readable(&self, caller: &Caller<'_>) -> Result<(), NotAnswerable> {
        let settings = &self.settings;
        let there = |need: &Need| match need {
            Need::Part(part) => caller.part(part).is_some_and(|value| !value.is_empty()),
            Need::Jwt => caller.has_jwt(),
        };
        if caller.has_odd_cookies() {
            return Err(NotAnswerable::OddCookies);
        }
        proof(&settings.selection, caller)?;
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
        if caller.token.as_ref().and_then(|token| token.begins).is_some_and(|at| at > caller.now) {
            return Err(NotAnswerable::EarlyToken);
        }
        let wrong = |(name, allowed): &(Box<str>, Vec<serde_json::Value>)| {
            let raw = caller.claim(std::slice::from_ref(name));
            let found = raw.and_then(|raw| serde_json::from_str::<serde_json::Value>(raw).ok());
            found.is_some_and(|found| !allowed.contains(&found))
        };
        if settings.claims.iter().any(wrong) {
            return Err(NotAnswerable::Claim);
        }
        Ok(())
    }

    /// No Origin, one that is the host that was asked (schemes aren't compared: a proxy in front may end TLS), or one
    /// that `[cors]` allows.
    #[must_use]
    pub fn is_allowed_origin(&self, caller: &Caller<'_>) -> bool {
        let headers = &caller.parts.headers;
        if !headers.contains_key(header::ORIGIN) {
            return true;
        }
        let listed = self.settings.cors.as_ref().is_some_and(|cors| allowed_origin(cors, headers).is_some());
        listed || self.is_same_origin(caller)
    }

    /// Its one Origin has the host and port of the host that was asked.
    #[must_use]
    pub fn is_same_origin(&self, caller: &Caller<'_>) -> bool {
        let mut lines = caller.parts.headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (lines.next().and_then(|line| line.to_str().ok()), lines.next()) else {
            return false;
        };
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let standard = |authority: &str| {
            let authority = authority.to_ascii_lowercase();
            let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
            authority.strip_suffix(port).map_or(authority.clone(), str::to_owned)
        };
        caller.peer.host.as_deref().is_some_and(|host| standard(host) == standard(authority))
    }

    /// Whether a body of this type counts although a page of another site may send it without asking (Fetch §2.2.2,
    /// "CORS-safelisted request-header"): only with a word that it comes from the same site. A page may send a body without
    /// a type too; of a client that is no browser nothing is asked.
    #[must_use]
    pub fn is_asked_for(&self, caller: &Caller<'_>, kind: &str) -> bool {
        let simple = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"];
        let headers = &caller.parts.headers;
        let is_page = || headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN);
        if !(simple.contains(&kind) || kind.is_empty() && is_page()) {
            return true;
        }
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let same_site = matches!(site, Some(b"same-origin" | b"same-site" | b"none"));
        same_site || headers.contains_key(header::ORIGIN) && self.is_allowed_origin(caller)
    }

    /// Whether the keys hold something that only this caller has, and everything that authorizes it. An Authorization
    /// that doesn't count makes the keys nobody's own.
    #[must_use]
    pub fn is_personal(&self, caller: &Caller<'_>, nameless: bool) -> bool {
        let authorized = caller.parts.headers.contains_key(header::AUTHORIZATION);
        !nameless && (!authorized || self.settings.selection.counts(&Part::Header(header::AUTHORIZATION)))
    }

    /// Whether a call has a token or a key that enters no key of its caller's, since the configuration lists other parts and
    /// doesn't ignore it either. What such a call is answered may be for the bearer of that key only.
    #[must_use]
    pub fn has_unlisted_key(&self, caller: &Caller<'_>) -> bool {
        let selection = &self.settings.selection;
        let is_unlisted = |name: &HeaderName| {
            lists::header(name.as_str()) == Kind::Principal
                && !selection.header(name).counts()
                && !selection.ignores_header(name)
        };
        caller.parts.headers.keys().any(is_unlisted)
    }

    /// Whether nothing of a call could be a key that tells who calls, by the built-in lists: no header of which nothing is
    /// known, no session's cookie.
    #[must_use]
    pub fn is_plain(&self, caller: &Caller<'_>) -> bool {
        let selection = &self.settings.selection;
        let tells = |name: &HeaderName| {
            matches!(lists::header(name.as_str()), Kind::Principal | Kind::Scope) && !selection.ignores_header(name)
        };
        let names = |name: &str| lists::cookie(name) == Kind::Principal && !selection.ignores_cookie(name);
        !caller.parts.headers.keys().any(tells)
            && !caller.has_odd_cookies()
            && !caller.cookies().iter().any(|(name, _)| names(name))
    }

    /// Whether nothing of this call tells of a caller, so that it may share what a shared cache may store (P8).
    #[must_use]
    pub fn is_anyone(&self, caller: &Caller<'_>, nameless: bool) -> bool {
        let tells = |name: &HeaderName| {
            self.settings.selection.header(name) == Kind::Scope && lists::may_name_the_caller(name.as_str())
        };
        nameless && !caller.parts.headers.keys().any(tells)
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

/// What a call must not have to be answered by Tidegate: a proof of its own, and, if it writes, what makes it depend on
/// more than its body.
fn proof(selection: &Selection, caller: &Caller<'_>) -> Result<(), NotAnswerable> {
    let headers = &caller.parts.headers;
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 || caller.has_several_tokens {
        return Err(NotAnswerable::SeveralTokens);
    }
    let scheme = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let proves = |kind: Kind| match kind {
        Kind::Proof => true,
        Kind::Conditional => is_unsafe(&caller.parts.method),
        _ => false,
    };
    if scheme.is_some_and(lists::proves_one_call) || caller.kinds(selection).any(|(kind, ..)| proves(kind)) {
        return Err(NotAnswerable::Proof);
    }
    Ok(())
}

/// What a token says, and nothing else.
struct OfToken<'a, 'c>(&'a Caller<'c>);

impl Lookup for OfToken<'_, '_> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        if source == Source::Jwt { self.0.look(source, path) } else { None }
    }
}

/// What an address says, and nothing else.
struct OfAddress<'a, L>(&'a L);

impl<L: Lookup> Lookup for OfAddress<'_, L> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        if matches!(source, Source::Query | Source::Path) { self.0.find(source, path) } else { None }
    }
}

/// The request's one origin, lower-cased, if it is allowed.
fn allowed_origin(cors: &Cors, headers: &HeaderMap) -> Option<String> {
    let mut lines = headers.get_all(header::ORIGIN).iter();
    let origin = lines.next()?.to_str().ok()?.to_ascii_lowercase();
    (lines.next().is_none() && cors.origins.iter().any(|allowed| **allowed == *origin)).then_some(origin)
}

/// What an event says, and nothing else.
struct OfEvent<'a, L>(&'a L);

impl<L: Lookup> Lookup for OfEvent<'_, L> {
    fn find<'a>(&'a self, source: Source, path: &'a [Box<str>]) -> Option<Found<'a>> {
        if matches!(source, Source::Event | Source::Body) { self.0.find(source, path) } else { None }
    }
}

/// Principals by principal: what another one was before its session was renewed.
pub(crate) type Predecessors = moka::sync::Cache<Principal, Principal>;

#[cfg(test)]
mod tests;
