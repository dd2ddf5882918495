//! The upstream's own tokens: JSON Web Tokens (RFC 7519) that only it can make and check.

use super::account::Account;
use crate::clock::millis;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// What a token may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Calls.
    Access,
    /// Getting a new pair.
    Refresh,
}

impl Use {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

/// Makes and checks tokens under a key of its own, which dies with the process.
pub struct Tokens {
    key: [u8; 32],
    life: Duration,
}

/// Lives of a refresh token, in lives of an access token: 15 minutes against 7 days.
const REFRESH_LIVES: u32 = 672;

impl Tokens {
    /// Access tokens that live this long. Expiry is in whole seconds, as the format has it.
    #[must_use]
    pub fn new(life: Duration) -> Self {
        let (left, right) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        let mut key = [0; 32];
        for (into, byte) in key
            .iter_mut()
            .zip(left.as_bytes().iter().chain(right.as_bytes()))
        {
            *into = *byte;
        }
        Self { key, life }
    }

    /// How long a token of this use lives.
    #[must_use]
    pub fn life(&self, purpose: Use) -> Duration {
        match purpose {
            Use::Access => self.life,
            Use::Refresh => self.life * REFRESH_LIVES,
        }
    }

    /// A new token for this account.
    #[must_use]
    pub fn issue(&self, account: &Account, purpose: Use, now: SystemTime) -> String {
        let issued = millis(now) / 1000;
        let mut claims = json!({
            "userId": account.user, "email": account.email, "role": "user", "organizationId": account.organization,
            "platformRole": null, "type": purpose.as_str(), "iat": issued, "exp": issued + self.life(purpose).as_secs(),
        });
        if let (Use::Access, Value::Object(claims)) = (purpose, &mut claims) {
            claims.insert("iss".into(), "legacy-api".into());
            claims.insert("aud".into(), "legacy-clients".into());
        }
        // Not HS256: the signature is a keyed BLAKE3 hash, and the header says so.
        let header = json!({"alg": "BLAKE3", "typ": "JWT"});
        let signed = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
        let signature = part(self.sign(&signed).as_bytes());
        format!("{signed}.{signature}")
    }

    /// Whose token this is; nobody's if it is forged, expired or meant for something else.
    #[must_use]
    pub fn verify(&self, token: &str, purpose: Use, now: SystemTime) -> Option<Account> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature: [u8; 32] = URL_SAFE_NO_PAD.decode(signature).ok()?.try_into().ok()?;
        // `blake3::Hash` compares in constant time.
        if self.sign(signed) != blake3::Hash::from(signature) {
            return None;
        }
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let lives = claims.get("exp").and_then(Value::as_u64)? > millis(now) / 1000;
        (lives && text("type")? == purpose.as_str()).then_some(())?;
        Account::try_new(text("userId")?, text("email")?)
    }

    fn sign(&self, text: &str) -> blake3::Hash {
        blake3::keyed_hash(&self.key, text.as_bytes())
    }
}

fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_use_until_it_expires_and_only_unaltered() {
        let tokens = Tokens::new(Duration::from_secs(60));
        let account = Account::by_email("learner-7@example.test").unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_465_468);
        let token = tokens.issue(&account, Use::Access, now);
        let later = |seconds| now + Duration::from_secs(seconds);

        assert_eq!(
            tokens.verify(&token, Use::Access, now),
            Some(account.clone())
        );
        assert_eq!(tokens.verify(&token, Use::Access, later(59)), Some(account));
        assert_eq!(
            tokens.verify(&token, Use::Access, later(60)),
            None,
            "expired"
        );
        assert_eq!(
            tokens.verify(&token, Use::Refresh, now),
            None,
            "another use"
        );
        assert_eq!(
            Tokens::new(Duration::from_secs(60)).verify(&token, Use::Access, now),
            None,
            "another key"
        );
        let (head, rest) = token.split_once('.').unwrap();
        let (claims, signature) = rest.split_once('.').unwrap();
        let mut other: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        other["userId"] = "somebody-else".into();
        let forged = format!("{head}.{}.{signature}", part(other.to_string()));
        assert_eq!(tokens.verify(&forged, Use::Access, now), None, "altered");
    }
}
