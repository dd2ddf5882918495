//! Whether a token is what its issuer signed (`identity.jwt`): by a secret that both have, or by the
//! keys that the issuer publishes (a JSON Web Key Set, RFC 7517). A call with another token is
//! forwarded, so that the application gives its own verdict.
//!
//! A token doesn't choose how it is verified (RFC 8725 §3.1): a secret verifies HS256, HS384 and
//! HS512 and nothing else, a published key the algorithms of its type, or the one that it names; `none`
//! verifies nothing. What `exp`, `nbf` and the claims say is looked at apart from this.

mod keyring;
mod provider;
#[cfg(test)]
mod tests;

pub use keyring::KeySetError;

use arc_swap::ArcSwap;
use http::Uri;
use jsonwebtoken::crypto::verify;
use jsonwebtoken::{AlgorithmFamily, DecodingKey, decode_header};
use keyring::Keyring;
use moka::sync::Cache;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Tokens that are known to be right, at most; about 100 bytes each.
const MAX_KNOWN: u64 = 65_536;

/// Verifies tokens.
pub struct TokenVerifier {
    /// Where its keys are published; `None`: it has a secret.
    url: Option<Uri>,
    keys: ArcSwap<Keyring>,
    /// Hashes of tokens that were found right, each with the version of the keys.
    known: Cache<[u8; 32], u64>,
    /// A token has named a key that isn't there.
    misses: Notify,
    /// Takes every token for right.
    supposes: bool,
}

/// What was found out of one token, for as long as the keys are the same.
#[derive(Default)]
pub(super) struct Verified(AtomicU64);

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl TokenVerifier {
    /// Verifies by a secret; `None`: it is empty.
    #[must_use]
    pub fn by_secret(secret: &[u8]) -> Option<Self> {
        let key = DecodingKey::from_secret(secret).ok()?;
        Some(Self::new(None, Keyring::of_secret(key)))
    }

    /// Verifies by the keys that are published there, once [`renew_keys`](Self::renew_keys) has
    /// brought some; until then by none.
    #[must_use]
    pub fn by_published_keys(url: Uri) -> Self {
        Self::new(Some(url), Keyring::none())
    }

    fn new(url: Option<Uri>, keys: Keyring) -> Self {
        match provider::PROVIDER.install_default() {
            // An error: an earlier verifier has installed the same one.
            Ok(()) | Err(_) => {}
        }
        Self {
            url,
            keys: ArcSwap::from_pointee(keys),
            known: Cache::new(MAX_KNOWN),
            misses: Notify::new(),
            supposes: false,
        }
    }

    /// One without keys, which takes every token for right: where keys that are published elsewhere
    /// aren't fetched.
    #[must_use]
    pub fn supposing(&self) -> Self {
        Self {
            supposes: true,
            ..Self::new(self.url.clone(), Keyring::none())
        }
    }

    /// Whether it takes every token for right.
    #[must_use]
    pub const fn supposes(&self) -> bool {
        self.supposes
    }

    /// Where its keys are published.
    #[must_use]
    pub const fn url(&self) -> Option<&Uri> {
        self.url.as_ref()
    }

    /// How many keys it has.
    #[must_use]
    pub fn count_keys(&self) -> usize {
        self.keys.load().len()
    }

    /// Takes the text of a key set in the place of the keys that it has. One caller at a time.
    ///
    /// # Errors
    /// It is no key set, and the keys stay as they are; or no key in it verifies signatures, and there
    /// are none from now on: the issuer may have withdrawn them.
    pub fn renew_keys(&self, text: &[u8]) -> Result<(), KeySetError> {
        let now = self.keys.load();
        let (next, listed) = Keyring::of_set(text, now.version + 1)?;
        let is_void = next.len() == 0;
        if !next.is_same(&now) {
            self.keys.store(Arc::new(next));
        }
        if is_void {
            Err(KeySetError::NoKeys(listed))
        } else {
            Ok(())
        }
    }

    /// Waits until a token has come that none of the keys may have signed: another one may be
    /// published by now.
    pub async fn missing_key(&self) {
        self.misses.notified().await;
    }

    /// Whether a token's signature is right.
    #[must_use]
    pub fn verifies(&self, token: &str) -> bool {
        self.verify(token, &Verified::default())
    }

    /// Whether a token's signature is right. `before`: what was found out of the same token earlier.
    pub(super) fn verify(&self, token: &str, before: &Verified) -> bool {
        if self.supposes {
            return true;
        }
        let keys = self.keys.load();
        let found = before.0.load(Ordering::Relaxed);
        if found >> 1 == keys.version {
            return found & 1 == 1;
        }
        let hash = *blake3::hash(token.as_bytes()).as_bytes();
        let mut is_right = self.known.get(&hash) == Some(keys.version);
        if !is_right && self.verify_anew(&keys, token) {
            self.known.insert(hash, keys.version);
            is_right = true;
        }
        let found = keys.version << 1 | u64::from(is_right);
        before.0.store(found, Ordering::Relaxed);
        is_right
    }

    fn verify_anew(&self, keys: &Keyring, token: &str) -> bool {
        let (Ok(header), Some((message, signature))) =
            (decode_header(token), token.rsplit_once('.'))
        else {
            return false;
        };
        // What must be understood (RFC 7515 §4.1.11) isn't.
        if header.crit.is_some() {
            return false;
        }
        let mut candidates = keys.find(&header).peekable();
        let is_published = header.alg.family() != AlgorithmFamily::Hmac;
        if self.url.is_some() && is_published && candidates.peek().is_none() {
            self.misses.notify_one();
        }
        candidates.any(|key| {
            verify(signature, message.as_bytes(), key, header.alg).is_ok_and(|is_right| is_right)
        })
    }
}
