//! What each known header and cookie says of a caller: one table, names exact or anchored shapes,
//! never bare prefixes (`_ga*` would swallow a session cookie called `_gate_session`).
//! `identity.ignore`, `.conditions`, `.principal`, `.scopes` and `.rolling` extend it;
//! `docs/configuration.md` shows it to operators.
//!
//! Sources: trace headers by W3C Trace Context, Baggage, OpenTelemetry's B3 and the vendors'
//! documentation; fetch metadata by the W3C draft of that name; client hints by RFC 8942; proofs by
//! RFC 9421, RFC 9530, RFC 9449 and RFC 7616; cookies by the documentation of the services that set
//! them.

/// What a header or a cookie says of a caller, and so which of its keys it enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who calls: enters fingerprint, view and principal.
    Principal,
    /// Nothing is known of it: enters fingerprint and view.
    Scope,
    /// What the application may check besides: enters the fingerprint.
    Condition,
    /// A session cookie that is renewed on answers (`identity.rolling`): enters the principal, and
    /// what stored answers are keyed by, by its value, and the other keys by the principal that it
    /// succeeds. The latest value travels with a batch.
    Rolling,
    /// Says nothing of the caller: enters no key, the latest value travels with a batch.
    Passing,
    /// Of this one call: enters no key, travels with the single call only.
    PerCall,
    /// Proves this very call: such a call is always forwarded (ruling 22).
    Proof,
    /// Makes a write depend on more than its body: such a write is always forwarded. Of a read it
    /// is the cache's business.
    Conditional,
    /// How this message is framed and which way it came: Tidegate writes it anew, or it goes with
    /// the body.
    Framing,
}

impl Kind {
    /// It is part of the fingerprint by its own value.
    #[must_use]
    pub const fn counts(self) -> bool {
        matches!(self, Self::Principal | Self::Scope | Self::Condition)
    }
}

/// What the built-in table says of a header; `name` in lower case.
#[must_use]
pub fn header(name: &str) -> Kind {
    match name {
        "authorization" | "x-api-key" | "api-key" | "apikey" | "x-auth-token"
        | "x-access-token" => Kind::Principal,
        "origin"
        | "x-csrf-token"
        | "x-xsrf-token"
        | "x-csrftoken"
        | "requestverificationtoken"
        | "x-requested-with"
        | "sec-fetch-site"
        | "sec-gpc"
        | "user-agent"
        | "accept"
        | "content-type" => Kind::Condition,
        "accept-encoding"
        | "accept-language"
        | "referer"
        | "priority"
        | "sec-fetch-mode"
        | "sec-fetch-dest"
        | "sec-fetch-user"
        | "cache-control"
        | "pragma"
        | "dnt"
        | "save-data"
        | "upgrade-insecure-requests"
        | "cdn-loop"
        | "cf-ipcountry"
        | "cf-visitor"
        | "cf-ew-via"
        | "sec-ch-ua" => Kind::Passing,
        "traceparent"
        | "tracestate"
        | "baggage"
        | "sentry-trace"
        | "b3"
        | "newrelic"
        | "uber-trace-id"
        | "x-amzn-trace-id"
        | "x-cloud-trace-context"
        | "elastic-apm-traceparent"
        | "x-request-id"
        | "x-correlation-id"
        | "request-id"
        | "cf-ray"
        | "x-vercel-id"
        | "fly-request-id"
        | "x-azure-ref"
        | "x-request-start"
        | "x-queue-start"
        | "idempotency-key" => Kind::PerCall,
        "dpop"
        | "signature"
        | "signature-input"
        | "digest"
        | "content-digest"
        | "repr-digest"
        | "x-amz-date"
        | "x-signature"
        | "x-nonce"
        | "x-hmac"
        | "purpose"
        | "sec-purpose"
        | "x-recaptcha-token"
        | "x-captcha-token"
        | "h-captcha-response"
        | "cf-turnstile-response"
        | "g-recaptcha-response" => Kind::Proof,
        "range" | "prefer" | "x-http-method-override" | "x-http-method" | "x-method-override" => {
            Kind::Conditional
        }
        // What they say is in the peer: host, scheme and client address.
        "host" | "cookie" | "content-length" | "content-encoding" | "transfer-encoding"
        | "connection" | "keep-alive" | "te" | "trailer" | "upgrade" | "expect" | "via"
        | "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto"
        | "x-real-ip" | "cf-connecting-ip" | "true-client-ip" => Kind::Framing,
        _ => shaped(name),
    }
}

/// Families of names.
fn shaped(name: &str) -> Kind {
    let begins = |prefix: &str| {
        name.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty())
    };
    if begins("sec-ch-ua-") {
        return Kind::Passing;
    }
    if begins("x-b3-") || begins("x-datadog-") || begins("x-newrelic-") {
        return Kind::PerCall;
    }
    let own = name.strip_prefix("x-").is_some_and(|rest| {
        ["-signature", "-nonce", "-hmac"]
            .iter()
            .any(|end| rest.strip_suffix(end).is_some_and(|rest| !rest.is_empty()))
    });
    if begins("if-") {
        return Kind::Conditional;
    }
    if own { Kind::Proof } else { Kind::Scope }
}

/// Words in the names of headers that tell of a person, an organisation or a device.
const TELLING: [&str; 22] = [
    "user",
    "account",
    "customer",
    "member",
    "tenant",
    "org",
    "team",
    "auth",
    "token",
    "key",
    "secret",
    "session",
    "email",
    "login",
    "ident",
    "principal",
    "subject",
    "client",
    "device",
    "visitor",
    "profile",
    "role",
];

/// Whether a header that is in no list may name its caller, by its own name. Answers to such
/// callers are told apart even where nothing else names them.
#[must_use]
pub fn may_name_the_caller(name: &str) -> bool {
    TELLING.iter().any(|word| name.contains(word))
}

/// Words in the names of credentials; of sessions' cookies by the documentation of the frameworks
/// that set them (`PHPSESSID`, `JSESSIONID`, `.AspNetCore.Cookies`, `wordpress_logged_in_…`,
/// `remember_web_…`).
const OF_CREDENTIALS: [&str; 11] = [
    "session",
    "sessid",
    "token",
    "auth",
    "jwt",
    "secret",
    "login",
    "logged",
    "remember",
    "credential",
    "aspnetcore",
];

/// Whether a header or a cookie that is in no list may be a credential, by its own name. Only asked
/// where a configuration lists what counts.
#[must_use]
pub fn may_be_a_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_word = |word: &str| {
        matches!(
            word,
            "sid"
                | "sess"
                | "key"
                | "apikey"
                | "accesskey"
                | "sso"
                | "identity"
                | "cakephp"
                | "tgc"
        )
    };
    name.split(['.', '_', '-', ':']).any(is_word)
        || is_hashed_session(&name)
        || OF_CREDENTIALS.iter().any(|word| name.contains(word))
}

/// Drupal's, a hash behind it; `name` in lower case.
pub(super) fn is_hashed_session(name: &str) -> bool {
    ["sess", "ssess"].iter().any(|prefix| {
        name.strip_prefix(prefix).is_some_and(|hash| {
            hash.len() >= 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    })
}

/// Schemes of Authorization that prove one call (RFC 9110 §11, RFC 7616, RFC 4559; Hawk; AWS
/// Signature Version 4).
const PROVING_SCHEMES: [&str; 8] = [
    "digest",
    "hawk",
    "aws4-hmac-sha256",
    "negotiate",
    "ntlm",
    "dpop",
    "signature",
    "hoba",
];

/// Whether the Authorization is for this very call.
#[must_use]
pub fn proves_one_call(authorization: &str) -> bool {
    let scheme = authorization.split([' ', '\t']).next().unwrap_or_default();
    PROVING_SCHEMES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme))
}

/// What the built-in table says of a cookie. Names of cookies are compared letter by letter (RFC
/// 6265 §5.3).
#[must_use]
pub fn cookie(name: &str) -> Kind {
    match name {
        "csrf_token" | "csrftoken" | "XSRF-TOKEN" | "_csrf" => Kind::Condition,
        "_ga"
        | "_gid"
        | "_gat"
        | "_gcl_au"
        | "_fbp"
        | "_fbc"
        | "_uetsid"
        | "_uetvid"
        | "_clck"
        | "_clsk"
        | "ajs_anonymous_id"
        | "ajs_user_id"
        | "ajs_group_id"
        | "_dd_s"
        | "OptanonConsent"
        | "OptanonAlertBoxClosed"
        | "CookieConsent"
        | "hubspotutk"
        | "__hstc"
        | "__hssc"
        | "__hssrc"
        | "_ym_uid"
        | "_ym_d"
        | "_ym_isad"
        | "_ttp"
        | "_pin_unauth"
        | "euconsent-v2"
        | "cookieyes-consent"
        | "usprivacy"
        | "_rdt_uuid"
        | "_scid"
        | "__gads"
        | "__gpi"
        | "__eoi"
        | "_gcl_aw"
        | "_gcl_dc"
        | "li_fat_id"
        | "__kla_id"
        | "__stripe_mid"
        | "__stripe_sid"
        | "__utma"
        | "__utmb"
        | "__utmc"
        | "__utmt"
        | "__utmv"
        | "__utmz" => Kind::Passing,
        "AWSALB"
        | "AWSALBCORS"
        | "AWSALBTG"
        | "AWSALBTGCORS"
        | "ARRAffinity"
        | "ARRAffinitySameSite"
        | "GCLB"
        | "SERVERID"
        | "__cf_bm"
        | "_cfuvid"
        | "__cflb"
        | "_abck"
        | "bm_sv"
        | "ak_bmsc" => Kind::Passing,
        _ if is_shaped_cookie(name) => Kind::Passing,
        _ => Kind::Principal,
    }
}

/// Cookies of analytics services and balancers whose names hold a key or a number.
fn is_shaped_cookie(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    // `_ga_<MEASUREMENT ID>`.
    name.strip_prefix("_ga_")
        .is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
        // `_gat_gtag_UA_<account>_<property>` and `_gat_UA-<account>-<property>`.
        || name.strip_prefix("_gat_gtag_UA_").is_some_and(|rest| rest.split('_').count() == 2 && rest.split('_').all(digits))
        || name.strip_prefix("_gat_UA-").is_some_and(|rest| rest.split('-').count() == 2 && rest.split('-').all(digits))
        // `_hjSession_<site>`, `_hjSessionUser_<site>` and the like.
        || name.strip_prefix("_hj").and_then(|rest| rest.rsplit_once('_')).is_some_and(|(kind, site)| word(kind) && digits(site))
        || name.strip_prefix("ph_").and_then(|rest| rest.strip_suffix("_posthog")).is_some_and(word)
        || name.strip_prefix("mp_").and_then(|rest| rest.strip_suffix("_mixpanel")).is_some_and(|key| {
            key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
        || name.strip_prefix("amplitude_id_").is_some_and(word)
        || ["AMP_MKTG_", "AMP_"].iter().any(|prefix| {
            name.strip_prefix(prefix).is_some_and(|key| hexadecimal(key, 10))
        })
        // Matomo's `_pk_<kind>.<site>.<host>`, Snowplow's `_sp_<kind>.<host>`.
        || ["_pk_id.", "_pk_ses.", "_pk_ref.", "_pk_cvar.", "_pk_hsr."].iter().any(|prefix| {
            let rest = name.strip_prefix(prefix).and_then(|rest| rest.split_once('.'));
            rest.is_some_and(|(site, host)| digits(site) && hexadecimal(host, 4))
        })
        || ["_sp_id.", "_sp_ses."].iter().any(|prefix| {
            name.strip_prefix(prefix).is_some_and(|host| hexadecimal(host, 4))
        })
        || name.strip_prefix("BIGipServer").is_some_and(|pool| !pool.is_empty())
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;
