//! JSON Web Tokens, as far as they are read: nothing is verified.

use crate::json::OwnedObject;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The claims of a JSON Web Token (RFC 7519), unverified.
pub(super) struct Token {
    pub(super) claims: OwnedObject,
    pub(super) expires: Option<SystemTime>,
    pub(super) begins: Option<SystemTime>,
}

impl Token {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (head, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || signature.is_empty() {
            return None;
        }
        OwnedObject::parse(decode(head)?)?;
        let claims = OwnedObject::parse(decode(claims)?)?;
        // A time before 1970, or beyond all clocks, is clamped: the former has passed, the latter
        // has not. What is no number makes the token one that the application shall judge: it has
        // ended, and has not begun.
        let time = |name: &str, wrong: f64| {
            let seconds = claims
                .get(name)
                .map(|raw| raw.parse::<f64>().unwrap_or(f64::NAN))?;
            let seconds = if seconds.is_nan() {
                wrong
            } else {
                seconds.clamp(0.0, 1e11)
            };
            Some(UNIX_EPOCH + Duration::from_secs_f64(seconds))
        };
        let (expires, begins) = (time("exp", 0.0), time("nbf", 1e11));
        Some(Self {
            expires,
            begins,
            claims,
        })
    }
}

fn decode(part: &str) -> Option<String> {
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}
