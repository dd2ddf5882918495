//! Credentials at rest: stored once per fingerprint, sealed by XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) if
//! `journal.key_file` is set. The fingerprint is authenticated with them, so that none can be put in another's place.

use crate::event::{Credential, Fingerprint, Raw};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use http::{HeaderName, HeaderValue};
use std::path::Path;

const NONCE: usize = 24;
const PLAIN: u8 = 0;
const SEALED: u8 = 1;

/// Why a credential could not be read back, or a key not be had.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It is sealed and there is no key.
    #[error("stored credentials are sealed; journal.key_file must name the key they were sealed with")]
    KeyMissing,
    /// Another key, or damage.
    #[error("a stored credential can't be opened with the key of journal.key_file: it is another key, or damaged")]
    KeyWrong,
    /// It is no credential.
    #[error("a stored credential is damaged")]
    Damaged,
    /// The key file.
    #[error("journal.key_file {path}: {problem}")]
    KeyFile {
        /// Its path.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The system gave no random numbers.
    #[error("the system gave no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Seals and opens; by default without a key.
#[derive(Default)]
pub struct Vault {
    cipher: Option<XChaCha20Poly1305>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("sealed", &self.cipher.is_some()).finish()
    }
}

impl Vault {
    /// With the key of a file (32 bytes, or 64 hexadecimal digits), or without one.
    ///
    /// # Errors
    /// The file can't be read, or holds no key.
    pub fn new(key_file: Option<&Path>) -> Result<Self, VaultError> {
        let Some(path) = key_file else { return Ok(Self { cipher: None }) };
        let wrong = |problem: String| VaultError::KeyFile { path: path.display().to_string(), problem };
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let found = bytes.len();
        let allowed = || wrong(format!("found {found} bytes; allowed are 32 bytes, or 64 hexadecimal digits"));
        let key = key(&bytes).ok_or_else(allowed)?;
        Ok(Self { cipher: Some(XChaCha20Poly1305::new(&Key::from(key))) })
    }

    /// Whether credentials are sealed.
    #[must_use]
    pub const fn seals(&self) -> bool {
        self.cipher.is_some()
    }

    /// A credential as it may lie on disk.
    ///
    /// # Errors
    /// The system gave no random numbers.
    pub fn seal(&self, credential: &Credential) -> Result<Vec<u8>, VaultError> {
        let headers: Vec<_> =
            credential.headers.iter().map(|(name, value)| (name.as_str(), Raw(value.as_bytes()))).collect();
        let plain = postcard::to_allocvec(&headers).map_err(|_| VaultError::Damaged)?;
        let Some(cipher) = &self.cipher else { return Ok([&[PLAIN][..], &plain].concat()) };
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(VaultError::Random)?;
        let payload = Payload { msg: &plain, aad: &credential.fingerprint.0 };
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| VaultError::Damaged)?;
        Ok([&[SEALED][..], &nonce, &sealed].concat())
    }

    /// Back from disk.
    ///
    /// # Errors
    /// No key, another key, or damage.
    pub fn open(&self, fingerprint: Fingerprint, stored: &[u8]) -> Result<Credential, VaultError> {
        let (form, rest) = stored.split_first().ok_or(VaultError::Damaged)?;
        let plain = match *form {
            PLAIN => rest.to_vec(),
            SEALED => {
                let cipher = self.cipher.as_ref().ok_or(VaultError::KeyMissing)?;
                let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or(VaultError::Damaged)?;
                let payload = Payload { msg: sealed, aad: &fingerprint.0 };
                cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| VaultError::KeyWrong)?
            }
            _ => return Err(VaultError::Damaged),
        };
        let headers: Vec<(&str, Raw<'_>)> = postcard::from_bytes(&plain).map_err(|_| VaultError::Damaged)?;
        let headers = headers.into_iter().map(|(name, value)| {
            let name = HeaderName::try_from(name).ok()?;
            let mut value = HeaderValue::from_bytes(value.0).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let headers: Option<Vec<_>> = headers.collect();
        Ok(Credential { fingerprint, headers: headers.ok_or(VaultError::Damaged)? })
    }
}

fn key(bytes: &[u8]) -> Option<[u8; 32]> {
    if let Ok(key) = bytes.try_into() {
        return Some(key);
    }
    let text = std::str::from_utf8(bytes).ok()?.trim();
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != 32 || !rest.is_empty() {
        return None;
    }
    let mut key = [0; 32];
    for (to, pair) in key.iter_mut().zip(pairs) {
        *to = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn credential() -> Credential {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        let headers = vec![
            (HeaderName::from_static("authorization"), value("Bearer secret-token")),
            (HeaderName::from_static("cookie"), value("a=1; b=2")),
        ];
        Credential { fingerprint: Fingerprint([4; 16]), headers }
    }

    fn vault(key: &[u8]) -> Vault {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(key).unwrap();
        Vault::new(Some(file.path())).unwrap()
    }

    #[test]
    fn a_sealed_credential_opens_with_its_key_and_fingerprint_only() {
        let (mine, other) = (vault(&[1; 32]), vault(&[2; 32]));
        let sealed = mine.seal(&credential()).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        let opened = mine.open(Fingerprint([4; 16]), &sealed).unwrap();
        assert_eq!(opened, credential());
        assert!(opened.headers.iter().all(|(_, value)| value.is_sensitive()));
        assert!(matches!(other.open(Fingerprint([4; 16]), &sealed), Err(VaultError::KeyWrong)));
        assert!(matches!(mine.open(Fingerprint([5; 16]), &sealed), Err(VaultError::KeyWrong)));
        let none = Vault::new(None).unwrap();
        assert!(matches!(none.open(Fingerprint([4; 16]), &sealed), Err(VaultError::KeyMissing)));
    }

    #[test]
    fn without_a_key_it_is_stored_as_it_is_and_a_key_set_later_still_reads_it() {
        let stored = Vault::new(None).unwrap().seal(&credential()).unwrap();
        assert_eq!(vault(&[1; 32]).open(Fingerprint([4; 16]), &stored).unwrap(), credential());
        assert!(matches!(Vault::new(None).unwrap().open(Fingerprint([4; 16]), &[]), Err(VaultError::Damaged)));
    }

    #[test]
    fn a_key_is_32_bytes_or_64_digits() {
        assert!(vault("00ff".repeat(16).as_bytes()).seals());
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"short").unwrap();
        let error = Vault::new(Some(file.path())).unwrap_err().to_string();
        assert!(error.contains("found 5 bytes; allowed are 32 bytes, or 64 hexadecimal digits"), "{error}");
    }
}
