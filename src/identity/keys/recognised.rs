//! Whether a part of a call by itself tells who calls: a token, or the cookie of a session. Beside
//! one, a cookie that no list names and that can't be a credential (a theme, a consent, a counter of
//! pages) says nothing of that: it is a scope, so that whatever such cookies come and go, its
//! caller's order and reads stay (ruling 15).
//!
//! A password, a key and a name in a body or a query may be many callers', so they don't tell. A
//! cookie tells by its name and a value that can be a secret. One that may be a credential, by its
//! name or its value, stays a part of the principal in any case.

use crate::identity::lists::{self, Kind};
use crate::identity::{IdentitySettings, Part};
use http::{HeaderName, HeaderValue, header};

/// Bytes of the shortest value that may be a secret: 128 bits in base64 have 22, in hexadecimal
/// digits 32; some frameworks make 96 bits do.
const SECRET: usize = 16;
/// The same under the name of a framework's session.
const SESSION: usize = 8;

/// Makes scopes of the cookies that can't say who calls where something else tells it.
pub(super) fn sort_cookies(
    settings: &IdentitySettings,
    headers: &[(Kind, &HeaderName, &HeaderValue)],
    cookies: &mut [(Kind, &[u8])],
) {
    let is_told = headers.iter().any(|(kind, name, value)| {
        *kind == Kind::Principal && is_token(settings, name, value.as_bytes())
    }) || cookies.iter().any(|(kind, pair)| {
        matches!(kind, Kind::Principal | Kind::Rolling) && tells(settings, pair)
    });
    if !is_told {
        return;
    }
    // INVARIANT: what tells stays a part of the principal.
    for (kind, pair) in cookies {
        if *kind == Kind::Principal && !may_tell(settings, pair) {
            *kind = Kind::Scope;
        }
    }
}

/// Whether a header holds a token, or what the configuration says is one.
fn is_token(settings: &IdentitySettings, name: &HeaderName, value: &[u8]) -> bool {
    let configured = &settings.selection.headers;
    let is_bearer = || {
        let scheme = value.split(u8::is_ascii_whitespace).next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
    };
    let is_known = match name.as_str() {
        "x-auth-token" | "x-access-token" => true,
        "x-api-key" | "api-key" | "apikey" => false,
        _ if *name == header::AUTHORIZATION => is_bearer(),
        _ => configured.iter().any(|(known, _)| known == name),
    };
    is_known && names_someone(name, value)
}

/// Whether a cookie tells who calls.
fn tells(settings: &IdentitySettings, pair: &[u8]) -> bool {
    let (name, value) = split(pair);
    if is_configured(settings, name) {
        return !is_placeholder(value);
    }
    let has_digit = value.iter().any(u8::is_ascii_digit);
    has_digit
        && if is_session_cookie(name) {
            value.len() >= SESSION
        } else {
            lists::may_be_a_credential(name) && value.len() >= SECRET && !value.contains(&b'/')
        }
}

/// Whether a cookie may tell who calls: all that [`tells`] does, and all that sounds or looks like it.
fn may_tell(settings: &IdentitySettings, pair: &[u8]) -> bool {
    let (name, value) = split(pair);
    let is_drawn = value.len() >= SECRET && value.iter().any(u8::is_ascii_digit);
    let lower = name.to_ascii_lowercase();
    is_drawn
        || std::str::from_utf8(pair).is_err()
        || is_configured(settings, name)
        || is_session_cookie(name)
        || lists::may_be_a_credential(name)
        || lists::may_name_the_caller(&lower)
        || lower == "uid"
}

fn is_configured(settings: &IdentitySettings, name: &str) -> bool {
    let mut cookies = settings.selection.cookies.iter();
    cookies.any(|(known, _)| **known == *name)
        || settings.token.iter().any(|part| match part {
            Part::Cookie(known) => **known == *name,
            _ => false,
        })
}

/// Name and value; a cookie without a name has an empty one.
fn split(pair: &[u8]) -> (&str, &[u8]) {
    let mut parts = pair.splitn(2, |byte| *byte == b'=');
    let (name, value) = (parts.next().unwrap_or_default(), parts.next());
    match (std::str::from_utf8(name), value) {
        (Ok(name), Some(value)) => (name.trim_end(), value),
        _ => ("", pair),
    }
}

/// Whether a cookie is the session's or the token's of a framework, by its documentation: Express,
/// Django, Flask, PHP, Jakarta Servlet, ASP.NET, Rails, Rack, Laravel, CodeIgniter, Koa, Auth.js,
/// Firebase, Drupal, `WordPress`.
fn is_session_cookie(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let bare = ["__host-", "__secure-"];
    let bare = bare.iter().find_map(|prefix| name.strip_prefix(prefix));
    let name = bare.unwrap_or(&name);
    let is_known = matches!(
        name,
        "sid"
            | "sessid"
            | "sessionid"
            | "session_id"
            | "session"
            | "__session"
            | "connect.sid"
            | "phpsessid"
            | "jsessionid"
            | "asp.net_sessionid"
            | ".aspxauth"
            | ".aspnetcore.cookies"
            | ".aspnetcore.session"
            | ".aspnetcore.identity.application"
            | "koa:sess"
            | "koa.sess"
            | "rack.session"
            | "ci_session"
            | "laravel_session"
            | "access_token"
            | "auth_token"
            | "id_token"
            | "token"
            | "jwt"
            | "next-auth.session-token"
            | "authjs.session-token"
    );
    let is_of_app = name.starts_with('_') && name.ends_with("_session");
    let is_of_wordpress = name.starts_with("wordpress_logged_in_");
    is_known || is_of_app || is_of_wordpress || lists::is_hashed_session(name)
}

/// Whether one of these parts of a body or a query holds something.
pub(super) fn tells_caller(named: &[(Box<str>, Box<str>)]) -> bool {
    let is_empty = |raw: &str| raw.is_empty() || raw == "\"\"" || raw == "null";
    named.iter().any(|(_, raw)| !is_empty(raw))
}

/// Whether a credential's header holds one: a scheme alone is none (RFC 9110 §11.4).
pub(in crate::identity) fn names_someone(name: &HeaderName, value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let is_scheme = *name == header::AUTHORIZATION && !value.contains(&b' ');
    let is_known = |scheme: &&str| value.eq_ignore_ascii_case(scheme.as_bytes());
    let is_bare = is_scheme
        && ["basic", "bearer", "digest", "negotiate", "token"]
            .iter()
            .any(is_known);
    let token = match value.iter().position(|byte| *byte == b' ') {
        Some(end) if *name == header::AUTHORIZATION => value.get(end..).unwrap_or_default(),
        _ => value,
    };
    !is_bare && !is_placeholder(token)
}

/// Nothing, or what a client writes for a variable of its own that nothing is in.
pub(in crate::identity) fn is_placeholder(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let quoted = value
        .strip_prefix(b"\"")
        .and_then(|value| value.strip_suffix(b"\""));
    let value = quoted.unwrap_or(value);
    let known: [&[u8]; 6] = [b"", b"null", b"undefined", b"(null)", b"nil", b"none"];
    known.iter().any(|known| value.eq_ignore_ascii_case(known))
}
