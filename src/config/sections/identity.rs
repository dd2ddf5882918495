//! `[identity]`: which parts of a call say something of its caller, and when Tidegate may answer
//! it.

use crate::config::key::{Key, Kind::*, Schema, keys};
use crate::config::readers::{HEAD, read_lists, web_url};
use crate::config::section::Section;
use crate::identity::{
    Admit, Forbid, IdentitySettings, Kind, Need, Part, PartError, Selection, TokenVerifier,
};
use crate::template::{Source, Template};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::sync::Arc;

keys! {
    "[identity]";
    /// only these count. It must hold all that the application checks before it lets a call in.
    /// Each has the kind that the lists give it; what they don't know is a scope, an unknown cookie
    /// a principal. A read with a token or a key of the built-in list (`authorization`, `x-api-key`
    /// and the like) that is neither named here nor in `ignore` passes the cache by, unless its
    /// route is `public`; so does one with another header or a cookie that by its name is a
    /// credential (`sid`, `…session…`, `…token…`, `…auth…` and the like), unless a token that is
    /// named here names the user
    CREDENTIALS = Key::without("credentials", Said("list of parts, `body:` and `query:` too"), "the built-in lists");
    /// these say who calls, such as a key in a header of your own
    PRINCIPAL = Key::with("principal", Said("list of parts, `body:` and `query:` too"), "[]");
    /// these split batches and stored answers, not callers: an organisation, a workspace
    SCOPES = Key::with("scopes", Said("list of parts"), "[]");
    /// these split batches only: what is checked besides, such as a CSRF header of your own
    CONDITIONS = Key::with("conditions", Said("list of parts"), "[]");
    /// these say nothing of a caller, such as the cookie of an A/B test
    IGNORE = Key::with("ignore", Said("list of parts"), "[]");
    /// session cookies that the application renews on its answers: events before and after share a
    /// batch, where it was a 2xx to a call of an event, write or cache route; a cache route that
    /// has answered a stranger counts no more. Stored answers are each value's own
    ROLLING = Key::with("rolling", Said("list of cookies"), "[]");
    /// whose event or read it is. A call in which it finds nothing is forwarded
    USER = Key::text(
        "user",
        Said("template over `jwt`, `event`, `query`, `header`, `cookie`, `path`"),
        "{jwt.userId|jwt.sub|event.userId|query.userId|query.user_id}",
    );
    /// a call without one of each is forwarded
    REQUIRE = Key::with("require", Said(r#"list of parts, `"jwt"`, alternatives with `|`"#), "[]");
    /// a call with one of these is forwarded
    FORBID = Key::with("forbid", Said(r#"list of parts, `"PART unless PART"`"#), "[]");
    /// writes in which they aren't equal are forwarded
    DOUBLE_SUBMIT = Key::without("double_submit", Said("two parts"), "none");
    /// a token that has the claim with another value makes its call forwarded: `{ type = ["access"]
    /// }`
    CLAIMS = Key::with("claims", Said("table of lists"), "{}");
    /// where a JWT is looked for. A call with two that differ is forwarded, and so is one with a
    /// token beside an `Authorization` of another form (another scheme, a tab, several lines): the
    /// application may read either. Without `header:authorization` here, `Authorization` is no
    /// place for tokens
    TOKEN = Key::with("token", Said("list of parts"), r#"["header:authorization", "cookie:access_token"]"#);
    /// tokens are verified, and a call with one that isn't what its issuer signed is forwarded. A call
    /// without a token isn't, but for `"jwt"` in `require` ([more](operations.md#tokens)).
    /// What `exp` and `nbf` say counts in any case; `iss` and `aud` belong into `claims`
    JWT = Key::without("jwt", Table(&[&SECRET_ENV, &SECRET_FILE, &SECRET_ENCODING, &JWKS_URL]), "the application verifies");
    /// `"proven"`: a principal's first call is forwarded, and its calls are acknowledged after a
    /// 2xx: to a call of the group's own routes, or to a read of what its events change, unless
    /// that route has answered a caller without a name or one that was refused by 401
    ADMIT = Key::text("admit", OneOf(&["optimistic", "proven"]), "optimistic");
    /// how long that 2xx holds
    PROOF_TTL = Key::text("proof_ttl", Duration, "600s");
    /// one call of each principal is forwarded so often, for sessions that live by what answers set
    REFRESH = Key::without("refresh", Duration, "never");
}

keys! {
    /// the variable that holds the secret of HS256, HS384 and HS512; blank space around it is cut off
    SECRET_ENV = Key::without("secret_env", Said("name of a variable"), "one of these three is needed");
    /// the file that holds it
    SECRET_FILE = Key::without("secret_file", Said("file"), "");
    /// what is signed with: the secret as it is written, or the bytes that it encodes
    SECRET_ENCODING = Key::text("secret_encoding", OneOf(&["text", "base64"]), "text");
    /// where the issuer publishes its keys (RFC 7517): RSA, P-256, P-384 and Ed25519, for RS256 to
    /// RS512, PS256 to PS512, ES256, ES384 and EdDSA
    JWKS_URL = Key::without("jwks_url", Said(r#"URL: `"https://HOST/PATH"`"#), "");
}

/// Without what `[cors]` says, and whether the groups put users in lower case.
pub(super) fn read(section: Section<'_>) -> IdentitySettings {
    let claims = read_lists(&section, &CLAIMS).into_iter();
    let settings = IdentitySettings {
        selection: read_selection(&section),
        claims: claims.map(|(name, values)| (name.into(), values)).collect(),
        refresh: section.maybe_duration(&REFRESH),
        user: read_user(&section),
        lowercase_user: false,
        require: section.compiled_list(&REQUIRE, need_of).unwrap_or_default(),
        forbid: section
            .compiled_list(&FORBID, Forbid::parse)
            .unwrap_or_default(),
        double_submit: read_double_submit(&section),
        token: section
            .compiled_list(&TOKEN, Part::parse)
            .unwrap_or_default(),
        jwt: section
            .has(&JWT)
            .then(|| read_jwt(section.section(&JWT)))
            .flatten()
            .map(Arc::new),
        admit: section.choice(&ADMIT, &ADMITS, Admit::Optimistic),
        proof_ttl: section.duration(&PROOF_TTL),
        cors: None,
    };
    section.finish();
    settings
}

const ADMITS: [(&str, Admit); 2] = [("optimistic", Admit::Optimistic), ("proven", Admit::Proven)];

fn read_double_submit(section: &Section<'_>) -> Option<(Part, Part)> {
    match section
        .compiled_list(&DOUBLE_SUBMIT, Part::parse)?
        .as_slice()
    {
        [] => None,
        [first, second] => Some((first.clone(), second.clone())),
        _ => {
            let text = "two parts are allowed, such as [\"cookie:csrf\", \"header:x-csrf\"]";
            section.wrong_key(&DOUBLE_SUBMIT, text);
            None
        }
    }
}

/// `None`: it is wrong, which was reported.
fn read_jwt(table: Section<'_>) -> Option<TokenVerifier> {
    let is_text = table.choice(&SECRET_ENCODING, &[("text", true), ("base64", false)], true);
    let verifier = match (
        table.text(&SECRET_ENV),
        table.text(&SECRET_FILE),
        table.has(&JWKS_URL),
    ) {
        (Some(name), None, false) => {
            let secret = table.variable_of(&SECRET_ENV, &name);
            secret.and_then(|secret| by_secret(&table, &SECRET_ENV, (&secret, is_text)))
        }
        (None, Some(path), false) => {
            let secret = table.content_of(&SECRET_FILE, &path);
            secret.and_then(|secret| by_secret(&table, &SECRET_FILE, (&secret, is_text)))
        }
        (None, None, true) => {
            if table.has(&SECRET_ENCODING) {
                table.wrong_key(&SECRET_ENCODING, "is of a secret; published keys have none");
            }
            let url = table.compiled(&JWKS_URL, web_url);
            url.map(TokenVerifier::by_published_keys)
        }
        _ => {
            table.wrong(
                "exactly one of secret_env (a variable's name), secret_file (a path) and jwks_url \
                 (a URL) is needed",
            );
            None
        }
    };
    table.finish();
    verifier
}

/// The text of a secret isn't told, whatever is wrong with it.
fn by_secret(
    table: &Section<'_>,
    key: &Key,
    (text, is_text): (&str, bool),
) -> Option<TokenVerifier> {
    let bytes = if is_text {
        text.as_bytes().to_vec()
    } else {
        let decoded = BASE64_STANDARD.decode(text);
        decoded
            .map_err(|_| table.wrong_key(key, "its secret is no base64 (RFC 4648 §4)"))
            .ok()?
    };
    let verifier = TokenVerifier::by_secret(&bytes);
    if verifier.is_none() {
        table.wrong_key(key, "its secret is empty");
    }
    verifier
}

fn need_of(text: &str) -> Result<Vec<Need>, PartError> {
    text.split('|')
        .map(|one| {
            if one == "jwt" {
                Ok(Need::Jwt)
            } else {
                Part::parse(one).map(Need::Part)
            }
        })
        .collect()
}

fn read_user(section: &Section<'_>) -> Template {
    let allowed = [HEAD.as_slice(), &[Source::Event, Source::Path]].concat();
    section
        .compiled(&USER, |text| Template::parse(text, &allowed))
        .unwrap_or_default()
}

/// The built-in lists, or `credentials` in their place; and what the operator says of single parts.
fn read_selection(section: &Section<'_>) -> Selection {
    let credentials = section.compiled_list(&CREDENTIALS, Part::parse_any);
    if credentials.as_ref().is_some_and(Vec::is_empty) {
        section.wrong_key(
            &CREDENTIALS,
            "found nothing; at least one part must tell callers apart",
        );
    }
    let listed = credentials.is_some();
    let mut selection =
        credentials.map_or_else(Selection::built_in, |parts| Selection::listed(&parts));
    for part in section
        .compiled_list(&PRINCIPAL, Part::parse_any)
        .unwrap_or_default()
    {
        selection.set(&part, Kind::Principal);
    }
    for (key, kind) in [(&SCOPES, Kind::Scope), (&CONDITIONS, Kind::Condition)] {
        for part in section.compiled_list(key, Part::parse).unwrap_or_default() {
            if listed && !selection.counts(&part) {
                let text = format!(
                    "found {part}, which credentials doesn't list; only what counts has a kind"
                );
                section.wrong_key(key, text);
            } else {
                selection.set(&part, kind);
            }
        }
    }
    for part in section
        .compiled_list(&IGNORE, Part::parse)
        .unwrap_or_default()
    {
        selection.set(&part, Kind::Passing);
    }
    for part in section
        .compiled_list(&ROLLING, cookie_of)
        .unwrap_or_default()
    {
        selection.set(&part, Kind::Rolling);
    }
    selection
}

fn cookie_of(text: &str) -> Result<Part, String> {
    match Part::parse(text) {
        Ok(part @ Part::Cookie(_)) => Ok(part),
        _ => Err("only a cookie rolls, such as \"cookie:laravel_session\"".to_owned()),
    }
}
