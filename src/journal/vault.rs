//! Contexts at rest: what calls of one fingerprint share, credentials among it. Stored once per fingerprint, sealed by XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) if
//! `journal.key_file` is set. The fingerprint is authenticated with them, so that none can be put in another's place.

use crate::event::{Charge, Context, Fingerprint, Keys, Principal, Raw, Realm, View};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use http::{HeaderName, HeaderValue};
use std::path::Path;

const NONCE: usize = 24;
/// Forms of earlier versions: the headers of a credential.
const EARLIER_PLAIN: u8 = 0;
const EARLIER_SEALED: u8 = 1;
const PLAIN: u8 = 2;
const SEALED: u8 = 3;

/// A context as it is stored, but for its fingerprint.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored<'a> {
    view: [u8; 16],
    principal: [u8; 16],
    realm: u64,
    nameless: bool,
    host: Option<&'a str>,
    https: bool,
    #[serde(borrow)]
    headers: Vec<(&'a str, Raw<'a>)>,
    cookies: Vec<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

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

    /// Whether what is stored is sealed.
    #[must_use]
    pub fn is_sealed(stored: &[u8]) -> bool {
        matches!(stored.first(), Some(&(SEALED | EARLIER_SEALED)))
    }

    /// A context as it may lie on disk.
    ///
    /// # Errors
    /// The system gave no random numbers.
    pub fn seal(&self, context: &Context) -> Result<Vec<u8>, VaultError> {
        let keys = &context.keys;
        let stored = Stored {
            view: keys.view.0,
            principal: keys.principal.0,
            realm: keys.realm.0,
            nameless: keys.nameless,
            host: context.host.as_deref(),
            https: context.https,
            headers: context.headers.iter().map(|(name, value)| (name.as_str(), Raw(value.as_bytes()))).collect(),
            cookies: context.cookies.iter().map(|pair| &**pair).collect(),
            named: context.named.iter().map(|(name, raw)| (&**name, &**raw)).collect(),
        };
        let plain = postcard::to_allocvec(&stored).map_err(|_| VaultError::Damaged)?;
        let Some(cipher) = &self.cipher else { return Ok([&[PLAIN][..], &plain].concat()) };
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(VaultError::Random)?;
        let payload = Payload { msg: &plain, aad: &keys.fingerprint.0 };
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| VaultError::Damaged)?;
        Ok([&[SEALED][..], &nonce, &sealed].concat())
    }

    /// Back from disk.
    ///
    /// # Errors
    /// No key, another key, or damage.
    pub fn open(&self, fingerprint: Fingerprint, stored: &[u8]) -> Result<Context, VaultError> {
        let (form, rest) = stored.split_first().ok_or(VaultError::Damaged)?;
        let plain = match *form {
            PLAIN | EARLIER_PLAIN => rest.to_vec(),
            SEALED | EARLIER_SEALED => {
                let cipher = self.cipher.as_ref().ok_or(VaultError::KeyMissing)?;
                let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or(VaultError::Damaged)?;
                let payload = Payload { msg: sealed, aad: &fingerprint.0 };
                cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| VaultError::KeyWrong)?
            }
            _ => return Err(VaultError::Damaged),
        };
        if matches!(*form, EARLIER_PLAIN | EARLIER_SEALED) {
            let headers: Vec<(&str, Raw<'_>)> = postcard::from_bytes(&plain).map_err(|_| VaultError::Damaged)?;
            return Ok(Context { headers: read_headers(headers)?, ..Context::bare(Keys::of(fingerprint)) });
        }
        let stored: Stored<'_> = postcard::from_bytes(&plain).map_err(|_| VaultError::Damaged)?;
        let (view, principal, realm) = (View(stored.view), Principal(stored.principal), Realm(stored.realm));
        Ok(Context {
            keys: Keys { fingerprint, view, principal, realm, nameless: stored.nameless },
            host: stored.host.map(Into::into),
            https: stored.https,
            headers: read_headers(stored.headers)?,
            cookies: stored.cookies.into_iter().map(Into::into).collect(),
            named: stored.named.into_iter().map(|(name, raw)| (name.into(), raw.into())).collect(),
            charge: Charge::default(),
        })
    }
}

fn read_headers(stored: Vec<(&str, Raw<'_>)>) -> Result<Vec<(HeaderName, HeaderValue)>, VaultError> {
    let read = stored.into_iter().map(|(name, value)| {
        let name = HeaderName::try_from(name).ok()?;
        let mut value = HeaderValue::from_bytes(value.0).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    });
    read.collect::<Option<Vec<_>>>().ok_or(VaultError::Damaged)
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

    fn context() -> Context {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        let keys = Keys {
            fingerprint: Fingerprint([4; 16]),
            view: View([5; 16]),
            principal: Principal([6; 16]),
            realm: Realm(7),
            nameless: true,
        };
        Context {
            host: Some("app.example:8443".into()),
            https: true,
            headers: vec![(HeaderName::from_static("authorization"), value("Bearer secret-token"))],
            cookies: vec!["a=1".into(), "b=2".into()],
            named: vec![("body:api_key".into(), "\"k\"".into())],
            ..Context::bare(keys)
        }
    }

    fn vault(key: &[u8]) -> Vault {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(key).unwrap();
        Vault::new(Some(file.path())).unwrap()
    }

    #[test]
    fn a_sealed_credential_opens_with_its_key_and_fingerprint_only() {
        let (mine, other) = (vault(&[1; 32]), vault(&[2; 32]));
        let sealed = mine.seal(&context()).unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        let opened = mine.open(Fingerprint([4; 16]), &sealed).unwrap();
        assert_eq!(opened, context());
        assert!(opened.headers.iter().all(|(_, value)| value.is_sensitive()));
        assert!(matches!(other.open(Fingerprint([4; 16]), &sealed), Err(VaultError::KeyWrong)));
        assert!(matches!(mine.open(Fingerprint([5; 16]), &sealed), Err(VaultError::KeyWrong)));
        let none = Vault::new(None).unwrap();
        assert!(matches!(none.open(Fingerprint([4; 16]), &sealed), Err(VaultError::KeyMissing)));
    }

    #[test]
    fn without_a_key_it_is_stored_as_it_is_and_a_key_set_later_still_reads_it() {
        let stored = Vault::new(None).unwrap().seal(&context()).unwrap();
        assert_eq!(vault(&[1; 32]).open(Fingerprint([4; 16]), &stored).unwrap(), context());
        assert!(matches!(Vault::new(None).unwrap().open(Fingerprint([4; 16]), &[]), Err(VaultError::Damaged)));
    }

    #[test]
    fn what_an_earlier_version_stored_is_read() {
        let headers = vec![("authorization", Raw(b"Bearer secret-token".as_slice())), ("cookie", Raw(b"a=1"))];
        let plain = postcard::to_allocvec(&headers).unwrap();
        let opened = Vault::default().open(Fingerprint([4; 16]), &[&[EARLIER_PLAIN][..], &plain].concat()).unwrap();
        assert_eq!(opened.keys, Keys::of(Fingerprint([4; 16])));
        assert_eq!(opened.headers.len(), 2);
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
