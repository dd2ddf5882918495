//! Records at rest, sealed by XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) if `journal.key_file` is
//! set. A context is authenticated together with its fingerprint, so that none can be put in
//! another's place. What an older key has sealed is opened by `journal.old_key_files`, and sealed
//! anew.

use super::log::frame::{Flags, Frame, Kind};
use super::record;
use crate::event::{Context, Fingerprint, Keys, Principal, Realm, View};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use std::path::{Path, PathBuf};

const NONCE: usize = 24;
const PLAIN: u8 = 2;
const SEALED: u8 = 3;

/// What a stored context begins with; what it says follows, as it is in memory.
#[derive(serde::Serialize, serde::Deserialize)]
struct StoredKeys {
    view: [u8; 16],
    principal: [u8; 16],
    realm: u64,
    nameless: bool,
}

/// Why a credential could not be read back, or a key not be had.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It is sealed and there is no key.
    #[error(
        "the journal is sealed; journal.key_file or journal.old_key_files must name the key that it \
         was sealed with"
    )]
    KeyMissing,
    /// Another key, or damage.
    #[error(
        "a record can't be opened with the keys of journal.key_file and journal.old_key_files: it \
         is another key, or damaged"
    )]
    KeyWrong,
    /// It is no credential.
    #[error("a record is damaged")]
    Damaged,
    /// The key file.
    #[error("{name} {path}: {problem}")]
    KeyFile {
        /// Its key in the configuration.
        name: &'static str,
        /// Its path.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The system gave no random numbers.
    #[error("the system gave no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A frame's body, ready to be written.
#[derive(Debug)]
pub struct Draft {
    /// Whether it is sealed.
    pub flags: Flags,
    /// The bytes.
    pub body: Vec<u8>,
}

impl Draft {
    /// It could not be sealed, and holds nothing.
    #[must_use]
    pub const fn is_void(&self) -> bool {
        self.body.is_empty()
    }
}

/// Seals and opens; by default without a key.
#[derive(Default)]
pub struct Vault {
    /// The key of today, if there is one, and older ones.
    ciphers: Vec<XChaCha20Poly1305>,
    /// The first of these is of today.
    seals: bool,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("seals", &self.seals)
            .field("keys", &self.ciphers.len())
            .finish()
    }
}

impl Vault {
    /// With the key of a file (32 bytes, or 64 hexadecimal digits), or without one; and with older
    /// ones.
    ///
    /// # Errors
    /// A file can't be read, or holds no key.
    pub fn new(key_file: Option<&Path>, old_key_files: &[PathBuf]) -> Result<Self, VaultError> {
        let old = old_key_files
            .iter()
            .map(|path| read_key("journal.old_key_files", path));
        let today = key_file.map(|path| read_key("journal.key_file", path));
        Ok(Self {
            ciphers: today.into_iter().chain(old).collect::<Result<_, _>>()?,
            seals: key_file.is_some(),
        })
    }

    fn seal_bytes(&self, plain: &[u8], aad: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        let Some(cipher) = self.ciphers.first().filter(|_| self.seals) else {
            return Ok(None);
        };
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(VaultError::Random)?;
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad })
            .map_err(|_| VaultError::Damaged)?;
        Ok(Some([&nonce[..], &sealed].concat()))
    }

    /// What was sealed, and whether it was with the key of today.
    fn open_bytes(&self, sealed: &[u8], aad: &[u8]) -> Result<(Vec<u8>, bool), VaultError> {
        let (nonce, msg) = sealed
            .split_first_chunk::<NONCE>()
            .ok_or(VaultError::Damaged)?;
        if self.ciphers.is_empty() {
            return Err(VaultError::KeyMissing);
        }
        for (number, cipher) in self.ciphers.iter().enumerate() {
            if let Ok(plain) = cipher.decrypt(&XNonce::from(*nonce), Payload { msg, aad }) {
                return Ok((plain, self.seals && number == 0));
            }
        }
        Err(VaultError::KeyWrong)
    }

    /// A record as it may lie on disk. Without random numbers nothing is sealed, and nothing may
    /// lie on disk: the body is empty, which is no record.
    #[must_use]
    pub fn draft(&self, plain: Vec<u8>) -> Draft {
        match self.seal_bytes(&plain, RECORD) {
            Ok(None) => Draft {
                flags: Flags::default(),
                body: plain,
            },
            Ok(Some(body)) => Draft {
                flags: Flags::SEALED,
                body,
            },
            Err(_) => Draft {
                flags: Flags::SEALED,
                body: Vec::new(),
            },
        }
    }

    /// A record back from disk, and whether it would be stored so today.
    ///
    /// # Errors
    /// No key, another key, or damage.
    pub fn open_record(
        &self,
        is_sealed: bool,
        body: &[u8],
    ) -> Result<(Box<[u8]>, bool), VaultError> {
        if is_sealed {
            self.open_bytes(body, RECORD)
                .map(|(plain, as_today)| (plain.into(), as_today))
        } else {
            Ok((body.into(), !self.seals))
        }
    }

    /// A frame's body as it would be stored today, if it is stored otherwise.
    #[must_use]
    pub fn sealed_anew(&self, frame: &Frame<'_>) -> Option<(Flags, Vec<u8>)> {
        match frame.kind {
            Kind::Event | Kind::Letter => {
                let (key, body) = record::keyed(frame.body)?;
                let (plain, as_today) = self
                    .open_record(frame.flags.has(Flags::SEALED), body)
                    .ok()?;
                let draft = (!as_today).then(|| self.draft(plain.into()));
                let draft = draft.filter(|draft| !draft.is_void())?;
                let mut body = Vec::new();
                record::put_keyed(&mut body, key, &draft.body);
                Some((draft.flags, body))
            }
            Kind::Context => {
                let (fingerprint, stored) = record::context(frame.body)?;
                if self.is_sealed_as_today(fingerprint, stored) {
                    return None;
                }
                let mut body = Vec::new();
                record::put_context(
                    &mut body,
                    fingerprint,
                    &self.seal(&self.open(fingerprint, stored).ok()?).ok()?,
                );
                Some((Flags::default(), body))
            }
            _ => None,
        }
    }

    /// Whether a context would be stored so today.
    #[must_use]
    pub fn is_sealed_as_today(&self, fingerprint: Fingerprint, stored: &[u8]) -> bool {
        match stored.split_first() {
            Some((&SEALED, rest)) => self
                .open_bytes(rest, &fingerprint.0)
                .is_ok_and(|(_, as_today)| as_today),
            _ => !self.seals,
        }
    }

    /// A context as it may lie on disk.
    ///
    /// # Errors
    /// The system gave no random numbers.
    pub fn seal(&self, context: &Context) -> Result<Vec<u8>, VaultError> {
        let keys = &context.keys;
        let stored = StoredKeys {
            view: keys.view.0,
            principal: keys.principal.0,
            realm: keys.realm.0,
            nameless: keys.nameless,
        };
        let mut plain = postcard::to_allocvec(&stored).map_err(|_| VaultError::Damaged)?;
        plain.extend_from_slice(context.packed());
        Ok(match self.seal_bytes(&plain, &keys.fingerprint.0)? {
            Some(sealed) => [&[SEALED][..], &sealed].concat(),
            None => [&[PLAIN][..], &plain].concat(),
        })
    }

    /// Back from disk.
    ///
    /// # Errors
    /// No key, another key, or damage.
    pub fn open(&self, fingerprint: Fingerprint, stored: &[u8]) -> Result<Context, VaultError> {
        let (form, rest) = stored.split_first().ok_or(VaultError::Damaged)?;
        let plain = match *form {
            PLAIN => rest.to_vec(),
            SEALED => self.open_bytes(rest, &fingerprint.0)?.0,
            _ => return Err(VaultError::Damaged),
        };
        let (stored, said): (StoredKeys, _) =
            postcard::take_from_bytes(&plain).map_err(|_| VaultError::Damaged)?;
        let (view, principal, realm) = (
            View(stored.view),
            Principal(stored.principal),
            Realm(stored.realm),
        );
        let keys = Keys {
            fingerprint,
            view,
            principal,
            realm,
            nameless: stored.nameless,
        };
        Context::from_packed(keys, said).ok_or(VaultError::Damaged)
    }
}

/// What all sealed records but contexts are authenticated with.
const RECORD: &[u8] = b"record";

fn read_key(name: &'static str, path: &Path) -> Result<XChaCha20Poly1305, VaultError> {
    let wrong = |problem: String| VaultError::KeyFile {
        name,
        path: path.display().to_string(),
        problem,
    };
    let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = bytes.len();
    let allowed = || {
        wrong(format!(
            "found {found} bytes; allowed are 32 bytes, or 64 hexadecimal digits"
        ))
    };
    Ok(XChaCha20Poly1305::new(&Key::from(
        key(&bytes).ok_or_else(allowed)?,
    )))
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
#[path = "vault_tests.rs"]
mod tests;
