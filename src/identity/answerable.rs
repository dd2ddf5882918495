//! Whether Tidegate may answer a call itself (design §4, P14, rulings 16, 22 and 23).

use super::caller::Caller;
use super::settings::{Forbid, Need, Part, Selection};
use super::{Identity, Kind, is_unsafe, keys, lists};
use http::{HeaderName, HeaderValue, header};

/// Least length of a cookie's value that hardly two callers have, bytes.
const LEAST_SESSION: usize = 16;

/// Why Tidegate may not answer a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotAnswerable {
    /// Something of `require` is missing.
    Requirement,
    /// The `double_submit` pair is missing or differs.
    DoubleSubmit,
    /// It comes from another origin, and `[cors]` doesn't allow that one.
    Origin,
    /// It has several Authorization lines, or several tokens that differ, of which an application
    /// may read any; or a token beside an Authorization of another form.
    SeveralTokens,
    /// Its JWT isn't valid yet (`nbf`, RFC 7519 §4.1.5).
    EarlyToken,
    /// A claim of its JWT has another value than `identity.claims` allows.
    Claim,
    /// Its token isn't known to be what its issuer signed (`identity.jwt`).
    UnverifiedToken,
    /// It proves itself, and no batch could carry its proof (ruling 22); or it asks for more than its
    /// body says, as by a condition or another method.
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
            Self::UnverifiedToken => "unverified_token",
            Self::Proof => "proof",
            Self::ExpiredToken => "expired_token",
            Self::OddCookies => "odd_cookies",
            Self::Forbidden => "forbidden",
        }
    }
}

impl Identity {
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

    /// Whether Tidegate may answer this call with what the application said to such a call before:
    /// a page of another origin is told apart by the key of the stored answer.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn readable(&self, caller: &Caller<'_>) -> Result<(), NotAnswerable> {
        let checked = || (self.check_head(caller), self.check_claims(caller));
        let (head, claims) = *caller.said.readable.get_or_init(checked);
        head?;
        if caller.expires_at().is_some_and(|at| at <= caller.now) {
            return Err(NotAnswerable::ExpiredToken);
        }
        if caller
            .said
            .token
            .as_ref()
            .and_then(|token| token.begins)
            .is_some_and(|at| at > caller.now)
        {
            return Err(NotAnswerable::EarlyToken);
        }
        claims?;
        if self.is_verified(caller) {
            Ok(())
        } else {
            Err(NotAnswerable::UnverifiedToken)
        }
    }

    /// Whether a call has no token, or one that its issuer signed, as far as that is asked for. What
    /// stands in a token's place and is none is not verified.
    fn is_verified(&self, caller: &Caller<'_>) -> bool {
        let Some(verifier) = &self.settings.jwt else {
            return true;
        };
        match self.token_of(caller) {
            Some(token) => verifier.verify(token, &caller.said.verified),
            // Some applications read a token there all the same.
            None => {
                let is_place = self
                    .settings
                    .token
                    .contains(&Part::Header(header::AUTHORIZATION));
                !(is_place && caller.has_odd_authorization()) || caller.has_basic_authorization()
            }
        }
    }

    /// What of this doesn't depend on the time.
    fn check_head(&self, caller: &Caller<'_>) -> Result<(), NotAnswerable> {
        let settings = &self.settings;
        if caller.has_odd_cookies() {
            return Err(NotAnswerable::OddCookies);
        }
        proof(&settings.selection, caller)?;
        if self.find_missing(caller).is_some() {
            return Err(NotAnswerable::Requirement);
        }
        if self.find_forbidden(caller).is_some() {
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
        Ok(())
    }

    /// The first entry of `require` of which a call has nothing.
    pub(crate) fn find_missing(&self, caller: &Caller<'_>) -> Option<&[Need]> {
        let there = |need: &Need| match need {
            Need::Part(part) => caller.part(part).is_some_and(|value| !value.is_empty()),
            Need::Jwt => caller.has_jwt(),
        };
        let mut require = self.settings.require.iter();
        let missing = require.find(|any| !any.iter().any(there));
        missing.map(Vec::as_slice)
    }

    /// The first part of `forbid` that a call has.
    pub(crate) fn find_forbidden(&self, caller: &Caller<'_>) -> Option<&Part> {
        let present = |part: &Part| caller.part(part).is_some_and(|value| !value.is_empty());
        let forbidden =
            |rule: &&Forbid| present(&rule.part) && !rule.unless.as_ref().is_some_and(present);
        let rule = self.settings.forbid.iter().find(forbidden);
        rule.map(|rule| &rule.part)
    }

    fn check_claims(&self, caller: &Caller<'_>) -> Result<(), NotAnswerable> {
        let wrong = |(name, allowed): &(Box<str>, Vec<serde_json::Value>)| {
            let raw = caller.claim(std::slice::from_ref(name));
            let found = raw.and_then(|raw| serde_json::from_str::<serde_json::Value>(raw).ok());
            // An audience may be one of several (RFC 7519 §4.1.3).
            let is_allowed = |found: &serde_json::Value| match found {
                serde_json::Value::Array(several) if **name == *"aud" => {
                    several.iter().any(|one| allowed.contains(one))
                }
                one => allowed.contains(one),
            };
            found.is_some_and(|found| !is_allowed(&found))
        };
        if self.settings.claims.iter().any(wrong) {
            Err(NotAnswerable::Claim)
        } else {
            Ok(())
        }
    }

    /// No Origin, one that is the host that was asked (schemes aren't compared: a proxy in front
    /// may end TLS), or one that `[cors]` allows.
    #[must_use]
    pub fn is_allowed_origin(&self, caller: &Caller<'_>) -> bool {
        let headers = &caller.parts.headers;
        *caller.said.allowed_origin.get_or_init(|| {
            let listed = || {
                self.cors
                    .as_ref()
                    .is_some_and(|cors| cors.allowed_origin(headers).is_some())
            };
            !headers.contains_key(header::ORIGIN) || listed() || self.is_same_origin(caller)
        })
    }

    /// Its one Origin has the host and port of the host that was asked.
    #[must_use]
    pub fn is_same_origin(&self, caller: &Caller<'_>) -> bool {
        let mut lines = caller.parts.headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (
            lines.next().and_then(|line| line.to_str().ok()),
            lines.next(),
        ) else {
            return false;
        };
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let standard = |authority: &str| {
            let authority = authority.to_ascii_lowercase();
            let port = if scheme.eq_ignore_ascii_case("https") {
                ":443"
            } else {
                ":80"
            };
            authority
                .strip_suffix(port)
                .map_or(authority.clone(), str::to_owned)
        };
        caller
            .peer
            .host
            .as_deref()
            .is_some_and(|host| standard(host) == standard(authority))
    }

    /// Whether a body of this type counts although a page of another site may send it without
    /// asking (Fetch §2.2.2, "CORS-safelisted request-header"): only with a word that it comes from
    /// the same site. A page may send a body without a type too; of a client that is no browser
    /// nothing is asked.
    #[must_use]
    pub fn is_asked_for(&self, caller: &Caller<'_>, kind: &str) -> bool {
        let simple = [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
        ];
        let headers = &caller.parts.headers;
        let is_page =
            || headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN);
        if !(simple.contains(&kind) || kind.is_empty() && is_page()) {
            return true;
        }
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        let same_site = matches!(site, Some(b"same-origin" | b"same-site" | b"none"));
        same_site || headers.contains_key(header::ORIGIN) && self.is_allowed_origin(caller)
    }

    /// Whether the keys hold something that only this caller has, and everything that authorizes
    /// it. An Authorization that doesn't count makes the keys nobody's own.
    #[must_use]
    pub fn is_personal(&self, caller: &Caller<'_>, nameless: bool) -> bool {
        let authorized = caller.parts.headers.contains_key(header::AUTHORIZATION);
        !nameless
            && (!authorized
                || self
                    .settings
                    .selection
                    .counts(&Part::Header(header::AUTHORIZATION)))
    }

    /// Whether something tells of this caller that hardly another one has: a credential in a header,
    /// what the configuration names, a cookie that is a credential by its name or has a value that
    /// looks drawn: 16 bytes and more with a digit, without a slash or an escape. One such as `lang=en`
    /// is many callers'.
    #[must_use]
    pub fn has_own_name(&self, caller: &Caller<'_>) -> bool {
        let selection = &self.settings.selection;
        let is_key = |(name, value): (&HeaderName, &HeaderValue)| {
            selection.header(name) == Kind::Principal && keys::names_someone(name, value.as_bytes())
        };
        let is_own = |(name, value): (&str, &str)| {
            let tells = matches!(selection.cookie(name), Kind::Principal | Kind::Rolling);
            let is_named = || selection.cookies.iter().any(|(known, _)| **known == *name);
            let is_drawn = || {
                value.len() >= LEAST_SESSION
                    && value.bytes().any(|byte| byte.is_ascii_digit())
                    && !value.contains(['/', '%'])
            };
            tells
                && !keys::is_placeholder(value.as_bytes())
                && (!selection.by_default
                    || is_named()
                    || lists::may_be_a_credential(name)
                    || is_drawn())
        };
        let is_given = |part: &Part| match part {
            Part::Query(name) => caller
                .query(name)
                .is_some_and(|value| !keys::is_placeholder(value.as_bytes())),
            _ => false,
        };
        selection.named.iter().any(is_given)
            || caller.parts.headers.iter().any(is_key)
            || caller.cookies().any(is_own)
    }

    /// Whether a call has a token or a key that enters no key of its caller's, since the
    /// configuration lists other parts and doesn't ignore it either. What such a call is answered
    /// may be for the bearer of that one only. Of what isn't in the built-in list the name decides,
    /// and only where no token that counts names the caller's user.
    #[must_use]
    pub fn has_unlisted_key(&self, caller: &Caller<'_>) -> bool {
        let selection = &self.settings.selection;
        let tokens = &self.settings.token;
        let is_named =
            || tokens.iter().all(|part| selection.counts(part)) && self.claimed(caller).is_some();
        let guesses = !selection.by_default && !is_named();
        let is_header = |name: &HeaderName| {
            let may_be = match lists::header(name.as_str()) {
                Kind::Principal => true,
                Kind::Scope => guesses && lists::may_be_a_credential(name.as_str()),
                _ => false,
            };
            may_be && !selection.header(name).counts() && !selection.ignores_header(name)
        };
        let is_cookie = |name: &str| {
            lists::cookie(name) == Kind::Principal
                && selection.cookie(name) == Kind::Passing
                && !selection.ignores_cookie(name)
                && lists::may_be_a_credential(name)
        };
        caller.parts.headers.keys().any(is_header)
            || guesses && caller.cookies().any(|(name, _)| is_cookie(name))
    }

    /// Whether nothing of a call could be a key that tells who calls, by the built-in lists: no
    /// header of which nothing is known, no session's cookie.
    #[must_use]
    pub fn is_plain(&self, caller: &Caller<'_>) -> bool {
        let selection = &self.settings.selection;
        let tells = |name: &HeaderName| {
            matches!(lists::header(name.as_str()), Kind::Principal | Kind::Scope)
                && !selection.ignores_header(name)
        };
        let names =
            |name: &str| lists::cookie(name) == Kind::Principal && !selection.ignores_cookie(name);
        !caller.parts.headers.keys().any(tells)
            && !caller.has_odd_cookies()
            && !caller.cookies().any(|(name, _)| names(name))
    }

    /// Whether nothing of this call tells of a caller, so that it may share what a shared cache may
    /// store (P8).
    #[must_use]
    pub fn is_anyone(&self, caller: &Caller<'_>, nameless: bool) -> bool {
        let tells = |name: &HeaderName| {
            self.settings.selection.header(name) == Kind::Scope
                && lists::may_name_the_caller(name.as_str())
        };
        nameless && !caller.parts.headers.keys().any(tells)
    }
}

/// What a call must not have to be answered by Tidegate: a proof of its own, and, if it writes,
/// what makes it depend on more than its body.
fn proof(selection: &Selection, caller: &Caller<'_>) -> Result<(), NotAnswerable> {
    let headers = &caller.parts.headers;
    if headers.get_all(header::AUTHORIZATION).iter().count() > 1 || caller.said.has_several_tokens {
        return Err(NotAnswerable::SeveralTokens);
    }
    let scheme = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let proves = |kind: Kind| match kind {
        Kind::Proof => true,
        Kind::Conditional => is_unsafe(&caller.parts.method),
        _ => false,
    };
    if scheme.is_some_and(lists::proves_one_call)
        || caller.kinds(selection).any(|(kind, ..)| proves(kind))
    {
        return Err(NotAnswerable::Proof);
    }
    Ok(())
}
