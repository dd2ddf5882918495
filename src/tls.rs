//! What both sides of TLS share: certificates, chains and keys in PEM files.
//!
//! Every error names the file, what was found in it and what is allowed. TLS 1.2 and 1.3 are
//! spoken, with the algorithms that `ring` has.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use tokio_rustls::rustls;
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{CertificateError, RootCertStore};

/// HTTP/2 over TLS, as ALPN names it.
pub const HTTP_2: &[u8] = b"h2";
/// HTTP/1.1 over TLS, as ALPN names it.
pub const HTTP_1_1: &[u8] = b"http/1.1";

/// The cryptography of all connections.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(ring::default_provider()));

/// The cryptography of all connections.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}

/// A file that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

impl FileError {
    /// It is the key's file, and not the certificate's.
    #[must_use]
    pub fn is_of_key(&self, files: &KeyFiles) -> bool {
        match self.fault {
            Fault::NoKey | Fault::BadKey(_) | Fault::OtherKey(_) => true,
            Fault::NoCertificate | Fault::BadCertificate(_) => false,
            Fault::Unreadable(_) | Fault::Damaged(_) => {
                self.path == files.key && self.path != files.cert
            }
        }
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system doesn't give it.
    #[error("the file can't be read: {0}")]
    Unreadable(std::io::Error),
    /// Its text is cut off or changed.
    #[error("the PEM text is damaged: {0}")]
    Damaged(String),
    /// Nothing in it is a certificate.
    #[error(
        "found no certificate; allowed is a PEM file with the certificate first and its chain \
         after it, each between BEGIN CERTIFICATE and END CERTIFICATE"
    )]
    NoCertificate,
    /// What is in it can't be taken for a certificate.
    #[error("found a certificate that can't be used: {0}")]
    BadCertificate(rustls::Error),
    /// Nothing in it is a key.
    #[error(
        "found no private key; allowed is a PEM file with a PRIVATE KEY, an RSA PRIVATE KEY or an \
         EC PRIVATE KEY, without a passphrase"
    )]
    NoKey,
    /// No algorithm knows the key.
    #[error(
        "found a private key that can't be used: {0}; allowed are RSA keys of 2048 to 8192 bits, \
         ECDSA keys on P-256 or P-384, and Ed25519 keys"
    )]
    BadKey(rustls::Error),
    /// The key is another certificate's.
    #[error("the private key doesn't belong to the first certificate of {}", .0.display())]
    OtherKey(PathBuf),
}

/// Two PEM files: a certificate with its chain, and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// The certificate first, then its chain.
    pub cert: PathBuf,
    /// The key of the first certificate.
    pub key: PathBuf,
}

impl KeyFiles {
    /// Reads both files. Blocks on the disk.
    ///
    /// # Errors
    /// One of them can't be used, or they don't belong together.
    pub fn read(&self) -> Result<CertifiedKey, FileError> {
        let chain = read_certificates(&self.cert)?;
        let key = read_key(&self.key)?;
        let of_key = |fault| fault_of(&self.key, fault);
        let key = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| of_key(Fault::BadKey(error)))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // A key that can't tell its public half is taken at its word.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                Ok(certified)
            }
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(of_key(Fault::OtherKey(self.cert.clone())))
            }
            Err(error) => Err(bad_certificate(&self.cert, error)),
        }
    }
}

/// The certificates of a PEM file, at least one. Blocks on the disk.
///
/// # Errors
/// The file can't be used.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read_file(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| fault_of(path, Fault::Damaged(error.to_string())))?;
    if found.is_empty() {
        return Err(fault_of(path, Fault::NoCertificate));
    }
    Ok(found)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    use rustls::pki_types::pem::Error;
    PrivateKeyDer::from_pem_slice(&read_file(path)?).map_err(|error| match error {
        Error::NoItemsFound => fault_of(path, Fault::NoKey),
        other => fault_of(path, Fault::Damaged(other.to_string())),
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|error| fault_of(path, Fault::Unreadable(error)))
}

/// What rustls says against a certificate of this file.
pub fn bad_certificate(path: &Path, error: rustls::Error) -> FileError {
    fault_of(path, Fault::BadCertificate(error))
}

fn fault_of(path: &Path, fault: Fault) -> FileError {
    FileError {
        path: path.to_owned(),
        fault,
    }
}

/// Why clients will refuse a certificate for the time being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfTime {
    /// It was valid until then.
    Expired(UnixTime),
    /// It is valid from then on.
    NotYet(UnixTime),
}

impl fmt::Display for OutOfTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, time) = match self {
            Self::Expired(time) => ("has expired at", time),
            Self::NotYet(time) => ("is not valid before", time),
        };
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_second(seconds) {
            Ok(time) => write!(f, "{words} {time}"),
            Err(_) => write!(f, "{words} second {seconds} of Unix time"),
        }
    }
}

/// Whether the first certificate of a chain is out of its time now.
#[must_use]
pub fn find_out_of_time(chain: &[CertificateDer<'_>]) -> Option<OutOfTime> {
    let first = ParsedCertificate::try_from(chain.first()?).ok()?;
    // Nobody is trusted, so that this fails in any case; the time is looked at first.
    let verified = verify_server_cert_signed_by_trust_anchor(
        &first,
        &RootCertStore::empty(),
        &[],
        UnixTime::now(),
        PROVIDER.signature_verification_algorithms.all,
    );
    match verified {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after,
            ..
        })) => Some(OutOfTime::Expired(not_after)),
        Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
            not_before,
            ..
        })) => Some(OutOfTime::NotYet(not_before)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
