//! TLS to applications: which certificates are believed, which one is shown, and why a handshake
//! fails. The name that is asked for, of the `https` address, is sent (SNI) and must be the
//! certificate's. There is no way around a check, and none to plain text.

use crate::tls::{
    FileError, HTTP_1_1, HTTP_2, KeyFiles, bad_certificate, provider, read_certificates,
};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::sign::SingleCertAndKey;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore,
};

/// How applications are spoken to over TLS; clones share it.
#[derive(Clone)]
pub struct UpstreamTls {
    http1: TlsConnector,
    either: TlsConnector,
}

/// The files that `upstream.tls` names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates that are believed, and no others; none: the system's.
    pub ca: Option<PathBuf>,
    /// What is shown to an application that asks for a certificate.
    pub client: Option<KeyFiles>,
}

/// What keeps TLS from being spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of the files can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing says which applications are believed.
    #[error(
        "the system has no root certificates{0}; allowed is a PEM file of those that are believed, \
         tls = {{ ca = \"FILE\" }}"
    )]
    NoRoots(String),
    /// The cryptography speaks none of the versions.
    #[error("TLS can't be spoken: {0}")]
    Unsupported(Error),
}

/// Which versions of HTTP are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Http1,
    /// HTTP/2 first.
    Either,
}

impl UpstreamTls {
    /// Reads the files. Blocks on the disk.
    ///
    /// # Errors
    /// One of them can't be used, or nothing is believed.
    pub fn try_new(files: &TlsFiles) -> Result<Self, TlsError> {
        let roots = match &files.ca {
            Some(path) => read_roots(path)?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unsupported)?
            .with_root_certificates(roots);
        let mut http1 = match &files.client {
            Some(files) => {
                let certified = Arc::new(SingleCertAndKey::from(files.read()?));
                builder.with_client_cert_resolver(certified)
            }
            None => builder.with_no_client_auth(),
        };
        let mut either = http1.clone();
        http1.alpn_protocols = vec![HTTP_1_1.to_vec()];
        either.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
        let [http1, either] = [http1, either].map(|config| TlsConnector::from(Arc::new(config)));
        Ok(Self { http1, either })
    }

    /// A connection's handshake.
    ///
    /// # Errors
    /// It failed.
    pub(super) async fn shake_hands(
        &self,
        host: &str,
        stream: TcpStream,
        offer: Offer,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let name = name_of(host).map_err(io::Error::other)?;
        let connector = match offer {
            Offer::Http1 => &self.http1,
            Offer::Either => &self.either,
        };
        Ok(connector.connect(name, stream).await?)
    }
}

/// The name that an application's certificate must have, by the host of its address.
///
/// # Errors
/// No certificate could have it.
pub fn name_of(host: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(ServerName::try_from(host)?.to_owned())
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTls").finish_non_exhaustive()
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| bad_certificate(path, error))?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems have roots that no verifier reads; what they signed isn't believed.
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if ignored > 0 {
        tracing::debug!(ignored, "root certificates of the system can't be read");
    }
    if roots.is_empty() {
        let reason = found.errors.first();
        let reason = reason
            .map(|error| format!(" ({error})"))
            .unwrap_or_default();
        return Err(TlsError::NoRoots(reason));
    }
    Ok(roots)
}

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFault {
    /// The application's certificate is valid no more.
    Expired,
    /// It isn't valid yet.
    NotValidYet,
    /// It is another host's.
    WrongName,
    /// No one who is believed has signed it.
    UnknownIssuer,
    /// It was taken back.
    Revoked,
    /// Something else is wrong with it.
    BadCertificate,
    /// The application wants a certificate, or another one than it was shown.
    ClientCertificate,
    /// The application ended the handshake.
    Alert,
    /// What came is no TLS, or none that is spoken here.
    Protocol,
}

impl HandshakeFault {
    /// The word in log and answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotValidYet => "not_valid_yet",
            Self::WrongName => "wrong_name",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Revoked => "revoked",
            Self::BadCertificate => "bad_certificate",
            Self::ClientCertificate => "client_certificate",
            Self::Alert => "alert",
            Self::Protocol => "protocol",
        }
    }

    /// The error type of `Proxy-Status` (RFC 9209 §2.3).
    pub(super) const fn proxy_error(self) -> &'static str {
        match self {
            Self::Expired
            | Self::NotValidYet
            | Self::WrongName
            | Self::UnknownIssuer
            | Self::Revoked
            | Self::BadCertificate => "tls_certificate_error",
            Self::ClientCertificate | Self::Alert => "tls_alert_received",
            Self::Protocol => "tls_protocol_error",
        }
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::AlertReceived(alert) if is_on_client_certificate(*alert) => {
                Self::ClientCertificate
            }
            Error::AlertReceived(_) => Self::Alert,
            _ => Self::Protocol,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotValidYet
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Revoked => Self::Revoked,
            _ => Self::BadCertificate,
        }
    }
}

/// An application says so of the certificate that it was shown, or not.
const fn is_on_client_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

/// A handshake that failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the TLS handshake failed, {}: {text}", fault.as_str())]
pub struct HandshakeError {
    /// Why.
    pub fault: HandshakeFault,
    /// In the words of TLS.
    pub text: String,
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let fault = said_by_tls(&error).map_or(HandshakeFault::Protocol, HandshakeFault::of);
        let text = error.to_string();
        Self { fault, text }
    }
}

/// What an application said of the certificate that it was shown, or not, on a connection that was
/// open already: in TLS 1.3 it says so after the first bytes, of which it reads none.
pub(super) fn find_refusal(error: &(dyn std::error::Error + 'static)) -> Option<HandshakeError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<io::Error>().and_then(said_by_tls) {
            let fault = HandshakeFault::of(found);
            let text = found.to_string();
            return (fault == HandshakeFault::ClientCertificate)
                .then_some(HandshakeError { fault, text });
        }
        next = error.source();
    }
    None
}

fn said_by_tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
