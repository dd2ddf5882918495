//! What may be stored, and for how long: pure functions over heads (RFC 9111, first cut: §3, §3.5, §4.2.1, §5.2).

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use std::time::{Duration, SystemTime};

/// Longest freshness that is believed: a year.
const MAX_TTL: u64 = 31_536_000;

/// Why a response is not stored. The same word in `Cache-Status` and in tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStored {
    /// Not a GET.
    Method,
    /// Not 200.
    Status,
    /// `no-store` in the request.
    RequestNoStore,
    /// `no-store` in the response.
    NoStore,
    /// `private`, for a route that is shared.
    Private,
    /// `no-cache`: not to be used without asking again.
    NoCache,
    /// A public route, an authorized request, and no word that it may be shared (§3.5).
    Authorization,
    /// `Vary: *`, or a Vary that can't be read.
    Vary,
    /// `Set-Cookie`, which belongs to one client.
    SetCookie,
    /// It says nothing of its freshness, and the route declares no `ttl`.
    NoFreshness,
    /// Its freshness is over.
    Stale,
}

impl NotStored {
    /// The reason's one name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::NoCache => "no-cache",
            Self::Authorization => "authorization",
            Self::Vary => "vary",
            Self::SetCookie => "set-cookie",
            Self::NoFreshness => "no-freshness",
            Self::Stale => "stale",
        }
    }
}

/// What a route declares.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// `ttl`.
    pub ttl: Option<Duration>,
    /// `force`.
    pub force: bool,
    /// `public`.
    pub public: bool,
}

/// Cache-Control, parsed on bytes: case-insensitive, quotes minded, every line. What can't be read counts as `no-store`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheControl(Vec<(String, Option<String>)>);

impl CacheControl {
    /// All Cache-Control lines of a message.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut directives = Vec::new();
        for line in headers.get_all(header::CACHE_CONTROL) {
            if !parse_line(line.as_bytes(), &mut directives) {
                directives.push(("no-store".to_owned(), None));
            }
        }
        Self(directives)
    }

    /// The directive is there, with or without an argument.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| found == name)
    }

    /// The directive's seconds. Several that differ, or one that can't be read: zero (§4.2.1: fail closed).
    #[must_use]
    pub fn seconds(&self, name: &str) -> Option<u64> {
        let mut found = self.0.iter().filter(|(found, _)| found == name).map(|(_, value)| seconds(value.as_deref()));
        let first = found.next()?;
        Some(if found.all(|other| other == first) { first.unwrap_or(0) } else { 0 })
    }
}

fn seconds(text: Option<&str>) -> Option<u64> {
    let text = text?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // §1.2.2: too large a number is as good as infinite.
    digits.then(|| text.parse().unwrap_or(u64::MAX).min(1 << 31))
}

fn parse_line(line: &[u8], out: &mut Vec<(String, Option<String>)>) -> bool {
    let Ok(text) = std::str::from_utf8(line) else { return false };
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return true;
        }
        let end = rest.find(['=', ',', ' ', '\t']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let name = name.to_ascii_lowercase();
        let Some(value) = after.strip_prefix('=') else {
            out.push((name, None));
            rest = after;
            continue;
        };
        if let Some(quoted) = value.strip_prefix('"') {
            let Some((text, tail)) = unquote(quoted) else { return false };
            out.push((name, Some(text)));
            rest = tail;
        } else {
            let end = value.find([',', ' ', '\t']).unwrap_or(value.len());
            let (text, tail) = value.split_at(end);
            out.push((name, Some(text.to_owned())));
            rest = tail;
        }
    }
}

fn unquote(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => {
                out.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return Some((out, text.get(index + 1..).unwrap_or_default())),
            other => out.push(other),
        }
    }
    None
}

/// How long a response stays fresh from now on, if it may be stored at all.
///
/// # Errors
/// Why it may not.
pub fn storable(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    response: &HeaderMap,
    declared: Declared,
    now: SystemTime,
) -> Result<Duration, NotStored> {
    if *method != Method::GET {
        return Err(NotStored::Method);
    }
    if status != StatusCode::OK {
        return Err(NotStored::Status);
    }
    if CacheControl::of(request).has("no-store") {
        return Err(NotStored::RequestNoStore);
    }
    if vary(response).is_none() {
        return Err(NotStored::Vary);
    }
    if declared.force {
        return declared.ttl.filter(|ttl| !ttl.is_zero()).ok_or(NotStored::NoFreshness);
    }
    if response.contains_key(header::SET_COOKIE) {
        return Err(NotStored::SetCookie);
    }
    let control = CacheControl::of(response);
    if control.has("no-store") {
        return Err(NotStored::NoStore);
    }
    // §5.2.2.7: a shared store may not keep what is one user's; with the credential in the key it is no longer shared.
    if control.has("private") && declared.public {
        return Err(NotStored::Private);
    }
    if control.has("no-cache") {
        return Err(NotStored::NoCache);
    }
    let shared = control.has("public") || control.has("s-maxage") || control.has("must-revalidate");
    if declared.public && request.contains_key(header::AUTHORIZATION) && !shared {
        return Err(NotStored::Authorization);
    }
    freshness(&control, response, declared, now)
}

fn freshness(
    control: &CacheControl,
    response: &HeaderMap,
    declared: Declared,
    now: SystemTime,
) -> Result<Duration, NotStored> {
    let text = |name: HeaderName| response.get(name).and_then(|value| value.to_str().ok());
    let expires = || {
        // §5.3: an invalid date, such as 0, is in the past.
        let date = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
        let expires = httpdate::parse_http_date(text(header::EXPIRES)?).ok();
        Some(expires.and_then(|at| at.duration_since(date).ok()).map_or(0, |left| left.as_secs()))
    };
    let said = control.seconds("s-maxage").or_else(|| control.seconds("max-age")).or_else(expires);
    let Some(said) = said else { return declared.ttl.filter(|ttl| !ttl.is_zero()).ok_or(NotStored::NoFreshness) };
    let age = text(header::AGE).map_or(0, |age| seconds(Some(age.trim())).unwrap_or(u64::MAX));
    match said.min(MAX_TTL).saturating_sub(age) {
        0 => Err(NotStored::Stale),
        left => Ok(Duration::from_secs(left)),
    }
}

/// The names in all Vary lines, lower case, sorted; `None` for `*` or what can't be read.
#[must_use]
pub fn vary(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for line in headers.get_all(header::VARY) {
        for name in line.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == "*" {
                return None;
            }
            names.push(name.parse::<HeaderName>().ok()?);
        }
    }
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    fn verdict(request: &[(&str, &str)], response: &[(&str, &str)], declared: Declared) -> Result<u64, NotStored> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        storable(&Method::GET, &map(request), StatusCode::OK, &map(response), declared, now).map(|ttl| ttl.as_secs())
    }

    const PLAIN: Declared = Declared { ttl: None, force: false, public: false };
    const TTL: Declared = Declared { ttl: Some(Duration::from_secs(30)), ..PLAIN };
    const FORCED: Declared = Declared { force: true, ..TTL };
    const PUBLIC: Declared = Declared { public: true, ..TTL };

    #[test]
    fn a_response_is_stored_as_it_says_and_else_as_the_route_says() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let cases: Vec<(&str, Vec<(&str, &str)>, Declared, Result<u64, NotStored>)> = vec![
            ("§5.2.2.1 max-age", vec![("cache-control", "max-age=60")], PLAIN, Ok(60)),
            ("§5.2.2.10 s-maxage wins", vec![("cache-control", "max-age=60, s-maxage=5")], PLAIN, Ok(5)),
            ("§4.2.3 age is taken off", vec![("cache-control", "max-age=60"), ("age", "20")], PLAIN, Ok(40)),
            (
                "an absurd age saturates",
                vec![("cache-control", "max-age=60"), ("age", "99999999999999999999999")],
                PLAIN,
                Err(NotStored::Stale),
            ),
            ("§5.3 Expires", vec![("expires", "Sun, 06 Nov 1994 08:50:37 GMT"), date], PLAIN, Ok(60)),
            ("§5.3 Expires: 0", vec![("expires", "0")], TTL, Err(NotStored::Stale)),
            ("nothing said, ttl declared", vec![], TTL, Ok(30)),
            ("nothing said, nothing declared", vec![], PLAIN, Err(NotStored::NoFreshness)),
            (
                "§5.2.2.5 no-store in any case",
                vec![("cache-control", "MAX-AGE=60, No-Store")],
                TTL,
                Err(NotStored::NoStore),
            ),
            (
                "no-store on a second line",
                vec![("cache-control", "max-age=60"), ("cache-control", "no-store")],
                TTL,
                Err(NotStored::NoStore),
            ),
            (
                "quotes hide nothing and invent nothing",
                vec![("cache-control", "ext=\"no-store, x\", max-age=9")],
                PLAIN,
                Ok(9),
            ),
            (
                "an open quote fails closed",
                vec![("cache-control", "max-age=60, ext=\"x")],
                TTL,
                Err(NotStored::NoStore),
            ),
            (
                "§4.2.1 two values fail closed",
                vec![("cache-control", "max-age=60, max-age=90")],
                TTL,
                Err(NotStored::Stale),
            ),
            ("a value that is no number", vec![("cache-control", "max-age=1x")], TTL, Err(NotStored::Stale)),
            ("§5.2.2.4 no-cache", vec![("cache-control", "no-cache, max-age=60")], TTL, Err(NotStored::NoCache)),
            ("private under a credential", vec![("cache-control", "private, max-age=60")], TTL, Ok(60)),
            (
                "private on a public route",
                vec![("cache-control", "private, max-age=60")],
                PUBLIC,
                Err(NotStored::Private),
            ),
            ("§4.1 Vary: *", vec![("cache-control", "max-age=60"), ("vary", "Origin, *")], TTL, Err(NotStored::Vary)),
            ("Vary: * even when forced", vec![("vary", "*")], FORCED, Err(NotStored::Vary)),
            (
                "Set-Cookie",
                vec![("set-cookie", "a=b"), ("cache-control", "max-age=60")],
                TTL,
                Err(NotStored::SetCookie),
            ),
            ("forced over no-store", vec![("cache-control", "no-store, private")], FORCED, Ok(30)),
        ];
        for (name, response, declared, wanted) in cases {
            assert_eq!(verdict(&[], &response, declared), wanted, "{name}");
        }
    }

    #[test]
    fn an_authorized_response_is_shared_only_if_it_says_so() {
        let request = [("authorization", "Bearer x")];
        let shared = |control| verdict(&request, &[("cache-control", control)], PUBLIC);
        assert_eq!(shared("max-age=60"), Err(NotStored::Authorization));
        for control in ["public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate"] {
            assert_eq!(shared(control), Ok(60), "§3.5 {control}");
        }
    }

    #[test]
    fn a_request_that_says_no_store_is_obeyed_even_when_forced() {
        assert_eq!(verdict(&[("cache-control", "no-store")], &[], FORCED), Err(NotStored::RequestNoStore));
    }
}
