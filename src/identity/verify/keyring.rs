//! The keys that tokens are verified by, and which of them may be a token's.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Most keys of a set that are looked at.
const MAX_KEYS: usize = 256;
/// Most keys that a token may be of: each costs a verification, and a token needn't say which.
const MAX_TRIED: usize = 8;
/// Letters of the shortest modulus that is taken, 2048 bits in base64url (RFC 7518 §3.3).
const LEAST_MODULUS: usize = 256 * 8 / 6;

/// A document that is no set of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// It can't be read as one (RFC 7517 §5).
    #[error("it is no JSON Web Key Set: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// No key in it verifies signatures.
    #[error(
        "of its {0} keys none verifies signatures; allowed are keys of the types RSA (2048 bits and \
         more), EC (P-256, P-384) and OKP (Ed25519)"
    )]
    NoKeys(usize),
}

/// A key, and which tokens may be of it.
struct Key {
    key: DecodingKey,
    /// As it was published; `None`: a secret.
    jwk: Option<Jwk>,
    /// It is for this algorithm only.
    only: Option<Algorithm>,
}

/// Keys, each with what it is for.
pub(super) struct Keyring {
    /// Another number for other keys; at least 1.
    pub(super) version: u64,
    keys: Vec<Key>,
}

impl Keyring {
    /// No keys: none has been fetched yet.
    pub(super) const fn none() -> Self {
        Self {
            version: 1,
            keys: Vec::new(),
        }
    }

    /// One secret, which no document publishes.
    pub(super) fn of_secret(key: DecodingKey) -> Self {
        let secret = Key {
            key,
            jwk: None,
            only: None,
        };
        Self {
            keys: vec![secret],
            ..Self::none()
        }
    }

    /// Those of a key set's text that verify signatures; what isn't known of it is left out (RFC
    /// 7517 §5).
    ///
    /// And how many keys it lists.
    ///
    /// # Errors
    /// It is no key set.
    pub(super) fn of_set(text: &[u8], version: u64) -> Result<(Self, usize), serde_json::Error> {
        #[derive(Deserialize)]
        struct Set<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let set: Set<'_> = serde_json::from_slice(text)?;
        let jwks = set.keys.iter().take(MAX_KEYS);
        let jwks = jwks.filter_map(|raw| serde_json::from_str::<Jwk>(raw.get()).ok());
        let keys = jwks.filter_map(usable).collect();
        Ok((Self { version, keys }, set.keys.len()))
    }

    /// Whether the published keys are the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let [own, others] = [self, other].map(|ring| ring.keys.iter().map(|key| &key.jwk));
        own.eq(others)
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys that a token with this header may be of: of its algorithm's family, and with the
    /// name that it says, or without one.
    pub(super) fn find<'a>(&'a self, header: &'a Header) -> impl Iterator<Item = &'a DecodingKey> {
        let is_of = |key: &&Key| {
            // A secret has no name, whatever a token calls it.
            let name = key.jwk.as_ref().and_then(|jwk| jwk.common.key_id.as_ref());
            let is_named = match (name, &header.kid) {
                (Some(name), Some(kid)) => name == kid,
                _ => true,
            };
            is_named
                && key.key.family() == header.alg.family()
                && key.only.is_none_or(|only| only == header.alg)
        };
        let found = self.keys.iter().filter(is_of);
        found.map(|key| &key.key).take(MAX_TRIED)
    }
}

/// A key that verifies signatures. A symmetric one never does: what is published is no secret.
fn usable(jwk: Jwk) -> Option<Key> {
    let is_known = match &jwk.algorithm {
        AlgorithmParameters::RSA(key) => key.n.len() >= LEAST_MODULUS,
        AlgorithmParameters::EllipticCurve(key) => {
            matches!(key.curve, EllipticCurve::P256 | EllipticCurve::P384)
        }
        AlgorithmParameters::OctetKeyPair(key) => key.curve == EllipticCurve::Ed25519,
        _ => false,
    };
    if !is_known {
        return None;
    }
    let common = &jwk.common;
    let is_for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let may_verify = common
        .key_operations
        .as_ref()
        .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let only = match common.key_algorithm {
        None => None,
        // One that doesn't sign is none.
        Some(named) => Some(Algorithm::try_from(named).ok()?),
    };
    if !(is_for_signatures && may_verify) {
        return None;
    }
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    if only.is_some_and(|only| only.family() != key.family()) {
        return None;
    }
    let jwk = Some(jwk);
    Some(Key { key, jwk, only })
}
